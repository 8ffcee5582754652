"""The operations that Keras lacks: non-maximum suppression and crop-and-resize. Only this file asks for the backend.

Everything is batched, has static shapes and does not loop over images (but for TensorFlow's own suppression kernel).

Legend: N batch, K boxes per image, M boxes selected, T tiles, B boxes per tile, L pyramid levels, H W C a feature map,
h w a crop.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.structures import boxes as box_ops

Tensor = Any  # a tensor of the current backend

NMS_TILE = 256  # boxes per tile: 256 x 256 float32 overlaps are 256 KiB and fit into a core's cache
FAR = 1e30  # a finite number beyond any coordinate


def _has_native_kernels() -> bool:
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
    if class_ids is None and _has_native_kernels():
        return _native_nms(boxes, scores, max_outputs, iou_threshold)
    return _tiled_nms(boxes, scores, max_outputs, iou_threshold, class_ids)


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

    def unfinished(tile: Tensor, picked: Tensor, count: Tensor) -> Tensor:
        return ops.logical_and(tile < tiles, ops.any(count < max_outputs))

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


def crop_and_resize(
    images: keras.KerasTensor, boxes_norm: keras.KerasTensor, crop_size: tuple[int, int]
) -> keras.KerasTensor:
    """Sample each box bilinearly on a regular grid, exactly as tf.image.crop_and_resize does.

    Args:
        images: [N, H, W, C] float.
        boxes_norm: [N, K, (y1, x1, y2, x2)] normalised: 0 and 1 are the centres of the first and the last pixel.
        crop_size: (h, w). The grid's corners are the box's corners.

    Returns:
        [N, K, h, w, C] in the dtype of `images`; 0 where a sample lies outside the image. Differentiable in `images`.
    """
    levels = keras.ops.zeros(keras.ops.shape(boxes_norm)[:2], dtype="int32")
    return pyramid_crop([images], boxes_norm, levels, crop_size)


def pyramid_crop(
    feature_maps: list[keras.KerasTensor],
    boxes_norm: keras.KerasTensor,
    levels: keras.KerasTensor,
    crop_size: tuple[int, int],
) -> keras.KerasTensor:
    """Run `crop_and_resize` with a feature map of its own for each box.

    Args:
        feature_maps: L maps [N, Hl, Wl, C] float.
        boxes_norm: [N, K, (y1, x1, y2, x2)] as in `crop_and_resize`.
        levels: [N, K] int32, indices into `feature_maps`.
        crop_size: (h, w).

    Returns:
        [N, K, h, w, C] in the dtype of the maps. Differentiable only in the maps.
    """
    # Where to sample is data, not something to learn; Matterport stops the gradient here too.
    boxes_norm = as_data(boxes_norm)
    feature_maps, levels = [keras.ops.convert_to_tensor(f) for f in feature_maps], keras.ops.cast(levels, "int32")
    crop = _native_crop if _has_native_kernels() else _gather_crop
    return crop(feature_maps, boxes_norm, levels, crop_size)


def _native_crop(
    feature_maps: Sequence[Tensor], boxes_norm: Tensor, levels: Tensor, crop_size: tuple[int, int]
) -> Tensor:
    """Run `pyramid_crop` with TensorFlow's kernel, level by level: 3 to 5 times as fast on a CPU as the gathers."""
    import tensorflow as tf

    @tf.custom_gradient
    def crop(*maps: Tensor) -> tuple[Tensor, Callable]:
        count = tf.shape(levels)[1]
        image = tf.repeat(tf.range(tf.shape(levels)[0]), count)  # [N * K]
        rows = tf.dynamic_partition(tf.range(tf.size(levels)), tf.reshape(levels, [-1]), len(maps))
        boxes = tf.reshape(boxes_norm, [-1, 4])
        finite = tf.reduce_all(tf.math.is_finite(boxes), axis=1, keepdims=True)
        boxes = tf.where(finite, boxes, 2.0)  # outside the image; with nan the kernel would read arbitrary memory
        crops = [
            tf.image.crop_and_resize(tf.cast(f, tf.float32), tf.gather(boxes, row), tf.gather(image, row), crop_size)
            for f, row in zip(maps, rows, strict=True)
        ]
        crops = tf.reshape(tf.dynamic_stitch(rows, crops), (-1, count, *crop_size, maps[0].shape[-1]))
        crops.set_shape((*levels.shape, *crop_size, maps[0].shape[-1]))

        def gradient(upstream: Tensor) -> list[Tensor]:
            # The kernel's own gradient depends on the order in which threads add into a pixel (0.3 % in the original).
            # A compiled graph computes only the indices and the weights of this second forward pass.
            with tf.GradientTape() as tape:
                tape.watch(maps)
                again = _gather_crop(maps, boxes_norm, levels, crop_size)
            return tape.gradient(again, maps, upstream)

        return tf.cast(crops, maps[0].dtype), gradient

    return crop(*feature_maps)


