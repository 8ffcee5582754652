"""Draws contact sheets: many images in one, such as the truth and predictions of the worst, median and best images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mrcnn.data.dataset import Dataset, checked_instances
from mrcnn.data.images import to_look_at
from mrcnn.errors import InputError
from mrcnn.evaluation.coco_results import class_of_category, image_key
from mrcnn.evaluation.results_file import entries_by_image
from mrcnn.structures.instances import Instances
from mrcnn.structures.rle import rle_to_crop
from mrcnn.visualization.drawing import draw_instances, write_line

if TYPE_CHECKING:
    from mrcnn.evaluation.result import Headline, Result

_WHITE = (255, 255, 255)


def samples_sheet(
    result: "Result", dataset: "Dataset", count: int = 6, min_score: float = 0.3, cell_width: int = 640
) -> np.ndarray:
    """Draw truth and predictions side by side for the worst, median and best images of an evaluation.

    Args:
        result: Result of `evaluate`.
        dataset: Dataset that was evaluated.
        count: Number of images, a third of each kind. If there are no more than that, all are shown, the worst first.
        min_score: Minimum score of the predictions that are drawn.
        cell_width: Width of each image on the sheet in pixels.

    Returns:
        uint8 [height, width, 3]; each title names the image, its rank and its AP at IoU 0.5.

    Raises:
        InputError: No evaluated image has an object, or an image or the stored predictions cannot be read.
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
    result: "Result | Headline", dataset: "Dataset", image_id: int, min_score: float = 0.3, cell_width: int = 640
) -> tuple[list[np.ndarray], list[str]]:
    """Draw one row of a contact sheet.

    Args:
        result: Result of `evaluate` or `headline`.
        dataset: Dataset that was evaluated.
        image_id: Id of an evaluated image.
        min_score: Minimum score of the predictions that are drawn.
        cell_width: Width of each image on the sheet in pixels.

    Returns:
        The image with its labelled objects and the image with the predictions, uint8 [h, cell_width, 3], and a title
        for each.

    Raises:
        InputError: The image or the stored predictions cannot be read.
    """
    key = image_key(dataset, image_id)
    entries = [entry for entry in entries_by_image(result.predictions)(key) if entry["score"] >= min_score]
    image = to_look_at(dataset.load_image(image_id))
    truth = checked_instances(dataset, image_id)
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
    """Choose `count` images and return (rank in words, image id) of each."""
    ranked = sorted(ap50, key=lambda image_id: (ap50[image_id], image_id))
    n, third = len(ranked), max(1, count // 3)
    if n <= count:
        return [(f"rank {i + 1} of {n}, worst first:", image_id) for i, image_id in enumerate(ranked)]
    middle = (n - third) // 2
    groups = {"worst": range(third), "median": range(middle, middle + third), "best": range(n - third, n)}
    return [(f"{name} (rank {i + 1} of {n}):", ranked[i]) for name, places in groups.items() for i in places][:count]


def _decoded(entries: list[dict], dataset: "Dataset") -> tuple[Instances, np.ndarray]:
    """Return instances and scores of the COCO results of one image, the best score last so that it is drawn on top."""
    class_of = class_of_category(dataset)
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
    """Arrange images in rows on a white background, each below its title.

    Args:
        rows: Rows of images, uint8 [H, W, 3]; each image is scaled to `cell_width`.
        titles: A title for each image.
        cell_width: Width of each image in pixels.

    Returns:
        uint8 [height, width, 3].
    """
    margin, bar = 8, 26
    strips = []
    for row, row_titles in zip(rows, titles, strict=True):
        cells = [_cell(image, title, cell_width, bar) for image, title in zip(row, row_titles, strict=True)]
        height = max(cell.shape[0] for cell in cells)
        strips.append(np.hstack([_padded(cell, bottom=height - cell.shape[0] + margin, left=margin) for cell in cells]))
    width = max(strip.shape[1] for strip in strips) + margin
    return np.vstack([_padded(strip, right=width - strip.shape[1]) for strip in strips])


def _cell(image: np.ndarray, title: str, width: int, bar: int) -> np.ndarray:
    """Return an image scaled to `width`, with its title in a bar of `bar` px above it."""
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    shrinks = image.shape[1] > width
    if image.shape[1] != width:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    cell = _padded(image, top=bar)
    write_line(cell, title, (2, bar - 9), width - 4)
    return cell


def _padded(image: np.ndarray, top: int = 0, bottom: int = 0, left: int = 0, right: int = 0) -> np.ndarray:
    """Return an image with white margins of these widths in pixels."""
    return cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=_WHITE)
