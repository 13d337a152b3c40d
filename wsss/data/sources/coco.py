"""Source for COCO instances JSON: labels from the annotations, masks drawn from them."""

from wsss.data.config import DataConfig
from wsss.data.drawn import DrawnMask
from wsss.data.images import find_files, image_names
from wsss.data.rasterise import CocoShape
from wsss.data.sources.coco_detection import detect_coco
from wsss.data.sources.coco_format import load_coco
from wsss.data.sources.items import Item, distinct, label_file, real_labels
from wsss.data.sources.lists import selected
from wsss.data.sources.source import DataSource, Evidence


def read_coco(
    config: DataConfig, split: str, *, with_labels: bool, limit: int | None
) -> list[Item]:
    """Read the images of a JSON file; see `wsss.data.sources.items.Reader`.

    A class of which an image shows nothing but a crowd is a label all the same; the crowd's pixels
    are ignored in its mask. Objects of classes that are left out (``other_labels: ignore``) are
    background.
    """
    return selected(coco_items, config, split, "labels")[:limit]


def coco_items(config: DataConfig, split: str = "") -> list[Item]:
    """Read all images of the file."""
    path = config.at(label_file(config), split)
    if not path.is_file():
        raise FileNotFoundError(f"COCO file not found: {path} (data.labels)")
    images = load_coco(path).images
    if not images:
        raise ValueError(f"{path}: images: expected at least one")
    # ids are the files' names, since COCO's numbers name neither masks nor lines of a list
    ids = image_names(image.file_name for image in images)
    files = find_files(config.at(config.images, split), (image.file_name for image in images))
    # of a file of boxes alone, images without an object have no mask either
    any_outline = any(outline for image in images for _, outline, *_ in image.objects)
    items = []
    for image in images:
        image_id = ids[image.file_name]
        shapes = tuple(
            CocoShape(config.classes[name], segmentation, crowd, area)
            for name, segmentation, crowd, area in image.objects
            if name in config.classes
        )
        items.append(
            Item(
                image_id,
                files[image.file_name],
                DrawnMask(
                    path,
                    image_id,
                    image.size,
                    shapes,
                    any_outline and (not shapes or any(shape.segmentation for shape in shapes)),
                ),
                real_labels(sorted({name for name, *_ in image.objects}), config.classes),
                image.origin,
            )
        )
    return distinct(items)


def check_coco(config: DataConfig) -> None:
    """Demand a file."""
    label_file(config)


COCO = DataSource(
    read=read_coco,
    detect=detect_coco,
    evidence=Evidence.FORMAT,
    all_items=coco_items,
    check=check_coco,
)
