"""Noisy linear imputation: removal of pixels that leaves no trace of the removed shape."""

import torch
import torch.nn.functional as F

# Weights of ROAD's code: the four pixels beside count twice as much as the four corners; they sum
# to 1.
_NEIGHBOURS = ((1 / 12, 1 / 6, 1 / 12), (1 / 6, 0.0, 1 / 6), (1 / 12, 1 / 6, 1 / 12))


def impute_noisy_linear(
    images: torch.Tensor,
    removed: torch.Tensor,
    *,
    noise: float = 0.01,
    seed: int = 0,
    tolerance: float = 1e-3,
    max_iterations: int = 2000,
) -> torch.Tensor:
    """Fill removed pixels with the weighted mean of their eight neighbours, plus noise.

    The neighbours may be removed themselves, so this is one linear system an image (Rong et al.,
    "A Consistent and Efficient Evaluation Strategy for Attribution Methods", ICML 2022). It is
    symmetric and positive definite; conjugate gradients solve it for the whole batch, started
    from a fill by ever coarser means.

    Args:
        images: (N, C, H, W).
        removed: (N, H, W) bool. At least one pixel of each image must be left.
        noise: Standard deviation of the noise, in units of the images.
        seed: Seed of the noise.
        tolerance: Largest residual, relative to the right-hand side, at which to stop.
        max_iterations: Most steps.

    Returns:
        (N, C, H, W); pixels that were not removed are unchanged.

    Raises:
        ValueError: Shapes that do not match, or an image of which nothing is left.
    """
    if images.dim() != 4 or removed.shape != (images.shape[0], *images.shape[2:]):
        raise ValueError(
            f"expected (N, C, H, W) images and (N, H, W) removed pixels, got "
            f"{tuple(images.shape)} and {tuple(removed.shape)}"
        )
    if removed.flatten(1).all(dim=1).any():
        raise ValueError("removed: an image has no pixel left to fill the others from")
    gap = removed[:, None].to(images.dtype)
    # below 1 at the image's edge, where neighbours are missing
    weight = _neighbour_sum(torch.ones_like(images[:1, :1]))

    # Each removed pixel is the weighted mean of its neighbours: weight * x - sum of neighbours = 0.
    # Known neighbours go to the right-hand side; `gap` leaves out the equations of known pixels.
    def laplacian(values: torch.Tensor) -> torch.Tensor:
        return gap * (weight * values - _neighbour_sum(values))

    known = images * (1 - gap)
    target = gap * _neighbour_sum(known)
    # a good start saves most of the iterations: these carry a value one pixel a step
    filled = _coarse_fill(images, ~removed[:, None]) * gap
    residual = target - laplacian(filled)
    direction = residual
    size = _dot(residual, residual)
    # squared, as the sizes are
    enough = tolerance**2 * _dot(target, target)
    for _ in range(max_iterations):
        if (size <= enough).all():
            break
        # all channels of all images step together, each with a step length of its own; one that is
        # done has a residual of about 0 and no longer moves
        image = laplacian(direction)
        step = size / _dot(direction, image).clamp_min(torch.finfo(size.dtype).tiny)
        filled = filled + step * direction
        residual = residual - step * image
        previous, size = size, _dot(residual, residual)
        growth = size / previous.clamp_min(torch.finfo(size.dtype).tiny)
        direction = residual + growth * direction
    # a generator of its own leaves the caller's random state alone, and the CPU's in float32 gives
    # the same noise for every device and precision
    generator = torch.Generator().manual_seed(seed)
    grain = torch.randn(images.shape, generator=generator).to(images)
    return known + gap * (filled + noise * grain)


def _dot(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Scalar product of each channel of each image: (N, C, 1, 1)."""
    return (first * second).sum(dim=(2, 3), keepdim=True)


def _neighbour_sum(values: torch.Tensor) -> torch.Tensor:
    """Weighted sum of the neighbours inside the image, of each channel."""
    kernel = values.new_tensor(_NEIGHBOURS)[None, None]
    flat = values.flatten(0, 1)[:, None]
    return F.conv2d(flat, kernel, padding=1).view_as(values)


def _coarse_fill(images: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Fill unknown pixels by the mean of the known ones around them, at ever coarser sizes."""
    height, width = images.shape[2:]
    if known.all() or min(height, width) < 2:
        return images
    # mean of the known pixels of each 2 x 2 block: their sum over their number
    share = F.avg_pool2d(known.to(images.dtype), 2, ceil_mode=True)
    mean = F.avg_pool2d(images * known, 2, ceil_mode=True)
    mean = mean / share.clamp_min(torch.finfo(images.dtype).tiny)
    coarse = _coarse_fill(mean, share > 0)
    fine = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    return torch.where(known, images, fine)
