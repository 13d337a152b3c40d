"""Layers of networks that do not name them, and the ways to say which classes."""

import itertools

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from wsss.attribution import MultiScaleConfig, attribute, attribute_multiscale, find_layers
from wsss.attribution.layers import _longest_fall
from wsss.models import BACKBONES, BackboneConfig, build_classifier

IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def stages(name: str) -> list[str]:
    """What our own table says of a network of torchvision."""
    return [stage.removesuffix(".30") for stage in BACKBONES[name].stages]


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0", "convnext_tiny"]
)
def test_the_last_of_each_resolution_is_what_the_table_says(name):
    torch.manual_seed(0)
    net = torchvision.models.get_model(name, weights=None).eval()
    found = find_layers(net, IMAGES)
    expected = list(BACKBONES[name].stages)
    if found[-1] == "features":  # the whole body ends where its last stage does
        expected[-1] = "features"
    assert found == expected
    # of an odd size, a map has its stride but for rounding: 63 pixels are 16 cells
    assert find_layers(net, IMAGES[..., :63, :95]) == expected
    assert attribute(net, IMAGES, 7).layers == tuple(found)
    assert attribute(net, IMAGES, 7, method="gradcam").layers == (found[-1],)


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("resnet18", (64, 96), ["layer1", "layer2", "layer3", "layer4"]),
        ("test_vit", (160, 160), ["blocks.4"]),
        ("test_convnext", (64, 96), ["stages.0", "stages.1", "stages.2", "norm_pre"]),
    ],
)
def test_networks_of_timm(name, size, expected):
    """Behind the last block of a ViT only the class token counts: the block before it is taken."""
    import timm

    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=5).eval()
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    found = attribute(net, images, [1, 3])
    assert found.layers == tuple(expected)
    assert found.maps.flatten(1).any(dim=1).all()
    assert all(module.training is False for module in net.modules())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("densenet121", 96, "features"),  # overwritten in place by what follows
        ("googlenet", 96, "inception5b"),
        ("regnet_y_400mf", 96, "trunk_output"),
        ("maxvit_t", 224, "blocks.3"),  # windows are cut out of its maps
    ],
)
def test_what_is_found_in_other_networks_can_be_explained(name, size, expected):
    torch.manual_seed(0)
    options = {"init_weights": False} if name == "googlenet" else {}
    net = torchvision.models.get_model(name, weights=None, **options).eval()
    images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    for method in ("tif", "gradcam"):
        found = attribute(net, images, 3, method=method)
        assert found.layers[-1] == expected
    grids = [attribute(net, images, 3, layers=layer).layers for layer in find_layers(net, images)]
    assert len(grids) >= 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side", "expected"),
    [
        # its last stage is one window, whose matrix of attention looks like a map of 49 x 49
        ("swin_tiny_patch4_window7_224", 224, ("layers.0", "layers.1", "layers.2", "norm")),
        # positions are features that do not depend on the image
        ("edgenext_xx_small", 128, ("stages.0", "stages.1", "stages.2", "norm_pre")),
    ],
)
def test_what_looks_like_a_map_and_is_none(name, side, expected):
    import timm

    torch.manual_seed(0)
    net = timm.create_model(name).eval()
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    assert tuple(find_layers(net, images)) == expected


@pytest.mark.parametrize("seed", range(20))
def test_the_longest_part_that_never_rises(seed):
    values = np.random.default_rng(seed).integers(0, 6, 9).tolist()
    found = [values[i] for i in _longest_fall(values)]
    falls = [
        part
        for length in range(10)
        for part in itertools.combinations(values, length)
        if all(a >= b for a, b in itertools.pairwise(part))
    ]
    assert tuple(found) in falls
    assert len(found) == max(map(len, falls))


class _Small(nn.Module):
    """A convolution of stride 4, and what a test puts behind it."""

    def __init__(self, behind: nn.Module) -> None:
        super().__init__()
        self.deep = nn.Conv2d(3, 5, 3, stride=4, padding=1)
        self.behind = behind

    def forward(self, images):
        return self.behind(self.deep(images).relu().mean(dim=(2, 3)))


def test_logits_whose_sum_is_constant():
    torch.manual_seed(0)
    assert find_layers(_Small(nn.Softmax(dim=1)).eval(), IMAGES) == ["deep"]


def test_a_network_whose_head_is_zero_is_told_so():
    head = nn.Linear(5, 2)
    nn.init.zeros_(head.weight)
    with pytest.raises(ValueError, match="can be explained: none gives a grid of cells that does"):
        find_layers(_Small(head).eval(), IMAGES)


