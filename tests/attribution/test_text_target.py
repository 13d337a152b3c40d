"""The number and the map that CLIP-ES explains (Lin et al., CVPR 2023), of a text classifier."""

import math

import pytest
import torch
from torch import nn

from tests.models.text_towers import colour_classifier, random_classifier
from wsss.attribution import AttributionConfig, MultiScaleConfig, TargetConfig, attribute
from wsss.attribution.gradients import GradientConfig, layer_rounds
from wsss.attribution.targets import Question

SOFTMAX = TargetConfig("softmax")


def share(logits, classes, r):
    given = [math.exp(logits[k]) for k in classes]
    return given[r] / (sum(given) + 1)


def test_the_share_among_the_given_classes_and_the_background():
    logits = torch.tensor([[3.0, 2.5, -1.0], [0.0, 1.0, 2.0]]).double()
    for classes in ([[0], [2]], [[0, 1], [1, 2]], [[0, 1, 2], [0, 1, 2]]):
        for r in range(len(classes[0])):
            found = Question(torch.tensor(classes), SOFTMAX).values(logits, r).tolist()
            expected = [share(row, own, r) for row, own in zip(logits.tolist(), classes)]
            assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("logit", [-60.0, -20.0, 20.0, 60.0])
def test_the_gradient_does_not_vanish_where_a_share_rounds_to_0_or_1(logit):
    logits = torch.tensor([[logit, 0.0]], requires_grad=True)
    Question(torch.tensor([[0]]), SOFTMAX).values(logits, 0).sum().backward()
    assert logits.grad is not None
    p = math.exp(-abs(logit)) / (1 + math.exp(-abs(logit))) ** 2
    assert float(logits.grad[0, 0]) == pytest.approx(p, rel=1e-5)


def images(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(7)).double()


def normed(x, module):
    x = x - x.mean(-1, keepdim=True)
    x = x / (x.square().mean(-1, keepdim=True) + module.eps).sqrt()
    return x * module.weight + module.bias


def last_block(block, before, x):
    """An open_clip block from the output x of its ln_1, written out."""
    attn = block.attn
    q, k, v = (x @ w.T + b for w, b in zip(
        attn.in_proj_weight.chunk(3), attn.in_proj_bias.chunk(3), strict=True))  # fmt: skip
    heads = []
    for h in range(attn.num_heads):
        own = slice(h * attn.head_dim, (h + 1) * attn.head_dim)
        weights = q[..., own] @ k[..., own].transpose(1, 2) / attn.head_dim**0.5
        heads.append(weights.softmax(-1) @ v[..., own])
    tokens = before + torch.cat(heads, -1) @ attn.out_proj.weight.T + attn.out_proj.bias
    hidden = normed(tokens, block.ln_2) @ block.mlp.c_fc.weight.T + block.mlp.c_fc.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    return tokens + hidden @ block.mlp.c_proj.weight.T + block.mlp.c_proj.bias


class Reference:
    """CLIP-ES by hand: the softmax, its gradient at ln_1 of the last block, and the map."""

    def __init__(self, model, seen, present):
        tower = model.backbone
        with torch.no_grad():
            tokens = tower._tokens  # the blocks up to the last, with open_clip's own modules
            kept = []
            block = tower.transformer.resblocks[-1]
            hook = block.register_forward_pre_hook(lambda m, inputs: kept.append(inputs[0]))
            tokens(seen)
            hook.remove()
        self.x = normed(kept[0], block.ln_1).detach().requires_grad_(True)
        tokens = normed(last_block(block, kept[0], self.x), tower.ln_post)
        pooled = tokens[:, 1:].mean(1) if tower.pooling == "patches" else tokens[:, 0]
        self.v = pooled @ tower.proj
        self.texts = torch.cat([model.text[present], model.background])
        self.scale = float(model.scale)

    def gradient(self, r):
        """dy_r / dx: the head in closed form, the block by autograd of what is written above."""
        v = self.v.detach()
        length = v.norm(dim=1, keepdim=True)
        e = v / length
        p = (self.scale * e @ self.texts.T).softmax(1)
        # dy_r / ds_j = p_r (d_rj - p_j), ds_j / de = scale t_j, de / dv = (1 - e e^T) / |v|
        slope = -p[:, r : r + 1] * p
        slope[:, r] += p[:, r]
        de = self.scale * slope @ self.texts
        dv = (de - e * (de * e).sum(1, keepdim=True)) / length
        (found,) = torch.autograd.grad(self.v, self.x, dv, retain_graph=True)
        return found

    def map(self, r, grid):
        cells, slopes = self.x.detach()[:, 1:], self.gradient(r)[:, 1:]
        return (cells * slopes.mean(1, keepdim=True)).sum(-1).relu().unflatten(1, grid)


