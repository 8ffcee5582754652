#!/usr/bin/env python3
"""Run the whole pipeline on drawn street scenes: draw them, train the heads, train all layers, evaluate on new scenes.

  python scripts/demo.py                  # writes to runs/demo; `make demo` installs everything first

Each step is a separate command, which is printed so that you can repeat it with other settings.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mrcnn import errors, process

if __name__ == "__main__":
    process.begin()

from bdd100k import cli

SCRIPTS = pathlib.Path(__file__).resolve().parent


def parse_arguments() -> argparse.Namespace:
    parser = errors.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", metavar="DIR", default="runs/demo", help="output folder (default: %(default)s)")
    add(
        "--train",
        type=cli.positive_int,
        default=200,
        metavar="N",
        help="number of training scenes (default: %(default)s)",
    )
    add(
        "--val",
        type=cli.positive_int,
        default=50,
        metavar="N",
        help="number of validation scenes (default: %(default)s)",
    )
    add(
        "--heads-steps",
        type=cli.positive_int,
        default=100,
        metavar="N",
        help="steps of the first stage, the heads (default: %(default)s)",
    )
    add(
        "--all-steps",
        type=cli.positive_int,
        default=600,
        metavar="N",
        help="steps of the second stage, all layers (default: %(default)s)",
    )
    add(
        "--weights",
        default="streets",
        help="weights to start from; streets means the shipped ones (default: %(default)s)",
    )
    return parser.parse_args()


class StepError(Exception):
    """Raised when a script failed; its exit code is the demo's."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def run(title: str, script: str, *arguments: object) -> None:
    """Run a script of this folder.

    Raises:
        StepError: it failed.
    """
    command = [sys.executable, str(SCRIPTS / script), *(str(a) for a in arguments)]
    print(f"\n== {title}\n$ python scripts/{script} {' '.join(command[2:])}", flush=True)
    code = subprocess.run(command, check=False).returncode
    if code:
        raise StepError(code)


def main() -> int:
    args = parse_arguments()
    try:
        demo(args)
    except StepError as error:
        return error.code
    return 0


def demo(args: argparse.Namespace) -> None:
    """Run the steps and print what came of them."""
    start = time.monotonic()
    out = pathlib.Path(args.out)
    streets, logs, report = out / "streets", out / "logs", out / "report"
    data = ("--data", streets, "--config", "streets", "--logs", logs)
    # The seed differs from that of the scenes on which the shipped weights were trained.
    run("draw street scenes", "streets.py", "--out", streets, "--train", args.train, "--val", args.val, "--seed", 7)
    train = ("train.py", *data, "--epochs", 1)
    heads = ("--stage", "heads", "--weights", args.weights, "--set", f"STEPS_PER_EPOCH={args.heads_steps}")
    run("train the heads", *train, *heads)
    all_layers = ("--stage", "all", "--weights", "last", "--set", f"STEPS_PER_EPOCH={args.all_steps}")
    run("train all layers at a tenth of the learning rate", *train, *all_layers)
    run("evaluate on unseen scenes", "evaluate.py", *data, "--weights", "last", "--out", report)
    figures = json.loads((report / "result.json").read_text())
    seconds = time.monotonic() - start
    print(f"\ndemo: mask mAP@0.5 {figures['matterport']['mAP50']:.2f} in {seconds:.0f} s, report {report}")


if __name__ == "__main__":
    sys.exit(errors.exit_code(main))
