"""Operations that Keras lacks: gathering rows of each image, and non-maximum suppression.

Everything is batched, has static shapes and does not loop over images (but for TensorFlow's own suppression kernel).

Legend: N batch, K boxes per image, M boxes selected, T tiles, B boxes per tile.
"""

from typing import Any

import keras
import numpy as np

from mrcnn.structures import boxes as box_ops

Tensor = Any  # a tensor of the current backend

NMS_TILE = 256  # boxes per tile: 256 x 256 float32 overlaps are 256 KiB and fit into a core's cache


def has_native_kernels() -> bool:
    """Return whether to use TensorFlow's NMS and crop-and-resize: they are faster, but XLA has no crop-and-resize."""
    if keras.config.backend() != "tensorflow":
        return False
    from tensorflow.python.framework.ops import get_default_graph
    from tensorflow.python.ops import control_flow_util

    return not control_flow_util.GraphOrParentsInXlaContext(get_default_graph())


def as_data(values: keras.KerasTensor) -> keras.KerasTensor:
    """Return the same values [...] in float32, with the gradient stopped: for boxes and scores, in any precision."""
    return keras.ops.stop_gradient(keras.ops.cast(values, "float32"))


def batch_gather(values: keras.KerasTensor, indices: keras.KerasTensor) -> keras.KerasTensor:
    """Gather rows of each image by index.

    Args:
        values: [N, K, ...].
        indices: [N, M] int, each 0 <= index < K.

    Returns:
        [N, M, ...].
    """
    values = keras.ops.convert_to_tensor(values)
    images, count = keras.ops.shape(values)[:2]
    # A single gather of rows is much cheaper than take_along_axis, which needs an index for every element.
    first = keras.ops.arange(images, dtype="int32")[:, None] * count  # [N, 1]
    rows = keras.ops.reshape(values, (-1, *values.shape[2:]))  # [N * K, ...]
    return keras.ops.take(rows, keras.ops.cast(indices, "int32") + first, axis=0)  # [N, M, ...]


