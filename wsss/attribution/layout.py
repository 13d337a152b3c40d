"""Feature maps of any layout as (B, C, h, w): channels first, channels last, or tokens."""

from collections.abc import Callable

import torch
from torch import nn

Reader = Callable[[torch.Tensor], torch.Tensor]

INPUT = "input"
"""Name under which the images themselves count as a layer."""

RESHAPE = "; reshape= takes a function that makes (B, C, h, w) of it"
"""What to do about a layout that is not known."""

_WANTED = {3: "(B, C, l)", 4: "(B, C, h, w)", 5: "(B, C, d, h, w)"}
"""Feature maps of signals, images and volumes, by their number of dimensions."""

MAX_PREFIX_TOKENS = 8
"""Most tokens before the grid's (class, distillation and register tokens)."""


def grid_reader(
    module: nn.Module, output: object, images: torch.Size, reshape: Reader | None = None
) -> Reader:
    """Find how a module's output, and a gradient of its shape, is read as a grid of cells.

    - (B, C, h, w) and (B, h, w, C), as in Swin transformers, are told apart by which two dimensions
      make square cells on the image; where both do, by the layers inside the module.
    - (B, p + h w, C) tokens, as in ViT, lose their first p <= 8 tokens; h and w are those of
      square patches of the image.

    Of signals (B, C, L) and volumes (B, C, D, H, W) the channels stand first unless the layers
    inside the module work on the last dimension; strides may differ by dimension.

    Shapes do not tell in which order tokens are; `wsss.attribution.places` tries that.

    Args:
        module: The module.
        output: What it gave.
        images: Shape of the model's input: (B, C, H, W), (B, C, L) or (B, C, D, H, W).
        reshape: What the user knows better: from the output to (B, C, *cells). It moves and chooses
            values, and changes none.

    Returns:
        A function from a tensor of the output's shape to (B, C, *cells).

    Raises:
        ValueError: The output is no tensor, has no grid, or one that cannot be told.
    """
    if not isinstance(output, torch.Tensor) or not output.is_floating_point():
        raise ValueError("gives no tensor")
    shape = tuple(output.shape)
    if reshape is not None:
        found = reshape(output)
        if not isinstance(found, torch.Tensor) or (found.dim(), len(found)) != (
            len(images),
            images[0],
        ):
            got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            wanted = _WANTED[len(images)]
            raise ValueError(f"reshape: expected {wanted} of {shape}, got {got}")
        return reshape
    # such as the windows inside a Swin block, which are moved into the batch
    if output.dim() > 0 and shape[0] != images[0]:
        raise ValueError(f"gives {shape} for {images[0]} images; expected one row an image")
    if len(images) != 4:
        if output.dim() == len(images):
            if not _works_on_the_last(module, shape):
                return _as_is
            prefix = _signal_prefix(shape[1], images[2]) if len(images) == 3 else 0
            return lambda tensor: tensor[:, prefix:].movedim(-1, 1)
        raise ValueError(f"gives {shape}, expected {_WANTED[len(images)]}{RESHAPE}")
    image_size = (images[2], images[3])
    if output.dim() == 4:
        return _last_to_first if _is_channels_last(module, shape, image_size) else _as_is
    if output.dim() == 3:
        grid = token_grid(shape[1], image_size)
        if grid is not None:
            return _from_tokens(*grid)
        raise ValueError(
            f"gives (B, N, C) = {shape}, but N is no grid of square patches of an image of "
            f"{image_size[0]} x {image_size[1]} pixels, with up to {MAX_PREFIX_TOKENS} tokens "
            f"before it{RESHAPE}"
        )
    raise ValueError(f"gives {shape}, expected (B, C, h, w), (B, h, w, C) or (B, N, C){RESHAPE}")


