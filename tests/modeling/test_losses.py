"""Compares the losses with the same sums in numpy, and tests the faults of the original."""

import keras
import numpy as np
import pytest

from mrcnn.modeling import losses
from tests.gradients import value_and_gradient

pytestmark = pytest.mark.graph
DRAW = np.random.default_rng(3)


def value(tensor) -> float:
    return float(keras.ops.convert_to_numpy(tensor))


def cross_entropy(class_id: int, logits: np.ndarray) -> float:
    logits = logits.astype(np.float64)
    return np.log(np.exp(logits).sum()) - logits[class_id]


def test_smooth_l1_is_square_near_zero_and_straight_beyond_one():
    found = losses.smooth_l1(np.zeros(5, "f"), np.array([0, 0.5, -0.5, 1.0, -3.0], "f"))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), [0, 0.125, 0.125, 0.5, 2.5])


def test_rpn_losses_are_means_over_what_was_sampled():
    match = np.array([[1, -1, 0], [0, 1, 0]])
    logits, deltas, pred = (DRAW.normal(size=(2, 3, n)).astype("f") for n in (2, 4, 4))
    expected = np.mean([cross_entropy(1, logits[0, 0]), cross_entropy(0, logits[0, 1]), cross_entropy(1, logits[1, 1])])
    np.testing.assert_allclose(value(losses.rpn_class_loss(match, logits)), expected, rtol=1e-6)
    distance = np.abs(deltas - pred)[match == 1]
    expected = np.where(distance < 1, 0.5 * distance**2, distance - 0.5).mean()
    np.testing.assert_allclose(value(losses.rpn_bbox_loss(match, deltas, pred)), expected, rtol=1e-6)


def test_each_image_uses_its_own_active_classes():
    """Matterport used those of image 0 for the whole batch, and divided by their sum even if that was 0."""
    logits = np.array([[[0, 0, 2]], [[0, 2, 0]]], "f")  # predicted: class 2 in image 0, class 1 in image 1
    targets = np.array([[1], [1]])
    first, second = cross_entropy(1, logits[0, 0]), cross_entropy(1, logits[1, 0])
    cases = [
        ([[1, 0, 1], [1, 1, 1]], (first + second) / 2),  # image 0's row would leave image 1 out
        ([[1, 1, 1], [1, 0, 1]], first),  # image 0's row would count image 1
        ([[1, 0, 0], [1, 1, 0]], second),  # image 0's row would give 0 / 0
        ([[1, 0, 0], [1, 0, 0]], 0.0),
    ]
    for active, expected in cases:
        found = value(losses.mrcnn_class_loss(targets, logits, np.array(active)))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_padded_rois_are_not_trained_as_background():
    """Matterport averaged over the zero rows too, so that the loss depended on the padding."""
    logits, active = DRAW.normal(size=(1, 6, 4)).astype("f"), np.ones((1, 4))
    targets = np.array([[3, 1, 0, 0, 0, 0]])
    valid = np.array([[True, True, True, False, False, False]])
    expected = value(losses.mrcnn_class_loss(targets[:, :3], logits[:, :3], active))
    loss, gradient = value_and_gradient(lambda x: losses.mrcnn_class_loss(targets, x, active, valid), logits)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert not np.any(gradient[0, 3:]) and np.all(gradient[0, :3] != 0)
    assert abs(value(losses.mrcnn_class_loss(targets, logits, active)) - expected) > 0.01  # the rows would matter


def test_mask_loss_from_logits_keeps_its_gradient_where_probabilities_saturate():
    """A confident wrong pixel: float32 sigmoid(20) is 1, so from probabilities (Matterport) it learns nothing."""
    logits = np.full((1, 1, 1, 1, 2), 20.0, "f")
    masks, class_ids = np.zeros((1, 1, 1, 1), "f"), np.array([[1]])
    loss, gradient = value_and_gradient(lambda x: losses.mrcnn_mask_loss(masks, class_ids, x), logits)
    np.testing.assert_allclose(loss, 20.0, rtol=1e-6)
    np.testing.assert_allclose(gradient.ravel(), [0, 1], atol=1e-6)
    loss, gradient = value_and_gradient(
        lambda x: losses.mrcnn_mask_loss_graph(masks, class_ids, keras.ops.sigmoid(x)), logits
    )
    assert loss < 17 and not np.any(gradient)


