"""CVAT's own format, "CVAT for images 1.1" (https://docs.cvat.ai/docs/dataset_management/formats)."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from wsss.export.regions import Picture, Region


def cvat_xml(
    pictures: Sequence[Picture],
    regions: Iterable[Sequence[Region]],
    colours: Mapping[str, str],
) -> Iterator[str]:
    """Yield an annotation file, piece by piece.

    Args:
        pictures: The images.
        regions: Regions of each image, in the same order; asked for one image at a time.
        colours: Name of each class, and its colour as ``#rrggbb``.
    """
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
    yield f"<meta><task><size>{len(pictures)}</size><mode>annotation</mode><labels>\n"
    for name, colour in colours.items():
        yield f"<label><name>{escape(name)}</name><color>{escape(colour)}</color>"
        yield "<type>mask</type><attributes></attributes></label>\n"
    yield "</labels></task></meta>\n"
    for number, (picture, found) in enumerate(zip(pictures, regions, strict=True)):
        yield f'<image id="{number}" name={quoteattr(picture.name)} '
        yield f'width="{picture.width}" height="{picture.height}">\n'
        for region in found:
            height, width = region.mask.shape
            runs = ", ".join(map(str, run_lengths(region.mask)))
            yield f'<mask label={quoteattr(region.category)} source="auto" occluded="0" '
            yield f'rle="{runs}" left="{region.left}" top="{region.top}" '
            yield f'width="{width}" height="{height}" z_order="0"></mask>\n'
        yield "</image>\n"
    yield "</annotations>\n"


def cvat_labels(colours: Mapping[str, str]) -> str:
    """Labels as CVAT's label constructor takes them under "Raw" when a task is made."""
    labels = [
        {"name": name, "color": colour, "type": "mask", "attributes": []}
        for name, colour in colours.items()
    ]
    return json.dumps(labels, ensure_ascii=False, indent=1) + "\n"


def run_lengths(mask: np.ndarray) -> list[int]:
    """Lengths of the runs of equal pixels of a (h, w) bool mask, row by row.

    The first counts pixels outside, and is 0 where the first pixel is inside.
    """
    # a pixel outside in front makes the first run one of these, a different one behind ends the
    # last
    flat = np.concatenate([[False], mask.ravel(), [not mask.ravel()[-1]]])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(length) for length in np.diff(np.append(0, ends))]


def mask_of_runs(runs: Sequence[int], height: int, width: int) -> np.ndarray:
    """Decode the runs of `run_lengths` into a (height, width) bool mask.

    Raises:
        ValueError: They do not add up to as many pixels.
    """
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(
            f"rle: expected runs that add up to {height} x {width} = {height * width} pixels, got "
            f"{sum(runs)}"
        )
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
