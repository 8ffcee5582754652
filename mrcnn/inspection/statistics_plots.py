"""Plots of `mrcnn.inspection.statistics` and `mrcnn.inspection.anchor_fit`.

For `save` see `mrcnn.visualization.figures`.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import ScalarFormatter

from mrcnn.config import Config
from mrcnn.inspection.anchor_fit import TrainingBoxes
from mrcnn.inspection.statistics import SIZE_BORDERS, SIZES, ObjectSet, ShownObjects, Summary
from mrcnn.text import figure_text
from mrcnn.visualization.figures import Path, finish

BLUE, ORANGE, GRAY = "#3b6ea8", "#d9822b", "#9a9a9a"
SIZE_COLOURS = ("#f2c14e", "#6aa84f", "#3b6ea8")


def plot_classes(summary: Summary, balancing: dict[str, ShownObjects], save: Path | None = None) -> None:
    """Plot the sizes of the objects of each class, and the class shares in an epoch with each setting of BALANCE.

    Args:
        summary: Result of `summarise`.
        balancing: Result of `balancing`.
        save: File to write instead of showing the figure.

    Raises:
        InputError: `save` cannot be written.
    """
    tall = 0.45 * len(summary.classes) + 2  # inches
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, tall))
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.45 / tall), "ncols": 3, "frameon": False}
    names = list(summary.classes)
    rows = np.arange(len(names))
    start = np.zeros(len(names))
    for size, colour in zip(SIZES, SIZE_COLOURS, strict=True):
        fractions = np.array([getattr(own, size) / max(1, own.objects) for own in summary.classes.values()])
        left.barh(rows, fractions, left=start, color=colour, label=size)
        start += fractions
    for row, own in enumerate(summary.classes.values()):
        left.text(1.02, row, f"{own.objects:,} in {own.images:,} images", va="center")
    left.set_xlim(0, 1)
    left.set_title("Objects by size (COCO: mask below 32², 96² px)")
    left.legend(**below)
    _name_rows(left, names)
    height = 0.8 / len(balancing)
    for i, (setting, shown) in enumerate(balancing.items()):
        values = [shown.shares[name] for name in names]
        offset = (i - (len(balancing) - 1) / 2) * height
        colour = (GRAY, BLUE, ORANGE)[i]
        label = "no balancing" if setting == "none" else f"BALANCE={setting}"
        bars = right.barh(rows + offset, values, height, color=colour, label=label)
        right.bar_label(bars, [f"{value:.1%}" for value in values], padding=3, fontsize=8)
    right.set_xscale("log")
    right.xaxis.set_major_formatter(_percent)
    right.set_title("Fraction of the objects that an epoch of training shows")
    right.legend(**below)
    right.set_xlim(right=right.get_xlim()[1] * 2)
    _name_rows(right, names)
    figure.subplots_adjust(wspace=0.75)
    finish(figure, save)


def plot_objects(objects: ObjectSet, summary: Summary, save: Path | None = None) -> None:
    """Plot histograms of the objects per image and of their sizes.

    Args:
        objects: Result of `collect`.
        summary: Result of `summarise` for these objects.
        save: File to write instead of showing the figure.

    Raises:
        InputError: `save` cannot be written.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4))
    numbers = summary.objects_per_image
    left.bar(np.arange(len(numbers.histogram)), numbers.histogram, width=0.9, color=BLUE)
    left.axvline(numbers.mean, color=ORANGE, linewidth=2)
    left.set_title(f"Objects per image: mean {numbers.mean:.2f}, median {numbers.median:g}, maximum {numbers.most}")
    left.set_xlabel("objects")
    left.set_ylabel("images")
    roots = np.sqrt(np.maximum(objects.areas_px, 1))
    edges = np.geomspace(2, max(256, roots.max(initial=0) * 1.05), 50)
    parts = [roots[objects.sizes == i] for i in range(len(SIZES))]
    labels = [f"{size}: {len(p):,} ({len(p) / max(1, len(roots)):.0%})" for size, p in zip(SIZES, parts, strict=True)]
    right.hist(parts, edges, stacked=True, color=SIZE_COLOURS, label=labels)
    for border in SIZE_BORDERS:
        right.axvline(np.sqrt(border), color="black", linewidth=1, linestyle=":")
    right.set_xscale("log", base=2)
    right.xaxis.set_major_formatter(ScalarFormatter())
    right.set_title("Object sizes in the original image")
    right.set_xlabel("square root of the mask's area, pixels")
    right.set_ylabel("objects")
    right.legend(frameon=False)
    finish(figure, save)


