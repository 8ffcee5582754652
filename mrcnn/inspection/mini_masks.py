"""Measures and draws what masks lose when they are shrunk to mini-masks and expanded again.

Legend: n objects, H W image. Boxes are (y1, x1, y2, x2) px.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.legacy.image_gt import load_image_gt
from mrcnn.structures.masks import expand_mask, minimize_mask
from mrcnn.visualization.figures import Path, axes_for, show_or_save

# Sides of objects, in pixels, that separate the rows of the table.
BORDERS = (8, 16, 32, 64, 128, 256)


def round_trip_pictures(
    masks: np.ndarray, boxes: np.ndarray, names: Sequence[str], mini_shape: Sequence[int], count: int = 4
) -> tuple[list[np.ndarray], list[str]]:
    """Draw the largest masks, their mini-masks, the masks expanded from those, and the pixels that differ.

    Args:
        masks: bool [H, W, n].
        boxes: int [n, (y1, x1, y2, x2)].
        names: [n] class names.
        mini_shape: (height, width) of a mini-mask.
        count: Number of masks.

    Returns:
        Four pictures of each mask, bool [h, w], and their titles, for `display_images` with four columns.
    """
    minis = minimize_mask(boxes, masks, mini_shape)
    expanded = expand_mask(boxes, minis, masks.shape)
    pictures, titles = [], []
    sides = boxes[:, 2:] - boxes[:, :2]
    for i in np.argsort(-sides.prod(axis=1))[:count]:
        y1, x1, y2, x2 = boxes[i]
        before, after = masks[y1:y2, x1:x2, i], expanded[y1:y2, x1:x2, i]
        pictures += [before, minis[..., i], after, before != after]
        titles += [
            f"{names[i]}: {y2 - y1} x {x2 - x1} px",
            f"mini-mask {mini_shape[0]} x {mini_shape[1]}",
            "expanded",
            f"{np.count_nonzero(before != after)} pixels differ, IoU {_iou(before, after):.3f}",
        ]
    return pictures, titles


def round_trip_ious(
    dataset: Dataset,
    config: Config,
    image_ids: Iterable[int],
    sizes: Sequence[int] = (14, 28, 56, 112),
    progress: Callable[[Iterable], Iterable] = iter,
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Measure the IoU of full masks before and after a round trip through mini-masks of several sizes.

    Args:
        dataset: Prepared dataset.
        config: Settings; IMAGE_* are read.
        image_ids: Ids of the images in the dataset.
        sizes: Sides of square mini-masks.
        progress: Wraps the loop over the images, for a progress bar.

    Returns:
        The longer side of each object's box in pixels, int [n], and size -> IoU of each object, float [n].

    Raises:
        InputError: See `load_image_gt`.
    """
    sides: list[int] = []
    ious: dict[int, list[float]] = {size: [] for size in sizes}
    for image_id in progress(image_ids):
        _, _, _, boxes, masks = load_image_gt(dataset, config, image_id)
        sides += (boxes[:, 2:] - boxes[:, :2]).max(axis=1).tolist()
        for size in sizes:
            expanded = expand_mask(boxes, minimize_mask(boxes, masks, (size, size)), masks.shape)
            ious[size] += [_iou(masks[..., i], expanded[..., i]) for i in range(len(boxes))]
    return np.array(sides, int), {size: np.array(values) for size, values in ious.items()}


def round_trip_table(sides: np.ndarray, ious: dict[int, np.ndarray]) -> list[list[str]]:
    """Return rows for `display_table`: the mean IoU by side of the object, with one column per mini-mask size.

    Args:
        sides, ious: As `round_trip_ious` returns them: int [n] px, float [n] for each size.
    """
    rows = [["longer side, px", "objects", *(f"{size} x {size}" for size in ious)]]
    groups = np.digitize(sides, BORDERS)
    for group in np.unique(groups):
        low, high = (0, *BORDERS)[group], (*BORDERS, None)[group]
        own = groups == group
        rows.append(
            [
                f"{low} to {high - 1}" if high else f"{low} and more",
                str(own.sum()),
                *(f"{values[own].mean():.3f}" for values in ious.values()),
            ]
        )
    return [*rows, ["all", str(len(sides)), *(f"{values.mean():.3f}" for values in ious.values())]]


def plot_round_trip(
    sides: np.ndarray, ious: dict[int, np.ndarray], ax: Axes | None = None, save: Path | None = None
) -> Axes:
    """Plot the IoU over the longer side of the object, with one point per object and mini-mask size.

    Args:
        sides, ious: As `round_trip_ious` returns them: int [n] px, float [n] for each size.
        ax: Axes to draw on.
        save: File to write instead of showing the figure.

    Returns:
        The axes.

    Raises:
        InputError: `save` cannot be written.
    """
    figure, axis = axes_for(ax, (9, 4))
    for size, values in ious.items():
        axis.scatter(sides, values, s=10, alpha=0.6, linewidths=0, label=f"{size} x {size}: mean {values.mean():.3f}")
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_xlabel("longer side of the object, pixels of the network's input")
    axis.set_ylabel("IoU after the round trip")
    axis.set_ylim(top=1.005)
    axis.grid(alpha=0.3)
    axis.legend(title="mini-mask", loc="lower left")
    return show_or_save(figure, axis, ax, save)


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    """Return the IoU of two masks, bool of the same shape; 1 if both are empty."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0
