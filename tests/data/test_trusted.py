"""Corrected masks of a list: which are used, which are told of, and which are refused."""

import logging

import numpy as np
import pytest

from tests.pipeline.conftest import IDS
from wsss.data import load_records, read_mask, write_mask
from wsss.data.masks import LabelMap
from wsss.data.provenance import Origin, write_provenance
from wsss.data.trusted import Trusted, trusted_masks

LABELS = LabelMap([1, 2, 3, 4, 5])


@pytest.fixture
def records(shapes):
    return load_records(shapes, "train", with_labels=False)


def copied(records, folder, places):
    for place in places:
        write_mask(folder / f"{records[place].image_id}.png", read_mask(records[place].mask))
    return folder


def test_no_folder_has_none(records):
    assert trusted_masks(None, records, LABELS, "train") == Trusted({}, 0)


def test_those_of_the_list(records, tmp_path, caplog):
    copied(records, tmp_path, (4, 2))
    with caplog.at_level(logging.WARNING, logger="wsss"):
        found = trusted_masks(tmp_path, records, LABELS, "train")
    assert list(found.masks.items()) == [(IDS[i], tmp_path / f"{IDS[i]}.png") for i in (2, 4)]
    assert found.elsewhere == 0
    assert not caplog.records


def test_the_provenance_says_which_are_corrected(records, tmp_path):
    copied(records, tmp_path, (1, 2))
    write_provenance(tmp_path, [Origin(IDS[1], "made", "x"), Origin(IDS[2], "corrected", "x", 9)])
    assert set(trusted_masks(tmp_path, records, LABELS, "train").masks) == {IDS[2]}


def test_others_are_named_and_not_used(records, tmp_path, caplog):
    copied(records, tmp_path, (0,))
    for name in ("val_0001", "val_0000"):
        write_mask(tmp_path / f"{name}.png", np.zeros((9, 9), np.uint8))
    with caplog.at_level(logging.WARNING, logger="wsss"):
        found = trusted_masks(tmp_path, records, LABELS, "train")
    assert (list(found.masks), found.elsewhere) == ([IDS[0]], 2)
    assert "2 of 3 corrected masks" in caplog.text
    assert "not in train, for example val_0000" in caplog.text


def test_a_folder_of_another_list_is_refused(records, tmp_path):
    write_mask(tmp_path / "other.png", np.zeros((9, 9), np.uint8))
    with pytest.raises(
        ValueError,
        match=r"trusted: none of the 1 corrected masks .* list train, for example other\.png; "
        r"expected names such as train_0000\.png",
    ):
        trusted_masks(tmp_path, records, LABELS, "train")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((20, 30), np.uint8), r"train_0003\.png is 30 x 20 pixels, but .*train_0003\.jpg"),
        (np.full((72, 72), 9, np.uint8), r"train_0003\.png: value 9 belongs to no class"),
    ],
)
def test_a_mask_of_another_image_or_set_is_refused(records, tmp_path, values, message):
    write_mask(copied(records, tmp_path, (1, 2)) / f"{IDS[3]}.png", values)
    with pytest.raises(ValueError, match=message):
        trusted_masks(tmp_path, records, LABELS, "train")


def test_the_digest_is_of_the_contents(records, tmp_path):
    first = trusted_masks(copied(records, tmp_path / "a", (1, 2)), records, LABELS, "train")
    again = trusted_masks(copied(records, tmp_path / "b", (2, 1)), records, LABELS, "train")
    assert first.sha256() == again.sha256()
    swapped = copied(records, tmp_path / "c", (1, 2))
    (swapped / f"{IDS[1]}.png").rename(swapped / "x")
    (swapped / f"{IDS[2]}.png").rename(swapped / f"{IDS[1]}.png")
    (swapped / "x").rename(swapped / f"{IDS[2]}.png")
    found = {one: swapped / f"{one}.png" for one in IDS[1:3]}
    assert Trusted(found).sha256() != first.sha256()
