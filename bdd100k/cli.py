"""Shared by the scripts: common options, and settings and weights from the command line."""

import argparse
import logging
import pathlib
import reprlib
from collections.abc import Sequence

from bdd100k.config import CLASS_NAMES, BDD100KConfig, CustomConfig, StreetsConfig
from bdd100k.open_data import BDD100K, OWN, is_custom
from bdd100k.settings_help import ShowSettings
from mrcnn.config import PRECISIONS, RATE_RULE, SEED_RULE, Config, preset_settings
from mrcnn.data.image_files import MAX_PIXELS
from mrcnn.engine.stages import LAYER_REGEX
from mrcnn.errors import InputError
from mrcnn.setting_rules import is_regex, number_type, whole
from mrcnn.variants import PRESET_NAMES

CONFIGS = {"bdd100k": BDD100KConfig, "streets": StreetsConfig, "custom": CustomConfig}

log = logging.getLogger("bdd100k")


def add_common_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the options that train.py and evaluate.py share: --data, --logs, --config, --set and so on."""
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="BDD100K folder, or images with labels of COCO, YOLO, VIA, labelme, ISAT or Supervisely, or with masks "
        "(docs/data.md); by default the embedded street scenes are used",
    )
    add_classes_argument(parser)
    add_max_pixels_argument(parser)
    parser.add_argument("--logs", metavar="DIR", default="logs", help="folder of the runs (default: %(default)s)")
    parser.add_argument(
        "--config",
        choices=sorted(CONFIGS),
        help="settings to start from; by default those of the checkpoint, or without one "
        "streets (no --data), bdd100k (its classes) or custom (other classes)",
    )
    add_set_argument(parser, "change one setting, e.g. --set IMAGES_PER_GPU=2; may be repeated")
    add_preset_argument(parser)
    add_settings_help(parser)
    parser.add_argument(
        "--precision",
        type=precision_setting,
        action="append",
        dest="overrides",
        metavar="{" + ",".join(PRECISIONS) + "}",
        help="arithmetic of the convolutions, as --set PRECISION=; boxes, losses and files are always float32",
    )
    parser.add_argument("--limit", type=positive_int, metavar="N", help="use only the first N images")
    parser.add_argument("--rectangles", action="store_true", help="fill the boxes of objects that have no mask")


def add_set_argument(parser: argparse._ActionsContainer, about: str) -> None:
    """Add --set, whose texts KEY=VALUE are collected in `overrides`; `about` is its help."""
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides", help=about)


def add_preset_argument(parser: argparse._ActionsContainer) -> None:
    """Add --preset, which every script with --set has."""
    parser.add_argument(
        "--preset",
        choices=PRESET_NAMES,
        help="network, arithmetic and test settings of another project (Config.preset), before --set; by default those "
        "of the weights",
    )


def add_settings_help(parser: argparse._ActionsContainer) -> None:
    """Add --help-settings, which every script with --set has."""
    parser.add_argument("--help-settings", action=ShowSettings, configs=CONFIGS, help="show all settings and exit")


def add_classes_argument(parser: argparse._ActionsContainer) -> None:
    """Add --classes, which every script with --data has."""
    parser.add_argument(
        "--classes",
        choices=(OWN, BDD100K),
        help="read --data with its own classes, or as BDD100K, whose classes then stand for others (person for "
        "pedestrian, van for car); by default BDD100K's folders and label formats, and COCO files of all its classes, "
        "are read as BDD100K",
    )


def add_max_pixels_argument(parser: argparse._ActionsContainer) -> None:
    """Add --max-pixels, which every script that reads images has."""
    parser.add_argument(
        "--max-pixels",
        type=positive_int,
        default=MAX_PIXELS,
        metavar="N",
        help="maximum number of pixels of an image; larger ones are left out by name, because one small file can hold "
        "more than the memory does (default: %(default)s, as Pillow's)",
    )


def precision_setting(text: str) -> str:
    """Convert a precision for --set; an argparse type. Raises ArgumentTypeError for an unknown precision."""
    if text not in PRECISIONS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(PRECISIONS)}")
    return f"PRECISION={text}"


positive_int = number_type(whole(1, 10**9))
whole_number = number_type(whole(0, 10**9))
seed_number = number_type(SEED_RULE)
learning_rate = number_type(RATE_RULE)


def layers_type(text: str) -> str:
    """Check the layers of a stage; an argparse type. Raises ArgumentTypeError for what is no regular expression."""
    if text not in LAYER_REGEX and not is_regex(text):
        raise argparse.ArgumentTypeError(
            f"{reprlib.repr(text)} is none of {', '.join(LAYER_REGEX)} and no regular expression"
        )
    return text


def config_class(name: str | None, data: str | None, classes: str | None = None) -> type[Config]:
    """Return the settings that `--config` names, or the default for the data: streets for the embedded scenes.

    Raises:
        InputError: The folder `data` does not exist.
    """
    return CONFIGS[name or ("streets" if data is None else "custom" if is_custom(data, classes) else "bdd100k")]


def find_weights(name: str, logs: str, config_name: str | None) -> str | None:
    """Return the path of the weights that --weights names: last, a published name or a file; None for none and
    imagenet.

    Raises:
        InputError: The file or run does not exist, or a download failed.
    """
    from mrcnn.engine import run_folder
    from mrcnn.modeling import pretrained

    if name in ("none", "imagenet"):
        return None
    if name == "last":
        return run_folder.find_last(logs, config_name)
    if name in pretrained.REGISTRY:
        return str(pretrained.fetch(name))
    if not pathlib.Path(name).is_file():
        raise InputError(
            f"--weights {name}: no such file; use none, imagenet, streets, last, the path of a file, or a name that "
            "`scripts/weights.py list` shows, such as coco or coco-r50"
        )
    return name


def build_config(
    name: str | None,
    data: str | None,
    checkpoint: str | None,
    overrides: list[str],
    classes: str | None = None,
    preset: str | None = None,
) -> Config:
    """Return the settings of a run: those of `--config`, the checkpoint or the default for the data; then apply
    --preset and --set.

    With data, NAME is not taken from the checkpoint, since `--weights last` searches for the runs of the data.

    Raises:
        InputError: A setting is unknown or its value is invalid.
    """
    from mrcnn.engine.checkpoints import read_config

    config = config_class(name, data, classes)()
    if checkpoint and name is None:
        saved = read_config(checkpoint) or {}
        try:
            config.take_over({key: value for key, value in saved.items() if not (key == "NAME" and data is not None)})
        except InputError as error:
            raise InputError(f"{checkpoint}: its settings cannot be used: {error}") from error
    if preset:
        config.take_over(preset_settings(preset))
    config.override(overrides)
    config.validate()
    return config


def refuse_settings(overrides: Sequence[str]) -> None:
    """Raise InputError for a text of --set that no settings could take, before anything is opened."""
    Config().override(overrides)


def given_options(args: argparse.Namespace, defaults: argparse.Namespace) -> list[str]:
    """Return the names in `args` whose values are not the defaults, in the order of the command line's definition."""
    return [name for name, value in vars(args).items() if value != getattr(defaults, name)]


