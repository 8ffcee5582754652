"""Run a network on batches from any number of threads at once."""

import functools
import threading
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from mrcnn.backend import runtime
from mrcnn.backend.keras_private import sync_variables


class Predictor:
    """Runs a network for inference; it may be called from any number of threads, with equal results.

    Keras' own `predict_on_batch` may not: on JAX it gives the buffers of the variables to each call and takes them back
    afterwards, so that another thread meets deleted ones. Here the variables are only read.

    Args:
        network: all its layers are built. It is compiled if its `jit_compile` says so.
    """

    def __init__(self, network: keras.Model) -> None:
        self._run: Callable[[Any], Any] = runtime.for_backend(tensorflow=_by_keras, torch=_by_keras, jax=_jax)(network)
        self._first_call = threading.Lock()
        self._ready = False

    def __call__(self, inputs: Any) -> Any:
        """Return the outputs of the network for a batch as numpy arrays; inputs are as the network takes them."""
        if self._ready:
            return self._run(inputs)
        with self._first_call:  # threads that start together would all trace and compile the network
            outputs = self._run(inputs)
            self._ready = True
        return outputs


def _by_keras(network: keras.Model) -> Callable[[Any], Any]:
    return functools.partial(keras.Model.predict_on_batch, network)


def _jax(network: keras.Model) -> Callable[[Any], Any]:
    import jax

    variables = network.variables

    def run(values: list[jax.Array], inputs: Any) -> Any:
        with keras.StatelessScope(state_mapping=zip(variables, values, strict=True)):
            return network(inputs, training=False)

    if network.jit_compile and not network.run_eagerly:
        run = jax.jit(run)

    def predict(inputs: Any) -> Any:
        sync_variables(network)
        return jax.tree.map(np.array, run([variable.value for variable in variables], inputs))

    return predict
