"""YOLO folders read by Ultralytics' own code, and by the same steps written anew."""

import importlib.util
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.export.drawn import CLASSES, MASKS, drawn, require_equal
from wsss.export.regions import Picture, find_regions
from wsss.export.yolo import label_path, read_yolo_lines, yolo_lines
from wsss.pipeline.export import export

NAMES = [*MASKS, "turned"]


@pytest.fixture(scope="module")
def folder(drawn_set, tmp_path_factory):
    data, masks = drawn_set
    output = tmp_path_factory.mktemp("yolo") / "set"
    export(data, "train", masks, "yolo", output)
    export(data, "val", masks, "yolo", output)
    return output


def parsed(text: str) -> list[tuple[str, np.ndarray]]:
    """Class and (N, 2) float32 normalised points of each line."""
    lines = [line.split() for line in text.splitlines()]
    assert all(len(line) >= 1 + 2 * 3 for line in lines)
    assert all(0 <= float(number) <= 1 for line in lines for number in line[1:])
    names = list(CLASSES)
    return [
        (names[int(line[0])], np.array(line[1:], dtype=np.float32).reshape(-1, 2)) for line in lines
    ]


def with_points_between(points: np.ndarray, count: int) -> np.ndarray:
    """Points at equal distances along the closed polygon's corners, and the corners."""
    closed = np.concatenate([points, points[:1]])
    places = np.unique(np.append(np.linspace(0, len(points), count), np.arange(len(closed))))
    lines = [np.interp(places, np.arange(len(closed)), closed[:, axis]) for axis in (0, 1)]
    return np.stack(lines, axis=1).astype(np.float32)


def filled(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    height, width = shape
    canvas = np.zeros(shape, dtype=np.uint8)
    whole = (points * np.array([width, height], dtype=np.float32)).astype(np.int32)
    cv2.fillPoly(canvas, [whole], 1)
    return canvas > 0


def by_class(found: list[tuple[str, np.ndarray]], shape: tuple[int, int]) -> dict[str, np.ndarray]:
    masks: dict[str, np.ndarray] = {}
    for name, pixels in found:
        masks[name] = masks.get(name, np.zeros(shape, dtype=bool)) | pixels
    return masks


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [0, 997])
def test_the_same_pixels_of_every_class(folder, name, count):
    path = folder / label_path(f"images/train/{name}.jpg")
    shape = drawn(name).shape
    found = [
        (category, filled(with_points_between(points, count), shape))
        for category, points in parsed(path.read_text(encoding="utf-8"))
    ]
    require_equal(by_class(found, shape), name)


