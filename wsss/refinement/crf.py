"""Fully connected CRF (Kraehenbuehl and Koltun, NIPS 2011), with its inputs checked.

Three backends compute the same marginals, see `CRFConfig`; whatever they do not check themselves is
checked here.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from wsss.refinement.densecrf.config import Backend, CRFConfig
from wsss.refinement.maps import Context, LabelMaps, Picture, Refine

__all__ = ["CRFConfig", "DenseCRF", "dense_crf", "dense_crf_batch", "resolve_backend"]


_MOST = 1e30
"""Largest energy: float32 holds the difference of two such ones."""


class _Inference(Protocol):
    """Interface of a backend."""

    def infer(self, unary: np.ndarray) -> np.ndarray:
        """Infer (L, H, W) float32 marginals from (L, H, W) float32 energies, L >= 2."""


class DenseCRF:
    """The dense CRF of one image, for any number of unaries, which share its lattice.

    Args:
        image: (H, W, 3) uint8 RGB, or more bands, values in [0, 255], not mean-subtracted.
        config: Kernels, number of iterations and backend.

    Raises:
        ValueError: Wrong type or shape, or kernels too narrow for the image's size.
        ImportError: The backend's library is not installed.
    """

    def __init__(self, image: np.ndarray, config: CRFConfig) -> None:
        _check_image(image)
        self.size = image.shape[:2]
        self._inference = _inference(image, config)

    def infer(self, unary: np.ndarray) -> np.ndarray:
        """Infer the marginal probabilities of one unary by mean-field inference.

        Args:
            unary: (L, H, W) float energies: minus the log of each label's probability, up to a
                constant.

        Returns:
            (L, H, W) float32 probabilities; they sum to 1 over the labels.

        Raises:
            ValueError: Wrong shape, or energies that are not finite.
        """
        _check_unary(unary, self.size)
        # nothing to infer, and the backends expect a label to compare with
        if len(unary) == 1:
            return np.ones(unary.shape, dtype=np.float32)
        return self._inference.infer(unary)


def dense_crf(image: np.ndarray, unary: np.ndarray, config: CRFConfig) -> np.ndarray:
    """Marginal probabilities of a dense CRF with one unary; see `DenseCRF`.

    Examples:
        >>> import numpy as np
        >>> image = np.zeros((4, 4, 3), dtype=np.uint8)
        >>> image[:, 2:] = 255
        >>> probabilities = np.full((2, 4, 4), 0.1, dtype=np.float32)  # background, one class
        >>> probabilities[0, :, :2] = probabilities[1, :, 2:] = 0.9
        >>> probabilities[:, 0, 0] = 0.4, 0.6  # unlike all that has its colour
        >>> config = CRFConfig(bilateral_sxy=4, bilateral_srgb=8, backend="torch")
        >>> dense_crf(image, -np.log(probabilities), config).argmax(axis=0)[0].tolist()
        [0, 0, 1, 1]
    """
    return DenseCRF(image, config).infer(unary)


def dense_crf_batch(
    images: Sequence[np.ndarray],
    unaries: Sequence[np.ndarray],
    config: CRFConfig,
    device: str | None = None,
) -> list[np.ndarray]:
    """Marginal probabilities of several images at once, by the torch backend.

    Args:
        images: (H, W, 3) uint8 RGB, or more bands, each, of any sizes.
        unaries: (L, H, W) float energies of each, with any numbers of labels.
        config: Kernels and number of iterations.
        device: torch's name of a device; None takes a GPU if there is one.

    Returns:
        (L, H, W) float32 probabilities of each.

    Raises:
        ValueError: See `DenseCRF`.
    """
    # imported here: torch takes seconds to load, which the other backends do without
    from wsss.refinement.densecrf.torch_batch import TorchCRF

    if len(images) != len(unaries):
        raise ValueError(f"unaries: expected {len(images)}, one for each image, got {len(unaries)}")
    for image, unary in zip(images, unaries, strict=True):
        _check_image(image)
        _check_unary(unary, image.shape[:2])
    if not images:
        return []
    return TorchCRF(images, config, device).infer(
        [np.array(unary, dtype=np.float32, order="C") for unary in unaries]
    )


def prepare_crf(pictures: Sequence[Picture], config: CRFConfig, context: Context) -> Refine:
    """Prepare the dense CRF as a refinement step: scores or marginals in, marginals out.

    Scores become energies as ``config.unary`` says; marginals by their logarithm, and a label that
    is nowhere likelier than 0.05 stays out of the CRF with a marginal of 0.

    Args:
        pictures: The photographs.
        config: Kernels, number of iterations and backend.
        context: On a GPU the torch backend takes all images at once.
    """
    infer = _inference_of_all([one.image for one in pictures], config, context.device)

    def refine(maps: Sequence[LabelMaps]) -> list[LabelMaps]:
        kept = [_possible(one) for one in maps]
        unaries = [_unary(one, labels, config) for one, labels in zip(maps, kept, strict=True)]
        refined = []
        for one, labels, marginals in zip(maps, kept, infer(unaries), strict=True):
            # labels that did not take part keep a marginal of 0
            values = np.zeros(one.values.shape, dtype=np.float32)
            values[labels] = marginals
            refined.append(LabelMaps(values, marginals=True))
        return refined

    return refine


def _inference_of_all(
    images: Sequence[np.ndarray], config: CRFConfig, device: str
) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """Prepare the inference of all images: at once on a GPU, else one after the other."""
    if resolve_backend(config.backend) == "torch":
        from wsss.refinement.densecrf.torch_batch import TorchCRF

        for image in images:
            _check_image(image)
        cuda = device.startswith("cuda")
        # side by side they fill a GPU; on a CPU each alone needs less memory
        groups = [images] if cuda else [[image] for image in images]
        batches = [TorchCRF(group, config, device if cuda else "cpu") for group in groups if group]

        def infer(unaries: Sequence[np.ndarray]) -> list[np.ndarray]:
            energies = iter(np.array(unary, dtype=np.float32, order="C") for unary in unaries)
            return [
                marginals
                for batch in batches
                for marginals in batch.infer([next(energies) for _ in batch.sizes])
            ]

        return infer
    crfs = [DenseCRF(image, config) for image in images]
    return lambda unaries: [crf.infer(u) for crf, u in zip(crfs, unaries, strict=True)]


_LEAST = 0.05
"""Marginal that a label must reach somewhere: those of a network are never 0."""


def _possible(maps: LabelMaps) -> np.ndarray:
    """Indices of the labels that take part in the CRF."""
    if not maps.marginals:
        return np.arange(len(maps.values))
    highest = maps.values.max(axis=(1, 2))
    if highest.max() <= _LEAST:  # many labels, and a network that knows nothing
        return np.arange(len(maps.values))
    return np.flatnonzero(highest > _LEAST)


def _unary(maps: LabelMaps, labels: np.ndarray, config: CRFConfig) -> np.ndarray:
    """Compute the (L, H, W) float32 energies of these labels."""
    if not maps.marginals:
        return unary_from_scores(maps.values, config)
    # a network's probability may round to 0, whose energy would be infinite
    return np.asarray(-np.log(np.maximum(maps.values[labels], 1e-8)))


def resolve_backend(backend: Backend) -> Backend:
    """Resolve ``auto`` to a backend of this machine."""
    if backend != "auto":
        return backend
    try:
        # found by importing it: an installed Numba may still not support this Python or NumPy
        import numba  # noqa: F401
    except ImportError:
        return "torch"
    return "fast"


def _inference(image: np.ndarray, config: CRFConfig) -> _Inference:
    backend = resolve_backend(config.backend)
    if backend == "fast":
        from wsss.refinement.densecrf.fast import FastCRF

        return FastCRF(image, config)
    if backend == "pydensecrf":
        from wsss.refinement.densecrf.library import LibraryCRF

        return LibraryCRF(image, config)
    from wsss.refinement.densecrf.torch_batch import OneImage

    return OneImage(image, config)


_BANDS = 16
"""Most bands: channels that stand first instead of last would be taken for rows."""


def _check_image(image: np.ndarray) -> None:
    if (
        image.dtype != np.uint8
        or image.ndim != 3
        or not 3 <= image.shape[2] <= _BANDS
        or not image.size
    ):
        raise ValueError(
            f"image: expected (H, W, 3) uint8 RGB, or more bands, got {image.shape} {image.dtype}"
        )


def _check_unary(unary: np.ndarray, size: tuple[int, ...]) -> None:
    if unary.ndim != 3 or unary.shape[1:] != size or unary.shape[0] < 1:
        raise ValueError(f"unary: expected (L, {size[0]}, {size[1]}), got {unary.shape}")
    # written so that nan, which no comparison holds for, is refused as well
    if not (unary.min() >= -_MOST and unary.max() <= _MOST):
        raise ValueError(f"unary: expected finite energies, at most {_MOST:g}, got nan or more")


def unary_from_scores(scores: np.ndarray, config: CRFConfig) -> np.ndarray:
    """Compute the energies of the background and class scores.

    Args:
        scores: (L, H, W) scores of the labels, background first, in [0, 1].
        config: ``unary`` chooses how scores become probabilities.

    Returns:
        (L, H, W) float32 energies, minus the log of the probabilities.
    """
    if config.unary == "softmax":
        logits = config.unary_scale * scores
        # the log of a softmax; less the largest, so that exp cannot overflow
        logits = logits - logits.max(axis=0, keepdims=True)
        normaliser = np.log(np.exp(logits).sum(axis=0, keepdims=True))
        return (normaliser - logits).astype(np.float32)
    # as unary_from_labels of pydensecrf: the other labels share what the best one leaves
    num_labels = scores.shape[0]
    if num_labels == 1:
        return np.zeros_like(scores, dtype=np.float32)
    # at 1 / L the best label would be no likelier than the others
    if config.label_probability <= 1 / num_labels:
        raise ValueError(
            f"crf.label_probability: expected above 1/{num_labels} for {num_labels} labels, got "
            f"{config.label_probability}"
        )
    others = -math.log((1 - config.label_probability) / (num_labels - 1))
    energies = np.full(scores.shape, others, dtype=np.float32)
    best = scores.argmax(axis=0)[None]
    np.put_along_axis(energies, best, np.float32(-math.log(config.label_probability)), axis=0)
    return energies