@pytest.mark.parametrize("pooling", ["patches", "own"])
def test_gradient_and_map_by_hand(pooling):
    model, seen = random_classifier(pooling), images(2, 3, 32, 48)
    present = [0, 2]
    reference = Reference(model, seen, present)
    question = Question(torch.tensor([present, present]), SOFTMAX)
    layer = model.default_layers[0]
    rounds = layer_rounds(model, seen, question, [layer], GradientConfig())
    for r in range(2):
        expected = reference.gradient(r)[:, 1:].transpose(1, 2).unflatten(2, (4, 6))
        found = rounds[r].gradients[layer]
        assert (found - expected).abs().max() < 1e-10 * expected.abs().max()
    found = attribute(model, seen, [present, present], method="gradcam", size=(4, 6))
    assert found.layers == (layer,)
    maps = torch.stack([reference.map(r, (4, 6)) for r in range(2)], dim=1).flatten(0, 1)
    assert maps.flatten(1).amax(1).min() > 0
    assert (found.maps - maps).abs().max() < 1e-10 * maps.max()


class TestDefault:
    def test_the_model_names_its_target(self):
        model, seen = random_classifier(), images(1, 3, 32, 32)
        own = attribute(model, seen, [[0, 1]], method="gradcam").maps
        asked = attribute(model, seen, [[0, 1]], method="gradcam", target=SOFTMAX).maps
        logit = attribute(model, seen, [[0, 1]], method="gradcam", target=TargetConfig("logit"))
        assert torch.equal(own, asked)
        assert not torch.allclose(own / own.max(), logit.maps / logit.maps.max(), rtol=1e-3)

    def test_alone_it_is_the_logits_map(self):
        """With one label, the probability rises with the logit, and the maps agree up to size."""
        model, seen = random_classifier(), images(1, 3, 32, 32)
        own = attribute(model, seen, [[1]], method="gradcam").maps
        logit = attribute(model, seen, [[1]], method="gradcam", target=TargetConfig("logit")).maps
        assert (own / own.max() - logit / logit.max()).abs().max() < 1e-12

    def test_a_method_with_a_target_of_its_own_keeps_it(self):
        model, seen = random_classifier(), images(1, 3, 32, 32)
        own = attribute(model, seen, [[0, 1]], method="finercam").maps
        finer = attribute(
            model, seen, [[0, 1]], method="finercam", target=TargetConfig("finer")
        ).maps
        assert torch.equal(own, finer)

    @pytest.mark.parametrize("named", [nn.Identity(), "nonsense", None])
    def test_what_is_no_kind_of_target_counts_as_nothing(self, named):
        parts = (nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        model, seen = nn.Sequential(*parts).double().eval(), images(1, 3, 9, 9)
        expected = attribute(model, seen, 0, method="gradcam", layers="0").maps
        model.default_target = named
        assert torch.equal(attribute(model, seen, 0, method="gradcam", layers="0").maps, expected)

    def test_a_function_takes_its_place(self):
        model, seen = random_classifier(), images(1, 3, 32, 32)
        found = attribute(model, seen, target=lambda out: out[:, 1], method="gradcam").maps
        logit = attribute(model, seen, [[1]], method="gradcam", target=TargetConfig("logit")).maps
        assert torch.equal(found, logit)

    @pytest.mark.parametrize("method", ["legrad", "rollout", "tif", "layercam", "scorecam"])
    def test_other_methods(self, method):
        model, seen = random_classifier(), images(2, 3, 32, 40)
        maps = attribute(model, seen, [[0], [0, 2]], method=method).maps
        assert maps.shape == (3, 32, 40)
        assert maps.flatten(1).amax(1).min() > 0


@pytest.mark.parametrize("pooling", ["patches", "own"])
@pytest.mark.parametrize(("top", "left"), [(0, 0), (0, 40), (24, 0), (24, 40), (11, 19)])
def test_the_map_is_where_the_square_is(pooling, top, left):
    model = colour_classifier(pooling)
    seen = torch.zeros(1, 3, 48, 64)
    seen[0, :, top : top + 24, left : left + 24] = torch.tensor([0.9, -0.8, -0.8])[:, None, None]
    inside = torch.zeros(48, 64, dtype=torch.bool)
    inside[top : top + 24, left : left + 24] = True
    views = MultiScaleConfig(scales=(1.0, 1.5), flip=True)
    assert AttributionConfig("gradcam").target.kind == "own"
    found = attribute(model, seen, [[0]], method="gradcam", scales=views).maps[0]
    assert inside[found == found.max()].all()
    assert found[inside].mean() > 8 * found[~inside].mean()
