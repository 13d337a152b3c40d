"""Zero-shot classifier: an image tower, and the embeddings of the texts of classes."""

import torch
import torch.nn.functional as F
from torch import nn

from wsss.models.classifier import Classifier
from wsss.models.clip_tower import Tower
from wsss.normalisation import Normalisation


class TextClassifier(nn.Module):
    """Classifier of which the classes are texts, with nothing to learn from images.

    An image and a text have the similarity s = scale * cosine of their embeddings. The logit of
    class k is its log-odds against the background, log p / (1 - p) with p the softmax of s_k and
    the similarities of the background's B texts alone:

        y_k = s_k - log sum_b exp(s_b)

    So the sigmoid of a logit is a probability that other classes in the image do not lower; and the
    softmax over any set of classes and the background is that over their logits and a 0, from which
    the target ``softmax`` takes CLIP-ES' number (Lin et al., CVPR 2023).

    Args:
        backbone: The image tower.
        text: (K, D) embeddings of the classes, each of length 1.
        background: (B, D) embeddings of what is around them.
        scale: What cosines are multiplied by, 100 in OpenAI's CLIP.
        normalisation: Mean and deviation of the images that it takes.
    """

    text: torch.Tensor
    background: torch.Tensor
    scale: torch.Tensor
    default_target = "softmax"
    """Number that is explained of a class unless another is asked for."""

    def __init__(
        self,
        backbone: Tower,
        text: torch.Tensor,
        background: torch.Tensor,
        scale: float,
        normalisation: Normalisation,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.normalisation = normalisation
        self.register_buffer("text", text)
        self.register_buffer("background", background)
        self.register_buffer("scale", torch.tensor(scale))
        self.default_layers = [f"backbone.{backbone.layer}"]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classify (B, 3, H, W) normalised images of any size: (B, K) logits."""
        embedding = self.scale * self.embed(images)
        background = (embedding @ self.background.T).logsumexp(dim=1, keepdim=True)
        return embedding @ self.text.T - background

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Embed (B, 3, H, W) normalised images: (B, D), each of length 1."""
        return F.normalize(self.backbone.embed(images), dim=-1)


AnyClassifier = Classifier | TextClassifier
"""What a checkpoint of a classifier holds."""
