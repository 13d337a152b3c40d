"""Refinement step that merges masks from elsewhere with the maps: saliency, classes, segments."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from wsss.refinement.maps import Context, LabelMaps, Picture, Refine
from wsss.refinement.merging.config import Content, MergeConfig
from wsss.refinement.merging.files import read_classes, read_saliency, read_segments
from wsss.refinement.merging.votes import with_classes, with_saliency, with_segments

__all__ = ["MergeConfig", "prepare_merge"]


class _Kind(NamedTuple):
    """How one content of masks is read, and how it votes."""

    read: Callable[..., Any]
    vote: Callable[[LabelMaps, Any, Picture, MergeConfig], LabelMaps]


_KINDS: dict[Content, _Kind] = {
    "saliency": _Kind(read_saliency, with_saliency),
    "classes": _Kind(read_classes, with_classes),
    "segments": _Kind(read_segments, with_segments),
}


def prepare_merge(pictures: Sequence[Picture], config: MergeConfig, context: Context) -> Refine:
    """Prepare the merging of masks from elsewhere: their files are read here, and once.

    Args:
        pictures: The photographs, whose ids name the files.
        config: Folder, content and rules.
        context: Unused.

    Raises:
        FileNotFoundError: An image has no mask, and ``missing`` is error.
        ValueError: A mask is damaged or of another size, or an image has no id.
    """
    kind = _KINDS[config.content]
    found = [_read(kind, one, config) for one in pictures]

    def refine(maps: Sequence[LabelMaps]) -> list[LabelMaps]:
        return [
            one if mask is None else kind.vote(one, mask, picture, config)
            for one, mask, picture in zip(maps, found, pictures, strict=True)
        ]

    return refine


def _read(kind: _Kind, picture: Picture, config: MergeConfig) -> Any:
    """Read the mask of an image; None where it keeps its maps."""
    if picture.image_id is None and config.missing == "error":
        raise ValueError(
            "merge: expected photographs with ids, which name the files; missing: keep goes on "
            "without"
        )
    if picture.image_id is None:
        return None
    try:
        return kind.read(config.folder, picture)
    except FileNotFoundError:
        if config.missing == "error":
            raise
        return None
