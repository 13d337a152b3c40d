"""Drawn images with their unaries, and the dense CRF with every pair of pixels."""

import numpy as np

from wsss.refinement import CRFConfig
from wsss.refinement.crf import unary_from_scores


def softmax(values):
    exponential = np.exp(values - values.max(axis=0, keepdims=True))
    return exponential / exponential.sum(axis=0, keepdims=True)


def brute_force(image, unary, config):
    """Mean field with every pair of pixels, a pixel's message to itself included, in float64.

    Kernels are normalised symmetrically, D^-1/2 K D^-1/2, as the library does by default.
    """
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    position = np.stack([y.ravel(), x.ravel()], axis=1).astype(np.float64)
    colour = image.reshape(-1, image.shape[2]).astype(np.float64)

    def kernel(features):
        squared = ((features[:, None] - features[None]) ** 2).sum(axis=2)
        values = np.exp(-0.5 * squared)
        scale = 1 / np.sqrt(values.sum(axis=1) + 1e-20)
        return scale[:, None] * values * scale[None]

    spatial = kernel(position / config.gaussian_sxy)
    features = [position / config.bilateral_sxy, colour / config.bilateral_srgb]
    bilateral = kernel(np.concatenate(features, axis=1))
    energies = unary.reshape(len(unary), -1).astype(np.float64)
    q = softmax(-energies)
    for _ in range(config.iterations):
        message = config.gaussian_compat * q @ spatial + config.bilateral_compat * q @ bilateral
        q = softmax(-energies + message)
    return q.reshape(unary.shape)


def scene(seed=0, labels=3, height=20, width=26):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    inside = (y - 9) ** 2 + (x - 12) ** 2 < 36
    image = np.where(inside[..., None], [200, 60, 40], [60, 120, 180])
    image = (image + rng.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)
    scores = rng.uniform(0, 0.5, (labels, height, width))
    scores[1] += 0.5 * inside
    return image, unary_from_scores(scores.astype(np.float32), CRFConfig())


def picture(kind, height, width, seed=0):
    """(H, W, 3) uint8: ``texture``, ``noise``, ``constant``, or ``corner``, one black corner."""
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    if kind == "constant":
        return np.full((height, width, 3), (17, 200, 90), np.uint8)
    y, x = np.mgrid[:height, :width]
    image = np.empty((height, width, 3))
    for channel in range(3):
        a, b, c = rng.uniform(0.03, 0.2, 3)
        image[..., channel] = 128 + 50 * np.sin(a * x + c * y) + 40 * np.cos(b * y - c * x)
    image += rng.normal(0, 6, image.shape)
    image[(y - height / 2) ** 2 + (x - width / 3) ** 2 < (height / 4) ** 2] -= 60
    if kind == "corner":
        image[: height // 2, : width // 2] = 0
    return image.clip(0, 255).astype(np.uint8)


def drawn_scores(labels, height, width, seed=0):
    """(L, H, W) float32 scores in [0, 1], each a blob under some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    scores = rng.uniform(0, 0.3, (labels, height, width))
    for label in range(labels):
        near = (y - rng.uniform(0, height)) ** 2 + (x - rng.uniform(0, width)) ** 2
        scores[label] += 0.7 * np.exp(-near / (0.2 * height * width))
    return scores.astype(np.float32)


def energies(labels, height, width, seed=0):
    """(L, H, W) float32 energies of drawn scores."""
    return unary_from_scores(drawn_scores(labels, height, width, seed), CRFConfig())
