"""scripts/benchmark.py detect and train: what another process measures, and turns that meet the same load."""

import time

import numpy as np
import pytest

from mrcnn.errors import InputError
from scripts.benchmarks import torchvision_model
from scripts.benchmarks.detect import WARM_UP, clocked, in_turns


def sleeper(least):
    return lambda more: time.sleep(least + more)


def broken():
    raise RuntimeError("no weights")


def test_another_process_is_timed_there():
    call = torchvision_model.Other(sleeper, 0.05)
    assert 0.05 <= call(0.0) < 0.2 <= 0.25 <= call(0.2)


def test_another_process_that_fails_is_one_message(capfd):
    with pytest.raises(InputError, match="torchvision failed; see its error above"):
        torchvision_model.Other(broken)()
    assert "no weights" in capfd.readouterr().err


def test_turns_leave_out_the_first_calls():
    order = []
    first, second = iter(range(100)), iter(range(100, 200))
    calls = {"a": lambda: order.append("a") or next(first), "b": lambda: order.append("b") or next(second)}
    taken = in_turns(calls, 3)
    np.testing.assert_array_equal(taken["a"], np.arange(WARM_UP, WARM_UP + 3))
    np.testing.assert_array_equal(taken["b"], np.arange(100 + WARM_UP, 103 + WARM_UP))
    assert "".join(order) == "ab" * (WARM_UP + 3)
    assert clocked(lambda: time.sleep(0.02))() >= 0.02
