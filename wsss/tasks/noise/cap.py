"""The cap on a pixel's loss: what is hard once the rest is learned is likely to be wrong."""

import torch

from wsss.parallel.processes import add_up


def capped(values: torch.Tensor, part: torch.Tensor, cap: float) -> torch.Tensor:
    """Cap the losses of pixels once the batch's loss is under the cap.

    A pixel above it has no gradient then. Source: pretended under-fitting (Li et al.,
    "Pseudo-mask Matters in Weakly-supervised Semantic Segmentation", ICCV 2021; also in URN).

    Args:
        values: (B, H, W) losses.
        part: This process's part of the batch's loss.
        cap: Largest loss of a pixel, and the batch's loss under which it holds.
    """
    # without a branch on the value, for which a GPU would have to be waited for
    batch = add_up(part)
    highest = torch.where(batch < cap, cap, torch.inf)
    return values.clamp_max(highest.to(values.dtype))
