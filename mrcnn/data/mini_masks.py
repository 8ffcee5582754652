"""Mini-masks: the masks of training, resized from an instance's crop without a full-size mask in between."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import tighten


def instances_to_mini(
    instances: Instances,
    mini_shape: Sequence[int] | None,
    scale: tuple[float, float],
    offset: tuple[float, float],
    image_shape: Sequence[int],
    min_area: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes and mini-masks of the instances in a resized, padded or cropped image.

    A place (y, x) of the image as loaded is at (y * scale + offset) in the moulded one. Each mini-mask is sampled over
    exactly the integer box that comes with it; where the box is rounded, the mask is continued by its edge pixels, so
    that a box is never larger than its mask by a rounding. A large object is sampled in one step from the crop of the
    label. A small one, whose mini-mask is finer than the moulded pixels, goes through their shares of the object, which
    are not cut to 0 and 1 on the way: nearer to the label than full masks resized and minimised.

    Args:
        instances: n labelled objects.
        mini_shape: (h, w); None gives full masks in place of mini-masks.
        scale: (y, x) factors, moulded pixels per pixel.
        offset: (y, x) moulded pixels; padding is positive, a crop negative.
        image_shape: (H, W, ...) of the moulded image. What lies outside is cut off.
        min_area: objects of which a smaller share is inside are dropped.

    Returns:
        kept: int [m], which instances have a pixel inside the moulded image (and are not dropped);
        boxes_px: int32 [m, 4] in moulded pixels, at least 1 x 1;
        mini_masks: bool [h, w, m], or [H, W, m].
    """
    kept, seen_boxes, crops = [], [], []
    frame = _frame(scale, offset, image_shape)
    for i, (box, crop) in enumerate(zip(instances.boxes_px.tolist(), instances.crops, strict=True)):
        seen = _visible(box, crop, frame)
        if seen is None or (min_area and np.count_nonzero(seen[1]) < min_area * np.count_nonzero(crop)):
            continue
        kept.append(i)
        seen_boxes.append(seen[0])
        crops.append(seen[1])
    seen_px = np.array(seen_boxes, float).reshape(-1, 4)
    boxes_px = _mould_boxes(seen_px, scale, offset, image_shape)
    edges = ((boxes_px[:, :2] - offset) / scale - seen_px[:, :2]).tolist()  # of the boxes, in their crops
    masks = np.zeros((*(mini_shape or image_shape[:2]), len(kept)), bool)
    for i, (crop, (y1, x1, y2, x2)) in enumerate(zip(crops, boxes_px.tolist(), strict=True)):
        size = (y2 - y1, x2 - x1)
        if mini_shape is None:
            masks[y1:y2, x1:x2, i] = _mini(crop, size, size, scale, edges[i])
        else:
            masks[:, :, i] = _mini(crop, mini_shape, size, scale, edges[i])
    return np.array(kept, int), boxes_px, masks


def _frame(scale: tuple[float, float], offset: tuple[float, float], shape: Sequence[int]) -> tuple[int, int, int, int]:
    """(y1, x1, y2, x2) of the label's pixels whose centres are inside the moulded image; y1 and x1 at least 0."""
    top, left = (max(0, math.ceil(-o / s - 0.5)) for o, s in zip(offset, scale, strict=True))
    bottom, right = (math.ceil((size - o) / s - 0.5) for size, o, s in zip(shape, offset, scale, strict=False))
    return top, left, bottom, right


def _visible(
    box: Sequence[int], crop: np.ndarray, frame: tuple[int, int, int, int]
) -> tuple[Sequence[int], np.ndarray] | None:
    """The part of an instance inside the frame (all of it, unless the image was cropped)."""
    (y1, x1, y2, x2), (top, left, bottom, right) = box, frame
    if y1 >= top and x1 >= left and y2 <= bottom and x2 <= right:
        return box, crop
    rows = slice(max(top - y1, 0), max(bottom - y1, 0))
    columns = slice(max(left - x1, 0), max(right - x1, 0))
    tight = tighten(crop[rows, columns], max(y1, top), max(x1, left))
    return None if tight is None else (tight[0].tolist(), tight[1])


def _mould_boxes(
    boxes: np.ndarray, scale: tuple[float, float], offset: tuple[float, float], shape: Sequence[int]
) -> np.ndarray:
    """int32 [n, 4] boxes in the moulded image: edges rounded, at least one pixel, inside the image."""
    edges = boxes.reshape(-1, 2, 2) * scale + offset  # [n, (first, last), (y, x)]
    first, last = np.rint(edges[:, 0]), np.rint(edges[:, 1])
    middle = np.trunc(edges.sum(axis=1) / 2)
    first = np.where(last <= first, middle, first)  # thinner than a pixel: the pixel that holds its middle
    first = np.clip(first, 0, np.subtract(shape[:2], 1))
    last = np.maximum(np.minimum(last, shape[:2]), first + 1)
    return np.concatenate([first, last], axis=1).astype(np.int32)


def _mini(
    crop: np.ndarray, shape: Sequence[int], size: tuple[int, int], scale: tuple[float, float], edge: Sequence[float]
) -> np.ndarray:
    """bool [h, w] of a shape, over a box of a size in moulded pixels whose top left corner is at `edge` in the crop."""
    h, w = int(shape[0]), int(shape[1])
    cells = (size[0] / h, size[1] / w)  # moulded pixels per cell
    steps = (cells[0] / scale[0], cells[1] / scale[1])
    pixels = np.ascontiguousarray(crop).view(np.uint8)
    if (h, w) == size or tuple(scale) == (1, 1) or cells[0] * cells[1] >= 4:
        # On bytes of 0 and 1 the bilinear result is rounded to 0 or 1: the threshold of one half comes for nothing.
        mini = _bilinear(pixels, (h, w), steps, edge).view(bool)
    else:
        shares = _bilinear(pixels * np.uint8(255), size, (1 / scale[0], 1 / scale[1]), edge)
        mini = _bilinear(shares, (h, w), cells, (0.0, 0.0)) >= 128
    if not mini.any():  # thinner than a cell everywhere: mark the cells that its pixels fall into
        places = (np.nonzero(crop)[axis] + 0.5 - edge[axis] for axis in (0, 1))
        rows, columns = (np.floor(place / step).astype(int) for place, step in zip(places, steps, strict=True))
        mini[np.clip(rows, 0, h - 1), np.clip(columns, 0, w - 1)] = True
    return mini


def _bilinear(
    pixels: np.ndarray, shape: tuple[int, int], steps: tuple[float, float], edge: Sequence[float]
) -> np.ndarray:
    """uint8 of a shape: sampled at the centres of cells, `steps` (y, x) apart, of which the first begins at `edge`."""
    starts = [edge[axis] + steps[axis] / 2 - 0.5 for axis in (0, 1)]  # OpenCV puts pixel centres at integers
    return cv2.warpAffine(
        pixels,
        np.array([[steps[1], 0, starts[1]], [0, steps[0], starts[0]]]),
        (shape[1], shape[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
