"""Trainings on corrected masks: these replace pseudo-masks, weigh as told, and stay as they are."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from tests.conftest import CPU
from tests.pipeline.conftest import IDS, manifest
from tests.pipeline.test_self_train import KEYS, TRAINING, drawn, rounds, start
from tests.tasks.test_kept_features import VIEWS, losses
from wsss.data import read_mask, write_mask
from wsss.data.datasets import Weighted
from wsss.data.transforms import AugmentConfig
from wsss.models.segmenter import SegmenterConfig
from wsss.pipeline.self_train import self_train
from wsss.pipeline.train_seg import train_seg
from wsss.tasks.losses import cross_entropy
from wsss.tasks.optim import OptimConfig
from wsss.tasks.segmentation import SegmentationData, SegmentationTask

__all__ = ["drawn", "losses", "rounds", "start"]

STILL = AugmentConfig(crop=96, long_side=None, flip=0.0, position="top_left", val_long_side=None)


def segment(data, masks, output, **changes):
    given = {
        "model": SegmenterConfig("deeplabv2", "narrow_resnet10", output_stride=8, rates=(1, 2)),
        "augment": STILL, "epochs": 1, "batch_size": 12, "trainer": CPU,
        "optim": OptimConfig(lr=0.01),
    }  # fmt: skip
    return train_seg(data, masks, output, **given | changes)


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


def same(first, second) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def folders(shapes, tmp_path):
    """Pseudo-masks without an object, of which the first has none; three that are corrected."""
    for image_id in IDS:
        truth = read_mask(shapes.root / shapes.masks / f"{image_id}.png")
        if image_id != IDS[0]:
            write_mask(tmp_path / f"masks/{image_id}.png", np.zeros_like(truth))
        if image_id in (IDS[0], IDS[5], IDS[8]):
            write_mask(tmp_path / f"corrected/{image_id}.png", truth)
    return tmp_path


@pytest.fixture
def taught(monkeypatch):
    """Mask of each training image, and their weights, as they come to each training."""
    found = []
    real = SegmentationData.__init__

    def noted(self, train, masks, *arguments, **options):
        names = [record.image_id for record in train]
        found.append((dict(zip(names, masks, strict=True)), options.get("weights")))
        real(self, train, masks, *arguments, **options)

    monkeypatch.setattr(SegmentationData, "__init__", noted)
    return found


class TestTrainSeg:
    def test_at_weight_1_it_is_the_training_on_the_merged_masks(self, shapes, folders):
        trusted = segment(shapes, folders / "masks", folders / "a", trusted=folders / "corrected")
        merged = folders / "merged"
        shutil.copytree(folders / "masks", merged)
        shutil.copytree(folders / "corrected", merged, dirs_exist_ok=True)
        plain = segment(shapes, merged, folders / "b")
        assert same(weights(trusted), weights(plain))
        facts = manifest(folders / "a")
        assert (facts["trusted_images"], facts["trusted_elsewhere"]) == (3, 0)
        assert manifest(folders / "b")["trusted_images"] == 0

    def test_each_pixel_counts_as_so_many(self, shapes, folders, losses, monkeypatch):
        """The first loss is that of the batch's own pixels, weighted by hand."""
        batches = []
        real = SegmentationTask.sparse

        def noted(self, images, begin):
            batches.append(real(self, images, begin))
            return batches[-1]

        monkeypatch.setattr(SegmentationTask, "sparse", noted)
        seen = []

        def by_hand(logits, labels, given):
            seen.append((labels, given))
            return cross_entropy(logits, labels, given)

        monkeypatch.setattr("wsss.tasks.segmentation.cross_entropy", by_hand)
        segment(
            shapes, folders / "masks", folders / "a", trusted=folders / "corrected",
            trusted_weight=3.0,
        )  # fmt: skip
        labels, given = seen[0]
        assert sorted(given.tolist()) == [1.0] * 9 + [3.0] * 3
        # those with objects are the corrected ones
        objects = ((labels > 0) & (labels != 255)).any(dim=(1, 2))
        assert given[objects].tolist() == [3.0] * 3
        shares = batches[0].log_softmax(dim=1).detach().double()
        total = count = 0.0
        for one, label, weight in zip(shares, labels, given, strict=True):
            inside = label != 255
            total -= float(weight * one[:, inside].gather(0, label[None, inside]).sum())
            count += float(weight * inside.sum())
        assert losses[0] == pytest.approx(total / count, rel=1e-5)

    def test_kept_features_bring_the_weights(self, shapes, folders, losses):
        given = {
            "trusted": folders / "corrected", "trusted_weight": 3.0, "augment": VIEWS,
            "freeze": "all", "batch_size": 6,
        }  # fmt: skip
        segment(shapes, folders / "masks", folders / "a", **given)
        cached = {"features": "cache", "trainer": dataclasses.replace(CPU, cache=folders / "kept")}
        segment(shapes, folders / "masks", folders / "b", **given, **cached)
        computed, kept = losses[:2], losses[2:]
        # float16 activations
        assert kept == pytest.approx(computed, rel=2e-3)
        segment(shapes, folders / "masks", folders / "c", **given | cached | {"trusted_weight": 1})
        assert losses[4:] != pytest.approx(kept, rel=1e-2)

    def test_speed_counts_images_and_not_the_fields_of_their_labels(self):
        from wsss.tasks.speed import Throughput

        watch = Throughput()
        labels = torch.zeros(5, 8, 8, dtype=torch.int64)
        for batch in ((labels, labels), (labels, Weighted(labels, torch.ones(5)))):
            watch.images = 0
            watch.on_train_batch_start(None, None, batch, 0)
            watch.on_train_batch_end(None, None, None, batch, 0)
            assert watch.images == 5

    def test_more_corrections_need_another_folder(self, shapes, folders):
        settings = {"trusted": folders / "corrected"}
        segment(shapes, folders / "masks", folders / "a", **settings)
        before = weights(folders / "a/last.ckpt")
        segment(shapes, folders / "masks", folders / "a", **settings)
        assert same(weights(folders / "a/last.ckpt"), before)
        truth = shapes.root / shapes.masks / f"{IDS[3]}.png"
        shutil.copy(truth, folders / "corrected")
        with pytest.raises(ValueError, match=r"another configuration.*trusted_sha256"):
            segment(shapes, folders / "masks", folders / "a", **settings)

    @pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
    def test_weights_are_above_0(self, shapes, folders, weight):
        with pytest.raises(ValueError, match="trusted_weight: expected a number above 0, got"):
            segment(shapes, folders / "masks", folders / "a", trusted_weight=weight)
        assert not (folders / "a").exists()

    def test_an_image_with_neither_mask_is_named(self, shapes, folders):
        (folders / f"corrected/{IDS[0]}.png").unlink()
        with pytest.raises(FileNotFoundError, match=rf"1 masks are missing.*{IDS[0]}\.png"):
            segment(shapes, folders / "masks", folders / "a", trusted=folders / "corrected")


