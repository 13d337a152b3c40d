"""Commands on a GPU end where those on the CPU do, and half precision trains."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from tests.conftest import CPU, SHAPES, load_prepare
from tests.tasks.test_kept_features import classify, find_boundaries, last_epoch, segment
from wsss.data import DataConfig, load_records, read_mask
from wsss.data.scores import read_scores
from wsss.models import BackboneConfig
from wsss.models.segmenter import SegmenterConfig
from wsss.parallel.devices import full_float32
from wsss.pipeline.check_labels import check_labels
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.predict import predict
from wsss.refinement import CRFConfig

pytestmark = pytest.mark.gpu
GPU = dataclasses.replace(CPU, accelerator="gpu")
SMOOTH = SegmenterConfig("deeplabv3plus", "mobilenet_v2", output_stride=16, channels=16)


@pytest.fixture
def float32():
    """Training too without the rounded products that PyTorch allows a GPU."""
    with full_float32():
        yield


def there(cache, **changes):
    return dataclasses.replace(GPU, cache=cache, **changes)


def alike(first, second, data, split):
    """Share of the pixels of a list that have the same value in two folders of masks."""
    same = [
        np.mean(
            read_mask(first / f"{one.image_id}.png") == read_mask(second / f"{one.image_id}.png")
        )
        for one in load_records(data, split, with_labels=False)
    ]
    return float(np.mean(same))


@pytest.mark.parametrize("method", ["tif", "cam"])
@pytest.mark.parametrize("backend", ["fast", "torch"])
def test_masks(shapes, classifier_checkpoint, tmp_path, method, backend):
    folders = {}
    for device in ("cpu", "cuda"):
        folders[device] = make_pseudo_masks(
            shapes, "train", tmp_path / device, checkpoint=classifier_checkpoint, method=method,
            crf=CRFConfig(backend=backend), save_scores=True, device=device,
        )  # fmt: skip
    assert alike(*folders.values(), shapes, "train") > 0.995
    for one in load_records(shapes, "train", with_labels=False):
        cpu, cuda = (
            read_scores(tmp_path / device / "scores" / f"{one.image_id}.npz").full_size()
            for device in folders
        )
        # stored with eight bits
        np.testing.assert_allclose(cuda, cpu, atol=2.1 / 255)


@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
@pytest.mark.parametrize("features", ["compute", "cache"])
def test_training(float32, shapes, tmp_path, kind, features):
    train = classify if kind == "classifier" else segment
    for trainer, name in ((CPU, "cpu"), (GPU, "cuda")):
        trainer = dataclasses.replace(trainer, cache=tmp_path / f"kept-{name}")
        train(shapes, tmp_path / name, None, trainer=trainer, features=features)
    np.testing.assert_allclose(
        last_epoch(tmp_path / "cuda")["train_loss"],
        last_epoch(tmp_path / "cpu")["train_loss"],
        rtol=5e-3,
    )


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_half_precision(shapes, tmp_path, precision):
    trainer = there(tmp_path / "kept", precision=precision)
    changes = {"model": SMOOTH, "trainer": trainer, "freeze": None, "features": "compute"}
    segment(shapes, tmp_path / "half", None, **changes)
    changes["trainer"] = there(tmp_path / "kept")
    segment(shapes, tmp_path / "full", None, **changes)
    half, full = (
        last_epoch(tmp_path / "half")["train_loss"],
        last_epoch(tmp_path / "full")["train_loss"],
    )
    assert np.isfinite(half)
    # float16 leaves out the first steps, until its gradients fit
    assert abs(half - full) < 0.05 * full or precision == "16-mixed"


def test_network_on_new_images(shapes, tmp_path):
    checkpoint = segment(
        shapes, tmp_path / "run", None, model=SMOOTH, trainer=there(tmp_path / "kept")
    )
    folders = [
        predict(
            checkpoint, tmp_path / device, data=shapes, split="val", crf=CRFConfig(), device=device
        )
        for device in ("cpu", "cuda")
    ]
    assert alike(*folders, shapes, "val") > 0.995


def test_boundaries(float32, shapes, tmp_path):
    classifier = classify(shapes, tmp_path / "classifier", None, trainer=there(tmp_path / "kept"))
    for trainer, name in ((CPU, "cpu"), (GPU, "cuda")):
        trainer = dataclasses.replace(trainer, cache=tmp_path / f"kept-{name}")
        find_boundaries(shapes, tmp_path / name, None, classifier, trainer=trainer)
    np.testing.assert_allclose(
        last_epoch(tmp_path / "cuda")["train_loss"],
        last_epoch(tmp_path / "cpu")["train_loss"],
        rtol=5e-3,
    )


def test_labels(tmp_path):
    load_prepare().prepare(tmp_path / "shapes", seed=1, train=60, val=1, size=72)
    shapes = DataConfig(root=tmp_path / "shapes", classes=SHAPES)
    found = {}
    for device in ("cpu", "cuda"):
        check_labels(
            shapes, "train", tmp_path / device, device=device,
            model=BackboneConfig("squeezenet1_0"),
        )  # fmt: skip
        found[device] = json.loads((tmp_path / device / "check_labels.json").read_text())
    assert found["cpu"].keys() == found["cuda"].keys()
    rows = {}
    for device in found:
        with (tmp_path / device / "labels_to_check.csv").open() as file:
            rows[device] = sorted((row["image"], row["class"]) for row in csv.DictReader(file))
    assert rows["cpu"] == rows["cuda"]
