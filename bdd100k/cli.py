"""What the scripts share: errors to exit codes, data and settings from the command line."""

import argparse
import functools
import logging
import pathlib
import sys
import typing
from collections.abc import Callable, Sequence

import numpy as np

from bdd100k.config import CLASS_NAMES, BDD100KConfig, CustomConfig, StreetsConfig
from mrcnn.config import PRECISIONS, Config
from mrcnn.errors import InputError

if typing.TYPE_CHECKING:
    from bdd100k.dataset import BDD100KDataset
    from bdd100k.splits import HeldOut
    from mrcnn.annotations import AnnotatedDataset

CONFIGS = {"bdd100k": BDD100KConfig, "streets": StreetsConfig, "custom": CustomConfig}
STREETS_DIR = pathlib.Path("runs/streets")  # the embedded street scenes are drawn here once
STREETS = {"train": 240, "val": 40, "seed": 7}

log = logging.getLogger("bdd100k")


def run(main: Callable[[], int | None]) -> int:
    """Run a script: what main returns (None is 0), 2 with one message for a user's mistake, 130 for Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("jax").setLevel(logging.WARNING)  # which devices it looked for and did not find
    try:
        return main() or 0
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped; --resume goes on with a training from its last state\n")
        return 130


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """--data, --weights, --logs, --config, --set: the same in train and evaluate."""
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="BDD100K folder, or images with VIA, labelme, COCO, YOLO or "
        "mask annotations (docs/data.md); without it the embedded street scenes are used",
    )
    parser.add_argument("--logs", metavar="DIR", default="logs", help="folder of the runs (default: %(default)s)")
    parser.add_argument(
        "--config",
        choices=sorted(CONFIGS),
        help="settings to start from; by default those of the "
        "checkpoint, else streets without --data, bdd100k for its classes, custom for others",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="change one setting, e.g. --set IMAGES_PER_GPU=2; may be given often",
    )
    parser.add_argument(
        "--precision",
        type=precision_setting,
        action="append",
        dest="overrides",
        metavar="{" + ",".join(PRECISIONS) + "}",
        help="arithmetic of the convolutions, --set PRECISION=; boxes, losses and files are float32 in any case",
    )
    parser.add_argument("--limit", type=positive_int, metavar="N", help="use only the first N images")
    parser.add_argument("--rectangles", action="store_true", help="fill the boxes of objects that have no mask")


def precision_setting(text: str) -> str:
    """argparse type: a precision, as --set takes it. Raises ArgumentTypeError for another word."""
    if text not in PRECISIONS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(PRECISIONS)}")
    return f"PRECISION={text}"


def positive_int(text: str) -> int:
    """argparse type: an integer of at least 1. Raises ArgumentTypeError below that, ValueError for other texts."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def whole_number(text: str) -> int:
    """argparse type: an integer of at least 0. Raises ArgumentTypeError below that, ValueError for other texts."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is below 0")
    return value


@functools.lru_cache
def is_custom(data: str | None) -> bool:
    """Whether a folder holds data with classes of its own, for `mrcnn.folders`, and not BDD100K's in any layout.

    Raises:
        InputError: there is no such folder.
    """
    from bdd100k.dataset import SPLITS, find_labels, has_official_labels
    from bdd100k.frames import is_stuff, normalise_category
    from mrcnn.folders import coco_categories, recognise

    if data is None or has_official_labels(pathlib.Path(data)):
        return False
    kind = recognise(data)
    if kind == "coco":
        names = coco_categories(data)
        return not (any(map(normalise_category, names)) and all(normalise_category(n) or is_stuff(n) for n in names))
    if kind in ("yolo", "masks"):  # label files of BDD100K say more
        return not any(find_labels(pathlib.Path(data), split) for split in SPLITS)
    return kind is not None


def open_dataset(
    data: str | None,
    split: str,
    limit: int | None = None,
    split_file: str | None = None,
    rectangles: bool = False,
) -> "BDD100KDataset | AnnotatedDataset":
    """The prepared dataset of a split: the user's folder, or the embedded street scenes if `data` is None.

    Where a list of held-out images exists (see `bdd100k.splits`), "test" means these, and other splits do without.

    Args:
        data: a folder of BDD100K or, see `is_custom`, of data with other classes.
        split: "train", "val" or "test".
        limit: at most this many images.
        split_file: the list of held-out images.
        rectangles: fill the boxes of objects that have no mask.

    Raises:
        InputError: see `bdd100k.dataset`, `mrcnn.folders`, `bdd100k.splits`; or a held-out image is not at hand.
    """
    from bdd100k.dataset import BDD100KDataset
    from bdd100k.splits import find_list
    from bdd100k.streets import write_streets

    if data is None:
        log.info("no --data: using the embedded street scenes in %s (%s)", STREETS_DIR, split)
        write_streets(STREETS_DIR, **STREETS)
        data = str(STREETS_DIR)
    held_out = find_list(data, split_file)
    if is_custom(data):
        return _open_custom(data, split, limit, held_out, rectangles)
    dataset = BDD100KDataset()
    if held_out is None:
        dataset.load_bdd100k(data, split, limit=limit, rectangles_as_masks=rectangles)
    elif split == "test":
        log.info(
            "split test: the %d images listed in %s (sha256 %s)",
            len(held_out.names),
            held_out.path,
            held_out.sha256[:12],
        )
        dataset.load_bdd100k(data, "train", limit=limit, only=held_out.stems, rectangles_as_masks=rectangles)
        _refuse_incomplete(dataset, held_out, limit)
    else:
        log.info(
            "split %s: without the %d images that %s holds out for testing", split, len(held_out.names), held_out.path
        )
        dataset.load_bdd100k(data, split, limit=limit, without=held_out.stems, rectangles_as_masks=rectangles)
    dataset.prepare()
    return dataset


def _open_custom(
    data: str, split: str, limit: int | None, held_out: "HeldOut | None", rectangles: bool
) -> "AnnotatedDataset":
    from bdd100k.splits import stem
    from mrcnn.folders import open_folder

    if held_out is None:
        return open_folder(data, split, limit, rectangles)
    dataset = open_folder(data, "train" if split == "test" else split, None, rectangles)
    dataset.image_info = [
        info for info in dataset.image_info if (stem(info["name"]) in held_out.stems) == (split == "test")
    ]
    log.info(
        "split %s: %d images, by the list %s (sha256 %s)",
        split,
        len(dataset.image_info),
        held_out.path,
        held_out.sha256[:12],
    )
    if split == "test":
        _refuse_incomplete(dataset, held_out, limit)
    del dataset.image_info[limit or len(dataset.image_info) :]
    dataset.prepare()
    return dataset


def _refuse_incomplete(dataset: "BDD100KDataset | AnnotatedDataset", held_out: "HeldOut", limit: int | None) -> None:
    from bdd100k.splits import stem

    missing = sorted(held_out.stems - {stem(info["name"]) for info in dataset.image_info})
    if missing and limit is None:
        raise InputError(
            f"{held_out.path}: {len(missing)} of its {len(held_out.names)} images are not among the labelled images of "
            f"train, such as {missing[0]}; figures on the rest cannot be compared with others"
        )


def hold_out(data: str | None, count: int | None, split_file: str | None = None, rectangles: bool = False) -> None:
    """What --hold-out asks for: draw a test split and write its list, unless the same one is there already.

    Raises:
        InputError: another list is there, or it cannot be written.
    """
    from bdd100k.splits import find_list, list_path, write_list

    if count is None:
        return
    path = list_path(data or STREETS_DIR, split_file)
    if not path.exists():
        dataset = open_dataset(data, "train", rectangles=rectangles)
        write_list(path, [info["name"] for info in dataset.image_info], count)
        return
    known = find_list(data or STREETS_DIR, split_file)
    if known is not None and len(known.names) != count:
        raise InputError(
            f"--hold-out {count}: {path} lists {len(known.names)} images already; leave the option out to use them, or "
            "delete the file to draw others"
        )


def config_class(name: str | None, data: str | None) -> type[Config]:
    """The settings that `--config` names, or the default for the data: streets for the embedded scenes.

    Raises:
        InputError: there is no folder `data`.
    """
    return CONFIGS[name or ("streets" if data is None else "custom" if is_custom(data) else "bdd100k")]


def find_weights(name: str, logs: str, config_name: str | None) -> str | None:
    """Path of the weights that --weights names: last, coco, streets, a file, or None for none (and imagenet).

    Raises:
        InputError: the file or run does not exist, or a download failed.
    """
    from mrcnn import weights

    if name in ("none", "imagenet"):
        return None
    if name == "last":
        return weights.find_last(logs, config_name)
    if name in weights.REGISTRY:
        return str(weights.fetch(name))
    if not pathlib.Path(name).is_file():
        raise InputError(
            f"--weights {name}: no such file; use none, imagenet, coco, streets, last or the path of an .h5 file"
        )
    return name


def build_config(name: str | None, data: str | None, checkpoint: str | None, overrides: list[str]) -> Config:
    """The settings of a run: those of `--config`, or of the checkpoint, or the default for the data; then --set.

    The NAME is never a checkpoint's where there is data: `--weights last` looks for that of the data.

    Raises:
        InputError: an unknown setting or a value that does not fit.
    """
    from mrcnn.checkpoints import read_config

    saved = read_config(checkpoint) if checkpoint and name is None else None
    config = config_class(name, data)()
    take_over(config, {key: value for key, value in (saved or {}).items() if not (key == "NAME" and data is not None)})
    config.override(overrides)
    config.validate()
    return config


def take_over(config: Config, saved: dict) -> None:
    """Give a config the settings that `Config.to_dict` gave."""
    for key, value in saved.items():
        if key in config.settable():
            old = getattr(config, key)
            setattr(config, key, np.array(value) if isinstance(old, np.ndarray) else value)
    config.override([])  # computes what depends on them


def follow_classes(config: Config, class_names: Sequence[str]) -> None:
    """Set NUM_CLASSES to the number of classes in the data, the background among them."""
    if len(class_names) != config.NUM_CLASSES:
        config.NUM_CLASSES = len(class_names)
        config.CLASS_LOSS_WEIGHTS = None  # they were one for each of the other classes
        config.override([])  # computes what depends on it


def trained_classes(checkpoint: str) -> list[str] | None:
    """The class names that a checkpoint was trained on, background first; None for files of other programs.

    Raises:
        InputError: the file is missing, broken or of another format.
    """
    from mrcnn.checkpoints import read_class_names, read_config

    names = read_class_names(checkpoint)
    if names is None and (read_config(checkpoint) or {}).get("NAME") in (BDD100KConfig.NAME, StreetsConfig.NAME):
        return ["BG", *CLASS_NAMES]  # a file that was written before the names were
    return names


def refuse_other_classes(checkpoint: str, class_names: Sequence[str]) -> None:
    """Raises InputError where a checkpoint was trained on other classes: its class ids would be taken for others."""
    theirs = trained_classes(checkpoint)
    if theirs is not None and theirs != list(class_names):
        raise InputError(
            f"{checkpoint} was trained on the classes {_some(theirs)}; the data has {_some(class_names)}. "
            "Give --weights that were trained on this data, or the data that they were trained on"
        )


def _some(class_names: Sequence[str], most: int = 12) -> str:
    """The names without the background, not all of very many."""
    names = class_names[1:]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
