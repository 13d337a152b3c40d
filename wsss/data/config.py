"""Where a data set lies and which classes it has."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wsss.data.storage import below, require_whole

IGNORE = 255
"""Mask value of pixels that are neither trained on nor scored."""

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
class DataConfig:
    """A data set in VOC layout.

    Args:
        root: Folder that holds the data set, or a URL such as s3://bucket/voc. All other paths are
            relative to it; they too may be URLs.
        classes: Name of each foreground class and its value (1..254) in the masks. The order is
            the order of the classifier's outputs.
        labels: CSV file with the columns ``image,labels`` (labels separated by spaces). ``null``
            reads the labels from VOC XML files in ``annotations`` instead.
        other_labels: What to do with a label that is not among ``classes``: ``error`` refuses it,
            ``ignore`` leaves it out (to train on a subset of a data set's classes).
        images: Folder of the images.
        masks: Folder of the ground-truth masks: indexed or grey PNG, 0 = background, 255 = ignore.
        lists: Folder of the split lists, ``<split>.txt`` with one image id a line.
        annotations: Folder of the VOC XML files.
    """

    root: Path
    classes: dict[str, int] = field(default_factory=lambda: dict(VOC_CLASSES))
    labels: Path | None = Path("labels.csv")
    other_labels: Literal["error", "ignore"] = "error"
    images: Path = Path("JPEGImages")
    masks: Path = Path("SegmentationClass")
    lists: Path = Path("ImageSets/Segmentation")
    annotations: Path = Path("Annotations")

    def __post_init__(self) -> None:
        require_whole(self.root, "data.root")
        if not self.classes:
            raise ValueError("data.classes: expected at least one class, got none")
        for name, value in self.classes.items():
            if name == "background":
                raise ValueError("data.classes: 'background' is the name of what is no class")
            if not name or any(character.isspace() for character in name):
                raise ValueError(
                    f"data.classes: class name {name!r} is empty or holds a space; labels are "
                    "separated by spaces, so write for example 'potted_plant'"
                )
            if not 1 <= value < IGNORE:
                raise ValueError(
                    f"data.classes.{name}: expected a mask value in 1..254, got {value}"
                )
        if len(set(self.classes.values())) != len(self.classes):
            raise ValueError(f"data.classes: two classes share a mask value: {self.classes}")

    def at(self, part: Path) -> Path:
        """Where one of the paths lies: below the root, unless it is absolute or a URL."""
        return below(self.root, part)

    @property
    def class_names(self) -> list[str]:
        """Names of the K foreground classes in output order."""
        return list(self.classes)
