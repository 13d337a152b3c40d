"""Backbones: strides, layers, the narrow ResNet, transformers, timm, and what is frozen."""

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock

from tests.models.conftest import SMALL
from wsss.attribution import attribute
from wsss.models import BackboneConfig, build_backbone, build_classifier
from wsss.models.backbones import BACKBONES, freeze_up_to
from wsss.models.narrow_resnet import narrow_resnet10

CENTRED = ("resnet18", "narrow_resnet10", "mobilenet_v2", "efficientnet_b0")
# resnet34 and resnet101 share their code with those that are tried here; vgg16 is slow to build
STRIDES = [
    ("vgg16", 4, "dilate"),
    ("vgg16", 8, "dilate"),
    ("vit_b_16", 16, "none"),
    ("swin_t", 32, "none"),
    *(
        (name, stride, dilation)
        for name in ("resnet18", "resnet50", "narrow_resnet10", *SMALL[1:], "convnext_tiny")
        for stride in BACKBONES[name].strides
        for dilation in ("none", "dilate")
        if dilation == "none" or stride != BACKBONES[name].strides[0]
    ),
]


@pytest.mark.parametrize(("name", "stride", "dilation"), STRIDES)
def test_output_stride(name, stride, dilation):
    config = BackboneConfig(name=name, output_stride=stride, dilation=dilation)
    backbone = build_backbone(config).body.eval()
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, 64, 96))
    if name == "squeezenet1_0":  # no padding: 64 -> 29 -> 14 -> 7 -> 3
        assert features.shape == (1, 512, 3, 5)
    else:
        assert features.shape == (1, BACKBONES[name].channels, 64 // stride, 96 // stride)
    assert torch.isfinite(features).all()


@pytest.mark.parametrize(
    ("name", "less"), [(name, less) for name in CENTRED for less in BACKBONES[name].strides[1:]]
)
def test_centres_of_cells_stay_where_they_were(name, less):
    """A smaller output stride with `dilate` computes, at every n-th cell, what the network's own
    stride does: the same map, denser. Borders differ by what is padded."""
    torch.manual_seed(0)
    stride = BACKBONES[name].strides[0]
    step = stride // less
    coarse = build_backbone(BackboneConfig(name=name, output_stride=stride)).body.eval()
    fine = build_backbone(
        BackboneConfig(name=name, output_stride=less, dilation="dilate")
    ).body.eval()
    fine.load_state_dict(coarse.state_dict())
    image = torch.randn(1, 3, 192, 192)
    with torch.no_grad():
        dense = fine(image)[:, :, ::step, ::step]
        sparse = coarse(image)
    assert dense.shape == sparse.shape
    middle = (slice(None), slice(None), slice(2, 4), slice(2, 4))
    if name == "efficientnet_b0":  # its squeeze-excitation averages over all cells of the map
        assert (dense - sparse).abs().mean() < 0.5 * sparse.abs().mean()
    else:
        torch.testing.assert_close(dense[middle], sparse[middle], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "stride", "allowed"),
    [
        ("resnet50", 2, "32, 16, 8, 4"),
        ("resnet50", 64, "32, 16, 8, 4"),
        ("squeezenet1_0", 8, "16"),
        ("convnext_tiny", 16, "32"),
        ("narrow_resnet10", 32, "16, 8, 4"),
    ],
)
def test_other_strides_are_refused_by_name(name, stride, allowed):
    with pytest.raises(ValueError, match=f"output_stride: {name} allows {allowed}, got {stride}"):
        BackboneConfig(name=name, output_stride=stride)


@pytest.mark.parametrize("name", BACKBONES)
def test_default_layers_are_modules_in_order(name):
    with torch.device("meta"):
        spec = BACKBONES[name]
        net = spec.build(weights=None)
    names = [module for module, _ in net.named_modules()]
    places = [names.index(layer) for layer in BACKBONES[name].stages]
    assert places == sorted(places)
    assert len(places) >= 3


