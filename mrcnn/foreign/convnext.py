"""How torchvision and timm name the tensors of a ConvNeXt, and the names of our layers, which are Keras' own.

Keras puts the model's size into its layers' names, which the names of the tensors do not tell. So the rules leave it
out, and `renamed` adds it.
"""

import dataclasses
import pathlib
import re
from collections.abc import Mapping

import numpy as np

from mrcnn.errors import InputError
from mrcnn.foreign.rules import LAYER_NORM, PLAIN, Layout, Rule

STEM, LAST_NORM = "convnext_stem_conv", "layer_normalization"


@dataclasses.dataclass(frozen=True)
class _Size:
    """Sizes of a ConvNeXt.

    Attributes:
        backbone: the setting BACKBONE.
        blocks: of the stages C2 to C5.
        width: channels of the stem.
    """

    backbone: str
    blocks: tuple[int, int, int, int]
    width: int


# Liu et al., ConvNeXt, arXiv:2201.03545, by the word in Keras' names of layers
SIZES = {
    "tiny": _Size("convnext_tiny", (3, 3, 9, 3), 96),
    "small": _Size("ConvNeXtSmall", (3, 3, 27, 3), 96),
    "base": _Size("ConvNeXtBase", (3, 3, 27, 3), 128),
    "large": _Size("ConvNeXtLarge", (3, 3, 27, 3), 192),
    "xlarge": _Size("ConvNeXtXLarge", (3, 3, 27, 3), 256),
}


def _block(stage: int, start: str, conv: str, norm: str, wide: str, narrow: str, scale: str) -> tuple[Rule, ...]:
    """Return the rules of the blocks of a stage, from how a project names their parts."""
    name, layer = rf"{start}\.(?P<number>\d+)\.", f"convnext_stage_{stage}_block_{{number}}_"
    return (
        Rule(rf"{name}{conv}\.{PLAIN}", f"{layer}depthwise_conv"),
        Rule(rf"{name}{norm}\.{LAYER_NORM}", f"{layer}layernorm"),
        Rule(rf"{name}{wide}\.{PLAIN}", f"{layer}pointwise_conv_1"),
        Rule(rf"{name}{narrow}\.{PLAIN}", f"{layer}pointwise_conv_2"),
        Rule(rf"{name}{scale}", f"{layer}layer_scale", "channels"),
    )


def _steps(names: tuple[str, ...], last_norm: str) -> tuple[Rule, ...]:
    """Return the rules of what is before the stages, (convolution, norm) and three of (norm, convolution), and of what
    is after them.
    """
    conv, norm, *downsampling = names
    pairs = zip(downsampling[::2], downsampling[1::2], strict=True)
    return (
        Rule(rf"{conv}\.{PLAIN}", STEM),
        Rule(rf"{norm}\.{LAYER_NORM}", "convnext_stem_layernorm"),
        *(
            rule
            for number, (before, step) in enumerate(pairs)
            for rule in (
                Rule(rf"{before}\.{LAYER_NORM}", f"convnext_downsampling_layernorm_{number}"),
                Rule(rf"{step}\.{PLAIN}", f"convnext_downsampling_conv_{number}"),
            )
        ),
        Rule(rf"{last_norm}\.{LAYER_NORM}", LAST_NORM),
    )


_TORCHVISION = (
    *_steps(tuple(rf"features\.{k}\.{part}" for k in (0, 2, 4, 6) for part in (0, 1)), r"classifier\.0"),
    *(
        rule
        for stage in range(4)
        for rule in _block(
            stage, rf"features\.{2 * stage + 1}", r"block\.0", r"block\.2", r"block\.3", r"block\.5", "layer_scale"
        )
    ),
)
_TIMM = (
    *_steps(
        (r"stem\.0", r"stem\.1", *(rf"stages\.{k}\.downsample\.{part}" for k in (1, 2, 3) for part in (0, 1))),
        r"(head\.norm|norm_pre)",
    ),
    *(
        rule
        for stage in range(4)
        for rule in _block(stage, rf"stages\.{stage}\.blocks", "conv_dw", "norm", r"mlp\.fc1", r"mlp\.fc2", "gamma")
    ),
)
CONVNEXT = Layout(
    name="ImageNet ConvNeXt",
    preset="",
    sign=r"(features\.\d\.\d+\.layer_scale|stages\.\d\.blocks\.\d+\.conv_dw\.weight)$",
    background_last=False,
    ignored=(rf"classifier\.2\.{PLAIN}", rf"head\.fc\.{PLAIN}"),
    rules=(*_TORCHVISION, *_TIMM),
)


def backbone_of(path: pathlib.Path, layers: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Return BACKBONE of a ConvNeXt, from the blocks of its stages and the channels of its stem.

    Args:
        path: the file, for messages.
        layers: our layer without the size -> our variable -> float32 [...]; the stem has a kernel.

    Raises:
        InputError: it is of no size that is known.
    """
    blocks = tuple(
        sum(1 for name in layers if re.fullmatch(rf"convnext_stage_{k}_block_\d+_depthwise_conv", name))
        for k in range(4)
    )
    width = layers[STEM]["kernel"].shape[-1]
    for size in SIZES.values():
        if (size.blocks, size.width) == (blocks, width):
            return size.backbone
    known = ", ".join(f"{size.backbone} ({size.blocks}, {size.width})" for size in SIZES.values())
    raise InputError(
        f"{path}: no ConvNeXt has {blocks} blocks in the stages C2 to C5 and {width} channels in its stem; known are "
        f"{known}. Nothing was loaded"
    )


def renamed(layers: Mapping[str, dict[str, np.ndarray]], backbone: str) -> dict[str, dict[str, np.ndarray]]:
    """Return layers by their names in a network of this BACKBONE: convnext_stem_conv -> convnext_tiny_stem_conv.

    Args:
        layers: our layer without the size -> our variable -> float32 [...].
        backbone: of `backbone_of`.

    Returns:
        Our layer -> our variable -> float32 [...].
    """
    word = next(word for word, size in SIZES.items() if size.backbone == backbone)
    return {re.sub("^convnext_", f"convnext_{word}_", name): values for name, values in layers.items()}
