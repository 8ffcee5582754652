"""Figures of boxes: anchors, proposals and ROIs, and the boxes that they are refined to.

For `save` and `ax` see `mrcnn.visualization.figures`.

Legend: n boxes, H W image, h w mask target, C classes incl. background. Images are [H, W, 3] RGB of any number type,
from 0 to 255. Boxes are [n, (y1, x1, y2, x2)] in pixels. Masks are [H, W, n], bool or numbers from 0 to 1.
"""

import colorsys
import random
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from mrcnn.errors import InputError
from mrcnn.structures.masks import unmold_mask
from mrcnn.text import figure_text
from mrcnn.visualization.drawing import Colour, class_color
from mrcnn.visualization.figures import (
    Path,
    axes_for,
    draw_captions,
    drawing_copy,
    outline_box,
    show_or_save,
    tint_instance,
)

GRAY = (0.6, 0.6, 0.6)


def random_colors(N: int, bright: bool = True) -> list[Colour]:
    """Return N colours of evenly spread hues, shuffled.

    Args:
        N: Number of colours.
        bright: Whether the brightness is 1 instead of 0.7.

    Returns:
        (r, g, b) from 0 to 1.
    """
    colors = [colorsys.hsv_to_rgb(i / N, 1.0, 1.0 if bright else 0.7) for i in range(N)]
    random.shuffle(colors)
    return colors


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
    """Show a random selection of training ROIs, dashed, with their refined boxes and masks; background ROIs are gray.

    Args:
        image: [H, W, 3].
        rois: [n, 4] px.
        refined_rois: [n, 4] px, the box that each ROI should become.
        mask: [n, h, w], the mask target of each ROI within that ROI, as `data_generator` yields it; or [n, H, W].
        class_ids: int [n], 0 is background.
        class_names: [C].
        limit: Maximum number of ROIs to draw.
        ax: Axes to draw on.
        save: File to write instead of showing the figure.

    Returns:
        The axes.

    Raises:
        InputError: `save` cannot be written.
    """
    figure, axis = axes_for(ax, (12, 12))
    canvas = drawing_copy(image)
    chosen = np.random.permutation(len(rois))[:limit]
    captions = []
    for i in sorted(chosen.tolist(), key=lambda i: class_ids[i] > 0):  # background first, below the others
        color = class_color(class_ids[i])
        if class_ids[i] == 0:
            outline_box(axis, rois[i], GRAY, style="--")
            continue
        outline_box(axis, rois[i], color, style="--")
        outline_box(axis, refined_rois[i], color)
        axis.plot([rois[i][1], refined_rois[i][1]], [rois[i][0], refined_rois[i][0]], color=color, linewidth=1)
        captions.append((refined_rois[i], class_names[class_ids[i]], color))
        whole = mask[i] if mask[i].shape == canvas.shape[:2] else unmold_mask(mask[i], rois[i], canvas.shape)
        tint_instance(canvas, whole, color)
    positive = int(np.count_nonzero(np.asarray(class_ids) > 0))
    axis.set_title(f"{len(chosen)} of {len(rois)} ROIs; {positive} positive, {len(rois) - positive} negative")
    axis.axis("off")
    axis.imshow(canvas)
    draw_captions(axis, canvas.shape, captions)
    return show_or_save(figure, axis, ax, save)


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
    """Show boxes, the boxes that they are refined to, and masks.

    Args:
        image: [H, W, 3].
        boxes: [n, 4] px.
        refined_boxes: [n, 4] px, drawn solid and joined to their boxes by a line.
        masks: [H, W, n].
        captions: Text for each box.
        visibilities: Style of each box: 0 gray and dotted, 1 in colour and dotted, 2 in colour and solid; None is 1.
        title: Title above the image.
        ax: Axes to draw on.
        save: File to write instead of showing the figure.
        colors: (r, g, b) from 0 to 1 for each box; None uses random colours, to tell neighbours apart.

    Returns:
        The axes.

    Raises:
        InputError: Neither `boxes` nor `refined_boxes` is given, or `save` cannot be written.
    """
    if boxes is None and refined_boxes is None:
        raise InputError("draw_boxes received no boxes: give boxes, refined_boxes or both")
    count = len(boxes if boxes is not None else refined_boxes)  # type: ignore[arg-type]
    figure, axis = axes_for(ax, (12, 12))
    canvas = drawing_copy(image)
    axis.set_title(figure_text(title))
    axis.axis("off")
    texts = []
    for i, color in enumerate(colors if colors is not None else random_colors(count)):
        visibility = 1 if visibilities is None else visibilities[i]
        color = GRAY if visibility == 0 else color
        alpha, style = (0.5 if visibility == 0 else 1.0), ("-" if visibility == 2 else ":")
        corners = [b[i] for b in (boxes, refined_boxes) if b is not None and np.any(b[i])]
        if boxes is not None and np.any(boxes[i]):
            outline_box(axis, boxes[i], color, style=style, alpha=alpha)
        if refined_boxes is not None and visibility > 0 and np.any(refined_boxes[i]):
            outline_box(axis, refined_boxes[i], color)
        if len(corners) == 2 and visibility > 0:
            axis.plot([x1 for _, x1, _, _ in corners], [y1 for y1, _, _, _ in corners], color=color, linewidth=1)
        if captions is not None and corners:
            texts.append((corners[-1], captions[i], color))
        if masks is not None:
            tint_instance(canvas, masks[:, :, i], color)
    axis.imshow(canvas)
    draw_captions(axis, canvas.shape, texts)
    return show_or_save(figure, axis, ax, save)
