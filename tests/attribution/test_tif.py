"""TIF against its slow reference, and the equalities that define it and the CAM family."""

import itertools

import pytest
import torch
from torch import nn

from tests.attribution import reference
from tests.attribution.lively import EXACT, classifier, images_and_labels, model
from wsss.attribution import TIFConfig, attribute
from wsss.attribution.methods import METHODS
from wsss.attribution.tif import tif_layer
from wsss.models import BACKBONES

__all__ = ["model"]


@pytest.fixture(scope="module")
def recorded(model):
    """What the slow reference sees at each layer; it does not depend on TIF's options."""
    return reference.record(model, *images_and_labels(), model.default_layers)


OPTIONS = [
    TIFConfig(),
    TIFConfig(alpha=0.2),
    TIFConfig(threshold="mean", alpha=1.5, region="residual", weights="one"),
    TIFConfig(threshold="quantile", alpha=0.6, base="relu_g_a", weights="sum_ga", fusion="max"),
    TIFConfig(region="binary", alpha=0.1, fusion="gate"),
    TIFConfig(base="ga", threshold="none", weights="one", normalise="none", fusion="mean"),
    TIFConfig(base="a", alpha=0.3, region="binary", negative_weights="keep", fusion="product"),
    TIFConfig(alpha=0.0, region="binary"),
    TIFConfig(base="ga", threshold="mean", alpha=0.5, region="residual", negative_weights="keep"),
]


@pytest.mark.parametrize("config", OPTIONS, ids=str)
def test_tif_equals_the_slow_reference(model, recorded, config):
    images, labels = images_and_labels()
    result = attribute(model, images, labels, tif=config)
    expected = reference.tif(recorded, images.shape[2:], config)
    torch.testing.assert_close(result.maps, expected, **EXACT)
    assert result.image_index.tolist() == [0, 0, 1, 2, 2, 2]
    assert result.class_index.tolist() == [0, 2, 2, 0, 1, 3]
    if config.fusion != "product":
        assert (result.maps.flatten(1).amax(1) > 0).any(), "the comparison was of zeros alone"


def test_every_option_alone_equals_the_reference_on_a_layer():
    torch.manual_seed(5)
    a, g = torch.randn(2, 2, 7, 5, 6, dtype=torch.float64)
    freedoms = itertools.product(
        ("relu_ga", "relu_g_a", "ga", "a"),
        (("max", 0.3), ("quantile", 0.5), ("mean", 0.7), ("max", 0.0), ("quantile", 0.0)),
        ("soft", "binary", "residual"),
        ("mean_gradient", "sum_ga", "one"),
        ("cut", "keep"),
    )
    for base, (threshold, alpha), region, weights, negative in freedoms:
        config = TIFConfig(
            base=base,
            threshold=threshold,
            alpha=alpha,
            region=region,
            weights=weights,
            negative_weights=negative,
        )
        expected = torch.stack([reference.layer_map(x, y, config) for x, y in zip(a, g)])
        torch.testing.assert_close(tif_layer(a, g, config), expected, msg=str(config), **EXACT)


@pytest.mark.parametrize(
    ("method", "config"),
    [
        (
            "layercam",
            TIFConfig(base="relu_g_a", alpha=0.0, weights="one", normalise="none"),
        ),
        (
            "gradcam",
            TIFConfig(base="a", threshold="none", negative_weights="keep", normalise="none"),
        ),
        ("hirescam", TIFConfig(base="ga", threshold="none", weights="one", normalise="none")),
    ],
)
def test_baselines_are_special_cases_of_tif(model, method, config):
    images, labels = images_and_labels()
    last = model.default_layers[-1:]
    # every last layer here ends in a ReLU, so activations are at least 0 as LayerCAM has it
    by_tif = attribute(model, images, labels, layers=last, tif=config)
    by_method = attribute(model, images, labels, method=method)
    torch.testing.assert_close(by_tif.maps, by_method.maps, **EXACT)
    assert by_method.maps.max() > 0


def test_gradient_behind_pooling_is_the_weight_and_grad_cam_is_cam(model):
    images, labels = images_and_labels()
    features = model.backbone(images)
    cells = features.shape[2] * features.shape[3]
    cam = torch.stack(
        [
            torch.einsum("k,khw->hw", model.head.weight[c], features[i]).relu()
            for i, c in labels.nonzero().tolist()
        ]
    )
    upsampled = nn.functional.interpolate(cam[:, None], images.shape[2:], mode="bilinear")[:, 0]
    by_cam = attribute(model, images, labels, method="cam").maps
    by_gradcam = attribute(model, images, labels, method="gradcam").maps
    torch.testing.assert_close(by_cam, upsampled, **EXACT)
    torch.testing.assert_close(by_gradcam * cells, upsampled, **EXACT)


def weighted(activation, weights):
    """relu(sum of weight * map) of one image, channel by channel."""
    total = torch.zeros_like(activation[0])
    for weight, channel in zip(weights, activation, strict=True):
        total += weight * channel
    return total.clamp(min=0)


