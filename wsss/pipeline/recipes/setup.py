"""What a recipe is written for, and how its template is filled in."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jinja2
import torch
import yaml

from wsss.data.config import DataConfig
from wsss.data.images import image_size
from wsss.data.records import image_of
from wsss.data.sources import Item
from wsss.normalisation import Normalisation
from wsss.parallel.cores import available_cores
from wsss.runs.settings import plain
from wsss.tasks.trainer import TrainerConfig


class Setup(NamedTuple):
    """What a recipe is written for.

    Args:
        config: The data set.
        train: Training images.
        split: Name of their list.
        val: Name of the list to validate on.
        output: Folder that receives the recipe.
        weights: With which weights the classifier starts; None takes the recipe's own.
        scored: Whether there are masks to score with.
        normalisation: Mean and deviation of the images' bands; None of photographs.
    """

    config: DataConfig
    train: Sequence[Item]
    split: str
    val: str
    output: Path
    weights: str | None
    scored: bool
    normalisation: Normalisation | None = None


def usual_sides(setup: Setup, otherwise: int) -> tuple[int, int]:
    """Median long and short side of the training images, in pixels."""
    # the headers of 200 images are enough to tell the usual size
    sources = [image_of(setup.config, item) for item in setup.train[:200]]
    sizes = [size for source in sources if (size := image_size(source)) is not None]
    if not sizes:
        return otherwise, otherwise
    return int(median(max(size) for size in sizes)), int(median(min(size) for size in sizes))


def filled(
    template: str,
    setup: Setup,
    *,
    network: str,
    weights: str = "IMAGENET1K_V1",
    stride: int = 16,
    **values: Any,
) -> str:
    """Fill in a template of ``wsss/pipeline/templates``.

    Args:
        template: Its name.
        setup: What it is written for.
        network: Backbone of the classifier.
        weights: Its weights, unless the user names others.
        stride: Its output stride.
        values: What this template asks for besides.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wsss.pipeline"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    model: dict[str, Any] = {
        "name": network,
        "weights": setup.weights or weights,
        "output_stride": stride,
        "dilation": "none",
    }
    if setup.normalisation is not None:
        model["normalisation"] = plain(setup.normalisation)
    return environment.get_template(template).render(
        images=len(setup.train),
        machine=_machine(),
        config=setup.output / "run.yaml",
        output=quoted(str(setup.output.resolve() / "run")),
        train=quoted(setup.split),
        val=quoted(setup.val),
        model=yaml.safe_dump(model, default_flow_style=True, sort_keys=False, width=1000).strip(),
        network=network,
        stride=stride,
        scored=setup.scored,
        bands=None if setup.normalisation is None else len(setup.normalisation.mean),
        **values,
    )


def gigabytes(values: float, output: Path) -> str | None:
    """Space that kept features take; None where there is not enough.

    Args:
        values: Numbers of all training images, in all views but the mirrored ones.
        output: A folder on the disk.
    """
    size = values * 2 * 2  # float16, mirrored too
    free = shutil.disk_usage(output).free
    if size > min(0.9 * TrainerConfig().cache_gib * 2**30, free / 2):
        return None
    return f"{max(0.1, size / 1e9):.1f}"


def _machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"a processor with {available_cores()} cores"


def quoted(text: str) -> str:
    """Quote a text for YAML."""
    return json.dumps(text, ensure_ascii=False)
