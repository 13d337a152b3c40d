"""Score-CAM (Wang et al., CVPR Workshops 2020)."""

import torch
from torch import nn

from wsss.attribution.fusion import stretched, upsample
from wsss.attribution.passes import Probe, values_of_copies


def scorecam_weights(model: nn.Module, probe: Probe) -> torch.Tensor:
    """Score-CAM's weights: softmax over k of the class's score of the image masked by A_k.

    A mask is the channel's feature map, stretched to [0, 1] and upsampled; what it covers becomes
    0, the mean colour of normalised images. The score of the empty image, which the authors
    subtract, is the same for all channels and falls out of the softmax.

    Args:
        model: The network.
        probe: Images and layer.

    Returns:
        (B, R, C) weights.
    """
    weights = []
    with torch.no_grad():
        for i, image in enumerate(probe.images):
            question = probe.question.of(slice(i, i + 1))
            scores = [
                values_of_copies(
                    model, image * upsample(part, tuple(image.shape[1:]))[:, None], question
                )
                for part in stretched(probe.grid[i]).split(probe.copies)
            ]
            weights.append(torch.cat(scores).softmax(dim=0).T)
    return torch.stack(weights)
