"""Draws masks, boxes and captions into images with OpenCV, fast enough for video and sharp enough for a report.

Images are uint8 [H, W, 3] RGB. Boxes are (y1, x1, y2, x2) in pixels, y2 and x2 exclusive. Legend: n instances, H W
image, C classes incl. background.
"""

import colorsys
import os
from collections.abc import Sequence

import cv2
import numpy as np

from mrcnn.errors import InputError
from mrcnn.files import write_bytes
from mrcnn.structures.instances import Instances
from mrcnn.text import LONGEST_CAPTION, printable

Colour = tuple[float, float, float]
Plate = tuple[float, float, float, float]  # (y1, x1, y2, x2) px of a caption's background

# Hues in the order of the classes: neighbours differ clearly, and all are readable on dark streets.
_HUES = (0.00, 0.58, 0.33, 0.14, 0.80, 0.47, 0.07, 0.66, 0.24, 0.90)
# A caption is about 15 px high and would hide a smaller object. The colour still tells its class.
_MIN_CAPTIONED_PX = 24
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def class_color(class_id: int) -> Colour:
    """Return the colour of a class, the same in every figure.

    Args:
        class_id: 1..C-1.

    Returns:
        (r, g, b) from 0 to 1.
    """
    index = max(int(class_id) - 1, 0)
    hue = _HUES[index % len(_HUES)]
    # The second round of hues is paler and the third darker, so that 30 classes differ.
    saturation, value = ((0.85, 1.0), (0.45, 1.0), (0.9, 0.65))[index // len(_HUES) % 3]
    return colorsys.hsv_to_rgb(hue, saturation, value)


def draw_instances(
    image: np.ndarray,
    instances: Instances,
    class_names: Sequence[str] | None = None,
    scores: np.ndarray | None = None,
    scale: float = 1.0,
    alpha: float = 0.45,
    boxes: bool = True,
    pen: float = 1.0,
) -> np.ndarray:
    """Draw masks, outlines, boxes and captions in the colours of the classes.

    Args:
        image: uint8 [H, W, 3].
        instances: Instances in drawing order, the last on top; crowds and ignored objects are gray.
        class_names: [C] names for captions; None draws none. An instance smaller than 24 px gets no caption, nor does
            one whose caption would cover that of an instance on top of it.
        scores: float [n] from 0 to 1, shown in the captions.
        scale: Enlargement of the result. Lines and letters keep their size, so small images stay readable.
        alpha: Opacity of the masks.
        boxes: Whether to draw boxes.
        pen: Scale factor for lines and letters, for images that are viewed from afar or scaled down.

    Returns:
        uint8 [round(H * scale), round(W * scale), 3]; `image` is not changed.
    """
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    canvas = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA)
    colors = [_gray_or_color(instances, n) for n in range(len(instances))]
    line = max(1, round(pen))
    for n, color in enumerate(colors):
        _blend(canvas, instances.boxes_px[n], instances.crops[n], color, alpha, scale, line)
    for n, color in enumerate(colors if boxes else []):
        y1, x1, y2, x2 = np.round(instances.boxes_px[n] * scale).astype(int).tolist()
        cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), color, line)
    if class_names is None:
        return canvas
    taken: list[Plate] = []
    for n in reversed(range(len(colors))):  # the instance on top chooses its place first
        y1, x1, y2, x2 = np.round(instances.boxes_px[n] * scale).astype(int).tolist()
        if max(y2 - y1, x2 - x1) < _MIN_CAPTIONED_PX * pen:
            continue
        name = printable(class_names[instances.class_ids[n]], LONGEST_CAPTION)
        caption = name + (f" {scores[n]:.2f}" if scores is not None else "")
        plate = free_place(_plate_size(caption, 0.4 * pen), (y1, x1, y2, x2), taken, canvas.shape)
        if plate is not None:
            taken.append(plate)
            _write_plate(canvas, caption, plate, colors[n], 0.4 * pen)
    return canvas


def apply_mask(image: np.ndarray, mask: np.ndarray, color: Sequence[float], alpha: float = 0.5) -> np.ndarray:
    """Tint the pixels of a mask, in place.

    Args:
        image: [H, W, 3], 0 to 255.
        mask: [H, W], bool or numbers; a pixel belongs to it where the value is 1 (or True).
        color: (r, g, b) from 0 to 1.
        alpha: Opacity.

    Returns:
        `image`.
    """
    inside = np.asarray(mask) == 1
    image[inside] = image[inside] * (1 - alpha) + alpha * np.asarray(color) * 255
    return image


def draw_box(image: np.ndarray, box: Sequence[int], color: Sequence[float]) -> np.ndarray:
    """Draw the outline of a box, two pixels wide, in place.

    Args:
        image: [H, W, 3] of any number type.
        box: (y1, x1, y2, x2) px.
        color: Three values to write into the image.

    Returns:
        `image`.
    """
    y1, x1, y2, x2 = (max(0, int(v)) for v in box)  # a negative index would wrap to the other side
    image[y1 : y1 + 2, x1:x2] = color
    image[y2 : y2 + 2, x1:x2] = color
    image[y1:y2, x1 : x1 + 2] = color
    image[y1:y2, x2 : x2 + 2] = color
    return image


