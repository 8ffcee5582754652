"""Tell which Keras backend runs, and what follows from that alone."""

import functools
import os
from typing import Any

import keras

from mrcnn.errors import InputError

Tensor = Any  # a tensor of the backend that runs


def for_backend(**choices: Any) -> Any:
    """Return the choice of tensorflow=, jax=, torch= for the backend that runs; None if it is not among them."""
    return choices.get(keras.config.backend())


def prefers_jit(many_shapes: bool = False) -> bool:
    """Return whether a compiled step is faster: True on JAX, on TensorFlow only with a GPU, False on PyTorch.

    On a CPU TensorFlow's own kernels beat the code that XLA makes. On several devices TensorFlow cannot compile a step.

    Args:
        many_shapes: the step will see inputs of many sizes. XLA compiles it for each and TensorFlow keeps them all, so
            TensorFlow then runs one graph of open shapes instead.
    """
    if many_shapes and keras.config.backend() == "tensorflow":
        return False
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        return _tensorflow_has_gpu() and not tf.distribute.has_strategy()
    return keras.config.backend() == "jax"


@functools.cache
def _tensorflow_has_gpu() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def make_deterministic() -> None:
    """Make the same steps give the same bits from now on; slower on a GPU.

    TensorFlow then takes only deterministic kernels; JAX is deterministic on a CPU anyway.

    Raises:
        InputError: JAX runs on a GPU without the flag that it reads at startup.
    """
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif keras.config.backend() == "torch":
        import torch

        torch.use_deterministic_algorithms(True)
    else:
        import jax

        flag = "--xla_gpu_deterministic_ops=true"
        if flag not in os.environ.get("XLA_FLAGS", "") and any(device.platform == "gpu" for device in jax.devices()):
            raise InputError(f"JAX on a GPU is deterministic only if it is started with XLA_FLAGS={flag}")


def backend_name() -> str:
    """Return the name of the backend."""
    return keras.config.backend()


def devices() -> list[str]:
    """Return the names of the devices that the backend computes on, such as "gpu:0 NVIDIA L4" or "cpu:0"."""
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        details = [tf.config.experimental.get_device_details(gpu).get("device_name", "") for gpu in gpus]
        return [f"gpu:{number} {name}".strip() for number, name in enumerate(details)] or ["cpu:0"]
    if keras.config.backend() == "jax":
        import jax

        return [f"{device.platform}:{device.id} {device.device_kind}" for device in jax.devices()]
    import torch

    gpus = range(torch.cuda.device_count())
    return [f"gpu:{number} {torch.cuda.get_device_name(number)}" for number in gpus] or ["cpu:0"]
