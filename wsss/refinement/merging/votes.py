"""Rules by which masks from elsewhere vote with the maps of an image."""

from collections.abc import Sequence

import numpy as np

from wsss.refinement.maps import LabelMaps, Picture
from wsss.refinement.merging.config import MergeConfig, SegmentRules


def with_saliency(
    maps: LabelMaps, saliency: np.ndarray, picture: Picture, config: MergeConfig
) -> LabelMaps:
    """Average the maps with those of the saliency: the pixel's best class has it.

    The background has the rest of it beside marginals, whose mean stays one; beside scores it has
    0.5, the middle of the saliency, as its score is a threshold.

    Args:
        maps: Maps of the image; pixels at which every class is 0 keep theirs.
        saliency: (H, W) float32 in [0, 1].
        picture: Unused.
        config: ``agreement``.

    Returns:
        Maps of the same kind; those given where the saliency shows something else than the classes.
    """
    classes = maps.values[1:]
    best = classes.argmax(axis=0)
    highest = np.take_along_axis(classes, best[None], axis=0)[0]
    sure = highest > 0.5
    if not sure.any() or saliency[sure].mean() <= config.agreement:
        return maps
    voted = np.zeros_like(maps.values)
    voted[0] = 1 - saliency if maps.marginals else 0.5
    np.put_along_axis(voted[1:], best[None], saliency[None], axis=0)
    merged = (maps.values + voted) / 2
    return LabelMaps(np.where(highest > 0, merged, maps.values), maps.marginals)


def with_classes(
    maps: LabelMaps, mask: np.ndarray, picture: Picture, config: MergeConfig
) -> LabelMaps:
    """Replace the maps by the labels of a mask, or average both.

    Pixels keep their maps where the mask has 255 or a class that the image does not have, and
    where it has a class and the maps of all classes are 0.

    Args:
        maps: Maps of the image.
        mask: (H, W) uint8 mask values.
        picture: Names of the labels, and the values of all classes where the options have none.
        config: ``values`` and ``vote``.

    Raises:
        ValueError: No names or values, or a value that belongs to no class.
    """
    labels = _labels(mask, picture, config)
    speaks = (labels >= 0) & ~((labels > 0) & _empty(maps))
    certain = np.arange(len(maps.values))[:, None, None] == labels
    voted = certain.astype(np.float32)
    if config.vote == "mean":
        voted = (maps.values + voted) / 2
    return LabelMaps(np.where(speaks, voted, maps.values), maps.marginals)


def with_segments(
    maps: LabelMaps, segments: Sequence[np.ndarray], picture: Picture, config: SegmentRules
) -> LabelMaps:
    """Give segments to labels by the pixels that they share; pixels in none keep their maps.

    A segment joins the class that more than ``inside`` of it has, else the class of which it holds
    the share ``covered`` (SAM_WSSS), else it is background. Where segments overlap, a class comes
    before the background, and of two classes the one with the larger part of its segment; of equal
    ones the later segment.

    Args:
        maps: Maps of the image.
        segments: The pixels of each, as `read_segments` gives them.
        picture: Unused.
        config: ``inside`` and ``covered``.
    """
    count = len(maps.values)
    labels = maps.values.reshape(count, -1).argmax(axis=0)
    totals = np.bincount(labels, minlength=count)
    joined = []
    for pixels in segments:
        shared = np.bincount(labels[pixels], minlength=count)
        label = _joins(shared, totals, config)
        joined.append((label > 0, shared[label] / pixels.size, label, pixels))
    voted = labels.copy()
    # weaker claims first: the stronger ones are written over them
    for _, _, label, pixels in sorted(joined, key=lambda claim: claim[:2]):
        voted[pixels] = label
    return LabelMaps(exchanged(maps.values, voted.reshape(maps.values.shape[1:])), maps.marginals)


def _joins(shared: np.ndarray, totals: np.ndarray, config: SegmentRules) -> int:
    """Label that a segment joins, by the pixels that it shares with each."""
    classes = shared[1:]
    label = int(classes.argmax()) + 1
    if shared[label] > config.inside * shared.sum():
        return label
    held = np.divide(classes, totals[1:], out=np.zeros(len(classes)), where=totals[1:] > 0)
    label = int(held.argmax()) + 1
    return label if held[label - 1] > 0 and held[label - 1] >= config.covered else 0


def exchanged(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Maps whose highest label at each pixel is ``labels``: it takes the place of the one before.

    The two exchange their values, which keeps the sum over the labels and how sure the pixel is.
    """
    exchanged = values.copy()
    before = values.argmax(axis=0)[None]
    after = labels[None]
    highest, own = (np.take_along_axis(values, which, axis=0) for which in (before, after))
    np.put_along_axis(exchanged, before, own, axis=0)
    # of equal values argmax takes the first label: the new one has to be above the others
    tied = (before != after) & ((values == highest).sum(axis=0, keepdims=True) > 1)
    highest = np.where(tied, np.nextafter(highest, np.float32(2)), highest)
    np.put_along_axis(exchanged, after, highest, axis=0)
    return exchanged


def _empty(maps: LabelMaps) -> np.ndarray:
    """Pixels at which no class has any score: (H, W) bool."""
    return np.asarray((maps.values[1:] == 0).all(axis=0))


def _labels(mask: np.ndarray, picture: Picture, config: MergeConfig) -> np.ndarray:
    """Translate mask values to the image's labels, -1 where the mask says nothing of them."""
    values = picture.classes if config.values is None else config.values
    if picture.names is None or values is None:
        raise ValueError("merge: content classes needs the names and mask values of the classes")
    to_label = np.full(256, -1, dtype=np.int64)
    to_label[0] = 0
    for label, name in enumerate(picture.names, start=1):
        if name not in values:
            raise ValueError(f"merge.values: none for the class {name!r}")
        to_label[values[name]] = label
    unknown = np.setdiff1d(mask, [0, *values.values(), 255])
    if unknown.size:
        raise ValueError(
            f"merge: {config.folder / f'{picture.image_id}.png'}: value "
            f"{', '.join(map(str, unknown))} belongs to no class; expected 0, "
            f"{', '.join(map(str, values.values()))} or 255"
        )
    return to_label[mask]
