"""Parts of a data set for cross-validation: alike in their labels, duplicates together."""

from collections.abc import Hashable, Sequence

import numpy as np


def stratified_folds(
    labels: np.ndarray, groups: Sequence[Hashable], folds: int, *, seed: int
) -> np.ndarray:
    """Share images out so that each part has about the same number of each class.

    Iterative stratification (Sechidis et al., ECML PKDD 2011, algorithm 1) of whole groups: what
    is rarest among the images that are left goes first, each to the fold that misses most of it.
    An absent label counts as a class of its own, so that a class that nearly all images have is
    shared out as well as a rare one.

    Args:
        labels: (N, K) multi-hot.
        groups: N values; images with the same one share a fold.
        folds: Number of parts.
        seed: Seed of the order of the images and of ties.

    Returns:
        (N,) int64: the part, 0..folds - 1, of each image. No part is empty.

    Raises:
        ValueError: There are fewer groups than folds.
    """
    names = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    if len(groups) != len(labels):
        raise ValueError(f"groups: expected {len(labels)}, one an image, got {len(groups)}")
    if len(names) < folds:
        raise ValueError(
            f"folds: {folds} parts need at least as many different images, got {len(names)}"
        )
    group = np.array([names[name] for name in groups])
    present = np.asarray(labels, dtype=np.float64)
    # presence and absence of each class, 2 K columns
    sides = np.concatenate([present, 1 - present], axis=1)
    counts = np.zeros((len(names), sides.shape[1]))
    np.add.at(counts, group, sides)
    sizes = np.bincount(group)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(names))
    # large groups first, while every fold still has room for them
    order = order[np.argsort(-sizes[order], kind="stable")]
    # what each fold still misses of each column, and of images
    wanted = np.tile(counts.sum(axis=0) / folds, (folds, 1))
    room = np.full(folds, len(labels) / folds)
    part = np.full(len(names), -1)
    while (part < 0).any():
        left = counts[part < 0].sum(axis=0)
        # the rarest column among the groups that are left
        side = int(np.where(left > 0, left, np.inf).argmin())
        for number in order[(part[order] < 0) & (counts[order, side] > 0)]:
            # the last key counts first: misses most of it, then has most room, then at random
            best = int(np.lexsort((rng.random(folds), room, wanted[:, side]))[-1])
            part[number] = best
            wanted[best] -= counts[number]
            room[best] -= sizes[number]
    return part[group].astype(np.int64)
