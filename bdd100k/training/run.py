"""Trains from the command line: opens the data, loads the weights to start from, runs the stages, and resumes a run."""

import argparse
import dataclasses
import functools
import logging
import os
import pathlib
import sys
import typing

from bdd100k import cli, open_data
from bdd100k.checks import before_training
from bdd100k.training import record
from bdd100k.training.recipes import RECIPES, Recipe, plan
from bdd100k.training.record import FREE_ARGUMENTS
from mrcnn import errors
from mrcnn.augment_settings import preset_settings
from mrcnn.config import Config
from mrcnn.data.class_balance import class_weights
from mrcnn.data.dataset import Dataset
from mrcnn.engine.stages import Stage
from mrcnn.errors import InputError
from mrcnn.files import refuse_unwritable

if typing.TYPE_CHECKING:
    from mrcnn.model import MaskRCNN


log = logging.getLogger("bdd100k")

INTERRUPTED = f"{errors.INTERRUPTED}; --resume continues from the last saved state"
PATHS = {"data", "weights", "split_file"}


@dataclasses.dataclass
class Job:
    """A model that is ready to train, its data, and the stages to train.

    Attributes:
        model: Model with the weights to start from, or with the state to resume from.
        train_set: Prepared training data.
        val_set: Prepared validation data, or None.
        stages: All stages of the run, including those that are done.
        arguments: Parsed command line.
        checkpoint: Weights that a new run starts from, if they are in a file.
    """

    model: "MaskRCNN"
    train_set: Dataset
    val_set: Dataset | None
    stages: list[Stage]
    arguments: argparse.Namespace
    checkpoint: str | None = None

    def execute(self) -> None:
        """Train the stages that are not done, and record the job for --resume. The run folder must be locked.

        Raises:
            InputError: See `mrcnn.engine.trainer.fit`.
        """
        record.write(self.model.log_dir, self.arguments, self.model.config, self.stages)
        args = self.arguments
        validate = self.val_set is not None if args.val_images is None else args.val_images
        for stage in self.stages:
            if self.model.epoch >= stage.epochs:
                continue
            self.model.train(
                self.train_set,
                self.val_set,
                stage.learning_rate,
                stage.epochs,
                stage.layers,
                workers=args.loaders,
                worker_kind=args.loader_kind,
                save_every=args.save_every,
                keep=args.keep,
                validate=validate,
                patience=args.patience,
            )


def train(args: argparse.Namespace, defaults: argparse.Namespace) -> int:
    """Train in this process.

    Args:
        args: Parsed command line.
        defaults: Parsed command line without any option.

    Returns:
        The exit code.

    Raises:
        InputError: A file could not be written later; see also `new_job`, `resumed_job` and `Job.execute`.
    """
    from mrcnn.engine import run_folder

    if args.save and not args.host_index:
        refuse_unwritable(args.save)
    job = resumed_job(args, defaults) if args.resume else new_job(args)
    model = job.model
    with model.training_run.owned():
        if not args.host_index:
            _refuse_newer(job)
            if args.save:  # in half precision
                size = 2 * model.keras_model.count_params()
                run_folder.refuse_full_disk(pathlib.Path(args.save).parent, size, f"--save {args.save}")
        job.execute()
        if args.host_index:
            return 0
        if args.save:
            from mrcnn.engine.checkpoints import save_checkpoint

            save_checkpoint(model.keras_model, args.save, model.config, model.class_names, model.epoch, dtype="float16")
    trained = ", ".join(stage.layers for stage in job.stages)
    sys.stdout.write(f"trained {trained}: {run_folder.newest_checkpoint(model.log_dir) or model.log_dir}\n")
    return 0


def _refuse_newer(job: Job) -> None:
    """Raise InputError if another training has written checkpoints since --weights last was looked up."""
    from mrcnn.engine.run_folder import newest_checkpoint

    if job.arguments.weights == "last" and job.checkpoint:
        newest = newest_checkpoint(os.path.dirname(job.checkpoint))
        if newest != pathlib.Path(job.checkpoint):
            raise InputError(
                f"--weights last: {job.checkpoint} is no longer the newest checkpoint of its run, because another "
                "training went on with it; run again"
            )


