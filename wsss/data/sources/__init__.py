"""The images of a split, by whatever a data set says which they are: a reader for each layout."""

from collections.abc import Mapping

from wsss.data.config import Layout
from wsss.data.sources.class_folders import folder_items, read_class_folders
from wsss.data.sources.coco import coco_items, read_coco
from wsss.data.sources.items import Item, Reader, read_list
from wsss.data.sources.table import read_table, table_items
from wsss.data.sources.voc import read_voc

__all__ = ["ALL_ITEMS", "SOURCES", "Item", "Reader", "read_list"]

SOURCES: Mapping[Layout, Reader] = {
    "voc": read_voc,
    "csv": read_table,
    "folders": read_class_folders,
    "coco": read_coco,
}
"""The reader of each layout."""

ALL_ITEMS = {"csv": table_items, "folders": folder_items, "coco": coco_items}
"""All images of the layouts that can tell without a list."""
