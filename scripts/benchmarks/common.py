"""Shared by the benchmarks: settings for a square input, options of the network, and summaries of measured seconds."""

import argparse
from typing import Any

import numpy as np


def square(side: int) -> list[str]:
    """Return settings, as for --set, for an input of `side` x `side` pixels."""
    return ["IMAGE_RESIZE_MODE=square", f"IMAGE_MIN_DIM={side}", f"IMAGE_MAX_DIM={side}"]


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --backbone, --against and --set."""
    parser.add_argument("--backbone", default="resnet50", help="backbone of the network (default: %(default)s)")
    parser.add_argument(
        "--against", choices=["torchvision"], help="also measure this library (needs pip install '.[benchmark]')"
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="override a setting of the network, for example RPN_CHANNELS=256 as in torchvision",
    )


def spread(seconds: np.ndarray) -> list[float]:
    """Return the 10th and the 90th percentile."""
    return np.percentile(seconds, [10, 90]).tolist()


def in_words(seconds: float, between: list[float]) -> str:
    """Format a median with its spread."""
    return f"{seconds:.3f} ({between[0]:.3f} to {between[1]:.3f})"


def median_ratio(theirs: Any, ours: Any) -> float:
    """Return the median of the ratios of each round, in which both sides ran under the same load."""
    return float(np.median(np.asarray(theirs) / np.asarray(ours)))
