"""From a classifier and labels to mask files: values, formats, reruns, and what fails."""

import dataclasses
import hashlib
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image

from tests.conftest import SHAPES
from tests.pipeline.conftest import IDS, ONE_SIZE
from wsss.attribution import attribute
from wsss.data import (
    Scores,
    load_records,
    read_image,
    read_mask,
    read_scores,
    voc_palette,
    write_scores,
)
from wsss.data.transforms import normalise
from wsss.errors import IncompleteError
from wsss.models import BackboneConfig, build_classifier
from wsss.models.deeplab import DeepLabConfig
from wsss.normalisation import IMAGENET
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.mask_making.scoring import to_scores
from wsss.refinement import BackgroundConfig, CRFConfig
from wsss.tasks.checkpoint import describe, load_classifier


def make(data, output, checkpoint=None, **changes) -> Path:
    settings = {
        "split": "train",
        "checkpoint": checkpoint,
        "multiscale": ONE_SIZE,
        "crf": None,
        "device": "cpu",
        "workers": 1,
    }
    return make_pseudo_masks(data=data, output=output, **(settings | changes))


def manifest(output: Path) -> dict:
    return json.loads((output / "manifest.json").read_text(encoding="utf-8"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def write_labels(data, rows: dict[str, str]) -> None:
    text = "".join(f"{image_id},{names}\n" for image_id, names in rows.items())
    (data.root / "labels.csv").write_text(f"image,labels\n{text}", encoding="utf-8")


@pytest.fixture(scope="module")
def made(shapes, classifier_checkpoint, tmp_path_factory) -> Path:
    """Masks, scores and pictures of the whole list."""
    output = tmp_path_factory.mktemp("made") / "run"
    make(shapes, output, classifier_checkpoint, save_scores=True, overlays=True)
    return output


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
            "config.yaml", "manifest.json", "masks", "overlays", "scores",
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


class TestReruns:
    def test_what_is_done_is_skipped(self, shapes, classifier_checkpoint, made, monkeypatch):
        before = {p: p.stat().st_mtime_ns for p in made.rglob("*.[pn][np][gz]")}
        assert len(before) == 36
        monkeypatch.setattr(
            "wsss.pipeline.mask_making.explaining.attribute_multiscale_batch",
            lambda *_, **__: pytest.fail("an image that is done was explained again"),
        )
        make(shapes, made, classifier_checkpoint, save_scores=True, overlays=True)
        assert {p: p.stat().st_mtime_ns for p in made.rglob("*.[pn][np][gz]")} == before
        facts = manifest(made)
        assert (facts["made_before"], facts["made_now"]) == (12, 0)
        assert facts["complete"] is True

    def test_an_interrupted_run_goes_on(
        self, shapes, classifier_checkpoint, made, tmp_path, monkeypatch
    ):
        output = tmp_path / "run"
        calls = []

        def interrupted(*arguments):
            calls.append(1)
            if len(calls) == 5:
                raise KeyboardInterrupt
            return to_scores(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr("wsss.pipeline.mask_making.scoring.to_scores", interrupted)
            with pytest.raises(KeyboardInterrupt):
                make(shapes, output, classifier_checkpoint)
        assert manifest(output)["complete"] is False
        early = {p.name: p.stat().st_mtime_ns for p in (output / "masks").glob("*.png")}
        assert 1 <= len(early) <= 4
        make(shapes, output, classifier_checkpoint)
        assert contents(output / "masks") == contents(made / "masks")
        late = {p.name: p.stat().st_mtime_ns for p in (output / "masks").glob("*.png")}
        assert {name: late[name] for name in early} == early
        facts = manifest(output)
        assert (facts["made_before"], facts["made_now"]) == (len(early), 12 - len(early))
        assert facts["complete"] is True

    def test_a_missing_score_file_is_made_again_with_its_mask(
        self, shapes, classifier_checkpoint, made, tmp_path
    ):
        output = tmp_path / "run"
        make(shapes, output, classifier_checkpoint, limit=2)
        make(shapes, output, classifier_checkpoint, limit=2, save_scores=True)
        for name in IDS[:2]:
            for kind in (f"masks/{name}.png", f"scores/{name}.npz"):
                assert (output / kind).is_file()
            ours, theirs = (read_scores(d / f"scores/{name}.npz") for d in (output, made))
            assert np.array_equal(ours.scores, theirs.scores)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"background": BackgroundConfig(threshold=0.5)},
                r"background\.threshold: 0\.3 -> 0\.5",
            ),
            ({"split": "val"}, "split: train -> val"),
            ({"method": "cam"}, "method: tif -> cam"),
            ({"crf": CRFConfig()}, "crf: None -> "),
            ({"label_mode": "predicted"}, "label_mode: given -> predicted"),
        ],
    )
    def test_another_configuration_is_refused_by_key_and_value(
        self, shapes, classifier_checkpoint, made, change, message
    ):
        before = (made / "manifest.json").read_bytes(), (made / "config.yaml").read_bytes()
        with pytest.raises(ValueError, match=f"another configuration.*{message}"):
            make(shapes, made, classifier_checkpoint, **change)
        assert before == (
            (made / "manifest.json").read_bytes(),
            (made / "config.yaml").read_bytes(),
        )

    def test_another_checkpoint_is_refused(self, shapes, classifier_checkpoint, made, tmp_path):
        loaded = torch.load(classifier_checkpoint, weights_only=True)
        loaded["state_dict"]["model.head.weight"] += 1
        torch.save(loaded, tmp_path / "other.ckpt")
        old, new = (
            hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (classifier_checkpoint, tmp_path / "other.ckpt")
        )
        with pytest.raises(ValueError, match=f"checkpoint_sha256: {old} -> {new}"):
            make(shapes, made, tmp_path / "other.ckpt")

    def test_what_does_not_change_the_masks_may_differ(
        self, shapes, classifier_checkpoint, made, tmp_path
    ):
        moved = tmp_path / "moved.ckpt"
        shutil.copy(classifier_checkpoint, moved)
        make(shapes, made, moved, workers=2, limit=5, device="auto", save_scores=False)
        assert manifest(made)["made_before"] == 5
        make(shapes, made, classifier_checkpoint, save_scores=True, overlays=True)

    def test_the_folder_of_another_command_is_refused(self, shapes, made):
        with pytest.raises(ValueError, match="command: make_pseudo_masks -> eval_miou"):
            eval_miou(data=shapes, split="train", output=made, predictions=made / "masks")


