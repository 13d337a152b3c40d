"""Thresholds from score maps: each rule where the answer is known, and no mask is ever opened."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import cohen_kappa_score

from tests.conftest import crf_that
from wsss.data import DataConfig, Scores, read_scores, write_mask, write_scores
from wsss.pipeline.choose_threshold import CANDIDATES, choose_threshold
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.refinement import CRFConfig
from wsss.refinement.threshold import two_components
from wsss.runs.threshold import ChosenThreshold, read_threshold

CLASSES = {"cat": 15, "dog": 4, "hen": 9}
IDS = ("one", "two", "three")
CELLS = (20, 24)
"""Score cells of each image; it has four times as many pixels a side."""


@pytest.fixture
def data(tmp_path) -> DataConfig:
    """Three images in two colours: a red object on grey. There is no folder of masks."""
    root = tmp_path / "data"
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (root / "JPEGImages").mkdir()
    (lists / "train.txt").write_text("\n".join(IDS))
    for name in IDS:
        image = np.full((*CELLS, 3), (100, 110, 120), np.uint8)
        image[objects()[name]] = (200, 40, 30)
        large = image.repeat(4, axis=0).repeat(4, axis=1)
        Image.fromarray(large).save(root / f"JPEGImages/{name}.png")
    return DataConfig(root=root, classes=CLASSES)


def objects() -> dict[str, np.ndarray]:
    """Cells of each image's object."""
    found = {name: np.zeros(CELLS, bool) for name in IDS}
    found["one"][4:15, 5:20] = True
    found["two"][2:18, 8:14] = True
    found["three"][8:16, 2:22] = True
    return found


def write_maps(folder: Path, maps: dict[str, dict[str, np.ndarray]]) -> Path:
    """Score files from the map, 0..255, of each class in each image."""
    for name in IDS:
        given = maps.get(name, {})
        classes = np.array([CLASSES[c] for c in given], np.uint8)
        planes = np.array([np.rint(m) for m in given.values()], np.uint8).reshape(-1, *CELLS)
        size = (4 * CELLS[0], 4 * CELLS[1])
        write_scores(folder / f"{name}.npz", Scores(classes, planes, size))
    return folder


@pytest.fixture
def choose(data, tmp_path):
    """choose_threshold on `train`; returns what it chose."""

    def run(scores: Path, output: str = "out", **settings) -> ChosenThreshold:
        path = choose_threshold(
            data=data, split="train", scores=scores, output=tmp_path / output, **settings
        )
        assert path == tmp_path / output / "threshold.json"
        return read_threshold(path)

    return run


def curve(folder: Path) -> dict[float, float]:
    with (folder / "curve.csv").open() as file:
        head, *rows = csv.reader(file)
    assert head[0] == "threshold"
    return {float(threshold): float(value) for threshold, value in rows}


def two_heaps(rng, low=(30, 70), high=(150, 230)) -> dict[str, dict[str, np.ndarray]]:
    """cat in every image: scores low outside the object, high inside."""
    return {
        name: {"cat": np.where(inside, rng.integers(*high, CELLS), rng.integers(*low, CELLS))}
        for name, inside in objects().items()
    }


