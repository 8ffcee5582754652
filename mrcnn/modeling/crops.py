"""Crop-and-resize, which Keras lacks: parts of feature maps, sampled bilinearly on a grid.

Everything is batched, has static shapes and does not loop over images.

Legend: N batch, K boxes per image, L pyramid levels, H W C a feature map, h w a crop.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from mrcnn.modeling.ops import as_data, has_native_kernels

Tensor = Any  # a tensor of the current backend

FAR = 1e30  # a finite number beyond any coordinate


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
    crop = _native_crop if has_native_kernels() else _gather_crop
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
    flat = as_rows(feature_maps)
    shapes = [ops.shape(f) for f in feature_maps]
    corners, weight_y, weight_x, inside = _corners(shapes, boxes_norm, levels, crop_size)
    weight_y, weight_x = ops.cast(weight_y, flat.dtype), ops.cast(weight_x, flat.dtype)
    upper_left, upper_right, lower_left, lower_right = (ops.take(flat, index, axis=0) for index in corners)
    upper = upper_left + (upper_right - upper_left) * weight_x
    lower = lower_left + (lower_right - lower_left) * weight_x
    return ops.where(inside, upper + (lower - upper) * weight_y, ops.zeros((), flat.dtype))


def as_rows(feature_maps: Sequence[Tensor]) -> Tensor:
    """Lay maps [N, Hl, Wl, C] end to end: [sum of N * Hl * Wl, C]."""
    channels = feature_maps[0].shape[-1]
    return keras.ops.concatenate([keras.ops.reshape(f, (-1, channels)) for f in feature_maps], axis=0)


def _corners(
    shapes: Sequence[tuple], boxes_norm: Tensor, levels: Tensor, crop_size: tuple[int, int]
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """Locate the four pixels around each sample of `pyramid_crop` in `as_rows` of maps of these shapes.

    Returns:
        the rows of the pixels upper left, upper right, lower left and lower right, int32 [N, K, h, w] each; the weights
        of the lower and of the right ones, [N, K, h, 1, 1] and [N, K, 1, w, 1]; and whether each sample is inside the
        map, [N, K, h, w, 1].
    """
    ops = keras.ops
    images = shapes[0][0]
    heights = ops.stack([ops.cast(s[1], "int32") for s in shapes])  # [L]
    widths = ops.stack([ops.cast(s[2], "int32") for s in shapes])
    pixels = heights * widths * images
    starts = ops.cumsum(pixels) - pixels  # the first row of each level
    height, width, start = (ops.take(ops.cast(v, "int32"), levels, axis=0) for v in (heights, widths, starts))  # [N, K]

    y1, x1, y2, x2 = (boxes_norm[..., i] for i in range(4))
    top, bottom, weight_y, inside_y = _sample_points(y1, y2, height, crop_size[0])  # [N, K, h]
    left, right, weight_x, inside_x = _sample_points(x1, x2, width, crop_size[1])  # [N, K, w]
    first = start + ops.arange(images, dtype="int32")[:, None] * height * width  # [N, K], first row of each image

    def corner(row: Tensor, column: Tensor) -> Tensor:
        return first[:, :, None, None] + row[..., None] * width[:, :, None, None] + column[:, :, None]

    corners = [corner(row, column) for row in (top, bottom) for column in (left, right)]
    inside = ops.logical_and(inside_y[..., None], inside_x[:, :, None])[..., None]
    return corners, weight_y[:, :, :, None, None], weight_x[:, :, None, :, None], inside


def pyramid_crop_transpose(
    upstream: Tensor, shapes: Sequence[tuple], boxes_norm: Tensor, levels: Tensor, crop_size: tuple[int, int]
) -> Tensor:
    """Return the gradient of `pyramid_crop` with respect to its maps: each sample is added to its four pixels.

    Args:
        upstream: [N, K, h, w, C] float32, the gradient with respect to the crops.
        shapes: (N, Hl, Wl, C) of the maps.
        boxes_norm: [N, K, 4], as `pyramid_crop` took them.
        levels: [N, K] int32.
        crop_size: (h, w).

    Returns:
        [sum of N * Hl * Wl, C] float32, in the order of `as_rows`.
    """
    ops = keras.ops
    corners, y, x, inside = _corners(shapes, boxes_norm, levels, crop_size)
    upstream = ops.where(inside, upstream, 0.0)
    weights = [(1.0 - y) * (1.0 - x), (1.0 - y) * x, y * (1.0 - x), y * x]
    values = ops.concatenate([ops.reshape(upstream * w, (-1, upstream.shape[-1])) for w in weights], axis=0)
    index = ops.concatenate([ops.reshape(corner, (-1,)) for corner in corners])
    return ops.segment_sum(values, index, num_segments=sum(s[0] * s[1] * s[2] for s in shapes))


def native_adaptive_crop(maps: Sequence[Tensor], rows: Any, columns: Any, levels: Tensor) -> Tensor:
    """Average the samples of each cell with TensorFlow's kernel, for all ROIs with equally many samples together.

    Args:
        maps: L maps [N, Hl, Wl, C].
        rows: `mrcnn.modeling.roi_align.Grid` of the rows: where the cells of the ROIs lie.
        columns: that of the columns.
        levels: int32 [N, K].

    Returns:
        [N, K, h, w, C] in the dtype of the maps.
    """
    import tensorflow as tf

    (top, bottom), (left, right) = rows.all_samples(), columns.all_samples()
    boxes = tf.reshape(tf.stack([top, left, bottom, right], axis=-1), [-1, 4])
    image = tf.repeat(tf.range(tf.shape(levels)[0]), tf.shape(levels)[1])
    flat_levels, channels = tf.reshape(levels, [-1]), maps[0].shape[-1]
    samples = [tf.cast(tf.reshape(grid.samples, [-1]), tf.int32) for grid in (rows, columns)]  # [N * K] each
    kinds, kind_of = tf.unique(samples[0] * 100_000 + samples[1])
    floats = [tf.cast(f, tf.float32) for f in maps]

    def one_kind(number: Tensor, crops: Tensor) -> tuple[Tensor, Tensor]:
        ny, nx = kinds[number] // 100_000, kinds[number] % 100_000
        size = tf.stack([rows.count * ny, columns.count * nx])
        for level, feature_map in enumerate(floats):
            chosen = tf.where((kind_of == number) & (flat_levels == level))[:, 0]
            found = tf.image.crop_and_resize(
                feature_map, tf.gather(boxes, chosen), tf.gather(image, chosen), size
            )  # [m, h * ny, w * nx, C]
            found = tf.reshape(found, tf.stack([-1, rows.count, ny, columns.count, nx, channels]))
            crops = tf.tensor_scatter_nd_update(crops, chosen[:, None], tf.reduce_mean(found, axis=(2, 4)))
        return number + 1, crops

    start = tf.zeros(tf.stack([tf.size(levels), rows.count, columns.count, channels]))
    _, crops = tf.while_loop(
        lambda number, _: number < tf.size(kinds),
        one_kind,
        (0, start),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, rows.count, columns.count, channels])),
    )
    crops = tf.reshape(crops, tf.stack([*tf.unstack(tf.shape(levels)), rows.count, columns.count, channels]))
    crops.set_shape((*levels.shape, rows.count, columns.count, channels))
    return tf.cast(crops, maps[0].dtype)


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