def non_max_suppression(
    boxes: keras.KerasTensor,
    scores: keras.KerasTensor,
    max_outputs: int,
    iou_threshold: float,
    class_ids: keras.KerasTensor | None = None,
    valid: keras.KerasTensor | None = None,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Select boxes greedily by descending score, dropping those that overlap a selected one too much. Exact.

    Args:
        boxes: [N, K, (y1, x1, y2, x2)] float in any coordinates; corners may be swapped. K is static unless
            TensorFlow's own kernels run.
        scores: [N, K] float. Ties go to the lower index. -inf and nan are never selected.
        max_outputs: M, the size of the result.
        iou_threshold: 0 to 1. A box is dropped if its IoU with a selected one exceeds this; boxes without area overlap
            nothing.
        class_ids: [N, K] int; if given, only boxes of the same class suppress each other.
        valid: [N, K] bool; false marks padding, which is never selected.

    Returns:
        indices [N, M] int32 into K by descending score, and keep [N, M] bool. True rows come first; where keep is
        false, the index is 0.
    """
    # Selection has no gradient, and JAX cannot differentiate a while loop in reverse mode.
    boxes, scores = as_data(boxes), as_data(scores)
    a, b = boxes[..., :2], boxes[..., 2:]
    boxes = keras.ops.concatenate([keras.ops.minimum(a, b), keras.ops.maximum(a, b)], axis=-1)
    candidate = scores > -np.inf
    if valid is not None:
        candidate = keras.ops.logical_and(candidate, valid)
    scores = keras.ops.where(candidate, scores, -np.inf)
    if class_ids is None and has_native_kernels():
        return _native_nms(boxes, scores, max_outputs, iou_threshold)
    return _tiled_nms(boxes, scores, max_outputs, iou_threshold, class_ids)


def soft_non_max_suppression(
    boxes: keras.KerasTensor,
    scores: keras.KerasTensor,
    max_outputs: int,
    iou_threshold: float,
    sigma: float | None,
    min_score: float,
    class_ids: keras.KerasTensor | None = None,
    valid: keras.KerasTensor | None = None,
) -> tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor]:
    """Select boxes by descending score; each lowers the scores of the others that overlap it (Bodla et
    al., Soft-NMS, arXiv:1704.04503).

    Args:
        boxes: as in `non_max_suppression`.
        scores: as in `non_max_suppression`.
        max_outputs: M, the size of the result.
        iou_threshold: above it, the linear rule multiplies a score by 1 - IoU.
        sigma: of the gaussian rule, exp(-IoU^2 / sigma); None: the linear rule.
        min_score: boxes whose score falls below it are not selected.
        class_ids: as in `non_max_suppression`.
        valid: as in `non_max_suppression`.

    Returns:
        indices [N, M] int32 into K by descending score, keep [N, M] bool as `non_max_suppression` returns them, and the
        scores at which the boxes were selected, [N, M] float32.
    """
    ops = keras.ops
    boxes, scores = as_data(boxes), as_data(scores)
    candidate = scores > -np.inf if valid is None else ops.logical_and(scores > -np.inf, valid)
    scores = ops.where(candidate, scores, -np.inf)

    def next_box(number: Tensor, left: Tensor, chosen: Tensor, at: Tensor) -> tuple[Tensor, ...]:
        best = ops.cast(ops.argmax(left, axis=1), "int32")[:, None]  # [N, 1]
        best_score = batch_gather(left[..., None], best)[..., 0]
        iou = box_ops.compute_overlaps(batch_gather(boxes, best), boxes)[:, 0]  # [N, K]
        factor = ops.where(iou > iou_threshold, 1.0 - iou, 1.0) if sigma is None else ops.exp(-(iou**2) / sigma)
        if class_ids is not None:
            factor = ops.where(class_ids == batch_gather(class_ids, best), factor, 1.0)
        is_best = ops.arange(ops.shape(left)[1], dtype="int32") == best
        here = ops.arange(max_outputs, dtype="int32") == number  # [M]
        left = ops.where(ops.logical_or(is_best, left == -np.inf), -np.inf, left * factor)
        return number + 1, left, ops.where(here, best, chosen), ops.where(here, best_score, at)

    images = ops.shape(boxes)[0]
    empty = ops.zeros((images, max_outputs), "int32")
    start = (ops.cast(0, "int32"), scores, empty, ops.full((images, max_outputs), -np.inf, "float32"))
    _, _, chosen, at = ops.while_loop(lambda number, *_: number < max_outputs, next_box, start)
    keep = ops.logical_and(at > -np.inf, at >= min_score)
    return ops.where(keep, chosen, 0), keep, ops.where(keep, at, 0.0)


def _native_nms(boxes: Tensor, scores: Tensor, max_outputs: int, iou_threshold: float) -> tuple[Tensor, Tensor]:
    """Run `non_max_suppression` with TensorFlow's kernel, image by image."""
    import tensorflow as tf

    def one_image(inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        indices, count = tf.raw_ops.NonMaxSuppressionV4(
            boxes=inputs[0],
            scores=inputs[1],
            max_output_size=max_outputs,
            iou_threshold=iou_threshold,
            score_threshold=-np.inf,
            pad_to_max_output_size=True,
        )
        return indices, tf.range(max_outputs) < count

    signature = (tf.TensorSpec([max_outputs], tf.int32), tf.TensorSpec([max_outputs], tf.bool))
    return tf.map_fn(one_image, (boxes, scores), fn_output_signature=signature)


def _tiled_nms(
    boxes: Tensor, scores: Tensor, max_outputs: int, iou_threshold: float, class_ids: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Run `non_max_suppression` tile by tile: B sorted boxes against the M selected so far, then among themselves.

    This computes K x M overlaps instead of the textbook's K x K, and stops once M boxes are selected.
    """
    ops = keras.ops
    images, total = ops.shape(boxes)[0], boxes.shape[1]
    size = min(NMS_TILE, total)
    tiles = -(-total // size)
    order = ops.argsort(-scores, axis=-1)  # [N, K], stable on every backend; -inf and padding come last
    padding = tiles * size - total

    def by_score(values: Tensor, fill: float) -> Tensor:
        pad = [[0, 0], [0, padding]] + [[0, 0]] * (len(values.shape) - 2)
        return ops.pad(batch_gather(values, order), pad, constant_values=fill)

    boxes = by_score(boxes, 0.0)  # [N, T * B, 4]
    candidate = ops.reshape(by_score(scores > -np.inf, False), (-1, tiles, size))  # [N, T, B]
    classes = None if class_ids is None else by_score(class_ids, 0)  # [N, T * B]
    in_tile, places = ops.arange(size, dtype="int32"), ops.arange(max_outputs, dtype="int32")
    earlier = in_tile[:, None] < in_tile  # [B, B]: row before column

    def suppresses(taken: Tensor, tile: Tensor) -> Tensor:
        """[N, taken, tile] bool; both arguments are indices [N, ...] into the sorted boxes."""
        answer = box_ops.compute_overlaps(batch_gather(boxes, taken), batch_gather(boxes, tile)) > iou_threshold
        if classes is None:
            return answer
        same = batch_gather(classes, taken)[:, :, None] == batch_gather(classes, tile)[:, None]
        return ops.logical_and(answer, same)

    def next_tile(tile: Tensor, picked: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        here = ops.zeros_like(picked[:, :1]) + tile * size + in_tile  # [N, B]
        is_picked = places < count[:, None]  # [N, M]
        gone = ops.any(ops.logical_and(suppresses(picked, here), is_picked[:, :, None]), axis=1)  # [N, B]
        alive = ops.logical_and(ops.take(candidate, tile, axis=1), ops.logical_not(gone))
        keep = _greedy(ops.logical_and(suppresses(here, here), earlier), alive)
        # Append without a scatter: sort kept boxes to the front, then let each free slot look up its box.
        front = ops.argsort(ops.where(keep, in_tile, in_tile + size), axis=-1)
        slot = places - count[:, None]  # [N, M]
        new = batch_gather(front, ops.clip(slot, 0, size - 1)) + tile * size
        picked = ops.where(slot >= 0, ops.cast(new, "int32"), picked)
        count = ops.minimum(count + ops.sum(ops.cast(keep, "int32"), axis=1), max_outputs)
        return tile + 1, picked, count

    # Candidates are sorted to the front, so the tiles after the last one hold none.
    used = ops.max(ops.sum(ops.cast(scores > -np.inf, "int32"), axis=1))

    def unfinished(tile: Tensor, picked: Tensor, count: Tensor) -> Tensor:
        return ops.logical_and(tile * size < used, ops.any(count < max_outputs))

    start = (ops.cast(0, "int32"), ops.zeros((images, max_outputs), "int32"), ops.zeros((images,), "int32"))
    _, picked, count = ops.while_loop(unfinished, next_tile, start)
    keep = places < count[:, None]
    indices = batch_gather(order, ops.minimum(picked, total - 1))
    return ops.where(keep, ops.cast(indices, "int32"), 0), keep


def _greedy(suppresses: Tensor, alive: Tensor) -> Tensor:
    """Select greedily within a tile. suppresses [N, B, B] (only earlier to later), alive [N, B] -> kept [N, B].

    The greedy selection is the unique fixed point of kept = alive and not suppressed by a kept box. Each round settles
    at least the next box of every chain, so it ends after as many rounds as the longest chain: a handful.
    """
    ops = keras.ops

    def again(kept: Tensor, _: Tensor | None) -> tuple[Tensor, Tensor]:
        gone = ops.any(ops.logical_and(suppresses, kept[:, :, None]), axis=1)
        new = ops.logical_and(alive, ops.logical_not(gone))
        return new, ops.any(ops.not_equal(new, kept))

    return ops.while_loop(lambda kept, changed: changed, again, again(alive, None))[0]
