"""Export of masks to other tools: COCO, YOLO, Label Studio, CVAT."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import yaml

from wsss import __version__
from wsss.data.atomic import atomic_write, atomic_write_text
from wsss.data.config import DataConfig
from wsss.data.masks import voc_palette
from wsss.data.storage import is_remote, require_whole
from wsss.export.coco import COCOConfig, coco_json
from wsss.export.cvat import cvat_labels, cvat_xml
from wsss.export.label_studio import LabelStudioConfig, label_studio_json, label_studio_xml
from wsss.export.regions import Instances
from wsss.export.yolo import YOLOConfig
from wsss.pipeline.exporting.source import open_source
from wsss.pipeline.exporting.yolo_folder import write_yolo
from wsss.runs.settings import plain

Format = Literal["coco", "yolo", "label_studio", "cvat"]


def export(
    data: DataConfig,
    split: str,
    masks: Path,
    format: Format,
    output: Path,
    instances: Instances = "components",
    min_area: int = 1,
    ignore: str | None = None,
    coco: COCOConfig = COCOConfig(),
    yolo: YOLOConfig = YOLOConfig(),
    label_studio: LabelStudioConfig = LabelStudioConfig(),
) -> Path:
    """Write the masks of a list in the format of another tool.

    COCO, Label Studio and CVAT get one file for the list, written whole or not at all; YOLO gets a
    folder. docs/how-to/export.md says what each tool reads back.

    Args:
        data: The data set: its classes and photographs.
        split: The list.
        masks: Folder of the masks, <id>.png, as make_pseudo_masks and predict write them.
        format: The file format.
        output: Folder for the files.
        instances: components: each connected part of a class is an object, diagonal neighbours
            being connected; classes: all pixels of a class in an image are one.
        min_area: Objects of fewer pixels are left out.
        ignore: Name of a category for the pixels of value 255; null: they belong to no object,
            which a reader takes for background.
        coco: Options of COCO files.
        yolo: Options of YOLO folders.
        label_studio: Options of Label Studio's tasks.

    Returns:
        The file that the other tool opens.

    Raises:
        FileNotFoundError: Masks or photographs are missing; the error names the first.
        ValueError: A mask has another size than its photograph, or a value of no class.
    """
    settings = dict(locals())
    require_whole(masks, "masks")
    require_whole(output, "output")
    if min_area < 1:
        raise ValueError(f"min_area: expected at least 1 pixel, got {min_area}")
    if format == "yolo" and instances == "classes":
        raise ValueError("instances: a line of a YOLO file is one part; expected components")
    source = open_source(data, split, masks, instances=instances, min_area=min_area, ignore=ignore)
    pictures, regions = source.pictures, source.regions()
    made_by = f"wsss {__version__}"
    palette = voc_palette()
    # the palette of the masks themselves, so that a class looks the same in every tool
    colours = {name: f"#{palette[v].tobytes().hex()}" for name, v in source.categories.items()}
    if format == "yolo":
        result = write_yolo(source, output, split, yolo)
    elif format == "coco":
        result = output / f"instances_{split}.json"
        chunks = coco_json(pictures, regions, source.categories, config=coco, made_by=made_by)
        _write(result, chunks)
    elif format == "label_studio":
        result = output / f"label_studio_{split}.json"
        prefix = _prefix(label_studio, data)
        _write(result, label_studio_json(pictures, regions, prefix=prefix, made_by=made_by))
        atomic_write_text(output / "label_studio.xml", label_studio_xml(colours))
    else:
        result = output / f"cvat_{split}.xml"
        _write(result, cvat_xml(pictures, regions, colours))
        atomic_write_text(output / "cvat_labels.json", cvat_labels(colours))
    # by format and list: exports of several lists share a folder
    text = yaml.safe_dump(plain(settings), sort_keys=False, allow_unicode=True)
    atomic_write_text(output / "configs" / f"{format}_{split}.yaml", text)
    return result


def _write(path: Path, chunks: Iterator[str]) -> None:
    with atomic_write(path) as file:
        for chunk in chunks:
            file.write(chunk.encode("utf-8"))


def _prefix(config: LabelStudioConfig, data: DataConfig) -> str:
    """Text put before the names of photographs in Label Studio's tasks."""
    if config.prefix is not None:
        return config.prefix
    if is_remote(data.images) or data.images.is_absolute():
        raise ValueError(
            f"label_studio.prefix: data.images is {data.images}, outside the data set's folder; "
            "say how Label Studio reaches it, for example https://host/folder/"
        )
    return f"/data/local-files/?d={data.images.as_posix()}/"
