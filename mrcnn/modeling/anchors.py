"""Anchors of the region proposal network, one scale per pyramid level.

Legend: A anchors. Boxes are [..., (y1, x1, y2, x2)]; `*_px` pixels, `*_norm` Matterport's (h - 1, w - 1) convention.

References: Ren et al., Faster R-CNN (arXiv:1506.01497); Lin et al., FPN (arXiv:1612.03144).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.backbones import SINGLE_MAP_STRIDE, ending
from mrcnn.config import Config
from mrcnn.structures.boxes import norm_boxes


def generate_anchors(
    scales: Any, ratios: Sequence, shape: tuple, feature_stride: Any, anchor_stride: int, rounded: bool = False
) -> np.ndarray:
    """Return the anchors of one pyramid level, centred on the corners of the feature map's cells.

    Args:
        scales: side lengths in pixels of the square anchor; a number or a list.
        ratios: width / height of each anchor.
        shape: (height, width) of the feature map.
        feature_stride: pixels of the image per cell of the feature map; a number, or one for rows and one for columns.
        anchor_stride: 1 puts anchors at every cell, 2 at every other one.
        rounded: round the distances from the centre to the sides to whole pixels, as torchvision does.

    Returns:
        [A, 4] float64 pixels, (y1, x1, y2, x2), ordered by row, then column, then ratio, then scale.
    """
    root = np.sqrt(np.asarray(ratios, np.float64)).reshape(-1, 1)
    side = np.asarray(scales).reshape(1, -1)
    sizes = np.stack([side / root, side * root], axis=-1).reshape(-1, 2)  # [ratios * scales, (height, width)]
    half = np.round(0.5 * sizes) if rounded else 0.5 * sizes
    row_stride, column_stride = np.broadcast_to(feature_stride, 2)
    rows = np.arange(0, shape[0], anchor_stride) * row_stride
    columns = np.arange(0, shape[1], anchor_stride) * column_stride
    centers = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)[:, :, None]  # [rows, columns, 1, (y, x)]
    return np.concatenate([centers - half, centers + half], axis=-1).reshape(-1, 4)


def generate_pyramid_anchors(
    scales: Sequence, ratios: Sequence, feature_shapes: np.ndarray, feature_strides: Sequence, anchor_stride: int
) -> np.ndarray:
    """Return the anchors of all levels, the finest level first.

    Args:
        scales: one side length in pixels per level.
        ratios: width / height, the same for all levels.
        feature_shapes: [levels, (height, width)], cells of each level's feature map.
        feature_strides: pixels per cell of each level.
        anchor_stride: see `generate_anchors`.

    Returns:
        [A, 4] float64 pixels, (y1, x1, y2, x2).
    """
    levels = zip(scales, feature_shapes, feature_strides, strict=True)
    return np.concatenate([generate_anchors(s, ratios, shape, stride, anchor_stride) for s, shape, stride in levels])


def anchor_levels(config: Config) -> list[tuple[int, tuple[float, ...]]]:
    """Return the stride and the anchor scales of each map, in pixels: one scale per level, or all on a single map."""
    if ending(config.BACKBONE):
        return [(SINGLE_MAP_STRIDE, tuple(config.RPN_ANCHOR_SCALES))]
    return [(s, (scale,)) for s, scale in zip(config.BACKBONE_STRIDES, config.RPN_ANCHOR_SCALES, strict=True)]


def anchors_per_location(config: Config) -> int:
    """Return the number of anchors of a cell of any map."""
    return len(config.RPN_ANCHOR_RATIOS) * len(anchor_levels(config)[0][1])


def compute_backbone_shapes(config: Config, image_shape: tuple) -> np.ndarray:
    """Return the sizes of the feature maps that the backbone makes of an image.

    Args:
        config: BACKBONE and BACKBONE_STRIDES are read; if BACKBONE is a function, COMPUTE_BACKBONE_SHAPE(image_shape)
            is called instead.
        image_shape: (height, width, ...) in pixels of the network's input.

    Returns:
        [levels, (height, width)] int: the size divided by the stride, rounded up.
    """
    if callable(config.BACKBONE):
        assert config.COMPUTE_BACKBONE_SHAPE is not None, "Config.validate() requires it"
        return np.asarray(config.COMPUTE_BACKBONE_SHAPE(image_shape))
    strides = np.asarray([SINGLE_MAP_STRIDE] if ending(config.BACKBONE) else config.BACKBONE_STRIDES)[:, None]
    return np.ceil(np.asarray(image_shape[:2])[None] / strides).astype(np.int64)


def pyramid_anchors_px(config: Config, image_shape: tuple) -> np.ndarray:
    """Return the anchors of an image of this shape, square or not.

    Args:
        config: RPN_ANCHOR_*, BACKBONE and BACKBONE_STRIDES are read.
        image_shape: (height, width, ...) in pixels of the network's input.

    Returns:
        [A, 4] float (y1, x1, y2, x2) pixels, in the order of the RPN's outputs.
    """
    shapes = compute_backbone_shapes(config, image_shape)
    parts = []
    for (stride, scales), shape in zip(anchor_levels(config), shapes, strict=True):
        step = np.asarray(image_shape[:2]) // shape if config.RPN_ANCHOR_ROUNDED else stride
        rules = shape, step, config.RPN_ANCHOR_STRIDE, config.RPN_ANCHOR_ROUNDED
        of_scales = [generate_anchors(scale, config.RPN_ANCHOR_RATIOS, *rules) for scale in scales]
        count = len(config.RPN_ANCHOR_RATIOS)
        # several scales on one map are ordered by scale, then ratio, as in Detectron2
        parts.append(np.stack([part.reshape(-1, count, 4) for part in of_scales], axis=1).reshape(-1, 4))
    return np.concatenate(parts)


def pyramid_anchors(config: Config, image_shape: tuple) -> np.ndarray:
    """Return `pyramid_anchors_px` in normalised coordinates, [A, 4] float32."""
    boxes_px = pyramid_anchors_px(config, image_shape)
    return norm_boxes(boxes_px, image_shape[:2], config.BOX_CONVENTION == "continuous")
