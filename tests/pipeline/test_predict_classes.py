"""Classes that a prediction may hold, by label or by a classifier, and predictions as scores."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.pipeline.conftest import IDS, contents, make, manifest
from wsss.data import load_records, read_image, read_mask, read_scores
from wsss.data.transforms import normalise
from wsss.errors import IncompleteError
from wsss.pipeline.mask_making.segmenting import InferenceConfig, segment
from wsss.pipeline.predict import predict
from wsss.refinement import BackgroundConfig, RefinementChain
from wsss.refinement.steps import STEPS, Step
from wsss.refinement.trust import TrustConfig
from wsss.tasks.checkpoint import load_classifier, load_segmenter

SIZES = InferenceConfig(scales=(1.0, 1.5), flip=True)


@pytest.fixture(scope="module")
def labels(shapes) -> dict[str, np.ndarray]:
    return {r.image_id: r.labels > 0 for r in load_records(shapes, "train", with_labels=True)}


@pytest.fixture(scope="module")
def given(shapes, network, tmp_path_factory):
    """Predictions of the training images that hold their labels alone, with their scores."""
    output = tmp_path_factory.mktemp("given") / "run"
    predict(
        network, output, data=shapes, split="train", label_mode="given",
        save_scores=True, workers=2,
    )  # fmt: skip
    return output


def mean_of_cells(maps: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Mean of the parts of (P, H, W) pixels in each of rows x columns cells."""
    count, height, width = maps.shape
    fine = maps.repeat(rows, axis=1).repeat(columns, axis=2)
    return fine.reshape(count, rows, height, columns, width).mean(axis=(2, 4))


class TestGivenLabels:
    def test_what_is_left_is_the_probability_given_that_it_is_one_of_these(self, network):
        model, _ = load_segmenter(network)
        image = torch.randn(3, 40, 56, generator=torch.Generator().manual_seed(0))
        one = InferenceConfig()
        everything = segment(model, image, one)
        part = everything[[0, 2, 5]]
        found = segment(model, image, one, labels=[0, 2, 5])
        torch.testing.assert_close(found, part / part.sum(dim=0))
        assert (found - part).abs().max() > 0.01, "the rest has no probability; the test is empty"

    def test_a_training_image_holds_its_labels_alone(self, shapes, given, labels, tmp_path):
        for image_id, present in labels.items():
            found = set(np.unique(read_mask(given / "masks" / f"{image_id}.png")).tolist())
            assert found <= {0, *(np.flatnonzero(present) + 1).tolist()}
        assert manifest(given)["label_mode"] == "given"

    def test_they_would_hold_others_without(self, shapes, network, labels, tmp_path):
        masks = predict(network, tmp_path / "run", data=shapes, split="train")
        others = [
            value
            for image_id, present in labels.items()
            for value in np.unique(read_mask(masks / f"{image_id}.png")).tolist()
            if value and not present[value - 1]
        ]
        assert others
        assert "label_mode" not in manifest(tmp_path / "run")

    def test_an_image_without_labels_is_background(self, own_shapes, network, tmp_path):
        file = own_shapes.root / "labels.csv"
        rows = file.read_text().splitlines()
        file.write_text("\n".join([*rows[:1], f"{IDS[0]},", *rows[2:]]))
        masks = predict(
            network, tmp_path / "run", data=own_shapes, split="train",
            label_mode="given", save_scores=True,
        )  # fmt: skip
        assert not read_mask(masks / f"{IDS[0]}.png").any()
        assert len(read_scores(tmp_path / f"run/scores/{IDS[0]}.npz").classes) == 0
        assert manifest(tmp_path / "run")["made_now_without_class"] == 2, "and another"

    def test_a_class_that_got_nothing_may_be_rescued(
        self, shapes, segmenter_checkpoint, labels, tmp_path
    ):
        """The trained network sees background alone; 1 % of the image is for each label."""
        masks = predict(
            segmenter_checkpoint, tmp_path / "run", data=shapes, split="train",
            label_mode="given", trust=TrustConfig(silent="rescue"),
        )  # fmt: skip
        for image_id, present in labels.items():
            mask = read_mask(masks / f"{image_id}.png")
            found, pixels = np.unique(mask, return_counts=True)
            assert found.tolist() == [0, *(np.flatnonzero(present) + 1).tolist()]
            assert set(pixels[1:].tolist()) <= {round(0.01 * mask.size)}

    def test_refused_for_a_folder_and_beside_a_classifier(
        self, shapes, network, classifier_checkpoint, tmp_path
    ):
        output = tmp_path / "run"
        with pytest.raises(ValueError, match="label_mode: given needs data and split"):
            predict(network, output, images=tmp_path, label_mode="given")
        with pytest.raises(ValueError, match="classifier: the labels that are given need no"):
            predict(
                network, output, data=shapes, split="val", label_mode="given",
                classifier=classifier_checkpoint,
            )  # fmt: skip


