"""Corrections of drawn masks, and what an import has to bring back of them."""

from pathlib import Path

import numpy as np

from tests.export.drawn import CLASSES, MASKS, drawn
from wsss.data.masks import read_mask
from wsss.data.provenance import read_provenance

NAMES = [*MASKS, "turned"]


def _corrected() -> dict[str, np.ndarray]:
    """Values of the masks that somebody changed; the others stay."""
    plain = drawn("plain").copy()
    plain[8:20, 10:25] = 7  # an object over another one, with a hole
    plain[12:15, 14:20] = 0
    rings = drawn("nested/rings of discs").copy()
    rings[rings == 7] = 0  # removed
    rings[0:5, 70:83] = 12  # added at the edge
    empty = drawn("empty").copy()
    empty[3:4, 2:3] = 3  # a single pixel
    turned = drawn("turned").copy()
    turned[turned == 7] = 12  # another class
    nothing = np.zeros_like(drawn("中文/图像"))  # everything removed
    painted = drawn("all 255").copy()
    painted[2:6, 3:9] = 3  # a class where nothing was known
    return {
        "plain": plain,
        "nested/rings of discs": rings,
        "empty": empty,
        "turned": turned,
        "中文/图像": nothing,
        "all 255": painted,
    }


CORRECTED = _corrected()
"""Values of each mask that was changed; the key is the image's id."""


def objects(values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The classes of a mask and their (H, W) bool pixels."""
    return [(name, values == value) for name, value in CLASSES.items() if (values == value).any()]


def require_corrected(folder: Path, *, confirmed: tuple[str, ...] = ()) -> None:
    """The masks are the corrected ones, pixel by pixel, and the table says which.

    Args:
        folder: Folder of the masks.
        confirmed: Images that somebody handed in unchanged.
    """
    origins = read_provenance(folder)
    assert origins is not None
    assert set(origins) == set(NAMES)
    for name, origin in origins.items():
        wanted = CORRECTED.get(name, drawn(name))
        np.testing.assert_array_equal(read_mask(folder / f"{name}.png"), wanted, name)
        assert origin.changed_pixels == np.count_nonzero(wanted != drawn(name)), name
        changed = name in CORRECTED or name in confirmed
        assert origin.state == ("corrected" if changed else "made"), name
    listed = (folder.parent / "corrected.txt").read_text(encoding="utf-8").splitlines()
    assert listed == [name for name in NAMES if name in CORRECTED or name in confirmed]
