"""Polygons along the pixel edges of a mask: filling them again gives the same mask, bit for bit.

A mask becomes closed loops of corners, clockwise around each part of it and the other way around each hole. A loop for
a hole is joined to the loop around it by a vertical cut, walked down and up again, so that one polygon per part says it
all: label formats unite the polygons of an object and have no word for a hole.
"""

from collections.abc import Sequence

import numpy as np

Corner = tuple[int, int]  # (x, y) px, on the grid of pixel corners
Loop = list[Corner]


def crop_to_polygons(box_px: Sequence[int], crop: np.ndarray) -> list[np.ndarray]:
    """The outlines of a mask.

    Args:
        box_px: int (y1, x1, y2, x2), where the crop lies in its image.
        crop: bool [y2 - y1, x2 - x1].

    Returns:
        One polygon for each 4-connected part, float64 [k, (x, y)] px on pixel corners, x2 and y2 exclusive;
        `polygons_to_crop` gives back the mask. The edges of a hole are in the polygon of the part around it.
    """
    loops = _loops(np.pad(crop.astype(np.int8), 1))
    rings = [loop for loop in loops if _turns_clockwise(loop)]
    holes = [loop for loop in loops if not _turns_clockwise(loop)]
    for hole in sorted(holes, key=lambda loop: min(y for _, y in loop)):  # so that what lies above a hole is in a ring
        _join(rings, hole, crop)
    return [np.array(ring, np.float64) + (box_px[1], box_px[0]) for ring in rings]


def _loops(padded: np.ndarray) -> list[Loop]:
    """Closed loops around a mask with an empty border, inside on the right hand (y points down)."""
    # Straight runs by their start and whether they lead right (down): a corner where two parts touch starts two.
    across = {(start, end[0] > start[0]): end for start, end in _runs(padded)}
    # In the transposed mask they have the inside on the left hand, so they are turned round.
    upright = {(end[::-1], start[0] > end[0]): start[::-1] for start, end in _runs(padded.T)}
    loops = []
    while across:
        (first, right), corner = across.popitem()
        loop = [first]
        while True:
            loop.append(corner)
            # Turning right first stays with the own part where two of them touch.
            down = right if (corner, right) in upright else not right
            corner = upright.pop((corner, down))
            if corner == first and (corner, not down) not in across:
                break
            loop.append(corner)
            right = not down if (corner, not down) in across else down
            corner = across.pop((corner, right))
        loops.append(loop)
    return loops


def _runs(padded: np.ndarray) -> list[tuple[Corner, Corner]]:
    """Horizontal edges as (start, end), the border not counted; rightwards where the inside is below."""
    step = np.diff(padded, axis=0)  # 1 where the inside begins below the line, -1 where it ends
    runs = []
    for sign in (1, -1):
        change = np.diff((step == sign).astype(np.int8), axis=1, prepend=0, append=0)
        for (y, x1), (_, x2) in zip(np.argwhere(change == 1).tolist(), np.argwhere(change == -1).tolist(), strict=True):
            left, right = (x1 - 1, y), (x2 - 1, y)
            runs.append((left, right) if sign == 1 else (right, left))
    return runs


def _turns_clockwise(loop: Loop) -> bool:
    """Whether a loop goes around pixels of the mask (clockwise on the screen) and not around a hole."""
    x, y = np.array(loop).T
    return bool(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) > 0)


def _join(rings: list[Loop], hole: Loop, crop: np.ndarray) -> None:
    """Puts a hole into the ring around it, by a vertical cut from its top to the nearest edge above."""
    first = min(range(len(hole)), key=lambda i: (hole[i][1], hole[i][0]))
    x, top = hole[first]
    above = np.flatnonzero(~crop[:top, x])  # pixels outside the mask, over the hole's first pixel
    edge = int(above[-1]) + 1 if above.size else 0
    for ring in rings:
        for i, (start, end) in enumerate(zip(ring, ring[1:] + ring[:1], strict=True)):
            if start[1] == end[1] == edge and start[0] <= x < end[0]:
                ring[i + 1 : i + 1] = [(x, edge), *hole[first:], *hole[: first + 1], (x, edge)]
                return
    raise AssertionError(f"no edge over the hole at {(x, top)}")
