"""Box arithmetic, written once for numpy arrays and for tensors of any Keras backend.

A box is (y1, x1, y2, x2), y2 and x2 exclusive, in any coordinates, pixels or normalised, unless a function's name or
docstring says which. Numpy arrays (or lists) give numpy arrays; tensors give tensors.

Legend: N batch, n m boxes.
"""

from typing import Any

import numpy as np

Array = Any  # a numpy array, or a tensor of the current backend

# exp(10) = 22,026: one pixel grown by this factor covers any image, so after clipping to the image the limit changes
# nothing. Without it, exp() overflows beyond 88 and the corners become inf - inf = nan.
MAX_LOG_SCALE = 10.0
# Minimum height and width: padded or empty boxes then have finite deltas instead of log(0) and 0 / 0. Far below one
# pixel in normalised coordinates too (1e-5 in an image of 100,000 pixels).
MIN_SIZE = 1e-7


def _module(*arrays: Any) -> Any:
    """Return numpy if all arguments are numpy arrays, lists or numbers, else keras.ops.

    The two spell most of what is used here alike.
    """
    if all(isinstance(a, (np.ndarray, np.generic, list, tuple, int, float)) for a in arrays):
        return np
    import keras  # late: importing Keras takes seconds, and label tools only ever pass numpy arrays

    return keras.ops


def _array(xp: Any, values: Any, dtype: str | None = None) -> Array:
    """Convert to a float array of `xp`.

    Without `dtype`, floats keep their type, and integers become float64 (numpy) or float32 (tensors).
    """
    if xp is np:
        values = np.asarray(values)
        return values.astype(dtype or (values.dtype if values.dtype.kind == "f" else np.float64), copy=False)
    values = xp.convert_to_tensor(values)
    return values if dtype is None and "float" in xp.dtype(values) else xp.cast(values, dtype or "float32")


def _split(boxes: Array) -> tuple[Array, Array, Array, Array]:
    """Split boxes [..., 4] into four arrays [...]."""
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def _iou(xp: Any, box: tuple, boxes: tuple, box_area: Any, boxes_area: Any) -> Array:
    """Return the IoU of corner tuples that broadcast against each other; 0 where the union is empty."""
    height = xp.minimum(box[2], boxes[2]) - xp.maximum(box[0], boxes[0])
    width = xp.minimum(box[3], boxes[3]) - xp.maximum(box[1], boxes[1])
    intersection = xp.maximum(height, 0) * xp.maximum(width, 0)
    union = box_area + boxes_area - intersection
    # The inner `where` keeps 0 / 0 out of both the value and its gradient.
    return xp.where(union > 0, intersection / xp.where(union > 0, union, xp.ones_like(union)), xp.zeros_like(union))


def compute_iou(box: Array, boxes: Array, box_area: float, boxes_area: Array) -> Array:
    """Return the IoU of one box with many boxes whose areas are known.

    Args:
        box: [4] float or int, (y1, x1, y2, x2).
        boxes: [n, 4].
        box_area: area of `box`.
        boxes_area: [n], areas of `boxes`.

    Returns:
        [n] float, 0 where both areas are 0.
    """
    xp = _module(box, boxes, box_area, boxes_area)
    box, boxes, boxes_area = _array(xp, box), _array(xp, boxes), _array(xp, boxes_area)
    return _iou(xp, _split(box), _split(boxes), box_area, boxes_area)


def compute_overlaps(boxes1: Array, boxes2: Array) -> Array:
    """Return the IoU of every box in one set with every box in another.

    Args:
        boxes1: [..., n, 4] float or int, (y1, x1, y2, x2); its leading axes equal or broadcast to those of `boxes2`.
        boxes2: [..., m, 4].

    Returns:
        [..., n, m] float. Boxes without area overlap nothing: 0, never nan, so zero padding needs no mask.
    """
    xp = _module(boxes1, boxes2)
    boxes1, boxes2 = _array(xp, boxes1), _array(xp, boxes2)
    rows = _split(boxes1[..., :, None, :])  # four [..., n, 1]
    columns = _split(boxes2[..., None, :, :])  # four [..., 1, m]
    return _iou(xp, rows, columns, area(rows), area(columns))


def area(corners: tuple) -> Array:
    """Return the areas [...] of boxes in any coordinates, given as the tuple (y1, x1, y2, x2) of arrays [...]."""
    return (corners[2] - corners[0]) * (corners[3] - corners[1])


def apply_box_deltas(
    boxes: Array, deltas: Array, max_log_scale: float = MAX_LOG_SCALE, min_log_scale: float = -np.inf
) -> Array:
    """Shift and scale boxes by deltas (Girshick et al., R-CNN, arXiv:1311.2524, appendix C, eq. 1-4).

    Args:
        boxes: [..., 4] float or int, (y1, x1, y2, x2).
        deltas: [..., 4] float, (dy, dx, log(dh), log(dw)): shifts in units of the box's height and width. The
            logarithms are capped.
        max_log_scale: maximum of log(dh) and log(dw).
        min_log_scale: minimum of them.

    Returns:
        [..., 4] float32.
    """
    xp = _module(boxes, deltas)
    y1, x1, y2, x2 = _split(_array(xp, boxes, "float32"))
    dy, dx, log_dh, log_dw = _split(_array(xp, deltas, "float32"))
    if min_log_scale > -np.inf:
        log_dh, log_dw = xp.maximum(log_dh, min_log_scale), xp.maximum(log_dw, min_log_scale)
    height, width = y2 - y1, x2 - x1
    center_y = y1 + 0.5 * height + dy * height
    center_x = x1 + 0.5 * width + dx * width
    height = height * xp.exp(xp.minimum(log_dh, max_log_scale))
    width = width * xp.exp(xp.minimum(log_dw, max_log_scale))
    y1, x1 = center_y - 0.5 * height, center_x - 0.5 * width
    return xp.stack([y1, x1, y1 + height, x1 + width], axis=-1)