def _gather_crop(
    feature_maps: Sequence[Tensor], boxes_norm: Tensor, levels: Tensor, crop_size: tuple[int, int]
) -> Tensor:
    """Run `pyramid_crop` as four gathers from all maps laid end to end: the cost is independent of the number of
    levels.
    """
    ops = keras.ops
    images, channels = ops.shape(feature_maps[0])[0], feature_maps[0].shape[-1]
    flat = ops.concatenate([ops.reshape(f, (-1, channels)) for f in feature_maps], axis=0)  # [sum N * Hl * Wl, C]
    shapes = [ops.shape(f) for f in feature_maps]
    heights = ops.stack([ops.cast(s[1], "int32") for s in shapes])  # [L]
    widths = ops.stack([ops.cast(s[2], "int32") for s in shapes])
    pixels = heights * widths * images
    starts = ops.cumsum(pixels) - pixels  # the first row of each level in `flat`
    height, width, start = (ops.take(ops.cast(v, "int32"), levels, axis=0) for v in (heights, widths, starts))  # [N, K]

    y1, x1, y2, x2 = (boxes_norm[..., i] for i in range(4))
    top, bottom, weight_y, inside_y = _sample_points(y1, y2, height, crop_size[0])  # [N, K, h]
    left, right, weight_x, inside_x = _sample_points(x1, x2, width, crop_size[1])  # [N, K, w]
    first = start + ops.arange(images, dtype="int32")[:, None] * height * width  # [N, K], first row of each image

    def corner(row: Tensor, column: Tensor) -> Tensor:
        index = first[:, :, None, None] + row[..., None] * width[:, :, None, None] + column[:, :, None]
        return ops.take(flat, index, axis=0)  # [N, K, h, w, C]

    weight_x = ops.cast(weight_x, flat.dtype)[:, :, None, :, None]
    weight_y = ops.cast(weight_y, flat.dtype)[:, :, :, None, None]
    upper_left, upper_right, lower_left, lower_right = (corner(r, c) for r in (top, bottom) for c in (left, right))
    upper = upper_left + (upper_right - upper_left) * weight_x
    lower = lower_left + (lower_right - lower_left) * weight_x
    inside = ops.logical_and(inside_y[..., None], inside_x[:, :, None])[..., None]
    return ops.where(inside, upper + (lower - upper) * weight_y, ops.zeros((), flat.dtype))


def _sample_points(low: Tensor, high: Tensor, size: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Locate `count` points along one axis, from low * (size - 1) to high * (size - 1), both included.

    low, high [N, K] float32 normalised, size [N, K] int32 -> below, above [N, K, count] int32 (the two pixels around
    each point), the weight of the second [N, K, count], and whether the point is inside the map.
    """
    ops = keras.ops
    last = ops.cast(size - 1, "float32")
    if count == 1:
        points = (0.5 * (low + high) * last)[..., None]
    else:
        # For a box that ends at 1.0, the rounding of this sum decides whether its last row is sampled or is 0, so it
        # must round as in the original, compiled or not. XLA would turn the division by a constant into a product, and
        # a * b + c into one fused operation that rounds once instead of twice. The maximum and the minimums change no
        # value: they hide the constant behind a run-time number and keep product and sum apart.
        step = (high - low) * last / ops.maximum(low - FAR, count - 1.0)
        offsets = step[..., None] * ops.arange(count, dtype="float32")
        points = ops.minimum(low * last, FAR)[..., None] + ops.minimum(offsets, FAR)
    inside = ops.logical_and(points >= 0, points <= last[..., None])
    points = ops.where(inside, points, 0.0)  # also for nan: any valid index will do, since the result is 0
    below = ops.floor(points)
    above = ops.cast(ops.ceil(points), "int32")
    return ops.cast(below, "int32"), above, points - below, inside
