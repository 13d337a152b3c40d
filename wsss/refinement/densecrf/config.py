"""Kernels, weights and backend of the dense CRF."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

Backend = Literal["auto", "fast", "torch", "pydensecrf"]


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
        backend: What computes it: ``fast`` (compiled by Numba, CPU), ``torch`` (GPU, or no
            compiler), ``pydensecrf`` (the reference). ``auto`` is fast where Numba works, else
            torch. Results agree but for rounding.
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
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        for name, known in (("backend", get_args(Backend)), ("unary", ("softmax", "labels"))):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"crf.{name}: expected {' or '.join(known)}, got {getattr(self, name)!r}"
                )
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
