"""Sources of a split's images: one for each layout of a data set."""

from wsss.data.sources.class_folders import CLASS_FOLDERS
from wsss.data.sources.coco import COCO
from wsss.data.sources.items import Item, Reader
from wsss.data.sources.lists import read_list
from wsss.data.sources.source import DataSource, Evidence
from wsss.data.sources.table import TABLE
from wsss.data.sources.voc import VOC

__all__ = ["SOURCES", "DataSource", "Evidence", "Item", "Reader", "read_list"]

SOURCES: dict[str, DataSource] = {
    "voc": VOC,
    "csv": TABLE,
    "folders": CLASS_FOLDERS,
    "coco": COCO,
}
"""Each layout's source. A new one is a file in this folder and a line here; its name is what
``data.layout`` takes."""
