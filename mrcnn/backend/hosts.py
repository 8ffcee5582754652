"""Training on several hosts: join them, know which one this is, and end together.

TensorFlow and JAX connect the processes themselves. What is added here: whom a process waits for, a limit to that with
a message, and the refusal of options that differ.
"""

import atexit
import contextlib
import functools
import json
import logging
import os
import pathlib
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mrcnn.backend import runtime
from mrcnn.backend.keras_private import share_random_seed
from mrcnn.errors import InputError
from mrcnn.files import take_lock

log = logging.getLogger(__name__)

LIMIT = 600.0  # seconds to wait for the other hosts: clusters start machines and fetch images first
ANSWER = 5.0  # seconds for a connection, which takes milliseconds
LOST = ("Collective ops is aborted", "Gloo ")  # how TensorFlow and JAX (on a CPU) report that another host is gone
SCRATCH = "mask-rcnn-"  # prefix of temporary folders whose files nobody wants


# ---------------------------------------------------------------------------------------------------- joining


def join(addresses: Sequence[str], index: int, terms: Mapping[str, Any] | None = None, limit: float = LIMIT) -> None:
    """Make this process one of several that train together; return when all have joined.

    Call it before anything else is asked of the backend.

    Args:
        addresses: "host:port" of all processes, the same list for each; the first one writes the files.
        index: which of them this process is.
        terms: what must be the same for all, by name; values as JSON has them.
        limit: seconds to wait for the others. On JAX the process ends itself after that, with exit code 2.

    Raises:
        InputError: `addresses` or `index` is invalid, the port is in use, the backend does not support multi-host
            training, a host fails to join in time, or one has other terms.
    """
    if not all(map(_is_address, addresses)) or len(set(addresses)) < len(addresses):
        raise InputError(f"hosts are {','.join(addresses)}: give each once, as HOST:PORT with a port from 1 to 65535")
    if not 0 <= index < len(addresses):
        raise InputError(f"host index is {index}; with {len(addresses)} hosts it is 0 to {len(addresses) - 1}")
    if len(addresses) == 1:
        return
    connect = of_backend(tensorflow=_join_tensorflow, jax=_join_jax)
    _refuse_used_port(addresses[index])
    log.info("waiting for %s, at most %.0f s", _awaited(addresses, index), limit)
    connect(list(addresses), index, limit)
    stated = json.dumps({"list of --hosts": list(addresses), **(terms or {})})
    refuse_other_terms(addresses, [json.loads(text) for text in _texts_of_hosts(stated)])


def _is_address(text: str) -> bool:
    """Return whether a text is HOST:PORT."""
    name, _, port = text.rpartition(":")
    return bool(name) and port.isdecimal() and port.isascii() and len(port) <= 5 and 0 < int(port) < 1 << 16


def refuse_other_terms(addresses: Sequence[str], terms: Sequence[Mapping[str, Any]]) -> None:
    """Compare the terms of all hosts with those of the first one.

    Args:
        addresses: "host:port" of all processes.
        terms: of each process, by name.

    Raises:
        InputError: a host has other terms; the message names the host and the first term that differs.
    """
    first = terms[0]
    for index, theirs in enumerate(terms):
        for name in {**first, **theirs}:
            if theirs.get(name) != first.get(name):
                raise InputError(
                    f"host {index}, {addresses[index]}, was started with another {name} than host 0: "
                    f"{theirs.get(name)}, not {first.get(name)}. The commands may differ in --host-index only"
                )


def _awaited(addresses: Sequence[str], index: int) -> str:
    """Name the hosts that have not joined, as far as this process can know.

    On TensorFlow every host listens while it waits, on JAX only the first one does.
    """
    others = [number for number in range(len(addresses)) if number != index]
    listening = runtime.for_backend(tensorflow=others, jax=[number for number in others if number == 0])
    absent = [number for number in listening if not _answers(addresses[number])]
    silent = [number for number in others if number not in listening]
    return "; ".join(f"host {number}, {addresses[number]}" for number in absent or silent or others)


def _too_late(addresses: Sequence[str], index: int, limit: float) -> str:
    return (
        f"after {limit:.0f} s there is still no {_awaited(addresses, index)}. Start the same command there, with its "
        "--host-index and the same KERAS_BACKEND; if it runs, the hosts cannot reach one another (name, port, firewall)"
    )


def _answers(address: str) -> bool:
    name, _, port = address.rpartition(":")
    try:
        socket.create_connection((name.strip("[]"), int(port)), timeout=ANSWER).close()
    except OSError:
        return False
    return True


def _refuse_used_port(address: str) -> None:
    """Raise InputError if the port is in use: the backends crash."""
    port = int(address.rpartition(":")[2])
    try:
        with socket.socket() as trial:  # it never listens
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(("", port))  # all interfaces, as the backends do
    except OSError as error:
        raise InputError(
            f"port {port} of this host, {address}: {error.strerror}. End the program or earlier run that uses it, or "
            "give all hosts a list with another port"
        ) from error


def _texts_of_hosts(text: str) -> list[str]:
    """Return a text of each host, in their order."""
    data = np.frombuffer(text.encode(), np.uint8).astype(np.float32)
    lengths = values_of_hosts(np.array([len(data)], np.float32))[:, 0].astype(int)
    padded = np.pad(data, (0, lengths.max() - len(data)))
    rows = values_of_hosts(padded).astype(np.uint8)
    return [row[:length].tobytes().decode() for row, length in zip(rows, lengths, strict=True)]


def values_of_hosts(values: np.ndarray) -> np.ndarray:
    """Return the values float32 [n] of each host, float32 [hosts, n]; all hosts must call it."""
    return runtime.for_backend(tensorflow=_tensorflow_gather, jax=_jax_gather)(values)


