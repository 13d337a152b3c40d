"""Figures of a comparison of attributions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_BANDS = {"low": "#31688e", "middle": "#35b779", "high": "#fde725"}


def attribution_figure(
    rows: Sequence[Mapping[str, Any]], thresholds: np.ndarray, curves: Sequence[np.ndarray]
) -> np.ndarray:
    """Draw quality against cost, the spectrum of the maps, and mIoU over the threshold.

    Args:
        rows: One a method, with ``way``, ``miou``, ``threshold``, ``cost`` and the shares ``low``,
            ``middle``, ``high`` of the maps and ``mask_low``, ... of the ground truth.
        thresholds: (T,) background thresholds.
        curves: (T,) mIoU of each method.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    # a canvas of its own and no pyplot: no window system is asked, and no figure is kept globally
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 5.2 + 0.12 * len(rows)), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    quality, spectrum, threshold = figure.subplots(1, 3)
    for i, (row, curve) in enumerate(zip(rows, curves, strict=True)):
        # after ten colours the lines are dashed, then dotted
        colour, dash = f"C{i % 10}", ("-", "--", ":")[i // 10 % 3]
        quality.scatter(row["cost"], 100 * row["miou"], color=colour, zorder=3)
        quality.annotate(
            row["way"], (row["cost"], 100 * row["miou"]), fontsize=7,
            xytext=(4, 3), textcoords="offset points",
        )  # fmt: skip
        threshold.plot(thresholds, 100 * curve, dash, color=colour, lw=1.2, label=row["way"])
        threshold.scatter(row["threshold"], 100 * row["miou"], color=colour, s=14, zorder=3)
    quality.set(xscale="log", xlabel="cost (forward passes)", ylabel="mIoU (%)")
    quality.margins(x=0.25)
    threshold.set(xlabel="background threshold; dot: chosen on the other list", ylabel="mIoU (%)")
    threshold.legend(fontsize=6)
    names = [str(row["way"]) for row in rows] + ["ground truth"]
    left = np.zeros(len(names))
    for band, colour in _BANDS.items():
        # the ground truth's spectrum is the same in every row
        shares = np.array([row[band] for row in rows] + [rows[0][f"mask_{band}"]], dtype=float)
        spectrum.barh(names, 100 * shares, left=100 * left, color=colour, label=band)
        left += shares
    spectrum.invert_yaxis()
    spectrum.tick_params(axis="y", labelsize=7)
    spectrum.set(xlabel="energy (%): below 1/32, to 1/8, above 1/8 cycles per pixel")
    for axes in (quality, threshold):
        axes.grid(alpha=0.3)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
