"""Pictures: instances, boxes and masks for notebooks under Matterport's names, and the plots of evaluation and weights.

Functions that show something take `save=PATH` (written, then closed) or `ax=` (drawn there, nothing shown). Without
either they show the figure if there is a display or a notebook, and leave it open for `plt.savefig` if there is none.

Objects have the colours of their classes, the same in every picture; captions do not cover each other.

Legend: n instances, H W image, h w mask target, C classes incl. background. Images are [H, W, 3] RGB of any number
type, from 0 to 255. Boxes are [n, (y1, x1, y2, x2)] in pixels. Masks are [H, W, n], bool or numbers from 0 to 1.
"""

import colorsys
import html
import logging
import random
from collections.abc import Sequence
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import patches
from matplotlib.axes import Axes

from mrcnn.errors import InputError
from mrcnn.evaluation.voc_ap import compute_matches
from mrcnn.structures.masks import unmold_mask
from mrcnn.visualization.drawing import Colour, Plate, class_color, free_place
from mrcnn.visualization.plots import (
    Path,
    axes_for,
    finish,
    plot_overlaps,
    plot_pr_curves,
    plot_precision_recall,
    show_or_save,
)

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

log = logging.getLogger(__name__)

_CAPTION_PT = 8
_OUTLINED = 1000  # px of image width for each pixel of an outline


