"""Random walk as a refinement step."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from wsss.refinement.maps import Context, LabelMaps, Networks, Picture, Refine
from wsss.refinement.walk.affinity import Affinity
from wsss.refinement.walk.attention import attention_affinity
from wsss.refinement.walk.boundary import boundary_affinity, boundary_on
from wsss.refinement.walk.colour import colour_affinity
from wsss.refinement.walk.config import WalkConfig
from wsss.refinement.walk.features import feature_affinity
from wsss.refinement.walk.transition import walk


def walks(pictures: Sequence[Picture], config: WalkConfig, context: Context) -> Refine:
    """Prepare the random walk of some photographs; see `wsss.refinement.walk.prepare_walk`."""
    device = torch.device(context.device)
    ready = [_Walk(one, config, context.networks, device) for one in pictures]

    def refine(maps: Sequence[LabelMaps]) -> list[LabelMaps]:
        return [one(label_maps) for one, label_maps in zip(ready, maps, strict=True)]

    return refine


class _Walk:
    """Random walk of the maps of one photograph.

    Args:
        picture: The photograph.
        config: Options.
        networks: What asks networks.
        device: Where the walk runs.
    """

    def __init__(
        self,
        picture: Picture,
        config: WalkConfig,
        networks: Networks | None,
        device: torch.device,
    ) -> None:
        image = picture.image
        height, width = image.shape[:2]
        grid = -(-height // config.stride), -(-width // config.stride)
        self.config = config
        self.device = device
        self.inside: torch.Tensor | None = None
        affinity: Affinity
        if config.affinity == "colour":
            affinity = colour_affinity(
                picture.colours, grid, radius=config.radius, sigma=config.sigma
            )
        elif networks is None or config.checkpoint is None:
            raise ValueError(
                f"refine, walk: affinity {config.affinity} asks for a network; give a "
                "Context(networks=...), such as wsss.tasks.guides.Guides()"
            )
        elif config.affinity == "features":
            seen = networks.features(image, config.checkpoint, config.layers, config.long_side)
            affinity = feature_affinity(seen, grid, radius=config.radius, cut=config.cut)
        elif config.affinity == "attention":
            attention = networks.attention(
                image, config.checkpoint, config.blocks, config.long_side
            )
            affinity = attention_affinity(attention)
        else:
            boundary = networks.boundary(image, config.checkpoint, config.long_side)
            affinity = boundary_affinity(boundary, grid, radius=config.radius)
            self.inside = (1 - boundary_on(boundary, grid)).to(device)
        self.affinity = affinity.sharpened(config.exponent).to(device)

    def __call__(self, maps: LabelMaps) -> LabelMaps:
        """Walk the maps, of which the background comes first."""
        values = maps.values
        if self.config.boxes is not None and not maps.marginals:
            values = np.stack(
                [values[0], *(in_boxes(one, self.config.boxes) for one in values[1:])]
            )
        cells = torch.from_numpy(_resized(values, self.affinity.grid)).to(self.device)
        if self.inside is not None and not maps.marginals:
            # a boundary belongs to no class
            cells[1:] *= self.inside
        walked = walk(self.affinity, cells, self.config.length).cpu().numpy()
        refined = _resized(walked, values.shape[1:])
        if maps.marginals:
            # of bilinear weights that are rounded
            return LabelMaps(refined / refined.sum(axis=0).clip(min=1e-12), marginals=True)
        # A walk levels the peaks: each class gets its own height back, so that the threshold means
        # what it did. The background is that threshold, and has no height of its own.
        before, after = (one[1:].max(axis=(1, 2)) for one in (maps.values, refined))
        refined[1:] *= (before / np.where(after > 0, after, 1))[:, None, None]
        return LabelMaps(refined.clip(max=1), marginals=False)


def in_boxes(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Scores inside the boxes around the connected regions that score more, 0 elsewhere.

    Args:
        scores: (H, W) float32.
        threshold: Of the regions, as a share of the largest score.
    """
    above = (scores > threshold * scores.max()).astype(np.uint8)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    kept = np.zeros_like(scores)
    for x, y, width, height, _ in boxes[1:]:  # the first is what lies outside of all
        window = slice(y, y + height), slice(x, x + width)
        kept[window] = scores[window]
    return kept


def _resized(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize (L, H, W) maps to (h, w), by the mean where they become smaller."""
    height, width = size
    if maps.shape[1:] == (height, width):
        return maps.astype(np.float32)
    smaller = height * width < maps.shape[1] * maps.shape[2]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.stack([cv2.resize(one, (width, height), interpolation=how) for one in maps])
