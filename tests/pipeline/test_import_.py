"""The command `import`: what it leaves behind and refuses, and the road on from its masks."""

import json
import logging

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tests.export.drawn import drawn, write_drawn
from wsss.cli import command
from wsss.data import DataConfig
from wsss.data.masks import read_mask, write_mask
from wsss.data.provenance import corrected_masks, read_provenance
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.export import export
from wsss.pipeline.import_ import import_
from wsss.pipeline.run import run
from wsss.runs.evaluation import Evaluation


@pytest.fixture
def own(tmp_path):
    """A data set that a test may change, and its masks."""
    return write_drawn(tmp_path / "own")


def coco(path, masks, kept=()):
    """A file of the objects of class dog in some masks, by pycocotools, and of other images."""
    images, annotations = [], []
    for number, (name, values) in enumerate(masks.items(), start=1):
        height, width = values.shape
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        runs = coco_mask.encode(np.asfortranarray(values == 3).astype(np.uint8))
        text = {"size": runs["size"], "counts": runs["counts"].decode()}
        annotations.append(
            {"id": number, "image_id": number, "category_id": 3, "segmentation": text}
        )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 3, "name": "dog"}],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def more(name):
    """The mask of an image with another dog."""
    values = drawn(name).copy()
    values[:3, :3] = 3
    return values


def test_images_in_no_file_keep_their_mask(own, tmp_path, caplog):
    data, masks = own
    (masks / "holes.png").unlink()
    path = coco(tmp_path / "a.json", {"plain.jpg": more("plain"), "new/x.jpg": drawn("plain")})
    with caplog.at_level(logging.INFO):
        folder = import_(data, "val", "coco", path, tmp_path / "back", made=masks)
    assert "1 images are not in val, left out: new/x.jpg" in caplog.text
    assert (
        "1 masks corrected (9 pixels changed), 0 as they were made; 1 images have none"
        in caplog.text
    )
    assert not (folder / "holes.png").exists()
    assert set(corrected_masks(folder)) == {"plain"}
    manifest = json.loads((tmp_path / "back/manifest.json").read_text())
    assert manifest["command"] == "import"
    assert (manifest["complete"], manifest["corrected"], manifest["without_a_mask"]) == (True, 1, 1)


def test_several_files_and_an_image_that_is_in_two_of_them(own, tmp_path):
    data, masks = own
    one = coco(tmp_path / "1.json", {"plain.jpg": more("plain")})
    two = coco(tmp_path / "2.json", {"holes.jpg": more("holes")})
    folder = import_(data, "val", "coco", [one, two], tmp_path / "back", made=masks)
    origins = read_provenance(folder)
    assert [origin.file for origin in origins.values()] == [str(one), str(two)]
    coco(two, {"JPEGImages/plain.jpg": more("plain")})
    with pytest.raises(ValueError, match=r"plain is there twice: .*1\.json, im.*, and .*2\.json, "):
        import_(data, "val", "coco", [one, two], tmp_path / "other", made=masks)
    assert not (tmp_path / "other").exists()


def test_a_second_round_keeps_what_the_first_one_corrected(own, tmp_path):
    data, masks = own
    path = coco(tmp_path / "1.json", {"plain.jpg": more("plain"), "holes.jpg": more("holes")})
    first = import_(data, "train", "coco", path, tmp_path / "first", made=masks)
    path = coco(tmp_path / "2.json", {"plain.jpg": drawn("plain"), "holes.jpg": more("holes")})
    second = import_(data, "train", "coco", path, tmp_path / "second", made=first)
    before, after = read_provenance(first), read_provenance(second)
    assert (after["plain"].state, after["plain"].changed_pixels) == ("corrected", 9)
    assert after["plain"].file == str(path)
    assert after["holes"] == before["holes"]
    assert after["empty"].state == "made"
    np.testing.assert_array_equal(read_mask(second / "plain.png"), drawn("plain"))


def test_without_made_masks_all_are_corrected(own, tmp_path):
    data, _ = own
    path = coco(tmp_path / "a.json", {"plain.jpg": drawn("plain")})
    folder = import_(data, "val", "coco", path, tmp_path / "back")
    [origin] = read_provenance(folder).values()
    assert (origin.state, origin.changed_pixels) == ("corrected", None)
    np.testing.assert_array_equal(read_mask(folder / "plain.png"), drawn("plain"))


