"""Pairs of photographs and what tools' files say of them, checked before anything is written."""

import logging
from collections.abc import Sequence

from wsss.pipeline.exporting.source import Photograph, first_of
from wsss.pipeline.importing.annotated import Annotated
from wsss.pipeline.importing.names import Names

log = logging.getLogger(__name__)


def matched(
    photographs: Sequence[Photograph], found: Sequence[Annotated], split: str
) -> dict[str, Annotated]:
    """Find the photograph of each image of the files.

    Images that are not in the list are named in the log: a project may hold several lists.

    Args:
        photographs: Those of the list.
        found: What the files say.
        split: Name of the list, for messages.

    Returns:
        By image id.

    Raises:
        ValueError: No image is in the list, one is there twice or may be one of several, or one
            was annotated at another size than its photograph has.
    """
    names = Names(photographs)
    pairs: dict[str, Annotated] = {}
    others = []
    for one in found:
        photograph = names.find(one.name, one.origin)
        if photograph is None:
            others.append(one.name)
            continue
        twice = pairs.get(photograph.image_id)
        if twice is not None:
            raise ValueError(
                f"{photograph.image_id} is there twice: {twice.origin}, and {one.origin}; give the "
                "file that counts"
            )
        _check_size(photograph, one)
        pairs[photograph.image_id] = one
    if not pairs:
        what = f"none of its images is in {split}: {first_of(others)}" if others else "no image"
        raise ValueError(f"source: {what}; expected names such as {photographs[0].picture.name}")
    if others:
        log.warning("%d images are not in %s, left out: %s", len(others), split, first_of(others))
    return pairs


def _check_size(photograph: Photograph, one: Annotated) -> None:
    size = (photograph.picture.height, photograph.picture.width)
    if one.size is None or one.size == size:
        return
    advice = (
        "the tool does not turn photographs: turn the files, and annotate these"
        if one.size == size[::-1]
        else "annotate photographs at their own size"
    )
    raise ValueError(
        f"{one.origin}: {one.name} was annotated at {one.size[1]} x {one.size[0]} pixels, but its "
        f"photograph {photograph.file} is {size[1]} x {size[0]} (width x height, turned by its "
        f"EXIF orientation); {advice}"
    )
