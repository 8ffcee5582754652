"""Which Keras backend runs, and what depends on it alone."""

import functools
import os
from typing import Any

import keras

from mrcnn.errors import InputError

Tensor = Any  # a tensor of the backend that runs


def for_backend(**choices: Any) -> Any:
    """The one of tensorflow=, jax=, torch= that belongs to the backend; None if it is not among them."""
    return choices.get(keras.config.backend())


def prefers_jit() -> bool:
    """Whether a step runs faster compiled: True on JAX, on TensorFlow only with a GPU, False on PyTorch.

    On a CPU TensorFlow's own kernels beat the code that XLA makes. On several devices TensorFlow cannot compile a step.
    """
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        return _tensorflow_has_gpu() and not tf.distribute.has_strategy()
    return keras.config.backend() == "jax"


@functools.cache
def _tensorflow_has_gpu() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def make_deterministic() -> None:
    """From now on the same steps give the same bits: TensorFlow takes only kernels that do, JAX does anyway on a CPU.

    Slower on a GPU.

    Raises:
        InputError: JAX on a GPU without the flag that it reads when it starts.
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
            raise InputError(f"JAX on a GPU gives the same bits only if it is started so: set XLA_FLAGS={flag}")


def backend_name() -> str:
    """What the backend is called, for people to read."""
    return keras.config.backend()


def devices() -> list[str]:
    """Names of the devices that the backend computes on, such as "gpu:0 NVIDIA L4" or "cpu:0"."""
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
