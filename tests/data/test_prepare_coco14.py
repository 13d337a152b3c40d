"""data/coco14/prepare.py on archives of five photographs."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image
from torchvision.models._meta import _COCO_CATEGORIES

from tests.conftest import REPOSITORY, load_prepare
from tests.data.archived import EVIL, pack_zip, photograph, state, truncate, unpack
from wsss.data import read_mask, voc_palette

SIZE = (16, 20)
COUNTS = {"train": 2, "val": 2}
CATEGORIES = [
    {"id": 44, "name": "bottle"},
    {"id": 1, "name": "person"},
    {"id": 13, "name": "stop sign"},
]
PERSON, SIGN, BOTTLE = 1, 13, 44
NINE, ALONE, FOUR = 9, 25, 4  # image ids of train; ALONE has no annotation
CROWD, POINT = 42, 73  # of val


def name_of(split, image) -> str:
    return f"COCO_{split}2014_{image:012}"


def box(x0, y0, x1, y1) -> list[list[float]]:
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def annotation(image, category, segmentation, area, crowd=0) -> dict:
    return {
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "area": area,
        "iscrowd": crowd,
    }


def crowd_of(columns) -> dict:
    """All pixels of the columns up to that one, as uncompressed run lengths."""
    height, width = SIZE
    return {"size": list(SIZE), "counts": [0, height * columns, height * (width - columns)]}


def instances(split, images, annotations) -> dict:
    return {
        "images": [
            {"id": i, "file_name": f"{name_of(split, i)}.jpg", "height": 16, "width": 20}
            for i in images
        ],
        "annotations": annotations,
        "categories": CATEGORIES,
    }


@pytest.fixture
def train() -> dict:
    return instances(
        "train",
        [NINE, ALONE, FOUR],
        [
            annotation(NINE, SIGN, box(4, 4, 8, 8), 16.0),
            annotation(NINE, PERSON, box(1, 1, 15, 14), 182.0),
            annotation(NINE, PERSON, crowd_of(3), 48, crowd=1),
            annotation(FOUR, BOTTLE, box(0, 0, 2, 2) + box(10, 10, 13, 12), 10.0),
            annotation(NINE, SIGN, box(17, 0, 19, 1), 2.0),
        ],
    )


@pytest.fixture
def val() -> dict:
    return instances(
        "val",
        [POINT, CROWD],
        [
            annotation(CROWD, PERSON, crowd_of(5), 80, crowd=1),
            annotation(POINT, BOTTLE, [*box(2, 2, 4, 4), [9, 9], [7, 7, 8, 8]], 4.0),
        ],
    )


@pytest.fixture
def expected() -> dict[str, np.ndarray]:
    """The masks by hand."""
    masks = {name: np.zeros(SIZE, np.uint8) for name in ("nine", "four", "crowd", "point")}
    masks["nine"][:, :3] = 255
    masks["nine"][1:14, 1:15] = 1
    masks["nine"][4:8, 4:8] = 2
    masks["nine"][0, 17:19] = 2
    masks["four"][:2, :2] = masks["four"][10:12, 10:13] = 3
    masks["crowd"][:, :5] = 255
    masks["point"][2:4, 2:4] = 3
    return {
        f"train2014/{name_of('train', NINE)}": masks["nine"],
        f"train2014/{name_of('train', FOUR)}": masks["four"],
        f"val2014/{name_of('val', CROWD)}": masks["crowd"],
        f"val2014/{name_of('val', POINT)}": masks["point"],
    }


def photographs(split, images) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    return {f"{split}2014/{name_of(split, i)}.jpg": photograph(rng, SIZE) for i in images}


def annotation_files(train, val) -> dict[str, bytes]:
    files = {f"annotations/captions_{split}2014.json": b"{}" for split in ("train", "val")}
    for split, content in (("train", train), ("val", val)):
        files[f"annotations/instances_{split}2014.json"] = json.dumps(content).encode()
    return files


@pytest.fixture
def files(train, val) -> dict[str, dict[str, bytes]]:
    """What the three archives hold."""
    return {
        "train": {**EVIL, **photographs("train", [NINE, ALONE, FOUR])},
        "val": {**photographs("val", [CROWD, POINT]), **EVIL},
        "annotations": annotation_files(train, val),
    }


@pytest.fixture
def archives(tmp_path, files) -> dict:
    return {name: pack_zip(tmp_path / f"got/{name}.zip", held) for name, held in files.items()}


@pytest.fixture
def script():
    return load_prepare("coco14")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data/set"


class TestLayout:
    @pytest.fixture
    def found(self, script, root, archives):
        return script.prepare(root, **archives, expected=COUNTS)

    def test_all_that_is_needed_and_nothing_else(self, found, root, files, expected, tmp_path):
        assert found == COUNTS
        names = {f"{image_id}.jpg" for image_id in expected}
        names |= {f"SegmentationClass/{image_id}.png" for image_id in expected}
        names |= {f"ImageSets/Segmentation/{split}.txt" for split in COUNTS} | {"labels.csv"}
        names |= {f"annotations/instances_{split}2014.json" for split in COUNTS}
        assert set(state(root)) == names
        assert {path.name for path in tmp_path.iterdir()} == {"data", "got"}
        for image_id in expected:
            content = files[image_id[: image_id.index("2014")]][f"{image_id}.jpg"]
            assert (root / f"{image_id}.jpg").read_bytes() == content

    def test_lists_are_of_images_with_annotations_sorted(self, found, root):
        for split, ids in (("train", (FOUR, NINE)), ("val", (CROWD, POINT))):
            text = (root / f"ImageSets/Segmentation/{split}.txt").read_text()
            assert text == "".join(f"{split}2014/{name_of(split, i)}\n" for i in ids)

    def test_labels_name_each_class_once_crowds_too(self, found, root):
        with (root / "labels.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert {row["image"]: row["labels"].split(";") for row in rows} == {
            f"train2014/{name_of('train', FOUR)}": ["bottle"],
            f"train2014/{name_of('train', NINE)}": ["person", "stop sign"],
            f"val2014/{name_of('val', CROWD)}": ["person"],
            f"val2014/{name_of('val', POINT)}": ["bottle"],
        }

    def test_masks(self, found, root, expected):
        for image_id, mask in expected.items():
            path = root / f"SegmentationClass/{image_id}.png"
            assert np.array_equal(read_mask(path), mask), image_id
            with Image.open(path) as image:
                assert image.getpalette() == voc_palette().ravel().tolist()


class TestAgain:
    def test_a_second_run_touches_nothing_and_needs_no_archive(self, script, root, archives):
        script.prepare(root, **archives, workers=1, expected=COUNTS)
        for name in ("train", "val"):
            (root / f"annotations/instances_{name}2014.json").unlink()
        before = state(root)
        for path in archives.values():
            path.unlink()
        assert script.prepare(root, **archives, workers=1, expected=COUNTS) == COUNTS
        assert state(root) == before

    def test_an_interrupted_run_goes_on(self, script, root, archives, monkeypatch):
        import wsss.data.mask_jobs as module

        real, written = module.write_mask, []

        def interrupted(path, mask):
            if len(written) == 3:
                raise KeyboardInterrupt
            written.append(path)
            real(path, mask)

        monkeypatch.setattr(module, "write_mask", interrupted)
        with pytest.raises(KeyboardInterrupt):
            script.prepare(root, **archives, workers=1, expected=COUNTS)
        before = state(root / "SegmentationClass")
        assert len(before) == 3
        assert not (root / "labels.csv").exists()
        monkeypatch.setattr(module, "write_mask", real)
        assert script.prepare(root, **archives, workers=1, expected=COUNTS) == COUNTS
        after = state(root / "SegmentationClass")
        assert len(after) == 4
        assert {name: after[name] for name in before} == before

    def test_what_was_deleted_comes_back(self, script, root, archives, expected):
        script.prepare(root, **archives, workers=1, expected=COUNTS)
        before = state(root)
        first, *_, last = expected
        gone = [f"SegmentationClass/{first}.png", f"{last}.jpg"]
        for name in gone:
            (root / name).unlink()
        script.prepare(root, **archives, workers=1, expected=COUNTS)
        after = state(root)
        assert {name: after[name][1] for name in after} == {n: before[n][1] for n in before}
        kept = [name for name in before if name.endswith((".jpg", ".png")) and name not in gone]
        assert len(kept) == 6
        assert all(after[name] == before[name] for name in kept)


class TestOtherWays:
    def test_unpacked_folders(self, script, root, files, tmp_path):
        for held in files.values():
            unpack(tmp_path / "coco", held)
        folders = dict.fromkeys(files, tmp_path / "coco")
        folders["val"] /= "val2014"
        assert script.prepare(root, **folders, workers=1, expected=COUNTS) == COUNTS

    def test_in_the_folder_that_all_was_unpacked_to(self, script, root, files, archives):
        for name, held in files.items():
            unpack(root, held)
            archives[name].unlink()
        before = state(root)
        assert script.prepare(root, **archives, workers=1, expected=COUNTS) == COUNTS
        assert {name: state(root)[name] for name in before} == before


class TestRefused:
    @pytest.mark.parametrize("split", ["train", "val"])
    def test_a_wrong_count(self, script, root, archives, split):
        message = rf"{root} is not the published .*: {split}: expected 7 images, got 2$"
        with pytest.raises(ValueError, match=message):
            script.prepare(root, **archives, workers=1, expected={**COUNTS, split: 7})
        assert not (root / f"ImageSets/Segmentation/{split}.txt").exists()

    @pytest.mark.parametrize("which", ["train", "val", "annotations"])
    def test_a_truncated_archive(self, script, root, archives, which):
        truncate(archives[which], 0.5)
        message = rf"^{archives[which]}: cannot be read .*http://images.*{which}.*\.zip, md5"
        with pytest.raises(ValueError, match=message):
            script.prepare(root, **archives, workers=1, expected=COUNTS)

    @pytest.mark.parametrize("which", ["train", "val", "annotations"])
    def test_no_archive(self, script, root, archives, which):
        archives[which].unlink()
        message = rf"{archives[which]} not found: download http://images.*\.zip .*--{which}, "
        with pytest.raises(FileNotFoundError, match=message):
            script.prepare(root, **archives, workers=1, expected=COUNTS)

    def test_annotations_that_are_cut_off(self, script, root, archives, train, val):
        held = annotation_files(train, val)
        held["annotations/instances_val2014.json"] = held["annotations/instances_val2014.json"][:-9]
        pack_zip(archives["annotations"], held)
        with pytest.raises(ValueError, match=r"instances_val2014\.json: not COCO's instances"):
            script.prepare(root, **archives, workers=1, expected=COUNTS)

    @pytest.mark.parametrize(
        "change",
        [
            lambda content: content.pop("categories"),
            lambda content: content.pop("images"),
            lambda content: content["annotations"][0].pop("iscrowd"),
            lambda content: content["annotations"][0].update(category_id=2),
            lambda content: content["annotations"][0].update(image_id=999),
            lambda content: content["annotations"][0].update(segmentation=[7]),
            lambda content: content["images"][0].update(file_name="../../evil.jpg"),
            lambda content: content["images"][0].update(file_name="/tmp/evil_of_wsss.jpg"),
            lambda content: content["images"][0].update(file_name="evil.png"),
            lambda content: content["images"][0].update(height=None),
        ],
    )
    def test_annotations_that_do_not_fit_together(
        self, script, root, archives, train, val, change, tmp_path
    ):
        change(train)
        pack_zip(archives["annotations"], annotation_files(train, val))
        with pytest.raises(ValueError, match=r"instances_train2014\.json: not COCO's instances"):
            script.prepare(root, **archives, workers=1, expected=COUNTS)
        assert not list(tmp_path.rglob("*evil*"))

    def test_a_shape_that_cannot_be_drawn(self, script, root, archives, train, val):
        train["annotations"][3]["segmentation"] = [[1, 2, 3, 4, 5, 1e9]]
        pack_zip(archives["annotations"], annotation_files(train, val))
        name = name_of("train", FOUR)
        with pytest.raises(ValueError, match=rf"cannot draw mask .*{name}\.png: shape 0: polygon"):
            script.prepare(root, **archives, workers=1, expected=COUNTS)


class TestCommand:
    def test_a_wrong_count_is_exit_code_1(self, root, archives):
        words = [f"--{name}={path}" for name, path in archives.items()]
        done = subprocess.run(
            [sys.executable, REPOSITORY / "data/coco14/prepare.py", f"--root={root}", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.startswith("prepare.py: error: ")
        assert "train: expected 82,081 images, got 2" in done.stderr

    def test_the_table(self, script, root, archives, monkeypatch, capsys):
        monkeypatch.setattr(script, "COUNTS", COUNTS)
        monkeypatch.setitem(script.prepare.__kwdefaults__, "expected", COUNTS)
        words = [f"--{name}={path}" for name, path in archives.items()]
        monkeypatch.setattr(sys, "argv", ["prepare.py", f"--root={root}", "--workers=1", *words])
        script.main()
        rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
        assert rows == [["train", "2", "2"], ["val", "2", "2"]]

    def test_the_published_counts(self, script):
        assert script.COUNTS == {"train": 82081, "val": 40137}


def test_the_configuration_has_cocos_classes_in_the_order_of_their_ids():
    config = yaml.safe_load((REPOSITORY / "configs/coco14/data.yaml").read_text(encoding="utf-8"))
    names = [name for name in _COCO_CATEGORIES if name not in ("__background__", "N/A")]
    assert config["classes"] == {name: value for value, name in enumerate(names, start=1)}
    assert list(config["classes"]) == names
    assert len(names) == 80