class TestHistograms:
    def test_otsu_of_two_scores_is_half_way(self, choose, tmp_path):
        maps = {name: {"cat": np.where(o, 204, 51)} for name, o in objects().items()}
        found = choose(write_maps(tmp_path / "s", maps))
        assert found == ChosenThreshold(0.5, "Otsu's threshold of the scores", "train", False, 3)
        assert not (tmp_path / "out/curve.csv").exists()
        facts = json.loads((tmp_path / "out/manifest.json").read_text())
        assert facts["threshold"]["value"] == 0.5
        assert facts["complete"] is True

    def test_otsu_of_the_best_scores_is_opencv_s(self, choose, tmp_path):
        """A pixel counts once, with its best class."""
        rng = np.random.default_rng(0)
        maps = two_heaps(rng)
        for given in maps.values():
            given["dog"] = rng.integers(0, 120, CELLS)
        best = np.concatenate([np.maximum(m["cat"], m["dog"]).ravel() for m in maps.values()])
        limit, _ = cv2.threshold(best.astype(np.uint8), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        following = best[best > limit].min()
        found = choose(write_maps(tmp_path / "s", maps)).value
        assert found == pytest.approx((limit + following) / 2 / 255, abs=0.0051), "two decimals"

    def test_mixture_is_that_of_the_histogram(self, choose, tmp_path):
        rng = np.random.default_rng(1)
        maps = {
            name: {"dog": np.where(o, rng.normal(180, 25, CELLS), rng.normal(50, 8, CELLS))}
            for name, o in objects().items()
        }
        weight = np.zeros(256, np.int64)
        for given in maps.values():
            given["dog"] = given["dog"].round().clip(0, 255)
            weight += np.bincount(given["dog"].astype(int).ravel(), minlength=256)
        found = choose(write_maps(tmp_path / "s", maps), rule="mixture")
        assert found.value == round(two_components(weight), 2)
        assert 0.25 < found.value < 0.4, "between the heaps, near the narrow one"
        assert found.chosen_by == "two-component mixture of the scores"

    @pytest.mark.parametrize("rule", ["otsu", "mixture"])
    def test_of_each_class_from_its_own_pixels(self, choose, tmp_path, rule):
        """dog is nowhere: it takes the common one. hen has one score alone: so does it."""
        o = objects()
        rng = np.random.default_rng(2)
        low, high = rng.integers(20, 40, CELLS), rng.integers(60, 80, CELLS)
        maps = {
            "one": {"cat": np.where(o["one"], high, low)},
            "two": {"cat": np.where(o["two"], high, low)},
            "three": {"hen": np.full(CELLS, 240), "dog": np.full(CELLS, 10)},
        }
        scores = write_maps(tmp_path / "s", maps)
        common = choose(scores, "common", rule=rule).value
        found = choose(scores, rule=rule, per_class=True).value
        assert list(found) == list(CLASSES)
        assert 39 / 255 < found["cat"] <= 60 / 255 + 0.005
        assert found["dog"] == found["hen"] == common
        assert common > 0.3

    def test_images_without_a_class_say_nothing(self, choose, tmp_path):
        maps = two_heaps(np.random.default_rng(3))
        del maps["three"]
        found = choose(write_maps(tmp_path / "s", maps))
        assert 70 / 255 < found.value < 150 / 255


class TestColours:
    def test_the_threshold_at_which_the_map_is_the_object(self, choose, tmp_path):
        """A halo at .35 on grey, the object at .7, the rest at .1: between .35 and .7 the two
        sides are one colour each."""
        maps = {}
        for name, o in objects().items():
            halo = cv2.dilate(o.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            maps[name] = {"cat": np.select([o, halo], [179, 90], 26)}
        found = choose(write_maps(tmp_path / "s", maps), rule="colours")
        assert 0.35 < found.value < 0.7
        assert found.chosen_by == "separation of the photographs' colours"
        shares = curve(tmp_path / "out")
        assert list(shares) == CANDIDATES.tolist()
        for threshold, share in shares.items():
            if 0.353 < threshold < 0.701:
                assert share == pytest.approx(1, abs=1e-6)
            else:
                assert share < 0.9
        assert shares[0.75] == 0

    def test_is_the_mean_over_images(self, choose, tmp_path):
        """Two images want .35 to .7; the third, whose map is wrong, is outvoted."""
        maps = {name: {"cat": np.where(o, 179, 90)} for name, o in objects().items()}
        maps["two"] = {"cat": np.where(objects()["one"], 255, 50)}
        assert 0.35 < choose(write_maps(tmp_path / "s", maps), rule="colours").value < 0.7
        shares = curve(tmp_path / "out")
        assert shares[0.5] == pytest.approx((2 + 3 * (shares[0.75])) / 3, abs=1e-6)


def ramps() -> dict[str, dict[str, np.ndarray]]:
    """Scores that fall from left to right: the foreground's width is the threshold's complement."""
    ramp = np.broadcast_to(np.linspace(255, 0, CELLS[1]), CELLS)
    return {name: {"cat": ramp} for name in IDS}


class TestCRF:
    def test_the_threshold_at_which_the_area_does_not_change(self, choose, tmp_path, monkeypatch):
        """A CRF that always answers with the left 30 % of the image."""

        def left(image, unary):
            marginals = np.zeros_like(unary)
            width = round(0.3 * unary.shape[2])
            marginals[1, :, :width] = marginals[0, :, width:] = 1
            return marginals

        monkeypatch.setattr("wsss.refinement.seeds.DenseCRF", crf_that(left))
        scores = write_maps(tmp_path / "s", ramps())
        found = choose(scores, rule="crf")
        assert found.value == 0.7
        assert found.chosen_by == "foreground that the dense CRF neither grows nor shrinks"
        values = list(curve(tmp_path / "out").values())
        best = CANDIDATES.tolist().index(0.7)
        assert values[best] == pytest.approx(0, abs=0.05)
        assert (np.diff(values[1 : best + 1]) > 0).all()
        assert (np.diff(values[best:-1]) < 0).all()

    @pytest.mark.slow
    def test_the_real_one_keeps_what_the_colours_show(self, choose, tmp_path):
        """Cells at .62 inside the object and .3 outside, and noise: above .62 the CRF has nothing
        to start from, below .3 it cuts down what covers the image."""
        pytest.importorskip("pydensecrf", reason="pydensecrf2 does not build on Python 3.13")
        rng = np.random.default_rng(4)
        maps = {
            name: {"cat": np.where(o, 158, 77) + rng.integers(-20, 21, CELLS)}
            for name, o in objects().items()
        }
        crf = CRFConfig(iterations=3, bilateral_sxy=30)
        found = choose(write_maps(tmp_path / "s", maps), rule="crf", crf=crf)
        assert 0.38 < found.value < 0.56

    def test_foreground_everywhere_is_no_answer(self, choose, tmp_path):
        """It does not change either; without a score below .1 the lowest candidate shows it."""
        pytest.importorskip("pydensecrf", reason="pydensecrf2 does not build on Python 3.13")
        rng = np.random.default_rng(5)
        maps = {
            name: {"cat": np.where(o, 130, 40) + rng.integers(-12, 126, CELLS)}
            for name, o in objects().items()
        }
        crf = CRFConfig(iterations=3, bilateral_sxy=30)
        assert choose(write_maps(tmp_path / "s", maps), rule="crf", crf=crf).value > 0.2


class TestViews:
    def noisy(self, folder: Path, seed: int) -> Path:
        """cat and dog with the object above .55, noise below .45 around it."""
        rng = np.random.default_rng(seed)
        return write_maps(folder, two_heaps(rng, low=(0, 115), high=(141, 256)))

    def test_the_threshold_at_which_two_sets_of_maps_agree(self, choose, tmp_path):
        first, second = self.noisy(tmp_path / "a", 1), self.noisy(tmp_path / "b", 2)
        found = choose(first, rule="views", other_scores=second)
        assert found.value == 0.5
        assert found.chosen_by == "agreement of two sets of maps (kappa)"
        kappa = curve(tmp_path / "out")
        assert kappa[0.5] > 0.9, "all but cells that interpolation blurs"
        assert kappa[0.1] < 0.6 > kappa[0.9]

    def test_is_the_kappa_of_all_masks_together(self, choose, tmp_path):
        """Against scikit-learn, with other classes in each image; the masks in mask values."""
        rng = np.random.default_rng(7)
        present = {"one": ["cat", "dog"], "two": ["hen", "cat"], "three": ["dog"]}
        folders = [
            write_maps(
                tmp_path / view,
                {
                    n: {c: rng.integers(0, 256, CELLS) for c in names}
                    for n, names in present.items()
                },
            )
            for view in ("a", "b")
        ]
        choose(folders[0], rule="views", other_scores=folders[1])
        kappa = curve(tmp_path / "out")
        for threshold in (0.35, 0.6, 0.8):
            masks: list[list[np.ndarray]] = [[], []]
            for view, folder in zip(masks, folders, strict=True):
                for name in IDS:
                    stored = read_scores(folder / f"{name}.npz")
                    full = stored.full_size()
                    best = stored.classes[full.argmax(axis=0)]
                    view.append(np.where(full.max(axis=0) > threshold, best, 0).ravel())
            expected = cohen_kappa_score(*(np.concatenate(view) for view in masks))
            assert kappa[threshold] == pytest.approx(expected, abs=2e-6)

    def test_sets_of_other_images_or_classes_are_refused(self, choose, tmp_path):
        first, second = self.noisy(tmp_path / "a", 1), self.noisy(tmp_path / "b", 2)
        maps = two_heaps(np.random.default_rng(0))
        for broken in ({"dog": maps["two"]["cat"]}, {}):
            write_maps(tmp_path / "c", {**maps, "two": broken})
            for i, pair in enumerate(((first, tmp_path / "c"), (tmp_path / "c", second))):
                with pytest.raises(ValueError, match="scores of two: expected the same size and c"):
                    choose(pair[0], f"{len(broken)}{i}", rule="views", other_scores=pair[1])

    def test_a_set_that_is_compared_with_itself_is_refused(self, choose, tmp_path):
        first = self.noisy(tmp_path / "a", 1)
        with pytest.raises(ValueError, match="other_scores: expected other scores than those of"):
            choose(first, rule="views", other_scores=tmp_path / "a" / ".." / "a")

    def test_a_missing_file_of_the_other_set_is_named(self, choose, tmp_path):
        first, second = self.noisy(tmp_path / "a", 1), self.noisy(tmp_path / "b", 2)
        (second / "three.npz").unlink()
        with pytest.raises(FileNotFoundError, match=rf"score file not found: {second}/three\.npz"):
            choose(first, rule="views", other_scores=second)


class TestRefused:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (
                {"rule": "best"},
                "rule: expected one of otsu, mixture, colours, crf, views, got 'best",
            ),
            ({"rule": "colours", "per_class": True}, "per_class: expected rule otsu or mixture"),
            ({"rule": "views"}, "other_scores: expected for the rule views, and for no other"),
            ({"other_scores": Path("x")}, "other_scores: expected for the rule views"),
            ({"limit": 0}, "limit: expected at least 1 image"),
        ],
    )
    def test_settings(self, choose, tmp_path, settings, message):
        with pytest.raises(ValueError, match=message):
            choose(tmp_path / "s", **settings)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("rule", ["otsu", "mixture", "colours", "crf", "views"])
    @pytest.mark.parametrize("maps", [{}, {name: {"cat": np.zeros(CELLS)} for name in IDS}])
    def test_maps_without_a_score(self, choose, tmp_path, monkeypatch, rule, maps):
        """No threshold is made up for them."""
        unrefined = crf_that(lambda image, unary: np.exp(-unary))
        monkeypatch.setattr("wsss.refinement.seeds.DenseCRF", unrefined)
        scores = write_maps(tmp_path / "s", maps)
        other = {"other_scores": write_maps(tmp_path / "t", maps)} if rule == "views" else {}
        message = "fewer than two different scores|no class map of the list train has a score"
        with pytest.raises(ValueError, match=message):
            choose(scores, rule=rule, **other)
        assert not (tmp_path / "out/threshold.json").exists()

    def test_missing_and_foreign_scores_are_named(self, choose, tmp_path):
        scores = write_maps(tmp_path / "s", two_heaps(np.random.default_rng(0)))
        (scores / "two.npz").unlink()
        with pytest.raises(FileNotFoundError, match=rf"score file not found: {scores}/two\.npz"):
            choose(scores)
        wrong = Scores(np.array([3], np.uint8), np.zeros((1, *CELLS), np.uint8), (80, 96))
        write_scores(scores / "two.npz", wrong)
        with pytest.raises(ValueError, match=rf"{scores}/two\.npz: value 3 belongs to no class"):
            choose(scores)


