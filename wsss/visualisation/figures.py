"""Figures of a comparison of attributions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Bands(NamedTuple):
    """Shares of a spectrum's energy, 0..1.

    Args:
        low: Below 1/32 cycles per pixel.
        middle: From there to 1/8.
        high: From there on.
    """

    low: float
    middle: float
    high: float


_BAND_COLOURS = {"low": "#31688e", "middle": "#35b779", "high": "#fde725"}
_TRUTH = "ground truth"


class ComparedMaps(NamedTuple):
    """What is drawn of one method.

    Args:
        name: What it is called.
        cost: Its time, in forward passes.
        miou: 0..1, at the threshold.
        threshold: Background threshold, chosen on another list.
        curve: (T,) mIoU at each threshold.
        spectrum: Of its maps.
    """

    name: str
    cost: float
    miou: float
    threshold: float
    curve: np.ndarray
    spectrum: Bands


def attribution_figure(
    methods: Sequence[ComparedMaps], thresholds: np.ndarray, truth: Bands
) -> np.ndarray:
    """Draw quality against cost, the spectrum of the maps, and mIoU over the threshold.

    Args:
        methods: What is compared.
        thresholds: (T,) background thresholds of the curves.
        truth: Spectrum of the ground truth.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    # a canvas of its own and no pyplot: no window system is asked, and no figure is kept globally
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 5.2 + 0.12 * len(methods)), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    quality, spectrum, curves = figure.subplots(1, 3)
    _draw_quality(quality, methods)
    _draw_spectra(spectrum, [*((one.name, one.spectrum) for one in methods), (_TRUTH, truth)])
    _draw_curves(curves, methods, thresholds)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_quality(axes: "Axes", methods: Sequence[ComparedMaps]) -> None:
    """Draw mIoU against cost, a named dot for each method."""
    for i, one in enumerate(methods):
        place = (one.cost, 100 * one.miou)
        axes.scatter(*place, color=_colour(i), zorder=3)
        axes.annotate(one.name, place, fontsize=7, xytext=(4, 3), textcoords="offset points")
    axes.set(xscale="log", xlabel="cost (forward passes)", ylabel="mIoU (%)")
    axes.margins(x=0.25)
    axes.grid(alpha=0.3)


def _draw_spectra(axes: "Axes", spectra: Sequence[tuple[str, Bands]]) -> None:
    """Draw a bar for each spectrum, its bands behind one another."""
    names = [name for name, _ in spectra]
    shares = np.array([bands for _, bands in spectra], dtype=float)
    left = np.zeros(len(names))
    for band, share in zip(Bands._fields, shares.T, strict=True):
        axes.barh(names, 100 * share, left=100 * left, color=_BAND_COLOURS[band], label=band)
        left += share
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    axes.set(xlabel="energy (%): below 1/32, to 1/8, above 1/8 cycles per pixel")


def _draw_curves(axes: "Axes", methods: Sequence[ComparedMaps], thresholds: np.ndarray) -> None:
    """Draw mIoU over the threshold, a line for each method."""
    for i, one in enumerate(methods):
        dash = ("-", "--", ":")[i // 10 % 3]  # there are ten colours: then dashes, then dots
        axes.plot(thresholds, 100 * one.curve, dash, color=_colour(i), lw=1.2, label=one.name)
        axes.scatter(one.threshold, 100 * one.miou, color=_colour(i), s=14, zorder=3)
    axes.set(xlabel="background threshold; dot: chosen on the other list", ylabel="mIoU (%)")
    axes.legend(fontsize=6)
    axes.grid(alpha=0.3)


def _colour(place: int) -> str:
    return f"C{place % 10}"
