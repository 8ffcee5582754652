"""Shared by the benchmarks: settings, options of the network, calls of scripts, and summaries of measured seconds."""

import argparse
import pathlib
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from bdd100k.cli import add_set_argument
from mrcnn.errors import InputError

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent


def square(side: int) -> list[str]:
    """Return settings, as for --set, for an input of `side` x `side` pixels."""
    return ["IMAGE_RESIZE_MODE=square", f"IMAGE_MIN_DIM={side}", f"IMAGE_MAX_DIM={side}"]


def as_options(settings: Iterable[str]) -> list[str]:
    """Return settings, KEY=VALUE each, as options of a script."""
    return [part for setting in settings for part in ("--set", setting)]


def call_script(script: str, options: list[str], folder: pathlib.Path) -> None:
    """Run a script of this project and log its output to a file.

    Raises:
        InputError: it failed; the message has its last line.
    """
    log = folder / f"{script}.log"
    with log.open("w") as file:
        done = subprocess.run([sys.executable, str(SCRIPTS / script), *options], stdout=file, stderr=file, check=False)
    if done.returncode:
        last = log.read_text().strip().splitlines()[-1:]
        raise InputError(f"{script} {' '.join(options)} failed with exit code {done.returncode}: {last}; see {log}")


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --backbone, --against and --set."""
    parser.add_argument("--backbone", default="resnet50", help="backbone of the network (default: %(default)s)")
    parser.add_argument(
        "--against", choices=["torchvision"], help="also measure this library (needs pip install '.[benchmark]')"
    )
    add_set_argument(parser, "override a setting of the network, for example RPN_CHANNELS=256 as in torchvision")


def spread(seconds: np.ndarray) -> list[float]:
    """Return the 10th and the 90th percentile."""
    return np.percentile(seconds, [10, 90]).tolist()


def in_words(seconds: float, between: list[float]) -> str:
    """Format a median with its spread."""
    return f"{seconds:.3f} ({between[0]:.3f} to {between[1]:.3f})"


def median_ratio(theirs: Any, ours: Any) -> float:
    """Return the median of the ratios of each round, in which both sides ran under the same load."""
    return float(np.median(np.asarray(theirs) / np.asarray(ours)))
