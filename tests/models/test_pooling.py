"""Pooling of class maps against the formulas, cell by cell, in float64."""

import math

import pytest
import torch
from torch import nn

from wsss.attribution import attribute
from wsss.models import BackboneConfig, PoolingConfig, build_classifier
from wsss.models.pooling import Pooling, cells_inside, mean_cells

CONFIGS = [
    PoolingConfig("mean"),
    PoolingConfig("max"),
    PoolingConfig("lse"),
    PoolingConfig("lse", sharpness=7.0),
    PoolingConfig("topk", share=0.2),
    PoolingConfig("topk", share=1e-6),
    PoolingConfig("gem"),
    PoolingConfig("gem", sharpness=1.0),
    PoolingConfig("attention"),
    PoolingConfig("lse", sharpness=1.5, learned=True),
    PoolingConfig("gem", learned=True),
]


def reference(config, cells, heard):
    """The logit of one class from a list of cells; ``heard`` are what attention says of them."""
    n, r = len(cells), config.start
    if config.kind == "mean":
        return sum(cells) / n
    if config.kind == "max":
        return max(cells)
    if config.kind == "lse":
        return math.log(sum(math.exp(r * z) for z in cells) / n) / r
    if config.kind == "topk":
        k = max(1, math.floor(config.share * n))
        return sum(sorted(cells)[-k:]) / k
    if config.kind == "gem":
        chance = (sum((1 / (1 + math.exp(-z))) ** r for z in cells) / n) ** (1 / r)
        return math.log(chance / (1 - chance))
    weights = [math.exp(a) for a in heard]
    return sum(w * z for w, z in zip(weights, cells, strict=True)) / sum(weights)


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 6, 4, 5, generator=generator, dtype=torch.float64)
    return torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64) * 3, features


INSIDE = torch.zeros(2, 4, 5, dtype=torch.bool)
INSIDE[0, 1:3, :4] = True
INSIDE[1, 3, 4] = True  # a single cell


