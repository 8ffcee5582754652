"""Plots of evaluation, and how every figure of this package reaches a file, a notebook or a window.

Functions that show something take `save=PATH` (written, then closed) or `ax=` (drawn there, nothing shown). Without
either they show the figure if there is a display or a notebook, and leave it open for `plt.savefig` if there is none.
Legend: C classes incl. background.
"""

import colorsys
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from mrcnn.files import written_whole
from mrcnn.visualization.drawing import Colour, class_color

if TYPE_CHECKING:
    from mrcnn.evaluation.evaluator import Result


Path = str | os.PathLike[str]


def plot_precision_recall(
    AP: float, precisions: np.ndarray, recalls: np.ndarray, ax: Axes | None = None, save: Path | None = None
) -> Axes:
    """Plots the precision-recall curve that `compute_ap` returns.

    Args:
        AP: Shown in the title.
        precisions: [k].
        recalls: [k].
        ax: Axes to draw on.
        save: File to write instead of showing.

    Returns:
        The axes.
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
    """Plots one curve per class, in the colour of the class, and their mean.

    Args:
        result: What `evaluate` returned.
        class_names: [C], entry 0 is the background; gives the colours.
        title: Above the plot.
        ax: Axes to draw on.
        save: File to write instead of showing.

    Returns:
        The axes.
    """
    figure, axis = axes_for(ax, (8, 5.5))
    curves = result.pr_curve
    for class_id, name in enumerate(class_names):
        if name in curves["precision"]:
            axis.plot(
                curves["recall"],
                curves["precision"][name],
                color=_darker(class_color(class_id)),
                linewidth=1.6,
                label=f"{name}  {result.per_class[name]['mask']['AP50']:.3f}",
            )
    if curves["mean"]:
        axis.plot(
            curves["recall"],
            curves["mean"],
            color="black",
            linewidth=2.5,
            linestyle=(0, (5, 2)),
            label=f"mean  {result.mask['AP50']:.3f}",
        )
        # Beside the axes: curves may run anywhere inside them.
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
    """Shows the IoU of every prediction with every object as a grid; pairs above the threshold of a wrong class say so.

    Args:
        gt_class_ids: int [m]; zeros are padding.
        pred_class_ids: int [n].
        pred_scores: [n].
        overlaps: [n, m].
        class_names: [C].
        threshold: Where a match starts.
        ax: Axes to draw on.
        save: File to write instead of showing.

    Returns:
        The axes.
    """
    gt_class_ids = np.asarray(gt_class_ids)[np.asarray(gt_class_ids) != 0]
    rows, columns = len(pred_class_ids), len(gt_class_ids)
    figure, axis = axes_for(ax, (max(6, 0.7 * columns + 3), max(4, 0.35 * rows + 2)))
    grid = np.asarray(overlaps, float).reshape(rows, -1)[:, :columns]
    axis.imshow(grid, interpolation="nearest", cmap="Blues", vmin=0, vmax=1, aspect="auto")
    names = [f"{class_names[c]} ({s:.2f})" for c, s in zip(pred_class_ids, pred_scores, strict=True)]
    axis.set_yticks(range(rows), names)
    axis.set_xticks(range(columns), [class_names[c] for c in gt_class_ids], rotation=90)
    for i, j in np.ndindex(rows, columns):
        if grid[i, j] >= 0.005:  # what rounds to 0.00 says nothing
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
    """Plots the loss of the stages of a training one after the other, and the terms that it is the sum of.

    Args:
        histories: name of the stage -> what Keras' history holds: name of the loss -> one number an epoch.
        save: file to write instead of showing.
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


def axes_for(ax: Axes | None, figsize: tuple[float, float]) -> tuple[Any, Axes]:
    """The figure and axes to draw on: the given axes, or new ones of `figsize` inches."""
    return plt.subplots(1, figsize=figsize) if ax is None else (ax.figure, ax)


def show_or_save(figure: Any, axis: Axes, given: Axes | None, save: Path | None) -> Axes:
    """Ends a drawing: axes that the caller gave are left alone unless they are to be saved. Returns the axes."""
    if given is None or save is not None:
        finish(figure, save)
    return axis


def finish(figure: Any, save: Path | None) -> None:
    """Writes and closes the figure, or shows it if there is something to show it on."""
    if save is not None:
        path = pathlib.Path(save)
        with written_whole(path, durable=False) as temporary:
            figure.savefig(temporary, dpi=120, bbox_inches="tight", format=path.suffix.lstrip(".") or "png")
        plt.close(figure)
    elif matplotlib.get_backend().lower() not in ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template"):
        plt.show()


def _darker(color: Colour) -> Colour:
    """Class colours are made for photographs; lines on white paper need less light."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*color)
    return colorsys.hls_to_rgb(hue, min(lightness, 0.42), saturation)


def _recall_axes(axis: Axes, title: str) -> None:
    axis.set_title(title)
    axis.set_xlabel("Recall")
    axis.set_ylabel("Precision")
    axis.set_xlim(0, 1.01)
    axis.set_ylim(0, 1.05)
    axis.grid(alpha=0.3)
