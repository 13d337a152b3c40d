"""Sparseness of attribution maps."""

import torch


def gini(maps: torch.Tensor) -> torch.Tensor:
    """Gini index of each map's values (Hurley and Rickard, 2009; Chalasani et al., ICML 2020).

    Args:
        maps: (N, H, W), at least 0.

    Returns:
        (N,) in [0, 1]: 0 for a constant map, near 1 for a single bright pixel; 0 for zeros.

    Raises:
        ValueError: A value below zero.

    Examples:
        >>> import torch
        >>> gini(torch.tensor([[[1.0, 1.0]], [[0.0, 1.0]]])).tolist()
        [0.0, 0.5]
    """
    values = maps.flatten(1)
    if values.numel() and values.min() < 0:
        raise ValueError("maps: expected values of at least 0")
    # float64, since ranks of a large image times values exceed float32's digits
    ascending = values.sort(dim=1).values.double()
    count = values.shape[1]
    rank = torch.arange(1, count + 1, device=values.device, dtype=torch.float64)
    total = ascending.sum(dim=1)
    weighted = (ascending * ((count - rank + 0.5) / count)).sum(dim=1)
    return torch.where(total > 0, 1 - 2 * weighted / total, torch.zeros_like(total))
