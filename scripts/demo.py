#!/usr/bin/env python3
"""The main job on the embedded data: draw streets, train the heads, train all layers, evaluate on streets never seen.

  python scripts/demo.py                  # into runs/demo; `make demo` installs first and then runs this

Each step is a command of its own and is printed, so that it can be repeated by hand with other settings.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

SCRIPTS = pathlib.Path(__file__).resolve().parent


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="DIR", default="runs/demo", help="default: %(default)s")
    parser.add_argument("--train", type=int, default=200, metavar="N", help="scenes to train on (default: %(default)s)")
    parser.add_argument("--val", type=int, default=50, metavar="N", help="scenes to evaluate on (default: %(default)s)")
    parser.add_argument(
        "--heads-steps",
        type=int,
        default=100,
        metavar="N",
        help="training steps of the first stage, the heads (default: %(default)s)",
    )
    parser.add_argument(
        "--all-steps",
        type=int,
        default=600,
        metavar="N",
        help="training steps of the second stage, all layers (default: %(default)s)",
    )
    parser.add_argument(
        "--weights",
        default="streets",
        help="start from these weights; streets are the shipped ones (default: %(default)s)",
    )
    return parser.parse_args()


def run(title: str, script: str, *arguments: object) -> None:
    """Run one script of this folder; end the demo with its exit code if it fails."""
    command = [sys.executable, str(SCRIPTS / script), *(str(a) for a in arguments)]
    print(f"\n== {title}\n$ python scripts/{script} {' '.join(command[2:])}", flush=True)
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit(code)


def main() -> None:
    args = parse_arguments()
    start = time.monotonic()
    out = pathlib.Path(args.out)
    streets, logs, report = out / "streets", out / "logs", out / "report"
    data = ("--data", streets, "--config", "streets", "--logs", logs)
    # the seed differs from that of the scenes that the shipped weights were trained on
    run("draw street scenes", "streets.py", "--out", streets, "--train", args.train, "--val", args.val, "--seed", 7)
    train = ("train.py", *data, "--epochs", 1)
    heads = ("--stage", "heads", "--weights", args.weights, "--set", f"STEPS_PER_EPOCH={args.heads_steps}")
    run("train the heads", *train, *heads)
    all_layers = ("--stage", "all", "--weights", "last", "--set", f"STEPS_PER_EPOCH={args.all_steps}")
    run("train all layers at a tenth of the rate", *train, *all_layers)
    run("evaluate on scenes that no training saw", "evaluate.py", *data, "--weights", "last", "--out", report)
    figures = json.loads((report / "result.json").read_text())
    seconds = time.monotonic() - start
    print(f"\ndemo: mask mAP@0.5 {figures['matterport']['mAP50']:.2f} in {seconds:.0f} s, report {report}")


if __name__ == "__main__":
    main()
