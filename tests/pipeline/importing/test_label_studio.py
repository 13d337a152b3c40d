"""Label Studio's JSON, with brushes of its own encoder."""

import json

import numpy as np
import pytest

from tests.export.drawn import drawn
from tests.pipeline.importing.corrections import CORRECTED, NAMES, objects, require_corrected
from wsss.data.masks import read_mask
from wsss.data.provenance import read_provenance
from wsss.export.label_studio import brush_rle
from wsss.pipeline.export import export
from wsss.pipeline.import_ import import_


@pytest.fixture
def brush():
    return pytest.importorskip(
        "label_studio_sdk.converter.brush",
        reason="label-studio-sdk is not installed: its dependencies are many",
    )


@pytest.fixture
def exported(drawn_set, tmp_path):
    data, masks = drawn_set
    path = export(data, "train", masks, "label_studio", tmp_path / "out")
    return path, json.loads(path.read_text(encoding="utf-8"))


def written(path, tasks):
    path.write_text(json.dumps(tasks), encoding="utf-8")
    return path


def region(label, pixels, rle):
    height, width = pixels.shape
    return {
        "id": label, "type": "brushlabels", "from_name": "tag", "to_name": "image",
        "image_rotation": 0, "original_width": width, "original_height": height,
        "value": {"format": "rle", "rle": rle, "brushlabels": [label]},
    }  # fmt: skip


def by_sdk(brush, values):
    """Regions with run lengths of Label Studio's own encoder."""
    return [
        region(label, pixels, brush.mask2rle(pixels.astype(np.uint8) * 255))
        for label, pixels in objects(values)
    ]


def changed(tasks, brush):
    for name, task in zip(NAMES, tasks, strict=True):
        if name in CORRECTED:
            task["annotations"] = [{"id": 1, "result": by_sdk(brush, CORRECTED[name])}]
    return tasks


def test_changed_by_the_sdk(drawn_set, tmp_path, exported, brush):
    data, masks = drawn_set
    path, tasks = exported
    written(path, changed(tasks, brush))
    folder = import_(data, "train", "label_studio", path, tmp_path / "back", made=masks)
    require_corrected(folder)


def test_who_hands_in_an_unchanged_mask_confirms_it(drawn_set, tmp_path, exported, brush):
    data, masks = drawn_set
    path, tasks = exported
    changed(tasks, brush)
    for name, task in zip(NAMES, tasks, strict=True):
        if name == "holes":
            task["annotations"] = [{"id": 2, "result": task["predictions"][0]["result"]}]
    folder = import_(
        data, "train", "label_studio", written(path, tasks), tmp_path / "back", made=masks
    )
    require_corrected(folder, confirmed=("holes",))


def test_json_min(drawn_set, tmp_path, exported, brush):
    """A record an annotation: the data's keys, and lists of values by the tags' names."""
    data, masks = drawn_set
    path, tasks = exported
    records = []
    for number, (name, task) in enumerate(zip(NAMES, tasks, strict=True)):
        if name in CORRECTED:
            values = [
                {**r["value"], "original_width": r["original_width"],
                 "original_height": r["original_height"]}
                for r in by_sdk(brush, CORRECTED[name])
            ]  # fmt: skip
            tag = {"tag": values} if values else {}
            records.append(
                {**task["data"], "id": number, **tag, "annotator": 1, "annotation_id": 2}
            )
    written(path, records)
    folder = import_(data, "train", "label_studio", path, tmp_path / "back", made=masks)
    require_corrected(folder)


def test_json_min_of_several_annotations_and_of_none(drawn_set, tmp_path):
    """Of a task that nobody has opened, JSON-MIN holds a record without an annotation's number."""
    data, masks = drawn_set
    of_plain = {"id": 1, "image": "/data/upload/3/0a1b2c3d-plain.jpg", "annotation_id": 7}
    value = {**BOX, "original_width": 50, "original_height": 40}
    records = [
        {**of_plain, "updated_at": "2024-05-02", "tag": [{**value, "rectanglelabels": ["dog"]}]},
        {**of_plain, "updated_at": "2024-05-01", "tag": [{**value, "rectanglelabels": ["c20"]}]},
        {"id": 2, "image": "holes.jpg", "annotation_id": None, "updated_at": None},
    ]
    path = written(tmp_path / "x.json", records)
    folder = import_(data, "val", "label_studio", path, tmp_path / "back", made=masks)
    assert np.unique(read_mask(folder / "plain.png")).tolist() == [0, 3]
    assert [origin.state for origin in read_provenance(folder).values()] == ["corrected", "made"]
    np.testing.assert_array_equal(read_mask(folder / "holes.png"), drawn("holes"))


def test_predictions_alone_are_masks_as_they_were_made(drawn_set, tmp_path, exported):
    data, _ = drawn_set
    path, _ = exported
    folder = import_(data, "train", "label_studio", path, tmp_path / "back")
    origins = read_provenance(folder)
    assert {(o.state, o.changed_pixels) for o in origins.values()} == {("made", None)}
    np.testing.assert_array_equal(read_mask(folder / "plain.png"), drawn("plain"))
    assert (folder.parent / "corrected.txt").read_text() == ""


