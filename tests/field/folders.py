"""Folders of photographs as anyone may have them, drawn at random, with what they say written down.

A draw is a layout that `wsss init` knows, with odd names, splits, spreadsheets and what systems
leave beside; now and then something is missing, damaged or contradicts itself.
"""

import json
import random
import unicodedata
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = (
    "cat", "dog", "Early blight", "no", "1e3", "café", "owl-2", "a.b", "Löwe", "person", "null",
    "big (red)", "background", "train", "x'y", "#1", "C++", "猫",
)  # fmt: skip
STEMS = (
    "IMG_{}", "{}", "shot {}", "a.b.{}", "{} ", " {}", "é{}", "猫{}", "#{}", "({})", "x'{}",
    "%20{}",
    "IMG_{}.jpg", "-{}", "a+b_{}", "{}_mask", "val{}", "train_{}",
)  # fmt: skip
SUFFIXES = (".jpg", ".JPG", ".png", ".jpeg", ".Png", ".tif", ".webp", ".bmp")
SPLITS = (
    ("train", "val"), ("train", "valid", "test"), ("Train", "Test"), ("training", "validation"),
    ("train2017", "val2017"), ("TRAIN", "VAL"), ("train",), ("test",), ("2023", "2024"),
    ("train_aug", "val"), ("Training", "Testing"),
)  # fmt: skip


@dataclass
class Photograph:
    """What is known of one photograph.

    Args:
        path: Below the folder.
        labels: What it shows.
        split: Its split; empty without any.
        witnesses: Words of which one has to be said if it is left out.
    """

    path: str
    labels: set[str]
    split: str = ""
    witnesses: set[str] = field(default_factory=set)


@dataclass
class Drawn:
    """A folder that was drawn.

    Args:
        root: The folder.
        layout: What it was drawn as.
        photographs: All of them.
        plain: Nothing about it is odd: init has to take it whole.
    """

    root: Path
    layout: str
    photographs: list[Photograph]
    plain: bool = True


