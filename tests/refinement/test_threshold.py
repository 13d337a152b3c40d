"""Thresholds from score maps alone, against OpenCV, scikit-learn and slow references."""

import cv2
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from wsss.refinement.threshold import colour_separation, otsu, two_components


def heaps(seed: int, pixels: int = 4000) -> np.ndarray:
    """uint8 scores in two heaps of random places, widths and sizes; some overlap."""
    rng = np.random.default_rng(seed)
    share, low, high = rng.uniform(0.15, 0.85), rng.uniform(30, 90), rng.uniform(140, 220)
    upper = rng.random(pixels) < share
    scores = np.where(upper, rng.normal(high, rng.uniform(8, 28), pixels), 0)
    scores = np.where(upper, scores, rng.normal(low, rng.uniform(8, 28), pixels))
    return scores.round().clip(0, 255).astype(np.uint8)


def histogram(scores: np.ndarray) -> np.ndarray:
    return np.bincount(scores, minlength=256)


def between_variances(weight: np.ndarray) -> list[float]:
    """Otsu's criterion for the splits after each score, from its definition."""
    values = np.arange(len(weight)) / (len(weight) - 1)
    found = []
    for j in range(len(weight) - 1):
        parts = [(weight[: j + 1], values[: j + 1]), (weight[j + 1 :], values[j + 1 :])]
        if any(w.sum() == 0 for w, _ in parts):
            found.append(0.0)
            continue
        (p, a), (q, b) = (
            (w.sum() / weight.sum(), float(np.average(v, weights=w))) for w, v in parts
        )
        found.append(p * q * (a - b) ** 2)
    return found


class TestOtsu:
    @pytest.mark.parametrize("seed", range(12))
    def test_parts_the_pixels_as_opencv_does(self, seed):
        scores = heaps(seed)
        limit, _ = cv2.threshold(scores, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        found = otsu(histogram(scores))
        assert np.array_equal(scores / 255 > found, scores > limit)

    @pytest.mark.parametrize("seed", range(20))
    def test_has_the_largest_variance_of_all_splits(self, seed):
        """Few scores occur, with gaps; every other histogram is symmetric, so that splits tie."""
        rng = np.random.default_rng(seed)
        weight = rng.integers(0, 5, 30) * (rng.random(30) < 0.4)
        weight[[3, 20]] += 1
        if seed % 2:
            weight = weight + weight[::-1]
        variances = between_variances(weight)
        split = int(np.floor(otsu(weight) * 29 + 1e-9))
        assert variances[split] == pytest.approx(max(variances), rel=1e-9)

    def test_is_in_the_middle_of_an_empty_stretch(self):
        weight = np.zeros(256)
        weight[[51, 204]] = 7, 3
        assert otsu(weight) == pytest.approx(0.5, abs=1e-12)
        assert otsu(np.array([1, 0, 0, 0, 1, 1])) == pytest.approx(0.4, abs=1e-12)

    def test_two_equal_best_splits_are_not_averaged(self):
        """Splitting off either end is best; the middle, .5, would be far from it."""
        weight = np.zeros(101)
        weight[[0, 49, 51, 100]] = 1, 10, 10, 1
        variances = between_variances(weight)
        assert variances[0] == pytest.approx(max(variances)) == pytest.approx(variances[51])
        assert variances[49] < max(variances) / 3
        assert otsu(weight) == pytest.approx(0.245, abs=1e-12)

    def test_does_not_depend_on_the_number_of_pixels(self):
        weight = histogram(heaps(3))
        assert otsu(weight * 10**9) == otsu(weight)
        assert otsu(weight / weight.sum()) == pytest.approx(otsu(weight), abs=1e-12)


def likelier(weight: np.ndarray) -> tuple[float, GaussianMixture]:
    """scikit-learn's mixture from the same start: the first score its upper component takes."""
    values = np.linspace(0, 1, 256)
    samples = np.repeat(values, weight)[:, None]
    upper = samples[:, 0] > otsu(weight)
    parts = [samples[~upper], samples[upper]]
    mixture = GaussianMixture(
        2, max_iter=1000, tol=1e-9, reg_covar=1e-12,
        weights_init=[len(part) / len(samples) for part in parts],
        means_init=[part.mean(axis=0) for part in parts],
        precisions_init=[[[1 / part.var()]] for part in parts],
    ).fit(samples)  # fmt: skip
    between = values[(values >= mixture.means_.min()) & (values <= mixture.means_.max())]
    chance = mixture.predict_proba(between[:, None])[:, mixture.means_.argmax()]
    return float(between[chance > 0.5][0]), mixture


class TestTwoComponents:
    @pytest.mark.parametrize("seed", range(12))
    def test_agrees_with_scikit_learn(self, seed):
        """To two steps of a score: ours ends when no membership moves by a millionth or after 200
        rounds, scikit-learn's when the likelihood stands still."""
        weight = histogram(heaps(seed))
        expected, mixture = likelier(weight)
        assert mixture.converged_
        assert two_components(weight) == pytest.approx(expected, abs=2 / 255)

    def test_lies_nearer_to_the_narrower_heap(self):
        """Where Otsu's lies half-way: densities cross at the narrow side."""
        values = np.arange(256)
        narrow, wide = (
            np.exp(-((values - mean) ** 2) / (2 * width**2)) / width
            for mean, width in ((60, 6), (160, 30))
        )
        weight = np.rint(1e6 * (narrow + wide)).astype(np.int64)
        crossing = values[60:160][(wide > narrow)[60:160]][0] / 255
        assert two_components(weight) == pytest.approx(crossing, abs=1 / 255)
        assert otsu(weight) > crossing + 0.05

    def test_two_scores_alone(self):
        """Components of no width are as wide as one step; the upper takes what is nearer to it."""
        weight = np.zeros(256)
        weight[[40, 200]] = 5, 5
        assert 40 / 255 < two_components(weight) <= 121 / 255

    def test_a_heap_at_zero_and_the_rest(self):
        """What a ReLU leaves: most pixels at exactly 0."""
        rng = np.random.default_rng(0)
        scores = np.concatenate([np.zeros(9000), rng.normal(150, 20, 3000).round()])
        found = two_components(histogram(scores.astype(np.uint8)))
        assert 0 < found < scores[9000:].min() / 255


@pytest.mark.parametrize("choose", [otsu, two_components])
@pytest.mark.parametrize(
    "weight", [np.zeros(256), np.eye(256)[7], np.ones((2, 4)), np.array([3, -1, 4]), np.zeros(0)]
)
def test_fewer_than_two_scores_are_refused(choose, weight):
    with pytest.raises(ValueError, match="histogram: expected at least two scores that occur"):
        choose(weight)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of one sRGB colour in [0, 1], from the standard's formulas."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.array([[0.412453, 0.357580, 0.180423],
                    [0.212671, 0.715160, 0.072169],
                    [0.019334, 0.119193, 0.950227]]) @ linear  # fmt: skip
    x, y, z = (
        t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29
        for t in xyz / np.array([0.950456, 1.0, 1.088754])
    )
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def slow_separation(image: np.ndarray, score: np.ndarray, threshold: float) -> float:
    """Between-class over total variance, both from their definitions."""
    colours = np.array([lab(pixel / 255) for pixel in image.reshape(-1, 3)])
    inside = score.ravel() > threshold
    if inside.all() or not inside.any():
        return 0.0
    mean = colours.mean(axis=0)
    total = ((colours - mean) ** 2).sum()
    parts = (colours[inside], colours[~inside])
    return sum(len(p) * ((p.mean(axis=0) - mean) ** 2).sum() for p in parts) / total


