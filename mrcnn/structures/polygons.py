"""Polygons in pixels: validate them, build them from rectangles and ellipses, rasterise them and trace masks.

Boxes are (y1, x1, y2, x2) in pixels, y2 and x2 exclusive; points are (x, y). Pixel (row, column) covers [row, row + 1)
x [column, column + 1): its centre is at + 0.5, and polygon vertices may be fractional.

Legend: k points.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.errors import InputError, LabelError
from mrcnn.structures.rle import checked_size

Path2D = np.ndarray  # float64 [k, 2], (x, y) px

# Maximum distance between a curve and the chords that replace it: a quarter of the fifth of a pixel to which COCO's
# rasteriser rounds vertices.
CURVE_TOLERANCE_PX = 0.05
# Maximum absolute coordinate. COCO's rasteriser allocates five points per pixel of edge, so a single absurd coordinate
# would exhaust memory.
FARTHEST_PX = 100_000
# Maximum length of an outline, for the same reason: 800 MB. One that winds through all of a large image stays below it.
LONGEST_PX = 10_000_000
Corner = tuple[int, int]  # (x, y) px, on the grid of pixel corners
Loop = list[Corner]


def as_points(values: Any) -> Path2D:
    """Validate a polygon and return it as float64 [k, (x, y)] px.

    Raises:
        LabelError: fewer than 3 points, a coordinate that is not finite or beyond FARTHEST_PX, an outline longer than
            LONGEST_PX, or no numbers in pairs.
    """
    try:
        points = np.asarray(values, np.float64)
        if isinstance(values, list) and bool in map(type, itertools.chain.from_iterable(values)):
            raise TypeError  # numpy reads true as 1
    except (TypeError, ValueError, OverflowError):
        raise LabelError("polygon coordinates are not numbers in pairs") from None
    if points.ndim != 2 or points.shape[1:] != (2,):
        raise LabelError("polygon coordinates are not numbers in pairs")
    if not np.isfinite(points).all():
        raise LabelError("polygon has a coordinate that is not finite")
    farthest = np.abs(points).max(initial=0)
    if farthest > FARTHEST_PX:
        raise LabelError(f"polygon has a coordinate of {points.flat[np.abs(points).argmax()]:g} px")
    if 2 * farthest * len(points) > LONGEST_PX:  # saves measuring almost all
        length = np.abs(np.diff(points, axis=0, append=points[:1])).max(axis=1).sum()
        if length > LONGEST_PX:
            raise LabelError(f"polygon has an outline of {length:.0f} px, more than {LONGEST_PX}")
    if len(points) < 3:
        raise LabelError(f"polygon has {len(points)} points, but needs at least 3")
    return points


def rectangle(x1: float, y1: float, x2: float, y2: float) -> Path2D:
    """Return the corners of a box, float64 [4, (x, y)] px; x2 and y2 exclusive. Raises LabelError if it has no area."""
    points = as_points([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    if x2 <= x1 or y2 <= y1:
        raise LabelError(f"rectangle from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) has no area")
    return points


def ellipse(cx: float, cy: float, rx: float, ry: float, theta: float = 0.0) -> Path2D:
    """Approximate an ellipse by a polygon inscribed in it; the chords stay within CURVE_TOLERANCE_PX of the curve.

    Args:
        cx, cy: centre, px.
        rx, ry: semi-axes, px; equal for a circle.
        theta: angle of the first axis in radians, clockwise on the screen (y points down).

    Returns:
        float64 [k, 2] px.

    Raises:
        LabelError: a radius is not above 0, or a number is not finite.
    """
    if not all(math.isfinite(v) for v in (cx, cy, rx, ry, theta)) or min(rx, ry) <= 0 or max(rx, ry) > FARTHEST_PX:
        raise LabelError(f"circle or ellipse with centre ({cx:g}, {cy:g}) and radii {rx:g}, {ry:g} px")
    # A chord that spans the angle 2a has the sagitta r (1 - cos a).
    half = math.acos(max(1 - CURVE_TOLERANCE_PX / max(rx, ry), 0.5))
    angles = np.linspace(0, 2 * np.pi, max(8, math.ceil(np.pi / half)), endpoint=False)
    x, y = rx * np.cos(angles), ry * np.sin(angles)
    turned = [cx + x * math.cos(theta) - y * math.sin(theta), cy + x * math.sin(theta) + y * math.cos(theta)]
    return as_points(np.stack(turned, axis=1))


def polygons_to_crop(
    polygons: Sequence[np.ndarray], image_shape: Sequence[int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Rasterise the polygons of one object; the mask is their union.

    Uses COCO's rasteriser, so the mask equals the one that pycocotools scores against. (OpenCV's `fillPoly` includes
    the outline: 12 % too much area for objects of 30 pixels.)

    Args:
        polygons: each [k, (x, y)] in pixels, k >= 3; shorter ones are skipped.
        image_shape: (H, W, ...).

    Returns:
        box int32 [4] and bool crop, or None if no pixel is inside.

    Raises:
        InputError: a polygon is none (see `as_points`), or no image has this size.
    """
    from pycocotools import mask as coco  # late: takes 0.1 s to import, and only label readers need it

    height, width = checked_size(image_shape)
    rings = [ring for ring in (np.asarray(p, np.float64).reshape(-1, 2) for p in polygons) if len(ring) >= 3]
    if not rings:
        return None
    # Move the origin by whole pixels, so that only the object's surroundings are rasterised.
    points = np.concatenate(rings)
    _refuse_absurd(rings, points)
    low = np.floor(points.min(axis=0)).astype(int) - 1
    high = np.ceil(points.max(axis=0)).astype(int) + 1
    x1, y1 = np.maximum(low, 0)
    x2, y2 = np.minimum(high, (width, height))
    if x2 <= x1 or y2 <= y1:
        return None
    flat = [_moved(ring, (x1, y1)).reshape(-1).tolist() for ring in rings]
    rle = coco.merge(coco.frPyObjects(flat, int(y2 - y1), int(x2 - x1)))
    left, top, width, height = (int(v) for v in coco.toBbox(rle))
    if not width or not height:
        return None
    crop = coco.decode(rle)[top : top + height, left : left + width].view(bool)
    return np.array([y1 + top, x1 + left, y1 + top + height, x1 + left + width], np.int32), np.ascontiguousarray(crop)