class TestSelfTrain:
    @pytest.mark.slow
    def test_rounds_never_replace_a_corrected_mask(self, shapes, start, folders, taught):
        corrected = folders / "corrected"
        before = {path.name: path.read_bytes() for path in corrected.iterdir()}
        keys = {**KEYS, "train_seg": {**TRAINING, "trusted_weight": 2.0}}
        self_train(shapes, start, folders / "run", trusted=corrected, rounds=2, **keys)
        assert len(taught) == 2
        for number, (masks, given) in enumerate(taught, start=1):
            predicted = folders / f"run/round_{number}/masks/masks"
            for image_id in IDS:
                name = f"{image_id}.png"
                mine = name in before
                assert masks[image_id] == (corrected if mine else predicted) / name
            assert given == [2.0 if f"{name}.png" in before else 1.0 for name in IDS]
        assert {path.name: path.read_bytes() for path in corrected.iterdir()} == before
        facts = manifest(folders / "run")
        assert (facts["trusted_images"], facts["trusted_elsewhere"]) == (3, 0)
        assert manifest(folders / "run/round_2/segmenter")["trusted_images"] == 3

    def test_whether_rounds_change_is_asked_of_the_others(
        self, shapes, start, rounds, drawn, folders
    ):
        """Predictions of corrected images, of which nothing is learned, may change for ever."""
        changed = folders / "changed"
        shutil.copytree(drawn["a"], changed)
        for image_id in (IDS[0], IDS[5], IDS[8]):
            shutil.copy(drawn["b"] / f"{image_id}.png", changed)
        rounds({"round_1": changed}, [None] * 2)
        settings = {"masks": drawn["a"], "rounds": 1, "agreement": 1.0}
        self_train(shapes, start, folders / "a", trusted=folders / "corrected", **settings)
        assert manifest(folders / "a")["stopped"].startswith("round 1: masks agree by kappa 1.000")
        rounds({"round_1": changed}, [None] * 2)
        self_train(shapes, start, folders / "b", **settings)
        assert manifest(folders / "b")["stopped"] == "after 1 rounds"

    def test_it_is_a_key_of_the_command(self, shapes, start, folders):
        keys = {**TRAINING, "trusted": str(folders / "corrected")}
        with pytest.raises(ValueError, match=r"train_seg\.trusted: each round sets it"):
            self_train(shapes, start, folders / "run", train_seg=keys)
