"""A run of one quick step with two seeds, whose masks and so whose scores differ."""

from pathlib import Path

import numpy as np

from wsss.data import DataConfig, load_records, read_mask, write_mask

SPLIT = "val"
STEPS = [
    {"name": "score", "command": "eval_miou", "split": SPLIT, "predictions": "{output}/masks"},
    {"name": "limited", "command": "eval_miou", "split": SPLIT, "limit": 2,
     "predictions": "{output}/masks"},
]  # fmt: skip


def write_masks(data: DataConfig, folder: Path, seeds=(0, 1)) -> None:
    """Masks of each seed, such as a network of that seed would have made: the worse, the later."""
    for seed in seeds:
        for record in load_records(data, SPLIT, with_labels=False):
            mask = np.roll(read_mask(record.mask), 1 + 3 * seed, axis=0)
            write_mask(folder / f"seed-{seed}/masks/{record.image_id}.png", mask)
