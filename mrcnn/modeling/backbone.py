"""ResNet and the feature pyramid (FPN), with the layer names of Matterport's weight files.

Legend: N batch, H W image, C channels. A stage Ck has stride 2^k.

References: He et al., Deep Residual Learning (arXiv:1512.03385); Lin et al., FPN (arXiv:1612.03144).
"""

import math
from typing import Any

import keras
from keras import layers

from mrcnn.errors import InputError

Tensor = Any  # a tensor of the chosen backend, or a KerasTensor while a model is being built
NormMode = bool | str | None  # of Config.TRAIN_BN: False, None, True, or "group"
GROUPS = 32  # of GroupNorm, as in its paper

# blocks in the stages 2..5
BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


@keras.saving.register_keras_serializable("mrcnn")
class BatchNorm(layers.BatchNormalization):
    """BatchNormalization whose mode is given when the graph is built.

    `layer(x, training=...)`: None follows fit/predict, False always uses the moving statistics (frozen), True always
    those of the batch. Batches of a detector are small, so frozen is the rule (Config.TRAIN_BN = False).
    """

    built_mode: bool | None = None

    def __call__(self, inputs: Tensor, training: bool | None = None, **kwargs: Any) -> Tensor:
        """Keep the mode of the graph: when it runs, a functional model puts its own in place of each layer's."""
        if isinstance(inputs, keras.KerasTensor):
            self.built_mode = training
        elif self.built_mode is not None:
            training = self.built_mode
        return super().__call__(inputs, training=training, **kwargs)


def normalize(x: Tensor, name: str, train_bn: NormMode) -> Tensor:
    """Normalise [N, h, w, C]: by BatchNorm in the mode `train_bn`, or with "group" by GroupNorm (arXiv:1803.08494).

    It looks at groups of channels of one image, so it trains at any size of batch. It takes no BatchNorm's weights.
    """
    if train_bn == "group":
        return layers.GroupNormalization(groups=math.gcd(GROUPS, x.shape[-1]), name=name)(x)
    return BatchNorm(name=name)(x, training=None if train_bn is None else bool(train_bn))


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
    """Bottleneck block whose shortcut is the identity. [N, h, w, filters[2]] -> the same shape."""
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
    """Bottleneck block whose shortcut is a 1 x 1 convolution. [N, h, w, c] -> [N, h / s, w / s, filters[2]]."""
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
    """1x1, kxk, 1x1; `strides` None means an identity shortcut. The stride sits on the first 1x1, as in the paper."""
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
    """The two-convolution block of ResNet-18. [N, h, w, c] -> [N, h / stride, w / stride, filters]."""
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
        input_image: float [N, H, W, 3], mean subtracted; H and W divide by 64.
        architecture: "resnet18", "resnet50" or "resnet101".
        stage5: build C5 too (else it is None).
        train_bn: mode of the normalisation, see `normalize` and `BatchNorm`.
        width: channels of the stem; 64 in the paper.

    Returns:
        [C1, C2, C3, C4, C5], float [N, H / 2^k, W / 2^k, channels]; C1 is the pooled stem and has stride 4.

    Raises:
        InputError: an unknown architecture.
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


def fpn_graph(stages: list[Tensor], channels: int) -> list[Tensor]:
    """Feature pyramid over C2..C5: top-down sums, then 3 x 3 convolutions against the aliasing of the upsampling.

    Args:
        stages: [C1, C2, C3, C4, C5] of `resnet_graph`; C1 is not used.
        channels: of every map of the pyramid; 256 in the paper.

    Returns:
        [P2, P3, P4, P5, P6], float [N, H / 2^k, W / 2^k, channels]. P6 is a subsampled P5 and serves the RPN alone.
    """
    _, c2, c3, c4, c5 = stages

    def merge(top: Tensor, lateral: Tensor, level: int) -> Tensor:
        up = layers.UpSampling2D(size=(2, 2), name=f"fpn_p{level + 1}upsampled")(top)
        side = layers.Conv2D(channels, (1, 1), name=f"fpn_c{level}p{level}")(lateral)
        return layers.Add(name=f"fpn_p{level}add")([up, side])

    p5 = layers.Conv2D(channels, (1, 1), name="fpn_c5p5")(c5)
    p4 = merge(p5, c4, 4)
    p3 = merge(p4, c3, 3)
    p2 = merge(p3, c2, 2)
    p2, p3, p4, p5 = (
        layers.Conv2D(channels, (3, 3), padding="same", name=f"fpn_p{level}")(p)
        for level, p in ((2, p2), (3, p3), (4, p4), (5, p5))
    )
    p6 = layers.MaxPooling2D(pool_size=(1, 1), strides=2, name="fpn_p6")(p5)
    return [p2, p3, p4, p5, p6]
