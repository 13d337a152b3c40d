"""The fourteen traps of the field's protocol, each held by a test.

 1. Scored on train_aug instead of train: here, `test_trap_1_...`.
 2. mIoU averaged per image: tests/metrics/test_segmentation.py, `test_trap_2_...`.
 3. Pixels predicted 255 dropped: tests/metrics/test_segmentation.py, `test_trap_3_...`; through
    files: tests/pipeline/test_eval_miou.py, `test_predicted_255_is_a_miss`.
 4. int32 counters: tests/metrics/test_segmentation.py, `test_trap_4_...`; the sweep's here.
 5. Absent classes: tests/metrics/test_segmentation.py, `test_trap_5_...`; the policy is written
    beside the number: tests/pipeline/test_eval_miou.py, `test_absent_chooses_...`.
 6. Only some images scored: here; and tests/pipeline/test_eval_miou.py, `TestMissing`.
 7. Mean-subtracted images cast to uint8 before the CRF: tests/refinement/test_crf.py,
    `test_what_passes_silently_or_crashes_is_refused`; that it gets the photograph: here.
 8. One label divides by zero: tests/refinement/test_crf.py, `test_trap_8_...`, and
    tests/refinement/test_seeds.py, `test_no_class_is_all_background_without_a_crf`.
 9. Seeds filtered by ground-truth labels and reported as predicted: here; values in
    tests/pipeline/test_make_pseudo_masks.py, `TestPredictedLabels`.
10. Checkpoint or threshold chosen on pixel ground truth, unsaid: tests/test_chosen_on_masks.py;
    what a threshold carries from train to val: tests/pipeline/evaluation/test_thresholds.py,
    `TestGiven` and `TestMasks`; one chosen without masks: tests/pipeline/test_choose_threshold.py
    and tests/pipeline/test_choose_threshold_by_agreement.py.
11. One background threshold for two methods: here, each method's sweep finds its own, and brings it
    to another list.
12. Bytes per image: here; a score file alone in tests/data/test_scores.py, `test_trap_12_...`.
13. Unbalanced cross-entropy gives nan or all background: tests/tasks/test_losses.py,
    `test_trap_13_...`; a training on 255 alone: here.
14. Integer ids, 20 classes, len // 20: here; ids also in tests/pipeline/test_make_pseudo_masks.py,
    one image also in tests/tasks/test_classification.py.
"""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from tests.conftest import CPU, SMALL, crf_that
from tests.pipeline.conftest import IDS, SMALL_NET, make, manifest, own_shapes
from tests.pipeline.evaluation.evaluated import report
from wsss.data import (
    LabelMap,
    Scores,
    load_records,
    read_image,
    read_mask,
    read_scores,
    write_mask,
    write_scores,
)
from wsss.metrics import ThresholdSweep, confusion_counts, segmentation_scores
from wsss.models import BackboneConfig, build_classifier
from wsss.normalisation import IMAGENET
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.evaluation.tables import format_table
from wsss.pipeline.mask_making.scoring import to_scores
from wsss.pipeline.train_cls import train_cls
from wsss.pipeline.train_seg import train_seg
from wsss.refinement import CRFConfig
from wsss.tasks.checkpoint import describe

__all__ = ["own_shapes"]


def test_trap_1_the_scored_list_stands_beside_the_number(own_shapes, tmp_path):
    """Scores on a superset of a list differ; the report says on which they were made."""
    lists = own_shapes.root / own_shapes.lists
    (lists / "train_aug.txt").write_text("\n".join(IDS))
    (lists / "train.txt").write_text("\n".join(IDS[:4]))
    masks = tmp_path / "masks"
    shutil.copytree(own_shapes.root / own_shapes.masks, masks)
    for name in IDS[:4]:
        write_mask(masks / f"{name}.png", np.zeros_like(read_mask(masks / f"{name}.png")))
    results = {
        split: eval_miou(data=own_shapes, split=split, output=tmp_path / split, predictions=masks)
        for split in ("train", "train_aug")
    }
    assert results["train_aug"]["miou"] > results["train"]["miou"] + 0.02
    for split, result in results.items():
        assert manifest(tmp_path / split)["scored_on"] == split
        assert manifest(tmp_path / split)["config"]["split"] == split
        assert report(tmp_path / split)["split"] == split, "eval.json travels without its folder"
        assert result["images_in_list"] == (4 if split == "train" else 12)


def test_trap_4_the_sweep_counts_beyond_32_bits():
    sweep = ThresholdSweep(2, steps=2)
    sweep.update(np.array([1]), np.full((1, 4, 4), 0.7, np.float32), np.ones((4, 4), np.uint8))
    sweep.histogram *= 2**31
    assert sweep.counts().dtype == np.int64
    assert sweep.counts()[0].tolist() == [[0, 0, 0], [0, 16 * 2**31, 0]]


