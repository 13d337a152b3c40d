"""The frozen part of a network, whose activations can be kept, and the trained part after it."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from wsss.models.backbones import WHOLE
from wsss.models.classifier import ClassHead, Classifier, inside_of
from wsss.models.pooling import mean_cells
from wsss.models.segmenter import Segmenter
from wsss.models.split import BodySplit

_LAYOUT = {False: torch.contiguous_format, True: torch.channels_last}


class FrozenPart:
    """Frozen part of a classifier or a segmentation network.

    `compute` gives the activations on which `finish` goes on; together they are the network, but
    for dropout and the like in the frozen part, which is in eval mode.

    Args:
        model: The network; its modules are used, not copied.
        freeze: Last layer of the backbone that is frozen, or ``all``.

    Raises:
        ValueError: The backbone cannot be cut behind that layer.
    """

    def __init__(self, model: Classifier | Segmenter, freeze: str) -> None:
        self.model = model
        self.taps = list(model.taps)
        self.split = None if freeze == WHOLE else BodySplit(model.backbone, freeze, self.taps)
        # now: a training in several processes exchanges the classes of BatchNorm
        self._structure = [(name, repr(module)) for name, module in self._modules()]

    def has_batchnorm(self) -> bool:
        """Whether BatchNorm stands in the frozen part."""
        return any(
            isinstance(part, _BatchNorm) for _, one in self._modules() for part in one.modules()
        )

    def digest(self) -> str:
        """SHA-256 of all that the activations depend on beside the image."""
        pooled = "without padding" if self._head_of_means() else ""
        kept = self.taps if self.split is None else self.split.kept
        return _digest(self._modules(), self._structure, kept, pooled)

    @torch.no_grad()
    def compute(self, images: torch.Tensor, box: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Compute the activations of (B, 3, H, W) normalised images, in eval mode.

        Args:
            images: The images.
            box: (B, 4) of a classifier's, see `Classifier.forward`.
        """
        with self._evaluated():
            images = images.to(next(self.model.parameters()).dtype)
            if self.split is not None:
                return list(self.split.prefix(images).values())
            features = self.model.features(images)
            head = self._head_of_means()
            if head is None:
                return features
            # a number a channel is all that the mean leaves of the image
            inside = inside_of(features[0], (images.shape[2], images.shape[3]), box)
            return [mean_cells(features[0], inside)]

    def _head_of_means(self) -> ClassHead | None:
        """Find the head of a classifier that needs no more than the mean of fixed features."""
        if self.split is not None or not isinstance(self.model, Classifier):
            return None
        return self.model.head if self.model.head.of_means else None

    def finish(
        self,
        features: Sequence[torch.Tensor],
        size: tuple[int, int],
        box: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Go on from activations to the network's logits.

        Args:
            features: What `compute` gave, in any precision.
            size: (H, W) of the images.
            box: (B, 4) of a classifier's, see `Classifier.forward`.

        Returns:
            (B, K) of a classifier, (B, L, H, W) of a segmentation network.
        """
        features = [self._as_computed(values) for values in features]
        if self.split is not None:
            kept = dict(zip(self.split.kept, features, strict=True))
            found = {**kept, **self.split.rest(kept)}
            features = self.model.grids(found)
        if isinstance(self.model, Segmenter):
            return self.model.segment(features, size)
        head = self._head_of_means()
        if head is not None:
            return head.score_means(features[0])
        return self.model.classify(features, size, box)

    def _as_computed(self, values: torch.Tensor) -> torch.Tensor:
        """Activations in the precision and memory layout in which the network computes."""
        inner = any(p.dim() == 4 and not p.is_contiguous() for p in self.model.parameters())
        # once here, in one pass over memory, and not before each convolution that takes them
        return values.to(
            dtype=next(self.model.parameters()).dtype,
            memory_format=_LAYOUT[inner and values.dim() == 4],
        )

    def _modules(self) -> list[tuple[str, nn.Module]]:
        if self.split is None:
            return [("", self.model.backbone)]
        return self.split.prefix_modules()

    @contextmanager
    def _evaluated(self) -> Iterator[None]:
        """Eval mode of the frozen part, with every submodule's own mode restored."""
        modes = [(part, part.training) for _, one in self._modules() for part in one.modules()]
        try:
            for part, _ in modes:
                part.training = False
            yield
        finally:
            for part, mode in modes:
                part.training = mode


def body_digest(body: nn.Module) -> str:
    """SHA-256 of a network's structure and weights, in hex."""
    return _digest([("", body)], repr(body))


def _digest(modules: Sequence[tuple[str, nn.Module]], *facts: Any) -> str:
    """SHA-256 of the weights of some modules, and of what else decides their outputs."""
    digest = hashlib.sha256(repr(facts).encode())
    for name, module in modules:
        for key, value in module.state_dict().items():
            if key.endswith("num_batches_tracked"):
                continue  # of no weight while the statistics stay
            digest.update(f"{name} {key} {value.dtype} {tuple(value.shape)}".encode())
            plain = value.detach().cpu().contiguous().reshape(-1)
            digest.update(plain.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
