"""Recognition of COCO instances JSON, for `wsss init`."""

from collections.abc import Mapping, Set
from pathlib import Path

from wsss.data.images import composed
from wsss.data.sources.coco_format import CocoFile, load_coco
from wsss.data.sources.detection import Folder, Found, check_classes, find_lists, note_names
from wsss.data.sources.items import real_labels
from wsss.data.splits import choose_files, templated
from wsss.ignore import IGNORE


def detect_coco(folder: Folder) -> Found | None:
    """Recognise instances JSON, one file for each split or a single one."""
    files = _find_files(folder)
    if not files:
        return None
    chosen = choose_files(list(files))
    for name in chosen.others:
        folder.pass_over(
            name,
            f"{chosen.template} is used; call the files of all splits alike, such as train.json "
            "and val.json",
        )
    found = Found("", "coco", splits=list(chosen.by_split))
    used = {name: files[name] for name in chosen.used}
    _find_images(folder, found, chosen.by_split or {"": chosen.template}, files)
    images_in = found.settings["images"].as_posix()
    found.what = f"COCO instances JSON ({chosen.template}), images in {images_in}"
    found.settings["labels"] = Path(chosen.template)
    _join_categories(found, used)
    if not found.classes:
        raise ValueError(f"{folder.path / chosen.used[0]}: categories: expected at least one")
    check_classes(found, folder.path / chosen.used[0])
    lists = find_lists(folder, images_in) if "{split}" not in images_in else None
    if lists is not None and found.splits:
        for name in lists[1]:
            folder.pass_over(f"{lists[0]}/{name}.txt", f"the splits are those of {chosen.template}")
    elif lists is not None:
        found.settings["lists"], found.splits = Path(lists[0]), lists[1]
    return found


_MOST_FILES = 100
"""JSON files that are opened: tools that write one for each image are not COCO's."""


def _find_files(folder: Folder) -> dict[str, CocoFile]:
    """Find the COCO files in a folder and its folders, by their relative names."""
    files = {}
    names = folder.files(".json")
    if len(names) > _MOST_FILES:
        # a file of a whole data set is larger than one of an image
        largest = sorted(names, key=lambda name: -(folder.path / name).stat().st_size)
        for name in largest[_MOST_FILES:]:
            folder.pass_over(name, "of so many JSON files the largest are opened")
        names = [name for name in names if name in largest[:_MOST_FILES]]
    for name in folder.files(".jsonl"):
        folder.pass_over(name, "not read; make a CSV file of it")
    for name in names:
        path = folder.path / name
        # JSON files may be about anything, so that none is an error by itself
        try:
            loaded = load_coco(path)
        except RecursionError:
            folder.pass_over(name, "nested too deeply")
        except (OSError, ValueError) as error:
            folder.pass_over(name, error)
        else:
            if loaded.images:
                files[name] = loaded
            else:
                folder.pass_over(name, "it has no images")
    return files


def _join_categories(found: Found, files: Mapping[str, CocoFile]) -> None:
    """Join the categories of the splits' files by their names, and say in what they differ."""
    numbers: dict[str, set[int | None]] = {}
    for loaded in files.values():
        for name, number in loaded.categories.items():
            numbers.setdefault(name, set()).add(number)
    seen = {
        name for loaded in files.values() for image in loaded.images for name, *_ in image.objects
    }
    parents = frozenset().union(*(loaded.parents for loaded in files.values()))
    # Roboflow writes a first category that is the name of the project, the parent of the others
    roots = sorted(name for name in numbers if name not in seen and name in parents - {"None"})
    kept = [
        name for name in real_labels(numbers) if name not in roots or len(roots) == len(numbers)
    ]
    differing = [name for name in kept if len(numbers[name]) > 1]
    # COCO's ids go to 90 and are what its masks hold; those of other tools may not fit into a byte
    own = {name: n for name in kept for n in numbers[name] if isinstance(n, int) and 0 < n < IGNORE}
    fits = not differing and len(own) == len(set(own.values())) == len(kept)
    found.classes = own if fits else {name: i for i, name in enumerate(kept, start=1)}
    note_names(found, numbers)
    if len(kept) < len(numbers) and roots:
        found.notes.append(f"the category {roots[0]!r} has no objects, only others below it")
    if differing:
        found.notes.append(
            f"the files number {differing[0]!r} differently; categories are joined by their names"
        )
    for file, loaded in files.items():
        lacking = sorted(set(kept) - set(loaded.categories))
        if lacking:
            found.notes.append(f"{file} has no category {', '.join(map(repr, lacking))}")
    unseen = [name for name in kept if name not in seen]
    if unseen:
        found.notes.append(f"no image shows {', '.join(map(repr, unseen))}")


_PLACES = ("{split}", "images/{split}", "images", "JPEGImages", "data", ".")
_SAMPLE = 50
"""Images of a file that are looked for when the folder of images is."""


def _find_images(
    folder: Folder, found: Found, by_split: Mapping[str, str], files: Mapping[str, CocoFile]
) -> None:
    """Find the folder that holds the images of all files, and note what is missing there."""
    samples = {
        split: [image.file_name for image in files[name].images] for split, name in by_split.items()
    }
    places = [place for place in _PLACES if found.splits or "{split}" not in place]
    places += [f"{Path(name).parent.as_posix()}" for name in by_split.values()]
    # anywhere else, with whatever folders the names themselves bring
    for split, names in samples.items():
        for path in folder.images:
            end = next((n for n in names[:_SAMPLE] if path.endswith(f"/{n}")), None)
            if end is not None:
                place = path[: -len(end) - 1]
                places.append(templated(place, split) if split else place)
                break
    known = {composed(name) for name in folder.images}
    best: tuple[int, str] = (-1, ".")
    for place in dict.fromkeys(places):
        hits = sum(
            _is_there(folder.path, place.replace("{split}", split), name, known)
            for split, names in samples.items()
            for name in names[:_SAMPLE]
        )
        if hits > best[0]:
            best = hits, place
    found.settings["images"] = Path(best[1])
    for split, names in samples.items():
        place = best[1].replace("{split}", split)
        missing = [n for n in names if not _is_there(folder.path, place, n, known)]
        if len(missing) == len(names):
            found.notes.append(
                f"the image {missing[0]} of {by_split[split]} was not found in "
                f"{folder.path / place}: set images in the YAML"
            )
        elif missing:
            found.notes.append(
                f"{len(missing)} of {len(names)} images of {by_split[split]} are missing, for "
                f"example {missing[0]}"
            )


def _is_there(root: Path, place: str, name: str, known: Set[str]) -> bool:
    """Whether an image of a file lies in a folder; what is in a store is not asked for."""
    inside = name if place == "." else f"{place}/{name}"
    return "://" in name or composed(inside) in known or (root / place / name).is_file()
