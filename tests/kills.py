"""Kills a training run at random moments, resumes it, and compares its weights with those of a run never killed.

  python -m tests.kills --kills 20
  python -m tests.kills --kills 20 --processes 2   # two runs at a time, in one --logs

This is not part of the test suite, because it takes about half a minute per kill. It uses drawn street scenes, a small
network and --deterministic.
"""

import argparse
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np

TRAIN = pathlib.Path(__file__).parents[1] / "scripts" / "train.py"
SETTINGS = {
    "STEPS_PER_EPOCH": 12,
    "VALIDATION_STEPS": 0,
    "BACKBONE_WIDTH": 16,
    "TOP_DOWN_PYRAMID_SIZE": 16,
    "RPN_CHANNELS": 16,
    "FPN_CLASSIF_FC_LAYERS_SIZE": 32,
    "MASK_HEAD_CHANNELS": 16,
    "IMAGE_MIN_DIM": 128,
    "IMAGE_MAX_DIM": 256,
    "IMAGES_PER_GPU": 2,
    "TRAIN_ROIS_PER_IMAGE": 24,
    "PRE_NMS_LIMIT": 300,
    "POST_NMS_ROIS_TRAINING": 60,
    "EMA_MOMENTUM": 0.9,
    "WARMUP_STEPS": 5,
}


def command(logs: pathlib.Path) -> list[str]:
    """Return the command that starts a run of two stages."""
    settings = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    options = ["--recipe", "seed", "--epochs", "6", "4", "--deterministic", "--save-every", "4", "--augment", "default"]
    return [sys.executable, str(TRAIN), "--logs", str(logs), *options, *settings]


def weights(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the arrays of the last checkpoint in a run folder."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(max(folder.glob("mask_rcnn_*_0010.h5")), "r") as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found


def folder_of(errors: str) -> pathlib.Path | None:
    """Return the run folder that a training has logged, or None."""
    match = re.search(r"checkpoints in (.+)", errors)
    return pathlib.Path(match[1]) if match else None


class Budget:
    """The kills that are left, for all runs together."""

    def __init__(self, kills: int, seed: int) -> None:
        self.kills, self.used = kills, 0
        self.random = random.Random(seed)
        self._lock = threading.Lock()

    def delay(self, longest: float) -> float | None:
        """Return after how many seconds to kill; None if all kills are used."""
        with self._lock:
            return self.random.uniform(0, longest) if self.used < self.kills else None

    def spend(self, run: str) -> None:
        """Count a kill."""
        with self._lock:
            self.used += 1
            print(f"killed {self.used} of {self.kills}: {run}", flush=True)


def run_with_kills(logs: pathlib.Path, budget: Budget, longest: float) -> pathlib.Path:
    """Run to the end with kills, each after a random time; return the run folder."""
    folder = None
    while True:
        begun = folder is not None and (folder / "training.state").exists()
        again = [sys.executable, str(TRAIN), "--logs", str(logs), "--resume", str(folder), "--save-every", "4"]
        process = subprocess.Popen(
            again if begun else command(logs), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            _, errors = process.communicate(timeout=budget.delay(longest))
        except subprocess.TimeoutExpired:
            process.kill()
            _, errors = process.communicate()
            folder = folder if begun else folder_of(errors)
            budget.spend(str(folder or "before its folder was made"))
            continue
        folder = folder if begun else folder_of(errors)
        if folder is None or (process.returncode and "epochs are done" not in errors):
            raise RuntimeError(f"after {budget.used} kills a run failed: {errors[-2000:]}")
        return folder


def main() -> int:
    """Run both and compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1, help="runs at a time, in one --logs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    budget = Budget(args.kills, args.seed)
    runs, different = 0, 0
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(args.processes) as pool:
        straight = pathlib.Path(place) / "straight"
        began = time.monotonic()
        subprocess.run(command(straight), check=True, capture_output=True)
        took = (time.monotonic() - began) * args.processes
        expected = weights(next(straight.iterdir()))
        logs = pathlib.Path(place) / "killed"
        while budget.used < args.kills:  # start other runs if these end before all kills are used
            # half of the time, so that most kills hit
            started = [pool.submit(run_with_kills, logs, budget, took / 2) for _ in range(args.processes)]
            folders = [one.result() for one in started]
            assert len(set(folders)) == len(folders), f"two runs had one folder: {folders}"
            runs += len(folders)
            for found in map(weights, folders):
                different += set(found) != set(expected)
                different += sum(not np.array_equal(value, found[name]) for name, value in expected.items())
        left = [path.name for path in logs.rglob("*.tmp")]
    print(f"{budget.used} kills in {runs} runs, {args.processes} at a time (one takes {took:.0f} s without kills)")
    print(f"{different} of {runs * len(expected)} arrays differ from those of the run that was never killed")
    print(f"{len(left)} unfinished files are left: {left}")
    return 1 if different or left else 0


if __name__ == "__main__":
    sys.exit(main())
