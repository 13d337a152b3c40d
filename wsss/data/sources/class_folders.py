"""Source for a folder of images for each class: ``images/cat/1.jpg`` is a cat."""

import os
from collections.abc import Iterable, Set
from pathlib import Path
from typing import NamedTuple

from wsss.data.config import DataConfig
from wsss.data.images import image_names
from wsss.data.listing import list_images
from wsss.data.mask_folders import mask_folders
from wsss.data.sources.detection import Folder, Found, find_lists, with_classes
from wsss.data.sources.items import Item, distinct, real_labels
from wsss.data.sources.lists import selected
from wsss.data.sources.source import DataSource, Evidence
from wsss.data.splits import is_split
from wsss.data.storage import is_remote


def read_class_folders(
    config: DataConfig, split: str, *, with_labels: bool, limit: int | None
) -> list[Item]:
    """Read the images below the classes' folders; see `wsss.data.sources.items.Reader`.

    An image's id is ``<class>/<path below>``. Of an image that lies in two folders, each copy is an
    image with one label. A folder that is called none or background holds images without any
    class.
    """
    return selected(folder_items, config, split, "images")[:limit]


def folder_items(config: DataConfig, split: str = "") -> list[Item]:
    """Read all images below the classes' folders."""
    folder = config.at(config.images, split)
    if not folder.is_dir():
        raise FileNotFoundError(f"data.images: no such folder: {folder}")
    masks = config.at(config.masks, split)
    files = {}
    # where masks lie beside the classes, or inside of them, they are no photographs
    names = list_images(folder, without=masks).images
    places = [
        p for p in mask_folders(names, folder) if p.split("/")[0] not in config.classes or "/" in p
    ]
    others = tuple(f"{place}/" for place in places)
    for relative in (name for name in names if not name.startswith(others)):
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
            real_labels([name], config.classes),
            str(path),
        )
        for relative, (name, path) in files.items()
    )


_GENERIC = {"images", "image", "img", "imgs", "jpegimages", "photos", "data", "labels", "masks"}
"""Names of folders, in small letters, that hold the images of a split and are no class."""


class _Tree(NamedTuple):
    """Folders of images below one folder.

    Args:
        beside: Images that lie in no folder below it.
        direct: The images that lie in each folder itself.
        nested: Folders inside each folder that hold images.
    """

    beside: list[str]
    direct: dict[str, list[str]]
    nested: dict[str, set[str]]

    @classmethod
    def of(cls, names: Iterable[str]) -> "_Tree":
        """Sort images by the folders of their relative names."""
        tree = cls([], {}, {})
        for name in names:
            first, *rest = name.split("/")
            if not rest:
                tree.beside.append(name)
            elif len(rest) == 1:
                tree.direct.setdefault(first, []).append(name)
            else:
                tree.nested.setdefault(first, set()).add(rest[0])
        return tree

    def splits(self) -> list[str]:
        """Folders that hold a folder for each class: by their names, or because all hold the same.

        A class may be called as a split is; it stands beside others and holds its images itself.
        """
        strays = all(map(is_split, self.direct.keys() | self.nested.keys()))
        within = {
            name: inside
            for name, inside in self.nested.items()
            if (strays or name not in self.direct)
            and not {one.lower() for one in inside} <= _GENERIC
        }
        named = sorted(name for name in within if is_split(name))
        if named:
            # one that is misspelt, or of another language, holds the same classes
            classes = set().union(*(within[name] for name in named))
            return sorted(
                n for n in within if n in named or 2 * len(within[n] & classes) > len(classes)
            )
        shared = frozenset.intersection(*map(frozenset, within.values())) if within else frozenset()
        every = frozenset().union(*within.values())
        same = len(within) > 1 and len(shared) > 1 and 2 * len(shared) >= len(every)
        same = same and not all(map(is_split, shared))
        return sorted(within) if same and not self.direct else []


