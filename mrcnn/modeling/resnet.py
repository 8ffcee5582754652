"""ResNet, ResNeXt and wide ResNet, with the layer names of Matterport's weight files.

Legend: N batch, H W image, C channels, h w a feature map. A stage Ck has stride 2^k; C1 is the exception.

Reference: He et al., Deep Residual Learning (arXiv:1512.03385); Xie et al., ResNeXt (arXiv:1611.05431).
"""

import dataclasses
from typing import Any

from keras import layers

from mrcnn.backbones import RESNETS, ResNet, block_name
from mrcnn.errors import InputError
from mrcnn.modeling.grouped import GroupedConv2D
from mrcnn.modeling.normalization import EPSILON, NormMode, Tensor, normalize


@dataclasses.dataclass(frozen=True)
class _Style:
    """The options of `resnet_graph` that every block needs."""

    train_bn: NormMode
    stride_in_1x1: bool = True
    use_bias: bool = True
    epsilon: float = EPSILON
    symmetric_padding: bool = False

    def conv(self, x: Tensor, filters: int, size: int, branch: str, stride: int = 1, **options: Any) -> Tensor:
        """Convolve [N, h, w, c] and normalise; `branch` is "4b_branch2a" of the layers res4b_branch2a, bn4b_branch2a.

        Returns:
            float [N, h / stride, w / stride, filters], rounded up.
        """
        name, padding = f"res{branch}", "same" if size > 1 else "valid"
        if self.symmetric_padding and stride > 1 and size > 1:
            x, padding = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x), "valid"
        kind = GroupedConv2D if options.get("groups", 1) > 1 else layers.Conv2D
        conv = kind(filters, size, strides=stride, padding=padding, use_bias=self.use_bias, name=name, **options)
        return normalize(conv(x), f"bn{branch}", self.train_bn, epsilon=self.epsilon)


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
    style = _Style(train_bn, use_bias=use_bias)
    return _bottleneck(input_tensor, filters, f"{stage}{block}", style, None, size=kernel_size)


def conv_block(
    input_tensor: Tensor,
    kernel_size: int,
    filters: tuple[int, int, int],
    stage: int,
    block: str,
    strides: int | tuple[int, int] = (2, 2),
    use_bias: bool = True,
    train_bn: NormMode = True,
) -> Tensor:
    """Build a bottleneck block with a 1 x 1 convolution as shortcut: [N, h, w, c] -> [N, h / s, w / s, filters[2]]."""
    style = _Style(train_bn, use_bias=use_bias)
    return _bottleneck(input_tensor, filters, f"{stage}{block}", style, strides, size=kernel_size)


def _bottleneck(
    x: Tensor,
    filters: tuple[int, int, int],
    block: str,
    style: _Style,
    stride: Any,
    size: int = 3,
    **options: int,
) -> Tensor:
    """Build 1x1, kxk and 1x1 convolutions; `stride` None means an identity shortcut; `options` are of the kxk."""
    narrow_in, narrow_out, wide = filters
    of_1x1, of_kxk = (stride or 1, 1) if style.stride_in_1x1 else (1, stride or 1)
    y = style.conv(x, narrow_in, 1, f"{block}_branch2a", of_1x1)
    y = layers.Activation("relu")(y)
    y = style.conv(y, narrow_out, size, f"{block}_branch2b", of_kxk, **options)
    y = layers.Activation("relu")(y)
    y = style.conv(y, wide, 1, f"{block}_branch2c")
    shortcut = x if stride is None else style.conv(x, wide, 1, f"{block}_branch1", stride)
    y = layers.Add()([y, shortcut])
    return layers.Activation("relu", name=f"res{block}_out")(y)


def _basic_block(x: Tensor, filters: int, block: str, style: _Style, stride: int, dilation: int) -> Tensor:
    """Build the two-convolution block of ResNet-18 and 34: [N, h, w, c] -> [N, h / stride, w / stride, filters]."""
    y = style.conv(x, filters, 3, f"{block}_branch2a", stride, dilation_rate=dilation)
    y = layers.Activation("relu")(y)
    y = style.conv(y, filters, 3, f"{block}_branch2b", dilation_rate=dilation)
    shortcut = x
    if stride != 1 or x.shape[-1] != filters:
        shortcut = style.conv(x, filters, 1, f"{block}_branch1", stride)
    y = layers.Add()([y, shortcut])
    return layers.Activation("relu", name=f"res{block}_out")(y)


