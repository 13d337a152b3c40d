"""Label Studio's tasks, read by its own decoder and by one written from its description."""

import json
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.export.drawn import CLASSES, MASKS, drawn, require_equal, united
from wsss.export.label_studio import LabelStudioConfig, brush_mask, brush_rle
from wsss.pipeline.export import export


def decode(packed: list[int]) -> np.ndarray:
    """Values of a stream of @thi.ng/rle-pack, after ``decode`` in its README and source."""
    bits = "".join(f"{byte:08b}" for byte in packed)
    place = 0

    def read(count: int) -> int:
        nonlocal place
        place += count
        assert place <= len(bits)
        return int(bits[place - count : place], 2)

    total, word = read(32), read(5) + 1
    counters = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        repeated = read(1)
        count = read(counters[read(2)]) + 1
        values += [read(word)] * count if repeated else [read(word) for _ in range(count)]
    assert len(values) == total
    assert len(bits) - place < 8
    return np.array(values, dtype=np.uint8)


def own_decoder(packed: list[int]) -> np.ndarray:
    brush = pytest.importorskip(
        "label_studio_sdk.converter.brush",
        reason="label-studio-sdk is not installed: its dependencies are many",
    )
    return brush.decode_rle(packed)


@pytest.fixture(scope="module")
def exported(drawn_set, tmp_path_factory):
    data, masks = drawn_set
    output = tmp_path_factory.mktemp("label_studio")
    path = export(data, "train", masks, "label_studio", output)
    tasks = json.loads(path.read_text(encoding="utf-8"))
    return tasks, ElementTree.parse(output / "label_studio.xml").getroot()


@pytest.mark.parametrize("decoder", [decode, own_decoder])
def test_the_same_pixels_of_every_class(exported, decoder):
    tasks, _ = exported
    assert len(tasks) == len(MASKS) + 1
    for task in tasks:
        name = unquote(task["data"]["image"]).removeprefix("/data/local-files/?d=JPEGImages/")
        name = name.removesuffix(".jpg")
        [prediction] = task["predictions"]
        found = []
        for result in prediction["result"]:
            height, width = result["original_height"], result["original_width"]
            assert (height, width) == drawn(name).shape
            rgba = decoder(result["value"]["rle"]).reshape(height, width, 4)
            assert set(np.unique(rgba)) <= {0, 255}
            [label] = result["value"]["brushlabels"]
            found.append((label, rgba[..., 3] > 0))
        require_equal(united(found), name)


def test_results_belong_to_the_labelling_configuration(exported):
    tasks, view = exported
    brush, image = view.find("BrushLabels"), view.find("Image")
    assert [label.get("value") for label in brush] == list(CLASSES)
    assert image.get("value") == "$image"
    results = [r for task in tasks for r in task["predictions"][0]["result"]]
    assert {r["from_name"] for r in results} == {brush.get("name")}
    assert {r["to_name"] for r in results} == {brush.get("toName")} == {image.get("name")}
    assert {r["type"] for r in results} == {"brushlabels"}
    for task in tasks:
        ids = [r["id"] for r in task["predictions"][0]["result"]]
        assert len(set(ids)) == len(ids)


def test_a_prefix_takes_the_place_of_local_files(drawn_set, tmp_path):
    data, masks = drawn_set
    path = export(
        data,
        "train",
        masks,
        "label_studio",
        tmp_path,
        label_studio=LabelStudioConfig(prefix="https://host/a/"),
    )
    images = [task["data"]["image"] for task in json.loads(path.read_text(encoding="utf-8"))]
    assert images[0] == "https://host/a/plain.jpg"
    assert "https://host/a/nested/rings%20of%20discs.jpg" in images
    assert "https://host/a/a%26b%20%3Cc%3E%20%22d%22.jpg" in images


@settings(max_examples=100, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30))))
def test_run_lengths_of_any_mask(mask):
    rgba = decode(brush_rle(mask)).reshape(*mask.shape, 4)
    np.testing.assert_array_equal(rgba, np.repeat(mask[..., None] * 255, 4, axis=2))


@pytest.mark.parametrize("pixels", [2**14 - 1, 2**14, 2**14 + 1, 3 * 2**14, 50_000])
def test_runs_longer_than_the_longest_counter(pixels):
    mask = np.ones((1, pixels + 7), dtype=bool)
    mask[0, -7:] = False
    np.testing.assert_array_equal(decode(brush_rle(mask)), np.repeat(mask[0] * 255, 4))


@settings(max_examples=100, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30))))
def test_masks_come_back(mask):
    np.testing.assert_array_equal(brush_mask(brush_rle(mask), *mask.shape), mask)


@settings(max_examples=50, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(4))))
def test_brushes_of_the_sdk_are_read(rgba):
    """Its encoder writes single values one by one; what is half transparent was painted."""
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    read = brush_mask(brush.encode_rle(rgba.ravel()), *rgba.shape[:2])
    np.testing.assert_array_equal(read, rgba[..., 3] > 0)


def test_values_one_by_one_are_read():
    """As rle-pack writes what does not repeat: a bit 0, the counter, the count less 1, values."""
    head = f"{8:032b}" + f"{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    values = [9, 8, 7, 0, 6, 5, 4, 3]
    bits = head + "0" + "01" + f"{7:04b}" + "".join(f"{value:08b}" for value in values)
    bits += "0" * (-len(bits) % 8)
    packed = [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]
    assert decode(packed).tolist() == values
    assert brush_mask(packed, 1, 2).tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rle: rle[:-4], "ends within a run"),
        (lambda rle: rle[:3], "expected run lengths of 5 x 6 x 4 bytes"),
        (lambda rle: [9, *rle[1:]], "expected run lengths of 5 x 6 x 4 bytes"),
        (lambda rle: [300], "expected a list of bytes"),
        (lambda rle: ["a"], "expected a list of bytes"),
    ],
)
def test_damaged_brushes(change, words):
    with pytest.raises(ValueError, match=words):
        brush_mask(change(brush_rle(np.eye(5, 6))), 5, 6)
