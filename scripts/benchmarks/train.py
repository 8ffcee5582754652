"""Measure a training step: its seconds and memory, the time spent waiting for data, and the cost of compilation.

Trains on drawn street scenes (720 x 1280 JPEGs, 18 objects each) as `scripts/train.py` does: the loader prepares
batches while the step runs, and the time between the end of a step and the arrival of its next batch counts as waiting.
The first step, in which the backend traces and compiles, is measured separately.

With --against torchvision, torchvision's Mask R-CNN R50-FPN trains on the same batches, alternating with ours step by
step. For equal work use --layers 3+, because torchvision trains these layers by default.
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from bdd100k.cli import positive_int

from . import torchvision_model
from .common import add_network_arguments, in_words, median_ratio, spread, square

SUMMARY = "seconds, memory, waiting time and compilation of training steps"
KEYS = """\
keys of the JSON file:
  seconds_per_step   median over the measured steps, and "spread" (10th and 90th percentile)
  seconds_per_image  the same per image
  compile_seconds    duration of the first step minus the median
  build_seconds      time to build the network
  data_wait          fraction of the steps' time spent waiting for batches
  peak_memory_mib    peak resident memory of the process, without GPU memory
  torchvision        seconds of its step, if requested, and "ratio": torchvision / ours, median over the steps
  backend, layers, batch, image, backbone, parameters, trained, steps
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.epilog = KEYS
    parser.add_argument(
        "--size", type=positive_int, default=512, metavar="PX", help="side of the square images (default: %(default)s)"
    )
    add_network_arguments(parser)
    parser.add_argument(
        "--layers",
        default="all",
        help="layers to train: heads, 3+, 4+, 5+, all, or a regular expression (default: %(default)s)",
    )
    parser.add_argument(
        "--batch", type=positive_int, default=1, metavar="N", help="number of images per step (default: %(default)s)"
    )
    parser.add_argument(
        "--steps", type=positive_int, default=10, metavar="N", help="number of measured steps (default: %(default)s)"
    )
    parser.add_argument(
        "--loaders",
        type=positive_int,
        default=2,
        metavar="N",
        help="number of threads that prepare batches (default: %(default)s)",
    )
    parser.add_argument("--augment", default="default", help="augmentation preset (default: %(default)s)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, print the table and return the figures."""
    import keras

    from bdd100k.config import BDD100KConfig
    from bdd100k.open_data import open_dataset
    from mrcnn.augment_settings import Augmentation, preset_settings
    from mrcnn.data.loader import Loader
    from mrcnn.engine.trainer import choose_layers
    from mrcnn.model import MaskRCNN

    if args.against:
        torchvision_model.refuse_without()
    settings = [*square(args.size), f"IMAGES_PER_GPU={args.batch}", f"BACKBONE={args.backbone}"]
    config = BDD100KConfig().override([*settings, *preset_settings(args.augment), *args.overrides])
    dataset = open_dataset(None, "train")
    began = time.perf_counter()
    model = MaskRCNN("training", config, "logs")
    network = model.keras_model
    choose_layers(network, config, args.layers)
    model.compile(0.0001, config.LEARNING_MOMENTUM)
    built = time.perf_counter() - began
    loader = Loader(
        dataset, config, augment=Augmentation.from_config(config), steps=args.steps + 2, workers=args.loaders
    )
    theirs = None
    if args.against:
        theirs = torchvision_model.Other(torchvision_model.trainer, int(config.NUM_CLASSES), args.size)
    waits, steps, others = _steps(network, loader, theirs)
    took = np.array(steps[2:])  # the first compiles, and the second may still warm up
    report = {
        "seconds_per_step": float(np.median(took)),
        "spread": spread(took),
        "seconds_per_image": float(np.median(took)) / args.batch,
        "compile_seconds": steps[0] - float(np.median(took)),
        "build_seconds": built,
        "data_wait": float(np.sum(waits[2:]) / np.sum(took)),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "backend": keras.config.backend(),
        "layers": args.layers,
        "batch": args.batch,
        "image": [args.size, args.size],
        "backbone": args.backbone,
        "parameters": int(network.count_params()),
        "trained": int(sum(np.prod(v.shape) for v in network.trainable_variables)),
        "steps": args.steps,
    }
    if args.against:
        report["torchvision"] = float(np.median(others[2:]))
        report["ratio"] = median_ratio(others[2:], took)
    show(report)
    return report


def _steps(
    network: Any, loader: Any, other: Callable[[dict[str, np.ndarray]], float] | None
) -> tuple[list[float], list[float], list[float]]:
    """Run all steps; return the seconds that each waited for its batch, took in all, and took in the other library."""
    waits: list[float] = []
    steps: list[float] = []
    others: list[float] = []
    batches = iter(loader)
    try:
        while True:
            began = time.perf_counter()
            item = next(batches, None)
            if item is None:
                return waits, steps, others
            arrived = time.perf_counter()
            network.train_on_batch(item[0])  # returns numbers, so the step has finished
            steps.append(time.perf_counter() - began)
            waits.append(arrived - began)
            if other is not None:
                others.append(other(item[0]))
    finally:
        loader.close()


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    size, batch = report["image"][0], report["batch"]
    title = f"{report['backbone']}, {report['layers']}, {size} x {size}, batch {batch}, {report['backend']}"
    table = Table(title=title, box=box.SIMPLE, show_header=False)
    table.add_row("step", f"{in_words(report['seconds_per_step'], report['spread'])} s")
    table.add_row("image", f"{report['seconds_per_image']:.3f} s")
    if "ratio" in report:
        table.add_row("torchvision", f"{report['torchvision']:.3f} s per step, {report['ratio']:.2f} times ours")
    table.add_row("waiting for data", f"{report['data_wait']:.1%} of the step")
    table.add_row("compilation", f"{report['compile_seconds']:.1f} s, once; building {report['build_seconds']:.1f} s")
    table.add_row("memory", f"{report['peak_memory_mib']:.0f} MiB at the peak")
    table.add_row("parameters", f"{report['parameters'] / 1e6:.1f} million, {report['trained'] / 1e6:.1f} trained")
    Console().print(table)
