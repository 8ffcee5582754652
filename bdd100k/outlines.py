"""Outlines and run-length codes as label files write them, checked and turned into plain polygons and codes."""

from typing import Any

import numpy as np

Path2D = np.ndarray  # float64 [k, 2], (x, y) px

# A flattened curve stays this close to the true one: a twentieth of a pixel moves no pixel centre by a visible amount.
CURVE_TOLERANCE_PX = 0.05
# COCO's rasteriser walks along every edge in steps of a fifth of a pixel, so one absurd number would take all memory.
FARTHEST_PX = 100_000


class LabelError(ValueError):
    """One label cannot be used; the message says why. Never leaves this package: the label is dropped and reported."""


def flatten_path(vertices: np.ndarray, types: str, tolerance_px: float = CURVE_TOLERANCE_PX) -> Path2D:
    """Turns a closed Scalabel path into a polygon.

    The first vertex starts the path. From there an `L` is the end of a straight edge; a `C` opens a cubic Bezier of
    three points, two controls and the end, whatever letters the other two carry (files have both CCC and CCL). A curve
    at the end of the list may end at the first vertex, which closes the path.

    A cubic cut into n equal parts of its parameter is off by at most max|B''| / (8 n^2), and
    max|B''| <= 6 max(|p0 - 2 p1 + p2|, |p1 - 2 p2 + p3|), which gives n for the tolerance.

    Args:
        vertices: float [k, 2], (x, y) px.
        types: k letters L or C.

    Returns:
        float64 [m, 2]; curve points lie exactly on the curve, its end points are kept.
    """
    points = np.concatenate([vertices, vertices[:1]]).astype(np.float64)  # the closing edge back to the start
    pieces, i = [points[:1]], 1
    while i < len(points):
        if i < len(types) and types[i] == "C" and i + 2 < len(points):
            pieces.append(_cubic(pieces[-1][-1], points[i : i + 3], tolerance_px))
            i += 3
        else:
            pieces.append(points[i : i + 1])
            i += 1
    return np.concatenate(pieces)[:-1]  # the last point repeats the first


def _cubic(p0: np.ndarray, rest: np.ndarray, tolerance_px: float) -> Path2D:
    """Points on the cubic from p0 with `rest` = two controls and the end; p0 itself is left out."""
    p1, p2, p3 = rest
    bend = 6.0 * max(np.linalg.norm(p0 - 2 * p1 + p2), np.linalg.norm(p1 - 2 * p2 + p3))
    parts = int(np.clip(np.ceil(np.sqrt(bend / (8.0 * tolerance_px))), 1, 256))
    t = np.linspace(0.0, 1.0, parts + 1)[1:, None]
    curve = (1 - t) ** 3 * p0 + 3 * (1 - t) ** 2 * t * p1 + 3 * (1 - t) * t**2 * p2 + t**3 * p3
    curve[-1] = p3
    return curve


def as_points(values: Any) -> Path2D:
    """Checks a polygon: at least three finite (x, y) pairs. Raises LabelError otherwise."""
    try:
        points = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise LabelError("polygon coordinates are not numbers in pairs") from None
    if points.ndim != 2 or points.shape[1:] != (2,):
        raise LabelError("polygon coordinates are not numbers in pairs")
    if not np.isfinite(points).all():
        raise LabelError("polygon has a coordinate that is not finite")
    if points.size and np.abs(points).max() > FARTHEST_PX:
        raise LabelError(f"polygon has a coordinate of {points.flat[np.abs(points).argmax()]:g} px")
    if len(points) < 3:
        raise LabelError(f"polygon has {len(points)} points and needs 3")
    return points