def test_a_network_that_gives_a_tuple():
    class Two(nn.Module):
        def forward(self, values):
            return values, values

    with pytest.raises(ValueError, match=r"model: expected \(B, K\) logits"):
        attribute(_Small(Two()).eval(), IMAGES, 0)


def test_a_network_without_cells_is_told_so():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    with pytest.raises(
        ValueError, match="Sequential has no default_layers, and no module was found"
    ):
        attribute(net, IMAGES, 0)


class TestLabels:
    @pytest.fixture(scope="class")
    def model(self):
        torch.manual_seed(1)
        return build_classifier(BackboneConfig("squeezenet1_0"), 4).eval()

    @pytest.mark.parametrize(
        ("given", "rows"),
        [
            (2, [[0, 0, 1, 0], [0, 0, 1, 0]]),
            ([3, 0], [[0, 0, 0, 1], [1, 0, 0, 0]]),
            (torch.tensor([3, 0]), [[0, 0, 0, 1], [1, 0, 0, 0]]),
            (np.array([3, 0]), [[0, 0, 0, 1], [1, 0, 0, 0]]),
            (np.int64(1), [[0, 1, 0, 0], [0, 1, 0, 0]]),
            ([np.int64(1), 2], [[0, 1, 0, 0], [0, 0, 1, 0]]),
            (np.array([[0, 0, 1, 1], [1, 0, 0, 0]], np.float32), [[0, 0, 1, 1], [1, 0, 0, 0]]),
            ([[2, 0], []], [[1, 0, 1, 0], [0, 0, 0, 0]]),
            ([[1], [3, 2]], [[0, 1, 0, 0], [0, 0, 1, 1]]),
        ],
    )
    def test_indices_say_what_multi_hot_labels_say(self, model, given, rows):
        expected = attribute(model, IMAGES, torch.tensor(rows))
        found = attribute(model, IMAGES, given)
        assert torch.equal(found.maps, expected.maps)
        assert torch.equal(found.image_index, expected.image_index)
        assert torch.equal(found.class_index, expected.class_index)

    @pytest.mark.parametrize(
        "given",
        [
            [1],
            [1, 2, 3],
            [[1, -1], [0]],
            [0.5, 1.0],
            torch.zeros(2, 2, 2),
            -1,
            None,
            "dog",
            True,
            [True, False],
            torch.tensor([True, False]),
            [[1, 0, 0, 1], [0, 1, 0, 0]],
        ],
    )
    def test_what_names_no_classes_is_refused(self, model, given):
        with pytest.raises(ValueError, match="labels: expected"):
            attribute(model, IMAGES, given)

    def test_an_index_beyond_the_logits(self, model):
        with pytest.raises(ValueError, match="labels: class 4 of a model with 4 logits"):
            attribute(model, IMAGES, 4)

    def test_a_single_photograph(self, model):
        alone = attribute(model, IMAGES[0], 2).maps
        assert torch.equal(alone, attribute(model, IMAGES[:1], [2]).maps)


class TestScales:
    def test_factors_are_sizes_without_flips(self):
        torch.manual_seed(1)
        model = build_classifier(BackboneConfig("squeezenet1_0"), 4).eval()
        found = attribute(model, IMAGES, [[0, 3], [1]], scales=(0.75, 1.5))
        sizes = MultiScaleConfig(scales=(0.75, 1.5), flip=False)
        rows = [torch.tensor([1.0, 0, 0, 1]), torch.tensor([0.0, 1, 0, 0])]
        expected = [attribute_multiscale(model, i, r, sizes) for i, r in zip(IMAGES, rows)]
        torch.testing.assert_close(found.maps, torch.cat(expected), rtol=1e-4, atol=1e-6)
        assert found.layers == tuple(model.default_layers)

    def test_one_factor(self):
        torch.manual_seed(1)
        model = build_classifier(BackboneConfig("squeezenet1_0"), 4).eval()
        one = attribute(model, IMAGES, 1, scales=0.75).maps
        assert torch.equal(one, attribute(model, IMAGES, 1, scales=(0.75,)).maps)

    def test_all_scales_look_at_the_layers_of_the_first(self):
        """Of a network whose coarsest grid is one cell at the smaller size."""
        torch.manual_seed(0)
        net = torchvision.models.resnet18(weights=None).eval()
        found = attribute(net, IMAGES[:, :, :64, :64], 3, scales=MultiScaleConfig((0.5, 1.0)))
        assert found.layers == ("layer1", "layer2", "layer3", "layer4")

    def test_a_size_and_scales_do_not_go_together(self):
        with pytest.raises(ValueError, match="size: the maps of several scales"):
            attribute(torchvision.models.resnet18(), IMAGES, 0, scales=(1.0,), size=(3, 3))
