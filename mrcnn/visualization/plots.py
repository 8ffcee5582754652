"""Plots of evaluation and training: precision-recall curves, overlaps, losses.

For `save` and `ax` see `mrcnn.visualization.figures`. Legend: C classes incl. background.
"""

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from mrcnn.text import figure_text
from mrcnn.visualization.drawing import Colour, class_color
from mrcnn.visualization.figures import Path, axes_for, finish, show_or_save

if TYPE_CHECKING:
    from mrcnn.evaluation.result import Result


def plot_precision_recall(
    AP: float, precisions: np.ndarray, recalls: np.ndarray, ax: Axes | None = None, save: Path | None = None
) -> Axes:
    """Plot the precision-recall curve that `compute_ap` returns.

    Args:
        AP: Average precision, shown in the title.
        precisions: [k].
        recalls: [k].
        ax: Axes to draw on.
        save: File to write instead of showing the figure.

    Returns:
        The axes.

    Raises:
        InputError: `save` cannot be written.
    """
    figure, axis = axes_for(ax, (6, 5))
    axis.plot(recalls, precisions, drawstyle="steps-pre")  # the area below is the AP
    _recall_axes(axis, f"Precision-Recall Curve. AP@50 = {AP:.3f}")
    return show_or_save(figure, axis, ax, save)


def plot_pr_curves(
    result: "Result",
    class_names: Sequence[str],
    title: str = "Masks: precision over recall at IoU 0.5",
    ax: Axes | None = None,
    save: Path | None = None,
) -> Axes:
    """Plot the precision-recall curve of each class in its colour, and their mean.

    Args:
        result: Result of `evaluate`.
        class_names: [C], entry 0 is the background; the order determines the colours.
        title: Title above the plot.
        ax: Axes to draw on.
        save: File to write instead of showing the figure.

    Returns:
        The axes.

    Raises:
        InputError: `save` cannot be written.
    """
    figure, axis = axes_for(ax, (8, 5.5))
    curves = result.pr_curve
    for class_id, name in enumerate(class_names):
        if name in curves.precision:
            axis.plot(
                curves.recall,
                curves.precision[name],
                color=_darker(class_color(class_id)),
                linewidth=1.6,
                label=f"{figure_text(name)}  {result.per_class[name].mask.AP50:.3f}",
            )
    if curves.mean:
        axis.plot(
            curves.recall,
            curves.mean,
            color="black",
            linewidth=2.5,
            linestyle=(0, (5, 2)),
            label=f"mean  {result.mask.AP50:.3f}",
        )
        # Placed beside the axes, because curves may run anywhere inside them.
        axis.legend(title="AP50", loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
    else:
        axis.text(0.5, 0.5, "no labelled object", ha="center", va="center", color="gray")
    _recall_axes(axis, title)
    return show_or_save(figure, axis, ax, save)


def plot_overlaps(
    gt_class_ids: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    overlaps: np.ndarray,
    class_names: Sequence[str],
    threshold: float = 0.5,
    ax: Axes | None = None,
    save: Path | None = None,
) -> Axes:
    """Show the IoU of every prediction with every object as a grid, and mark pairs of different classes above a
    threshold.

    Args:
        gt_class_ids: int [m]; zeros are padding.
        pred_class_ids: int [n].
        pred_scores: float [n].
        overlaps: float [n, m].
        class_names: [C].
        threshold: Minimum IoU of a match.
        ax: Axes to draw on.
        save: File to write instead of showing the figure.

    Returns:
        The axes.

    Raises:
        InputError: `save` cannot be written.
    """
    gt_class_ids = np.asarray(gt_class_ids)[np.asarray(gt_class_ids) != 0]
    rows, columns = len(pred_class_ids), len(gt_class_ids)
    figure, axis = axes_for(ax, (max(6, 0.7 * columns + 3), max(4, 0.35 * rows + 2)))
    grid = np.asarray(overlaps, float).reshape(rows, -1)[:, :columns]
    axis.imshow(grid, interpolation="nearest", cmap="Blues", vmin=0, vmax=1, aspect="auto")
    names = [f"{figure_text(class_names[c])} ({s:.2f})" for c, s in zip(pred_class_ids, pred_scores, strict=True)]
    axis.set_yticks(range(rows), names)
    axis.set_xticks(range(columns), [figure_text(class_names[c]) for c in gt_class_ids], rotation=90)
    for i, j in np.ndindex(rows, columns):
        if grid[i, j] >= 0.005:  # smaller values would read 0.00
            wrong = grid[i, j] > threshold and gt_class_ids[j] != pred_class_ids[i]
            axis.text(
                j,
                i,
                f"{grid[i, j]:.2f}{' wrong' if wrong else ''}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if grid[i, j] > 0.5 else "black",
            )
    axis.set_xlabel("Ground truth")
    axis.set_ylabel("Predictions")
    return show_or_save(figure, axis, ax, save)


def plot_losses(histories: dict[str, dict[str, Sequence[float]]], save: Path | None = None) -> None:
    """Plot the loss and its terms over the stages of a training run.

    Args:
        histories: Name of the stage -> `history` of Keras' History: name of the loss -> one value per epoch.
        save: File to write instead of showing the figure.

    Raises:
        InputError: `save` cannot be written.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4), layout="constrained")
    first = 1
    for stage, losses in histories.items():
        epochs = range(first, first + len(losses["loss"]))
        left.plot(epochs, losses["loss"], marker="o", label=stage)
        terms = [name for name in losses if name.endswith("_loss") and not name.startswith("val_")]
        for number, name in enumerate(terms):
            right.plot(
                epochs,
                losses[name],
                marker=".",
                color=f"C{number}",
                label=name.removesuffix("_loss") if first == 1 else None,
            )
        first += len(losses["loss"])
    left.set_title("loss")
    right.set_title("its terms")
    for axis in (left, right):
        axis.set_xlabel("epoch")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend()
    finish(figure, save)


def _darker(color: Colour) -> Colour:
    """Darken a class colour for lines on white."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*color)
    return colorsys.hls_to_rgb(hue, min(lightness, 0.42), saturation)


def _recall_axes(axis: Axes, title: str) -> None:
    """Set title, labels and limits of a precision-recall plot."""
    axis.set_title(figure_text(title))
    axis.set_xlabel("Recall")
    axis.set_ylabel("Precision")
    axis.set_xlim(0, 1.01)
    axis.set_ylim(0, 1.05)
    axis.grid(alpha=0.3)
