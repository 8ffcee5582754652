"""The five losses of Mask R-CNN (He et al., arXiv:1703.06870, section 3), as pure functions on padded batches.

Legend: N batch, A anchors, S sampled anchors, R sampled ROIs, C classes with background, h w a mask, K rows of any
kind.

Every loss is a float32 scalar: the mean over the rows of the whole batch that count, or 0 if none counts. If several
devices hold a part of the batch each, a part's loss is its contribution to that mean; the contributions add up to it.
The arithmetic is float32 whatever the compute dtype is, because sums of thousands of small terms lose precision in
bfloat16.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.backend.replicas import sum_over_replicas

Tensor = Any  # a tensor of the current backend, or a KerasTensor while a model is being built


def smooth_l1(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the smooth L1 loss of each element, with beta 1 (Girshick, Fast R-CNN, arXiv:1504.08083, eq. 3).

    Args:
        y_true: [...] float.
        y_pred: [...] float, same shape.

    Returns:
        [...] float32: 0.5 d^2 where |d| < 1, |d| - 0.5 elsewhere.
    """
    difference = ops.abs(ops.cast(y_true, "float32") - ops.cast(y_pred, "float32"))
    return ops.where(difference < 1.0, 0.5 * ops.square(difference), difference - 0.5)


def rpn_class_loss(match: Tensor, logits: Tensor) -> Tensor:
    """Return the cross-entropy of object against background over the anchors that are not neutral.

    Args:
        match: [N, S] int, 1 object, -1 background, 0 neutral or padding.
        logits: [N, S, 2] float, (background, object) before the softmax.

    Returns:
        float32 scalar.
    """
    is_object = ops.cast(ops.equal(match, 1), "int32")
    return _mean_where(ops.not_equal(match, 0), _cross_entropy(is_object, logits))


def rpn_bbox_loss(match: Tensor, target_deltas: Tensor, pred_deltas: Tensor) -> Tensor:
    """Return the smooth L1 loss of the positive anchors' deltas.

    Args:
        match: [N, S] int; only rows that are 1 count.
        target_deltas: [N, S, (dy, dx, log(dh), log(dw))] float, already divided by RPN_BBOX_STD_DEV.
        pred_deltas: [N, S, 4] float.

    Returns:
        float32 scalar, the mean over positive anchors and the four numbers.
    """
    return _mean_where(ops.equal(match, 1), ops.mean(smooth_l1(target_deltas, pred_deltas), axis=-1))


