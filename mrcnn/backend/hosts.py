"""Training on several hosts: join them, and know which one this is."""

import atexit
import contextlib
import functools
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from mrcnn.backend import runtime
from mrcnn.backend.rendezvous import meet
from mrcnn.errors import InputError

Tensor = Any  # a tensor of the chosen backend

LOST = ("Collective ops is aborted", "Gloo ")  # what TensorFlow and JAX say on a CPU, or where a host has gone
SCRATCH = "mask-rcnn-"  # begins the names of folders whose files nobody wants


# ---------------------------------------------------------------------------------------------------- hosts


def join(addresses: Sequence[str], index: int, terms: Mapping[str, Any] | None = None) -> None:
    """Make this process one of several that train together. Call it before anything else is asked of the backend.

    It returns when all are there.

    Args:
        addresses: "host:port" of all processes, the same list for each; their first one writes the files.
        index: which of them this process is.
        terms: what must be the same for all, by name; see `mrcnn.backend.rendezvous.meet`.

    Raises:
        InputError: the list or the index cannot be, the backend cannot train on several hosts, or they do not meet.
    """
    wrong = [address for address in addresses if not address.rpartition(":")[2].isdigit() or address.startswith(":")]
    if wrong or len(set(addresses)) < len(addresses):
        raise InputError(f"hosts are {','.join(addresses)}: give each once, as HOST:PORT")
    if not 0 <= index < len(addresses):
        raise InputError(f"host index is {index}; with {len(addresses)} hosts it is 0 to {len(addresses) - 1}")
    if len(addresses) > 1:
        connect = of_backend(tensorflow=_join_tensorflow, jax=_join_jax)
        meet(addresses, index, {"KERAS_BACKEND": runtime.backend_name(), **(terms or {})})
        connect(list(addresses), index)


def host() -> tuple[int, int]:
    """(number of this process, how many train together); (0, 1) unless `join` was called."""
    return runtime.for_backend(tensorflow=_tensorflow_host, jax=_jax_host, torch=lambda: (0, 1))()


def is_first_host() -> bool:
    """Whether this process writes the checkpoints and reports."""
    return host()[0] == 0


def own_folder(folder: str) -> str:
    """Where this process writes the files of a run: `folder` on the first host; the others throw theirs away."""
    return folder if is_first_host() else _scratch()


@functools.cache
def _scratch() -> str:
    """A folder that goes with this process; those of processes that were killed go now. Their locks tell them apart."""
    import fcntl  # not on Windows, where backends cannot join hosts

    now = time.time()
    for old in pathlib.Path(tempfile.gettempdir()).glob(f"{SCRATCH}*/lock"):
        with contextlib.suppress(OSError), old.open() as file:
            if now - old.stat().st_mtime > 60:  # a younger one may not be locked yet
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old.parent)
    folder = tempfile.mkdtemp(prefix=SCRATCH)
    lock = os.open(os.path.join(folder, "lock"), os.O_CREAT)  # open, and so locked, until the process ends
    fcntl.flock(lock, fcntl.LOCK_EX)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def run_together(run: Callable[[], int]) -> int:
    """Call `run`, a script's work; if it fails on one of several hosts, that process ends at once.

    The others wait for its part of the batch, and only the closed connection tells them that it will not come.

    Returns:
        The exit code.
    """
    code = 1
    try:
        code = run()
    except Exception as error:
        if host()[1] == 1:
            raise
        lost = [line[line.index(words) :] for line in str(error).splitlines() for words in LOST if words in line]
        if lost:
            sys.stderr.write(
                f"error: another host stopped, so this one does too; look there for the reason ({lost[0]}"
                "). --resume goes on from the last state\n"
            )
        else:
            sys.excepthook(*sys.exc_info())
            sys.stderr.write("error: this host stops, and so do the others. --resume goes on from the last state\n")
    if code and host()[1] > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        if not is_first_host():
            shutil.rmtree(_scratch(), ignore_errors=True)
        os._exit(code)  # without the handshake at the end, for which the others are not ready
    return code


def of_backend(**functions: Callable) -> Callable:
    function = runtime.for_backend(**functions)
    if function is None:
        raise InputError(
            "this backend trains on one device: set GPU_COUNT = 1 (and raise IMAGES_PER_GPU), or choose another with "
            "KERAS_BACKEND=tensorflow or KERAS_BACKEND=jax"
        )
    return function


def _tensorflow_host() -> tuple[int, int]:
    task = json.loads(os.environ.get("TF_CONFIG") or "{}")
    workers = task.get("cluster", {}).get("worker", [])
    return (int(task["task"]["index"]), len(workers)) if len(workers) > 1 else (0, 1)


def _join_tensorflow(addresses: Sequence[str], index: int) -> None:
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
    worker_strategy()  # collective operations are set up before the first operation of any kind


@functools.cache
def worker_strategy() -> Any:
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # it has a line for each collective operation
    return tf.distribute.MultiWorkerMirroredStrategy()


# ---------------------------------------------------------------------------------------------------- JAX


def _jax_host() -> tuple[int, int]:
    import jax

    return jax.process_index(), jax.process_count()


def _join_jax(addresses: Sequence[str], index: int) -> None:
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # where there is no GPU
    keras.distribution.initialize(",".join(addresses), len(addresses), index)
