"""Instances drawn into images with OpenCV: fast enough for video, sharp enough for a report.

Images are uint8 [H, W, 3] RGB. Boxes are (y1, x1, y2, x2) in pixels, y2 and x2 exclusive. Legend: n instances, H W
image, C classes incl. background.
"""

import colorsys
import os
from collections.abc import Sequence

import cv2
import numpy as np

from mrcnn.files import write_bytes
from mrcnn.structures.instances import Instances

Colour = tuple[float, float, float]
Plate = tuple[float, float, float, float]  # (y1, x1, y2, x2) px of a caption's background

# Hues of the first classes, in the order they are given out: far apart for neighbours, and readable on dark streets.
_HUES = (0.00, 0.58, 0.33, 0.14, 0.80, 0.47, 0.07, 0.66, 0.24, 0.90)
# A plate is about 15 px high: on smaller objects it would hide more than it says. The colour tells their class.
_LEAST_CAPTIONED = 24
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def class_color(class_id: int) -> Colour:
    """The colour of a class, the same in every picture.

    Args:
        class_id: 1..C-1.

    Returns:
        (r, g, b) from 0 to 1.
    """
    index = max(int(class_id) - 1, 0)
    hue = _HUES[index % len(_HUES)]
    # The second round of hues is paler and the third darker, so that 30 classes stay apart.
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
    """Draws masks, outlines, boxes and captions in the colours of the classes.

    Args:
        image: uint8 [H, W, 3].
        instances: What to draw; crowds and ignored objects are gray. Drawn in order, so the last is on top.
        class_names: [C] for captions; None draws none. Objects below 24 px get none, nor those whose caption would
            cover that of an object above them.
        scores: [n] from 0 to 1, shown in the captions.
        scale: Enlargement of the result; lines and letters keep their size, so small images stay readable.
        alpha: Opacity of the masks.
        boxes: Whether boxes are drawn.
        pen: Factor for lines and letters, for images that will be looked at from afar or scaled down.

    Returns:
        uint8 [round(H * scale), round(W * scale), 3]; `image` is left as it is.
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
    for n in reversed(range(len(colors))):  # the last is on top of the others, so its caption has the first choice
        y1, x1, y2, x2 = np.round(instances.boxes_px[n] * scale).astype(int).tolist()
        if max(y2 - y1, x2 - x1) < _LEAST_CAPTIONED * pen:
            continue
        caption = class_names[instances.class_ids[n]] + (f" {scores[n]:.2f}" if scores is not None else "")
        plate = free_place(_plate_size(caption, 0.4 * pen), (y1, x1, y2, x2), taken, canvas.shape)
        if plate is not None:
            taken.append(plate)
            _write_plate(canvas, caption, plate, colors[n], 0.4 * pen)
    return canvas


def draw_label(canvas: np.ndarray, text: str, corner: tuple[int, int], color: Sequence[int], size: float = 0.4) -> None:
    """Writes text on a plate of a colour, above `corner` (y, x) px if there is room, into uint8 [H, W, 3]."""
    plate = free_place(_plate_size(text, size), (*corner, *corner), [], canvas.shape)
    assert plate is not None, "nothing is taken"
    _write_plate(canvas, text, plate, color, size)


def free_place(
    size: tuple[float, float], box: Sequence[float], taken: Sequence[Plate], shape: Sequence[int]
) -> Plate | None:
    """Where a caption covers no other: above its box, inside at the top, below it or to its left.

    Args:
        size: (height, width) px of the caption.
        box: (y1, x1, y2, x2) px.
        taken: The places of others.
        shape: (H, W, ...) of the image.

    Returns:
        (y1, x1, y2, x2) px, or None if all these are taken.
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


def _plate_size(text: str, size: float) -> tuple[int, int]:
    (width, height), baseline = cv2.getTextSize(text, _FONT, size, _stroke(size))
    return height + baseline + 2, width + 4


def _stroke(size: float) -> int:
    """Line width of letters in px."""
    return max(1, round(size / 0.5))


def _write_plate(canvas: np.ndarray, text: str, plate: Plate, color: Sequence[int], size: float) -> None:
    y1, x1, y2, x2 = (round(v) for v in plate)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), [int(v) for v in color], -1)
    bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140
    letters = (0, 0, 0) if bright else (255, 255, 255)
    _, baseline = cv2.getTextSize(text, _FONT, size, _stroke(size))
    cv2.putText(canvas, text, (x1 + 2, y2 - baseline - 1), _FONT, size, letters, _stroke(size), cv2.LINE_AA)


def write_png(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write uint8 [H, W, 3] RGB as PNG. Raises InputError where the file cannot be written."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    assert done, "OpenCV encodes every uint8 image"
    write_bytes(path, data.tobytes())


def _gray_or_color(instances: Instances, n: int) -> tuple[int, int, int]:
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
    line: int = 1,
) -> None:
    """Lays a half-transparent mask with its outline over the part of the canvas under its box, in place."""
    y1, x1, y2, x2 = np.round(np.asarray(box_px) * scale).astype(int).tolist()
    y2, x2 = max(y2, y1 + 1), max(x2, x1 + 1)
    mask = cv2.resize(crop.astype(np.uint8), (x2 - x1, y2 - y1), interpolation=cv2.INTER_NEAREST)
    part = canvas[y1:y2, x1:x2]
    mask = mask[: part.shape[0], : part.shape[1]]
    tinted = cv2.addWeighted(part, 1 - alpha, np.full_like(part, color), alpha, 0)
    np.copyto(part, tinted, where=mask[..., None].astype(bool))
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outlined = np.ascontiguousarray(part)
    cv2.drawContours(outlined, outlines, -1, [int(c) for c in color], line, cv2.LINE_AA)
    part[:] = outlined
