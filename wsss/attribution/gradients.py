"""Gradients of class logits at chosen layers: plain, or averaged over changed inputs."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import nn

from wsss.attribution.capture import Captured, capture
from wsss.attribution.layout import Reader
from wsss.attribution.places import misplaced, out_of_place
from wsss.attribution.state import prepared
from wsss.attribution.targets import Question

GradientKind = Literal["plain", "integrated", "smooth", "guided"]


@dataclass(frozen=True)
class GradientConfig:
    """Kind of gradient that an attribution is made of, and its options.

    Args:
        kind: ``plain``; ``integrated`` (Integrated Gradients: the mean along the straight line
            from the mean colour to the image, Sundararajan et al., 2017); ``smooth`` (SmoothGrad:
            the mean over noisy copies, Smilkov et al., 2017); ``guided`` (guided
            backpropagation, Springenberg et al., 2015).
        steps: Inputs averaged by ``integrated`` and ``smooth``; the cost grows with it.
        noise: Standard deviation of SmoothGrad's noise, as a share of the image's value range.
        seed: Seed of SmoothGrad's noise.
    """

    kind: GradientKind = "plain"
    steps: int = 8
    noise: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"gradient.steps: expected at least 1, got {self.steps}")
        if self.noise < 0:
            raise ValueError(f"gradient.noise: expected at least 0, got {self.noise}")


class LayerRound(NamedTuple):
    """Activations and gradients of one class of each image of a batch, at every layer.

    Args:
        activations: For each layer, (B, C, h, w) feature maps.
        gradients: For each layer, (B, C, h, w) derivative of each image's own class logit.
        logits: (B, K) logits of the unchanged images; None where the model gives something else,
            of which a function is explained.
    """

    activations: dict[str, torch.Tensor]
    gradients: dict[str, torch.Tensor]
    logits: torch.Tensor | None


def layer_rounds(
    model: nn.Module,
    images: torch.Tensor,
    question: Question,
    layers: Sequence[str],
    config: GradientConfig,
    reshape: Reader | None = None,
    batch: int | None = None,
) -> list[LayerRound]:
    """Run one forward pass, then one backward pass for each class, for a whole batch.

    In eval mode images do not mix, so the gradient of the sum over images of one number each
    holds every image's own gradient.

    Args:
        model: (B, C, H, W) images to (B, K) logits, or to what the question's function takes.
        images: (B, C, H, W); signals or volumes.
        question: What is differentiated, R numbers an image.
        layers: Names of modules, or ``input`` for the images.
        config: Which gradient.
        reshape: See `wsss.attribution.layout.grid_reader`.
        batch: Images that a pass of an averaged gradient may hold: as many steps at once as fit.
            None takes one step a pass.

    Returns:
        R rounds; round ``r`` belongs to the r-th class of each image.

    Raises:
        ValueError: A layer that cannot be used, or a model that gives no (B, K) logits.
    """
    with prepared(model, guided=config.kind == "guided"):
        if reshape is None:
            _check_places(model, images, layers)
        if config.kind in ("plain", "guided"):
            return _rounds(model, images, question, layers, reshape)
        # activations and logits are those of the image itself; only gradients are averaged
        with torch.no_grad(), capture(model, layers, images, reshape) as captured:
            output = model(captured.images)
        logits = _logits(output)
        question = question.settled(output)
        activations = _grids(captured, captured.outputs)
        sums: list[dict[str, torch.Tensor]] = []
        together = 1 if batch is None else max(1, batch // len(images))
        inputs = _changed_inputs(images, config)
        while steps := list(itertools.islice(inputs, together)):
            rounds = _rounds(
                model, torch.cat(steps), question.repeated(len(steps)), layers, reshape
            )
            shares = [
                # the steps of an image lie behind each other, a whole batch apart
                {k: g.unflatten(0, (len(steps), -1)).sum(0) for k, g in one.gradients.items()}
                for one in rounds
            ]
            if not sums:
                # the first gradients become the sums: no zeros of that size are made before
                sums = [{k: g / config.steps for k, g in share.items()} for share in shares]
                continue
            for total, share in zip(sums, shares, strict=True):
                for layer, gradient in share.items():
                    # scaled and added in one pass over memory
                    total[layer].add_(gradient, alpha=1 / config.steps)
        return [LayerRound(activations, gradients, logits) for gradients in sums]


_HIDDEN = (
    "; if the model checkpoints its activations, switch that off: set_grad_checkpointing(False) of "
    "timm, gradient_checkpointing_disable() of transformers"
)


def _check_places(model: nn.Module, images: torch.Tensor, layers: Sequence[str]) -> None:
    """Refuse layers whose cells do not lie as the image does; unknown ones are left to `capture`.

    Raises:
        ValueError: There is one.
    """
    modules = dict(model.named_modules())
    known = [(name, modules[name]) for name in layers if name and name in modules]
    for name in sorted(out_of_place(model, images, known)):
        raise ValueError(misplaced(name))


def _rounds(
    model: nn.Module,
    images: torch.Tensor,
    question: Question,
    layers: Sequence[str],
    reshape: Reader | None,
) -> list[LayerRound]:
    with capture(model, layers, images, reshape) as captured:
        output = model(captured.images)
    names = list(captured.outputs)
    count = question.classes.shape[1]
    # in eval mode images do not mix: the gradient of the sum over images is each image's own
    values = [question.values(output, r).sum() for r in range(count)]
    if not all(value.requires_grad for value in values):
        raise ValueError(
            f"layers: {', '.join(names)} have no influence on what is explained{_HIDDEN}"
        )
    # shared by all rounds: the forward pass is the same whatever class is differentiated
    activations = _grids(captured, captured.outputs)
    rounds = []
    for r in range(count):
        try:
            found = torch.autograd.grad(
                values[r],
                list(captured.outputs.values()),
                # the last class frees the graph
                retain_graph=r + 1 < count,
                # None in place of torch's error, which would not name the layer
                allow_unused=True,
            )
        except RuntimeError as error:
            # torch's advice is about backward passes that the user does not write
            if "torch.utils.checkpoint" in str(error):
                raise ValueError(f"layers: {', '.join(names)} cannot be read{_HIDDEN}") from error
            raise
        raw: dict[str, torch.Tensor] = {}
        for layer, gradient in zip(names, found, strict=True):
            if gradient is None:
                raise ValueError(f"layer {layer!r} has no influence on what is explained{_HIDDEN}")
            raw[layer] = gradient
        gradients = _grids(captured, raw)
        for layer, gradient in raw.items():
            # tokens: the grid's gradients are all 0 where only the class token is read further on
            if gradient.dim() == 3 and not gradients[layer].any() and gradient.any():
                raise ValueError(
                    f"layer {layer!r}: only its class token reaches the logits; choose an earlier "
                    "layer, such as the normalisation or the output of the block before it"
                )
        rounds.append(LayerRound(activations, gradients, _logits(output)))
    return rounds


def _logits(output: object) -> torch.Tensor | None:
    """Logits without their graph; None of any other output."""
    return output.detach() if isinstance(output, torch.Tensor) and output.dim() == 2 else None


def _grids(captured: Captured, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each layer's tensor as (B, C, h, w), in float32 where the network ran with less."""
    grids = {layer: captured.readers[layer](t.detach()) for layer, t in tensors.items()}
    # half precision loses small values in the sums and products of the methods
    return {
        layer: grid.float() if grid.dtype in (torch.float16, torch.bfloat16) else grid
        for layer, grid in grids.items()
    }


def _changed_inputs(images: torch.Tensor, config: GradientConfig) -> Iterator[torch.Tensor]:
    """Inputs whose gradients are averaged; 0 is the mean colour of normalised images."""
    if config.kind == "integrated":
        for step in range(config.steps):
            # midpoint rule: the middle of each of the equal pieces of the straight line
            yield images * ((step + 0.5) / config.steps)
        return
    # a generator of its own leaves the caller's random state alone, and the CPU's in float32 gives
    # the same noise for every device and precision
    generator = torch.Generator().manual_seed(config.seed)
    # each image's own value range, as SmoothGrad states its noise
    dims = tuple(range(1, images.dim()))
    extent = images.amax(dims, keepdim=True) - images.amin(dims, keepdim=True)
    for _ in range(config.steps):
        noise = torch.randn(images.shape[1:], generator=generator).to(images)
        yield images + config.noise * extent * noise  # the same for each image of a batch
