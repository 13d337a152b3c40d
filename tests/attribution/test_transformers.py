"""LeGrad and rollout, for networks that classify by their class token and for those that pool."""

import pytest
import torch
import torchvision
from torch import nn

from tests.attribution.networks import classifier
from wsss.attention import attention_modules, watched_attention
from wsss.attribution import attribute

SIZE = 64


def torchvisions_vit(dtype=torch.float64) -> nn.Module:
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(
        image_size=SIZE, patch_size=16, num_layers=3, num_heads=4, hidden_dim=32, mlp_dim=64,
        num_classes=5,
    ).to(dtype).eval()  # fmt: skip
    nn.init.normal_(model.heads.head.weight)
    for block in model.encoder.layers:
        nn.init.normal_(block.self_attention.in_proj_weight, std=0.3)
    return model


def timms_vit(**options) -> nn.Module:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=SIZE, depth=3, num_classes=5, **options
    ).double().eval()  # fmt: skip
    nn.init.normal_(model.head.weight)
    for block in model.blocks:
        nn.init.normal_(block.attn.qkv.weight, std=0.1)
    return model


def images():
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).double()


NETWORKS = {
    "torchvision": torchvisions_vit,
    "timm": timms_vit,
    "timm, registers": lambda: timms_vit(reg_tokens=3),
    "timm, pooled": lambda: timms_vit(class_token=False, global_pool="avg"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_watching_changes_nothing(name):
    model = NETWORKS[name]()
    before = model(images())
    with watched_attention(model) as found:
        torch.testing.assert_close(model(images()), before)
    assert [tuple(one.shape)[:2] for one in found] == [(2, found[0].shape[1])] * 3
    torch.testing.assert_close(found[0].sum(-1), torch.ones_like(found[0][..., 0]))
    assert torch.equal(model(images()), before)


def test_attention_that_is_another_sum_is_refused():
    """A module of the same parts that does something else."""
    model = timms_vit()
    attention = model.blocks[1].attn
    plain = attention.forward
    attention.forward = lambda x, **options: plain(x, **options) * 1.1
    with pytest.raises(ValueError, match=r"'blocks\.1\.attn': what it gives is no sum"):
        attribute(model, images(), 1, method="rollout")


def tail_of(model):
    """From a block's tokens to the logits."""
    if isinstance(model, torchvision.models.VisionTransformer):
        return lambda z: model.heads(model.encoder.ln(z)[:, 0])
    return lambda z: model.forward_head(model.norm(z))


def blocks_of(model):
    encoder = getattr(model, "encoder", None)
    return list(model.blocks if encoder is None else encoder.layers)


def slow_attention(model, image):
    """Weights and block outputs, by replaying each block by hand."""
    kept = []
    handles = [
        block.register_forward_hook(lambda m, i, o: kept.append(o)) for block in blocks_of(model)
    ]
    with watched_attention(model) as weights:
        output = model(image)
    for handle in handles:
        handle.remove()
    return weights, kept, output


@pytest.mark.parametrize("name", NETWORKS)
def test_legrad_block_by_block(name):
    model = NETWORKS[name]()
    found = attribute(model, images(), [[1, 3], [2]], method="legrad", size=(4, 4)).maps
    tail = tail_of(model)
    for n, (i, k) in enumerate([(0, 1), (0, 3), (1, 2)]):
        total = 0
        for block in range(3):
            weights, kept, _ = slow_attention(model, images()[i : i + 1])
            score = tail(kept[block])[0, k]
            (gradient,) = torch.autograd.grad(score, weights[block])
            total = total + gradient.relu().mean((0, 1, 2))[-16:] / 3
        torch.testing.assert_close(found[n].flatten(), total)


@pytest.mark.parametrize("name", NETWORKS)
def test_rollout_by_its_rule(name):
    model = NETWORKS[name]()
    found = attribute(model, images(), [[1, 3], [2]], method="rollout", size=(4, 4)).maps
    for n, (i, k) in enumerate([(0, 1), (0, 3), (1, 2)]):
        weights, _, output = slow_attention(model, images()[i : i + 1])
        gradients = torch.autograd.grad(output[0, k], weights)
        count = weights[0].shape[-1]
        relevance = torch.eye(count, dtype=torch.float64)
        for one, gradient in zip(weights, gradients, strict=True):
            relevance = relevance + (one * gradient)[0].clamp(min=0).mean(0) @ relevance
        relevance = (relevance - torch.eye(count)).detach()
        rows = relevance[-16:].mean(0) if "pooled" in name else relevance[0]
        torch.testing.assert_close(found[n].flatten(), rows[-16:])


@pytest.mark.parametrize("method", ["legrad", "rollout"])
@pytest.mark.parametrize("place", [(0, 0), (0, 3), (3, 0), (2, 2)])
def test_a_patch_that_alone_speaks_for_a_class_is_marked(method, place):
    """Attention that looks for one direction, and values that carry it to the class token."""
    model = torchvisions_vit()
    with torch.no_grad():
        direction = torch.zeros(32, dtype=torch.float64)
        direction[0], direction[1] = 1, -1
        model.conv_proj.weight.zero_()
        model.conv_proj.bias.zero_()
        model.conv_proj.weight[:, 0] = (direction / 256)[:, None, None]
        model.encoder.pos_embedding.zero_()
        model.class_token.copy_(torch.linspace(-1, 1, 32))
        for block in model.encoder.layers:
            attention = block.self_attention
            attention.in_proj_weight.zero_()
            attention.in_proj_weight[64:] = torch.eye(32)
            attention.in_proj_bias.zero_()
            attention.out_proj.weight.copy_(torch.eye(32))
            attention.out_proj.bias.zero_()
        model.heads.head.weight[1] = direction
    image = torch.zeros(1, 3, SIZE, SIZE).double()
    y, x = (16 * one for one in place)
    image[:, :, y : y + 16, x : x + 16] = 1
    found = attribute(model, image, 1, method=method, size=(4, 4)).maps[0]
    assert divmod(int(found.argmax()), 4) == place
    assert found[place] > 2 * found.flatten().sort().values[-2]


@pytest.mark.parametrize("method", ["legrad", "rollout"])
def test_our_classifiers_and_odd_sizes(method):
    model = classifier("timm/vit_tiny_patch16_224")
    found = attribute(model, torch.randn(2, 3, 70, 100), [[0, 1], [3]], method=method)
    assert found.maps.shape == (3, 70, 100)
    assert (found.maps.amax((1, 2)) > 0).all()


@pytest.mark.parametrize("method", ["legrad", "rollout"])
def test_windows_are_refused(method):
    with pytest.raises(ValueError, match=r"expected a vision transformer whose blocks attend"):
        attribute(classifier("swin_t"), torch.randn(1, 3, 64, 64), 0, method=method)


@pytest.mark.parametrize("method", ["legrad", "rollout"])
def test_half_precision_and_heads_that_are_zero(method):
    model = torchvisions_vit(torch.bfloat16)
    found = attribute(model, images().bfloat16(), 1, method=method).maps
    assert torch.isfinite(found).all()
    nn.init.zeros_(model.heads.head.weight)
    assert attribute(model.double(), images(), 1, method=method).maps.abs().max() == 0


def test_legrad_of_a_network_that_adds_in_place():
    class Adding(nn.Module):
        def __init__(self, block, in_place):
            super().__init__()
            self.block, self.in_place = block, in_place

        def forward(self, tokens):
            tokens = self.block(tokens)
            if self.in_place:
                tokens += 0.5 * tokens.mean(1, keepdim=True)
                return tokens
            return tokens + 0.5 * tokens.mean(1, keepdim=True)

    maps = []
    for in_place in (True, False):
        model = timms_vit()
        model.blocks = nn.Sequential(*[Adding(block, in_place) for block in model.blocks])
        maps.append(attribute(model, images(), 1, method="legrad").maps)
    torch.testing.assert_close(*maps)


class Named(nn.Module):
    """A transformer of one's own: attention asked by name, and as many other things as wanted."""

    def __init__(self, times=1, parallel=False):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, 16, 8, 8)
        self.blocks = nn.ModuleList([NamedBlock(parallel) for _ in range(2)])
        self.times, self.head = times, nn.Linear(16, 4)

    def forward(self, images):
        tokens = self.embed(images).flatten(2).mT
        for block in self.blocks:
            for _ in range(self.times):
                tokens = block(tokens)
        return self.head(tokens.mean(1))


class NamedBlock(nn.Module):
    def __init__(self, parallel):
        super().__init__()
        self.parts = nn.ModuleList(
            [nn.MultiheadAttention(16, 2, batch_first=True) for _ in range(1 + parallel)]
        )
        if not parallel:
            self.attention = self.parts[0]
            del self.parts

    def forward(self, z):
        parts = self.parts if hasattr(self, "parts") else [self.attention]
        return z + sum(part(query=z, key=z, value=z)[0] for part in parts)


@pytest.mark.parametrize("method", ["legrad", "rollout"])
def test_attention_asked_by_name_and_what_is_no_road_of_blocks(method):
    image = torch.randn(1, 3, 32, 32)
    assert attribute(Named().eval(), image, 1, method=method).maps.amax() > 0
    with pytest.raises(ValueError, match="runs more than once in a forward pass"):
        attribute(Named(times=2).eval(), image, 1, method=method)
    with pytest.raises(ValueError, match="one attention in each of its blocks"):
        attribute(Named(parallel=True).eval(), image, 1, method=method)


@pytest.mark.parametrize("method", ["scorecam", "ablationcam", "shapleycam", "gradcam"])
def test_a_layer_of_which_the_class_token_alone_is_read_is_refused(method):
    with pytest.raises(ValueError, match="only its class token reaches the logits"):
        attribute(
            torchvisions_vit(), images(), 1, method=method, layers="encoder.layers.encoder_layer_2"
        )


def test_a_network_whose_last_block_is_refused_by_others_has_maps():
    model = torchvisions_vit()
    last = "encoder.layers.encoder_layer_2"
    with pytest.raises(ValueError, match="only its class token reaches the logits"):
        attribute(model, images(), 1, method="gradcam", layers=last)
    for method in ("legrad", "rollout"):
        assert attribute(model, images(), 1, method=method).maps.amax() > 0
    assert list(attention_modules(model))[-1] == f"{last}.self_attention"