def _stage(x: Tensor, sizes: ResNet, stage: int, width: int, style: _Style, stride: int, dilation: int = 1) -> Tensor:
    """Build the blocks of stage C2..C5 on [N, h, w, c]; the first has the stride."""
    filters = width * 2 ** (stage - 2)
    narrow = filters * sizes.width_per_group // 64 * sizes.groups
    for number in range(sizes.blocks[stage - 2]):
        block = f"{stage}{block_name(number)}"
        if not sizes.bottleneck:
            x = _basic_block(x, filters, block, style, 1 if number else stride, dilation)
            continue
        all_filters, of_first = (narrow, narrow, 4 * filters), None if number else stride
        x = _bottleneck(x, all_filters, block, style, of_first, groups=sizes.groups, dilation_rate=dilation)
    return x


def _sizes(architecture: str) -> ResNet:
    if architecture not in RESNETS:
        raise InputError(f"unknown architecture {architecture!r}; use one of {', '.join(RESNETS)}")
    return RESNETS[architecture]


def resnet_graph(
    input_image: Tensor,
    architecture: str,
    stage5: bool = False,
    train_bn: NormMode = True,
    width: int = 64,
    *,
    stride_in_1x1: bool = True,
    use_bias: bool = True,
    epsilon: float = EPSILON,
    symmetric_padding: bool = False,
    dilate_c5: bool = False,
) -> list[Tensor | None]:
    """Build a ResNet. The defaults are Matterport's; the other options are those of published weights.

    Args:
        input_image: float [N, H, W, 3], mean subtracted; H and W are multiples of 32.
        architecture: one of `RESNETS`.
        stage5: build C5 too; otherwise it is None.
        train_bn: mode of the normalisation, see `normalize` and `BatchNorm`.
        width: channels of the stem; 64 in the paper.
        stride_in_1x1: the first 1x1 convolution of a bottleneck has the stride, as in the paper; False: the 3x3, as in
            torchvision.
        use_bias: the convolutions have a bias, although a normalisation follows.
        epsilon: of BatchNorm.
        symmetric_padding: pad strided 3x3 convolutions and the pooling by a pixel on every side, as torchvision and
            Detectron2; False: at the bottom and right only (sides are even), as Keras and Matterport.
        dilate_c5: C5 keeps the stride 16 of C4, and its 3x3 convolutions have dilation 2 (Detectron2's RES5_DILATION).

    Returns:
        [C1, C2, C3, C4, C5], float [N, H / 2^k, W / 2^k, channels]; C1 is the pooled stem and has stride 4.

    Raises:
        InputError: the architecture is unknown.
    """
    sizes = _sizes(architecture)
    style = _Style(train_bn, stride_in_1x1, use_bias, epsilon, symmetric_padding)
    x = _stem(input_image, width, style)
    stages: list[Tensor | None] = [x]
    for stage in (2, 3, 4):
        x = _stage(x, sizes, stage, width, style, stride=1 if stage == 2 else 2)
        stages.append(x)
    if not stage5:
        return [*stages, None]
    stride, dilation = (1, 2) if dilate_c5 else (2, 1)
    return [*stages, _stage(x, sizes, 5, width, style, stride, dilation)]


def _stem(image: Tensor, width: int, style: _Style) -> Tensor:
    """Build the 7 x 7 convolution and the pooling: [N, H, W, 3] -> [N, H / 4, W / 4, width]."""
    x = layers.ZeroPadding2D((3, 3))(image)
    x = layers.Conv2D(width, 7, strides=2, use_bias=style.use_bias, name="conv1")(x)
    x = normalize(x, "bn_conv1", style.train_bn, epsilon=style.epsilon)
    x = layers.Activation("relu")(x)
    if style.symmetric_padding:  # after the ReLU, zeros are as good as minus infinity
        x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    return layers.MaxPooling2D((3, 3), strides=(2, 2), padding="valid" if style.symmetric_padding else "same")(x)


def stage5_graph(
    c4: Tensor,
    architecture: str,
    train_bn: NormMode = True,
    width: int = 64,
    *,
    stride_in_1x1: bool = True,
    use_bias: bool = True,
    epsilon: float = EPSILON,
    symmetric_padding: bool = False,
) -> Tensor:
    """Build C5 of a ResNet alone, on C4 or on ROI features cut out of it.

    Args:
        c4: float [n, h, w, channels of C4].
        architecture, train_bn, width, stride_in_1x1, use_bias, epsilon, symmetric_padding: see `resnet_graph`.

    Returns:
        float [n, h / 2, w / 2, channels of C5], rounded up; layers res5a_branch2a and so on.

    Raises:
        InputError: the architecture is unknown.
    """
    style = _Style(train_bn, stride_in_1x1, use_bias, epsilon, symmetric_padding)
    return _stage(c4, _sizes(architecture), 5, width, style, stride=2)