def read_poly2d(poly2d: Any) -> list[Path2D]:
    """Reads any release's `poly2d`: a list of paths, or one path in the oldest form of [x, y, 'L'] triples.

    Returns:
        One polygon per closed path, float64 [k, 2] px. Open paths (lane lines) enclose nothing and are left out.

    Raises:
        LabelError: a path has fewer than three points, coordinates that are not finite, or letters other than L and C.
    """
    if not isinstance(poly2d, list):
        raise LabelError(f"poly2d is {kind(poly2d)}, not a list of paths")
    if poly2d and isinstance(poly2d[0], list) and len(poly2d[0]) == 3 and isinstance(poly2d[0][2], str):
        poly2d = [poly2d]  # one path of triples
    polygons = []
    for path in poly2d:
        closed = True
        if isinstance(path, dict):
            vertices, types, closed = path.get("vertices"), path.get("types"), path.get("closed", True)
        else:
            vertices, types = path, None
        if not isinstance(vertices, list):
            raise LabelError(f"poly2d path is {kind(path)} without a list of vertices")
        if not closed:
            continue
        if vertices and all(isinstance(vertex, list) and len(vertex) == 3 for vertex in vertices):
            types = "".join(str(vertex[2]) for vertex in vertices)
            vertices = [vertex[:2] for vertex in vertices]
        points = as_points(vertices)
        types = "L" * len(points) if types is None else str(types).upper()
        if len(types) != len(points) or set(types) - set("LC"):
            raise LabelError(f"poly2d has {len(points)} vertices and types {types!r}: needs one letter L or C for each")
        polygons.append(flatten_path(points, types))
    if not polygons:
        raise LabelError("poly2d has no closed path")
    return polygons


def rle_lengths(counts: Any) -> np.ndarray:
    """The run lengths of a COCO run-length code, int64 [runs], background first.

    Args:
        counts: a list of ints, or COCO's compressed text: groups of 5 bits, low first, 0x20 marks "more follows", 0x10
            in the last group is the sign; from the fourth run on, the difference to the run two before is stored.

    Raises:
        LabelError: neither of these.
    """
    if isinstance(counts, list):
        if not all(isinstance(run, int) for run in counts):
            raise LabelError("rle counts are not whole numbers")
        return np.asarray(counts, np.int64)
    if isinstance(counts, str):
        counts = counts.encode("utf-8")
    if not isinstance(counts, bytes):
        raise LabelError(f"rle counts are {kind(counts)}")
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 0x20:
        raise LabelError("rle counts are not COCO's compressed form")
    ends = np.flatnonzero(codes & 0x20 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)  # which group of 5 bits
    if place.max() > 6:
        raise LabelError("rle counts are not COCO's compressed form")
    runs = np.add.reduceat((codes & 0x1F) << (5 * place), starts)
    runs -= np.where(codes[ends] & 0x10, 1 << (5 * (place[ends] + 1)), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])  # the first run stands alone; the third is stored as it is
    return runs


def check_rle(rle: Any, size: tuple[int, int] | None) -> dict[str, Any]:
    """Checks a run-length code against the image's size.

    Args:
        rle: {"size": [height, width], "counts": ...}, compressed or not.
        size: (height, width) of the frame where it is known.

    Returns:
        The same code; its runs add up to height * width and at least one pixel belongs to the object.

    Raises:
        LabelError: it does not fit.
    """
    if not isinstance(rle, dict) or "counts" not in rle or "size" not in rle:
        raise LabelError("rle needs 'size' and 'counts'")
    rle_size = rle["size"]
    if not isinstance(rle_size, list | tuple) or len(rle_size) != 2 or not all(isinstance(v, int) for v in rle_size):
        raise LabelError(f"rle size is {rle_size!r}, not [height, width]")
    if size is not None and tuple(rle_size) != size:
        raise LabelError(f"rle size {list(rle_size)} differs from the image's [height, width] {list(size)}")
    runs = rle_lengths(rle["counts"])
    if len(runs) and runs.min() < 0:
        raise LabelError("rle counts are damaged: a run is negative")
    if runs.sum() != rle_size[0] * rle_size[1]:
        raise LabelError(f"rle counts cover {runs.sum()} pixels, its size {list(rle_size)} has {np.prod(rle_size)}")
    if not runs[1::2].any():
        raise LabelError("rle is empty")
    return {"size": [int(v) for v in rle_size], "counts": rle["counts"]}


def kind(value: Any) -> str:
    """The type of a JSON value for a message."""
    return "null" if value is None else type(value).__name__
