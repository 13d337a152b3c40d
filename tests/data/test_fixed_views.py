"""The views that an augmentation draws are those that are kept."""

from dataclasses import replace

import numpy as np
import pytest

from wsss.data.datasets import reseed
from wsss.data.fixed_views import View, drawn_view, fixed_views, view_name, view_transform
from wsss.data.transforms import AugmentConfig, train_transform
from wsss.normalisation import IMAGENET, Normalisation

FEW = AugmentConfig(crop=64, long_side=(32, 64), long_side_step=16, position="centre")


def photograph(height=45, width=60):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_list_of_views():
    assert fixed_views(FEW) == [View(s, m) for s in (32, 48, 64) for m in (False, True)]
    assert fixed_views(replace(FEW, long_side=(64, 64), flip=0)) == [View(64, False)]
    assert fixed_views(replace(FEW, long_side=None, flip=1)) == [View(None, True)]


@pytest.mark.parametrize("position", ["centre", "top_left"])
@pytest.mark.parametrize("long_side", [(32, 64), None])
def test_what_is_drawn_is_the_view_that_is_said(position, long_side):
    """Whatever the seed, the pixels are those of one of the listed views, the one that is found."""
    augment = replace(FEW, position=position, long_side=long_side)
    plain = train_transform(augment, IMAGENET)
    tracked = train_transform(augment, IMAGENET, track=True)
    image, seen = photograph(), set()
    for seed in range(60):
        reseed(plain, (0, seed, seed))
        reseed(tracked, (0, seed, seed))
        # the draw does not look at the image
        view = drawn_view(tracked(image=np.zeros((8, 8, 3), np.uint8)), (8, 8))
        expected = plain(image=image)["image"]
        assert np.array_equal(
            view_transform(augment, IMAGENET, view)(image=image)["image"], expected
        )
        seen.add(view)
    assert seen == set(fixed_views(augment))


def test_size_and_mirroring_are_drawn_independently():
    """albumentations gives one seed to all steps: large images were never mirrored."""
    tracked = train_transform(FEW, IMAGENET, track=True)
    blank = np.zeros((8, 8, 3), np.uint8)
    drawn = []
    for seed in range(600):
        reseed(tracked, (0, seed, seed))
        drawn.append(drawn_view(tracked(image=blank), (8, 8)))
    # 100 of each on average, with a deviation of 9
    assert all(60 < drawn.count(view) < 140 for view in fixed_views(FEW))


def test_images_of_a_batch_share_a_size():
    """crop: null pads whole images to squares, whose side is drawn once for each batch."""
    augment = replace(FEW, crop=None)
    plain = train_transform(augment, IMAGENET)
    tracked = train_transform(augment, IMAGENET, track=True)
    image, sides = photograph(), []
    for number in range(60):
        for seed in range(3):
            reseed(plain, (0, seed, number))
            reseed(tracked, (0, seed, number))
            view = drawn_view(tracked(image=np.zeros((8, 8, 3), np.uint8)), (8, 8))
            found = plain(image=image)["image"]
            assert found.shape == (view.long_side, view.long_side, 3)
            assert np.array_equal(
                view_transform(augment, IMAGENET, view)(image=image)["image"], found
            )
            sides.append(view.long_side)
    assert sides[::3] == sides[1::3] == sides[2::3]
    assert set(sides) == {32, 48, 64}


def test_where_a_small_image_lies():
    image = np.full((16, 32, 3), 255, np.uint8)
    for position, top, left in (("top_left", 0, 0), ("centre", 24, 16)):
        augment = AugmentConfig(crop=64, long_side=(32, 32), flip=0, position=position)
        found = train_transform(augment, IMAGENET)(image=image)["image"]
        white = (found == 255).all(axis=2)
        assert white[top : top + 16, left : left + 32].all()
        assert white.sum() == 16 * 32


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"long_side": (32, 64), "long_side_step": 1}, "long_side: 33 sizes are more than the 8"),
        ({"scale": (0.5, 1.0)}, "scale: "),
        ({"color_jitter": 0.1}, "color_jitter: 0.1"),
        ({"crop": 48}, "crop: 48 cuts random parts out of images of 64 pixels"),
        ({"position": "random"}, "position: random places"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_key(change, key):
    with pytest.raises(ValueError, match=rf"^features: cache needs .* augment\.{key}"):
        fixed_views(replace(FEW, **change))


def test_a_name_says_all_that_decides_the_pixels():
    other = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    view = View(64, False)
    names = {
        view_name(FEW, IMAGENET, view),
        view_name(FEW, IMAGENET, View(48, False)),
        view_name(FEW, IMAGENET, View(64, True)),
        view_name(FEW, IMAGENET, None),
        view_name(FEW, other, view),
        view_name(FEW, other, None),
        view_name(replace(FEW, crop=96), IMAGENET, view),
        view_name(replace(FEW, position="top_left"), IMAGENET, view),
        view_name(replace(FEW, val_long_side=None), IMAGENET, None),
    }
    assert len(names) == 9
    # what does not: a view has the same name however likely it is
    assert view_name(replace(FEW, flip=0.1, long_side=(64, 64)), IMAGENET, view) in names


def test_a_step_is_at_least_a_pixel():
    with pytest.raises(
        ValueError, match=r"augment\.long_side_step: expected at least 1 pixel, got 0"
    ):
        AugmentConfig(long_side_step=0)
