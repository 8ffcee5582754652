"""--engine ray without Ray. A training with two workers was run by hand, with Ray 2.60, on both backends."""

import argparse
import importlib.util

import pytest

from bdd100k.on_ray import train_on_ray
from mrcnn.errors import InputError


def test_ray_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"--engine ray needs Ray: pip install '\.\[ray\]'"):
        train_on_ray(argparse.Namespace(), argparse.Namespace(), 2)
