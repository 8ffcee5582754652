"""Names of the backbones, and the sizes of the ResNets: data that settings and the network share, without Keras."""

import dataclasses
from typing import Any

from mrcnn.setting_rules import Choice


@dataclasses.dataclass(frozen=True)
class ResNet:
    """Sizes of a ResNet, ResNeXt or wide ResNet, under torchvision's names.

    Attributes:
        blocks: number of blocks in the stages C2..C5.
        bottleneck: whether a block is 1x1, 3x3, 1x1 convolutions; False: two 3x3.
        groups: groups of a bottleneck's 3x3 convolution.
        width_per_group: channels of each group in C2, if the stem has 64 channels.
    """

    blocks: tuple[int, int, int, int]
    bottleneck: bool = True
    groups: int = 1
    width_per_group: int = 64


# He et al., arXiv:1512.03385, table 1; Xie et al., ResNeXt, arXiv:1611.05431; Zagoruyko et al., wide ResNet,
# arXiv:1605.07146
RESNETS = {
    "resnet18": ResNet((2, 2, 2, 2), bottleneck=False),
    "resnet34": ResNet((3, 4, 6, 3), bottleneck=False),
    "resnet50": ResNet((3, 4, 6, 3)),
    "resnet101": ResNet((3, 4, 23, 3)),
    "resnet152": ResNet((3, 8, 36, 3)),
    "resnext50_32x4d": ResNet((3, 4, 6, 3), groups=32, width_per_group=4),
    "resnext101_32x4d": ResNet((3, 4, 23, 3), groups=32, width_per_group=4),
    "resnext101_32x8d": ResNet((3, 4, 23, 3), groups=32, width_per_group=8),
    "resnext101_64x4d": ResNet((3, 4, 23, 3), groups=64, width_per_group=4),
    "wide_resnet50_2": ResNet((3, 4, 6, 3), width_per_group=128),
    "wide_resnet101_2": ResNet((3, 4, 23, 3), width_per_group=128),
}

# Other names of models of keras.applications
ALIASES = {"convnext_tiny": "ConvNeXtTiny"}

# The models of keras.applications with maps of strides 4, 8, 16 and 32. The others (Inception, NASNet, Xception) have
# none: their first convolutions are not padded.
APPLICATIONS = (
    *(f"ConvNeXt{size}" for size in ("Tiny", "Small", "Base", "Large", "XLarge")),
    *(f"DenseNet{depth}" for depth in (121, 169, 201)),
    *(f"EfficientNetB{number}" for number in range(8)),
    *(f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "S", "M", "L")),
    *("MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small"),
    *(f"ResNet{depth}{version}" for depth in (50, 101, 152) for version in ("", "V2")),
    *("VGG16", "VGG19"),
)


FPN_STRIDES = [4, 8, 16, 32, 64]  # of P2..P6, px
# Endings of a ResNet's name for a network without a feature pyramid: the RPN and the heads run on the one map C4, with
# stage 5 in the heads (Faster R-CNN), or on a dilated C5. Both have stride 16.
C4, DC5 = "-c4", "-dc5"
SINGLE_MAP_STRIDE = 16


def ending(backbone: Any) -> str:
    """Return C4, DC5, or "" for a backbone with a feature pyramid; of a setting BACKBONE."""
    return next((end for end in (C4, DC5) if isinstance(backbone, str) and backbone.endswith(end)), "")


def resnet_name(backbone: Any) -> str | None:
    """Return the key of RESNETS that a setting BACKBONE means, or None for other backbones."""
    name = backbone.removesuffix(ending(backbone)) if isinstance(backbone, str) else None
    return name if name in RESNETS else None


class BackboneName(Choice):
    """The name of a backbone. In words, one model stands for all of keras.applications."""

    def __init__(self) -> None:
        without_pyramid = (name + end for name in RESNETS for end in (C4, DC5))
        super().__init__((*RESNETS, *ALIASES, *APPLICATIONS, *without_pyramid))

    def __str__(self) -> str:
        return (
            f"{', '.join((*RESNETS, *ALIASES))}, a ResNet with the ending {C4} or {DC5} (one map of stride 16 instead "
            "of a feature pyramid), a model of keras.applications with strides 4, 8, 16 and 32 such as EfficientNetV2S"
        )


def block_name(number: int) -> str:
    """Return the letters of a ResNet's block within its stage, from 0: a, b, ..., z, aa, ab, ..."""
    before, letter = divmod(number, 26)
    return (block_name(before - 1) if before else "") + chr(ord("a") + letter)
