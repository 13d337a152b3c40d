"""A folder of images for each class: ``images/cat/1.jpg`` is a cat."""

from collections.abc import Iterator
from pathlib import Path

from wsss.data.config import DataConfig
from wsss.data.images import image_names, is_image_name
from wsss.data.sources.items import Item, distinct, selected
from wsss.data.storage import folder_names


def read_class_folders(
    config: DataConfig, split: str, *, with_labels: bool, limit: int | None
) -> list[Item]:
    """The images below the classes' folders; see `wsss.data.sources.items.Reader`.

    An image's id is ``<class>/<path below>``. Of an image that lies in two folders, each copy is an
    image with one label. A folder that is called ``none``, or as ``background``, holds images
    without any class.
    """
    return selected(folder_items, config, split, "images")[:limit]


def folder_items(config: DataConfig, split: str = "") -> list[Item]:
    """All images below the classes' folders."""
    folder = config.at(config.images, split)
    if not folder.is_dir():
        raise FileNotFoundError(f"data.images: no such folder: {folder}")
    masks = config.at(config.masks, split)
    files = {
        path.relative_to(folder).as_posix(): (name, path)
        for name in sorted(folder_names(folder))
        for path in sorted(_images(folder / name))
    }
    if not files:
        raise ValueError(f"{folder}: expected a folder of images for each class, found none")
    ids = image_names(files)
    return distinct(
        Item(
            ids[relative],
            path,
            masks / f"{ids[relative]}.png",
            [] if name in NO_CLASS else [name],
            str(path),
        )
        for relative, (name, path) in files.items()
    )


NO_CLASS = ("background", "none")
"""Names of folders whose images show no class."""


def _images(folder: Path) -> Iterator[Path]:
    """The images in a folder and the folders inside it."""
    for path in folder.rglob("*"):
        if is_image_name(path.name) and path.is_file():
            yield path
