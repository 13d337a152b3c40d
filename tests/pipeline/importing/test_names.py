"""Photographs found by the names that tools give them."""

from pathlib import Path

import pytest

from wsss.export.regions import Picture
from wsss.pipeline.exporting.source import Photograph
from wsss.pipeline.importing.names import Names


def photographs(*names):
    """Photographs of these files; of those that differ in their suffix alone it is in the id."""
    bare = [name.rpartition(".")[0] for name in names]
    ids = [name if bare.count(stem) > 1 else stem for name, stem in zip(names, bare)]
    return [
        Photograph(one, Path("images") / name, Picture(name, 4, 5)) for one, name in zip(ids, names)
    ]


NAMES = Names(
    photographs("a.jpg", "in/a.jpg", "in/b.jpg", "x.jpg", "x.png", "ü (1).jpg", "d.o.t.jpg",
                "m/c.jpg", "n/c.jpg")
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.jpg", "a"),
        ("a.png", "a"),
        ("a", "a"),
        ("JPEGImages/a.jpg", "a"),
        ("in/a.jpg", "in/a"),
        ("data/in/a.jpg", "in/a"),
        ("D:\\data\\in\\b.jpg", "in/b"),
        ("b.jpg", "in/b"),  # the folder is left out
        ("x.jpg", "x.jpg"),
        ("images/x.png", "x.png"),
        ("x", None),
        ("u\u0308 (1).jpg", "ü (1)"),  # as macOS writes it
        ("d.o.t.txt", None),
        ("d.o.t", "d.o.t"),
        ("0123abcd-a.jpg", "a"),  # Label Studio
        ("up/0123abcd-b.jpg", None),
        ("in/0123abcd-b.jpg", "in/b"),
        ("a_jpg.rf.9f8e7d6c.jpg", "a"),  # Roboflow
        ("other/c.jpg", None),
        ("", None),
    ],
)
def test_found(name, found):
    photograph = NAMES.find(name, "file")
    assert (None if photograph is None else photograph.image_id) == found


def test_one_of_several_is_refused():
    with pytest.raises(ValueError, match=r"file: c\.jpg may be any of m/c, n/c; keep the folders"):
        NAMES.find("c.jpg", "file")


def test_a_name_that_is_there_as_it_stands_is_not_taken_for_a_renamed_one():
    names = Names(photographs("0123abcd-a.jpg", "a.jpg"))
    found = names.find("0123abcd-a.jpg", "file")
    assert found is not None
    assert found.image_id == "0123abcd-a"
