"""All masks that a segment-anything network finds in a photograph, from a grid of points."""

import numpy as np
import torch
from torchvision.ops import nms

from wsss.refinement.maps import Grid
from wsss.tasks.sam.network import SeenImage

BOX_IOU = 0.7
"""Of two masks whose boxes overlap more than this, the one of the lower predicted IoU is left out;
SAM's own value."""


def everything(seen: SeenImage, grid: Grid) -> list[np.ndarray]:
    """Find all masks: SAM's automatic mask generator, on the whole photograph.

    Each point of the grid is a prompt of its own. The M proposals of all of them are left out where
    the network expects little of them or where their border is not sure, and so are those that
    another one repeats.

    Args:
        seen: The photograph as the network saw it.
        grid: Points and thresholds.

    Returns:
        For each mask the numbers of its pixels, row by row, int64, rising; none is empty. The
        highest predicted IoU comes first.
    """
    bits: list[np.ndarray] = []
    confidences, boxes = [torch.zeros(0)], [torch.zeros(0, 4)]
    for logits, predicted in seen.logits(grid_places(grid.points_per_side, seen.size)):
        kept = _kept(logits.flatten(0, 1), predicted.flatten(), grid)
        masks = logits.flatten(0, 1)[kept] > 0
        confidences.append(predicted.flatten()[kept].cpu())
        boxes.append(_boxes(masks).cpu())
        # an eighth of the memory: most of these are repetitions, which go below
        bits.extend(np.packbits(masks.flatten(1).cpu().numpy(), axis=1))
    order = nms(torch.cat(boxes), torch.cat(confidences), BOX_IOU).tolist()
    count = seen.size[0] * seen.size[1]
    return [np.flatnonzero(np.unpackbits(bits[number], count=count)) for number in order]


def grid_places(side: int, size: tuple[int, int]) -> np.ndarray:
    """Rows and columns of the centres of side x side equal parts of a photograph.

    Args:
        side: Points in each row and in each column.
        size: (H, W) in pixels.

    Returns:
        (side^2, 2) float64, row by row.
    """
    centres = (np.arange(side) + 0.5) / side
    rows, columns = np.meshgrid(centres * size[0], centres * size[1], indexing="ij")
    return np.stack([rows.ravel(), columns.ravel()], axis=1)


def _kept(logits: torch.Tensor, predicted: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Which masks are not empty, sure and stable: (N,) bool of (N, H, W) logits."""
    larger, smaller = ((logits > bound).sum(dim=(1, 2)) for bound in (-1.0, 1.0))
    stable = smaller >= grid.stability * larger
    return (logits > 0).any(dim=2).any(dim=1) & (predicted >= grid.predicted_iou) & stable


def _boxes(masks: torch.Tensor) -> torch.Tensor:
    """Boxes of (N, H, W) masks, none empty: (N, 4) float32 x, y of the first and last pixel."""
    sides = []
    for dim in (1, 2):
        there = masks.any(dim=dim).int()
        last = there.shape[1] - 1 - there.flip(1).argmax(dim=1)
        sides.append((there.argmax(dim=1), last))
    (left, right), (top, bottom) = sides
    return torch.stack([left, top, right, bottom], dim=1).float()
