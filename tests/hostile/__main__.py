"""Tries many hostile inputs of every kind and counts what became of them.

  python -m tests.hostile --cases 2000                      # of all kinds together
  python -m tests.hostile --kind weights --cases 500 --seed 7
  python -m tests.hostile --kind weights --only 31 --seed 7  # one case again

Every kind runs in a process of its own, so that a crash is counted and the next case goes on. A case that takes longer
than a minute counts as a crash. The exit code is 1 if a case ended in a traceback, a crash or a silent wrong result.
"""

import argparse
import collections
import json
import select
import subprocess
import sys
from collections.abc import Iterator

from tests.hostile.cases import GOOD, KINDS, ROOT, Outcome

LIMIT_S = 60  # of one case; the first one of a process also pays for its start


def main() -> int:
    """Try the cases and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000, metavar="N", help="in total (default: %(default)s)")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this kind; may be repeated")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="only the case of this number")
    parser.add_argument("--verbose", action="store_true", help="print what became of each case")
    args = parser.parse_args()
    kinds = args.kind or KINDS
    each = -(-args.cases // len(kinds))
    total: collections.Counter[Outcome] = collections.Counter()
    print(f"{'kind':12}{'cases':>7}" + "".join(f"{outcome:>24}" for outcome in Outcome), flush=True)
    for kind in kinds:
        first, end = (0, each) if args.only is None else (args.only, args.only + 1)
        counted = try_kind(kind, args.seed, first, end, args.verbose)
        total.update(counted)
        print_row(kind, counted)
    print_row("all", total)
    return int(any(total[outcome] for outcome in Outcome if outcome not in GOOD))


def print_row(name: str, counted: collections.Counter[Outcome]) -> None:
    """Print one line of the table."""
    print(f"{name:12}{counted.total():7}" + "".join(f"{counted[outcome]:24}" for outcome in Outcome), flush=True)


def try_kind(kind: str, seed: int, first: int, end: int, verbose: bool) -> collections.Counter[Outcome]:
    """Try the cases `first` to `end` - 1 of a kind; failures are printed to standard error."""
    counted: collections.Counter[Outcome] = collections.Counter()
    while first < end:
        command = [sys.executable, "-m", "tests.hostile.worker", kind, str(seed), str(first), str(end)]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        ) as process:
            begun, done = first, first
            for line in lines(process):
                entry = json.loads(line)
                begun = entry["number"]
                if "outcome" in entry:
                    done = begun + 1
                    outcome = Outcome(entry["outcome"])
                    counted[outcome] += 1
                    if verbose or outcome not in GOOD:
                        say(kind, seed, begun, outcome, entry["what"], entry["why"])
        if done < end:  # the process ended in the middle of a case
            counted[Outcome.CRASH] += 1
            say(kind, seed, begun, Outcome.CRASH, f"exit code {process.returncode}", "")
            done = begun + 1
        first = done
    return counted


def lines(process: subprocess.Popen) -> Iterator[bytes]:
    """Yield the lines of a worker's report, and end the worker if it is silent for too long."""
    assert process.stdout is not None
    while True:
        ready, _, _ = select.select([process.stdout], [], [], LIMIT_S)
        line = process.stdout.readline() if ready else b""
        if not line:
            if not ready:
                process.kill()
            return
        yield line


def say(kind: str, seed: int, number: int, outcome: Outcome, what: str, why: str) -> None:
    """Print one case."""
    sys.stderr.write(f"--- {kind} {number} (seed {seed}): {outcome}: {what}\n{why}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
