"""The archive that the VOC evaluation server takes: its layout, its palette, what it refuses."""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data import LabelMap, load_records, read_mask, voc_palette, write_mask
from wsss.errors import BelowError
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.evaluation.tables import format_table
from wsss.pipeline.evaluation.voc_server import write_voc_results

BELOW = "results/VOC2012/Segmentation/comp6_val_cls"
IDS = [f"val_{i:04d}" for i in range(6)]


@pytest.fixture
def masks(shapes, tmp_path) -> Path:
    """The ground truth of both lists as grey PNG: what is handed in need not have a palette."""
    (tmp_path / "masks").mkdir()
    for path in (shapes.root / shapes.masks).iterdir():
        Image.fromarray(read_mask(path)).save(tmp_path / "masks" / path.name)
    return tmp_path / "masks"


@pytest.fixture
def export(shapes, masks, tmp_path):
    """eval_miou of the masks of `val`, exported."""

    def run(**settings) -> dict[str, float]:
        given = {"data": shapes, "split": "val", "predictions": masks}
        return eval_miou(
            **(given | settings), output=tmp_path / "out", voc_results=tmp_path / "voc"
        )

    return run


def test_every_mask_of_the_list_with_its_values_and_the_palette(export, masks, tmp_path):
    assert export()["miou"] == 1.0
    folder = tmp_path / "voc" / BELOW
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.png" for name in IDS]
    for name in IDS:
        with Image.open(folder / f"{name}.png") as file:
            assert (file.format, file.mode) == ("PNG", "P")
            assert np.array_equal(np.array(file.getpalette()).reshape(-1, 3), voc_palette())
            assert np.array_equal(np.array(file), read_mask(masks / f"{name}.png"))
    assert sorted(path.name for path in (tmp_path / "voc").iterdir()) == ["results", "results.tgz"]


def test_the_archive_unpacks_to_the_same_folders(export, tmp_path):
    export()
    with tarfile.open(tmp_path / "voc/results.tgz", "r:gz") as tar:
        assert tar.getnames() == [f"{BELOW}/{name}.png" for name in IDS]
        for name in tar.getnames():
            assert tar.extractfile(name).read() == (tmp_path / "voc" / name).read_bytes()


def test_the_archive_holds_the_images_of_the_list_alone(export, tmp_path):
    """A mask that was left in the folder is not handed in."""
    export()
    write_mask(tmp_path / "voc" / BELOW / "stranger.png", np.zeros((4, 4), np.uint8))
    export()
    with tarfile.open(tmp_path / "voc/results.tgz") as tar:
        assert tar.getnames() == [f"{BELOW}/{name}.png" for name in IDS]


def test_a_part_of_the_list_is_refused(export, masks, tmp_path):
    """The server would count what is missing as wrong."""
    message = "the server takes whole lists; of the 6 images of val there are {}"
    with pytest.raises(ValueError, match=message.format(2)):
        export(limit=2)
    (masks / "val_0003.png").unlink()
    with pytest.raises(ValueError, match=message.format(5)):
        export(allow_missing=True)
    assert not (tmp_path / "voc").exists()


class TestWithoutGroundTruth:
    def test_the_list_is_exported_and_scored_as_unknown(self, own_shapes, export, tmp_path):
        shutil.rmtree(own_shapes.root / own_shapes.masks)
        result = export(data=own_shapes)
        assert (result["images"], result["images_in_list"]) == (0, 6)
        assert np.isnan(result["miou"])
        assert len(list((tmp_path / "voc" / BELOW).iterdir())) == 6
        facts = json.loads((tmp_path / "out/eval.json").read_text())
        assert facts["miou"] is None
        assert facts["intervals"] is None
        assert np.sum(facts["confusion"]["counts"]) == 0
        assert "scored 0 of 6 images of the list" in format_table(tmp_path / "out/eval.json")
        assert (tmp_path / "out/images.csv").read_text() == "image,miou,missed,spilled,confused\n"
        row = (tmp_path / "out/eval.md").read_text().splitlines()[-1]
        assert row == "| out |" + " - |" * 7

    def test_boundaries_are_unknown_too(self, own_shapes, export, tmp_path):
        shutil.rmtree(own_shapes.root / own_shapes.masks)
        export(data=own_shapes, boundary=True)
        facts = json.loads((tmp_path / "out/eval.json").read_text())
        assert facts["boundary_miou"] is None
        assert facts["trimap_miou"] == {"3": None, "10": None, "30": None}

    def test_a_floor_cannot_be_reached(self, own_shapes, export, tmp_path):
        shutil.rmtree(own_shapes.root / own_shapes.masks)
        with pytest.raises(BelowError, match="mIoU nan is below"):
            export(data=own_shapes, fail_under=0.5)
        assert (tmp_path / "voc/results.tgz").is_file()

    def test_some_of_it_missing_is_a_mistake_by_name(self, own_shapes, export):
        (own_shapes.root / own_shapes.masks / "val_0002.png").unlink()
        with pytest.raises(FileNotFoundError, match=r"mask not found: .*val_0002\.png"):
            export(data=own_shapes)


@pytest.mark.parametrize(("value", "message"), [
    (255, r"holds pixels without a label \(255\), which the VOC server refuses"),
    (9, "value 9 belongs to no class"),
])  # fmt: skip
def test_a_mask_that_the_server_refuses_is_named_and_nothing_is_written(
    export, masks, tmp_path, value, message
):
    values = read_mask(masks / "val_0004.png")
    values[-1, -1] = value
    write_mask(masks / "val_0004.png", values)
    with pytest.raises(ValueError, match=rf"{masks}/val_0004\.png: {message}"):
        export()
    assert not (tmp_path / "voc").exists()


def test_the_list_is_in_the_folder_s_name(shapes, masks, tmp_path):
    files = [
        (record, masks / f"{record.image_id}.png")
        for record in load_records(shapes, "train", with_labels=False, limit=2)
    ]
    label_map = LabelMap(list(shapes.classes.values()))
    archive = write_voc_results(files, tmp_path / "voc", "test", label_map)
    assert archive == tmp_path / "voc/results.tgz"
    with tarfile.open(archive) as tar:
        assert tar.getnames() == [
            f"results/VOC2012/Segmentation/comp6_test_cls/train_000{i}.png" for i in range(2)
        ]
