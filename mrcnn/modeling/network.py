"""The two graphs of Mask R-CNN, training and inference, and the loss over the first.

Legend: N batch, A anchors, P proposals, R sampled ROIs, G padded ground-truth slots, D detections, C classes with
background, H W image, S sampled anchors. Boxes are [..., (y1, x1, y2, x2)].
"""

import os
from typing import Any

import keras
from keras import layers
from keras import ops as K

from mrcnn.backend import devices, runtime
from mrcnn.backend.precision import precision_of
from mrcnn.config import Config
from mrcnn.modeling import weights
from mrcnn.modeling.backbone import fpn_graph, resnet_graph
from mrcnn.modeling.roi_heads import DetectionLayer, build_fpn_mask_graph, fpn_classifier_graph
from mrcnn.modeling.rpn import ProposalLayer, build_rpn_model

Tensor = Any  # a tensor of the chosen backend, or a KerasTensor while a model is being built


def training_shape(config: Config) -> tuple[int, int, int]:
    """(H, W, channels) of a training image. With pad64 and none it is that of the data: see `training.canvas_of`."""
    height, width, channels = (int(side) for side in config.IMAGE_SHAPE)
    if config.IMAGE_RESIZE_MODE in ("pad64", "none"):
        height, width = (-(-side // 64) * 64 for side in (height, width))
    return height, width, channels


def feature_pyramid(image: Tensor, config: Config) -> list[Tensor]:
    """Backbone and FPN. image float [N, H, W, channels], mean subtracted -> [P2..P6].

    Raises:
        InputError: config.BACKBONE is unknown.
    """
    if callable(config.BACKBONE):
        stages = config.BACKBONE(image, stage5=True, train_bn=config.TRAIN_BN)
    else:
        stages = resnet_graph(
            image, config.BACKBONE, stage5=True, train_bn=config.TRAIN_BN, width=config.BACKBONE_WIDTH
        )
    return fpn_graph(stages, config.TOP_DOWN_PYRAMID_SIZE)


def rpn_outputs(pyramid: list[Tensor], config: Config) -> tuple[Tensor, Tensor, Tensor]:
    """The shared RPN head on every level: logits [N, A, 2], probabilities [N, A, 2], deltas [N, A, 4]."""
    rpn = build_rpn_model(
        config.RPN_ANCHOR_STRIDE, len(config.RPN_ANCHOR_RATIOS), config.TOP_DOWN_PYRAMID_SIZE, config.RPN_CHANNELS
    )
    per_level = [rpn(level) for level in pyramid]
    names = ("rpn_class_logits", "rpn_class", "rpn_bbox")
    logits, probs, deltas = (
        layers.Concatenate(axis=1, dtype="float32", name=name)(list(levels))
        for name, levels in zip(names, zip(*per_level, strict=True), strict=True)
    )
    return logits, probs, deltas


def class_head(rois: Tensor, pyramid: list[Tensor], meta: Tensor, config: Config) -> tuple[Tensor, Tensor, Tensor]:
    return fpn_classifier_graph(
        rois,
        pyramid[:4],  # P6 serves the RPN alone
        meta,
        config.POOL_SIZE,
        config.NUM_CLASSES,
        train_bn=config.TRAIN_BN,
        fc_layers_size=config.FPN_CLASSIF_FC_LAYERS_SIZE,
    )


def mask_head(rois: Tensor, pyramid: list[Tensor], meta: Tensor, config: Config, logits: bool) -> Tensor:
    return build_fpn_mask_graph(
        rois,
        pyramid[:4],
        meta,
        config.MASK_POOL_SIZE,
        config.NUM_CLASSES,
        train_bn=config.TRAIN_BN,
        channels=config.MASK_HEAD_CHANNELS,
        logits=logits,
    )


def _static_shape(config: Config) -> tuple[int | None, int | None, int]:
    """Shape of one input image; only the modes whose size follows the image leave it open."""
    if config.IMAGE_RESIZE_MODE in ("pad64", "none"):
        return None, None, config.IMAGE_CHANNEL_COUNT
    return training_shape(config)


class LocalModel(keras.Model):
    """A functional model whose `predict_on_batch` is this process' own affair, also while several train together."""

    def predict_on_batch(self, x: Any) -> Any:
        """Keras' predict_on_batch."""
        with devices.alone():
            return super().predict_on_batch(x)


class MoldingModel(LocalModel):
    """A functional model that takes its image raw or moulded: uint8 pixels get the mean subtracted here, in the graph,
    so that a quarter of the bytes travel to the device; floats are taken as moulded already."""

    mean_pixel: tuple[float, ...]

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Mould the image if it is raw, then run the functional graph."""
        if isinstance(inputs, dict):
            inputs = {**inputs, "input_image": self._mold(inputs["input_image"])}
        else:
            inputs = [self._mold(inputs[0]), *inputs[1:]]
        return super().call(inputs, training=training, mask=mask)

    def save_weights(self, filepath: str | os.PathLike, overwrite: bool = True, **kwargs: Any) -> None:
        """Keras' save_weights, and by layer name where Keras 3 refuses: any .h5 that is not a .weights.h5.

        Raises:
            InputError: by layer name, where the folder does not exist or the disk refuses.
        """
        if _is_by_name_file(filepath):
            weights.save_weights(self, filepath)
        else:
            super().save_weights(filepath, overwrite=overwrite, **kwargs)

    def load_weights(self, filepath: str | os.PathLike, by_name: bool = False, **kwargs: Any) -> None:
        """Keras' load_weights, and by layer name for any .h5 that is not a .weights.h5.

        Raises:
            InputError: by layer name, as `mrcnn.modeling.weights.load_weights` does.
        """
        if by_name or _is_by_name_file(filepath):
            weights.load_weights(self, filepath, exclude=kwargs.get("exclude"))
        else:
            super().load_weights(filepath, **kwargs)

    def _mold(self, image: Tensor) -> Tensor:
        if keras.backend.standardize_dtype(image.dtype) != "uint8":
            return image
        return K.cast(image, "float32") - K.convert_to_tensor(self.mean_pixel, "float32")


def _is_by_name_file(filepath: str | os.PathLike) -> bool:
    name = os.fspath(filepath)
    return name.endswith(".h5") and not name.endswith(".weights.h5")


def build_inference_network(config: Config) -> keras.Model:
    """The inference graph.

    Inputs: [input_image (as in training) [N, H, W, 3], input_image_meta [N, 12 + C], input_anchors norm [N, A, 4]].
    Outputs: [detections [N, D, (y1, x1, y2, x2, class_id, score)] norm, mrcnn_class [N, P, C],
    mrcnn_bbox [N, P, C, 4], mrcnn_mask [N, D, 28, 28, C], rois [N, P, 4], rpn_class [N, A, 2], rpn_bbox [N, A, 4]].

    Raises:
        InputError: config.BACKBONE is unknown.
    """
    with devices.alone(), precision_of(config):
        return _inference_network(config)


def _inference_network(config: Config) -> MoldingModel:
    image = keras.Input(_static_shape(config), name="input_image")
    meta = keras.Input((config.IMAGE_META_SIZE,), name="input_image_meta")
    anchors = keras.Input((None, 4), name="input_anchors")
    pyramid = feature_pyramid(image, config)
    _, rpn_class, rpn_bbox = rpn_outputs(pyramid, config)
    rois = ProposalLayer(config.POST_NMS_ROIS_INFERENCE, config.RPN_NMS_THRESHOLD, config, name="ROI")(
        [rpn_class, rpn_bbox, anchors]
    )
    _, class_probs, bbox = class_head(rois, pyramid, meta, config)
    detections = DetectionLayer(config, name="mrcnn_detection")([rois, class_probs, bbox, meta])
    masks = mask_head(detections[..., :4], pyramid, meta, config, logits=False)
    network = MoldingModel(
        inputs=[image, meta, anchors],
        outputs=[detections, class_probs, bbox, masks, rois, rpn_class, rpn_bbox],
        name="mask_rcnn",
    )
    network.mean_pixel = tuple(float(v) for v in config.MEAN_PIXEL)
    network.jit_compile = runtime.prefers_jit()
    return network