def plot_anchors(
    groups: Sequence[TrainingBoxes],
    config: Config,
    overlaps: dict[str, np.ndarray],
    proposed: tuple[Sequence, Sequence] | None,
    save: Path | None = None,
) -> None:
    """Plot heights and widths of objects and anchors at the training size, and a histogram of the best IoUs.

    Args:
        groups: Result of `training_boxes`.
        config: Settings; its anchors are drawn.
        overlaps: Name of the settings -> best IoU of each object, float [n].
        proposed: Proposed (scales, ratios) to draw as well, or None.
        save: File to write instead of showing the figure.

    Raises:
        InputError: `save` cannot be written.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.5))
    boxes = np.concatenate([np.zeros((0, 4)), *(group.boxes for group in groups)])
    boxes = boxes[:: max(1, len(boxes) // 5000)]
    height, width = np.maximum((boxes[:, 2:] - boxes[:, :2]).T, 0.5)
    left.scatter(width, height, s=4, color=GRAY, alpha=0.35, linewidths=0, label="objects")
    now = (config.RPN_ANCHOR_SCALES, config.RPN_ANCHOR_RATIOS)
    for label, anchors, marker, colour in (("now", now, "s", BLUE), ("proposed", proposed, "D", ORANGE)):
        if anchors is not None:
            side, root = np.asarray(anchors[0], float)[:, None], np.sqrt(np.asarray(anchors[1], float))
            left.scatter(
                side * root,
                side / root,
                marker=marker,
                s=40,
                facecolors="none",
                edgecolors=colour,
                label=f"anchors {label}",
            )
    left.set_xscale("log", base=2)
    left.set_yscale("log", base=2)
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_formatter(ScalarFormatter())
    left.set_xlabel("width, pixels of the network's input")
    left.set_ylabel("height")
    left.set_title("Objects and anchors")
    left.legend(loc="upper left", frameon=False)
    for (name, values), colour in zip(overlaps.items(), (BLUE, ORANGE), strict=False):
        mean = values.mean() if len(values) else 0
        right.hist(
            values,
            np.linspace(0, 1, 51),
            histtype="step",
            linewidth=2,
            color=colour,
            label=f"{name}: mean {mean:.3f}, {(values >= 0.7).mean() if len(values) else 0:.0%} at 0.7 or more",
        )
    right.axvline(0.7, color="black", linewidth=1, linestyle=":")
    right.set_xlim(0, 1)
    right.set_ylim(top=right.get_ylim()[1] * 1.15)  # room for the legend
    right.set_xlabel("IoU with the best anchor (positive from 0.7)")
    right.set_ylabel("objects")
    right.set_title("How well the best anchor fits")
    right.legend(loc="upper left", frameon=False)
    finish(figure, save)


def plot_shares(parts: dict[str, dict[str, float]], titles: dict[str, str], save: Path | None = None) -> None:
    """Plot fractions as bars, with one panel per part and three panels in a row.

    Args:
        parts: Part -> name -> fraction from 0 to 1, shown in per cent.
        titles: Part -> title of its panel.
        save: File to write instead of showing the figure.

    Raises:
        InputError: `save` cannot be written.
    """
    longest = max((len(values) for values in parts.values()), default=1)
    rows = -(-len(parts) // 3)
    figure, axes = plt.subplots(rows, 3, figsize=(13, rows * (0.36 * longest + 1)), squeeze=False)
    for axis in axes.flat[len(parts) :]:
        axis.set_visible(False)
    for axis, (part, values) in zip(axes.flat, parts.items(), strict=False):
        bars = axis.barh(np.arange(len(values)), list(values.values()), color=BLUE)
        axis.bar_label(bars, [f"{value:.1%}" for value in values.values()], padding=3, fontsize=9)
        axis.set_xlim(0, max([*values.values(), 0.01]) * 1.25)
        axis.set_xticks([])  # the bars are labelled
        axis.set_ylim(longest - 0.5, -0.5)
        axis.set_yticks(np.arange(len(values)), [figure_text(value) for value in values])
        axis.set_title(titles[part])
        axis.spines[["top", "right", "bottom"]].set_visible(False)
    figure.tight_layout()
    finish(figure, save)


def _percent(value: float, _position: int | None = None) -> str:
    """Format a tick of an axis of fractions."""
    return f"{value * 100:g}%"


def _name_rows(axis: Axes, names: Sequence[str]) -> None:
    """Label the rows of a horizontal bar plot, the first on top."""
    axis.set_yticks(np.arange(len(names)), [figure_text(name) for name in names])
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.spines[["top", "right"]].set_visible(False)
