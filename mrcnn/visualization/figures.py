"""Opens Matplotlib figures of images, draws on their axes, and shows or saves them.

Functions that show something take `save=PATH` (write the figure, then close it) or `ax=` (draw on these axes and show
nothing). Without either, they show the figure if there is a display or a notebook, and otherwise leave it open for
`plt.savefig`.

Images are [H, W, 3] RGB of any number type, from 0 to 255. Boxes are (y1, x1, y2, x2) in pixels.
"""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import cv2
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import patches
from matplotlib.axes import Axes

from mrcnn.files import written_whole
from mrcnn.text import figure_text
from mrcnn.visualization.drawing import Colour, Plate, free_place, tint_mask

Path = str | os.PathLike[str]

_CAPTION_PT = 8
_PX_PER_LINE = 1000  # an outline is one pixel wide per this many pixels of the image's longer side


def axes_for(ax: Axes | None, figsize: tuple[float, float]) -> tuple[Any, Axes]:
    """Return the figure and axes to draw on: the given axes, or new ones of `figsize` inches."""
    return plt.subplots(1, figsize=figsize) if ax is None else (ax.figure, ax)


def show_or_save(figure: Any, axis: Axes, given: Axes | None, save: Path | None) -> Axes:
    """Finish a figure, unless the caller passed its own axes and does not save.

    Returns:
        The axes.

    Raises:
        InputError: See `finish`.
    """
    if given is None or save is not None:
        finish(figure, save)
    return axis


def finish(figure: Any, save: Path | None) -> None:
    """Write and close the figure, or show it if there is a display or a notebook.

    Raises:
        InputError: `save` cannot be written.
    """
    if save is not None:
        path = pathlib.Path(save)
        with written_whole(path, durable=False) as temporary:
            figure.savefig(temporary, dpi=120, bbox_inches="tight", format=path.suffix.lstrip(".") or "png")
        plt.close(figure)
    elif matplotlib.get_backend().lower() not in ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template"):
        plt.show()


def display_copy(image: np.ndarray) -> np.ndarray:
    """Return an image as a uint8 [H, W, 3] copy; a label image [H, W] of any type is returned unchanged."""
    image = np.asarray(image)
    if image.ndim == 2:
        return image
    image = np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image[..., :3].copy()
    return image if image.dtype == np.uint8 else np.clip(image, 0, 255).astype(np.uint8)


def drawing_copy(image: np.ndarray) -> np.ndarray:
    """Return a copy of any image to draw on, uint8 [H, W, 3]; [H, W] becomes gray."""
    image = np.asarray(image)
    return np.ascontiguousarray(display_copy(image[..., None] if image.ndim == 2 else image))


def tint_instance(canvas: np.ndarray, mask: np.ndarray, color: Sequence[float]) -> None:
    """Tint the pixels of a mask and draw its outline, in place.

    Args:
        canvas: uint8 [H, W, 3].
        mask: [H, W], bool or numbers from 0 to 1.
        color: (r, g, b) from 0 to 1.
    """
    mask = (np.asarray(mask) > 0.5).astype(np.uint8)
    x, y, width, height = cv2.boundingRect(mask)
    line = max(1, round(max(canvas.shape[:2]) / _PX_PER_LINE))
    rows, columns = slice(y, y + height), slice(x, x + width)
    if width:
        tint_mask(canvas[rows, columns], mask[rows, columns], [round(255 * c) for c in color], line=line)


def draw_captions(
    axis: Axes, shape: Sequence[int], captions: Sequence[tuple[Sequence[float], str | None, Colour]]
) -> None:
    """Draw captions without overlaps; a caption that finds no place is left out.

    Args:
        axis: Axes that already show the image.
        shape: (H, W, ...) of the image.
        captions: (box in pixels, text or None, colour) of each caption. The last one chooses its place first.
    """
    extent = axis.get_window_extent()
    pixels = max(shape[1] / extent.width, shape[0] / extent.height)  # image pixels in one pixel of the figure
    letter = _CAPTION_PT / 72 * axis.figure.dpi * pixels
    places: dict[int, Plate | None] = {}
    for i, (box, text, _) in reversed(list(enumerate(captions))):
        size = (1.5 * letter, (0.6 * len(figure_text(text or "")) + 0.4) * letter)
        places[i] = free_place(size, box, [p for p in places.values() if p], shape) if text else None
    for i, (_, text, color) in enumerate(captions):
        place = places[i]
        if text and place is not None:
            bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 0.55
            axis.text(
                place[1] + 0.3 * letter,
                (place[0] + place[2]) / 2,
                figure_text(text),
                va="center",
                size=_CAPTION_PT,
                color="black" if bright else "white",
                clip_on=True,
                bbox={"facecolor": color, "alpha": 0.85, "pad": 1, "edgecolor": "none"},
            )


def outline_box(axis: Axes, box: Sequence[float], color: Sequence[float], style: str = "-", alpha: float = 1.0) -> None:
    """Draw the outline of a box (y1, x1, y2, x2) in pixels, in a line style of Matplotlib."""
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
