"""Training recipes by name: which layers, how long, at which learning rate, with which settings."""

import dataclasses
from collections.abc import Sequence

from mrcnn.config import Config
from mrcnn.engine.stages import Stage

# The zoo's learning rate is for 16 images per step; other batch sizes scale it (Goyal et al., arXiv:1706.02677).
ZOO_RATE, ZOO_BATCH = 0.02, 16


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A complete training.

    Attributes:
        about: what it does, for --help.
        stages: (layers, factor on the learning rate, epochs), in order.
        settings: as for --set; those of the command line override them.
        full_passes: an epoch is a pass over the data and the learning rate scales with the batch, as in the zoo.
    """

    about: str
    stages: tuple[tuple[str, float, int], ...]
    settings: tuple[str, ...] = ()
    full_passes: bool = False


# BDD100K's model zoo: Detectron2's schedule on 1280 x 720 images (768 high with the padding that the pyramid needs)
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
        "heads, then all layers at a tenth of the rate; 10 epochs of STEPS_PER_EPOCH each",
        (("heads", 1.0, 10), ("all", 0.1, 10)),
    ),
    "zoo-1x": Recipe(
        "the BDD100K zoo's 12 epochs: SGD 0.02 for 16 images, warm-up, a tenth after 8 and 11; stem and res2 frozen",
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
    """Return the stages of a run, with their epochs counted from the start of the run.

    Args:
        recipe: None trains the one stage that `layers` names.
        config: LEARNING_RATE and BATCH_SIZE are read; a recipe with full passes sets STEPS_PER_EPOCH.
        layers: of the one stage without a recipe; all but "heads" train at a tenth of the rate.
        epochs: of each stage; None takes the recipe's (10 without one).
        learning_rate: None takes that of the settings or the recipe.
        first_epoch: epochs done before.
        images: number of training images.
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
