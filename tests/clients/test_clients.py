"""Clients written against the original's published interface run as they stand, in a process of their own."""

import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
RUN_LEGACY = HERE.parents[1] / "scripts" / "run_legacy.py"


def run_legacy(*arguments: object) -> subprocess.CompletedProcess:
    """scripts/run_legacy.py with these arguments."""
    command = [sys.executable, str(RUN_LEGACY), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_shapes_client_trains_twice_and_detects(tmp_path):
    done = run_legacy(HERE / "shapes_client.py", tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "masks (64, 64) mAP True" in done.stdout
    assert "gt_mask" in done.stdout and "shape: (64, 64, 2)" in done.stdout
    runs = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(runs) == 1
    assert sorted(p.name for p in runs[0].glob("*.h5")) == ["mask_rcnn_shapes_0001.h5", "mask_rcnn_shapes_0002.h5"]


def test_a_script_that_is_not_there(tmp_path):
    done = run_legacy(tmp_path / "nothing.py")
    assert done.returncode == 2 and "no such script" in done.stderr and "Traceback" not in done.stderr