def token_grid(tokens: int, image_size: tuple[int, int]) -> tuple[int, int] | None:
    """Rows and columns of the grid of square patches that N tokens hold, or None.

    Patches that fill the image to its borders come first, then the fewest prefix tokens. As rows
    and columns fall together with a growing patch, there is one answer but for tiny grids.
    """
    found = []
    # the patch size is not known: all are tried, and prefix tokens have to make up the rest
    for side in range(1, min(image_size) + 1):
        rows, columns = image_size[0] // side, image_size[1] // side
        prefix = tokens - rows * columns
        if 0 <= prefix <= MAX_PREFIX_TOKENS:
            gap = image_size[0] % side + image_size[1] % side > 0
            # False sorts before True: patches that fill the image win
            found.append((gap, prefix, rows, columns))
    # tuples compare by gap, then by prefix
    return min(found)[2:] if found else None


def _signal_prefix(tokens: int, length: int) -> int:
    """Tokens before those of a signal's equal pieces: the fewest that leave such pieces, or 0."""
    pieces = {length // side for side in range(1, length + 1)}
    return next(
        (p for p in range(min(MAX_PREFIX_TOKENS, tokens - 1) + 1) if tokens - p in pieces), 0
    )


def _is_channels_last(module: nn.Module, shape: tuple[int, ...], image: tuple[int, int]) -> bool:
    """Tell whether (B, a, b, c) is (B, h, w, C).

    Raises:
        ValueError: Neither reading has square cells on the image.
    """
    first, last = _is_square(shape[2:4], image), _is_square(shape[1:3], image)
    leaf = not any(module.children())
    # a layer by itself works on the dimension that it is made for
    if leaf and _last_width(module) is not None:
        first = False
    elif leaf and isinstance(module, _CHANNELS_FIRST):
        last = False
    if not first and not last:
        raise ValueError(
            f"gives {shape}, which has no square cells on an image of {image[0]} x {image[1]} "
            f"pixels, read as (B, C, h, w) or as (B, h, w, C){RESHAPE}"
        )
    if first != last:
        return last
    # about as many channels as rows and columns
    return _works_on_the_last(module, shape)


def _works_on_the_last(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether the layers inside a module work on the last dimension of what it gives."""
    leaves = [part for part in module.modules() if not any(part.children())]
    if any(isinstance(leaf, nn.Conv1d | nn.Conv2d | nn.Conv3d) for leaf in leaves):
        return _last_width(leaves[-1]) == shape[-1]  # a convolution that is flattened and normed
    widths = {width for leaf in leaves if (width := _last_width(leaf)) is not None}
    # without any, channels stand first, as in most networks
    return shape[-1] in widths


_CHANNELS_FIRST = (
    nn.Conv2d, nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d, nn.MaxPool2d, nn.AvgPool2d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.ConvTranspose2d, nn.Upsample,
)  # fmt: skip
"""Layers that work on (B, C, h, w)."""


def _is_square(grid: tuple[int, ...], image: tuple[int, int]) -> bool:
    """Whether cells of one stride both ways make such a grid of the image.

    Padding adds a cell or so, and its lack takes some from each side.
    """
    least, most = 0.0, float("inf")
    for cells, side in zip(grid, image, strict=True):
        slack = 1 + 0.05 * cells
        least = max(least, side / (cells + slack))
        most = min(most, side / (cells - slack) if cells > slack else float("inf"))
    return least <= most


def _last_width(leaf: nn.Module) -> int | None:
    """Size of the last dimension that a layer gives, if the last dimension is what it works on."""
    if isinstance(leaf, nn.Linear):
        return leaf.out_features
    # LayerNorm2d of torchvision and timm norms the channels of (B, C, h, w), though it inherits
    if isinstance(leaf, nn.LayerNorm) and not type(leaf).__name__.endswith("2d"):
        return int(leaf.normalized_shape[-1])
    return None


def _as_is(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _last_to_first(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.movedim(-1, 1)


def _from_tokens(rows: int, columns: int) -> Reader:
    def read(tensor: torch.Tensor) -> torch.Tensor:
        # counted from the end: class and register tokens stand in front
        cells = tensor[:, tensor.shape[1] - rows * columns :]
        return cells.unflatten(1, (rows, columns)).permute(0, 3, 1, 2)

    return read
