"""data/voc12/prepare.py on archives of six photographs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY
from tests.data.archived import encoded, state, unpack
from tests.data.small_voc import (
    COUNTS,
    OFFICIAL,
    SBD,
    SBD_FOLDER,
    SIZE,
    TRAIN,
    TRAIN_AUG,
    VAL,
    VOC,
    archives,
    listed,
    mask_of,
    official_png,
    root,
    sbd_files,
    script,
    voc_files,
)
from wsss.data import DataConfig, load_records, read_mask, voc_palette
from wsss.pipeline.eval_miou import eval_miou

__all__ = ["archives", "root", "sbd_files", "script", "voc_files"]


class TestLayout:
    @pytest.fixture
    def found(self, script, root, archives):
        return script.prepare(root, **archives, expected=COUNTS)

    def test_counts(self, found):
        assert found == COUNTS

    def test_all_that_is_needed_and_nothing_else(self, found, root, voc_files, tmp_path):
        ids = [*TRAIN_AUG, *VAL]
        lists = "ImageSets/Segmentation"
        expected = {f"JPEGImages/{i}.jpg" for i in ids} | {f"Annotations/{i}.xml" for i in ids}
        expected |= {f"SegmentationClass/{i}.png" for i in OFFICIAL}
        expected |= {f"SegmentationClassAug/{i}.png" for i in ids}
        expected |= {f"{lists}/{name}.txt" for name in ("train", "val", "train_aug")}
        expected |= {"ImageSets/SBD/train.txt", "ImageSets/SBD/val.txt"}
        assert set(state(root)) == expected
        assert {path.name for path in tmp_path.iterdir()} == {"data", "got"}
        for name, (_, content) in state(root).items():
            if not name.startswith(("SegmentationClassAug", "ImageSets/SBD", f"{lists}/train_a")):
                assert content == voc_files[f"{VOC}/{name}"], name

    def test_train_aug_is_train_in_its_order_then_the_rest_of_sbd_sorted(self, found, root):
        text = (root / "ImageSets/Segmentation/train_aug.txt").read_text()
        assert text == "".join(f"{image_id}\n" for image_id in TRAIN_AUG)

    def test_masks_are_official_for_train_and_val_and_of_sbd_for_the_rest(self, found, root):
        for image_id in [*TRAIN, *VAL]:
            official = (root / f"SegmentationClass/{image_id}.png").read_bytes()
            assert official == official_png(OFFICIAL[image_id])
            assert (root / f"SegmentationClassAug/{image_id}.png").read_bytes() == official
        for image_id in TRAIN_AUG[2:]:
            path = root / f"SegmentationClassAug/{image_id}.png"
            assert np.array_equal(read_mask(path), mask_of(SBD[image_id]))
            with Image.open(path) as image:
                assert image.mode == "P"
                colour = image.convert("RGB").getpixel((5, 4))
            assert colour == tuple(voc_palette()[SBD[image_id]].tolist())

    def test_the_toolkit_reads_it(self, found, root, tmp_path):
        data = DataConfig(root=root, labels=None, masks=Path("SegmentationClassAug"))
        records = load_records(data, "train_aug", with_labels=True)
        assert [record.image_id for record in records] == TRAIN_AUG
        names = [name for name, on in zip(data.class_names, records[2].labels) if on]
        assert names == ["dog", "person"]
        for record in records:
            with Image.open(record.image) as image:
                assert image.size == (SIZE[1], SIZE[0])
        predictions = root / "SegmentationClassAug"
        scored = {"output": tmp_path / "all", "predictions": predictions, "resamples": 10}
        assert eval_miou(data, "train_aug", **scored)["miou"] == 1.0

    def test_another_mask_is_another_score(self, found, root, tmp_path):
        """SBD's mask of class 20 against one of class 3, by hand: IoU 0 for both."""
        data = DataConfig(root=root, labels=None, masks=Path("SegmentationClassAug"))
        (root / "ImageSets/Segmentation/one.txt").write_text("2008_000009\n")
        predictions = unpack(tmp_path / "p", {"2008_000009.png": encoded(mask_of(3), "PNG")})
        result = eval_miou(data, "one", tmp_path / "o", predictions=predictions, resamples=10)
        inside = [int((mask_of(value) > 0).sum()) for value in (3, 20)]
        background = (320 - max(inside)) / (320 - min(inside))
        assert result["miou"] == pytest.approx((background + 0 + 0) / 3)


