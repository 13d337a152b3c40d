"""Trap 10: a checkpoint or threshold that was chosen on pixel ground truth says so."""

import shutil

import pytest
import torch

from tests.conftest import CPU, SMALL
from tests.pipeline.conftest import IDS, SMALL_NET, make, manifest, own_shapes
from tests.pipeline.evaluation.evaluated import report
from wsss.models import BackboneConfig
from wsss.pipeline.choose_threshold import choose_threshold
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.evaluation.tables import format_table
from wsss.pipeline.train_cls import train_cls
from wsss.pipeline.train_seg import train_seg

__all__ = ["own_shapes"]


class TestTrap10:
    def test_the_classifier_s_checkpoint_is_chosen_without_masks(
        self, own_shapes, tmp_path, monkeypatch
    ):
        shutil.rmtree(own_shapes.root / "SegmentationClass")
        for module in ("masks", "datasets"):
            monkeypatch.setattr(
                f"wsss.data.{module}.read_mask", lambda path: pytest.fail(f"{path} was opened")
            )
        train_cls(
            data=own_shapes,
            output=tmp_path / "run",
            model=BackboneConfig(name="squeezenet1_0"),
            augment=SMALL,
            epochs=1,
            batch_size=6,
            trainer=CPU,
        )
        assert manifest(tmp_path / "run")["checkpoint_chosen_by"] == "image-level mAP on val"

    def test_pseudo_masks_are_made_without_masks(
        self, own_shapes, classifier_checkpoint, tmp_path, monkeypatch
    ):
        """Ground truth may only be drawn into the pictures, and only if they are asked for."""
        monkeypatch.setattr(
            "wsss.pipeline.mask_making.writing.read_mask",
            lambda path: pytest.fail(f"{path} was opened"),
        )
        with_truth = make(own_shapes, tmp_path / "a", classifier_checkpoint, limit=3)
        shutil.rmtree(own_shapes.root / "SegmentationClass")
        without = make(own_shapes, tmp_path / "b", classifier_checkpoint, limit=3)
        for name in IDS[:3]:
            assert (with_truth / f"{name}.png").read_bytes() == (
                without / f"{name}.png"
            ).read_bytes()

    @pytest.mark.slow
    def test_the_segmenter_keeps_its_last_epoch(self, shapes, tmp_path):
        train_seg(
            data=shapes,
            masks=shapes.root / shapes.masks,
            output=tmp_path / "run",
            val_split="val",
            model=SMALL_NET,
            augment=SMALL,
            epochs=2,
            batch_size=12,
            trainer=CPU,
        )
        facts = manifest(tmp_path / "run")
        assert facts["checkpoint_chosen_by"] == "last epoch"
        assert not (tmp_path / "run" / "best.ckpt").exists()
        assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["epoch"] == 1

    def test_a_threshold_says_on_which_masks_it_was_chosen(
        self, shapes, classifier_checkpoint, tmp_path
    ):
        make(shapes, tmp_path / "m", classifier_checkpoint, save_scores=True)
        scores = tmp_path / "m" / "scores"
        eval_miou(data=shapes, split="train", output=tmp_path / "e", scores=scores, steps=20)
        assert 0 < manifest(tmp_path / "e")["results"]["threshold"] <= 1
        assert manifest(tmp_path / "e")["scored_on"] == "train"
        assert "on train, with its masks" in format_table(tmp_path / "e" / "eval.json")
        told = report(tmp_path / "e")["threshold"]
        assert told["masks_used"] is True, "eval.json alone must say so too"
        assert (told["chosen_on"], told["images"]) == ("train", 12)

    def test_masks_of_such_a_threshold_say_so_on_every_list(
        self, shapes, classifier_checkpoint, tmp_path
    ):
        make(shapes, tmp_path / "m", classifier_checkpoint, save_scores=True)
        scores = tmp_path / "m" / "scores"
        eval_miou(data=shapes, split="train", output=tmp_path / "t", scores=scores, steps=20)
        masks = make(
            shapes,
            tmp_path / "v",
            classifier_checkpoint,
            split="val",
            threshold_from=tmp_path / "t",
        )
        eval_miou(data=shapes, split="val", output=tmp_path / "e", predictions=masks)
        facts = report(tmp_path / "e")
        assert facts["split"] == "val"
        assert (facts["threshold"]["chosen_on"], facts["threshold"]["masks_used"]) == (
            "train",
            True,
        )

    def test_a_threshold_without_masks_opens_none(
        self, own_shapes, classifier_checkpoint, tmp_path, monkeypatch
    ):
        make(own_shapes, tmp_path / "m", classifier_checkpoint, save_scores=True)
        shutil.rmtree(own_shapes.root / "SegmentationClass")
        monkeypatch.setattr(
            "wsss.data.masks.read_mask", lambda path: pytest.fail(f"{path} was opened")
        )
        settings = {"data": own_shapes, "split": "train", "scores": tmp_path / "m" / "scores"}
        for rule in ("otsu", "mixture", "colours"):
            choose_threshold(**settings, output=tmp_path / rule, rule=rule)
            assert manifest(tmp_path / rule)["threshold"]["masks_used"] is False
