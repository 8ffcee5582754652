"""Clients as their users start them: a process of its own through scripts/run_legacy.py."""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
RUN_LEGACY = HERE.parents[1] / "scripts" / "run_legacy.py"


def run_legacy(*arguments: object, cwd: pathlib.Path | None = None) -> subprocess.CompletedProcess:
    """scripts/run_legacy.py with these arguments, as it ended."""
    command = [sys.executable, str(RUN_LEGACY), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=cwd)


def run_client(name: str, *arguments: object, cwd: pathlib.Path | None = None) -> subprocess.CompletedProcess:
    """A client of this folder; fails the test with the end of its messages if it does not end well."""
    done = run_legacy(HERE / name, *arguments, cwd=cwd)
    assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    return done


def checkpoints(logs: pathlib.Path) -> list[str]:
    """Names of the checkpoints of the only run in a folder of logs."""
    (run,) = [path for path in logs.iterdir() if path.is_dir()]
    return sorted(path.name for path in run.glob("*.h5"))
