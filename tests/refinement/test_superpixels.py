"""Superpixels: every pixel's vote counted one by one, and what the segments are."""

import sys

import numpy as np
import pytest

from wsss.refinement import Context, LabelMaps, Picture
from wsss.refinement.superpixels import SuperpixelConfig, prepare_superpixels, segments_of

pytest.importorskip("skimage", reason="the extra superpixels is not installed")


def quarters(size=(24, 32)):
    """(H, W, 3) photograph of four colours, and (H, W) number of each pixel's colour."""
    y, x = np.mgrid[: size[0], : size[1]]
    number = 2 * (y >= size[0] // 2) + (x >= size[1] // 2)
    colours = np.array([(200, 30, 30), (30, 200, 30), (30, 30, 200), (220, 220, 40)], np.uint8)
    return colours[number], number


def by_pixels(values, segments, config):
    """Every pixel asks every other one whether it is of its segment."""
    labels, height, width = values.shape
    places = [(y, x) for y in range(height) for x in range(width)]
    refined = np.zeros(values.shape)
    for place in places:
        votes = np.zeros(labels)
        voters = 0
        for other in places:
            scores = values[(slice(None), *other)].astype(np.float64)
            if segments[other] != segments[place]:
                continue
            if config.vote == "mean":
                votes += scores
                voters += 1
            elif scores.max() > 0:
                votes[list(scores).index(scores.max())] += 1
                voters += 1
        own = values[(slice(None), *place)]
        shared = votes / voters if voters else votes
        refined[(slice(None), *place)] = config.mix * shared + (1 - config.mix) * own
    return refined


def refined(image, values, config):
    return prepare_superpixels([Picture(image)], config, Context())([LabelMaps(values, False)])[0]


@pytest.mark.parametrize("vote", ["mean", "majority"])
@pytest.mark.parametrize("mix", [1.0, 0.3])
@pytest.mark.parametrize("method", ["slic", "felzenszwalb"])
def test_agrees_with_votes_counted_one_by_one(method, mix, vote):
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 256, (2, 3, 3), np.uint8), np.ones((4, 4, 1), np.uint8))
    values = rng.random((3, 8, 12), dtype=np.float32)
    values[:, :6, :7] = 0  # a whole segment, and parts of some, without a score
    config = SuperpixelConfig(method=method, segments=6, min_size=5, vote=vote, mix=mix)
    segments = segments_of(image, config)
    assert segments.max() > 2
    found = refined(image, values, config).values
    np.testing.assert_allclose(found, by_pixels(values, segments, config), atol=1e-6)
    assert np.abs(found - values).max() > 0.1


@pytest.mark.parametrize(
    "config",
    [
        SuperpixelConfig(segments=4, compactness=1.0),
        SuperpixelConfig(method="felzenszwalb", sigma=0.1, min_size=4),
    ],
    ids=lambda config: config.method,
)
def test_segments_follow_the_colours(config):
    image, number = quarters()
    segments = segments_of(image, config)
    inside = [np.unique(segments[number == each]) for each in range(4)]
    assert sum(map(len, inside)) == 4
    assert len(np.unique(np.concatenate(inside))) == 4


def test_numbers_of_segments():
    plain = np.zeros((40, 60, 3), np.uint8)
    few, many = (segments_of(plain, SuperpixelConfig(segments=n)).max() + 1 for n in (10, 80))
    assert 5 <= few <= 20 < 50 <= many <= 120
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    small, large = (
        segments_of(noise, SuperpixelConfig(method="felzenszwalb", scale=s, min_size=1)).max()
        for s in (1.0, 1000.0)
    )
    assert small > 2 * large


@pytest.mark.parametrize(
    "arguments",
    [
        {"method": "quickshift"},
        {"vote": "max"},
        {"segments": 0},
        {"min_size": 0},
        {"compactness": 0.0},
        {"scale": float("inf")},
        {"sigma": -1.0},
        {"mix": 0.0},
        {"mix": 1.1},
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(arguments):
    with pytest.raises(ValueError, match=rf"superpixels\.{next(iter(arguments))}: expected"):
        SuperpixelConfig(**arguments)


def test_a_missing_library_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.delitem(sys.modules, "skimage.segmentation", raising=False)
    image, _ = quarters()
    with pytest.raises(ImportError, match=r"scikit-image: pip install 'wsss\[superpixels\]'"):
        prepare_superpixels([Picture(image)], SuperpixelConfig(), Context())
