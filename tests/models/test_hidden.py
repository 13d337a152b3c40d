"""Hidden states by name, against what the networks' own layers compute."""

import pytest
import torch
from torch import nn

from wsss.models.hidden import HiddenStates
from wsss.models.timm_body import TimmBody

IMAGES = torch.randn(2, 3, 37, 52, generator=torch.Generator().manual_seed(1))
ROWS, COLUMNS = 4, 6
SMALL = {"embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 0, "global_pool": ""}
FAMILIES = {
    "vit_small_patch14_dinov2": 1,
    "vit_small_patch14_reg4_dinov2": 5,
    "vit_small_patch16_dinov3": 5,
    "eva02_tiny_patch14_224": 1,
    "eva02_base_patch14_224": 1,
    "vit_base_patch16_clip_224": 1,
    "vit_base_patch16_siglip_224": 0,
}
"""Names of timm, and the tokens that stand in front of the patches."""


def small_body(name: str) -> TimmBody:
    """A network of the family with few channels, patches of 8 pixels and large random weights."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model(name, **SMALL, patch_size=8, img_size=32, dynamic_img_size=True)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return TimmBody(network).eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_attention_is_what_the_layer_computes_without_fusion(name):
    body = small_body(name)
    layer = body.network.blocks[1].attn
    found = HiddenStates(body, ["network.blocks.1.attention"])(IMAGES)
    seen = []
    # timm drops out of the weights where attention is not fused; in eval mode nothing
    layer.attn_drop.register_forward_hook(lambda m, i, o: seen.append(o))
    layer.fused_attn = False
    with torch.no_grad():
        body(IMAGES)
    count = ROWS * COLUMNS + FAMILIES[name]
    assert found["network.blocks.1.attention"].shape == (2, 2, count, count)
    torch.testing.assert_close(found["network.blocks.1.attention"], seen[0])


@pytest.mark.parametrize("part", ["queries", "keys", "values"])
def test_projections_by_hand(part):
    body = small_body("vit_small_patch14_reg4_dinov2")
    block = body.network.blocks[2]
    seen = []
    block.attn.qkv.register_forward_hook(lambda m, i, o: seen.append(o))
    found = HiddenStates(body, [f"network.blocks.2.{part}"])(IMAGES)[f"network.blocks.2.{part}"]
    # queries, keys and values lie behind each other, and of each one head behind the other
    place = ["queries", "keys", "values"].index(part)
    plain = seen[0][:, 5:, 32 * place : 32 * (place + 1)]
    expected = plain.transpose(1, 2).reshape(2, 32, ROWS, COLUMNS)
    torch.testing.assert_close(found, expected)


def test_rotated_keys_have_the_length_of_those_before():
    body = small_body("vit_small_patch16_dinov3")
    found = HiddenStates(body, ["network.blocks.0.keys", "network.blocks.0.values"])(IMAGES)
    layer = body.network.blocks[0].attn
    seen = []
    layer.k_norm.register_forward_hook(lambda m, i, o: seen.append(o))
    with torch.no_grad():
        body(IMAGES)
    before = seen[0][:, :, 5:].norm(dim=-1)  # (B, heads, patches)
    keys = found["network.blocks.0.keys"].unflatten(1, (2, 16)).norm(dim=2).flatten(2)
    torch.testing.assert_close(keys, before)
    rotated = found["network.blocks.0.keys"].flatten(2)
    plain = seen[0][:, :, 5:].permute(0, 1, 3, 2).flatten(1, 2)
    assert not torch.allclose(rotated, plain, atol=1e-2)


@pytest.mark.parametrize("name", FAMILIES)
def test_hidden_states_of_a_block_and_of_the_whole(name):
    body = small_body(name)
    seen = []
    body.network.blocks[1].register_forward_hook(lambda m, i, o: seen.append(o))
    names = ["network.blocks.1", ""]
    found = HiddenStates(body, names)(IMAGES)
    assert list(found) == names
    with torch.no_grad():
        torch.testing.assert_close(found[""], body(IMAGES), rtol=0, atol=0)
    grid = seen[-1][:, FAMILIES[name] :].transpose(1, 2).unflatten(2, (ROWS, COLUMNS))
    torch.testing.assert_close(found["network.blocks.1"], grid, rtol=0, atol=0)


def test_the_network_is_as_before():
    body = small_body("eva02_tiny_patch14_224")
    with torch.no_grad():
        before = body(IMAGES)
    states = HiddenStates(body, ["network.blocks.2.keys", "network.blocks.0"])
    states(IMAGES)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in body.modules())
    with torch.no_grad():
        torch.testing.assert_close(body(IMAGES), before, rtol=0, atol=0)
    with pytest.raises(RuntimeError):
        states(torch.zeros(1, 4, 40, 40))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in body.modules())


def test_convolutional_networks_have_states_too():
    from wsss.models.backbones import BackboneConfig, build_backbone

    body = build_backbone(BackboneConfig(name="mobilenet_v2")).body.eval()
    found = HiddenStates(body, ["features.6"])(IMAGES)
    with torch.no_grad():
        expected = body[0][:7](IMAGES)
    torch.testing.assert_close(found["features.6"], expected)
    with pytest.raises(ValueError, match=r"it has no layer 'features\.6\.keys', but features\.6"):
        HiddenStates(body, ["features.6.keys"])
    with pytest.raises(
        ValueError, match=r"it has no layer 'network\.blocks\.3'.*network\.blocks\.2"
    ):
        HiddenStates(small_body("vit_small_patch14_dinov2"), ["network.blocks.3"])
