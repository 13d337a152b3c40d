"""The archives of VOC 2012 and of SBD with six photographs, and data/voc12/prepare.py."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from tests.conftest import load_prepare
from tests.data.archived import EVIL, pack_tar, photograph
from wsss.data import voc_palette

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
