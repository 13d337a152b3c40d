"""A training on cached activations is the training on images, but for half precision."""

import dataclasses
import json

import pytest
import torch

from tests.conftest import CPU
from wsss.data.transforms import AugmentConfig
from wsss.models import BackboneConfig
from wsss.models.frozen import FrozenPart
from wsss.models.segmenter import SegmenterConfig
from wsss.pipeline.train_boundary import train_boundary
from wsss.pipeline.train_cls import train_cls
from wsss.pipeline.train_seg import train_seg
from wsss.tasks.boundary import BoundaryTask
from wsss.tasks.optim import OptimConfig
from wsss.tasks.segmentation import SegmentationTask

VIEWS = AugmentConfig(
    crop=64, long_side=(48, 64), long_side_step=16, position="top_left", val_long_side=56
)
NET = "narrow_resnet10"


def settings(data, output, cache, **changes):
    given = {
        "data": data, "output": output, "val_split": "val", "augment": VIEWS, "freeze": "all",
        "freeze_batchnorm": True, "features": "cache", "epochs": 2, "batch_size": 4,
        "trainer": dataclasses.replace(CPU, cache=cache), "optim": OptimConfig(lr=0.01),
    }  # fmt: skip
    return given | changes


def segment(data, output, cache, **changes):
    model = changes.pop("model", SegmenterConfig("deeplabv2", NET, output_stride=8, rates=(1, 2)))
    return train_seg(
        masks=data.root / data.masks, model=model, **settings(data, output, cache, **changes)
    )


def classify(data, output, cache, **changes):
    model = BackboneConfig(NET, output_stride=8)
    return train_cls(model=model, **settings(data, output, cache, **changes))


def find_boundaries(data, output, cache, classifier, **changes):
    given = settings(data, output, cache, **changes)
    for key in ("val_split", "freeze", "freeze_batchnorm"):
        del given[key]
    return train_boundary(masks=data.root / data.masks, checkpoint=classifier, radius=2, **given)


def last_epoch(output):
    return json.loads((output / "manifest.json").read_text())["last_epoch"]


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.fixture
def losses(monkeypatch):
    """The loss of each training step of a segmentation or boundary network."""
    found = []

    def note(task):
        real = task.training_step

        def noted(self, *arguments):
            loss = real(self, *arguments)
            found.append(float(loss.detach()))
            return loss

        monkeypatch.setattr(task, "training_step", noted)

    note(SegmentationTask)
    note(BoundaryTask)
    return found


@pytest.fixture
def computed(monkeypatch):
    """Number of views that the frozen part has seen."""
    found, real = [], FrozenPart.compute

    def noted(self, images, box):
        found.append(len(images))
        return real(self, images, box)

    monkeypatch.setattr(FrozenPart, "compute", noted)
    return found


def entries(cache):
    return sorted((cache / "features").rglob("*.features"))


@pytest.mark.parametrize("name", ["deeplabv2", "deeplabv3plus"])
@pytest.mark.parametrize("freeze", ["all", "layer2"])
def test_the_losses_are_those_of_the_training_on_images(freeze, name, shapes, tmp_path, losses):
    """Sizes and mirrored views are drawn alike; activations have 11 bits, so losses 3 digits.

    Every step of the training then moves the weights apart by its own rounding.
    """
    model = SegmenterConfig(name, NET, output_stride=8, rates=(1, 2, 3), channels=32)
    runs = {}
    for features in ("compute", "cache"):
        output = tmp_path / features
        segment(shapes, output, tmp_path / "c", freeze=freeze, features=features, model=model)
        runs[features] = (list(losses), last_epoch(output)["val_miou"])
        losses.clear()
    assert len(runs["cache"][0]) == 6
    assert runs["cache"][0][0] == pytest.approx(runs["compute"][0][0], rel=5e-4)
    assert runs["cache"][0] == pytest.approx(runs["compute"][0], rel=5e-3)
    assert runs["cache"][1] == pytest.approx(runs["compute"][1], abs=5e-3)
    assert len(entries(tmp_path / "c")) == 12 * 4 + 6


def test_whole_images_of_a_size_for_each_batch_too(shapes, tmp_path, losses):
    whole = dataclasses.replace(VIEWS, crop=None)
    for features in ("compute", "cache"):
        segment(shapes, tmp_path / features, tmp_path / "c", features=features, augment=whole)
    assert len(losses) == 12
    assert losses[6:] == pytest.approx(losses[:6], rel=2e-3)


