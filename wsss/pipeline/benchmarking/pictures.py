"""The pictures of a benchmark: figure.png, and maps side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsss.data.images import write_picture
from wsss.pipeline.benchmarking.comparing import THRESHOLDS, Result, best_of_methods
from wsss.pipeline.benchmarking.explaining import Explainer
from wsss.pipeline.benchmarking.lists import LabelledImage
from wsss.pipeline.benchmarking.measurements import METRICS, Measurements
from wsss.refinement.seeds import normalise_maps
from wsss.visualisation.figures import Bands, ComparedMaps, attribution_figure
from wsss.visualisation.overlay import MAP_COLOUR, overlay_maps
from wsss.visualisation.sheet import contact_sheet, strip

_EXAMPLES = 4
"""Best and worst cases drawn."""


def write_figure(path: Path, results: Sequence[Result]) -> None:
    """Draw the best candidate of each method: cost, spectrum and curve.

    Args:
        path: The picture.
        results: What is reported of each candidate.
    """
    shown = [
        ComparedMaps(
            name=one.name,
            cost=one.cost,
            miou=one.miou,
            threshold=one.choice.threshold,
            curve=one.curve,
            spectrum=_bands(one, ""),
        )
        for one in best_of_methods(results).values()
    ]
    write_picture(path, attribution_figure(shown, THRESHOLDS, _bands(results[0], "mask_")))


def _bands(result: Result, prefix: str) -> Bands:
    """Shares of a spectrum; nan where nothing is known."""
    shares = (result.metrics[f"{prefix}{band}"] for band in Bands._fields)
    return Bands(*(np.nan if share is None else share for share in shares))


class _Case(NamedTuple):
    """A class of an image, with how far the last method is ahead there.

    Args:
        pair: Its place among the pairs.
        lead: Its energy on the object less that of the best of the others.
    """

    pair: int
    lead: float


def write_examples(
    path: Path,
    methods: Sequence[str],
    results: Sequence[Result],
    measured: Measurements,
    explainer: Explainer,
    images: Sequence[LabelledImage],
) -> None:
    """Draw maps side by side: where the last method has most and least energy on the object.

    Args:
        path: The picture.
        methods: Names of methods, the one in question last; their best candidates are drawn.
        results: What is reported of each candidate.
        measured: Measurements on the report list.
        explainer: Network and candidates.
        images: The report list.
    """
    best = best_of_methods(results)
    shown = [best[method] for method in methods]
    places = [measured.candidates.index(one.name) for one in shown]
    energy = measured.table()[places, :, METRICS.index("energy")]
    drawn = explainer.only(*(one.choice.candidate for one in shown))
    by_id = {image.record.image_id: image for image in images}
    strips = []
    for case in _extremes(energy):
        image_id, k = measured.pairs[case.pair]
        tiles = _tiles(drawn, by_id[image_id], k)
        captions = [f"{image_id} ({case.lead:+.2f})"]
        captions += [
            f"{one.name} {share:.2f}"
            for one, share in zip(shown, energy[:, case.pair], strict=True)
        ]
        strips.append(strip(tiles, captions, height=150))
    write_picture(path, contact_sheet(strips, columns=1))


def _extremes(energy: np.ndarray) -> list[_Case]:
    """The pairs where the last of (V, N) energies is furthest ahead, then furthest behind."""
    rivals = energy[:-1] if len(energy) > 1 else energy
    lead = energy[-1] - rivals.max(axis=0)
    order = lead.argsort()
    picked = [*order[: -_EXAMPLES - 1 : -1], *order[:_EXAMPLES][::-1]]
    return [_Case(int(pair), float(lead[pair])) for pair in picked]


def _tiles(explainer: Explainer, one: LabelledImage, k: int) -> list[np.ndarray]:
    """An image, and over it the maps of one class by each candidate."""
    picture = one.record.shown()
    row = one.classes.tolist().index(k)
    tiles = [picture]
    for maps in explainer.maps(explainer.read(one.record), one.labels):
        scores = normalise_maps(maps[row : row + 1].cpu().numpy())
        tiles.append(overlay_maps(picture, scores, MAP_COLOUR))
    return tiles
