"""Training targets of the RPN and of the heads: match with the ground truth, sample, and encode deltas and masks.

Legend: N batch, A anchors, S sampled anchors, P proposals, R sampled ROIs, G padded ground-truth slots, K rows of any
kind, mh mw a target mask. Boxes are (y1, x1, y2, x2).

A ground-truth slot holds an object if its class id is positive, a crowd (a region that is neither object nor
background) if it is negative, and padding if it is 0. All shapes are static: random choices are a `top_k` over random
keys, and unused rows are zero.

References: Ren et al., Faster R-CNN (arXiv:1506.01497), section 3.1.2; He et al., Mask R-CNN (arXiv:1703.06870),
section 3.1.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn.backend.replicas import uniform_rows
from mrcnn.modeling.crops import crop_and_resize
from mrcnn.modeling.ops import as_data, batch_gather
from mrcnn.modeling.roi_align import roi_align
from mrcnn.structures.boxes import box_refinement, compute_overlaps

Tensor = Any  # a tensor of the current backend, or a KerasTensor while a model is being built

# Faster R-CNN, section 3.1.2, for anchors; Mask R-CNN, section 3.1, for ROIs.
ANCHOR_POSITIVE_IOU = 0.7
ANCHOR_NEGATIVE_IOU = 0.3
ROI_POSITIVE_IOU = 0.5
# A box that overlaps a crowd more than this may contain unlabelled objects, so it is not background.
CROWD_IOU = 0.001
# Relative difference within which two IoUs tie. Anchors that overlap an object equally in exact arithmetic differ by
# rounding in float32 (epsilon 1.2e-7), and a compiler may round two copies of one expression differently.
TIE = 1e-5


# ---------------------------------------------------------------------------------------------------- heads


def detection_targets(
    proposals: Tensor,
    gt_class_ids: Tensor,
    gt_boxes_norm: Tensor,
    gt_masks: Tensor,
    config: Any,
    seed_generator: keras.random.SeedGenerator | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sample ROIs of each image for the heads and assign each its class, deltas and mask.

    A ROI is positive if its IoU with an object is at least 0.5, and negative below that if it touches no crowd. At most
    int(R * ROI_POSITIVE_RATIO) positives are drawn, then as many negatives as keep that ratio (none without a positive;
    with TRAIN_EMPTY_IMAGES an image without objects gets R times one minus the ratio).

    Args:
        proposals: [N, P, (y1, x1, y2, x2)] float, normalised, zero padded. No gradient flows back into them.
        gt_class_ids: [N, G] int, negative for crowds, 0 for padding.
        gt_boxes_norm: [N, G, 4] float, normalised.
        gt_masks: [N, h, w, G] bool or float; with USE_MINI_MASK mini-masks, each covering its box, else masks of the
            whole image.
        config: TRAIN_ROIS_PER_IMAGE (R), ROI_POSITIVE_RATIO, BBOX_STD_DEV, USE_MINI_MASK, MASK_SHAPE,
            BOX_CONVENTION, PROPOSAL_APPEND_GT and TRAIN_EMPTY_IMAGES are read.
        seed_generator: source of the random choice; None uses that of keras.random (not inside a compiled step).

    Returns:
        rois [N, R, 4] float32: positives, then negatives, then zeros.
        target_class_ids [N, R] int32: 0 for negatives and padding.
        target_deltas [N, R, (dy, dx, log(dh), log(dw))] float32 over BBOX_STD_DEV, zero unless positive.
        target_masks [N, R, mh, mw] float32, 0 or 1, zero unless positive, so rows from int(R * ROI_POSITIVE_RATIO) on
        are always zero.
    """
    size = config.TRAIN_ROIS_PER_IMAGE
    max_positives = int(size * config.ROI_POSITIVE_RATIO)
    proposals = as_data(proposals)
    gt_boxes_norm = ops.cast(gt_boxes_norm, "float32")
    gt_class_ids = ops.cast(gt_class_ids, "int32")

    if config.PROPOSAL_APPEND_GT:
        proposals = ops.concatenate([proposals, ops.where((gt_class_ids > 0)[..., None], gt_boxes_norm, 0.0)], axis=1)
    positive, negative, best_gt = _match_rois(proposals, gt_boxes_norm, gt_class_ids)
    keys = uniform_rows(ops.shape(positive), seed_generator)
    positive_index, positive_chosen = _sample(positive, keys, max_positives)
    negative_index, negative_chosen = _sample(negative, keys, size)
    positives = _count(positive_chosen)  # [N, 1]
    negatives = ops.cast(ops.cast(positives, "float32") * (1.0 / config.ROI_POSITIVE_RATIO), "int32") - positives
    if config.TRAIN_EMPTY_IMAGES:
        is_empty = ops.logical_not(ops.any(gt_class_ids > 0, axis=1, keepdims=True))
        negatives = ops.where(is_empty, size - max_positives, negatives)
    negatives = ops.minimum(negatives, _count(negative_chosen))
    index, is_positive, is_negative = _pack(positive_index, positives, negative_index, negatives, size)  # [N, R]

    rois = ops.where(ops.logical_or(is_positive, is_negative)[..., None], batch_gather(proposals, index), 0.0)
    gt_index = batch_gather(best_gt, index)  # [N, R]
    roi_gt_boxes = batch_gather(gt_boxes_norm, gt_index)  # [N, R, 4]
    class_ids = ops.where(is_positive, batch_gather(gt_class_ids, gt_index), 0)
    deltas = box_refinement(rois, roi_gt_boxes) / ops.convert_to_tensor(config.BBOX_STD_DEV, "float32")
    deltas = ops.where(is_positive[..., None], deltas, 0.0)

    top = slice(0, max_positives)
    masks = _crop_masks(gt_masks, gt_index[:, top], rois[:, top], roi_gt_boxes[:, top], config)  # [N, R+, mh, mw]
    masks = ops.where(is_positive[:, top, None, None], masks, 0.0)
    masks = ops.pad(masks, [[0, 0], [0, size - max_positives], [0, 0], [0, 0]])
    return rois, class_ids, deltas, masks


