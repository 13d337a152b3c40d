"""Labels of the tiles of large images: a row for each in a CSV file."""

from collections.abc import Iterable
from dataclasses import replace

from wsss.data.config import DataConfig
from wsss.data.images import is_image_name
from wsss.data.rasters import Window
from wsss.data.sources.items import Item, distinct, file_name, real_labels
from wsss.data.sources.rows import NOTHING
from wsss.data.sources.sheet import read_sheet
from wsss.data.tiles import tile_id


def labelled_tiles(config: DataConfig, items: Iterable[Item]) -> list[tuple[Item, Window]]:
    """Read the labels of tiles, in the order of the file; tiles of other images are left out.

    Args:
        config: A data set whose ``tiles`` have ``labels``.
        items: The images of a split, without labels.

    Returns:
        For each tile its image, with the labels of the tile, and the window.

    Raises:
        FileNotFoundError, ValueError: The file is missing, or a row is wrong; the message names
            file and line.
    """
    assert config.tiles is not None
    assert config.tiles.labels is not None
    form, side = config.csv, config.tiles.size
    path = config.at(config.tiles.labels)
    if not path.is_file():
        raise FileNotFoundError(f"label file not found: {path} (data.tiles.labels)")
    sheet = read_sheet(path, form.delimiter)
    wanted = [form.image, "top", "left", form.labels]
    missing = [name for name in wanted if name not in sheet.columns]
    if missing:
        raise ValueError(
            f"{sheet.header}: expected the columns {', '.join(wanted)}, got {sheet.columns}"
        )
    by_name: dict[str, Item] = {}
    for item in items:
        file = item.image.as_posix().removeprefix(f"{config.root.as_posix()}/")
        for name in (item.image_id, file, item.image.name):
            by_name.setdefault(name, item)
    found = []
    for cells, origin in zip(sheet.rows, sheet.origins, strict=True):
        name = file_name(cells[form.image])
        bare = name.rpartition(".")[0] if is_image_name(name) else name
        one = by_name.get(name) or by_name.get(bare)
        if one is None:
            continue  # of another split
        window = Window(_pixel(cells, "top", origin), _pixel(cells, "left", origin), side, side)
        labels = real_labels(form.names(cells[form.labels]), config.classes, NOTHING)
        found.append((replace(one, labels=labels, origin=origin), window))
    if not found:
        raise ValueError(f"{path}: no row names an image of the split (data.tiles.labels)")
    distinct(replace(item, image_id=tile_id(item.image_id, window)) for item, window in found)
    return found


def _pixel(cells: dict[str, str], name: str, origin: str) -> int:
    """Read a row or column of pixels."""
    try:
        value = float(cells[name])
    except ValueError:
        value = -1
    if value < 0 or value != int(value):
        raise ValueError(f"{origin}, column {name!r}: expected a pixel, got {cells[name]!r}")
    return int(value)
