"""The heads, which run on regions of interest: ROIAlign, classes and boxes, masks, and the final detections.

Legend: N batch, R regions per image (static), C classes with background, D detections, h w a pooled region, M = 12 + C
columns of the image meta.

The regions of all images are merged into the batch axis, [N * R, h, w, channels], so the heads are plain convolutions.
Layer names and weight shapes are Matterport's.

References: He et al., Mask R-CNN (arXiv:1703.06870), section 3 and figure 4; Lin et al., FPN (arXiv:1612.03144), eq. 1.
"""

from typing import Any

import keras
from keras import layers, ops

from mrcnn.modeling.backbone import NormMode, normalize
from mrcnn.modeling.ops import as_data, batch_gather, non_max_suppression, pyramid_crop
from mrcnn.structures.boxes import apply_box_deltas, clip_boxes, norm_boxes

Tensor = Any  # a tensor of the current backend, or a KerasTensor while a model is being built

# A region of 224 x 224 px, the size of ImageNet's crops, is pooled from P4 (FPN, eq. 1 with k0 = 4).
CANONICAL_SIDE_PX = 224.0
CANONICAL_LEVEL = 4
FINEST_LEVEL, COARSEST_LEVEL = 2, 5
# Minimum area (normalised): log2 would give minus infinity for an empty region and nan for an inverted one.
MIN_AREA = 1e-12


def roi_levels(boxes_norm: Tensor, image_shape: tuple) -> Tensor:
    """Return the pyramid level that each region is pooled from (FPN, eq. 1, but rounding to nearest as Matterport
    does).

    Args:
        boxes_norm: [N, R, (y1, x1, y2, x2)] float, normalised.
        image_shape: (height, width) in pixels of the network's input; numbers, or tensors [N, 1].

    Returns:
        [N, R] int32, 2 to 5; padding and empty regions get 2.
    """
    y1, x1, y2, x2 = (boxes_norm[..., i] for i in range(4))
    side = ops.sqrt(ops.maximum((y2 - y1) * (x2 - x1), MIN_AREA))
    image_side = ops.sqrt(ops.cast(image_shape[0] * image_shape[1], "float32"))
    octaves = ops.log2(side / (CANONICAL_SIDE_PX / image_side))
    level = CANONICAL_LEVEL + ops.cast(ops.round(octaves), "int32")
    return ops.clip(level, FINEST_LEVEL, COARSEST_LEVEL)


