"""TIF written again, slowly, from its definition: a loop per image, class, layer and channel.

It shares no code with `wsss.attribution`. Hooks keep the layer outputs, ``backward`` fills their
``.grad``, thresholds come from sorted Python lists, and upsampling is written out.
"""

import copy
import math

import torch


def bilinear(grid: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Bilinear upsampling of (h, w), pixel centres at half-integers (align_corners=False)."""
    rows, columns = grid.shape
    cells = grid.tolist()
    result = []
    for y in range(height):
        source_y = max((y + 0.5) * rows / height - 0.5, 0.0)
        y0 = min(int(source_y), rows - 1)
        y1 = min(y0 + 1, rows - 1)
        fy = source_y - y0
        line = []
        for x in range(width):
            source_x = max((x + 0.5) * columns / width - 0.5, 0.0)
            x0 = min(int(source_x), columns - 1)
            x1 = min(x0 + 1, columns - 1)
            fx = source_x - x0
            top = cells[y0][x0] * (1 - fx) + cells[y0][x1] * fx
            bottom = cells[y1][x0] * (1 - fx) + cells[y1][x1] * fx
            line.append(top * (1 - fy) + bottom * fy)
        result.append(line)
    return torch.tensor(result, dtype=grid.dtype)


def activations_and_gradients(model, image, class_index, layers):
    """Feature maps and gradients of one image and one class, by hooks and ``backward``."""
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    kept = {}

    def keep(name):
        def hook(module, inputs, output):
            output.retain_grad()
            kept[name] = output

        return hook

    for name in layers:
        model.get_submodule(name).register_forward_hook(keep(name))
    logits = model(image[None].clone().requires_grad_(True))
    logits[0, class_index].backward()
    return [(kept[name].detach()[0], kept[name].grad[0]) for name in layers]


def layer_map(activation, gradient, config):
    """S of one layer: (h, w)."""
    total = torch.zeros(activation.shape[1:], dtype=activation.dtype)
    for a, g in zip(activation, gradient, strict=True):
        r = {
            "relu_ga": (g * a).clamp(min=0),
            "relu_g_a": g.clamp(min=0) * a,
            "ga": g * a,
            "relu_g": g.clamp(min=0),
            "a": a,
        }[config.base]
        values = sorted(r.flatten().tolist())
        if config.threshold == "none":
            region = r
        else:
            level = {
                "max": config.alpha * values[-1],
                "mean": config.alpha * sum(values) / len(values),
                "quantile": values[math.floor(min(config.alpha, 1) * (len(values) - 1))],
            }[config.threshold]
            mask = ((r > level) & (r > 0)).to(r.dtype)
            region = {"soft": r * mask, "binary": mask, "residual": (r - level) * mask}[
                config.region
            ]
        weight = {
            "mean_gradient": g.mean().item(),
            "sum_ga": (g * a).sum().item(),
            "one": 1.0,
        }[config.weights]
        if config.negative_weights == "cut":
            weight = max(weight, 0.0)
        total += weight * region
    return total.clamp(min=0)


def record(model, images, labels, layers):
    """Feature maps and gradients of all present (image, class) pairs, one backward pass each."""
    return [
        activations_and_gradients(model, image, class_index, layers)
        for image, vector in zip(images, labels, strict=True)
        for class_index in vector.nonzero()[:, 0].tolist()
    ]


def tif(recorded, size, config):
    """Maps of all recorded pairs, (N, H, W)."""
    maps = []
    for layers in recorded:
        upsampled = []
        for a, g in layers:
            one = layer_map(a, g, config)
            if config.normalise == "max" and one.max() > 0:
                one = one / one.max()
            upsampled.append(bilinear(one, *size))
        stack = torch.stack(upsampled)
        maps.append(
            {
                "sum": stack.sum(0),
                "mean": stack.mean(0),
                "max": stack.max(0).values,
                "product": stack.prod(0),
                "gate": stack[-1] * (stack[:-1].mean(0) if len(stack) > 1 else 1),
            }[config.fusion]
        )
    return torch.stack(maps)
