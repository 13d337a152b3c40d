"""Affinity by the attention of a vision transformer (CLIP-ES, Lin et al., CVPR 2023)."""

import numpy as np
import torch

from wsss.refinement.walk.affinity import MatrixAffinity

_ROUNDS = 3
"""Sinkhorn's normalisations of rows and columns."""


def attention_affinity(attention: np.ndarray) -> MatrixAffinity:
    """Affinity of patches by their mean attention to each other.

    Rows and columns are normalised in turn (Sinkhorn), so that patches that all attend to count
    no more than others, and the result is made symmetric.

    Args:
        attention: (h, w, h, w) float32, at least 0: of each patch to each other.
    """
    rows, columns = attention.shape[:2]
    matrix = torch.from_numpy(attention).reshape(rows * columns, rows * columns)
    for _ in range(_ROUNDS):
        matrix = matrix / matrix.sum(dim=0, keepdim=True).clamp_min(1e-12)
        matrix = matrix / matrix.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return MatrixAffinity((matrix + matrix.T) / 2, (rows, columns))
