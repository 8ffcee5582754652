"""Measure detection in one image, from its pixels to boxes, classes, scores and full masks.

The image is a drawn street, cropped to a square of the network's input size. Weights are random and there is no score
threshold, so there are always 100 detections with masks to paste. The first calls, in which the backend traces and
compiles, are not counted.

With --against torchvision, torchvision's Mask R-CNN R50-FPN detects in the same image, alternating with ours.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from bdd100k.cli import positive_int

from . import torchvision_model
from .common import add_network_arguments, in_words, median_ratio, spread, square

SUMMARY = "seconds from an image to its detections, optionally compared with torchvision"
KEYS = """\
keys of the JSON file, for each of "sizes":
  detect       seconds of MaskRCNN.detect_instances and the full masks: median, and "spread" (10th, 90th percentile)
  network      the network alone, with "spread"
  torchvision  the same as detect, if requested; "ratio": torchvision / detect, median of the per-round ratios
  backend, backbone, rounds
"""
WARM_UP = 2  # rounds in which the backend traces and compiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.epilog = KEYS
    parser.add_argument(
        "--sizes",
        type=positive_int,
        nargs="+",
        default=[512, 1024],
        metavar="PX",
        help="sides of the images, multiples of 64 (default: 512 1024)",
    )
    parser.add_argument(
        "--rounds", type=positive_int, default=10, metavar="N", help="number of rounds (default: %(default)s)"
    )
    add_network_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, print the table and return the figures."""
    import keras

    if args.against:
        torchvision_model.refuse_without()
    report: dict[str, Any] = {
        "backend": keras.config.backend(),
        "backbone": args.backbone,
        "rounds": args.rounds,
        "sizes": {},
    }
    for size in args.sizes:
        image = street(size)
        calls, classes = _ours(image, args.backbone, args.overrides)
        if args.against:
            calls["torchvision"] = torchvision_model.Other(torchvision_model.detector, image, classes)
        taken = in_turns(calls, args.rounds)
        figures: dict[str, Any] = {
            name: {"seconds": float(np.median(seconds)), "spread": spread(seconds)} for name, seconds in taken.items()
        }
        if args.against:
            figures["ratio"] = median_ratio(taken["torchvision"], taken["detect"])
        report["sizes"][size] = figures
    show(report)
    return report


def street(size: int) -> np.ndarray:
    """Return a drawn street, uint8 [size, size, 3] RGB."""
    from bdd100k.streets.scenes import draw_scene

    whole = draw_scene(0, 0).image
    left = (whole.shape[1] - whole.shape[0]) // 2
    return cv2.resize(whole[:, left : left + whole.shape[0]], (size, size), interpolation=cv2.INTER_AREA)


def _ours(image: np.ndarray, backbone: str, overrides: list[str]) -> tuple[dict[str, Callable[[], float]], int]:
    """Return the calls to measure, each of which returns its duration in seconds, and the number of classes."""
    from bdd100k.config import BDD100KConfig
    from mrcnn.model import MaskRCNN

    settings = [*square(image.shape[0]), "DETECTION_MIN_CONFIDENCE=0", f"BACKBONE={backbone}", *overrides]
    config = BDD100KConfig().override(settings)
    config.validate()
    model = MaskRCNN("inference", config, "logs")
    molded, metas, _ = model.mold_inputs([image])
    anchors = model.get_anchors(molded[0].shape)[None]

    def detect() -> None:
        (found,) = model.detect([image])
        assert found["masks"].shape[:2] == image.shape[:2], "full masks"

    inputs = [molded, metas, anchors]
    calls = {"detect": clocked(detect), "network": clocked(lambda: model.keras_model.predict_on_batch(inputs))}
    return calls, int(config.NUM_CLASSES)


def clocked(call: Callable[[], Any]) -> Callable[[], float]:
    """Wrap a call so that it returns its duration in seconds."""

    def run() -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    return run


def in_turns(calls: dict[str, Callable[[], float]], rounds: int) -> dict[str, np.ndarray]:
    """Return the seconds of each call by the clock, [rounds]; every round runs all calls, under the same load."""
    taken = [[call() for call in calls.values()] for _ in range(WARM_UP + rounds)]
    return dict(zip(calls, np.array(taken[WARM_UP:]).T, strict=True))


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(title=f"{report['backbone']}, {report['backend']}, seconds per image", box=box.SIMPLE)
    for column in ("", *(f"{size} px" for size in report["sizes"])):
        table.add_column(column, justify="right" if column else "left")
    names = dict.fromkeys(name for figures in report["sizes"].values() for name in figures)
    for name in names:
        cells = [figures[name] for figures in report["sizes"].values()]
        table.add_row(
            "torchvision / detect" if name == "ratio" else name,
            *(f"{cell:.2f}" if name == "ratio" else in_words(cell["seconds"], cell["spread"]) for cell in cells),
        )
    Console().print(table)
