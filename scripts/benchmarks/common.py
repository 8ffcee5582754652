"""What several benchmarks share: a square input, the options of a network, and how measured seconds are summed up."""

import argparse
from typing import Any

import numpy as np


def square(side: int) -> list[str]:
    """Settings, as for --set, of an input of `side` x `side` pixels."""
    return ["IMAGE_RESIZE_MODE=square", f"IMAGE_MIN_DIM={side}", f"IMAGE_MAX_DIM={side}"]


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """--backbone, --against and --set."""
    parser.add_argument("--backbone", default="resnet50", help="default: %(default)s")
    parser.add_argument("--against", choices=["torchvision"], help="measure this too (pip install '.[benchmark]')")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="another setting of the network, e.g. RPN_CHANNELS=256 as torchvision has",
    )


def spread(seconds: np.ndarray) -> list[float]:
    """The 10th and the 90th percentile."""
    return np.percentile(seconds, [10, 90]).tolist()


def in_words(seconds: float, between: list[float]) -> str:
    """A median with its spread."""
    return f"{seconds:.3f} ({between[0]:.3f} to {between[1]:.3f})"


def median_ratio(theirs: Any, ours: Any) -> float:
    """The median of the ratios of turns, which met the same load."""
    return float(np.median(np.asarray(theirs) / np.asarray(ours)))
