"""Normalisation layers: BatchNorm whose mode is fixed in the graph, and GroupNorm.

Legend: N batch, C channels, h w a feature map.
"""

import math
from typing import Any

import keras
from keras import layers

Tensor = Any  # a tensor of the current backend, or a KerasTensor while a model is being built
NormMode = bool | str | None  # as Config.TRAIN_BN: False, None, True, or "group"
GROUPS = 32  # groups of GroupNorm, the default of its paper
EPSILON = 1e-3  # of BatchNorm, as in Matterport's layers


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


def batch_norm_training(train_bn: NormMode) -> bool | None:
    """Return the argument `training` of a BatchNorm for a mode other than "group"."""
    return None if train_bn is None else bool(train_bn)


def normalize(x: Tensor, name: str, train_bn: NormMode, *, epsilon: float = EPSILON) -> Tensor:
    """Normalise [N, h, w, C] with BatchNorm in the mode `train_bn`, or with GroupNorm (arXiv:1803.08494) if it is
    "group".

    GroupNorm normalises groups of channels within one image, so it trains at any batch size. It cannot load the weights
    of BatchNorm.

    Args:
        x: float [N, h, w, C].
        name: of the layer.
        train_bn: see `Config.TRAIN_BN`.
        epsilon: what BatchNorm adds to the variance. GroupNorm keeps 1e-3: features of an empty ROI have variance 0.
    """
    if train_bn == "group":
        return layers.GroupNormalization(groups=math.gcd(GROUPS, x.shape[-1]), name=name)(x)
    return BatchNorm(epsilon=epsilon, name=name)(x, training=batch_norm_training(train_bn))
