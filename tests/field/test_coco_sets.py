"""COCO files as tools lay them out: every one is used, or named with the reason."""

import json

import pytest

from tests.field.drawn import coco, photograph, square
from tests.pipeline.test_init import both, data_of, found
from wsss.data import load_records
from wsss.pipeline.init import init


def said(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("please check"))


def instances(root, split, count, where, images, categories=("cat", "dog"), change=lambda c: c):
    """A COCO file; ``where`` and ``images`` are its place and that of the photographs."""
    content = {"images": [], "annotations": [], "categories": []}
    for number, name in enumerate(categories, start=1):
        content["categories"].append({"id": number, "name": name, "supercategory": "none"})
    for i in range(count):
        photograph(root / images / f"{split}{i}.jpg", seed=hash((split, i)) % 9999)
        content["images"].append(
            {"id": i, "file_name": f"{split}{i}.jpg", "height": 48, "width": 64}
        )
        content["annotations"].append(
            {"id": i, "image_id": i, "category_id": 1 + i % 2, "segmentation": [square(4, 4)]}
        )
    (root / where).parent.mkdir(parents=True, exist_ok=True)
    (root / where).write_text(json.dumps(change(content)))


class TestCoco:
    def roboflow(self, root):
        for split, count in (("train", 6), ("valid", 3), ("test", 2)):

            def with_root(content):
                content["categories"].insert(
                    0, {"id": 0, "name": "animals-Abc", "supercategory": "none"}
                )
                for entry in content["categories"][1:]:
                    entry["supercategory"] = "animals-Abc"
                return content

            instances(root, split, count, f"{split}/_annotations.coco.json", split,
                      change=with_root)  # fmt: skip

    def test_as_roboflow_exports_it(self, tmp_path):
        self.roboflow(tmp_path / "data")
        text = init(tmp_path / "data", tmp_path / "out")
        data = data_of(tmp_path / "out")
        assert data.classes == {"cat": 1, "dog": 2}
        assert len(found(tmp_path / "out", "train")) == 6
        assert len(found(tmp_path / "out", "valid")) == 3
        assert "no step uses 'test' (2 images)" in said(text)
        assert "the category 'animals-Abc' has no objects" in said(text)

    @pytest.mark.parametrize(
        ("train", "val"),
        [("Train", "Val"), ("TRAIN", "VALID"), ("train_2024", "val_2024"), ("Training", "Testing")],
    )
    @pytest.mark.parametrize("where", ["{}.json", "a/instances_{}.json", "{0}/{0}-coco.json"])
    def test_names_in_any_letters(self, tmp_path, train, val, where):
        instances(tmp_path / "data", train, 4, where.format(train), "images")
        instances(tmp_path / "data", val, 2, where.format(val), "images")
        init(tmp_path / "data", tmp_path / "out")
        data = data_of(tmp_path / "out")
        train, val = (split.removesuffix("_2024") for split in (train, val))
        assert len(load_records(data, train, with_labels=True)) == 4
        assert len(load_records(data, val, with_labels=True)) == 2

    def test_a_damaged_file_is_named(self, tmp_path):
        root = tmp_path / "data"
        instances(root, "train", 4, "train.json", "images")
        instances(root, "val", 4, "val.json", "images")
        (root / "val.json").write_text((root / "val.json").read_text()[:200])
        text = init(root, tmp_path / "out")
        assert "not used: val.json: line 1: not JSON" in said(text)
        assert len(both(tmp_path / "out")) == 4

    def test_a_damaged_file_alone(self, tmp_path):
        root = tmp_path / "data"
        for split in ("train2017", "val2017"):
            instances(root, split, 4, f"annotations/{split}.json", split)
            path = root / f"annotations/{split}.json"
            path.write_text(path.read_text()[:300])
        words = r"nothing says .*not used: annotations/train2017\.json.*: line 1: not JSON"
        with pytest.raises(ValueError, match=words):
            init(root, tmp_path / "out")

    def test_files_that_are_called_differently(self, tmp_path):
        root = tmp_path / "data"
        instances(root, "a", 4, "train_set.json", "images")
        instances(root, "b", 2, "validation.json", "images")
        text = init(root, tmp_path / "out")
        assert "not used: validation.json: train_set.json is used; call the files" in said(text)

    def test_categories_are_joined_by_name(self, tmp_path):
        root = tmp_path / "data"
        instances(root, "train", 4, "train.json", "images", ("cat", "dog"))
        instances(root, "val", 4, "val.json", "images", ("dog", "cat", "owl"))
        text = init(root, tmp_path / "out")
        data = data_of(tmp_path / "out")
        assert data.classes == {"cat": 1, "dog": 2, "owl": 3}
        assert found(tmp_path / "out", "train")["train0"] == {"cat"}
        assert found(tmp_path / "out", "val")["val0"] == {"dog"}
        assert "the files number 'cat' differently" in said(text)
        assert "train.json has no category 'owl'" in said(text)
        assert "no image shows 'owl'" in said(text)

    @pytest.mark.parametrize("kind", [float, str, lambda i: f" {i} ", lambda i: f"id-{i}"])
    def test_ids_of_any_kind(self, tmp_path, kind):
        def change(content):
            for entry in content["images"]:
                entry["id"] = kind(entry["id"])
                entry["height"], entry["width"] = float(entry["height"]), str(entry["width"])
            for entry in content["annotations"]:
                entry["image_id"] = kind(entry["image_id"])
                entry["category_id"] = kind(entry["category_id"])
            for entry in content["categories"]:
                entry["id"] = kind(entry["id"])
            return content

        instances(tmp_path / "data", "x", 6, "labels.json", "images", change=change)
        init(tmp_path / "data", tmp_path / "out")
        labels = both(tmp_path / "out")
        assert labels == {f"x{i}": {("cat", "dog")[i % 2]} for i in range(6)}
        assert data_of(tmp_path / "out").classes == {"cat": 1, "dog": 2}

    def test_a_category_that_is_background(self, tmp_path):
        instances(tmp_path / "data", "x", 6, "labels.json", "images", ("background", "dog"))
        text = init(tmp_path / "data", tmp_path / "out")
        assert data_of(tmp_path / "out").classes == {"dog": 2}
        assert both(tmp_path / "out")["x0"] == set()
        assert "'background' is taken for no label" in said(text)

    def test_missing_photographs_are_counted(self, tmp_path):
        instances(tmp_path / "data", "train", 6, "train.json", "images")
        instances(tmp_path / "data", "val", 6, "val.json", "images")
        (tmp_path / "data/images/val3.jpg").unlink()
        text = init(tmp_path / "data", tmp_path / "out")
        assert "1 of 6 images of val.json are missing, for example val3.jpg" in said(text)

    def test_hidden_files_are_none(self, tmp_path):
        instances(tmp_path / "data", "x", 6, "labels.json", "images")
        (tmp_path / "data/._labels.json").write_bytes(b"\x00\x05\x16")
        assert "_labels" not in init(tmp_path / "data", tmp_path / "out").replace("labels.json", "")

    def test_a_json_for_each_image(self, tmp_path):
        for i in range(150):
            photograph(tmp_path / f"data/{i}.jpg", seed=i)
            (tmp_path / f"data/{i}.json").write_text('{"shapes": [], "imagePath": "x"}')
        with pytest.raises(ValueError, match=r"not used: 0\.json, .* and 9\d more"):
            init(tmp_path / "data", tmp_path / "out")


def test_boxes_alone_in_every_split(tmp_path):
    """A sibling: outlines are no condition for labels."""
    for split in ("train", "val"):
        coco(tmp_path / "data" / split, {f"{split}{i}.jpg": [[]] for i in range(4)})
    init(tmp_path / "data", tmp_path / "out")
    assert len(found(tmp_path / "out", "train")) == 4
