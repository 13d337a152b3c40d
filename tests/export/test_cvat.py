"""CVAT's files, read by CVAT's and Datumaro's code and by a decoder written from its manual."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.export.drawn import CLASSES, MASKS, drawn, require_equal, united
from wsss.export.cvat import mask_of_runs, run_lengths
from wsss.pipeline.export import export


def described(runs: list[int], box: tuple[int, int, int, int], shape: tuple[int, int]):
    """docs.cvat.ai, "Run-length encoding": runs, the first one outside, row by row of the box."""
    left, top, width, height = box
    inside, pixels = False, []
    for length in runs:
        pixels += [inside] * length
        inside = not inside
    mask = np.zeros(shape, dtype=bool)
    mask[top : top + height, left : left + width] = np.reshape(pixels, (height, width))
    return mask


def cvat_masks():
    return pytest.importorskip(
        "cvat_sdk.masks", reason="cvat-sdk is not installed: it needs Python 3.11"
    )


def by_sdk(runs: list[int], box: tuple[int, int, int, int], shape: tuple[int, int]):
    """CVAT's own decoder; its XML reader puts the box behind the runs, as last row and column."""
    masks = cvat_masks()
    left, top, width, height = box
    points = [*runs, left, top, left + width - 1, top + height - 1]
    return masks.decode_mask(points, image_width=shape[1], image_height=shape[0])


@pytest.fixture(scope="module")
def exported(drawn_set, tmp_path_factory):
    data, masks = drawn_set
    return export(data, "train", masks, "cvat", tmp_path_factory.mktemp("cvat"))


@pytest.mark.parametrize("decoder", [described, by_sdk])
def test_the_same_pixels_of_every_class(exported, decoder):
    images = ElementTree.parse(exported).getroot().findall("image")
    assert [int(image.get("id")) for image in images] == list(range(len(MASKS) + 1))
    for image in images:
        name = image.get("name").removesuffix(".jpg")
        shape = (int(image.get("height")), int(image.get("width")))
        assert shape == drawn(name).shape
        found = []
        for mask in image.findall("mask"):
            runs = [int(number) for number in mask.get("rle").split(",")]
            box = tuple(int(mask.get(key)) for key in ("left", "top", "width", "height"))
            found.append((mask.get("label"), decoder(runs, box, shape)))
        require_equal(united(found), name)


def test_datumaro_reads_the_same_pixels(exported, drawn_set, tmp_path):
    """Its importer wants the photographs beside the file, in ``images``."""
    datumaro = pytest.importorskip(
        "datumaro", reason="datumaro is not installed: it needs an OpenCV below 5"
    )
    data, _ = drawn_set
    (tmp_path / "images").symlink_to(data.at(data.images))
    (tmp_path / "train.xml").write_bytes(exported.read_bytes())
    dataset = datumaro.Dataset.import_from(str(tmp_path), "cvat")
    labels = dataset.categories()[datumaro.AnnotationType.label]
    assert len(dataset) == len(MASKS) + 1
    for item in dataset:
        found = [(labels[a.label].name, np.asarray(a.image) > 0) for a in item.annotations]
        require_equal(united(found), item.id)


def test_labels_are_declared(exported):
    labels = ElementTree.parse(exported).getroot().findall("meta/task/labels/label")
    assert [label.findtext("name") for label in labels] == list(CLASSES)
    assert {label.findtext("type") for label in labels} == {"mask"}
    raw = json.loads((exported.parent / "cvat_labels.json").read_text(encoding="utf-8"))
    assert [label["name"] for label in raw] == list(CLASSES)
    assert raw[0]["color"] == labels[0].findtext("color") == "#808000"


@settings(max_examples=100, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_run_lengths_are_those_of_the_sdk(mask):
    masks = cvat_masks()
    height, width = mask.shape
    *runs, _, _, _, _ = masks.encode_mask(mask, [0, 0, width, height])
    assert run_lengths(mask) == runs


@settings(max_examples=100, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_runs_of_the_sdk_are_read(mask):
    height, width = mask.shape
    *runs, _, _, _, _ = cvat_masks().encode_mask(mask, [0, 0, width, height])
    np.testing.assert_array_equal(mask_of_runs(runs, height, width), mask)


@pytest.mark.parametrize("runs", [[3], [-1, 5], [0, 2, 3], []])
def test_runs_of_another_number_of_pixels(runs):
    with pytest.raises(ValueError, match="add up to 2 x 2 = 4 pixels"):
        mask_of_runs(runs, 2, 2)