@pytest.fixture(scope="module")
def chances(shapes, classifier_checkpoint) -> np.ndarray:
    """The slow reference: (N, K) probabilities of a classifier, one view at a time."""
    model, _ = load_classifier(classifier_checkpoint)
    rows = []
    for record in load_records(shapes, "val", with_labels=False):
        image = normalise(read_image(record.image), model.normalisation)[None]
        views = [
            torch.nn.functional.interpolate(image, size, mode="bilinear", antialias=True)
            for size in SIZES.sizes(*image.shape[2:])
        ]
        with torch.no_grad():
            seen = [model(v).sigmoid()[0] for view in views for v in (view, view.flip(3))]
        rows.append(torch.stack(seen).mean(dim=0).numpy())
    return np.array(rows)


class TestClassifier:
    def test_classes_below_the_threshold_are_removed(
        self, shapes, network, classifier_checkpoint, chances, tmp_path
    ):
        ordered = np.sort(chances.ravel())
        place = np.diff(ordered)[8:-8].argmax() + 8  # in a gap, so that rounding decides nothing
        threshold = float(ordered[place : place + 2].mean())
        masks = predict(
            network, tmp_path / "run", data=shapes, split="val", inference=SIZES,
            classifier=classifier_checkpoint, classifier_threshold=threshold,
        )  # fmt: skip
        model, _ = load_segmenter(network)
        for record, row in zip(
            load_records(shapes, "val", with_labels=False), chances, strict=True
        ):
            labels = [0, *(np.flatnonzero(row >= threshold) + 1).tolist()]
            image = normalise(read_image(record.image), model.normalisation)
            best = segment(model, image, SIZES, labels).argmax(dim=0).numpy()
            expected = np.array(labels)[best]
            found = read_mask(masks / f"{record.image_id}.png")
            assert (found == expected).mean() > 0.999
        mode = manifest(tmp_path / "run")["label_mode"]
        assert mode == f"those to which {classifier_checkpoint} gives at least {threshold:g}"
        assert "classifier_sha256" in manifest(tmp_path / "run")["identity"]

    @pytest.mark.parametrize(("threshold", "changes"), [(0.0, False), (1.0, True)])
    def test_0_removes_nothing_and_1_all_but_the_background(
        self, shapes, network, classifier_checkpoint, tmp_path, threshold, changes
    ):
        settings = {"data": shapes, "split": "val"}
        plain = predict(network, tmp_path / "plain", **settings)
        masks = predict(
            network, tmp_path / "run", **settings, classifier=classifier_checkpoint,
            classifier_threshold=threshold,
        )  # fmt: skip
        assert (contents(masks) != contents(plain)) == changes
        if changes:
            assert not any(read_mask(path).any() for path in masks.iterdir())

    def test_other_classes_and_thresholds_out_of_range_are_refused(
        self, shapes, network, classifier_checkpoint, tmp_path
    ):
        loaded = torch.load(classifier_checkpoint, weights_only=True)
        loaded["wsss"]["classes"] = dict(reversed(loaded["wsss"]["classes"].items()))
        torch.save(loaded, tmp_path / "other.ckpt")
        settings = {"data": shapes, "split": "val", "output": tmp_path / "run"}
        with pytest.raises(ValueError, match=r"classifier: .*other\.ckpt was trained on the"):
            predict(network, **settings, classifier=tmp_path / "other.ckpt")
        with pytest.raises(ValueError, match=r"classifier_threshold: expected 0\.\.1, got 2"):
            predict(
                network, **settings, classifier=classifier_checkpoint,
                classifier_threshold=2,
            )  # fmt: skip


