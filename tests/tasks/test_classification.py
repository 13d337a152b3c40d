"""Training the classifier: average precision, frozen statistics, the best checkpoint, resuming."""

import csv
import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.conftest import CPU, SHAPES, SMALL
from tests.pipeline.conftest import own_shapes  # noqa: F401
from wsss.data.records import Record
from wsss.data.transforms import AugmentConfig
from wsss.models import BackboneConfig
from wsss.models.classifier import build_classifier
from wsss.models.pooling import PoolingConfig
from wsss.normalisation import IMAGENET
from wsss.pipeline.train_cls import train_cls
from wsss.tasks.checkpoint import load_classifier
from wsss.tasks.classification import LOSSES, ClassificationData, ClassificationTask
from wsss.tasks.optim import OptimConfig


def make_task(classes=SHAPES, **changes):
    settings = {
        "loss": "bce",
        "optim": OptimConfig(),
        "freeze": None,
        "freeze_batchnorm": False,
    }
    model = BackboneConfig(name="squeezenet1_0")
    return ClassificationTask(model, classes, **(settings | changes))


def validate(task, logits, labels):
    """The values logged after a validation in which the network gives these logits."""
    logged = {}
    task.log = lambda name, value, **_: logged.__setitem__(name, float(value))
    task._trainer = SimpleNamespace(strategy=SimpleNamespace(reduce=lambda value, reduce_op: value))
    task.on_validation_epoch_start()
    for row, truth in zip(logits, labels, strict=True):
        task.model.forward = lambda images, row=row: row[None]
        task.validation_step((torch.zeros(1, 3, 8, 8), truth[None]), 0)
    task.on_validation_epoch_end()
    return logged


def average_precision(scores, truth):
    """Mean, over the positives, of the precision among what scores at least as high."""
    found = []
    for score, positive in zip(scores, truth, strict=True):
        if positive:
            above = [t for s, t in zip(scores, truth, strict=True) if s >= score]
            found.append(sum(above) / len(above))
    return sum(found) / len(found)


class TestAveragePrecision:
    LABELS = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0.0]])
    LOGITS = torch.tensor([[2.0, -1, 3], [3.0, 2, 1], [1.0, 1, 0], [-1.0, 3, -2], [-2.0, -3, 1]])

    def test_by_hand(self):
        """a, by falling score: 0 1 1 0 1 -> (1/2 + 2/3 + 3/5) / 3; b: 0 1 1 0 0."""
        found = validate(make_task({"a": 1, "b": 2, "c": 3}), self.LOGITS, self.LABELS)
        assert found["val_ap_a"] == pytest.approx((1 / 2 + 2 / 3 + 3 / 5) / 3)
        assert found["val_ap_b"] == pytest.approx((1 / 2 + 2 / 3) / 2)
        for k, name in enumerate("ab"):
            slow = average_precision(self.LOGITS[:, k].tolist(), self.LABELS[:, k].tolist())
            assert found[f"val_ap_{name}"] == pytest.approx(slow)

    def test_a_class_without_positives_is_left_out_of_the_mean(self):
        found = validate(make_task({"a": 1, "b": 2, "c": 3}), self.LOGITS, self.LABELS)
        assert "val_ap_c" not in found
        assert found["val_map"] == pytest.approx((found["val_ap_a"] + found["val_ap_b"]) / 2)

    def test_no_positive_at_all(self):
        found = validate(make_task({"a": 1, "b": 2, "c": 3}), self.LOGITS, 0 * self.LABELS)
        assert found["val_map"] == 0
        assert not [key for key in found if key.startswith("val_ap")]

    def test_an_epoch_does_not_remember_the_one_before(self):
        task = make_task({"a": 1, "b": 2, "c": 3})
        first = validate(task, self.LOGITS, self.LABELS)
        validate(task, -self.LOGITS, self.LABELS)
        again = validate(task, self.LOGITS, self.LABELS)
        assert again["val_map"] == first["val_map"]

    def test_high_logits_keep_their_order(self):
        """sigmoid(20) and sigmoid(30) are both 1 in float32: a tie, unless ranked by logits."""
        logits = torch.tensor([[30.0], [20.0], [25.0]])
        found = validate(make_task({"a": 1}), logits, torch.tensor([[1.0], [0.0], [0.0]]))
        assert found["val_ap_a"] == pytest.approx(1.0)


