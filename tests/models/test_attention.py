"""Attention of transformers, against the weights that their own layers give."""

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from wsss.models.attention import patch_attention, patch_size
from wsss.models.timm_body import TimmBody
from wsss.models.vit import ViTBody


def small_vit() -> ViTBody:
    torch.manual_seed(0)
    network = VisionTransformer(
        image_size=32, patch_size=8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    return ViTBody(network).eval()


def small_timm() -> TimmBody:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=16, depth=3, num_heads=2, num_classes=0,
        global_pool="", dynamic_img_size=True, reg_tokens=2,
    )  # fmt: skip
    network.pretrained_cfg = {}
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    return TimmBody(network).eval()


IMAGES = torch.randn(2, 3, 24, 40, generator=torch.Generator().manual_seed(1))
COUNT = 3 * 5


def test_torchvision_s_weights():
    body = small_vit()
    found = patch_attention(body, IMAGES, 2)
    inputs = []
    layers = [m for m in body.modules() if isinstance(m, nn.MultiheadAttention)][1:]
    for layer in layers:
        layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    with torch.no_grad():
        body(IMAGES)
        weights = [
            # without the hooks, which asking again would call again
            layer.forward(x, x, x, need_weights=True)[1]
            for layer, x in zip(layers, inputs, strict=True)
        ]
    mean = torch.stack(weights).mean(dim=0)[:, 1:, 1:]
    assert mean.shape == (2, COUNT, COUNT)
    torch.testing.assert_close(found, mean.reshape(2, 3, 5, 3, 5), atol=1e-6, rtol=1e-5)


def test_timm_s_weights_with_register_tokens():
    body = small_timm()
    found = patch_attention(body, IMAGES, 8)
    weights = []
    for block in body.network.blocks:
        block.attn.fused_attn = False  # only then are there weights, which dropout is given
        block.attn.attn_drop.register_forward_pre_hook(lambda _, x: weights.append(x[0]))
    with torch.no_grad():
        body(IMAGES)
    assert len(weights) == 3
    mean = torch.stack(weights).mean(dim=(0, 2))[:, -COUNT:, -COUNT:]
    torch.testing.assert_close(found, mean.reshape(2, 3, 5, 3, 5), atol=1e-6, rtol=1e-5)


def test_hooks_are_gone_afterwards():
    body = small_vit()
    patch_attention(body, IMAGES, 2)
    assert not any(module._forward_pre_hooks for module in body.modules())


def test_patch_sizes():
    assert patch_size(small_vit()) == 8
    assert patch_size(small_timm()) == 8
    assert patch_size(nn.Conv2d(3, 4, 3)) == 1


def test_a_network_without_attention_is_refused():
    with pytest.raises(ValueError, match="expected a vision transformer"):
        patch_attention(nn.Conv2d(3, 4, 3), IMAGES, 2)
