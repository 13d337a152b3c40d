"""ShapleyCAM (Cai, 2025)."""

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from wsss.attribution.capture import capture
from wsss.attribution.passes import Probe


def shapleycam_weights(model: nn.Module, probe: Probe) -> torch.Tensor:
    """ShapleyCAM's weights: the mean over the cells of G - H A / 2, with the Hessian H at A.

    It is the second-order Shapley value of a layer's channels. Of a logit of a piecewise linear
    network H is 0 and the map is Grad-CAM's: hence its target ``rest``, which is not linear.

    Args:
        model: The network.
        probe: Images and layer.

    Returns:
        (B, R, C) weights.
    """
    images, layer, question = probe.images, probe.layer, probe.question
    # fused attention has no second derivative
    with sdpa_kernel(SDPBackend.MATH):
        with capture(model, [layer], images, probe.reshape) as captured:
            output = model(captured.images)
        raw, reader = captured.outputs[layer], captured.readers[layer]
        weights = []
        for r in range(question.classes.shape[1]):
            value = question.values(output, r).sum()
            (gradient,) = torch.autograd.grad(value, raw, create_graph=True)
            bend = None
            if gradient.requires_grad:
                (bend,) = torch.autograd.grad(
                    gradient, raw, grad_outputs=raw.detach(), retain_graph=True, allow_unused=True
                )
            pull = gradient.detach() if bend is None else gradient.detach() - 0.5 * bend
            weights.append(reader(pull).flatten(2).mean(dim=2))
    return torch.stack(weights, dim=1)
