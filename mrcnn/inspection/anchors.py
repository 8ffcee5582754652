"""Figures and tables of anchors for the notebooks: positions, order, overlap with objects, training targets.

Legend: A anchors, n objects, C classes incl. background. Boxes are (y1, x1, y2, x2) in pixels of the network's input.
"""

import copy
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from mrcnn.backbones import ending
from mrcnn.config import Config
from mrcnn.modeling.anchors import (
    anchor_levels,
    anchors_per_location,
    compute_backbone_shapes,
    pyramid_anchors_px,
)
from mrcnn.modeling.targets import ANCHOR_POSITIVE_IOU, build_rpn_targets
from mrcnn.structures.boxes import apply_box_deltas, compute_overlaps
from mrcnn.visualization.drawing import class_color
from mrcnn.visualization.figures import Path, axes_for, finish, show_or_save
from mrcnn.visualization.regions import draw_boxes

Row = list[str]
KINDS = {1: "positive", 0: "neutral", -1: "negative"}


def level_sizes(config: Config, shape: Sequence[int]) -> np.ndarray:
    """Return the number of anchors of each level of the pyramid, int [levels], the finest level first.

    Args:
        config: Settings; strides and RPN_ANCHOR_* are read.
        shape: (H, W, ...) of the image.
    """
    cells = -(-compute_backbone_shapes(config, tuple(shape)) // config.RPN_ANCHOR_STRIDE)
    return cells.prod(axis=1) * anchors_per_location(config)


def level_names(config: Config) -> list[str]:
    """Return P2, P3, ..., or C4 or DC5 for a single map."""
    if single := ending(config.BACKBONE):
        return [single.lstrip("-").upper()]
    return [f"P{number}" for number, _ in enumerate(anchor_levels(config), 2)]


def level_table(config: Config, shape: Sequence[int]) -> list[Row]:
    """Return rows for `display_table`: the anchors of each pyramid level. For the arguments see `level_sizes`."""
    sizes = level_sizes(config, shape)
    rows = [["level", "stride, px", "cells", "anchor side, px", "anchors", "share"]]
    shapes = compute_backbone_shapes(config, tuple(shape))
    levels = zip(level_names(config), shapes, anchor_levels(config), sizes, strict=True)
    for name, (height, width), (stride, scales), count in levels:
        sides = ", ".join(map(str, scales))
        rows.append([name, f"{stride}", f"{height} x {width}", sides, f"{count:,}", f"{count / sizes.sum():.1%}"])
    return [*rows, ["all", "", "", "", f"{sizes.sum():,}", "100 %"]]


def order_table(config: Config, shape: Sequence[int], indices: Sequence[int]) -> list[Row]:
    """Return rows for `display_table`: level, row, column, ratio (width / height) and box of some anchors.

    Args:
        config, shape: As in `level_sizes`.
        indices: Positions of the anchors, from 0 to A - 1.
    """
    anchors, sizes = pyramid_anchors_px(config, tuple(shape)), level_sizes(config, shape)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    widths = -(-compute_backbone_shapes(config, tuple(shape))[:, 1] // config.RPN_ANCHOR_STRIDE)
    names, ratios = level_names(config), config.RPN_ANCHOR_RATIOS
    rows = [["index", "level", "row", "column", "width / height", "y1, x1, y2, x2"]]
    for index in indices:
        level = int(np.searchsorted(starts, index, side="right")) - 1
        cell, number = divmod(int(index - starts[level]), anchors_per_location(config))
        row, column = divmod(cell, int(widths[level]))
        box, ratio = ", ".join(f"{v:.1f}" for v in anchors[index]), ratios[number % len(ratios)]
        rows.append([f"{index:,}", names[level], f"{row}", f"{column}", f"{ratio:g}", box])
    return rows


def plot_middle_cell(image: np.ndarray, config: Config, ax: Axes | None = None, save: Path | None = None) -> Axes:
    """Draw the anchors of the middle cell of each level, each level in its own colour, with a legend.

    Args:
        image: uint8 [H, W, 3].
        config: Settings; strides and RPN_ANCHOR_* are read.
        ax: Axes to draw on.
        save: File to write instead of showing the figure.

    Returns:
        The axes.

    Raises:
        InputError: `save` cannot be written.
    """
    figure, axis = axes_for(ax, (11, 6.5))
    anchors, sizes = pyramid_anchors_px(config, image.shape), level_sizes(config, image.shape)
    shapes, names, count = (
        compute_backbone_shapes(config, image.shape),
        level_names(config),
        anchors_per_location(config),
    )
    start = 0
    for level, (size, shape) in enumerate(zip(sizes, shapes, strict=True)):
        rows, columns = -(-shape // config.RPN_ANCHOR_STRIDE)
        first = start + ((rows // 2) * columns + columns // 2) * count
        for number, (y1, x1, y2, x2) in enumerate(anchors[first : first + count]):
            axis.plot(
                [x1, x2, x2, x1, x1],
                [y1, y1, y2, y2, y1],
                color=class_color(level + 1),
                linewidth=2,
                label=None if number else f"{names[level]}: {size:,}",
            )
        start += size
    axis.imshow(image, alpha=0.6)
    axis.set_title("the anchors of the middle cell of each level")
    axis.legend(loc="upper left", title="level: anchors")
    axis.axis("off")
    return show_or_save(figure, axis, ax, save)


def anchor_kinds(config: Config, shape: Sequence[int], class_ids: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the kind of every anchor before sampling: int [A], 1 positive, 0 neutral, -1 negative.

    Args:
        config: Settings; RPN_ANCHOR_* are read.
        shape: (H, W, ...) of the image.
        class_ids: int [n], negative for crowds.
        boxes: [n, 4].
    """
    anchors = pyramid_anchors_px(config, tuple(shape))
    unsampled = copy.copy(config)
    unsampled.RPN_TRAIN_ANCHORS_PER_IMAGE = 2 * len(anchors)  # room for all of them
    return build_rpn_targets(tuple(shape), anchors, class_ids, boxes, unsampled)[0]


def reach_table(
    config: Config, shape: Sequence[int], class_ids: np.ndarray, boxes: np.ndarray, class_names: Sequence[str]
) -> list[Row]:
    """Return rows for `display_table`, one per object, the smallest first: best IoU and number of positive anchors.

    Args:
        config, shape, class_ids, boxes: As in `anchor_kinds`.
        class_names: [C].
    """
    overlaps = compute_overlaps(pyramid_anchors_px(config, tuple(shape)), boxes)  # [A, n]
    own = (overlaps >= ANCHOR_POSITIVE_IOU) | (overlaps == overlaps.max(axis=0))
    sides = boxes[:, 2:] - boxes[:, :2]
    rows = [["object", "height x width, px", "best IoU", "positive anchors"]]
    for i in np.argsort(sides.prod(axis=1)):
        rows.append(
            [
                class_names[abs(class_ids[i])],
                f"{sides[i, 0]} x {sides[i, 1]}",
                f"{overlaps[:, i].max():.2f}",
                str(np.count_nonzero(own[:, i])),
            ]
        )
    return rows


def plot_kinds(
    image: np.ndarray,
    config: Config,
    class_ids: np.ndarray,
    boxes: np.ndarray,
    limit: int = 40,
    save: Path | None = None,
) -> None:
    """Draw one panel each with the boxes of the objects and the positive, neutral and negative anchors.

    Args:
        image: uint8 [H, W, 3].
        config, class_ids, boxes: As in `anchor_kinds`.
        limit: Maximum number of anchors of each kind, chosen by `np.random`.
        save: File to write instead of showing the figure.

    Raises:
        InputError: `save` cannot be written.
    """
    anchors = pyramid_anchors_px(config, image.shape)
    kinds = anchor_kinds(config, image.shape, class_ids, boxes)
    figure, axes = plt.subplots(2, 2, figsize=(13, 8), layout="constrained")
    axes = axes.ravel()
    draw_boxes(image, boxes, title=f"{len(boxes)} objects", ax=axes[0], visibilities=[2] * len(boxes))
    for axis, (kind, name) in zip(axes[1:], KINDS.items(), strict=True):
        own = np.flatnonzero(kinds == kind)
        chosen = np.random.permutation(own)[:limit]
        draw_boxes(
            image,
            anchors[chosen],
            title=f"{name}: {len(own):,} anchors ({len(chosen)} shown)",
            ax=axis,
            visibilities=[2] * len(chosen),
        )
    finish(figure, save)


def plot_refinement(
    image: np.ndarray,
    config: Config,
    class_ids: np.ndarray,
    boxes: np.ndarray,
    ax: Axes | None = None,
    save: Path | None = None,
) -> Axes:
    """Draw the sampled positive anchors, dotted, and the boxes that their targets refine them to, solid.

    Args:
        image: uint8 [H, W, 3].
        config, class_ids, boxes: As in `anchor_kinds`.
        ax: Axes to draw on.
        save: File to write instead of showing the figure.

    Returns:
        The axes.

    Raises:
        InputError: `save` cannot be written.
    """
    anchors = pyramid_anchors_px(config, image.shape)
    match, deltas = build_rpn_targets(image.shape, anchors, class_ids, boxes, config)
    positive = anchors[match == 1]
    refined = apply_box_deltas(positive, deltas[: len(positive)] * config.RPN_BBOX_STD_DEV)
    title = f"a sample: {len(positive)} positive, {np.count_nonzero(match == -1)} negative anchors"
    return draw_boxes(image, positive, refined, title=title, ax=ax, save=save)
