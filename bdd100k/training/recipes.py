"""Defines training recipes by name: the layers, epochs, learning rates and settings of a run."""

import dataclasses
from collections.abc import Sequence

from mrcnn.config import Config
from mrcnn.engine.stages import Stage

# The zoo's learning rate is for 16 images per step and is scaled with the batch size (Goyal et al., arXiv:1706.02677).
ZOO_RATE, ZOO_BATCH = 0.02, 16


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A complete training schedule.

    Attributes:
        about: Description for --help.
        stages: (layers, factor for the learning rate, epochs) of each stage.
        settings: Settings as for --set; those of the command line override them.
        full_passes: Whether an epoch is a full pass over the data and the learning rate scales with the batch size, as
            in the zoo.
    """

    about: str
    stages: tuple[tuple[str, float, int], ...]
    settings: tuple[str, ...] = ()
    full_passes: bool = False


# BDD100K's model zoo: Detectron2's schedule on 1280 x 720 images, padded to a height of 768 for the pyramid.
_ZOO = (
    "OPTIMIZER=sgd",
    "LEARNING_MOMENTUM=0.9",
    "WEIGHT_DECAY=0.0001",
    "TRUE_WEIGHT_DECAY=True",
    "LEARNING_RATE_SCHEDULE=step",
    "WARMUP_STEPS=500",
    "IMAGE_RESIZE_MODE=rect",
    "IMAGE_MIN_DIM=768",
    "IMAGE_MAX_DIM=1280",
    "AUGMENT_FLIP=0.5",
    "DETECTION_MIN_CONFIDENCE=0.05",
    "DETECTION_NMS_THRESHOLD=0.5",
    "DETECTION_MAX_INSTANCES=100",
)

RECIPES = {
    "seed": Recipe(
        "heads, then all layers at a tenth of the learning rate; 10 epochs of STEPS_PER_EPOCH steps each",
        (("heads", 1.0, 10), ("all", 0.1, 10)),
    ),
    "zoo-1x": Recipe(
        "the BDD100K zoo's 12 epochs: SGD, 0.02 for 16 images, warm-up, a tenth after 8 and 11; stem, res2 frozen",
        (("3+", 1.0, 12),),
        (*_ZOO, "LEARNING_RATE_DROP_EPOCHS=(8, 11)"),
        full_passes=True,
    ),
    "zoo-3x": Recipe(
        "the zoo's 36 epochs, drops after 24 and 33, heights 600 to 720",
        (("3+", 1.0, 36),),
        (*_ZOO, "LEARNING_RATE_DROP_EPOCHS=(24, 33)", "AUGMENT_MIN_DIMS=(600, 624, 648, 672, 696, 720)"),
        full_passes=True,
    ),
}


def plan(
    recipe: Recipe | None,
    config: Config,
    layers: str,
    epochs: Sequence[int] | None,
    learning_rate: float | None,
    first_epoch: int,
    images: int,
) -> list[Stage]:
    """Return the stages of a run, with epochs counted from the start of the run.

    Args:
        recipe: Recipe to follow; None trains a single stage.
        config: Settings; LEARNING_RATE and BATCH_SIZE are read. A recipe with full passes sets STEPS_PER_EPOCH.
        layers: Layers of the single stage; all but "heads" train at a tenth of the learning rate.
        epochs: Epochs of each stage; None takes those of the recipe, or 10 without a recipe.
        learning_rate: Learning rate; None takes that of the recipe or the settings.
        first_epoch: Number of epochs done before.
        images: Number of training images.

    Raises:
        InputError: A stage is impossible, see `mrcnn.engine.stages.Stage`.
    """
    stages = recipe.stages if recipe else ((layers, 1.0 if layers == "heads" or learning_rate else 0.1, 10),)
    rate = learning_rate or config.LEARNING_RATE
    if recipe is not None and recipe.full_passes:
        config.STEPS_PER_EPOCH = -(-images // config.BATCH_SIZE)
        rate = learning_rate or ZOO_RATE * config.BATCH_SIZE / ZOO_BATCH
    planned, reached = [], first_epoch
    for number, (stage_layers, factor, count) in enumerate(stages):
        reached += epochs[min(number, len(epochs) - 1)] if epochs else count
        planned.append(Stage(stage_layers, rate * factor, reached))
    return planned
