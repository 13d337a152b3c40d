"""Weights of backbones: loaded exactly, and refused where they do not fit."""

import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from tests.models.conftest import SMALL
from wsss.models import BackboneConfig, build_backbone, build_classifier
from wsss.models.backbones import BACKBONES


def torchvision_net(name: str) -> nn.Module:
    torch.manual_seed(0)
    net = torchvision.models.get_model(name, weights=None)
    for module in net.modules():  # statistics other than 0 and 1, to see that they are loaded
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    return net.eval()


class TestWeights:
    @pytest.mark.parametrize("name", SMALL)
    def test_a_local_state_dict_is_loaded_exactly(self, name, tmp_path):
        net = torchvision_net(name)
        path = tmp_path / "weights of me.pth"
        torch.save(net.state_dict(), path)
        stride = BACKBONES[name].strides[0]
        config = BackboneConfig(name=name, weights=str(path), output_stride=stride)
        backbone = build_backbone(config).body.eval()
        theirs = net.state_dict()
        for key, value in backbone.state_dict().items():
            assert torch.equal(value, theirs[key]), key
        image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            ours = backbone(image)
            if name.startswith("resnet"):
                body = nn.Sequential(*list(net.children())[:-2])
            else:
                body = net.features
            assert torch.equal(ours, body(image))

    def test_a_classifier_starts_from_them(self, tmp_path):
        net = torchvision_net("resnet18")
        torch.save(net.state_dict(), tmp_path / "w.pth")
        config = BackboneConfig(name="resnet18", weights=str(tmp_path / "w.pth"))
        model = build_classifier(config, 7)
        assert torch.equal(model.backbone.layer3[1].conv2.weight, net.layer3[1].conv2.weight)
        assert model.head.weight.shape == (7, 512)
        assert list(dict(model.head.named_parameters())) == ["weight"]

    def refused(self, state, tmp_path, name="resnet18"):
        torch.save(state, tmp_path / "w.pth")
        with pytest.raises(ValueError, match=r"weights .*w\.pth do not fit") as error:
            build_backbone(BackboneConfig(name=name, weights=str(tmp_path / "w.pth")))
        return str(error.value)

    def test_missing_keys_are_named(self, tmp_path):
        state = torchvision_net("resnet18").state_dict()
        del state["layer1.0.conv1.weight"], state["bn1.running_mean"]
        text = self.refused(state, tmp_path)
        assert "missing (2): bn1.running_mean, layer1.0.conv1.weight" in text
        assert "unexpected" not in text

    def test_keys_of_another_shape_are_named_with_both(self, tmp_path):
        state = torchvision_net("resnet18").state_dict()
        state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
        text = self.refused(state, tmp_path)
        assert (
            "of another shape (1): conv1.weight: expected (64, 3, 7, 7), got (64, 1, 7, 7)" in text
        )

    def test_unexpected_keys_are_named(self, tmp_path):
        state = torchvision_net("resnet18").state_dict() | {"layer9.weight": torch.zeros(1)}
        assert "unexpected (1): layer9.weight" in self.refused(state, tmp_path)

    def test_another_architecture(self, tmp_path):
        text = self.refused(torchvision_net("mobilenet_v2").state_dict(), tmp_path)
        assert "missing (" in text
        assert "conv1.weight" in text
        assert "features.0.0.weight" in text
        assert len(text) < 1200, "only the first keys are listed"

    def test_a_head_is_not_needed_and_not_in_the_way(self, tmp_path):
        state = torchvision_net("resnet18").state_dict()
        state = {key: value for key, value in state.items() if not key.startswith("fc.")}
        torch.save(state, tmp_path / "w.pth")
        build_backbone(BackboneConfig(name="resnet18", weights=str(tmp_path / "w.pth")))

    def test_counters_of_old_batchnorms_may_be_missing(self, tmp_path):
        state = torchvision_net("resnet18").state_dict()
        state = {key: value for key, value in state.items() if "num_batches" not in key}
        torch.save(state, tmp_path / "w.pth")
        build_backbone(BackboneConfig(name="resnet18", weights=str(tmp_path / "w.pth")))

    def test_neither_a_file_nor_a_name(self):
        with pytest.raises(
            FileNotFoundError,
            match=r"weights: 'IMAGENET1K_V9' is neither a file nor one of torchvision's names for "
            r"resnet50 \(IMAGENET1K_V1, IMAGENET1K_V2",
        ):
            build_backbone(BackboneConfig(name="resnet50", weights="IMAGENET1K_V9"))

    def test_a_network_of_ours_has_no_names_of_weights(self):
        with pytest.raises(
            FileNotFoundError,
            match=r"weights: 'DEFAULT' is neither a file nor null; nobody has published weights of "
            "narrow_resnet10",
        ):
            build_backbone(BackboneConfig(name="narrow_resnet10", weights="DEFAULT"))

    @pytest.mark.parametrize("content", [b"", b"text, no weights", b"PK\x03\x04 half an archive"])
    def test_a_damaged_file_is_named(self, tmp_path, content):
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(ValueError, match=r"w\.pth"):
            build_backbone(BackboneConfig(name="resnet18", weights=str(tmp_path / "w.pth")))

    @pytest.mark.parametrize("content", [[torch.zeros(1)], torch.zeros(2), {"conv1.weight": 3}])
    def test_something_else_is_named(self, tmp_path, content):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(ValueError, match=r"w\.pth"):
            build_backbone(BackboneConfig(name="resnet18", weights=str(tmp_path / "w.pth")))

    def test_a_download_that_fails_names_the_key_and_the_way_out(self, monkeypatch):
        def no_network(self, **options):
            raise URLError("no network")

        monkeypatch.setattr("torchvision.models.WeightsEnum.get_state_dict", no_network)
        with pytest.raises(OSError, match=r"weights: cannot download .*resnet18.* \(no network\)"):
            build_backbone(BackboneConfig(name="resnet18", weights="IMAGENET1K_V1"))

    def test_a_pickle_that_would_run_code_does_not_run(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "ran",))

        for number, save in enumerate((torch.save, lambda o, p: p.write_bytes(pickle.dumps(o)))):
            path = tmp_path / f"evil{number}.pth"
            save({"conv1.weight": Evil()}, path)
            assert b"touch" in path.read_bytes(), "the file names no call; the test is empty"
            with pytest.raises((ValueError, pickle.UnpicklingError)):
                build_backbone(BackboneConfig(name="resnet18", weights=str(path)))
        assert not (tmp_path / "ran").exists()
        call, arguments = Evil().__reduce__()
        call(*arguments)
        assert (tmp_path / "ran").exists(), "the call is harmless; the test is empty"
