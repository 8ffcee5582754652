"""Optimizers and learning-rate schedules of training, made from a Config out of Keras' own."""

import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.backend.replicas import sum_over_replicas
from mrcnn.config import Config

NO_DECAY = ("gamma", "beta", "bias")  # scales and shifts are not shrunk (AdamW)


class LayerRates(keras.optimizers.Optimizer):
    """Mixed into an optimizer: a factor on the learning rate for each variable, and averages that stay apart.

    Keras would put the moving averages in place of the weights at the end of each `fit`; here `averages` hands them
    out, so that training can go on from the weights themselves.
    """

    layer_rates: list[float] | None = None
    sums_gradients = True  # False: they are summed over the parts of the batch already

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Keras' step; the gradients of all parts of the batch are summed first, so that the sum is what is clipped."""
        super().apply(sum_over_replicas(list(grads)) if self.sums_gradients else grads, trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        return grads_and_vars  # Keras' sum for TensorFlow, which comes after the clipping

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Keras' step, with the variable's own rate."""
        if self.layer_rates:
            learning_rate = learning_rate * self.layer_rates[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate)

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """Called by `fit` at its end: the weights stay what they are."""

    def averages(self) -> list[Any]:
        """The exponential moving averages of the trained weights, in their order; empty without EMA_MOMENTUM.

        As Tarvainen and Valpola (arXiv:1703.01780) keep them for a teacher.
        """
        return list(self._model_variables_moving_average) if self.use_ema else []


class SGD(LayerRates, keras.optimizers.SGD):
    """Stochastic gradient descent with momentum."""


class Adam(LayerRates, keras.optimizers.Adam):
    """Kingma and Ba, arXiv:1412.6980."""


class AdamW(LayerRates, keras.optimizers.AdamW):
    """Adam whose weight decay is apart from the gradient; Loshchilov and Hutter, arXiv:1711.05101."""


class LossScale(keras.optimizers.LossScaleOptimizer):
    """For float16: the loss times a factor, so that small gradients do not vanish; steps that overflow are left out.

    The sum of all parts of the batch is what must be finite, so the gradients are summed here and not by the optimizer
    inside.
    """

    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer)
        optimizer.sums_gradients = False

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Keras' step, on the summed gradients."""
        super().apply(sum_over_replicas(list(grads)), trainable_variables)

    def averages(self) -> list[Any]:
        """See `LayerRates.averages`."""
        return self.inner_optimizer.averages()


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A straight rise from a thousandth of the rate over the first steps, then the schedule (Goyal, arXiv:1706.02677).

    Args:
        after: the schedule, a function of all steps, warm-up included.
        steps: length of the rise.
    """

    def __init__(self, after: keras.optimizers.schedules.LearningRateSchedule, steps: int) -> None:
        self.after, self.steps = after, steps

    def __call__(self, step: Any) -> Any:
        """The rate of a step, counted from 0."""
        risen = (ops.cast(step, "float32") + 1.0) / self.steps
        return self.after(step) * ops.clip(risen, 0.001, 1.0)

    def get_config(self) -> dict[str, Any]:
        """For Keras' serialisation."""
        return {"after": keras.saving.serialize_keras_object(self.after), "steps": self.steps}


def learning_rate_schedule(
    config: Config, learning_rate: float, first_epoch: int, epochs: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate of a call of `train` that goes from `first_epoch` to `epochs`, by LEARNING_RATE_SCHEDULE.

    "cosine" is half a period without restarts (Loshchilov and Hutter, arXiv:1608.03983, eq. 5).

    Args:
        config: STEPS_PER_EPOCH, WARMUP_STEPS and LEARNING_RATE_* are read.
        learning_rate: its highest value.
        first_epoch: epochs that were done before.
        epochs: the last epoch of the call. LEARNING_RATE_DROP_EPOCHS are counted like this, from the run's beginning.

    Returns:
        A plain number for a rate that never changes, else a function of the steps of this call.
    """
    per_epoch = int(config.STEPS_PER_EPOCH)
    schedules = keras.optimizers.schedules
    schedule: Any
    if config.LEARNING_RATE_SCHEDULE == "cosine":
        schedule = schedules.CosineDecay(learning_rate, max(1, (epochs - first_epoch) * per_epoch))
    else:
        drops = sorted(config.LEARNING_RATE_DROP_EPOCHS) if config.LEARNING_RATE_SCHEDULE == "step" else []
        if not drops and not config.WARMUP_STEPS:
            return learning_rate
        # PiecewiseConstantDecay goes on to the next value after its boundary; a drop after epoch 8 is at step 8 * n
        boundaries = [(drop - first_epoch) * per_epoch - 1 for drop in drops]
        values = [learning_rate * config.LEARNING_RATE_DROP_FACTOR**i for i in range(len(drops) + 1)]
        schedule = schedules.PiecewiseConstantDecay(boundaries, values) if drops else _constant(learning_rate)
    return WarmUp(schedule, int(config.WARMUP_STEPS)) if config.WARMUP_STEPS else schedule


def build_optimizer(
    config: Config, learning_rate: Any, momentum: float, variables: Sequence[keras.Variable]
) -> keras.optimizers.Optimizer:
    """The optimizer of config.OPTIMIZER for these variables, built. It clips as Pascanu et al. (arXiv:1211.5063).

    Args:
        config: OPTIMIZER, GRADIENT_CLIP_NORM (of all gradients together), GRADIENT_ACCUMULATION_STEPS, EMA_MOMENTUM,
            LAYER_RATES and, for AdamW, WEIGHT_DECAY.
        learning_rate: a number or a schedule.
        momentum: of SGD; the first moment of Adam.
        variables: those that train; a layer that matches none of LAYER_RATES has the factor 1.
    """
    common = {
        "learning_rate": learning_rate,
        "global_clipnorm": config.GRADIENT_CLIP_NORM or None,
        "gradient_accumulation_steps": _more_than_one(config.GRADIENT_ACCUMULATION_STEPS),
    }
    if config.EMA_MOMENTUM:
        common |= {"use_ema": True, "ema_momentum": config.EMA_MOMENTUM}
    optimizer: Any
    if config.OPTIMIZER == "sgd":
        optimizer = SGD(momentum=momentum, **common)
    elif config.OPTIMIZER == "adam":
        optimizer = Adam(beta_1=momentum, **common)
    else:
        optimizer = AdamW(beta_1=momentum, weight_decay=config.WEIGHT_DECAY, **common)
        optimizer.exclude_from_weight_decay(var_names=list(NO_DECAY))
    if config.LAYER_RATES:
        optimizer.layer_rates = [layer_rate(config, variable.path.split("/")[-2]) for variable in variables]
    if keras.config.dtype_policy().compute_dtype == "float16":
        optimizer = LossScale(optimizer)
    optimizer.build(variables)  # or the first step is traced twice: once to make these variables
    return optimizer


def layer_rate(config: Config, layer: str) -> float:
    """The factor of LAYER_RATES for a layer: of the first expression that matches its whole name, else 1."""
    return next((float(rate) for regex, rate in config.LAYER_RATES.items() if re.fullmatch(regex, layer)), 1.0)


def _constant(value: float) -> Any:
    return keras.optimizers.schedules.PolynomialDecay(value, 1, end_learning_rate=value)


def _more_than_one(count: int) -> int | None:
    return count if count > 1 else None
