"""Training on several devices of a host, and on several hosts: each takes its part of the batch, all hold the weights.

GPU_COUNT devices on each of H hosts, with IMAGES_PER_GPU images each, make the step that one device would make with the
whole batch: a loss is a mean over rows of all parts, so its denominator is summed over them; gradients are summed
before they are clipped; and each image is given the random numbers that it would have in the whole batch.

On TensorFlow the code of a step runs once for each device (a "replica") on its part, and the functions here bring the
parts together. On JAX the code of a step stands for the whole batch, the compiler splits it, and they change nothing.
The one difference left: BatchNorm that trains (TRAIN_BN) has the statistics of each part on TensorFlow.
"""

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras

from mrcnn import ops
from mrcnn.config import Config
from mrcnn.errors import InputError
from mrcnn.rendezvous import meet

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
        terms: what must be the same for all, by name; see `mrcnn.rendezvous.meet`.

    Raises:
        InputError: the list or the index cannot be, the backend cannot train on several hosts, or they do not meet.
    """
    wrong = [address for address in addresses if not address.rpartition(":")[2].isdigit() or address.startswith(":")]
    if wrong or len(set(addresses)) < len(addresses):
        raise InputError(f"hosts are {','.join(addresses)}: give each once, as HOST:PORT")
    if not 0 <= index < len(addresses):
        raise InputError(f"host index is {index}; with {len(addresses)} hosts it is 0 to {len(addresses) - 1}")
    if len(addresses) > 1:
        connect = _of_backend(tensorflow=_join_tensorflow, jax=_join_jax)
        meet(addresses, index, {"KERAS_BACKEND": ops.backend_name(), **(terms or {})})
        connect(list(addresses), index)


def host() -> tuple[int, int]:
    """(number of this process, how many train together); (0, 1) unless `join` was called."""
    return ops.for_backend(tensorflow=_tensorflow_host, jax=_jax_host, torch=lambda: (0, 1))()


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


# ---------------------------------------------------------------------------------------------------- devices


def parallel(config: Config) -> contextlib.AbstractContextManager:
    """The context in which a training network is built, compiled and fitted, so that it trains on all its devices.

    Raises:
        InputError: GPU_COUNT is more than there are, or the backend cannot do it.
    """
    count = int(config.GPU_COUNT)
    if count == 1 and host()[1] == 1:
        return contextlib.nullcontext()
    accumulated = int(config.GRADIENT_ACCUMULATION_STEPS)
    if accumulated > 1 and ops.for_backend(tensorflow=True):
        raise InputError(
            f"GRADIENT_ACCUMULATION_STEPS is {accumulated}: on several devices Keras cannot do that with TensorFlow. "
            "Set it to 1 and raise IMAGES_PER_GPU, or use KERAS_BACKEND=jax"
        )
    return _of_backend(tensorflow=_tensorflow_strategy, jax=_jax_distribution)(count).scope()


def _of_backend(**functions: Callable) -> Callable:
    function = ops.for_backend(**functions)
    if function is None:
        raise InputError(
            "this backend trains on one device: set GPU_COUNT = 1 (and raise IMAGES_PER_GPU), or choose another with "
            "KERAS_BACKEND=tensorflow or KERAS_BACKEND=jax"
        )
    return function


def _take(count: int, found: Sequence[Any], kind: str) -> list[Any]:
    if count > len(found):
        raise InputError(
            f"GPU_COUNT is {count}, but this host has {len(found)} {kind} that Keras can use: set GPU_COUNT = "
            f"{max(1, len(found))} and raise IMAGES_PER_GPU, or check the drivers and CUDA_VISIBLE_DEVICES"
        )
    return list(found[:count])


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Within it this process computes for itself: detection during training is not split over devices and hosts."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def fitting(config: Config) -> contextlib.AbstractContextManager:
    """The context of Keras' `fit` itself. TensorFlow's model knows its devices; JAX looks for them now."""
    return ops.for_backend(
        tensorflow=contextlib.nullcontext, torch=contextlib.nullcontext, jax=functools.partial(parallel, config)
    )()


def feed(loader: Any) -> Any:
    """What `fit` is to be given for a loader of this host's part of the batches."""
    if host()[1] == 1:
        return loader
    return ops.for_backend(tensorflow=_tensorflow_feed, jax=lambda loader: loader)(loader)


class StopTogether(keras.callbacks.Callback):
    """After an epoch all hosts stop if the first one does, and only then."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Ask the first host."""
        if host()[1] > 1:
            stops = bool(self.model.stop_training) and is_first_host()
            self.model.stop_training = ops.for_backend(tensorflow=_tensorflow_any, jax=_jax_any)(stops)


# ---------------------------------------------------------------------------------------------------- within a step


