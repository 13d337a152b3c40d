"""Masks in the layout that the PASCAL VOC evaluation server takes."""

import io
import tarfile
from pathlib import Path

import numpy as np

from wsss.data.atomic import atomic_write
from wsss.data.masks import LabelMap, existing_masks, read_mask, write_mask
from wsss.data.records import Record
from wsss.ignore import IGNORE
from wsss.pipeline.evaluation.inputs import Files


def with_ground_truth(files: Files, split: str) -> list[tuple[Record, Path]]:
    """Choose the images to score of a list for the server: all, or none without ground truth.

    Raises:
        ValueError: Images of the list are not there, which the server refuses.
    """
    if len(files.found) < files.in_list:
        raise ValueError(
            f"voc_results: the server takes whole lists; of the {files.in_list} images of {split} "
            f"there are {len(files.found)}"
        )
    return files.found if existing_masks(record.mask for record, _ in files.found) else []


def write_voc_results(
    files: list[tuple[Record, Path]], output: Path, split: str, label_map: LabelMap
) -> Path:
    """Write results/VOC2012/Segmentation/comp6_<split>_cls/<id>.png and results.tgz.

    comp6 is the competition for networks trained on any data but VOC's test images. The files are
    indexed PNG with VOC's palette, as in the development kit (section "Segmentation"). The archive
    holds the images of the list and nothing else.

    Args:
        files: Images with their predicted masks.
        output: Folder that receives ``results`` and ``results.tgz``.
        split: Name of the list.
        label_map: The labels that may occur.

    Returns:
        The archive.

    Raises:
        ValueError: A mask holds 255, which the server refuses, or a value of no class.
    """
    folder = output / "results/VOC2012/Segmentation" / f"comp6_{split}_cls"
    # all are checked before the first is written: a refused archive leaves nothing behind
    for _, path in files:
        values = read_mask(path)
        label_map.to_index(values, path)
        if (values == IGNORE).any():
            raise ValueError(
                f"{path}: holds pixels without a label ({IGNORE}), which the VOC server refuses; "
                "make masks without background.ignore_below and ignore_above"
            )
    for record, path in files:
        write_mask(folder / f"{record.image_id}.png", np.ascontiguousarray(read_mask(path)))
    archive = output / "results.tgz"
    with atomic_write(archive) as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
        for record, _ in files:
            written = folder / f"{record.image_id}.png"
            name = written.relative_to(output).as_posix()
            content = written.read_bytes()
            entry = tarfile.TarInfo(name)  # of nobody, made in 1970
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive
