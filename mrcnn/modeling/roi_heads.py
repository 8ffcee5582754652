"""The heads, which run on regions of interest: ROIAlign, classes and boxes, and masks.

Legend: N batch, R regions per image (static), C classes with background, h w a pooled region, M = 12 + C columns of the
image meta.

The regions of all images are merged into the batch axis, [N * R, h, w, channels], so the heads are plain convolutions.
Layer names and weight shapes are Matterport's.

References: He et al., Mask R-CNN (arXiv:1703.06870), section 3 and figure 4; Lin et al., FPN (arXiv:1612.03144), eq. 1.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from mrcnn.config import Config
from mrcnn.modeling.crops import pyramid_crop
from mrcnn.modeling.normalization import NormMode, normalize
from mrcnn.modeling.ops import as_data
from mrcnn.modeling.roi_align import roi_align

Tensor = Any  # a tensor of the current backend, or a KerasTensor while a model is being built

# A region of 224 x 224 px, the size of ImageNet's crops, is pooled from P4 (FPN, eq. 1 with k0 = 4).
CANONICAL_SIDE_PX = 224.0
CANONICAL_LEVEL = 4
FINEST_LEVEL, COARSEST_LEVEL = 2, 5
# Minimum area (normalised): log2 would give minus infinity for an empty region and nan for an inverted one.
MIN_AREA = 1e-12


def roi_levels(boxes_norm: Tensor, image_shape: tuple, rule: str = "matterport") -> Tensor:
    """Return the pyramid level that each region is pooled from (FPN, eq. 1).

    Args:
        boxes_norm: [N, R, (y1, x1, y2, x2)] float, normalised.
        image_shape: (height, width) in pixels of the network's input; numbers, or tensors [N, 1].
        rule: ROI_LEVEL_RULE: "matterport" rounds to the nearest; "torchvision", "detectron2" and "mmdet" round down.

    Returns:
        [N, R] int32, 2 to 5; padding and empty regions get 2.
    """
    y1, x1, y2, x2 = (boxes_norm[..., i] for i in range(4))
    side = ops.sqrt(ops.maximum((y2 - y1) * (x2 - x1), MIN_AREA))
    image_side = ops.sqrt(ops.cast(image_shape[0] * image_shape[1], "float32"))
    octaves = _ROUNDED_OCTAVES[rule](side / (CANONICAL_SIDE_PX / image_side))
    level = CANONICAL_LEVEL + ops.cast(octaves, "int32")
    return ops.clip(level, FINEST_LEVEL, COARSEST_LEVEL)


# Of the side over 224 px; the small numbers keep a region of exactly 2^k * 224 px on its level. Detectron2 adds 1e-8 to
# sides in pixels; normalised float32 coordinates are known to about 1e-7, so such regions need more here.
_ROUNDED_OCTAVES: dict[str, Callable[[Tensor], Tensor]] = {
    "matterport": lambda ratio: ops.round(ops.log2(ratio)),
    "torchvision": lambda ratio: ops.floor(ops.log2(ratio) + 1e-6),
    "detectron2": lambda ratio: ops.floor(ops.log2(ratio + 1e-6)),
    "mmdet": lambda ratio: ops.floor(ops.log2(4.0 * ratio + 1e-6)) - 2.0,
}


@keras.saving.register_keras_serializable("mrcnn")
class PyramidROIAlign(layers.Layer):
    """ROIAlign: pool each region to a fixed size from the pyramid level that suits its size.

    Call it on [boxes_norm [N, R, 4], image_meta [N, M], P2, P3, P4, P5], each level [N, Hl, Wl, channels], or on a
    single map; it returns [N, R, h, w, channels] in the dtype of the levels. No gradient flows into the boxes.

    Args:
        pool_shape: (h, w).
        level_rule: ROI_LEVEL_RULE.
        sampling_ratio: ROI_SAMPLING_RATIO. None: one bilinear sample per cell, with the grid's corners on the region's
            corners, as Matterport does; else `mrcnn.modeling.roi_align.roi_align`.
        aligned: ROI_ALIGNED.
        continuous: whether BOX_CONVENTION is "continuous".
    """

    def __init__(
        self,
        pool_shape: tuple[int, int],
        level_rule: str = "matterport",
        sampling_ratio: int | None = None,
        aligned: bool = False,
        continuous: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # boxes and image sizes stay float32 in half precision
        self.pool_shape: tuple[int, int] = (pool_shape[0], pool_shape[1])
        self.level_rule, self.continuous = level_rule, continuous
        self.sampling_ratio, self.aligned = sampling_ratio, aligned

    @classmethod
    def of(cls, config: Any, side: int, name: str) -> "PyramidROIAlign":
        """Return the layer for regions of side x side cells, with the settings of a config."""
        continuous = config.BOX_CONVENTION == "continuous"
        rules = config.ROI_LEVEL_RULE, config.ROI_SAMPLING_RATIO, config.ROI_ALIGNED
        return cls((side, side), *rules, continuous, name=name)

    def call(self, inputs: list[Tensor]) -> Tensor:
        boxes, image_meta, *feature_maps = inputs
        boxes, (height, width) = as_data(boxes), (image_meta[:, 4:5], image_meta[:, 5:6])  # 4:7 is the shape
        levels = roi_levels(boxes, (height, width), self.level_rule) - FINEST_LEVEL
        levels = levels if len(feature_maps) > 1 else ops.zeros_like(levels)
        if self.sampling_ratio is None:
            boxes = _between_corners(boxes, height, width) if self.continuous else boxes
            return pyramid_crop(feature_maps, boxes, levels, self.pool_shape)
        boxes = boxes if self.continuous else _as_fractions(boxes, height, width)
        return roi_align(feature_maps, boxes, levels, self.pool_shape, self.sampling_ratio, self.aligned)

    def compute_output_spec(self, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
        boxes, feature_map = inputs[0], inputs[2]
        return keras.KerasTensor((*boxes.shape[:2], *self.pool_shape, feature_map.shape[-1]), dtype=feature_map.dtype)

    def get_config(self) -> dict[str, Any]:
        names = ("pool_shape", "level_rule", "sampling_ratio", "aligned", "continuous")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _as_fractions(boxes: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Convert boxes [N, R, 4] from Matterport's normalisation to fractions of an image of height and width [N, 1]."""
    y1, x1, y2, x2 = (boxes[..., i] for i in range(4))
    rows, columns = (height - 1.0) / height, (width - 1.0) / width
    return ops.stack([y1 * rows, x1 * columns, y2 * rows + 1.0 / height, x2 * columns + 1.0 / width], axis=-1)


