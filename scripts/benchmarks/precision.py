"""Compare loss curves in 16 bits with float32: train a small network in the same way in each precision.

Trains all layers on drawn street scenes from the shipped weights. The images are smaller than those that the weights
were trained on, so that there is something to learn and the losses fall. The difference between two curves is the mean
over the steps of |a - b| / b, after
smoothing over 20 steps. Compare it with the noise: the difference between two float32 trainings that see the same
images in the same order but sample different anchors and ROIs.
"""

import argparse
import time
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from bdd100k.cli import learning_rate, positive_int
from mrcnn.config import PRECISIONS

SUMMARY = "loss curves in bfloat16 and float16, compared with float32"
SMOOTHED = 20  # number of steps to average
KEYS = """\
keys of the JSON file:
  curves            for "float32", "float32, other draws" and each precision: the loss of each step
  differences       from "float32", for each of the others: mean over the steps of the relative difference, smoothed
  seconds_per_step  CPU time, median
  image, batch, steps, backend
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.epilog = KEYS
    add = parser.add_argument
    add("--steps", type=positive_int, default=200, metavar="N", help="number of steps (default: %(default)s)")
    add(
        "--precisions",
        nargs="+",
        choices=PRECISIONS[1:],
        default=["bfloat16"],
        help="precisions (default: %(default)s)",
    )
    add(
        "--size",
        type=positive_int,
        nargs=2,
        default=[128, 256],
        metavar="PX",
        help="height and width of the images (default: %(default)s)",
    )
    add("--learning-rate", type=learning_rate, default=0.0003, metavar="R", help="learning rate (default: %(default)s)")
    add("--plot", metavar="FILE", help="plot the curves to this file")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train in each precision, print the table and return the figures."""
    import keras

    trainings = {"float32": ("float32", 1), "float32, other draws": ("float32", 2)}
    trainings |= {precision: (precision, 1) for precision in args.precisions}
    curves, seconds = {}, {}
    for name, (precision, seed) in trainings.items():
        curves[name], seconds[name] = train(precision, seed, args)
    expected = smooth(curves["float32"])
    differences = {
        name: float(np.mean(np.abs(smooth(curve) - expected) / expected))
        for name, curve in curves.items()
        if name != "float32"
    }
    report = {
        "curves": {name: np.round(curve, 5).tolist() for name, curve in curves.items()},
        "differences": differences,
        "seconds_per_step": seconds,
        "image": args.size,
        "batch": 2,
        "steps": args.steps,
        "backend": keras.config.backend(),
    }
    show(report)
    if args.plot:
        plot(curves, args.plot)
    return report


def train(precision: str, seed: int, args: argparse.Namespace) -> tuple[np.ndarray, float]:
    """Return the loss of each step, and the median CPU time of a step. `seed` affects the network, not the images."""
    from bdd100k.config import StreetsConfig
    from bdd100k.open_data import open_dataset
    from mrcnn.data.loader import Loader
    from mrcnn.model import MaskRCNN
    from mrcnn.modeling.pretrained import fetch

    height, width = args.size
    settings = [f"IMAGE_MIN_DIM={height}", f"IMAGE_MAX_DIM={width}", f"PRECISION={precision}", f"SEED={seed}"]
    config = StreetsConfig().override(settings)
    model = MaskRCNN("training", config, "logs")
    model.load_weights(fetch("streets"))
    model.set_trainable(".*", verbose=0)
    model.compile(args.learning_rate, config.LEARNING_MOMENTUM)
    loader = Loader(open_dataset(None, "train"), config, steps=args.steps, seed=1, workers=1)
    losses, seconds = [], []
    try:
        for item in loader:
            began = time.process_time()
            model.keras_model.reset_metrics()
            losses.append(float(model.keras_model.train_on_batch(item[0], return_dict=True)["loss"]))
            seconds.append(time.process_time() - began)
    finally:
        loader.close()
    return np.array(losses), float(np.median(seconds))


def smooth(curve: np.ndarray) -> np.ndarray:
    """Return the running mean over SMOOTHED steps."""
    width = min(SMOOTHED, len(curve))
    return np.convolve(curve, np.full(width, 1 / width), "valid")


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(title=f"{report['steps']} steps, {report['backend']}", box=box.SIMPLE)
    for column in ("training", "difference from float32", "last loss", "CPU time per step"):
        table.add_column(column, justify="left" if column == "training" else "right")
    for name, curve in report["curves"].items():
        difference = report["differences"].get(name)
        table.add_row(
            name,
            "" if difference is None else f"{difference:.1%}",
            f"{smooth(np.array(curve))[-1]:.3f}",
            f"{report['seconds_per_step'][name]:.2f} s",
        )
    Console().print(table)


def plot(curves: dict[str, np.ndarray], path: str) -> None:
    """Plot the smoothed curves."""
    import matplotlib.pyplot as plt

    from mrcnn.visualization.figures import axes_for, show_or_save

    figure, axis = axes_for(None, (7, 3.5))
    for name, curve in curves.items():
        smoothed = smooth(curve)
        steps = np.arange(len(smoothed)) + len(curve) - len(smoothed) + 1
        axis.plot(steps, smoothed, label=name, linewidth=1.2, linestyle="-" if name in PRECISIONS else "--")
    axis.set(xlabel="step", ylabel=f"loss, mean of {SMOOTHED} steps")
    axis.legend()
    plt.tight_layout()
    show_or_save(figure, axis, None, path)
