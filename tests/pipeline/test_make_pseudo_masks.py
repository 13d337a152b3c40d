"""From a classifier and labels to mask files: values, formats, and where the labels come from."""

import hashlib
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image

from tests.pipeline.conftest import IDS, contents, make, manifest, write_labels
from wsss.attribution import attribute
from wsss.data import load_records, read_image, read_mask, read_scores, voc_palette
from wsss.data.transforms import normalise
from wsss.normalisation import IMAGENET
from wsss.pipeline.mask_making.scoring import to_scores
from wsss.refinement import CRFConfig
from wsss.tasks.checkpoint import load_classifier


class TestFiles:
    def test_one_mask_for_each_image_with_the_values_of_its_labels(self, shapes, made):
        assert sorted(contents(made / "masks")) == [f"{name}.png" for name in IDS]
        for record in load_records(shapes, "train", with_labels=True):
            with Image.open(made / "masks" / f"{record.image_id}.png") as file:
                assert file.mode == "P"
                palette = np.array(file.getpalette()).reshape(-1, 3)
                values = np.array(file)
            assert np.array_equal(palette, voc_palette()[: len(palette)])
            assert len(palette) == 256
            assert values.shape == read_image(record.image).shape[:2]
            allowed = {0} | {k + 1 for k in np.flatnonzero(record.labels)}
            assert set(np.unique(values)) <= allowed
            assert values.any() == record.labels.any(), "a class's maximum is 1, above 0.3"

    def test_scores_hold_the_image_level_labels(self, shapes, made):
        for record in load_records(shapes, "train", with_labels=True):
            scores = read_scores(made / "scores" / f"{record.image_id}.npz")
            assert scores.classes.tolist() == (np.flatnonzero(record.labels) + 1).tolist()
            assert scores.scores.max(axis=(1, 2)).tolist() == [255] * len(scores.classes)
            assert scores.size == read_image(record.image).shape[:2]

    def test_pictures_show_image_maps_mask_and_truth_side_by_side(self, made):
        for name in IDS:
            with Image.open(made / "overlays" / f"{name}.png") as file:
                assert file.mode == "RGB"
                assert file.height == 240 + 22
                assert file.width > 3 * 240 * 0.8

    def test_nothing_else_is_left(self, made):
        assert sorted(path.name for path in made.iterdir()) == [
            "config.yaml", "manifest.json", "masks", "overlays", "scores", "trusted.txt",
        ]  # fmt: skip
        assert not [path for path in made.rglob("*") if path.name.startswith(".")]

    def test_manifest(self, shapes, made, classifier_checkpoint):
        facts = manifest(made)
        records = load_records(shapes, "train", with_labels=True)
        expected = {
            "command": "make_pseudo_masks",
            "complete": True,
            "images": 12,
            "made_now": 12,
            "made_before": 0,
            "made_now_without_class": sum(not record.labels.any() for record in records),
            "failed": {},
            "label_mode": "given",
        }
        assert {key: facts[key] for key in expected} == expected
        digest = hashlib.sha256(classifier_checkpoint.read_bytes()).hexdigest()
        assert facts["identity"] == {"checkpoint_sha256": digest}
        assert facts["config"]["split"] == "train"
        assert facts["config"]["multiscale"]["scales"] == [1.0]
        assert {"wsss", "python", "torch", "numpy"} <= set(facts["versions"])
        assert yaml.safe_load((made / "config.yaml").read_text()) == facts["config"]


