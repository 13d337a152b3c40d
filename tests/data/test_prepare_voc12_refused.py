"""Archives that data/voc12/prepare.py refuses, and what a refusal leaves."""

import builtins
import io
import re
import tarfile

import numpy as np
import pytest
from scipy.io import savemat

from tests.data.archived import pack_tar, truncate
from tests.data.small_voc import (
    COUNTS,
    SBD_VAL,
    TRAIN,
    VOC,
    archives,
    listed,
    mask_of,
    mat,
    repack,
    root,
    sbd_files,
    script,
    voc_files,
)

__all__ = ["archives", "root", "sbd_files", "script", "voc_files"]


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
        # not their bytes, which say when they were made: processes would not agree on the names
        ids=range(11),
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
