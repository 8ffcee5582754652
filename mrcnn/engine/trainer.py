"""Train a run: loaders, callbacks and the way through the epochs."""

import dataclasses
import functools
import logging
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from mrcnn.augment_settings import Augmentation
from mrcnn.backbones import C4, ending, resnet_name
from mrcnn.backend import hosts
from mrcnn.config import SIZE_FOLLOWS_IMAGE, Config
from mrcnn.data import dataset as dataset_module
from mrcnn.data.class_balance import image_weights
from mrcnn.data.dataset import Dataset
from mrcnn.data.images import resize_geometry
from mrcnn.data.loader import Loader, errors_of
from mrcnn.engine import checkpoints, run_folder, stages
from mrcnn.engine.callbacks import Checkpoint, StopOnSignal, StopWhenNotFinite, choose_modes
from mrcnn.engine.checkpoints import State
from mrcnn.engine.epoch_log import Recorder, Reporter
from mrcnn.engine.out_of_memory import explaining_memory
from mrcnn.engine.results_csv import Results
from mrcnn.engine.run import TrainingRun
from mrcnn.engine.stages import Stage
from mrcnn.engine.start import begin
from mrcnn.engine.validation import Validator
from mrcnn.errors import InputError
from mrcnn.modeling.backbone import later_layers
from mrcnn.modeling.network import set_trainable
from mrcnn.modeling.training_network import build_training_network
from mrcnn.modeling.weights import leaf_layers

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How training images are changed and loaded, how often the state is written, and how the run is validated.

    Attributes:
        augmentation: an imgaug augmenter, or None.
        flip: flip half of the images left to right.
        no_augmentation_sources: dataset sources whose images are not augmented.
        workers: loader threads or processes.
        worker_kind: "thread" or "process".
        save_every: write the state after every so many steps too; None: only after each epoch.
        keep: number of newest checkpoints to keep; None keeps all.
        validate: number of validation images whose mask AP is measured after each epoch; True: as many as time allows;
            False or 0: none.
        patience: end the stage after so many epochs without a better mask AP; None: never.
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


