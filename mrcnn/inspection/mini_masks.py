"""What a mask loses on its way through a mini-mask. Legend: n objects, H W image. Boxes are (y1, x1, y2, x2) px."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.legacy.image_gt import load_image_gt
from mrcnn.structures.masks import expand_mask, minimize_mask
from mrcnn.visualization.figures import Path, axes_for, show_or_save

# Sides of objects, pixels: where the figures change their row
BORDERS = (8, 16, 32, 64, 128, 256)


def detour_pictures(
    masks: np.ndarray, boxes: np.ndarray, names: Sequence[str], mini_shape: Sequence[int], count: int = 4
) -> tuple[list[np.ndarray], list[str]]:
    """The largest masks before, as mini-masks and expanded again, and the pixels that differ.

    Args:
        masks: bool [H, W, n].
        boxes: int [n, (y1, x1, y2, x2)].
        names: [n].
        mini_shape: (height, width).
        count: how many masks.

    Returns:
        Four pictures, bool [h, w], for each and their titles, for `display_images` with four columns.
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


def losses(
    dataset: Dataset,
    config: Config,
    image_ids: Iterable[int],
    sizes: Sequence[int] = (14, 28, 56, 112),
    progress: Callable[[Iterable], Iterable] = iter,
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """How well full masks survive the detour over mini-masks of some sizes.

    Args:
        dataset: prepared.
        config: IMAGE_* are read.
        image_ids: which images.
        sizes: sides of square mini-masks.
        progress: wraps the loop over the images.

    Returns:
        The longer side of each object's box in pixels, int [n], and for each size the IoUs, float [n].

    Raises:
        InputError: see `load_image_gt`.
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


def loss_table(sides: np.ndarray, ious: dict[int, np.ndarray]) -> list[list[str]]:
    """Rows for `display_table`: the mean IoU by the side of the object, one column a mini-mask size.

    Args:
        sides, ious: of `losses`, px and IoU.
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


def plot_losses(
    sides: np.ndarray, ious: dict[int, np.ndarray], ax: Axes | None = None, save: Path | None = None
) -> Axes:
    """One point an object and mini-mask size: the IoU over the longer side.

    Args:
        sides, ious: of `losses`.
        ax: axes to draw on.
        save: file to write instead of showing.

    Returns:
        The axes.
    """
    figure, axis = axes_for(ax, (9, 4))
    for size, values in ious.items():
        axis.scatter(sides, values, s=10, alpha=0.6, linewidths=0, label=f"{size} x {size}: mean {values.mean():.3f}")
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_xlabel("longer side of the object, pixels of the network's input")
    axis.set_ylabel("IoU after the detour")
    axis.set_ylim(top=1.005)
    axis.grid(alpha=0.3)
    axis.legend(title="mini-mask", loc="lower left")
    return show_or_save(figure, axis, ax, save)


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0