def mrcnn_class_loss(
    target_class_ids: Tensor,
    pred_class_logits: Tensor,
    active_class_ids: Tensor,
    roi_valid: Tensor | None = None,
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """Return the cross-entropy over classes, skipping ROIs whose predicted class the image's data set does not label.

    Matterport used the active classes of image 0 for the whole batch and divided by a sum that could be 0. Here each
    image uses its own row, and the loss is 0 if nothing is active.

    Args:
        target_class_ids: [N, R] int, 0 for background.
        pred_class_logits: [N, R, C] float.
        active_class_ids: [N, C] int, 1 for the classes of the data set that the image comes from, else 0.
        roi_valid: [N, R] bool, False for padding; None counts every row, as Matterport does.
        class_weights: C factors of at least 0, applied by target class. None weights all classes equally.

    Returns:
        float32 scalar, the (weighted) mean over the rows that count.
    """
    pred_class_ids = ops.argmax(pred_class_logits, axis=-1)  # [N, R]
    counts = ops.take_along_axis(ops.cast(active_class_ids, "int32"), pred_class_ids, axis=1) > 0  # [N, R]
    if roi_valid is not None:
        counts = ops.logical_and(counts, ops.cast(roi_valid, "bool"))
    cross_entropy = _cross_entropy(target_class_ids, pred_class_logits)
    if class_weights is None:
        return _mean_where(counts, cross_entropy)
    table = ops.convert_to_tensor([float(w) for w in class_weights], "float32")
    weights = ops.where(counts, ops.take(table, ops.cast(target_class_ids, "int32"), axis=0), 0.0)  # [N, R]
    return ops.sum(weights * cross_entropy) / ops.maximum(sum_over_replicas(ops.sum(weights)), keras.config.epsilon())


def mrcnn_bbox_loss(target_bbox: Tensor, target_class_ids: Tensor, pred_bbox: Tensor) -> Tensor:
    """Return the smooth L1 loss of the box that each positive ROI predicts for its target class.

    Args:
        target_bbox: [N, R, (dy, dx, log(dh), log(dw))] float, already divided by BBOX_STD_DEV.
        target_class_ids: [N, R] int; rows <= 0 do not count.
        pred_bbox: [N, R, C, 4] float deltas in the same units.

    Returns:
        float32 scalar, the mean over positive ROIs and the four numbers.
    """
    pred_deltas = _of_class(pred_bbox, target_class_ids, axis=2)  # [N, R, 4]
    return _mean_where(target_class_ids > 0, ops.mean(smooth_l1(target_bbox, pred_deltas), axis=-1))


def hard_rois(
    target_class_ids: Tensor, pred_class_logits: Tensor, target_bbox: Tensor, pred_bbox: Tensor, roi_valid: Tensor
) -> Tensor:
    """Return the half of each image's ROIs with the highest sum of class and box loss (Shrivastava et al.,
    arXiv:1604.03540).

    Args:
        target_class_ids: [N, R] int, 0 for background.
        pred_class_logits: [N, R, C] float.
        target_bbox: [N, R, 4] float deltas.
        pred_bbox: [N, R, C, 4] float deltas.
        roi_valid: [N, R] bool, False for padding.

    Returns:
        [N, R] bool; half of the valid ROIs, rounded up.
    """
    deltas = _of_class(pred_bbox, target_class_ids, axis=2)  # [N, R, 4]
    box_loss = ops.where(target_class_ids > 0, ops.mean(smooth_l1(target_bbox, deltas), axis=-1), 0.0)
    loss = ops.stop_gradient(_cross_entropy(target_class_ids, pred_class_logits) + box_loss)
    loss = ops.where(roi_valid, loss, -1.0)  # losses are not negative
    rank = ops.argsort(ops.argsort(-loss, axis=1), axis=1)  # [N, R], 0 for the highest
    count = ops.sum(ops.cast(roi_valid, "int32"), axis=1, keepdims=True)
    return ops.logical_and(roi_valid, rank < (count + 1) // 2)


def mrcnn_mask_loss(target_masks: Tensor, target_class_ids: Tensor, pred_mask_logits: Tensor) -> Tensor:
    """Return the binary cross-entropy of the mask that each positive ROI predicts for its target class, from logits.

    Args:
        target_masks: [N, R, h, w] float or bool, 0 or 1.
        target_class_ids: [N, R] int; rows <= 0 do not count.
        pred_mask_logits: [N, R, h, w, C] float, before the sigmoid.

    Returns:
        float32 scalar, the mean over the pixels of positive ROIs.
    """
    logits = _of_class(pred_mask_logits, target_class_ids, axis=4)  # [N, R, h, w]
    # -z log(p) - (1 - z) log(1 - p) with p = sigmoid(x) is softplus(x) - x z, which needs no log of a rounded number.
    per_pixel = ops.softplus(logits) - logits * ops.cast(target_masks, "float32")
    return _mean_where(target_class_ids > 0, ops.mean(per_pixel, axis=(2, 3)))


# ------------------------------------------------------------------------------------- Matterport's argument layouts


def rpn_class_loss_graph(rpn_match: Tensor, rpn_class_logits: Tensor) -> Tensor:
    """Return `rpn_class_loss` over all anchors: rpn_match [N, A, 1] int, logits [N, A, 2] -> float32 scalar."""
    return rpn_class_loss(ops.squeeze(rpn_match, axis=-1), rpn_class_logits)


def rpn_bbox_loss_graph(config: Any, target_bbox: Tensor, rpn_match: Tensor, rpn_bbox: Tensor) -> Tensor:
    """Return `rpn_bbox_loss` over all anchors, with targets packed in the order of the positive anchors.

    Args:
        config: not used; part of Matterport's signature.
        target_bbox: [N, S, 4] float deltas; row k belongs to the image's k-th positive anchor, zero padded.
        rpn_match: [N, A, 1] int.
        rpn_bbox: [N, A, 4] float deltas.

    Returns:
        float32 scalar.
    """
    match = ops.squeeze(rpn_match, axis=-1)  # [N, A]
    rank = ops.cumsum(ops.cast(ops.equal(match, 1), "int32"), axis=1) - 1  # [N, A], -1 before the first positive
    rank = ops.clip(rank, 0, target_bbox.shape[1] - 1)
    deltas = ops.take_along_axis(target_bbox, rank[..., None], axis=1)  # [N, A, 4]
    return rpn_bbox_loss(match, deltas, rpn_bbox)


def mrcnn_mask_loss_graph(target_masks: Tensor, target_class_ids: Tensor, pred_masks: Tensor) -> Tensor:
    """Return `mrcnn_mask_loss` of probabilities: pred_masks [N, R, h, w, C] in 0..1, clipped to Keras' epsilon."""
    epsilon = keras.config.epsilon()
    probs = ops.clip(ops.cast(pred_masks, "float32"), epsilon, 1.0 - epsilon)
    return mrcnn_mask_loss(target_masks, target_class_ids, ops.log(probs) - ops.log1p(-probs))


# ----------------------------------------------------------------------------------------------------------- helpers


def _mean_where(counts: Tensor, loss: Tensor) -> Tensor:
    """Return the mean of loss [N, K] over the rows where counts [N, K] is True, or 0 if there are none."""
    total = ops.sum(ops.where(counts, loss, 0.0))
    return total / ops.maximum(sum_over_replicas(ops.sum(ops.cast(counts, "float32"))), 1.0)


def _cross_entropy(class_ids: Tensor, logits: Tensor) -> Tensor:
    """Return the softmax cross-entropy: class_ids [N, K] int, logits [N, K, C] -> [N, K] float32."""
    logits = ops.cast(logits, "float32")
    return ops.logsumexp(logits, axis=-1) - _of_class(logits, class_ids, axis=2)


def _of_class(values: Tensor, class_ids: Tensor, axis: int) -> Tensor:
    """Select the entries of values [N, K, ...] along `axis` that belong to class_ids [N, K]: float32 without that axis.

    Uses a select and a sum instead of a gather: exact, and its gradient is a select too instead of a scatter.
    """
    values = ops.cast(values, "float32")
    shape = [1] * len(values.shape)
    shape[axis] = values.shape[axis]
    classes = ops.reshape(ops.arange(values.shape[axis], dtype="int32"), shape)  # [1, ..., C, ..., 1]
    wanted = ops.cast(class_ids, "int32")
    for _ in range(len(values.shape) - 2):
        wanted = ops.expand_dims(wanted, -1)  # [N, K, 1, ...]
    return ops.sum(ops.where(ops.equal(classes, wanted), values, 0.0), axis=axis)
