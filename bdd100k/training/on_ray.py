"""Trains on several hosts with processes that Ray starts: `scripts/train.py --engine ray --workers N`.

Run it on any machine of the cluster. Each of the N workers takes its share of the GPUs and publishes its address; then
training continues as with --hosts. Data, --logs, --weights and this source tree must be readable on all machines under
the same paths.
"""

import argparse
import functools
import importlib.util
import logging
import os
import pathlib
import socket
import time
from typing import Any

from mrcnn.backend.hosts import LIMIT
from mrcnn.errors import InputError

log = logging.getLogger("bdd100k")

VARIABLES = ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "XLA_FLAGS")  # environment variables passed on to the workers


def train_on_ray(args: argparse.Namespace, defaults: argparse.Namespace, count: int) -> None:
    """Train with `count` workers and wait until they have ended.

    Args:
        args: Parsed command line of scripts/train.py.
        defaults: Parsed command line without any option.
        count: Number of workers.

    Raises:
        InputError: Ray is not installed, the cluster has fewer GPUs (or, without GPUs, CPUs) than workers, or a worker
            failed.
        KeyboardInterrupt: Ctrl-C was pressed; the workers ended without saving the state of their step.
    """
    if importlib.util.find_spec("ray") is None:
        raise InputError("--engine ray needs Ray: pip install '.[ray]'")
    os.environ["RAY_TRAIN_V2_ENABLED"] = "1"  # the default in newer releases of Ray
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    source = str(pathlib.Path(__file__).resolve().parents[2])
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
    ray.init(ignore_reinit_error=True, runtime_env={"env_vars": variables}, logging_level=logging.WARNING)
    kind = "GPU" if ray.cluster_resources().get("GPU") else "CPU"
    found = int(ray.cluster_resources().get(kind, 0))
    if found < count:
        raise InputError(f"--workers {count}: the Ray cluster has only {found} {kind}s")
    gpus = found // count if kind == "GPU" else 0
    if gpus > 1 and args.resume is None:  # a resumed run keeps its own setting
        args.overrides = [f"GPU_COUNT={gpus}", *args.overrides]
    board = ray.remote(num_cpus=0)(Addresses).remote()  # lives as long as this process holds it
    trainer = DataParallelTrainer(
        functools.partial(_work, args, defaults, os.getcwd(), board),
        scaling_config=ScalingConfig(
            num_workers=count, use_gpu=gpus > 0, resources_per_worker={"GPU": gpus} if gpus else {"CPU": 1}
        ),
        run_config=RunConfig(storage_path=os.path.abspath(os.path.join(args.logs, "ray"))),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise InputError(
            f"a worker failed; see its message above. --resume with --engine ray --workers {count} continues from the "
            "last saved state"
        ) from error
    except SystemExit as stop:  # after Ctrl-C, Ray ends the workers and then this process, without a message
        raise KeyboardInterrupt from stop


class Addresses:
    """A Ray actor that collects the addresses of the workers, rank -> "host:port"."""

    def __init__(self) -> None:
        self.known: dict[int, str] = {}

    def add(self, rank: int, address: str) -> None:
        """Record the address of a worker."""
        self.known[rank] = address

    def all(self) -> dict[int, str]:
        """Return the addresses recorded so far."""
        return self.known


def _work(args: argparse.Namespace, defaults: argparse.Namespace, folder: str, board: Any) -> None:
    """Train as one of the workers."""
    import ray.train

    from bdd100k.training import run
    from mrcnn import errors

    os.chdir(folder)
    context = ray.train.get_context()
    args.host_index, count = context.get_world_rank(), context.get_world_size()
    addresses = _exchange(board, args.host_index, count)
    code = (
        run.train_on_hosts(args, defaults, addresses)
        if count > 1
        else errors.exit_code(functools.partial(run.train, args, defaults), interrupted=run.INTERRUPTED)
    )
    if code:
        raise RuntimeError(f"exit code {code}")


def _exchange(board: Any, rank: int, count: int) -> list[str]:
    """Publish the address of this worker and return those of all workers in the order of their ranks."""
    import ray

    node = ray.util.get_node_ip_address()
    with socket.socket() as free:  # it finds a free port and never listens
        free.bind((node, 0))
        address = f"{node}:{free.getsockname()[1]}"
    ray.get(board.add.remote(rank, address))
    for _ in range(int(LIMIT)):  # seconds
        known = ray.get(board.all.remote())
        if len(known) == count:
            return [known[number] for number in range(count)]
        time.sleep(1)
    raise InputError(f"after {LIMIT:.0f} s only {len(known)} of {count} workers have started")
