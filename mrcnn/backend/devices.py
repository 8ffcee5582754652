"""Train on several devices: the contexts in which a network is built, compiled and fitted."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.backend import runtime
from mrcnn.backend.hosts import host, of_backend, values_of_hosts, worker_strategy
from mrcnn.backend.keras_private import with_tensorflow_dataset
from mrcnn.config import Config
from mrcnn.errors import InputError

Tensor = Any  # a tensor of the chosen backend


def parallel(config: Config) -> contextlib.AbstractContextManager:
    """Return the context in which a training network is built, compiled and fitted to train on all its devices.

    Raises:
        InputError: GPU_COUNT exceeds the number of devices, or the backend does not support it.
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
    """Compute on this process alone: detection during training is not split over devices and hosts."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def fitting(config: Config) -> contextlib.AbstractContextManager:
    """Return the context for Keras' `fit` itself. TensorFlow's model knows its devices; JAX looks them up now."""
    return runtime.for_backend(
        tensorflow=contextlib.nullcontext, torch=contextlib.nullcontext, jax=functools.partial(parallel, config)
    )()


def feed(loader: Any) -> Any:
    """Return what `fit` takes for a loader of this host's part of the batches."""
    if host()[1] == 1:
        return loader
    return runtime.for_backend(tensorflow=_tensorflow_feed, jax=lambda loader: loader)(loader)


class StopTogether(keras.callbacks.Callback):
    """Stops all hosts after an epoch if the first one stops, and only then."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Take over the decision of the first host."""
        if host()[1] > 1:
            stops = np.array([bool(self.model.stop_training)], np.float32)
            self.model.stop_training = bool(values_of_hosts(stops)[0, 0])


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
