"""YOLO folders: labels that Ultralytics' own converter writes, and those of other tools."""

import importlib.util
import os
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest

from tests.export.drawn import CLASSES, drawn
from tests.pipeline.importing.corrections import NAMES
from wsss.data.masks import read_mask, write_mask
from wsss.data.provenance import read_provenance
from wsss.export.yolo import YOLOConfig, label_path
from wsss.pipeline.export import export
from wsss.pipeline.import_ import import_


def _solid():
    """Corrections without holes: the converter keeps none, nor objects of two points."""
    plain = np.zeros_like(drawn("plain"))
    plain[8:20, 10:25] = 7
    plain[10:39, 30:50] = 3
    wide = np.zeros_like(drawn("中文/图像"))
    cv2.circle(wide, (16, 9), 7, 12, -1)
    empty = drawn("empty").copy()
    empty[3:9, 2:7] = 3
    return {"plain": plain, "中文/图像": wide, "empty": empty}


SOLID = _solid()

BY_ULTRALYTICS = """
import sys
from ultralytics.data.converter import convert_segment_masks_to_yolo_seg
convert_segment_masks_to_yolo_seg(sys.argv[1], sys.argv[2], classes=int(sys.argv[3]))
"""


@pytest.fixture
def folder(drawn_set, tmp_path):
    data, masks = drawn_set
    config = YOLOConfig(images="none")
    export(data, "train", masks, "yolo", tmp_path / "yolo", yolo=config)
    return tmp_path / "yolo"


def numbered(values):
    """Numbers of classes from 1 on, as the converter takes them."""
    found = np.zeros_like(values)
    for number, value in enumerate(CLASSES.values(), start=1):
        found[values == value] = number
    return found


def require_solid(folder):
    origins = read_provenance(folder)
    assert list(origins) == NAMES
    for name, origin in origins.items():
        wanted = SOLID.get(name, drawn(name))
        np.testing.assert_array_equal(read_mask(folder / f"{name}.png"), wanted, name)
        assert origin.changed_pixels == np.count_nonzero(wanted != drawn(name))
        assert origin.state == ("corrected" if name in SOLID else "made"), name


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("ultralytics") is None,
    reason="ultralytics is not installed; make install does so without its dependencies",
)
def test_changed_by_ultralytics(drawn_set, folder, tmp_path):
    """In a process of its own: on import it replaces Pillow's and PyTorch's functions."""
    data, masks = drawn_set
    for number, values in enumerate(SOLID.values()):
        write_mask(tmp_path / "in" / f"{number}.png", numbered(values))
    words = [tmp_path / "in", tmp_path / "out", str(len(CLASSES))]
    subprocess.run(
        [sys.executable, "-c", BY_ULTRALYTICS, *words],
        check=True,
        env={**os.environ, "YOLO_CONFIG_DIR": str(tmp_path), "YOLO_AUTOINSTALL": "false",
             "YOLO_OFFLINE": "true"},
    )  # fmt: skip
    for number, name in enumerate(SOLID):
        text = (tmp_path / "out" / f"{number}.txt").read_text()
        (folder / label_path(f"images/train/{name}.jpg")).write_text(text)
    require_solid(import_(data, "train", "yolo", folder, tmp_path / "back", made=masks))


