"""What `tolerance` of `wsss import` takes for no correction, of outlines that a tool draws anew.

    python benchmarks/tolerance.py --data configs/voc-animals/data.yaml --split val --json FILE

Masks of the ground truth stand for those that were made. Untouched: each object comes back as its
outer contour (`cv2.findContours`, through the middles of pixels), simplified by 0, 1 or 2 pixels
(`cv2.approxPolyDP`): how many of the masks are called corrected. Objects with holes come back
without them, so those masks are. Corrected: the made masks are those of the ground truth, eroded by
3 pixels: which share of the pixels that the correction gave back is taken.
"""

from pathlib import Path

import cv2
import numpy as np
from jsonargparse import auto_cli
from ratios import write_ratios

from wsss.data import DataConfig, read_mask
from wsss.data.records import load_records
from wsss.export.regions import Picture, find_regions
from wsss.pipeline.importing.annotated import polygon_pixels
from wsss.pipeline.importing.merging import Form, merged, sent_values
from wsss.pipeline.settings import CommandParser

TOLERANCES = (0, 1, 2, 3)
ERODED = 3


def main(data: DataConfig, split: str, json: Path | None = None) -> None:
    """Measure and print.

    Args:
        data: The data set.
        split: The list.
        json: File for the numbers.
    """
    form = Form("coco", dict(data.classes), "components", 1)
    truths = [read_mask(record.mask) for record in load_records(data, split, with_labels=False)]
    numbers: dict[str, float] = {"masks": len(truths)}
    for simplified in (0, 1, 2):
        called = dict.fromkeys(TOLERANCES, 0)
        for made in truths:
            sent = _sent(made, form)
            back = _traced_anew(sent, form, simplified)
            for tolerance in TOLERANCES:
                changed = merged(made, sent, back, tolerance=tolerance).changed_pixels
                called[tolerance] += changed > 0
        for tolerance, count in called.items():
            numbers[f"untouched, simplified {simplified}, tolerance {tolerance}"] = count
    taken = dict.fromkeys(TOLERANCES, 0)
    for truth in truths:
        made = _eroded(truth, form)
        sent, back = _sent(made, form), _sent(truth, form)
        for tolerance in TOLERANCES:
            taken[tolerance] += merged(made, sent, back, tolerance=tolerance).changed_pixels
    for tolerance, pixels in taken.items():
        numbers[f"corrected, share taken, tolerance {tolerance}"] = pixels / taken[0]
    write_ratios(numbers, json)


def _sent(values: np.ndarray, form: Form) -> np.ndarray:
    return sent_values(values, Picture("x.jpg", *values.shape), form)


def _traced_anew(values: np.ndarray, form: Form, simplified: int) -> np.ndarray:
    """Draw each object as the polygon of its outer contour."""
    canvas = np.zeros_like(values)
    for region in find_regions(values, form.categories, instances="components", min_area=1):
        contours, _ = cv2.findContours(
            region.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        for contour in contours:
            points = cv2.approxPolyDP(contour, simplified, True).reshape(-1, 2)
            corner = np.array([region.left, region.top])
            canvas[polygon_pixels(points + corner, values.shape)] = form.categories[region.category]
    return canvas


def _eroded(values: np.ndarray, form: Form) -> np.ndarray:
    """Take pixels from the outlines of all objects, but where the picture cuts them."""
    square = np.ones((2 * ERODED + 1, 2 * ERODED + 1), dtype=np.uint8)
    left = values.copy()
    for value in form.categories.values():
        whole = (values == value).astype(np.uint8)
        left[(whole > 0) & (cv2.erode(whole, square, borderValue=1) == 0)] = 0
    return left


if __name__ == "__main__":
    auto_cli(main, as_positional=False, parser_class=CommandParser)
