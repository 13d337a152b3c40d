"""Make VOC 2012 with SBD's masks from the two archives as they are published.

    python data/voc12/prepare.py [--voc VOCtrainval_11-May-2012.tar] [--sbd benchmark.tgz]
                                 [--download] [--root data/voc12/VOCdevkit/VOC2012]

Writes what configs/voc12/data.yaml reads, see data/voc12/README.md, and checks the counts. What is
there already is left alone: a second run does nothing, and one after an interruption goes on.
"""

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torchvision.datasets import SBDataset
from torchvision.datasets.voc import DATASET_YEAR_DICT

from wsss.data import VOC_CLASSES, write_mask
from wsss.data.archives import (
    Archive,
    absent,
    check_counts,
    count_complete,
    fetch,
    format_counts,
    read_members,
)
from wsss.data.atomic import atomic_write, atomic_write_text
from wsss.data.images import image_size
from wsss.data.sources import read_list

FOLDER = Path("data/voc12")
VOC = DATASET_YEAR_DICT["2012"]
VOC_PREFIX, SBD_PREFIX = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset"
LISTS, SBD_LISTS = "ImageSets/Segmentation", "ImageSets/SBD"
MASKS, MASKS_AUG = "SegmentationClass", "SegmentationClassAug"
COUNTS = {"train": 1464, "train_aug": 10582, "val": 1449}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--root", type=Path, default=FOLDER / VOC_PREFIX, help="folder to write to")
    add("--voc", type=Path, default=FOLDER / VOC["filename"], help="archive, or unpacked folder")
    add("--sbd", type=Path, default=FOLDER / SBDataset.filename, help="archive, or unpacked folder")
    add("--download", action="store_true", help="download the archives that are not there")
    options = vars(parser.parse_args())
    try:
        found = prepare(options.pop("root"), **options)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"prepare.py: error: {error}")
    print(f"images with annotation and mask\n{format_counts(found, COUNTS)}")


def prepare(
    root: Path,
    *,
    voc: Path,
    sbd: Path,
    download: bool = False,
    expected: Mapping[str, int] = COUNTS,
) -> dict[str, int]:
    """Write the data set.

    Args:
        root: Folder to write to.
        voc: VOC's archive, or the folder it was unpacked to; only read if files are missing.
        sbd: SBD's archive or folder, likewise.
        download: Download an archive that is needed and not there.
        expected: Number of images of each list.

    Returns:
        For each list, how many images have an image file, an annotation and a mask.

    Raises:
        FileNotFoundError: An archive is needed and not there.
        ValueError: A damaged archive or mask, or a list of another length than expected.
        ImportError: SBD's masks are to be read, and scipy is not installed.
        OSError: A download failed, or a file cannot be written.
    """
    source = Archive(voc, "--voc", VOC["url"], VOC["md5"], VOC_PREFIX)
    source_sbd = Archive(sbd, "--sbd", SBDataset.url, SBDataset.md5, SBD_PREFIX)

    fetch(source, root, [f"{LISTS}/train.txt", f"{LISTS}/val.txt"], download=download)
    train, val = (read_list(root / LISTS / f"{name}.txt") for name in ("train", "val"))
    train_aug = _train_aug(root, train, val, source_sbd, download)
    lists = {"train": train, "train_aug": train_aug, "val": val}
    check_counts({name: len(ids) for name, ids in lists.items()}, expected, root)
    if not (root / LISTS / "train_aug.txt").is_file():
        atomic_write_text(root / LISTS / "train_aug.txt", "\n".join(train_aug) + "\n")

    official, all_ids = [*train, *val], [*train_aug, *val]
    files = [f"{MASKS}/{i}.png" for i in official]
    files += [f"JPEGImages/{i}.jpg" for i in all_ids] + [f"Annotations/{i}.xml" for i in all_ids]
    fetch(source, root, files, download=download)
    for name in absent(root / MASKS_AUG, [f"{i}.png" for i in official]):
        with atomic_write(root / MASKS_AUG / name) as file:
            file.write((root / MASKS / name).read_bytes())
    _convert_masks(root, train_aug, source_sbd, download)

    patterns = ("JPEGImages/{}.jpg", "Annotations/{}.xml", f"{MASKS_AUG}/{{}}.png")
    found = {name: count_complete(root, ids, patterns) for name, ids in lists.items()}
    check_counts(found, expected, root)
    return found


