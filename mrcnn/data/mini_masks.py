"""Mini-masks, the masks of training: sampled from an instance's crop, without a full-size mask in between.

Legend: n m instances, h w mini-mask, H W moulded image. Boxes are (y1, x1, y2, x2), y2 and x2 exclusive.
"""

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
    """Return boxes and mini-masks of the instances in a resized, padded or cropped image.

    A point (y, x) of the image as loaded lies at (y * scale + offset) in the moulded image. Each mini-mask is sampled
    over exactly the integer box returned with it; where rounding makes the box larger than the object, the mask's edge
    pixels extend to the box. A large object is sampled from its label's crop in one step. A small one, whose mini-mask
    is finer than the moulded pixels, is sampled through the fractional coverage of moulded pixels, which is not
    thresholded in between. This is closer to the label than resizing and minimising full masks.

    Args:
        instances: n labelled objects.
        mini_shape: (h, w); None gives full masks instead of mini-masks.
        scale: (y, x) factors, moulded pixels per pixel.
        offset: (y, x) moulded pixels; positive for padding, negative for a crop.
        image_shape: (H, W, ...) of the moulded image. What lies outside is cut off.
        min_area: minimum fraction of an object's area inside the image; objects with less are dropped.

    Returns:
        kept: int [m], indices of the instances that have a pixel inside the moulded image and are not dropped;
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
    edges = ((boxes_px[:, :2] - offset) / scale - seen_px[:, :2]).tolist()  # of the boxes, in pixels of their crops
    masks = np.zeros((*(mini_shape or image_shape[:2]), len(kept)), bool)
    for i, (crop, (y1, x1, y2, x2)) in enumerate(zip(crops, boxes_px.tolist(), strict=True)):
        size = (y2 - y1, x2 - x1)
        if mini_shape is None:
            masks[y1:y2, x1:x2, i] = _mini(crop, size, size, scale, edges[i])
        else:
            masks[:, :, i] = _mini(crop, mini_shape, size, scale, edges[i])
    return np.array(kept, int), boxes_px, masks


def _frame(scale: tuple[float, float], offset: tuple[float, float], shape: Sequence[int]) -> tuple[int, int, int, int]:
    """Return (y1, x1, y2, x2) of the label pixels whose centres lie in the moulded image; y1 and x1 at least 0."""
    top, left = (max(0, math.ceil(-o / s - 0.5)) for o, s in zip(offset, scale, strict=True))
    bottom, right = (math.ceil((size - o) / s - 0.5) for size, o, s in zip(shape, offset, scale, strict=False))
    return top, left, bottom, right


def _visible(
    box: Sequence[int], crop: np.ndarray, frame: tuple[int, int, int, int]
) -> tuple[Sequence[int], np.ndarray] | None:
    """Return the part of an instance inside the frame: all of it, unless the image was cropped."""
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
    """Map boxes to the moulded image, int32 [n, 4]: edges rounded, at least one pixel, inside the image."""
    edges = boxes.reshape(-1, 2, 2) * scale + offset  # [n, (first, last), (y, x)], moulded pixels
    first, last = np.rint(edges[:, 0]), np.rint(edges[:, 1])
    middle = np.trunc(edges.sum(axis=1) / 2)
    first = np.where(last <= first, middle, first)  # thinner than a pixel: take the pixel of its middle
    first = np.clip(first, 0, np.subtract(shape[:2], 1))
    last = np.maximum(np.minimum(last, shape[:2]), first + 1)
    return np.concatenate([first, last], axis=1).astype(np.int32)


def _mini(
    crop: np.ndarray, shape: Sequence[int], size: tuple[int, int], scale: tuple[float, float], edge: Sequence[float]
) -> np.ndarray:
    """Sample a mask bool [h, w] over a box of `size` moulded pixels whose top left corner is at `edge` of the crop."""
    h, w = int(shape[0]), int(shape[1])
    cells = (size[0] / h, size[1] / w)  # moulded pixels per cell
    steps = (cells[0] / scale[0], cells[1] / scale[1])  # pixels of the crop per cell
    pixels = np.ascontiguousarray(crop).view(np.uint8)
    if (h, w) == size or tuple(scale) == (1, 1) or cells[0] * cells[1] >= 4:
        # On bytes of 0 and 1 OpenCV rounds the bilinear result to 0 or 1, which is the threshold of one half.
        mini = _bilinear(pixels, (h, w), steps, edge).view(bool)
    else:
        coverage = _bilinear(pixels * np.uint8(255), size, (1 / scale[0], 1 / scale[1]), edge)
        mini = _bilinear(coverage, (h, w), cells, (0.0, 0.0)) >= 128
    if not mini.any():  # thinner than a cell everywhere: mark the cells that the object's pixels fall into
        places = (np.nonzero(crop)[axis] + 0.5 - edge[axis] for axis in (0, 1))
        rows, columns = (np.floor(place / step).astype(int) for place, step in zip(places, steps, strict=True))
        mini[np.clip(rows, 0, h - 1), np.clip(columns, 0, w - 1)] = True
    return mini


def _bilinear(
    pixels: np.ndarray, shape: tuple[int, int], steps: tuple[float, float], edge: Sequence[float]
) -> np.ndarray:
    """Sample uint8 of `shape` at the centres of cells, `steps` (y, x) apart, the first of which begins at `edge`."""
    starts = [edge[axis] + steps[axis] / 2 - 0.5 for axis in (0, 1)]  # OpenCV puts pixel centres at integers
    return cv2.warpAffine(
        pixels,
        np.array([[steps[1], 0, starts[1]], [0, steps[0], starts[0]]]),
        (shape[1], shape[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
