"""Source for a folder of images for each class: ``images/cat/1.jpg`` is a cat."""

from pathlib import Path

from wsss.data.config import DataConfig
from wsss.data.images import image_names
from wsss.data.listing import list_images
from wsss.data.sources.detection import SPLITS, Folder, Found, mask_folder, with_classes
from wsss.data.sources.items import Item, distinct, selected
from wsss.data.sources.source import DataSource, Evidence

NO_CLASS = ("background", "none")
"""Names of folders whose images show no class."""


def read_class_folders(
    config: DataConfig, split: str, *, with_labels: bool, limit: int | None
) -> list[Item]:
    """Read the images below the classes' folders; see `wsss.data.sources.items.Reader`.

    An image's id is ``<class>/<path below>``. Of an image that lies in two folders, each copy is an
    image with one label. A folder that is called ``none``, or as ``background``, holds images
    without any class.
    """
    return selected(folder_items, config, split, "images")[:limit]


def folder_items(config: DataConfig, split: str = "") -> list[Item]:
    """Read all images below the classes' folders."""
    folder = config.at(config.images, split)
    if not folder.is_dir():
        raise FileNotFoundError(f"data.images: no such folder: {folder}")
    masks = config.at(config.masks, split)
    files = {}
    # where masks lie beside the classes, they are none
    for relative in list_images(folder, without=masks).images:
        name, inside, _ = relative.partition("/")
        if inside:
            files[relative] = (name, folder / relative)
    files = dict(sorted(files.items()))
    if not files:
        raise ValueError(f"{folder}: expected a folder of images for each class, found none")
    # the class's folder is part of the id: cat/1.jpg and dog/1.jpg are two images
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


def detect_class_folders(folder: Folder) -> Found | None:
    """Recognise a folder of images for each class, possibly inside of one for each split."""
    # a folder of masks is no class beside the others
    place = mask_folder(folder)
    images = [name for name in folder.images if place is None or not name.startswith(f"{place}/")]
    for prefix in ("", "images/", "data/"):
        inside = [name[len(prefix) :] for name in images if name.startswith(prefix)]
        first = {name.split("/")[0] for name in inside if "/" in name}
        second = {name.split("/")[1] for name in inside if name.count("/") >= 2}
        splits = sorted(first & set(SPLITS))
        # train/cat/1.jpg: every upper folder is a split; a class beside them would be in none
        if splits and first == set(splits) and second:
            images_in, names = f"{prefix}{{split}}", second
        # cat/1.jpg: an image beside the folders would have no class, and a single folder is rather
        # the one that holds all photographs than the only class
        elif len(first) > 1 and not splits and all("/" in name for name in inside):
            images_in, names = prefix.rstrip("/") or ".", first
        else:
            continue
        found = Found(
            f"a folder of images for each class, in {images_in}",
            "folders",
            settings={"images": Path(images_in)},
            splits=splits,
        )
        return with_classes(found, names - set(NO_CLASS), folder)
    return None


CLASS_FOLDERS = DataSource(
    read=read_class_folders,
    detect=detect_class_folders,
    evidence=Evidence.NAMES,
    all_items=folder_items,
)
