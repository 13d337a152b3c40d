"""Predictions for training images hold only the classes that the images have."""

from pathlib import Path

import numpy as np
import pytest
import torch

from wsss.data.records import Record, load_records
from wsss.tasks.noise.config import NoiseConfig
from wsss.tasks.noise.ema import EMAConfig
from wsss.tasks.noise.image_labels import only_present, present_labels
from wsss.tasks.noise.supervision import Supervision


def test_labels_of_the_records_with_the_background_first(shapes):
    records = load_records(shapes, "train", with_labels=True)
    found = present_labels(records)
    assert found.dtype == torch.bool
    assert found.shape == (12, 6)
    assert found[:, 0].all()
    assert found[:, 1:].tolist() == [(r.labels > 0).tolist() for r in records]
    assert 0 < found[:, 1:].sum() < 60, "all alike; the test is empty"


def test_the_others_get_probability_0_and_the_rest_shares_it():
    logits = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    present = torch.tensor([[True, False, True, False], [True, False, False, False]])
    found = only_present(logits, present).softmax(dim=1)
    odds = logits.exp() * present[:, :, None, None]
    torch.testing.assert_close(found, odds / odds.sum(dim=1, keepdim=True))
    assert torch.equal(found[1, 0], torch.ones(3, 5, dtype=torch.float64))


def test_a_record_without_labels_is_named():
    record = Record("a 1", Path("a.jpg"), Path("a.png"), None)
    with pytest.raises(ValueError, match=r"image 'a 1' has no labels; set noise\.image_labels"):
        present_labels([record])


def test_the_target_is_filtered_by_the_labels_of_the_image_itself():
    """A teacher that is sure of label 2: only the image that has it is told so."""
    labels = ([1.0, 0.0], [0.0, 1.0])
    records = [Record(str(i), Path(), Path(), np.float32(row)) for i, row in enumerate(labels)]
    taught = torch.zeros(1, 3, 2, 2)
    taught[:, 2], taught[:, 1] = 9.0, 5.0
    told = []
    for filtered in (True, False):
        noise = NoiseConfig(image_labels=filtered, ema=EMAConfig(weight=1.0, confidence=0.0))
        supervision = Supervision(noise=noise, images=records)
        for place in (0, 1):
            logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
            ignored = torch.full((1, 2, 2), 255)
            supervision(logits, ignored, torch.tensor([place]), 0, taught).backward()
            told.append(int(logits.grad.sum(dim=(0, 2, 3)).argmin()))
    assert told == [1, 2, 2, 2]
