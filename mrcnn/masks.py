"""Instance masks: boxes and crops in memory, mini-masks for training, pasting for detection.

Training never holds an [H, W, n] array: an instance is a box and the part of its mask inside that box (`Instances`).
The functions with Matterport's names work on full [H, W, n] masks, for notebooks and for code written against them.

Legend: H W image, h w box or mini-mask, n instances. Boxes are (y1, x1, y2, x2) in pixels, y2 and x2 exclusive. Pixel
(row, column) covers [row, row + 1) x [column, column + 1), so its centre is at + 0.5.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mrcnn.errors import InputError
from mrcnn.rle import crop_to_rle, polygons_to_crop, rle_to_crop, tighten

__all__ = [
    "Instances",
    "bilinear_resize",
    "crop_to_rle",
    "expand_mask",
    "extract_bboxes",
    "instances_to_mini",
    "minimize_mask",
    "mold_mask",
    "paste_mask",
    "polygons_to_crop",
    "resize_mask",
    "rle_to_crop",
    "unmold_mask",
]


@dataclass
class Instances:
    """The labelled objects of one image.

    Attributes:
        class_ids: int32 [n], 1..C-1. Always positive; whether an instance takes part in training is in the flags.
        boxes_px: int32 [n, (y1, x1, y2, x2)] pixels of the image as loaded, not empty.
        crops: n bool arrays [y2 - y1, x2 - x1], the mask inside the box.
        crowd: bool [n], a group labelled as one.
        ignore: bool [n], neither an object to find nor a mistake to find.
        origin: int [n], position of each in the labels of the image, where its dataset knows; else None.
    """

    class_ids: np.ndarray
    boxes_px: np.ndarray
    crops: list[np.ndarray]
    crowd: np.ndarray = None  # type: ignore[assignment]  # None: none of them
    ignore: np.ndarray = None  # type: ignore[assignment]
    origin: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.class_ids = np.asarray(self.class_ids, np.int32).reshape(-1)
        self.boxes_px = np.asarray(self.boxes_px, np.int32).reshape(-1, 4)
        n = len(self.class_ids)
        self.crowd = np.zeros(n, bool) if self.crowd is None else np.asarray(self.crowd, bool).reshape(-1)
        self.ignore = np.zeros(n, bool) if self.ignore is None else np.asarray(self.ignore, bool).reshape(-1)
        lengths = {n, len(self.boxes_px), len(self.crops), len(self.crowd), len(self.ignore)}
        assert len(lengths) == 1, f"class_ids, boxes_px, crops, crowd and ignore differ in length: {sorted(lengths)}"

    def __len__(self) -> int:
        return len(self.class_ids)

    @property
    def training_class_ids(self) -> np.ndarray:
        """int32 [n]; negative where crowd or ignore: such an object makes neither positives nor negatives."""
        return np.where(self.crowd | self.ignore, -self.class_ids, self.class_ids).astype(np.int32)

    @classmethod
    def from_masks(cls, masks: np.ndarray, class_ids: np.ndarray) -> "Instances":
        """Cut full masks into boxes and crops.

        Args:
            masks: bool or uint8 [H, W, n].
            class_ids: int [n]; a negative id marks a crowd, as in Matterport's COCO sample.

        Returns:
            The instances whose mask has a pixel.

        Raises:
            InputError: the shapes do not fit.
        """
        masks, class_ids = np.asarray(masks), np.asarray(class_ids, np.int32).reshape(-1)
        if masks.ndim != 3 or masks.shape[2] != len(class_ids):
            raise InputError(
                f"masks have shape {masks.shape} for {len(class_ids)} class ids; give [height, width, {len(class_ids)}]"
            )
        boxes = extract_bboxes(masks)
        kept = np.flatnonzero(boxes[:, 2] > boxes[:, 0])
        crops = [masks[y1:y2, x1:x2, i].astype(bool) for i, (y1, x1, y2, x2) in zip(kept, boxes[kept], strict=True)]
        return cls(np.abs(class_ids[kept]), boxes[kept], crops, crowd=class_ids[kept] < 0)

    def to_masks(self, shape: Sequence[int]) -> np.ndarray:
        """Full masks.

        Args:
            shape: (H, W, ...) of the image.

        Returns:
            bool [H, W, n].
        """
        masks = np.zeros((shape[0], shape[1], len(self)), bool)
        for i, ((y1, x1, y2, x2), crop) in enumerate(zip(self.boxes_px, self.crops, strict=True)):
            masks[y1:y2, x1:x2, i] = crop
        return masks

    def select(self, indices: np.ndarray) -> "Instances":
        """The instances at `indices` (int [m]), in that order."""
        crops = [self.crops[i] for i in indices]
        return Instances(
            self.class_ids[indices], self.boxes_px[indices], crops, self.crowd[indices], self.ignore[indices]
        )

    def join(self, other: "Instances") -> "Instances":
        """These instances, then those of `other`."""
        return Instances(
            np.concatenate([self.class_ids, other.class_ids]),
            np.concatenate([self.boxes_px, other.boxes_px]),
            self.crops + other.crops,
            np.concatenate([self.crowd, other.crowd]),
            np.concatenate([self.ignore, other.ignore]),
        )


def extract_bboxes(mask: np.ndarray) -> np.ndarray:
    """Tight boxes around masks.

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


