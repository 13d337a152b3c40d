"""Segmentation networks: sizes, the summed head, and backbones that start from a classifier."""

import pytest
import torch
import torchvision

from tests.conftest import SHAPES
from wsss.models import BackboneConfig, build_classifier
from wsss.models.deeplab import DEEPLAB_V3, ASPPSum
from wsss.models.segmenter import SegmenterConfig, build_segmenter
from wsss.normalisation import IMAGENET
from wsss.tasks.checkpoint import describe, load_backbone_weights, load_segmenter

NETWORKS = [
    *(
        {"backbone": name, "output_stride": 16}
        for name in ("resnet18", "mobilenet_v2", "vgg16", "squeezenet1_0", "vit_b_16")
    ),
    {"backbone": "resnet18", "output_stride": 8},
    {"backbone": "mobilenet_v2", "output_stride": 32},
    *({"name": name} for name in DEEPLAB_V3),
]


def config(**changes) -> SegmenterConfig:
    return SegmenterConfig(**{"rates": (1, 2), **changes})


@pytest.mark.parametrize("arguments", NETWORKS, ids=lambda a: "-".join(map(str, a.values())))
def test_output_has_the_size_of_the_input(arguments):
    torch.manual_seed(0)
    model = build_segmenter(config(**arguments), 4).eval()
    with torch.no_grad():
        for size in ((33, 47), (64, 50)):
            scores = model(torch.randn(1, 3, *size))
            assert scores.shape == (1, 4, *size)
            assert torch.isfinite(scores).all()


@pytest.mark.parametrize("name", ["deeplabv2", "deeplabv3_mobilenet_v3_large"])
def test_gradients_are_finite_in_training(name):
    torch.manual_seed(0)
    model = build_segmenter(config(name=name, backbone="resnet18", output_stride=16), 3).train()
    model(torch.randn(2, 3, 49, 65)).square().mean().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key


def test_one_image_can_be_trained_on():
    """Trap 14: a list of one image, or a batch size of 1."""
    model = build_segmenter(config(backbone="resnet18", output_stride=16), 3).train()
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 3, 64, 64)


class TestASPP:
    def test_branches_are_summed(self):
        torch.manual_seed(0)
        head = ASPPSum(5, 3, (1, 2, 4), normalise=False).double()
        for branch in head.branches:
            torch.nn.init.normal_(branch.bias)
        features = torch.randn(2, 5, 9, 11, dtype=torch.float64)
        expected = torch.zeros(2, 3, 9, 11, dtype=torch.float64)
        for rate, branch in zip((1, 2, 4), head.branches, strict=True):
            padded = torch.nn.functional.pad(features, [rate] * 4)
            for i in range(3):
                for j in range(3):
                    window = padded[:, :, i * rate : i * rate + 9, j * rate : j * rate + 11]
                    expected += torch.einsum("bchw,lc->blhw", window, branch.weight[:, :, i, j])
            expected += branch.bias[None, :, None, None]
        torch.testing.assert_close(head([features]), expected)

    def test_normalised_it_does_not_see_the_scale_of_its_input(self):
        torch.manual_seed(0)
        head = ASPPSum(5, 3, (1, 2), normalise=True).train()
        features = torch.randn(4, 5, 9, 11)
        scaled = 100 * features * torch.rand(1, 5, 1, 1).add(1) - 7
        torch.testing.assert_close(head([scaled]), head([features]), rtol=1e-3, atol=1e-4)
        plain = ASPPSum(5, 3, (1, 2), normalise=False)
        plain.branches = head.branches
        assert (plain([scaled]) - plain([features])).abs().max() > 1
        assert not [name for name, _ in head.named_parameters() if "norm" in name]

    def test_it_starts_small_and_unbiased(self):
        torch.manual_seed(0)
        head = ASPPSum(512, 21, (6, 12, 18, 24), normalise=False)
        assert len(head.branches) == 4
        for branch in head.branches:
            assert branch.bias.abs().max() == 0
            assert float(branch.weight.std()) == pytest.approx(0.01, rel=0.02)
            assert branch.dilation == branch.padding


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "nonet"}, r"model\.name: expected one of resnet18, .* got 'nonet'"),
        (
            {"backbone": "convnext_tiny", "output_stride": 8},
            r"output_stride: convnext_tiny allows 32, got 8",
        ),
        ({"rates": ()}, r"model\.rates: expected positive dilations"),
        ({"rates": (6, 0)}, r"model\.rates: expected positive dilations"),
        (
            {"backbone": "resnet18", "output_stride": 2},
            "output_stride: resnet18 allows 32, 16, 8, 4",
        ),
        ({"name": "deeplabv3plus", "rates": (1, 2)}, r"model\.rates: deeplabv3plus has three, got"),
        ({"channels": 0}, r"model\.channels: expected at least 1, got 0"),
        ({"name": "fpn", "channels": 48}, r"model\.channels: expected a multiple of 32, .* got 48"),
        ({"shallow_stride": 0}, r"model\.shallow_stride: expected at least 1, got 0"),
    ],
)
def test_settings_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        SegmenterConfig(**arguments)


