"""Combine the parts of a batch inside a training step: each device takes a part of the batch, all hold the weights.

GPU_COUNT devices on each of H hosts, with IMAGES_PER_GPU images each, take the same step as one device with the whole
batch: a loss is a mean over rows of all parts, so its denominator is summed over them; gradients are summed
before they are clipped; and each image gets the random numbers that it would have in the whole batch.

On TensorFlow the code of a step runs once for each device (a "replica") on its part, and the functions here bring the
parts together. On JAX the code of a step stands for the whole batch, the compiler splits it, and they change nothing.
One difference remains: on TensorFlow, BatchNorm that trains (TRAIN_BN) uses the statistics of each part.
"""

from collections.abc import Sequence
from typing import Any

import keras

from mrcnn.backend import runtime
from mrcnn.backend.hosts import host

Tensor = Any  # a tensor of the chosen backend


# ---------------------------------------------------------------------------------------------------- within a step


def replica_count() -> int:
    """Return how many times the code of this step runs, each time on its part of the batch."""
    context = _replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def sum_over_replicas(values: Any) -> Any:
    """Return the sum of a tensor, or of each in a list, over the parts of the batch; all parts get the same."""
    context = _replica_context()
    if context is None:
        return values
    if not isinstance(values, list):
        return context.all_reduce("SUM", values)
    given = [number for number, value in enumerate(values) if value is not None]  # not every weight has a gradient
    sums = dict(zip(given, context.all_reduce("SUM", [values[number] for number in given]), strict=True))
    return [sums.get(number) for number in range(len(values))]


def gather_rows(values: Tensor) -> Tensor:
    """Return the rows [n, ...] of all parts of the batch in its order: [N, ...], N of the whole batch."""
    context = _replica_context()
    return values if context is None else context.all_gather(values, axis=0)


def as_rows(metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return scalars as [1] where Keras averages over the rows of all hosts, which TensorFlow refuses for scalars."""
    if _replica_context() is None or host()[1] == 1:
        return metrics
    return {name: keras.ops.reshape(value, (1,)) for name, value in metrics.items()}


def uniform_rows(shape: Sequence[Any], seed: keras.random.SeedGenerator | None) -> Tensor:
    """Return uniform random numbers in 0..1, [n, ...] for n images of this part: those they would have in one batch."""
    context = _replica_context()
    if context is None:
        return keras.random.uniform(shape, seed=seed)
    everywhere = keras.random.uniform((shape[0] * context.num_replicas_in_sync, *shape[1:]), seed=seed)
    first = context.replica_id_in_sync_group * shape[0]
    return everywhere[first : first + shape[0]]


def _replica_context() -> Any:
    """Return TensorFlow's replica context where a step runs as one of several replicas, else None."""
    return runtime.for_backend(tensorflow=_tensorflow_replica, jax=_nothing, torch=_nothing)()


def _nothing() -> None:
    return None


# ---------------------------------------------------------------------------------------------------- TensorFlow


def _tensorflow_replica() -> Any:
    import tensorflow as tf

    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return None
    return tf.distribute.get_replica_context()  # None while a network is being built