@pytest.mark.parametrize("per_class", [False, True])
def test_what_it_chose_makes_masks_and_is_reported(choose, data, tmp_path, per_class):
    """The file goes as it is into make_pseudo_masks and eval_miou, and both carry its history."""
    scores = write_maps(tmp_path / "s", two_heaps(np.random.default_rng(6)))
    chosen = choose(scores, limit=2, per_class=per_class)
    assert (chosen.chosen_on, chosen.masks_used, chosen.images) == ("train", False, 2)
    masks = make_pseudo_masks(
        data=data, split="train", output=tmp_path / "made", scores_from=scores, crf=None,
        threshold_from=tmp_path / "out", workers=1,
    )  # fmt: skip
    for name, inside in objects().items():
        truth = np.where(inside, CLASSES["cat"], 0).astype(np.uint8)
        write_mask(
            data.root / data.masks / f"{name}.png", truth.repeat(4, axis=0).repeat(4, axis=1)
        )
    settings = {"data": data, "split": "train", "resamples": 20}
    of_scores = eval_miou(
        **settings, scores=scores, threshold=tmp_path / "out", output=tmp_path / "e"
    )
    of_masks = eval_miou(**settings, predictions=masks, output=tmp_path / "f")
    assert of_scores["miou"] == of_masks["miou"] > 0.8
    for folder in ("e", "f"):
        facts = json.loads((tmp_path / folder / "eval.json").read_text())
        told = ChosenThreshold(**facts["threshold"])
        assert told == chosen
