"""CVAT's XML and archives, with masks of CVAT's own encoder."""

import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.pipeline.importing.corrections import CORRECTED, objects, require_corrected
from wsss.data.masks import read_mask
from wsss.pipeline.export import export
from wsss.pipeline.import_ import import_


@pytest.fixture
def encode_mask():
    masks = pytest.importorskip(
        "cvat_sdk.masks", reason="cvat-sdk is not installed: it needs Python 3.11"
    )
    return masks.encode_mask


def change(path, encode_mask):
    """Replace the shapes of the changed images, as CVAT's dump writes them."""
    tree = ElementTree.parse(path)
    for image in tree.getroot().findall("image"):
        values = CORRECTED.get(image.get("name").rpartition(".")[0])
        if values is None:
            continue
        for shape in list(image):
            image.remove(shape)
        for label, pixels in objects(values):
            *runs, left, top, right, bottom = encode_mask(pixels)
            ElementTree.SubElement(
                image, "mask", label=label, source="manual", occluded="0", z_order="0",
                rle=", ".join(map(str, map(int, runs))), left=str(int(left)), top=str(int(top)),
                width=str(int(right - left + 1)), height=str(int(bottom - top + 1)),
            )  # fmt: skip
    tree.write(path, encoding="utf-8", xml_declaration=True)


@pytest.mark.parametrize("archived", [False, True])
def test_changed_by_the_sdk(drawn_set, tmp_path, encode_mask, archived):
    data, masks = drawn_set
    source = export(data, "train", masks, "cvat", tmp_path / "out")
    change(source, encode_mask)
    if archived:  # as CVAT hands it out
        with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
            archive.write(source, "annotations.xml")
        source = tmp_path / "task.zip"
    folder = import_(data, "train", "cvat", source, tmp_path / "back", made=masks)
    require_corrected(folder)
    text = (folder / "provenance.csv").read_text(encoding="utf-8")
    assert ("task.zip: annotations.xml" in text) == archived


def plain(drawn_set, tmp_path, shapes, size='width="50" height="40"'):
    data, _ = drawn_set
    path = tmp_path / "annotations.xml"
    path.write_text(
        f'<annotations><version>1.1</version><image id="0" name="a/plain.jpg" {size}>{shapes}'
        "</image></annotations>",
        encoding="utf-8",
    )
    return read_mask(import_(data, "train", "cvat", path, tmp_path / "back") / "plain.png")


def test_polygons_boxes_and_layers(drawn_set, tmp_path):
    values = plain(
        drawn_set,
        tmp_path,
        '<box label="traffic_light" z_order="1" xtl="2" ytl="1" xbr="6" ybr="4"/>'
        '<polygon label="dog" z_order="0" points="0.00,0.00;10.00,0.00;10.00,8.00;0.00,8.00"/>'
        '<box label="кошка" xtl="20" ytl="10" xbr="30" ybr="12" rotation="90.0"/>'
        '<points label="dog" points="40,30"/><tag label="wolf"/>',
    )
    wanted = np.zeros((40, 50), dtype=np.uint8)
    wanted[0:8, 0:10] = 3
    wanted[1:4, 2:6] = 7  # of a higher layer, though it comes first
    wanted[6:16, 24:26] = 12  # turned around its middle
    np.testing.assert_array_equal(values, wanted)


def test_ellipses(drawn_set, tmp_path):
    values = plain(
        drawn_set, tmp_path, '<ellipse label="dog" cx="25" cy="20" rx="6" ry="12" rotation="90"/>'
    )
    y, x = np.mgrid[:40, :50] + 0.5
    distance = np.hypot((x - 25) / 12, (y - 20) / 6)
    assert (values[distance < 0.95] == 3).all()
    assert (values[distance > 1.05] == 0).all()


RUNS = '<mask label="dog" rle="{}" left="{}" top="0" width="2" height="2"/>'


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (RUNS.format("0, 5", 0), r"annotations\.xml, image a/plain\.jpg.*add up to 2 x 2 = 4"),
        (RUNS.format("0, 4", 49), "image a/plain.jpg: the box 49, 0, 2 x 2 of a mask is outside"),
        (RUNS.format("x", 0), "<mask> cannot be read"),
        ('<polygon label="dog" points="1,2;3"/>', "<polygon> cannot be read"),
        ('<polygon label="wolf" points="1,2;3,4;5,9"/>', "'wolf' is no class; expected one of dog"),
        ('<spline label="dog"/>', "<spline> is no shape"),
    ],
)
def test_damaged_shapes_are_named(drawn_set, tmp_path, shapes, words):
    with pytest.raises(ValueError, match=words):
        plain(drawn_set, tmp_path, shapes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "not XML"),
        ("<annotation/>", "expected CVAT for images 1.1"),
        ('<annotations><track id="0"/></annotations>', "expected CVAT for images 1.1"),
        ("<annotations/>", "holds no annotations of the format cvat"),
        ('<annotations><image name="x.jpg"/></annotations>', r"image x\.jpg: expected whole"),
    ],
)
def test_other_files_are_refused(drawn_set, tmp_path, text, words):
    data, _ = drawn_set
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(ValueError, match=words):
        import_(data, "train", "cvat", tmp_path / "a.xml", tmp_path / "back")
    assert not (tmp_path / "back").exists()
