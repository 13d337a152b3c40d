"""PAMR and PAR against loops over pixels in float64, and what their weights are."""

import cv2
import numpy as np
import pytest
import torch

from wsss.refinement import Context, LabelMaps, Picture, neighbours
from wsss.refinement.neighbours import colour_affinity, prepare_neighbours
from wsss.refinement.pamr import PAMRConfig, prepare_pamr
from wsss.refinement.par import PARConfig, position_affinity, prepare_par

DILATIONS = (1, 2, 5)
CONFIGS = [
    PAMRConfig(iterations=2, dilations=DILATIONS),
    PAMRConfig(iterations=1, sigma=0.4),
    PARConfig(iterations=2, dilations=DILATIONS, scale=1),
    PARConfig(iterations=1, dilations=(1,), scale=1, sigma=0.7, position=0.5),
]
PREPARE = {PAMRConfig: prepare_pamr, PARConfig: prepare_par}


def scene(size=(6, 8), labels=3, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    image[: size[0] // 2] = 40 + image[: size[0] // 2] // 20
    return image, rng.random((labels, *size), dtype=np.float32)


def neighbours_of(y, x, size, dilations):
    """(rows, columns) of the neighbours of a pixel, and their distances beyond the border."""
    for d in dilations:
        for dy in (-d, 0, d):
            for dx in (-d, 0, d):
                if dy or dx:
                    place = min(max(y + dy, 0), size[0] - 1), min(max(x + dx, 0), size[1] - 1)
                    yield place, (dy**2 + dx**2) ** 0.5


def softmax(logits):
    weights = np.exp(logits - np.max(logits))
    return weights / weights.sum()


def weights_of(image, y, x, config):
    """Places and weights of the neighbours of one pixel."""
    around = list(neighbours_of(y, x, image.shape[:2], config.dilations))
    colours = np.array([image[place] for place, _ in around], dtype=np.float64)
    difference = np.abs(colours - image[y, x])
    if isinstance(config, PAMRConfig):
        logits = -(difference / (1e-8 + config.sigma * colours.std(axis=0, ddof=1))).mean(axis=1)
        return [place for place, _ in around], softmax(logits)
    ratio = difference / (1e-8 + config.sigma * colours.std(axis=0, ddof=1))
    distance = np.array([away for _, away in around])
    far = distance / (1e-8 + config.sigma * distance.std(ddof=1))
    both = softmax(-(ratio**2).mean(axis=1)) + config.position * softmax(-(far**2))
    return [place for place, _ in around], both / both.sum()


def by_pixels(image, values, config):
    """The step at full size, pixel by pixel."""
    height, width = image.shape[:2]
    for _ in range(config.iterations):
        fresh = np.zeros(values.shape)
        for y in range(height):
            for x in range(width):
                places, weights = weights_of(image, y, x, config)
                for place, weight in zip(places, weights, strict=True):
                    fresh[:, y, x] += weight * values[(slice(None), *place)]
        values = fresh
    return values


def refined(image, values, config, marginals=False):
    refine = PREPARE[type(config)]([Picture(image)], config, Context())
    return refine([LabelMaps(values, marginals)])[0]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_agrees_with_loops_over_pixels(config):
    image, values = scene()
    found = refined(image, values, config).values
    np.testing.assert_allclose(found, by_pixels(image, values, config), atol=2e-6)
    assert np.abs(found - values).max() > 0.1, "nothing changed; the test is empty"


@pytest.mark.parametrize("power", [1, 2])
def test_weights_sum_to_one_also_where_a_neighbourhood_has_one_colour(power):
    image, _ = scene((9, 11))
    image[:5, :6] = 255
    image[2, 2] = 254  # a single pixel among equals: its deviation is 0 and its difference is not
    images = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    weights = colour_affinity(images, PAMRConfig(dilations=(1, 2)), power)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(1, 9, 11))
    torch.testing.assert_close(weights[:, 0, 2, 2], torch.full((16,), 1 / 16))


def test_near_neighbours_weigh_more_in_par():
    weights = position_affinity(PARConfig(dilations=(1, 2)))
    assert weights.sum() == pytest.approx(1)
    assert weights.reshape(2, 8).sum(axis=1)[0] > 0.9


def test_half_size_is_the_step_on_the_halved_and_brought_back():
    image, _ = scene((5, 7))
    wide = np.random.default_rng(1).random((3, 10, 14), dtype=np.float32)
    values = wide.reshape(3, 5, 2, 7, 2).mean(axis=(2, 4))
    blocks = np.kron(image, np.ones((2, 2, 1), np.uint8))
    config = PARConfig(iterations=2, dilations=(1, 2))
    small = by_pixels(image, values, config).transpose(1, 2, 0)
    expected = cv2.resize(small, (14, 10), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
    np.testing.assert_allclose(refined(blocks, wide, config).values, expected, atol=2e-6)


def test_batches_and_parts_of_labels_hold_no_more_than_allowed(monkeypatch):
    """And nothing depends on them."""
    scenes = [scene(labels=labels, seed=labels) for labels in (2, 5, 3, 1)]
    pictures = [Picture(image) for image, _ in scenes]
    maps = [LabelMaps(values, marginals=False) for _, values in scenes]
    config = CONFIGS[0]
    expected = prepare_pamr(pictures, config, Context())(maps)
    monkeypatch.setattr(neighbours, "_PIXELS", 2 * 6 * 8 + 1)
    monkeypatch.setattr(neighbours, "_SCORES", 4 * 6 * 8)
    seen, parts, iterated = [], [], neighbours._iterated

    def affinity(images):
        seen.append(len(images))
        return colour_affinity(images, config, power=1)

    def recorded(scores, *arguments):
        parts.append(tuple(scores.shape[:2]))
        return iterated(scores, *arguments)

    monkeypatch.setattr(neighbours, "_iterated", recorded)
    found = prepare_neighbours(pictures, config, affinity, "cpu")(maps)
    assert seen == [2, 2]
    assert parts == [(2, 2), (2, 2), (2, 1), (2, 2), (2, 1)]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-6)


def test_maps_of_one_photograph_share_its_affinity():
    image, values = scene()
    made = []

    def affinity(images):
        made.append(images)
        return colour_affinity(images, CONFIGS[0], power=1)

    refine = prepare_neighbours([Picture(image)], CONFIGS[0], affinity, "cpu")
    first, second = refine([LabelMaps(values, False)]), refine([LabelMaps(values, False)])
    assert len(made) == 1
    assert np.array_equal(first[0].values, second[0].values)


@pytest.mark.parametrize("config", [PAMRConfig, PARConfig])
@pytest.mark.parametrize(
    "arguments",
    [
        {"iterations": -1},
        {"sigma": 0.0},
        {"sigma": float("inf")},
        {"dilations": ()},
        {"dilations": (1, 0)},
        {"scale": 0.0},
        {"scale": 1.5},
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(config, arguments):
    name = config.__name__.removesuffix("Config").lower()
    with pytest.raises(ValueError, match=rf"{name}\.{next(iter(arguments))}: expected"):
        config(**arguments)


def test_a_weight_of_the_distance_below_zero_is_refused():
    with pytest.raises(ValueError, match=r"par\.position: expected"):
        PARConfig(position=-0.1)
