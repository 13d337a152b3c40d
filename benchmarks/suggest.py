"""What corrected masks are worth, and whether `wsss suggest` finds the images to correct first.

    python benchmarks/suggest.py --json suggest.json --picture docs/images/corrections.png

On the 370 photographs of train in ../shared/data/voc-animals: a classifier, masks of TIF by a
threshold that no mask chose and the dense CRF, and a segmentation network on fixed features. A
person is simulated by the real masks: of the first images in each order they take the place of the
pseudo-masks (`train_seg --trusted`), and the network is trained anew and scored on val. Each seed
is one of the networks that suggest listens to, of their trainings, and of the random order;
classifier and masks are those of seed 0. Orders beside suggest and random are by one column of
suggest.csv. Writes one flat object:

- miou_<order>_<n>_<seed>: mIoU of val in points after n corrections, n = 0 and all without order;
- labelled_<order>_<n>_<seed>: the same where each photograph of val has its image-level labels, as
  by `predict --label_mode given`: what masks teach of extents, without the confusion of classes;
- found_<order>_<n>_<seed>: share of the wrong pixels of all pseudo-masks in these n images;
- masks_<order>_<n>_<seed>: mIoU of the masks of train in points after the corrections;
- expected_miou_<seed>: what suggest expects of the pseudo-masks' mIoU, beside masks_0.

With `--split other`, all of it on 370 photographs of train_aug that are neither in train nor in
val, the networks scored on train: for choices, which are not made on what is reported.
"""

import csv
import json as text
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from corrections import SHARED, Corrections, make_lists
from jsonargparse import auto_cli
from ratios import write_ratios
from suggest_tables import draw, show

COLUMNS = {
    "suggest": "gain", "disagreement": "disagreement", "uncertainty": "uncertainty",
    "pixels": "wrong_pixels",
}  # fmt: skip
Order = Literal["suggest", "disagreement", "uncertainty", "pixels", "random"]
EVERY: tuple[Order, ...] = ("suggest", "disagreement", "uncertainty", "pixels", "random")


def orders(table: Path, wanted: Sequence[Order], seed: int) -> dict[str, list[str]]:
    """The images in each order."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["image"])
    found = {}
    for name in wanted:
        if name == "random":
            places = np.random.default_rng(seed).permutation(len(rows)).tolist()
        else:
            values = [-float(row[COLUMNS[name]]) for row in rows]
            places = np.argsort(values, kind="stable").tolist()
        found[name] = [rows[place]["image"] for place in places]
    return found


def measure(
    one: Corrections, seed: int, sizes: Sequence[int], trained: Sequence[Order]
) -> dict[str, float]:
    """All numbers of a seed."""
    numbers: dict[str, float] = {}
    start = one.network("none", [], seed)
    table = one.suggested(start, seed)
    facts = text.loads((table.parent / "manifest.json").read_text())
    numbers[f"expected_miou_{seed}"] = 100 * facts["expected_miou"]
    numbers["masks_0"] = one.found([])[1]
    ordered = orders(table, EVERY, seed)
    for name, ids in ordered.items():
        for n in sizes:
            share, after = one.found(ids[:n])
            numbers |= {f"found_{name}_{n}_{seed}": share, f"masks_{name}_{n}_{seed}": after}
    networks: dict[str, list[str]] = {"0": [], "all": one.ids} if trained else {}
    networks |= {f"{name}_{n}": ordered[name][:n] for n in sizes for name in trained}
    for name, ids in networks.items():
        checkpoint = one.network(name, ids, seed) if ids else start
        for kind, value in one.score(checkpoint).items():
            numbers[f"{kind}_{name}_{seed}"] = value
            print(f"seed {seed}, {name}: {kind} {value:.2f}", file=sys.stderr, flush=True)
    return numbers


def main(
    json: Path | None = None,
    picture: Path | None = None,
    folder: Path | None = None,
    split: Literal["train", "other"] = "train",
    seeds: Sequence[int] = (0, 1, 2),
    sizes: Sequence[int] = (25, 50, 100, 200),
    trained: Sequence[Order] = ("suggest", "random"),
    weight: float = 1.0,
    epochs: int = 12,
) -> None:
    """Measure and print the numbers.

    Args:
        json: File to write them to.
        picture: PNG of the curves; null for none.
        folder: Keeps masks and networks; a second call goes on there. Null keeps none.
        split: List that is corrected.
        seeds: Of networks and random orders.
        sizes: Numbers of corrections.
        trained: Orders for which networks are trained; the others are told of by their masks alone.
        weight: trusted_weight of train_seg.
        epochs: Passes of a network over the list.
    """
    if not SHARED.is_dir():
        print(f"skipped: needs photographs and weights under {SHARED}, which is not there")
        return
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as temporary:
        place = (folder or Path(temporary)).resolve()
        start = time.process_time()
        data = make_lists(place)
        scored = "val" if split == "train" else "train"
        one = Corrections(data, split, scored, place / split, weight, epochs)
        numbers: dict[str, float] = {}
        for seed in seeds:
            numbers |= measure(one, seed, sizes, trained)
            write_ratios(numbers, json)
        show(numbers, seeds, sizes, trained, EVERY)
        if picture is not None:
            draw(numbers, seeds, sizes, picture)
        print(f"{time.process_time() - start:.0f} processor seconds", file=sys.stderr)


if __name__ == "__main__":
    torch.set_num_threads(1)
    auto_cli(main, as_positional=False)
