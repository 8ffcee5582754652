"""Instance masks as crops, as mini-masks and as full masks, and the resampling between them.

Training never holds an [H, W, n] array: an instance is a box and the part of its mask inside that box (`Instances`).
The functions with Matterport's names work on full [H, W, n] masks, for notebooks and for code written against them.

Legend: H W image, h w box or mini-mask, n instances. Boxes are (y1, x1, y2, x2) in pixels, y2 and x2 exclusive. Pixel
(row, column) covers [row, row + 1) x [column, column + 1), so its centre is at + 0.5.
"""

import functools
import math
from collections.abc import Sequence

import cv2
import numpy as np


def extract_bboxes(mask: np.ndarray) -> np.ndarray:
    """Return tight boxes around masks.

    Args:
        mask: bool or uint8 [H, W, n].

    Returns:
        int32 [n, (y1, x1, y2, x2)]; zeros for an empty mask.
    """
    boxes = np.zeros((mask.shape[-1], 4), np.int32)
    rows, columns = np.any(mask, axis=1), np.any(mask, axis=0)  # [H, n], [W, n]
    for i in np.flatnonzero(rows.any(axis=0)):
        y, x = np.flatnonzero(rows[:, i]), np.flatnonzero(columns[:, i])
        boxes[i] = y[0], x[0], y[-1] + 1, x[-1] + 1
    return boxes


