"""Masks that Pillow, an editor of pictures, or CVAT has written as PNG."""

import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.export.drawn import drawn
from tests.pipeline.importing.corrections import CORRECTED, NAMES, require_corrected
from wsss.data.masks import read_mask, voc_palette, write_mask
from wsss.data.provenance import read_provenance
from wsss.ignore import IGNORE
from wsss.pipeline.import_ import import_


def values(image, name):
    """Values as they are, as grey."""
    return Image.fromarray(np.asarray(image))


def colours(image, name):
    """The palette's colours."""
    return image.convert("RGB")


def renumbered(image, name):
    """Indexed by the colours that occur, in another order, as editors write them."""
    there = np.unique(image)[::-1]
    numbers = np.zeros(256, dtype=np.uint8)
    numbers[there] = np.arange(len(there))
    other = Image.fromarray(numbers[np.asarray(image)])
    other.putpalette(voc_palette()[there].tobytes())
    return other


@pytest.mark.parametrize("form", [None, values, colours, renumbered])
def test_changed_by_pillow(drawn_set, tmp_path, form):
    data, masks = drawn_set
    edited = tmp_path / "edited"
    shutil.copytree(masks, edited)
    for name, wanted in CORRECTED.items():
        with Image.open(masks / f"{name}.png") as image:
            changed = image.copy()
        assert changed.mode == "P"
        for y, x in np.argwhere(wanted != drawn(name)):
            ImageDraw.Draw(changed).point((x, y), fill=int(wanted[y, x]))
        changed = changed if form is None else form(changed, name)
        changed.save(edited / f"{name}.png")
    require_corrected(import_(data, "train", "png", edited, tmp_path / "back", made=masks))


def cvat_archive(path, masks, labels):
    """As CVAT writes "Segmentation mask 1.1": colours of classes, and of objects."""
    with zipfile.ZipFile(path, "w") as archive:
        lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
        lines += [f"{name}:{','.join(map(str, colour))}::" for name, colour in labels.items()]
        archive.writestr("labelmap.txt", "\n".join(lines))
        archive.writestr("ImageSets/Segmentation/default.txt", "\n".join(masks))
        for name, image in masks.items():
            for folder in ("SegmentationClass", "SegmentationObject"):
                with archive.open(f"{folder}/{name}.png", "w") as file:
                    image.save(file, format="PNG")


LABELS = {"dog": (10, 20, 30), "traffic_light": (40, 50, 60), "кошка": (7, 8, 9)}
BY_VALUE = {0: (0, 0, 0), IGNORE: (0, 0, 0), 3: (10, 20, 30), 7: (40, 50, 60), 12: (7, 8, 9)}


def in_cvat_colours(mask):
    palette = np.zeros((256, 3), dtype=np.uint8)
    for value, colour in BY_VALUE.items():
        palette[value] = colour
    return Image.fromarray(palette[mask])


def test_segmentation_masks_of_cvat(drawn_set, tmp_path):
    """They know no 255: where it was, and nobody changed anything, it still is."""
    data, masks = drawn_set
    pictures = {
        name: in_cvat_colours(CORRECTED.get(name, drawn(name)))
        for name in NAMES
        if name != "every class"
    }
    cvat_archive(tmp_path / "task.zip", pictures, LABELS)
    folder = import_(data, "train", "png", tmp_path / "task.zip", tmp_path / "back", made=masks)
    require_corrected(folder)


def test_labels_of_cvat_that_are_no_classes(drawn_set, tmp_path):
    data, _ = drawn_set
    pictures = {"plain": in_cvat_colours(drawn("plain"))}
    cvat_archive(tmp_path / "task.zip", pictures, {"wolf": (10, 20, 30)})
    with pytest.raises(ValueError, match=r"SegmentationClass/plain\.png: label 'wolf' is no class"):
        import_(data, "val", "png", tmp_path / "task.zip", tmp_path / "back")


def test_colours_that_are_given(drawn_set, tmp_path):
    data, _ = drawn_set
    few = type(data)(root=data.root, classes={"dog": 3, "traffic_light": 7})
    given = {"dog": [9, 9, 9], "traffic_light": [40, 50, 60], "background": [255, 255, 255]}
    picture = np.full((40, 50, 3), 255, dtype=np.uint8)
    picture[2:4, 5:9] = 9
    (tmp_path / "in").mkdir()
    Image.fromarray(picture).save(tmp_path / "in/plain.png")
    folder = import_(few, "val", "png", tmp_path / "in", tmp_path / "back", colours=given)
    wanted = np.zeros((40, 50), dtype=np.uint8)
    wanted[2:4, 5:9] = 3
    np.testing.assert_array_equal(read_mask(folder / "plain.png"), wanted)
    assert read_provenance(folder)["plain"].changed_pixels is None


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.new("L", (50, 40), 201), r"plain\.png.*value 201 belongs to no class"),
        (Image.new("RGB", (50, 40), (1, 2, 3)), r"2000 pixels of the colour \(1, 2, 3\)"),
        (Image.new("RGBA", (50, 40), (0, 0, 0, 9)), "transparent pixels"),
        (Image.new("I;16", (50, 40), 999), r"expected values in 0..255, got 999..999"),
        (Image.new("L", (40, 50)), r"plain\.png is 40 x 50 pixels, but .* is 50 x 40"),
    ],
)
def test_what_is_no_mask_is_named(drawn_set, tmp_path, image, words):
    data, masks = drawn_set
    (tmp_path / "in").mkdir()
    image.save(tmp_path / "in/plain.png")
    with pytest.raises(ValueError, match=words):
        import_(data, "val", "png", tmp_path / "in", tmp_path / "back", made=masks)
    assert not (tmp_path / "back").exists()


def test_damaged_files_are_named(drawn_set, tmp_path):
    data, _ = drawn_set
    (tmp_path / "in").mkdir()
    (tmp_path / "in/plain.png").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"plain\.png: cannot decode mask"):
        import_(data, "val", "png", tmp_path / "in", tmp_path / "back")
    write_mask(tmp_path / "in/plain.png", drawn("plain"))
    (tmp_path / "in/labelmap.txt").write_text("dog=3")
    with pytest.raises(ValueError, match=r"labelmap\.txt, line 1: expected name:red,green,blue"):
        import_(data, "val", "png", tmp_path / "in", tmp_path / "back")
