"""A training whose labels hold a planted error: 30 % of the pixels of one class carry another."""

import torch
from torch import nn

from wsss.tasks.noise.supervision import Supervision

LABELS = 3
WRONG = 0.3


def planted(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pixels around the centre of their label, with clean and with flipped labels.

    Returns:
        (4, 6, 12, 12) float32 pixels, (4, 12, 12) clean labels, and those in which a share WRONG
        of label 1 has become 2.
    """
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randint(LABELS, (4, 12, 12), generator=generator)
    centres = torch.eye(6)[:LABELS] * 2.5
    pixels = centres[clean].movedim(-1, 1) + torch.randn(4, 6, 12, 12, generator=generator)
    flipped = (clean == 1) & (torch.rand(clean.shape, generator=generator) < WRONG)
    return pixels, clean, clean.where(~flipped, torch.full_like(clean, 2))


def train(supervision: Supervision, seed: int = 1, steps: int = 200) -> tuple[nn.Module, float]:
    """Train a network that can learn each pixel by heart.

    Returns:
        The network, and the share of the flipped pixels to which it gives the clean label.
    """
    pixels, _, noisy = planted(seed)
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(6, 64, 1), nn.ReLU(), nn.Conv2d(64, LABELS, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    index = torch.arange(len(pixels))
    for step in range(steps):
        optimizer.zero_grad()
        supervision(network(pixels), noisy, index, step).backward()
        optimizer.step()
    return network, recovered(network, seed)


def recovered(network: nn.Module, seed: int = 1) -> float:
    pixels, clean, noisy = planted(seed)
    with torch.no_grad():
        found = network(pixels).argmax(1)
    return float((found == clean)[clean != noisy].float().mean())