def bilinear_resize(image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Bilinear resize without anti-aliasing; the image is surrounded by zeros, and the result clipped to its range.

    Equals scikit-image's `resize(order=1, mode="constant", anti_aliasing=False, preserve_range=True)`, with which the
    published weights were trained, in a fifth of the time. Enlarging darkens the border unless the image is constant.

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
    """Where `new` pixels lie on a zero and `old` pixels of the same length: int [new], the one whose centre comes
    before; float32 [new], how far before. Not to be written to."""
    position = (np.arange(new) + 0.5) * (old / new) - 0.5  # centres of the new pixels, in old pixels
    before = np.floor(position).astype(int)
    fraction = (position - before).astype(np.float32)
    before += 1
    for array in (before, fraction):
        array.setflags(write=False)
    return before, fraction


def _interpolate(values: np.ndarray, before: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """float32 [new, ...]: linear interpolation of values [old, ...], with zeros around, at `_places`."""
    padded = np.zeros((len(values) + 2, *values.shape[1:]), np.float32)
    padded[1:-1] = values
    result = (padded[1:] - padded[:-1]).take(before, axis=0)
    result *= fraction.reshape(-1, *[1] * (values.ndim - 1))
    result += padded.take(before, axis=0)  # start + fraction * (end - start): exact where the image is flat
    return result


def resize_mask(mask: np.ndarray, scale: float, padding: Sequence, crop: Sequence[int] | None = None) -> np.ndarray:
    """Bring full masks to a resized image; takes what `resize_image` returns.

    Samples the nearest pixel with the corner centres aligned, as Matterport does (scipy's zoom of order 0). An object
    thinner than 1 / scale pixels can vanish.

    Args:
        mask: [H, W, n], bool or numbers.
        scale: factor for both sides.
        padding: [(top, bottom), (left, right), (0, 0)], zeros added after scaling.
        crop: (y, x, height, width) cut out after scaling, in place of the padding.

    Returns:
        [H', W', n] of the same type.
    """
    for axis in (0, 1):
        size = mask.shape[axis]
        new = round(size * scale)
        position = np.arange(new) * ((size - 1) / (new - 1) if new > 1 else 0.0)
        mask = np.take(mask, np.floor(position + 0.5).astype(int), axis)
        # Rounding may put the last sample past the last pixel; scipy then returns 0, and boxes end one pixel earlier.
        np.moveaxis(mask, axis, 0)[position > size - 1] = 0
    if crop is not None:
        y, x, h, w = crop
        return mask[y : y + h, x : x + w]
    return np.pad(mask, padding, mode="constant", constant_values=0)


def minimize_mask(bbox: np.ndarray, mask: np.ndarray, mini_shape: Sequence[int]) -> np.ndarray:
    """Cut masks to their boxes and resize them to one small shape, to save memory.

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
    """Undo `minimize_mask`, up to the detail that it lost.

    Args:
        bbox: int [n, (y1, x1, y2, x2)] pixels. A box without area gives an empty mask.
        mini_mask: [h, w, n], bool or numbers from 0 to 1; a pixel belongs to it above one half.
        image_shape: (H, W, ...).

    Returns:
        bool [H, W, n].
    """
    mask = np.zeros((image_shape[0], image_shape[1], mini_mask.shape[-1]), bool)
    for i, (y1, x1, y2, x2) in enumerate(np.asarray(bbox)[:, :4]):
        if y2 > y1 and x2 > x1:
            mask[y1:y2, x1:x2, i] = bilinear_resize(mini_mask[:, :, i], (y2 - y1, x2 - x1)) > 0.5
    return mask


def mold_mask(mask: np.ndarray, bbox: np.ndarray, mini_shape: Sequence[int]) -> np.ndarray:
    """`minimize_mask` with the mask first. Matterport's function of this name has no body.

    Args:
        mask: bool [H, W, n].
        bbox: int [n, (y1, x1, y2, x2)] pixels.
        mini_shape: (height, width).

    Returns:
        bool [height, width, n].
    """
    return minimize_mask(bbox, mask, mini_shape)


def paste_mask(
    mask_probs: np.ndarray, box_px: Sequence[int], image_shape: Sequence[int], threshold: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """A predicted mask at the size of its box, without an array of the size of the image.

    Args:
        mask_probs: float [h, w], such as [28, 28], over the whole of `box_px`.
        box_px: int (y1, x1, y2, x2), may reach outside the image or be empty.
        image_shape: (H, W, ...).
        threshold: a pixel belongs to the mask from this probability on.

    Returns:
        box int32 [4] clipped to the image, and bool [y2 - y1, x2 - x1] inside it (of size 0 if nothing is left).
    """
    y1, x1, y2, x2 = (int(v) for v in box_px)
    height, width = int(image_shape[0]), int(image_shape[1])
    top, left = min(max(y1, 0), height), min(max(x1, 0), width)
    bottom, right = max(min(y2, height), top), max(min(x2, width), left)
    box = np.array([top, left, bottom, right], np.int32)
    if bottom == top or right == left:
        return box, np.zeros((bottom - top, right - left), bool)
    low, high = mask_probs.min(), mask_probs.max()
    if low >= threshold or high < threshold:  # the border, which is darkened, too: the result is clipped to the range
        return box, np.full((bottom - top, right - left), low >= threshold)
    # `bilinear_resize` of the part inside the image. Column by column in memory, as run-length codes go.
    before, fraction = _places(mask_probs.shape[0], y2 - y1)
    rows = _interpolate(mask_probs, before[top - y1 : bottom - y1], fraction[top - y1 : bottom - y1])
    before, fraction = _places(mask_probs.shape[1], x2 - x1)
    columns = _interpolate(rows.T, before[left - x1 : right - x1], fraction[left - x1 : right - x1])
    return box, (columns >= threshold).T


def unmold_mask(mask: np.ndarray, bbox: Sequence[int], image_shape: Sequence[int]) -> np.ndarray:
    """A predicted mask in an image of its own.

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