@pytest.mark.parametrize("lowest", [0.0, -0.5], ids=["after a ReLU", "of both signs"])
def test_gradcampp_and_xgradcam_follow_their_papers(lowest):
    """Grad-CAM++'s equation 19 with its alpha as printed, XGrad-CAM's equation 8."""
    torch.manual_seed(2)
    a = torch.rand(3, 6, 4, 5, dtype=torch.float64) + lowest
    g = torch.randn(3, 6, 4, 5, dtype=torch.float64)
    g[0, 0] = 0
    a[1, 2] = 0
    for i in range(3):
        plusplus, axiom = [], []
        for k in range(6):
            weight = 0.0
            for x, y in itertools.product(range(4), range(5)):
                pull = g[i, k, x, y].item()
                if pull != 0:
                    alpha = pull**2 / (2 * pull**2 + a[i, k].sum().item() * pull**3)
                    weight += alpha * max(pull, 0.0)
            plusplus.append(weight)
            total = a[i, k].sum().item()
            axiom.append((g[i, k] * a[i, k]).sum().item() / total if total else 0.0)
        by_plusplus = METHODS["gradcampp"].layer_map(a[i : i + 1], g[i : i + 1], TIFConfig())[0]
        by_axiom = METHODS["xgradcam"].layer_map(a[i : i + 1], g[i : i + 1], TIFConfig())[0]
        torch.testing.assert_close(by_plusplus, weighted(a[i], plusplus), **EXACT)
        torch.testing.assert_close(by_axiom, weighted(a[i], axiom), **EXACT)


def test_xgradcam_behind_pooling_is_cam_over_the_cells(model):
    images, labels = images_and_labels()
    cells = model.backbone(images).shape[2:].numel()
    by_xgradcam = attribute(model, images, labels, method="xgradcam").maps
    by_cam = attribute(model, images, labels, method="cam").maps
    torch.testing.assert_close(by_xgradcam * cells, by_cam, **EXACT)


def test_a_map_of_zeros_has_no_pull():
    zero = torch.zeros(1, 2, 3, 3)
    tried = [n for n, m in METHODS.items() if m.layer_map is not None and m.fixed_layers is None]
    assert len(tried) == 11
    for name in tried:
        layer = METHODS[name].layer_map
        assert layer(zero, torch.ones_like(zero), TIFConfig()).abs().max() == 0, name
        assert layer(torch.ones_like(zero), zero, TIFConfig()).abs().max() == 0, name


def test_cam_refuses_a_layer_without_pooling_behind_it(model):
    images, labels = images_and_labels()
    with pytest.raises(ValueError, match="a linear head and a pooling of its class maps"):
        attribute(model, images, labels, method="cam", layers=model.default_layers[:1])


def test_nonpositive_channels_give_zero():
    a = -torch.rand(1, 5, 4, 4, dtype=torch.float64)
    g = torch.rand(1, 5, 4, 4, dtype=torch.float64)
    for config in (TIFConfig(), TIFConfig(alpha=0.4), TIFConfig(threshold="mean", alpha=1.0)):
        assert tif_layer(a, g, config).abs().max() == 0


def test_a_batch_equals_its_images_one_by_one(model):
    images, labels = images_and_labels(seed=1)
    labels[1] = 0  # no class: no map
    together = attribute(model, images, labels)
    alone = [attribute(model, images[i : i + 1], labels[i : i + 1]).maps for i in range(3)]
    torch.testing.assert_close(together.maps, torch.cat(alone), **EXACT)
    assert together.image_index.tolist() == [0, 0, 2, 2, 2]


def test_dividing_by_the_layers_maxima_ignores_the_logits_scale(model):
    images, labels = images_and_labels()
    config = TIFConfig(weights="one")
    before = attribute(model, images, labels, tif=config).maps
    with torch.no_grad():
        model.head.weight *= 7
    try:
        after = attribute(model, images, labels, tif=config).maps
    finally:
        with torch.no_grad():
            model.head.weight /= 7
    torch.testing.assert_close(before, after, **EXACT)


def test_no_class_gives_no_map(model):
    images, labels = images_and_labels()
    assert attribute(model, images, labels * 0).maps.shape == (0, 32, 40)


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_usable_default_layers(name):
    model = classifier(name).float()
    images, labels = images_and_labels()
    maps = attribute(model, images.float(), labels).maps
    assert maps.shape == (6, 32, 40)
    assert torch.isfinite(maps).all()
    assert (maps.amax((1, 2)) > 0).all()


@pytest.mark.parametrize(
    "arguments",
    [
        {"alpha": 1.0},
        {"alpha": -0.1, "threshold": "mean"},
        {"threshold": "none", "region": "binary"},
    ],
)
def test_options_that_make_no_sense_are_refused(arguments):
    with pytest.raises(ValueError, match=r"tif\."):
        TIFConfig(**arguments)


def test_unknown_method_is_refused(model):
    images, labels = images_and_labels()
    with pytest.raises(ValueError, match="expected one of " + ", ".join(METHODS)):
        attribute(model, images, labels, method="camera")
