"""The whole road on data sets as people have them: one image, 150 classes, any names, any layout.

And no file of theirs can run code, whatever part of the road reads it.
"""

import csv
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import CPU, SMALL
from tests.pipeline.conftest import ONE_SIZE, SMALL_NET
from wsss.data import DataConfig, load_records, read_mask, write_mask
from wsss.data.config import CSVFormat
from wsss.models import BackboneConfig
from wsss.pipeline.check_data import check_data
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.explain import explain
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.predict import predict
from wsss.pipeline.train_cls import train_cls
from wsss.pipeline.train_seg import train_seg
from wsss.refinement import BackgroundConfig

SIZE = (64, 72)
WILD = ["my dog 1.5", "a b/ç d/é.jpg", "猫/子猫", "Ωmega.v2.final", "007", "-x", "'q' & %s {0}"]


def draw(root: Path, names, classes, labels_of) -> None:
    """Photographs of noise with a bright square for each label, and their masks."""
    for index, name in enumerate(names):
        rng = np.random.default_rng(list(f"{root.name}/{name}".encode()))
        image = rng.integers(0, 90, (*SIZE, 3), dtype=np.uint8)
        mask = np.zeros(SIZE, np.uint8)
        for place, label in enumerate(labels_of(index)):
            rows, columns = slice(8 + 18 * place, 22 + 18 * place), slice(10, 50)
            image[rows, columns, place % 3] = 220
            mask[rows, columns] = classes[label]
        path = root / f"JPEGImages/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        write_mask(root / f"SegmentationClass/{name}.png", mask)


def write_csv(root: Path, names, labels_of, separator=";") -> None:
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "labels", "split"])
        for index, name in enumerate(names):
            for split in ("train", "val") if len(names) == 1 else (("train", "val")[index % 2],):
                writer.writerow([f"{name}.png", separator.join(labels_of(index)), split])


def csv_data(root: Path, names, classes, labels_of) -> DataConfig:
    draw(root, names, classes, labels_of)
    write_csv(root, names, labels_of)
    form = CSVFormat(separator=";")
    return DataConfig(root=root, classes=classes, layout="csv", csv=form)


def one_image(root):
    """A single photograph trains and validates."""
    names, classes = ["only one"], {"cat": 1, "dog": 2}
    draw(root, names, classes, lambda _: ["cat"])
    (root / "labels.csv").write_text("image,labels\nonly one,cat\n")
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    for split in ("train", "val"):
        (root / f"ImageSets/Segmentation/{split}.txt").write_text("only one\n")
    return DataConfig(root=root, classes=classes)


def one_class(root):
    return csv_data(
        root, [f"i{i}" for i in range(6)], {"scratch": 200}, lambda i: ["scratch"] * (i < 4)
    )


def many_classes(root):
    classes = {f"class {i:03d}": i for i in range(1, 151)}
    names = list(classes)

    def labels_of(index):
        return [names[(50 * index + other) % 150] for other in (0, 1)]

    return csv_data(root, [f"i{i}" for i in range(6)], classes, labels_of)


def wild_names(root):
    return csv_data(root, WILD, {"cat": 1, "дом": 2}, lambda i: [["cat"], ["дом"], []][i % 3])


def class_folders(root):
    classes = {"cat": 1, "traffic light": 2}
    for split in ("train", "val"):
        for name in classes:
            names = [f"{name}/{split} {i}" for i in range(2)]
            draw(root / split, names, classes, lambda _, name=name: [name])
    return DataConfig(
        root=root,
        classes=classes,
        layout="folders",
        images=Path("{split}/JPEGImages"),
        masks=Path("{split}/SegmentationClass"),
    )


