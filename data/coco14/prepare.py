"""Make COCO 2014 with masks of its 80 classes from the three archives as they are published.

    python data/coco14/prepare.py [--train train2014.zip] [--val val2014.zip]
                                  [--annotations annotations_trainval2014.zip]
                                  [--download] [--root data/coco14/set] [--workers N]

Writes what configs/coco14/data.yaml reads, see data/coco14/README.md, and checks the counts. What
is there already is left alone: a second run does nothing, and one after an interruption goes on.
"""

import argparse
import csv
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from wsss.data.archives import Archive, absent, check_counts, count_complete, fetch, format_counts
from wsss.data.atomic import atomic_write_text
from wsss.data.mask_jobs import MaskJob, write_masks
from wsss.data.rasterise import CocoShape
from wsss.data.sources import read_list

FOLDER = Path("data/coco14")
SITE = "http://images.cocodataset.org"
TRAIN = (f"{SITE}/zips/train2014.zip", "0da8c0bd3d6becc4dcb32757491aca88")
VAL = (f"{SITE}/zips/val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3")
ANNOTATIONS = (
    f"{SITE}/annotations/annotations_trainval2014.zip",
    "0a379cfc70b0e71301e0f377548639bd",
)
LISTS, MASKS = "ImageSets/Segmentation", "SegmentationClass"
COUNTS = {"train": 82081, "val": 40137}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--root", type=Path, default=FOLDER / "set", help="folder to write to")
    for name, (url, _) in (("train", TRAIN), ("val", VAL), ("annotations", ANNOTATIONS)):
        path = FOLDER / url.rpartition("/")[2]
        add(f"--{name}", type=Path, default=path, help="archive, or unpacked folder")
    add("--download", action="store_true", help="download the archives that are not there")
    add("--workers", type=int, help="processes that draw masks; by default one for each core")
    options = vars(parser.parse_args())
    try:
        found = prepare(options.pop("root"), **options)
    except (ValueError, OSError) as error:
        sys.exit(f"prepare.py: error: {error}")
    print(f"images with mask\n{format_counts(found, COUNTS)}")


def prepare(
    root: Path,
    *,
    train: Path,
    val: Path,
    annotations: Path,
    download: bool = False,
    workers: int | None = None,
    expected: Mapping[str, int] = COUNTS,
) -> dict[str, int]:
    """Write the data set.

    Args:
        root: Folder to write to.
        train: Archive of the training photographs, or the folder it was unpacked to; only read if
            photographs are missing.
        val: Likewise for val.
        annotations: Likewise for the annotations; only read if lists, labels or masks are missing.
        download: Download an archive that is needed and not there.
        workers: Processes that draw masks; None takes one for each core.
        expected: Number of images of each list.

    Returns:
        For each list, how many images have an image file and a mask.

    Raises:
        FileNotFoundError: An archive is needed and not there.
        ValueError: A damaged archive or annotation, or a list of another length than expected.
        OSError: A download failed, or a file cannot be written.
    """
    if not _is_drawn(root):
        source = Archive(annotations, "--annotations", *ANNOTATIONS, "annotations")
        names = [f"instances_{split}2014.json" for split in ("train", "val")]
        fetch(source, root / "annotations", names, download=download)
        _draw(root, workers, expected)
    found = {}
    for split, path, published in (("train", train, TRAIN), ("val", val, VAL)):
        ids = read_list(root / LISTS / f"{split}.txt")
        source = Archive(path, f"--{split}", *published, f"{split}2014")
        photographs = [f"{Path(i).name}.jpg" for i in ids]
        fetch(source, root / f"{split}2014", photographs, download=download)
        found[split] = count_complete(root, ids, ("{}.jpg", f"{MASKS}/{{}}.png"))
    check_counts(found, expected, root)
    return found


def _is_drawn(root: Path) -> bool:
    """Whether there is everything that is made from the annotations."""
    lists = [root / LISTS / f"{split}.txt" for split in ("train", "val")]
    if not all(path.is_file() for path in (*lists, root / "labels.csv")):
        return False
    return not absent(root / MASKS, [f"{i}.png" for path in lists for i in read_list(path)])


def _draw(root: Path, workers: int | None, expected: Mapping[str, int]) -> None:
    """Write lists, labels and the masks that are missing, one split in memory at a time."""
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("image", "labels"))
    for split in ("train", "val"):
        images = read_instances(root / f"annotations/instances_{split}2014.json", f"{split}2014")
        check_counts({split: len(images)}, {split: expected[split]}, root)
        atomic_write_text(
            root / LISTS / f"{split}.txt", "".join(f"{image.image_id}\n" for image in images)
        )
        rows.writerows((image.image_id, ";".join(image.labels)) for image in images)
        missing = set(absent(root / MASKS, [f"{image.image_id}.png" for image in images]))
        jobs = [
            MaskJob(root / MASKS / f"{image.image_id}.png", image.shapes, image.size)
            for image in images
            if f"{image.image_id}.png" in missing
        ]
        write_masks(jobs, workers)
    atomic_write_text(root / "labels.csv", table.getvalue())


class AnnotatedImage(NamedTuple):
    """A photograph with at least one annotation.

    Args:
        image_id: Its folder and its name without suffix.
        size: (height, width).
        labels: Names of the classes that occur, in the order of their values. A crowd counts.
        shapes: Its objects and crowds.
    """

    image_id: str
    size: tuple[int, int]
    labels: list[str]
    shapes: list[CocoShape]


def read_instances(path: Path, folder: str) -> list[AnnotatedImage]:
    """Photographs with annotations from one of COCO's instances files, sorted by their ids.

    The mask values are 1, 2, ... in the order of the categories' ids. Polygons of one or two
    points, which enclose nothing, are left out.

    Args:
        path: The file.
        folder: Folder of the photographs.

    Raises:
        ValueError: It is damaged, or its parts do not fit together.
    """
    try:
        content = json.loads(path.read_bytes())
        categories = sorted(content["categories"], key=lambda category: category["id"])
        value_of = {category["id"]: value for value, category in enumerate(categories, start=1)}
        shapes: dict[int, list[CocoShape]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            shapes[annotation["image_id"]].append(_shape(annotation, value_of))
        images = []
        for image in content["images"]:
            own = shapes[image["id"]]
            if own:
                name = Path(image["file_name"])
                if len(name.parts) != 1 or name.suffix != ".jpg":
                    raise ValueError(f"expected the name of a .jpg, got {str(name)!r}")
                labels = [categories[value - 1]["name"] for value in sorted({s.value for s in own})]
                drawn = [shape for shape in own if shape.segmentation]
                size = (int(image["height"]), int(image["width"]))
                images.append(AnnotatedImage(f"{folder}/{name.stem}", size, labels, drawn))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: not COCO's instances, or damaged ({type(error).__name__}: {error}); delete "
            "it to have it unpacked again"
        ) from error
    return sorted(images, key=lambda image: image.image_id)


def _shape(annotation: Mapping[str, Any], value_of: Mapping[int, int]) -> CocoShape:
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list):
        segmentation = [polygon for polygon in segmentation if len(polygon) not in (2, 4)]
    return CocoShape(
        value_of[annotation["category_id"]],
        segmentation,
        bool(annotation["iscrowd"]),
        annotation["area"],
    )


if __name__ == "__main__":
    main()
