"""Read JSON label files and check their values."""

import json
import pathlib
from typing import Any

import numpy as np

from mrcnn.errors import InputError, LabelError
from mrcnn.structures.polygons import FARTHEST_PX
from mrcnn.structures.rle import rle_lengths


def is_side(value: Any) -> bool:
    """Return whether a JSON value can be the width or height of an image in pixels."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= FARTHEST_PX


def number(value: Any, name: str) -> float:
    """Return a JSON value as a float. Raises LabelError with the field's name if it is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:  # NaN too
        raise LabelError(f"{name} is {value!r:.80}, not a finite number")
    return float(value)


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


def read_json(path: pathlib.Path) -> Any:
    """Parse a JSON file.

    Raises:
        InputError: it cannot be read or is not JSON; the message names the line and the column.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}. Is the file complete?"
        ) from error
    except RecursionError as error:
        raise InputError(f"{path}: its JSON is nested more deeply than that of any label file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not a text file in UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