@pytest.mark.parametrize("freeze", ["all", "layer3"])
def test_a_classifier_learns_the_same(freeze, shapes, tmp_path):
    for features in ("compute", "cache"):
        classify(shapes, tmp_path / features, tmp_path / "c", freeze=freeze, features=features)
    plain, cached = (weights(tmp_path / name / "last.ckpt") for name in ("compute", "cache"))
    assert plain.keys() == cached.keys()
    for key, value in plain.items():
        torch.testing.assert_close(cached[key], value, rtol=5e-3, atol=5e-4, msg=key)
    found, expected = (last_epoch(tmp_path / name) for name in ("cache", "compute"))
    assert found["val_loss"] == pytest.approx(expected["val_loss"], rel=2e-3)


def test_a_boundary_network_learns_the_same(shapes, classifier_checkpoint, tmp_path, losses):
    cache = tmp_path / "c"
    for features in ("compute", "cache"):
        output = tmp_path / features
        find_boundaries(shapes, output, cache, classifier_checkpoint, features=features)
    assert len(losses) == 12
    assert losses[6:] == pytest.approx(losses[:6], rel=2e-3)
    assert len(entries(cache)) == 12 * 4


def test_what_is_kept_is_found_again_by_other_trainings(shapes, tmp_path, computed, monkeypatch):
    segment(shapes, tmp_path / "a", tmp_path / "c", epochs=1)
    assert sum(computed) == 12 * 4 + 6
    computed.clear()
    monkeypatch.setattr("wsss.tasks.trainer.read_image", lambda path: pytest.fail("decoded"))
    first = weights(tmp_path / "a/last.ckpt")
    again = weights(segment(shapes, tmp_path / "b", tmp_path / "c", epochs=1))
    assert not computed
    assert all(torch.equal(again[key], value) for key, value in first.items())


def test_an_interrupted_computation_goes_on(shapes, tmp_path, computed, monkeypatch):
    real = FrozenPart.compute

    def until_full(self, images, box):
        if len(computed) == 20:
            raise OSError(28, "No space left on device")
        return real(self, images, box)

    monkeypatch.setattr(FrozenPart, "compute", until_full)
    with pytest.raises(OSError, match="No space left"):
        segment(shapes, tmp_path / "a", tmp_path / "c", epochs=1)
    monkeypatch.setattr(FrozenPart, "compute", real)
    there = entries(tmp_path / "c")
    assert len(there) == 20
    there[3].write_bytes(there[3].read_bytes()[:-10])
    computed.clear()
    segment(shapes, tmp_path / "a", tmp_path / "c", epochs=1)
    assert sum(computed) == 12 * 4 + 6 - 19


def test_an_interrupted_training_goes_on(shapes, tmp_path, monkeypatch):
    whole = weights(segment(shapes, tmp_path / "a", tmp_path / "c", freeze="layer2"))
    real = SegmentationTask.on_train_epoch_start

    def stop(self):
        if self.current_epoch == 1:
            raise RuntimeError("stopped")
        real(self)

    monkeypatch.setattr(SegmentationTask, "on_train_epoch_start", stop)
    with pytest.raises(RuntimeError, match="stopped"):
        segment(shapes, tmp_path / "b", tmp_path / "c", freeze="layer2")
    monkeypatch.undo()
    again = weights(segment(shapes, tmp_path / "b", tmp_path / "c", freeze="layer2"))
    assert all(torch.equal(again[key], value) for key, value in whole.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainer": CPU}, r"features: cache .* give trainer\.cache a folder"),
        ({"freeze": None}, "features: cache .* none is frozen; give freeze: all, or a layer"),
        ({"freeze": "layer2", "freeze_batchnorm": False}, "freeze_batchnorm: false moves .*layer2"),
        (
            {"augment": dataclasses.replace(VIEWS, position="random")},
            r"features: cache .*augment\.position: random",
        ),
        ({"freeze": "layer2.0.conv1"}, r"cannot cut the network behind 'layer2\.0\.conv1'"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_key(changes, message, shapes, tmp_path):
    with pytest.raises(ValueError, match=message):
        segment(shapes, tmp_path / "o", tmp_path / "c", **changes)
    assert not (tmp_path / "o").exists()


def test_more_than_the_limit_is_refused_after_the_first(shapes, tmp_path):
    trainer = dataclasses.replace(CPU, cache=tmp_path / "c", cache_gib=1e-4)
    with pytest.raises(ValueError, match=r"trainer\.cache_gib: .* \(54 views of 0\.02 MiB\)"):
        segment(shapes, tmp_path / "o", tmp_path / "c", trainer=trainer)
    assert len(entries(tmp_path / "c")) == 1


def test_an_image_that_a_crop_would_cut_is_named(shapes, tmp_path):
    augment = dataclasses.replace(VIEWS, long_side=None)
    with pytest.raises(ValueError, match=r"augment\.crop: 64 .*train_0000.* 65 x 65 pixels"):
        segment(shapes, tmp_path / "o", tmp_path / "c", augment=augment)
