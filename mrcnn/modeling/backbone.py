"""ResNet and the feature pyramid network (FPN), with the layer names of Matterport's weight files.

Legend: N batch, H W image, C channels, h w a feature map. A stage Ck and a level Pk have stride 2^k; C1 is the
exception.

References: He et al., Deep Residual Learning (arXiv:1512.03385); Lin et al., FPN (arXiv:1612.03144).
"""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from mrcnn.errors import InputError

Tensor = Any  # a tensor of the current backend, or a KerasTensor while a model is being built
NormMode = bool | str | None  # as Config.TRAIN_BN: False, None, True, or "group"
GROUPS = 32  # groups of GroupNorm, the default of its paper

# Blocks in the stages C2..C5 (ResNet paper, table 1).
BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


@keras.saving.register_keras_serializable("mrcnn")
class BatchNorm(layers.BatchNormalization):
    """BatchNormalization whose mode is fixed when the graph is built.

    `layer(x, training=...)`: None follows fit/predict, False always uses the moving statistics (frozen), True always
    uses those of the batch. Batches of a detector are small, so frozen is the default (Config.TRAIN_BN = False).
    """

    built_mode: bool | None = None

    def __call__(self, inputs: Tensor, training: bool | None = None, **kwargs: Any) -> Tensor:
        """Call the layer in the mode of the graph, because a functional model passes its own mode to every layer."""
        if isinstance(inputs, keras.KerasTensor):
            self.built_mode = training
        elif self.built_mode is not None:
            training = self.built_mode
        return super().__call__(inputs, training=training, **kwargs)


def normalize(x: Tensor, name: str, train_bn: NormMode, epsilon: float = 1e-3) -> Tensor:
    """Normalise [N, h, w, C] with BatchNorm in the mode `train_bn`, or with GroupNorm (arXiv:1803.08494) if it is
    "group".

    GroupNorm normalises groups of channels within one image, so it trains at any batch size. It cannot load the weights
    of BatchNorm.
    """
    if train_bn == "group":
        return layers.GroupNormalization(groups=math.gcd(GROUPS, x.shape[-1]), name=name)(x)
    return BatchNorm(epsilon=epsilon, name=name)(x, training=None if train_bn is None else bool(train_bn))


def _conv_bn(x: Tensor, filters: int, size: int, name: str, bn_name: str, train_bn: NormMode, **kwargs: Any) -> Tensor:
    x = layers.Conv2D(filters, size, name=name, **kwargs)(x)
    return normalize(x, bn_name, train_bn)


def identity_block(
    input_tensor: Tensor,
    kernel_size: int,
    filters: tuple[int, int, int],
    stage: int,
    block: str,
    use_bias: bool = True,
    train_bn: NormMode = True,
) -> Tensor:
    """Build a bottleneck block with an identity shortcut: [N, h, w, filters[2]] -> the same shape."""
    return _bottleneck(input_tensor, kernel_size, filters, stage, block, None, use_bias, train_bn)


def conv_block(
    input_tensor: Tensor,
    kernel_size: int,
    filters: tuple[int, int, int],
    stage: int,
    block: str,
    strides: tuple[int, int] = (2, 2),
    use_bias: bool = True,
    train_bn: NormMode = True,
) -> Tensor:
    """Build a bottleneck block with a 1 x 1 convolution as shortcut: [N, h, w, c] -> [N, h / s, w / s, filters[2]]."""
    return _bottleneck(input_tensor, kernel_size, filters, stage, block, strides, use_bias, train_bn)


def _bottleneck(
    x: Tensor,
    kernel_size: int,
    filters: tuple[int, int, int],
    stage: int,
    block: str,
    strides: tuple[int, int] | None,
    use_bias: bool,
    train_bn: NormMode,
) -> Tensor:
    """Build 1x1, kxk and 1x1 convolutions; `strides` None means an identity shortcut.

    The stride is on the first 1x1 convolution, as in the paper.
    """
    narrow_in, narrow_out, wide = filters
    conv, bn = f"res{stage}{block}_branch", f"bn{stage}{block}_branch"
    shortcut = x
    first = {"use_bias": use_bias, "strides": strides or (1, 1)}
    y = _conv_bn(x, narrow_in, 1, conv + "2a", bn + "2a", train_bn, **first)
    y = layers.Activation("relu")(y)
    y = _conv_bn(y, narrow_out, kernel_size, conv + "2b", bn + "2b", train_bn, padding="same", use_bias=use_bias)
    y = layers.Activation("relu")(y)
    y = _conv_bn(y, wide, 1, conv + "2c", bn + "2c", train_bn, use_bias=use_bias)
    if strides is not None:
        shortcut = _conv_bn(x, wide, 1, conv + "1", bn + "1", train_bn, **first)
    y = layers.Add()([y, shortcut])
    return layers.Activation("relu", name=f"res{stage}{block}_out")(y)


