"""Tables and the picture of benchmarks/suggest.py."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from wsss.visualisation.charts import COLOURS


def over_seeds(numbers: Mapping[str, float], name: str, seeds: Sequence[int]) -> np.ndarray:
    """One number of each seed."""
    return np.array([numbers[f"{name}_{seed}"] for seed in seeds])


def show(
    numbers: Mapping[str, float],
    seeds: Sequence[int],
    sizes: Sequence[int],
    trained: Sequence[str],
    every: Sequence[str],
) -> None:
    """Print rows of Markdown: of each order the mean over the seeds, and their range in brackets.

    The last cell is suggest less random, seed by seed.

    Args:
        numbers: Those of benchmarks/suggest.py.
        seeds: The seeds.
        sizes: Numbers of corrections.
        trained: Orders for which networks were trained.
        every: All orders.
    """
    kinds = {"miou": trained, "labelled": trained, "masks": every, "found": every}
    for kind, names in kinds.items():
        if names:
            print(f"\n| {kind} | " + " | ".join(names) + " | suggest - random |")
        for n in sorted(sizes) if names else ():
            found = {
                name: over_seeds(numbers, f"{kind}_{name}_{n}", seeds) * (100 ** (kind == "found"))
                for name in names
            }
            cells = [
                f"{one.mean():.1f} [{one.min():.1f}, {one.max():.1f}]" for one in found.values()
            ]
            if {"suggest", "random"} <= found.keys():
                less = found["suggest"] - found["random"]
                cells.append(", ".join(f"{one:+.1f}" for one in less))
            print(f"| {n} | " + " | ".join(cells) + " |")
    if trained:
        for kind, n in product(("miou", "labelled"), ("0", "all")):
            values = over_seeds(numbers, f"{kind}_{n}", seeds)
            print(f"{kind} {n}: {values.mean():.1f} [{values.min():.1f}, {values.max():.1f}]")
    expected = over_seeds(numbers, "expected_miou", seeds)
    print(f"masks 0: {numbers['masks_0']:.1f}, expected {', '.join(f'{x:.1f}' for x in expected)}")


def draw(
    numbers: Mapping[str, float], seeds: Sequence[int], sizes: Sequence[int], picture: Path
) -> None:
    """Draw the curves of suggest and random: the network's on val, the masks' of train."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3), layout="constrained", dpi=110)
    titles = {
        "masks": "masks of train, mIoU (%)",
        "labelled": "network on val, labels given (%)",
        "miou": "network on val (%)",
    }
    places = sorted(sizes)
    for axes, (kind, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        for name, colour in (("suggest", COLOURS[0]), ("random", COLOURS[1])):
            curves = np.array([over_seeds(numbers, f"{kind}_{name}_{n}", seeds) for n in places])
            if kind == "masks":
                start = np.full(len(seeds), numbers["masks_0"])
            else:
                start = over_seeds(numbers, f"{kind}_0", seeds)
                whole = over_seeds(numbers, f"{kind}_all", seeds)
                axes.axhline(whole.mean(), color="grey", lw=1, ls="--")
            curves = np.vstack([start, curves])
            axes.plot([0, *places], curves, ".", ms=4, color=colour)
            axes.plot([0, *places], curves.mean(axis=1), color=colour, label=name)
        axes.set(xlabel="corrected masks", title=title)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture)
