"""Models of keras.applications as backbones: their layers become layers of the network.

Legend: N batch, H W image, C channels. A stage Ck has stride 2^k.

They are built without their own preprocessing, so the settings must do it. For weights from ImageNet:

| models | MEAN_PIXEL | the image is then divided by |
|---|---|---|
| ConvNeXt, DenseNet, EfficientNetB*, EfficientNetV2B* | 123.675, 116.28, 103.53 | 58.395, 57.12, 57.375 |
| EfficientNetV2S, M, L | 128 | 128 |
| MobileNet*, ResNet*V2 | 127.5 | 127.5 |
| ResNet, VGG | 123.68, 116.779, 103.939 | 1, and the first kernel reads BGR |
"""

import collections
import functools
import inspect
import re
from typing import Any

import keras
from keras import layers, tree

from mrcnn.backbones import ALIASES, APPLICATIONS
from mrcnn.errors import InputError
from mrcnn.modeling.grouped import GroupedConv2D
from mrcnn.modeling.normalization import BatchNorm, NormMode, Tensor, batch_norm_training

STRIDES = (4, 8, 16, 32)  # of C2..C5, px
PROBE_PX = 256  # side of the image on which the strides are measured


def application_graph(image: Tensor, name: str, train_bn: NormMode = True) -> list[Tensor | None]:
    """Build a model of keras.applications on an image.

    All layers keep their names, so weight files of Keras load by name.

    Args:
        image: float [N, H, W, C], preprocessed as this module says; H and W are multiples of 32, or unknown.
        name: a class of keras.applications, or one of `ALIASES`.
        train_bn: mode of BatchNorm, see `BatchNorm`.

    Returns:
        [None, C2, C3, C4, C5], float [N, H / 2^k, W / 2^k, channels]: of each stride, the last map that the whole
        network passes through. There is no C1.

    Raises:
        InputError: Keras has no such model, it lacks a map of one of these strides, or `train_bn` is "group".
    """
    if train_bn == "group":
        raise InputError(f"TRAIN_BN is 'group'; {name} has no GroupNorm, so give None, True or False")
    model = _model(name, image.shape[-1])
    stages = _last_maps(model, name)
    inliner = _Inliner(train_bn)
    keras.models.clone_model(
        keras.Model(model.input, stages[-1].output), image, clone_function=inliner.copy, call_function=inliner.call
    )
    return [None, *(inliner.outputs[stage.name] for stage in stages)]


def _model(name: str, channels: int) -> keras.Model:
    kind = getattr(keras.applications, ALIASES.get(name, name), None)
    if not inspect.isfunction(kind):
        raise InputError(f"keras.applications has no model {name!r}; use one of {', '.join(APPLICATIONS)}")
    without = {"include_preprocessing": False} if "include_preprocessing" in inspect.signature(kind).parameters else {}
    return kind(include_top=False, weights=None, input_shape=(PROBE_PX, PROBE_PX, channels), **without)


def _last_maps(model: keras.Model, name: str) -> list[keras.Operation]:
    """Return, for each of `STRIDES`, the last operation of that stride that the whole network passes through."""
    last = {}
    for operation in _bottlenecks(model):
        shape = operation.output.shape  # [N, h, w, C]
        if len(shape) == 4 and PROBE_PX % shape[1] == 0:
            last[PROBE_PX // shape[1]] = operation
    missing = [str(stride) for stride in STRIDES if stride not in last]
    if missing:
        raise InputError(
            f"BACKBONE is {name!r}, which has no feature map of stride {' or '.join(missing)}; use another model, such "
            "as ConvNeXtTiny"
        )
    return [last[stride] for stride in STRIDES]


def _bottlenecks(model: keras.Model) -> list[keras.Operation]:
    """Return the operations that every path from the image to the end leads through, in forward order.

    In forward order, such an operation is one after which no other output is still to be read.
    """
    readers = collections.Counter(id(x) for operation in model.operations for x in _inputs(operation))
    found, unread = [], set()
    for operation in model.operations:
        for x in map(id, _inputs(operation)):
            readers[x] -= 1
            if not readers[x]:
                unread.discard(x)
        unread.add(id(operation.output))
        if len(unread) == 1:
            found.append(operation)
    return found


def _inputs(operation: keras.Operation) -> list[Tensor]:
    return [] if isinstance(operation, layers.InputLayer) else tree.flatten(operation.input)


@keras.saving.register_keras_serializable("mrcnn")
class LayerScale(layers.Layer):
    """Multiply each channel by a weight, for ConvNeXt (LayerScale, arXiv:2103.17239). Keras' layer names no weight.

    Args:
        init_values: of the weight.
        projection_dim: number of channels.
    """

    def __init__(self, init_values: float, projection_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.init_values = init_values
        self.projection_dim = projection_dim

    def build(self, _: Any) -> None:
        """Create the weight, float [C]."""
        self.gamma = self.add_weight(
            shape=(self.projection_dim,), initializer=keras.initializers.Constant(self.init_values), name="gamma"
        )

    def call(self, x: Tensor) -> Tensor:
        """Return x * gamma, float [..., C]."""
        return x * self.gamma

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "init_values": self.init_values, "projection_dim": self.projection_dim}


class _Inliner:
    """Copy the operations of a model and call the copies.

    Attributes:
        outputs: name of an operation of the model -> output of its copy.
    """

    def __init__(self, train_bn: NormMode) -> None:
        self.outputs: dict[str, Tensor] = {}
        self._training = batch_norm_training(train_bn)
        self._names: dict[int, str] = {}  # id of a copy -> name of the original

    def copy(self, operation: Any) -> Any:
        """Return a new operation without weights: BatchNorm obeys TRAIN_BN, and grouped convolutions are fast."""
        if isinstance(operation, keras.Sequential):  # of ConvNeXt; `call` copies what is in it
            return operation
        kind, config = type(operation), operation.get_config()
        if isinstance(operation, layers.BatchNormalization):
            kind = BatchNorm
        elif isinstance(operation, layers.Conv2D) and operation.groups > 1:
            kind = GroupedConv2D
        elif kind.__name__ == "LayerScale":
            kind = LayerScale
        if getattr(operation, "weights", None):  # Keras counts the layers without a name: weights need a fixed one
            config["name"] = re.sub(r"^(layer_normalization)_\d+$", r"\1", operation.name)
        copy = kind.from_config(config)
        self._names[id(copy)] = operation.name
        return copy

    def call(self, operation: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Call a copy and keep its output; EfficientNet's preprocessing, which is not optional, is left out."""
        if isinstance(operation, layers.Rescaling | layers.Normalization):
            return args[0]
        if isinstance(operation, BatchNorm):
            kwargs["training"] = self._training
        if isinstance(operation, keras.Sequential):
            output = functools.reduce(lambda x, layer: self.call(self.copy(layer), x), operation.layers, args[0])
        else:
            output = operation(*args, **kwargs)
        self.outputs[self._names.get(id(operation), operation.name)] = output
        return output
