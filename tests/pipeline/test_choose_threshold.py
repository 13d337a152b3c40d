"""Thresholds from score maps, no mask opened: by histogram, by colour, what is refused, its use."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import crf_that
from tests.pipeline.drawn_maps import (
    CELLS,
    CLASSES,
    IDS,
    choose,
    curve,
    data,
    objects,
    two_heaps,
    write_maps,
)
from wsss.data import Scores, write_mask, write_scores
from wsss.pipeline.choose_threshold import CANDIDATES
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.refinement.threshold import two_components
from wsss.runs.threshold import ChosenThreshold

__all__ = ["choose", "data"]


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


class TestRefused:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (
                {"rule": "best"},
                "rule: expected one of otsu, mixture, colours, crf, views, normal, got 'best",
            ),
            (
                {"rule": "colours", "per_class": True},
                "per_class: expected rule otsu, mixture or normal",
            ),
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
        monkeypatch.setattr("wsss.refinement.crf.DenseCRF", unrefined)
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
