"""Faults of a data set: in an image and its mask alone, and in the images of a split together."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image

from wsss.data.colours import read_colours
from wsss.data.config import DataConfig
from wsss.data.drawn import DrawnMask
from wsss.data.images import ImageReadError, image_size, pixel_digest, read_image
from wsss.data.masks import black_and_white_text, read_mask
from wsss.data.rasters import Raster, Window
from wsss.data.sources import Item
from wsss.ignore import IGNORE

Severity = Literal["error", "warning", "note"]

SEVERITY: Mapping[str, Severity] = {
    "split": "error",
    "missing image": "error",
    "unreadable image": "error",
    "duplicate across splits": "error",
    "unknown label": "error",
    "class without images": "error",
    "unreadable mask": "error",
    "colour-encoded mask": "error",
    "mask value out of range": "error",
    "black and white masks": "error",
    "mask of another size": "error",
    "duplicate": "warning",
    "missing mask": "warning",
    "class with few images": "warning",
    "classes always together": "warning",
    "label without pixels": "warning",
    "pixels without label": "warning",
    "mask without a scored pixel": "warning",
    "image of one colour": "warning",
    "small image": "warning",
    "images without a label": "note",
    "labels of tiles": "note",
    "no masks": "note",
    "file in no split": "note",
}
"""Each kind of finding. An error spoils a training or a score, a warning is to be looked at."""

SMALL = 32
"""Pixels of the shorter side below which an image is small: the stride of most networks."""


class Finding(NamedTuple):
    """Fault of the data set, or a fact to know before training on it.

    Args:
        kind: A key of `SEVERITY`.
        split: The split, or several joined by a comma.
        image: The image's id, or an empty text where it is about the whole split.
        file: The file that shows it, or an empty text.
        message: What was found and what was expected.
    """

    kind: str
    split: str
    image: str
    file: str
    message: str

    @property
    def severity(self) -> Severity:
        """Severity of the finding."""
        return SEVERITY[self.kind]


@dataclass
class CheckedImage:
    """Image with its findings, and the facts that the checks of a whole split compare.

    Args:
        split: Its split.
        item: The image.
        findings: What is wrong with it alone.
        content: Digest of every eighth row of its pixels; None if it cannot be read.
        size: (height, width), or None.
        pixels: Pixels of each mask value; None without a mask that can be read.
    """

    split: str
    item: Item
    findings: list[Finding] = field(default_factory=list)
    content: bytes | None = None
    size: tuple[int, int] | None = None
    pixels: dict[int, int] | None = None

    def add(self, kind: str, file: object, message: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(kind, self.split, self.item.image_id, str(file), message))


def check_image(item: Item, split: str, config: DataConfig, has_mask: bool) -> CheckedImage:
    """Decode an image and its mask, and compare them with each other and with the labels.

    Args:
        item: The image.
        split: Its split.
        config: The data set.
        has_mask: Whether its mask is there.
    """
    checked = CheckedImage(split, item)
    try:
        size, image = _seen(item.image, config)
    except FileNotFoundError:
        checked.add("missing image", item.image, f"named in {item.origin}")
    except (ImageReadError, OSError) as error:
        checked.add("unreadable image", item.image, str(error))
    else:
        _check_pixels(checked, image, size)
    if has_mask:
        _check_mask(checked, config)
    return checked


def _seen(image: Path, config: DataConfig) -> tuple[tuple[int, int], np.ndarray]:
    """Read the size of an image and its pixels, of a large one those of the tile in its middle."""
    tiled = config.tiles is not None or config.bands is not None
    source = Raster(image, config.bands) if tiled else image
    size = image_size(source) if config.tiles is not None else None
    if size is None or config.tiles is None:
        pixels = read_image(source, config.grey_bits)  # or says why not
        return (pixels.shape[0], pixels.shape[1]), pixels
    height, width = (min(config.tiles.size, length) for length in size)
    window = Window((size[0] - height) // 2, (size[1] - width) // 2, height, width)
    return size, read_image(Raster(image, config.bands, window), config.grey_bits)


def _check_pixels(checked: CheckedImage, image: np.ndarray, size: tuple[int, int]) -> None:
    """Note size and digest of an image, (H, W, C) uint8, and what is odd about them."""
    height, width = checked.size = size
    checked.content = pixel_digest(image, rows=8)
    if min(height, width) < SMALL:
        checked.add("small image", checked.item.image, f"{width} x {height} pixels")
    # two corners rule out nearly all photographs before every pixel is compared
    if (image[0, 0] == image[-1, -1]).all() and (image == image[0, 0]).all():
        checked.add(
            "image of one colour", checked.item.image, f"all pixels are {image[0, 0].tolist()}"
        )


def _check_mask(checked: CheckedImage, config: DataConfig) -> None:
    """Decode the mask, and compare it with the photograph, the classes and the labels."""
    mask = checked.item.mask
    try:
        values = read_mask(mask)
    except (OSError, ValueError) as error:
        coloured = not isinstance(mask, DrawnMask) and read_colours(mask) is not None
        checked.add("colour-encoded mask" if coloured else "unreadable mask", mask, str(error))
        return
    if checked.size is not None and values.shape != checked.size:
        checked.add(
            "mask of another size", mask, _sizes(checked.item.image, values.shape, checked.size)
        )
    # in blocks, since OpenCV counts in float32, which is exact up to 2**24
    blocks = np.array_split(values, 1 + values.size // 2**24)
    parts = [cv2.calcHist([block], [0], None, [256], [0, 256]).ravel() for block in blocks]
    counts = np.stack(parts).sum(axis=0, dtype=np.int64)
    checked.pixels = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    known = {0, IGNORE, *config.classes.values()}
    unknown = [value for value in checked.pixels if value not in known]
    if unknown:
        checked.add(
            "mask value out of range",
            mask,
            f"value {', '.join(map(str, unknown))}; expected 0 (background), "
            f"{', '.join(map(str, config.classes.values()))} or {IGNORE} (ignore)",
        )
    # such a mask adds nothing to any score
    if set(checked.pixels) == {IGNORE}:
        checked.add("mask without a scored pixel", mask, f"all pixels are {IGNORE}")
    if checked.item.labels is None:
        return
    # a wrong label costs more than a wrong mask: the classifier is trained on nothing else
    given = set(checked.item.labels)
    shown = {name for name, value in config.classes.items() if value in checked.pixels}
    for name in sorted(given & set(config.classes) - shown):
        checked.add("label without pixels", mask, f"{name!r} is a label, but no pixel has it")
    for name in sorted(shown - given):
        area = checked.pixels[config.classes[name]]
        checked.add("pixels without label", mask, f"{area} pixels of {name!r}, which is no label")


def _sizes(image: Path, mask: tuple[int, ...], size: tuple[int, int]) -> str:
    # a common reason: annotation tools ignore the camera's orientation, `read_image` does not
    text = f"{mask[1]} x {mask[0]} pixels, but {image} is {size[1]} x {size[0]}"
    if mask == size[::-1] and _is_turned(image):
        text += "; the photograph is turned by its EXIF orientation, the mask is not"
    return text


def _is_turned(path: Path) -> bool:
    try:
        with path.open("rb") as opened, Image.open(opened) as image:
            return image.size == image_size(path)
    except OSError:
        return False


def check_together(
    checked: Sequence[CheckedImage], config: DataConfig, *, train: str | None, few: int
) -> list[Finding]:
    """Find the faults that no image has alone: duplicates, and labels that are short of images.

    Args:
        checked: All images of all splits.
        config: The data set.
        train: The split that trains; its classes must have images.
        few: Number of images below which a class has few.
    """
    findings = _duplicates(checked, config)
    by_split: dict[str, list[CheckedImage]] = defaultdict(list)
    for one in checked:
        by_split[one.split].append(one)
    for split, part in by_split.items():
        # of large images, tiles are learned from
        counted = split == train and (config.tiles is None or config.tiles.labels is None)
        findings += _labels(split, part, config, few if counted else None)
        findings += _black_and_white(split, part, config)
    return findings


def _black_and_white(
    split: str, checked: Sequence[CheckedImage], config: DataConfig
) -> list[Finding]:
    """Find masks that all hold only 0 and 255, where white was meant to be a class."""
    masked = [one for one in checked if one.pixels is not None]
    found = set().union(*(one.pixels or {} for one in masked))
    if found != {0, IGNORE}:
        return []
    first = next(one for one in masked if IGNORE in (one.pixels or {}))
    text = black_and_white_text(len(masked), first.item.mask, config.classes)
    return [Finding("black and white masks", split, "", "", text)]


def _duplicates(checked: Iterable[CheckedImage], config: DataConfig) -> list[Finding]:
    """Find images with the pixels, or the file, of another image."""
    # the digest of every eighth row sorts out nearly all; only those that share it are read again
    alike: dict[object, list[CheckedImage]] = defaultdict(list)
    for one in checked:
        if one.content is not None:
            alike[one.content].append(one)
    groups: dict[object, list[CheckedImage]] = defaultdict(list)
    for one in itertools.chain(*(part for part in alike.values() if len(part) > 1)):
        groups[pixel_digest(_seen(one.item.image, config)[1], rows=1)].append(one)
    # a file in two splits is the same picture even where it cannot be read; its id alone is not:
    # each split may have a folder of its own
    by_file: dict[object, list[CheckedImage]] = defaultdict(list)
    for one in checked:
        by_file[one.item.image].append(one)
    findings = []
    told = set()
    for group in itertools.chain(groups.values(), by_file.values()):
        # one finding for copies that are found both by their pixels and by their file
        places = tuple(dict.fromkeys((one.split, one.item.image_id) for one in group))
        if len(places) < 2 or places in told:
            continue
        told.add(places)
        splits = list(dict.fromkeys(split for split, _ in places))
        text = ", ".join(f"{name} ({split})" for split, name in places)
        findings.append(
            Finding(
                "duplicate across splits" if len(splits) > 1 else "duplicate",
                ", ".join(splits),
                places[0][1],
                str(group[0].item.image),
                f"the same picture: {text}",
            )
        )
    return findings


def _place_of_labels(config: DataConfig, split: str) -> Path:
    """The file, or else the folder, in which the labels of a split stand."""
    if config.layout == "folders":
        return config.at(config.images, split)
    labels = config.annotations if config.labels is None else config.labels
    return config.at(labels, split)


def _labels(
    split: str, checked: Sequence[CheckedImage], config: DataConfig, few: int | None
) -> list[Finding]:
    """Find classes with too few images or always given together, and images without a label."""
    if any(one.item.labels is None for one in checked):
        return []
    counts = label_counts(checked, config)
    # sets of labels with their counts: a data set has far fewer of them than images
    together = Counter(
        frozenset(set(one.item.labels or ()) & set(config.classes)) for one in checked
    )
    findings = []
    empty = [one for one in checked if not one.item.labels]
    if empty:
        text = f"{len(empty)} of {len(checked)} images, for example {empty[0].item.image_id!r}"
        findings.append(Finding("images without a label", split, "", empty[0].item.origin, text))
    # classes that are rare in a validation split are no fault
    if few is None:
        return findings
    for name, count in counts.items():
        if count == 0:
            text = f"no image has the label {name!r}"
            place = str(_place_of_labels(config, split))
            findings.append(Finding("class without images", split, "", place, text))
        elif count < few:
            text = f"{count} images have the label {name!r}; expected at least {few}"
            findings.append(Finding("class with few images", split, "", "", text))
    for name, other in itertools.permutations(config.classes, 2):
        with_name = [names for names in together if name in names]
        if with_name and all(other in names for names in with_name):
            if counts[other] == counts[name] and name > other:
                continue  # said once of a pair
            text = f"{name!r} is never there without {other!r}: labels cannot tell them apart"
            findings.append(Finding("classes always together", split, "", "", text))
    return findings


def label_counts(checked: Iterable[CheckedImage], config: DataConfig) -> dict[str, int]:
    """Number of images with each class's label."""
    counts = Counter(name for one in checked for name in set(one.item.labels or ()))
    return {name: counts[name] for name in config.classes}


def unknown_labels(items: Iterable[Item], split: str, config: DataConfig) -> list[Finding]:
    """Labels that are not among the classes, where those are refused."""
    if config.other_labels == "ignore":
        return []
    return [
        Finding(
            "unknown label",
            split,
            item.image_id,
            item.origin,
            f"{name!r}; expected one of {', '.join(config.classes)}",
        )
        for item in items
        for name in sorted(set(item.labels or ()) - set(config.classes))
    ]
