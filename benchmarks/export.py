"""How well polygons hold real masks, against the usual `cv2.findContours`.

    python benchmarks/export.py --data configs/voc-animals/data.yaml --split val --json FILE

Each class of each image is written as polygons and read back, for COCO by pycocotools, for YOLO by
Ultralytics' own functions where it is installed, else by the same steps. The usual way traces outer
contours through the middles of pixels. IoU is over the pixels of a class in an image; seconds are
of this machine.
"""

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from jsonargparse import auto_cli
from pycocotools import mask as coco_mask
from ratios import write_ratios

from wsss.data import DataConfig, read_mask
from wsss.data.records import load_records
from wsss.export.polygons import mask_polygons
from wsss.export.regions import Picture, find_regions
from wsss.export.yolo import yolo_lines
from wsss.pipeline.settings import CommandParser

try:
    from ultralytics.data.utils import polygon2mask
    from ultralytics.utils.ops import resample_segments
except ImportError:
    polygon2mask = resample_segments = None


def main(data: DataConfig, split: str, masks: Path | None = None, json: Path | None = None) -> None:
    """Measure and print.

    Args:
        data: The data set.
        split: The list.
        masks: Folder of the masks; null: the ground truth's.
        json: File to write the numbers to.
    """
    folder = data.at(data.masks) if masks is None else masks
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "coco_polygons": through_coco,
        "yolo": through_yolo,
        "usual_coco": usual_coco,
        "usual_yolo": usual_yolo,
    }
    ious: dict[str, list[float]] = {name: [] for name in ways}
    wrong = dict.fromkeys(ways, 0)
    seconds = dict.fromkeys(ways, 0.0)
    areas = []
    records = load_records(data, split, with_labels=False)
    for record in records:
        values = read_mask(folder / f"{record.image_id}.png")
        for value in sorted(set(np.unique(values).tolist()) & set(data.classes.values())):
            mask = values == value
            areas.append(int(mask.sum()))
            for name, way in ways.items():
                start = time.perf_counter()
                read = way(mask)
                seconds[name] += time.perf_counter() - start
                wrong[name] += int((read ^ mask).sum())
                ious[name].append((read & mask).sum() / (read | mask).sum())
    numbers = {"images": len(records), "masks": len(areas), "smallest_area": min(areas)}
    for name, found in ious.items():
        numbers[f"{name}_smallest_iou"] = float(min(found))
        numbers[f"{name}_mean_iou"] = float(np.mean(found))
        numbers[f"{name}_below_98"] = sum(bool(iou < 0.98) for iou in found)
        numbers[f"{name}_wrong_pixels"] = wrong[name]
        numbers[f"{name}_ms_a_mask"] = 1000 * seconds[name] / len(found)
    numbers["by_ultralytics"] = int(polygon2mask is not None)
    write_ratios(numbers, json)


def through_coco(mask: np.ndarray) -> np.ndarray:
    """COCO polygons, read by pycocotools."""
    return by_pycocotools(mask_polygons(mask), mask.shape)


def through_yolo(mask: np.ndarray) -> np.ndarray:
    """Lines of a YOLO label file, read by Ultralytics."""
    picture = Picture("", *mask.shape)
    regions = find_regions(mask.astype(np.uint8), {"class": 1}, instances="components", min_area=1)
    lines = yolo_lines(regions, picture, ["class"]).splitlines()
    return by_ultralytics(
        [np.array(line.split()[1:], dtype=np.float32).reshape(-1, 2) for line in lines], mask.shape
    )


def usual_coco(mask: np.ndarray) -> np.ndarray:
    """Contours of cv2.findContours, read by pycocotools, which wants at least three points."""
    return by_pycocotools([c for c in contours(mask) if len(c) > 2], mask.shape)


def usual_yolo(mask: np.ndarray) -> np.ndarray:
    """Contours of cv2.findContours, normalised, read by Ultralytics."""
    size = np.array(mask.shape[::-1])
    segments = [(c / size).astype(np.float32) for c in contours(mask) if len(c) > 2]
    return by_ultralytics(segments, mask.shape)


def contours(mask: np.ndarray) -> list[np.ndarray]:
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [contour[:, 0] for contour in found]


def by_pycocotools(polygons: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    if not polygons:
        return np.zeros(shape, dtype=bool)
    runs = coco_mask.frPyObjects([polygon.ravel().tolist() for polygon in polygons], *shape)
    return coco_mask.decode(coco_mask.merge(runs)).astype(bool)


def by_ultralytics(segments: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Points between the corners, pixels in place of shares, int32, and fillPoly."""
    read = np.zeros(shape, dtype=np.uint8)
    size = np.array(shape[::-1], dtype=np.float32)
    count = max([1000, *(len(segment) + 1 for segment in segments)])
    if resample_segments is not None:
        segments = resample_segments(list(segments), n=count)
    for segment in segments:
        if polygon2mask is not None:
            read |= polygon2mask(shape, [(segment * size).reshape(-1)])
        else:
            cv2.fillPoly(read, [(segment * size).astype(np.int32)], 1)
    return read > 0


if __name__ == "__main__":
    auto_cli(main, as_positional=False, parser_class=CommandParser)
