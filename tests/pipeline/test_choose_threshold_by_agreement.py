"""Thresholds by agreement: of the masks with the dense CRF, and of two sets of maps."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from tests.conftest import crf_that
from tests.pipeline.drawn_maps import (
    CELLS,
    IDS,
    choose,
    curve,
    data,
    objects,
    two_heaps,
    write_maps,
)
from wsss.data import read_scores
from wsss.pipeline.choose_threshold import CANDIDATES
from wsss.refinement import CRFConfig

__all__ = ["choose", "data"]


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

        monkeypatch.setattr("wsss.refinement.crf.DenseCRF", crf_that(left))
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
