"""Reference backend of the dense CRF: the ``pydensecrf`` library, Kraehenbuehl's C++ code.

It crashes the process on some inputs and passes others silently; `DenseCRF` checks everything that
it does not.
"""

from typing import Any

import numpy as np

from wsss.refinement.densecrf.config import CRFConfig


class LibraryCRF:
    """Mean-field inference on one image by pydensecrf.

    Args:
        image: (H, W, 3) uint8 RGB, or more bands.
        config: Kernels and number of iterations.

    Raises:
        ImportError: The library is not installed.
    """

    def __init__(self, image: np.ndarray, config: CRFConfig) -> None:
        self.library = _library()
        # the library reads memory as it lies, and a view may not be contiguous
        self.image = np.array(image, order="C")
        self.config = config

    def infer(self, unary: np.ndarray) -> np.ndarray:
        """Infer (L, H, W) float32 marginals from (L, H, W) float32 energies, L >= 2."""
        labels, height, width = unary.shape
        config = self.config
        # width before height, as the library has it
        model = self.library.DenseCRF2D(width, height, labels)
        model.setUnaryEnergy(np.array(unary.reshape(labels, -1), dtype=np.float32, order="C"))
        if config.gaussian_compat > 0:
            model.addPairwiseGaussian(sxy=config.gaussian_sxy, compat=config.gaussian_compat)
        if config.bilateral_compat > 0:
            if self.image.shape[2] == 3:
                model.addPairwiseBilateral(
                    sxy=config.bilateral_sxy,
                    srgb=config.bilateral_srgb,
                    rgbim=self.image,
                    compat=config.bilateral_compat,
                )
            else:
                model.addPairwiseEnergy(self._features(), compat=config.bilateral_compat)
        marginals = np.asarray(model.inference(config.iterations), dtype=np.float32)
        return marginals.reshape(labels, height, width)

    def _features(self) -> np.ndarray:
        """(2 + C, N) float32 columns, rows and bands in units of the kernel's widths."""
        height, width, bands = self.image.shape
        rows, columns = np.mgrid[:height, :width].astype(np.float32) / self.config.bilateral_sxy
        shades = self.image.transpose(2, 0, 1).astype(np.float32) / self.config.bilateral_srgb
        return np.ascontiguousarray(
            np.stack([columns, rows, *shades]).reshape(2 + bands, -1), dtype=np.float32
        )


def _library() -> Any:
    """Import the CRF library at its first use."""
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        raise ImportError(
            "crf.backend: pydensecrf needs the package pydensecrf2, which installs itself on "
            "Python 3.10 to 3.12. On Python 3.13: pip install cython setuptools wheel numpy && pip "
            "install --no-build-isolation pydensecrf2==1.1. Or take backend: auto"
        ) from error
    return densecrf
