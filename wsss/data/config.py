"""Configuration of a data set: its files, its classes, and the layout that relates them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wsss.data.storage import below, is_remote, require_whole, to_path
from wsss.data.tiles import TileConfig
from wsss.ignore import IGNORE

if TYPE_CHECKING:
    Root = Path
else:

    class Root(Path):
        """Any path; `wsss.pipeline.settings` tells the data set's own from others by this name."""


VOC_CLASSES: dict[str, int] = {
    "aeroplane": 1,
    "bicycle": 2,
    "bird": 3,
    "boat": 4,
    "bottle": 5,
    "bus": 6,
    "car": 7,
    "cat": 8,
    "chair": 9,
    "cow": 10,
    "diningtable": 11,
    "dog": 12,
    "horse": 13,
    "motorbike": 14,
    "person": 15,
    "pottedplant": 16,
    "sheep": 17,
    "sofa": 18,
    "train": 19,
    "tvmonitor": 20,
}
"""The 20 foreground classes of PASCAL VOC with their values in the masks."""


@dataclass(frozen=True)
class CSVFormat:
    """Format of a CSV file of labels.

    Args:
        delimiter: Between columns, one character.
        separator: Between labels in a cell; a space stands for any white space.
        image: Column of the images: ids, or paths below the folder of images.
        labels: Column of the labels. A file without it has a column of 0 and 1 for each class.
        split: Column of the image's split; it need not exist.
        mask: Column of the mask's path below the folder of masks; it need not exist.
    """

    delimiter: str = ","
    separator: str = " "
    image: str = "image"
    labels: str = "labels"
    split: str = "split"
    mask: str = "mask"

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise ValueError(f"data.csv.delimiter: expected one character, got {self.delimiter!r}")
        if not self.separator or self.separator in ('"', self.delimiter):
            raise ValueError(
                f"data.csv.separator: expected something else than the delimiter "
                f"{self.delimiter!r}, got {self.separator!r}"
            )
        columns = (self.image, self.labels, self.split, self.mask)
        if not all(columns) or len(set(columns)) < len(columns):
            raise ValueError(f"data.csv: expected four different column names, got {columns}")

    def names(self, cell: str) -> list[str]:
        """Split a cell into its labels; a list such as ``['cat', 'dog']`` is read as one."""
        listed = in_brackets(cell)
        if listed is not None:
            return listed
        parts = cell.split() if self.separator == " " else cell.split(self.separator)
        return [part.strip() for part in parts if part.strip()]


