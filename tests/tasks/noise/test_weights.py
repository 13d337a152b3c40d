"""Weights of pixels: read beside the masks, changed with them, and multiplied."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import CPU, SMALL
from tests.pipeline.conftest import SMALL_NET
from tests.tasks.noise.planted import planted, train
from wsss.data import load_records, read_mask
from wsss.data.datasets import MaskedImages
from wsss.data.masks import LabelMap
from wsss.data.transforms import AugmentConfig, train_transform
from wsss.normalisation import IMAGENET
from wsss.pipeline.train_seg import train_seg
from wsss.tasks.losses import LOSSES, LossOptions
from wsss.tasks.noise.config import NoiseConfig
from wsss.tasks.noise.supervision import Supervision


class Weighted(Supervision):
    """A supervision that is always given the same weights."""

    def __init__(self, weights, **settings):
        super().__init__(**settings)
        self.weights = weights

    def forward(self, logits, labels, index, step):
        return super().forward(logits, labels, index, step, None, self.weights)


def test_by_hand():
    """The sum of weighted losses over the number of pixels; the cap is on the loss alone."""
    torch.manual_seed(0)
    logits, weights = torch.randn(2, 3, 4, 5), torch.rand(2, 4, 5)
    labels = torch.randint(3, (2, 4, 5))
    labels[0, 0] = 255
    index = torch.arange(2)
    for name in ("cross_entropy", "gce"):
        values = LOSSES[name].pixels(logits, labels, LossOptions())
        found = Supervision(name)(logits, labels, index, 0, None, weights)
        torch.testing.assert_close(found, (values * weights).sum() / 35)
        cap = float(found) + 0.05
        least = values.clamp_max(cap) * weights
        capped = Supervision(name, noise=NoiseConfig(cap=cap))
        assert not torch.equal(least, values * weights)
        torch.testing.assert_close(
            capped(logits, labels, index, 0, None, weights), least.sum() / 35
        )


def test_a_planted_error_of_low_weight_is_not_learned():
    _, clean, noisy = planted()
    certain = (clean == noisy).float()
    assert train(Supervision())[1] < 0.2
    assert train(Weighted(certain.clamp_min(0.05)))[1] > 0.5


@pytest.fixture
def weights(shapes, tmp_path):
    """For each training image, weights that its mask says: 50 times the label."""
    for record in load_records(shapes, "train", with_labels=False):
        values = 50 * read_mask(record.mask)
        Image.fromarray(values).save(tmp_path / f"{record.image_id}.png")
    return tmp_path


def test_they_are_changed_with_the_mask(shapes, weights):
    records = load_records(shapes, "train", with_labels=False)
    augment = AugmentConfig(crop=80, long_side=None, scale=(0.7, 1.3), val_long_side=None)
    images = MaskedImages(
        records,
        [r.mask for r in records],
        LabelMap(list(shapes.classes.values())),
        train_transform(augment, IMAGENET),
        IMAGENET,
        weights=NoiseConfig(weights=weights).weights_of(records),
    )
    plain = MaskedImages(records, images.masks, images.label_map, images.transform, IMAGENET)
    for place in range(4):
        image, labels, index, found = images[place, 7, 0]
        assert index == place
        assert found.dtype == torch.float32
        known = labels != 255
        torch.testing.assert_close(found[known], labels[known] * 50 / 255)
        for one, other in zip(plain[place, 7, 0], (image, labels, index), strict=True):
            assert np.array_equal(one, other), "the weights changed the augmentation"
    assert (labels > 0).any()


def test_missing_weights_and_others_of_another_size_are_named(shapes, weights, tmp_path):
    settings = {
        "data": shapes,
        "masks": shapes.root / shapes.masks,
        "model": SMALL_NET,
        "augment": SMALL,
        "epochs": 1,
        "batch_size": 6,
        "trainer": CPU,
        "noise": NoiseConfig(weights=weights),
    }
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(weights / "train_0003.png")
    with pytest.raises(ValueError, match=r"train_0003\.png is 7 x 5 pixels, but .*train_0003\.png"):
        train_seg(output=tmp_path / "o", **settings)
    (weights / "train_0003.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 masks are missing.*train_0003\.png"):
        train_seg(output=tmp_path / "o", **settings)


def test_none_by_default():
    assert dataclasses.astuple(NoiseConfig()) == (True, None, None, None, None)
    assert not NoiseConfig().needs_labels