def test_agrees_with_a_slow_reference(shapes, classifier_checkpoint, made):
    """Area average to stride 4, divide by the maximum, 255 steps, bilinear, best above 0.3."""
    model, _ = load_classifier(classifier_checkpoint)
    for record in load_records(shapes, "train", with_labels=True, limit=4):
        image = normalise(read_image(record.image), IMAGENET)
        maps = attribute(model, image[None], torch.from_numpy(record.labels)[None]).maps
        rows, columns = -(-maps.shape[1] // 4), -(-maps.shape[2] // 4)
        small = F.interpolate(maps[None], (rows, columns), mode="area")[0].double()
        stored = (small / small.amax((1, 2), keepdim=True) * 255).round()
        saved = read_scores(made / "scores" / f"{record.image_id}.npz").scores
        if maps.shape[1] % 4 == 0 and maps.shape[2] % 4 == 0:  # else the area's edges differ
            assert np.abs(saved - stored.numpy()).max() <= 1
        full = F.interpolate(
            torch.from_numpy(saved)[None].double(), maps.shape[1:], mode="bilinear"
        )[0].numpy()
        best = np.concatenate([np.full((1, *full.shape[1:]), 0.3 * 255), full]).argmax(axis=0)
        values = np.array([0, *(np.flatnonzero(record.labels) + 1)])[best]
        mask = read_mask(made / "masks" / f"{record.image_id}.png")
        assert (mask == values).mean() > 0.999  # a tie within rounding may fall either way


def test_stored_scores_of_a_known_map():
    ramp = np.broadcast_to(np.arange(8.0), (8, 8)).astype(np.float32)
    scores = to_scores(np.stack([ramp, np.zeros_like(ramp)]), np.array([3, 9]))
    assert scores.classes.tolist() == [3, 9]
    assert scores.size == (8, 8)
    assert scores.scores[0].tolist() == [[70, 255]] * 2  # means 1.5 and 5.5: 1.5 / 5.5 * 255
    assert scores.scores[1].tolist() == [[0, 0]] * 2


def test_any_number_of_threads_writes_the_same_bytes(shapes, classifier_checkpoint, made, tmp_path):
    masks = make(shapes, tmp_path / "run", classifier_checkpoint, workers=3)
    assert masks == tmp_path / "run" / "masks"
    assert contents(masks) == contents(made / "masks")


def test_a_batch_of_images_gives_the_masks_of_single_ones(
    shapes, classifier_checkpoint, made, tmp_path
):
    masks = make(shapes, tmp_path / "run", classifier_checkpoint, batch_size=4)
    for name in IDS:
        one, batched = read_mask(made / "masks" / f"{name}.png"), read_mask(masks / f"{name}.png")
        assert (one != batched).mean() < 1e-3  # but for the order of sums


def test_crf_keeps_the_format_and_changes_the_edges(shapes, classifier_checkpoint, made, tmp_path):
    crf = CRFConfig(iterations=3)
    masks = make(shapes, tmp_path / "run", classifier_checkpoint, limit=2, crf=crf)
    for record in load_records(shapes, "train", with_labels=True, limit=2):
        refined = read_mask(masks / f"{record.image_id}.png")
        plain = read_mask(made / "masks" / f"{record.image_id}.png")
        assert refined.shape == plain.shape
        assert set(np.unique(refined)) <= {0} | {k + 1 for k in np.flatnonzero(record.labels)}
        assert 0 < (refined != plain).mean() < 0.9
    assert manifest(tmp_path / "run")["config"]["crf"]["iterations"] == 3


def test_an_image_without_a_class_is_all_background(own_shapes, classifier_checkpoint, tmp_path):
    write_labels(own_shapes, {**dict.fromkeys(IDS, "ring"), IDS[0]: ""})
    output = tmp_path / "run"
    make(own_shapes, output, classifier_checkpoint, limit=2, save_scores=True, overlays=True)
    image = read_image(own_shapes.root / "JPEGImages" / f"{IDS[0]}.jpg")
    mask = read_mask(output / "masks" / f"{IDS[0]}.png")
    assert mask.shape == image.shape[:2]
    assert not mask.any()
    assert read_scores(output / "scores" / f"{IDS[0]}.npz").scores.shape[0] == 0
    assert read_mask(output / "masks" / f"{IDS[1]}.png").any()
    assert manifest(output)["made_now_without_class"] == 1


def test_ids_are_any_text(own_shapes, classifier_checkpoint, made, tmp_path):
    """Trap 14: spaces, dots and letters of any alphabet."""
    names = ["вид 1.5 été", "猫.v2", "007"]
    for old, new in zip(IDS, names):
        source = own_shapes.root / "JPEGImages" / f"{old}.jpg"
        source.rename(source.with_name(f"{new}.jpg"))
    (own_shapes.root / "ImageSets/Segmentation/own.txt").write_text(
        "\n".join(names), encoding="utf-8"
    )
    rows = (own_shapes.root / "labels.csv").read_text().splitlines()[1:]
    labels = dict(row.split(",") for row in rows)
    write_labels(own_shapes, {new: labels[old] for old, new in zip(IDS, names)})
    masks = make(own_shapes, tmp_path / "run", classifier_checkpoint, split="own")
    assert sorted(contents(masks)) == sorted(f"{name}.png" for name in names)
    for old, new in zip(IDS, names):
        assert (masks / f"{new}.png").read_bytes() == (made / "masks" / f"{old}.png").read_bytes()


class TestPredictedLabels:
    def test_they_come_from_the_classifier_alone(self, own_shapes, classifier_checkpoint, tmp_path):
        """Trap 9: no label and no mask of the data set is looked at."""
        model, _ = load_classifier(classifier_checkpoint)
        with torch.no_grad():
            chances = {
                name: model(
                    normalise(read_image(own_shapes.root / "JPEGImages" / f"{name}.jpg"), IMAGENET)[
                        None
                    ]
                )[0].sigmoid()
                for name in IDS
            }
        # in the widest gap of the middle: folded and fused, the network rounds in another order
        middle = torch.stack(list(chances.values())).flatten().sort().values[15:45]
        widest = int(middle.diff().argmax())
        threshold = float(middle[widest : widest + 2].mean())
        (own_shapes.root / "labels.csv").unlink()
        shutil.rmtree(own_shapes.root / "SegmentationClass")
        output = tmp_path / "run"
        make(
            own_shapes,
            output,
            classifier_checkpoint,
            label_mode="predicted",
            predicted_threshold=threshold,
            save_scores=True,
        )
        found = {n: read_scores(output / "scores" / f"{n}.npz").classes.tolist() for n in IDS}
        wanted = {n: (np.flatnonzero(p >= threshold) + 1).tolist() for n, p in chances.items()}
        assert found == wanted
        assert 0 < sum(map(len, found.values())) < 60, "all or no classes: the test is empty"
        facts = manifest(output)
        assert facts["label_mode"] == "predicted"
        assert facts["config"]["predicted_threshold"] == threshold

    def test_labels_of_the_data_set_change_nothing(
        self, own_shapes, classifier_checkpoint, tmp_path
    ):
        settings = {"label_mode": "predicted", "predicted_threshold": 0.0, "limit": 2}
        first = make(own_shapes, tmp_path / "1", classifier_checkpoint, **settings)
        write_labels(own_shapes, {})
        second = make(own_shapes, tmp_path / "2", classifier_checkpoint, **settings)
        assert contents(first) == contents(second)

    def test_given_labels_are_needed_otherwise(self, own_shapes, classifier_checkpoint, tmp_path):
        (own_shapes.root / "labels.csv").unlink()
        with pytest.raises(FileNotFoundError, match=r"label file not found: .*labels\.csv"):
            make(own_shapes, tmp_path / "run", classifier_checkpoint)
