"""Compares NMS with a brute-force loop, and crop-and-resize with hand-made grids and TensorFlow's operations."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from mrcnn.backend import runtime
from mrcnn.errors import InputError
from mrcnn.modeling import crops, ops
from tests.compiled import RUNS, compiled, to_numpy, traced
from tests.gradients import value_and_gradient

pytestmark = pytest.mark.graph
on_tensorflow = pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="compares with TensorFlow's kernels")


def iou(a, b) -> float:
    """Compute IoU by the rule of TensorFlow's kernel: corners in any order, and boxes without area overlap nothing."""
    a, b = (np.concatenate([np.minimum(x[:2], x[2:]), np.maximum(x[:2], x[2:])]) for x in (a, b))
    area_a, area_b = np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2])
    if area_a <= 0 or area_b <= 0:
        return 0.0
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return shared / (area_a + area_b - shared)


def greedy(boxes, scores, max_outputs, threshold, class_ids=None, valid=None) -> list[int]:
    taken = []
    for i in np.argsort(-scores, kind="stable"):
        possible = scores[i] > -np.inf and (valid is None or valid[i]) and len(taken) < max_outputs
        rivals = [j for j in taken if class_ids is None or class_ids[i] == class_ids[j]]
        if possible and all(iou(boxes[i], boxes[j]) <= threshold for j in rivals):
            taken.append(int(i))
    return taken


def draw_scene(seed: int, images: int = 2, count: int = 75):
    """Draw boxes with small whole coordinates and few scores: many ties, equal, swapped and empty boxes, IoU 0.5."""
    draw = np.random.default_rng(seed)
    corner = draw.integers(0, 12, (images, count, 2))
    boxes = np.concatenate([corner, corner + draw.integers(-2, 8, (images, count, 2))], -1).astype("float32")
    scores = draw.integers(0, 10, (images, count)).astype("float32")
    scores[draw.uniform(size=scores.shape) < 0.1] = -np.inf
    class_ids = draw.integers(0, 3, (images, count)).astype("int32")
    return boxes, scores, class_ids, draw.uniform(size=scores.shape) < 0.8


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize(
    "tile, max_outputs, threshold, by_class",
    [(16, 75, 0.5, False), (16, 9, 0.3, True), (256, 80, 0.7, True), (75, 30, 0.0, False), (32, 75, 1.0, False)],
)
def test_nms_is_the_greedy_loop(monkeypatch, run, tile, max_outputs, threshold, by_class):
    monkeypatch.setattr(ops, "NMS_TILE", tile)

    def suppress(boxes, scores, class_ids, valid):
        classes = class_ids if by_class else None
        return ops.non_max_suppression(boxes, scores, max_outputs, threshold, classes, valid)

    suppress = run(suppress)
    for seed in range(4):
        boxes, scores, class_ids, valid = draw_scene(seed)
        indices, keep = to_numpy(suppress(boxes, scores, class_ids, valid))
        for i in range(len(boxes)):
            classes = class_ids[i] if by_class else None
            expected = greedy(boxes[i], scores[i], max_outputs, threshold, classes, valid[i])
            assert indices[i][keep[i]].tolist() == expected
            assert keep[i].tolist() == [True] * len(expected) + [False] * (max_outputs - len(expected))
            assert not indices[i][~keep[i]].any()


def test_nms_with_a_long_chain():
    """Each box suppresses only the next, so every other one stays, and each round in a tile decides only one more."""
    top = np.arange(40, dtype="float32")
    boxes = np.stack([top, 0 * top, top + 3, 0 * top + 1], -1)[
        None
    ]  # IoU of neighbours 2 / 4, of the next but one 1 / 5
    scores = np.linspace(1, 0.5, 40, dtype="float32")[None]
    suppress = compiled(lambda b, s: ops.non_max_suppression(b, s, 40, 0.4))
    indices, keep = to_numpy(suppress(boxes, scores))
    np.testing.assert_array_equal(indices[keep], np.arange(0, 40, 2))


def test_nms_without_anything_valid():
    boxes, scores, class_ids, valid = draw_scene(0)
    valid = np.zeros_like(valid)
    for classes in (None, class_ids):
        run = traced(lambda b, s, v, c=classes: ops.non_max_suppression(b, s, 5, 0.5, c, v))
        indices, keep = to_numpy(run(boxes, scores, valid))
        assert not indices.any() and not keep.any()


