"""data/voc12/prepare.py on archives of six photographs."""

import builtins
import io
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from tests.conftest import REPOSITORY, load_prepare
from tests.data.archived import (
    EVIL,
    encoded,
    pack_tar,
    photograph,
    state,
    truncate,
    unpack,
)
from wsss.data import DataConfig, load_records, read_mask, voc_palette
from wsss.pipeline.eval_miou import eval_miou

SIZE = (16, 20)
OFFICIAL = {"2008_000002": 15, "2007_000032": 1, "2007_000033": 9}  # value of the class in the mask
SBD = {"2007_000032": 2, "2009_000005": 3, "2008_000009": 20, "2007_000033": 4, "2010_000001": 5}
TRAIN, VAL = ["2008_000002", "2007_000032"], ["2007_000033"]
SBD_TRAIN, SBD_VAL = ["2010_000001", "2007_000033", "2008_000009"], ["2009_000005", "2007_000032"]
TRAIN_AUG = ["2008_000002", "2007_000032", "2008_000009", "2009_000005", "2010_000001"]
COUNTS = {"train": 2, "train_aug": 5, "val": 1}
UNUSED = "2012_000001"
VOC, SBD_FOLDER = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset"


def mask_of(value, border=None) -> np.ndarray:
    """One object, with a border of that value around it."""
    mask = np.zeros(SIZE, np.uint8)
    if border is not None:
        mask[3:9, 4:12] = border
    mask[4 : 5 + value // 6, 5:11] = value
    return mask


def official_png(value) -> bytes:
    image = Image.fromarray(mask_of(value, border=255))
    image.putpalette(voc_palette().tobytes())
    content = io.BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()


def mat(segmentation, **fields) -> bytes:
    content = io.BytesIO()
    fields = {"Boundaries": np.zeros((20, 1)), "Segmentation": segmentation, **fields}
    savemat(content, {"GTcls": fields}, do_compression=True)
    return content.getvalue()


def xml(*names) -> bytes:
    objects = "".join(f"<object><name>{name}</name></object>" for name in names)
    return f"<annotation>{objects}</annotation>".encode()


def listed(ids) -> bytes:
    return "".join(f"{image_id}\n" for image_id in ids).encode()


@pytest.fixture
def voc_files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    files = dict(EVIL)
    for image_id in sorted({*OFFICIAL, *SBD, UNUSED}):
        files[f"{VOC}/Annotations/{image_id}.xml"] = xml("person", "dog", "person")
        files[f"{VOC}/JPEGImages/{image_id}.jpg"] = photograph(rng, SIZE)
    files[f"{VOC}/ImageSets/Segmentation/train.txt"] = listed(TRAIN)
    files[f"{VOC}/ImageSets/Segmentation/val.txt"] = listed(VAL)
    files[f"{VOC}/ImageSets/Segmentation/trainval.txt"] = listed(TRAIN + VAL)
    for image_id, value in OFFICIAL.items():
        files[f"{VOC}/SegmentationClass/{image_id}.png"] = official_png(value)
        files[f"{VOC}/SegmentationObject/{image_id}.png"] = official_png(1)
    return files


@pytest.fixture
def sbd_files() -> dict[str, bytes]:
    files = {f"{SBD_FOLDER}/cls/{i}.mat": mat(mask_of(value)) for i, value in SBD.items()}
    files[f"{SBD_FOLDER}/inst/2009_000005.mat"] = b"not asked for"
    files[f"{SBD_FOLDER}/train.txt"] = listed(SBD_TRAIN)
    files[f"{SBD_FOLDER}/val.txt"] = listed(SBD_VAL)
    return {**files, **EVIL}


@pytest.fixture
def script():
    return load_prepare("voc12")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data/VOC2012"


@pytest.fixture
def archives(tmp_path, voc_files, sbd_files) -> dict:
    return {
        "voc": pack_tar(tmp_path / "got/voc.tar", voc_files),
        "sbd": pack_tar(tmp_path / "got/benchmark.tgz", sbd_files, "w:gz"),
    }


def repack(archives, sbd_files, **changes) -> None:
    """SBD's archive with other contents of some files below its folder."""
    files = {**sbd_files, **{f"{SBD_FOLDER}/{name}": c for name, c in changes.items()}}
    pack_tar(archives["sbd"], files, "w:gz")


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


class TestRefused:
    @pytest.mark.parametrize("name", list(COUNTS))
    def test_a_wrong_count(self, script, root, archives, name):
        expected = {**COUNTS, name: 7}
        message = rf"{root} is not .*: {name}: expected 7 images, got {COUNTS[name]}$"
        with pytest.raises(ValueError, match=message):
            script.prepare(root, **archives, expected=expected)
        assert not (root / "ImageSets/Segmentation/train_aug.txt").exists()

    @pytest.mark.parametrize("which", ["voc", "sbd"])
    def test_a_truncated_archive(self, script, root, archives, which):
        truncate(archives[which], 0.4)
        with pytest.raises(ValueError, match=rf"^{archives[which]}: .*https?://"):
            script.prepare(root, **archives, expected=COUNTS)

    @pytest.mark.parametrize(("which", "file"), [("voc", "VOCtrainval"), ("sbd", "benchmark.tgz")])
    def test_no_archive(self, script, root, archives, which, file):
        archives[which].unlink()
        message = rf"{archives[which]} not found: download https?://.*{file}.*--{which}.*--download"
        with pytest.raises(FileNotFoundError, match=message):
            script.prepare(root, **archives, expected=COUNTS)

    @pytest.mark.parametrize("evil", ["../../../evil", "/tmp/evil_of_wsss"])
    @pytest.mark.parametrize("which", ["voc", "sbd"])
    def test_ids_that_lead_out(
        self, script, root, archives, voc_files, sbd_files, which, evil, tmp_path
    ):
        if which == "sbd":
            repack(archives, sbd_files, **{"val.txt": listed([*SBD_VAL, evil])})
        else:
            voc_files[f"{VOC}/ImageSets/Segmentation/train.txt"] = listed([*TRAIN, evil])
            voc_files[f"{VOC}/JPEGImages/{evil}.jpg"] = b"evil"
            pack_tar(archives["voc"], voc_files)
        with pytest.raises(ValueError, match="leads out of the data set's folders"):
            script.prepare(root, **archives, expected=COUNTS)
        assert not list(tmp_path.rglob("evil*"))

    def test_a_link_in_place_of_a_photograph(self, script, root, archives, voc_files):
        name = f"{VOC}/JPEGImages/2010_000001.jpg"
        del voc_files[name]
        pack_tar(archives["voc"], voc_files)
        with tarfile.open(archives["voc"], "a") as archive:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member)
        with pytest.raises(ValueError, match=rf"{name} is no file but a link"):
            script.prepare(root, **archives, expected=COUNTS)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "expected SBD's struct GTcls"),
            (b"no matlab" * 100, "expected SBD's struct GTcls"),
            (mat(mask_of(3))[:-40], "expected SBD's struct GTcls"),
            (mat(mask_of(3))[:150] + b"\x99" * 60, "expected SBD's struct GTcls"),
            (mat(mask_of(21)), r"expected values 0\.\.20, got 0\.\.21"),
            (mat(mask_of(255)), r"expected values 0\.\.20, got 0\.\.255"),
            (mat(mask_of(3).astype(np.int16) - 1), r"expected values 0\.\.20, got -1\.\.2"),
            (mat(mask_of(3) / 2), r"expected whole numbers of \(H, W\), got float64"),
            (mat(np.zeros((2, 3, 4), np.uint8)), r"expected whole numbers of \(H, W\)"),
            (mat(np.zeros((0, 0), np.uint8)), r"expected whole numbers of \(H, W\)"),
            (mat(mask_of(3).T), r"\(height, width\) \(20, 16\), but .*5\.jpg is \(16, 20\)"),
        ],
    )
    def test_a_mask_that_is_none(self, script, root, archives, sbd_files, content, message):
        repack(archives, sbd_files, **{"cls/2009_000005.mat": content})
        place = re.escape(f"{archives['sbd']}: cls/2009_000005.mat")
        with pytest.raises(ValueError, match=rf"^{place}: .*{message}"):
            script.prepare(root, **archives, expected=COUNTS)
        assert not (root / "SegmentationClassAug/2009_000005.png").exists()

    def test_another_struct(self, script):
        content = io.BytesIO()
        savemat(content, {"GTinst": {"Segmentation": mask_of(1)}})
        with pytest.raises(ValueError, match=r"a\.mat: expected SBD's struct GTcls .*KeyError"):
            script.read_sbd_mask(content.getvalue(), "a.mat")

    def test_without_scipy_the_error_says_what_to_install(self, script, monkeypatch):
        real = builtins.__import__

        def without_scipy(name, *rest):
            if name.startswith("scipy"):
                raise ImportError(name)
            return real(name, *rest)

        monkeypatch.setattr(builtins, "__import__", without_scipy)
        with pytest.raises(ImportError, match=r"pip install 'wsss\[voc12\]'"):
            script.read_sbd_mask(mat(mask_of(1)), "a.mat")


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
