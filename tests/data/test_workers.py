"""Tests that all workers make the same batches, on one host or several, from any step, and end when told to."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mrcnn.augment_settings import Augmentation, preset_settings
from mrcnn.data.prefetch import Prefetcher
from mrcnn.data.sample_maker import Donors, SampleMaker
from mrcnn.errors import InputError
from tests.conftest import TESTS
from tests.scenes import SceneConfig, Scenes


def maker(**changes) -> SampleMaker:
    """Return a maker with strong augmentation, seven scenes and five steps per epoch."""
    config, dataset = SceneConfig().override([*preset_settings("strong"), "AUGMENT_MIN_DIMS=(90, 120)"]), Scenes(7)
    settings = dict(batch_size=2, steps=5, seed=11, whole_epochs=True, donors=Donors.from_dataset(dataset))
    return SampleMaker(dataset, config, augmentation=Augmentation.from_config(config), **{**settings, **changes})


def assert_same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


STEPS = [(epoch, step) for epoch in (0, 1) for step in range(5)]


@pytest.mark.parametrize("workers, kind", [(1, "thread"), (3, "thread"), (2, "process")])
def test_batches_are_equal_to_the_byte_whatever_makes_them(workers, kind):
    make = maker()
    expected = [make.batch(*step) for step in STEPS]
    prefetcher = Prefetcher(maker(), workers, kind)
    try:
        for i, step in enumerate(STEPS):
            batch = prefetcher.get(step, STEPS[i + 1 : i + 5])
            assert_same(batch.inputs, expected[i].inputs)
            assert (batch.labelled, batch.lost) == (expected[i].labelled, expected[i].lost)
    finally:
        prefetcher.close()
    ids = [batch.inputs["input_image_meta"][:, 0].tolist() for batch in expected]
    assert ids[:5] != ids[5:]


def test_steps_that_nobody_asks_for_any_more_are_dropped_and_close_can_be_undone():
    make = maker()
    prefetcher = Prefetcher(make, 2, "thread")
    prefetcher.get((0, 0), STEPS[1:5])
    prefetcher.get((3, 0), [(3, 1)])  # another epoch
    assert set(prefetcher._futures) == {(3, 1)}
    prefetcher.close()
    assert_same(prefetcher.get((3, 1)).inputs, make.batch(3, 1).inputs)
    prefetcher.close()


def test_hosts_share_the_images_of_one_host():
    """Three hosts with batches of 2 make the same batches as one host with batches of 6."""
    one = maker(batch_size=6)
    hosts = [maker(shard=(number, 3)) for number in range(3)]
    for step in STEPS:
        parts = [host.batch(*step).inputs for host in hosts]
        whole = one.batch(*step).inputs
        assert_same({name: np.concatenate([part[name] for part in parts]) for name in whole}, whole)


def test_hosts_take_each_image_once_a_pass():
    scenes, config = Scenes(12), SceneConfig()
    hosts = [SampleMaker(scenes, config, 2, 2, shard=(number, 3), whole_epochs=True, seed=3) for number in range(3)]
    seen = [int(i) for host in hosts for step in (0, 1) for i in host.batch(0, step).inputs["input_image_meta"][:, 0]]
    assert sorted(seen) == list(range(12))


def test_weighted_images_come_as_often_as_they_should():
    weights = np.array([1.0, 2.5, 0.5, 1.0, 0.0])
    make = SampleMaker(Scenes(5), SceneConfig(), 1, 5, image_weights=weights, whole_epochs=True)
    drawn = np.bincount([make.image_at(position) for position in range(400)], minlength=5)
    np.testing.assert_allclose(drawn, weights / weights.sum() * 400, atol=2)
    for number in range(3):
        assert np.bincount([make.image_at(5 * number + k) for k in range(5)], minlength=5)[1] in (2, 3)


def test_what_cannot_be_sent_to_a_process_is_said():
    class Local(Scenes):
        pass

    with pytest.raises(InputError, match="cannot be sent to worker processes .*Local.*in a module, or use worker thr"):
        Prefetcher(SampleMaker(Local(2), SceneConfig(), 1, 2), 1, "process").get((0, 0))
    for workers, kind in ((0, "thread"), (2, "fiber")):
        with pytest.raises(InputError, match=f"{workers} workers of kind '{kind}'"):
            Prefetcher(maker(), workers, kind)


class Broken(Scenes):
    """Image 1 cannot be read; image 2 ends its process."""

    def load_mask(self, image_id):
        if image_id == 1:
            raise KeyError("polygon")
        if image_id == 2:
            os._exit(3)
        return super().load_mask(image_id)


def test_errors_of_processes_arrive_with_the_images_name_and_their_end_with_advice():
    prefetcher = Prefetcher(SampleMaker(Broken(3), SceneConfig(), 1, 3, shuffle=False), 1, "process")
    try:
        assert prefetcher.get((0, 0)).labelled == 8
        with pytest.raises(InputError, match="image 'scene1' .number 1.*KeyError: 'polygon'"):
            prefetcher.get((0, 1))
        with pytest.raises(InputError, match="a worker process of the loader ended: it ran out of memory"):
            prefetcher.get((0, 2))
        assert prefetcher.get((0, 0)).labelled == 8  # by new processes
    finally:
        prefetcher.close()


SCRIPT = """
import multiprocessing, signal, sys, threading
from mrcnn.data.prefetch import Prefetcher
from tests.data.test_workers import maker

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born without it
    prefetcher = Prefetcher(maker(steps=10**6), 2, sys.argv[1])
    try:
        for step in range(10**6):
            prefetcher.get((0, step), [(0, step + i) for i in range(1, 5)])
            if step == 2:
                print("running", *[child.pid for child in multiprocessing.active_children()], flush=True)
    finally:
        prefetcher.close()
"""


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for processes in /proc")
@pytest.mark.parametrize("kind, end", [("thread", "SIGINT"), ("process", "SIGINT"), ("process", "SIGKILL")])
def test_nothing_is_left_after_ctrl_c_or_a_kill(kind, end, tmp_path):
    number = signal.Signals[end]
    script = tmp_path / "endless.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    process = subprocess.Popen(
        [sys.executable, str(script), kind], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        children = [int(pid) for pid in process.stdout.readline().split()[1:]]
        assert len(children) == (2 if kind == "process" else 0)
        process.send_signal(number)
        start = time.monotonic()
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == -number
    assert ("KeyboardInterrupt" in errors) == (end == "SIGINT") and errors.count("Traceback") <= 1  # not the workers'
    while any(map(alive, children)) and time.monotonic() - start < 10:
        time.sleep(0.05)
    assert not any(map(alive, children))
    assert time.monotonic() - start < 10
