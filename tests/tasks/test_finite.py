"""Numbers that are not finite end a training, are never the best, and are not loaded."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import CPU, SMALL
from tests.tasks.test_kept_features import find_boundaries
from wsss.data.transforms import AugmentConfig
from wsss.models import BackboneConfig
from wsss.models.segmenter import SegmenterConfig
from wsss.pipeline.predict import predict
from wsss.pipeline.train_cls import train_cls
from wsss.pipeline.train_seg import train_seg
from wsss.tasks.checkpoint import load_classifier, load_segmenter
from wsss.tasks.classification import ClassificationTask
from wsss.tasks.finite import StopWhereNotFinite
from wsss.tasks.optim import OptimConfig
from wsss.tasks.segmentation import SegmentationTask

NET = "narrow_resnet10"
STOPPED = r"the training diverged, in epoch \d+ at .*smaller optim\.lr.*gradient_clip"


def classify(shapes, output, **changes):
    given = {
        "model": BackboneConfig(NET, output_stride=8), "augment": SMALL, "epochs": 2,
        "batch_size": 4, "trainer": CPU,
    }  # fmt: skip
    return train_cls(shapes, output, **given | changes)


def segment(shapes, output, **changes):
    given = {
        "model": SegmenterConfig("deeplabv2", NET, output_stride=8, rates=(1, 2)),
        "augment": AugmentConfig(crop=64, long_side=None, val_long_side=None),
        "val_split": "val", "epochs": 2, "batch_size": 4, "trainer": CPU,
    }  # fmt: skip
    return train_seg(shapes, shapes.root / shapes.masks, output, **given | changes)


def spoil_at(monkeypatch, task, step, value):
    """Let the scores of a step be no numbers."""
    scores = "sparse" if task is SegmentationTask else "whole"
    real, steps = getattr(task, scores), []

    def spoiled(self, *arguments):
        steps.extend([0] * self.training)
        return real(self, *arguments) * (value if self.training and len(steps) == step else 1)

    monkeypatch.setattr(task, scores, spoiled)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
def test_the_first_such_loss_stops_the_training(shapes, tmp_path, monkeypatch, kind, value):
    train, task = {
        "classifier": (classify, ClassificationTask),
        "segmenter": (segment, SegmentationTask),
    }[kind]
    spoil_at(monkeypatch, task, 5, value)  # the second step of the second epoch
    with pytest.raises(ValueError, match=STOPPED + r".*last\.ckpt is that of an earlier"):
        train(shapes, tmp_path / "run")
    loaded = torch.load(tmp_path / "run/last.ckpt", weights_only=True)
    assert loaded["epoch"] == 0
    assert all(torch.isfinite(v).all() for v in loaded["state_dict"].values())


def test_a_rate_that_diverges_says_what_to_change(shapes, tmp_path):
    with pytest.raises(ValueError, match=STOPPED):
        classify(shapes, tmp_path / "run", optim=OptimConfig(lr=1e9), epochs=4)
    assert not (tmp_path / "run/best.ckpt").exists()


def test_weights_are_looked_at_before_they_are_kept(shapes, tmp_path, monkeypatch):
    """The loss of the last step says nothing of the weights behind it."""
    real = ClassificationTask.on_train_batch_end

    def spoil(self, *arguments):
        real(self, *arguments)
        with torch.no_grad():
            self.model.head.weight[0, 0] = torch.nan

    monkeypatch.setattr(ClassificationTask, "on_train_batch_end", spoil)
    with pytest.raises(ValueError, match=r"its end: model\.head\.weight holds numbers that are"):
        classify(shapes, tmp_path / "run", epochs=1, batch_size=12)
    assert not list((tmp_path / "run").glob("*.ckpt"))


def test_boundaries(shapes, tmp_path):
    classifier = classify(shapes, tmp_path / "classifier")
    with pytest.raises(ValueError, match=STOPPED):
        find_boundaries(
            shapes, tmp_path / "run", tmp_path / "kept", classifier, optim=OptimConfig(lr=1e18)
        )


def test_scores_that_are_no_numbers_have_no_precision(shapes, tmp_path, monkeypatch):
    monkeypatch.setattr(
        ClassificationTask, "whole", lambda self, images: self.model(images) * torch.nan
    )
    logged = {}
    monkeypatch.setattr(
        ClassificationTask, "log", lambda self, name, value, **_: logged.update({name: value})
    )
    task = ClassificationTask(
        BackboneConfig(NET), shapes.classes, loss="bce", optim=OptimConfig(), freeze=None,
        freeze_batchnorm=False,
    )  # fmt: skip
    task.on_validation_epoch_start()
    labels = torch.eye(5)
    task.validation_step((torch.zeros(5, 3, 32, 32), labels), 0)
    task.on_validation_epoch_end()
    assert torch.isnan(logged["val_map"])
    assert torch.isnan(logged["val_ap_ring"])


@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
def test_a_checkpoint_that_diverged_is_not_loaded(shapes, tmp_path, kind):
    train, load = {
        "classifier": (classify, load_classifier),
        "segmenter": (segment, load_segmenter),
    }[kind]
    train(shapes, tmp_path / "run", epochs=1)
    path = tmp_path / "run/last.ckpt"
    loaded = torch.load(path, weights_only=True)
    name = next(key for key in loaded["state_dict"] if key.endswith("weight"))
    loaded["state_dict"][name][0] = torch.inf
    torch.save(loaded, path)
    with pytest.raises(ValueError, match=r"last\.ckpt: .*weight holds numbers that are not finite"):
        load(path)


def test_scores_of_a_network_that_overflows_are_no_mask(shapes, tmp_path):
    """Every weight is a number, and what they add up to is none."""
    segment(shapes, tmp_path / "run", epochs=1)
    path = tmp_path / "run/last.ckpt"
    loaded = torch.load(path, weights_only=True)
    for name, values in loaded["state_dict"].items():
        if name.startswith("model.head") and name.endswith("weight"):
            values.copy_(values.sign() * 3e38)
    torch.save(loaded, path)
    with pytest.raises(Exception, match="the network's scores are not finite"):
        predict(path, tmp_path / "predicted", data=shapes, split="val", device="cpu", workers=1)


@pytest.mark.parametrize(("precision", "stops"), [("16-mixed", False), ("bf16-mixed", True)])
def test_float16_may_leave_steps_out(precision, stops):
    """Its first steps overflow by design, and are left out by the scaling of the loss."""
    trainer = SimpleNamespace(
        precision=precision,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        callback_metrics={"train_loss": torch.tensor(torch.inf)},
        current_epoch=0,
    )
    task = ClassificationTask(
        BackboneConfig(NET), {"ring": 1}, loss="bce", optim=OptimConfig(), freeze=None,
        freeze_batchnorm=False,
    )  # fmt: skip
    watching = StopWhereNotFinite(Path("there"))
    with pytest.raises(ValueError, match=STOPPED) if stops else nullcontext():
        watching.on_train_batch_end(trainer, task, None, None, 9)
