"""Masks as polygons along the sides of their pixels, holes included.

A pixel ``(row, column)`` is the square from ``(column, row)`` to ``(column + 1, row + 1)``, and an
contour runs along the sides of such squares. COCO's rasteriser (pycocotools, ``rleFrPoly``) takes
such corners as they are and gives back the same pixels. `cv2.fillPoly`, which Ultralytics uses,
cuts coordinates down to the pixel they lie in and fills contour and inside; a contour that is
moved inwards by a fraction of a pixel (``inset``) lies in the object's own pixels everywhere, so
that it gives back the same pixels too. There is one weak place: where two pixels touch at a corner
only, the contour passes from one to the other through that corner, and a point that a reader puts
right there may be cut down to a third pixel.
"""

import numpy as np

_EAST, _SOUTH, _WEST, _NORTH = range(4)
_STEP = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])  # (x, y) of a step in each direction
_INWARDS = np.array([(0, 1), (-1, 0), (0, -1), (1, 0)])  # the object lies to the right

_TURNS = {  # pixels around a corner, north-west 1, north-east 2, south-west 4, south-east 8
    1: ((_SOUTH, _WEST),),
    2: ((_WEST, _NORTH),),
    4: ((_EAST, _SOUTH),),
    8: ((_NORTH, _EAST),),
    7: ((_WEST, _SOUTH),),
    11: ((_NORTH, _WEST),),
    13: ((_SOUTH, _EAST),),
    14: ((_EAST, _NORTH),),
    6: ((_EAST, _NORTH), (_WEST, _SOUTH)),  # diagonal neighbours belong together
    9: ((_SOUTH, _EAST), (_NORTH, _WEST)),
}
"""Directions (arriving, leaving) in which contours turn at a corner."""

_COUNT = np.array([len(_TURNS.get(code, ())) for code in range(16)])
_IN_ORDER = np.full((16, 2, 2), -1)  # arriving and leaving by code and number of the turn
_LEAVING = np.full((16, 4), -1)  # by code and direction of arrival
for _code, _turns in _TURNS.items():
    _IN_ORDER[_code, : len(_turns)] = _turns
    for _arriving, _direction in _turns:
        _LEAVING[_code, _arriving] = _direction

_REACH = (0.4, 0.4 * 0.618)
"""Distances in pixels before and behind a corner at which two pixels only touch, where a
contour that is moved inwards turns towards it. The longer both are, the less of them rounding can
spoil, and their golden ratio keeps the corner away from points at equal distances."""

Point = tuple[float, float]


def mask_polygons(mask: np.ndarray, *, inset: float = 0.0) -> list[np.ndarray]:
    """Trace one closed polygon for each part of a mask; diagonal neighbours belong to one part.

    A hole is joined to the contour around it by a bridge, a vertical line through the middle of a
    column of the part's pixels that is walked there and back, so that each part stays one polygon.

    Args:
        mask: (H, W) bool.
        inset: How far the contour is moved into the part, in pixels, at least 0 and below 0.5.

    Returns:
        For each part (N, 2) float64 points ``(x, y)`` in pixels, N at least 4, not closed: the
        last point is joined to the first. Clockwise around parts as a picture shows them.
    """
    corners = _Corners(mask)
    rings, is_outer = corners.rings()
    points = corners.points(inset)
    # for each side of a contour, the bridges that leave it for holes below
    cuts: dict[int, list[tuple[int, int]]] = {}
    outer = []
    for number, ring in enumerate(rings):
        if is_outer[number]:
            outer.append(number)
        else:
            edge, column = corners.edge_above(ring[0])
            cuts.setdefault(edge, []).append((column, number))
    polygons = []
    for start in outer:
        path: list[Point] = []
        # a stack in place of recursion: holes may hang below holes, deeper than Python recurses
        pending: list[Point | int] = [start]
        while pending:
            item = pending.pop()
            if isinstance(item, tuple):
                if not path or path[-1] != item:
                    path.append(item)
                continue
            steps: list[Point | int] = []
            for turn in rings[item]:
                steps += points[turn]
                # sides above holes run east, so columns in rising order are the order along the
                # side
                for column, hole in sorted(cuts.get(turn, ())):
                    x = column + 0.5
                    outside = (x, float(corners.y[turn]) + inset)
                    inside = (x, float(corners.y[rings[hole][0]]) - inset)
                    steps += [outside, inside, hole, inside, outside]
            # reversed, since a stack gives back the last first
            pending += reversed(steps)
        # a bridge at the first corner comes back to where the polygon started
        if path[-1] == path[0]:
            path.pop()
        polygons.append(np.array(path))
    return polygons