class TestAgain:
    def test_a_second_run_touches_nothing_and_needs_no_archive(self, script, root, archives):
        script.prepare(root, **archives, expected=COUNTS)
        before = state(root)
        for path in archives.values():
            path.unlink()
        assert script.prepare(root, **archives, expected=COUNTS) == COUNTS
        assert state(root) == before

    def test_an_interrupted_run_goes_on(self, script, root, archives, monkeypatch):
        written, real = [], script.write_mask

        def interrupted(path, mask):
            if len(written) == 1:
                raise KeyboardInterrupt
            written.append(path.name)
            real(path, mask)

        monkeypatch.setattr(script, "write_mask", interrupted)
        with pytest.raises(KeyboardInterrupt):
            script.prepare(root, **archives, expected=COUNTS)
        before = state(root)
        assert not [name for name in before if "partial" in name]
        monkeypatch.setattr(script, "write_mask", real)
        assert script.prepare(root, **archives, expected=COUNTS) == COUNTS
        after = state(root)
        assert len(after) == len(before) + 2
        assert {name: after[name] for name in before} == before

    def test_what_was_deleted_comes_back(self, script, root, archives):
        script.prepare(root, **archives, expected=COUNTS)
        before = state(root)
        gone = [
            "JPEGImages/2010_000001.jpg",
            "Annotations/2007_000033.xml",
            "SegmentationClassAug/2007_000032.png",
            "SegmentationClassAug/2009_000005.png",
            "ImageSets/Segmentation/train_aug.txt",
        ]
        for name in gone:
            (root / name).unlink()
        script.prepare(root, **archives, expected=COUNTS)
        after = state(root)
        assert {name for name in before if after[name] != before[name]} == set(gone)
        assert {name: after[name][1] for name in gone} == {name: before[name][1] for name in gone}


class TestOtherWays:
    def test_unpacked_folders(self, script, root, voc_files, sbd_files, tmp_path):
        voc = unpack(tmp_path / "voc", voc_files)
        sbd = unpack(tmp_path / "sbd", sbd_files) / SBD_FOLDER
        assert script.prepare(root, voc=voc, sbd=sbd, expected=COUNTS) == COUNTS

    def test_in_the_folder_that_voc_was_unpacked_to(self, script, archives, voc_files, tmp_path):
        root = unpack(tmp_path, voc_files) / VOC
        archives["voc"].unlink()
        before = state(root)
        assert script.prepare(root, **archives, expected=COUNTS) == COUNTS
        assert {name: state(root)[name] for name in before} == before

    def test_a_published_train_aug_is_taken_as_it_stands(self, script, root, archives):
        text = "".join(f"{image_id}\n" for image_id in reversed(TRAIN_AUG))
        path = unpack(root, {"ImageSets/Segmentation/train_aug.txt": text.encode()})
        script.prepare(path, **archives, expected=COUNTS)
        assert (root / "ImageSets/Segmentation/train_aug.txt").read_text() == text

    @pytest.mark.parametrize(
        ("ids", "message"),
        [
            (TRAIN_AUG[1:], "1 images of train are not in it and 0 of val are"),
            (TRAIN_AUG + VAL, "0 images of train are not in it and 1 of val are"),
        ],
    )
    def test_a_train_aug_that_is_none_is_refused(self, script, root, archives, ids, message):
        unpack(root, {"ImageSets/Segmentation/train_aug.txt": listed(ids)})
        with pytest.raises(ValueError, match=rf"train_aug\.txt: .*{message}; delete it"):
            script.prepare(root, **archives, expected=COUNTS)


class TestCommand:
    def test_the_table(self, script, root, archives, monkeypatch, capsys):
        monkeypatch.setattr(script, "COUNTS", COUNTS)
        monkeypatch.setitem(script.prepare.__kwdefaults__, "expected", COUNTS)
        words = ["--root", root, "--voc", archives["voc"], "--sbd", archives["sbd"]]
        monkeypatch.setattr(sys, "argv", ["prepare.py", *map(str, words)])
        script.main()
        rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
        assert rows == [["train", "2", "2"], ["train_aug", "5", "5"], ["val", "1", "1"]]

    @pytest.mark.slow
    def test_a_wrong_count_is_exit_code_1(self, root, archives):
        """In a process of its own: the miniature is not VOC."""
        words = ["--root", root, "--voc", archives["voc"], "--sbd", archives["sbd"]]
        done = subprocess.run(
            [sys.executable, REPOSITORY / "data/voc12/prepare.py", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.startswith("prepare.py: error: ")
        assert "train: expected 1,464 images, got 2; train_aug: expected 10,582" in done.stderr

    def test_the_published_counts_and_archives(self, script):
        assert script.COUNTS == {"train": 1464, "train_aug": 10582, "val": 1449}
        assert script.VOC["filename"] == "VOCtrainval_11-May-2012.tar"
