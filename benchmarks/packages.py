"""What other packages of attribution can and cannot do, found out by running them.

    python benchmarks/packages.py --json packages.json

Each row is a small task with a check of its result; each package does it with its own Grad-CAM (or
what is nearest to it), as its documentation shows. 1 where the check holds, 0 where it does not or
the package fails; why is printed. Keys: <task>_<package>. Needs ``pip install -e '.[dev]'``.
"""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from jsonargparse import auto_cli
from ratios import write_ratios
from torch import nn

from wsss.attribution import attribute

Explain = Callable[..., torch.Tensor]
"""Model, inputs, a class or function for each image, and the layer's name, to (B, *cells) maps."""


def wsss(model, inputs, targets, layer):  # type: ignore[no-untyped-def]
    if callable(targets):
        return attribute(model, inputs, target=targets, method="gradcam", layers=layer).maps
    return attribute(model, inputs, targets, method="gradcam", layers=layer).maps


def grad_cam(model, inputs, targets, layer):  # type: ignore[no-untyped-def]
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    wanted = [targets] * len(inputs) if callable(targets) else None
    wanted = wanted or [ClassifierOutputTarget(k) for k in targets]
    with GradCAM(model=model, target_layers=[model.get_submodule(layer)]) as cam:
        return torch.from_numpy(cam(input_tensor=inputs, targets=wanted))


def torchcam(model, inputs, targets, layer):  # type: ignore[no-untyped-def]
    from torchcam.methods import GradCAM

    with GradCAM(model, layer, input_shape=tuple(inputs.shape[1:])) as cam:
        scores = model(inputs)
        if callable(targets):
            return cam(None, scores, targets=targets)[0]
        return cam(list(targets), scores)[0]


def captum(model, inputs, targets, layer):  # type: ignore[no-untyped-def]
    from captum.attr import LayerGradCam

    if callable(targets):
        inner, targets_of = model, targets
        model = _Function(inner, targets_of)
        explain = LayerGradCam(model, inner.get_submodule(layer))
        return explain.attribute(inputs, relu_attributions=True)[:, 0]
    explain = LayerGradCam(model, model.get_submodule(layer))
    target = torch.tensor(targets)
    return explain.attribute(inputs, target=target, relu_attributions=True)[:, 0]


def zennit(model, inputs, targets, layer):  # type: ignore[no-untyped-def]
    """It has no maps of layers: epsilon-LRP at the input, its own kind of explanation."""
    from zennit.attribution import Gradient
    from zennit.composites import EpsilonPlus

    if callable(targets):
        raise ValueError("targets are gradients of the output, given by hand")
    with Gradient(model=model, composite=EpsilonPlus()) as attributor:
        output = torch.eye(_classes(model, inputs))[list(targets)].to(inputs.dtype)
        return attributor(inputs, output)[1].sum(1)


PACKAGES: dict[str, Explain] = {
    "wsss": wsss,
    "grad_cam": grad_cam,
    "torchcam": torchcam,
    "captum": captum,
    "zennit": zennit,
}