class _Corners:
    """Turns of all contours of a mask, and the order in which they follow each other.

    Contours are told apart by their turns: at a corner between two diagonal neighbours there are
    two turns, at any other one. ``x``, ``y``, ``code``, ``arriving`` and ``leaving`` hold one
    entry a turn, in the order of rows and columns.
    """

    def __init__(self, mask: np.ndarray) -> None:
        self._mask = mask
        # a border of background: every side of the mask has a pixel on either hand
        padded = np.pad(mask, 1).astype(np.uint8)
        codes = padded[:-1, :-1] + 2 * padded[:-1, 1:] + 4 * padded[1:, :-1] + 8 * padded[1:, 1:]
        rows, columns = np.nonzero(_COUNT[codes])
        code = codes[rows, columns]
        self._keys = rows * codes.shape[1] + columns
        self._width = codes.shape[1]
        corner = np.repeat(np.arange(len(rows)), _COUNT[code])
        # 1 for the second turn at a corner between diagonal neighbours
        second = np.append(False, corner[1:] == corner[:-1])[: len(corner)].astype(int)
        self.x, self.y, self.code = columns[corner], rows[corner], code[corner]
        self.arriving, self.leaving = _IN_ORDER[self.code, second].T
        self._turn = np.full((len(rows), 4), -1)
        self._turn[corner, self.leaving] = np.arange(len(corner))
        self.next = self._follow(corner, rows, columns, code)

    def _follow(
        self, corner: np.ndarray, rows: np.ndarray, columns: np.ndarray, code: np.ndarray
    ) -> np.ndarray:
        """Find the turn that follows each: at the next corner of its row or column."""
        # corners lie in the order of rows, so the next one to the east or west is a neighbour in
        # the list; going south or north, it is one in the order of columns
        by_column = np.lexsort((rows, columns))
        rank = np.empty_like(by_column)
        rank[by_column] = np.arange(len(by_column))
        reached = corner.copy()
        reached[self.leaving == _EAST] += 1
        reached[self.leaving == _WEST] -= 1
        for direction, step in ((_SOUTH, 1), (_NORTH, -1)):
            chosen = self.leaving == direction
            reached[chosen] = by_column[rank[corner[chosen]] + step]
        # at a corner with two turns the direction of arrival says which of them it is
        return self._turn[reached, _LEAVING[code[reached], self.leaving]]

    def rings(self) -> tuple[list[list[int]], list[bool]]:
        """List the turns of each closed contour, from the highest, leftmost on; which are outer.

        At the first turn of an outer contour only the pixel to the south-east belongs to the mask.
        """
        following = self.next.tolist()
        seen = [False] * len(following)
        found, outer = [], []
        # the first turn not yet seen is the highest, leftmost of its contour
        for start in range(len(following)):
            if seen[start]:
                continue
            ring, turn = [], start
            while not seen[turn]:
                seen[turn] = True
                ring.append(turn)
                turn = following[turn]
            found.append(ring)
            outer.append(bool(self.code[start] == 8))
        return found, outer

    def points(self, inset: float) -> list[list[Point]]:
        """List the points of each turn; two where diagonal neighbours meet, one in each pixel."""
        at = np.stack([self.x, self.y], axis=1).astype(np.float64)
        arriving, leaving = _INWARDS[self.arriving], _INWARDS[self.leaving]
        before = after = at + inset * (arriving + leaving)
        # without an inset both points of a diagonal corner are the corner itself
        if inset:
            diagonal = (_COUNT[self.code] == 2)[:, None]
            back, on = arriving - _STEP[self.arriving], leaving + _STEP[self.leaving]
            before = np.where(diagonal, at + _REACH[0] * back, before)
            after = np.where(diagonal, at + _REACH[1] * on, after)
        return [
            [first, second] if first != second else [first]
            for first, second in zip(
                map(tuple, before.tolist()), map(tuple, after.tolist()), strict=True
            )
        ]

    def edge_above(self, turn: int) -> tuple[int, int]:
        """Find the turn before the part's upper side above a hole, and the column that leads there.

        Args:
            turn: The highest, leftmost turn of the hole's contour.
        """
        column, row = int(self.x[turn]), int(self.y[turn])
        # up from the hole through the part's pixels to the first that is none of them
        empty = np.flatnonzero(~self._mask[:row, column])
        top = int(empty[-1]) + 1 if empty.size else 0
        corner = int(np.searchsorted(self._keys, top * self._width + column, side="right")) - 1
        return int(self._turn[corner, _EAST]), column
