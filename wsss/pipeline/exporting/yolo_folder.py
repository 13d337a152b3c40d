"""Folders of a data set as Ultralytics trains on them."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from wsss.data.atomic import atomic_write_text
from wsss.data.storage import is_remote
from wsss.export.yolo import SUFFIXES, YOLOConfig, data_yaml, label_path, yolo_lines
from wsss.pipeline.exporting.source import Source

_PARTS = ("train", "val", "test")


def write_yolo(source: Source, output: Path, split: str, config: YOLOConfig) -> Path:
    """Write images/<split>, labels/<split> and data.yaml; other lists there are kept.

    All masks are read before the first file is written, and both folders appear when they are
    whole.

    Args:
        source: Images and masks.
        output: The data set's folder.
        split: Name of the list.
        config: Content of the folder.

    Returns:
        data.yaml.

    Raises:
        ValueError: The folder holds this list already, or other classes; Ultralytics does not read
            a photograph's format; the list is no part of a data set that it knows.
    """
    if is_remote(output):
        raise ValueError(f"output: a YOLO folder must be local, got {output}; copy it later")
    part = config.part or split
    if part not in _PARTS:
        raise ValueError(
            f"yolo.part: the list is called {split!r}; say which of {', '.join(_PARTS)} it is"
        )
    names = list(source.categories)
    kept = _parts(output, names)
    for folder in ("images", "labels"):
        if (output / folder / split).exists():
            raise ValueError(
                f"output: {output / folder / split} is there already; Ultralytics would read what "
                "is left of an older list too: delete it or choose another folder"
            )
    for picture in source.pictures:
        if not picture.name.lower().endswith(SUFFIXES):
            raise ValueError(
                f"yolo: Ultralytics does not read {picture.name}; expected {', '.join(SUFFIXES)}"
            )
    for place in range(len(source.masks)):
        source.values(place)
    output.mkdir(parents=True, exist_ok=True)
    # inside the output folder, so that a rename needs no copying
    partial = Path(tempfile.mkdtemp(dir=output, prefix=".partial-"))
    try:
        _fill(source, partial, split, config, names)
        # labels first: photographs without them would be taken for images without objects
        for folder in ("labels", "images"):
            if (partial / folder).exists():
                (output / folder / split).parent.mkdir(parents=True, exist_ok=True)
                (partial / folder / split).replace(output / folder / split)
    finally:
        shutil.rmtree(partial)
    parts = {**kept, part: f"images/{split}"}
    text = yaml.safe_dump(data_yaml(parts, names), sort_keys=False, allow_unicode=True)
    atomic_write_text(output / "data.yaml", text)
    return output / "data.yaml"


def _fill(source: Source, folder: Path, split: str, config: YOLOConfig, names: list[str]) -> None:
    """Write the labels and photographs of a list, file by file."""
    for image, picture, regions in zip(
        source.images, source.pictures, source.regions(), strict=True
    ):
        name = f"images/{split}/{picture.name}"
        labels = folder / label_path(name)
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text(yolo_lines(regions, picture, names), encoding="utf-8")
        if config.images != "none":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            _place(image, folder / name, link=config.images == "link")


def _place(image: Path, to: Path, *, link: bool) -> None:
    """Link or copy a photograph.

    Ultralytics mends a JPEG that has no end marker and writes it back, older versions into the
    very file; such a photograph is copied, so that the original stays as it is.
    """
    if is_remote(image):
        to.write_bytes(image.read_bytes())
        return
    if link and _is_whole(image):
        try:
            # of the file itself: a link to a symbolic link breaks with it
            os.link(image.resolve(), to)
            return
        except OSError:
            pass  # another file system, or one without links
    shutil.copyfile(image, to)


def _is_whole(image: Path) -> bool:
    """Whether a file is no JPEG, or ends as a JPEG should."""
    if image.suffix.lower() not in (".jpg", ".jpeg"):
        return True
    with image.open("rb") as file:
        file.seek(-2, os.SEEK_END)
        return file.read() == b"\xff\xd9"


def _parts(output: Path, names: list[str]) -> dict[str, str]:
    """Read which lists an earlier export left in the folder."""
    path = output / "data.yaml"
    if not path.is_file():
        return {}
    there: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if list(dict(there["names"]).values()) != names:
        raise ValueError(f"output: {path} has other classes: {there['names']}; expected {names}")
    return {part: there[part] for part in _PARTS if part in there}
