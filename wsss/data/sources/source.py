"""Record of a data source: how it is read, recognised and checked."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from wsss.data.config import DataConfig
from wsss.data.sources.detection import Folder, Found
from wsss.data.sources.items import Lister, Reader


class Evidence(IntEnum):
    """Kinds of evidence for a layout, from the hardest to mistake to the easiest.

    One folder may satisfy several detectors: COCO's train2017/ and val2017/ look like classes, and
    lists of ids lie beside CSV files. The strongest evidence is asked for first.
    """

    FORMAT = 0
    """A file in a format of its own, which holds images and labels together."""
    ROWS = 1
    """A general file, such as CSV, whose rows name images that are there."""
    LISTS = 2
    """Lists that name images that are there, with labels to be found elsewhere."""
    NAMES = 3
    """Nothing but how folders are called."""


def accept(config: DataConfig) -> None:
    """Demand nothing of the configuration."""


@dataclass(frozen=True)
class DataSource:
    """Data source of one layout. It is one line in `wsss.data.sources.SOURCES`.

    Args:
        read: Reads the images of a split.
        detect: Describes the folder if it is laid out so, for `wsss init`; else gives None. It may
            raise ValueError where it is, but cannot be used.
        evidence: What ``detect`` goes by.
        all_items: Reads all images, or those in the files of a split, without a list; None if a
            list alone tells them.
        check: Raises ValueError, naming the key, if the configuration is not one that ``read`` can
            use. It opens no file: configurations are made where the data set is not.
    """

    read: Reader
    detect: Callable[[Folder], Found | None]
    evidence: Evidence
    all_items: Lister | None = None
    check: Callable[[DataConfig], None] = accept