def option(name: str) -> str:
    """Return the command-line option of a name in the parsed arguments."""
    return "--" + {"overrides": "set"}.get(name, name).replace("_", "-")


def follow_classes(config: Config, class_names: Sequence[str]) -> None:
    """Set NUM_CLASSES to the number of classes in the data, with the background."""
    if len(class_names) != config.NUM_CLASSES:
        config.NUM_CLASSES = len(class_names)
        config.CLASS_LOSS_WEIGHTS = None  # they were for the other classes
        config.override([])  # recomputes the settings that depend on these


def trained_classes(checkpoint: str) -> list[str] | None:
    """Return the class names that a checkpoint was trained on, background first; None for files of other programs.

    Raises:
        InputError: The file is missing, damaged or of another format.
    """
    from mrcnn.engine.checkpoints import read_class_names, read_config

    names = read_class_names(checkpoint)
    if names is None and (read_config(checkpoint) or {}).get("NAME") in (BDD100KConfig.NAME, StreetsConfig.NAME):
        return ["BG", *CLASS_NAMES]  # a file from before class names were saved
    return names


def matched_classes(checkpoint: str, class_names: Sequence[str]) -> dict[int, int]:
    """Return class id of the weights -> class id of the data, for weights of another project, matched by name.

    Classes of the data that the weights lack are named in a warning.

    Raises:
        InputError: The file does not say what its classes are, or none of them is in the data.
    """
    from mrcnn.foreign import class_names as foreign_names

    theirs = trained_classes(checkpoint)
    if theirs is None:
        raise InputError(f"{checkpoint} does not say what its classes are; train on the data first, with --weights")
    sources = foreign_names.match(theirs, class_names)
    ids = {source: number for number, source in enumerate(sources) if number and source is not None}
    if not ids:
        raise InputError(
            f"{checkpoint} knows none of the classes {_some(class_names)}; it knows {_some(theirs)}. Train on the data "
            "first"
        )
    foreign_names.say_missing(checkpoint, theirs, class_names, "none will be found")
    return ids


def refuse_other_classes(checkpoint: str, class_names: Sequence[str]) -> None:
    """Raise InputError if a checkpoint was trained on other classes, since its class ids would mean other classes."""
    theirs = trained_classes(checkpoint)
    if theirs is not None and theirs != list(class_names):
        raise InputError(
            f"{checkpoint} was trained on the classes {_some(theirs)}; the data has {_some(class_names)}. "
            "Give --weights that were trained on these classes, or --data with the classes of the weights"
        )


def _some(class_names: Sequence[str], maximum: int = 12) -> str:
    """Return the names without the background, at most `maximum` of them."""
    names = class_names[1:]
    return ", ".join(names[:maximum]) + (f" and {len(names) - maximum} more" if len(names) > maximum else "")
