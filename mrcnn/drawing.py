"""Instances drawn into images with OpenCV: fast enough for video, sharp enough for a report.

Images are uint8 [H, W, 3] RGB. Boxes are (y1, x1, y2, x2) in pixels, y2 and x2 exclusive. Legend: n instances, H W
image, C classes incl. background.
"""

import colorsys
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mrcnn.errors import InputError
from mrcnn.masks import Instances, rle_to_crop
from mrcnn.prediction_store import Store
from mrcnn.predictions import category_ids, image_key

if TYPE_CHECKING:
    from mrcnn.data import Dataset
    from mrcnn.evaluation import Result

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


def samples_sheet(
    result: "Result", dataset: "Dataset", count: int = 6, min_score: float = 0.3, cell_width: int = 640
) -> np.ndarray:
    """Truth and predictions side by side for the worst, the median and the best images of an evaluation.

    Args:
        result: What `evaluate` returned.
        dataset: The dataset that it was computed on.
        count: Images, a third of each kind; all of them, the worst first, if there are no more.
        min_score: Weaker predictions are not drawn.
        cell_width: Width of one picture in pixels.

    Returns:
        uint8 [height, width, 3]. Titles name the image, its place and its AP at IoU 0.5.

    Raises:
        InputError: No evaluated image has an object.
    """
    rows, titles = [], []
    for place, image_id in _worst_median_best(result.image_ap50, count):
        row, row_titles = truth_and_predictions(result, dataset, image_id, min_score, cell_width)
        rows.append(row)
        titles.append([f"{place}  {row_titles[0]}", row_titles[1]])
    if not rows:
        raise InputError("no evaluated image has an object, so there is no best or worst one to show")
    return contact_sheet(rows, titles, cell_width)


def truth_and_predictions(
    result: "Result", dataset: "Dataset", image_id: int, min_score: float = 0.3, cell_width: int = 640
) -> tuple[list[np.ndarray], list[str]]:
    """One row of a contact sheet.

    Args:
        result: What `evaluate` returned.
        dataset: The dataset that it was computed on.
        image_id: Of an image that was evaluated.
        min_score: Weaker predictions are not drawn.
        cell_width: Width of one picture in pixels.

    Returns:
        The image with its labelled objects and the image with the predictions, uint8 [h, cell_width, 3], and a title
        for each.
    """
    key = image_key(dataset, image_id)
    known = result.predictions
    entries = known.of_image(key) if isinstance(known, Store) else [e for e in known if e["image_id"] == key]
    entries = [entry for entry in entries if entry["score"] >= min_score]
    image = np.ascontiguousarray(dataset.load_image(image_id)[..., :3])
    truth = dataset.load_instances(image_id)
    found, scores = _decoded(entries, dataset)
    scale = cell_width / image.shape[1]
    row = [
        draw_instances(image, truth, dataset.class_names, scale=scale),
        draw_instances(image, found, dataset.class_names, scores, scale=scale),
    ]
    flagged = int(np.count_nonzero(truth.crowd | truth.ignore))
    gray = f", {flagged} ignored (gray)" if flagged else ""
    objects = f"{len(truth) - flagged} object{'' if len(truth) - flagged == 1 else 's'}"
    ap50 = f"AP50 {result.image_ap50[image_id]:.2f}  " if image_id in result.image_ap50 else ""
    return row, [
        f"{dataset.image_info[image_id]['id']}  truth: {objects}{gray}",
        f"{ap50}{len(found)} predictions with score >= {min_score}",
    ]


def _worst_median_best(ap50: dict[int, float], count: int) -> list[tuple[str, int]]:
    """(place, image id) of `count` images."""
    ranked = sorted(ap50, key=lambda image_id: (ap50[image_id], image_id))
    n, third = len(ranked), max(1, count // 3)
    if n <= count:
        return [(f"rank {i + 1} of {n}, worst first:", image_id) for i, image_id in enumerate(ranked)]
    middle = (n - third) // 2
    groups = {"worst": range(third), "median": range(middle, middle + third), "best": range(n - third, n)}
    return [(f"{name} (rank {i + 1} of {n}):", ranked[i]) for name, places in groups.items() for i in places][:count]


def _decoded(entries: list[dict], dataset: "Dataset") -> tuple[Instances, np.ndarray]:
    """Instances and scores of COCO results of one image, the best score last, so that it is drawn on top."""
    class_of = {category: class_id for class_id, category in enumerate(category_ids(dataset))}
    entries = sorted(entries, key=lambda entry: entry["score"])
    kept = [(e, cut) for e in entries if (cut := rle_to_crop(e["segmentation"])) is not None]
    instances = Instances(
        np.array([class_of[e["category_id"]] for e, _ in kept]),
        np.array([box for _, (box, _) in kept]),
        [crop for _, (_, crop) in kept],
    )
    return instances, np.array([e["score"] for e, _ in kept])


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]], titles: Sequence[Sequence[str]], cell_width: int = 640
) -> np.ndarray:
    """One picture of many, each under its title.

    Args:
        rows: Rows of uint8 [H, W, 3] images; each is scaled to `cell_width`.
        titles: A title for each.
        cell_width: Pixels.

    Returns:
        uint8 [height, width, 3] on white.
    """
    margin, bar = 8, 26
    strips = []
    for row, row_titles in zip(rows, titles, strict=True):
        cells = [_cell(image, title, cell_width, bar) for image, title in zip(row, row_titles, strict=True)]
        height = max(cell.shape[0] for cell in cells)
        strips.append(
            np.hstack(
                [
                    cv2.copyMakeBorder(
                        c, 0, height - c.shape[0] + margin, margin, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255)
                    )
                    for c in cells
                ]
            )
        )
    width = max(strip.shape[1] for strip in strips) + margin
    return np.vstack(
        [cv2.copyMakeBorder(s, 0, 0, 0, width - s.shape[1], cv2.BORDER_CONSTANT, value=(255, 255, 255)) for s in strips]
    )


def write_png(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] RGB as PNG under a temporary name and renames it."""
    path = pathlib.Path(path)
    done, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    assert done, "OpenCV encodes every uint8 image"
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data.tobytes())
    temporary.replace(path)


def _cell(image: np.ndarray, title: str, width: int, bar: int) -> np.ndarray:
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    shrinks = image.shape[1] > width
    if image.shape[1] != width:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    cell = cv2.copyMakeBorder(image, bar, 0, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    size = 0.5
    while size > 0.3 and cv2.getTextSize(title, _FONT, size, 1)[0][0] > width - 4:
        size -= 0.05
    cv2.putText(cell, title, (2, bar - 9), _FONT, size, (30, 30, 30), 1, cv2.LINE_AA)
    return cell


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