def tighten(crop: np.ndarray, y: int, x: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Trim the empty borders of a crop bool [h, w] whose top left pixel is (y, x) in pixels of the image.

    Returns:
        box int32 [4] and the trimmed crop, bool; None if the crop is empty.
    """
    left, top, width, height = cv2.boundingRect(crop.view(np.uint8)) if crop.size else (0, 0, 0, 0)
    if not width:
        return None
    box = np.array([y + top, x + left, y + top + height, x + left + width], np.int32)
    return box, np.ascontiguousarray(crop[top : top + height, left : left + width])


def uncovered(
    box: np.ndarray, crop: np.ndarray, cover_boxes: np.ndarray, cover_crops: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return what other masks leave of a mask: its box, tight again, and its crop; None if nothing is left.

    Args:
        box: int [4] px.
        crop: bool [h, w] inside `box`.
        cover_boxes: int [n, 4] px.
        cover_crops: n arrays, bool [y2 - y1, x2 - x1] inside their boxes.

    Returns:
        box int32 [4] and crop bool [h, w].
    """
    first, last = np.maximum(box[:2], cover_boxes[:, :2]), np.minimum(box[2:], cover_boxes[:, 2:])
    touching = np.flatnonzero((first < last).all(axis=1))
    if not len(touching):
        return box, crop
    crop = crop.copy()
    for i in touching.tolist():
        (y1, x1), (y2, x2) = first[i], last[i]
        top, left = cover_boxes[i, :2]
        crop[y1 - box[0] : y2 - box[0], x1 - box[1] : x2 - box[1]] &= ~cover_crops[i][
            y1 - top : y2 - top, x1 - left : x2 - left
        ]
    return tighten(crop, int(box[0]), int(box[1]))


def bilinear_resize(image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resize bilinearly without anti-aliasing, as if zeros surrounded the image; the result is clipped to the image's
    range.

    Equals scikit-image's `resize(order=1, mode="constant", anti_aliasing=False, preserve_range=True)`, which the
    published weights were trained with, in a fifth of the time. Enlarging darkens the border unless the image is
    constant.

    Args:
        image: [H, W] or [H, W, channels], any number type.
        shape: (height, width) of the result.

    Returns:
        float32 [height, width, ...].
    """
    low, high = image.min(), image.max()
    rows = _interpolate(image, *_places(image.shape[0], int(shape[0])))
    columns = _interpolate(np.swapaxes(rows, 0, 1), *_places(image.shape[1], int(shape[1])))
    return np.clip(np.swapaxes(columns, 0, 1), low, high, dtype=np.float32)


@functools.lru_cache(1024)
def _places(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Locate the centres of `new` pixels among `old` pixels, preceded by one zero, that span the same length.

    Returns int [new], the last old pixel centre at or before each new one, and float32 [new], the distance from it.
    Both are cached: read only.
    """
    position = (np.arange(new) + 0.5) * (old / new) - 0.5  # centres of the new pixels, in old pixels
    before = np.floor(position).astype(int)
    fraction = (position - before).astype(np.float32)
    before += 1
    for array in (before, fraction):
        array.setflags(write=False)
    return before, fraction


def _interpolate(values: np.ndarray, before: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """Interpolate values [old, ...], with zeros around them, linearly at `_places`: float32 [new, ...]."""
    padded = np.zeros((len(values) + 2, *values.shape[1:]), np.float32)
    padded[1:-1] = values
    result = (padded[1:] - padded[:-1]).take(before, axis=0)
    result *= fraction.reshape(-1, *[1] * (values.ndim - 1))
    result += padded.take(before, axis=0)  # start + fraction * (end - start): exact where the image is flat
    return result


def resize_mask(mask: np.ndarray, scale: float, padding: Sequence, crop: Sequence[int] | None = None) -> np.ndarray:
    """Resize full masks to match an image; takes what `resize_image` returns.

    Samples the nearest pixel with corner centres aligned, as Matterport does (scipy's zoom of order 0). An object
    thinner than 1 / scale pixels can vanish.

    Args:
        mask: [H, W, n], bool or numbers.
        scale: factor for both sides.
        padding: [(top, bottom), (left, right), (0, 0)], zeros added after scaling.
        crop: (y, x, height, width) cut out after scaling instead of padding.

    Returns:
        [H', W', n] of the same type.
    """
    mask = resize_nearest(mask, [round(side * scale) for side in mask.shape[:2]])
    if crop is not None:
        y, x, h, w = crop
        return mask[y : y + h, x : x + w]
    return np.pad(mask, padding, mode="constant", constant_values=0)


def resize_nearest(mask: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resize full masks [H, W, n] to `shape` (height, width) as `resize_mask` does."""
    for axis in (0, 1):
        size, new = mask.shape[axis], shape[axis]
        position = np.arange(new) * ((size - 1) / (new - 1) if new > 1 else 0.0)
        mask = np.take(mask, np.floor(position + 0.5).astype(int), axis)
        # Rounding can put the last sample past the last pixel: scipy then returns 0, and boxes end one pixel earlier.
        np.moveaxis(mask, axis, 0)[position > size - 1] = 0
    return mask


def minimize_mask(bbox: np.ndarray, mask: np.ndarray, mini_shape: Sequence[int]) -> np.ndarray:
    """Crop masks to their boxes and resize them to one small shape, to save memory.

    Args:
        bbox: int [n, (y1, x1, y2, x2)] pixels. A box without area gives an empty mini-mask.
        mask: bool [H, W, n].
        mini_shape: (height, width), such as (56, 56).

    Returns:
        bool [height, width, n].
    """
    mini_masks = np.zeros((*mini_shape, mask.shape[-1]), bool)
    for i, (y1, x1, y2, x2) in enumerate(np.asarray(bbox)[:, :4]):
        crop = mask[y1:y2, x1:x2, i].astype(bool)
        if crop.size:
            mini_masks[:, :, i] = bilinear_resize(crop, mini_shape) > 0.5
    return mini_masks


def expand_mask(bbox: np.ndarray, mini_mask: np.ndarray, image_shape: Sequence[int]) -> np.ndarray:
    """Resize mini-masks to their boxes and paste them: the inverse of `minimize_mask`, except for lost detail.

    Args:
        bbox: int [n, (y1, x1, y2, x2)] pixels. A box without area gives an empty mask.
        mini_mask: [h, w, n], bool or numbers from 0 to 1; values above 0.5 belong to the mask.
        image_shape: (H, W, ...).

    Returns:
        bool [H, W, n].
    """
    mask = np.zeros((image_shape[0], image_shape[1], mini_mask.shape[-1]), bool)
    for i, (y1, x1, y2, x2) in enumerate(np.asarray(bbox)[:, :4]):
        if y2 > y1 and x2 > x1:
            mask[y1:y2, x1:x2, i] = bilinear_resize(mini_mask[:, :, i], (y2 - y1, x2 - x1)) > 0.5
    return mask


def paste_mask(
    mask_probs: np.ndarray,
    box_px: Sequence[float],
    image_shape: Sequence[int],
    threshold: float = 0.5,
    rule: str = "matterport",
) -> tuple[np.ndarray, np.ndarray]:
    """Resize a predicted mask to its box and threshold it, without an array of the image's size.

    Args:
        mask_probs: float [h, w], such as [28, 28], covering all of `box_px`.
        box_px: (y1, x1, y2, x2), whole numbers for Matterport's rule; may reach outside the image or be empty.
        image_shape: (H, W, ...).
        threshold: minimum probability of a pixel that belongs to the mask.
        rule: one of MASK_PASTE: "matterport", "torchvision" or "grid".

    Returns:
        box int32 [4] in the image, in which the mask may lie, and bool [y2 - y1, x2 - x1] inside it (of size 0 if
        nothing is left).
    """
    if rule != "matterport":
        locate = _grown_places if rule == "torchvision" else _grid_places
        box, places = locate(mask_probs.shape, box_px, image_shape)
        return _trimmed(box, _sampled(np.asarray(mask_probs, np.float32), places) >= threshold, box_px)
    y1, x1, y2, x2 = (int(v) for v in box_px)
    box = _clipped((y1, x1, y2, x2), image_shape)
    top, left, bottom, right = box.tolist()
    if bottom == top or right == left:
        return box, np.zeros((bottom - top, right - left), bool)
    low, high = mask_probs.min(), mask_probs.max()
    if low >= threshold or high < threshold:  # true of the darkened border too: results are clipped to [low, high]
        return box, np.full((bottom - top, right - left), low >= threshold)
    # `bilinear_resize` of the part inside the image only. The result is column-major, the order of run-length codes.
    before, fraction = _places(mask_probs.shape[0], y2 - y1)
    rows = _interpolate(mask_probs, before[top - y1 : bottom - y1], fraction[top - y1 : bottom - y1])
    before, fraction = _places(mask_probs.shape[1], x2 - x1)
    columns = _interpolate(rows.T, before[left - x1 : right - x1], fraction[left - x1 : right - x1])
    return box, (columns >= threshold).T


def _clipped(box: Sequence[int], image_shape: Sequence[int]) -> np.ndarray:
    """Clip a box of whole pixels to an image: int32 [4]; y2 >= y1 and x2 >= x1."""
    height, width = int(image_shape[0]), int(image_shape[1])
    top, left = min(max(box[0], 0), height), min(max(box[1], 0), width)
    bottom, right = max(min(box[2], height), top), max(min(box[3], width), left)
    return np.array([top, left, bottom, right], np.int32)


Places = tuple[np.ndarray, np.ndarray]  # of the pixels of rows and of columns in a mask: float [h] and [w]


def _grown_places(shape: Sequence[int], box: Sequence[float], image_shape: Sequence[int]) -> tuple[np.ndarray, Places]:
    """Locate pixels by torchvision's rule: a border of one 0 around the mask, the box grown with it and rounded towards
    0, and the mask resized to all whole pixels from its first to its last one.

    Returns the clipped box and the places of its pixels.
    """
    edges, places = [], []
    for axis in (0, 1):
        start, end, cells = float(box[axis]), float(box[axis + 2]), shape[axis]
        middle, half = (start + end) / 2, (end - start) / 2 * (cells + 2) / cells
        first, last = int(middle - half), int(middle + half)
        edges.append((first, last + 1))
    clipped = _clipped((edges[0][0], edges[1][0], edges[0][1], edges[1][1]), image_shape)
    for axis in (0, 1):
        first, end = edges[axis]
        pixels, padded = np.arange(clipped[axis], clipped[axis + 2]) - first, shape[axis] + 2
        # between the centres of the padded mask's cells, which reach to its ends
        place = np.clip((pixels + 0.5) * padded / max(end - first, 1) - 0.5, 0, padded - 1)
        places.append(place - 1)  # cell 0 of the padded mask is the border
    return clipped, (places[0], places[1])


def _grid_places(shape: Sequence[int], box: Sequence[float], image_shape: Sequence[int]) -> tuple[np.ndarray, Places]:
    """Locate the centre of each pixel in the exact box, as Detectron2 and MMDetection do; see `_grown_places`."""
    y1, x1, y2, x2 = (float(v) for v in box)
    clipped = _clipped((math.floor(y1), math.floor(x1), math.ceil(y2), math.ceil(x2)), image_shape)
    places = []
    for axis, (start, end) in enumerate(((y1, y2), (x1, x2))):
        pixels = np.arange(clipped[axis], clipped[axis + 2]) + 0.5
        places.append((pixels - start) / max(end - start, 1e-6) * shape[axis] - 0.5)
    return clipped, (places[0], places[1])


def _sampled(probs: np.ndarray, places: Places) -> np.ndarray:
    """Interpolate probabilities [h, w], surrounded by zeros, at rows and columns."""
    values = probs
    for place in places:
        place = np.clip(place, -1.0, values.shape[0] - 1e-9)  # the last interval ends at the zero after the mask
        before = np.floor(place).astype(int)
        values = _interpolate(values, before + 1, (place - before).astype(np.float32)).T
    return values


def _trimmed(box: np.ndarray, crop: np.ndarray, box_px: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Cut off what is empty and outside of `box_px` in whole pixels: int32 [4] and bool [h, w]."""
    ends = []
    for axis in (0, 1):
        used = np.flatnonzero(crop.any(axis=1 - axis)) + box[axis]
        first, last = math.floor(box_px[axis]), math.ceil(box_px[axis + 2])
        first, last = (min(first, used[0]), max(last, used[-1] + 1)) if len(used) else (first, last)
        first = min(max(first, box[axis]), box[axis + 2])
        ends.append((first, max(min(last, box[axis + 2]), first)))
    (top, bottom), (left, right) = ends
    cut = crop[top - box[0] : bottom - box[0], left - box[1] : right - box[1]]
    return np.array([top, left, bottom, right], np.int32), cut


def unmold_mask(mask: np.ndarray, bbox: Sequence[int], image_shape: Sequence[int]) -> np.ndarray:
    """Paste a predicted mask into a full mask.

    Args:
        mask: float [h, w], such as [28, 28], probabilities.
        bbox: int (y1, x1, y2, x2) pixels; the part outside the image is cut off.
        image_shape: (H, W, ...).

    Returns:
        bool [H, W].
    """
    full = np.zeros((image_shape[0], image_shape[1]), bool)
    (y1, x1, y2, x2), crop = paste_mask(mask, bbox, image_shape)
    full[y1:y2, x1:x2] = crop
    return full
