"""Figures of images, and of instances with masks, boxes and captions.

Instances have the colour of their class, the same in every figure, and captions do not overlap. For `save` and `ax` see
`mrcnn.visualization.figures`.

Legend: n instances, H W image, C classes incl. background. Images are [H, W, 3] RGB of any number type, from 0 to 255.
Boxes are [n, (y1, x1, y2, x2)] in pixels. Masks are [H, W, n], bool or numbers from 0 to 1.
"""

import logging
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from mrcnn.text import figure_text
from mrcnn.visualization.drawing import Colour
from mrcnn.visualization.figures import (
    Path,
    axes_for,
    display_copy,
    draw_captions,
    drawing_copy,
    finish,
    outline_box,
    show_or_save,
    tint_instance,
)

log = logging.getLogger(__name__)


def display_images(
    images: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    cols: int = 4,
    cmap: Any = None,
    norm: Any = None,
    interpolation: str | None = None,
    save: Path | None = None,
) -> None:
    """Show images in a grid.

    Args:
        images: [H, W, 3] or [H, W] each.
        titles: A title for each image.
        cols: Images per row.
        cmap, norm, interpolation: Arguments of Matplotlib's `imshow`.
        save: File to write instead of showing the figure.

    Raises:
        InputError: `save` cannot be written.
    """
    titles = titles if titles is not None else [""] * len(images)
    rows = max(1, -(-len(images) // cols))
    heights = [image.shape[0] / image.shape[1] for image in images] or [1.0]
    tallest = min(max(heights), max(1.0, float(np.median(heights))))  # a few tall images do not stretch all rows
    figure, axes = plt.subplots(
        rows, cols, figsize=(14, rows * (14 / cols * tallest + 0.4)), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        axis.set_title(figure_text(title), fontsize=9)
        axis.imshow(display_copy(image), cmap=cmap, norm=norm, interpolation=interpolation)
    finish(figure, save)


def display_top_masks(
    image: np.ndarray,
    mask: np.ndarray,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    limit: int = 4,
    save: Path | None = None,
) -> None:
    """Show an image and one panel with the masks of each class, the classes with the largest area first.

    Args:
        image: [H, W, 3].
        mask: [H, W, n].
        class_ids: int [n].
        class_names: [C].
        limit: Maximum number of classes; missing ones get an empty panel.
        save: File to write instead of showing the figure.

    Raises:
        InputError: `save` cannot be written.
    """
    class_ids = np.asarray(class_ids)
    areas = {int(c): int(np.count_nonzero(mask[..., class_ids == c])) for c in np.unique(class_ids) if c > 0}
    top = sorted((c for c in areas if areas[c]), key=lambda c: -areas[c])[:limit]
    panels, titles = [display_copy(image)], [f"H x W = {image.shape[0]} x {image.shape[1]}"]
    for class_id in top:
        numbered = mask[..., class_ids == class_id] * np.arange(1, np.count_nonzero(class_ids == class_id) + 1)
        panels.append(numbered.max(axis=-1))  # each instance has its own shade
        titles.append(class_names[class_id])
    panels += [np.zeros(image.shape[:2], int)] * (limit - len(top))
    titles += ["-"] * (limit - len(top))
    display_images(panels, titles, cols=limit + 1, cmap="Blues_r", save=save)


def show_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    masks: np.ndarray | None,
    colors: Sequence[Colour],
    captions: Sequence[str],
    title: str = "",
    figsize: tuple[float, float] = (16, 16),
    ax: Axes | None = None,
    show_boxes: bool = True,
    save: Path | None = None,
) -> Axes:
    """Show instances with masks, outlines, boxes and captions.

    Args:
        image: [H, W, 3].
        boxes: [n, 4] px; rows of zeros are padding and are left out.
        masks: [H, W, n], or None to draw no masks.
        colors: (r, g, b) from 0 to 1 for each instance.
        captions: Text for each instance; an empty one is not drawn.
        title: Title above the image.
        figsize: (width, height) in inches.
        ax: Axes to draw on.
        show_boxes: Whether to draw boxes.
        save: File to write instead of showing the figure.

    Returns:
        The axes.

    Raises:
        InputError: `save` cannot be written.
    """
    boxes = np.asarray(boxes).reshape(-1, 4)
    if len(boxes) == 0:
        log.info("No instances to display: nothing is labelled, or no score reaches DETECTION_MIN_CONFIDENCE.")
    figure, axis = axes_for(ax, figsize)
    canvas = drawing_copy(image)
    real = [i for i, box in enumerate(boxes) if np.any(box)]
    if masks is not None:
        for i in real:
            tint_instance(canvas, masks[:, :, i], colors[i])
    axis.axis("off")
    axis.set_title(figure_text(title))
    axis.imshow(canvas)
    if show_boxes:
        for i in real:
            outline_box(axis, boxes[i], colors[i], style="--", alpha=0.7)
    draw_captions(axis, canvas.shape, [(boxes[i], captions[i], colors[i]) for i in real])
    return show_or_save(figure, axis, ax, save)


def instance_captions(class_ids: np.ndarray, class_names: Sequence[str], scores: np.ndarray | None = None) -> list[str]:
    """Return the caption "class score" of each instance; class ids int [n], names [C], scores float [n] or None."""
    return [class_names[c] + ("" if scores is None else f" {scores[i]:.3f}") for i, c in enumerate(class_ids)]


def difference_captions(
    gt_class_ids: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    matches: tuple[np.ndarray, np.ndarray, np.ndarray],
    class_names: Sequence[str],
) -> list[str]:
    """Return the captions for `display_differences`: "missed" and the class of an object, score / IoU of a prediction.

    Args:
        gt_class_ids: int [m].
        pred_class_ids: int [n].
        pred_scores: float [n].
        matches: gt_match [m], pred_match [n] and overlaps [n, m] of `mrcnn.evaluation.voc_ap.compute_matches`.
        class_names: [C].

    Returns:
        The captions of the m objects, empty for those that were detected, then those of the n predictions.
    """
    gt_match, pred_match, overlaps = matches
    captions = [
        "" if match > -1 else f"missed {class_names[class_id]}"
        for match, class_id in zip(gt_match, gt_class_ids, strict=True)
    ]
    for i, match in enumerate(pred_match):
        # The IoU with the matched object, else the highest with any object.
        iou = overlaps[i, int(match)] if match > -1 else overlaps[i].max(initial=0)
        captions.append(f"{class_names[pred_class_ids[i]]} {pred_scores[i]:.2f} / {iou:.2f}")
    return captions
