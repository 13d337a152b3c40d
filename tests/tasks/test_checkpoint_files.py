"""Checkpoints as safetensors: the same networks as of a .ckpt, at every place that takes one."""

import hashlib
import io
import json
import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.conftest import SHAPES
from tests.tasks.networks_on_disk import OWN, SEGMENTER, write_checkpoint
from wsss.data.config import DataConfig
from wsss.data.storage import file_sha256
from wsss.models.segmenter import build_segmenter
from wsss.models.state_files import is_safetensors, read_safetensors
from wsss.normalisation import IMAGENET
from wsss.tasks.checkpoint import (
    as_boundary,
    kind_of,
    load_backbone_weights,
    load_boundary,
    load_classifier,
    load_segmenter,
)
from wsss.tasks.checkpoint_files import read_checkpoint, save_safetensors
from wsss.tasks.guides import Guides

LOADERS = {
    "classifier": load_classifier,
    "text_classifier": load_classifier,
    "segmenter": load_segmenter,
    "boundary": load_boundary,
}


@pytest.fixture(params=LOADERS)
def both(request, tmp_path):
    """Kind of a network, its .ckpt and its .safetensors."""
    checkpoint = write_checkpoint(tmp_path / "last.ckpt", request.param)
    save_safetensors(checkpoint, tmp_path / "model.safetensors")
    return request.param, checkpoint, tmp_path / "model.safetensors"


class TestBothKinds:
    def test_the_networks_are_the_same(self, both):
        kind, *files = both
        loaded = [LOADERS[kind](path) for path in files]
        if kind != "boundary":
            assert [classes for _, classes in loaded] == [SHAPES, SHAPES]
            loaded = [network for network, _ in loaded]
        first, second = loaded
        assert not second.training
        assert first.normalisation == second.normalisation
        assert list(first.state_dict()) == list(second.state_dict())
        for key, value in first.state_dict().items():
            assert torch.equal(value, second.state_dict()[key]), key
        image = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            assert torch.equal(first(image), second(image))

    def test_the_kind_and_the_whole_description(self, both):
        kind, checkpoint, converted = both
        assert kind_of(converted) == kind_of(checkpoint) == kind
        assert read_checkpoint(converted).description == read_checkpoint(checkpoint).description

    def test_what_the_file_holds(self, both):
        """The network's own names and nothing of the training; readable without us."""
        _, checkpoint, converted = both
        with safe_open(converted, "pt") as file:
            metadata = file.metadata()
            keys = set(file.keys())
        assert keys == set(read_checkpoint(checkpoint).content)
        assert not any(key.startswith(("model.", "loss.")) for key in keys)
        assert json.loads(metadata["wsss"])["classes"] == SHAPES

    def test_it_can_be_converted_again_to_the_same_bytes(self, both, tmp_path):
        _, checkpoint, converted = both
        for source in (checkpoint, converted):
            save_safetensors(source, tmp_path / "again.safetensors")
            assert (tmp_path / "again.safetensors").read_bytes() == converted.read_bytes()

    def test_the_name_does_not_matter(self, both):
        kind, checkpoint, converted = both
        checkpoint.write_bytes(converted.read_bytes())
        assert kind_of(checkpoint) == kind


class TestPlaces:
    @pytest.fixture
    def classifiers(self, tmp_path):
        checkpoint = write_checkpoint(tmp_path / "last.ckpt", "classifier", seed=3)
        save_safetensors(checkpoint, tmp_path / "model.safetensors")
        return checkpoint, tmp_path / "model.safetensors"

    def test_a_segmenter_starts_from_it_with_its_colours(self, classifiers):
        """Its backbone alone, and the normalisation: a state dict of others brings none."""
        started = []
        for path in classifiers:
            network = build_segmenter(SEGMENTER, 3)
            assert network.normalisation == IMAGENET
            load_backbone_weights(network, path)
            assert network.normalisation == OWN
            started.append(network.backbone.state_dict())
        for key, value in started[0].items():
            assert torch.equal(value, started[1][key]), key

    def test_foreign_safetensors_start_a_segmenter_as_before(self, classifiers, tmp_path):
        save_file(load_file(classifiers[1]), tmp_path / "foreign.safetensors")
        network = build_segmenter(SEGMENTER, 3)
        load_backbone_weights(network, tmp_path / "foreign.safetensors")
        assert network.normalisation == IMAGENET
        expected = load_classifier(classifiers[0])[0].backbone.state_dict()
        for key, value in network.backbone.state_dict().items():
            assert torch.equal(value, expected[key]), key

    def test_the_boundary_network_and_the_guides(self, classifiers):
        checkpoint, converted = classifiers
        assert as_boundary(converted) == as_boundary(checkpoint)
        image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        guides = Guides()
        first, second = (guides.features(image, path, None, None) for path in classifiers)
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))

    def test_bytes_of_an_object_store(self, classifiers, store):
        remote = store / "model.safetensors"
        store.fs.pipe_file(remote.path, classifiers[1].read_bytes())
        network = load_classifier(remote)[0]
        expected = load_classifier(classifiers[0])[0].state_dict()
        assert all(torch.equal(v, expected[k]) for k, v in network.state_dict().items())

    def test_another_file_is_another_file(self, classifiers):
        """A rerun compares contents: the same weights in the other format are other bytes."""
        checkpoint, converted = classifiers
        assert file_sha256(converted) == hashlib.sha256(converted.read_bytes()).hexdigest()
        assert file_sha256(converted) != file_sha256(checkpoint)


