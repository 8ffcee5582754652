"""Build the optimizer and the learning-rate schedule of a training from its settings, out of Keras' own."""

import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.backend.keras_private import UnsummedOptimizer, moving_averages, variable_index
from mrcnn.backend.replicas import sum_over_replicas
from mrcnn.config import Config

NO_DECAY = ("gamma", "beta", "bias")  # AdamW does not decay scales and shifts


class LayerRates(UnsummedOptimizer):
    """Mixed into an optimizer: a factor on the learning rate of each variable, and averages that stay apart.

    Keras would replace the weights by their moving averages at the end of each `fit`; here `averages` returns them, so
    that training can continue from the weights themselves.
    """

    layer_rates: list[float] | None = None
    sums_gradients = True  # False: they are summed over the parts of the batch already

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Apply the gradients, summed over all parts of the batch first, so that the sum is what is clipped."""
        super().apply(sum_over_replicas(list(grads)) if self.sums_gradients else grads, trainable_variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update a variable at its own rate."""
        if self.layer_rates:
            learning_rate = learning_rate * self.layer_rates[variable_index(self, variable)]
        super().update_step(gradient, variable, learning_rate)

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """Leave the weights as they are when `fit` ends."""

    def averages(self) -> list[Any]:
        """Return the exponential moving averages of the trained weights, in their order; empty without EMA_MOMENTUM.

        As Tarvainen and Valpola (arXiv:1703.01780) keep them for a teacher.
        """
        return moving_averages(self)


class SGD(LayerRates, keras.optimizers.SGD):
    """Stochastic gradient descent with momentum."""


class Adam(LayerRates, keras.optimizers.Adam):
    """Kingma and Ba, arXiv:1412.6980."""


class AdamW(LayerRates, keras.optimizers.AdamW):
    """Adam whose weight decay is apart from the gradient; Loshchilov and Hutter, arXiv:1711.05101."""


class LossScale(keras.optimizers.LossScaleOptimizer):
    """Scale the loss for float16, so that small gradients do not vanish; skip the steps that overflow.

    The sum over all parts of the batch must be finite, so the gradients are summed here and not by the inner optimizer.
    """

    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer)
        optimizer.sums_gradients = False

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Apply the gradients, summed over all parts of the batch first."""
        super().apply(sum_over_replicas(list(grads)), trainable_variables)

    def averages(self) -> list[Any]:
        """Return the averages of the inner optimizer, see `LayerRates.averages`."""
        return self.inner_optimizer.averages()


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up from a thousandth of the rate, then the schedule (Goyal, arXiv:1706.02677).

    Args:
        after: the schedule, a function of all steps, warm-up included.
        steps: length of the warm-up.
    """

    def __init__(self, after: keras.optimizers.schedules.LearningRateSchedule, steps: int) -> None:
        self.after, self.steps = after, steps

    def __call__(self, step: Any) -> Any:
        """Return the rate of a step, counted from 0."""
        risen = (ops.cast(step, "float32") + 1.0) / self.steps
        return self.after(step) * ops.clip(risen, 0.001, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, for Keras' serialisation."""
        return {"after": keras.saving.serialize_keras_object(self.after), "steps": self.steps}


def learning_rate_schedule(
    config: Config, learning_rate: float, first_epoch: int, epochs: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Return the learning rate of the epochs from `first_epoch` to `epochs`, by LEARNING_RATE_SCHEDULE.

    "cosine" is half a period without restarts (Loshchilov and Hutter, arXiv:1608.03983, eq. 5).

    Args:
        config: STEPS_PER_EPOCH, WARMUP_STEPS and LEARNING_RATE_* are read.
        learning_rate: its maximum.
        first_epoch: epochs done before.
        epochs: the last epoch, counted from the start of the run, as LEARNING_RATE_DROP_EPOCHS are.

    Returns:
        A plain number for a constant rate, else a function of the step, counted from `first_epoch`.
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
        # PiecewiseConstantDecay changes after its boundary; a drop after epoch 8 is the change before step 8 * n
        boundaries = [(drop - first_epoch) * per_epoch - 1 for drop in drops]
        values = [learning_rate * config.LEARNING_RATE_DROP_FACTOR**i for i in range(len(drops) + 1)]
        schedule = schedules.PiecewiseConstantDecay(boundaries, values) if drops else _constant(learning_rate)
    return WarmUp(schedule, int(config.WARMUP_STEPS)) if config.WARMUP_STEPS else schedule


def build_optimizer(
    config: Config, learning_rate: Any, momentum: float, variables: Sequence[keras.Variable]
) -> keras.optimizers.Optimizer:
    """Build the optimizer of config.OPTIMIZER for these variables. It clips as Pascanu et al. (arXiv:1211.5063).

    Args:
        config: OPTIMIZER, GRADIENT_CLIP_NORM (of all gradients together), GRADIENT_ACCUMULATION_STEPS, EMA_MOMENTUM,
            LAYER_RATES and, for AdamW, WEIGHT_DECAY.
        learning_rate: a number or a schedule.
        momentum: of SGD; beta_1 of Adam.
        variables: those that train; layers that match none of LAYER_RATES have the factor 1.
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
        optimizer = SGD(momentum=float(momentum), **common)  # Keras refuses the whole number 0
    elif config.OPTIMIZER == "adam":
        optimizer = Adam(beta_1=momentum, **common)
    else:
        optimizer = AdamW(beta_1=momentum, weight_decay=config.WEIGHT_DECAY, **common)
        optimizer.exclude_from_weight_decay(var_names=list(NO_DECAY))
    if config.LAYER_RATES:
        optimizer.layer_rates = [layer_rate(config, variable.path.split("/")[-2]) for variable in variables]
    if keras.config.dtype_policy().compute_dtype == "float16":
        optimizer = LossScale(optimizer)
    optimizer.build(variables)  # else the first step is traced twice, the first time to create these variables
    return optimizer


def layer_rate(config: Config, layer: str) -> float:
    """Return the factor of LAYER_RATES for a layer: of the first expression that matches its whole name, else 1."""
    return next((float(rate) for regex, rate in config.LAYER_RATES.items() if re.fullmatch(regex, layer)), 1.0)


def _constant(value: float) -> Any:
    return keras.optimizers.schedules.PolynomialDecay(value, 1, end_learning_rate=value)


def _more_than_one(count: int) -> int | None:
    return count if count > 1 else None