@pytest.mark.parametrize(
    ("name", "backbone", "stride", "rates"),
    [
        ("deeplabv2", "resnet101", 8, (6, 12, 18, 24)),
        ("deeplabv2", "timm/resnet18", 8, (6, 12, 18, 24)),
        ("deeplabv2", "vit_b_16", 16, (3, 6, 9, 12)),
        ("deeplabv3plus", "mobilenet_v2", 16, (2, 4, 8)),
        ("deeplabv3plus", "swin_t", 32, (1, 2, 4)),
        ("fpn", "resnet50", 32, ()),
        ("segformer", "narrow_resnet10", 16, ()),
        ("deeplabv3_resnet50", "resnet101", 8, (6, 12, 18, 24)),
    ],
)
def test_stride_and_rates_suit_decoder_and_backbone(name, backbone, stride, rates):
    found = SegmenterConfig(name=name, backbone=backbone)
    assert (found.stride, found.dilations) == (stride, rates)


def save_classifier(path, name="resnet18"):
    torch.manual_seed(3)
    backbone = BackboneConfig(name=name)
    model = build_classifier(backbone, 5)
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    torch.save(
        {
            "wsss": describe("classifier", backbone, SHAPES, model.normalisation),
            "state_dict": state,
        },
        path,
    )
    return model


class TestBackboneWeights:
    @pytest.mark.parametrize(
        "name", ["resnet18", "mobilenet_v2", "timm/test_resnet", "timm/test_vit"]
    )
    def test_v2_from_a_classifier_checkpoint(self, name, tmp_path):
        """The stride may differ: it changes no weight."""
        classifier = save_classifier(tmp_path / "c.ckpt", name)
        stride = 16 if "vit" in name else 8  # patches have no stride to undo
        model = build_segmenter(config(backbone=name, output_stride=stride), 6)
        head = {key: value.clone() for key, value in model.head.state_dict().items()}
        load_backbone_weights(model, tmp_path / "c.ckpt")
        theirs = classifier.backbone.state_dict()
        for key, value in model.backbone.state_dict().items():
            assert torch.equal(value, theirs[key]), key
        assert all(torch.equal(model.head.state_dict()[key], v) for key, v in head.items())

    def test_v2_from_a_state_dict(self, tmp_path):
        net = torchvision.models.resnet18(weights=None)
        torch.save(net.state_dict(), tmp_path / "w.pth")
        model = build_segmenter(config(backbone="resnet18", output_stride=16), 6)
        load_backbone_weights(model, tmp_path / "w.pth")
        theirs = net.state_dict()
        for key, value in model.backbone.state_dict().items():
            assert torch.equal(value, theirs[key]), key

    @pytest.mark.slow
    def test_v3_resnet_from_a_state_dict_and_a_checkpoint(self, tmp_path):
        model = build_segmenter(config(name="deeplabv3_resnet50"), 6)
        net = torchvision.models.resnet50(weights=None)
        torch.save(net.state_dict(), tmp_path / "w.pth")
        load_backbone_weights(model, tmp_path / "w.pth")
        own = model.backbone.body.state_dict()
        assert all(torch.equal(value, net.state_dict()[key]) for key, value in own.items())
        classifier = save_classifier(tmp_path / "c.ckpt", "resnet50")
        load_backbone_weights(model, tmp_path / "c.ckpt")
        own = model.backbone.body.state_dict()
        theirs = classifier.backbone.state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in own.items())

    def test_v3_mobilenet_from_torchvision_s_features(self, tmp_path):
        model = build_segmenter(config(name="deeplabv3_mobilenet_v3_large"), 6)
        net = torchvision.models.mobilenet_v3_large(weights=None)
        torch.save(net.state_dict(), tmp_path / "w.pth")
        load_backbone_weights(model, tmp_path / "w.pth")
        own = model.backbone.body.state_dict()
        theirs = net.features.state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in own.items())

    @pytest.mark.parametrize(
        ("kind", "network", "source", "keys"),
        [
            (
                "checkpoint",
                {"backbone": "resnet18"},
                "mobilenet_v2",
                ("conv1.weight", "features.0.0.weight"),
            ),
            (
                "state dict",
                {"backbone": "mobilenet_v2"},
                "resnet18",
                ("features.0.0.weight", "conv1.weight"),
            ),
            ("checkpoint", {"backbone": "resnet34"}, "resnet18", ("layer1.2.conv1.weight",)),
            (
                "state dict",
                {"name": "deeplabv3_resnet50"},
                "resnet18",
                ("layer1.0.conv3.weight", "of another shape"),
            ),
        ],
    )
    def test_another_architecture_is_refused_by_its_keys(
        self, kind, network, source, keys, tmp_path
    ):
        model = build_segmenter(config(output_stride=16, **network), 6)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        if kind == "checkpoint":
            save_classifier(tmp_path / "w.ckpt", source)
        else:
            net = torchvision.models.get_model(source, weights=None)
            torch.save(net.state_dict(), tmp_path / "w.ckpt")
        with pytest.raises(ValueError, match=r"w\.ckpt do not fit this architecture") as error:
            load_backbone_weights(model, tmp_path / "w.ckpt")
        assert all(key in str(error.value) for key in keys)
        assert all(torch.equal(model.state_dict()[key], v) for key, v in before.items())

    def test_a_segmenter_s_checkpoint_is_refused(self, tmp_path):
        description = describe("segmenter", config(backbone="resnet18"), SHAPES, IMAGENET)
        torch.save({"wsss": description, "state_dict": {}}, tmp_path / "s.ckpt")
        model = build_segmenter(config(backbone="resnet18"), 6)
        with pytest.raises(ValueError, match="expected a classifier written by train_cls, found s"):
            load_backbone_weights(model, tmp_path / "s.ckpt")

    def test_a_missing_file(self, tmp_path):
        model = build_segmenter(config(backbone="resnet18"), 6)
        with pytest.raises(FileNotFoundError, match=r"not found: .*none\.ckpt"):
            load_backbone_weights(model, tmp_path / "none.ckpt")