def fit(
    run: TrainingRun,
    train_dataset: Dataset,
    val_dataset: Dataset | None,
    stage: Stage,
    options: RunOptions,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.callbacks.History:
    """Train a run up to stage.epochs: write a checkpoint and the state into its folder after each epoch.

    Where `run.pending_state` is exact, the stage resumes from it as if it had never stopped. Momentum and other moments
    carry over from one call to the next, as long as the same layers train with the same kind of optimizer.

    Args:
        run: its network trains the layers of the stage from now on.
        train_dataset: prepared.
        val_dataset: prepared, or None for no validation.
        stage: the layers, the learning rate and the epoch to reach.
        options: see there.
        callbacks: more Keras callbacks; they run after the built-in ones.

    Returns:
        Keras' history of this call; empty if stage.epochs are done already.

    Raises:
        NonFiniteLoss: see there. The checkpoint of the last good epoch is on disk.
        InputError: no layer would train; `learning_rate` is not finite; an image or label cannot be read; the state
            belongs to other data or layers; another training writes into the run folder; memory or the disk is full.
        KeyboardInterrupt: Ctrl-C; the state of that step is on disk.
    """
    _refuse_options(options, val_dataset)
    choose_layers(run.network, run.config, stage.layers)
    _refuse_layer_rates(run)
    names = list(dict.fromkeys(variable.path.split("/")[-2] for variable in run.network.trainable_variables))
    log.info("%d layers train (%s): %s", len(names), stage.layers, _some(names, 400))
    if stage.epochs <= run.epoch:
        log.warning(
            "%d epochs are done already, so nothing is trained: `epochs` is the epoch to reach, and %d is not after it",
            run.epoch,
            stage.epochs,
        )
        return keras.callbacks.History()
    with run.owned():
        return _fit_owned(run, train_dataset, val_dataset, stage, options, callbacks)


def _fit_owned(
    run: TrainingRun,
    train_dataset: Dataset,
    val_dataset: Dataset | None,
    stage: Stage,
    options: RunOptions,
    callbacks: Sequence[keras.callbacks.Callback],
) -> keras.callbacks.History:
    """Train a run whose folder is locked."""
    canvas = canvas_of(run.config, [train_dataset, *([val_dataset] if val_dataset else [])])
    if canvas is not None:
        resize_network(run, canvas)
    run.class_names = list(train_dataset.class_names)
    state = _begin(run, stage, dataset_module.fingerprint(train_dataset))
    loader, validation = _loaders(run.config, train_dataset, val_dataset, options, canvas, state)
    log.info(
        "training from epoch %d%s to %d, learning rate %g, checkpoints in %s",
        state.epoch,
        f", step {state.step}," if state.step else "",
        stage.epochs,
        stage.learning_rate,
        run.folder,
    )
    run_folder.describe(run.folder, run.config, state, train_dataset, val_dataset)
    keep = options.keep if hosts.is_first_host() else 1  # the others throw theirs away
    checkpoint = Checkpoint(run, state, stage.epochs, options.save_every, keep)
    own_callbacks = _callbacks(run, state, checkpoint, loader, options, val_dataset)
    choose_modes(callbacks)
    history = _fit_epochs(run, state, stage, (loader, validation), [*own_callbacks, *callbacks], checkpoint)
    if run.network.stop_training:  # before the epoch after which the checkpoint callback does it
        checkpoints.take_averages(run.network)
    run.epoch = max(run.epoch, stage.epochs)
    return history


def _begin(run: TrainingRun, stage: Stage, data: str) -> State:
    """Begin a stage, see `mrcnn.engine.start.begin`, if the disk has room for what it writes."""
    pending = run.pending_state
    state = begin(run, stage, data)
    try:
        needed = checkpoints.bytes_of_files(run.network)
        run_folder.refuse_full_disk(run.folder, needed, "a checkpoint with its state")
    except InputError:
        run.pending_state = pending  # for another try
        raise
    return state


def choose_layers(network: keras.Model, config: Config, layers: str) -> None:
    """Make the layers of a stage trainable.

    Args:
        network: it is changed.
        config: TRAIN_BN is read.
        layers: "heads", "3+", "4+", "5+", "all", or a regular expression over layer names.

    Raises:
        InputError: no layer would train, `layers` is no regular expression, or the backbone has no stages.
    """
    regex = stages.LAYER_REGEX.get(layers, layers)
    if layers == "heads" and ending(config.BACKBONE) == C4:
        regex += r"|(res5.*)|(bn5.*)"  # the heads have stage 5
    if layers in ("3+", "4+", "5+") and resnet_name(config.BACKBONE) is None:  # its layers have names of their own
        names = later_layers(network, stage=int(layers[0]))
        regex = "|".join([stages.LAYER_REGEX["heads"], *map(re.escape, names)])
    set_trainable(network, regex, config.TRAIN_BN is not False)
    if not network.trainable_variables:
        raise InputError(
            f"layers {layers!r}: no layer that can train has such a name; use heads, 3+, 4+, 5+, all or a regular "
            f"expression over {_some(list(leaf_layers(network)))}"
        )


def _refuse_options(options: RunOptions, val_dataset: Dataset | None) -> None:
    if options.validate and val_dataset is None:
        raise InputError("validation by mask AP was asked for (validate) without validation images (val_dataset)")
    if options.patience is not None and not options.validate:
        raise InputError(f"patience is {options.patience}, but mask AP is not measured: give validate=True too")
    if options.patience is not None and options.validate is True and hosts.host()[1] > 1:
        raise InputError("with patience all hosts must measure the same images: give their number, validate=N")


def _refuse_layer_rates(run: TrainingRun) -> None:
    names = list(leaf_layers(run.network))
    for expression in run.config.LAYER_RATES:
        if not any(re.fullmatch(expression, name) for name in names):
            raise InputError(f"LAYER_RATES: no layer has a name like {expression!r}; the layers are {_some(names)}")


def _some(names: Sequence[str], width: int = 300) -> str:
    return textwrap.shorten(", ".join(names), width)


def _fit_epochs(
    run: TrainingRun,
    state: State,
    stage: Stage,
    loaders: tuple[Loader, Loader | None],
    callbacks: Sequence[keras.callbacks.Callback],
    checkpoint: Checkpoint,
) -> keras.callbacks.History:
    """Call Keras' `fit` until stage.epochs are done, or a callback stops it."""
    network, (loader, validation) = run.network, loaders
    history = keras.callbacks.History()
    signals, shown = StopOnSignal(checkpoint.write_state), shows_progress()
    # Keras takes the length of all epochs of a fit from the first, so the rest of an epoch is a fit of its own
    ends = [state.epoch + 1, stage.epochs] if state.step else [stage.epochs]
    network.stop_training = False
    try:
        # TensorFlow's pipeline would hide which image cannot be read
        with explaining_memory(run.config, network.image_shape), errors_of(loader, validation):
            for first, end in zip([state.epoch, *ends], ends, strict=False):
                if first == end or network.stop_training:
                    continue
                part = network.fit(
                    loader,
                    initial_epoch=first,
                    epochs=end,
                    validation_data=validation,
                    shuffle=False,  # the loader shuffles, from config.SEED
                    # the bar comes first: it ends its line before others report the epoch
                    callbacks=[*([keras.callbacks.ProgbarLogger()] if shown else []), *callbacks, signals],
                    verbose=1 if shown else 0,
                )
                _append(history, part)
    finally:
        signals.release()
    return history


def _callbacks(
    run: TrainingRun,
    state: State,
    checkpoint: Checkpoint,
    loader: Loader,
    options: RunOptions,
    val_dataset: Dataset | None,
) -> list[keras.callbacks.Callback]:
    """Return the built-in callbacks in execution order: write the CSV row, save the checkpoint, then validate it."""
    train_dataset = loader.maker.dataset
    first = (state.epoch, state.step)
    guard = StopWhenNotFinite(train_dataset, loader.maker, run.folder, first, options.save_every)
    results = Results(run.folder, state.epoch)
    recorder = Recorder(results, state, loader, train_dataset.class_names)
    validator = None
    if options.validate:
        assert val_dataset is not None
        count = None if options.validate is True else int(options.validate)
        validator = Validator(run, val_dataset, results, recorder, count, options.patience, state.first_epoch)
    reporter = Reporter(run, recorder, train_dataset, validator)
    return [guard, recorder, checkpoint, *([validator] if validator else []), reporter]


def canvas_of(config: Config, datasets: Sequence[Dataset]) -> tuple[int, int] | None:
    """Return the one size (height, width) in pixels at which all images of the datasets are trained.

    Only the modes "pad64", "pad32" and "none" let the size follow the image. A compiled step has one size, so it is
    that of the largest image, moulded and rounded up to multiples of 64; smaller images get more padding. Other modes:
    None.

    Raises:
        InputError: the size of an image cannot be read.
    """
    if config.IMAGE_RESIZE_MODE not in SIZE_FOLLOWS_IMAGE:
        return None
    sizes = set()
    for dataset in datasets:
        sizes |= {dataset.image_size(image_id) for image_id in dataset.image_ids}
    moulded = [
        resize_geometry(
            size,
            config.IMAGE_MIN_DIM,
            config.IMAGE_MAX_DIM,
            config.IMAGE_MIN_SCALE,
            config.IMAGE_RESIZE_MODE,
            round_down=config.IMAGE_INTERPOLATION == "torchvision",
        ).shape
        for size in sizes
    ]
    height, width = (-(-side // 64) * 64 for side in np.max(moulded, axis=0).tolist())
    log.info("images of %d sizes are trained at %d x %d (height x width)", len(sizes), height, width)
    return height, width


def resize_network(run: TrainingRun, canvas: tuple[int, int]) -> None:
    """Replace the network of a run by one for images of size `canvas` (height, width) px, with the same weights."""
    image_shape = (*canvas, int(run.config.IMAGE_CHANNEL_COUNT))
    old = run.network
    if old.image_shape == image_shape:
        return
    network = build_training_network(run.config, image_shape)
    network.set_weights(old.get_weights())
    for old_layer, layer in zip(_plain_layers(old), _plain_layers(network), strict=True):
        layer.trainable = old_layer.trainable
    run.network, run.trained_with = network, None


def _plain_layers(network: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield the layers of a network and of the networks nested in it."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from _plain_layers(layer)
        else:
            yield layer


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


def shows_progress() -> bool:
    """Return whether standard output, where Keras draws its progress bar, is a terminal or a cell of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return sys.stdout.isatty() or hasattr(shell, "kernel")


def _append(history: keras.callbacks.History, part: keras.callbacks.History) -> None:
    history.epoch = [*getattr(history, "epoch", []), *part.epoch]
    for name, values in part.history.items():
        history.history.setdefault(name, []).extend(values)
