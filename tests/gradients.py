"""Computes gradients of scalar functions on the current backend, for tests."""

import keras
import numpy as np


def value_and_gradient(function, x: np.ndarray, jit: bool = False) -> tuple[float, np.ndarray]:
    """Return value and gradient at x of function(tensor) -> scalar tensor, in numpy. `jit`: on JAX, compile both."""
    backend = keras.config.backend()
    if backend == "jax":
        import jax

        both = jax.value_and_grad(function)
        value, gradient = (jax.jit(both) if jit else both)(keras.ops.convert_to_tensor(x))
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


def loss_gradients(network, batch, names: tuple[str, ...]) -> dict[str, dict[str, np.ndarray]]:
    """Return the gradient of each named loss of a training network, on TensorFlow: name -> {"layer/weight": array}."""
    import tensorflow as tf

    variables = {"/".join(v.path.split("/")[-2:]): v.value for v in network.trainable_variables}
    with tf.GradientTape(persistent=True) as tape:
        terms = network.loss_terms(batch, network(batch, training=True))
        terms = {name: terms[name] for name in names}
    gradients = {name: tape.gradient(term, variables) for name, term in terms.items()}
    return {name: {key: np.asarray(g) for key, g in row.items() if g is not None} for name, row in gradients.items()}