class TestColourSeparation:
    THRESHOLDS = np.array([0.0, 0.2, 0.5, 0.8, 1.0])

    @pytest.mark.parametrize("seed", range(3))
    def test_against_the_definition(self, seed):
        """To 1e-3: OpenCV takes the gamma of float32 colours from a table."""
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 256, (9, 13, 3)).astype(np.uint8)
        score = rng.random((9, 13)).astype(np.float32)
        image[score > 0.5] //= 3
        found = colour_separation(image, score, self.THRESHOLDS)
        expected = [slow_separation(image, score, t) for t in self.THRESHOLDS]
        np.testing.assert_allclose(found, expected, atol=1e-3)
        assert found.argmax() == 2
        assert found[4] == 0

    def test_at_the_size_of_the_scores(self):
        """An image of blocks is, at the size of its blocks, the blocks."""
        rng = np.random.default_rng(5)
        blocks = rng.integers(0, 256, (6, 7, 3)).astype(np.uint8)
        score = rng.random((6, 7)).astype(np.float32)
        large = blocks.repeat(4, axis=0).repeat(4, axis=1)
        np.testing.assert_allclose(
            colour_separation(large, score, self.THRESHOLDS),
            colour_separation(blocks, score, self.THRESHOLDS),
            rtol=1e-6,
        )

    def test_one_where_the_two_sides_are_two_colours(self):
        image = np.full((8, 8, 3), (200, 30, 30), np.uint8)
        image[:, :3] = (90, 90, 90)
        score = np.where(np.arange(8) < 3, 0.2, 0.8).astype(np.float32)[None].repeat(8, axis=0)
        found = colour_separation(image, score, np.array([0.1, 0.5, 0.9]))
        np.testing.assert_allclose(found, [0, 1, 0], atol=1e-6)

    def test_one_colour_cannot_be_parted(self):
        image = np.full((8, 8, 3), 77, np.uint8)
        score = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
        assert not colour_separation(image, score, self.THRESHOLDS).any()