def train_on_hosts(args: argparse.Namespace, defaults: argparse.Namespace, addresses: list[str]) -> int:
    """Train as number `args.host_index` of several hosts; a failure ends this process.

    Args:
        args: Parsed command line.
        defaults: Parsed command line without any option.
        addresses: "host:port" of all hosts.

    Returns:
        The exit code.

    Raises:
        InputError: See `mrcnn.backend.hosts.join`.
    """
    from mrcnn.backend import hosts

    # Paths may differ, since each host has its own file system.
    same = {cli.option(key): value for key, value in vars(args).items() if key not in FREE_ARGUMENTS | PATHS}
    hosts.join(addresses, args.host_index, {"--resume": args.resume is not None, **same})
    if args.host_index:
        logging.getLogger().setLevel(logging.WARNING)  # the first host logs for all
    job = functools.partial(train, args, defaults)
    return hosts.run_together(functools.partial(errors.exit_code, job, interrupted=INTERRUPTED))


def new_job(args: argparse.Namespace) -> Job:
    """Prepare a new run according to the command line.

    Raises:
        InputError: Data, settings or weights are invalid.
    """
    from mrcnn.engine import run_folder, run_lock

    recipe = RECIPES[args.recipe] if args.recipe else None
    settings = [*(recipe.settings if recipe else ()), *_settings_of(args), *args.overrides]
    cli.refuse_settings(settings)
    _refuse_stages(args, recipe)
    checkpoint = cli.find_weights(args.weights, args.logs, cli.config_class(args.config, args.data, args.classes).NAME)
    config = cli.build_config(args.config, args.data, checkpoint, settings, args.classes, args.preset)
    folder, epoch = run_folder.folder_and_epoch(args.logs, config.NAME, checkpoint)
    if not args.host_index:
        run_lock.refuse_unusable(folder if epoch else args.logs)
    open_data.hold_out(args.data, args.hold_out, args.split_file, args.rectangles, args.classes, args.max_pixels)
    train_set, val_set = _open_data(args, config)
    if args.class_weights:
        config.CLASS_LOSS_WEIGHTS = class_weights(train_set, args.class_weights).round(4).tolist()
        named = zip(train_set.class_names, config.CLASS_LOSS_WEIGHTS, strict=True)
        log.info("class weights: %s", ", ".join(f"{name} {weight:g}" for name, weight in named))
    if args.patience is not None and (val_set is None or args.val_images == 0):
        raise InputError("--patience watches the mask AP of validation images; give --val-images above 0")
    model = _model(args, config)
    _load(model, args.weights, checkpoint, train_set.class_names)
    stages = plan(
        recipe, config, args.stage or "heads", args.epochs, args.learning_rate, model.epoch, len(train_set.image_ids)
    )
    from mrcnn.engine.trainer import choose_layers

    for stage in stages:
        choose_layers(model.keras_model, config, stage.layers)  # refuses what would train nothing
    return Job(model, train_set, val_set, stages, args, checkpoint)


def _refuse_stages(args: argparse.Namespace, recipe: Recipe | None) -> None:
    """Refuse a stage beside a recipe, and more epochs than there are stages."""
    if recipe and args.stage:
        raise InputError(f"--recipe {args.recipe} has its own stages; leave out --stage {args.stage}, or --recipe")
    stages = len(recipe.stages) if recipe else 1
    if args.epochs and len(args.epochs) > stages:
        given = " ".join(map(str, args.epochs))
        raise InputError(
            f"--epochs {given}: the run has {stages} stage{'s' if stages > 1 else ''}; give no more numbers"
        )


