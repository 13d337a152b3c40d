"""provenance.csv: written, read, and which masks it says a person corrected."""

import numpy as np
import pytest

from wsss.data.masks import write_mask
from wsss.data.provenance import Origin, corrected_masks, read_provenance, write_provenance

ORIGINS = [
    Origin("a", "made", "masks.json"),
    Origin('in/b, "2"', "corrected", "task 7.json", 12),
    Origin("ü", "corrected", "x", 0),
]


def test_comes_back(tmp_path):
    write_provenance(tmp_path, ORIGINS)
    assert read_provenance(tmp_path) == {one.image: one for one in ORIGINS}
    assert list(read_provenance(tmp_path)) == [one.image for one in ORIGINS]


def test_none_without_a_table(tmp_path):
    assert read_provenance(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,state\n", "missing"),
        ("image,state,file,changed_pixels\na,seen,x,\n", "line 2: state"),
        ("image,state,file,changed_pixels\na,made,x,many\n", "line 2: changed_pixels"),
        ("image,state,file,changed_pixels\na,made,x,\na,made,x,\n", "line 3: the image a"),
    ],
)
def test_wrong_tables_are_named(tmp_path, text, words):
    (tmp_path / "provenance.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_provenance(tmp_path)


def test_corrected_masks(tmp_path):
    for name in ("a", "in/b", "c"):
        write_mask(tmp_path / f"{name}.png", np.zeros((4, 4), np.uint8))
    assert set(corrected_masks(tmp_path)) == {"a", "in/b", "c"}
    write_provenance(tmp_path, [Origin("a", "made", "x"), Origin("in/b", "corrected", "x")])
    assert corrected_masks(tmp_path) == {"in/b": tmp_path / "in/b.png"}
    write_provenance(tmp_path, [Origin("gone", "corrected", "x")])
    with pytest.raises(FileNotFoundError, match="1 of 1 corrected"):
        corrected_masks(tmp_path)
    write_provenance(tmp_path, [Origin("a", "made", "x")])
    with pytest.raises(ValueError, match="no mask is corrected"):
        corrected_masks(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        corrected_masks(tmp_path / "none")
