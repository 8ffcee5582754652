"""The parts that the training and the inference network share, and the inference network.

Legend: N batch, A anchors, P proposals, D padded detections, C classes with background, H W image. Boxes are
[..., (y1, x1, y2, x2)].
"""

import dataclasses
import functools
import os
import re
from typing import Any

import keras
import numpy as np
from keras import layers
from keras import ops as K

from mrcnn.backbones import C4, ending
from mrcnn.backend import devices, runtime
from mrcnn.backend.precision import precision_of
from mrcnn.backend.prediction import Predictor
from mrcnn.config import SIZE_FOLLOWS_IMAGE, Config
from mrcnn.errors import InputError
from mrcnn.modeling import weights
from mrcnn.modeling.anchors import anchors_per_location
from mrcnn.modeling.backbone import backbone_graph, fpn_graph, stage5_model
from mrcnn.modeling.c4_heads import c4_classifier_graph, c4_mask_graph
from mrcnn.modeling.detection_layer import DetectionLayer
from mrcnn.modeling.normalization import BatchNorm, normalize
from mrcnn.modeling.roi_heads import build_fpn_mask_graph, fpn_classifier_graph
from mrcnn.modeling.rpn import ProposalLayer, build_rpn_model
from mrcnn.setting_rules import is_regex

Tensor = Any  # a tensor of the chosen backend, or a KerasTensor while a model is being built


def size_follows_image(config: Config) -> bool:
    """Return whether IMAGE_RESIZE_MODE gives moulded images of different sizes."""
    return config.IMAGE_RESIZE_MODE in SIZE_FOLLOWS_IMAGE


