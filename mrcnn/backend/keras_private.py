"""What is private or undocumented in Keras and yet relied on; tests/backend/test_keras_private.py tests each name.

Where a new release of Keras changes one of these, this is the only module to mend.
"""

from collections.abc import Callable
from typing import Any

import keras

Tensor = Any  # a tensor of the chosen backend


def sync_variables(network: keras.Model) -> None:
    """Bring the variables of a network up to date: on JAX they lag behind while `fit` runs (`jax_state_sync`)."""
    if hasattr(network, "jax_state_sync"):
        network.jax_state_sync()


def moving_averages(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Return the moving averages of the trained weights (`_model_variables_moving_average`); [] without EMA."""
    return list(optimizer._model_variables_moving_average) if optimizer.use_ema else []


def variable_index(optimizer: keras.optimizers.Optimizer, variable: Any) -> int:
    """Return the place of a trained variable in the order in which the optimizer was built (`_get_variable_index`)."""
    return optimizer._get_variable_index(variable)


def share_random_seed() -> None:
    """Give all JAX processes that train together the same random seed, if the user set none (`initialize_rng`)."""
    from keras.src.backend.jax.distribution_lib import initialize_rng

    initialize_rng()


class UnsummedOptimizer(keras.optimizers.Optimizer):
    """An optimizer whose gradients Keras does not sum over the replicas of TensorFlow: that would follow the clipping.

    Mix it in before the optimizer. Whoever does so sums the gradients in `apply`.
    """

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        return grads_and_vars


class BuiltModel(keras.Model):
    """A model that Keras does not build from a first batch (`_maybe_symbolic_build`), because it is built.

    With several devices Keras would take a batch out of the loader to learn shapes that are known.
    """

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        pass


def with_tensorflow_dataset(loader: keras.utils.PyDataset, change: Callable[[Any], Any]) -> Any:
    """Return a loader that `fit` reads through `change(tf.data.Dataset of its batches)`.

    `fit` takes a data adapter in place of data; `PyDatasetAdapter` is the one that Keras itself uses for a loader.
    """
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    class Changed(PyDatasetAdapter):
        def get_tf_dataset(self) -> Any:
            return change(super().get_tf_dataset())

    return Changed(loader, shuffle=False)
