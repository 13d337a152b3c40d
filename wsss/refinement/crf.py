"""The fully connected CRF (Kraehenbuehl and Koltun, NIPS 2011), checked at the door.

The only user of the ``pydensecrf`` library, which crashes the process on some inputs and passes
others silently; everything that it does not check is checked here.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True)
class CRFConfig:
    """Dense CRF with one Gaussian and one bilateral term (Potts model).

    The defaults are those of AffinityNet and SEAM. IRN: 3/3, 50/5/10 on ``labels``; DeepLab:
    1/3, 67/3/4; ToCo: 1/1, 121/5/4.

    Args:
        iterations: Mean-field iterations.
        gaussian_sxy: Width of the position kernel in pixels.
        gaussian_compat: Weight of the position kernel; 0 leaves it out.
        bilateral_sxy: Width of the position and colour kernel in pixels.
        bilateral_srgb: Its width in colour values (0..255).
        bilateral_compat: Its weight; 0 leaves it out.
        unary: What the CRF starts from: ``softmax`` of ``unary_scale`` times the background and
            class scores, or ``labels``: the best label with probability ``label_probability``.
        unary_scale: Sharpness of ``softmax``.
        label_probability: Certainty of ``labels``, above 1 / L and below 1 (IRN: 0.7).
    """

    iterations: int = 10
    gaussian_sxy: float = 3.0
    gaussian_compat: float = 3.0
    bilateral_sxy: float = 80.0
    bilateral_srgb: float = 13.0
    bilateral_compat: float = 10.0
    unary: Literal["softmax", "labels"] = "softmax"
    unary_scale: float = 8.0
    label_probability: float = 0.7

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise ValueError(f"crf.iterations: expected at least 0, got {self.iterations}")
        for name in ("gaussian_sxy", "bilateral_sxy", "bilateral_srgb", "unary_scale"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"crf.{name}: expected a finite number above 0, got {value}")
        for name in ("gaussian_compat", "bilateral_compat"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"crf.{name}: expected a finite number, at least 0, got {value}")
        if not 0 < self.label_probability < 1:
            raise ValueError(
                f"crf.label_probability: expected 0 < p < 1, got {self.label_probability}"
            )


def dense_crf(image: np.ndarray, unary: np.ndarray, config: CRFConfig) -> np.ndarray:
    """Marginal probabilities of a dense CRF after mean-field inference.

    Args:
        image: (H, W, 3) uint8 RGB, values in [0, 255], not mean-subtracted.
        unary: (L, H, W) float energies: minus the log of each label's probability, up to a
            constant.
        config: Kernels and number of iterations.

    Returns:
        (L, H, W) float32 probabilities; they sum to 1 over the labels.

    Raises:
        ValueError: Wrong types or shapes, or energies that are not finite.
        ImportError: The library is not installed.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image: expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    if unary.ndim != 3 or unary.shape[1:] != image.shape[:2] or unary.shape[0] < 1:
        raise ValueError(
            f"unary: expected (L, {image.shape[0]}, {image.shape[1]}), got {unary.shape}"
        )
    if not np.isfinite(unary).all():
        raise ValueError("unary: expected finite energies, got nan or infinity")
    num_labels, height, width = unary.shape
    if num_labels == 1:
        return np.ones((1, height, width), dtype=np.float32)
    model = _library().DenseCRF2D(width, height, num_labels)
    energies = np.array(unary.reshape(num_labels, -1), dtype=np.float32, order="C")
    model.setUnaryEnergy(energies)
    if config.gaussian_compat > 0:
        model.addPairwiseGaussian(sxy=config.gaussian_sxy, compat=config.gaussian_compat)
    if config.bilateral_compat > 0:
        model.addPairwiseBilateral(
            sxy=config.bilateral_sxy,
            srgb=config.bilateral_srgb,
            rgbim=np.array(image, order="C"),
            compat=config.bilateral_compat,
        )
    marginals = np.asarray(model.inference(config.iterations), dtype=np.float32)
    return marginals.reshape(num_labels, height, width)


def unary_from_scores(scores: np.ndarray, config: CRFConfig) -> np.ndarray:
    """Energies of the background and class scores.

    Args:
        scores: (L, H, W) scores of the labels, background first, in [0, 1].
        config: ``unary`` chooses how scores become probabilities.

    Returns:
        (L, H, W) float32 energies, minus the log of the probabilities.
    """
    if config.unary == "softmax":
        logits = config.unary_scale * scores
        logits = logits - logits.max(axis=0, keepdims=True)
        normaliser = np.log(np.exp(logits).sum(axis=0, keepdims=True))
        return (normaliser - logits).astype(np.float32)
    num_labels = scores.shape[0]
    if num_labels == 1:
        return np.zeros_like(scores, dtype=np.float32)
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


def _library() -> Any:
    """The CRF library, imported at its first use."""
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        raise ImportError(
            "the dense CRF needs the package pydensecrf2, which installs itself on Python 3.10 to "
            "3.12. On Python 3.13: pip install cython setuptools wheel numpy && pip install "
            "--no-build-isolation pydensecrf2==1.1. Or make masks without it: crf: null"
        ) from error
    return densecrf
