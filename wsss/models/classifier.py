"""Multi-label classifier whose decisions are explained: backbone, class maps, pooling."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from wsss.models.backbones import Backbone, BackboneConfig, build_backbone
from wsss.models.pooling import Pooling, PoolingConfig, cells_inside, mean_cells
from wsss.models.sizes import resized
from wsss.models.taps import Tap, as_grid, find_taps, outputs_of, watch
from wsss.normalisation import Normalisation


class Classifier(nn.Module):
    """Backbone, a linear head on every cell, and pooling of its class maps.

    Because nothing but pooling stands between the head and the logits, the gradient of a logit
    with respect to the last feature map is the head's weight times the cell's share, which is
    ``1 / (h * w)`` for the mean: CAM and Grad-CAM agree there.

    Args:
        backbone: (B, 3, H, W) images to (B, C, h, w) features.
        taps: The stages whose features the head takes, shallow to deep.
        num_classes: K foreground classes.
        layers: Names of the backbone's modules that attribution uses unless told otherwise; an
            empty name is the backbone itself.
        normalisation: Mean and deviation of the images that it takes.
        pooling: How class maps become logits.
        skips: Whether the head is one with skips, see `ClassHead`.
        hidden: Width of the head's hidden layer; None is a linear head.

    Attributes:
        taps: Names of the backbone's modules that are the stages; ``""`` is the backbone itself.
    """

    def __init__(
        self,
        backbone: nn.Module,
        taps: Sequence[Tap],
        num_classes: int,
        layers: list[str],
        normalisation: Normalisation,
        pooling: PoolingConfig = PoolingConfig(),
        *,
        skips: bool = False,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        channels = [tap.channels for tap in taps]
        self.head: ClassHead = ClassHead(channels, num_classes, pooling, skips=skips, hidden=hidden)
        self.normalisation = normalisation
        self.taps = [tap.name for tap in taps]
        self._layouts = [tap.layout for tap in taps]
        watch(backbone, self.taps)
        self.default_layers = [f"backbone.{layer}".removesuffix(".") for layer in layers]
        # where CAM finds each class's weights: the features of one stage, or else the class maps
        apart = skips or hidden is not None
        self.class_layers = ["head.cells"] if apart else self.default_layers[-1:]

    def forward(self, images: torch.Tensor, box: torch.Tensor | None = None) -> torch.Tensor:
        """Classify (B, 3, H, W) normalised images: (B, K) logits.

        Args:
            images: (B, 3, H, W).
            box: (B, 4) top, left, bottom and right in pixels of what is no padding; None says that
                there is none.
        """
        return self.classify(self.features(images), (images.shape[2], images.shape[3]), box)

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Compute the stages' (B, C_i, h_i, w_i) features of (B, 3, H, W) normalised images."""
        if self.taps == [""]:
            return [self.backbone(images)]
        return self.grids(outputs_of(self.backbone, images))

    def grids(self, outputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        """Read the outputs of the stages, by name, as (B, C_i, h_i, w_i) each."""
        return [
            as_grid(outputs[name], layout, outputs.get("", outputs[self.taps[-1]]))
            for name, layout in zip(self.taps, self._layouts, strict=True)
        ]

    def classify(
        self, features: list[torch.Tensor], size: tuple[int, int], box: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Go on from the stages' features of images of a size (H, W): (B, K) logits."""
        logits: torch.Tensor = self.head(features, size, box)
        return logits

    def class_maps(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the (B, K, h, w) maps that are pooled: the head on every cell."""
        return self.head.maps(self.features(images))


class ClassHead(nn.Module):
    """Head on the cells of one or several stages, and pooling of its maps: linear, or an MLP.

    Of the last stage alone it has no bias. With ``skips``, each stage is normalised over the batch
    and has class maps of its own, which are added up on the finest grid, with a bias for each
    class, as the skips of FCN (Long et al., CVPR 2015): for objects that are smaller than a cell
    of the last stage. Features of mean 0 need the bias: most cells of an image show no class.

    With ``hidden``, each cell passes a layer of that width first, for features that are frozen: a
    class may then be what no direction of them is.

    Args:
        channels: Of each stage, shallow to deep.
        num_classes: K.
        pooling: How class maps become logits.
        skips: Whether stages are normalised, and classes have a bias.
        hidden: Width of a hidden layer, of one stage alone; None is none.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        pooling: PoolingConfig,
        *,
        skips: bool,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        last = channels[-1]
        self.hidden: nn.Module | None = None
        if hidden is not None:
            self.hidden = nn.Sequential(nn.Conv2d(channels[0], hidden, kernel_size=1), nn.GELU())
            channels = [hidden]
        # small, so that all classes start at a probability near 0.5
        self.weight = nn.Linear(sum(channels), num_classes, bias=False).weight
        nn.init.normal_(self.weight, std=0.01)
        self.channels = list(channels)
        self.bias = nn.Parameter(torch.zeros(num_classes)) if skips else None
        self.norms = nn.ModuleList(CellNorm(count) for count in channels if skips)
        self.cells = nn.Identity()  # the class maps as a layer, to be watched
        self.pooling = Pooling(pooling, last, num_classes)

    def forward(
        self, features: list[torch.Tensor], size: tuple[int, int], box: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Score the stages' (B, C_i, h_i, w_i) features of images of a size (H, W): (B, K)."""
        insides = [inside_of(stage, size, box) for stage in features]
        if self.of_means:
            # the same as the mean of its maps, and cheaper by h * w
            return self.score_means(mean_cells(features[0], insides[0]))
        # attention looks at the last stage, brought to the grid of the maps
        pooled: torch.Tensor = self.pooling(self.maps(features, insides), features[-1], insides[0])
        return pooled

    @property
    def of_means(self) -> bool:
        """Whether the mean of the features is all that it needs."""
        linear = self.bias is None and self.hidden is None
        return linear and self.pooling.config.kind == "mean"

    def score_means(self, means: torch.Tensor) -> torch.Tensor:
        """Score (B, C) features of whole images: (B, K)."""
        return F.linear(means, self.weight)

    def maps(
        self, features: list[torch.Tensor], insides: Sequence[torch.Tensor | None] | None = None
    ) -> torch.Tensor:
        """Score every cell: (B, K, h, w) class maps on the grid of the first stage.

        Args:
            features: The stages' (B, C_i, h_i, w_i).
            insides: Which cells of each are no padding, for the statistics of a training.
        """
        if self.hidden is not None:
            features = [self.hidden(features[0])]
        elif self.norms:
            features = [
                norm(stage, inside)
                for stage, norm, inside in zip(
                    features, self.norms, insides or [None] * len(features), strict=True
                )
            ]
        size = features[0].shape[2:]
        total = None
        weights = self.weight[..., None, None].split(self.channels, dim=1)
        for stage, weight in zip(features, weights, strict=True):
            scored = F.conv2d(stage, weight)
            # linear: to enlarge the maps is to enlarge the features, with fewer channels
            scored = resized(scored, size)
            total = scored if total is None else total + scored
        assert total is not None
        if self.bias is not None:
            total = total + self.bias[:, None, None]
        maps: torch.Tensor = self.cells(total)
        return maps


class CellNorm(nn.Module):
    """Normalisation of each channel over the cells of a batch that are no padding.

    As BatchNorm without gains and shifts, whose statistics would be of the padding, too; and
    images that are explained have none.

    Args:
        channels: C.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, features: torch.Tensor, inside: torch.Tensor | None = None) -> torch.Tensor:
        """Normalise (B, C, h, w) by the cells (B, h, w) that count; in eval mode by those seen."""
        mean, variance = self.running_mean, self.running_var
        if self.training:
            mean = mean_cells(features, inside).mean(dim=0)
            centred = features - mean[:, None, None]
            variance = mean_cells(centred.square(), inside).mean(dim=0)
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), _MOMENTUM)
                self.running_var.lerp_(variance.to(self.running_var.dtype), _MOMENTUM)
        scale = (variance + 1e-5).rsqrt()
        return (features - mean[:, None, None]) * scale[:, None, None]


_MOMENTUM = 0.1
"""Share of a batch in the running statistics, as BatchNorm has it."""


def inside_of(
    features: torch.Tensor, size: tuple[int, int], box: torch.Tensor | None
) -> torch.Tensor | None:
    """Find the cells of (B, C, h, w) that are no padding: (B, h, w) bool; None is all.

    Args:
        features: Of one stage.
        size: (H, W) of the images.
        box: (B, 4) top, left, bottom and right in pixels of what is no padding, or None.
    """
    return None if box is None else cells_inside(box, size, (features.shape[2], features.shape[3]))


def build_classifier(
    config: BackboneConfig,
    num_classes: int,
    *,
    pooling: PoolingConfig = PoolingConfig(),
    stages: Sequence[str] | None = None,
    hidden: int | None = None,
) -> Classifier:
    """Build the classifier of a backbone; the head starts at random.

    Args:
        config: The backbone and its weights.
        num_classes: K foreground classes.
        pooling: How class maps become logits.
        stages: Names of the backbone's modules of which a class is told, shallow to deep; see
            `ClassHead`. None takes the last alone.
        hidden: Width of a hidden layer of the head; None is a linear head.

    Raises:
        ValueError: The backbone has no such module, or it gives no grid; or a hidden layer is asked
            for on several stages.
    """
    if hidden is not None and (stages is not None or hidden < 1):
        raise ValueError(
            f"hidden: expected a width of at least 1, and no stages; got {hidden} and {stages}"
        )
    backbone = build_backbone(config)
    last = Tap("", backbone.channels, config.output_stride, "channels first")
    return Classifier(
        backbone.body,
        [last] if stages is None else _taps(backbone, stages),
        num_classes,
        backbone.layers if stages is None else list(stages),
        backbone.normalisation,
        pooling,
        skips=stages is not None,
        hidden=hidden,
    )


def _taps(backbone: Backbone, stages: Sequence[str]) -> list[Tap]:
    """Look at the stages that a head is to take."""
    known = [name for name, _ in backbone.body.named_modules()]
    wrong = [name for name in stages if name not in known]
    if wrong or not stages or len(set(stages)) < len(stages):
        usual = ", ".join(repr(name) for name in backbone.layers)
        raise ValueError(
            "stages: expected names of the backbone's modules, each once, such as those of the "
            f"last of each resolution, {usual}; got {list(stages)}"
        )
    taps = find_taps(backbone.body, stages)
    if any(tap.layout == "tokens" for tap in taps) and "" not in stages:
        raise ValueError('stages: tokens lie as those of the last stage: name it too, as ""')
    return taps
