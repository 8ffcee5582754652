"""Training: which layers train, the loaders, the optimizer, and the way through the epochs."""

import dataclasses
import functools
import json
import logging
import os
import pathlib
import sys
import typing
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from mrcnn.augment_settings import Augmentation
from mrcnn.backend import devices, hosts, runtime
from mrcnn.backend.precision import precision_of
from mrcnn.config import Config
from mrcnn.data import dataset as dataset_module
from mrcnn.data.class_balance import image_weights
from mrcnn.data.dataset import Dataset
from mrcnn.data.images import resize_geometry
from mrcnn.data.loader import Loader, errors_of
from mrcnn.engine import checkpoints, run_folder
from mrcnn.engine.callbacks import Checkpoint, StopOnSignal, StopWhenNotFinite
from mrcnn.engine.checkpoints import State, moments
from mrcnn.engine.epoch_log import Recorder, Reporter
from mrcnn.engine.optimizers import build_optimizer, learning_rate_schedule
from mrcnn.engine.out_of_memory import explaining_memory
from mrcnn.engine.results_csv import Results
from mrcnn.engine.stages import Stage
from mrcnn.engine.validation import Validator
from mrcnn.errors import InputError
from mrcnn.modeling.training_network import build_training_network

if typing.TYPE_CHECKING:
    from mrcnn.model import MaskRCNN


log = logging.getLogger(__name__)

