"""Label Studio's JSON, and JSON-MIN."""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from wsss.data.images import is_image_name
from wsss.export.label_studio import brush_mask
from wsss.pipeline.importing.annotated import (
    Annotated,
    Labels,
    Pixels,
    Shape,
    Size,
    painter,
    polygon_pixels,
)
from wsss.pipeline.importing.bundle import Entry
from wsss.pipeline.importing.outlines import ellipse, rectangle, turned


def read_label_studio(entries: list[Entry], labels: Labels) -> list[Annotated]:
    """Read the tasks of all JSON files; later regions cover earlier ones.

    Of several annotations of a task the one that was changed last counts; skipped ones do not. A
    task of predictions alone was not looked at: `Annotated.reviewed` is False. A task with neither
    is left out. Brushes, polygons, rectangles and ellipses have pixels; other results, such as key
    points and choices, are left out.

    Raises:
        ValueError: A file is no such JSON, or a label is no class.
    """
    found = []
    for entry in entries:
        if entry.suffix != ".json":
            continue
        try:
            tasks = json.loads(entry.text())
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{entry.origin}, line {error.lineno}: not JSON: {error.msg}"
            ) from error
        for number, task in enumerate(_whole_tasks(tasks, entry.origin)):
            origin = f"{entry.origin}, task {number}"
            done = _chosen(task, origin)
            if done is not None:
                reviewed, results = done
                found.append(_annotated(task, entry, origin, reviewed, results, labels))
    return found


def _whole_tasks(content: Any, origin: str) -> list[dict[str, Any]]:
    """List the tasks of a file; records of JSON-MIN, one an annotation, are put together."""
    tasks: dict[Any, dict[str, Any]] = {}
    for number, record in enumerate(content if isinstance(content, list) else [content]):
        if not isinstance(record, dict) or "images" in record:
            raise ValueError(f"{origin}, task {number}: expected Label Studio's JSON or JSON-MIN")
        if "data" in record:
            tasks[("task", number)] = record
            continue
        task = tasks.setdefault(record.get("id", ("task", number)), {"data": record})
        # of a task that nobody has opened there is a record too, without a number here
        if record.get("annotation_id") is not None:
            lists = [value for value in record.values() if isinstance(value, list)]
            regions = [region for one in lists for region in one if isinstance(region, dict)]
            made = {
                "result": [{**region, "value": region} for region in regions],
                "updated_at": record.get("updated_at"),
            }
            task.setdefault("annotations", []).append(made)
    return list(tasks.values())


def _chosen(task: Mapping[str, Any], origin: str) -> tuple[bool, list[dict[str, Any]]] | None:
    """Choose what counts of a task: whether a person made it, and its results."""
    # completions: its name until version 1.0
    made = task.get("annotations", task.get("completions", []))
    done = [one for one in made if not (one.get("was_cancelled") or one.get("skipped"))]
    if done:
        # stable: without dates, the last one
        last = sorted(done, key=lambda one: str(one.get("updated_at") or one.get("created_at")))[-1]
        return True, _results(last, origin)
    # exports may hold no more of predictions than their numbers
    predicted = [one for one in task.get("predictions", []) if isinstance(one, dict)]
    return (False, _results(predicted[-1], origin)) if predicted else None


def _results(made: Mapping[str, Any], origin: str) -> list[dict[str, Any]]:
    results = made.get("result") or []
    if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
        raise ValueError(f"{origin}: result: expected a list of objects")
    return results


def _annotated(
    task: Mapping[str, Any],
    entry: Entry,
    origin: str,
    reviewed: bool,
    results: list[dict[str, Any]],
    labels: Labels,
) -> Annotated:
    name = _photograph(task["data"], origin)
    where = f"{origin} ({name})"
    names = _names_by_id(results)
    shapes, sizes = [], set()
    for result in results:
        value = result.get("value", {})
        pixels = _pixels(value, where)
        if pixels is None:
            continue
        if result.get("image_rotation"):
            raise ValueError(f"{where}: the image was turned in Label Studio; turn it back there")
        try:
            sizes.add((int(result["original_height"]), int(result["original_width"])))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{where}: expected original_height and original_width") from error
        given = _names(value) or names.get(result.get("id"), [])
        if len(given) != 1:
            raise ValueError(f"{where}: expected one label for each region, got {given}")
        shapes.append(Shape(labels.value(given[0], where), pixels))
    if len(sizes) > 1:
        raise ValueError(f"{where}: regions of pictures of different sizes: {sorted(sizes)}")
    size = next(iter(sizes), None)
    return Annotated(name, entry.origin, where, size, painter(shapes), reviewed)


def _photograph(data: Mapping[str, Any], origin: str) -> str:
    """Find the photograph's path among the values of a task's data."""
    paths = [_path(value) for value in data.values() if isinstance(value, str)]
    images = [path for path in paths if is_image_name(path)]
    if len(images) != 1:
        raise ValueError(f"{origin}: expected one image in its data, got {images}")
    return images[0]


def _path(address: str) -> str:
    """Path in an address: of local files behind ``?d=``, else before the query."""
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d")
    # parse_qs has decoded its own
    return local[0] if local else unquote(parts.path)


def _names(value: Mapping[str, Any]) -> list[Any]:
    """Labels of a region: ``brushlabels``, ``polygonlabels``, ``labels``, ..."""
    return [
        name
        for key, names in value.items()
        if key.endswith("labels") and isinstance(names, list)
        for name in names
    ]


def _names_by_id(results: Iterable[Mapping[str, Any]]) -> dict[Any, list[Any]]:
    """Labels of regions that are drawn with one tag and named with another; both share an id."""
    found: dict[Any, list[Any]] = {}
    for result in results:
        for name in _names(result.get("value", {})):
            known = found.setdefault(result.get("id"), [])
            if name not in known:
                known.append(name)
    return found


def _pixels(value: Mapping[str, Any], origin: str) -> Pixels | None:
    """Build what draws a region; None where it has no pixels."""
    if "imageDataURL" in value:
        raise ValueError(f"{origin}: bitmasks are not read; label with BrushLabels")
    if "rle" in value:
        return lambda size: brush_mask(value["rle"], *size)
    if "points" in value and value.get("closed", True):
        return lambda size: polygon_pixels(_in_pixels(np.array(value["points"]), size), size)
    if {"x", "y", "width", "height"} <= value.keys():
        return lambda size: _rectangle(value, size)
    if {"x", "y", "radiusX", "radiusY"} <= value.keys():
        return lambda size: _ellipse(value, size)
    return None


def _in_pixels(points: np.ndarray, size: Size) -> np.ndarray:
    """Convert (N, 2) ``(x, y)`` from percent of width and height."""
    height, width = size
    return points.reshape(-1, 2) * (width / 100, height / 100)


def _rectangle(value: Mapping[str, Any], size: Size) -> np.ndarray:
    corners = rectangle(value["x"], value["y"], value["width"], value["height"])
    points = _in_pixels(corners, size)
    # it is turned around its upper left corner
    around = (float(points[0, 0]), float(points[0, 1]))
    return polygon_pixels(turned(points, value.get("rotation", 0), around), size)


def _ellipse(value: Mapping[str, Any], size: Size) -> np.ndarray:
    outline = ellipse(value["x"], value["y"], value["radiusX"], value["radiusY"])
    points = _in_pixels(outline, size)
    centre = (value["x"] * size[1] / 100, value["y"] * size[0] / 100)
    return polygon_pixels(turned(points, value.get("rotation", 0), centre), size)
