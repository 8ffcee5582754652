"""Outlines and run-length codes as label files write them: checked, or refused with the reason."""

import json
import math
import pathlib
from typing import Any

import numpy as np

from mrcnn.errors import InputError

Path2D = np.ndarray  # float64 [k, 2], (x, y) px

# Straight edges stay this close to a curve: a twentieth of a pixel moves no pixel centre by a visible amount.
CURVE_TOLERANCE_PX = 0.05
# COCO's rasteriser walks along every edge in steps of a fifth of a pixel, so one absurd number would take all memory.
FARTHEST_PX = 100_000


class LabelError(ValueError):
    """One label cannot be used; the message says why. Readers catch it: the label is dropped and reported.

    `kind` is one of `mrcnn.findings.KINDS`.
    """

    def __init__(self, why: str, kind: str = "unusable label") -> None:
        super().__init__(why)
        self.kind = kind


def as_points(values: Any) -> Path2D:
    """Checks a polygon, float64 [k, (x, y)] px: k >= 3, finite, within FARTHEST_PX. Raises LabelError otherwise."""
    try:
        points = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
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


def rectangle(x1: float, y1: float, x2: float, y2: float) -> Path2D:
    """The corners of a box, float64 [4, (x, y)] px; x2 and y2 exclusive. Raises LabelError where it has no area."""
    points = as_points([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    if x2 <= x1 or y2 <= y1:
        raise LabelError(f"rectangle from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) has no area")
    return points


def ellipse(cx: float, cy: float, rx: float, ry: float, theta: float = 0.0) -> Path2D:
    """An ellipse as a polygon on it; the chords stay within CURVE_TOLERANCE_PX of the curve.

    Args:
        cx, cy: centre, px.
        rx, ry: half axes, px; equal for a circle.
        theta: angle of the first axis, radians, clockwise on the screen (y points down).

    Returns:
        float64 [k, 2] px.

    Raises:
        LabelError: a radius that is not above 0, or numbers that are not finite.
    """
    if not all(math.isfinite(v) for v in (cx, cy, rx, ry, theta)) or min(rx, ry) <= 0 or max(rx, ry) > FARTHEST_PX:
        raise LabelError(f"circle or ellipse with centre ({cx:g}, {cy:g}) and radii {rx:g}, {ry:g} px")
    # the sagitta of a chord over the angle 2a is r (1 - cos a)
    half = math.acos(max(1 - CURVE_TOLERANCE_PX / max(rx, ry), 0.5))
    angles = np.linspace(0, 2 * np.pi, max(8, math.ceil(np.pi / half)), endpoint=False)
    x, y = rx * np.cos(angles), ry * np.sin(angles)
    turned = [cx + x * math.cos(theta) - y * math.sin(theta), cy + x * math.sin(theta) + y * math.cos(theta)]
    return as_points(np.stack(turned, axis=1))


def is_side(value: Any) -> bool:
    """Whether a JSON value can be the width or height of an image in pixels."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= FARTHEST_PX


def number(value: Any, name: str) -> float:
    """A finite JSON number. Raises LabelError naming it otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:  # NaN too
        raise LabelError(f"{name} is {value!r:.80}, not a finite number")
    return float(value)


def rle_lengths(counts: Any) -> np.ndarray:
    """The run lengths of a COCO run-length code, int64 [runs], background first.

    Args:
        counts: a list of ints, or COCO's compressed text: groups of 5 bits, low first, 0x20 marks "more follows", 0x10
            in the last group is the sign; from the fourth run on, the difference to the run two before is stored.

    Raises:
        LabelError: neither of these.
    """
    if isinstance(counts, list):
        if not all(isinstance(run, int) and abs(run) < 1 << 40 for run in counts):
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
    if not isinstance(rle_size, list | tuple) or len(rle_size) != 2 or not all(map(is_side, rle_size)):
        raise LabelError(f"rle size is {rle_size!r}, not [height, width]")
    if size is not None and tuple(rle_size) != size:
        raise LabelError(f"rle size {list(rle_size)} differs from the image's [height, width] {list(size)}")
    runs = rle_lengths(rle["counts"])
    if len(runs) and runs.min() < 0:
        raise LabelError("rle counts are damaged: a run is negative")
    if runs.sum() != rle_size[0] * rle_size[1]:
        raise LabelError(f"rle counts cover {runs.sum()} pixels, its size {list(rle_size)} has {np.prod(rle_size)}")
    if not runs[1::2].any():
        raise LabelError("rle is empty", "no area")
    return {"size": [int(v) for v in rle_size], "counts": rle["counts"]}


def kind(value: Any) -> str:
    """The type of a JSON value for a message."""
    return "null" if value is None else type(value).__name__


def read_json(path: pathlib.Path) -> Any:
    """Parses a JSON file.

    Raises:
        InputError: it cannot be read or is not JSON; names the file, the line and the column.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}. Is the file complete?"
        ) from error
    except RecursionError as error:
        raise InputError(f"{path}: its JSON is nested deeper than any label file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not a text file in UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