# What makes an optimizer the same one as before: with these equal its moments are carried over.
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


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How training images are changed and loaded, and how often the state of the run is written.

    Attributes:
        augmentation: an imgaug augmenter, or None.
        flip: mirror half of the images.
        no_augmentation_sources: dataset sources left as they are.
        workers: loader threads or processes.
        worker_kind: "thread" or "process".
        save_every: steps after which the state is written, besides the end of each epoch; None: only there.
        keep: how many checkpoints are kept; None keeps all.
        validate: validation images whose mask AP is measured after each epoch; True: as many as time allows; False or
            0: none.
        patience: epochs without a better mask AP after which the stage ends; None: it never ends early.
    """

    augmentation: object = None
    flip: bool = False
    no_augmentation_sources: tuple[str, ...] = ()
    workers: int = 2
    worker_kind: str = "thread"
    save_every: int | None = None
    keep: int | None = None
    validate: bool | int = False
    patience: int | None = None


def compile_model(network: keras.Model, config: Config, learning_rate: typing.Any, momentum: float) -> None:
    """Compile with config.OPTIMIZER for the layers that train now; the learning rate is a number or a schedule.

    Raises:
        InputError: see `mrcnn.backend.devices.parallel`.
    """
    with devices.parallel(config), precision_of(config):
        optimizer = build_optimizer(config, learning_rate, momentum, network.trainable_variables)
        # the loss is in compute_loss; XLA only where it is faster than the backend's own kernels
        network.compile(optimizer=optimizer, jit_compile=runtime.prefers_jit())


def canvas_of(config: Config, datasets: Sequence[Dataset]) -> tuple[int, int] | None:
    """The one size (height, width) at which all images of the datasets are trained.

    Only the modes "pad64" and "none" let the size follow the image. A compiled step has one size, so it is that of the
    largest image, moulded and rounded up to multiples of 64; smaller images get more padding. Other modes: None.

    Raises:
        InputError: the size of an image cannot be read.
    """
    if config.IMAGE_RESIZE_MODE not in ("pad64", "none"):
        return None
    sizes = set()
    for dataset in datasets:
        sizes |= {dataset.image_size(image_id) for image_id in dataset.image_ids}
    moulded = [
        resize_geometry(size, config.IMAGE_MIN_DIM, None, config.IMAGE_MIN_SCALE, config.IMAGE_RESIZE_MODE).shape
        for size in sizes
    ]
    height, width = (-(-side // 64) * 64 for side in np.max(moulded, axis=0).tolist())
    log.info("images of %d sizes are trained at %d x %d (height x width)", len(sizes), height, width)
    return height, width


def resize_network(model: "MaskRCNN", canvas: tuple[int, int]) -> None:
    """Build the training network of `model` again for images of size `canvas` (height, width), with its weights."""
    image_shape = (*canvas, int(model.config.IMAGE_CHANNEL_COUNT))
    if model.keras_model.image_shape == image_shape:
        return
    network = build_training_network(model.config, image_shape)
    network.set_weights(model.keras_model.get_weights())
    for old, new in zip(_plain_layers(model.keras_model), _plain_layers(network), strict=True):
        new.trainable = old.trainable
    model.keras_model, model.trained_with = network, None


def _plain_layers(network: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from _plain_layers(layer)
        else:
            yield layer


def fit(
    model: "MaskRCNN",
    train_dataset: Dataset,
    val_dataset: Dataset | None,
    stage: Stage,
    options: RunOptions,
    callbacks: list[keras.callbacks.Callback],
) -> keras.callbacks.History:
    """Train `model` up to stage.epochs: a checkpoint and the state after each epoch, in model.log_dir.

    Where `model.pending_state` is set, the stage goes on from that state as if it had never stopped. Momentum and other
    moments also live on from one call to the next, as long as the same layers train with the same kind of optimizer.

    Raises:
        NonFiniteLoss: see there. Weights of the last good epoch are on disk.
        InputError: an image or label cannot be read; the state is of other data or layers; or memory is full.
        KeyboardInterrupt: Ctrl-C; the state of that step is on disk.
    """
    config, network = model.config, model.keras_model
    if options.validate and val_dataset is None:
        raise InputError("validation by mask AP was asked for (validate) without validation images (val_dataset)")
    if options.patience is not None and not options.validate:
        raise InputError(f"patience is {options.patience}, but mask AP is not measured: give validate=True too")
    if options.patience is not None and options.validate is True and hosts.host()[1] > 1:
        raise InputError("with patience all hosts must measure the same images: give their number, validate=N")
    if stage.epochs <= model.epoch:
        log.warning(
            "%d epochs are done already: nothing is trained. `epochs` is the one to reach, and %d is not after it",
            model.epoch,
            stage.epochs,
        )
        return keras.callbacks.History()
    canvas = canvas_of(config, [train_dataset, *([val_dataset] if val_dataset else [])])
    if canvas is not None:
        resize_network(model, canvas)
        network = model.keras_model
    model.class_names = list(train_dataset.class_names)
    state = begin(model, stage, dataset_module.fingerprint(train_dataset))
    loader, validation = _loaders(config, train_dataset, val_dataset, options, canvas, state)
    os.makedirs(model.log_dir, exist_ok=True)
    log.info(
        "from epoch %d%s to %d, learning rate %g, checkpoints in %s",
        state.epoch,
        f", step {state.step}," if state.step else "",
        stage.epochs,
        stage.learning_rate,
        model.log_dir,
    )
    run_folder.describe(model, state, train_dataset, val_dataset)
    keep = options.keep if hosts.is_first_host() else 1  # the others throw theirs away
    checkpoint = Checkpoint(model, state, stage.epochs, options.save_every, keep)
    signals = StopOnSignal(checkpoint.write_state)
    own_callbacks = _callbacks(model, state, checkpoint, loader, options, val_dataset)
    history = keras.callbacks.History()
    # Keras takes the length of all epochs of a fit from the first, so the rest of an epoch is a fit of its own
    ends = [state.epoch + 1, stage.epochs] if state.step else [stage.epochs]
    network.stop_training = False
    try:
        # TensorFlow's pipeline would hide which image cannot be read
        with explaining_memory(config, network.image_shape), errors_of(loader, validation):
            for begins, ends_with in zip([state.epoch, *ends], ends, strict=False):
                if begins == ends_with or network.stop_training:
                    continue
                part = network.fit(
                    loader,
                    initial_epoch=begins,
                    epochs=ends_with,
                    validation_data=validation,
                    shuffle=False,  # the loader shuffles, from config.SEED
                    callbacks=[*own_callbacks, *callbacks, signals],
                    verbose=1 if sys.stderr.isatty() else 0,
                )
                _append(history, part)
    finally:
        signals.release()
    if network.stop_training:  # before the epoch at which the checkpoint callback does it
        checkpoints.take_averages(network)
    model.epoch = max(model.epoch, stage.epochs)
    return history


def _callbacks(
    model: "MaskRCNN",
    state: State,
    checkpoint: Checkpoint,
    loader: Loader,
    options: RunOptions,
    val_dataset: Dataset | None,
) -> list[keras.callbacks.Callback]:
    """What a run does of itself, in this order: a row without AP is on the disk before the checkpoint, which is there
    before its validation."""
    train_dataset = loader.maker.dataset
    guard = StopWhenNotFinite(train_dataset, loader.maker, model.log_dir, (state.epoch, state.step))
    results = Results(model.log_dir, state.epoch)
    recorder = Recorder(results, state, loader, train_dataset.class_names)
    validator = None
    if options.validate:
        assert val_dataset is not None
        count = None if options.validate is True else int(options.validate)
        validator = Validator(
            model,
            val_dataset,
            results,
            count,
            options.patience,
            state.first_epoch,
            recorder.epoch_seconds,
            recorder.loss_seconds,
        )
    reporter = Reporter(model, recorder, train_dataset, validator)
    return [guard, recorder, checkpoint, *([validator] if validator else []), reporter]


def begin(model: "MaskRCNN", stage: Stage, data: str) -> State:
    """Compile the network for a stage, or leave it as it is if nothing changed; restore what is pending.

    Raises:
        InputError: the pending state stands inside another stage, or was trained on other data or classes.
    """
    config, network = model.config, model.keras_model
    pending, model.pending_state = model.pending_state, None
    settings = json.loads(json.dumps(config.to_dict()))
    optimizer = {name: settings[name] for name in OPTIMIZER_SETTINGS}
    plan = dataclasses.asdict(stage) | {name: settings[name] for name in SCHEDULE_SETTINGS}
    trained = ["/".join(variable.path.split("/")[-2:]) for variable in network.trainable_variables]
    if pending is not None and pending.binding:
        _refuse_other_data(pending, data, model.class_names)
    like_pending = pending is not None and (pending.optimizer, pending.trained) == (optimizer, trained)
    exact = pending if pending is not None and pending.binding and like_pending and pending.stage == plan else None
    if pending is not None and pending.step and exact is None:
        raise InputError(
            f"{pending.path}: the run stopped after step {pending.step} of epoch {pending.epoch + 1}, in the stage "
            f"{pending.stage['layers']!r} up to epoch {pending.stage['epochs']}; go on with the same settings, or "
            "start from its newest checkpoint with --weights last"
        )
    first_epoch = exact.first_epoch if exact else model.epoch
    rate = learning_rate_schedule(config, stage.learning_rate, first_epoch, stage.epochs)
    like_before = model.trained_with == (optimizer, trained)
    if like_before and pending is None and isinstance(rate, float):
        network.optimizer.learning_rate = rate  # the compiled step serves on
    else:
        before = [keras.ops.convert_to_numpy(v) for v in moments(network.optimizer)] if like_before else []
        compile_model(network, config, rate, config.LEARNING_MOMENTUM)
        for variable, value in zip(moments(network.optimizer), before, strict=False):
            variable.assign(value)
        if pending is not None and like_pending:
            checkpoints.restore(network, pending, checkpoints.GROUPS if exact else ("moments",))
    if pending is not None and pending.binding and exact is None:  # the stage after the one that the state ended
        checkpoints.restore(network, pending, ("network",))
    model.trained_with = (optimizer, trained)
    epoch, step = (exact.epoch, exact.step) if exact else (model.epoch, 0)
    path = pathlib.Path(model.log_dir) / checkpoints.STATE_FILE
    return State(path, epoch, step, first_epoch, plan, trained, optimizer, data, list(model.class_names))


def _refuse_other_data(state: State, data: str, class_names: Sequence[str]) -> None:
    if list(class_names) != state.class_names:
        raise InputError(
            f"{state.path}: the run was trained on the classes {', '.join(state.class_names[1:])}; the data has "
            f"{', '.join(class_names[1:])}. Start a new run from its checkpoint with --weights PATH"
        )
    if data != state.data:
        raise InputError(
            f"{state.path}: the images or labels have changed since the state was written, so the run cannot go on as "
            "if it had not stopped; bring the data back, or start from its newest checkpoint with --weights last"
        )


def _loaders(
    config: Config,
    train_dataset: Dataset,
    val_dataset: Dataset | None,
    options: RunOptions,
    canvas: tuple[int, int] | None,
    state: State,
) -> tuple[Loader, Loader | None]:
    make = functools.partial(
        Loader,
        seed=config.SEED,
        workers=options.workers,
        worker_kind=options.worker_kind,
        canvas=canvas,
        shard=hosts.host(),
    )
    loader = make(
        train_dataset,
        config,
        shuffle=True,
        augment=Augmentation.from_config(config, options.flip),
        augmentation=options.augmentation,
        no_augmentation_sources=options.no_augmentation_sources,
        steps=config.STEPS_PER_EPOCH,
        image_weights=image_weights(train_dataset, config),
        first_epoch=state.epoch,
        first_batch=state.step,
    )
    if val_dataset is None or (options.validate and not config.VALIDATION_STEPS):  # by mask AP alone
        return loader, None
    return loader, make(val_dataset, config, shuffle=False, steps=config.VALIDATION_STEPS)


def _append(history: keras.callbacks.History, part: keras.callbacks.History) -> None:
    history.epoch = [*getattr(history, "epoch", []), *part.epoch]
    for name, values in part.history.items():
        history.history.setdefault(name, []).extend(values)
