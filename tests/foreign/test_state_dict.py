"""Finds the weights in what training programs save."""

import logging

import numpy as np
import pytest

from mrcnn.foreign.stand_ins import Opaque, RefusedError, Tensor
from mrcnn.foreign.state_dict import find

A, B, C = (Tensor(None, 0, (), ()) for _ in range(3))
WEIGHTS = {"conv.weight": A, "conv.bias": B}


@pytest.mark.parametrize(
    "saved",
    [
        WEIGHTS,
        {"state_dict": WEIGHTS},
        {"model": WEIGHTS, "optimizer": {"state": {0: C}, "param_groups": []}},
        {"model_state_dict": WEIGHTS, "optimizer_state_dict": {"state": {0: {"momentum": C}}}},
        {"net": WEIGHTS, "loss": C},
        {"model": {"state_dict": WEIGHTS}},
        {"checkpoint": {"model": WEIGHTS}},
        {"my_network": WEIGHTS, "optim": {"state": C}},
        {"ema": {"module": Opaque()}, "model": WEIGHTS},
        {"state_dict": {f"module.{name}": value for name, value in WEIGHTS.items()}},
        {"state_dict": {f"module._orig_mod.model.{name}": value for name, value in WEIGHTS.items()}},
    ],
)
def test_where_programs_put_the_weights(saved):
    found, meta = find(saved, "w.pth")
    assert found == WEIGHTS and list(found) == list(WEIGHTS) and meta == {}


def test_a_prefix_that_one_name_lacks_stays():
    saved = {"module.a": A, "module.b": B, "c": C}
    assert find(saved, "w.pth")[0] == saved
    assert find({"module.": A}, "w.pth")[0] == {"module.": A}


def test_the_choice_between_weights_and_averaged_ones_is_logged(caplog):
    caplog.set_level(logging.INFO)
    found, _ = find({"model_ema": {"w": A}, "ema": {"w": B}, "model": {"w": C}}, "w.pth")
    assert found["w"] is C
    assert caplog.messages == ["w.pth: has weights in 'model', 'ema', 'model_ema'; took 'model'"]


def test_entries_that_are_no_tensors_are_logged(caplog):
    caplog.set_level(logging.INFO)
    found, meta = find({"w": A, "state": Opaque(), "epoch": 3, 4: "x"}, "w.pth")
    assert found == {"w": A} and meta == {"epoch": 3}
    assert caplog.messages == ["w.pth: left out 2 entries that are no tensors: state, a key"]


def test_plain_values():
    saved = {
        "state_dict": {"w": A},
        "epoch": 5,
        "best": 0.5,
        "done": True,
        "none": None,
        "list": [1, ("a", 2.0)],
        "nested": {"x": {"y": [1]}, "object": Opaque(), 3: "number"},
        "object": Opaque(),
        "mixed": [1, Opaque()],
        "tensor": C,
        "huge": 1 << 5000,
        "long": "x" * (2 << 20),
        "many": [0] * 200_000,
        "meta": {"CLASSES": ("car", "bus"), "epoch": 99, "meta": {"lost": 1}, "config": "text"},
        "optimizer": {"lr": 0.1},
        "lr_scheduler": {"step": 1},
    }
    _, meta = find(saved, "w.pth")
    assert meta == {
        **{"epoch": 5, "best": 0.5, "done": True, "none": None, "list": [1, ["a", 2.0]]},
        **{"nested": {"x": {"y": [1]}, 3: "number"}, "CLASSES": ["car", "bus"], "config": "text"},
    }
    assert np.isscalar(meta["best"])


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({}, "has no tensors"),
        ([A], "has no tensors"),
        (A, "has no tensors"),
        ({"a": {"b": {"c": {"d": {"e": A}}}}}, "has no tensors"),
        ({"encoder": {"w": A}, "decoder": {"w": B}}, "tensors in 'encoder', 'decoder'; save"),
        ({1: A}, "names are no texts"),
        ({str(number): A for number in range(100_001)}, "100001 tensors, more than any network"),
    ],
)
def test_what_has_no_weights_is_refused(saved, message):
    with pytest.raises(RefusedError, match=message):
        find(saved, "w.pth")


def test_dictionaries_that_hold_each_other_end():
    circle: dict = {"x": 1}
    circle["model"] = circle
    with pytest.raises(RefusedError, match="has no tensors"):
        find(circle, "w.pth")
    wide = {str(number): {} for number in range(300)}
    for inner in wide.values():
        inner.update(wide)
    with pytest.raises(RefusedError, match="has no tensors"):
        find(wide, "w.pth")
