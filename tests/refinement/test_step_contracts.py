"""What every refinement step owes: one class and 150, odd sizes, empty maps, nothing made worse.

A new step joins by its line in CASES.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest

from wsss.pipeline.settings import parse_settings
from wsss.refinement import STEPS, CRFConfig, LabelMaps, Picture, RefinementChain
from wsss.refinement.pamr import PAMRConfig
from wsss.refinement.par import PARConfig
from wsss.refinement.superpixels import SuperpixelConfig
from wsss.refinement.walk import WalkConfig
from wsss.runs.settings import plain


class Case(NamedTuple):
    """Options of a step that cost little.

    Args:
        options: The options.
        averages: Whether a pixel's new values are weighted means of the old ones of some pixels,
            so that uniform values do not change at all, not just their order.
    """

    options: Any
    averages: bool = True


CASES = {
    "crf": [Case(CRFConfig(iterations=2, backend="torch"), averages=False)],
    "pamr": [
        Case(PAMRConfig(iterations=3, dilations=(1, 3))),
        Case(PAMRConfig(iterations=2, scale=0.5)),
    ],
    "par": [
        Case(PARConfig(iterations=3, dilations=(1, 3), scale=1)),
        Case(PARConfig(iterations=2)),
    ],
    "superpixels": [
        Case(SuperpixelConfig(segments=20)),
        Case(SuperpixelConfig(method="felzenszwalb", mix=0.7)),
        Case(SuperpixelConfig(segments=20, vote="majority"), averages=False),
    ],
    # each class gets its old maximum back
    "walk": [Case(WalkConfig(sigma=20, stride=1, radius=2, steps=16), averages=False)],
}
ALL = pytest.mark.parametrize("case", [case for cases in CASES.values() for case in cases])
MEANS = pytest.mark.parametrize(
    "case", [case for cases in CASES.values() for case in cases if case.averages]
)
SIZES = pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (13, 17)])
CLASSES = pytest.mark.parametrize("classes", [1, 150])


def photograph(size, seed=0) -> Picture:
    """Two colours side by side, with noise."""
    image = np.random.default_rng(seed).normal(0, 8, (*size, 3))
    image += np.where(np.arange(size[1])[None, :, None] * 2 < size[1], (60, 90, 200), (190, 80, 40))
    return Picture(image.clip(0, 255).astype(np.uint8))


def noisy(size, classes, seed=0) -> np.ndarray:
    """(classes + 1, H, W) scores: the first class on the left, much noise."""
    scores = np.random.default_rng(seed).uniform(0, 0.6, (classes + 1, *size))
    scores[1] += np.where(np.arange(size[1]) * 2 < size[1], 0.4, 0)
    scores[0] = 0.5
    return scores.astype(np.float32)


def refined(case: Case, pictures, maps) -> list[LabelMaps]:
    return RefinementChain((case.options,)).prepare(pictures)(maps)


def one(case: Case, picture, values, *, marginals=False) -> LabelMaps:
    before = picture.image.copy(), values.copy()
    (found,) = refined(case, [picture], [LabelMaps(values, marginals)])
    assert np.array_equal(picture.image, before[0])
    assert np.array_equal(values, before[1])
    assert found.values.shape == values.shape
    assert found.values.dtype == np.float32
    assert found.values.min() >= 0
    assert found.values.max() <= 1
    return found


def test_every_step_is_here():
    # these look at files or networks: test_merge_votes.py, test_normal.py, test_sam.py have theirs
    assert set(CASES) | {"merge", "normal", "sam"} == set(STEPS)


@ALL
@SIZES
@CLASSES
def test_marginals_stay_marginals(case, size, classes):
    values = noisy(size, classes)
    values /= values.sum(axis=0)
    found = one(case, photograph(size), values, marginals=True)
    assert found.marginals
    np.testing.assert_allclose(found.values.sum(axis=0), 1, atol=1e-5)


@ALL
@SIZES
@CLASSES
def test_classes_that_are_nowhere_stay_nowhere(case, size, classes):
    """Every class map zero; and every map zero, the background's too."""
    values = np.zeros((classes + 1, *size), np.float32)
    if case.averages:
        assert not one(case, photograph(size), values).values.any()
    values[0] = 0.3
    found = one(case, photograph(size), values).values
    assert not found.argmax(axis=0).any()
    if case.averages:
        np.testing.assert_allclose(found, values, rtol=1e-5)


@ALL
@SIZES
@CLASSES
def test_a_photograph_and_maps_that_are_uniform_stay_as_they_are(case, size, classes):
    picture = Picture(np.full((*size, 3), (17, 200, 90), np.uint8))
    values = np.linspace(0.2, 0.9, classes + 1, dtype=np.float32)[:, None, None]
    values = np.ascontiguousarray(np.broadcast_to(values, (classes + 1, *size)))
    found = one(case, picture, values).values
    assert (found.argmax(axis=0) == classes).all()
    if case.averages:
        np.testing.assert_allclose(found, values, rtol=1e-5)


@MEANS
@pytest.mark.parametrize("level", [0.4, 1])  # 1 and not more: whatever is rounded
def test_maps_that_are_uniform_stay_so_on_any_photograph(case, level):
    found = one(case, photograph((13, 17)), np.full((3, 13, 17), level, np.float32))
    np.testing.assert_allclose(found.values, level, rtol=1e-5)
    assert not found.marginals


@ALL
def test_no_picture(case):
    assert refined(case, [], []) == []


@ALL
def test_images_together_are_images_one_by_one_any_number_of_times(case):
    """Of several sizes and numbers of labels; three share a size."""
    sizes = [(13, 17), (9, 1), (13, 17), (17, 13), (13, 17)]
    classes = [1, 2, 4, 3, 1]
    pictures = [photograph(size, seed) for seed, size in enumerate(sizes)]
    values = [noisy(size, k, seed) for seed, (size, k) in enumerate(zip(sizes, classes))]
    maps = [LabelMaps(each, marginals=False) for each in values]
    refine = RefinementChain((case.options,)).prepare(pictures)
    first, second = refine(maps), refine(maps)
    for i, picture in enumerate(pictures):
        alone = one(case, picture, values[i])
        for found in (first[i], second[i]):
            assert found.marginals == alone.marginals
            np.testing.assert_allclose(found.values, alone.values, atol=1e-6)


@ALL
def test_noise_is_found_out_by_the_colours(case):
    """Else a step that does nothing would pass all of this."""
    size = (24, 40)
    values = noisy(size, 1)  # each class is somewhere: a walk gives it its maximum back
    truth = np.broadcast_to(np.arange(size[1]) * 2 < size[1], size)
    wrong = [(each.argmax(axis=0) != truth).mean() for each in (
        values, one(case, photograph(size), values).values,
    )]  # fmt: skip
    assert wrong[1] < wrong[0] / 2


@ALL
def test_it_is_written_as_it_is_read(case):
    chain = RefinementChain((case.options,))
    settings = {"data": {"root": "x"}, "split": "s", "output": "o", "refine": plain(chain)}
    assert parse_settings("make_pseudo_masks", settings)["refine"] == chain


@ALL
def test_its_numbers_are_refused_by_name_where_they_make_no_sense(case):
    """No number of a step may be nan."""
    for name, value in vars(case.options).items():
        if isinstance(value, float):
            with pytest.raises(ValueError, match=rf"{name}: expected"):
                type(case.options)(**{**vars(case.options), name: math.nan})