class _Function(nn.Module):
    """A model that gives a function of another one's output."""

    def __init__(self, model: nn.Module, function: Callable[[object], torch.Tensor]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.function(self.model(inputs))


def _classes(model: nn.Module, inputs: torch.Tensor) -> int:
    with torch.no_grad():
        return int(model(inputs[:1]).shape[1])


def network(dims: int = 2, in_place: bool = False) -> nn.Module:
    """A small network of signals, images or volumes, in eval mode."""
    torch.manual_seed(0)
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[dims - 1]
    return nn.Sequential(
        conv(3, 8, 3, padding=1, stride=2), nn.ReLU(in_place), conv(8, 8, 3, padding=1),
        nn.ReLU(in_place), pool(1), nn.Flatten(), nn.Linear(8, 4),
    ).eval()  # fmt: skip


def inputs(dims: int = 2) -> torch.Tensor:
    size = ((40,), (24, 32), (8, 16, 20))[dims - 1]
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


def _sound(maps: torch.Tensor, count: int) -> bool:
    return len(maps) == count and bool(torch.isfinite(maps).all()) and float(maps.max()) > 0


def plain(explain: Explain) -> bool:
    return _sound(explain(network(), inputs(), [1, 2], "3"), 2)


def frozen_weights(explain: Explain) -> bool:
    model = network()
    model.requires_grad_(False)
    return _sound(explain(model, inputs(), [1, 2], "3"), 2)


def under_no_grad(explain: Explain) -> bool:
    with torch.no_grad():
        return _sound(explain(network(), inputs(), [1, 2], "3"), 2)


def in_place_activations(explain: Explain) -> bool:
    found = explain(network(in_place=True), inputs(), [1, 2], "2")
    return bool(torch.allclose(found, explain(network(), inputs(), [1, 2], "2"), atol=1e-5))


def model_left_as_it_was(explain: Explain) -> bool:
    model = network().train()
    explain(model, inputs(), [1, 2], "3")
    hooks = any(m._forward_hooks or m._backward_hooks for m in model.modules())
    clean = all(p.grad is None and p.requires_grad for p in model.parameters())
    return model.training and clean and not hooks


def several_classes_in_one_forward_pass(explain: Explain) -> bool:
    """Three classes of an image, asked as the package can."""
    model, passes = network(), []
    model.register_forward_hook(lambda *_: passes.append(1))
    if explain is wsss:
        asked = {"method": "gradcam", "layers": "3"}
        attribute(model, inputs(), 0, **asked)  # the first time it tries how the layer lies
        passes.clear()
        found = attribute(model, inputs(), [[0, 1, 3], [2]], **asked).maps
        return _sound(found, 4) and len(passes) <= 2  # one for each number of classes
    if explain is torchcam:
        from torchcam.methods import GradCAM

        with GradCAM(model, "3") as cam:
            scores = model(inputs()[:1])
            for k in (0, 1, 3):
                cam(k, scores, retain_graph=True)
    else:
        for k in (0, 1, 3):
            explain(model, inputs()[:1], [k], "3")
    return len(passes) <= 1


def signals(explain: Explain) -> bool:
    found = explain(network(1), inputs(1), [1, 2], "3")
    return _sound(found, 2) and found.dim() == 2


def volumes(explain: Explain) -> bool:
    found = explain(network(3), inputs(3), [1, 2], "3")
    return _sound(found, 2) and found.dim() == 4


class _Segmenter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sem": self.head(self.body(images))}


def function_of_a_dictionary(explain: Explain) -> bool:
    def area(output: dict[str, torch.Tensor]) -> torch.Tensor:
        return output["sem"][:, 2].mean((1, 2))

    return _sound(explain(_Segmenter().eval(), inputs(), area, "body"), 2)


def class_token_transformer(explain: Explain) -> bool:
    """Maps of timm's ViT without a function of the user's own that reshapes its tokens."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=3, num_classes=4).eval()
    nn.init.normal_(model.head.weight)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    if explain is wsss:
        return _sound(attribute(model, images, [1, 2], method="legrad").maps, 2)
    found = explain(model, images, [1, 2], "blocks.1")
    return _sound(found, 2) and found.dim() == 3


def layers_by_themselves(explain: Explain) -> bool:
    """Without a name: the last feature map."""
    if explain is wsss:
        return attribute(network(), inputs(), 1, method="gradcam").layers == ("3",)
    if explain is torchcam:
        from torchcam.methods import GradCAM

        model = network()
        with GradCAM(model, input_shape=(3, 24, 32)) as cam:
            return _sound(cam(1, model(inputs()))[0], 2)
    return False


def float64(explain: Explain) -> bool:
    return explain(network().double(), inputs().double(), [1, 2], "3").dtype == torch.float64


TASKS = (
    plain, frozen_weights, under_no_grad, in_place_activations, model_left_as_it_was,
    several_classes_in_one_forward_pass, signals, volumes, function_of_a_dictionary,
    class_token_transformer, layers_by_themselves, float64,
)  # fmt: skip


def main(json: Path | None = None) -> None:
    """Run every task with every package, and print the table.

    Args:
        json: File to write it to.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    found: dict[str, float] = {}
    for task in TASKS:
        for name, explain in PACKAGES.items():
            try:
                done, why = task(explain), "the check does not hold"
            except Exception as error:  # whatever a package raises
                done, why = False, f"{type(error).__name__}: {str(error).splitlines()[:1]}"
            found[f"{task.__name__}_{name}"] = float(done)
            if not done:
                print(f"{task.__name__}, {name}: {why}")
    print("\n| |" + "|".join(PACKAGES) + "|\n|---|" + "---|" * len(PACKAGES))
    for task in TASKS:
        cells = ("yes" if found[f"{task.__name__}_{name}"] else "no" for name in PACKAGES)
        print(f"| {task.__name__.replace('_', ' ')} | " + " | ".join(cells) + " |")
    write_ratios(found, json)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
