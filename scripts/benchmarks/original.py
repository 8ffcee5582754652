"""The data path of matterport/Mask_RCNN (2018), reimplemented as the baseline of `benchmark.py data`.

The steps, their order, the libraries, array sizes and dtypes are those of the original. Every instance has a mask of
the image's size, filled from its polygons, zoomed and padded, from which its box is computed. Each mask is cropped and
resized separately. RPN targets are assigned in numpy for all anchors. The image is returned as float32 minus the mean.

Legend: H W moulded image, h w mini-mask, n instances, A anchors, S sampled anchors, G padded ground-truth slots. Boxes
are (y1, x1, y2, x2) pixels.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import scipy.ndimage
import skimage.draw
import skimage.transform

from mrcnn.config import Config
from mrcnn.data.images import compose_image_meta


class OriginalLoader:
    """Makes batches of one image each."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.anchors = make_anchors(config)  # computed once, as in the original's generator

    def batch(self, path: str, polygons: Sequence[Sequence[np.ndarray]], class_ids: np.ndarray) -> list[np.ndarray]:
        """Return the network's inputs for one image.

        Args:
            path: Path of the image.
            polygons: Polygons of each object, float [k, (x, y)] each.
            class_ids: int [n].

        Returns:
            Image float32 [1, H, W, 3], meta, RPN match [1, A, 1], RPN deltas [1, S, 4], class ids [1, G], boxes [1, G,
            4] and mini-masks bool [1, h, w, G].
        """
        config, side = self.config, self.config.IMAGE_MAX_DIM
        original = np.asarray(PIL.Image.open(path).convert("RGB"))
        masks = full_masks(polygons, original.shape)
        image, scale, padding, window = resize_image(original, side)
        masks = resize_masks(masks, scale, padding)
        present = masks.sum(axis=(0, 1)) > 0
        masks, class_ids = masks[:, :, present], class_ids[present]
        boxes = tight_boxes(masks)
        minis = mini_masks(boxes, masks, config.MINI_MASK_SHAPE)
        meta = compose_image_meta(0, original.shape, image.shape, window, scale, np.ones(config.NUM_CLASSES, np.int32))
        match, deltas = rpn_targets(self.anchors, boxes, config)
        n, slots = len(class_ids), config.MAX_GT_INSTANCES
        inputs = [
            np.zeros((1, *image.shape), np.float32),
            np.zeros((1, len(meta)), meta.dtype),
            np.zeros((1, len(match), 1), match.dtype),
            np.zeros((1, *deltas.shape), deltas.dtype),
            np.zeros((1, slots), np.int32),
            np.zeros((1, slots, 4), np.int32),
            np.zeros((1, *config.MINI_MASK_SHAPE, slots), minis.dtype),
        ]
        inputs[0][0] = image.astype(np.float32) - config.MEAN_PIXEL
        inputs[1][0], inputs[2][0, :, 0], inputs[3][0] = meta, match, deltas
        inputs[4][0, :n], inputs[5][0, :n], inputs[6][0, :, :, :n] = class_ids, boxes, minis
        return inputs


def full_masks(polygons: Sequence[Sequence[np.ndarray]], shape: Sequence[int]) -> np.ndarray:
    """Fill each object with scikit-image, as `load_mask` of the original's samples does: bool [h, w, n]."""
    masks = np.zeros((shape[0], shape[1], len(polygons)), np.uint8)
    for i, rings in enumerate(polygons):
        for ring in rings:
            rows, columns = skimage.draw.polygon(ring[:, 1], ring[:, 0], shape[:2])
            masks[rows, columns, i] = 1
    return masks.astype(bool)


def resize_image(original: np.ndarray, side: int) -> tuple[np.ndarray, float, list, tuple[int, int, int, int]]:
    """Resize an image larger than `side` in the mode "square"; return (image, scale, padding, window)."""
    h, w = original.shape[:2]
    scale = side / max(h, w)
    height, width = round(h * scale), round(w * scale)
    image = skimage.transform.resize(
        original, (height, width), order=1, mode="constant", preserve_range=True, anti_aliasing=False
    )
    top, left = (side - height) // 2, (side - width) // 2
    padding = [(top, side - height - top), (left, side - width - left), (0, 0)]
    image = np.pad(image.astype(original.dtype), padding, mode="constant", constant_values=0)
    return image, scale, padding, (top, left, top + height, left + width)