def plain(drawn_set, tmp_path, **task):
    data, _ = drawn_set
    task = {"data": {"image": "/data/upload/3/0a1b2c3d-plain.jpg"}, **task}
    path = written(tmp_path / "x.json", [task])
    folder = import_(data, "train", "label_studio", path, tmp_path / "back")
    return read_mask(folder / "plain.png"), read_provenance(folder)["plain"]


def shape(value, label="dog", **others):
    return {"original_width": 50, "original_height": 40, "type": "x",
            "value": {**value, "xlabels": [label]}, **others}  # fmt: skip


POLYGON = {"points": [[0, 0], [20, 0], [20, 10], [0, 10]], "closed": True}
BOX = {"x": 4, "y": 5, "width": 8, "height": 10, "rotation": 0}


def test_polygons_and_rectangles_in_percent(drawn_set, tmp_path):
    turned = {"x": 60, "y": 50, "width": 20, "height": 5, "rotation": 90}
    point = {"x": 90, "y": 90, "width": 1}
    results = [shape(POLYGON), shape(BOX, "traffic_light"), shape(turned, "кошка"), shape(point)]
    values, _ = plain(drawn_set, tmp_path, annotations=[{"result": results}])
    wanted = np.zeros((40, 50), dtype=np.uint8)
    wanted[0:4, 0:10] = 3
    wanted[2:6, 2:6] = 7  # the later one covers the earlier
    wanted[20:30, 28:30] = 12  # turned clockwise around its upper left corner
    np.testing.assert_array_equal(values, wanted)


def test_ellipses(drawn_set, tmp_path):
    ellipse = {"x": 50, "y": 50, "radiusX": 24, "radiusY": 10, "rotation": 0}
    values, _ = plain(drawn_set, tmp_path, annotations=[{"result": [shape(ellipse)]}])
    y, x = np.mgrid[:40, :50] + 0.5
    distance = np.hypot((x - 25) / 12, (y - 20) / 4)
    assert (values[distance < 0.9] == 3).all()
    assert (values[distance > 1.1] == 0).all()


def test_the_annotation_that_was_changed_last_counts(drawn_set, tmp_path):
    annotations = [
        {"result": [shape(BOX, "кошка")], "updated_at": "2024-05-01T10:00:00Z"},
        {"result": [shape(BOX)], "updated_at": "2024-05-02T10:00:00Z"},
        {"result": [], "updated_at": "2024-05-03T10:00:00Z", "was_cancelled": True},
    ]
    values, origin = plain(drawn_set, tmp_path, annotations=annotations[::-1])
    assert np.unique(values).tolist() == [0, 3]
    assert origin.state == "corrected"


def test_labels_of_a_tag_of_their_own(drawn_set, tmp_path):
    brush_region = {"id": "r", "original_width": 50, "original_height": 40,
                    "value": {"format": "rle", "rle": brush_rle(drawn("plain") == 3)}}  # fmt: skip
    label = {"id": "r", "value": {"labels": ["traffic_light"]}}
    values, _ = plain(drawn_set, tmp_path, annotations=[{"result": [brush_region, label]}])
    np.testing.assert_array_equal(values == 7, drawn("plain") == 3)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"annotations": [{"result": [shape(BOX, "wolf")]}]}, r"x\.json, task 0 .*'wolf' is no"),
        ({"annotations": [{"result": [shape({"rle": [0] * 40})]}]}, r"plain\.jpg\): rle: expected"),
        ({"annotations": [{"result": [shape({"rle": [999]})]}]}, r"list of bytes"),
        ({"annotations": [{"result": [shape(BOX, image_rotation=90)]}]}, "image was turned"),
        ({"annotations": [{"result": [shape(BOX, original_width=None)]}]}, "original_height"),
        ({"annotations": [{"result": [{**shape(BOX), "value": BOX}]}]}, "one label for each"),
        ({"annotations": [{"result": [shape({"imageDataURL": ""})]}]}, "bitmasks are not read"),
        ({"annotations": [{"result": 3}]}, "result: expected a list"),
        ({"annotations": [{"result": [shape(BOX, original_width=25)]}]}, "annotated at 25 x 40"),
        ({"data": {"text": "a"}}, "holds no annotations"),
        ({"data": {"text": "a"}, "annotations": [{}]}, "task 0: expected one image"),
    ],
)
def test_damaged_tasks_are_named(drawn_set, tmp_path, task, words):
    with pytest.raises(ValueError, match=words):
        plain(drawn_set, tmp_path, **task)


@pytest.mark.parametrize(
    ("text", "words"), [("{", "line 1: not JSON"), ('{"images": 1}', "JSON-MIN")]
)
def test_other_files_are_refused(drawn_set, tmp_path, text, words):
    data, _ = drawn_set
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        import_(data, "train", "label_studio", tmp_path / "a.json", tmp_path / "back")
