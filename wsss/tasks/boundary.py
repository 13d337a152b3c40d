"""Training task of a boundary network: pairs of pixels whose labels are sure."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from wsss.ignore import IGNORE
from wsss.models.classifier import Classifier
from wsss.parallel.processes import add_up, process_count
from wsss.refinement.walk.affinity import offsets_within, windows
from wsss.refinement.walk.boundary import highest_between
from wsss.tasks.boundary_network import BoundaryNetwork, FrozenStages
from wsss.tasks.checkpoint import as_boundary, load_classifier
from wsss.tasks.kept_features import Features, Inputs, logits_of
from wsss.tasks.optim import OptimConfig
from wsss.tasks.task import TrainingTask


class PairLosses(NamedTuple):
    """Losses of the three kinds of pairs, each a mean over its own; 0 of a kind without any.

    Args:
        background: Both ends are background.
        foreground: Both ends are of one class.
        different: The ends differ.
    """

    background: torch.Tensor
    foreground: torch.Tensor
    different: torch.Tensor

    def total(self) -> torch.Tensor:
        """Quarter, quarter and half, as the balanced loss of IRN (eq. 6)."""
        return self.background / 4 + self.foreground / 4 + self.different / 2


def pair_losses(logits: torch.Tensor, labels: torch.Tensor, radius: int) -> PairLosses:
    """Losses of the affinity of near pairs: 1 less the largest boundary value between the two.

    Minus the log of the affinity where both ends have the same label, of one less the affinity
    where they differ. Pairs with an end of 255 do not count. With several processes, each gives its
    part of the mean over the pairs of all.

    Args:
        logits: (B, h, w) of the boundary map.
        labels: (B, h, w) int64 label indices, 255 = unsure.
        radius: Distance of the pairs, in cells.
    """
    sums, counts = logits.new_zeros(3), logits.new_zeros(3)
    grid = logits.shape[1], logits.shape[2]
    for offset in offsets_within(radius):
        here, there = windows(offset, grid)
        one, other = labels[here], labels[there]
        if not one.numel():
            continue  # the offset is longer than the image
        # the sigmoid rises: the largest boundary value is that of the largest logit
        highest = highest_between(logits, offset)
        sure = (one != IGNORE) & (other != IGNORE)
        same = sure & (one == other)
        kinds = same & (one == 0), same & (one != 0), sure & (one != other)
        # softplus(x) = -log(1 - sigmoid(x)), which is minus the log of the affinity
        alike, apart = F.softplus(highest), F.softplus(-highest)
        sums = sums + torch.stack(
            [(loss * kind).sum() for loss, kind in zip((alike, alike, apart), kinds, strict=True)]
        )
        counts = counts + torch.stack([kind.sum() for kind in kinds])
    return PairLosses(*(sums / add_up(counts).clamp_min(1)))


class BoundaryTask(TrainingTask):
    """Lightning module of a boundary network; logs ``train_loss`` and its three parts.

    Args:
        checkpoint: Classifier whose backbone is used as it is.
        classes: Those that it must have, with their mask values.
        radius: Distance of the pairs, in cells of four pixels.
        optim: Optimiser; all that is trained is the head.
        features: Whether the batches bring images, or the stages that the backbone made of them.
    """

    model: BoundaryNetwork

    def __init__(
        self,
        checkpoint: Path,
        classes: Mapping[str, int],
        *,
        radius: int,
        optim: OptimConfig,
        features: Features = "compute",
    ) -> None:
        super().__init__()
        classifier, known = load_classifier(checkpoint)
        if not isinstance(classifier, Classifier):
            raise ValueError(
                f"checkpoint {checkpoint}: expected a classifier written by train_cls, found a "
                "text_classifier"
            )
        if list(known.items()) != list(classes.items()):
            raise ValueError(
                f"checkpoint {checkpoint} was trained on the classes {known}, but data.classes is "
                f"{dict(classes)}"
            )
        self.model = BoundaryNetwork(classifier).train()
        self.description = as_boundary(checkpoint)
        self.frozen = FrozenStages(self.model) if features == "cache" else None
        self.network: Callable[[Inputs], torch.Tensor] = self.whole  # compiled or not
        self.radius = radius
        self.optim = optim

    def whole(self, inputs: Inputs) -> torch.Tensor:
        """Logits of a batch's images, or of what the backbone made of them."""
        return logits_of(self.model, self.frozen, inputs)

    def on_train_epoch_start(self) -> None:
        self.model.classifier.eval()  # a frozen backbone drops nothing out

    def training_step(self, batch: tuple[Any, ...], index: int) -> torch.Tensor:
        """Loss whose gradient, averaged over processes, is that of the whole batch."""
        images, labels = batch
        logits = self.network(images)
        # one pixel of each cell: a mean of labels would be none
        cells = F.interpolate(labels[:, None].float(), logits.shape[1:], mode="nearest-exact")
        losses = pair_losses(logits, cells[:, 0].long(), self.radius)
        total = losses.total()
        self.log("train_loss", add_up(total), prog_bar=True, on_step=True, on_epoch=False)
        for name, part in losses._asdict().items():
            self.log(f"train_loss_{name}", add_up(part))
        # DDP averages gradients over processes, where the parts have to be added up
        return total * process_count()

    def validation_step(self, batch: tuple[Any, ...], index: int) -> None:
        """Do nothing: no image is validated on, but Lightning asks for it beside a loader."""
