"""How a stage of training begins: exactly where a stopped run stood, with the moments of a like optimizer, or fresh."""

import dataclasses
import enum
import json
import pathlib
import typing
from collections.abc import Sequence

import keras

from mrcnn.backend import devices, runtime
from mrcnn.backend.precision import precision_of
from mrcnn.config import Config
from mrcnn.engine import checkpoints
from mrcnn.engine.checkpoints import State, moments
from mrcnn.engine.optimizers import build_optimizer, learning_rate_schedule
from mrcnn.engine.run import TrainingRun
from mrcnn.engine.stages import Stage
from mrcnn.errors import InputError

# Optimizers that agree in these, and in the weights that they train, can hand their moments on.
OPTIMIZER_SETTINGS = (
    "OPTIMIZER",
    "GRADIENT_ACCUMULATION_STEPS",
    "EMA_MOMENTUM",
    "LAYER_RATES",
    "GRADIENT_CLIP_NORM",
    "PRECISION",
)
SCHEDULE_SETTINGS = (
    "LEARNING_RATE_SCHEDULE",
    "LEARNING_RATE_DROP_EPOCHS",
    "LEARNING_RATE_DROP_FACTOR",
    "WARMUP_STEPS",
    "STEPS_PER_EPOCH",
)


class Start(enum.Enum):
    """The three ways in which a stage begins."""

    CONTINUE = "exactly where the pending state stands: weights, optimizer, schedule and place in the data"
    REUSE_MOMENTS = "a new schedule, with the moments of the pending state or of the stage before"
    FRESH = "a new schedule and new moments"


def begin(run: TrainingRun, stage: Stage, data: str) -> State:
    """Compile the network for a stage and restore what the stage begins with.

    Args:
        run: its pending state is used up; its network is compiled.
        stage: what is to be trained.
        data: `fingerprint` of the training data.

    Returns:
        The state at which the stage begins, with the path that the states of this run are written to.

    Raises:
        InputError: the pending state stands inside another stage, or was trained on other data or classes.
    """
    pending, run.pending_state = run.pending_state, None
    planned = _planned_state(run, stage, data)
    start = choose_start(planned, pending, run.trained_with)
    if start is Start.CONTINUE:
        assert pending is not None
        refuse_other_place(pending)
        state = dataclasses.replace(planned, epoch=pending.epoch, step=pending.step, first_epoch=pending.first_epoch)
    else:
        state = planned
    rate = learning_rate_schedule(run.config, stage.learning_rate, state.first_epoch, stage.epochs)
    if start is Start.REUSE_MOMENTS:
        _compile_with_moments(run, rate, state, pending)
    else:
        compile_model(run.network, run.config, rate, run.config.LEARNING_MOMENTUM)
    if pending is not None and pending.exact:  # if not continued, it ended the stage before this one
        checkpoints.restore(run.network, pending, checkpoints.GROUPS if start is Start.CONTINUE else ("network",))
    run.trained_with = state
    return state


def choose_start(planned: State, pending: State | None, before: State | None) -> Start:
    """Decide how a stage begins.

    Args:
        planned: the stage, as if it began fresh.
        pending: the state to start from, or None.
        before: what the last stage of this process began with, or None.

    Raises:
        InputError: `pending` stands inside another stage, or was trained on other data or classes.
    """
    if pending is not None and pending.exact:
        _refuse_other_data(pending, planned)
        if pending.has_optimizer_of(planned) and pending.stage == planned.stage:
            return Start.CONTINUE
    if pending is not None and pending.step:
        raise InputError(
            f"{pending.path}: the run stopped after step {pending.step} of epoch {pending.epoch + 1}, in the stage "
            f"{pending.stage['layers']!r} up to epoch {pending.stage['epochs']}; resume with the same settings, or "
            "start from its newest checkpoint with --weights last"
        )
    if any(source is not None and source.has_optimizer_of(planned) for source in (pending, before)):
        return Start.REUSE_MOMENTS
    return Start.FRESH


def compile_model(network: keras.Model, config: Config, learning_rate: typing.Any, momentum: float) -> None:
    """Compile with config.OPTIMIZER for the layers that train now.

    Args:
        network: the training network.
        config: see `build_optimizer`.
        learning_rate: a number or a schedule.
        momentum: of SGD; beta_1 of Adam.

    Raises:
        InputError: see `mrcnn.backend.devices.parallel`.
    """
    with devices.parallel(config), precision_of(config):
        optimizer = build_optimizer(config, learning_rate, momentum, network.trainable_variables)
        # the loss is in compute_loss; XLA only where it is faster than the backend's own kernels
        network.compile(optimizer=optimizer, jit_compile=runtime.prefers_jit())


def _planned_state(run: TrainingRun, stage: Stage, data: str) -> State:
    """Return the state at the beginning of a stage that starts fresh."""
    settings = json.loads(json.dumps(run.config.to_dict()))  # as the stored ones read back
    return State(
        path=pathlib.Path(run.folder) / checkpoints.STATE_FILE,
        epoch=run.epoch,
        step=0,
        first_epoch=run.epoch,
        stage=dataclasses.asdict(stage) | {name: settings[name] for name in SCHEDULE_SETTINGS},
        trained=["/".join(variable.path.split("/")[-2:]) for variable in run.network.trainable_variables],
        optimizer={name: settings[name] for name in OPTIMIZER_SETTINGS},
        data=data,
        class_names=list(run.class_names),
    )


def _compile_with_moments(run: TrainingRun, rate: typing.Any, state: State, pending: State | None) -> None:
    """Compile the network with the moments of the pending state, else of the optimizer that it has.

    A compiled network that only needs another constant rate stays compiled.
    """
    network = run.network
    if pending is None and isinstance(rate, float):
        network.optimizer.learning_rate = rate
        return
    from_disk = pending is not None and pending.has_optimizer_of(state)
    before = [] if from_disk else [keras.ops.convert_to_numpy(v) for v in moments(network.optimizer)]
    compile_model(network, run.config, rate, run.config.LEARNING_MOMENTUM)
    for variable, value in zip(moments(network.optimizer), before, strict=False):
        variable.assign(value)
    if pending is not None and from_disk:
        checkpoints.restore(network, pending, ("moments",))


def _refuse_other_data(state: State, planned: State) -> None:
    """Refuse to resume exactly from a state that belongs to other classes or other training data."""
    if planned.class_names != state.class_names:
        raise InputError(
            f"{state.path}: the run was trained on the classes {_names(state.class_names)}; the data has "
            f"{_names(planned.class_names)}. Start a new run from its checkpoint with --weights PATH"
        )
    if planned.data != state.data:
        raise InputError(
            f"{state.path}: the images or labels have changed since the state was written, so the run cannot resume "
            "exactly; restore the data, or start from its newest checkpoint with --weights last"
        )


def refuse_other_place(state: State) -> None:
    """Raise InputError if a state, which is to be resumed exactly, stands outside of its stage."""
    steps, last = state.stage["STEPS_PER_EPOCH"], state.stage["epochs"]
    if not state.first_epoch <= state.epoch < last or state.step >= steps:
        raise InputError(
            f"{state.path} is damaged: after epoch {state.epoch} and step {state.step} it is not within a stage from "
            f"epoch {state.first_epoch} to {last} of {steps} steps; start from the newest checkpoint: --weights last"
        )


def _names(class_names: Sequence[str]) -> str:
    return ", ".join(class_names[1:])