def picture(path: Path, rng: random.Random, size: tuple[int, int] = (40, 48)) -> None:
    """Write a photograph in one of the modes that cameras and programs write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # by its path: no two are alike, whatever is drawn
    seed = zlib.crc32(path.as_posix().encode())
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    image = Image.fromarray(pixels)
    suffix = path.suffix.lower()
    formats = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".webp": "WEBP", ".bmp": "BMP"}
    kind = formats.get(suffix, "PNG")
    if kind == "PNG" and rng.random() < 0.3:
        image = image.convert(rng.choice(["L", "RGBA", "P", "LA", "1"]))
    elif kind == "JPEG" and rng.random() < 0.3:
        image = image.convert(rng.choice(["L", "CMYK"]))
    exif = Image.Exif()
    if kind == "JPEG" and rng.random() < 0.3:
        exif[274] = rng.choice([0, 1, 3, 6, 8, 99])
    image.save(path, format=kind, **({"exif": exif} if len(exif) else {}))


def draw(root: Path, rng: random.Random) -> Drawn:
    """Draw a folder.

    Args:
        root: Where; it does not exist yet.
        rng: Of what.
    """
    root.mkdir(parents=True)
    names = ["cat", *rng.sample(CLASSES[1:], rng.randint(1, 3))]
    layout = rng.choice(list(_LAYOUTS))
    drawn = Drawn(root, layout, [])
    count = rng.randint(6, 12)
    stems: list[str] = []
    style = rng.choice(STEMS) if rng.random() < 0.7 else None
    for i in range(count):
        stem = (style or rng.choice(STEMS)).format(i)
        stems.append(unicodedata.normalize(rng.choice(["NFC", "NFD"]), stem))
    stems = list(dict.fromkeys(stems))
    _LAYOUTS[layout](drawn, stems, names, rng)
    for name in rng.sample(list(_BESIDE), rng.choice([0, 0, 1, 2, 3])):
        _BESIDE[name](drawn, rng)
    if rng.random() < 0.35:
        drawn.plain = False
        _FAULTS[rng.choice(list(_FAULTS))](drawn, rng)
    return drawn


def labels_of(names: list[str], rng: random.Random, most: int = 2) -> set[str]:
    return set(rng.sample(names, rng.randint(1, min(most, len(names)))))


def split_of(splits: tuple[str, ...], rng: random.Random, i: int, classes: int) -> str:
    """The first split has an image of each class, and most of the others."""
    first = next((s for s in splits if s.lower().startswith("train")), splits[0])
    if i < classes:
        return first
    if i < classes + len(splits):
        return splits[i - classes]
    return first if rng.random() < 0.6 else rng.choice(splits)


def add(drawn: Drawn, path: str, labels: set[str], rng: random.Random, split: str = "") -> None:
    """Draw a photograph and note what it shows."""
    picture(drawn.root / path, rng)
    drawn.photographs.append(Photograph(path, labels, split, {f"{split!r}"} if split else set()))


def class_folders(drawn: Drawn, stems: list[str], names: list[str], rng: random.Random) -> None:
    prefix = rng.choice(["", "images/", "my photos/", "archive/"])
    for i, stem in enumerate(stems):
        for name in names if i < 2 else [rng.choice(names)]:
            add(drawn, f"{prefix}{name}/{stem}{rng.choice(SUFFIXES)}", {name}, rng)


def split_folders(drawn: Drawn, stems: list[str], names: list[str], rng: random.Random) -> None:
    splits = rng.choice(SPLITS)
    prefix = rng.choice(["", "data/", "archive/"])
    for i, stem in enumerate(stems):
        for split in splits if i < 2 else [split_of(splits, rng, i, len(names))]:
            for name in names if i < 2 else [rng.choice(names)]:
                path = f"{prefix}{split}/{name}/{stem}{rng.choice(SUFFIXES)}"
                add(drawn, path, {name}, rng, split)


def table(drawn: Drawn, stems: list[str], names: list[str], rng: random.Random) -> None:
    """One file: a column of labels or of 0 and 1, and perhaps one of splits."""
    folder = rng.choice(["", "photos/", "JPEGImages/", "a/b/"])
    splits = rng.choice(SPLITS) if rng.random() < 0.4 else None
    delimiter = rng.choice([",", ";", "\t"])
    separator = rng.choice([mark for mark in (";", "|", ",") if mark != delimiter])
    form = rng.choice(["labels", "long", "flags", "True", "python"])
    columns = [rng.choice(["image", "file", "filename", "path"])]
    columns += names if form in ("flags", "True") else [rng.choice(["labels", "label", "tags"])]
    lines = []
    for i, stem in enumerate(stems):
        split = "" if splits is None else split_of(splits, rng, i, len(names))
        shown = labels_of(names, rng) if i >= len(names) else {names[i]}
        path = f"{folder}{stem}{rng.choice(SUFFIXES)}"
        add(drawn, path, shown, rng, split)
        cell = rng.choice([path, "./" + path, path.replace("/", "\\")])
        if form in ("flags", "True"):
            cells = [[str(int(n in shown)) if form == "flags" else str(n in shown)] for n in names]
            written = [[cell, *(c[0] for c in cells)]]
        elif form == "long":
            written = [[cell, name] for name in sorted(shown)]
        elif form == "python":
            written = [[cell, str(sorted(shown))]]
        else:
            written = [[cell, separator.join(sorted(shown))]]
        lines += [row + ([split] if splits else []) for row in written]
    header = columns + (["split"] if splits else [])
    if rng.random() < 0.2:
        header, lines = ["", *header], [[str(i), *row] for i, row in enumerate(lines)]
    text = "\n".join(delimiter.join(map(_quoted, row)) for row in [header, *lines])
    if rng.random() < 0.2:
        text += "\n" + delimiter * (len(header) - 1) + "\n\n"
    if delimiter == ";" and rng.random() < 0.5:
        text = "sep=;\n" + text
    encoding = rng.choice(["utf-8", "utf-8-sig", "utf-16"])
    (drawn.root / rng.choice(["labels.csv", "Labels 1.csv"])).write_bytes(text.encode(encoding))


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def tables(drawn: Drawn, stems: list[str], names: list[str], rng: random.Random) -> None:
    """A file for each split, as competitions and Roboflow hand them out."""
    splits = rng.choice([splits for splits in SPLITS if not splits[0].isdigit()])
    beside = rng.random() < 0.5
    for split in splits:
        lines = ["filename," + ",".join(map(_quoted, names)) if beside else "image,labels"]
        for i, stem in enumerate(stems):
            shown = labels_of(names, rng) if i >= len(names) else {names[i]}
            name = f"{stem}{rng.choice(SUFFIXES)}"
            add(drawn, f"{split}/{name}", shown, rng, split)
            drawn.photographs[-1].witnesses |= {f"{split}.csv", f"{split}/_classes.csv"}
            flags = ", ".join(str(int(n in shown)) for n in names)
            cell = _quoted("|".join(sorted(shown)))
            lines.append(f"{_quoted(name)},{flags}" if beside else f"{_quoted(name)},{cell}")
        place = f"{split}/_classes.csv" if beside else f"{split}.csv"
        (drawn.root / place).write_text("\n".join(lines), encoding="utf-8")


def coco(drawn: Drawn, stems: list[str], names: list[str], rng: random.Random) -> None:
    splits = rng.choice([splits for splits in SPLITS if not splits[0].isdigit()])
    if rng.random() < 0.4:
        splits = ("",)
    where, images_in = rng.choice(
        [("{}/_annotations.coco.json", "{}"), ("annotations/instances_{}.json", "{}"),
         ("{}.json", "images/{}"), ("annotations/{}.json", "images")]
    )  # fmt: skip
    kind = rng.choice([int, float, str, lambda i: f"id-{i}"])
    first = rng.choice([0, 1, 300])
    outline = rng.choice([True, True, False])
    for number, split in enumerate(splits):
        order = list(names)
        if rng.random() < 0.2:
            rng.shuffle(order)
        content = {"images": [], "annotations": [], "categories": []}
        for i, name in enumerate(order):
            content["categories"].append({"id": kind(first + i), "name": name})
        for i, stem in enumerate(stems):
            shown = labels_of(names, rng) if i >= len(names) else {names[i]}
            file = f"{number}{stem}{rng.choice(SUFFIXES)}"
            path = f"{images_in.format(split)}/{file}" if split else f"images/{file}"
            add(drawn, path, shown - {"background"}, rng, split)
            drawn.photographs[-1].witnesses.add(where.format(split or "all"))
            entry = {"id": kind(100 + i), "file_name": file, "height": 40, "width": 48}
            with Image.open(drawn.root / path) as image:
                if image.getexif().get(274) in (6, 8):
                    entry.update(height=48, width=40)
            content["images"].append(entry)
            for name in sorted(shown):
                square = [[4, 4, 20, 4, 20, 20, 4, 20]] if outline else []
                content["annotations"].append(
                    {"id": len(content["annotations"]), "image_id": kind(100 + i), "iscrowd": 0,
                     "category_id": kind(first + order.index(name)), "segmentation": square}
                )  # fmt: skip
        path = drawn.root / where.format(split or "all")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")


def xml(drawn: Drawn, stems: list[str], names: list[str], rng: random.Random) -> None:
    """VOC's XML files, with lists of any kind or without."""
    images_in, xml_in = rng.choice(
        [("JPEGImages/", "Annotations/"), ("images/", "labels/"), ("", ""), ("a/", "a/")]
    )
    lists = rng.choice([None, "ImageSets/Segmentation", "ImageSets/Main", "lists", "splits"])
    splits = rng.choice([splits for splits in SPLITS if len(splits) < 3]) if lists else ("",)
    line = rng.choice(["{id}", "{id}", "{path}", "/{path}", "/{path} /SegmentationClass/{id}.png"])
    members: dict[str, list[str]] = {split: [] for split in splits}
    for i, stem in enumerate(stems):
        shown = labels_of(names, rng) if i >= len(names) else {names[i]}
        split = split_of(splits, rng, i, len(names))
        path = f"{images_in}{stem}{rng.choice(SUFFIXES)}"
        add(drawn, path, shown - {"background"}, rng, split)
        members[split].append(line.format(id=stem, path=path))
        objects = "".join(f"<object><name>{_escaped(name)}</name></object>" for name in shown)
        file = drawn.root / f"{xml_in}{stem}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"<annotation>{objects}</annotation>", encoding="utf-8")
    for split, lines in members.items():
        if lists and lines:
            path = drawn.root / lists / f"{split}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _escaped(name: str) -> str:
    return name.replace("&", "&amp;").replace("<", "&lt;")