BY_ULTRALYTICS = """
import sys
from pathlib import Path
import numpy as np
from ultralytics.data.utils import (
    check_det_dataset, img2label_paths, polygon2mask, verify_image_label
)
from ultralytics.utils.ops import resample_segments

folder, out = map(Path, sys.argv[1:])
data = check_det_dataset(str(folder / "data.yaml"), autodownload=False)
images = Path(data["train"])
assert images == folder / "images/train"
arrays = {}
for image in images.rglob("*.jpg"):
    [labels] = img2label_paths([str(image)])
    _, rows, shape, segments, _, missing, _, _, corrupt, message = verify_image_label(
        (str(image), labels, "", False, len(data["names"]), 0, 0, False)
    )
    assert (missing, corrupt, message) == (0, 0, ""), message
    count = max([1000, *(len(s) + 1 for s in segments)])
    masks = np.zeros((len(data["names"]), *shape), dtype=bool)
    for row, segment in zip(rows, resample_segments(segments, n=count), strict=True):
        pixels = segment * np.array(shape[::-1], dtype=np.float32)
        masks[int(row[0])] |= polygon2mask(shape, [pixels.reshape(-1)]) > 0
    arrays[image.relative_to(images).as_posix()] = masks
np.savez(out, names=list(data["names"].values()), **arrays)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("ultralytics") is None,
    reason="ultralytics is not installed; make install does so without its dependencies",
)
def test_ultralytics_reads_the_same_pixels(folder, tmp_path):
    """In a process of its own: on import it replaces Pillow's and PyTorch's functions."""
    out = tmp_path / "read.npz"
    subprocess.run(
        [sys.executable, "-c", BY_ULTRALYTICS, folder, out],
        check=True,
        env={
            **os.environ,
            "YOLO_CONFIG_DIR": str(tmp_path),
            "YOLO_AUTOINSTALL": "false",
            "YOLO_OFFLINE": "true",
        },
    )
    with np.load(out) as read:
        assert read["names"].tolist() == list(CLASSES)
        assert len(read.files) == len(NAMES) + 1
        for name in NAMES:
            masks = zip(CLASSES, read[f"{name}.jpg"], strict=True)
            require_equal({category: mask for category, mask in masks if mask.any()}, name)


@settings(max_examples=100, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_lines_come_back_to_the_pixels(mask):
    """But for what two pixels that touch at a corner only may give to a third."""
    values = mask.astype(np.uint8) * 3
    regions = find_regions(values, CLASSES, instances="components", min_area=1)
    text = yolo_lines(regions, Picture("x.jpg", *mask.shape), list(CLASSES))
    lines = read_yolo_lines(text)
    assert [line.number for line in lines] == [0] * len(regions)
    read = np.zeros(mask.shape, dtype=bool)
    for line in lines:
        read |= line.pixels(mask.shape)
    by_format = np.zeros(mask.shape, dtype=bool)
    for _, points in parsed(text):
        by_format |= filled(points, mask.shape)
    np.testing.assert_array_equal(read, by_format)
    np.testing.assert_array_equal(read, mask)


def test_whole_coordinates_survive_six_decimals():
    points = [f"{x / 30:.6f} {y / 7:.6f}" for x, y in ((1, 1), (29, 1), (29, 5), (1, 5))]
    [line] = read_yolo_lines("0 " + " ".join(points))
    wanted = np.zeros((7, 30), dtype=bool)
    wanted[1:6, 1:30] = True
    np.testing.assert_array_equal(line.pixels((7, 30)), wanted)


def test_an_image_without_objects_has_an_empty_file(folder):
    assert (folder / "labels/train/empty.txt").read_text(encoding="utf-8") == ""
    assert (folder / "labels/train/all 255.txt").read_text(encoding="utf-8") == ""


def test_holes_stay_open_in_one_line(folder):
    lines = (folder / "labels/train/nested/deeper/dots.in.its.name.txt").read_text("utf-8")
    [(name, points)] = parsed(lines)
    assert name == "dog"
    assert not filled(points, (31, 29))[1:-1, 1:-1].any()


def test_boxes_are_those_of_the_pixels():
    """Ultralytics makes boxes of the polygons' extremes; a single pixel has one too."""
    values = np.zeros((20, 10), dtype=np.uint8)
    values[4, 7] = 3
    picture = Picture("x.jpg", 20, 10)
    [region] = find_regions(values, CLASSES, instances="components", min_area=1)
    [(_, points)] = parsed(yolo_lines([region], picture, list(CLASSES)))
    low, high = points.min(axis=0) * (10, 20), points.max(axis=0) * (10, 20)
    np.testing.assert_allclose([*low, *high], [7, 4, 8, 5], atol=0.06)


@pytest.mark.parametrize("width", [640, 4_000, 30_000])
def test_decimals_are_enough_for_wide_images(width):
    random = np.random.default_rng(0)
    values = np.where(random.random((12, width)) < 0.5, 3, 0).astype(np.uint8)
    values[:, :-40] = 0
    regions = find_regions(values, CLASSES, instances="components", min_area=1)
    text = yolo_lines(regions, Picture("x.jpg", 12, width), list(CLASSES))
    found = [(name, filled(points, values.shape)) for name, points in parsed(text)]
    np.testing.assert_array_equal(by_class(found, values.shape)["dog"], values == 3)


def test_data_yaml_names_both_lists_and_no_place_on_this_disk(folder):
    data = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))
    assert data == {
        "train": "images/train",
        "val": "images/val",
        "names": dict(enumerate(CLASSES)),
    }
    assert sorted(path.name for path in (folder / "labels/val").iterdir()) == [
        "holes.txt",
        "plain.txt",
    ]


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("images/train/b/c.d.png", "labels/train/b/c.d.txt"),
        ("images/train/images/e.jpg", "images/train/labels/e.txt"),
    ],
)
def test_label_paths_are_those_of_ultralytics(image, labels):
    assert label_path(image) == labels