def coco(root):
    """Without a mask on disk: what is scored is drawn from the annotations."""
    classes = {"cat": 17, "traffic light": 10}
    for split in ("train2017", "val2017"):
        names = [f"{split}_{i:012d}" for i in range(3)]
        draw(root, names, classes, lambda i: list(classes)[: i % 3])
        annotations = []
        for i in range(3):
            for place, label in enumerate(list(classes)[: i % 3]):
                top, bottom = 8 + 18 * place, 22 + 18 * place
                outline = [[10, top, 50, top, 50, bottom, 10, bottom]]
                numbers = {"image_id": i, "category_id": classes[label]}
                annotations.append({**numbers, "segmentation": outline})
        images = [
            {"id": i, "file_name": f"{name}.png", "height": SIZE[0], "width": SIZE[1]}
            for i, name in enumerate(names)
        ]
        categories = [{"id": value, "name": name} for name, value in classes.items()]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{split}.json").write_text(json.dumps(content))
    drawn = {path.stem: read_mask(path) for path in (root / "SegmentationClass").iterdir()}
    for path in (root / "SegmentationClass").iterdir():
        path.unlink()
    data = DataConfig(root=root, classes=classes, layout="coco", labels=Path("{split}.json"))
    for record in load_records(data, "val2017", with_labels=False):
        np.testing.assert_array_equal(read_mask(record.mask), drawn[record.image_id])
    return data


OTHERS = (one_image, one_class, many_classes, class_folders, coco)


@pytest.mark.parametrize(
    "make", [wild_names, *(pytest.param(make, marks=pytest.mark.slow) for make in OTHERS)]
)
def test_the_whole_road(make, tmp_path):
    data = make(tmp_path / "data")
    train, val = ("train2017", "val2017") if make is coco else ("train", "val")
    if make not in (one_image, many_classes):  # which have a leak, and classes without images
        check_data(data, train, val, min_images=1)
    checkpoint = train_cls(
        data, tmp_path / "cls", train_split=train, val_split=val,
        model=BackboneConfig(name="squeezenet1_0"), augment=SMALL, epochs=1, batch_size=2,
        trainer=CPU,
    )  # fmt: skip
    records = load_records(data, train, with_labels=True)
    common = {"split": train, "multiscale": ONE_SIZE, "save_scores": True, "device": "cpu"}
    masks = make_pseudo_masks(
        data, output=tmp_path / "masks", checkpoint=checkpoint, overlays=True,
        background=BackgroundConfig(threshold=0.5), **common,
    )  # fmt: skip
    values = {0, *data.classes.values()}
    for record in records:
        mask = read_mask(masks / f"{record.image_id}.png")
        assert mask.shape == SIZE
        given = {v for v, flag in zip(data.classes.values(), record.labels, strict=True) if flag}
        assert set(np.unique(mask)) <= {0, *given} <= values
        assert (tmp_path / f"masks/overlays/{record.image_id}.png").is_file()
    scores = eval_miou(data, train, tmp_path / "eval", scores=tmp_path / "masks/scores")
    assert scores["images"] == len(records)
    assert 0 <= scores["miou"] <= 1
    network = train_seg(
        data, masks, tmp_path / "seg", train_split=train, val_split=val, model=SMALL_NET,
        augment=SMALL, epochs=1, batch_size=2, trainer=CPU,
    )  # fmt: skip
    predictions = predict(network, tmp_path / "out", data=data, split=val, device="cpu")
    result = eval_miou(data, val, tmp_path / "seg_eval", predictions=predictions)
    assert result["images"] == len(load_records(data, val, with_labels=False))
    explain(
        records[0].image, checkpoint, labels=list(data.classes)[:1],
        output=tmp_path / "explained.png", device="cpu",
    )  # fmt: skip


