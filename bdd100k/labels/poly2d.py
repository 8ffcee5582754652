"""Turn Scalabel's paths (`poly2d` of every release) into plain polygons."""

from typing import Any

import numpy as np

from mrcnn.errors import LabelError, json_type
from mrcnn.structures.polygons import CURVE_TOLERANCE_PX, Path2D, as_points


def flatten_path(vertices: np.ndarray, types: str, tolerance_px: float = CURVE_TOLERANCE_PX) -> Path2D:
    """Turn a closed Scalabel path into a polygon.

    The first vertex starts the path. From there an `L` is the end of a straight edge; a `C` opens a cubic Bezier curve
    of three points, two controls and the end, whatever the letters of the other two (files have both CCC and CCL). A
    curve at the end of the list may end at the first vertex, which closes the path.

    A cubic curve cut into n equal parts of its parameter is off by at most max|B''| / (8 n^2), and
    max|B''| <= 6 max(|p0 - 2 p1 + p2|, |p1 - 2 p2 + p3|), which gives n for the tolerance.

    Args:
        vertices: float [k, 2], (x, y) px.
        types: k letters L or C.
        tolerance_px: maximum distance of the chords from a curve.

    Returns:
        float64 [m, 2]; curve points lie exactly on the curve, and its end points are kept.
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


def read_poly2d(poly2d: Any) -> list[Path2D]:
    """Read the `poly2d` of any release: a list of paths, or one path in the oldest form of [x, y, 'L'] triples.

    Returns:
        One polygon per closed path, float64 [k, 2] px. Open paths (lane lines) have no area and are left out.

    Raises:
        LabelError: a path has fewer than three points, coordinates that are not finite, or letters other than L and C.
    """
    return [as_points(flatten_path(points, types)) for points, types in _closed_paths(poly2d)]


def plain_poly2d(poly2d: Any) -> list[dict[str, Any]]:
    """Return the closed paths of any release's `poly2d` in the form of 2020, with curves. Raises as `read_poly2d`."""
    paths = _closed_paths(poly2d)
    return [{"vertices": points.tolist(), "types": types, "closed": True} for points, types in paths]


def _closed_paths(poly2d: Any) -> list[tuple[Path2D, str]]:
    """The vertices and letters of each closed path, checked."""
    if not isinstance(poly2d, list):
        raise LabelError(f"poly2d is {json_type(poly2d)}, not a list of paths")
    if poly2d and isinstance(poly2d[0], list) and len(poly2d[0]) == 3 and isinstance(poly2d[0][2], str):
        poly2d = [poly2d]  # one path of triples
    paths = []
    for path in poly2d:
        closed = True
        if isinstance(path, dict):
            vertices, types, closed = path.get("vertices"), path.get("types"), path.get("closed", True)
        else:
            vertices, types = path, None
        if not isinstance(vertices, list):
            raise LabelError(f"poly2d path is {json_type(path)} without a list of vertices")
        if not closed:
            continue
        if vertices and all(isinstance(vertex, list) and len(vertex) == 3 for vertex in vertices):
            types = "".join(str(vertex[2]) for vertex in vertices)
            vertices = [vertex[:2] for vertex in vertices]
        points = as_points(vertices)
        types = "L" * len(points) if types is None else str(types).upper()
        if len(types) != len(points) or set(types) - set("LC"):
            raise LabelError(f"poly2d has {len(points)} vertices and types {types!r}: needs one letter L or C for each")
        paths.append((points, types))
    if not paths:
        raise LabelError("poly2d has no closed path")
    return paths