def detection_targets_graph(
    proposals: Tensor, gt_class_ids: Tensor, gt_boxes: Tensor, gt_masks: Tensor, config: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Matterport's name: run `detection_targets` on one image; arguments and results lack the batch axis."""
    rois, class_ids, deltas, masks = detection_targets(
        proposals[None], gt_class_ids[None], gt_boxes[None], gt_masks[None], config
    )
    return rois[0], class_ids[0], deltas[0], masks[0]


@keras.saving.register_keras_serializable("mrcnn")
class DetectionTargetLayer(keras.layers.Layer):
    """`detection_targets` as a layer on [proposals, gt_class_ids, gt_boxes_norm, gt_masks], always in float32."""

    def __init__(self, config: Any, seed: int | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")  # half precision would shift boxes by pixels
        super().__init__(**kwargs)
        self.config = config
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        proposals, gt_class_ids, gt_boxes_norm, gt_masks = inputs
        return detection_targets(proposals, gt_class_ids, gt_boxes_norm, gt_masks, self.config, self.seed_generator)


def _match_rois(proposals: Tensor, gt_boxes: Tensor, gt_class_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Match proposals with objects.

    Returns positive [N, P] bool, negative [N, P] bool, and the object that each proposal overlaps most [N, P] int32.
    """
    overlaps = compute_overlaps(proposals, gt_boxes)  # [N, P, G]
    iou = ops.where((gt_class_ids > 0)[:, None], overlaps, 0.0)
    crowd_iou = ops.max(ops.where((gt_class_ids < 0)[:, None], overlaps, 0.0), axis=-1)  # [N, P]
    best_iou = ops.max(iou, axis=-1)
    is_roi = ops.any(ops.not_equal(proposals, 0), axis=-1)  # [N, P]; zero rows are padding, not background
    positive = ops.logical_and(is_roi, best_iou >= ROI_POSITIVE_IOU)
    negative = ops.logical_and(best_iou < ROI_POSITIVE_IOU, crowd_iou < CROWD_IOU)
    return positive, ops.logical_and(is_roi, negative), ops.cast(ops.argmax(iou, axis=-1), "int32")


def _crop_masks(gt_masks: Tensor, gt_index: Tensor, rois: Tensor, roi_gt_boxes: Tensor, config: Any) -> Tensor:
    """Crop each ROI's part of its object's mask, [N, K] ROIs -> [N, K, mh, mw] float32, 0 or 1.

    With Matterport's boxes the corners of the target are those of the ROI; with continuous ones each of its pixels is
    a cell of the ROI, as MASK_PASTE pastes it.
    """
    height, width = gt_masks.shape[1:3]
    count = gt_index.shape[1]
    masks = batch_gather(ops.transpose(gt_masks, (0, 3, 1, 2)), gt_index)  # [N, K, h, w]
    masks = ops.cast(ops.reshape(masks, (-1, height, width, 1)), "float32")  # [N * K, h, w, 1]
    boxes = _relative_to(rois, roi_gt_boxes) if config.USE_MINI_MASK else rois
    boxes, size = ops.reshape(boxes, (-1, 1, 4)), (config.MASK_SHAPE[0], config.MASK_SHAPE[1])
    if config.BOX_CONVENTION == "continuous":
        crops = roi_align([masks], boxes, ops.zeros_like(boxes[..., 0], "int32"), size, 2, aligned=True)
    else:
        crops = crop_and_resize(masks, boxes, size)  # [N * K, 1, mh, mw, 1]
    return ops.round(ops.reshape(crops, (-1, count, *size)))  # [N, K, mh, mw]


def _relative_to(boxes: Tensor, frames: Tensor) -> Tensor:
    """Convert boxes [..., 4] to coordinates in which the box `frames` [..., 4] is (0, 0, 1, 1)."""
    corner = ops.concatenate([frames[..., :2]] * 2, axis=-1)
    sides = ops.concatenate([frames[..., 2:] - frames[..., :2]] * 2, axis=-1)
    return (boxes - corner) / ops.where(sides > 0, sides, 1.0)


# ---------------------------------------------------------------------------------------------------- RPN


def rpn_targets(
    anchors: Tensor,
    gt_boxes: Tensor,
    gt_class_ids: Tensor,
    config: Any,
    seed_generator: keras.random.SeedGenerator | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sample anchors of each image for the RPN, inside the graph.

    Positive: IoU >= 0.7 with an object, or the highest IoU of all anchors with an object (if above 0). Negative: IoU
    below 0.3 with all objects, and no overlap with a crowd. At most half of the S anchors are positive; negatives fill
    up the rest. Two errors of the original are fixed: an object that overlaps no anchor makes no anchor positive
    (there, it made all of them positive), and an anchor that is an object's best match regresses to that object (there,
    to the object that the anchor itself overlaps most).

    Args:
        anchors: [A, (y1, x1, y2, x2)] float, the same for all images. Pixels give Matterport's deltas.
        gt_boxes: [N, G, 4] float or int, in pixels or normalised like the anchors.
        gt_class_ids: [N, G] int, negative for crowds, 0 for padding.
        config: RPN_TRAIN_ANCHORS_PER_IMAGE (S) and RPN_BBOX_STD_DEV are read.
        seed_generator: source of the random choice; None uses that of keras.random (not inside a compiled step).

    Returns:
        index [N, S] int32 of the sampled anchors: positives, negatives, then 0 as padding.
        match [N, S] int32: 1, -1, and 0 for padding.
        deltas [N, S, (dy, dx, log(dh), log(dw))] float32 over RPN_BBOX_STD_DEV, zero unless positive.
    """
    size = config.RPN_TRAIN_ANCHORS_PER_IMAGE
    anchors, gt_boxes = ops.cast(anchors, "float32"), ops.cast(gt_boxes, "float32")
    positive, negative, anchor_gt = _match_anchors(anchors, gt_boxes, ops.cast(gt_class_ids, "int32"))
    keys = uniform_rows(ops.shape(positive), seed_generator)
    positive_index, positive_chosen = _sample(positive, keys, size // 2)
    negative_index, negative_chosen = _sample(negative, keys, size)
    positives, negatives = _count(positive_chosen), _count(negative_chosen)
    index, is_positive, is_negative = _pack(positive_index, positives, negative_index, negatives, size)
    match = ops.cast(is_positive, "int32") - ops.cast(is_negative, "int32")
    boxes = batch_gather(gt_boxes, batch_gather(anchor_gt, index))  # [N, S, 4]
    deltas = box_refinement(ops.take(anchors, index, axis=0), boxes)
    deltas = deltas / ops.convert_to_tensor(config.RPN_BBOX_STD_DEV, "float32")
    return index, match, ops.where(is_positive[..., None], deltas, 0.0)


def _match_anchors(anchors: Tensor, gt_boxes: Tensor, gt_class_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Match anchors with objects.

    Returns positive [N, A] bool, negative [N, A] bool, and the object to regress to [N, A] int32.

    Loops over ground-truth slots, up to the last that is used, with running maxima per anchor: the [N, A, G] overlaps,
    105 MB per image at 1024 px, are never materialised.
    """

    def next_slot(
        slot: Tensor, best_iou: Tensor, best_gt: Tensor, forced_iou: Tensor, forced_gt: Tensor, crowd_iou: Tensor
    ) -> tuple[Tensor, ...]:
        ids = ops.take(gt_class_ids, slot, axis=1)[:, None]  # [N, 1]
        overlaps = compute_overlaps(ops.take(gt_boxes, slot, axis=1)[:, None], anchors)[:, 0]  # [N, A]
        crowd_iou = ops.maximum(crowd_iou, ops.where(ids < 0, overlaps, 0.0))
        iou = ops.where(ids > 0, overlaps, 0.0)
        best_gt = ops.where(iou > best_iou, slot, best_gt)
        best_iou = ops.maximum(best_iou, iou)
        # An object that no anchor overlaps has IoU 0 everywhere and so forces no anchor.
        nearest = ops.max(iou, axis=1, keepdims=True) * (1.0 - TIE)
        iou = ops.where(iou >= nearest, iou, 0.0)
        forced_gt = ops.where(iou > forced_iou, slot, forced_gt)
        return slot + 1, best_iou, best_gt, ops.maximum(forced_iou, iou), forced_gt, crowd_iou

    slots = ops.arange(1, gt_class_ids.shape[1] + 1, dtype="int32")  # [G]
    used = ops.max(ops.where(ops.not_equal(gt_class_ids, 0), slots, 0))
    nothing = ops.zeros((ops.shape(gt_boxes)[0], anchors.shape[0]), "float32")  # [N, A]
    nobody = ops.cast(nothing, "int32")
    start = (ops.cast(0, "int32"), nothing, nobody, nothing, nobody, nothing)
    _, best_iou, best_gt, forced_iou, forced_gt, crowd_iou = ops.while_loop(
        lambda slot, *_: slot < used, next_slot, start
    )
    forced = forced_iou > 0
    positive = ops.logical_or(forced, best_iou >= ANCHOR_POSITIVE_IOU)
    negative = ops.logical_and(best_iou < ANCHOR_NEGATIVE_IOU, crowd_iou < CROWD_IOU)
    negative = ops.logical_and(negative, ops.logical_not(positive))
    return positive, negative, ops.where(forced, forced_gt, best_gt)


def build_rpn_targets(
    image_shape: tuple, anchors: np.ndarray, gt_class_ids: np.ndarray, gt_boxes: np.ndarray, config: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Matterport's numpy interface: match all anchors of one image, with targets packed in the order of the positives.

    Follows the rules of `rpn_targets`, but draws with np.random in Matterport's order.

    Args:
        image_shape: (H, W, ...), not used.
        anchors: [A, (y1, x1, y2, x2)] float pixels.
        gt_class_ids: [G] int, negative for crowds; no padding.
        gt_boxes: [G, 4] pixels.
        config: RPN_TRAIN_ANCHORS_PER_IMAGE (S) and RPN_BBOX_STD_DEV are read.

    Returns:
        rpn_match [A] int32: 1 positive, -1 negative, 0 neutral.
        rpn_bbox [S, 4] float64: deltas over RPN_BBOX_STD_DEV of the positive anchors, then zeros.
    """
    size = config.RPN_TRAIN_ANCHORS_PER_IMAGE
    overlaps = compute_overlaps(anchors, gt_boxes)  # [A, G]
    objects = gt_boxes[gt_class_ids > 0]
    iou = overlaps[:, gt_class_ids > 0]
    best_iou = iou.max(axis=1, initial=0.0)
    forced = (iou == iou.max(axis=0, initial=0.0)) & (iou > 0)  # [A, objects]
    clear = (overlaps[:, gt_class_ids < 0] < CROWD_IOU).all(axis=1)

    rpn_match = np.zeros(len(anchors), np.int32)
    rpn_match[(best_iou < ANCHOR_NEGATIVE_IOU) & clear] = -1
    rpn_match[forced.any(axis=1) | (best_iou >= ANCHOR_POSITIVE_IOU)] = 1
    _drop_random(rpn_match, 1, size // 2)
    _drop_random(rpn_match, -1, size - np.sum(rpn_match == 1))

    rpn_bbox = np.zeros((size, 4))
    positive = np.flatnonzero(rpn_match == 1)
    if len(positive):
        is_forced = forced[positive].any(axis=1, keepdims=True)
        anchor_gt = np.where(~is_forced | forced[positive], iou[positive], -1).argmax(axis=1)
        rpn_bbox[: len(positive)] = _deltas_float64(anchors[positive], objects[anchor_gt]) / config.RPN_BBOX_STD_DEV
    return rpn_match, rpn_bbox


def _drop_random(rpn_match: np.ndarray, value: int, limit: int) -> None:
    """Make all but `limit` anchors with this value neutral, in place."""
    ids = np.flatnonzero(rpn_match == value)
    if len(ids) > limit:
        rpn_match[np.random.choice(ids, len(ids) - limit, replace=False)] = 0


def _deltas_float64(boxes: np.ndarray, gt_boxes: np.ndarray) -> np.ndarray:
    """Return `box_refinement` in the float64 of Matterport's anchor targets; its own result is float32, as Matterport's
    is.
    """
    sides, gt_sides = boxes[:, 2:] - boxes[:, :2], gt_boxes[:, 2:] - gt_boxes[:, :2]
    shift = gt_boxes[:, :2] + 0.5 * gt_sides - (boxes[:, :2] + 0.5 * sides)
    return np.concatenate([shift / sides, np.log(gt_sides / sides)], axis=1)


# ---------------------------------------------------------------------------------------------------- sampling


def _sample(candidates: Tensor, keys: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Pick the candidates [N, K] with the highest keys, at most `count`: index [N, count], chosen [N, count] bool."""
    keys = ops.where(candidates, keys, -1.0)
    missing = count - keys.shape[1]
    if missing > 0:
        keys = ops.pad(keys, [[0, 0], [0, missing]], constant_values=-1.0)
    values, index = ops.top_k(keys, count)
    return ops.minimum(ops.cast(index, "int32"), candidates.shape[1] - 1), values >= 0


def _count(flags: Tensor) -> Tensor:
    """Count the true flags of each row: [N, K] bool -> [N, 1] int32."""
    return ops.sum(ops.cast(flags, "int32"), axis=1, keepdims=True)


def _pack(
    positive_index: Tensor, positives: Tensor, negative_index: Tensor, negatives: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Put positives, then negatives, into `size` rows.

    Args:
        positive_index: [N, K <= size], of which the first `positives` count.
        positives: [N, 1].
        negative_index: [N, size], of which the first `negatives` count.
        negatives: [N, 1].
        size: rows of the result.

    Returns:
        index [N, size], 0 where unused, and the flags is_positive and is_negative [N, size].
    """
    row = ops.arange(size, dtype="int32")[None]  # [1, size]
    is_positive = row < positives
    is_negative = ops.logical_and(row >= positives, row < positives + negatives)
    positive_index = ops.pad(positive_index, [[0, 0], [0, size - positive_index.shape[1]]])
    negative_index = batch_gather(negative_index, ops.clip(row - positives, 0, size - 1))
    index = ops.where(is_positive, positive_index, ops.where(is_negative, negative_index, 0))
    return index, is_positive, is_negative