def box_refinement(box: Array, gt_box: Array) -> Array:
    """Return the deltas that turn `box` into `gt_box`: the inverse of `apply_box_deltas` (R-CNN, appendix C, eq. 6-9).

    Args:
        box: [..., 4] float or int, (y1, x1, y2, x2).
        gt_box: [..., 4], the same shape or one that broadcasts.

    Returns:
        [..., 4] float32 (dy, dx, log(dh), log(dw)). Always finite: heights and widths are at least MIN_SIZE.
    """
    xp = _module(box, gt_box)
    y1, x1, y2, x2 = _split(_array(xp, box, "float32"))
    gt_y1, gt_x1, gt_y2, gt_x2 = _split(_array(xp, gt_box, "float32"))
    height, width = xp.maximum(y2 - y1, MIN_SIZE), xp.maximum(x2 - x1, MIN_SIZE)
    gt_height, gt_width = xp.maximum(gt_y2 - gt_y1, MIN_SIZE), xp.maximum(gt_x2 - gt_x1, MIN_SIZE)
    dy = (gt_y1 + 0.5 * gt_height - (y1 + 0.5 * height)) / height
    dx = (gt_x1 + 0.5 * gt_width - (x1 + 0.5 * width)) / width
    return xp.stack([dy, dx, xp.log(gt_height / height), xp.log(gt_width / width)], axis=-1)


def clip_boxes(boxes: Array, window: Array) -> Array:
    """Clip boxes to a window.

    Args:
        boxes: [..., n, 4] float or int, (y1, x1, y2, x2).
        window: (y1, x1, y2, x2) in the coordinates of the boxes: [4] for all, or [N, 4], one per image, for boxes [N,
            n, 4].

    Returns:
        The shape of `boxes`. A box outside the window collapses onto its edge and has area 0.
    """
    xp = _module(boxes, window)
    if xp is np:
        boxes, window = np.asarray(boxes), np.asarray(window)
    else:
        boxes = xp.convert_to_tensor(boxes)
        window = xp.cast(window, boxes.dtype)
    wy1, wx1, wy2, wx2 = _split(window if len(window.shape) == 1 else window[..., None, :])
    y1, x1, y2, x2 = _split(boxes)
    y1, y2 = (xp.maximum(xp.minimum(y, wy2), wy1) for y in (y1, y2))
    x1, x2 = (xp.maximum(xp.minimum(x, wx2), wx1) for x in (x1, x2))
    return xp.stack([y1, x1, y2, x2], axis=-1)


def _scale_and_shift(xp: Any, shape: Any, continuous: bool) -> tuple[Array, Array]:
    """Return (h - 1, w - 1, h - 1, w - 1) and (0, 0, 1, 1) for Matterport's normalisation: 1.0 is the last pixel.

    Continuous coordinates have the whole sides and no shift: 1.0 is the end of the last pixel.
    """
    last = 0 if continuous else 1
    if xp is np:
        height, width = shape[0] - last, shape[1] - last
        return np.array([height, width, height, width]), np.array([0, 0, last, last])
    size = xp.cast(shape, "float32")[:2]
    shift = xp.convert_to_tensor([0.0, 0.0, last, last], dtype="float32")
    return xp.concatenate([size, size]) - float(last), shift


def norm_boxes(boxes: Array, shape: tuple, continuous: bool = False) -> Array:
    """Convert boxes from pixels to normalised coordinates.

    Args:
        boxes: [..., 4] float or int pixels, (y1, x1, y2, x2), y2 and x2 exclusive.
        shape: (height, width, ...) of the image in pixels; may be a tensor [2].
        continuous: BOX_CONVENTION: False: Matterport's, True: continuous coordinates.

    Returns:
        [..., 4] float32; (0, 0, 1, 1) is the whole image. In Matterport's convention y2 becomes (y2 - 1) / (height -
        1), so y2 and x2 are inclusive; in continuous coordinates y2 / height.
    """
    xp = _module(boxes, shape)
    scale, shift = _scale_and_shift(xp, shape, continuous)
    boxes = np.asarray(boxes) if xp is np else _array(xp, boxes, "float32")
    normed = (boxes - shift) / scale
    return normed.astype(np.float32) if xp is np else normed


def denorm_boxes(boxes: Array, shape: tuple) -> Array:
    """Convert boxes from normalised coordinates to whole pixels: the inverse of `norm_boxes`.

    Args:
        boxes: [..., 4] float, normalised (y1, x1, y2, x2).
        shape: (height, width, ...) of the image in pixels; may be a tensor [2].

    Returns:
        [..., 4] int32 pixels, y2 and x2 exclusive; halves round to even.
    """
    xp = _module(boxes, shape)
    scale, shift = _scale_and_shift(xp, shape, continuous=False)
    boxes = np.asarray(boxes) if xp is np else _array(xp, boxes, "float32")
    pixels = xp.round(boxes * scale + shift)
    return pixels.astype(np.int32) if xp is np else xp.cast(pixels, "int32")
