"""The run of the COCO client, whose weights the inspecting client looks at."""

import dataclasses
import pathlib

import pytest

from tests.clients.drawn_coco import draw_coco
from tests.clients.processes import run_client

STREETS_WEIGHTS = pathlib.Path(__file__).parents[2] / "weights" / "streets_resnet18.h5"


@dataclasses.dataclass(frozen=True)
class CocoRun:
    """Training and evaluation by coco_client.py: its data, its logs and what it printed."""

    data: pathlib.Path
    logs: pathlib.Path
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def coco_run(tmp_path_factory) -> CocoRun:
    """coco_client.py, run once, from the weights that come with the source tree."""
    folder = tmp_path_factory.mktemp("coco")
    data, logs = folder / "data", folder / "logs"
    draw_coco(data, "train2014", count=8, first_id=100)
    draw_coco(data, "valminusminival2014", count=2, first_id=200)
    draw_coco(data, "minival2014", count=4, first_id=300)
    done = run_client("coco_client.py", "both", f"--dataset={data}", f"--model={STREETS_WEIGHTS}", f"--logs={logs}")
    return CocoRun(data, logs, done.stdout, done.stderr)
