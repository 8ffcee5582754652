"""Loads the model for scripts/detect.py, with its class names, from weights of any origin."""

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any

from bdd100k import cli
from mrcnn.config import Config, preset_settings
from mrcnn.errors import InputError
from mrcnn.modeling.coco_classes import COCO_CLASSES

if TYPE_CHECKING:
    from mrcnn.model import MaskRCNN


logger = logging.getLogger(__name__)

Categories = list[tuple[int, str]]


class PublishedConfig(Config):
    """Matterport's settings (ResNet-101, 1024 x 1024), for a weight file that does not contain its own."""

    NAME = "published"
    IMAGES_PER_GPU = 1
    NUM_CLASSES = len(COCO_CLASSES)


def load_model(
    weights: str, logs: str, config_name: str | None, overrides: list[str], min_score: float, preset: str | None = None
) -> "tuple[MaskRCNN, Categories]":
    """Load a model, and return it with the (id, name) of its classes, the background first.

    Args:
        weights: last, a published name such as streets or coco-r50, or the path of a file. Files of this project
            contain their settings and classes; those of torchvision, Detectron2 and MMDetection are recognised, with
            their own settings. For other files, the number of classes is read (81 means COCO's classes) and the
            settings are Matterport's.
        logs: Folder of the runs, for `last`.
        config_name: Settings to use instead, a key of `cli.CONFIGS`; None uses those of the weights.
        overrides: "KEY=VALUE" texts.
        min_score: Minimum score of a detection, from 0 to 1.
        preset: Settings of another project to use instead, see `Config.preset`.

    Raises:
        InputError: The weights cannot be found or do not fit, or a setting is invalid.
    """
    from mrcnn.engine.checkpoints import read_config
    from mrcnn.model import MaskRCNN

    if not 0 <= min_score <= 1:
        raise InputError(f"--min-score {min_score}: give a number from 0 to 1")
    checkpoint = _find(weights, logs, config_name)
    names, saved = cli.trained_classes(checkpoint), read_config(checkpoint)
    if config_name or (saved and "NAME" in saved):
        config = cli.build_config(config_name, None, checkpoint, overrides, preset=preset)
    else:
        config = _published_config(checkpoint, saved, preset).override(overrides)
    config.NUM_CLASSES = len(names) if names else (saved or {}).get("NUM_CLASSES") or _count_classes(checkpoint)
    config.DETECTION_MIN_CONFIDENCE = min_score
    config.override([])  # recomputes the settings that depend on these
    model = MaskRCNN("inference", config, logs)
    model.load_weights(checkpoint, by_name=True)
    return model, _categories(names, config.NUM_CLASSES)


def _published_config(checkpoint: str, saved: dict[str, Any] | None, preset: str | None) -> Config:
    """Return the settings for a file of another project, `saved` those that it tells, if any."""
    config = PublishedConfig()
    if saved is None and preset is None:
        logger.info("%s contains no settings: using Matterport's with ResNet-101; change them with --set", checkpoint)
    config.take_over({**(saved or {}), **(preset_settings(preset) if preset else {})})
    return config


def _categories(names: list[str] | None, count: int) -> Categories:
    """Return the (id, name) of `count` classes; those of COCO have COCO's ids."""
    coco = [name for _, name in COCO_CLASSES]
    if (names is None and count == len(coco)) or (names is not None and names[1:] == coco[1:]):
        return list(COCO_CLASSES)
    return list(enumerate(names or ["BG", *(f"class {i}" for i in range(1, count))]))


def _find(weights: str, logs: str, config_name: str | None) -> str:
    """Return the path of the weights; "last" without --config searches the runs of all settings."""
    if weights == "last" and config_name is None:
        found = []
        for kind in cli.CONFIGS.values():
            with contextlib.suppress(InputError):  # there may be no run with these settings
                found.append(cli.find_weights(weights, logs, kind.NAME))
        if not found:
            raise InputError(
                f"--weights last: there is no run with a checkpoint in {logs}; give --logs, or the path of an .h5 file"
            )
        return max(map(str, found), key=os.path.getmtime)
    checkpoint = cli.find_weights(weights, logs, cli.CONFIGS[config_name].NAME if config_name else None)
    if checkpoint is None:
        raise InputError(
            f"--weights {weights} names no trained weights; give last, a name that `scripts/weights.py list` shows, or "
            "the path of a file"
        )
    return checkpoint


def _count_classes(checkpoint: str) -> int:
    """Return the number of classes of the classifier in a by-name weight file."""
    from mrcnn.modeling.weights import layer_shapes

    shapes = layer_shapes(checkpoint).get("mrcnn_class_logits")
    if not shapes:
        raise InputError(f"{checkpoint} has no layer mrcnn_class_logits: it does not contain weights of a Mask R-CNN")
    if [len(shape) for shape in shapes] != [2, 1] or shapes[0][1:] != shapes[1]:
        raise InputError(f"{checkpoint}: its layer mrcnn_class_logits is not that of a Mask R-CNN (shapes {shapes})")
    return int(shapes[-1][-1])