def test_trap_6_every_image_of_the_list_is_counted(shapes, tmp_path):
    masks = shapes.root / shapes.masks
    eval_miou(data=shapes, split="train", output=tmp_path / "out", predictions=masks)
    facts = report(tmp_path / "out")
    records = load_records(shapes, "train", with_labels=False)
    assert (facts["images"], facts["images_in_list"]) == (12, 12)
    pixels = sum(read_mask(record.mask).size for record in records)
    assert np.sum(facts["confusion"]["counts"]) == pixels
    assert "scored 12 of 12 images" in format_table(tmp_path / "out" / "eval.json")


def test_trap_7_the_crf_sees_the_photograph(shapes, classifier_checkpoint, tmp_path, monkeypatch):
    seen = []

    def spy(image, unary):
        seen.append(image.copy())
        return np.exp(-unary)

    monkeypatch.setattr("wsss.refinement.crf.DenseCRF", crf_that(spy))
    make(shapes, tmp_path / "run", classifier_checkpoint, crf=CRFConfig(), limit=2)
    records = load_records(shapes, "train", with_labels=False, limit=2)
    assert len(seen) == 2
    for image, record in zip(seen, records, strict=True):
        assert image.dtype == np.uint8
        assert np.array_equal(image, read_image(record.image))


def test_trap_9_predicted_labels_do_not_see_the_given_ones(
    own_shapes, classifier_checkpoint, tmp_path
):
    """Given labels restrict the classes; predicted ones are the same with every label wrong."""
    settings = {"split": "val", "save_scores": True}
    make(own_shapes, tmp_path / "given", classifier_checkpoint, **settings)
    predicted = {"label_mode": "predicted", "predicted_threshold": 0.0}
    make(own_shapes, tmp_path / "before", classifier_checkpoint, **settings, **predicted)
    rows = (own_shapes.root / "labels.csv").read_text().splitlines()
    (own_shapes.root / "labels.csv").write_text(
        "\n".join([rows[0], *(row.split(",")[0] + "," for row in rows[1:])])
    )
    make(own_shapes, tmp_path / "after", classifier_checkpoint, **settings, **predicted)
    for record in load_records(own_shapes, "val", with_labels=False):
        name = f"scores/{record.image_id}.npz"
        before, after = (read_scores(tmp_path / d / name) for d in ("before", "after"))
        assert before.classes.tolist() == after.classes.tolist() == [1, 2, 3, 4, 5]
        assert np.array_equal(before.scores, after.scores)
        assert len(read_scores(tmp_path / "given" / name).classes) < 5
    assert manifest(tmp_path / "given")["label_mode"] == "given"
    assert manifest(tmp_path / "after")["label_mode"] == "predicted"


def test_trap_9_masks_made_from_stored_scores_still_say_which_labels_they_hold(
    shapes, classifier_checkpoint, tmp_path
):
    make(
        shapes,
        tmp_path / "scores",
        classifier_checkpoint,
        save_scores=True,
        label_mode="predicted",
        predicted_threshold=0.0,
        limit=2,
    )
    make(shapes, tmp_path / "masks", None, scores_from=tmp_path / "scores", limit=2)
    assert "predicted" in manifest(tmp_path / "masks")["label_mode"]


def test_trap_11_each_method_finds_its_own_threshold(shapes, tmp_path):
    """Two methods with the same map up to its sharpness: at one threshold they differ by tens of
    points; each at its own they are equal."""
    miou, best, there = {}, {}, {}
    for name, exponent in (("blurred", 0.5), ("sharp", 3.0)):
        records = [
            *load_records(shapes, "train", with_labels=True),
            *load_records(shapes, "val", with_labels=True),
        ]
        for record in records:
            truth = read_mask(record.mask)
            coarse = truth[::4, ::4]
            present = np.flatnonzero(record.labels)
            distance = np.random.default_rng(0).uniform(0, 0.5, coarse.shape)
            maps = [np.where(coarse == k + 1, 1 - distance, distance) for k in present]
            stored = [np.rint(255 * m**exponent).astype(np.uint8) for m in maps]
            write_scores(
                tmp_path / name / f"{record.image_id}.npz",
                Scores(
                    present.astype(np.uint8) + 1,
                    np.array(stored, np.uint8).reshape(-1, *coarse.shape),
                    truth.shape,
                ),
            )
        out = tmp_path / f"{name}_out"
        result = eval_miou(data=shapes, split="train", output=out, scores=tmp_path / name)
        best[name], miou[name] = result["threshold"], result["miou"]
        lines = (out / "sweep.csv").read_text().splitlines()
        miou[f"{name} at 0.3"] = float(lines[1 + 30].split(",")[1])
        settings = {"data": shapes, "split": "val", "scores": tmp_path / name, "threshold": out}
        there[name] = eval_miou(**settings, output=tmp_path / f"{name}_val")
    assert best["blurred"] > best["sharp"] + 0.2
    assert abs(miou["blurred"] - miou["sharp"]) < 0.05
    assert abs(miou["blurred at 0.3"] - miou["sharp at 0.3"]) > 0.1
    assert {name: result["threshold"] for name, result in there.items()} == best
    assert abs(there["blurred"]["miou"] - there["sharp"]["miou"]) < 0.05


