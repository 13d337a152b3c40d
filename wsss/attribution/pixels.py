"""Gradient attributions at the input: one value a pixel, from the three colour channels."""

import torch


def gradient_pixels(image: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Gradient by pixel, sum over colours of |G|: saliency, SmoothGrad, guided backpropagation.

    Simonyan et al. (2014) take the largest colour instead of the sum; the sum is what SmoothGrad
    (Smilkov et al., 2017) and the code of its authors show.

    Args:
        image: (B, 3, H, W) input.
        gradient: (B, 3, H, W) derivative of the class logit with respect to it.

    Returns:
        (B, H, W), at least 0.
    """
    return gradient.abs().sum(dim=1)


def product_pixels(image: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Product by pixel, |sum over colours of x * G|: input x gradient and Integrated Gradients.

    Where G is the mean gradient on the line from 0 to the image, x * G is Integrated Gradients
    (Sundararajan et al., 2017) with 0, the mean colour of normalised images, as its baseline.

    Args:
        image, gradient: See `gradient_pixels`.

    Returns:
        (B, H, W), at least 0.
    """
    # the sum first: what the colours of a pixel contribute may cancel
    return (image * gradient).sum(dim=1).abs()