def test_an_import_that_is_refused_or_cut_off(own, tmp_path, monkeypatch):
    """An earlier one stays as it is; of one that is cut off no mask counts as corrected."""
    data, masks = own
    path = coco(tmp_path / "a.json", {"plain.jpg": more("plain"), "holes.jpg": more("holes")})
    folder = import_(data, "val", "coco", path, tmp_path / "back", made=masks)
    before = {file: file.read_bytes() for file in folder.iterdir()}
    content = json.loads(path.read_text())
    content["annotations"][1]["segmentation"]["counts"] = "0"
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"broken\.json, images\[1\]: .*add up to"):
        import_(data, "val", "coco", broken, tmp_path / "back", made=masks)
    assert {file: file.read_bytes() for file in folder.iterdir()} == before

    def interrupted(path, values):
        if path.name == "holes.png":
            raise KeyboardInterrupt
        write_mask(path, values)

    monkeypatch.setattr("wsss.pipeline.importing.writing.write_mask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        import_(data, "val", "coco", path, tmp_path / "back", made=masks)
    assert read_provenance(folder) == {}
    with pytest.raises(ValueError, match="no mask is corrected"):
        corrected_masks(folder)


def test_masks_in_an_object_store(remote_shapes, store, tmp_path):
    masks = remote_shapes.at(remote_shapes.masks)
    path = export(remote_shapes, "val", masks, "coco", tmp_path / "out")
    folder = import_(remote_shapes, "val", "coco", path, store / "back", made=masks)
    origins = read_provenance(folder)
    assert {origin.changed_pixels for origin in origins.values()} == {0}
    for name in origins:
        np.testing.assert_array_equal(
            read_mask(folder / f"{name}.png"), read_mask(masks / f"{name}.png")
        )
    with pytest.raises(ValueError, match=r"source: expected a local file or folder, got .*copy it"):
        import_(remote_shapes, "val", "coco", store / "a.json", store / "other")


def test_small_objects_that_did_not_go_out_are_not_missing(own, tmp_path):
    data, masks = own
    path = export(data, "train", masks, "coco", tmp_path / "out", min_area=50)
    options = {"made": masks, "min_area": 50}
    folder = import_(data, "train", "coco", path, tmp_path / "back", **options)
    assert {origin.state for origin in read_provenance(folder).values()} == {"made"}
    np.testing.assert_array_equal(read_mask(folder / "noise.png"), drawn("noise"))


def test_masks_are_not_written_over_those_that_were_made(own, tmp_path):
    data, masks = own
    path = export(data, "val", masks, "coco", tmp_path / "out")
    with pytest.raises(ValueError, match="output: its masks would take the place of made"):
        import_(data, "val", "coco", path, masks.parent, made=masks)
    assert not (masks / "provenance.csv").exists()


def test_masks_of_other_pixels_are_refused(own, tmp_path):
    data, masks = own
    path = export(data, "val", masks, "coco", tmp_path / "out")
    write_mask(masks / "plain.png", np.zeros((3, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"plain\.png is 3 x 3 pixels, but its photograph"):
        import_(data, "val", "coco", path, tmp_path / "back", made=masks)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"min_area": 0}, ValueError, "min_area, tolerance: expected at least 1 and 0 pixels"),
        ({"tolerance": -1}, ValueError, "min_area, tolerance"),
        ({"ignore": "dog"}, ValueError, "ignore: expected a name that is no class"),
        ({"made": "none"}, FileNotFoundError, "made: no such folder"),
        ({"source": "none.json"}, FileNotFoundError, r"source: no such file or folder: .*none"),
    ],
)
def test_options_are_checked(own, tmp_path, options, error, words):
    data, masks = own
    source = export(data, "val", masks, "coco", tmp_path / "out")
    options = {
        key: tmp_path / value if key in ("made", "source") else value
        for key, value in options.items()
    }
    with pytest.raises(error, match=words):
        import_(data, "val", "coco", output=tmp_path / "back", **{"source": source, **options})
    assert not (tmp_path / "back").exists()


