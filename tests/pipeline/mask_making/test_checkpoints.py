"""Checkpoints that make_pseudo_masks refuses: another kind, other classes, damaged, or harmful."""

import dataclasses
import pickle
from pathlib import Path

import pytest
import torch

from tests.conftest import SHAPES
from tests.pipeline.conftest import make
from wsss.models import BackboneConfig, build_classifier
from wsss.models.segmenter import SegmenterConfig
from wsss.normalisation import IMAGENET
from wsss.tasks.checkpoint import describe


class TestCheckpoints:
    def test_of_another_kind(self, shapes, segmenter_checkpoint, tmp_path):
        with pytest.raises(
            ValueError,
            match=r"last\.ckpt: expected a classifier written by train_cls or a .*, found segm",
        ):
            make(shapes, tmp_path / "run", segmenter_checkpoint)

    @pytest.mark.parametrize(
        "classes",
        [
            {"ring": 1, "star": 2, "cross": 3, "bar": 4},
            {"star": 2, "ring": 1, "cross": 3, "bar": 4, "blob": 5},
            {"ring": 1, "star": 2, "cross": 3, "bar": 4, "blob": 6},
            {"ring": 1, "star": 2, "cross": 3, "bar": 4, "drop": 5},
        ],
    )
    def test_of_other_classes(self, shapes, classifier_checkpoint, tmp_path, classes):
        data = dataclasses.replace(shapes, classes=classes, other_labels="ignore")
        with pytest.raises(ValueError, match=r"best\.ckpt was trained on the classes .*'blob': 5"):
            make(data, tmp_path / "run", classifier_checkpoint)

    def test_foreign_weights(self, shapes, tmp_path):
        path = tmp_path / "foreign.pth"
        torch.save({"conv.weight": torch.zeros(2)}, path)
        with pytest.raises(ValueError, match=r"foreign\.pth: .*found foreign weights"):
            make(shapes, tmp_path / "run", path)

    def test_of_another_architecture(self, shapes, tmp_path):
        """The description says resnet18, the weights are those of squeezenet."""
        model = build_classifier(BackboneConfig(name="squeezenet1_0"), 5)
        state = {f"model.{key}": value for key, value in model.state_dict().items()}
        description = describe("classifier", BackboneConfig(name="resnet18"), SHAPES, IMAGENET)
        torch.save({"wsss": description, "state_dict": state}, tmp_path / "odd.ckpt")
        with pytest.raises(
            ValueError, match=r"odd\.ckpt do not fit .*missing \(\d+\): backbone\.conv1\.weight"
        ):
            make(shapes, tmp_path / "run", tmp_path / "odd.ckpt")

    def test_that_are_not_there_or_damaged(self, shapes, classifier_checkpoint, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"checkpoint not found: .*none\.ckpt"):
            make(shapes, tmp_path / "run", tmp_path / "none.ckpt")
        half = tmp_path / "half.ckpt"
        half.write_bytes(classifier_checkpoint.read_bytes()[:5000])
        with pytest.raises(ValueError, match=r"cannot read checkpoint .*half\.ckpt"):
            make(shapes, tmp_path / "run", half)

    def test_that_would_run_code(self, shapes, tmp_path):
        class Evil:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "ran",))

        evil = tmp_path / "evil.ckpt"
        torch.save({"wsss": Evil(), "state_dict": {}}, evil)
        with pytest.raises(ValueError, match=r"cannot read checkpoint .*evil\.ckpt"):
            make(shapes, tmp_path / "run", evil)
        evil.write_bytes(pickle.dumps(Evil()))
        with pytest.raises(ValueError, match=r"cannot read checkpoint .*evil\.ckpt"):
            make(shapes, tmp_path / "run", evil)
        assert not (tmp_path / "ran").exists()

    def test_a_segmenter_description_with_classifier_weights_is_a_segmenter(self, shapes, tmp_path):
        config = SegmenterConfig(backbone="resnet18", output_stride=16)
        torch.save(
            {"wsss": describe("segmenter", config, SHAPES, IMAGENET), "state_dict": {}},
            tmp_path / "s.ckpt",
        )
        with pytest.raises(ValueError, match="found segmenter"):
            make(shapes, tmp_path / "run", tmp_path / "s.ckpt")
