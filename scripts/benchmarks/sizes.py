"""Detection in images of many sizes, where the network's input follows the image (IMAGE_RESIZE_MODE none).

Every size is detected in twice, first when it is new, then again: the CPU time of both, and by how much the resident
memory of the process has grown. Weights are random; sizes are multiples of 64 from 64 to 576 in random order.

Then, with the shipped weights, what 64 more rows and columns of padding change in the detections of drawn streets: the
reason why sizes are not rounded up.
"""

import argparse
import gc
import itertools
import pathlib
import random
import resource
import time
from typing import Any

import cv2
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from bdd100k.cli import positive_int

SUMMARY = "memory and time that each new image size costs, and what padding changes"
SIDES = range(64, 577, 64)
STREET = (320, 576)  # height, width px of the streets whose padding is changed
MIN_SCORE, MIN_IOU = 0.3, 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--count", type=positive_int, default=60, metavar="N", help="sizes (default: %(default)s)")
    parser.add_argument("--streets", type=positive_int, default=30, metavar="N", help="default: %(default)s")
    parser.add_argument("--backbone", default="resnet50", help="default: %(default)s")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure and print the tables; return the figures."""
    import keras

    rows = new_sizes(args.count, args.backbone)
    padding = padding_effect(args.streets)
    table = Table(title=f"{args.backbone}, {keras.config.backend()}", box=box.SIMPLE)
    for title in ("sizes", "memory, MiB more", "CPU seconds, new", "seen before"):
        table.add_column(title, justify="right")
    for count in sorted({*range(6, len(rows), 6), len(rows)}):
        new, again = np.mean([row[1:] for row in rows[:count]], axis=0)
        table.add_row(str(count), f"{rows[count - 1][0]:.0f}", f"{new:.2f}", f"{again:.2f}")
    Console().print(table)
    Console().print(
        "64 px of padding: {lost} of {detections} detections have no partner; scores move by {score_median:.3f} "
        "(median) and {score_most:.3f} (at most)".format(**padding)
    )
    return {"backend": keras.config.backend(), "memory_new_again": rows, "padding": padding}


def new_sizes(count: int, backbone: str) -> list[tuple[float, float, float]]:
    """Return, for each of `count` sizes: MiB of memory more than before the first, CPU seconds when new and again."""
    from mrcnn.config import Config
    from mrcnn.model import MaskRCNN

    settings = [f"BACKBONE={backbone}", "IMAGE_RESIZE_MODE=none", "NUM_CLASSES=81", "DETECTION_MIN_CONFIDENCE=0.0"]
    model = MaskRCNN("inference", Config().override(settings), "logs")
    sizes = list(itertools.product(SIDES, repeat=2))
    random.Random(0).shuffle(sizes)
    rng = np.random.default_rng(0)
    model.detect([np.zeros((256, 640, 3), np.uint8)])  # not among the sizes
    before, rows = _resident_mib(), []
    for size in sizes[:count]:
        image = rng.integers(0, 255, (*size, 3), np.uint8)
        times = [time.process_time()]
        for _ in range(2):
            model.detect([image])
            times.append(time.process_time())
        gc.collect()
        rows.append((_resident_mib() - before, times[1] - times[0], times[2] - times[1]))
    return rows


def _resident_mib() -> float:
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def padding_effect(count: int) -> dict[str, float]:
    """Compare the detections in `count` drawn streets with those in the same images, 64 px higher and wider."""
    from bdd100k.detector import load_model
    from bdd100k.streets.scenes import draw_scene
    from mrcnn.structures.boxes import compute_overlaps

    model, _ = load_model("streets", "logs", None, ["IMAGE_RESIZE_MODE=none", "IMAGES_PER_GPU=1"], MIN_SCORE)
    moves: list[float] = []
    total = 0
    for number in range(count):
        image = cv2.resize(draw_scene(5, number).image, STREET[::-1], interpolation=cv2.INTER_AREA)
        padded = np.pad(image, ((0, 64), (0, 64), (0, 0)))
        plain, other = (model.detect_instances([seen])[0] for seen in (image, padded))
        overlaps = compute_overlaps(plain["rois"].astype(float), other["rois"].astype(float))
        overlaps = np.where(plain["class_ids"][:, None] == other["class_ids"], overlaps, 0)
        total += len(overlaps)
        if overlaps.size:
            partner, found = overlaps.argmax(axis=1), overlaps.max(axis=1) > MIN_IOU
            moves += np.abs(plain["scores"] - other["scores"][partner])[found].tolist()
    most = (float(np.median(moves)), float(max(moves))) if moves else (0.0, 0.0)
    return {"detections": total, "lost": total - len(moves), "score_median": most[0], "score_most": most[1]}
