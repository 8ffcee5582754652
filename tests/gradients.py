"""The gradient of a scalar function on whichever backend runs, for tests."""

import keras
import numpy as np


def value_and_gradient(function, x: np.ndarray) -> tuple[float, np.ndarray]:
    """function(tensor) -> scalar tensor. Returns its value at x and its gradient there, in numpy."""
    backend = keras.config.backend()
    if backend == "jax":
        import jax

        value, gradient = jax.value_and_grad(function)(keras.ops.convert_to_tensor(x))
    elif backend == "tensorflow":
        import tensorflow as tf

        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        gradient = tape.gradient(value, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        gradient = tf.convert_to_tensor(gradient)
    else:
        import torch

        x = keras.ops.convert_to_tensor(x).detach().requires_grad_(True)
        value = function(x)
        (gradient,) = torch.autograd.grad(value, x, allow_unused=True) if value.requires_grad else (None,)
        gradient = torch.zeros_like(x) if gradient is None else gradient
    return float(keras.ops.convert_to_numpy(value)), keras.ops.convert_to_numpy(gradient)