def detect_class_folders(folder: Folder) -> Found | None:
    """Recognise a folder of images for each class, possibly inside of one for each split."""
    # a folder of masks is no class beside the others
    images = folder.photographs
    if not images:
        return None
    # an archive may be unpacked into a folder of its own
    common = os.path.commonpath([name.rpartition("/")[0] for name in images])
    for prefix in dict.fromkeys(("", f"{common}/" if common else "", "images/", "data/")):
        below = [name[len(prefix) :] for name in images if name.startswith(prefix)]
        tree = _Tree.of(below)
        double = not tree.direct and all(inside == {n} for n, inside in tree.nested.items())
        if double:  # train/train/cat/1.jpg, as archives are unpacked into folders of their name
            tree = _Tree.of(name.partition("/")[2] for name in below)
        splits = tree.splits()
        found: Found | None = None
        if splits:
            found = _with_splits(folder, tree, prefix, splits, double)
        elif double:
            continue
        # a single folder is rather the one that holds all photographs than the only class
        elif len(tree.direct.keys() | tree.nested.keys()) > 1:
            found = _classes(folder, tree, prefix)
        elif tree.direct and not tree.beside:
            (name,) = tree.direct
            folder.pass_over(
                f"{prefix}{name}", "a single folder of images; a class needs another to differ from"
            )
        if found is not None:
            return found
    return None


def _with_splits(
    folder: Folder, tree: _Tree, prefix: str, splits: list[str], double: bool
) -> Found:
    """Describe folders of classes in one for each split, or in one of its name inside of that."""
    images_in = f"{prefix}{{split}}/{{split}}" if double else f"{prefix}{{split}}"
    for name in sorted((tree.direct.keys() | tree.nested.keys()) - set(splits)):
        folder.pass_over(f"{prefix}{name}", f"a folder beside {splits[0]}, which is a split")
    strays = [name for split in splits for name in tree.direct.get(split, [])]
    for name in (*tree.beside, *strays):
        folder.pass_over(f"{prefix}{name}", "it lies in no folder of a class")
    found = Found(
        f"a folder of images for each class, in {images_in}",
        "folders",
        settings={"images": Path(images_in)},
        splits=splits,
    )
    for split in splits:
        _note_empty(found, folder.path / images_in.replace("{split}", split), tree.nested[split])
    return with_classes(found, set().union(*(tree.nested[split] for split in splits)), folder)


def _classes(folder: Folder, tree: _Tree, prefix: str) -> Found | None:
    """Describe a folder for each class; None, and why, where they are none."""
    names = tree.direct.keys() | tree.nested.keys()
    if tree.beside:
        for name in tree.beside:
            folder.pass_over(
                f"{prefix}{name}",
                f"it lies beside the folders {', '.join(sorted(names)[:3])}: were they classes, it "
                "would have none",
            )
        return None
    for name in sorted(names):
        if all(map(is_split, names)):
            why = "called as a split, but without a folder for each class"
        elif tree.nested and all(map(is_split, set().union(*tree.nested.values()))):
            why = "it holds splits of its own: give such a folder to wsss init"
        else:
            break
        folder.pass_over(f"{prefix}{name}", why)
    else:
        return None
    found = Found(
        f"a folder of images for each class, in {prefix.rstrip('/') or '.'}",
        "folders",
        settings={"images": Path(prefix.rstrip("/") or ".")},
    )
    _note_empty(found, folder.path / prefix, names)
    lists = find_lists(folder, prefix.rstrip("/") or ".")
    if lists is not None:
        found.settings["lists"], found.splits = Path(lists[0]), lists[1]
    for name, inside in sorted(tree.nested.items()):
        found.notes.append(f"all in {prefix}{name} is {name!r}, {', '.join(sorted(inside))} too")
    return with_classes(found, set(names), folder)


def _note_empty(found: Found, place: Path, names: Set[str]) -> None:
    """Note folders beside those of the classes that hold no image."""
    if is_remote(place) or not place.is_dir():
        return
    inside = {one for one in place.iterdir() if one.is_dir() and not one.name.startswith(".")}
    # what else lies there is spoken of elsewhere, or holds what is no image
    empty = sorted(one.name for one in inside if one.name not in names and not any(one.iterdir()))
    if empty:
        found.notes.append(f"no image is in {', '.join(map(repr, empty))}, folders in {place.name}")


CLASS_FOLDERS = DataSource(
    read=read_class_folders,
    detect=detect_class_folders,
    evidence=Evidence.NAMES,
    all_items=folder_items,
)
