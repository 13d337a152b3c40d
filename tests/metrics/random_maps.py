"""Random attribution maps, one with ties and one with zeros, and their images."""

import pytest
import torch

N, H, W = 3, 14, 17


@pytest.fixture(scope="module")
def images():
    return torch.randn(N, 3, H, W, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def maps():
    """One random map, one with many ties, one with zeros."""
    found = torch.rand(N, H, W, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found[1] = (found[1] * 5).round()
    found[2] = (found[2] - 0.6).clamp_min(0)
    return found


def each(*tensors):
    return zip(*(t.numpy() for t in tensors), strict=True)
