"""Every decoder on every kind of backbone, at sizes that fit no grid."""

import copy
import functools

import pytest
import torch

from wsss.models import BackboneConfig, SegmenterConfig, build_segmenter, segmenter
from wsss.models.backbones import build_backbone
from wsss.models.decoders import PYRAMIDS, DeepLabV3PlusHead, Grids, _halving, _relative_strides
from wsss.models.taps import Tap, find_taps

NAMES = ["deeplabv2", "deeplabv3plus", *PYRAMIDS]
QUICK = ["mobilenet_v2", "resnet18", "narrow_resnet10", "timm/test_convnext", "timm/test_vit"]
LARGE = ["convnext_tiny", "swin_t", "vit_b_16"]
BACKBONES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]


@pytest.fixture(autouse=True)
def built_once(monkeypatch):
    """Random weights take longer to draw than to use."""
    monkeypatch.setattr(segmenter, "build_backbone", _backbone)
    monkeypatch.setattr(segmenter, "find_taps", lambda body, names: _stages(body, tuple(names)))


@functools.cache
def _backbone(config: BackboneConfig):
    return build_backbone(config)


@functools.cache
def _stages(body, names):
    return find_taps(body, names)


def build(name, backbone, **changes):
    torch.manual_seed(0)
    stride = {"output_stride": 16} if backbone == "timm/test_vit" else {}
    return build_segmenter(SegmenterConfig(name, backbone, channels=32, **stride, **changes), 4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_any_decoder_on_any_backbone_at_odd_sizes(name, backbone):
    model = build(name, backbone).eval()
    images = torch.randn(1, 3, 49, 66)
    with torch.no_grad():
        features = model.features(images)
        logits = model.segment(features, (49, 66))
        assert logits.shape == (1, 4, 49, 66)
        assert torch.isfinite(logits).all()
        assert len(features) == len(model.taps)
        assert model.taps[-1] == ""
        assert all(feature.dim() == 4 for feature in features)
        if backbone in QUICK:
            assert torch.equal(features[-1], model.backbone(images))
            assert torch.equal(model(images), logits)
            assert model(torch.randn(2, 3, 97, 130)).shape == (2, 4, 97, 130)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_and_every_weight_has_a_part_in_it(name):
    model = build(name, "narrow_resnet10").train()
    images = torch.randn(2, 3, 49, 66)
    labels = (images[:, 0] > 0).long()
    optimizer = torch.optim.Adam(model.head.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        losses.append(float(loss))
        assert all(p.grad is not None and p.grad.any() for p in model.head.parameters())
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", PYRAMIDS)
def test_too_few_stages_are_refused_with_the_way_out(name):
    with pytest.raises(ValueError, match=f"{name} takes four stages, and squeezenet1_0 has 3; ta"):
        build(name, "squeezenet1_0")
    assert build("deeplabv3plus", "squeezenet1_0").taps == ["features.10", ""]


@pytest.mark.parametrize(
    ("stride", "taps"), [(4, "features.3"), (8, "features.6"), (16, "features.13")]
)
def test_the_shallow_stage_is_the_nearest_to_the_stride(stride, taps):
    assert build("deeplabv3plus", "mobilenet_v2", shallow_stride=stride).taps == [taps, ""]


def test_of_several_stages_of_one_stride_the_shallowest_is_joined():
    model = build("deeplabv3plus", "mobilenet_v2", output_stride=8, rates=(1, 2, 3))
    assert model.taps == ["features.6", ""]


def test_channels_are_the_width_of_the_decoder():
    sizes = [
        sum(p.numel() for p in build_head.parameters())
        for build_head in (
            build_segmenter(SegmenterConfig("deeplabv3plus", "mobilenet_v2", channels=c), 4).head
            for c in (None, 256, 128)
        )
    ]
    assert sizes[0] == sizes[1]
    assert 600_000 < sizes[2] < 0.5 * sizes[1]


@pytest.mark.parametrize(("channels", "taken"), [(16, 16), (64, 64), (65, 64)])
def test_a_wide_last_stage_is_narrowed_to_twice_the_width(channels, taken):
    taps = [Tap("low", 24, 8, "channels first"), Tap("", channels, 16, "channels first")]
    head = DeepLabV3PlusHead(taps, 5, 32, (2, 4, 8)).eval()
    seen = []
    head.decoder.aspp.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    scores = head([torch.randn(2, 24, 9, 11), torch.randn(2, channels, 5, 6)])
    assert seen == [(2, taken, 5, 6)]
    assert scores.shape == (2, 5, 9, 11)


@pytest.mark.parametrize("name", NAMES)
def test_images_are_judged_one_by_one_once_trained(name):
    """No statistic of the batch and no size of another image enters: as masks are predicted."""
    model = build(name, "narrow_resnet10").eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        both = model(images)
        alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-5)


CNN = [Tap("", 1, stride, "channels first") for stride in (4, 8, 16, 32)]


class TestGrids:
    def sizes(self, grids, *sizes):
        maps = grids.resize([torch.zeros(1, 1, *size) for size in sizes])
        return [tuple(m.shape[2:]) for m in maps]

    def test_whole_multiples_stay(self):
        features = [torch.randn(1, 2, 64 // s, 96 // s) for s in (4, 8, 16, 32)]
        assert all(a is b for a, b in zip(features, _halving(CNN).resize(features)))

    def test_odd_ones_become_the_nearest_that_halve(self):
        found = self.sizes(_halving(CNN), (25, 33), (13, 17), (7, 9), (4, 5))
        assert found == [(24, 32), (12, 16), (6, 8), (3, 4)]
        assert self.sizes(_halving(CNN), (1, 2), (1, 1), (1, 1), (1, 1))[-1] == (1, 1)

    def test_one_stride_becomes_a_pyramid_from_its_quarter_on(self):
        vit = [tap._replace(stride=16) for tap in CNN]
        assert self.sizes(_halving(vit), *[(7, 8)] * 4) == [(32, 32), (16, 16), (8, 8), (4, 4)]

    @pytest.mark.parametrize(
        ("strides", "relative"),
        [
            ((4, 8, 16, 32), [4, 8, 16, 32]),
            ((2, 4, 8, 16), [4, 8, 16, 32]),
            ((4, 8, 16, 16), [4, 8, 16, 16]),
            ((16, 16, 16, 16), [16, 16, 16, 16]),
            ((2, 4, 8, 32), [4, 8, 16, 32]),
        ],
    )
    def test_strides_count_from_the_finest(self, strides, relative):
        taps = [tap._replace(stride=stride) for tap, stride in zip(CNN, strides)]
        assert _relative_strides(taps) == relative


def test_a_copy_is_a_network_of_its_own():
    model = build("fpn", "narrow_resnet10").eval()
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
        images = torch.randn(1, 3, 64, 64)
        assert not other(images).any()
        assert model(images).any()
    assert isinstance(other.head.grids, Grids)
