"""Augmentation and normalisation, alike for image and mask, and repeatable by torch's seed."""

import numpy as np
import pytest
import torch

from wsss.data import LabelMap, load_records
from wsss.data.datasets import LabelledImages, MaskedImages
from wsss.data.masks import check_same_size
from wsss.data.transforms import (
    AugmentConfig,
    looked_up,
    normalise,
    normalised_on,
    train_transform,
    val_transform,
)
from wsss.normalisation import IMAGENET

PLAIN = {"long_side": None, "flip": 0.0}


def coded(height, width):
    """An image whose first two channels say where a pixel was, and a mask that says the same."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([y, x, np.full_like(y, 7)], axis=2).astype(np.uint8)
    return image, ((y * 3 + x) % 5).astype(np.uint8)


def test_normalised_values():
    image = np.array([[[0, 0, 0], [255, 255, 255], [124, 116, 104]]], np.uint8)
    found = normalise(image, IMAGENET)
    assert found.dtype == torch.float32
    assert found.shape == (3, 1, 3)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((image / 255 - mean) / std).transpose(2, 0, 1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert found.is_contiguous()


def test_a_device_looks_up_the_same_numbers():
    images = np.random.default_rng(0).integers(0, 256, (2, 30, 40, 3)).astype(np.uint8)
    expected = torch.stack([normalise(image, IMAGENET) for image in images])
    assert torch.equal(normalised_on(images, IMAGENET, torch.device("cpu")), expected)
    # what a GPU does, in main memory
    every = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    tables = normalise(every, IMAGENET)[:, 0]
    assert torch.equal(looked_up(torch.from_numpy(images), tables), expected)


def test_a_small_image_is_padded_with_the_mean_colour_and_its_mask_with_255():
    image, mask = coded(40, 30)
    transform = train_transform(AugmentConfig(crop=64, **PLAIN), IMAGENET)
    transform.set_random_seed(0)
    pair = transform(image=image, mask=mask)
    assert pair["image"].shape == (64, 64, 3)
    inside = pair["mask"] != 255
    assert inside.sum() == 40 * 30
    assert (pair["image"][~inside] == [124, 116, 104]).all()
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert np.array_equal(pair["image"][box], image)
    assert np.array_equal(pair["mask"][box], mask)


def test_padding_is_on_any_side():
    image, mask = coded(40, 40)
    transform = train_transform(AugmentConfig(crop=64, **PLAIN), IMAGENET)
    corners = set()
    for seed in range(8):
        transform.set_random_seed(seed)
        inside = transform(image=image, mask=mask)["mask"] != 255
        corners.add((int(inside.argmax(0).max()), int(inside.argmax(1).max())))
    assert len(corners) > 4


def test_crop_and_flip_move_image_and_mask_alike():
    image, mask = coded(90, 100)
    transform = train_transform(AugmentConfig(crop=64, long_side=None, flip=0.5), IMAGENET)
    directions = set()
    places = set()
    for seed in range(12):
        transform.set_random_seed(seed)
        pair = transform(image=image, mask=mask)
        y, x = pair["image"][..., 0].astype(int), pair["image"][..., 1].astype(int)
        assert np.array_equal(pair["mask"], (y * 3 + x) % 5)
        assert (np.diff(y, axis=0) == 1).all(), "rows stay in order"
        directions.add(int(np.diff(x, axis=1)[0, 0]))
        places.add((y[0, 0], x.min()))
    assert directions == {-1, 1}
    assert len(places) > 6


@pytest.mark.parametrize(("flip", "step"), [(0.0, 1), (1.0, -1)])
def test_flip_is_a_probability(flip, step):
    image, _ = coded(64, 64)
    transform = train_transform(AugmentConfig(crop=64, long_side=None, flip=flip), IMAGENET)
    row = transform(image=image)["image"][0, :, 1].astype(int)
    assert (np.diff(row) == step).all()


def test_resizing_keeps_the_values_of_masks():
    image, mask = coded(50, 60)
    mask = np.where(mask > 2, np.uint8(200), np.uint8(0))
    transform = train_transform(
        AugmentConfig(crop=96, long_side=(64, 128), scale=(0.5, 1.5)), IMAGENET
    )
    for seed in range(6):
        transform.set_random_seed(seed)
        found = transform(image=image, mask=mask)["mask"]
        assert set(np.unique(found)) <= {0, 200, 255}
        assert (found == 200).any()


def test_long_side_is_drawn_between_its_limits():
    image, mask = coded(50, 100)
    transform = train_transform(AugmentConfig(crop=128, long_side=(60, 120), flip=0), IMAGENET)
    widths = set()
    for seed in range(20):
        transform.set_random_seed(seed)
        inside = transform(image=image, mask=mask)["mask"] != 255
        widths.add(int(inside.any(0).sum()))
    assert min(widths) >= 60
    assert max(widths) <= 120
    assert len(widths) > 8


def test_scale_is_a_factor():
    """albumentations takes the difference from 1."""
    image, mask = coded(40, 60)
    transform = train_transform(AugmentConfig(crop=128, scale=(1.5, 1.5 + 1e-9), **PLAIN), IMAGENET)
    inside = transform(image=image, mask=mask)["mask"] != 255
    assert (inside.any(1).sum(), inside.any(0).sum()) == (60, 90)


def test_jitter_leaves_the_mask_alone():
    image, mask = coded(64, 64)
    transform = train_transform(AugmentConfig(crop=64, color_jitter=0.5, **PLAIN), IMAGENET)
    transform.set_random_seed(1)
    pair = transform(image=image, mask=mask)
    assert np.array_equal(pair["mask"], mask)
    assert not np.array_equal(pair["image"], image)


@pytest.mark.parametrize(
    ("long_side", "size"), [(None, (50, 100)), (64, (32, 64)), (200, (100, 200))]
)
def test_validation_keeps_the_whole_image_and_its_aspect(long_side, size):
    image, _ = coded(50, 100)
    found = val_transform(AugmentConfig(val_long_side=long_side))(image=image)["image"]
    assert found.shape == (*size, 3)
    if long_side is None:
        assert np.array_equal(found, image)


class TestSeeds:
    def items(self, shapes, seed):
        records = load_records(shapes, "train", with_labels=True)
        config = AugmentConfig(crop=64, long_side=(60, 90), color_jitter=0.3)
        images = LabelledImages(records, train_transform(config, IMAGENET), IMAGENET)
        torch.manual_seed(seed)
        return [images[i][0].image for i in (0, 3, 0)]

    def test_the_same_torch_seed_gives_the_same_augmentation(self, shapes):
        first, second = self.items(shapes, 5), self.items(shapes, 5)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))

    def test_another_seed_gives_another(self, shapes):
        first, second = self.items(shapes, 5), self.items(shapes, 6)
        assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True))

    def test_an_image_is_changed_anew_each_time(self, shapes):
        items = self.items(shapes, 5)
        assert not torch.equal(items[0], items[2])


class TestDatasets:
    def test_labelled_images(self, shapes):
        records = load_records(shapes, "train", with_labels=True)
        images = LabelledImages(records, val_transform(AugmentConfig(val_long_side=None)), IMAGENET)
        assert len(images) == 12
        (image, box), labels = images[3]
        assert image.shape[0] == 3
        assert box.tolist() == [0, 0, *image.shape[1:]]
        assert torch.equal(labels, torch.from_numpy(records[3].labels))

    def test_padding_is_told_from_the_image(self, shapes):
        """The box holds what is not of the padding colour, wherever the image lies."""
        records = load_records(shapes, "train", with_labels=True)
        config = AugmentConfig(crop=96, long_side=(40, 60), position="random")
        images = LabelledImages(records, train_transform(config, IMAGENET), IMAGENET)
        torch.manual_seed(0)
        boxes = set()
        for number in range(8):
            image, (top, left, bottom, right) = images[number][0]
            assert image.shape == (3, 96, 96)
            outside = torch.ones(96, 96, dtype=torch.bool)
            outside[top:bottom, left:right] = False
            assert image[:, outside].abs().max() < 0.02  # rounded to bytes
            assert image[:, top, left:right].abs().amax() > 0.02
            assert image[:, top:bottom, right - 1].abs().amax() > 0.02
            boxes.add((int(top), int(left)))
        assert len(boxes) > 4

    def test_an_image_without_labels_is_named(self, shapes):
        records = load_records(shapes, "train", with_labels=False)
        images = LabelledImages(records, val_transform(AugmentConfig()), IMAGENET)
        with pytest.raises(ValueError, match="image 'train_0000' has no labels"):
            images[0]

    @pytest.mark.parametrize("keep", [True, False])
    def test_masked_images(self, shapes, keep):
        records = load_records(shapes, "train", with_labels=False)
        masks = [r.mask for r in records]
        label_map = LabelMap(list(shapes.classes.values()))
        config = AugmentConfig(val_long_side=48)
        images = MaskedImages(
            records, masks, label_map, val_transform(config), IMAGENET, keep_mask=keep
        )
        image, mask = images[0]
        assert torch.equal(images[(7, 123, 5)][1], images[7][1]), "with the sampler's seed"
        assert max(image.shape[1:]) == 48
        assert (tuple(mask.shape) == tuple(image.shape[1:])) is not keep
        assert mask.dtype == torch.int64
        assert len(images) == 12

    def test_sizes_are_named_as_width_x_height(self):
        with pytest.raises(ValueError, match=r"mask m\.png is 7 x 5 pixels, but i\.jpg is 7 x 6"):
            check_same_size(np.zeros((5, 7)), (6, 7), "m.png", "i.jpg")


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"crop": 31}, "crop"),
        ({"crop": None, "long_side": None}, "crop"),
        ({"crop": None, "scale": (0.5, 1.0)}, "crop"),
        ({"long_side": (100, 50)}, "long_side"),
        ({"long_side": (8, 50)}, "long_side"),
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"scale": (2.0, 1.0)}, "scale"),
        ({"flip": 1.1}, "flip"),
        ({"color_jitter": 1.0}, "color_jitter"),
        ({"val_long_side": 5}, "val_long_side"),
    ],
)
def test_bad_settings_are_refused_by_key(arguments, key):
    with pytest.raises(ValueError, match=rf"augment\.{key}: expected"):
        AugmentConfig(**arguments)
