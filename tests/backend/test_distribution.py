"""Compares several devices and hosts with one device that takes the whole batch: losses and weights must be equal.

Each training runs in its own process (tests/hosts_worker.py), because devices and hosts are fixed before the first
operation. Anchors and ROIs are sampled, so each image must also get the same random numbers as in the whole batch.
"""

import fcntl
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import keras
import pytest

from mrcnn.backend import devices
from mrcnn.backend import hosts as backend_hosts
from mrcnn.config import Config
from mrcnn.errors import InputError
from mrcnn.parallel_model import ParallelModel
from tests.addresses import free_addresses

pytestmark = pytest.mark.graph

ROOT = pathlib.Path(__file__).parent.parent.parent
TENSORFLOW = keras.config.backend() == "tensorflow"
CLOSE = {"rel": 1e-5, "abs": 1e-7}
LIMIT = 400  # seconds; about 20 on a quiet core


def start(batches: str, *hosts: str) -> subprocess.Popen:
    flags = f"--xla_force_host_platform_device_count={batches[-3]}"
    environment = {**os.environ, "KERAS_BACKEND": keras.config.backend(), "XLA_FLAGS": flags}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # most of the time is spent compiling
    command = [sys.executable, "-m", "tests.hosts_worker", batches, *hosts]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen, code: int = 0, message: str = "") -> list[dict]:
    try:
        output, errors = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    assert process.returncode == code, errors[-3000:]
    assert message in errors, errors[-3000:]
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def assert_same(found: dict, expected: dict) -> None:
    assert expected["history"]["mrcnn_mask_loss"] > 0, "no ROI met an object: the test would compare nothing"
    assert found["history"] == pytest.approx({name: expected["history"][name] for name in found["history"]}, **CLOSE)
    assert found["weights"] == pytest.approx(expected["weights"], **CLOSE)


@pytest.fixture(scope="module")
def trainings() -> list[dict]:
    """Train on one device, and on TensorFlow also on two. JAX treats hosts and devices alike: each host has two."""
    return finish(start("1x4,2x2" if TENSORFLOW else "1x4"))


@pytest.mark.slow
@pytest.mark.skipif(not TENSORFLOW, reason="see `trainings`")
def test_two_devices(trainings):
    one_device, two_devices = trainings
    assert_same(two_devices, one_device)


@pytest.mark.slow
def test_two_hosts(trainings):
    hosts, batch = ",".join(free_addresses(2)), "1x2" if TENSORFLOW else "2x1"
    first, second = (start(batch, hosts, str(index)) for index in range(2))
    (first,) = finish(first, 1, "another host stopped, so this one does too")  # see the end of hosts_worker.main
    (second,) = finish(second, 1, "RuntimeError: on purpose\nerror: this host stops, and so do the others")
    assert_same(first, trainings[0])
    assert_same(second, trainings[0])
    assert "mask_rcnn_shapes_0001.h5" in first["files"]
    assert not second["files"], "only the first host writes"


def test_more_devices_than_there_are():
    config = Config().override(["GPU_COUNT=64"])
    with pytest.raises(InputError, match=r"GPU_COUNT is 64, but this host has \d"):
        devices.parallel(config)


@pytest.mark.skipif(not TENSORFLOW, reason="JAX can")
def test_tensorflow_cannot_accumulate_on_several_devices():
    config = Config().override(["GPU_COUNT=2", "GRADIENT_ACCUMULATION_STEPS=4"])
    with pytest.raises(InputError, match="GRADIENT_ACCUMULATION_STEPS is 4: on several devices"):
        devices.parallel(config)


@pytest.mark.parametrize(
    ("addresses", "index", "message"),
    [
        (["a:1", "b:2"], 2, "host index is 2; with 2 hosts it is 0 to 1"),
        (["a:1", "b:2"], -1, "host index is -1"),
        (["a:1", "b"], 0, "give each once, as HOST:PORT"),
        (["a:1", "a:1"], 0, "give each once, as HOST:PORT"),
    ],
)
def test_hosts_that_cannot_be(addresses, index, message):
    with pytest.raises(InputError, match=message):
        backend_hosts.join(addresses, index)


def test_parallel_model_is_the_model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert ParallelModel(model, 1) is model
    with pytest.raises(InputError, match="2 GPUs are asked for, but the model was built for 1"):
        ParallelModel(model, 2)


def test_folders_of_killed_hosts_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, age in (("killed", 100), ("alive", 100), ("just-begun", 10)):
        lock = tmp_path / f"mask-rcnn-{name}" / "lock"
        lock.parent.mkdir()
        lock.touch()
        os.utime(lock, (time.time() - age,) * 2)
    (tmp_path / "mask-rcnn-of-another-program").mkdir()
    with (tmp_path / "mask-rcnn-alive" / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        own = pathlib.Path(backend_hosts._scratch.__wrapped__())
    assert {path.name.removeprefix("mask-rcnn-") for path in tmp_path.iterdir()} == {
        "alive",
        "just-begun",
        "of-another-program",
        own.name.removeprefix("mask-rcnn-"),
    }