class TestFailures:
    def test_a_truncated_image_is_named_and_the_others_are_made(
        self, own_shapes, classifier_checkpoint, made, tmp_path
    ):
        broken = own_shapes.root / "JPEGImages" / f"{IDS[3]}.jpg"
        broken.write_bytes(broken.read_bytes()[:400])
        output = tmp_path / "run"
        with pytest.raises(
            IncompleteError, match=rf"1 of 12 images failed: {IDS[3]}: .*{IDS[3]}\.jpg"
        ):
            make(own_shapes, output, classifier_checkpoint)
        masks = contents(output / "masks")
        assert sorted(masks) == [f"{name}.png" for name in IDS if name != IDS[3]]
        assert all(content == (made / "masks" / n).read_bytes() for n, content in masks.items())
        facts = manifest(output)
        assert facts["complete"] is False
        assert list(facts["failed"]) == [IDS[3]]
        assert f"{IDS[3]}.jpg" in facts["failed"][IDS[3]]
        assert (facts["images"], facts["made_now"], facts["made_before"]) == (12, 11, 0)

        shutil.copy(broken.with_name(f"{IDS[4]}.jpg"), broken)
        make(own_shapes, output, classifier_checkpoint)
        facts = manifest(output)
        assert facts["complete"] is True
        assert (facts["failed"], facts["made_now"], facts["made_before"]) == ({}, 1, 11)

    def test_a_missing_image_is_named(self, own_shapes, classifier_checkpoint, tmp_path):
        (own_shapes.root / "JPEGImages" / f"{IDS[0]}.jpg").unlink()
        with pytest.raises(IncompleteError, match=rf"1 of 2 .*image not found: .*{IDS[0]}\.jpg"):
            make(own_shapes, tmp_path / "run", classifier_checkpoint, limit=2)

    def test_a_folder_that_cannot_be_written_is_named(
        self, shapes, classifier_checkpoint, tmp_path
    ):
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(PermissionError, match=f"output: cannot write into {tmp_path}/file/in"):
            make(shapes, tmp_path / "file" / "inside", classifier_checkpoint)
        with pytest.raises(NotADirectoryError, match="is a file, expected a folder"):
            make(shapes, tmp_path / "file", classifier_checkpoint)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"checkpoint": None}, "give either checkpoint or scores_from"),
            ({"scores_from": Path("x")}, "give either checkpoint or scores_from"),
            ({"predicted_threshold": 1.5}, r"predicted_threshold: expected 0\.\.1, got 1\.5"),
            ({"limit": 0}, "limit: expected at least 1 image"),
            (
                {"checkpoint": None, "scores_from": Path("x"), "label_mode": "predicted"},
                "label_mode: scores_from brings its own classes",
            ),
        ],
    )
    def test_settings_that_contradict_are_refused_before_anything_is_written(
        self, shapes, classifier_checkpoint, tmp_path, change, message
    ):
        with pytest.raises(ValueError, match=message):
            make(shapes, tmp_path / "run", **{"checkpoint": classifier_checkpoint, **change})
        assert not (tmp_path / "run").exists()

    def test_an_unknown_list_names_the_others(self, shapes, classifier_checkpoint, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"trian\.txt; .*: train, val"):
            make(shapes, tmp_path / "run", classifier_checkpoint, split="trian")


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


