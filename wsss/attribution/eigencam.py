"""Eigen-CAM (Muhammad and Yeasin, IJCNN 2020), and with gradients, Eigen-Grad-CAM."""

import torch


def eigencam_layer(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Eigen-CAM map: the first principal component of the cells' features, whatever the class.

    Its sign is that of its largest value (Seg-Eigen-CAM, Chung and Ying, 2025): a principal
    component has none.

    Args:
        activation: (B, C, h, w) feature maps.
        gradient: Not used.

    Returns:
        (B, h, w), at least 0.
    """
    cells = activation.flatten(2)
    # products of small or large values would leave the range of floats
    scale = cells.abs().amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(cells.dtype).tiny)
    cells = cells / scale
    cells = cells - cells.mean(dim=2, keepdim=True)
    # of both products of the matrix with itself the smaller one: they share their eigenvalues
    if cells.shape[1] <= cells.shape[2]:
        _, vectors = torch.linalg.eigh(cells @ cells.transpose(1, 2))
        found = (vectors[:, :, -1:].transpose(1, 2) @ cells)[:, 0]
    else:
        values, vectors = torch.linalg.eigh(cells.transpose(1, 2) @ cells)
        found = vectors[:, :, -1] * values[:, -1:].clamp_min(0).sqrt()
    sign = torch.where(found.amax(dim=1) >= -found.amin(dim=1), 1.0, -1.0).to(found.dtype)
    found = found * scale[:, :, 0]
    return (sign[:, None] * found).relu().view(len(activation), *activation.shape[2:])


def eigengradcam_layer(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Eigen-Grad-CAM map: the first principal component of G * A, which is that of a class.

    Args:
        activation: (B, C, h, w) feature maps.
        gradient: (B, C, h, w) derivative of the class's number with respect to them.

    Returns:
        (B, h, w), at least 0.
    """
    return eigencam_layer(gradient * activation, gradient)
