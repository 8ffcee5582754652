"""Draw a training run: its curves, the batches as the network sees them, validation images."""

import itertools
import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.images import parse_image_meta, to_look_at
from mrcnn.engine.results_csv import MASK_AP, Row
from mrcnn.evaluation.result import Headline
from mrcnn.files import written_whole
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import expand_mask
from mrcnn.text import figure_text
from mrcnn.visualization.drawing import draw_instances
from mrcnn.visualization.sheets import contact_sheet, truth_and_predictions

# Okabe and Ito's colours, which stay apart for colour-blind readers
TERMS = {
    "rpn_class_loss": "#E69F00",
    "rpn_bbox_loss": "#56B4E9",
    "mrcnn_class_loss": "#009E73",
    "mrcnn_bbox_loss": "#CC79A7",
    "mrcnn_mask_loss": "#D55E00",
}
APS = {MASK_AP: ("mask AP", "#0072B2"), "val_mask_AP50": ("mask AP50", "#56B4E9"), "val_box_AP": ("box AP", "#E69F00")}


def plot_curves(rows: Sequence[Row], path: str | os.PathLike, title: str) -> None:
    """Draw losses, their terms, AP and learning rate over the epochs of a run into a PNG file.

    Args:
        rows: of `Results`.
        path: the PNG file; written whole.
        title: of the figure.
    """
    figure = Figure(figsize=(12, 7.5), layout="constrained")
    (total, terms), (aps, rate) = figure.subplots(2, 2)
    figure.suptitle(figure_text(title))
    _line(total, rows, "loss", "training", "#000000")
    _line(total, rows, "val_loss", "validation", "#0072B2")
    total.set_title("loss")
    for name, color in TERMS.items():
        _line(terms, rows, name, name.removesuffix("_loss").replace("_", " "), color)
        _line(terms, rows, "val_" + name, None, color, style=":")
    terms.set_title("terms of the loss (dotted: validation)")
    for name, (label, color) in APS.items():
        _line(aps, rows, name, label, color)
    aps.set_title("validation AP")
    aps.set_ylim(bottom=0)
    measured = [row for row in rows if math.isfinite(float(row.get(MASK_AP, math.nan)))]
    if measured:
        best = max(measured, key=lambda row: float(row[MASK_AP]))
        aps.plot(
            [best["epoch"]],
            [best[MASK_AP]],
            "o",
            color="#D55E00",
            markersize=9,
            fillstyle="none",
            label=f"best: {best[MASK_AP]:.3f}, epoch {best['epoch']}",
        )
    _line(rate, rows, "learning_rate", None, "#000000")
    rate.set_title("learning rate at the end of the epoch")
    rate.set_yscale("log" if all(float(row["learning_rate"]) > 0 for row in rows) else "linear")
    for axis in (total, terms, aps, rate):
        _finish(axis, rows)
    with written_whole(path, durable=False) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _line(axis: Axes, rows: Sequence[Row], name: str, label: str | None, color: str, style: str = "-") -> None:
    points = [(int(row["epoch"]), float(row[name])) for row in rows if name in row]
    points = [(epoch, value) for epoch, value in points if math.isfinite(value)]
    if points:
        epochs, values = zip(*points, strict=True)
        axis.plot(epochs, values, style, color=color, label=label, linewidth=1.6, marker=".", markersize=5)


def _finish(axis: Axes, rows: Sequence[Row]) -> None:
    axis.set_xlabel("epoch")
    axis.grid(alpha=0.3)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    epochs = [int(row["epoch"]) for row in rows]
    axis.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    for before, row in itertools.pairwise(rows):
        if row["stage"] != before["stage"]:
            axis.axvline((int(before["epoch"]) + int(row["epoch"])) / 2, color="gray", linewidth=1, linestyle="--")
            axis.text(
                (int(before["epoch"]) + int(row["epoch"])) / 2,
                0.98,
                f" {row['stage']}",
                color="gray",
                transform=axis.get_xaxis_transform(),
                va="top",
            )
    if not axis.lines:
        axis.text(0.5, 0.5, "not measured", ha="center", va="center", color="gray", transform=axis.transAxes)
    elif axis.get_legend_handles_labels()[1]:
        axis.legend(fontsize=8)


def batch_sheet(
    inputs: Mapping[str, np.ndarray], dataset: Dataset, config: Config, cell_width: int = 640
) -> np.ndarray:
    """Draw a batch as the network sees it: moulded and augmented images, boxes, and the mini-masks expanded again.

    Args:
        inputs: of a `Loader`.
        dataset: the batch is made from it.
        config: the settings it is made with.
        cell_width: width of one image in pixels.

    Returns:
        uint8 [height, width, 3], two images per row. Crowds and ignored objects are gray.
    """
    cells, titles = [], []
    ids = parse_image_meta(inputs["input_image_meta"])["image_id"].astype(int)
    images = inputs["input_image"]
    for n, image_id in enumerate(ids.tolist()):
        image = images[n]
        if image.dtype != np.uint8:  # moulded
            image = (image + config.MEAN_PIXEL).round(3)
        instances = batch_instances(inputs, n)
        scale = cell_width / image.shape[1]
        cells.append(draw_instances(to_look_at(image), instances, dataset.class_names, scale=scale))
        titles.append(
            f"{dataset.image_info[image_id]['id']}  {image.shape[0]} x {image.shape[1]} px, {len(instances)} objects"
        )
    pairs = [slice(start, start + 2) for start in range(0, len(cells), 2)]
    return contact_sheet([cells[pair] for pair in pairs], [titles[pair] for pair in pairs], cell_width)


def batch_instances(inputs: Mapping[str, np.ndarray], number: int) -> Instances:
    """Return the objects of one image of a batch, in pixels of the moulded image.

    Args:
        inputs: of a `Loader`.
        number: index of the image in the batch.
    """
    class_ids = inputs["input_gt_class_ids"][number]
    used = np.flatnonzero(class_ids)
    boxes = np.round(inputs["input_gt_boxes"][number][used]).astype(int)
    minis = inputs["input_gt_masks"][number][..., used]
    shape = inputs["input_image"].shape[1:3]
    crops = []
    for n, (y1, x1, y2, x2) in enumerate(boxes.tolist()):
        if minis.shape[:2] == shape:  # without USE_MINI_MASK
            crops.append(minis[y1:y2, x1:x2, n])
        else:
            crops.append(
                expand_mask(np.array([[0, 0, y2 - y1, x2 - x1]]), minis[..., n : n + 1], (y2 - y1, x2 - x1))[..., 0]
            )
    return Instances(np.abs(class_ids[used]), boxes, crops, crowd=class_ids[used] < 0)


def validation_sheet(result: Headline, dataset: Dataset, image_ids: Sequence[int], cell_width: int = 480) -> np.ndarray:
    """Draw labels and predictions of some images side by side, each `cell_width` px wide: uint8 [height, width, 3].

    Raises:
        InputError: an image cannot be read.
    """
    rows = [truth_and_predictions(result, dataset, image_id, cell_width=cell_width) for image_id in image_ids]
    return contact_sheet([row for row, _ in rows], [titles for _, titles in rows], cell_width)
