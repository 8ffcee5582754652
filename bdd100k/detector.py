"""Load the model for scripts/detect.py: from weights of any origin to a network and the names of its classes."""

import contextlib
import logging
import os
from typing import TYPE_CHECKING

from bdd100k import cli
from mrcnn.config import Config
from mrcnn.errors import InputError
from mrcnn.modeling.coco_classes import COCO_CLASSES

if TYPE_CHECKING:
    from mrcnn.model import MaskRCNN


logger = logging.getLogger(__name__)

Categories = list[tuple[int, str]]


class PublishedConfig(Config):
    """Matterport's settings, for a file that does not state its own: ResNet-101, 1024 x 1024."""

    NAME = "published"
    IMAGES_PER_GPU = 1
    NUM_CLASSES = len(COCO_CLASSES)


def load_model(
    weights: str, logs: str, config_name: str | None, overrides: list[str], min_score: float
) -> "tuple[MaskRCNN, Categories]":
    """Return a model with its weights, and the (id, name) of its classes, the background first.

    Args:
        weights: last, streets, coco or the path of an .h5 file. Files of this project state their settings and classes;
            of other files the number of classes is read (81 are COCO's), and the settings are Matterport's.
        logs: folder of the runs, for `last`.
        config_name: settings to use instead, a key of `cli.CONFIGS`; None: those of the weights.
        overrides: "KEY=VALUE" texts.
        min_score: minimum score of a detection, 0 to 1.

    Raises:
        InputError: the weights cannot be found or do not fit, or a setting is wrong.
    """
    from mrcnn.engine.checkpoints import read_config
    from mrcnn.model import MaskRCNN

    if not 0 <= min_score <= 1:
        raise InputError(f"--min-score {min_score}: give a number from 0 to 1")
    checkpoint = _find(weights, logs, config_name)
    names = cli.trained_classes(checkpoint)
    count = len(names) if names else _count_classes(checkpoint)
    if config_name or read_config(checkpoint):
        config = cli.build_config(config_name, None, checkpoint, overrides)
    else:
        logger.info(
            "%s does not state its settings: using Matterport's, with ResNet-101; --set changes them", checkpoint
        )
        config = PublishedConfig().override(overrides)
    config.NUM_CLASSES = count
    config.DETECTION_MIN_CONFIDENCE = min_score
    config.override([])  # recomputes what depends on these
    model = MaskRCNN("inference", config, logs)
    model.load_weights(checkpoint, by_name=True)
    if names is None:
        coco = count == len(COCO_CLASSES)
        return model, list(COCO_CLASSES) if coco else [(i, f"class {i}" if i else "BG") for i in range(count)]
    return model, list(enumerate(names))


def _find(weights: str, logs: str, config_name: str | None) -> str:
    """Return the path of the weights; "last" without settings looks among the runs of all settings."""
    if weights == "last" and config_name is None:
        found = []
        for kind in cli.CONFIGS.values():
            with contextlib.suppress(InputError):  # not every kind need have a run
                found.append(cli.find_weights(weights, logs, kind.NAME))
        if not found:
            raise InputError(
                f"--weights last: there is no run with a checkpoint in {logs}; give --logs, or the path of an .h5 file"
            )
        return max(map(str, found), key=os.path.getmtime)
    checkpoint = cli.find_weights(weights, logs, cli.CONFIGS[config_name].NAME if config_name else None)
    if checkpoint is None:
        raise InputError(f"--weights {weights} finds nothing; give last, streets, coco or the path of an .h5 file")
    return checkpoint


def _count_classes(checkpoint: str) -> int:
    """Return the number of outputs of the classifier in a by-name file."""
    from mrcnn.modeling.weights import layer_shapes

    shapes = layer_shapes(checkpoint).get("mrcnn_class_logits")
    if not shapes:
        raise InputError(f"{checkpoint} has no layer mrcnn_class_logits: these are no weights of a Mask R-CNN")
    return int(shapes[-1][-1])
