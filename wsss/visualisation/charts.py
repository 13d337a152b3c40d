"""Charts of evaluations as SVG that follows the colours of the page around it."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK = "#010203"
"""Placeholder of the page's text colour, replaced when the figure is written."""

COLOURS = ("#3b82c4", "#e07b39", "#3aa57a", "#b65fb8", "#c9a227", "#6d7f8f", "#d1495b", "#8a63d2")
"""Colours of series: distinct on light and on dark ground, and to most colour-blind readers."""

BANDS = {"low": "#31688e", "middle": "#35b779", "high": "#d9b80b"}
"""Bands of the spectrum: below 1/32, to 1/8, above 1/8 cycles per pixel."""


def class_bars(
    classes: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    intervals: Mapping[str, Sequence[tuple[float, float] | None]],
) -> str:
    """Draw the IoU of each class as bars, one colour a series, with intervals.

    Args:
        classes: Names of the labels.
        series: For each name, the IoU of each label in [0, 1], None where there is none.
        intervals: For each name that has them, the two ends for each label.
    """
    figure, (axes,) = _figure(max(7.0, 0.32 * len(classes) * (len(series) + 1)), 3.2)
    width = 0.8 / max(1, len(series))
    for i, (name, values) in enumerate(series.items()):
        place = np.arange(len(classes)) + (i - (len(series) - 1) / 2) * width
        heights = [np.nan if value is None else 100 * value for value in values]
        axes.bar(place, heights, width * 0.92, label=_text(name), color=COLOURS[i % len(COLOURS)])
        for x, value in zip(place, values, strict=True):
            if value is None:
                axes.text(x, 1, "-", ha="center")
        for x, ends in zip(place, intervals.get(name, []), strict=False):
            if ends is not None:
                axes.plot([x, x], [100 * ends[0], 100 * ends[1]], color=_INK, lw=1.0)
    axes.set_xticks(
        range(len(classes)), list(map(_text, classes)), rotation=30 if len(classes) > 8 else 0
    )
    axes.set(ylabel="IoU (%)", ylim=(0, 100))
    _legend(axes)
    return _svg(figure, "bars")


def threshold_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float | None]]],
    chosen: Mapping[str, float],
    order: Sequence[str],
) -> str:
    """Draw mIoU over the background threshold, the chosen one as a dot.

    Args:
        curves: For each name, its thresholds and the mIoU in [0, 1] at each.
        chosen: The threshold of each name that has a single one.
        order: Names in the order of their colours, such as the series of `class_bars`.
    """
    figure, (axes,) = _figure(7.0, 3.2)
    for name, (thresholds, values) in curves.items():
        colour = COLOURS[order.index(name) % len(COLOURS)]
        heights = 100 * np.array([np.nan if v is None else v for v in values], dtype=float)
        axes.plot(thresholds, heights, color=colour, label=_text(name))
        if name in chosen:
            y = np.interp(chosen[name], np.asarray(thresholds, dtype=float), heights)
            axes.scatter([chosen[name]], [y], color=colour, s=30, zorder=3)
    axes.set(xlabel="background threshold (dot: the one that was scored)", ylabel="mIoU (%)")
    axes.set_xlim(0, 1)
    _legend(axes)
    return _svg(figure, "thresholds")


def training_curves(
    loss: tuple[Sequence[float], Sequence[float]],
    scores: Mapping[str, tuple[Sequence[float], Sequence[float]]],
) -> str:
    """Draw the training loss over steps, and validation scores beside it.

    Args:
        loss: Steps and losses.
        scores: For each score, steps and values.
    """
    columns = 2 if scores else 1
    figure, axes = _figure(3.8 * columns, 2.6, columns)
    axes[0].plot(*loss, color=COLOURS[0])
    axes[0].set(xlabel="step", ylabel="training loss")
    for right in axes[1:]:
        for i, (name, (steps, values)) in enumerate(scores.items()):
            right.plot(
                steps, values, "o-", ms=3, color=COLOURS[(i + 1) % len(COLOURS)], label=_text(name)
            )
        right.set(xlabel="step")
        _legend(right)
    return _svg(figure, "training")


def spectrum_bars(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> str:
    """Draw the share of the energy of the maps in each band.

    Args:
        rows: One a method: the shares ``low``, ``middle``, ``high``.
        names: Their names.
    """
    figure, (axes,) = _figure(7.0, 0.9 + 0.26 * len(rows))
    left = np.zeros(len(rows))
    for band, colour in BANDS.items():
        shares = 100 * np.array([row[band] for row in rows], dtype=float)
        axes.barh(range(len(rows)), shares, left=left, color=colour, label=band)
        left += shares
    axes.set_yticks(range(len(rows)), list(map(_text, names)))
    axes.invert_yaxis()
    axes.set(xlabel="energy (%): below 1/32, to 1/8, above 1/8 cycles per pixel", xlim=(0, 100))
    return _svg(figure, "spectrum")


def _figure(width: float, height: float, columns: int = 1) -> "tuple[Figure, list[Axes]]":
    """Make a figure without ground, all its lines in the page's text colour."""
    # imported here, since it takes a second that only charts need
    import matplotlib as mpl
    from matplotlib.figure import Figure

    ink = (
        "text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color",
        "xtick.labelcolor", "ytick.labelcolor",
    )  # fmt: skip
    style: Any = {**dict.fromkeys(ink, _INK), "font.size": 9, "font.family": "sans-serif"}
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
        axes = list(figure.subplots(1, columns, squeeze=False)[0])
        for one in axes:
            one.set_facecolor("none")
            one.spines[["top", "right"]].set_visible(False)
            one.grid(axis="y", color=_INK, alpha=0.15)
            one.set_axisbelow(True)
    return figure, axes


def _text(name: str) -> str:
    """Escape a name: dollars would start a formula, a leading _ hide it from the legend."""
    return ("\u200b" if name.startswith("_") else "") + name.replace("$", r"\$")


def _legend(axes: "Axes") -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, framealpha=0, labelcolor=_INK, ncols=2)


def _svg(figure: "Figure", name: str) -> str:
    """Convert the figure to an SVG element for a page, its text as text."""
    import matplotlib as mpl

    text = io.StringIO()
    # text stays text, in the page's font; salt and date are fixed, so that equal runs give equal
    # files
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata={"Date": None}, transparent=True)
    svg = text.getvalue()
    # from <svg on: the XML header and its DTD have no place inside a page
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")
