"""Describe a stage of training: which layers, how long, at which learning rate. Imports no Keras."""

import dataclasses

# The presets of `layers=` in train(): regular expressions over Matterport's layer names.
LAYER_REGEX = {
    "heads": r"(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)",
    "3+": r"(res3.*)|(bn3.*)|(res4.*)|(bn4.*)|(res5.*)|(bn5.*)|(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)",
    "4+": r"(res4.*)|(bn4.*)|(res5.*)|(bn5.*)|(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)",
    "5+": r"(res5.*)|(bn5.*)|(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)",
    "all": ".*",
}


@dataclasses.dataclass(frozen=True)
class Stage:
    """What one call of `train` does.

    Attributes:
        layers: "heads", "3+", "4+", "5+", "all", or a regular expression over layer names.
        learning_rate: the maximum of the schedule.
        epochs: the epoch to reach, counted from the start of the run.
    """

    layers: str
    learning_rate: float
    epochs: int
