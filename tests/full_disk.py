"""Trains on disks that are too small, then resumes with more room, and compares with a run that had it all the time.

  python -m tests.full_disk --sizes 10

This is not part of the test suite, because it takes about a minute per size. The disks are file systems in memory
(tmpfs), mounted in a user namespace of its own, which needs no rights: `unshare --user --map-root-user --mount`.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from tests.kills import TRAIN, command, folder_of, weights

ROOT = pathlib.Path(__file__).parents[1]


def inside(disk: pathlib.Path, size: int, log: pathlib.Path) -> int:
    """Fill a disk of `size` bytes in this mount namespace, give it more room and resume; copy the run beside it.

    Returns:
        0; 1 if the training did not stop with one message and exit code 2, or left unfinished files.
    """
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=True)
    full = subprocess.run(command(disk), capture_output=True, text=True, check=False)
    *_, last = full.stderr.strip().splitlines()
    left = [path.name for path in disk.rglob("*.tmp")]
    folder = folder_of(full.stderr)
    epochs = len(list(disk.glob("*/mask_rcnn_*_0*.h5")))
    log.write_text(f"exit code {full.returncode} after {epochs} epochs: {last}\n")
    good = full.returncode == 2 and last.startswith("error: ") and "Traceback" not in full.stderr and not left
    subprocess.run(["mount", "-o", "remount,size=1g", str(disk)], check=True)
    resumable = folder is not None and (folder / "training.state").exists()
    again = [sys.executable, str(TRAIN), "--logs", str(disk), "--resume", str(folder), "--save-every", "4"]
    resumed = subprocess.run(again if resumable else command(disk), capture_output=True, text=True, check=False)
    folder = folder if resumable else folder_of(resumed.stderr)
    if resumed.returncode or folder is None:
        log.write_text(log.read_text() + resumed.stderr[-1000:])
        return 1
    subprocess.run(["cp", "-r", str(folder), str(disk.with_name("run"))], check=True)
    return 0 if good else 1


def main() -> int:
    """Try the sizes and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, default=10, metavar="N", help="number of sizes (default: %(default)s)")
    parser.add_argument("--inside", nargs=3, help=argparse.SUPPRESS)  # DISK SIZE LOG, of a process in the namespace
    args = parser.parse_args()
    if args.inside:
        return inside(pathlib.Path(args.inside[0]), int(args.inside[1]), pathlib.Path(args.inside[2]))
    bad = 0
    with tempfile.TemporaryDirectory() as place:
        straight = pathlib.Path(place) / "straight"
        subprocess.run(command(straight), check=True, capture_output=True)
        expected = weights(next(straight.iterdir()))
        whole = sum(path.stat().st_size for path in straight.rglob("*") if path.is_file())
        # from too small for anything to nearly enough
        for size in np.linspace(whole // 20, whole - whole // 20, args.sizes, dtype=int).tolist():
            bad += not one(pathlib.Path(place) / str(size), size, expected)
    print(f"{args.sizes} sizes of {whole / 1e6:.1f} MB, {bad} went wrong")
    return 1 if bad else 0


def one(place: pathlib.Path, size: int, expected: dict[str, np.ndarray]) -> bool:
    """Try one size; return whether the run stopped as it should and its weights are the expected ones."""
    disk, log = place / "disk", place / "log"
    disk.mkdir(parents=True)
    process = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-m", "tests.full_disk"]
        + ["--inside", str(disk), str(size), str(log)],
        cwd=ROOT,
        check=False,
    )
    run = place / "run"
    found = weights(run) if run.exists() else {}
    different = sum(name not in found or not np.array_equal(value, found[name]) for name, value in expected.items())
    print(f"{size / 1e6:.1f} MB: {log.read_text().strip()}; {different} of {len(expected)} arrays differ", flush=True)
    return process.returncode == 0 and not different


if __name__ == "__main__":
    sys.exit(main())
