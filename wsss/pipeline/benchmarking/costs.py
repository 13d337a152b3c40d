"""What each candidate costs: its time alone, in forward passes."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from wsss.data.atomic import atomic_write
from wsss.pipeline.benchmarking.explaining import Explainer
from wsss.pipeline.benchmarking.lists import LabelledImage
from wsss.views import views


def measured_costs(
    explainer: Explainer, images: Sequence[LabelledImage], path: Path
) -> dict[str, float]:
    """Time of each candidate on its own, divided by the time of a forward pass at the same sizes.

    Args:
        explainer: Network and candidates.
        images: Images on which it is measured, at least one.
        path: JSON file that receives the costs; costs that are there, from the same kind of
            device, are read in place of measuring.

    Returns:
        Costs by the candidates' names.
    """
    if path.is_file():
        there = json.loads(path.read_text(encoding="utf-8"))
        if there["device"] == explainer.device.type:
            return dict(there["costs"])
    spent = {candidate.name: 0.0 for candidate in explainer.candidates}
    forward = 0.0
    _time_image(explainer, images[0])  # warms up
    for image in images:
        passes, explained = _time_image(explainer, image)
        forward += passes
        for name, seconds in explained.items():
            spent[name] += seconds
    costs = {name: seconds / forward for name, seconds in spent.items()}
    with atomic_write(path) as file:
        file.write(json.dumps({"device": explainer.device.type, "costs": costs}, indent=2).encode())
    return costs


def _time_image(explainer: Explainer, image: LabelledImage) -> tuple[float, dict[str, float]]:
    """Seconds of a forward pass at all sizes, and of each candidate."""
    pixels = explainer.read(image.record)
    sizes = explainer.multiscale.sizes(*pixels.shape[1:])
    seen = list(views(pixels[None], sizes, flip=explainer.multiscale.flip))
    start = _clock(explainer.device)
    with torch.no_grad():
        for view in seen:
            explainer.model(view.images)
    forward = _clock(explainer.device) - start
    spent = {}
    for candidate in explainer.candidates:
        alone = explainer.only(candidate)
        start = _clock(explainer.device)
        alone.maps(pixels, image.labels)
        spent[candidate.name] = _clock(explainer.device) - start
    return forward, spent


def _clock(device: torch.device) -> float:
    """Seconds, once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
