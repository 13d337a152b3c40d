"""Networks that refinement steps ask about a photograph, by the paths of their checkpoints."""

import copy
import threading
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from wsss.attribution.capture import capture
from wsss.data.transforms import normalise
from wsss.models.attention import patch_attention, patch_size
from wsss.models.segmenter import Segmenter
from wsss.models.text_classifier import AnyClassifier
from wsss.tasks.boundary_network import BoundaryNetwork
from wsss.tasks.checkpoint import kind_of, load_boundary, load_classifier, load_segmenter

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
            layers: Modules of its backbone; None takes a classifier's last of each resolution.
            long_side: Long side to which the network sees it; None: as it is.

        Returns:
            (C, h, w) float32 of each layer.

        Raises:
            FileNotFoundError, ValueError: No such checkpoint, or no such layer.
        """
        network = self._network(checkpoint)
        names = _layers(network, layers, checkpoint)
        pixels = normalise(resized(image, long_side), network.normalisation)[None].to(self.device)
        with torch.no_grad(), capture(network, names, pixels) as captured:
            network(captured.images)
        read = (captured.readers[name](captured.outputs[name])[0] for name in names)
        return [cells.detach().float().cpu().numpy() for cells in read]

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


def _layers(network: nn.Module, layers: Sequence[str] | None, checkpoint: Path) -> list[str]:
    """Names of modules of a whole network, from those of its backbone."""
    if layers is None:
        if isinstance(network, AnyClassifier):
            return network.default_layers
        raise ValueError(f"walk.layers: {checkpoint} names none of its own; give some")
    known = [
        name.removeprefix("backbone.")
        for name, _ in network.named_modules()
        if name.startswith("backbone.")
    ]
    plain = [layer.removeprefix("backbone.") for layer in layers]
    for layer in plain:
        if layer not in known:
            near = get_close_matches(layer, known, n=3) or known[:10]
            raise ValueError(
                f"walk.layers: {checkpoint} has no layer {layer!r}, but {', '.join(near)}"
            )
    return [f"backbone.{layer}" for layer in plain]
