"""Tests each private or undocumented name of Keras that is used, so that a change in Keras is noticed."""

import keras
import numpy as np
import pytest

from mrcnn.backend import keras_private

BACKEND = keras.config.backend()
pytestmark = pytest.mark.graph


def dense_model() -> keras.Model:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def test_variables_are_up_to_date_within_fit():
    """For y = w x with w = 1, x = 1 and target 0, a step of SGD at 0.1 changes w to 0.8."""
    model, seen = dense_model(), []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            keras_private.sync_variables(model)
            seen.append(float(keras.ops.convert_to_numpy(model.layers[0].kernel)[0, 0]))

    assert hasattr(model, "jax_state_sync") == (BACKEND == "jax")
    model.fit(np.ones((3, 1)), np.zeros((3, 1)), batch_size=1, verbose=0, shuffle=False, callbacks=[Look()])
    np.testing.assert_allclose(seen, [0.8, 0.64, 0.512], rtol=1e-6)


def test_moving_averages_are_those_of_the_definition():
    """The weight goes from 1 to 0.5 and 0; the average begins with the first value: 0.9 * 0.5 + 0.1 * 0."""
    weight = keras.Variable(np.float32([1.0]))
    optimizer = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9)
    optimizer.build([weight])
    for _ in range(2):
        optimizer.apply([keras.ops.ones((1,))])
    (average,) = keras_private.moving_averages(optimizer)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(average), [0.45], rtol=1e-6)
    assert keras_private.moving_averages(keras.optimizers.SGD(0.5)) == []


def test_variable_index_is_the_order_of_building():
    weights = [keras.Variable(np.zeros(3, np.float32)) for _ in range(3)]
    optimizer = keras.optimizers.SGD(0.5)
    optimizer.build(weights)
    assert [keras_private.variable_index(optimizer, weight) for weight in reversed(weights)] == [2, 1, 0]


def test_gradients_of_replicas_are_not_summed_by_keras():
    """Keras' optimizer calls the overridden method, but only on TensorFlow."""
    assert hasattr(keras.optimizers.Optimizer, "_all_reduce_sum_gradients") == (BACKEND == "tensorflow")
    called = []

    class Optimizer(keras_private.UnsummedOptimizer, keras.optimizers.SGD):
        def _all_reduce_sum_gradients(self, grads_and_vars):
            called.append(grads_and_vars)
            return super()._all_reduce_sum_gradients(grads_and_vars)

    weight = keras.Variable(np.float32([1.0]))
    optimizer = Optimizer(0.5)
    optimizer.build([weight])
    optimizer.apply([keras.ops.ones((1,))])
    assert bool(called) == (BACKEND == "tensorflow")
    assert float(keras.ops.convert_to_numpy(weight)[0]) == 0.5


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow alone builds from a batch")
def test_fit_does_not_build_a_model_from_a_batch():
    """`fit` calls the overridden method once, for its training data."""
    called = []

    class Model(keras_private.BuiltModel):
        def _maybe_symbolic_build(self, *args, **kwargs):
            called.append(kwargs)
            super()._maybe_symbolic_build(*args, **kwargs)

    assert hasattr(keras.Model, "_maybe_symbolic_build")
    inputs = keras.Input((1,))
    model = Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    model.fit(np.ones((2, 1)), np.zeros((2, 1)), verbose=0)
    assert len(called) == 1 and "iterator" in called[0]


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow's hosts")
def test_fit_reads_a_loader_through_a_change_of_its_dataset():
    class Loader(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return np.full((2, 1), index + 1.0, np.float32), np.zeros((2, 1), np.float32)

    def halved(dataset):
        return dataset.map(lambda x, y: (x / 2, y))

    plain, changed = dense_model(), dense_model()
    for model in (plain, changed):
        model.optimizer.learning_rate = 0.0
    loss = plain.fit(Loader(), shuffle=False, verbose=0).history["loss"][0]
    half = changed.fit(keras_private.with_tensorflow_dataset(Loader(), halved), verbose=0).history["loss"][0]
    assert loss == pytest.approx((1 + 4) / 2) and half == pytest.approx(loss / 4)


@pytest.mark.skipif(BACKEND != "jax", reason="of JAX's hosts")
def test_hosts_keep_a_seed_that_is_set_and_share_one_that_is_not(monkeypatch):
    from keras.src.utils import rng_utils

    known: list[int | None] = [7, None]
    shared: list[int] = []
    monkeypatch.setattr(rng_utils, "get_random_seed", lambda: known[0])
    monkeypatch.setattr(rng_utils, "set_random_seed", shared.append)
    keras_private.share_random_seed()
    assert not shared
    known.pop(0)
    keras_private.share_random_seed()
    assert len(shared) == 1 and 0 <= shared[0] < 2**32
