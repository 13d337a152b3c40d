"""Label probabilities of one image by a network of an ONNX file, over sizes and mirrored."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from wsss.deployed.network import OnnxNetwork

OUTPUT = "probabilities"


def label_probabilities(
    network: OnnxNetwork,
    image: np.ndarray,
    sizes: Sequence[tuple[int, int]],
    *,
    flip: bool,
    labels: Sequence[int] | None = None,
) -> np.ndarray:
    """Compute label probabilities, averaged over sizes and flips, as torch's network gives them.

    At the image's own size they agree to rounding. At another one they do nearly: the graph takes
    bytes, so that the resized image is rounded to whole grey levels, which torch's is not.

    Args:
        network: Of a segmenter.
        image: (H, W, C) uint8.
        sizes: Heights and widths at which it is seen.
        flip: See the mirrored image too.
        labels: Labels that the image may hold, in order; None for all L. What is left is the
            probability given that it is one of these.

    Returns:
        (L, H, W) float32 at the image's own size; of ``labels`` alone where given.
    """
    height, width = image.shape[:2]
    total = None
    for size in sizes:
        seen = resized(image, size)
        batch = np.stack([seen, seen[:, ::-1]]) if flip else seen[None]
        (found,) = network.run(np.ascontiguousarray(batch), OUTPUT)
        if labels is not None:
            # what is all 0 stays finite
            found = np.maximum(found[:, list(labels)], np.finfo(np.float32).tiny)
            found = found / found.sum(axis=1, keepdims=True)
        views = [_enlarged(one, (height, width)) for one in found]
        if flip:
            views[1] = views[1][:, :, ::-1]
        mean = sum(views[1:], views[0]) / np.float32(len(views))
        total = mean if total is None else total + mean
    if total is None:
        raise ValueError("sizes: expected one at least")
    return np.ascontiguousarray(total / np.float32(len(sizes)))


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an (H, W, C) uint8 image, bilinear, blurred against aliasing where it shrinks."""
    # at its own size an image stays exactly what it is
    if image.shape[:2] == tuple(size):
        return image
    height, width = size
    # in float32: Pillow's own for bytes rounds after the rows and again after the columns
    planes = [
        Image.fromarray(image[..., band].astype(np.float32)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for band in range(image.shape[2])
    ]
    return np.rint(np.stack([np.asarray(plane) for plane in planes], axis=2)).astype(np.uint8)


def _enlarged(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (L, h, w) probabilities as if their logits had been resized: (L, H, W)."""
    if probabilities.shape[1:] == size:
        return probabilities
    # logarithms are logits less a number of their pixel, which the softmax takes out again
    logits = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    height, width = size
    large = np.stack(
        [cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in logits]
    )
    grown = np.exp(large - large.max(axis=0))
    return np.asarray(grown / grown.sum(axis=0))
