"""What preparing a network for a CPU gains: ours against what PyTorch offers, in one run.

    python benchmarks/folding.py --json ratios.json --compiled true

Forward passes without gradients of one image, one thread, MobileNetV2 and ResNet-50 with random
weights, in both memory layouts (``_channels_last``). All take turns; the processor time of the
fastest turn of each counts. Writes one flat object: plain_over_*, the time of the network as it is,
contiguous, over that of

- plain: the network as it is;
- folded: BatchNorm folded into the convolutions (`wsss.models.folding`);
- onednn: and convolutions by torch.mkldnn_convolution (`wsss.models.onednn`), as
  `make_pseudo_masks` runs it where it does not differentiate;
- private: and activations in the same operation, by an operator that PyTorch keeps for its
  compiler, where a Sequential has a ReLU6 after it (MobileNetV2);
- fx: torch.fx.experimental.optimization.optimize_for_inference;
- jit: torch.jit.freeze and torch.jit.optimize_for_inference of the traced network;
- compile: torch.compile of the folded network (with ``--compiled``; needs a C++ compiler).

and milliseconds_plain_* on this machine, and prepare_seconds_*: until a contestant's first pass is
done. The last three are no use to `wsss.attribution`, which reads the outputs of single layers and
differentiates them.
"""

import copy
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from jsonargparse import auto_cli
from ratios import write_ratios
from torch import nn
from torch.fx.experimental.optimization import optimize_for_inference

from wsss.models import BackboneConfig, build_classifier
from wsss.models.folding import fold_batchnorm
from wsss.models.onednn import convolve_by_onednn

NETWORKS = ("mobilenet_v2", "resnet50")
Network = Callable[[torch.Tensor], torch.Tensor]
Prepare = Callable[[nn.Module, torch.Tensor], Network]


class ByPrivateOperator(nn.Module):
    """A convolution and the activation after it in one operation.

    Args:
        layer: The convolution.
        name: What oneDNN calls the activation.
        numbers: The activation's numbers.
    """

    def __init__(self, layer: nn.Conv2d, name: str, numbers: list[float]) -> None:
        super().__init__()
        self.layer, self.name, self.numbers = layer, name, numbers

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        layer = self.layer
        return torch.ops.mkldnn._convolution_pointwise(
            images, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation,
            layer.groups, self.name, self.numbers, "",
        )  # fmt: skip


def fuse(model: nn.Module) -> None:
    """All convolutions by the private operator, with the ReLU6 that follows: MobileNetV2's."""
    for parent in list(model.modules()):
        names = list(parent._modules)
        for i, name in enumerate(names):
            layer = parent._modules[name]
            if not isinstance(layer, nn.Conv2d):
                continue
            fused = ByPrivateOperator(layer, "none", [])
            activation = names[i + 2] if names[i + 2 :] else ""  # after the folded norm
            if isinstance(parent._modules.get(activation), nn.ReLU6):
                fused = ByPrivateOperator(layer, "hardtanh", [0.0, 6.0])
                parent._modules[activation] = nn.Identity()
            parent._modules[name] = fused


def folded(model: nn.Module, image: torch.Tensor) -> Network:
    return fold_batchnorm(model)


def by_onednn(model: nn.Module, image: torch.Tensor) -> Network:
    network = fold_batchnorm(model)
    convolve_by_onednn(network)
    return network


def by_private_operator(model: nn.Module, image: torch.Tensor) -> Network:
    network = fold_batchnorm(model)
    fuse(network)
    return network


def by_jit(model: nn.Module, image: torch.Tensor) -> Network:
    traced = torch.jit.freeze(torch.jit.trace(model, image))
    return torch.jit.optimize_for_inference(traced)


CONTESTANTS: dict[str, Prepare] = {
    "plain": lambda model, image: model,
    "folded": folded,
    "onednn": by_onednn,
    "private": by_private_operator,
    "fx": lambda model, image: optimize_for_inference(model),
    "jit": by_jit,
    "compile": lambda model, image: torch.compile(fold_batchnorm(model)),
}
LAYOUTS = {"": torch.contiguous_format, "_channels_last": torch.channels_last}


def seconds(network: Network, image: torch.Tensor) -> float:
    """Processor time of one pass."""
    start = time.process_time()
    network(image)
    return time.process_time() - start


def measure(name: str, side: int, turns: int, contestants: list[str]) -> dict[str, float]:
    """Ratios, milliseconds and seconds of one network."""
    torch.manual_seed(0)
    model = build_classifier(BackboneConfig(name=name), 6).eval().requires_grad_(False)
    image = torch.randn(1, 3, side, side)
    expected = model(image)
    prepared, waits = {}, {}
    for contestant in contestants:
        for suffix, layout in LAYOUTS.items():
            own = copy.deepcopy(model).to(memory_format=layout)
            seen = image.to(memory_format=layout)
            start = time.perf_counter()
            network = CONTESTANTS[contestant](own, seen)
            torch.testing.assert_close(network(seen), expected, rtol=1e-3, atol=1e-4)
            waits[contestant] = time.perf_counter() - start
            prepared[contestant + suffix] = network, seen
    best = dict.fromkeys(prepared, float("inf"))
    for turn in range(turns + 1):  # the first turn warms up
        for key, (network, seen) in prepared.items():
            spent = seconds(network, seen)
            best[key] = min(best[key], spent) if turn else best[key]
    found = {f"milliseconds_plain_{name}": 1e3 * best["plain"]}
    ratios = {f"plain_over_{key}_{name}": best["plain"] / best[key] for key in best}
    del ratios[f"plain_over_plain_{name}"]
    return found | ratios | {f"prepare_seconds_{key}_{name}": waits[key] for key in waits}


def main(
    json: Path | None = None, side: int = 321, turns: int = 20, compiled: bool = False
) -> None:
    """Measure and print the ratios.

    Args:
        json: File to write them to.
        side: Height and width of the images in pixels.
        turns: How often each contestant runs.
        compiled: Measure torch.compile too, which takes minutes.
    """
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    contestants = [name for name in CONTESTANTS if compiled or name != "compile"]
    ratios = {}
    with torch.inference_mode():
        for name in NETWORKS:
            ratios |= measure(name, side, turns, contestants)
    write_ratios(ratios, json)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