class Touch:
    """Pickled, it makes a file when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


class TestNothingIsRun:
    """Every file that a user may have from somebody else, with code inside."""

    @pytest.fixture
    def data(self, tmp_path):
        return csv_data(tmp_path / "data", ["a", "b"], {"cat": 1}, lambda _: ["cat"])

    @pytest.fixture
    def mark(self, tmp_path):
        mark = tmp_path / "mark"
        pickle.loads(pickle.dumps(Touch(mark)))  # the pickle does what it is made for
        assert mark.is_dir()
        mark.rmdir()
        return mark

    def test_labels(self, data, mark, tmp_path):
        (data.root / "ImageSets/Segmentation").mkdir(parents=True)
        (data.root / "ImageSets/Segmentation/train.txt").write_text("a\n")
        np.save(data.root / "labels.npy", np.array({"a": Touch(mark)}, dtype=object))
        arrays = DataConfig(root=data.root, classes=data.classes, labels=Path("labels.npy"))
        with pytest.raises(ValueError, match=r"labels\.npy: expected a dict of labels"):
            load_records(arrays, "train", with_labels=True)
        assert not mark.exists()

    def test_scores(self, data, mark, tmp_path):
        scores = tmp_path / "scores"
        scores.mkdir()
        hostile = np.array([Touch(mark)], dtype=object)
        for name in ("classes", "scores", "size"):
            rest = {k: np.zeros(1, np.uint8) for k in ("classes", "scores", "size")}
            np.savez(scores / "a.npz", **{**rest, name: hostile})
            with pytest.raises(ValueError, match=r"a\.npz"):
                eval_miou(data, "train", tmp_path / f"eval {name}", scores=scores)
        (scores / "a.npz").write_bytes(pickle.dumps(Touch(mark)))
        with pytest.raises(ValueError, match=r"a\.npz"):
            eval_miou(data, "train", tmp_path / "eval", scores=scores)
        assert not mark.exists()

    def test_counts_of_another_evaluation(self, data, mark, tmp_path):
        (tmp_path / "other").mkdir()
        np.savez(tmp_path / "other/images.npz", ids=np.array([Touch(mark)], dtype=object))
        masks = data.root / "SegmentationClass"
        with pytest.raises(ValueError, match=r"images\.npz"):
            eval_miou(data, "train", tmp_path / "e", predictions=masks, against=tmp_path / "other")
        assert not mark.exists()

    @pytest.mark.parametrize("content", ["whole", "inside"])
    def test_checkpoints_and_weights(self, data, mark, tmp_path, content):
        path = tmp_path / "model.ckpt"
        torch.save(Touch(mark) if content == "whole" else {"state_dict": {"a": Touch(mark)}}, path)
        for use in (
            lambda: make_pseudo_masks(data, "train", tmp_path / "m", checkpoint=path),
            lambda: predict(path, tmp_path / "p", images=data.root / "JPEGImages"),
            lambda: explain(data.root / "JPEGImages/a.png", path, output=tmp_path / "e.png"),
            lambda: train_cls(
                data, tmp_path / "c", model=BackboneConfig("squeezenet1_0", weights=str(path)),
                augment=SMALL, trainer=CPU,
            ),
            lambda: train_seg(
                data, data.root / "SegmentationClass", tmp_path / "s", model=SMALL_NET,
                backbone_weights=path, augment=SMALL, trainer=CPU,
            ),
        ):  # fmt: skip
            with pytest.raises(ValueError, match=r"model\.ckpt"):
                use()
        assert not mark.exists()

    def test_a_last_checkpoint_that_a_training_would_go_on_from(self, data, mark, tmp_path):
        (tmp_path / "run").mkdir()
        torch.save({"epoch": Touch(mark)}, tmp_path / "run/last.ckpt")
        with pytest.raises(ValueError, match=r"cannot go on from checkpoint .*last\.ckpt"):
            train_cls(
                data, tmp_path / "run", model=BackboneConfig("squeezenet1_0"), augment=SMALL,
                trainer=CPU,
            )  # fmt: skip
        assert not mark.exists()

    def test_configurations(self, data, mark, tmp_path, capsys):
        from wsss.cli import command

        (tmp_path / "c.yaml").write_text(f"split: !!python/object/apply:os.mkdir ['{mark}']\n")
        with pytest.raises(SystemExit):
            command("eval_miou", [f"--config={tmp_path}/c.yaml"])
        assert not mark.exists()
