"""Rounds of self-training: what a round is made of, when they stop, and how they go on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import CPU, SMALL
from tests.pipeline.conftest import IDS, contents, manifest, own_shapes
from wsss.data import load_records, read_mask, read_scores, write_mask
from wsss.data.masks import LabelMap
from wsss.metrics import confusion_counts
from wsss.metrics.segmentation import cohen_kappa
from wsss.models.segmenter import SegmenterConfig
from wsss.pipeline.run import run
from wsss.pipeline.self_train import self_train
from wsss.pipeline.self_training.agreement import agreement_of_masks, agreement_with_labels
from wsss.pipeline.self_training.stages import Stages
from wsss.pipeline.train_seg import train_seg
from wsss.runs.settings import plain

__all__ = ["own_shapes"]

NET = SegmenterConfig(backbone="narrow_resnet10", output_stride=16, rates=(1,))
TRAINING = {
    "model": plain(NET),
    "augment": plain(SMALL),
    "epochs": 1,
    "batch_size": 6,
    "trainer": plain(CPU),
}
KEYS = {"train_seg": TRAINING, "make_pseudo_masks": {"crf": None}}
LABELS = LabelMap([1, 2, 3, 4, 5])


@pytest.fixture(scope="module")
def start(shapes, tmp_path_factory) -> Path:
    """A network that knows nothing, with which the first round begins."""
    return train_seg(
        shapes, shapes.root / shapes.masks, tmp_path_factory.mktemp("start") / "run", model=NET,
        augment=SMALL, epochs=1, batch_size=6, trainer=CPU,
    )  # fmt: skip


@pytest.fixture
def rounds(monkeypatch, tmp_path):
    """Stages without networks: round k makes the masks and the F1 that are given for it."""
    calls = []

    def set_up(masks, scores):
        judged = iter(scores)
        monkeypatch.setattr(Stages, "check", lambda stages: None)
        monkeypatch.setattr(
            Stages, "masks",
            lambda stages, checkpoint, folder: calls.append(checkpoint) or masks[folder.name],
        )  # fmt: skip

        def network(stages, folder):
            folder.mkdir(parents=True)
            (folder / "last.ckpt").write_text(folder.name)
            return folder / "last.ckpt"

        monkeypatch.setattr(Stages, "network", network)
        monkeypatch.setattr("wsss.pipeline.self_train._label_f1", lambda *_: next(judged))
        return calls

    return set_up


@pytest.fixture
def drawn(shapes, tmp_path):
    """Folders of masks that differ in ever fewer pixels: a, b, c."""
    folders = {}
    for name, rows in (("a", 40), ("b", 20), ("c", 19)):
        folders[name] = tmp_path / name
        for image_id in IDS:
            mask = read_mask(shapes.root / shapes.masks / f"{image_id}.png")
            mask[:rows] = 3
            write_mask(folders[name] / f"{image_id}.png", mask)
    return folders


@pytest.fixture(scope="module")
def trained(shapes, start, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("rounds") / "run"
    self_train(
        shapes, start, output, masks=shapes.root / shapes.masks, held_out="val", rounds=1,
        agreement=1.0, **KEYS,
    )  # fmt: skip
    return output


class TestARound:
    def test_predictions_hold_the_labels_and_become_masks_and_a_network(self, shapes, trained):
        place = trained / "round_1"
        for record in load_records(shapes, "train", with_labels=True):
            present = (np.flatnonzero(record.labels) + 1).tolist()
            stored = read_scores(place / f"predictions/scores/{record.image_id}.npz")
            assert stored.classes.tolist() == present
            found = np.unique(read_mask(place / f"masks/masks/{record.image_id}.png"))
            assert set(found.tolist()) <= {0, *present}
        assert manifest(place / "masks")["config"]["background"]["kind"] == "remainder"
        assert manifest(place / "segmenter")["complete"] is True
        assert manifest(place / "held_out")["config"]["label_mode"] == "all"

    def test_the_manifest_says_how_it_went(self, shapes, trained):
        facts = manifest(trained)
        agreed = agreement_of_masks(
            IDS, shapes.root / shapes.masks, trained / "round_1/masks/masks", LABELS
        )
        judges = load_records(shapes, "val", with_labels=True)
        f1 = agreement_with_labels(judges, trained / "round_1/held_out/masks", LABELS)
        found = facts["rounds"]
        assert [one["mask_agreement"] for one in found] == [agreed._asdict()]
        assert json.dumps(found[0]["label_f1"]) == json.dumps(f1)
        assert (facts["train_images"], facts["held_out_images"]) == (12, 6)
        assert facts["complete"] is True
        assert (trained / "last.ckpt").read_bytes() == Path(facts["kept"]).read_bytes()

    def test_given_again_nothing_is_made_anew(self, shapes, start, trained):
        settings = {"masks": shapes.root / shapes.masks, "held_out": "val", "agreement": 1.0}
        files = [p for p in trained.rglob("*") if p.suffix in (".png", ".npz")]
        before = {p: p.stat().st_mtime_ns for p in files}
        checkpoint = (trained / "round_1/segmenter/last.ckpt").read_bytes()
        self_train(shapes, start, trained, rounds=1, **settings, **KEYS)
        assert {p: p.stat().st_mtime_ns for p in files} == before
        assert (trained / "round_1/segmenter/last.ckpt").read_bytes() == checkpoint

    def test_other_keys_of_a_stage_are_refused_by_its_folder(self, shapes, start, trained):
        settings = {"masks": shapes.root / shapes.masks, "held_out": "val", "agreement": 1.0}
        other = {**KEYS, "train_seg": {**TRAINING, "seed": 3}}
        with pytest.raises(ValueError, match=r"round_1/segmenter holds results.*seed: 0 -> 3"):
            self_train(shapes, start, trained, rounds=1, **settings, **other)

    def test_scores_of_another_view_are_joined(self, shapes, start, trained, tmp_path):
        other = tmp_path / "other"
        shutil.copytree(trained / "round_1/predictions/scores", other)
        self_train(shapes, start, tmp_path / "run", other_scores=[other], rounds=1, **KEYS)
        config = manifest(tmp_path / "run/round_1/masks")["config"]
        expected = [str(tmp_path / "run/round_1/predictions"), str(other)]
        assert config["scores_from"] == expected
        # the mean of a view with itself is that view
        assert contents(tmp_path / "run/round_1/masks/masks") == contents(
            trained / "round_1/masks/masks"
        )

    def test_as_a_step_of_a_run_without_masks_of_the_data_set(self, own_shapes, start, tmp_path):
        shutil.rmtree(own_shapes.root / own_shapes.masks)
        step = {
            "command": "self_train", "checkpoint": str(start), "held_out": "val", "rounds": 1,
            "predict": {"inference": {"scales": [1.0], "flip": True}}, **KEYS,
        }  # fmt: skip
        run(own_shapes, [step], tmp_path / "run")
        assert (tmp_path / "run/self_train/last.ckpt").is_file()


class TestStopping:
    def test_when_the_masks_agree_the_network_is_not_trained_again(
        self, shapes, start, rounds, drawn, tmp_path
    ):
        calls = rounds({"round_1": drawn["b"], "round_2": drawn["c"]}, [None] * 3)
        output = tmp_path / "run"
        self_train(shapes, start, output, masks=drawn["a"], rounds=5, agreement=0.9)
        facts = manifest(output)
        assert calls == [start, output / "round_1/last.ckpt"]
        first, second = (one["mask_agreement"]["kappa"] for one in facts["rounds"])
        assert first < 0.9 <= second
        assert facts["stopped"].startswith("round 2: masks agree by kappa 0.9")
        assert (output / "last.ckpt").read_text() == "round_1"

    def test_when_the_labels_agree_less_the_network_before_is_kept(
        self, shapes, start, rounds, drawn, tmp_path
    ):
        rounds({f"round_{i}": drawn["abc"[i % 3]] for i in (1, 2, 3)}, [0.5, 0.6, 0.6, 0.59])
        self_train(shapes, start, tmp_path / "run", rounds=5, agreement=1.0)
        facts = manifest(tmp_path / "run")
        assert [one["label_f1"] for one in facts["rounds"]] == [0.6, 0.6, 0.59]
        assert facts["start_label_f1"] == 0.5
        assert facts["stopped"] == (
            "round 3: F1 with the held-out labels fell from 0.6000 to 0.5900"
        )
        assert (tmp_path / "run/last.ckpt").read_text() == "round_2"

    def test_a_first_round_that_is_worse_leaves_the_network_it_began_with(
        self, shapes, start, rounds, drawn, tmp_path
    ):
        rounds({"round_1": drawn["a"]}, [0.5, 0.4])
        self_train(shapes, start, tmp_path / "run")
        assert (tmp_path / "run/last.ckpt").read_bytes() == start.read_bytes()

    def test_after_the_last_round(self, shapes, start, rounds, drawn, tmp_path):
        rounds({"round_1": drawn["a"], "round_2": drawn["b"]}, [None] * 3)
        self_train(shapes, start, tmp_path / "run", rounds=2, agreement=0.99)
        assert manifest(tmp_path / "run")["stopped"] == "after 2 rounds"
        assert manifest(tmp_path / "run")["rounds"][0]["mask_agreement"] is None
        assert (tmp_path / "run/last.ckpt").read_text() == "round_2"


class TestAgreement:
    def test_kappa_of_all_pixels_that_both_label(self, shapes, drawn, tmp_path):
        counts = 0
        for i, image_id in enumerate(IDS):
            first, second = (read_mask(drawn[name] / f"{image_id}.png") for name in "ab")
            second = second.copy()
            second[5, : 3 * i] = 255
            write_mask(tmp_path / "left" / f"{image_id}.png", second)
            both = second != 255
            counts += confusion_counts(second[both], first[both], 6)
        found = agreement_of_masks(IDS, drawn["a"], tmp_path / "left", LABELS)
        assert found.kappa == pytest.approx(cohen_kappa(counts))
        assert found.pixels == pytest.approx(np.trace(counts) / counts.sum())
        other = agreement_of_masks(IDS, tmp_path / "left", drawn["a"], LABELS)
        assert other.kappa == pytest.approx(found.kappa)

    def test_masks_of_one_label_agree(self, tmp_path):
        write_mask(tmp_path / "a/x.png", np.zeros((4, 5), np.uint8))
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        found = agreement_of_masks(["x"], tmp_path / "a", tmp_path / "b", LABELS)
        assert (found.kappa, found.pixels) == (1, 1)

    def test_masks_of_other_sizes_are_named(self, tmp_path):
        write_mask(tmp_path / "a/x.png", np.zeros((4, 5), np.uint8))
        write_mask(tmp_path / "b/x.png", np.zeros((5, 5), np.uint8))
        with pytest.raises(ValueError, match=r"mask .*b/x\.png is 5 x 5 pixels, but .*a/x\.png"):
            agreement_of_masks(["x"], tmp_path / "a", tmp_path / "b", LABELS)

    def test_a_few_pixels_are_no_predicted_class(self, shapes, tmp_path):
        records = load_records(shapes, "val", with_labels=True)
        for record in records:
            mask = np.zeros((40, 50), np.uint8)
            for place, value in enumerate(np.flatnonzero(record.labels) + 1):
                mask[place, :10] = value  # .5 % of the pixels
            mask[30:, :9] = 0
            write_mask(tmp_path / f"{record.image_id}.png", mask)
        assert agreement_with_labels(records, tmp_path, LABELS) == 1
        for record in records:
            mask = read_mask(tmp_path / f"{record.image_id}.png")
            mask[:, 9] = 0
            write_mask(tmp_path / f"{record.image_id}.png", mask)
        assert agreement_with_labels(records, tmp_path, LABELS) == 0


class TestRefused:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"rounds": 0}, "rounds: expected at least 1, got 0"),
            ({"agreement": 1.5}, "agreement: expected above 0, at most 1, got 1.5"),
            ({"held_out": "train"}, "held_out: 12 images of the list train are in train too"),
            ({"predict": {"split": "val"}}, r"predict\.split: each round sets it"),
            ({"predict": {"refine": []}}, r"predict\.refine: each round sets it"),
            ({"make_pseudo_masks": {"scores_from": "x"}}, r"make_pseudo_masks\.scores_from: each"),
            ({"train_seg": {"epoch": 3}}, "train_seg: .*epoch"),
        ],
    )
    def test_before_anything_is_made(self, shapes, start, tmp_path, settings, message):
        with pytest.raises(ValueError, match=message):
            self_train(shapes, start, tmp_path / "run", **settings)
        assert not (tmp_path / "run").exists()

    def test_under_torchrun(self, shapes, start, tmp_path, monkeypatch):
        monkeypatch.setattr("wsss.pipeline.self_train.place_among_several", lambda: True)
        with pytest.raises(ValueError, match="self_train: expected one process"):
            self_train(shapes, start, tmp_path / "run")