class TestScores:
    def test_they_are_the_probabilities_of_the_given_classes(self, shapes, network, given, labels):
        model, _ = load_segmenter(network)
        records = load_records(shapes, "train", with_labels=False)
        for record in records[:3]:
            stored = read_scores(given / f"scores/{record.image_id}.npz")
            own = (np.flatnonzero(labels[record.image_id]) + 1).tolist()
            assert stored.classes.tolist() == own
            image = normalise(read_image(record.image), model.normalisation)
            exact = segment(model, image, InferenceConfig(), [0, *own])[1:].numpy()
            cells = mean_of_cells(exact, *stored.scores.shape[1:])
            np.testing.assert_allclose(stored.scores / 255, cells, atol=0.51 / 255)

    def test_masks_from_them_are_those_of_the_network(self, shapes, given, tmp_path):
        masks = make(
            shapes, tmp_path / "run", scores_from=given, background=BackgroundConfig("remainder")
        )
        same = [
            (read_mask(masks / name) == read_mask(given / "masks" / name)).mean()
            for name in contents(masks)
        ]
        # what stride 4 and 8 bits cost, at boundaries
        assert len(same) == 12
        assert np.mean(same) > 0.97
        assert manifest(tmp_path / "run")["label_mode"] == f"given, as in {given}"

    def test_a_step_gets_marginals_that_sum_to_1(self, shapes, given, tmp_path, monkeypatch):
        @dataclasses.dataclass(frozen=True)
        class Options:
            """None."""

        seen = []

        def prepare(pictures, options, context):
            return lambda maps: seen.extend(maps) or list(maps)

        monkeypatch.setitem(STEPS, "look", Step(Options, prepare))
        make(
            shapes, tmp_path / "run", scores_from=given, limit=2,
            background=BackgroundConfig("remainder"), refine=RefinementChain((Options(),)),
        )  # fmt: skip
        assert all(maps.marginals for maps in seen)
        for maps in seen:
            np.testing.assert_allclose(maps.values.sum(axis=0), 1, atol=1e-5)

    def test_without_a_filter_classes_that_are_nowhere_are_left_out(
        self, network, shapes, tmp_path
    ):
        loaded = torch.load(network, weights_only=True)
        bias = "model.head.branches.0.bias"
        loaded["state_dict"][bias] = torch.tensor([0.0, 0, 0, 2.0, -60, -60])
        torch.save(loaded, tmp_path / "c.ckpt")
        predict(tmp_path / "c.ckpt", tmp_path / "run", data=shapes, split="val", save_scores=True)
        stored = read_scores(tmp_path / "run/scores/val_0000.npz")
        assert set(stored.classes.tolist()) <= {1, 2, 3}
        assert 3 in stored.classes

    def test_asked_for_later_they_are_made_then(self, shapes, network, tmp_path):
        settings = {"data": shapes, "split": "val", "output": tmp_path / "run"}
        predict(network, **settings)
        assert not (tmp_path / "run/scores").exists()
        predict(network, **settings, save_scores=True)
        assert len(contents(tmp_path / "run/scores")) == 6


class TestThreads:
    def test_masks_do_not_depend_on_their_number(self, shapes, network, tmp_path):
        settings = {"data": shapes, "split": "val", "inference": SIZES}
        one = predict(network, tmp_path / "1", **settings, workers=1)
        three = predict(network, tmp_path / "3", **settings, workers=3)
        assert contents(one) == contents(three)

    def test_less_than_one_is_refused(self, shapes, network, tmp_path):
        with pytest.raises(ValueError, match="workers: expected at least 1, got 0"):
            predict(network, tmp_path / "run", data=shapes, split="val", workers=0)


class TestMeanOfSources:
    def test_of_a_network_s_predictions_and_a_classifier_s_maps(
        self, shapes, given, classifier_checkpoint, tmp_path
    ):
        make(shapes, tmp_path / "maps", classifier_checkpoint, save_scores=True)
        both = [tmp_path / "maps", given / "scores"]
        make(shapes, tmp_path / "run", scores_from=both, save_scores=True)
        shown = [i for i in IDS if len(read_scores(given / f"scores/{i}.npz").classes)]
        assert len(shown) > 6
        for image_id in shown:
            parts = [
                read_scores(folder / f"{image_id}.npz")
                for folder in (tmp_path / "maps/scores", given / "scores")
            ]
            mean = read_scores(tmp_path / f"run/scores/{image_id}.npz")
            expected = (parts[0].scores.astype(float) + parts[1].scores) / 2
            assert np.abs(mean.scores - expected).max() <= 0.5
            assert mean.classes.tolist() == parts[0].classes.tolist()
        mode = manifest(tmp_path / "run")["label_mode"]
        assert mode == f"given, as in {tmp_path / 'maps'}; given, as in {given / 'scores'}"

    def test_of_one_folder_twice_it_is_that_folder(self, shapes, given, tmp_path):
        once = make(shapes, tmp_path / "once", scores_from=[given])
        twice = make(shapes, tmp_path / "twice", scores_from=[given, given, given])
        assert contents(once) == contents(twice)

    def test_of_other_classes_is_refused_by_image(self, shapes, given, network, tmp_path):
        predict(network, tmp_path / "all", data=shapes, split="train", save_scores=True)
        with pytest.raises(IncompleteError, match=r"expected the same size and classes in .*given"):
            make(shapes, tmp_path / "run", scores_from=[given, tmp_path / "all"])

    def test_of_nothing_is_refused(self, shapes, tmp_path):
        with pytest.raises(ValueError, match="give either checkpoint or scores_from"):
            make(shapes, tmp_path / "run", scores_from=[])
