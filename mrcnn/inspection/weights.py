"""Figures and tables of weights for the notebooks: histograms, inactive filters, drift between training stages."""

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from mrcnn.modeling import stage_outputs
from mrcnn.modeling.weights import leaf_layers, read_layers
from mrcnn.visualization.figures import Path, axes_for, finish, show_or_save

if TYPE_CHECKING:
    from mrcnn.model import MaskRCNN


WEAK = 0.01  # a filter is weak if its norm is below this fraction of the layer's median
# Layers whose output goes through a ReLU.
_RECTIFIED = re.compile(r"bn_conv1|bn\d\w+_branch2[ab]|res\d\w+_out|mrcnn_class_bn\d|mrcnn_mask_bn\d")
_PARTS = (
    ("res2", "conv1|bn_conv1|(res|bn)2.*"),
    ("res3", "(res|bn)3.*"),
    ("res4", "(res|bn)4.*"),
    ("res5", "(res|bn)5.*"),
    ("FPN", "fpn_.*"),
    ("RPN", "rpn_.*"),
    ("box head", "mrcnn_(class|bbox).*"),
    ("mask head", "mrcnn_mask.*"),
)


def plot_histograms(model: "MaskRCNN", layers: Sequence[str], save: Path | None = None) -> None:
    """Plot a histogram of the kernel of each layer.

    Args:
        model: Model with weights.
        layers: Names of layers, including those inside the RPN; unknown names are ignored.
        save: File to write instead of showing the figure.

    Raises:
        InputError: `save` cannot be written.
    """
    known = leaf_layers(model.keras_model)
    kernels = {name: np.asarray(_numpy(known[name][0])).ravel() for name in layers if name in known}
    rows = -(-len(kernels) // 4)
    figure, axes = plt.subplots(rows, 4, figsize=(13, 2.4 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(kernels) :]:
        axis.axis("off")
    for axis, (name, values) in zip(axes.flat, kernels.items(), strict=False):
        axis.hist(values, 60, color="#3b6ea8")
        axis.set_title(f"{name}: {len(values):,}, std {values.std():.3f}", fontsize=9)
        axis.set_yticks([])
    finish(figure, save)


def filter_table(model: "MaskRCNN", images: Sequence[np.ndarray]) -> list[list[str]]:
    """Return rows for `display_table`: the inactive filters of each layer that a ReLU follows.

    Args:
        model: Inference model with weights.
        images: uint8 [H, W, 3] each, few enough for one batch.

    Returns:
        Layer, number of filters, of dead ones (the output is never above 0, anywhere in any image) and of weak ones
        (the norm of the kernel is below WEAK times the median); then the sums. Layers without either are left out.

    Raises:
        InputError: See `MaskRCNN.mold_inputs`.
    """
    import keras

    network = model.keras_model
    names = [layer.name for layer in network.layers if _is_rectified(layer.name, network)]
    outputs = [(name, network.get_layer(name).output) for name in names]
    maxima = [(name, keras.ops.max(output, axis=tuple(range(len(output.shape) - 1)))) for name, output in outputs]
    molded, metas, _ = model.mold_inputs(images)
    anchors = np.repeat(model.get_anchors(molded.shape[1:])[None], len(images), axis=0)
    highest = stage_outputs.run(network, maxima, [molded, np.asarray(metas, np.float32), anchors])
    kernels = leaf_layers(network)
    rows, total = [["layer", "filters", "dead", "weak"]], np.zeros(3, int)
    for name in names:
        kernel = kernels.get(re.sub(r"^bn(\d)", r"res\1", name).replace("bn_conv1", "conv1").replace("_bn", "_conv"))
        weak = 0
        if kernel is not None and not name.endswith("_out"):
            norms = np.linalg.norm(_numpy(kernel[0]).reshape(-1, kernel[0].shape[-1]), axis=0)
            weak = int(np.count_nonzero(norms < WEAK * np.median(norms)))
        counts = np.array([len(highest[name]), np.count_nonzero(highest[name] <= 0), weak])
        total += counts
        if counts[1:].any():
            rows.append([name, *map(str, counts)])
    return [*rows, ["all layers", *map(str, total)]]


def _is_rectified(name: str, network: Any) -> bool:
    """Return whether a ReLU follows the layer directly; after the last convolution of a block there is a sum first."""
    if not _RECTIFIED.fullmatch(name):
        return False
    others = {layer.name for layer in network.layers}
    return not name.endswith("branch2b") or name.replace("2b", "2c") in others


def drift(before: str | os.PathLike, after: str | os.PathLike) -> dict[str, float]:
    """Measure the relative change of each layer between two weight files: norm of the difference / norm before.

    Args:
        before, after: .h5 files of the same network.

    Returns:
        Layer -> relative change, 0 for a layer that did not change.

    Raises:
        InputError: A file is missing, damaged or in another format.
    """
    old, new = read_layers(before), read_layers(after)
    changes = {}
    for name in (name for name in old if name in new):
        first, second = (np.concatenate([a.ravel() for a in layers[name]]).astype(np.float64) for layers in (old, new))
        if first.shape == second.shape:
            changes[name] = float(np.linalg.norm(second - first)) / max(float(np.linalg.norm(first)), 1e-12)
    return changes


def plot_drift(drifts: dict[str, dict[str, float]], ax: Axes | None = None, save: Path | None = None) -> Axes:
    """Plot the `drift` of each stage with one point per layer, grouped from the image to the heads.

    Args:
        drifts: Name of the stage -> layer -> relative change.
        ax: Axes to draw on.
        save: File to write instead of showing the figure.

    Returns:
        The axes.

    Raises:
        InputError: `save` cannot be written.
    """
    figure, axis = axes_for(ax, (11, 4.5))
    for shift, (stage, changes) in enumerate(drifts.items()):
        for column, (_, pattern) in enumerate(_PARTS):
            values = [value for name, value in changes.items() if re.fullmatch(pattern, name)]
            x = column + (shift - (len(drifts) - 1) / 2) * 0.3 + np.linspace(-0.08, 0.08, max(1, len(values)))
            axis.plot(
                x[: len(values)],
                np.maximum(values, 1e-5),
                "o",
                markersize=4,
                alpha=0.7,
                color=f"C{shift}",
                label=stage if column == 0 else None,
            )
    axis.set_yscale("log")
    axis.set_ylim(bottom=7e-6)
    axis.axhline(1e-5, color="gray", linewidth=0.8, linestyle=":")
    axis.text(-0.45, 1.1e-5, "did not move", color="gray", fontsize=8, va="bottom")
    axis.set_xticks(range(len(_PARTS)), [name for name, _ in _PARTS])
    axis.set_ylabel("relative change of a layer")
    axis.grid(axis="y", alpha=0.3)
    axis.legend(title="stage", loc="lower right")
    return show_or_save(figure, axis, ax, save)


def _numpy(variable: Any) -> np.ndarray:
    """Return the value of a Keras variable."""
    import keras

    return np.asarray(keras.ops.convert_to_numpy(variable))
