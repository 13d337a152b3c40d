"""Recognition of a data set's folder, and the configuration that takes it to masks."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from wsss.data.atomic import atomic_write_text
from wsss.data.band_statistics import measure_bands
from wsss.data.config import DataConfig
from wsss.data.division import divide
from wsss.data.images import grey_maximum, image_size
from wsss.data.mask_values import agree, seen_in, values_by_labels
from wsss.data.masks import check_same_size, existing_masks, read_mask
from wsss.data.recognise import recognise
from wsss.data.records import image_of
from wsss.data.sources import SOURCES, Item
from wsss.data.sources.detection import Found
from wsss.data.sources.lists import line_of
from wsss.normalisation import Normalisation
from wsss.pipeline.recipes.choice import RecipeName, recipe_of
from wsss.pipeline.recipes.setup import Setup, usual_sides
from wsss.pipeline.recipes.small_objects import small_objects
from wsss.runs.settings import plain

_COMMENTS = {
    "root": "all other paths are relative to it",
    "classes": "name of each class, and its value in masks; the order is the classifier's",
    "layout": "who says which images there are",
    "labels": "where the image-level labels stand",
    "csv": "how that file is written",
    "other_labels": "what to do with labels that are no classes",
    "images": "folder of the photographs",
    "masks": "ground truth, for scoring alone; it need not exist",
    "lists": "<split>.txt, one image a line",
    "annotations": "folder of the XML files",
    "grey_bits": "of photographs in 16-bit grey, how many bits are used",
    "bands": "numbers of the bands that are read; the first three are shown as red, green and blue",
    "tiles": "windows in which large images are seen, each as an image of its own",
}
"""Comments that data.yaml has above each of its keys."""


def init(
    folder: Path,
    output: Path | None = None,
    recipe: RecipeName = "auto",
    weights: str | None = None,
    smallest_object: int | None = None,
    seed: int = 0,
) -> str:
    """Recognise a data set, write its configuration, and say what to do next.

    Writes data.yaml (the data set), run.yaml (all steps, with settings sized to the data and this
    machine, each explained) and, if the data set has no splits, lists/train.txt and
    lists/val.txt. Nothing else in the folder is touched.

    Args:
        folder: The data set: photographs with a CSV file of labels, a folder for each class, COCO
            JSON, or VOC's layout.
        output: Folder that receives these files; null takes <folder>/wsss.
        recipe: Road from labels to masks. cnn: a classifier is trained, from ImageNet's weights;
            dino: a linear head on the patches of a frozen DINOv2; clip: from the names of the
            classes alone, by CLIP (needs wsss[text]). auto: cnn, unless DINOv2's weights are on
            this machine and it can see all images soon: with a GPU, or at most 1,000 of them.
        weights: With which weights the network starts: torchvision's name, DEFAULT, or a file.
            null takes those of the recipe.
        smallest_object: Side in pixels of the smallest object that is to be found. Up to 40 it
            sets the size at which images are seen, the network's stages, the pooling and the CRF's
            kernel. null: 10 where a tenth of the images have no class, as of products without a
            defect; else objects are as large as in photographs of people and animals.
        seed: Of the split.

    Returns:
        What was found, and the next command.
    """
    if smallest_object is not None and smallest_object < 2:
        raise ValueError(f"smallest_object: expected at least 2 pixels, got {smallest_object}")
    output = folder / "wsss" if output is None else output
    # asked before anything is written: people edit these files
    for name in ("data.yaml", "run.yaml"):
        if (output / name).exists():
            raise ValueError(f"{output / name} is there already; remove it, or give --output")
    found = recognise(folder)
    root = folder.resolve()
    division = divide(found, root, (output / "lists").resolve(), seed)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"output: {output} cannot be made ({error}); give --output") from error
    for name, part in division.lists.items():
        text = "".join(f"{line_of(item, division.config, name)}\n" for item in part)
        atomic_write_text(output / "lists" / f"{name}.txt", text)
    config, train, val, parts, _ = division
    config = _with_values_of_masks(config, [*parts[1], *parts[0]], found.notes)
    _note_depth(parts[0], found.notes)
    config, normalisation = _with_bands(config, parts[0], found.notes)
    # without masks to validate on, run.yaml has no steps that score
    scored = _can_be_scored(config, parts[1], found.notes)
    setup = Setup(config, parts[0], train, val, output, weights, scored, normalisation)
    _note_size(setup, found.notes)
    small = small_objects(parts[0], smallest_object)
    text = recipe_of(recipe, setup, small, found.notes)
    atomic_write_text(output / "data.yaml", _data_yaml(found, config))
    atomic_write_text(output / "run.yaml", text)
    return _summary(found, config, parts, (train, val), output)


_TRIED = 50
"""Masks and photographs that init reads, to see what they are."""


_READ = 200
"""Masks that are read to find which value each class has."""


def _with_values_of_masks(
    config: DataConfig, items: Sequence[Item], notes: list[str]
) -> DataConfig:
    """Give classes the values that masks have, where the labels tell them.

    Nothing but the order of names stands behind a class's first value.
    """
    there = existing_masks(item.mask for item in items)
    # of outlines in JSON the values are what this configuration says
    masked = [item for item in items if item.mask in there and isinstance(item.mask, Path)]
    seen = seen_in(masked[:_READ])
    if not seen or agree(config.classes, seen):
        return config
    classes = values_by_labels(config.classes, seen)
    if classes is None:
        values = sorted({value for one in seen for value in one.values})
        notes.append(
            f"the masks hold the values {values}, which do not go with the labels as classes has "
            "them; give each class its value in data.yaml"
        )
        return config
    listed = ", ".join(f"{name} {value}" for name, value in classes.items())
    notes.append(f"the classes' values in the masks were found by the labels: {listed}")
    return replace(config, classes=classes)


def _note_depth(items: Sequence[Item], notes: list[str]) -> None:
    """Note photographs in 16-bit grey that use fewer bits, of which the upper eight are dark."""
    largest = [value for item in items[:_TRIED] if (value := grey_maximum(item.image)) is not None]
    if largest and 0 < max(largest) < 2**14:
        bits = max(8, max(largest).bit_length())
        notes.append(
            f"the photographs are 16-bit grey, and of {len(largest)} none has a value above "
            f"{max(largest)}; if their camera has {bits} bits, set grey_bits: {bits} in data.yaml"
        )


def _with_bands(
    config: DataConfig, items: Sequence[Item], notes: list[str]
) -> tuple[DataConfig, Normalisation | None]:
    """Measure images of more bands than a photograph's, which are then read by their numbers."""
    found = measure_bands([item.image for item in items[:_TRIED]])
    if found is None:
        return config, None
    config = replace(config, bands=found.numbers, grey_bits=found.bits)
    deep = f" of 16 bits, of which {found.bits} are used" if found.bits < 16 else ""
    notes.append(
        f"the images have {len(found.numbers)} bands{deep}; their mean and deviation were measured "
        f"on {min(_TRIED, len(items))} of them. Taken for red, green and blue: the first three, "
        "see bands in data.yaml"
    )
    return config, found.normalisation