def training_shape(config: Config) -> tuple[int, int, int]:
    """Return (H, W, channels) in pixels of a training image.

    With the modes pad64, pad32 and none the data decides, see `mrcnn.engine.trainer.canvas_of`; this is only where it
    starts.
    """
    height, width, channels = (int(side) for side in config.IMAGE_SHAPE)
    if size_follows_image(config):
        height, width = (max(1, -(-side // 64)) * 64 for side in (height, width))
    return height, width, channels


@dataclasses.dataclass(frozen=True)
class Molding:
    """How raw pixels become the numbers that the network takes, as `mrcnn.data.images.mold_resized` does on the host.

    Attributes:
        mean: of each channel.
        std: of each channel.
        bgr: whether the network takes the channels in the order blue, green, red.
        pad_with_mean: whether the padding becomes 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool
    pad_with_mean: bool

    @classmethod
    def of(cls, config: Config) -> "Molding":
        """Read the settings; a single number is that of all channels."""
        mean, std = (
            tuple(np.broadcast_to(np.asarray(value, float), config.IMAGE_CHANNEL_COUNT).tolist())
            for value in (config.MEAN_PIXEL, config.PIXEL_STD)
        )
        return cls(mean, std, config.INPUT_FORMAT == "BGR", config.IMAGE_PAD_VALUE == "mean")

    def mold(self, image: Tensor, meta: Tensor) -> Tensor:
        """Mould images uint8 [N, H, W, channels] to float32; metas [N, 12 + C] say where the padding is."""
        image = K.cast(K.flip(image, axis=-1) if self.bgr else image, "float32")
        image = image - K.convert_to_tensor(self.mean, "float32")
        if any(std != 1 for std in self.std):
            image = image / K.convert_to_tensor(self.std, "float32")
        return K.where(_inside_window(image, meta), image, 0.0) if self.pad_with_mean else image


def _inside_window(image: Tensor, meta: Tensor) -> Tensor:
    """Return which pixels are no padding: bool [N, H, W, 1]."""
    y1, x1, y2, x2 = (K.cast(meta[:, i], "int32")[:, None] for i in range(7, 11))
    rows, columns = (K.arange(K.shape(image)[axis], dtype="int32")[None] for axis in (1, 2))
    row_inside = K.logical_and(rows >= y1, rows < y2)  # [N, H]
    column_inside = K.logical_and(columns >= x1, columns < x2)
    return K.logical_and(row_inside[:, :, None], column_inside[:, None])[..., None]


def feature_pyramid(image: Tensor, config: Config) -> list[Tensor]:
    """Build backbone and FPN, or the one map of a backbone without FPN.

    Args:
        image: float [N, H, W, channels], the mean subtracted.
        config: TOP_DOWN_PYRAMID_SIZE, and the settings that `backbone_graph` reads.

    Returns:
        P2..P6, float [N, H / stride, W / stride, TOP_DOWN_PYRAMID_SIZE] with strides 4, 8, 16, 32, 64; or C4 or C5
        alone, with stride 16.

    Raises:
        InputError: config.BACKBONE is unknown.
    """
    norm = (
        functools.partial(normalize, train_bn=config.TRAIN_BN, epsilon=config.BN_EPSILON) if config.FPN_NORM else None
    )
    stages = backbone_graph(image, config)
    if end := ending(config.BACKBONE):
        return [stages[3] if end == C4 else stages[4]]
    return fpn_graph(stages, config.TOP_DOWN_PYRAMID_SIZE, norm)


def rpn_outputs(pyramid: list[Tensor], config: Config) -> tuple[Tensor, Tensor, Tensor]:
    """Apply the shared RPN head to every level.

    Args:
        pyramid: P2..P6, float [N, h, w, channels] each.
        config: RPN_* and TOP_DOWN_PYRAMID_SIZE.

    Returns:
        float32 logits [N, A, 2], probabilities [N, A, 2] and deltas [N, A, 4], the levels one after the other.
    """
    rpn = build_rpn_model(
        config.RPN_ANCHOR_STRIDE,
        anchors_per_location(config),
        pyramid[0].shape[-1],
        config.RPN_CHANNELS,
        config.RPN_CONVS,
        config.RPN_SIGMOID,
    )
    per_level = [rpn(level) for level in pyramid]
    names = ("rpn_class_logits", "rpn_class", "rpn_bbox")
    logits, probs, deltas = (
        layers.Concatenate(axis=1, dtype="float32", name=name)(list(levels))
        for name, levels in zip(names, zip(*per_level, strict=True), strict=True)
    )
    return logits, probs, deltas


def propose_regions(
    scores: tuple[Tensor, Tensor],
    rpn_bbox: Tensor,
    anchors: Tensor,
    pyramid: list[Tensor],
    meta: Tensor,
    layer: ProposalLayer,
) -> Tensor:
    """Propose regions [N, P, 4] norm: `scores` are the RPN's logits and probabilities; see `ProposalLayer`."""
    config, (logits, probs) = layer.config, scores
    ranked = logits if config.RPN_SIGMOID else probs  # a sigmoid has ties at 1
    levels = pyramid if config.RPN_PER_LEVEL else []
    return layer([ranked, rpn_bbox, anchors], pyramid=levels, meta=meta)


def shared_stage5(pyramid: list[Tensor], config: Config) -> keras.Model | None:
    """Return the stage 5 that both heads of a C4 network share, built on maps [N, h, w, channels]; else None.

    Raises:
        InputError: see `stage5_model`.
    """
    return stage5_model(pyramid[0].shape[-1], config) if ending(config.BACKBONE) == C4 else None


def class_head(
    rois: Tensor, pyramid: list[Tensor], meta: Tensor, config: Config, stage5: keras.Model | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Build the class and box head over ROIs [N, n, 4] norm: logits, probabilities [N, n, C], deltas [N, n, C, 4].

    `stage5` is that of `shared_stage5`.
    """
    if stage5 is not None:
        return c4_classifier_graph(rois, pyramid[0], meta, stage5, config)
    return fpn_classifier_graph(
        rois,
        pyramid[:4],  # P6 serves the RPN alone
        meta,
        config.POOL_SIZE,
        config.NUM_CLASSES,
        train_bn=config.TRAIN_BN,
        fc_layers_size=config.FPN_CLASSIF_FC_LAYERS_SIZE,
        config=config,
    )


def mask_head(
    rois: Tensor, pyramid: list[Tensor], meta: Tensor, config: Config, stage5: keras.Model | None, logits: bool
) -> Tensor:
    """Build the mask head over ROIs [N, n, 4] norm: mask logits or probabilities [N, n, 28, 28, C].

    `stage5` is that of `shared_stage5`.
    """
    if stage5 is not None:
        return c4_mask_graph(rois, pyramid[0], meta, stage5, config, logits)
    return build_fpn_mask_graph(
        rois,
        pyramid[:4],
        meta,
        config.MASK_POOL_SIZE,
        config.NUM_CLASSES,
        train_bn=config.TRAIN_BN,
        channels=config.MASK_HEAD_CHANNELS,
        logits=logits,
        config=config,
    )


def _static_shape(config: Config) -> tuple[int | None, int | None, int]:
    """Return the shape of one input image; the modes whose size follows the image leave it open."""
    if size_follows_image(config):
        return None, None, config.IMAGE_CHANNEL_COUNT
    return training_shape(config)


class SizedNetwork:
    """A network for inputs of one size: the same layers and weights, compiled apart, so that it can be dropped alone.

    Args:
        network: all its layers are built.
    """

    def __init__(self, network: keras.Model) -> None:
        self._predictor = Predictor(network)

    def predict_on_batch(self, x: Any) -> Any:
        """Predict on this process's devices, as `MoldingModel.predict_on_batch`."""
        with devices.alone():
            return self._predictor(x)


class MoldingModel(keras.Model):
    """A functional model that takes its image raw or moulded, and whose `predict_on_batch` always runs locally, even
    under distributed training.

    uint8 pixels are moulded here, in the graph, so that a quarter of the bytes travel to the device; floats are taken
    as moulded already.
    """

    molding: Molding
    _predictor: Predictor

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Mould the image if it is raw, then run the graph."""
        if isinstance(inputs, dict):
            image = self._mold(inputs["input_image"], inputs["input_image_meta"])
            inputs = {**inputs, "input_image": image}
        else:
            inputs = [self._mold(inputs[0], inputs[1]), *inputs[1:]]
        return super().call(inputs, training=training, mask=mask)

    def predict_on_batch(self, x: Any) -> Any:
        """Predict on this process's devices, from any number of threads at once."""
        if "_predictor" not in self.__dict__:
            self.__dict__.setdefault("_predictor", Predictor(self))  # the same for all threads
        with devices.alone():
            return self._predictor(x)

    def save_weights(self, filepath: str | os.PathLike, overwrite: bool = True, **kwargs: Any) -> None:
        """Save weights as Keras does, but by layer name where Keras 3 refuses: any .h5 that is not a .weights.h5.

        Raises:
            InputError: by layer name, if the folder does not exist or the file cannot be written.
        """
        if _is_by_name_file(filepath):
            weights.save_weights(self, filepath)
        else:
            super().save_weights(filepath, overwrite=overwrite, **kwargs)

    def load_weights(self, filepath: str | os.PathLike, by_name: bool = False, **kwargs: Any) -> None:
        """Load weights as Keras does, but by layer name from any .h5 that is not a .weights.h5.

        Raises:
            InputError: by layer name, see `mrcnn.modeling.weights.load_weights`.
        """
        if by_name or _is_by_name_file(filepath):
            weights.load_weights(self, filepath, exclude=kwargs.get("exclude"))
        else:
            super().load_weights(filepath, **kwargs)

    def _mold(self, image: Tensor, meta: Tensor) -> Tensor:
        is_raw = keras.backend.standardize_dtype(image.dtype) == "uint8"
        return self.molding.mold(image, meta) if is_raw else image


def _is_by_name_file(filepath: str | os.PathLike) -> bool:
    name = os.fspath(filepath)
    return name.endswith((".h5", ".hdf5")) and not name.endswith(".weights.h5")


class InferenceNetwork(MoldingModel):
    """The inference network; see `build_inference_network` for its inputs and outputs.

    Raises:
        InputError: config.BACKBONE is unknown.
    """

    def __init__(self, config: Config) -> None:
        # Layers and functional model
        image = keras.Input(_static_shape(config), name="input_image")
        meta = keras.Input((config.IMAGE_META_SIZE,), name="input_image_meta")
        anchors = keras.Input((None, 4), name="input_anchors")
        pyramid = feature_pyramid(image, config)
        rpn_logits, rpn_class, rpn_bbox = rpn_outputs(pyramid, config)
        propose = ProposalLayer(config.POST_NMS_ROIS_INFERENCE, config.RPN_NMS_THRESHOLD, config, name="ROI")
        rois = propose_regions((rpn_logits, rpn_class), rpn_bbox, anchors, pyramid, meta, propose)
        stage5 = shared_stage5(pyramid, config)
        _, class_probs, bbox = class_head(rois, pyramid, meta, config, stage5)
        detections = DetectionLayer(config, name="mrcnn_detection")([rois, class_probs, bbox, meta])
        masks = mask_head(detections[..., :4], pyramid, meta, config, stage5, logits=False)
        super().__init__(
            inputs=[image, meta, anchors],
            outputs=[detections, class_probs, bbox, masks, rois, rpn_class, rpn_bbox],
            name="mask_rcnn",
        )
        # Config
        self.molding = Molding.of(config)
        self.jit_compile = runtime.prefers_jit(many_shapes=size_follows_image(config))


def build_inference_network(config: Config) -> InferenceNetwork:
    """Build the inference network.

    Inputs: [input_image uint8 (raw) or float (moulded) [N, H, W, 3], input_image_meta [N, 12 + C], input_anchors norm
    [N, A, 4]].
    Outputs: [detections [N, D, (y1, x1, y2, x2, class_id, score)] norm, mrcnn_class [N, P, C],
    mrcnn_bbox [N, P, C, 4], mrcnn_mask [N, D, 28, 28, C], rois [N, P, 4], rpn_class [N, A, 2], rpn_bbox [N, A, 4]].

    Raises:
        InputError: config.BACKBONE is unknown.
    """
    with devices.alone(), precision_of(config):
        return InferenceNetwork(config)


def set_trainable(network: keras.Model, layer_regex: str, train_bn: bool) -> list[tuple[int, layers.Layer]]:
    """Make exactly those layers trainable whose whole name matches, in a network and in the networks nested in it.

    Args:
        network: it is changed.
        layer_regex: a regular expression over layer names.
        train_bn: False keeps BatchNorm frozen whatever the expression says.

    Returns:
        (depth of nesting, layer) of the trainable layers.

    Raises:
        InputError: `layer_regex` is no regular expression.
    """
    if not is_regex(layer_regex):
        raise InputError(f"layers {layer_regex!r:.200}: not a regular expression over layer names")
    chosen: list[tuple[int, layers.Layer]] = []
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            layer.trainable = True  # a frozen outer network would freeze what is inside
            chosen += [(depth + 1, inner) for depth, inner in set_trainable(layer, layer_regex, train_bn)]
        elif layer.weights:
            frozen = isinstance(layer, BatchNorm) and not train_bn
            layer.trainable = bool(re.fullmatch(layer_regex, layer.name)) and not frozen
            chosen += [(0, layer)] if layer.trainable else []
    return chosen