_LAYOUTS: dict[str, Callable[[Drawn, list[str], list[str], random.Random], None]] = {
    "class folders": class_folders,
    "class folders in splits": split_folders,
    "a table": table,
    "a table for each split": tables,
    "COCO": coco,
    "XML": xml,
}


def _write(name: str, content: bytes) -> Callable[[Drawn, random.Random], None]:
    def write(drawn: Drawn, rng: random.Random) -> None:
        above = rng.choice(drawn.photographs).path.rpartition("/")[0]
        place = drawn.root / rng.choice(["", above]) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)

    return write


def _masks(drawn: Drawn, rng: random.Random) -> None:
    """Ground truth of some or all photographs, of the right size or not."""
    drawn.plain = False
    size = rng.choice([(48, 40), (48, 40), (20, 20)])
    folder = rng.choice(["masks", "SegmentationClass"])
    for one in rng.sample(drawn.photographs, rng.choice([1, len(drawn.photographs)])):
        path = drawn.root / folder / Path(one.path).with_suffix(".png").name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            Image.new("L", size, rng.choice([0, 1, 255])).save(path)


def _beside(drawn: Drawn, rng: random.Random) -> None:
    """A mask beside its photograph."""
    one = rng.choice(drawn.photographs).path
    picture((drawn.root / one).with_name(f"{Path(one).stem}_mask.png"), rng)