@pytest.mark.parametrize("inside", [None, INSIDE], ids=["whole", "padded"])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_it_is_the_formula(config, inside, maps):
    values, features = maps
    torch.manual_seed(3)
    pooling = Pooling(config, 6, 3).double()
    found = pooling(values, features, inside)
    heard = pooling.attention(features) if pooling.attention is not None else values
    counted = torch.ones(2, 4, 5, dtype=torch.bool) if inside is None else inside
    expected = [
        [
            reference(config, values[b, k][counted[b]].tolist(), heard[b, k][counted[b]].tolist())
            for k in range(3)
        ]
        for b in range(2)
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_shares_of_the_gradient_are_none_outside_and_add_up_to_one(config, maps):
    values, features = maps
    values.requires_grad_(True)
    pooling = Pooling(config, 6, 3).double()
    (gradient,) = torch.autograd.grad(pooling(values, features, INSIDE).sum(), values)
    assert not gradient[~INSIDE[:, None].expand_as(gradient)].any()
    assert (gradient >= 0).all()
    if config.kind != "gem":  # a mean of probabilities
        torch.testing.assert_close(gradient.sum(dim=(2, 3)), torch.ones(2, 3, dtype=torch.float64))


@pytest.mark.parametrize("low", [-80.0, 80.0])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_logits_far_from_zero_stay_finite(config, low):
    values = torch.full((1, 2, 3, 3), low, requires_grad=True)
    logits = Pooling(config, 4, 2)(values, torch.zeros(1, 4, 3, 3))
    (gradient,) = torch.autograd.grad(logits.sum(), values)
    assert torch.isfinite(logits).all()
    assert torch.isfinite(gradient).all()


def test_a_learned_sharpness_is_that_of_each_class_and_moves():
    pooling = Pooling(PoolingConfig("lse", learned=True), 4, 2)
    values = torch.randn(1, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.SGD(pooling.parameters(), lr=0.5)
    before = pooling(values, values).detach()
    for _ in range(20):
        optimiser.zero_grad()
        logits = pooling(values, values)[0]
        (logits[1] - logits[0]).backward()  # the first class up, the second down
        optimiser.step()
    after = pooling(values, values).detach()
    assert after[0, 0] > before[0, 0] + 0.1
    assert after[0, 1] < before[0, 1] - 0.1
    assert pooling.log_sharpness[0] > math.log(2) > pooling.log_sharpness[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "avg"}, "expected one of mean, max, lse, topk, gem, attention, got 'avg'"),
        ({"kind": "mean", "sharpness": 2.0}, "only lse and gem have a sharpness, not mean"),
        ({"kind": "topk", "learned": True}, "pooling.learned: only lse and gem"),
        ({"kind": "lse", "sharpness": 0.0}, "expected a finite number above 0, got 0"),
        ({"kind": "topk", "share": 0.0}, "0 < share <= 1"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        PoolingConfig(**options)


class TestCells:
    def test_a_cell_is_inside_by_its_centre(self):
        # four cells of 16 pixels; 24 and 40 are centres
        box = torch.tensor([[0, 24, 64, 40]])
        assert cells_inside(box, (64, 64), (4, 4))[0].tolist() == [[False, True, False, False]] * 4

    def test_a_small_image_keeps_one_cell(self):
        box = torch.tensor([[33, 33, 36, 36]])
        inside = cells_inside(box, (64, 64), (4, 4))
        assert inside.sum() == 1
        assert inside[0, 2, 2]

    def test_the_whole_is_inside(self):
        assert cells_inside(torch.tensor([[0, 0, 50, 70]]), (50, 70), (4, 5)).all()

    def test_the_mean_of_cells_is_that_of_a_cut_image(self, maps):
        features = maps[1]
        found = mean_cells(features, INSIDE)
        torch.testing.assert_close(found[0], features[0, :, 1:3, :4].mean(dim=(1, 2)))
        torch.testing.assert_close(found[1], features[1, :, 3, 4])


STAGES = ["layer2", "layer3", "layer4"]


def network(stages=None, **pooling):
    torch.manual_seed(1)
    config = BackboneConfig("narrow_resnet10", output_stride=8)
    model = build_classifier(config, 4, stages=stages, pooling=PoolingConfig(**pooling))
    nn.init.normal_(model.head.weight)
    if stages is not None:
        nn.init.normal_(model.head.bias)
    return model.double().eval()


IMAGES = torch.randn(2, 3, 64, 80, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("stages", [None, STAGES, ["layer2"]], ids=str)
@pytest.mark.parametrize("kind", ["mean", "max", "lse", "topk", "gem", "attention"])
def test_cam_is_the_head_on_every_cell(kind, stages):
    model = network(stages, kind=kind)
    found = attribute(model, IMAGES, [[0, 2], [3]], method="cam")
    with torch.no_grad():
        maps = model.class_maps(IMAGES)[[0, 0, 1], [0, 2, 3]].relu()
    expected = nn.functional.interpolate(
        maps[:, None], (64, 80), mode="bilinear", align_corners=False
    )[:, 0]
    assert expected.any()
    # a mean of probabilities has shares that add up to another number
    factor = found.maps.sum((1, 2)) / expected.sum((1, 2)).clamp_min(1e-9)
    if kind != "gem":
        factor = torch.ones_like(factor)
    torch.testing.assert_close(found.maps, expected * factor[:, None, None])


@pytest.mark.parametrize("kind", ["mean", "max", "lse", "topk", "attention"])
def test_grad_cam_is_cam_over_the_number_of_cells(kind):
    model = network(kind=kind)
    cam, gradcam = (attribute(model, IMAGES, 1, method=m).maps for m in ("cam", "gradcam"))
    torch.testing.assert_close(gradcam * (8 * 10), cam)


def test_class_maps_of_several_stages_are_their_sum():
    """Against one linear head on all features at once, on the grid of the finest stage."""
    model = network(STAGES, kind="lse")
    # statistics other than those at the start
    for norm in model.head.norms:
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    features = model.features(IMAGES)
    columns = torch.cat(
        [
            nn.functional.interpolate(
                norm(stage), features[0].shape[2:], mode="bilinear", align_corners=False
            )
            for norm, stage in zip(model.head.norms, features, strict=True)
        ],
        dim=1,
    )
    expected = torch.einsum("bchw,kc->bkhw", columns, model.head.weight)
    expected = expected + model.head.bias[:, None, None]
    torch.testing.assert_close(model.class_maps(IMAGES), expected)
    assert len({stage.shape[2] for stage in features}) > 1


def test_padding_changes_nothing_but_at_the_border():
    """Logits of a padded image, of which a box is told, are nearer to those of the image alone."""
    model = network(kind="mean")
    padded = torch.zeros(2, 3, 128, 160, dtype=torch.float64)
    padded[:, :, 32:96, 40:120] = IMAGES
    box = torch.tensor([[32, 40, 96, 120]]).expand(2, 4)
    with torch.no_grad():
        alone, told, untold = model(IMAGES), model(padded, box), model(padded)
    assert (told - alone).abs().max() < 0.3 * (untold - alone).abs().max()


@pytest.mark.parametrize("stages", [[], ["layer2", "layer2"], ["layer7"]])
def test_stages_that_are_none_are_refused(stages):
    with pytest.raises(ValueError, match=r"stages: expected names .*'layer1', 'layer2'"):
        build_classifier(BackboneConfig("narrow_resnet10"), 2, stages=stages)


def test_stages_of_tokens_need_the_last():
    names = ["encoder.layers.encoder_layer_2", "encoder.layers.encoder_layer_8"]
    with pytest.raises(ValueError, match="name it too"):
        build_classifier(BackboneConfig("vit_b_16"), 2, stages=names)
    model = build_classifier(BackboneConfig("vit_b_16"), 2, stages=[*names, ""]).eval()
    assert model.class_maps(torch.zeros(1, 3, 64, 80)).shape == (1, 2, 4, 5)


def test_tif_looks_at_the_stages_alone():
    model = network(["layer1", "layer3"], kind="lse")
    found = attribute(model, IMAGES, 1)
    assert found.layers == ("backbone.layer1", "backbone.layer3")
    assert (found.maps.flatten(1).amax(1) > 0).any()


def test_padding_has_no_part_in_the_normalisation_of_stages():
    """A training on padded images learns the statistics of the images."""
    model = network(STAGES, kind="lse").train()
    model.backbone.eval()
    padded = torch.zeros(2, 3, 128, 160, dtype=torch.float64)
    padded[:, :, :64, :80] = IMAGES
    model(padded, torch.tensor([[0, 0, 64, 80]]).expand(2, 4))
    norm = model.head.norms[2]
    with torch.no_grad():
        cells = model.features(padded)[2][:, :, :8, :10].transpose(0, 1).flatten(1)
    expected = 0.1 * cells.mean(dim=1)
    torch.testing.assert_close(norm.running_mean, expected)
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * cells.var(dim=1, unbiased=False))