def _between_corners(boxes: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Convert boxes [N, R, 4] from fractions of an image of height and width [N, 1] to Matterport's normalisation."""
    y1, x1, y2, x2 = (boxes[..., i] for i in range(4))
    rows, columns = height / (height - 1.0), width / (width - 1.0)
    last = 1.0 / (height - 1.0), 1.0 / (width - 1.0)
    return ops.stack([y1 * rows, x1 * columns, y2 * rows - last[0], x2 * columns - last[1]], axis=-1)


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
    config: Any = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Build the box head on each pooled region: fully connected layers, written as convolutions, and before them as
    many 3 x 3 convolutions as the settings say.

    Args:
        rois: [N, R, (y1, x1, y2, x2)] float, normalised.
        feature_maps: [P2, P3, P4, P5], each [N, Hl, Wl, channels].
        image_meta: [N, M] float, see `mrcnn.data.images.compose_image_meta`.
        pool_size: height and width of a pooled region.
        num_classes: C.
        train_bn: mode of the normalisation, see `mrcnn.modeling.backbone.normalize`.
        fc_layers_size: units of each fully connected layer.
        config: BOX_HEAD_*, BN_EPSILON, BOX_CONVENTION and ROI_* are read; None uses the defaults of Config.

    Returns:
        mrcnn_class_logits [N, R, C], mrcnn_class (probabilities) [N, R, C] and mrcnn_bbox [N, R, C, (dy, dx, log(dh),
        log(dw))] over BBOX_STD_DEV, all float32.
    """
    config, count = config or Config(), rois.shape[1]
    x = PyramidROIAlign.of(config, pool_size, "roi_align_classifier")([rois, image_meta, *feature_maps])
    x = merge_rois(x)  # [N * R, pool, pool, channels]
    for number in range(1, config.BOX_HEAD_CONVS + 1):
        channels = config.TOP_DOWN_PYRAMID_SIZE
        x = layers.Conv2D(channels, 3, padding="same", name=f"mrcnn_class_window_conv{number}")(x)
        x = _normalize(x, config.BOX_HEAD_NORM, f"mrcnn_class_window_bn{number}", train_bn, config)
        x = layers.Activation("relu")(x)
    norm = None if config.BOX_HEAD_CONVS else config.BOX_HEAD_NORM
    for number in range(1, config.BOX_HEAD_FCS + 1):
        x = WindowConv(fc_layers_size, pool_size if number == 1 else 1, name=f"mrcnn_class_conv{number}")(x)
        x = _normalize(x, norm, f"mrcnn_class_bn{number}", train_bn, config)
        x = layers.Activation("relu")(x)
    return predict_classes(ops.reshape(x, (-1, count, fc_layers_size)), num_classes)


def predict_classes(shared: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Build the last layers of the box head on its features [N, R, channels]; returns as `fpn_classifier_graph`."""
    count = shared.shape[1]
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
        out = ops.cast(super().call(merge_rois(inputs)), "float32")
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
    config: Any = None,
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
        config: MASK_HEAD_NORM, BN_EPSILON, BOX_CONVENTION and ROI_* are read; None uses the defaults of Config.

    Returns:
        [N, R, 2 * pool_size, 2 * pool_size, C] float32.
    """
    config, count = config or Config(), rois.shape[1]
    x = PyramidROIAlign.of(config, pool_size, "roi_align_mask")([rois, image_meta, *feature_maps])
    x = merge_rois(x)  # [N * R, pool, pool, channels]
    for number in range(1, 5):
        x = layers.Conv2D(channels, 3, padding="same", name=f"mrcnn_mask_conv{number}")(x)
        x = _normalize(x, config.MASK_HEAD_NORM, f"mrcnn_mask_bn{number}", train_bn, config)
        x = layers.Activation("relu")(x)
    return predict_masks(x, count, channels, num_classes, logits)


def predict_masks(x: Tensor, count: int, channels: int, num_classes: int, logits: bool) -> Tensor:
    """Build the last layers of the mask head.

    Args:
        x: features [N * R, h, w, c].
        count: R.
        channels: of the transposed convolution.
        num_classes: C.
        logits: return logits instead of probabilities.

    Returns:
        [N, R, 2 h, 2 w, C] float32.
    """
    x = layers.Conv2DTranspose(channels, 2, strides=2, activation="relu", name="mrcnn_mask_deconv")(x)
    x = ops.reshape(x, (-1, count, *x.shape[1:]))  # [N, R, 2 h, 2 w, channels]
    return MaskConv(num_classes, 1, name="mrcnn_mask")(x, logits=logits)


def _normalize(x: Tensor, norm: str | None, name: str, train_bn: NormMode, config: Any) -> Tensor:
    """Normalise [N, h, w, channels] if the head has a normalisation."""
    return x if norm is None else normalize(x, name, train_bn, epsilon=config.BN_EPSILON)


def merge_rois(x: Tensor) -> Tensor:
    """Merge regions into the batch axis: [N, R, ...] -> [N * R, ...]."""
    return ops.reshape(x, (-1, *x.shape[2:]))