_BESIDE: dict[str, Callable[[Drawn, random.Random], None]] = {
    "macOS": _write("._1.jpg", b"\x00\x05\x16\x07"),
    "DS_Store": _write(".DS_Store", b"\x00\x00\x00\x01Bud1"),
    "thumbs": _write("Thumbs.db", b"\xd0\xcf\x11\xe0"),
    "readme": _write("README.txt", b"taken in May\nwith a camera\n"),
    "licence": _write("license.md", b"# CC BY"),
    "heic": _write("IMG_9.HEIC", b"ftypheic"),
    "json": _write("package.json", b'{"name": "x"}'),
    "csv": _write("weather.csv", b"day,rain\n1,0\n2,1\n"),
    "broken csv": _write("broken.csv", b'a,b\n"1,2\n'),
    "xlsx": _write("labels.xlsx", b"PK\x03\x04"),
    "latin": _write("notes.txt", "é\n".encode("latin-1")),
    "masks": _masks,
    "mask beside": _beside,
}


def _cut(drawn: Drawn, rng: random.Random, *suffixes: str) -> None:
    """Cut a file off."""
    files = [p for p in sorted(drawn.root.rglob("*")) if p.suffix.lower() in suffixes]
    files = [p for p in files if p.is_file()]
    if files:
        path = rng.choice(files)
        content = path.read_bytes()
        path.write_bytes(content[: rng.choice([0, len(content) // 2, max(0, len(content) - 3)])])


def _remove(drawn: Drawn, rng: random.Random) -> None:
    """A photograph that a table or a list names is not there."""
    one = rng.choice(drawn.photographs)
    (drawn.root / one.path).unlink(missing_ok=True)
    drawn.photographs = [other for other in drawn.photographs if other.path != one.path]


def _garbage(drawn: Drawn, rng: random.Random) -> None:
    """Bytes of a file are others."""
    files = [p for p in sorted(drawn.root.rglob("*")) if p.is_file() and p.stat().st_size]
    path = rng.choice(files)
    content = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 20)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(bytes(content))


def _line(drawn: Drawn, rng: random.Random) -> None:
    """A line of a text is there twice, or gone."""
    texts = [p for p in sorted(drawn.root.rglob("*")) if p.suffix in (".csv", ".txt")]
    if texts:
        path = rng.choice(texts)
        lines = path.read_bytes().split(b"\n")
        at = rng.randrange(len(lines))
        lines = lines[:at] + lines[at + 1 :] if rng.random() < 0.5 else [*lines, lines[at]]
        path.write_bytes(b"\n".join(lines))


_FAULTS: dict[str, Callable[[Drawn, random.Random], None]] = {
    "photograph cut off": lambda d, r: _cut(d, r, *(s.lower() for s in SUFFIXES)),
    "text cut off": lambda d, r: _cut(d, r, ".csv", ".json", ".xml", ".txt"),
    "photograph missing": _remove,
    "garbage": _garbage,
    "line": _line,
}