_LARGE = 3000
"""Long side in pixels from which images are better seen in tiles."""


def _note_size(setup: Setup, notes: list[str]) -> None:
    """Note images that are so large that they had better be seen in tiles."""
    long_side, _ = usual_sides(setup, 0)
    if long_side >= _LARGE:
        notes.append(
            f"the images are large ({long_side} pixels in the median): made smaller, they lose "
            "what is small. To see them in tiles, give tiles in data.yaml "
            "(docs/how-to/large-images.md)"
        )


def _can_be_scored(config: DataConfig, items: Sequence[Item], notes: list[str]) -> bool:
    """Whether all images have a mask; what keeps some from being used is noted."""
    there = existing_masks(item.mask for item in items)
    if not there:
        return False
    missing = [item for item in items if item.mask not in there]
    if missing:
        notes.append(
            f"nothing will be scored: {len(missing)} of {len(items)} images to validate on have no "
            f"mask, for example {missing[0].image_id}"
        )
        return False
    for item in items[:_TRIED]:
        try:
            size = image_size(image_of(config, item))
            mask = read_mask(item.mask)
            if size is not None:
                check_same_size(mask, size, item.mask, item.image)
        except (OSError, ValueError) as error:
            notes.append(f"nothing will be scored: {error}")
            return False
    return True


class _Quoting(yaml.SafeDumper):
    """Dumper that puts every text in quotes: a folder may be called no, 1e3 or null."""


_Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def _data_yaml(found: Found, config: DataConfig) -> str:
    """Format the data set as a commented YAML."""
    values = plain(config)
    default = plain(DataConfig(root=config.root))
    # what is as by default is left out: a short file is read, a long one is not
    wanted = {
        key: value
        for key, value in values.items()
        if key in ("root", "layout", "classes") or value != default[key]
    }
    if "csv" in wanted:
        form = default["csv"]
        wanted["csv"] = {key: v for key, v in wanted["csv"].items() if v != form[key]}
    *names, last = SOURCES
    comments = {**_COMMENTS, "layout": f"{_COMMENTS['layout']}: {', '.join(names)} or {last}"}
    lines = ["# Written by wsss init. " + _one_line(found.what) + "."]
    lines += [f"# Please check: {_one_line(note)}." for note in found.notes]
    for key, value in wanted.items():
        text = yaml.dump(
            {key: value}, Dumper=_Quoting, sort_keys=False, allow_unicode=True, width=1000
        )
        # the keys of its own are words that need no quotes
        lines += [f"# {comments[key]}", text.rstrip().replace(f'"{key}":', f"{key}:", 1)]
    return "\n".join(lines) + "\n"


def _one_line(note: str) -> str:
    """Write what cannot be printed, such as a file name's line break, as Python would."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in note
    )


def _summary(
    found: Found,
    config: DataConfig,
    parts: Sequence[Sequence[Item]],
    splits: Sequence[str],
    output: Path,
) -> str:
    """Describe what was found, and what comes next."""
    lines = [_one_line(found.what)]
    for split, part in zip(splits, parts, strict=True):
        counts = Counter(name for item in part for name in set(item.labels or ()))
        named = ", ".join(f"{name} {counts[name]}" for name in config.classes)
        lines.append(f"{split}: {len(part)} images: {named}")
    lines += [f"please check: {_one_line(note)}" for note in found.notes]
    lines.append(f"wrote {output / 'data.yaml'} and {output / 'run.yaml'}")
    data, run = (shlex.quote(str(output / name)) for name in ("data.yaml", "run.yaml"))
    named = "".join(
        f" --{key}={shlex.quote(split)}"
        for key, split, usual in zip(
            ("train_split", "val_split"), splits, ("train", "val"), strict=True
        )
        if split != usual
    )
    lines.append(f"next: wsss check_data --data {data}{named}")
    lines.append(f"then: wsss run --config {run}")
    return "\n".join(lines)