def test_photographs_that_differ_in_their_suffix_alone(own, tmp_path):
    """Ids hold the suffix then, and files go out and come back by their own names."""
    data, _ = own
    for suffix in ("jpg", "png"):
        (data.root / f"JPEGImages/twin.{suffix}").write_bytes(
            (data.root / "JPEGImages/plain.jpg").read_bytes()
        )
    names = ["twin.jpg", "twin.png"]
    (data.root / "labels.csv").write_text("image,labels,split\ntwin.jpg,dog,x\ntwin.png,dog,x\n")
    twins = DataConfig(data.root, data.classes, layout="csv")
    masks = tmp_path / "twins"
    for name in names:
        write_mask(masks / f"{name}.png", drawn("plain"))
    path = export(twins, "x", masks, "coco", tmp_path / "out")
    assert [i["file_name"] for i in json.loads(path.read_text())["images"]] == names
    path = coco(tmp_path / "a.json", {"twin.png": more("plain")})
    folder = import_(twins, "x", "coco", path, tmp_path / "back", made=masks)
    assert [origin.state for origin in read_provenance(folder).values()] == ["made", "corrected"]


def test_the_command_line_and_a_step_of_a_run(own, tmp_path, capsys):
    data, masks = own
    path = coco(tmp_path / "a.json", {"plain.jpg": more("plain")})
    keys = {"split": "val", "format": "coco", "source": str(path), "made": str(masks)}
    words = ["--data.root", str(data.root), "--data.classes", json.dumps(data.classes)]
    words += [word for key, value in keys.items() for word in (f"--{key}", value)]
    assert command("import", [*words, "--output", str(tmp_path / "back")]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'back/masks'}\n"
    step = {"name": "back", "command": "import", **keys}
    for _ in range(2):
        run(data, [step], tmp_path / "run")
        table = tmp_path / "run/back/masks/provenance.csv"
        assert "plain,corrected" in table.read_text()
        table.write_text(table.read_text() + "x,made,y,\n")
    assert table.read_text().count("x,made,y,") == 2, "the step that is done was run again"


class TestWhatACorrectionIsWorth:
    """The road from the masks that were made to the corrected ones, by `eval_miou`."""

    @pytest.fixture
    def road(self, own, tmp_path):
        """Ground truth is what was drawn; made masks lack a part, which plain gets back."""
        data, _ = own
        truth = data.root / "SegmentationClass"
        made = tmp_path / "made"
        for name in ("plain", "holes"):
            write_mask(truth / f"{name}.png", drawn(name))
            values = drawn(name).copy()
            values[:15] = 0
            write_mask(made / f"{name}.png", values)
        path = coco(tmp_path / "a.json", {"plain.jpg": drawn("plain")})
        import_(data, "val", "coco", path, tmp_path / "back", made=made)
        return data, made, tmp_path / "back"

    def test_on_the_whole_list(self, road, tmp_path):
        data, made, back = road
        before = eval_miou(data, "val", tmp_path / "e1", predictions=made)
        after = eval_miou(
            data, "val", tmp_path / "e2", predictions=back / "masks", against=tmp_path / "e1"
        )
        assert after["miou"] > before["miou"]
        comparison = Evaluation.read(tmp_path / "e2").against
        assert comparison is not None
        assert (comparison.images_better, comparison.images_worse) == (1, 0)

    def test_on_the_corrected_images(self, road, tmp_path):
        data, made, back = road
        few = DataConfig(data.root, data.classes, lists=back)
        eval_miou(few, "corrected", tmp_path / "e1", predictions=made)
        after = eval_miou(
            few, "corrected", tmp_path / "e2", predictions=back / "masks", against=tmp_path / "e1"
        )
        assert after["images"] == 1
        assert after["pixel_accuracy"] == 1

    def test_what_it_changed_without_ground_truth(self, road, tmp_path):
        data, made, back = road
        few = DataConfig(data.root, data.classes, lists=back, masks=back / "masks")
        found = eval_miou(few, "corrected", tmp_path / "e", predictions=made)
        [origin] = [o for o in read_provenance(back / "masks").values() if o.state == "corrected"]
        assert 1 - found["pixel_accuracy"] == pytest.approx(origin.changed_pixels / (40 * 50))
