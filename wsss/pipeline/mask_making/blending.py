"""Label probabilities of tiles, and the masks of large images that are blended from them.

The probabilities of the tiles of an image lie in files until all of them are made: processes share
the tiles, an interrupted command goes on, and memory holds one part of the image at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss.data.rasters import Window
from wsss.data.records import Record
from wsss.data.storage import existing
from wsss.data.tiles import blend
from wsss.pipeline.mask_making.marginals import Marginals
from wsss.pipeline.mask_making.scoring import to_mask_values
from wsss.pipeline.mask_making.tiling import grids_of, whole_mask
from wsss.refinement.trust import TrustConfig, trusted_labels

KEPT = "tiles"
"""Folder, in that of the command, of the probabilities of tiles that are not joined yet."""


@dataclass(frozen=True)
class Blending:
    """Rule by which the probabilities of tiles become the mask of their image.

    Args:
        classes: (K,) uint8 mask values of all classes, in the order of the network.
        trust: Which pixels become 255.
        kept: The files of the probabilities, by the ids of the tiles.
    """

    classes: np.ndarray
    trust: TrustConfig
    kept: Mapping[str, Path]

    @classmethod
    def of(
        cls, classes: Mapping[str, int], trust: TrustConfig, kept: Mapping[str, Path]
    ) -> "Blending":
        """Build the rule for classes and their mask values."""
        return cls(np.array(list(classes.values()), dtype=np.uint8), trust, kept)

    def mask(self, tiles: Mapping[Window, Record], size: tuple[int, int]) -> np.ndarray | None:
        """Blend the tiles of an image: (H, W) uint8 mask values; None where none are kept."""
        files = {
            window: self.kept[tile.image_id]
            for window, tile in tiles.items()
            if tile.image_id in self.kept
        }
        if not files:
            return None
        whole = np.zeros(size, dtype=np.uint8)
        parts = blend(
            list(files), lambda window: Marginals.read(files[window]).of_all(self.classes)
        )
        for part, mean in parts:
            part.of(whole)[...] = to_mask_values(trusted_labels(mean, self.trust), self.classes)
        return whole


def can_blend(trust: TrustConfig) -> bool:
    """Whether the mask of each pixel depends on its own probabilities alone."""
    return trust.rule != "share" and trust.silent == "leave"


def kept_marginals(records: Sequence[Record], output: Path) -> dict[str, Path]:
    """Name the files of probabilities by which images are joined that are not joined yet.

    Args:
        records: All images of the command.
        output: Its folder.

    Returns:
        The file of each tile, by its id; none of images of a single tile.
    """
    grids = grids_of(records)
    needed = {
        name: [whole_mask(output, name)]
        + [output / "masks" / f"{tile.image_id}.png" for tile in tiles.values()]
        for name, tiles in grids.items()
        if len(tiles) > 1
    }
    there = existing(path for paths in needed.values() for path in paths)
    return {
        tile.image_id: output / KEPT / f"{tile.image_id}.npz"
        for name, paths in needed.items()
        # those of all its tiles, if one has to be made again
        if not there.issuperset(paths)
        for tile in grids[name].values()
    }