# ---------------------------------------------------------------------------------------------------- joined


def host() -> tuple[int, int]:
    """Return (number of this process, how many train together); (0, 1) unless `join` was called."""
    return runtime.for_backend(tensorflow=_tensorflow_host, jax=_jax_host, torch=lambda: (0, 1))()


def is_first_host() -> bool:
    """Return whether this process writes the checkpoints and reports."""
    return host()[0] == 0


def own_folder(folder: str) -> str:
    """Return where this process writes the files of a run: `folder` on the first host; the others discard theirs."""
    return folder if is_first_host() else _scratch()


@functools.cache
def _scratch() -> str:
    """Return a temporary folder that is deleted when the process exits.

    Also delete folders left behind by killed processes; a held lock marks a folder as in use.
    """
    now = time.time()
    for old in pathlib.Path(tempfile.gettempdir()).glob(f"{SCRATCH}*/lock"):
        with contextlib.suppress(OSError), old.open() as file:
            # a younger folder may not be locked yet
            if now - old.stat().st_mtime > 60 and take_lock(file.fileno()):
                shutil.rmtree(old.parent)
    folder = tempfile.mkdtemp(prefix=SCRATCH)
    lock = os.open(os.path.join(folder, "lock"), os.O_CREAT)  # open, and so locked, until the process ends
    take_lock(lock)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def run_together(run: Callable[[], int]) -> int:
    """Call `run`, the work of a script; if it fails on one of several hosts, end that process at once.

    The others wait for its part of the batch, and only a closed connection tells them that it will not come.

    Args:
        run: returns an exit code.

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
                "). --resume continues from the last state\n"
            )
        else:
            sys.excepthook(*sys.exc_info())
            sys.stderr.write("error: this host stops, and so do the others. --resume continues from the last state\n")
    if code and host()[1] > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        if not is_first_host():
            shutil.rmtree(_scratch(), ignore_errors=True)
        os._exit(code)  # without the final handshake, which would wait for the others
    return code


def of_backend(**functions: Callable) -> Callable:
    """Return the function of the backend that runs; functions are given as tensorflow=, jax=.

    Raises:
        InputError: there is none, because the backend trains on one device.
    """
    function = runtime.for_backend(**functions)
    if function is None:
        raise InputError(
            "this backend trains on one device: set GPU_COUNT = 1 (and raise IMAGES_PER_GPU), or choose another with "
            "KERAS_BACKEND=tensorflow or KERAS_BACKEND=jax"
        )
    return function


# ---------------------------------------------------------------------------------------------------- TensorFlow


def _tensorflow_host() -> tuple[int, int]:
    task = json.loads(os.environ.get("TF_CONFIG") or "{}")
    workers = task.get("cluster", {}).get("worker", [])
    return (int(task["task"]["index"]), len(workers)) if len(workers) > 1 else (0, 1)


def _join_tensorflow(addresses: Sequence[str], index: int, limit: float) -> None:
    import tensorflow as tf

    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
    if index == 0:
        _wait_for_listeners(addresses, limit)
    _limit_tensorflow(len(addresses), limit)
    try:
        worker_strategy()  # collective operations are set up before the first operation of any kind
    except tf.errors.DeadlineExceededError as error:
        raise InputError(_too_late(addresses, index, limit)) from error
    except tf.errors.OpError as error:
        raise InputError(f"the hosts could not join ({error.message}); see the messages of the others") from error


def _wait_for_listeners(addresses: Sequence[str], limit: float) -> None:
    """Return when all other hosts listen, which they do while they wait for the first one.

    The first host could neither be limited nor interrupted inside TensorFlow, which holds the GIL while it waits.
    """
    end = time.monotonic() + limit
    while not all(_answers(address) for address in addresses[1:]):
        if time.monotonic() > end:
            raise InputError(_too_late(addresses, 0, limit))
        time.sleep(0.5)


def _limit_tensorflow(count: int, limit: float) -> None:
    """Let a process other than the first wait at most `limit` seconds, where TensorFlow would wait for an hour.

    Only TensorFlow's private context takes the limit.
    """
    from tensorflow.python.distribute.collective_all_reduce_strategy import coordination_config_pb2
    from tensorflow.python.eager import context

    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        cluster_register_timeout_in_ms=int(limit * 1000),
        coordinated_jobs=[coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=count)],
    )


@functools.cache
def worker_strategy() -> Any:
    """Return TensorFlow's strategy for the joined hosts."""
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # it has a line for each collective operation
    return tf.distribute.MultiWorkerMirroredStrategy()


def _tensorflow_gather(values: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    def gather() -> Any:
        return tf.distribute.get_replica_context().all_gather(tf.constant(values[None]), axis=0)

    strategy = worker_strategy()
    rows = strategy.experimental_local_results(strategy.run(gather))[0].numpy()  # of each replica
    return rows[:: len(rows) // host()[1]]


# ---------------------------------------------------------------------------------------------------- JAX


def _jax_host() -> tuple[int, int]:
    import jax

    return jax.process_index(), jax.process_count()


def _join_jax(addresses: Sequence[str], index: int, limit: float) -> None:
    import jax

    def leave() -> None:
        sys.stderr.write(f"error: {_too_late(addresses, index, limit)}\n")
        sys.stderr.flush()
        os._exit(2)

    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # where there is no GPU
    timer = threading.Timer(limit, leave)  # at its own limit JAX aborts the process, with a stack trace
    timer.daemon = True
    timer.start()
    jax.distributed.initialize(addresses[0], len(addresses), index, initialization_timeout=int(limit) + 60)
    timer.cancel()
    share_random_seed()


def _jax_gather(values: np.ndarray) -> np.ndarray:
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(values))
