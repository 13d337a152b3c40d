"""Records of the images of one split: ids, paths and, if asked for, image-level labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsss.data.config import DataConfig
from wsss.data.images import ImageSource, file_of, image_size, read_image, rgb
from wsss.data.labels import label_vector
from wsss.data.masks import MaskSource, MaskWindow
from wsss.data.rasters import Raster, Window
from wsss.data.sources import SOURCES, Item
from wsss.data.sources.tile_labels import labelled_tiles
from wsss.data.storage import is_remote
from wsss.data.tiles import TileConfig, grid, tile_id


class Tile(NamedTuple):
    """Place of a tile.

    Args:
        whole: Id of the large image.
        window: Its pixels there.
        size: (height, width) of the large image.
        grid: Whether it is one of the tiles that cover the large image; others have labels of
            their own.
        bag: Whether its labels are those of the whole, each true of one tile at least.
    """

    whole: str
    window: Window
    size: tuple[int, int]
    grid: bool
    bag: bool


@dataclass(frozen=True)
class Record:
    """One image of a data set.

    Args:
        image_id: Its id, any string that can name a file.
        image: Path of the image, or the bands or the window of it.
        mask: Path of its ground-truth mask, which need not exist, or the mask to draw.
        labels: (K,) float32 multi-hot, or None where labels were not asked for.
        grey_bits: See `wsss.data.images.read_image`.
        tile: Where it lies, if it is a tile of a large image.
    """

    image_id: str
    image: ImageSource
    mask: MaskSource
    labels: np.ndarray | None
    grey_bits: int = 16
    tile: Tile | None = None

    def read(self) -> np.ndarray:
        """Read the image, (H, W, C) uint8; see `wsss.data.images.read_image`."""
        return read_image(self.image, self.grey_bits)

    def shown(self) -> np.ndarray:
        """Read what can be shown of the image: (H, W, 3) uint8 RGB, of bands the first three."""
        return rgb(self.read())


def load_records(
    config: DataConfig,
    split: str,
    *,
    with_labels: bool,
    limit: int | None = None,
) -> list[Record]:
    """Load the images of a split, in their order.

    Args:
        config: The data set.
        split: Name of the split, such as ``train``.
        with_labels: Read the image-level labels too. Masks are never opened here.
        limit: Keep only the first images of the list, before they are cut into tiles.

    Raises:
        FileNotFoundError, ValueError: A file is missing or wrong; the message names it, and the
            line or entry.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "labels.csv").write_text("image,split,labels\\na.jpg,train,dog\\n")
        ...     Path(folder, "a.jpg").touch()
        ...     classes = {"cat": 1, "dog": 2}
        ...     data = DataConfig(folder, classes=classes, layout="csv", images=Path("."))
        ...     [record] = load_records(data, "train", with_labels=True)
        >>> record.image_id, record.labels.tolist()
        ('a', [0.0, 1.0])
    """
    if not config.root.is_dir():
        far = is_remote(config.root) or config.root.is_absolute()
        where = "" if far else f", looked for in {Path.cwd()}"
        raise FileNotFoundError(f"data.root: no such folder: {config.root}{where}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit: expected at least 1 image, got {limit}")
    tiles = config.tiles
    read = SOURCES[config.layout].read
    if with_labels and tiles is not None and tiles.labels is not None:
        items = read(config, split, with_labels=False, limit=limit)
        return [
            replace(tile, labels=label_vector(config, item))
            for item, window in labelled_tiles(config, items)
            for tile in tiles_of(_whole(config, item), tiles, [window], item.origin)
        ]
    records = []
    for item in read(config, split, with_labels=with_labels, limit=limit):
        whole = _whole(config, item)
        if with_labels:
            whole = replace(whole, labels=label_vector(config, item))
        records += [whole] if tiles is None else tiles_of(whole, tiles, None, item.origin)
    return records


def _whole(config: DataConfig, item: Item) -> Record:
    """Make the record of an image as it lies in its file, without labels."""
    return Record(item.image_id, image_of(config, item), item.mask, None, config.grey_bits)


def image_of(config: DataConfig, item: Item) -> ImageSource:
    """Find how a whole image is read: as a photograph, or by its bands."""
    return item.image if config.bands is None else Raster(item.image, config.bands)


def tiles_of(
    whole: Record, config: TileConfig, windows: Sequence[Window] | None = None, origin: str = ""
) -> list[Record]:
    """Cut an image into tiles, with its labels.

    Args:
        whole: The image.
        config: The grid.
        windows: Tiles whose own labels are known; None lays the grid.
        origin: File and line that name the image or tile, for errors.

    Returns:
        The tiles; of an image that cannot be opened, itself, which fails where it is read.

    Raises:
        ValueError: A window ends outside of the image.
    """
    file, _ = file_of(whole.image)
    bands = whole.image.bands if isinstance(whole.image, Raster) else None
    image = Raster(file, bands)
    size = image_size(image)
    where = f"{origin}: " if origin else ""
    if size is None:
        return [replace(whole, image=image)]
    bag = windows is None and config.labels is None
    records = []
    for window in grid(size, config) if windows is None else windows:
        if window.top + window.height > size[0] or window.left + window.width > size[1]:
            raise ValueError(
                f"{where}the tile of {window.width} pixels at row {window.top}, column "
                f"{window.left} ends outside of {file}, which is {size[1]} x {size[0]} pixels"
            )
        assert not isinstance(whole.mask, MaskWindow)
        records.append(
            replace(
                whole,
                image_id=tile_id(whole.image_id, window),
                image=Raster(file, bands, window),
                mask=MaskWindow(whole.mask, window),
                tile=Tile(whole.image_id, window, size, windows is None, bag),
            )
        )
    return records