def resumed_job(args: argparse.Namespace, defaults: argparse.Namespace) -> Job:
    """Prepare a run from its folder, with the state at which it stopped.

    Args:
        args: Parsed command line; --resume is the folder, or "last" for the newest run in --logs with a state.
        defaults: Parsed command line without any option.

    Raises:
        InputError: There is no such run, or options are given that only apply to a new run.
    """
    from mrcnn.engine import run_lock

    given = [name for name in cli.given_options(args, defaults) if name not in FREE_ARGUMENTS]
    if given:
        raise InputError(
            f"{', '.join(map(cli.option, given))}: a resumed run keeps its own options; leave these out, or "
            "start a new run with --weights last"
        )
    folder = _last_run(args.logs) if args.resume == "last" else pathlib.Path(args.resume)
    if not args.host_index:
        run_lock.refuse_unusable(folder)
    started = record.read(folder)
    known = {key: value for key, value in started.arguments.items() if key in vars(defaults)}
    args = argparse.Namespace(**{**vars(args), **known})
    config = cli.config_class(args.config, args.data, args.classes)()
    config.take_over(started.config)
    config.validate()
    log.info("resuming %s", folder)
    train_set, val_set = _open_data(args, config)
    model = _model(args, config)
    state = model.resume(folder)
    if state.epoch >= started.stages[-1].epochs:
        raise InputError(f"--resume {folder}: all {state.epoch} epochs are done; --weights last adds more epochs")
    return Job(model, train_set, val_set, started.stages, args)


def _last_run(logs: str) -> pathlib.Path:
    """Return the folder of the run with the newest state."""
    from mrcnn.engine.checkpoints import STATE_FILE

    states = sorted(pathlib.Path(logs).glob(f"*/{STATE_FILE}"), key=lambda path: path.stat().st_mtime)
    if not states:
        raise InputError(
            f"--resume: there is no run with a {STATE_FILE} in {logs}; give the folder of the run, or --logs"
        )
    return states[-1].parent


def _settings_of(args: argparse.Namespace) -> list[str]:
    """Return the settings that --augment, --balance and --seed stand for, as for --set."""
    settings = preset_settings(args.augment) if args.augment else []
    settings += [f"BALANCE={args.balance}"] if args.balance else []
    return settings + ([f"SEED={args.seed}"] if args.seed is not None else [])


def _open_data(args: argparse.Namespace, config: Config) -> tuple[Dataset, Dataset | None]:
    """Open and check the training data, and the validation data if the run validates."""
    read = args.limit, args.split_file, args.rectangles, args.classes, args.max_pixels
    train_set = open_data.open_dataset(args.data, "train", *read)
    cli.follow_classes(config, train_set.class_names)
    before_training(train_set, "train")
    if not config.VALIDATION_STEPS and not args.val_images:
        return train_set, None
    val_set = open_data.open_dataset(args.data, "val", *read)
    if val_set.class_names != train_set.class_names:
        raise InputError(
            f"--data {args.data}: train has the classes {', '.join(train_set.class_names[1:])}, but val "
            f"has {', '.join(val_set.class_names[1:])}; both need the same list of classes"
        )
    before_training(val_set, "val")
    return train_set, val_set


def _model(args: argparse.Namespace, config: Config) -> "MaskRCNN":
    import keras

    from mrcnn.backend import runtime
    from mrcnn.model import MaskRCNN

    keras.utils.set_random_seed(int(config.SEED))  # for weights that are not loaded from a file
    if args.deterministic:
        runtime.make_deterministic()
    return MaskRCNN("training", config, args.logs)


def _load(model: "MaskRCNN", name: str, checkpoint: str | None, class_names: list[str]) -> None:
    """Load the weights to start from. If the classes differ, layers that depend on them are initialised anew; the
    classes of other projects are matched by name.
    """
    from mrcnn.foreign.tensor_files import is_tensor_file
    from mrcnn.modeling.weights import CLASS_LAYERS

    if name == "imagenet":
        model.load_weights(model.get_imagenet_weights())
    elif checkpoint and is_tensor_file(checkpoint):
        known = cli.trained_classes(checkpoint) is not None
        model.load_weights(checkpoint, exclude=None if known else list(CLASS_LAYERS), class_names=class_names)
    elif checkpoint:
        other = name == "coco" or cli.trained_classes(checkpoint) not in (None, class_names)
        if other and name != "coco":
            log.info("%s was trained on other classes; the layers that depend on them are initialised anew", checkpoint)
        report = model.load_weights(checkpoint, exclude=list(CLASS_LAYERS) if other else None)
        unused = [layer for layer in report.skipped if layer not in CLASS_LAYERS]
        if unused:
            log.warning(
                "%d layers of %s do not exist in a %s; check BACKBONE",
                len(unused),
                checkpoint,
                model.config.BACKBONE,
            )
