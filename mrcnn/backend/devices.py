"""Training on several devices of a host: the contexts in which a network is built, compiled and fitted."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from mrcnn.backend import runtime
from mrcnn.backend.hosts import host, is_first_host, of_backend, worker_strategy
from mrcnn.backend.keras_private import with_tensorflow_dataset
from mrcnn.config import Config
from mrcnn.errors import InputError

Tensor = Any  # a tensor of the chosen backend


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
    if accumulated > 1 and runtime.for_backend(tensorflow=True):
        raise InputError(
            f"GRADIENT_ACCUMULATION_STEPS is {accumulated}: on several devices Keras cannot do that with TensorFlow. "
            "Set it to 1 and raise IMAGES_PER_GPU, or use KERAS_BACKEND=jax"
        )
    return of_backend(tensorflow=_tensorflow_strategy, jax=_jax_distribution)(count).scope()


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
    return runtime.for_backend(
        tensorflow=contextlib.nullcontext, torch=contextlib.nullcontext, jax=functools.partial(parallel, config)
    )()


def feed(loader: Any) -> Any:
    """What `fit` is to be given for a loader of this host's part of the batches."""
    if host()[1] == 1:
        return loader
    return runtime.for_backend(tensorflow=_tensorflow_feed, jax=lambda loader: loader)(loader)


class StopTogether(keras.callbacks.Callback):
    """After an epoch all hosts stop if the first one does, and only then."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Ask the first host."""
        if host()[1] > 1:
            stops = bool(self.model.stop_training) and is_first_host()
            self.model.stop_training = runtime.for_backend(tensorflow=_tensorflow_any, jax=_jax_any)(stops)


@functools.cache  # the same for building as for fitting
def _tensorflow_strategy(count: int) -> Any:
    import tensorflow as tf

    if host()[1] > 1:
        strategy = worker_strategy()
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

    strategy = worker_strategy()
    return float(strategy.experimental_local_results(strategy.run(total))[0]) > 0


def _tensorflow_feed(loader: Any) -> Any:
    """Return the loader for several hosts. Of the loader itself Keras would let each host take every n-th image."""
    strategy = worker_strategy()
    replicas = len(strategy.extended.worker_devices)
    images = loader.maker.batch_size // replicas

    def distributed(part: Any) -> Any:
        return strategy.distribute_datasets_from_function(
            lambda _: part if replicas == 1 else part.rebatch([images] * replicas)
        )

    return with_tensorflow_dataset(loader, distributed)


@functools.cache
def _jax_distribution(count: int) -> Any:
    import jax

    chosen = []
    for process in range(jax.process_count()):
        found = [device for device in jax.devices() if device.process_index == process]
        chosen += _take(count, found, "GPUs" if found[0].platform != "cpu" else "CPU device")
    names = [f"{device.platform}:{device.id}" for device in chosen]
    # each host loads its own part: see `shard` of mrcnn.data.loader.Loader
    return keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)


def _jax_any(flag: bool) -> bool:
    import numpy as np
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())