def tint_mask(canvas: np.ndarray, mask: np.ndarray, color: Sequence[int], alpha: float = 0.45, line: int = 1) -> None:
    """Tint the pixels of a mask and draw its outline, in place.

    Args:
        canvas: uint8 [H, W, 3]; may be a view into an image, and nothing is drawn beyond it.
        mask: uint8 [H, W], 0 or 1.
        color: (r, g, b) from 0 to 255.
        alpha: Opacity of the tint.
        line: Width of the outline in pixels.
    """
    tinted = cv2.addWeighted(canvas, 1 - alpha, np.full_like(canvas, color), alpha, 0)
    np.copyto(canvas, tinted, where=mask[..., None].astype(bool))
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outlined = np.ascontiguousarray(canvas)
    cv2.drawContours(outlined, outlines, -1, [int(c) for c in color], line, cv2.LINE_AA)
    canvas[:] = outlined


def free_place(
    size: tuple[float, float], box: Sequence[float], taken: Sequence[Plate], shape: Sequence[int]
) -> Plate | None:
    """Find a place where a caption covers no other: above its box, inside it at the top, below it or beside it.

    Args:
        size: (height, width) px of the caption.
        box: (y1, x1, y2, x2) px.
        taken: Places of the other captions.
        shape: (H, W, ...) of the image.

    Returns:
        (y1, x1, y2, x2) px, or None if every place is taken.
    """
    height, width = size
    y1, x1, y2, x2 = box
    for y, x in ((y1 - height, x1), (y1, x1), (y2, x1), (y1 - height, x2 - width), (y1, x2), (y1, x1 - width)):
        x = max(0, min(x, shape[1] - width))
        if y < 0 or (y + height > shape[0] and y != y1):
            continue
        if all(y >= y4 or y + height <= y3 or x >= x4 or x + width <= x3 for y3, x3, y4, x4 in taken):
            return y, x, y + height, x + width
    return None


def write_line(image: np.ndarray, text: str, origin: tuple[int, int], max_width: int) -> None:
    """Write a line of dark text in place, shrunk towards `max_width` px as far as it stays readable.

    Args:
        image: uint8 [H, W, 3].
        text: Text without line breaks.
        origin: (x, y) px, the left end of its baseline.
        max_width: Width in pixels.
    """
    text = printable(text, 4 * LONGEST_CAPTION)
    size = 0.5
    while size > 0.3 and cv2.getTextSize(text, _FONT, size, 1)[0][0] > max_width:
        size -= 0.05
    cv2.putText(image, text, origin, _FONT, size, (30, 30, 30), 1, cv2.LINE_AA)


def _plate_size(text: str, size: float) -> tuple[int, int]:
    """Return (height, width) px of a caption."""
    (width, height), baseline = cv2.getTextSize(text, _FONT, size, _stroke(size))
    return height + baseline + 2, width + 4


def _stroke(size: float) -> int:
    """Return the line width of letters in pixels."""
    return max(1, round(size / 0.5))


def _write_plate(canvas: np.ndarray, text: str, plate: Plate, color: Sequence[int], size: float) -> None:
    """Write a caption on a background of `color`, in black or white, whichever is more readable."""
    y1, x1, y2, x2 = (round(v) for v in plate)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), [int(v) for v in color], -1)
    bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140
    letters = (0, 0, 0) if bright else (255, 255, 255)
    _, baseline = cv2.getTextSize(text, _FONT, size, _stroke(size))
    cv2.putText(canvas, text, (x1 + 2, y2 - baseline - 1), _FONT, size, letters, _stroke(size), cv2.LINE_AA)


def write_png(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write an image, uint8 [H, W, 3] RGB, as PNG. Raises InputError if the file cannot be written."""
    write_bytes(path, encoded(image, ".png"))


def encoded(image: np.ndarray, suffix: str, options: Sequence[int] = ()) -> bytes:
    """Return an image as the bytes of a file. OpenCV's own `imwrite` fails silently, and crashes on some names.

    Args:
        image: uint8 [H, W, 3] RGB, or [H, W, 4] RGBA.
        suffix: of the format, such as ".png".
        options: as cv2.imencode takes them.

    Raises:
        InputError: the format cannot hold an image of this size.
    """
    code = cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    try:
        done, data = cv2.imencode(suffix, cv2.cvtColor(image, code), options)
    except cv2.error as error:
        done, reason = False, f" ({error.err})"
    else:
        reason = ""
    if not done:
        height, width = image.shape[:2]
        raise InputError(
            f"an image of {width} x {height} px cannot be written as {suffix}{reason}; choose another format"
        )
    return data.tobytes()


def _gray_or_color(instances: Instances, n: int) -> tuple[int, int, int]:
    """Return the colour of an instance, (r, g, b) from 0 to 255."""
    if instances.crowd[n] or instances.ignore[n]:
        return 170, 170, 170
    red, green, blue = class_color(instances.class_ids[n])
    return round(red * 255), round(green * 255), round(blue * 255)


def _blend(
    canvas: np.ndarray,
    box_px: np.ndarray,
    crop: np.ndarray,
    color: Sequence[int],
    alpha: float,
    scale: float,
    line: int,
) -> None:
    """Tint the part of the canvas under a box with the mask in that box, in place."""
    y1, x1, y2, x2 = np.round(np.asarray(box_px) * scale).astype(int).tolist()
    y2, x2 = max(y2, y1 + 1), max(x2, x1 + 1)
    mask = cv2.resize(crop.astype(np.uint8), (x2 - x1, y2 - y1), interpolation=cv2.INTER_NEAREST)
    part = canvas[y1:y2, x1:x2]
    tint_mask(part, mask[: part.shape[0], : part.shape[1]], color, alpha, line)
