"""From the box head's outputs to final detections: candidates, boxes, and suppression within each class.

Legend: N batch, R regions per image (static), C classes with background, K candidates, D detections, M = 12 + C columns
of the image meta. Boxes are (y1, x1, y2, x2).
"""

from typing import Any

import keras
from keras import layers, ops

from mrcnn.errors import InputError
from mrcnn.modeling.ops import batch_gather, non_max_suppression, soft_non_max_suppression
from mrcnn.modeling.rpn import delta_limits, larger_than, windows_norm
from mrcnn.structures.boxes import apply_box_deltas, clip_boxes

Tensor = Any  # a tensor of the current backend, or a KerasTensor while a model is being built


def refine_detections(
    rois: Tensor, probs: Tensor, deltas: Tensor, windows: Tensor, config: Any, meta: Tensor | None = None
) -> Tensor:
    """Decode the box head's outputs into final detections.

    Args:
        rois: [N, R, (y1, x1, y2, x2)] float, normalised, zero padded.
        probs: [N, R, C] float.
        deltas: [N, R, C, (dy, dx, log(dh), log(dw))] float over BBOX_STD_DEV.
        windows: [N, 4] float, the part of each image that is not padding, normalised; boxes are clipped to it.
        config: BBOX_STD_DEV, BBOX_DELTA_CLIP, BOX_CONVENTION and DETECTION_* are read; D is DETECTION_MAX_INSTANCES.
        meta: [N, M] image metas, which DETECTION_MIN_SIZE needs.

    Returns:
        [N, D, (y1, x1, y2, x2, class_id, score)] float32, boxes normalised, by descending score, zero padded.

    Raises:
        InputError: DETECTION_MIN_SIZE is set, and there are no metas.
    """
    if config.DETECTION_MIN_SIZE is not None and meta is None:
        raise InputError(
            f"DETECTION_MIN_SIZE is {config.DETECTION_MIN_SIZE}, in pixels, but the sizes of the images are not given; "
            "call refine_detections with meta, or set DETECTION_MIN_SIZE to None"
        )
    select = _every_class if config.DETECTION_EVERY_CLASS else _best_class
    rows, class_ids, scores = select(probs, config)
    classes = probs.shape[-1]
    # Row r, class c is entry r * C + c of [N, R * C, 4].
    chosen = batch_gather(
        ops.reshape(deltas, (-1, probs.shape[1] * classes, 4)), rows * classes + class_ids
    )  # [N, K, 4]
    scaled = chosen * ops.convert_to_tensor(config.BBOX_STD_DEV, "float32")
    boxes = apply_box_deltas(batch_gather(rois, rows), scaled, *delta_limits(config))
    boxes = clip_boxes(boxes, windows)

    # Regions in the image's padding are clipped to empty boxes, and padded rows are empty: neither are objects.
    # (Matterport removes them after the NMS, but in TensorFlow 1.15's they suppress the rest of their class.)
    y1, x1, y2, x2 = (boxes[..., i] for i in range(4))
    valid = ops.logical_and(_wanted(class_ids, config), ops.logical_and(y2 > y1, x2 > x1))
    if config.DETECTION_MIN_CONFIDENCE:
        valid = ops.logical_and(valid, scores >= config.DETECTION_MIN_CONFIDENCE)
    if config.DETECTION_MIN_SIZE is not None:
        valid = ops.logical_and(valid, larger_than(boxes, config.DETECTION_MIN_SIZE, meta, config))
    index, keep, scores = _suppress(boxes, scores, class_ids, valid, config)
    rows = ops.concatenate([boxes, ops.cast(class_ids, "float32")[..., None]], axis=-1)  # [N, K, 5]
    rows = ops.concatenate([batch_gather(rows, index), scores[..., None]], axis=-1)  # [N, D, 6]
    return ops.where(keep[..., None], rows, 0.0)


def _best_class(probs: Tensor, config: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return one candidate per region: rows and class ids int32 [N, R], scores [N, R]."""
    class_ids = ops.cast(ops.argmax(probs, axis=-1), "int32")  # [N, R]
    rows = ops.zeros_like(class_ids) + ops.arange(probs.shape[1], dtype="int32")
    return rows, class_ids, ops.max(probs, axis=-1)


def _every_class(probs: Tensor, config: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return the K candidates with the highest scores: rows and class ids int32 [N, K], scores [N, K].

    A region has at most 1 / DETECTION_MIN_CONFIDENCE classes whose score suffices, because its scores sum to 1. So K is
    large enough for all of them.
    """
    regions, classes = probs.shape[1:]
    objects = probs[:, :, 1:]  # [N, R, C - 1]
    most = regions * (classes - 1)
    if config.DETECTION_MIN_CONFIDENCE:
        most = min(most, int(regions / config.DETECTION_MIN_CONFIDENCE) + 1)
    scores, places = ops.top_k(ops.reshape(objects, (-1, regions * (classes - 1))), most)
    places = ops.cast(places, "int32")
    return places // (classes - 1), places % (classes - 1) + 1, scores


def _wanted(class_ids: Tensor, config: Any) -> Tensor:
    """Return which class ids [N, K] are objects of a class to detect, bool."""
    if config.DETECTION_CLASSES is None:
        return class_ids > 0
    known = ops.convert_to_tensor([int(i) for i in config.DETECTION_CLASSES], "int32")
    return ops.any(class_ids[..., None] == known, axis=-1)


def _suppress(
    boxes: Tensor, scores: Tensor, class_ids: Tensor, valid: Tensor, config: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the indices [N, D] of the detections among the candidates, whether each is one, and their scores."""
    classes = None if config.DETECTION_CLASS_AGNOSTIC_NMS else class_ids
    most, threshold = config.DETECTION_MAX_INSTANCES, config.DETECTION_NMS_THRESHOLD
    if config.DETECTION_SOFT_NMS:
        sigma = config.DETECTION_SOFT_NMS_SIGMA if config.DETECTION_SOFT_NMS == "gaussian" else None
        minimum = config.DETECTION_MIN_CONFIDENCE or 0.0
        return soft_non_max_suppression(boxes, scores, most, threshold, sigma, minimum, classes, valid)
    index, keep = non_max_suppression(boxes, scores, most, threshold, classes, valid)
    return index, keep, batch_gather(scores[..., None], index)[..., 0]


def refine_detections_graph(rois: Tensor, probs: Tensor, deltas: Tensor, window: Tensor, config: Any) -> Tensor:
    """Matterport's name: run `refine_detections` on one image; arguments and result lack the batch axis.

    Raises:
        InputError: DETECTION_MIN_SIZE is set, which needs the image's size.
    """
    return refine_detections(rois[None], probs[None], deltas[None], window[None], config)[0]


@keras.saving.register_keras_serializable("mrcnn")
class DetectionLayer(layers.Layer):
    """`refine_detections` as a layer on [rois, mrcnn_class, mrcnn_bbox, image_meta], always in float32."""

    def __init__(self, config: Any, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.config = config

    def call(self, inputs: list[Tensor]) -> Tensor:
        rois, probs, deltas, meta = inputs
        return refine_detections(rois, probs, deltas, windows_norm(meta, self.config), self.config, meta)

    def compute_output_spec(self, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
        return keras.KerasTensor((inputs[0].shape[0], self.config.DETECTION_MAX_INSTANCES, 6), dtype="float32")