def resize_masks(masks: np.ndarray, scale: float, padding: list) -> np.ndarray:
    """Resize masks to the nearest pixels with SciPy's zoom, then pad them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy warns about its rounding
        masks = scipy.ndimage.zoom(masks, zoom=[scale, scale, 1], order=0)
    return np.pad(masks, padding, mode="constant", constant_values=0)


def tight_boxes(masks: np.ndarray) -> np.ndarray:
    """Compute the boxes one mask at a time, int32 [n, 4]."""
    boxes = np.zeros((masks.shape[-1], 4), np.int32)
    for i in range(masks.shape[-1]):
        mask = masks[:, :, i]
        columns, rows = np.where(np.any(mask, axis=0))[0], np.where(np.any(mask, axis=1))[0]
        if len(columns):
            boxes[i] = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    return boxes


def mini_masks(boxes: np.ndarray, masks: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Crop each mask to its box and resize it with scikit-image (bilinear, zeros outside): bool [h, w, n]."""
    minis = np.zeros((*shape, masks.shape[-1]), bool)
    for i, (y1, x1, y2, x2) in enumerate(boxes):
        crop = masks[y1:y2, x1:x2, i].astype(float)  # recent scikit-image refuses bool
        resized = skimage.transform.resize(crop, shape, order=1, mode="constant", anti_aliasing=False)
        minis[:, :, i] = np.around(resized).astype(bool)
    return minis


def make_anchors(config: Config) -> np.ndarray:
    """Return the anchors in pixels, float64 [A, 4], ordered by level, row, column and ratio."""
    levels = []
    for size, stride in zip(config.RPN_ANCHOR_SCALES, config.BACKBONE_STRIDES, strict=True):
        root = np.sqrt(np.array(config.RPN_ANCHOR_RATIOS))
        half = np.stack([size / root, size * root], axis=1) / 2
        places = np.arange(0, config.IMAGE_MAX_DIM, stride)
        centres = np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, 1, 2)
        levels.append(np.concatenate([centres - half, centres + half], axis=2).reshape(-1, 4))
    return np.concatenate(levels)


def overlaps_with(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Compute the IoU one column at a time, float64 [A, n]."""
    areas = (anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1])
    overlaps = np.zeros((len(anchors), len(boxes)))
    for i, (y1, x1, y2, x2) in enumerate(boxes):
        height = np.maximum(np.minimum(y2, anchors[:, 2]) - np.maximum(y1, anchors[:, 0]), 0)
        width = np.maximum(np.minimum(x2, anchors[:, 3]) - np.maximum(x1, anchors[:, 1]), 0)
        shared = height * width
        overlaps[:, i] = shared / ((y2 - y1) * (x2 - x1) + areas - shared)
    return overlaps


def rpn_targets(anchors: np.ndarray, boxes: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Mark anchors as object (1), background (-1) or neutral (0), int32 [A], and compute deltas [S, 4] of the first."""
    match, deltas = np.zeros(len(anchors), np.int32), np.zeros((config.RPN_TRAIN_ANCHORS_PER_IMAGE, 4))
    overlaps = overlaps_with(boxes, anchors)
    nearest = np.argmax(overlaps, axis=1)
    best = overlaps[np.arange(len(anchors)), nearest]
    match[best < 0.3] = -1
    match[np.argwhere(overlaps == np.max(overlaps, axis=0))[:, 0]] = 1  # every object gets its nearest anchors
    match[best >= 0.7] = 1
    _drop(match, 1, len(deltas) // 2)
    _drop(match, -1, len(deltas) - np.sum(match == 1))
    for row, index in enumerate(np.where(match == 1)[0]):
        object_y, object_x, object_h, object_w = _centre_and_size(boxes[nearest[index]])
        y, x, h, w = _centre_and_size(anchors[index])
        deltas[row] = [(object_y - y) / h, (object_x - x) / w, np.log(object_h / h), np.log(object_w / w)]
        deltas[row] /= config.RPN_BBOX_STD_DEV
    return match, deltas


def _centre_and_size(box: np.ndarray) -> tuple[float, float, float, float]:
    y1, x1, y2, x2 = box
    return (y1 + y2) / 2, (x1 + x2) / 2, y2 - y1, x2 - x1


def _drop(match: np.ndarray, value: int, limit: Any) -> None:
    """Keep at most `limit` anchors with this value; randomly chosen others become neutral."""
    places = np.where(match == value)[0]
    if len(places) > limit:
        match[np.random.choice(places, len(places) - limit, replace=False)] = 0