def _train_aug(
    root: Path, train: list[str], val: list[str], sbd: Archive, download: bool
) -> list[str]:
    """VOC train in its order, then the other ids of SBD train and val but VOC val, sorted.

    A list that is there already, as many projects publish it, is taken as it stands.
    """
    path = root / LISTS / "train_aug.txt"
    if not path.is_file():
        fetch(sbd, root / SBD_LISTS, ["train.txt", "val.txt"], download=download)
        listed = {
            i for name in ("train", "val") for i in read_list(root / SBD_LISTS / f"{name}.txt")
        }
        return [*train, *sorted(listed - {*train, *val})]
    ids = read_list(path)
    lacking, held = {*train} - {*ids}, {*val} & {*ids}
    if lacking or held:
        raise ValueError(
            f"{path}: expected all of train and none of val, but {len(lacking)} images of train "
            f"are not in it and {len(held)} of val are; delete it to have it made from SBD's lists"
        )
    return ids


def _convert_masks(root: Path, ids: Sequence[str], sbd: Archive, download: bool) -> None:
    """Write SBD's masks of those ids that have no mask yet."""
    missing = absent(root / MASKS_AUG, [f"{i}.png" for i in ids])
    members = [f"cls/{Path(name).stem}.mat" for name in missing]
    for member, content in read_members(sbd, members, download=download):
        image_id, name = Path(member).stem, f"{sbd.path}: {member}"
        mask = read_sbd_mask(content, name)
        size = image_size(root / f"JPEGImages/{image_id}.jpg")
        if mask.shape != size:
            raise ValueError(
                f"{name}: a mask of (height, width) {mask.shape}, but JPEGImages/{image_id}.jpg "
                f"{'cannot be read' if size is None else f'is {size}'}"
            )
        write_mask(root / MASKS_AUG / f"{image_id}.png", mask)


def read_sbd_mask(content: bytes, name: str) -> np.ndarray:
    """The class mask in a .mat file of SBD: field ``Segmentation`` of the struct ``GTcls``.

    scipy's reader takes the file apart as data. It calls no MATLAB and unpickles nothing, so that
    a file can be wrong, but not run anything.

    Args:
        content: The file.
        name: Its name, for errors.

    Returns:
        (H, W) uint8, 0 background, 1..20 VOC's classes. SBD marks no pixel to be ignored.

    Raises:
        ImportError: scipy is not installed.
        ValueError: No such file, or a damaged one.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(
            "SBD's masks are .mat files, which scipy reads: pip install 'wsss[voc12]'"
        ) from error
    try:
        found = loadmat(io.BytesIO(content), variable_names=["GTcls"])
        mask = np.asarray(found["GTcls"]["Segmentation"][0, 0])
    except Exception as error:  # a damaged file can raise any: the reader promises no kind
        raise ValueError(
            f"{name}: expected SBD's struct GTcls with the field Segmentation "
            f"({type(error).__name__}: {error})"
        ) from error
    if mask.ndim != 2 or mask.dtype.kind not in "iu" or not mask.size:
        raise ValueError(f"{name}: expected whole numbers of (H, W), got {mask.dtype} {mask.shape}")
    if mask.min() < 0 or mask.max() > len(VOC_CLASSES):
        raise ValueError(
            f"{name}: expected values 0..{len(VOC_CLASSES)}, got {mask.min()}..{mask.max()}"
        )
    return mask.astype(np.uint8)


if __name__ == "__main__":
    main()
