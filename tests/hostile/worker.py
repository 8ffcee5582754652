"""Tries cases of one kind, one after the other, and reports each on standard output; a crash ends only this process."""

import json
import logging
import os
import pathlib
import resource
import sys
import tempfile

from tests.hostile.cases import Outcome, judge, make

GROWTH_MIB = 2048  # what one small input may add to the peak of memory


def main(kind: str, seed: int, first: int, end: int) -> None:
    """Try the cases `first` to `end` - 1. Each is announced before and reported after, as a line of JSON."""
    logging.disable(logging.WARNING)  # thousands of lines about what is left out
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the code under test prints is no report
    for number in range(first, end):
        report.write(json.dumps({"number": number}) + "\n")
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            case = make(kind, seed, number, pathlib.Path(folder))
            before = peak_mib()
            outcome, why = judge(case)
            if peak_mib() - before > GROWTH_MIB:
                outcome, why = Outcome.CRASH, f"took {peak_mib() - before:.0f} MiB"
        report.write(json.dumps({"number": number, "outcome": outcome, "what": case.what, "why": why}) + "\n")


def peak_mib() -> float:
    """Return the peak of this process' memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
