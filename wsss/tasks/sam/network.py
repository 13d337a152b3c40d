"""Segment-anything networks, which are prompted by points."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from wsss.refinement.maps import Proposals
from wsss.tasks.sam.checkpoint import checkpoint_sha256, folder_of

_BYTES = 1 << 28
"""Of the logits of a batch of prompts, about: a photograph of 500 x 375 pixels takes 21 at once."""

_CANVAS = 1024 * 1024
"""Pixels to which SAM's logits are enlarged on their way to the photograph's size."""

Embedding = torch.Tensor | list[torch.Tensor]


class _Outputs(Protocol):
    """What a network gives: (1, P, M, h, w) logits and (1, P, M) IoUs that it expects."""

    pred_masks: torch.Tensor
    iou_scores: torch.Tensor


class _Model(Protocol):
    """A segment-anything network of transformers."""

    def get_image_embeddings(self, pixel_values: torch.Tensor) -> Embedding: ...

    def __call__(
        self,
        *,
        image_embeddings: Embedding,
        input_points: torch.Tensor,
        input_labels: torch.Tensor,
    ) -> _Outputs: ...


class _Processor(Protocol):
    """Its image processor."""

    def __call__(
        self, *, images: np.ndarray, input_data_format: str, return_tensors: str
    ) -> Mapping[str, torch.Tensor]: ...

    def post_process_masks(
        self,
        masks: torch.Tensor,
        original_sizes: Sequence[tuple[int, int]],
        *,
        reshaped_input_sizes: Sequence[tuple[int, int]],
        binarize: bool,
    ) -> list[torch.Tensor]: ...


class SamNetwork:
    """A segment-anything network. Threads may ask at the same time.

    Args:
        model: The network, in eval mode on the device.
        processor: Its image processor.
        digest: `checkpoint_sha256` of its checkpoint.
        device: Where it runs.
    """

    def __init__(
        self, model: _Model, processor: _Processor, digest: str, device: torch.device
    ) -> None:
        self.digest = digest
        self.device = device
        self._model = model
        self._processor = processor
        # On a GPU passes wait for one another anyway; so they do not need their memory at once.
        self._turn: AbstractContextManager[object] = (
            nullcontext() if device.type == "cpu" else threading.Lock()
        )

    @torch.no_grad()
    def see(self, image: np.ndarray) -> "SeenImage":
        """Compute the embedding of a photograph, from which all its masks come.

        Args:
            image: (H, W, 3) uint8 RGB.
        """
        seen = self._processor(images=image, input_data_format="channels_last", return_tensors="pt")
        pixels = seen["pixel_values"]
        height, width = image.shape[:2]
        inner = pixels.shape[2], pixels.shape[3]
        # SAM pads the photograph below or to the right; SAM 2 and 3 squeeze it into a square
        if "reshaped_input_sizes" in seen:
            inner = tuple(seen["reshaped_input_sizes"][0].tolist())
        with self._turn:
            embedding = self._model.get_image_embeddings(pixels.to(self.device))
        return SeenImage(self, embedding, (height, width), inner)

    @torch.no_grad()
    def propose(
        self,
        embedding: Embedding,
        points: torch.Tensor,
        size: tuple[int, int],
        inner: tuple[int, int],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute what a network proposes at points.

        Args:
            embedding: Of the photograph.
            points: (P, 2) x and y in the network's pixels.
            size: (H, W) of the photograph.
            inner: (h, w) of the photograph as the network saw it.

        Returns:
            (P, M, H, W) logits, and (P, M) IoUs that it expects.
        """
        points = points.to(self.device)[None, :, None]
        labels = torch.ones(points.shape[:3], dtype=torch.int64, device=self.device)
        with self._turn:
            found = self._model(
                image_embeddings=embedding, input_points=points, input_labels=labels
            )
            (logits,) = self._processor.post_process_masks(
                found.pred_masks, [size], reshaped_input_sizes=[inner], binarize=False
            )
        return logits, found.iou_scores[0]


class SeenImage:
    """A photograph as a network saw it.

    Args:
        network: The network.
        embedding: What it keeps of the photograph.
        size: (H, W) of the photograph.
        inner: (h, w) to which it was resized, without padding.
    """

    def __init__(
        self,
        network: SamNetwork,
        embedding: Embedding,
        size: tuple[int, int],
        inner: tuple[int, int],
    ) -> None:
        self.network = network
        self.size = size
        self._embedding = embedding
        self._inner = inner

    def logits(self, places: np.ndarray) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Compute the logits of what the network proposes, a few prompts at a time.

        Args:
            places: (P, 2) rows and columns of the photograph, each a prompt of its own.

        Yields:
            (p, M, H, W) float32 logits, and (p, M) float32 IoUs that it expects, on its device.
        """
        height, width = self.size
        scale = torch.tensor([self._inner[1] / width, self._inner[0] / height], dtype=torch.float64)
        # of float64, so that a point is the one that transformers itself would make of it
        points = (torch.from_numpy(places[:, ::-1].astype(np.float64)) * scale).float()
        pixels = max(height * width, _CANVAS)
        for part in points.split(max(1, _BYTES // (3 * 4 * pixels))):
            yield self.network.propose(self._embedding, part, self.size, self._inner)

    def __call__(self, places: np.ndarray) -> Iterator[Proposals]:
        """Propose masks; a `wsss.refinement.maps.Prompted`."""
        for logits, confidences in self.logits(places):
            yield Proposals((logits > 0).cpu().numpy(), confidences.float().cpu().numpy())


class SamNetworks:
    """Segment-anything networks by their checkpoints, each loaded once, when it is first asked.

    Args:
        device: Where they run.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._loaded: dict[str, SamNetwork] = {}
        self._loading = threading.Lock()

    def __getitem__(self, checkpoint: Path | str) -> SamNetwork:
        """Network of a checkpoint.

        Raises:
            FileNotFoundError, ImportError, ValueError: See `load_sam`.
        """
        with self._loading:
            if str(checkpoint) not in self._loaded:
                self._loaded[str(checkpoint)] = load_sam(checkpoint, self.device)
            return self._loaded[str(checkpoint)]


def load_sam(checkpoint: Path | str, device: torch.device) -> SamNetwork:
    """Load a segment-anything network.

    Args:
        checkpoint: Folder in the layout of transformers, or a name of the hub.
        device: Where it runs.

    Raises:
        FileNotFoundError: There is none.
        ImportError: transformers is not installed.
        ValueError: It is no segment-anything network, or its weights are of another one.
    """
    try:
        # here: seconds, and an optional package
        from transformers import AutoImageProcessor, AutoModelForMaskGeneration
    except ImportError as error:
        raise ImportError("refine: sam needs transformers: pip install 'wsss[sam]'") from error
    from safetensors import SafetensorError

    folder = folder_of(checkpoint)
    try:
        model, report = AutoModelForMaskGeneration.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    # transformers raises all of these for files that do not fit or are damaged
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"sam.checkpoint: cannot load {folder}: {error}") from error
    # transformers fills these by chance, and only warns
    if missing := sorted(report["missing_keys"]):
        raise ValueError(
            f"sam.checkpoint: the weights in {folder} lack {len(missing)} of the network's, "
            f"such as {missing[0]}"
        )
    model = model.eval().requires_grad_(False).to(device)
    return SamNetwork(model, processor, checkpoint_sha256(folder), device)