def test_losses_by_hand():
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]], dtype=torch.float64)
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    probability = 1 / (1 + torch.exp(-logits))
    expected = -(labels * probability.log() + (1 - labels) * (1 - probability).log()).mean()
    for loss in LOSSES.values():
        assert float(loss(logits, labels)) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [True, False])
def test_batchnorm_statistics_move_only_if_not_frozen(shapes, tmp_path, freeze):
    train_cls(
        data=shapes,
        output=tmp_path / "run",
        model=BackboneConfig(name="resnet18"),
        augment=SMALL,
        freeze_batchnorm=freeze,
        epochs=1,
        batch_size=6,
        trainer=CPU,
    )
    trained, _ = load_classifier(tmp_path / "run" / "last.ckpt")
    fresh = build_classifier(BackboneConfig(name="resnet18"), 5).state_dict()
    for key, value in trained.state_dict().items():
        if key.endswith(("running_mean", "running_var")):
            assert torch.equal(value, fresh[key]) is freeze, key


def metrics(output):
    with (output / "csv" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


class TestTraining:
    def test_files_and_manifest(self, classifier_checkpoint):
        output = classifier_checkpoint.parent
        assert classifier_checkpoint.name == "best.ckpt"
        assert (output / "last.ckpt").is_file()
        facts = json.loads((output / "manifest.json").read_text())
        assert facts["complete"] is True
        assert facts["checkpoint_chosen_by"] == "image-level mAP on val"
        assert (facts["train_images"], facts["val_images"]) == (12, 6)
        present = {"ring", "star", "cross", "bar", "blob"}  # each occurs in val
        logged = facts["last_epoch"]
        assert {k.removeprefix("val_ap_") for k in logged if k.startswith("val_ap")} == present
        mean = sum(logged[f"val_ap_{name}"] for name in present) / 5
        assert logged["val_map"] == pytest.approx(mean, rel=1e-5)
        rows = metrics(output)
        found = [float(row["val_map"]) for row in rows if row["val_map"]]
        assert found == [pytest.approx(logged["val_map"])]
        assert float(rows[-1]["images_per_second"]) == pytest.approx(logged["images_per_second"])
        assert logged["images_per_second"] > 0
        assert 0 < logged["data_wait_share"] < 1

    def test_checkpoints_hold_only_data(self, classifier_checkpoint):
        loaded = torch.load(classifier_checkpoint, map_location="cpu", weights_only=True)
        assert loaded["wsss"]["kind"] == "classifier"
        assert loaded["wsss"]["classes"] == SHAPES

    def test_no_mask_is_opened(self, own_shapes, tmp_path, monkeypatch):  # noqa: F811
        """Neither to train nor to choose the checkpoint (traps 9 and 10)."""
        shutil.rmtree(own_shapes.root / "SegmentationClass")
        monkeypatch.setattr(
            "wsss.data.datasets.read_mask", lambda path: pytest.fail(f"{path} was opened")
        )
        train(own_shapes, tmp_path / "run", epochs=1)
        assert (tmp_path / "run" / "best.ckpt").is_file()

    def test_one_image_and_one_class(self, own_shapes, tmp_path):  # noqa: F811
        """Trap 14: no `len // 20`, no batch that is dropped because it is the only one."""
        rows = (own_shapes.root / "labels.csv").read_text().splitlines()
        name = next(row.split(",")[0] for row in rows if "ring" in row)
        (own_shapes.root / "ImageSets/Segmentation/one.txt").write_text(f"{name}\n")
        data = dataclasses.replace(own_shapes, classes={"ring": 9}, other_labels="ignore")
        train(data, tmp_path / "run", epochs=1, train_split="one", val_split="one", batch_size=16)
        facts = json.loads((tmp_path / "run/manifest.json").read_text())
        assert facts["train_images"] == 1
        assert facts["last_epoch"]["val_map"] == 1.0
        model, classes = load_classifier(tmp_path / "run" / "last.ckpt")
        assert classes == {"ring": 9}
        assert model.head.weight.shape == (1, 512)

    def test_validation_every_other_epoch(self, shapes, tmp_path):
        every_other = dataclasses.replace(CPU, val_every=2)
        train(shapes, tmp_path / "run", epochs=4, trainer=every_other)
        rows = metrics(tmp_path / "run")
        assert [int(row["epoch"]) for row in rows if row["val_map"]] == [1, 3]
        last = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
        assert last["epoch"] == 3

    def test_the_last_epoch_must_be_validated(self, shapes, tmp_path):
        every_other = dataclasses.replace(CPU, val_every=2)
        with pytest.raises(ValueError, match=r"trainer\.val_every: expected a divisor of the 3"):
            train(shapes, tmp_path / "run", epochs=3, trainer=every_other)
        with pytest.raises(ValueError, match=r"trainer\.val_every: expected at least 1, got 0"):
            dataclasses.replace(CPU, val_every=0)


def train(data, output, **changes):
    settings = {
        "model": BackboneConfig(name="squeezenet1_0"),
        "augment": AugmentConfig(crop=48, long_side=None, val_long_side=48, color_jitter=0.1),
        "epochs": 2,
        "batch_size": 6,
        "trainer": CPU,
    }
    return train_cls(data=data, output=output, **(settings | changes))


class Stop(Exception):
    """The power went."""


def train_interrupted(data, output, monkeypatch, error=Stop, **changes):
    """Train until the second epoch's first step."""
    real = ClassificationTask.training_step

    def step(self, batch, index):
        if self.current_epoch == 1:
            raise error
        return real(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationTask, "training_step", step)
        with pytest.raises((error, SystemExit)):
            train(data, output, **changes)


def weights(path):
    return torch.load(path, map_location="cpu", weights_only=True)["state_dict"]


class TestResuming:
    def test_gives_the_weights_of_an_uninterrupted_training(self, shapes, tmp_path, monkeypatch):
        train(shapes, tmp_path / "whole")
        train_interrupted(shapes, tmp_path / "parts", monkeypatch)
        facts = json.loads((tmp_path / "parts/manifest.json").read_text())
        assert facts["complete"] is False
        half = weights(tmp_path / "parts/last.ckpt")
        train(shapes, tmp_path / "parts")
        facts = json.loads((tmp_path / "parts/manifest.json").read_text())
        assert facts["complete"] is True
        whole, parts = (weights(tmp_path / name / "last.ckpt") for name in ("whole", "parts"))
        key = "model.head.weight"
        assert not torch.equal(half[key], parts[key]), "the second epoch did not run"
        for name, value in whole.items():
            torch.testing.assert_close(parts[name], value, rtol=0, atol=1e-6, msg=name)

    def test_the_schedule_goes_on_where_it_was(self, shapes, tmp_path, monkeypatch):
        train_interrupted(shapes, tmp_path / "run", monkeypatch)
        train(shapes, tmp_path / "run")
        loaded = torch.load(tmp_path / "run/last.ckpt", weights_only=True)
        assert (loaded["epoch"], loaded["global_step"]) == (1, 4)
        assert loaded["lr_schedulers"][0]["last_epoch"] == 4

    def test_the_best_checkpoint_of_before_is_not_forgotten(self, shapes, tmp_path, monkeypatch):
        """val_map is 0.9 after the first epoch and 0.1 after the second."""

        def end(self):
            self.log("val_map", 0.9 if self.current_epoch == 0 else 0.1)

        monkeypatch.setattr(ClassificationTask, "on_validation_epoch_end", end)
        train(shapes, tmp_path / "whole")
        assert torch.load(tmp_path / "whole/best.ckpt", weights_only=True)["epoch"] == 0
        train_interrupted(shapes, tmp_path / "run", monkeypatch)
        train(shapes, tmp_path / "run")
        assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["epoch"] == 1
        assert torch.load(tmp_path / "run/best.ckpt", weights_only=True)["epoch"] == 0

    def test_the_command_again_after_the_end_changes_nothing(self, shapes, tmp_path):
        train(shapes, tmp_path / "run", epochs=1)
        facts = json.loads((tmp_path / "run/manifest.json").read_text())
        before = {name: weights(tmp_path / "run" / name) for name in ("last.ckpt", "best.ckpt")}
        train(shapes, tmp_path / "run", epochs=1)
        for name, state in before.items():
            after = weights(tmp_path / "run" / name)
            assert all(torch.equal(after[key], value) for key, value in state.items())
        assert json.loads((tmp_path / "run/manifest.json").read_text()) == facts

    def test_an_interruption_by_hand_reaches_the_command_line(self, shapes, tmp_path, monkeypatch):
        """`wsss` answers a KeyboardInterrupt with how to go on; Lightning must not swallow it."""
        before = signal.getsignal(signal.SIGINT)
        real = ClassificationTask.training_step

        def step(self, batch, index):
            raise KeyboardInterrupt

        monkeypatch.setattr(ClassificationTask, "training_step", step)
        try:
            with pytest.raises(KeyboardInterrupt):
                train(shapes, tmp_path / "run", epochs=1)
            assert signal.getsignal(signal.SIGINT) is before, "Ctrl-C no longer works afterwards"
        finally:
            signal.signal(signal.SIGINT, before)
            monkeypatch.setattr(ClassificationTask, "training_step", real)

    def test_a_training_that_is_told_to_end_does_not_look_done(self, shapes, tmp_path, monkeypatch):
        """A scheduler's SIGTERM: not with exit code 0, after which a script would go on."""
        real = ClassificationTask.training_step

        def step(self, batch, index):
            os.kill(os.getpid(), signal.SIGTERM)
            return real(self, batch, index)

        monkeypatch.setattr(ClassificationTask, "training_step", step)
        with pytest.raises(SystemExit) as ended:
            train(shapes, tmp_path / "run", epochs=1)
        assert ended.value.code == 143
        assert not json.loads((tmp_path / "run/manifest.json").read_text())["complete"]


def test_the_best_checkpoint_is_the_one_of_the_highest_map(shapes, tmp_path, monkeypatch):
    """val_loss says the opposite."""
    values = [0.2, 0.7, 0.5]

    def end(self):
        self.log("val_map", values[self.current_epoch])

    monkeypatch.setattr(ClassificationTask, "on_validation_epoch_end", end)
    path = train(shapes, tmp_path / "run", epochs=3)
    assert torch.load(path, weights_only=True)["epoch"] == 1
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["epoch"] == 2


def test_the_same_seed_gives_the_same_weights_and_another_does_not(shapes, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(shapes, tmp_path / name, epochs=1, seed=seed)
    a, b, c = (weights(tmp_path / name / "last.ckpt") for name in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["model.head.weight"], c["model.head.weight"])


@pytest.mark.parametrize(
    ("pooling", "kind"), [("topk", "topk"), (PoolingConfig("lse", 4.0, learned=True), "lse")]
)
def test_a_checkpoint_brings_its_pooling_and_stages_along(shapes, tmp_path, pooling, kind):
    train_cls(
        shapes, tmp_path, model=BackboneConfig("narrow_resnet10"), augment=SMALL, epochs=1,
        batch_size=6, trainer=CPU, pooling=pooling,
        stages=["layer2", "layer3"], freeze_batchnorm=True,
    )  # fmt: skip
    model, _ = load_classifier(tmp_path / "last.ckpt")
    assert model.head.pooling.config.kind == kind
    assert model.taps == ["layer2", "layer3"]
    # the normalisation of the stages has learned, though that of the backbone stands still
    assert model.head.norms[0].running_mean.abs().max() > 0
    start = torch.tensor(4.0).log()
    if kind == "lse":
        assert model.head.pooling.log_sharpness.shape == (len(shapes.classes),)
        assert (model.head.pooling.log_sharpness != start).all()


def normal_data(images: int, normal: int, share: float | None) -> ClassificationData:
    labels = np.ones((images, 2), dtype=np.float32)
    labels[:normal] = 0
    records = [
        Record(str(i), Path(f"{i}.png"), Path("none"), label) for i, label in enumerate(labels)
    ]
    return ClassificationData(
        records, records[-1:], normalisation=IMAGENET, augment=AugmentConfig(), batch_size=4,
        workers=0, normal_share=share, read=lambda *_: np.zeros((40, 40, 3), np.uint8),
    )  # fmt: skip


def test_each_batch_has_its_share_of_normal_images():
    data = normal_data(20, 17, 0.5)
    for _, labels in data.train_dataloader():
        assert labels.any(dim=1).sum() == 2
    by_chance = [
        labels.any(dim=1).sum() for _, labels in normal_data(20, 17, None).train_dataloader()
    ]
    assert sum(by_chance) == 3


@pytest.mark.parametrize(
    ("images", "normal", "share", "message"),
    [
        (4, 0, 0.5, r"normal_share: expected images with a class and images without one.*4 and 0"),
        (4, 4, 0.5, r"images without one in train_split, got 0 and 4"),
        (4, 2, 0.0, r"normal_share: expected 0 < share < 1, got 0"),
        (4, 2, 1.0, r"normal_share: expected 0 < share < 1, got 1"),
    ],
)
def test_a_share_that_cannot_be(images, normal, share, message):
    with pytest.raises(ValueError, match=message):
        normal_data(images, normal, share)