def test_trap_12_all_files_of_an_image_are_small(shapes, classifier_checkpoint, tmp_path):
    make(shapes, tmp_path / "run", classifier_checkpoint, save_scores=True)
    records = load_records(shapes, "train", with_labels=False)
    float32 = sum(4 * 5 * read_mask(record.mask).size for record in records)
    written = sum(p.stat().st_size for p in (tmp_path / "run").rglob("*.[np][pn][zg]"))
    assert len(list((tmp_path / "run" / "masks").iterdir())) == 12
    assert written < float32 / 20


def test_trap_13_a_training_on_ignored_pixels_alone_has_no_nan(shapes, tmp_path):
    masks = tmp_path / "masks"
    for record in load_records(shapes, "train", with_labels=False):
        size = read_mask(record.mask).shape
        write_mask(masks / f"{record.image_id}.png", np.full(size, 255, np.uint8))
    path = train_seg(
        data=shapes,
        masks=masks,
        output=tmp_path / "run",
        model=SMALL_NET,
        augment=SMALL,
        epochs=1,
        batch_size=6,
        trainer=CPU,
    )
    assert manifest(tmp_path / "run")["last_epoch"]["train_loss"] == 0
    state = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.isfinite(value).all() for value in state.values())


class TestTrap14:
    @pytest.mark.parametrize("count", [1, 150, 254])
    def test_any_number_of_classes(self, own_shapes, tmp_path, count):
        """From labels to masks to scores, with mask values that are not 1..K."""
        values = {f"class_{i}": 254 - i for i in range(count)}
        data = dataclasses.replace(own_shapes, classes=values)
        labels = [f"class_{i}" for i in sorted({0, count // 2, count - 1})]
        rows = [f"{name},{' '.join(labels)}" for name in IDS[:1]]
        (data.root / "labels.csv").write_text("\n".join(["image,labels", *rows]) + "\n")
        (data.root / "ImageSets/Segmentation/one.txt").write_text(f"{IDS[0]}\n")
        torch.manual_seed(0)
        model = build_classifier(BackboneConfig(name="squeezenet1_0"), count)
        state = {f"model.{key}": value for key, value in model.state_dict().items()}
        description = describe("classifier", BackboneConfig(name="squeezenet1_0"), values, IMAGENET)
        torch.save({"wsss": description, "state_dict": state}, tmp_path / "c.ckpt")
        masks = make(data, tmp_path / "run", tmp_path / "c.ckpt", split="one", save_scores=True)
        scores = read_scores(tmp_path / "run" / "scores" / f"{IDS[0]}.npz")
        assert scores.classes.tolist() == [values[label] for label in labels]
        found = set(np.unique(read_mask(masks / f"{IDS[0]}.png")).tolist())
        assert found <= {0, *(values[label] for label in labels)}
        assert found - {0}
        truth = data.root / data.masks / f"{IDS[0]}.png"
        shutil.copy(masks / f"{IDS[0]}.png", truth)
        result = eval_miou(data=data, split="one", output=tmp_path / "e", predictions=masks)
        assert (result["images"], result["miou"]) == (1, 1.0)
        assert len(report(tmp_path / "e")["classes"]) == count + 1

    def test_150_classes_are_scored(self):
        label_map = LabelMap(range(1, 151))
        truth = np.arange(151, dtype=np.uint8)[None]
        counts = confusion_counts(label_map.to_index(truth, "x"), truth, label_map.num_labels)
        assert segmentation_scores(counts).miou == 1.0

    def test_stored_classes_above_127_survive(self, tmp_path):
        write_scores(
            tmp_path / "a.npz", to_scores(np.ones((2, 8, 8), np.float32), np.array([130, 254]))
        )
        assert read_scores(tmp_path / "a.npz").classes.tolist() == [130, 254]

    def test_a_list_of_one_image(self, own_shapes, tmp_path):
        (own_shapes.root / "ImageSets/Segmentation/one.txt").write_text(f"{IDS[0]}\n")
        cls = train_cls(
            data=own_shapes,
            output=tmp_path / "cls",
            train_split="one",
            val_split="one",
            model=BackboneConfig(name="squeezenet1_0"),
            augment=SMALL,
            epochs=1,
            trainer=CPU,
        )
        masks = make(own_shapes, tmp_path / "m", cls, split="one")
        train_seg(
            data=own_shapes,
            masks=masks,
            output=tmp_path / "seg",
            train_split="one",
            model=SMALL_NET,
            augment=SMALL,
            epochs=1,
            trainer=CPU,
        )
        assert manifest(tmp_path / "seg")["train_images"] == 1

    def test_ids_that_look_like_numbers_stay_text(self, own_shapes):
        """YAML and CSV must not make 7 of 007, or 12 of 1_2."""
        names = ["007", "1_2", "1e3", "0x10", "null"]
        (own_shapes.root / "ImageSets/Segmentation/odd.txt").write_text("\n".join(names))
        rows = "".join(f"{name},ring\n" for name in names)
        (own_shapes.root / "labels.csv").write_text(f"image,labels\n{rows}")
        records = load_records(own_shapes, "odd", with_labels=True)
        assert [record.image_id for record in records] == names
        assert all(record.labels.tolist() == [1, 0, 0, 0, 0] for record in records)