@keras.saving.register_keras_serializable("mrcnn")
class PyramidROIAlign(layers.Layer):
    """ROIAlign: pool each region to a fixed size from the pyramid level that suits its size.

    Call it on [boxes_norm [N, R, 4], image_meta [N, M], P2, P3, P4, P5], each level [N, Hl, Wl, channels]; it returns
    [N, R, h, w, channels] in the dtype of the levels. It takes one bilinear sample per bin, with the grid's corners on
    the box's corners. No gradient flows into the boxes.

    Args:
        pool_shape: (h, w).
    """

    def __init__(self, pool_shape: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # boxes and image sizes stay float32 in half precision
        self.pool_shape: tuple[int, int] = (pool_shape[0], pool_shape[1])

    def call(self, inputs: list[Tensor]) -> Tensor:
        boxes, image_meta, *feature_maps = inputs
        boxes = as_data(boxes)
        levels = roi_levels(boxes, (image_meta[:, 4:5], image_meta[:, 5:6]))  # 4:7 is the shape
        return pyramid_crop(feature_maps, boxes, levels - FINEST_LEVEL, self.pool_shape)

    def compute_output_spec(self, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
        boxes, feature_map = inputs[0], inputs[2]
        return keras.KerasTensor((*boxes.shape[:2], *self.pool_shape, feature_map.shape[-1]), dtype=feature_map.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pool_shape": self.pool_shape}


@keras.saving.register_keras_serializable("mrcnn")
class WindowConv(layers.Conv2D):
    """A Conv2D whose kernel covers its whole input, computed as a single matrix product: [n, h, w, c] -> [n, 1, 1, C].

    The weights are those of Conv2D. On a CPU, the convolution would take 8 times as long on JAX and 1.2 times on
    TensorFlow.
    """

    def call(self, inputs: Tensor) -> Tensor:
        kernel = ops.reshape(self.kernel, (-1, self.filters))  # [h * w * c, C]
        out = ops.matmul(ops.reshape(inputs, (-1, kernel.shape[0])), kernel) + self.bias  # [n, C]
        return ops.reshape(out, (-1, 1, 1, self.filters))


def fpn_classifier_graph(
    rois: Tensor,
    feature_maps: list[Tensor],
    image_meta: Tensor,
    pool_size: int,
    num_classes: int,
    train_bn: NormMode = True,
    fc_layers_size: int = 1024,
) -> tuple[Tensor, Tensor, Tensor]:
    """Build the box head: two fully connected layers, written as convolutions, on each pooled region.

    Args:
        rois: [N, R, (y1, x1, y2, x2)] float, normalised.
        feature_maps: [P2, P3, P4, P5], each [N, Hl, Wl, channels].
        image_meta: [N, M] float, see `mrcnn.data.images.compose_image_meta`.
        pool_size: height and width of a pooled region.
        num_classes: C.
        train_bn: mode of the normalisation, see `mrcnn.modeling.backbone.normalize`.
        fc_layers_size: units of each fully connected layer.

    Returns:
        mrcnn_class_logits [N, R, C], mrcnn_class (probabilities) [N, R, C] and mrcnn_bbox [N, R, C, (dy, dx, log(dh),
        log(dw))] over BBOX_STD_DEV, all float32.
    """
    count = rois.shape[1]
    x = PyramidROIAlign((pool_size, pool_size), name="roi_align_classifier")([rois, image_meta, *feature_maps])
    x = _merge(x)  # [N * R, pool, pool, channels]
    x = WindowConv(fc_layers_size, pool_size, name="mrcnn_class_conv1")(x)
    x = normalize(x, "mrcnn_class_bn1", train_bn)
    x = layers.Activation("relu")(x)
    x = WindowConv(fc_layers_size, 1, name="mrcnn_class_conv2")(x)
    x = normalize(x, "mrcnn_class_bn2", train_bn)
    x = layers.Activation("relu")(x)
    shared = ops.reshape(x, (-1, count, fc_layers_size))  # [N, R, fc]
    # The last layers are small, and their results are compared, thresholded and decoded: float32 in any precision.
    logits = layers.Dense(num_classes, dtype="float32", name="mrcnn_class_logits")(shared)
    probs = layers.Activation("softmax", dtype="float32", name="mrcnn_class")(logits)
    deltas = layers.Dense(num_classes * 4, dtype="float32", name="mrcnn_bbox_fc")(shared)
    deltas = layers.Reshape((count, num_classes, 4), dtype="float32", name="mrcnn_bbox")(deltas)  # [N, R, C, 4]
    return logits, probs, deltas


@keras.saving.register_keras_serializable("mrcnn")
class MaskConv(layers.Conv2D):
    """The mask head's last layer: a 1 x 1 convolution on [N, R, h, w, channels] -> [N, R, h, w, C] float32.

    `call(x)` returns probabilities; `call(x, logits=True)` returns the logits, for a loss without clipping.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build((None, *input_shape[2:]))
        self.input_spec = layers.InputSpec(ndim=5, axes={-1: input_shape[-1]})

    def call(self, inputs: Tensor, logits: bool = False) -> Tensor:
        out = ops.cast(super().call(_merge(inputs)), "float32")
        out = ops.reshape(out, (-1, *inputs.shape[1:4], self.filters))  # [N, R, h, w, C]
        return out if logits else ops.sigmoid(out)

    def compute_output_spec(self, inputs: keras.KerasTensor, logits: bool = False) -> keras.KerasTensor:
        return keras.KerasTensor((*inputs.shape[:4], self.filters), dtype="float32")


def build_fpn_mask_graph(
    rois: Tensor,
    feature_maps: list[Tensor],
    image_meta: Tensor,
    pool_size: int,
    num_classes: int,
    train_bn: NormMode = True,
    channels: int = 256,
    logits: bool = False,
) -> Tensor:
    """Build the mask head: four 3 x 3 convolutions, a deconvolution that doubles the size, and a mask per class.

    Args:
        rois: [N, R, (y1, x1, y2, x2)] float, normalised.
        feature_maps: [P2, P3, P4, P5], each [N, Hl, Wl, channels].
        image_meta: [N, M] float, see `mrcnn.data.images.compose_image_meta`.
        pool_size: height and width of a pooled region.
        num_classes: C.
        train_bn: mode of the normalisation, see `mrcnn.modeling.backbone.normalize`.
        channels: channels of the convolutions.
        logits: return logits instead of probabilities.

    Returns:
        [N, R, 2 * pool_size, 2 * pool_size, C] float32.
    """
    count = rois.shape[1]
    x = PyramidROIAlign((pool_size, pool_size), name="roi_align_mask")([rois, image_meta, *feature_maps])
    x = _merge(x)  # [N * R, pool, pool, channels]
    for number in range(1, 5):
        x = layers.Conv2D(channels, 3, padding="same", name=f"mrcnn_mask_conv{number}")(x)
        x = normalize(x, f"mrcnn_mask_bn{number}", train_bn)
        x = layers.Activation("relu")(x)
    x = layers.Conv2DTranspose(channels, 2, strides=2, activation="relu", name="mrcnn_mask_deconv")(x)
    x = ops.reshape(x, (-1, count, 2 * pool_size, 2 * pool_size, channels))  # [N, R, 2 pool, 2 pool, channels]
    return MaskConv(num_classes, 1, name="mrcnn_mask")(x, logits=logits)


def _merge(x: Tensor) -> Tensor:
    """Merge regions into the batch axis: [N, R, ...] -> [N * R, ...]."""
    return ops.reshape(x, (-1, *x.shape[2:]))


def refine_detections(rois: Tensor, probs: Tensor, deltas: Tensor, windows_norm: Tensor, config: Any) -> Tensor:
    """Decode the box head's outputs into final detections: the best class of each region, then NMS within each class.

    Args:
        rois: [N, R, (y1, x1, y2, x2)] float, normalised, zero padded.
        probs: [N, R, C] float.
        deltas: [N, R, C, (dy, dx, log(dh), log(dw))] float over BBOX_STD_DEV.
        windows_norm: [N, 4] float, the part of each image that is not padding, normalised; boxes are clipped to it.
        config: BBOX_STD_DEV, DETECTION_MIN_CONFIDENCE, DETECTION_NMS_THRESHOLD and DETECTION_MAX_INSTANCES (D) are
            read.

    Returns:
        [N, D, (y1, x1, y2, x2, class_id, score)] float32, boxes normalised, by descending score, zero padded.
    """
    count, classes = probs.shape[1:]
    class_ids = ops.cast(ops.argmax(probs, axis=-1), "int32")  # [N, R]
    scores = ops.max(probs, axis=-1)
    # Gather the deltas of the best class: row r, class c is entry r * C + c of [N, R * C, 4].
    entry = ops.arange(count, dtype="int32") * classes + class_ids
    deltas = batch_gather(ops.reshape(deltas, (-1, count * classes, 4)), entry)  # [N, R, 4]
    boxes = apply_box_deltas(rois, deltas * ops.convert_to_tensor(config.BBOX_STD_DEV, "float32"))
    boxes = clip_boxes(boxes, windows_norm)

    # Regions in the image's padding are clipped to empty boxes, and padded rows are empty: neither are objects.
    # (Matterport removes them after the NMS, but in TensorFlow 1.15's they suppress the rest of their class.)
    y1, x1, y2, x2 = (boxes[..., i] for i in range(4))
    valid = ops.logical_and(class_ids > 0, ops.logical_and(y2 > y1, x2 > x1))
    if config.DETECTION_MIN_CONFIDENCE:
        valid = ops.logical_and(valid, scores >= config.DETECTION_MIN_CONFIDENCE)
    index, keep = non_max_suppression(
        boxes, scores, config.DETECTION_MAX_INSTANCES, config.DETECTION_NMS_THRESHOLD, class_ids, valid
    )
    rows = ops.concatenate([boxes, ops.cast(class_ids, "float32")[..., None], scores[..., None]], axis=-1)  # [N, R, 6]
    return ops.where(keep[..., None], batch_gather(rows, index), 0.0)


def refine_detections_graph(rois: Tensor, probs: Tensor, deltas: Tensor, window: Tensor, config: Any) -> Tensor:
    """Matterport's name: run `refine_detections` on one image; arguments and result lack the batch axis."""
    return refine_detections(rois[None], probs[None], deltas[None], window[None], config)[0]


@keras.saving.register_keras_serializable("mrcnn")
class DetectionLayer(layers.Layer):
    """`refine_detections` as a layer on [rois, mrcnn_class, mrcnn_bbox, image_meta], always in float32."""

    def __init__(self, config: Any, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.config = config

    def call(self, inputs: list[Tensor]) -> Tensor:
        rois, probs, deltas, image_meta = inputs
        # Columns 4:6 of the meta are the image's size, the same for the whole batch; 7:11 are the window in pixels.
        windows_norm = norm_boxes(image_meta[:, 7:11], image_meta[0, 4:6])
        return refine_detections(rois, probs, deltas, windows_norm, self.config)

    def compute_output_spec(self, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
        return keras.KerasTensor((inputs[0].shape[0], self.config.DETECTION_MAX_INSTANCES, 6), dtype="float32")
