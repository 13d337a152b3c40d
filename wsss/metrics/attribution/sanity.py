"""Sanity check: whether maps depend on the trained weights (Adebayo et al., NeurIPS 2018)."""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import nn


def randomisation_check(
    model: nn.Module, explain: Callable[[nn.Module], torch.Tensor], *, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Rank correlation of the maps with those after cascading randomisation of the weights.

    Layers get new random weights one after the other, from the output to the input. The maps of a
    method that explains the classifier lose their likeness to the first ones; those of an edge
    detector keep it.

    Args:
        model: The classifier; it is copied, not changed.
        explain: A model to its (N, H, W) maps.
        seed: Seed of the random weights.

    Returns:
        For each layer, (N,) correlations after it and all layers behind it were randomised.
    """
    before = explain(model)
    return {
        name: rank_correlation(before, explain(changed)) for name, changed in _cascade(model, seed)
    }


def rank_correlation(maps: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Spearman's correlation of the pixels of two maps; equal values share their mean rank.

    Args:
        maps, others: (N, H, W).

    Returns:
        (N,) in [-1, 1]; nan where one of the two is constant.

    Raises:
        ValueError: Shapes differ.

    Examples:
        >>> import torch
        >>> maps = torch.tensor([[[1.0, 2.0, 3.0]]])
        >>> rank_correlation(maps, maps**2).tolist()
        [1.0]
    """
    if maps.shape != others.shape:
        raise ValueError(
            f"expected maps of one shape, got {tuple(maps.shape)} and {tuple(others.shape)}"
        )
    first, second = _ranks(maps.flatten(1)), _ranks(others.flatten(1))
    first = first - first.mean(dim=1, keepdim=True)
    second = second - second.mean(dim=1, keepdim=True)
    product = (first * second).sum(dim=1)
    return product / (first.square().sum(dim=1) * second.square().sum(dim=1)).sqrt()


def _ranks(values: torch.Tensor) -> torch.Tensor:
    """Mean ranks of each row's values, from 0: (N, M) float64."""
    # number of smaller values, and of values no larger: the mean of both ends is the shared rank
    ascending = values.sort(dim=1).values
    values = values.contiguous()
    below = torch.searchsorted(ascending, values)
    upto = torch.searchsorted(ascending, values, right=True)
    return (below + upto - 1).double() / 2


def _cascade(model: nn.Module, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """Yield one copy of the model, with one more random layer each time."""
    # the same copy throughout: what was randomised stays so, as "cascading" asks for
    changed = copy.deepcopy(model)
    with_weights = [
        (name, module)
        for name, module in changed.named_modules()
        # modules with weights of their own; containers only repeat their children's
        if any(True for _ in module.parameters(recurse=False))
    ]
    for number, (name, module) in enumerate(reversed(with_weights)):
        # the caller's random state is given back
        with torch.random.fork_rng():
            torch.manual_seed(seed + number)  # layers of one shape must not become the same
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
            else:
                for parameter in module.parameters(recurse=False):
                    nn.init.normal_(parameter, std=0.02)
        yield name, changed
