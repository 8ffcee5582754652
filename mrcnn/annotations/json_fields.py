"""Check the values of JSON label files."""

import math
import numbers
from typing import Any

import numpy as np

from mrcnn.errors import LabelError
from mrcnn.structures.polygons import FARTHEST_PX
from mrcnn.structures.rle import MAX_AREA_PX, rle_lengths

Id = int | str  # of an image or a category in a JSON file


def as_id(value: Any) -> Id | None:
    """Return an id of a JSON file as it is, 7.0 as 7 (pandas writes ids so), and None for what is no id."""
    if isinstance(value, str):
        return value
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else None


def as_side(value: Any) -> int | None:
    """Return a JSON value as the width or height of an image in pixels; None if it cannot be one. 96.0 is 96."""
    side = as_id(value)
    return side if isinstance(side, int) and 0 < side <= FARTHEST_PX else None


def category_names(entries: Any) -> dict[Id, str]:
    """Return id -> name of a COCO file's list "categories", in its order. Entries without an id or a name are left out.

    A name may be a number; blanks around it do not count.
    """
    fields = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    named = [(as_id(entry.get("id")), as_id(entry.get("name"))) for entry in fields]
    return {number: str(name).strip() for number, name in named if number is not None and name not in (None, "")}


def number(value: Any, name: str) -> float:
    """Return a JSON value as a float. Raises LabelError with the field's name if it is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:  # NaN too
        raise LabelError(f"{name} is {value!r:.80}, not a finite number")
    return float(value)


def as_score(value: Any) -> float | None:
    """Return the score of a label as a float, which need not be finite; None if there is none."""
    if not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def flag(fields: dict[str, Any], *names: str) -> bool:
    """Return whether one of the fields is set, as a truth value, a number or text."""
    return any(fields.get(name) in (True, 1, "true", "True", "1") for name in names)


def check_rle(rle: Any, size: tuple[int, int] | None) -> dict[str, Any]:
    """Check a run-length code against the size of its image.

    Args:
        rle: {"size": [height, width], "counts": ...}, compressed or not.
        size: (height, width) of the image in px, if known.

    Returns:
        The same code; its runs add up to height * width and at least one pixel belongs to the object.

    Raises:
        LabelError: it is damaged, empty or of another size.
    """
    if not isinstance(rle, dict) or "counts" not in rle or "size" not in rle:
        raise LabelError("rle needs 'size' and 'counts'")
    listed = rle["size"]
    sides = [as_side(side) for side in listed] if isinstance(listed, list | tuple) else []
    rle_size = [side for side in sides if side is not None]
    if len(sides) != 2 or len(rle_size) != 2 or rle_size[0] * rle_size[1] > MAX_AREA_PX:
        raise LabelError(f"rle size is {listed!r:.80}, not [height, width] of an image")
    if size is not None and tuple(rle_size) != size:
        raise LabelError(f"rle size {rle_size} differs from the image's [height, width] {list(size)}")
    runs = rle_lengths(rle["counts"])
    if len(runs) and runs.min() < 0:
        raise LabelError("rle counts are damaged: a run is negative")
    if runs.sum() != rle_size[0] * rle_size[1]:
        raise LabelError(f"rle counts cover {runs.sum()} pixels, its size {rle_size} has {np.prod(rle_size)}")
    if not runs[1::2].any():
        raise LabelError("rle is empty", "no area")
    return {"size": rle_size, "counts": rle["counts"]}
