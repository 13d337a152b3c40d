"""Class maps and masks laid over photographs."""

import colorsys

import numpy as np

MAP_COLOUR = np.array([[255, 205, 40]], dtype=np.uint8)
"""(1, 3) RGB in which the map of a single class is shown."""


def colour_mask(values: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Colour (H, W) uint8 mask values by a (256, 3) palette: (H, W, 3) uint8 RGB.

    Examples:
        >>> import numpy as np
        >>> from wsss.data import voc_palette
        >>> colour_mask(np.array([[0, 1]], np.uint8), voc_palette()).tolist()
        [[[0, 0, 0], [128, 0, 0]]]
    """
    return palette[values]


def overlay_mask(
    image: np.ndarray, values: np.ndarray, palette: np.ndarray, opacity: float = 0.6
) -> np.ndarray:
    """Lay a mask's colours over an image; the background stays clear, ignored pixels are pale.

    Args:
        image: (H, W, 3) uint8 RGB.
        values: (H, W) uint8 mask values.
        palette: (256, 3) uint8 RGB.
        opacity: 0 shows the image, 1 the mask.

    Returns:
        (H, W, 3) uint8 RGB.

    Examples:
        >>> import numpy as np
        >>> from wsss.data import voc_palette
        >>> photograph, values = np.full((1, 2, 3), 100, np.uint8), np.array([[0, 1]], np.uint8)
        >>> overlay_mask(photograph, values, voc_palette(), opacity=1.0).tolist()
        [[[100, 100, 100], [128, 0, 0]]]
    """
    alpha = np.where(values > 0, opacity, 0.0)[..., None]
    return _blend(image, palette[values], alpha)


def overlay_maps(
    image: np.ndarray,
    scores: np.ndarray,
    colours: np.ndarray | None = None,
    opacity: float = 0.75,
) -> np.ndarray:
    """Lay class maps over a darkened grey image, each class in its colour.

    Args:
        image: (H, W, 3) uint8 RGB.
        scores: (P, H, W) scores in [0, 1].
        colours: (P, 3) uint8 RGB; None takes `MAP_COLOUR`, and hues around from it for more.
        opacity: Opacity at score 1.

    Returns:
        (H, W, 3) uint8 RGB.

    Examples:
        >>> import numpy as np
        >>> photograph, scores = np.full((2, 2, 3), 100, np.uint8), np.zeros((1, 2, 2), np.float32)
        >>> overlay_maps(photograph, scores)[0, 0].tolist()  # without evidence: dark grey
        [60, 60, 60]
    """
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2) * 0.6
    if not len(scores):
        return grey.astype(np.uint8)
    if colours is None:
        colours = _around(len(scores))
    total = scores.sum(axis=0)
    colour = np.einsum("phw,pc->hwc", scores, colours.astype(np.float64))
    # where classes overlap: the mean of their colours, weighted by score
    colour /= np.maximum(total, 1e-6)[..., None]
    alpha = opacity * scores.max(axis=0)[..., None]
    return _blend(grey, colour, alpha)


def _around(count: int) -> np.ndarray:
    """(P, 3) uint8 RGB: `MAP_COLOUR`, and its saturation and value at other hues."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(MAP_COLOUR[0] / 255))
    hues = [(hue + i / count) % 1 for i in range(count)]
    colours = [colorsys.hsv_to_rgb(h, saturation, value) for h in hues]
    return (255 * np.array(colours)).round().astype(np.uint8)


def _blend(below: np.ndarray, above: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return (below * (1 - alpha) + above * alpha).round().clip(0, 255).astype(np.uint8)