class TestRefusals:
    @pytest.fixture
    def converted(self, tmp_path):
        save_safetensors(
            write_checkpoint(tmp_path / "last.ckpt", "classifier"), tmp_path / "x.safetensors"
        )
        return tmp_path / "x.safetensors"

    def test_the_wrong_kind_or_classes(self, converted, tmp_path):
        with pytest.raises(ValueError, match="expected a segmenter written by train_seg, found cl"):
            load_segmenter(converted)
        data = DataConfig(root=tmp_path, classes={"cat": 1})
        with pytest.raises(ValueError, match="was trained on the classes"):
            load_classifier(converted, data)

    def test_without_our_description(self, converted, tmp_path):
        save_file(load_file(converted), tmp_path / "foreign.safetensors", {"format": "pt"})
        assert kind_of(tmp_path / "foreign.safetensors") is None
        with pytest.raises(ValueError, match="found foreign weights"):
            load_classifier(tmp_path / "foreign.safetensors")
        with pytest.raises(ValueError, match=r"foreign\.safetensors: .*have no description"):
            save_safetensors(tmp_path / "foreign.safetensors", tmp_path / "y.safetensors")
        assert not (tmp_path / "y.safetensors").exists()

    @pytest.mark.parametrize(
        ("text", "message"), [("{", "is damaged"), ("[1]", r"expected a description .* \[1\]")]
    )
    def test_a_damaged_description(self, converted, tmp_path, text, message):
        save_file(load_file(converted), tmp_path / "bad.safetensors", {"wsss": text})
        with pytest.raises(ValueError, match=rf"bad\.safetensors.*{message}"):
            kind_of(tmp_path / "bad.safetensors")

    def test_a_damaged_file(self, converted):
        converted.write_bytes(converted.read_bytes()[:-5])
        message = (
            r"cannot read checkpoint .*x\.safetensors: it begins as safetensors and is damaged"
        )
        with pytest.raises(ValueError, match=message):
            load_classifier(converted)

    def test_other_weights(self, converted, tmp_path):
        """A description that does not fit its tensors."""
        with safe_open(converted, "pt") as file:
            metadata = file.metadata()
        state = load_file(converted)
        state.pop(next(key for key in state if key.endswith("conv1.weight")))
        save_file(state, tmp_path / "less.safetensors", metadata)
        with pytest.raises(ValueError, match=r"less\.safetensors"):
            load_classifier(tmp_path / "less.safetensors")

    def test_no_pickle_is_read(self, converted, monkeypatch):
        def refused(*given, **named):
            raise AssertionError("a pickle was read")

        monkeypatch.setattr(torch, "load", refused)
        monkeypatch.setattr(pickle, "loads", refused)
        monkeypatch.setattr(pickle, "Unpickler", refused)
        load_classifier(converted)


def test_metadata_of_bytes_and_of_a_file(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.arange(3.0)}, path, {"say": "grün | 1"})
    for source in (path, io.BytesIO(path.read_bytes())):
        assert is_safetensors(source)
        state, metadata = read_safetensors(source, path, "weights")
        assert state["a"].tolist() == [0, 1, 2]
        assert metadata == {"say": "grün | 1"}
    save_file({"a": torch.arange(3.0)}, path)
    assert read_safetensors(path, path, "weights")[1] == {}
    assert not is_safetensors(io.BytesIO(b"PK"))