class TestNarrowResNet:
    def test_it_is_a_torchvision_resnet_of_other_widths(self):
        """Every name, shape and initial spread as in a ResNet of torchvision with these widths."""
        torch.manual_seed(0)
        ours = narrow_resnet10()
        theirs = torchvision.models.ResNet(BasicBlock, [1, 1, 1, 1])
        shapes = {key: value.shape for key, value in theirs.state_dict().items()}
        quarter = {
            key: torch.Size(n if n in (1, 3, 7, 1000) else n // 4 for n in shape)
            for key, shape in shapes.items()
        }
        quarter["conv1.weight"] = torch.Size((16, 3, 3, 3))
        assert {key: value.shape for key, value in ours.state_dict().items()} == quarter
        deep, wide = (net.layer4[0].conv2.weight.detach().std() for net in (ours, theirs))
        assert float(deep / wide) == pytest.approx(2, rel=0.02)

    def test_its_stages_are_two_to_sixteen_pixels_wide(self):
        body = build_backbone(BackboneConfig(name="narrow_resnet10")).body.eval()
        image, found = torch.zeros(1, 3, 64, 96), []
        with torch.no_grad():
            for name, child in body.named_children():
                image = child(image)
                if name.startswith("layer"):
                    found.append(tuple(image.shape[1:]))
        assert found == [(16, 32, 48), (32, 16, 24), (64, 8, 12), (128, 4, 6)]

    def test_a_state_dict_with_its_head_is_loaded(self, tmp_path):
        net = narrow_resnet10()
        torch.save(net.state_dict(), tmp_path / "w.pth")
        config = BackboneConfig(name="narrow_resnet10", weights=str(tmp_path / "w.pth"))
        for key, value in build_backbone(config).body.state_dict().items():
            assert torch.equal(value, net.state_dict()[key]), key


class TestTransformers:
    @pytest.mark.slow
    def test_vit_tokens_are_torchvisions(self):
        net = torchvision.models.vit_b_16(weights=None).eval()
        body = BACKBONES["vit_b_16"].body(net).eval()
        image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
        tokens = []
        handle = net.encoder.register_forward_hook(lambda *a: tokens.append(a[2]))
        with torch.no_grad():
            net(image)
            handle.remove()
            grid = body(image)
        torch.testing.assert_close(grid.flatten(2).transpose(1, 2), tokens[0][:, 1:])

    def test_vit_positions_are_stretched_to_other_sizes(self):
        torch.manual_seed(0)
        net = torchvision.models.vit_b_16(weights=None)
        rows = torch.linspace(-1, 1, 14)[:, None].expand(14, 14)
        with torch.no_grad():
            net.encoder.pos_embedding[0, 1:, 0] = rows.flatten()
        body = BACKBONES["vit_b_16"].body(net)
        found = body._positions(7, 28)[0, 1:, 0].view(7, 28)
        assert (found.diff(dim=0) > 0).all()
        assert found.diff(dim=1).abs().max() < 1e-5

    def test_swin_features_are_torchvisions(self):
        net = torchvision.models.swin_t(weights=None).eval()
        with torch.no_grad():
            net.head.weight[:768] = torch.eye(768)
            net.head.bias.zero_()
        path_body = nn.Sequential(net.features, net.norm, net.permute)
        config = BackboneConfig(name="swin_t", output_stride=32)
        body = build_backbone(config).body.eval()
        body.load_state_dict(
            {k: v for k, v in net.state_dict().items() if not k.startswith("head.")}
        )
        image = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            torch.testing.assert_close(body(image), path_body(image))
            torch.testing.assert_close(body(image).mean((2, 3)), net(image)[:, :768])


class TestTimm:
    @pytest.mark.parametrize(
        ("name", "stride", "layers"),
        [
            ("resnet18", 16, ["network.layer1", "network.layer2", "network.layer3", ""]),
            (
                "vit_tiny_patch16_224",
                16,
                ["network.blocks.2", "network.blocks.5", "network.blocks.8", ""],
            ),
            (
                "swin_tiny_patch4_window7_224",
                32,
                ["network.layers.0", "network.layers.1", "network.layers.2", ""],
            ),
            ("efficientnet_b0", 32, [f"network.blocks.{i}" for i in (1, 2, 4)] + [""]),
        ],
    )
    def test_networks_of_timm(self, name, stride, layers):
        config = BackboneConfig(name=f"timm/{name}", output_stride=stride)
        backbone = build_backbone(config)
        assert backbone.layers == layers
        side = 32 if stride == 16 else 64
        with torch.no_grad():
            features = backbone.body.eval()(torch.randn(2, 3, 2 * side + 3, 3 * side))
        assert features.shape[:2] == (2, backbone.channels)
        assert abs(features.shape[2] - 2 * side / stride) <= 1
        assert abs(features.shape[3] - 3 * side / stride) <= 1

    @pytest.mark.parametrize(
        ("name", "stride", "layers"),
        [
            ("deit_tiny_distilled_patch16_224", 16,
             [f"network.blocks.{i}" for i in (2, 5, 8)] + [""]),
            # its table of stages names no module, or modules that give several maps
            ("hrnet_w18_small", 32,
             ["network.layer1", "network.incre_modules.1", "network.incre_modules.2", ""]),
            ("twins_pcpvt_small", 32, [f"network.pos_block.{i}.proj" for i in range(3)] + [""]),
            ("swinv2_tiny_window8_256", 32, [f"network.layers.{i}" for i in range(3)] + [""]),
            ("xcit_nano_12_p16_224", 16, [f"network.blocks.{i}" for i in (2, 5, 8)] + [""]),
        ],
    )  # fmt: skip
    @pytest.mark.slow
    def test_default_layers_exist_and_can_be_explained(self, name, stride, layers):
        torch.manual_seed(0)
        config = BackboneConfig(name=f"timm/{name}", output_stride=stride)
        assert build_backbone(config).layers == layers
        model = build_classifier(config, 3).eval()
        images = torch.randn(1, 3, 160, 224)
        assert attribute(model, images, 1).layers == tuple(model.default_layers)
        assert set(model.default_layers) <= set(dict(model.named_modules()))

    @pytest.mark.parametrize(
        ("name", "stride"),
        [("hiera_tiny_224", 32), ("mvitv2_tiny", 32), ("levit_128s", 64), ("cait_xxs24_224", 16),
         ("mixer_s32_224", 32)],
    )  # fmt: skip
    @pytest.mark.slow
    def test_networks_of_one_size_are_refused_by_name(self, name, stride):
        message = (
            rf"model\.name: timm/{name} takes no image of 96 x 288 pixels, as masks of photogr"
        )
        with pytest.raises(ValueError, match=message):
            build_backbone(BackboneConfig(name=f"timm/{name}", output_stride=stride))

    def test_the_trial_leaves_the_network_as_it_was(self):
        body = build_backbone(BackboneConfig(name="timm/resnet18", output_stride=32)).body
        assert all(module.training for module in body.modules())
        assert not any(module._forward_hooks for module in body.modules())
        assert body.network.bn1.num_batches_tracked == 0

    def test_a_state_dict_of_timm_is_loaded(self, tmp_path):
        import timm

        net = timm.create_model("resnet18", pretrained=False, num_classes=7).eval()
        torch.save(net.state_dict(), tmp_path / "w.pth")
        config = BackboneConfig("timm/resnet18", str(tmp_path / "w.pth"), output_stride=32)
        image = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            features = build_backbone(config).body.eval()(image)
            torch.testing.assert_close(features, net.forward_features(image))

    def test_unknown_models_and_strides_are_refused(self):
        with pytest.raises(ValueError, match=r"no model 'resnet19'; near names are .*resnet"):
            build_backbone(BackboneConfig(name="timm/resnet19"))
        with pytest.raises(ValueError, match="output_stride: timm/vit_tiny_patch16_224 allows 16"):
            build_backbone(BackboneConfig(name="timm/vit_tiny_patch16_224", output_stride=8))

    def test_other_names_are_refused(self):
        with pytest.raises(ValueError, match=r"expected one of resnet18, .*swin_t, or timm/<name>"):
            BackboneConfig(name="resnet51")


class TestFreezing:
    def trained(self, name, layer):
        backbone = build_backbone(
            BackboneConfig(name=name, output_stride=BACKBONES[name].strides[0])
        ).body
        freeze_up_to(backbone, layer)
        return {n for n, p in backbone.named_parameters() if p.requires_grad}, backbone

    def test_resnet_up_to_layer2(self):
        trained, backbone = self.trained("resnet18", "layer2")
        expected = {
            n for n, _ in backbone.named_parameters() if n.startswith(("layer3.", "layer4."))
        }
        assert trained == expected

    def test_the_stem_alone(self):
        trained, backbone = self.trained("resnet18", "bn1")
        everything = {n for n, _ in backbone.named_parameters()}
        assert everything - trained == {"conv1.weight", "bn1.weight", "bn1.bias"}

    def test_features_1_is_not_features_13(self):
        trained, backbone = self.trained("mobilenet_v2", "features.1")
        everything = {n for n, _ in backbone.named_parameters()}
        assert {n.split(".")[1] for n in everything - trained} == {"0", "1"}
        trained, _ = self.trained("mobilenet_v2", "features.13")
        assert {int(n.split(".")[1]) for n in trained} == set(range(14, 19))

    @pytest.mark.parametrize(
        ("name", "layer", "frozen"),
        [("resnet18", "maxpool", {"conv1", "bn1"}), ("resnet18", "relu", {"conv1", "bn1"})],
    )
    def test_up_to_a_layer_without_parameters(self, name, layer, frozen):
        trained, backbone = self.trained(name, layer)
        everything = {n for n, _ in backbone.named_parameters()}
        assert {n.split(".")[0] for n in everything - trained} == frozen

    def test_everything(self):
        assert self.trained("resnet18", "layer4")[0] == set()

    def test_an_unknown_layer_lists_some(self):
        with pytest.raises(ValueError, match=r"freeze: no layer 'layer9'; .*, layer1, "):
            self.trained("resnet18", "layer9")

    def test_buffers_and_modes_are_left_alone(self):
        _, backbone = self.trained("resnet18", "layer4")
        assert all(m.training for m in backbone.modules())