def by_contours(values):
    """Labels by outer contours, six decimals, as converters write them."""
    lines = []
    height, width = values.shape
    for number, value in enumerate(CLASSES.values()):
        contours, _ = cv2.findContours(
            (values == value).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        for contour in contours:
            points = contour.reshape(-1, 2) / (width, height)
            lines.append(f"{number} " + " ".join(f"{x:.6f}" for x in points.ravel()) + "\n")
    return "".join(lines)


@pytest.mark.parametrize("archived", [False, True])
def test_changed_by_contours(drawn_set, folder, tmp_path, archived):
    data, masks = drawn_set
    for name, values in SOLID.items():
        (folder / label_path(f"images/train/{name}.jpg")).write_text(by_contours(values))
    source = folder
    if archived:
        source = tmp_path / "set.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for path in folder.rglob("*.*"):
                archive.write(path, path.relative_to(folder))
    require_solid(import_(data, "train", "yolo", source, tmp_path / "back", made=masks))


def test_labels_that_a_tool_wrote_anew_with_fewer_decimals_are_no_change(
    drawn_set, folder, tmp_path
):
    data, masks = drawn_set
    for path in (folder / "labels").rglob("*.txt"):
        lines = [line.split() for line in path.read_text().splitlines()]
        path.write_text(
            "".join(
                " ".join([words[0], *(f"{float(word):.6f}" for word in words[1:])]) + "\n"
                for words in lines
            )
        )
    folder = import_(data, "train", "yolo", folder, tmp_path / "back", made=masks)
    assert {origin.state for origin in read_provenance(folder).values()} == {"made"}


def test_images_without_a_file_keep_their_mask_and_those_with_an_empty_one_are_cleared(
    drawn_set, folder, tmp_path
):
    data, masks = drawn_set
    (folder / "labels/train/holes.txt").unlink()
    (folder / "labels/train/plain.txt").write_text("")
    folder = import_(data, "train", "yolo", folder, tmp_path / "back", made=masks)
    np.testing.assert_array_equal(read_mask(folder / "holes.png"), drawn("holes"))
    assert not read_mask(folder / "plain.png").any()
    origins = read_provenance(folder)
    assert origins["holes"].state == "made"
    assert (origins["plain"].state, origins["plain"].changed_pixels) == ("corrected", 850)


def small(tmp_path, names, text, name="plain.txt", file="data.yaml"):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / file).write_text(names)
    (tmp_path / "s" / name).write_text(text)
    return tmp_path / "s"


SQUARE = "0.1 0.1 0.18 0.1 0.18 0.2 0.1 0.2"


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("data.yaml", "names: [traffic_light, dog]"),
        ("data.yaml", "names: {0: traffic_light, 1: dog}"),
        ("classes.txt", "traffic_light\ndog\n"),
    ],
)
def test_the_numbers_of_classes_are_those_of_the_folder(drawn_set, tmp_path, file, names):
    data, _ = drawn_set
    source = small(tmp_path, names, f"1 {SQUARE}\n", file=file)
    folder = import_(data, "val", "yolo", source, tmp_path / "back")
    wanted = np.zeros((40, 50), dtype=np.uint8)
    wanted[4:9, 5:10] = 3  # the contour's own pixels are the object's
    np.testing.assert_array_equal(read_mask(folder / "plain.png"), wanted)


@pytest.mark.parametrize(
    ("names", "text", "words"),
    [
        ("names: [dog]", "0 0.5 0.5 0.1 0.1", r"plain\.txt: line 1: .*this is a box"),
        ("names: [dog]", f"0 {SQUARE}\n\n0 1 2 3", r"line 3: expected the number of a class"),
        ("names: [dog]", f"dog {SQUARE}", "line 1: expected the number"),
        ("names: [dog]", f"0 {SQUARE} nan 0.5", "line 1: expected the number"),
        ("names: [dog]", f"0 {SQUARE} 700 500", "line 1: expected the number"),
        ("names: [dog]", f"1 {SQUARE}", r"plain\.txt: class 1 has no name; there are"),
        ("names: [wolf]", f"0 {SQUARE}", r"plain\.txt: label 'wolf' is no class; expected one of"),
        ("nc: 1", f"0 {SQUARE}", r"data\.yaml: expected names"),
        ("names: [dog", f"0 {SQUARE}", r"data\.yaml: expected names"),
    ],
)
def test_damaged_folders_are_named(drawn_set, tmp_path, names, text, words):
    data, _ = drawn_set
    with pytest.raises(ValueError, match=words):
        import_(data, "val", "yolo", small(tmp_path, names, text), tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_numbers_without_names(drawn_set, tmp_path):
    data, _ = drawn_set
    (tmp_path / "plain.txt").write_text(f"0 {SQUARE}")
    with pytest.raises(ValueError, match=r"expected one of data\.yaml, .* beside the labels"):
        import_(data, "val", "yolo", tmp_path / "plain.txt", tmp_path / "back")
