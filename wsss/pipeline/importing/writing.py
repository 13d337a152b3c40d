"""Masks of an import, and where each comes from."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from wsss.data.masks import LabelMap, write_mask
from wsss.data.provenance import Origin, State, read_provenance
from wsss.data.storage import existing
from wsss.pipeline.exporting.source import Photograph
from wsss.pipeline.importing.annotated import Annotated
from wsss.pipeline.importing.merging import Form, merged, sent_values


class Writer:
    """Writer of the masks of a list.

    Args:
        folder: Receives <id>.png.
        made: Folder of the masks that were exported, or None.
        form: How they were.
        tolerance: See `wsss.pipeline.importing.merging.merged`.
        label_map: The values that masks hold.
    """

    def __init__(
        self, folder: Path, made: Path | None, form: Form, tolerance: int, label_map: LabelMap
    ) -> None:
        self._folder = folder
        self._made = made
        self._form = form
        self._tolerance = tolerance
        self._label_map = label_map
        # an earlier import's, if these masks are from one
        self._earlier = (None if made is None else read_provenance(made)) or {}

    def check(self, photographs: Sequence[Photograph], pairs: Mapping[str, Annotated]) -> None:
        """Make all masks, and write none.

        Args:
            photographs: Those of the list.
            pairs: What the tool's files say, by image id.

        Raises:
            ValueError: A mask cannot be drawn or read, or has another size than its photograph.
        """
        for _ in self._masks(photographs, pairs, "checking"):
            pass

    def write(
        self, photographs: Sequence[Photograph], pairs: Mapping[str, Annotated]
    ) -> Iterator[Origin]:
        """Write the mask of each image that has one, and yield its origin; see `check`."""
        for values, origin in self._masks(photographs, pairs, "writing"):
            write_mask(self._folder / f"{origin.image}.png", values)
            yield origin

    def _masks(
        self, photographs: Sequence[Photograph], pairs: Mapping[str, Annotated], title: str
    ) -> Iterator[tuple[np.ndarray, Origin]]:
        """Make the mask of each image that has one."""
        files = self._files(photographs)
        for one in tqdm(photographs, title, unit="image", leave=False, disable=None):
            annotated, file = pairs.get(one.image_id), files.get(one.image_id)
            # of predictions that nobody has handed in, the mask that they were made from
            if annotated is not None and (file is None or annotated.reviewed is not False):
                yield self._returned(one, annotated, file)
            elif file is not None:
                values = one.mask_values(file, self._label_map)
                yield values, self._unchanged(one.image_id, str(file))

    def _files(self, photographs: Sequence[Photograph]) -> dict[str, Path]:
        """Find the masks that were made, by image id."""
        if self._made is None:
            return {}
        files = {one.image_id: self._made / f"{one.image_id}.png" for one in photographs}
        there = existing(files.values())
        return {name: file for name, file in files.items() if file in there}

    def _returned(
        self, photograph: Photograph, annotated: Annotated, file: Path | None
    ) -> tuple[np.ndarray, Origin]:
        """Draw the mask that came back, over the one that was made if there is one."""
        name = photograph.image_id
        returned = _drawn(annotated, photograph)
        if file is None:
            state: State = "made" if annotated.reviewed is False else "corrected"
            return returned, Origin(name, state, annotated.file)
        made = photograph.mask_values(file, self._label_map)
        sent = made if annotated.whole else sent_values(made, photograph.picture, self._form)
        values, changed = merged(made, sent, returned, tolerance=self._tolerance)
        # who has handed a mask in unchanged has found it right
        if changed or annotated.reviewed:
            return values, Origin(name, "corrected", annotated.file, changed)
        return values, self._unchanged(name, annotated.file)

    def _unchanged(self, name: str, file: str) -> Origin:
        """Origin of a mask that is as it was: what an earlier import corrected stays so."""
        earlier = self._earlier.get(name)
        if earlier is not None and earlier.state == "corrected":
            return earlier
        return Origin(name, "made", file, 0)


def _drawn(annotated: Annotated, photograph: Photograph) -> np.ndarray:
    """Draw the mask that came back."""
    size = (photograph.picture.height, photograph.picture.width)
    try:
        values = annotated.draw(size)
    # TypeError: something else than a number among coordinates
    except (ValueError, TypeError) as error:
        raise ValueError(f"{annotated.origin}: {error}") from error
    if values.shape != size:
        raise ValueError(
            f"{annotated.origin} is {values.shape[1]} x {values.shape[0]} pixels, but the "
            f"photograph {photograph.file} is {size[1]} x {size[0]} (width x height, turned by its "
            "EXIF orientation)"
        )
    return values