_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)"|([^\s,;'"][^,;'"]*)""")


_PAIRS = re.compile(r"""['"]([^'"]*)['"]\s*:\s*([\w.]+)""")


def in_brackets(cell: str) -> list[str] | None:
    """Read the texts of a list as Python, NumPy and JSON write it; None for any other text."""
    cell = cell.strip()
    inner = cell[1:-1]
    # round and curly brackets may belong to a name
    quoted = cell[:1] + cell[-1:] in ("()", "{}") and inner.strip()[:1] in ("'", '"')
    if len(cell) < 2 or not (cell[0] + cell[-1] == "[]" or quoted):
        return None
    pairs = _PAIRS.findall(inner) if cell[0] == "{" else []
    if pairs:  # a dict of classes and whether they are there
        return [name for name, value in pairs if value.lower() in ("1", "1.0", "true")]
    if re.fullmatch(r"[\d.\s]+", inner):  # numbers as NumPy writes them
        return inner.split()
    texts = ("".join(found).strip() for found in _QUOTED.findall(inner))
    return [text for text in texts if text]


@dataclass(frozen=True)
class DataConfig:
    """A data set: images, their labels and, for scoring, masks.

    What a split holds is said by the list ``<split>.txt`` in ``lists`` if there is one; else by
    ``{split}`` in ``labels`` or ``images``, which stands for the split's name, or by the CSV's
    column ``split``.

    Args:
        root: Folder that holds the data set, or a URL such as s3://bucket/voc. In a YAML file, a
            relative one is below the folder of that file. All other paths are relative to it; they
            too may be URLs.
        classes: Name of each foreground class and its value (1..254) in the masks. The order is
            the order of the classifier's outputs.
        layout: Which source says what images there are, a name in the table of `wsss.data.sources`.
            ``voc``: lists of ids, with labels by id; ``csv``: the rows of a CSV file are the
            images; ``folders``: a folder of images for each class; ``coco``: instances JSON, whose
            masks are drawn when they are read.
        labels: Layouts voc and csv: CSV file, see ``csv``; voc also a ``.npy`` file of irn or psa
            (id to multi-hot), or ``null`` for the VOC XML files in ``annotations``. Layout coco:
            the JSON file, such as ``annotations/instances_{split}.json``.
        csv: How the CSV file is written.
        other_labels: What to do with a label that is not among ``classes``: ``error`` refuses it,
            ``ignore`` leaves it out (to train on a subset of a data set's classes).
        images: Folder of the images.
        masks: Folder of the ground-truth masks: indexed or grey PNG, 0 = background, 255 = ignore.
        lists: Folder of the split lists, ``<split>.txt`` with one image id a line.
        annotations: Folder of the VOC XML files.
        grey_bits: Of photographs in 16-bit grey, and of bands of 16 bits, how many bits are used,
            8..16: 12 for many cameras and microscopes. Photographs of 8 bits are what they are.
        bands: Numbers of the bands of an image that are read, from 1 on, such as [3, 2, 1, 4]; the
            first three are shown as red, green and blue. The network's model.normalisation has as
            many; the CRF and PAMR compare all of them. ``null`` reads photographs.
        tiles: Windows in which large images are seen, each an image of its own in all that follows;
            TIFF is never read whole. ``null`` takes images whole.
    """

    root: Root
    classes: dict[str, int] = field(default_factory=lambda: dict(VOC_CLASSES))
    layout: str = "voc"
    labels: Path | None = Path("labels.csv")
    csv: CSVFormat = CSVFormat()
    other_labels: Literal["error", "ignore"] = "error"
    images: Path = Path("JPEGImages")
    masks: Path = Path("SegmentationClass")
    lists: Path = Path("ImageSets/Segmentation")
    annotations: Path = Path("Annotations")
    grey_bits: int = 16
    bands: tuple[int, ...] | None = None
    tiles: TileConfig | None = None

    def __post_init__(self) -> None:
        # imported here: the readers in the table take this class
        from wsss.data.sources import SOURCES

        for key in ("root", "labels", "images", "masks", "lists", "annotations"):
            given = getattr(self, key)
            if isinstance(given, str):  # as a script writes it
                object.__setattr__(self, key, to_path(given))
        require_whole(self.root, "data.root")
        if self.layout not in SOURCES:
            raise ValueError(
                f"data.layout: expected one of {', '.join(SOURCES)}, got {self.layout!r}"
            )
        if not 8 <= self.grey_bits <= 16:
            raise ValueError(f"data.grey_bits: expected 8..16, got {self.grey_bits}")
        if self.bands is not None and not (3 <= len(self.bands) <= 16 and min(self.bands) >= 1):
            raise ValueError(
                f"data.bands: expected 3 to 16 numbers from 1 on, got {list(self.bands)}"
            )
        if is_remote(self.root) and (self.bands is not None or self.tiles is not None):
            raise ValueError("data.bands, data.tiles: are read from local files alone")
        if not self.classes:
            raise ValueError("data.classes: expected at least one class, got none")
        for name, value in self.classes.items():
            if not isinstance(name, str):
                raise ValueError(
                    f"data.classes: {name!r}: put the name in quotes; without them YAML reads no, "
                    "on, 12, 1e3 and null as something else than text"
                )
            # every stage has the background as class 0 of its own
            if name == "background":
                raise ValueError("data.classes: 'background' is the name of what is no class")
            if not name.strip() or name != name.strip() or not name.isprintable():
                raise ValueError(
                    f"data.classes: class name {name!r} is empty, or begins or ends with a space, "
                    "or cannot be printed"
                )
            if not 1 <= value < IGNORE:
                raise ValueError(
                    f"data.classes.{name}: expected a mask value in 1..254, got {value}"
                )
        if len(set(self.classes.values())) != len(self.classes):
            raise ValueError(f"data.classes: two classes share a mask value: {self.classes}")
        # last: the source may take the rest for sound
        SOURCES[self.layout].check(self)

    def at(self, part: Path, split: str | None = None) -> Path:
        """Resolve one of the paths: below the root, unless it is absolute or a URL.

        Args:
            part: The path.
            split: Replaces ``{split}`` in it.
        """
        if split is not None and "{split}" in str(part):
            part = to_path(str(part).replace("{split}", split))
        return below(self.root, part)

    @property
    def class_names(self) -> list[str]:
        """Names of the K foreground classes in output order."""
        return list(self.classes)


def require_classes(found: Mapping[str, int], data: DataConfig, path: Path) -> None:
    """Refuse a checkpoint whose classes, values or order differ from the data set's."""
    if list(found.items()) != list(data.classes.items()):
        raise ValueError(
            f"checkpoint {path} was trained on the classes {dict(found)}, but data.classes is "
            f"{data.classes}"
        )
