"""Steps of a random walk, many at once."""

import math
from functools import cache

import torch

from wsss.refinement.walk.affinity import Affinity

TOLERANCE = 1e-4
"""Share of the walk that may be left out: below the steps of stored scores, which are 1 / 255."""


def walk(affinity: Affinity, maps: torch.Tensor, steps: int) -> torch.Tensor:
    """Walk maps along affinities: T^n maps, with T the affinities divided by their sums.

    A step replaces the value of a cell by the mean over the cells, weighed by its affinities with
    them. So a constant map stays as it is, and labels that sum to 1 go on doing so.

    T has the spectrum of a symmetric matrix, within [-1, 1]. There x^n is the mean of Chebyshev's
    polynomials T_|S|(x) over the place S of a drunkard after n steps on a line, who is rarely
    further away than a few times the root of n (Sachdeva and Vishnoi, Faster Algorithms via
    Approximation Theory, 2014, theorem 3.3). So 256 steps take 62 products.

    Args:
        affinity: Of the cells of a grid.
        maps: (L, h, w) float, at least 0, on this grid.
        steps: n.

    Returns:
        (L, h, w) float, at least 0; n steps but for `TOLERANCE` of the largest value.
    """
    sums = affinity.product(torch.ones_like(maps[:1])).clamp_min(1e-12)

    def step(values: torch.Tensor) -> torch.Tensor:
        return affinity.product(values) / sums

    weights = chebyshev_weights(steps)
    # of the deviations from the mean, so that rounding does not move a constant map
    mean = maps.mean(dim=(1, 2), keepdim=True)
    before = now = maps - mean
    total = now * weights[0]
    for number, weight in enumerate(weights[1:], start=1):
        # T_1 = x, T_{k+1} = 2 x T_k - T_{k-1}
        before, now = now, step(now) if number == 1 else 2 * step(now) - before
        if weight:
            total = total + weight * now
    return (total + mean).clamp_min(0)


@cache
def chebyshev_weights(steps: int) -> tuple[float, ...]:
    """Weights of Chebyshev's polynomials 0, 1, ... in x^n, down to `TOLERANCE` of their sum.

    They are the chances of the distances 0, 1, ... of a drunkard from his start after n steps, and
    sum to 1. Every second one is 0.
    """
    # the chance of no step away, or of one where their number is odd, and then from each the next
    start = steps % 2
    up = (steps + start) / 2
    chance = math.exp(
        math.lgamma(steps + 1)
        - math.lgamma(up + 1)
        - math.lgamma(steps - up + 1)
        - steps * math.log(2)
    )
    weights = [0.0] * start
    kept = 0.0
    for distance in range(start, steps + 1, 2):
        # in both directions, but for none
        weights.append(chance if distance == 0 else 2 * chance)
        kept += weights[-1]
        if kept >= 1 - TOLERANCE:
            break
        weights.append(0.0)
        chance *= (steps - distance) / (steps + distance + 2)
    return tuple(weight / kept for weight in weights)
