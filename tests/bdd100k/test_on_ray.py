"""Tests --engine ray without a cluster, with a stand-in for Ray that does not train but returns or raises what Ray
does.

Training with two workers was tested by hand with Ray 2.60 on both backends: run to the end, killed, and resumed.
"""

import argparse
import importlib.util
import pathlib
import sys
from types import ModuleType, SimpleNamespace

import pytest

from bdd100k.training.on_ray import train_on_ray
from mrcnn.errors import InputError


class TrainingFailed(Exception):
    pass


class StandIn:
    """Ray with `resources`; `fit` raises `error` if given. `given` records the arguments of the trainer."""

    def __init__(self, monkeypatch, resources: dict[str, float], error: BaseException | None = None) -> None:
        self.given: dict = {}
        actor = SimpleNamespace(remote=lambda: "board")
        train = ModuleType("ray.train")
        train.RunConfig = train.ScalingConfig = lambda **options: SimpleNamespace(**options)
        train.TrainingFailedError = TrainingFailed
        ray = ModuleType("ray")
        ray.train, ray.init, ray.cluster_resources = train, self.init, lambda: resources
        ray.remote = lambda **options: lambda kind: actor
        trainer = ModuleType("ray.train.v2.api.data_parallel_trainer")
        trainer.DataParallelTrainer = self.trainer
        for module in (ray, train, trainer):
            monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: "there")
        self.error = error

    def init(self, runtime_env: dict, **options) -> None:
        self.given["variables"] = runtime_env["env_vars"]

    def trainer(self, work, scaling_config, run_config) -> SimpleNamespace:
        self.given |= {"work": work, "scaling": scaling_config}
        return SimpleNamespace(fit=self.fit)

    def fit(self) -> None:
        if self.error:
            raise self.error


def arguments(**changes) -> argparse.Namespace:
    return argparse.Namespace(**({"overrides": ["SEED=1"], "resume": None, "logs": "logs"} | changes))


def test_ray_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"--engine ray needs Ray: pip install '\.\[ray\]'"):
        train_on_ray(arguments(), arguments(), 2)


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"CPU": 2.0}, "--workers 4: the Ray cluster has only 2 CPUs"),
        ({"CPU": 64.0, "GPU": 3.0}, "--workers 4: the Ray cluster has only 3 GPUs"),
    ],
)
def test_a_cluster_that_is_too_small(monkeypatch, resources, message):
    StandIn(monkeypatch, resources)
    with pytest.raises(InputError, match=message):  # Ray itself would wait for machines forever
        train_on_ray(arguments(), arguments(), 4)


@pytest.mark.parametrize(("resume", "overrides"), [(None, ["GPU_COUNT=4", "SEED=1"]), ("last", ["SEED=1"])])
def test_workers_share_the_gpus(monkeypatch, resume, overrides):
    ray, args = StandIn(monkeypatch, {"CPU": 64.0, "GPU": 9.0}), arguments(resume=resume)
    train_on_ray(args, arguments(), 2)
    assert ray.given["scaling"].num_workers == 2 and ray.given["scaling"].resources_per_worker == {"GPU": 4}
    assert ray.given["work"].args[0].overrides == overrides  # a resumed run keeps its own


def test_workers_find_this_source_tree(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    ray = StandIn(monkeypatch, {"CPU": 2.0})
    train_on_ray(arguments(), arguments(), 2)
    source, other = ray.given["variables"]["PYTHONPATH"].split(":")
    assert (pathlib.Path(source) / "bdd100k" / "training" / "on_ray.py").exists() and other == "elsewhere"
    assert ray.given["variables"]["KERAS_BACKEND"] == "jax"


def test_how_a_training_ends(monkeypatch):
    StandIn(monkeypatch, {"CPU": 2.0}, TrainingFailed())
    with pytest.raises(InputError, match="a worker failed; .* --resume with --engine ray --workers 2 continues"):
        train_on_ray(arguments(), arguments(), 2)
    StandIn(monkeypatch, {"CPU": 2.0}, SystemExit(1))  # as Ray handles Ctrl-C
    with pytest.raises(KeyboardInterrupt):
        train_on_ray(arguments(), arguments(), 2)
