"""Types that the steps of mask making hand to each other: an image so far, or its failure.

A step takes one type and gives the next: Photograph, Explained, Scored, Masked, Finished; a network
that segments goes from Photograph to Predicted to Masked. The
functions `each` and `together` turn it into one over batches, past which failed images are carried.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from wsss.data.records import Record
from wsss.data.scores import Scores
from wsss.pipeline.mask_making.census import Census
from wsss.pipeline.mask_making.marginals import Marginals


class Photograph(NamedTuple):
    """Decoded image.

    Args:
        record: Its files and labels.
        image: (H, W, 3) uint8 RGB.
    """

    record: Record
    image: np.ndarray


class Explained(NamedTuple):
    """Image with the maps of its P present classes.

    Args:
        record: Its files and labels.
        image: (H, W, 3) uint8 RGB.
        maps: (P, H, W) float32, at least 0.
        classes: (P,) uint8 mask values of the classes.
        peaks: (P,) float32 in [0, 1]: the score of each map's maximum.
    """

    record: Record
    image: np.ndarray
    maps: np.ndarray
    classes: np.ndarray
    peaks: np.ndarray


class Predicted(NamedTuple):
    """Image with the label probabilities of a segmentation network.

    Args:
        record: Its files and labels.
        image: (H, W, 3) uint8 RGB.
        probabilities: (P + 1, H, W) float32, background first; they sum to 1 over the labels.
        classes: (P,) uint8 mask values of the classes that it may hold.
    """

    record: Record
    image: np.ndarray
    probabilities: np.ndarray
    classes: np.ndarray


class Scored(NamedTuple):
    """Image with the scores of its present classes.

    Args:
        record: Its files and labels.
        image: (H, W, 3) uint8 RGB.
        scores: As they are stored.
    """

    record: Record
    image: np.ndarray
    scores: Scores


class Masked(NamedTuple):
    """Image with its mask.

    Args:
        record: Its files and labels.
        image: (H, W, 3) uint8 RGB.
        scores: As they are stored.
        full: (P, H, W) float32 scores in [0, 1], at the image's size.
        values: (H, W) uint8 mask values of the data set.
        marginals: Of a tile that will be blended with others, the probabilities of its labels.
    """

    record: Record
    image: np.ndarray
    scores: Scores
    full: np.ndarray
    values: np.ndarray
    marginals: Marginals | None = None


class Finished(NamedTuple):
    """Image whose files are written.

    Args:
        record: Its files and labels.
        empty: It has no class, so that its mask is all background.
        census: Its pixels.
    """

    record: Record
    empty: bool
    census: Census


class Failed(NamedTuple):
    """Image at which a step failed.

    Args:
        record: Its files and labels.
        error: Message of the error.
    """

    record: Record
    error: str


Given = TypeVar("Given", bound=Record | Photograph | Explained | Predicted | Scored | Masked)
Made = TypeVar("Made", bound=Photograph | Explained | Predicted | Scored | Masked | Finished)


def each(
    step: Callable[[Given], Made],
) -> Callable[[Sequence[Given | Failed]], list[Made | Failed]]:
    """Turn a step that takes one image into one that takes a batch.

    An image that cannot be read or written (OSError, ValueError) fails alone; any other error is
    one of the program and ends the command.
    """

    def over_batch(batch: Sequence[Given | Failed]) -> list[Made | Failed]:
        return [one if isinstance(one, Failed) else _tried(step, one) for one in batch]

    return over_batch


def together(
    step: Callable[[list[Given]], list[Made]],
) -> Callable[[Sequence[Given | Failed]], list[Made | Failed]]:
    """Turn a step over sound images into one that carries failed images past it.

    Where that fails, the images are taken one by one: the others shall not fail with one.
    """

    def alone(one: Given) -> Made:
        return step([one])[0]

    def over_batch(batch: Sequence[Given | Failed]) -> list[Made | Failed]:
        sound = [one for one in batch if not isinstance(one, Failed)]
        try:
            made: list[Made | Failed] = [*step(sound)] if sound else []
        except (OSError, ValueError):
            made = [_tried(alone, one) for one in sound]
        # results go back to their images' places: failed ones stay where they were
        following = iter(made)
        return [one if isinstance(one, Failed) else next(following) for one in batch]

    return over_batch


def same_sizes(
    step: Callable[[list[Photograph]], list[Any]],
) -> Callable[[Sequence[Photograph | Failed]], list[Any]]:
    """Turn a step over photographs of one size into one that takes a batch of any."""

    def over_batch(batch: Sequence[Photograph | Failed]) -> list[Any]:
        # batches are made by the sizes in the files' headers; what counts here is the decoded size
        by_size: dict[tuple[int, ...], list[int]] = {}
        for place, one in enumerate(batch):
            if isinstance(one, Photograph):
                by_size.setdefault(one.image.shape, []).append(place)
        made: dict[int, Any] = {}
        for places in by_size.values():
            same = [one for one in (batch[n] for n in places) if isinstance(one, Photograph)]
            made.update(zip(places, step(same), strict=True))
        return [made.get(place, one) for place, one in enumerate(batch)]

    return over_batch


def _tried(step: Callable[[Given], Made], one: Given) -> Made | Failed:
    try:
        return step(one)
    except (OSError, ValueError) as error:
        return Failed(one if isinstance(one, Record) else one.record, str(error))
