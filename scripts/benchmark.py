#!/usr/bin/env python3
"""Measure the speed, memory and accuracy of this software on this machine.

`BENCHMARK --help` explains what each benchmark measures and how.
"""

import argparse
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mrcnn import errors, process

if __name__ == "__main__":
    process.begin()

from benchmarks import ablation, accuracy, data, detect, evaluate, precision, sizes, train

from mrcnn.files import write_json

# name: a module with SUMMARY, add_arguments(parser) and run(args) -> report
BENCHMARKS = {
    "data": data,
    "detect": detect,
    "evaluate": evaluate,
    "train": train,
    "ablation": ablation,
    "accuracy": accuracy,
    "precision": precision,
    "sizes": sizes,
}


def parse_arguments() -> argparse.Namespace:
    parser = errors.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="BENCHMARK")
    for name, module in BENCHMARKS.items():
        command = commands.add_parser(
            name, help=module.SUMMARY, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(command)
        command.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    report = BENCHMARKS[args.command].run(args)
    if args.json:
        write_json(args.json, report, indent=1)


if __name__ == "__main__":
    sys.exit(errors.exit_code(main))
