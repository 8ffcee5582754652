"""Rules that say which of our layers holds a tensor of another project, by its name."""

import dataclasses
import re

from mrcnn.backbones import block_name

NORM_VARIABLES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
VARIABLES = {"weight": "kernel", "bias": "bias"}
NORM = r"(?P<norm>weight|bias|running_mean|running_var)"
PLAIN = r"(?P<plain>weight|bias)"
LAYER_NORM = r"(?P<norm>weight|bias)"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a tensor belongs.

    Attributes:
        layer: our layer.
        variable: its variable: "kernel", "bias", "gamma", "beta", "moving_mean" or "moving_variance".
        form: how the values are laid out, a key of `mrcnn.foreign.transforms.FORMS`.
    """

    layer: str
    variable: str
    form: str


@dataclasses.dataclass(frozen=True)
class Rule:
    """The place of the tensors whose whole name matches a pattern.

    Attributes:
        pattern: a regular expression with the groups norm or plain (which variable; neither: "gamma"), and those that
            `layer` uses: stage, block (a number), conv (1 to 3), level, number.
        layer: our layer's name; {stage}, {block}, {branch}, {level} and {number} are filled in.
        form: of `Place`.
        shift: what is added to {stage}, {level} and {number}.
    """

    pattern: str
    layer: str
    form: str = "plain"
    shift: int = 0

    def place(self, name: str) -> Place | None:
        """Return the place of a tensor, or None if the name does not match."""
        match = re.fullmatch(self.pattern, name)
        if match is None:
            return None
        groups = {key: value for key, value in match.groupdict().items() if value is not None}
        variable = VARIABLES[groups["plain"]] if "plain" in groups else NORM_VARIABLES[groups.get("norm", "weight")]
        layer = self.layer.format(
            stage=int(groups.get("stage", 0)) + self.shift,
            block=block_name(int(groups.get("block", 0))),
            branch="2" + "abc"[int(groups["conv"]) - 1] if "conv" in groups else "1",
            level=int(groups.get("level", 0)) + self.shift,
            number=int(groups.get("number", 0)) + self.shift,
        )
        return Place(layer, variable, "plain" if "norm" in groups else self.form)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The tensors of one project's models.

    Attributes:
        name: how it is called in messages.
        preset: the preset of its arithmetic; "" for a backbone alone.
        sign: a pattern that a name of every such file, and of no other's, begins with.
        rules: where the tensors belong.
        ignored: patterns of the tensors that hold no weights of the detector.
        background_last: whether its classifier has the background last, and its boxes and masks have none.
    """

    name: str
    preset: str
    sign: str
    rules: tuple[Rule, ...]
    ignored: tuple[str, ...]
    background_last: bool

    def place(self, name: str) -> Place | None:
        """Return the place of a tensor, or None if no rule matches."""
        return next((place for rule in self.rules if (place := rule.place(name))), None)

    def ignores(self, name: str) -> bool:
        """Return whether a tensor holds no weights of the detector."""
        return any(re.fullmatch(pattern, name) for pattern in self.ignored)
