"""Optimizers and schedules against the formulas, worked out in numpy."""

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.engine.optimizers import build_optimizer, learning_rate_schedule
from mrcnn.errors import InputError

pytestmark = pytest.mark.graph


def config_of(**settings) -> Config:
    config = Config()
    for key, value in {"STEPS_PER_EPOCH": 10, "GRADIENT_CLIP_NORM": 0.0, **settings}.items():
        assert hasattr(config, key)
        setattr(config, key, value)
    return config


def rates(schedule, steps) -> np.ndarray:
    return np.array([float(keras.ops.convert_to_numpy(schedule(step))) for step in steps])


def test_a_constant_rate_is_a_number():
    assert learning_rate_schedule(config_of(), 0.01, 0, 5) == 0.01


def test_zoo_1x_rises_over_500_steps_and_drops_after_epochs_8_and_11():
    config = config_of(
        LEARNING_RATE_SCHEDULE="step", LEARNING_RATE_DROP_EPOCHS=(8, 11), WARMUP_STEPS=500, STEPS_PER_EPOCH=1000
    )
    schedule = learning_rate_schedule(config, 0.02, 0, 12)
    steps = [0, 49, 499, 500, 7999, 8000, 10999, 11000, 11999]
    expected = [0.02 * 0.002, 0.002, 0.02, 0.02, 0.02, 0.002, 0.002, 0.0002, 0.0002]
    np.testing.assert_allclose(rates(schedule, steps), expected, rtol=1e-5)


def test_drops_count_from_the_beginning_of_the_run_not_of_the_stage():
    config = config_of(LEARNING_RATE_SCHEDULE="step", LEARNING_RATE_DROP_EPOCHS=(3, 5))
    schedule = learning_rate_schedule(config, 1.0, 4, 6)  # epochs 5 and 6: one drop is past, one comes after ten steps
    np.testing.assert_allclose(rates(schedule, [0, 9, 10, 19]), [0.1, 0.1, 0.01, 0.01], rtol=1e-5)


def test_cosine_falls_to_zero_at_the_end_of_the_stage():
    schedule = learning_rate_schedule(config_of(LEARNING_RATE_SCHEDULE="cosine"), 0.4, 2, 6)
    steps = np.array([0, 10, 20, 40])
    np.testing.assert_allclose(rates(schedule, steps), 0.2 * (1 + np.cos(np.pi * steps / 40)), atol=1e-7)


def variables() -> list[keras.Variable]:
    near, far = keras.layers.Dense(1, name="near"), keras.layers.Dense(1, name="far")
    network = keras.Sequential([keras.Input((2,)), near, far])
    for variable in network.trainable_variables:
        variable.assign(np.ones(variable.shape, np.float32))
    return network.trainable_variables


def values(trained) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable) for variable in trained]


def gradients(trained, value: float) -> list:
    return [keras.ops.full(variable.shape, value) for variable in trained]


def test_layer_rates_scale_the_step_of_their_layers():
    trained = variables()  # near: kernel, bias; far: kernel, bias
    optimizer = build_optimizer(config_of(LAYER_RATES={"ne.r": 0.1, "n.*": 7.0}), 0.5, 0.0, trained)
    optimizer.apply(gradients(trained, 2.0), trained)
    for found, expected in zip(values(trained), [0.9, 0.9, 0.0, 0.0], strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_accumulation_updates_once_with_the_mean():
    trained = variables()
    optimizer = build_optimizer(config_of(GRADIENT_ACCUMULATION_STEPS=2), 0.5, 0.0, trained)
    optimizer.apply(gradients(trained, 1.0), trained)
    np.testing.assert_array_equal(values(trained)[0], 1.0)
    optimizer.apply(gradients(trained, 0.6), trained)
    np.testing.assert_allclose(values(trained)[0], 1.0 - 0.5 * 0.8, atol=1e-6)


def test_clipping_is_of_all_gradients_together():
    trained = variables()  # 2 + 1 + 1 + 1 numbers
    optimizer = build_optimizer(config_of(GRADIENT_CLIP_NORM=1.0), 1.0, 0.0, trained)
    optimizer.apply(gradients(trained, 4.0), trained)
    np.testing.assert_allclose(values(trained)[0], 1.0 - 1.0 / np.sqrt(5), atol=1e-6)


def test_adamw_shrinks_kernels_and_leaves_biases():
    trained = variables()
    optimizer = build_optimizer(config_of(OPTIMIZER="adamw", WEIGHT_DECAY=0.5), 0.1, 0.9, trained)
    optimizer.apply(gradients(trained, 0.0), trained)
    for found, expected in zip(values(trained), [0.95, 1.0, 0.95, 1.0], strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_averages_follow_the_weights_and_stay_apart():
    trained = variables()
    optimizer = build_optimizer(config_of(EMA_MOMENTUM=0.75), 0.5, 0.0, trained)
    weight, average = 1.0, None
    for gradient in (1.0, -0.5, 0.25):
        optimizer.apply(gradients(trained, gradient), trained)
        weight -= 0.5 * gradient
        average = weight if average is None else 0.75 * average + 0.25 * weight
    optimizer.finalize_variable_values(trained)
    np.testing.assert_allclose(values(trained)[0], weight, atol=1e-6)
    np.testing.assert_allclose(values(optimizer.averages())[0], average, atol=1e-6)


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="LEARNING_RATE_SCHEDULE is 'linear'; give constant, step or cosine"):
        config_of(LEARNING_RATE_SCHEDULE="linear").validate()
    with pytest.raises(InputError, match="OPTIMIZER is 'lion'; give sgd, adam or adamw"):
        config_of(OPTIMIZER="lion").validate()


def test_momentum_of_zero():
    """Clients write LEARNING_MOMENTUM = 0, a whole number, which Keras refuses."""
    trained = variables()  # ones
    optimizer = build_optimizer(config_of(), 0.5, 0, trained)
    for _ in range(2):
        optimizer.apply(gradients(trained, 1.0), trained)
    assert all((value == 0).all() for value in values(trained))
