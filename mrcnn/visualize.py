"""Matterport's `mrcnn.visualize`: every name of it, from the module that holds its code.

Functions that show something also take `save=PATH` and draw on `ax=`, as `mrcnn.visualization.figures` describes.

Legend: n instances, H W image, C classes incl. background. Images are [H, W, 3] RGB of any number type, from 0 to 255.
Boxes are [n, (y1, x1, y2, x2)] in pixels. Masks are [H, W, n], bool or numbers from 0 to 1.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from mrcnn.evaluation.voc_ap import compute_matches
from mrcnn.legacy import reexports
from mrcnn.visualization.displays import (
    difference_captions,
    display_images,
    display_top_masks,
    instance_captions,
    show_instances,
)
from mrcnn.visualization.drawing import Colour, apply_mask, class_color, draw_box
from mrcnn.visualization.figures import Path
from mrcnn.visualization.plots import plot_overlaps, plot_pr_curves, plot_precision_recall
from mrcnn.visualization.regions import draw_boxes, draw_rois, random_colors
from mrcnn.visualization.tables import display_table, display_weight_stats

__all__ = [
    "apply_mask",
    "display_differences",
    "display_images",
    "display_instances",
    "display_table",
    "display_top_masks",
    "display_weight_stats",
    "draw_box",
    "draw_boxes",
    "draw_rois",
    "plot_overlaps",
    "plot_pr_curves",
    "plot_precision_recall",
    "random_colors",
]

__getattr__ = reexports.getter(__name__, reexports.VISUALIZE)


def display_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    masks: np.ndarray | None,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    scores: np.ndarray | None = None,
    title: str = "",
    figsize: tuple[float, float] = (16, 16),
    ax: Axes | None = None,
    show_mask: bool = True,
    show_bbox: bool = True,
    colors: Sequence[Colour] | None = None,
    captions: Sequence[str] | None = None,
    save: Path | None = None,
) -> Axes:
    """Show instances with masks, outlines, boxes and captions.

    Args:
        image: [H, W, 3].
        boxes: [n, 4] px; rows of zeros are padding and are left out.
        masks: [H, W, n], or None to draw no masks.
        class_ids: int [n].
        class_names: [C], entry 0 is the background.
        scores: float [n], shown in the captions.
        title: Title above the image.
        figsize: (width, height) in inches.
        ax: Axes to draw on.
        show_mask: Whether to draw masks and outlines.
        show_bbox: Whether to draw boxes.
        colors: (r, g, b) from 0 to 1 for each instance; None takes the colours of the classes.
        captions: Text for each instance instead of class and score.
        save: File to write instead of showing the figure.

    Returns:
        The axes.

    Raises:
        InputError: `save` cannot be written.
    """
    return show_instances(
        image,
        boxes,
        masks if show_mask else None,
        colors if colors is not None else [class_color(class_id) for class_id in class_ids],
        captions if captions is not None else instance_captions(class_ids, class_names, scores),
        title,
        figsize,
        ax,
        show_bbox,
        save,
    )


def display_differences(
    image: np.ndarray,
    gt_box: np.ndarray,
    gt_class_id: np.ndarray,
    gt_mask: np.ndarray,
    pred_box: np.ndarray,
    pred_class_id: np.ndarray,
    pred_score: np.ndarray,
    pred_mask: np.ndarray,
    class_names: Sequence[str],
    title: str = "",
    ax: Axes | None = None,
    show_mask: bool = True,
    show_box: bool = True,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.5,
    save: Path | None = None,
) -> Axes:
    """Show truth (green) and predictions (red) of one image, with score / IoU of each prediction.

    Args:
        image: [H, W, 3].
        gt_box ... pred_mask: As in `mrcnn.evaluation.voc_ap.compute_matches`, without padding.
        class_names: [C].
        title: Title above the image.
        ax: Axes to draw on.
        show_mask, show_box: Whether to draw masks and boxes.
        iou_threshold, score_threshold: As in `compute_matches`.
        save: File to write instead of showing the figure.

    Returns:
        The axes.

    Raises:
        InputError: The masks of truth and predictions differ in height or width, or `save` cannot be written.
    """
    matches = compute_matches(
        gt_box, gt_class_id, gt_mask, pred_box, pred_class_id, pred_score, pred_mask, iou_threshold, score_threshold
    )
    green, red = (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)
    return show_instances(
        image,
        np.concatenate([gt_box, pred_box]),
        np.concatenate([gt_mask, pred_mask], axis=2) if show_mask else None,
        [green] * len(gt_box) + [red] * len(pred_box),
        difference_captions(gt_class_id, pred_class_id, pred_score, matches, class_names),
        title or "Truth (green) and predictions (red): score / IoU",
        ax=ax,
        show_boxes=show_box,
        save=save,
    )