def replica_count() -> int:
    """How many times the code of this step runs, each time on its part of the batch."""
    context = _replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def sum_over_replicas(values: Any) -> Any:
    """The sum of a tensor (or of each of a list) over the parts of the batch; the same for all of them."""
    context = _replica_context()
    if context is None:
        return values
    if not isinstance(values, list):
        return context.all_reduce("SUM", values)
    given = [number for number, value in enumerate(values) if value is not None]  # not every weight has a gradient
    sums = dict(zip(given, context.all_reduce("SUM", [values[number] for number in given]), strict=True))
    return [sums.get(number) for number in range(len(values))]


def gather_rows(values: Tensor) -> Tensor:
    """The rows [n, ...] of all parts of the batch, N in all: [N, ...], in its order."""
    context = _replica_context()
    return values if context is None else context.all_gather(values, axis=0)


def as_rows(metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scalars as [1] where Keras takes the mean over the rows of all hosts, which TensorFlow refuses for scalars."""
    if _replica_context() is None or host()[1] == 1:
        return metrics
    return {name: keras.ops.reshape(value, (1,)) for name, value in metrics.items()}


def uniform_rows(shape: Sequence[Any], seed: keras.random.SeedGenerator | None) -> Tensor:
    """Random numbers in 0..1 of a shape [n, ...], n images of this part: those that they would have in one batch."""
    context = _replica_context()
    if context is None:
        return keras.random.uniform(shape, seed=seed)
    everywhere = keras.random.uniform((shape[0] * context.num_replicas_in_sync, *shape[1:]), seed=seed)
    first = context.replica_id_in_sync_group * shape[0]
    return everywhere[first : first + shape[0]]


def _replica_context() -> Any:
    """TensorFlow's, where a step runs as one of several replicas; else None."""
    return ops.for_backend(tensorflow=_tensorflow_replica, jax=_nothing, torch=_nothing)()


def _nothing() -> None:
    return None


# ---------------------------------------------------------------------------------------------------- TensorFlow


def _tensorflow_replica() -> Any:
    import tensorflow as tf

    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return None
    return tf.distribute.get_replica_context()  # None while a network is being built


def _tensorflow_host() -> tuple[int, int]:
    task = json.loads(os.environ.get("TF_CONFIG") or "{}")
    workers = task.get("cluster", {}).get("worker", [])
    return (int(task["task"]["index"]), len(workers)) if len(workers) > 1 else (0, 1)


def _join_tensorflow(addresses: Sequence[str], index: int) -> None:
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
    _several_hosts()  # collective operations are set up before the first operation of any kind


@functools.cache
def _several_hosts() -> Any:
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # it has a line for each collective operation
    return tf.distribute.MultiWorkerMirroredStrategy()


@functools.cache  # the same for building as for fitting
def _tensorflow_strategy(count: int) -> Any:
    import tensorflow as tf

    if host()[1] > 1:
        strategy = _several_hosts()
        found = len(strategy.extended.worker_devices)
        if count != found:
            raise InputError(
                f"GPU_COUNT is {count}, but this host has {found}: on several hosts TensorFlow takes all devices of "
                f"each. Set GPU_COUNT = {found}, or hide some with CUDA_VISIBLE_DEVICES"
            )
        return strategy
    gpus = tf.config.list_logical_devices("GPU")
    devices = _take(count, gpus or tf.config.list_logical_devices("CPU"), "GPUs" if gpus else "CPU device")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _tensorflow_any(flag: bool) -> bool:
    import tensorflow as tf

    def total() -> Tensor:
        return tf.distribute.get_replica_context().all_reduce("SUM", tf.cast(flag, tf.float32))

    strategy = _several_hosts()
    return float(strategy.experimental_local_results(strategy.run(total))[0]) > 0


def _tensorflow_feed(loader: Any) -> Any:
    """The loader for several hosts. Of the loader itself Keras would let each host take every n-th image."""
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    strategy = _several_hosts()
    replicas = len(strategy.extended.worker_devices)

    class Feed(PyDatasetAdapter):
        def get_tf_dataset(self) -> Any:
            part = super().get_tf_dataset()
            images = loader.maker.batch_size // replicas
            return strategy.distribute_datasets_from_function(
                lambda _: part if replicas == 1 else part.rebatch([images] * replicas)
            )

    return Feed(loader, shuffle=False)


# ---------------------------------------------------------------------------------------------------- JAX


def _jax_host() -> tuple[int, int]:
    import jax

    return jax.process_index(), jax.process_count()


def _join_jax(addresses: Sequence[str], index: int) -> None:
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # where there is no GPU
    keras.distribution.initialize(",".join(addresses), len(addresses), index)


@functools.cache
def _jax_distribution(count: int) -> Any:
    import jax

    chosen = []
    for process in range(jax.process_count()):
        found = [device for device in jax.devices() if device.process_index == process]
        chosen += _take(count, found, "GPUs" if found[0].platform != "cpu" else "CPU device")
    names = [f"{device.platform}:{device.id}" for device in chosen]
    # each host loads its own part: see `shard` of mrcnn.loader.Loader
    return keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)


def _jax_any(flag: bool) -> bool:
    import numpy as np
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())
