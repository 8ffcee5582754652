"""Kills a training run at random moments, resumes it, and compares its weights with those of a run never killed.

  python -m tests.kills --kills 20

This is not part of the test suite, because it takes about half a minute per kill. It uses drawn street scenes, a small
network and --deterministic.
"""

import argparse
import pathlib
import random
import subprocess
import sys
import tempfile
import time

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


def weights(logs: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the arrays of the last checkpoint."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(max(logs.glob("*/mask_rcnn_*_0010.h5")), "r") as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found


def run_with_kills(logs: pathlib.Path, kills: int, longest: float) -> int:
    """Run to the end with at most `kills` kills, each after a random time; return the number of kills."""
    killed = 0
    while True:
        begun = any(logs.glob("*/training.state"))
        again = [sys.executable, str(TRAIN), "--logs", str(logs), "--resume", "--save-every", "4"]
        process = subprocess.Popen(
            again if begun else command(logs), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            _, errors = process.communicate(timeout=random.uniform(0, longest) if killed < kills else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
            print(f"killed {killed} of {kills} in {logs.name}", flush=True)
            continue
        if process.returncode == 0 or "epochs are done" in errors:
            return killed
        raise SystemExit(f"after {killed} kills it failed: {errors[-2000:]}")


def main() -> int:
    """Run both and compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    random.seed(args.seed)
    killed, runs, different = 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        straight = pathlib.Path(folder) / "straight"
        began = time.monotonic()
        subprocess.run(command(straight), check=True, capture_output=True)
        took = time.monotonic() - began
        expected = weights(straight)
        while killed < args.kills:  # start another run if one ends before all kills are used
            logs = pathlib.Path(folder) / f"killed{runs}"
            killed += run_with_kills(logs, args.kills - killed, took / 2)  # so that most kills hit
            found = weights(logs)
            runs += 1
            different += set(found) != set(expected)
            different += sum(not np.array_equal(value, found[name]) for name, value in expected.items())
    print(f"{killed} kills in {runs} runs (one takes {took:.0f} s without kills)")
    print(f"{different} of {runs * len(expected)} arrays differ from those of the run that was never killed")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