def display_images(
    images: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    cols: int = 4,
    cmap: Any = None,
    norm: Any = None,
    interpolation: str | None = None,
    save: Path | None = None,
) -> None:
    """Shows images in a grid.

    Args:
        images: [H, W, 3] or [H, W] each.
        titles: One for each image.
        cols: Images per row.
        cmap, norm, interpolation: As `imshow` takes them.
        save: File to write instead of showing.
    """
    titles = titles if titles is not None else [""] * len(images)
    rows = max(1, -(-len(images) // cols))
    heights = [image.shape[0] / image.shape[1] for image in images] or [1.0]
    tallest = min(max(heights), max(1.0, float(np.median(heights))))  # a few tall ones do not stretch all rows
    figure, axes = plt.subplots(
        rows, cols, figsize=(14, rows * (14 / cols * tallest + 0.4)), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        axis.set_title(title, fontsize=9)
        axis.imshow(_shown(image), cmap=cmap, norm=norm, interpolation=interpolation)
    finish(figure, save)


def random_colors(N: int, bright: bool = True) -> list[Colour]:
    """N colours of hues spread evenly, shuffled.

    Args:
        N: How many.
        bright: Full brightness, else 0.7.

    Returns:
        (r, g, b) from 0 to 1.
    """
    colors = [colorsys.hsv_to_rgb(i / N, 1.0, 1.0 if bright else 0.7) for i in range(N)]
    random.shuffle(colors)
    return colors


def apply_mask(image: np.ndarray, mask: np.ndarray, color: Sequence[float], alpha: float = 0.5) -> np.ndarray:
    """Tints the pixels of a mask, in place.

    Args:
        image: [H, W, 3], 0 to 255.
        mask: [H, W], bool or numbers; a pixel belongs to it where the value is 1 (or True).
        color: (r, g, b) from 0 to 1.
        alpha: Opacity.

    Returns:
        `image`.
    """
    chosen = np.asarray(mask) == 1
    image[chosen] = image[chosen] * (1 - alpha) + alpha * np.asarray(color) * 255
    return image


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
    """Shows instances with masks, outlines, boxes and captions.

    Args:
        image: [H, W, 3].
        boxes: [n, 4] px; zero rows are padding and are left out.
        masks: [H, W, n], or None without masks.
        class_ids: int [n].
        class_names: [C], entry 0 is the background.
        scores: [n], for the captions.
        title: Above the image.
        figsize: Inches.
        ax: Axes to draw on.
        show_mask: Whether masks and outlines are drawn.
        show_bbox: Whether boxes are drawn.
        colors: (r, g, b) from 0 to 1 for each instance; None gives each that of its class.
        captions: Text for each instance instead of class and score.
        save: File to write instead of showing.

    Returns:
        The axes.
    """
    boxes = np.asarray(boxes).reshape(-1, 4)
    if len(boxes) == 0:
        log.info("No instances to display: nothing was found above DETECTION_MIN_CONFIDENCE, or nothing is labelled")
    figure, axis = axes_for(ax, figsize)
    colors = colors if colors is not None else [class_color(class_id) for class_id in class_ids]
    canvas = _canvas(image)
    real = [i for i, box in enumerate(boxes) if np.any(box)]
    if show_mask and masks is not None:
        for i in real:
            _tint(canvas, masks[:, :, i], colors[i])
    axis.axis("off")
    axis.set_title(title)
    axis.imshow(canvas)
    for i in real if show_bbox else []:
        _rectangle(axis, boxes[i], colors[i], style="--", alpha=0.7)
    if captions is None:
        captions = [
            class_names[c] + (f" {scores[i]:.3f}" if scores is not None else "") for i, c in enumerate(class_ids)
        ]
    _write_captions(axis, canvas.shape, [(boxes[i], captions[i], colors[i]) for i in real])
    return show_or_save(figure, axis, ax, save)


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
    """Shows truth (green) and predictions (red) of one image; captions give score / IoU of each prediction.

    Args:
        image: [H, W, 3].
        gt_box ... pred_mask: As `mrcnn.evaluation.voc_ap.compute_matches` takes them, without padding.
        class_names: [C].
        title: Above the image.
        ax: Axes to draw on.
        show_mask, show_box: What is drawn.
        iou_threshold, score_threshold: As `compute_matches` takes them.
        save: File to write instead of showing.

    Returns:
        The axes.

    Raises:
        InputError: The masks of truth and predictions differ in height or width.
    """
    gt_match, pred_match, overlaps = compute_matches(
        gt_box, gt_class_id, gt_mask, pred_box, pred_class_id, pred_score, pred_mask, iou_threshold, score_threshold
    )
    captions = [
        "" if match > -1 else f"missed {class_names[class_id]}"
        for match, class_id in zip(gt_match, gt_class_id, strict=True)
    ]
    for i, match in enumerate(pred_match):
        # The IoU is that of the object it was matched with, else the best with any.
        iou = overlaps[i, int(match)] if match > -1 else overlaps[i].max(initial=0)
        captions.append(f"{class_names[pred_class_id[i]]} {pred_score[i]:.2f} / {iou:.2f}")
    green, red = (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)
    return display_instances(
        image,
        np.concatenate([gt_box, pred_box]),
        np.concatenate([gt_mask, pred_mask], axis=2),
        np.concatenate([gt_class_id, pred_class_id]),
        class_names,
        np.concatenate([np.zeros(len(gt_box)), pred_score]),
        title or "Truth (green) and predictions (red): score / IoU",
        ax=ax,
        show_mask=show_mask,
        show_bbox=show_box,
        colors=[green] * len(gt_box) + [red] * len(pred_box),
        captions=captions,
        save=save,
    )


def draw_rois(
    image: np.ndarray,
    rois: np.ndarray,
    refined_rois: np.ndarray,
    mask: np.ndarray,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    limit: int = 10,
    ax: Axes | None = None,
    save: Path | None = None,
) -> Axes:
    """Shows a random choice of training ROIs, dashed, with their refined boxes and masks; background ROIs are gray.

    Args:
        image: [H, W, 3].
        rois: [n, 4] px.
        refined_rois: [n, 4] px, the box each ROI should become.
        mask: [n, h, w], the mask target of each ROI over the ROI, as `data_generator` gives it; or [n, H, W].
        class_ids: int [n], 0 is background.
        class_names: [C].
        limit: How many are drawn.
        ax: Axes to draw on.
        save: File to write instead of showing.

    Returns:
        The axes.
    """
    figure, axis = axes_for(ax, (12, 12))
    canvas = _canvas(image)
    chosen = np.random.permutation(len(rois))[:limit]
    captions = []
    for i in sorted(chosen.tolist(), key=lambda i: class_ids[i] > 0):  # the background below
        color = class_color(class_ids[i])
        if class_ids[i] == 0:
            _rectangle(axis, rois[i], (0.6, 0.6, 0.6), style="--")
            continue
        _rectangle(axis, rois[i], color, style="--")
        _rectangle(axis, refined_rois[i], color)
        axis.plot([rois[i][1], refined_rois[i][1]], [rois[i][0], refined_rois[i][0]], color=color, linewidth=1)
        captions.append((refined_rois[i], class_names[class_ids[i]], color))
        whole = mask[i] if mask[i].shape == canvas.shape[:2] else unmold_mask(mask[i], rois[i], canvas.shape)
        _tint(canvas, whole, color)
    positive = int(np.count_nonzero(np.asarray(class_ids) > 0))
    axis.set_title(f"{len(chosen)} of {len(rois)} ROIs; {positive} positive, {len(rois) - positive} negative")
    axis.axis("off")
    axis.imshow(canvas)
    _write_captions(axis, canvas.shape, captions)
    return show_or_save(figure, axis, ax, save)


def draw_box(image: np.ndarray, box: Sequence[int], color: Sequence[float]) -> np.ndarray:
    """Draws the frame of a box, two pixels wide, in place.

    Args:
        image: [H, W, 3].
        box: (y1, x1, y2, x2) px.
        color: Three values as they stand in the image.

    Returns:
        `image`.
    """
    y1, x1, y2, x2 = (max(0, int(v)) for v in box)  # a negative index would wrap to the other side
    image[y1 : y1 + 2, x1:x2] = color
    image[y2 : y2 + 2, x1:x2] = color
    image[y1:y2, x1 : x1 + 2] = color
    image[y1:y2, x2 : x2 + 2] = color
    return image


def display_top_masks(
    image: np.ndarray,
    mask: np.ndarray,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    limit: int = 4,
    save: Path | None = None,
) -> None:
    """Shows the image and, per class, all its masks in one picture, the classes of the largest area first.

    Args:
        image: [H, W, 3].
        mask: [H, W, n].
        class_ids: int [n].
        class_names: [C].
        limit: How many classes.
        save: File to write instead of showing.
    """
    class_ids = np.asarray(class_ids)
    areas = {int(c): int(np.count_nonzero(mask[..., class_ids == c])) for c in np.unique(class_ids) if c > 0}
    top = sorted((c for c in areas if areas[c]), key=lambda c: -areas[c])[:limit]
    pictures, titles = [_shown(image)], [f"H x W = {image.shape[0]} x {image.shape[1]}"]
    for class_id in top:
        numbered = mask[..., class_ids == class_id] * np.arange(1, np.count_nonzero(class_ids == class_id) + 1)
        pictures.append(numbered.max(axis=-1))  # each instance its own shade
        titles.append(class_names[class_id])
    pictures += [np.zeros(image.shape[:2], int)] * (limit - len(top))
    titles += ["-"] * (limit - len(top))
    display_images(pictures, titles, cols=limit + 1, cmap="Blues_r", save=save)


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray | None = None,
    refined_boxes: np.ndarray | None = None,
    masks: np.ndarray | None = None,
    captions: Sequence[str] | None = None,
    visibilities: Sequence[int] | None = None,
    title: str = "",
    ax: Axes | None = None,
    save: Path | None = None,
    colors: Sequence[Colour] | None = None,
) -> Axes:
    """Shows boxes, what they were refined to, and masks.

    Args:
        image: [H, W, 3].
        boxes: [n, 4] px.
        refined_boxes: [n, 4] px, drawn solid and joined to their box.
        masks: [H, W, n].
        captions: Text for each box.
        visibilities: 0 gray and dotted, 1 in colour and dotted, 2 in colour and solid, for each box; None is 1.
        title: Above the image.
        ax: Axes to draw on.
        save: File to write instead of showing.
        colors: (r, g, b) from 0 to 1 for each box; None gives random ones, to tell neighbours apart.

    Returns:
        The axes.

    Raises:
        InputError: Neither boxes nor refined boxes were given.
    """
    if boxes is None and refined_boxes is None:
        raise InputError("draw_boxes: give boxes, refined_boxes or both")
    count = len(boxes if boxes is not None else refined_boxes)  # type: ignore[arg-type]
    figure, axis = axes_for(ax, (12, 12))
    canvas = _canvas(image)
    axis.set_title(title)
    axis.axis("off")
    texts = []
    for i, color in enumerate(colors if colors is not None else random_colors(count)):
        visibility = 1 if visibilities is None else visibilities[i]
        color = (0.6, 0.6, 0.6) if visibility == 0 else color
        alpha, style = (0.5 if visibility == 0 else 1.0), ("-" if visibility == 2 else ":")
        frames = [b[i] for b in (boxes, refined_boxes) if b is not None and np.any(b[i])]
        if boxes is not None and np.any(boxes[i]):
            _rectangle(axis, boxes[i], color, style=style, alpha=alpha)
        if refined_boxes is not None and visibility > 0 and np.any(refined_boxes[i]):
            _rectangle(axis, refined_boxes[i], color)
        if len(frames) == 2 and visibility > 0:
            axis.plot([f[1] for f in frames], [f[0] for f in frames], color=color, linewidth=1)
        if captions is not None and frames:
            texts.append((frames[-1], captions[i], color))
        if masks is not None:
            _tint(canvas, masks[:, :, i], color)
    axis.imshow(canvas)
    _write_captions(axis, canvas.shape, texts)
    return show_or_save(figure, axis, ax, save)


def display_table(table: Sequence[Sequence[Any]]) -> str:
    """Shows rows of values as an HTML table in a notebook; elsewhere they are logged.

    Args:
        table: Rows of values; the first may be the headings.

    Returns:
        The HTML.
    """
    rows = ["".join(f"<td>{html.escape(str(value))}</td>" for value in row) for row in table]
    text = "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"
    if _in_notebook():
        from IPython.display import HTML, display

        display(HTML(text))
    else:
        for row in table:
            log.info("  ".join(f"{value!s:<20}" for value in row))
    return text


def display_weight_stats(model: Any) -> str:
    """Shows name, shape, least, greatest and standard deviation of every weight of a model.

    Weights that look dead (all equal) or are very large are marked with `*` after the name.

    Args:
        model: A `MaskRCNN` or a Keras model.

    Returns:
        The HTML of `display_table`.
    """
    layers = model.get_trainable_layers() if hasattr(model, "get_trainable_layers") else model.layers
    table: list[list[str]] = [["WEIGHT NAME", "SHAPE", "MIN", "MAX", "STD"]]
    for layer in layers:
        for variable, value in zip(layer.weights, layer.get_weights(), strict=True):
            name = variable.path
            low, high, spread = float(value.min()), float(value.max()), float(value.std())
            # Biases and batch-norm shifts start at zero: only kernels are dead when all their values agree.
            odd = (low == high and value.ndim > 1) or low < -1000 or high > 1000
            figures = [f"{number:+.6f}" for number in (low, high, spread)]
            table.append([name + (" *" if odd else ""), str(value.shape), *figures])
    return display_table(table)


def _shown(image: np.ndarray) -> np.ndarray:
    """The image as a uint8 copy; [H, W] label pictures stay what they are."""
    image = np.asarray(image)
    if image.ndim == 2:
        return image
    image = np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image[..., :3].copy()
    return image if image.dtype == np.uint8 else np.clip(image, 0, 255).astype(np.uint8)


def _canvas(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] to draw on, from any image."""
    image = np.asarray(image)
    return np.ascontiguousarray(_shown(image[..., None] if image.ndim == 2 else image))


def _tint(canvas: np.ndarray, mask: np.ndarray, color: Sequence[float]) -> None:
    """Mask and its outline into uint8 [H, W, 3], in place."""
    mask = np.asarray(mask) > 0.5
    apply_mask(canvas, mask, color, alpha=0.45)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    thick = max(1, round(max(canvas.shape[:2]) / _OUTLINED))
    cv2.drawContours(canvas, outlines, -1, [round(255 * c) for c in color], thick)


def _write_captions(
    axis: Axes, shape: Sequence[int], captions: Sequence[tuple[Sequence[float], str | None, Colour]]
) -> None:
    """Writes (box, text, colour) of each where they cover no other, the last first; leaves out what finds no place.

    Args:
        axis: Shows an image of `shape` already.
    """
    frame = axis.get_window_extent()
    pixels = max(shape[1] / frame.width, shape[0] / frame.height)  # of the image, in a pixel of the figure
    letter = _CAPTION_PT / 72 * axis.figure.dpi * pixels
    places: dict[int, Plate | None] = {}
    for i, (box, text, _) in reversed(list(enumerate(captions))):
        size = (1.5 * letter, (0.6 * len(text or "") + 0.4) * letter)
        places[i] = free_place(size, box, [p for p in places.values() if p], shape) if text else None
    for i, (_, text, color) in enumerate(captions):
        place = places[i]
        if text and place is not None:
            bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 0.55
            axis.text(
                place[1] + 0.3 * letter,
                (place[0] + place[2]) / 2,
                text,
                va="center",
                size=_CAPTION_PT,
                color="black" if bright else "white",
                clip_on=True,
                bbox={"facecolor": color, "alpha": 0.85, "pad": 1, "edgecolor": "none"},
            )


def _rectangle(axis: Axes, box: Sequence[float], color: Sequence[float], style: str = "-", alpha: float = 1.0) -> None:
    y1, x1, y2, x2 = box
    axis.add_patch(
        patches.Rectangle(
            (x1 - 0.5, y1 - 0.5),
            x2 - x1,
            y2 - y1,
            linewidth=1.5,
            linestyle=style,
            edgecolor=color,
            facecolor="none",
            alpha=alpha,
        )
    )


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None