class TestFromScores:
    @pytest.mark.parametrize("background", [{}, {"kind": "power"}, {"threshold": 0.6}])
    def test_masks_are_byte_identical_to_those_of_the_direct_run(
        self, shapes, classifier_checkpoint, made, tmp_path, background, monkeypatch
    ):
        config = BackgroundConfig(**background)
        limit = 12 if not background else 3
        direct = made / "masks"
        if background:
            direct = make(
                shapes, tmp_path / "direct", classifier_checkpoint, background=config, limit=limit
            )
        monkeypatch.setattr(
            "wsss.pipeline.make_pseudo_masks.load_classifier",
            lambda *_: pytest.fail("the network is not needed"),
        )
        again = make(shapes, tmp_path / "again", scores_from=made, background=config, limit=limit)
        assert contents(again) == contents(direct)
        assert len(contents(again)) == limit

    def test_with_a_crf_too(self, shapes, classifier_checkpoint, made, tmp_path):
        pytest.importorskip("pydensecrf", reason="pydensecrf2 does not build on Python 3.13")
        settings = {"crf": CRFConfig(iterations=2), "limit": 2}
        direct = make(shapes, tmp_path / "direct", classifier_checkpoint, **settings)
        again = make(shapes, tmp_path / "again", scores_from=made, **settings)
        assert contents(again) == contents(direct)

    def test_labels_are_not_read_and_the_manifest_says_where_the_classes_come_from(
        self, own_shapes, made, tmp_path
    ):
        (own_shapes.root / "labels.csv").unlink()
        make(own_shapes, tmp_path / "run", scores_from=made)
        assert str(made) in manifest(tmp_path / "run")["label_mode"]

    def test_missing_and_damaged_score_files_are_named(self, shapes, made, tmp_path):
        shutil.copytree(made / "scores", tmp_path / "scores")
        (tmp_path / "scores" / f"{IDS[1]}.npz").unlink()
        damaged = tmp_path / "scores" / f"{IDS[2]}.npz"
        damaged.write_bytes(damaged.read_bytes()[:100])
        with pytest.raises(IncompleteError, match=f"2 of 12 images failed: {IDS[1]}.*{IDS[2]}"):
            make(shapes, tmp_path / "run", scores_from=tmp_path / "scores")
        assert len(contents(tmp_path / "run" / "masks")) == 10
        assert sorted(manifest(tmp_path / "run")["failed"]) == IDS[1:3]

    def test_scores_of_an_image_of_another_size_are_named(self, shapes, made, tmp_path):
        shutil.copytree(made / "scores", tmp_path / "scores")
        wrong = Scores(np.array([1], np.uint8), np.full((1, 10, 10), 255, np.uint8), (40, 40))
        write_scores(tmp_path / "scores" / f"{IDS[0]}.npz", wrong)
        with pytest.raises(IncompleteError, match=f"1 of 2 images failed: {IDS[0]}: .*40 x 40"):
            make(shapes, tmp_path / "run", scores_from=tmp_path / "scores", limit=2)
        assert not (tmp_path / "run" / "masks" / f"{IDS[0]}.png").exists()

    def test_scores_of_classes_that_the_data_set_does_not_have_are_refused(
        self, shapes, made, tmp_path
    ):
        fewer = dataclasses.replace(shapes, classes={"ring": 1})
        with pytest.raises((ValueError, IncompleteError), match=r"belongs to no class"):
            make(fewer, tmp_path / "run", scores_from=made)


class TestCheckpoints:
    def test_of_another_kind(self, shapes, segmenter_checkpoint, tmp_path):
        with pytest.raises(
            ValueError, match=r"last\.ckpt: expected a classifier written by train_cls, found segm"
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
        config = DeepLabConfig(backbone="resnet18", output_stride=16)
        torch.save(
            {"wsss": describe("segmenter", config, SHAPES, IMAGENET), "state_dict": {}},
            tmp_path / "s.ckpt",
        )
        with pytest.raises(ValueError, match="found segmenter"):
            make(shapes, tmp_path / "run", tmp_path / "s.ckpt")
