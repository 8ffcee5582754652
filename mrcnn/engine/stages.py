"""Describe a stage of training: which layers, how long, at which learning rate. Imports no Keras."""

import dataclasses
import math

from mrcnn.errors import InputError

# The presets of `layers=` in train(): regular expressions over Matterport's layer names. For backbones with other names
# `mrcnn.engine.trainer.choose_layers` looks up the layers of 3+, 4+ and 5+.
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

    Raises:
        InputError: one of them is of another type, or out of range.
    """

    layers: str
    learning_rate: float
    epochs: int

    def __post_init__(self) -> None:
        """Check the values: they may come from a file."""
        if not isinstance(self.layers, str):
            raise InputError(f"layers is {self.layers!r}; give heads, 3+, 4+, 5+, all or a regular expression")
        rate = self.learning_rate
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate < math.inf:
            raise InputError(f"the learning rate is {rate!r}; give a number of at least 0")
        if type(self.epochs) is not int or self.epochs < 0:
            raise InputError(f"epochs is {self.epochs!r}; give the epoch to reach, a whole number")
