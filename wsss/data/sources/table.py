"""Source for CSV files: image and labels in a row, or a column of 0 and 1 for each class."""

from pathlib import Path

from wsss.data.config import DataConfig
from wsss.data.images import find_below, find_files, find_images, image_names, is_image_name
from wsss.data.sources.items import Item, distinct, label_file
from wsss.data.sources.lists import chosen, list_of, mask_file, no_split
from wsss.data.sources.rows import Row, check_class_names, name_inside, rows_of
from wsss.data.sources.source import DataSource, Evidence
from wsss.data.sources.table_detection import detect_table


def read_table(
    config: DataConfig, split: str, *, with_labels: bool, limit: int | None
) -> list[Item]:
    """Read the images of a CSV file's rows; see `wsss.data.sources.items.Reader`."""
    path, rows = _rows(config, split)
    # who says which images a split has: a list, then the file's own name, then its column
    wanted = list_of(config, split)
    if wanted is not None:
        return chosen(_items(rows, config, split), wanted, config, split)[:limit]
    if "{split}" not in str(config.labels):
        if not rows or rows[0].split is None:
            raise ValueError(no_split(config, split, f"a column {config.csv.split!r} in {path}"))
        splits = sorted({str(row.split) for row in rows})
        rows = [row for row in rows if row.split == split]
        if not rows:
            raise ValueError(f"{path}: no row of the split {split!r}; there are {splits}")
    return _items(rows, config, split)[:limit]


def table_items(config: DataConfig, split: str = "") -> list[Item]:
    """Read all images of the file, whatever their split."""
    return _items(_rows(config, split)[1], config, split)


def _rows(config: DataConfig, split: str) -> tuple[Path, list[Row]]:
    path = config.at(label_file(config), split)
    if not path.is_file():
        raise FileNotFoundError(f"label file not found: {path} (data.labels)")
    rows = rows_of(path, config)
    if not rows:
        raise ValueError(f"{path}: expected at least one row below the header")
    return path, rows


def _items(rows: list[Row], config: DataConfig, split: str) -> list[Item]:
    """Build an item for each row, with the file that its text stands for."""
    folder, masks = config.at(config.images, split), config.at(config.masks, split)
    names = {row.image: name_inside(row.image, folder) for row in rows}
    # a cell is a file with its suffix, or an id whose file is searched in the folder
    files = dict.fromkeys(name for name in names.values() if is_image_name(name))
    ids = {name: name for name in names.values()} | image_names(files)
    found = find_images(folder, (name for name in names.values() if name not in files))
    found |= find_files(folder, files)
    found |= find_below(folder, found, masks)
    items = []
    for row in rows:
        name = names[row.image]
        mask = masks / f"{ids[name]}.png"
        if row.mask:
            mask = mask_file(row.mask, found[name], config, split)
        items.append(Item(ids[name], found[name], mask, row.labels, row.origin))
    return distinct(items)


def check_table(config: DataConfig) -> None:
    """Demand a file, and classes whose names fit into its cells."""
    check_class_names(config)
    label_file(config)


TABLE = DataSource(
    read=read_table,
    detect=detect_table,
    evidence=Evidence.ROWS,
    all_items=table_items,
    check=check_table,
)
