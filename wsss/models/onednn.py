"""Convolutions on a CPU that oneDNN computes where PyTorch would not ask it to."""

import torch
from torch import nn


def convolve_by_onednn(model: nn.Module) -> None:
    """Run convolutions by oneDNN on a CPU wherever no gradient is asked for.

    PyTorch does so too, but for convolutions of one pixel on a single thread, which it multiplies
    itself: a third of the time of MobileNetV2 and of ResNet-50 (docs/performance.md).
    Outputs are the same but for float rounding.

    Args:
        model: Changed in place; classes derived from nn.Conv2d stay as they are.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    for module in model.modules():
        # the operation takes numbers for its padding, and pads with zeros
        zeros = getattr(module, "padding_mode", "") == "zeros"
        if type(module) is nn.Conv2d and zeros and not isinstance(module.padding, str):
            # weights, hooks and names stay those of the same object
            module.__class__ = _OneDNNConvolution


class _OneDNNConvolution(nn.Conv2d):
    """Convolution that runs by oneDNN where no gradient is asked for, in float32 on a CPU."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve (B, C, H, W) to (B, C', H', W')."""
        # the operation is for inference: what is differentiated goes PyTorch's usual way
        differentiated = input.requires_grad or (
            torch.is_grad_enabled() and self.weight.requires_grad
        )
        single = input.dtype == self.weight.dtype == torch.float32
        if differentiated or input.device.type != "cpu" or not single:
            return super().forward(input)
        return torch.mkldnn_convolution(
            input,
            self.weight,
            self.bias,
            self.padding,  # type: ignore[arg-type]  # none that is a word comes here
            self.stride,
            self.dilation,
            self.groups,
        )