@pytest.mark.parametrize(
    "arguments",
    [
        {"backbone": "resnet18", "output_stride": 16},
        {"backbone": "resnet18", "output_stride": 16, "normalise": True},
        {"name": "deeplabv3_mobilenet_v3_large"},
        {"name": "deeplabv3plus", "backbone": "resnet18", "channels": 16, "rates": (1, 2, 3)},
        {"name": "deeplabv3plus", "backbone": "resnet18", "channels": 16, "rates": None},
        {"name": "fpn", "backbone": "narrow_resnet10", "channels": 32},
    ],
)
def test_a_checkpoint_builds_the_same_network_again(arguments, tmp_path):
    torch.manual_seed(0)
    model = build_segmenter(config(**arguments), 6).eval()
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    description = describe("segmenter", config(**arguments), SHAPES, IMAGENET)
    torch.save({"wsss": description, "state_dict": state}, tmp_path / "s.ckpt")
    again, classes = load_segmenter(tmp_path / "s.ckpt")
    assert classes == SHAPES
    assert not again.training
    image = torch.randn(1, 3, 40, 56)
    with torch.no_grad():
        assert torch.equal(again(image), model(image))


@pytest.mark.parametrize("name", ["deeplabv2", "deeplabv3_mobilenet_v3_large"])
def test_checkpoints_of_before_have_four_keys_and_heads_of_these_names(name, tmp_path):
    old = {"name": name, "backbone": "narrow_resnet10", "output_stride": 8, "rates": [1, 2]}
    description = {"kind": "segmenter", "model": old, "classes": SHAPES}
    model = build_segmenter(config(name=name, backbone="narrow_resnet10", output_stride=8), 6)
    keys = {"deeplabv2": "head.branches.1.weight", "deeplabv3_mobilenet_v3_large": "head.4.weight"}
    assert keys[name] in model.state_dict()
    assert not any("norm" in key for key in model.head.state_dict() if name == "deeplabv2")
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    torch.save({"wsss": description, "state_dict": state}, tmp_path / "s.ckpt")
    image = torch.randn(1, 3, 40, 56)
    with torch.no_grad():
        again, _ = load_segmenter(tmp_path / "s.ckpt")
        assert torch.equal(again(image), model.eval()(image))