@on_tensorflow
def test_native_kernels_and_portable_operations_agree(monkeypatch):
    import tensorflow as tf

    boxes, scores, _, _ = draw_scene(7)
    image = np.random.default_rng(0).normal(size=(2, 9, 7, 3)).astype("float32")

    def both(boxes, scores):
        kept = ops.non_max_suppression(boxes, scores, 20, 0.5)
        return kept, crops.crop_and_resize(image, boxes / 12, (3, 3))

    def operations(function):
        graph = tf.function(function).get_concrete_function(*(tf.TensorSpec(a.shape) for a in (boxes, scores))).graph
        return {op.type for g in (graph, *(f.graph for f in graph._functions.values())) for op in g.get_operations()}

    native = keras.tree.flatten(both(boxes, scores))
    assert {"CropAndResize", "NonMaxSuppressionV4"} <= operations(both)
    for module in (ops, crops):
        monkeypatch.setattr(module, "has_native_kernels", lambda: False)
    assert not {"CropAndResize", "NonMaxSuppressionV4"} & operations(both)
    for found, expected in zip(keras.tree.flatten(both(boxes, scores)), native, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_prefers_jit():
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        assert runtime.prefers_jit() == bool(tf.config.list_physical_devices("GPU"))
    else:
        assert runtime.prefers_jit() == (keras.config.backend() == "jax")


def test_batch_gather():
    values = np.arange(24).reshape(2, 4, 3)
    indices = np.array([[3, 0], [1, 1]], "int32")
    np.testing.assert_array_equal(to_numpy(ops.batch_gather(values, indices)), [values[0][[3, 0]], values[1][[1, 1]]])
    np.testing.assert_array_equal(to_numpy(ops.batch_gather(values[..., 0], indices)), [[9, 0], [15, 15]])


# 5 x 5 pixels, each 10 * row + column: a sample at (y, x) must be 10 * y + x
GRID = (10 * np.arange(5)[:, None] + np.arange(5)).astype("float32")[None, :, :, None]


@pytest.mark.parametrize(
    "box, size, expected",
    [
        ([0, 0, 1, 1], (5, 5), GRID[0, ..., 0]),
        ([0, 0, 1, 1], (3, 3), [[0, 2, 4], [20, 22, 24], [40, 42, 44]]),
        ([0.25, 0.25, 0.75, 0.75], (2, 2), [[11, 13], [31, 33]]),
        ([0.125, 0, 0.375, 1], (2, 3), [[5, 7, 9], [15, 17, 19]]),  # rows 0.5 and 1.5
        (
            [-0.25, 0, 1.25, 0.5],
            (4, 2),
            [[0, 0], [10, 12], [30, 32], [0, 0]],
        ),  # rows -1, 1, 3, 5: the first and last are 0
        ([0.5, 0.75, 0.5, 0.75], (2, 2), [[23, 23], [23, 23]]),  # a box without size samples its point
        ([0.75, 1, 0.25, 0], (2, 3), [[34, 32, 30], [14, 12, 10]]),  # swapped corners rotate the image by 180 degrees
        ([0, 0.5, 1, 1], (1, 1), [[23]]),  # a single sample is the centre of the box
        ([np.nan, 0, 1, 1], (1, 2), [[0, 0]]),
        ([7, 7, 9, 9], (1, 2), [[0, 0]]),
    ],
)
def test_crop_by_hand(box, size, expected):
    box = np.array([[box]], "float32")
    for run in RUNS:
        found = to_numpy(run(lambda image, box: crops.crop_and_resize(image, box, size))(GRID, box))
        np.testing.assert_allclose(found[0, 0, :, :, 0], expected, rtol=1e-6)


def draw_pyramid():
    """Draw two images with three levels (the last without boxes), and boxes that end at the edge and beyond it."""
    draw = np.random.default_rng(2)
    maps = [draw.normal(size=(2, *shape, 3)).astype("float32") for shape in ((16, 20), (8, 10), (4, 5))]
    low = draw.uniform(-0.2, 0.8, (2, 11, 2))
    boxes = np.concatenate([low, low + draw.uniform(0, 0.6, low.shape)], -1).astype("float32")
    boxes[:, ::3, 2:] = 1
    return maps, boxes, draw.integers(0, 2, (2, 11)).astype("int32")


def test_each_box_reads_its_own_image_and_level():
    maps, boxes, levels = draw_pyramid()

    def crop(*arrays):
        return crops.pyramid_crop(list(arrays[:3]), arrays[3], arrays[4], (4, 3))

    crop_alone = traced(lambda image, box: crops.crop_and_resize(image, box, (4, 3)))
    for run in RUNS:
        found = to_numpy(run(crop)(*maps, boxes, levels))
        for n in range(2):
            for k in range(11):
                image, box = maps[levels[n, k]][n : n + 1], boxes[n : n + 1, k : k + 1]
                alone = to_numpy(crop_alone(image, box))[0, 0]
                np.testing.assert_allclose(found[n, k], alone, atol=1e-6)


@on_tensorflow
def test_crop_and_its_gradient_are_tensorflows():
    import tensorflow as tf

    maps, boxes, _ = draw_pyramid()
    weights = np.random.default_rng(3).normal(size=(2, 11, 7, 7, 3)).astype("float32")

    def reference(image):
        cropped = tf.image.crop_and_resize(image, boxes.reshape(-1, 4), np.repeat([0, 1], 11), (7, 7))
        return tf.reduce_sum(tf.reshape(cropped, weights.shape) * weights)

    def ours(image):
        return tf.reduce_sum(crops.crop_and_resize(image, boxes, (7, 7)) * weights)

    expected, expected_gradient = value_and_gradient(reference, maps[0])
    for function in (ours, tf.function(ours), tf.function(ours, jit_compile=True)):
        value, gradient = value_and_gradient(function, maps[0])
        np.testing.assert_allclose(value, expected, rtol=1e-4)
        np.testing.assert_allclose(gradient, expected_gradient, atol=1e-4)


def test_gradient_is_the_change_of_the_result():
    """The crop is linear in the map, so the gradient of a weighted sum gives the sum for any other map exactly."""
    maps, boxes, levels = draw_pyramid()
    draw = np.random.default_rng(4)
    weights = draw.normal(size=(2, 11, 4, 3, 3)).astype("float32")

    def weighted(fine):
        cropped = crops.pyramid_crop([fine, maps[1] * 0, maps[2]], boxes, levels, (4, 3))
        return keras.ops.sum(cropped * keras.ops.convert_to_tensor(weights))

    weighted = traced(weighted)
    _, gradient = value_and_gradient(weighted, maps[0])
    other = draw.normal(size=maps[0].shape).astype("float32")
    value, again = value_and_gradient(weighted, other)
    assert abs(value) > 1
    np.testing.assert_allclose((gradient * other).sum(), value, rtol=1e-4)
    np.testing.assert_array_equal(again, gradient)


def test_the_edge_is_decided_by_the_originals_rounding():
    """For boxes that end at 1.0, float32 rounding decides whether the last sample is past the edge, hence 0."""
    f = np.float32
    low = np.random.default_rng(6).uniform(0, 0.95, (1, 500)).astype(f)
    one, zero = np.ones_like(low), np.zeros_like(low)
    for rows, count in ((16, 7), (64, 14)):
        step = (one - low) * f(rows - 1) / f(count - 1)
        last = low * f(rows - 1) + f(count - 1) * step
        past = last[0] > rows - 1
        assert 5 < past.sum() < 300
        image = np.ones((1, rows, 2, 1), f)
        boxes = np.stack([low, zero, one, one], -1)
        for run in RUNS:
            found = to_numpy(
                run(lambda image, boxes, n=count: crops.crop_and_resize(image, boxes, (n, 1)))(image, boxes)
            )
            np.testing.assert_array_equal(found[0, :, -1, 0, 0] == 0, past)
            assert (found[0, :, :-1] == 1).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_maps_keep_full_precision_coordinates(dtype):
    maps, boxes, _ = draw_pyramid()
    image = keras.ops.cast(maps[0], dtype)
    crop = traced(lambda image, boxes: crops.crop_and_resize(image, boxes, (5, 5)))
    found = crop(image, boxes)
    expected = to_numpy(crop(keras.ops.cast(image, "float32"), boxes))
    assert keras.backend.standardize_dtype(found.dtype) == dtype
    np.testing.assert_allclose(to_numpy(keras.ops.cast(found, "float32")), expected, atol=0.04)


@pytest.mark.skipif(keras.config.backend() != "jax", reason="TensorFlow is told by a call")
def test_jax_on_a_gpu_must_be_started_deterministic(monkeypatch):
    import jax

    runtime.make_deterministic()  # on a CPU it is
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(platform="gpu")])
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    with pytest.raises(InputError, match="started with XLA_FLAGS=--xla_gpu_deterministic_ops=true"):
        runtime.make_deterministic()
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
    runtime.make_deterministic()