def _refuse_absurd(rings: Sequence[np.ndarray], points: np.ndarray) -> None:
    """Raise InputError if a polygon is one that `as_points` refuses; `points` are those of all."""
    farthest = np.abs(points).max()
    if farthest <= FARTHEST_PX and 2 * farthest * len(points) <= LONGEST_PX:  # false of NaN
        return
    try:
        for ring in rings:
            as_points(ring)
    except LabelError as error:
        raise InputError(str(error)) from error


def _moved(ring: np.ndarray, origin: tuple[int, int]) -> np.ndarray:
    """Shift a polygon's origin to `origin` (x, y) px so that COCO's rasteriser puts each vertex where it put the
    original.

    The rasteriser rounds vertices to fifths of a pixel by truncating 5 v + 0.5 towards 0. Plain subtraction would move
    vertices that lie half-way between two fifths, as those with two decimals do: x - x1 is not exact.
    """
    fifths = np.trunc(5 * ring + 0.5) - 5 * np.asarray(origin)
    return (fifths - (fifths < 0)) / 5


def crop_to_polygons(box_px: Sequence[int], crop: np.ndarray) -> list[np.ndarray]:
    """Trace the outlines of a mask.

    Args:
        box_px: int (y1, x1, y2, x2), where the crop lies in its image.
        crop: bool [y2 - y1, x2 - x1].

    Returns:
        One polygon for each 4-connected part, float64 [k, (x, y)] px on pixel corners; a hole is joined to the outline
        around it by a cut. `polygons_to_crop` of the result gives back the mask exactly.
    """
    loops = _loops(np.pad(crop.astype(np.int8), 1))
    rings = [loop for loop in loops if _turns_clockwise(loop)]
    holes = [loop for loop in loops if not _turns_clockwise(loop)]
    for hole in sorted(
        holes, key=lambda loop: min(y for _, y in loop)
    ):  # top down: what lies above is in a ring already
        _join(rings, hole, crop)
    return [np.array(ring, np.float64) + (box_px[1], box_px[0]) for ring in rings]


def _loops(padded: np.ndarray) -> list[Loop]:
    """Return the closed loops around a mask with an empty border; the inside is on the right hand (y points down)."""
    # Keyed by start and direction (right or not; down or not): two runs start at a corner where two parts touch.
    across = {(start, end[0] > start[0]): end for start, end in _runs(padded)}
    # In the transposed mask the inside is on the left hand, so reverse each run.
    upright = {(end[::-1], start[0] > end[0]): start[::-1] for start, end in _runs(padded.T)}
    loops = []
    while across:
        (first, right), corner = across.popitem()
        loop = [first]
        while True:
            loop.append(corner)
            # Where two parts touch, turning right stays on the same part.
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
    """Return the horizontal edges of a padded mask as (start, end) without the border; rightwards if the inside is
    below.
    """
    step = np.diff(padded, axis=0)  # 1 where the inside begins below the line, -1 where it ends
    runs = []
    for sign in (1, -1):
        change = np.diff((step == sign).astype(np.int8), axis=1, prepend=0, append=0)
        for (y, x1), (_, x2) in zip(np.argwhere(change == 1).tolist(), np.argwhere(change == -1).tolist(), strict=True):
            left, right = (x1 - 1, y), (x2 - 1, y)
            runs.append((left, right) if sign == 1 else (right, left))
    return runs


def _turns_clockwise(loop: Loop) -> bool:
    """Return whether a loop encloses pixels of the mask (clockwise on the screen) rather than a hole."""
    x, y = np.array(loop).T
    return bool(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) > 0)


def _join(rings: list[Loop], hole: Loop, crop: np.ndarray) -> None:
    """Splice a hole into the ring around it, by a vertical cut from the hole's top to the nearest edge above it."""
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
