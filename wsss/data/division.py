"""Division of a recognised data set into images that train and images that validate."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsss.data.config import DataConfig
from wsss.data.sources import SOURCES, Item
from wsss.data.sources.detection import Found
from wsss.data.splits import train_and_val

_SHARE = 0.2
"""Share of images held out for validation where a data set has no split of its own."""


class Division(NamedTuple):
    """What trains and what validates.

    Args:
        config: The data set.
        train: Name of the split that trains.
        val: Name of the split that validates.
        items: The images of both.
        lists: Images of the lists that have to be written, by split; none where the data set says
            itself which images its splits have.
    """

    config: DataConfig
    train: str
    val: str
    items: tuple[list[Item], list[Item]]
    lists: Mapping[str, Sequence[Item]]


def divide(found: Found, root: Path, lists: Path, seed: int) -> Division:
    """Divide a data set by its own splits, or by a draw.

    Every split is used, or named in the notes of what was found.

    Args:
        found: What was recognised; notes are added.
        root: Its folder.
        lists: Folder of the lists, should they have to be written.
        seed: Of the draw.

    Raises:
        ValueError: A file of the data set is wrong, or nothing says which images there are.
    """
    # where {split} chooses the files, an image belongs to the split in whose files it is
    templates = any("{split}" in str(value) for value in found.settings.values())
    parts = {split: _items_of(found, root, split) for split in found.splits}
    for split in [split for split, part in parts.items() if not part]:
        found.notes.append(f"the split {split!r} has no images")
        del parts[split]
    every = [item for part in parts.values() for item in part]
    _leave_unlabelled(found, parts)
    train, val = train_and_val(parts)
    if parts:
        _note_unlisted(found, root, every)
    if templates and len(parts) == 1:
        _without_template(found, next(iter(parts)))
    if (train is None or val is None) and templates and len(parts) > 1:
        train, val = _by_size(found, parts, train, val)
    if train is not None and val is not None:
        _note_the_rest(found, parts, {train, val})
        _note_shared(found, parts, (train, val))
        written = {} if found.listed else {split: parts[split] for split in (train, val)}
        config = found.config(root, **({"lists": lists} if written else {}))
        return Division(config, train, val, (parts[train], parts[val]), written)
    return _drawn(found, root, lists, seed, parts, train, val)


def _leave_unlabelled(found: Found, parts: dict[str, list[Item]]) -> None:
    """Leave out splits of which no image has a label where others have: what is to be guessed."""
    labelled = {split for split, part in parts.items() if any(item.labels for item in part)}
    for split in [split for split in parts if split not in labelled and labelled]:
        found.notes.append(
            f"no image of {split!r} has a label; its {len(parts.pop(split))} images are not used"
        )


def _without_template(found: Found, split: str) -> None:
    """Let a data set whose files are those of one split have none."""
    for key, value in found.settings.items():
        if "{split}" in str(value):
            found.settings[key] = Path(str(value).replace("{split}", split))


def _items_of(found: Found, root: Path, split: str) -> list[Item]:
    """Read the images of a split."""
    source = SOURCES[found.layout]
    config = found.config(root)
    if not found.listed and source.all_items is not None:
        return source.all_items(config, split)
    return source.read(config, split, with_labels=True, limit=None)


def _by_size(
    found: Found, parts: Mapping[str, Sequence[Item]], train: str | None, val: str | None
) -> tuple[str, str]:
    """Choose by their sizes the splits that no name says the purpose of."""
    largest = sorted(parts, key=lambda split: (-len(parts[split]), split))
    if train is None:
        train = next(split for split in largest if split != val)
    if val is None:
        val = next(split for split in largest if split != train)
    found.notes.append(
        f"{train!r} trains and {val!r} validates, by the number of their images; swap train_split "
        "and val_split in run.yaml if that is wrong"
    )
    return train, val


def _note_the_rest(found: Found, parts: Mapping[str, Sequence[Item]], used: set[str]) -> None:
    """Note the splits that no step uses."""
    rest = {split: len(part) for split, part in parts.items() if split not in used}
    if rest:
        named = ", ".join(f"{split!r} ({count} images)" for split, count in rest.items())
        found.notes.append(f"no step uses {named}")


_FOLDERS = 4
"""Folders of unused images that are named one by one."""


def _note_unlisted(found: Found, root: Path, items: Sequence[Item]) -> None:
    """Note images that lie among those of the data set, and that nothing tells the labels of."""
    # a link, or a path of another writing, is the same file
    used = {item.image.resolve() for item in items}
    used |= {item.mask.resolve() for item in items if isinstance(item.mask, Path)}
    left: dict[str, list[str]] = {}
    for name in found.files:
        if (root / name).resolve() not in used:
            left.setdefault(name.rpartition("/")[0] or ".", []).append(name)
    for place, names in list(left.items())[:_FOLDERS]:
        found.notes.append(
            f"{len(names)} images in {place} are not used, for example {names[0]}: no row, list or "
            "annotation that is used names them"
        )
    if len(left) > _FOLDERS:
        rest = sum(map(len, list(left.values())[_FOLDERS:]))
        found.notes.append(f"{rest} images in {len(left) - _FOLDERS} more folders are not used")


def _note_shared(found: Found, parts: Mapping[str, Sequence[Item]], used: tuple[str, str]) -> None:
    """Note images that train and validate."""
    # files of two folders may have one name
    train, val = ({item.image for item in parts[split]} for split in used)
    shared = sorted(str(path) for path in train & val)
    if shared:
        found.notes.append(
            f"{len(shared)} images are in {used[0]!r} and in {used[1]!r}, for example {shared[0]}"
        )


def _drawn(
    found: Found,
    root: Path,
    lists: Path,
    seed: int,
    parts: Mapping[str, Sequence[Item]],
    train: str | None,
    val: str | None,
) -> Division:
    """Draw what validates, unless a split does, and write lists of both."""
    if train is not None:
        source = {train: parts[train]}
    elif val is not None and len(parts) > 1:
        source = {split: part for split, part in parts.items() if split != val}
    else:  # val or test alone are what there is to draw both from
        source = dict(parts)
        val = None
        if len(parts) > 1:
            found.notes.append(
                f"{', '.join(map(repr, parts))} are joined: no name says what trains"
            )
    rest = {split: part for split, part in parts.items() if split not in source and split != val}
    _note_the_rest(found, rest, set())
    config = found.config(root, lists=lists)
    if parts:
        items = list({item.image_id: item for part in source.values() for item in part}.values())
    else:
        listing = SOURCES[found.layout].all_items
        if listing is None:
            raise ValueError(f"{root}: {found.what}, but no split says which images there are")
        items = listing(config)
        _note_unlisted(found, root, items)
    if not items:
        raise ValueError(f"{root}: {found.what}, but no image was found")
    if val is None:
        divided = split_images(items, _SHARE, seed)
        found.notes.append(
            f"no split of its own: {len(divided[0])} images train, {len(divided[1])} validate "
            f"(drawn at random, seed {seed}; photographs of one scene belong into one list)"
        )
        if len(divided[0]) == len(items):
            found.notes.append(
                f"{divided[1][0].image_id} trains and validates: every image is the only one of "
                "some class"
            )
    else:
        held = {item.image_id for item in parts[val]}
        divided = [item for item in items if item.image_id not in held], list(parts[val])
        found.notes.append(
            f"{', '.join(map(repr, source))} without the images of {val!r} train, {val!r} validates"
        )
        if not divided[0]:
            raise ValueError(f"{root}: all images are in {val!r}, and none is left to train on")
    written = {"train": divided[0], "val": divided[1]}
    return Division(config, "train", "val", divided, written)


def split_images(items: Sequence[Item], share: float, seed: int) -> tuple[list[Item], list[Item]]:
    """Hold out a share of the images, about the same of each class.

    Args:
        items: Images with labels.
        share: Of the images that are held out.
        seed: Of the order in which they are drawn.

    Returns:
        The rest and those held out, in the given order. The last image of a class is never held
        out: where all are the last of one, one image is in both.
    """
    if len(items) == 1:
        return list(items), list(items)
    wanted = max(1, round(share * len(items)))
    totals = Counter(name for item in items for name in set(item.labels or ()))
    left, held = Counter(totals), Counter[str]()
    out: set[int] = set()
    order = np.random.default_rng(seed).permutation(len(items)).tolist()
    # images of rare classes choose first: later, those of common ones may have taken all the room
    order.sort(key=lambda i: min((totals[name] for name in items[i].labels or ()), default=10**9))
    room = {name: share * count for name, count in totals.items()}
    # images without a label are held out alike, so that false alarms are seen
    empty = share * sum(not item.labels for item in items)
    for index in order:
        names = set(items[index].labels or ())
        # of each class no more than its share, though at least one; and one stays to be trained on
        fits = all(held[name] + 1 <= max(1, room[name]) and left[name] > 1 for name in names)
        if len(out) < wanted and fits and (names or empty >= 1):
            empty -= not names
            out.add(index)
            held.update(names)
            left.subtract(names)
    # every image may be the only one of its class; something has to be validated on
    if not out and items[order[-1]].labels:
        return list(items), [items[order[-1]]]
    out = out or {order[-1]}
    return (
        [item for index, item in enumerate(items) if index not in out],
        [item for index, item in enumerate(items) if index in out],
    )
