"""Networks that refinement steps ask about a photograph, by the paths of their checkpoints."""

import copy
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from wsss.data.transforms import normalise
from wsss.models.attention import patch_attention, patch_size
from wsss.models.hidden import HiddenStates
from wsss.models.segmenter import Segmenter
from wsss.models.text_classifier import AnyClassifier
from wsss.refinement.maps import Grid
from wsss.tasks.boundary_network import BoundaryNetwork
from wsss.tasks.checkpoint import kind_of, load_boundary, load_classifier, load_segmenter
from wsss.tasks.sam import SamNetworks, SeenImage, kept_everything

Guide = AnyClassifier | Segmenter

PATCHES = 1600
"""Most patches whose attention is asked for: it takes memory with their square."""


class Guides:
    """Networks of checkpoints: each is loaded once, when it is first asked, and runs in any thread.

    The `wsss.refinement.maps.Networks` of the commands.

    Args:
        device: Where they run.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._loaded: dict[Path, Guide | BoundaryNetwork] = {}
        self._loading = threading.Lock()
        # A network is read by hooks, in which the passes of two threads would mix: each thread
        # has a copy of the modules, which shares the weights.
        self._own = threading.local()
        # read without hooks, so all threads have the same
        self._sams = SamNetworks(self.device)

    def features(
        self,
        image: np.ndarray,
        checkpoint: Path,
        layers: Sequence[str] | None,
        long_side: int | None,
    ) -> list[np.ndarray]:
        """Compute features of a photograph.

        Args:
            image: (H, W, 3) uint8 RGB.
            checkpoint: A classifier or a segmentation network.
            layers: Hidden states of its backbone, see `HiddenStates`; None takes a classifier's
                last of each resolution.
            long_side: Long side to which the network sees it; None: as it is.

        Returns:
            (C, h, w) float32 of each layer.

        Raises:
            FileNotFoundError, ValueError: No such checkpoint, or no such layer.
        """
        network = self._network(checkpoint)
        names = _layers(network, layers, checkpoint)
        try:
            states = self._states(network, names)
        except ValueError as error:
            raise ValueError(f"walk.layers: {checkpoint}: {error}") from error
        pixels = normalise(resized(image, long_side), network.normalisation)[None].to(self.device)
        return [values[0].float().cpu().numpy() for values in states(pixels).values()]

    def _states(self, network: Guide, names: tuple[str, ...]) -> HiddenStates:
        """This thread's reader of a network's layers, which looks for them once."""
        own: dict[tuple[int, tuple[str, ...]], HiddenStates]
        own = self._own.__dict__.setdefault("states", {})
        # the network is this thread's own copy, which it keeps
        key = id(network), names
        if key not in own:
            own[key] = HiddenStates(network.backbone, names)
        return own[key]

    def attention(
        self, image: np.ndarray, checkpoint: Path, blocks: int, long_side: int | None
    ) -> np.ndarray:
        """Compute the attention between a photograph's patches, at most `PATCHES` of them.

        Args:
            image: (H, W, 3) uint8 RGB.
            checkpoint: A classifier or a segmentation network on a vision transformer.
            blocks: The last blocks, over which the mean is taken.
            long_side: Long side to which the network sees it; None: as it is.

        Returns:
            (h, w, h, w) float32, of each patch to each other.

        Raises:
            FileNotFoundError, ValueError: No such checkpoint, or no transformer.
        """
        network = self._network(checkpoint)
        seen = resized(image, long_side)
        patches = seen.shape[0] * seen.shape[1] / patch_size(network.backbone) ** 2
        if patches > PATCHES:
            seen = resized(seen, int(max(seen.shape) * (PATCHES / patches) ** 0.5))
        pixels = normalise(seen, network.normalisation)[None].to(self.device)
        try:
            found = patch_attention(network.backbone, pixels, blocks)
        except ValueError as error:
            raise ValueError(f"walk.checkpoint: {checkpoint}: {error}") from error
        return found[0].float().cpu().numpy()

    def boundary(self, image: np.ndarray, checkpoint: Path, long_side: int | None) -> np.ndarray:
        """Compute the boundary map of a photograph, averaged with that of its mirror image.

        Args:
            image: (H, W, 3) uint8 RGB.
            checkpoint: A boundary network.
            long_side: Long side to which the network sees it; None: as it is.

        Returns:
            (h, w) float32 in [0, 1], at a quarter of the size that the network sees.

        Raises:
            FileNotFoundError, ValueError: No such checkpoint, or one of another network.
        """
        network = self._boundary_network(checkpoint)
        pixels = normalise(resized(image, long_side), network.normalisation)[None].to(self.device)
        with torch.no_grad():
            logits = (network(pixels) + network(pixels.flip(3)).flip(2)) / 2
        return logits.sigmoid()[0].float().cpu().numpy()

    def segments(
        self, image: np.ndarray, checkpoint: Path | str, grid: Grid, cache: Path | None
    ) -> list[np.ndarray]:
        """Find the masks of everything in a photograph.

        Args:
            image: (H, W, 3) uint8 RGB.
            checkpoint: A segment-anything network: a folder in the layout of transformers, or a
                name of the hub.
            grid: Points and thresholds.
            cache: Folder where masks are kept; None keeps nothing.

        Returns:
            The pixels of each, int64, row by row and rising; the surest come first.

        Raises:
            FileNotFoundError, ImportError, ValueError: No such network, or transformers is missing.
        """
        return kept_everything(self._sams[checkpoint], image, grid, cache)

    def prompted(self, image: np.ndarray, checkpoint: Path | str) -> SeenImage:
        """Let a segment-anything network see a photograph, to prompt it at points.

        Args:
            image: (H, W, 3) uint8 RGB.
            checkpoint: See `segments`.

        Raises:
            FileNotFoundError, ImportError, ValueError: See `segments`.
        """
        return self._sams[checkpoint].see(image)

    def _network(self, checkpoint: Path) -> Guide:
        """Network whose backbone is asked."""
        found = self._copy(checkpoint)
        # a boundary network has a classifier's backbone
        return found.classifier if isinstance(found, BoundaryNetwork) else found

    def _boundary_network(self, checkpoint: Path) -> BoundaryNetwork:
        found = self._copy(checkpoint)
        if not isinstance(found, BoundaryNetwork):
            raise ValueError(
                f"walk.checkpoint: expected a boundary network written by train_boundary, found a "
                f"{kind_of(checkpoint)} in {checkpoint}"
            )
        return found

    def _copy(self, checkpoint: Path) -> Guide | BoundaryNetwork:
        """This thread's copy of a checkpoint's network, in eval mode on the device."""
        own: dict[Path, Guide | BoundaryNetwork]
        own = self._own.__dict__.setdefault("networks", {})
        if checkpoint not in own:
            with self._loading:
                if checkpoint not in self._loaded:
                    self._loaded[checkpoint] = _load(checkpoint).to(self.device)
                loaded = self._loaded[checkpoint]
                # what is in the memo is not copied
                weights = (*loaded.parameters(), *loaded.buffers())
                own[checkpoint] = copy.deepcopy(loaded, {id(tensor): tensor for tensor in weights})
        return own[checkpoint]


def resized(image: np.ndarray, long_side: int | None) -> np.ndarray:
    """Resize an (H, W, 3) photograph to a long side in pixels; None leaves it."""
    height, width = image.shape[:2]
    if long_side is None or long_side == max(height, width):
        return image
    scale = long_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=how)


def _load(checkpoint: Path) -> Guide | BoundaryNetwork:
    """Load a network of any kind; what is none of ours is refused as no classifier."""
    kind = kind_of(checkpoint)
    if kind == "boundary":
        return load_boundary(checkpoint)
    network = (load_segmenter if kind == "segmenter" else load_classifier)(checkpoint)[0]
    return network.requires_grad_(False)


def _layers(network: Guide, layers: Sequence[str] | None, checkpoint: Path) -> tuple[str, ...]:
    """Names of a backbone's hidden states, as they are given or as the network has them."""
    if layers is None:
        if not isinstance(network, AnyClassifier):
            raise ValueError(f"walk.layers: {checkpoint} names none of its own; give some")
        layers = network.default_layers
    return tuple(layer.removeprefix("backbone").removeprefix(".") for layer in layers)
