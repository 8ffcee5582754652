"""The values of tensors of other projects in the layout of our layers, and back.

Others: convolutions [out, in, kh, kw], dense layers [out, in], transposed convolutions [in, out, kh, kw], boxes (x, y,
w, h). Ours: [kh, kw, in, out], [in, out], [kh, kw, out, in], (y, x, h, w), the background first.

Legend: C classes with background, A anchors of a location.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

SWAPPED = [1, 0, 3, 2]  # (x, y, w, h) <-> (y, x, h, w)


@dataclasses.dataclass(frozen=True)
class Heads:
    """What the forms need to know of the model.

    Attributes:
        background_last: whether the other project has the background last, and no boxes and masks of it.
        pool_size: cells along a side of an ROI in the box head.
    """

    background_last: bool
    pool_size: int


@dataclasses.dataclass(frozen=True)
class Form:
    """How to change the rows, the first axis of another project's tensor, and how to lay out what comes out.

    Attributes:
        rows: (values [rows, ...], heads) -> values [our rows, ...].
        rows_back: the inverse, [our rows, ...] -> [rows, ...].
        window: whether a matrix is a convolution over all cells of an ROI, or of 1 x 1.
    """

    rows: Callable[[np.ndarray, Heads], np.ndarray] = lambda values, heads: values
    rows_back: Callable[[np.ndarray, Heads], np.ndarray] = lambda values, heads: values
    window: bool = False


def _swap(values: np.ndarray, heads: Heads) -> np.ndarray:
    """Reorder rows in groups of four, from (x, y, w, h) to (y, x, h, w) or back."""
    return values.reshape(-1, 4, *values.shape[1:])[:, SWAPPED].reshape(values.shape)


def _class_rows(values: np.ndarray, heads: Heads) -> np.ndarray:
    return np.concatenate([values[-1:], values[:-1]]) if heads.background_last else values


def _class_rows_back(values: np.ndarray, heads: Heads) -> np.ndarray:
    return np.concatenate([values[1:], values[:1]]) if heads.background_last else values


def _with_background(values: np.ndarray, heads: Heads, rows: int) -> np.ndarray:
    """Put rows of zeros for the background before the others if the file has none."""
    return np.concatenate([np.zeros_like(values[:rows]), values]) if heads.background_last else values


def _without_background(values: np.ndarray, heads: Heads, rows: int) -> np.ndarray:
    return values[rows:] if heads.background_last else values


FORMS = {
    "plain": Form(),
    "fc": Form(window=True),
    "channels": Form(
        lambda values, heads: values.reshape(values.shape[:1]), lambda values, heads: values[:, None, None]
    ),
    "rpn_boxes": Form(_swap, _swap),
    "classes": Form(_class_rows, _class_rows_back),
    "class_boxes": Form(
        lambda values, heads: _with_background(_swap(values, heads), heads, 4),
        lambda values, heads: _swap(_without_background(values, heads, 4), heads),
    ),
    "class_masks": Form(
        lambda values, heads: _with_background(values, heads, 1),
        lambda values, heads: _without_background(values, heads, 1),
    ),
}


def to_ours(values: np.ndarray, form: str, heads: Heads, first_fc: bool = False) -> np.ndarray:
    """Return a tensor of another project as a variable of ours.

    Args:
        values: float [out, in, kh, kw], [out, in] or [n], for a transposed convolution [in, out, kh, kw].
        form: a key of FORMS.
        heads: what the forms need to know.
        first_fc: whether a matrix of form "fc" takes all cells of an ROI, [out, channels * cells].

    Returns:
        [kh, kw, in, out], [in, out] or [n], for a transposed convolution [kh, kw, out, in], in the dtype of `values`.

    Raises:
        ValueError: the shape is not that of the form.
    """
    kind = FORMS[form]
    values = kind.rows(values, heads)
    if kind.window and values.ndim == 2:
        side = heads.pool_size if first_fc else 1
        values = values.reshape(len(values), -1, side, side)
    if values.ndim == 4:
        return values.transpose(2, 3, 1, 0)
    return values.T if values.ndim == 2 else values


def to_theirs(values: np.ndarray, form: str, heads: Heads) -> np.ndarray:
    """Return a variable of ours as a tensor of another project, float32 [...]: the inverse of `to_ours`."""
    kind = FORMS[form]
    if values.ndim == 4:
        values = values.transpose(3, 2, 0, 1)
    elif values.ndim == 2:
        values = values.T
    if kind.window and values.ndim == 4:
        values = values.reshape(len(values), -1)
    return np.ascontiguousarray(kind.rows_back(values, heads))


def reorder_ratios(values: np.ndarray, order: Sequence[int], numbers: int) -> np.ndarray:
    """Return an output of the RPN with the ratios of each anchor scale in another order.

    Args:
        values: float32 [..., scales * ratios * numbers].
        order: for each new ratio the one to take.
        numbers: of an anchor: 1 for its class, 4 for its box.

    Returns:
        float32, of the same shape.
    """
    grouped = values.reshape(*values.shape[:-1], -1, len(order), numbers)
    return grouped[..., order, :].reshape(values.shape)


def scale_deltas(values: np.ndarray, before: Any, after: Any) -> np.ndarray:
    """Return deltas float32 [..., n * (y, x, h, w)] over the deviations `after` instead of `before`."""
    factors = np.asarray(before, np.float64) / np.asarray(after, np.float64)
    scaled = values.reshape(*values.shape[:-1], -1, 4) * factors
    return scaled.reshape(values.shape).astype(np.float32)


def select_classes(values: np.ndarray, form: str, sources: Sequence[int | None], fresh: np.ndarray) -> np.ndarray:
    """Return a variable of ours, whose last axis runs over classes, for another list of classes.

    Args:
        values: [..., C * n], n = 4 for boxes.
        form: "classes", "class_boxes" or "class_masks".
        sources: for each new class the class to take, or None for a class that the file does not have.
        fresh: float [..., new C * n], the values that such a class keeps.

    Returns:
        float [..., new C * n] in the dtype of `fresh`.
    """
    size = 4 if form == "class_boxes" else 1
    grouped = values.reshape(*values.shape[:-1], -1, size)
    result = fresh.reshape(*fresh.shape[:-1], -1, size).copy()
    for number, source in enumerate(sources):
        if source is not None:
            result[..., number, :] = grouped[..., source, :]
    return result.reshape(fresh.shape)
