"""The backbone that the settings name, and the feature pyramid network (FPN) on it.

Legend: N batch, H W image, C channels, h w a feature map. A stage Ck and a level Pk have stride 2^k.

Reference: Lin et al., FPN (arXiv:1612.03144).
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from mrcnn.backbones import C4, DC5, ending, resnet_name
from mrcnn.config import Config
from mrcnn.errors import InputError
from mrcnn.modeling.applications import application_graph
from mrcnn.modeling.normalization import Tensor
from mrcnn.modeling.resnet import resnet_graph, stage5_graph
from mrcnn.modeling.weights import leaf_layers


def backbone_graph(image: Tensor, config: Config) -> list[Tensor | None]:
    """Build the backbone.

    Args:
        image: float [N, H, W, channels], the mean subtracted.
        config: BACKBONE*, STRIDE_IN_1X1, BN_EPSILON and TRAIN_BN are read.

    Returns:
        [C1, C2, C3, C4, C5], float [N, H / 2^k, W / 2^k, channels]. C1, which nothing uses, may be None. With the
        ending -c4, C5 is None; with -dc5 it has the stride of C4.

    Raises:
        InputError: config.BACKBONE is unknown, or has no GroupNorm but TRAIN_BN asks for it.
    """
    if callable(config.BACKBONE):
        return config.BACKBONE(image, stage5=True, train_bn=config.TRAIN_BN)
    name, end = resnet_name(config.BACKBONE), ending(config.BACKBONE)
    if name is None:
        return application_graph(image, config.BACKBONE, config.TRAIN_BN)
    return resnet_graph(image, name, stage5=end != C4, dilate_c5=end == DC5, **_resnet_options(config))


def stage5_model(channels: int, config: Config) -> keras.Model:
    """Build stage 5 of a C4 network as a model, so that both heads share its weights.

    Args:
        channels: of C4.
        config: BACKBONE*, STRIDE_IN_1X1, BN_EPSILON and TRAIN_BN are read.

    Returns:
        Model "roi_stage5" from float [n, h, w, channels] to [n, h / 2, w / 2, channels of C5].

    Raises:
        InputError: config.BACKBONE is no ResNet.
    """
    features = keras.Input((None, None, channels), name="input_roi_features")
    c5 = stage5_graph(features, str(resnet_name(config.BACKBONE)), **_resnet_options(config))
    return keras.Model(features, c5, name="roi_stage5")


def _resnet_options(config: Config) -> dict[str, Any]:
    """Return the options of `resnet_graph` and `stage5_graph` that are settings."""
    return {
        "train_bn": config.TRAIN_BN,
        "width": config.BACKBONE_WIDTH,
        "stride_in_1x1": config.STRIDE_IN_1X1,
        "use_bias": config.BACKBONE_BIAS,
        "epsilon": config.BN_EPSILON,
        "symmetric_padding": config.BACKBONE_SYMMETRIC_PADDING,
    }


def later_layers(network: keras.Model, stage: int) -> list[str]:
    """Return the names of a backbone's layers from stage C`stage` on: those that lead to C5 but not to C`stage - 1`.

    Args:
        network: has the input input_image, and the lateral convolutions fpn_c2p2 to fpn_c5p5 of `fpn_graph`.
        stage: 3, 4 or 5.

    Returns:
        The layers with weights, those of nested models by their own names.

    Raises:
        InputError: there are none, because a nested model holds the whole backbone.
    """
    image = network.get_layer("input_image").output
    to_c5, earlier = (leaf_layers(keras.Model(image, network.get_layer(f"fpn_c{k}p{k}").input)) for k in (5, stage - 1))
    found = [name for name in to_c5 if name not in earlier]
    if not found:
        raise InputError(
            f"layers {stage}+: the backbone is one nested model, whose stages cannot be told apart; use heads, all or "
            "a regular expression over layer names"
        )
    return found


def fpn_graph(
    stages: list[Tensor | None], channels: int, norm: Callable[[Tensor, str], Tensor] | None = None
) -> list[Tensor]:
    """Build a feature pyramid over C2..C5: top-down sums, then 3 x 3 convolutions against the aliasing of upsampling.

    Args:
        stages: [C1, C2, C3, C4, C5] of `backbone_graph`; C1 is not used.
        channels: channels of every level of the pyramid; 256 in the paper.
        norm: normalises a tensor [N, h, w, channels] in a layer of the given name, after each convolution; None: none.

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