def test_mask_loss_is_the_mean_over_pixels_of_the_target_class():
    logits = DRAW.normal(size=(2, 3, 4, 4, 5)).astype("f") * 3
    masks = DRAW.integers(0, 2, (2, 3, 4, 4)).astype(bool)
    class_ids = np.array([[4, 1, 0], [0, 2, 0]])
    terms = []
    for image, roi in zip(*np.nonzero(class_ids), strict=True):
        probs = 1 / (1 + np.exp(-logits[image, roi, :, :, class_ids[image, roi]].astype(np.float64)))
        terms.append(-np.log(np.where(masks[image, roi], probs, 1 - probs)).mean())
    np.testing.assert_allclose(value(losses.mrcnn_mask_loss(masks, class_ids, logits)), np.mean(terms), rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 4])
def test_every_loss_is_zero_and_differentiable_with_nothing_to_learn(rows):
    nothing = np.zeros((2, rows), "int32")
    deltas, masks = np.zeros((2, rows, 4), "f"), np.zeros((2, rows, 3, 3), "f")
    functions = {
        (2, rows, 2): lambda x: losses.rpn_class_loss(nothing, x),
        (2, rows, 4): lambda x: losses.rpn_bbox_loss(nothing, deltas, x),
        (2, rows, 5): lambda x: losses.mrcnn_class_loss(nothing, x, np.ones((2, 5)), nothing > 0),
        (2, rows, 5, 4): lambda x: losses.mrcnn_bbox_loss(deltas, nothing, x),
        (2, rows, 3, 3, 5): lambda x: losses.mrcnn_mask_loss(masks, nothing, x),
    }
    for shape, function in functions.items():
        loss, gradient = value_and_gradient(function, DRAW.normal(size=shape).astype("f"))
        assert loss == 0 and not np.any(gradient), shape  # nan would fail both


def test_sums_are_float32_for_half_precision_input():
    """4,096 terms near 2.8: a bfloat16 sum would stop growing at 512."""
    logits = keras.ops.cast(np.tile(np.array([3.0, 0.25], "f"), (1, 4096, 1)), "bfloat16")  # exact in bfloat16
    loss = losses.rpn_class_loss(np.ones((1, 4096), "int32"), logits)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    np.testing.assert_allclose(value(loss), cross_entropy(1, np.array([3.0, 0.25])), rtol=1e-5)


def test_class_weights_make_a_weighted_mean():
    """Rows of a class of weight 0 and padding rows do not count."""
    rng = np.random.default_rng(8)
    logits, ids = rng.normal(size=(2, 6, 4)).astype(np.float32), rng.integers(0, 4, (2, 6)).astype(np.int32)
    weights, valid = [1.0, 0.0, 2.5, 0.5], np.ones((2, 6), bool)
    valid[1, 4:] = False
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    terms = -np.take_along_axis(log_probs, ids[..., None], axis=-1)[..., 0]
    row_weights = np.array(weights)[ids] * valid
    active = np.ones((2, 4), np.int32)
    loss = losses.mrcnn_class_loss(ids, logits, active, valid, class_weights=weights)
    np.testing.assert_allclose(value(loss), (row_weights * terms).sum() / row_weights.sum(), rtol=1e-5)
    even = losses.mrcnn_class_loss(ids, logits, active, valid, class_weights=[3.0] * 4)
    np.testing.assert_allclose(value(even), value(losses.mrcnn_class_loss(ids, logits, active, valid)), rtol=1e-5)
