"""Tests levels, pooling, the two unusual layers and the final detections on hand-worked cases."""

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.modeling.detection_layer import DetectionLayer, refine_detections
from mrcnn.modeling.roi_heads import (
    MaskConv,
    PyramidROIAlign,
    WindowConv,
    build_fpn_mask_graph,
    fpn_classifier_graph,
    roi_levels,
)

pytestmark = pytest.mark.graph


def numpy(tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


def meta(images: int, side: int, window=None, classes: int = 3) -> np.ndarray:
    """Return the meta of square images: id, original shape, shape, window, scale, active classes."""
    row = [0, side, side, 3, side, side, 3, *(window or (0, 0, side, side)), 1.0, *[1] * classes]
    return np.repeat(np.array([row], "f"), images, axis=0)


def test_levels_follow_the_size_of_the_region():
    """In a 1024 px image, 224 px is level 4; each octave adds a level, with the change at sqrt(2)."""
    sides = np.array([10, 56, 79, 80, 112, 158, 159, 224, 316, 317, 448, 1000])
    boxes = np.stack([np.zeros(12), np.zeros(12), sides / 1024, sides / 1024], axis=1).astype("f")[None]
    levels = numpy(roi_levels(keras.ops.convert_to_tensor(boxes), (1024, 1024)))
    assert levels[0].tolist() == [2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5]
    wide = np.array([[[0, 0, 112 / 512, 448 / 1024]]], "f")  # 112 x 448 px has the area of 224 x 224
    assert numpy(roi_levels(keras.ops.convert_to_tensor(wide), (512, 1024))).tolist() == [[4]]


def test_padding_and_inverted_regions_have_a_level():
    """log2 of their area is minus infinity or nan, whose integer value depends on the machine."""
    boxes = np.array([[[0, 0, 0, 0], [0.5, 0.5, 0.5, 0.9], [0.8, 0.2, 0.3, 0.9], [0.9, 0.9, 0.1, 0.1]]], "f")
    levels = numpy(roi_levels(keras.ops.convert_to_tensor(boxes), (1024, 1024)))
    assert levels[0, :3].tolist() == [2, 2, 2] and 2 <= levels[0, 3] <= 5


def test_each_region_is_pooled_from_its_level_and_its_image():
    """Maps contain 10 * image + level everywhere, so the pooled value shows where it came from."""
    maps = [np.ones((2, 64 // 2**k, 64 // 2**k, 1), "f") * (k + 2) + [[[[0]]], [[[10]]]] for k in range(4)]
    sides = np.array([56, 112, 224, 250]) / 256  # levels 4 + log2(side / (224 / 256 * ...)) of a 256 px image
    boxes = np.stack([0 * sides, 0 * sides, sides, sides], axis=1).astype("f")
    expected = numpy(roi_levels(keras.ops.convert_to_tensor(boxes[None]), (256, 256)))[0]
    assert expected.tolist() == [2, 3, 4, 4]
    inputs = [np.repeat(boxes[None], 2, axis=0), meta(2, 256), *[m.astype("f") for m in maps]]
    pooled = numpy(PyramidROIAlign([3, 2])(inputs))
    assert pooled.shape == (2, 4, 3, 2, 1)
    np.testing.assert_allclose(pooled, np.broadcast_to((expected + [[0], [10]])[:, :, None, None, None], pooled.shape))


def test_pooling_samples_the_corners_of_the_box():
    """P2 of a 64 px image, 16 x 16, contains its column numbers, so the box from column 3 to 9 gives 3, 5, 7, 9."""
    column = np.broadcast_to(np.arange(16, dtype="f"), (16, 16))[None, :, :, None]
    maps = [column] + [np.full((1, 16 // 2**k, 16 // 2**k, 1), -1, "f") for k in (1, 2, 3)]
    box = np.array([[[2 / 15, 3 / 15, 5 / 15, 9 / 15]]], "f")
    pooled = numpy(PyramidROIAlign((2, 4))([box, meta(1, 64), *maps]))
    np.testing.assert_allclose(pooled[0, 0, :, :, 0], [[3, 5, 7, 9]] * 2, atol=1e-5)


@pytest.mark.parametrize("size", [1, 3])
def test_window_conv_is_the_convolution(size):
    draw = np.random.default_rng(size)
    x = draw.normal(size=(5, size, size, 4)).astype("f")
    fast, slow = WindowConv(6, size), keras.layers.Conv2D(6, size)
    slow.build(x.shape)
    fast.build(x.shape)
    assert [w.name for w in fast.weights] == [w.name for w in slow.weights]
    weights = [draw.normal(size=w.shape).astype("f") for w in slow.weights]
    fast.set_weights(weights)
    slow.set_weights(weights)
    np.testing.assert_allclose(numpy(fast(x)), numpy(slow(x)), atol=1e-5)


def test_mask_conv_gives_logits_or_their_sigmoid():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(2, 3, 4, 5, 6)).astype("f")
    layer = MaskConv(7, 1)
    logits = numpy(layer(x, logits=True))
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(logits, x @ kernel[0, 0] + bias, atol=1e-5)
    np.testing.assert_allclose(numpy(layer(x)), 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_heads_in_half_precision_give_float32_that_is_close():
    draw = np.random.default_rng(0)
    maps = [draw.normal(size=(2, 16 // 2**k, 16 // 2**k, 8)).astype("f") for k in range(4)]
    corners = draw.uniform(0, 0.5, (2, 3, 2)).astype("f")
    rois = np.concatenate([corners, corners + 0.4], axis=-1)

    def run(policy, weights):
        keras.config.set_dtype_policy(policy)
        dtype = "float32" if policy == "float32" else "bfloat16"
        inputs = [keras.Input(rois.shape[1:]), keras.Input((15,))]
        pyramid = [keras.Input(m.shape[1:], dtype=dtype) for m in maps]
        boxes = fpn_classifier_graph(inputs[0], pyramid, inputs[1], 7, 3, train_bn=False, fc_layers_size=16)
        masks = build_fpn_mask_graph(inputs[0], pyramid, inputs[1], 4, 3, train_bn=False, channels=8, logits=True)
        model = keras.Model([*inputs, *pyramid], [*boxes, masks])
        if weights:
            model.set_weights(weights)
        outputs = model.predict_on_batch([rois, meta(2, 64), *maps])
        assert [output.dtype for output in outputs] == ["float32"] * 4
        return outputs, model.get_weights()

    try:
        exact, weights = run("float32", None)
        half, _ = run("mixed_bfloat16", weights)
    finally:
        keras.config.set_dtype_policy("float32")
    for found, expected in zip(half, exact, strict=True):
        assert not np.array_equal(found, expected)
        np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())


def detect(boxes, class_ids, scores, window=(0, 0, 1, 1), **settings) -> np.ndarray:
    """Call refine_detections with regions that need no correction."""
    config = Config()
    for key, value in {"DETECTION_MAX_INSTANCES": 5, **settings}.items():
        setattr(config, key, value)
    probs = np.zeros((1, len(boxes), 4), "f")
    probs[0, np.arange(len(boxes)), class_ids] = scores
    deltas = np.zeros((1, len(boxes), 4, 4), "f")
    arrays = np.array([boxes], "f"), probs, deltas, np.array([window], "f")
    return numpy(refine_detections(*map(keras.ops.convert_to_tensor, arrays), config))[0]


LEFT, LEFT_TOO, RIGHT = [0.1, 0.1, 0.5, 0.4], [0.1, 0.12, 0.5, 0.42], [0.1, 0.6, 0.5, 0.9]


def test_only_boxes_of_one_class_suppress_each_other():
    found = detect([LEFT, LEFT_TOO, LEFT_TOO, RIGHT, RIGHT], [1, 1, 2, 2, 0], [0.9, 0.95, 0.8, 0.75, 0.99])
    expected = [[*LEFT_TOO, 1, 0.95], [*LEFT_TOO, 2, 0.8], [*RIGHT, 2, 0.75]]  # class 0 is background
    np.testing.assert_allclose(found, np.array(expected + [[0] * 6] * 2), atol=1e-6)


def test_confidence_is_a_lower_limit_and_zero_turns_it_off():
    assert detect([LEFT, RIGHT], [1, 1], [0.7, 0.69])[:, 4].tolist() == [1, 0, 0, 0, 0]
    assert detect([LEFT, RIGHT], [1, 1], [0.7, 0.1], DETECTION_MIN_CONFIDENCE=0)[:, 4].tolist() == [1, 1, 0, 0, 0]


def test_a_region_outside_the_window_hides_no_object():
    """It is clipped to an empty box, which in the original suppressed the rest of its class if it scored best."""
    outside = [0.1, 0.85, 0.5, 0.95]
    found = detect([outside, LEFT], [1, 1], [0.99, 0.9], window=(0, 0, 1, 0.8))
    np.testing.assert_allclose(found[0], [*LEFT, 1, 0.9], atol=1e-6)
    assert not np.any(found[1:])


def test_layer_uses_the_window_of_each_image():
    config = Config()
    config.DETECTION_MAX_INSTANCES = 2
    probs = np.tile(np.array([0.1, 0.9], "f"), (2, 1, 1))
    metas = np.concatenate([meta(1, 101, (0, 0, 101, 101), 2), meta(1, 101, (0, 0, 51, 101), 2)])
    rois = np.tile(np.array([0.2, 0.2, 0.8, 0.8], "f"), (2, 1, 1))
    found = numpy(DetectionLayer(config)([rois, probs, np.zeros((2, 1, 2, 4), "f"), metas]))
    np.testing.assert_allclose(found[0, 0], [0.2, 0.2, 0.8, 0.8, 1, 0.9], atol=1e-6)
    np.testing.assert_allclose(found[1, 0], [0.2, 0.2, 0.5, 0.8, 1, 0.9], atol=1e-6)