def basic_block(x: Tensor, filters: int, stage: int, block: str, stride: int, train_bn: NormMode) -> Tensor:
    """Build the two-convolution block of ResNet-18: [N, h, w, c] -> [N, h / stride, w / stride, filters]."""
    conv, bn = f"res{stage}{block}_branch", f"bn{stage}{block}_branch"
    shortcut = x
    y = _conv_bn(x, filters, 3, conv + "2a", bn + "2a", train_bn, padding="same", strides=stride)
    y = layers.Activation("relu")(y)
    y = _conv_bn(y, filters, 3, conv + "2b", bn + "2b", train_bn, padding="same")
    if stride != 1 or x.shape[-1] != filters:
        shortcut = _conv_bn(x, filters, 1, conv + "1", bn + "1", train_bn, strides=stride)
    y = layers.Add()([y, shortcut])
    return layers.Activation("relu", name=f"res{stage}{block}_out")(y)


def resnet_graph(
    input_image: Tensor,
    architecture: str,
    stage5: bool = False,
    train_bn: NormMode = True,
    width: int = 64,
) -> list[Tensor | None]:
    """Build a ResNet.

    Args:
        input_image: float [N, H, W, 3], mean subtracted; H and W are multiples of 64.
        architecture: "resnet18", "resnet50" or "resnet101".
        stage5: build C5 too; otherwise it is None.
        train_bn: mode of the normalisation, see `normalize` and `BatchNorm`.
        width: channels of the stem; 64 in the paper.

    Returns:
        [C1, C2, C3, C4, C5], float [N, H / 2^k, W / 2^k, channels]; C1 is the pooled stem and has stride 4.

    Raises:
        InputError: the architecture is unknown.
    """
    if architecture not in BLOCKS:
        raise InputError(f"unknown architecture {architecture!r}; use one of {', '.join(BLOCKS)}")
    x = layers.ZeroPadding2D((3, 3))(input_image)
    x = _conv_bn(x, width, 7, "conv1", "bn_conv1", train_bn, strides=2)
    x = layers.Activation("relu")(x)
    x = layers.MaxPooling2D((3, 3), strides=(2, 2), padding="same")(x)
    stages: list[Tensor | None] = [x]
    for index, blocks in enumerate(BLOCKS[architecture][: 4 if stage5 else 3]):
        stage, filters = index + 2, width * 2**index
        for number in range(blocks):
            block = chr(ord("a") + number)
            stride = 2 if number == 0 and stage > 2 else 1
            if architecture == "resnet18":
                x = basic_block(x, filters, stage, block, stride, train_bn)
            else:
                strides = (stride, stride) if number == 0 else None
                x = _bottleneck(x, 3, (filters, filters, 4 * filters), stage, block, strides, True, train_bn)
        stages.append(x)
    return stages if stage5 else [*stages, None]


def fpn_graph(stages: list[Tensor], channels: int, norm: Callable[[Tensor, str], Tensor] | None = None) -> list[Tensor]:
    """Build a feature pyramid over C2..C5: top-down sums, then 3 x 3 convolutions against the aliasing of upsampling.

    Args:
        stages: [C1, C2, C3, C4, C5] of `resnet_graph`; C1 is not used.
        channels: channels of every level of the pyramid; 256 in the paper.
        norm: normalises a tensor in a layer of the given name, after each convolution; None: no normalisation.

    Returns:
        [P2, P3, P4, P5, P6], float [N, H / 2^k, W / 2^k, channels]. P6 is a subsampled P5 and serves only the RPN.
    """
    _, c2, c3, c4, c5 = stages

    def conv(x: Tensor, size: int, name: str) -> Tensor:
        x = layers.Conv2D(channels, (size, size), padding="same", use_bias=norm is None, name=f"fpn_{name}")(x)
        return x if norm is None else norm(x, f"fpn_bn_{name}")

    def merge(top: Tensor, lateral: Tensor, level: int) -> Tensor:
        up = layers.UpSampling2D(size=(2, 2), name=f"fpn_p{level + 1}upsampled")(top)
        side = conv(lateral, 1, f"c{level}p{level}")
        return layers.Add(name=f"fpn_p{level}add")([up, side])

    p5 = conv(c5, 1, "c5p5")
    p4 = merge(p5, c4, 4)
    p3 = merge(p4, c3, 3)
    p2 = merge(p3, c2, 2)
    p2, p3, p4, p5 = (conv(p, 3, f"p{level}") for level, p in ((2, p2), (3, p3), (4, p4), (5, p5)))
    p6 = layers.MaxPooling2D(pool_size=(1, 1), strides=2, name="fpn_p6")(p5)
    return [p2, p3, p4, p5, p6]
