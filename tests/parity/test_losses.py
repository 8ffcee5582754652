"""The losses and their gradients against the original's. Its two faults in the class loss are compared around."""

import numpy as np
import pytest

from mrcnn.modeling import losses
from tests.gradients import value_and_gradient

pytestmark = pytest.mark.graph


@pytest.fixture(scope="module")
def case(golden):
    return golden.npz("graph_losses")


@pytest.fixture(scope="module")
def recorded(golden):
    return {name: float(text) for name, text in golden.json("graph_losses")["losses"].items()}


def check_loss(function, x, expected_loss, expected_gradient):
    loss, gradient = value_and_gradient(function, x)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-5 * np.abs(expected_gradient).max())


@pytest.mark.parametrize("name, scale", [("rpn_class", 1), ("rpn_class_all_neutral", 0)])
def test_rpn_class_loss(case, recorded, name, scale):
    match = case["rpn/match"] * scale
    check_loss(
        lambda logits: losses.rpn_class_loss_graph(match, logits),
        case["rpn/class_logits"],
        recorded[name],
        case[f"{name}/grad"],
    )


@pytest.mark.parametrize("name", ["rpn_bbox", "rpn_bbox_no_positive"])
def test_rpn_bbox_loss(case, recorded, name):
    match = case["rpn/match"] if name == "rpn_bbox" else np.minimum(case["rpn/match"], 0)
    check_loss(
        lambda bbox: losses.rpn_bbox_loss_graph(None, case["rpn/target_bbox"], match, bbox),
        case["rpn/bbox"],
        recorded[name],
        case[f"{name}/grad"],
    )


@pytest.mark.parametrize(
    "name", ["mrcnn_class", "mrcnn_class_all_active", "mrcnn_class_second_image_inactive_is_ignored"]
)
def test_mrcnn_class_loss_with_the_active_classes_of_image_0(case, recorded, name):
    """The original used image 0's row for all images; given that row for all, ours must agree."""
    active = case["mrcnn/active_class_ids"][[0, 0]]
    active = np.ones_like(active) if name == "mrcnn_class_all_active" else active
    check_loss(
        lambda logits: losses.mrcnn_class_loss(case["mrcnn/target_class_ids"], logits, active),
        case["mrcnn/class_logits"],
        recorded[name],
        case[f"{name}/grad"],
    )


def test_mrcnn_class_loss_without_an_active_class_is_zero_where_the_original_had_nan(case, recorded):
    assert np.isnan(recorded["mrcnn_class_none_active"]) and np.isnan(case["mrcnn_class_none_active/grad"]).any()
    active = np.zeros_like(case["mrcnn/active_class_ids"])
    check_loss(
        lambda logits: losses.mrcnn_class_loss(case["mrcnn/target_class_ids"], logits, active),
        case["mrcnn/class_logits"],
        0.0,
        np.zeros_like(case["mrcnn/class_logits"]),
    )


@pytest.mark.parametrize("name", ["mrcnn_bbox", "mrcnn_bbox_no_positive"])
def test_mrcnn_bbox_loss(case, recorded, name):
    class_ids = case["mrcnn/target_class_ids"] * (name == "mrcnn_bbox")
    check_loss(
        lambda bbox: losses.mrcnn_bbox_loss(case["mrcnn/target_bbox"], class_ids, bbox),
        case["mrcnn/pred_bbox"],
        recorded[name],
        case[f"{name}/grad"],
    )


def test_mrcnn_mask_loss_on_probabilities(case, recorded, golden):
    masks, class_ids = case["mask/target_masks"], case["mask/target_class_ids"]
    loss, gradient = value_and_gradient(
        lambda probs: losses.mrcnn_mask_loss_graph(masks, class_ids, probs), case["mask/pred_masks"]
    )
    np.testing.assert_allclose(loss, recorded["mrcnn_mask"], rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(gradient), golden.json("graph_losses")["mrcnn_mask_grad_l2"], rtol=1e-4)
    expected = case["mrcnn_mask/grad_img0_roi0_class4"]
    np.testing.assert_allclose(gradient[0, 0, :, :, 4], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_mrcnn_mask_loss_without_positives_is_zero(case, recorded):
    masks, class_ids = case["mask/target_masks"], np.zeros_like(case["mask/target_class_ids"])
    check_loss(
        lambda probs: losses.mrcnn_mask_loss_graph(masks, class_ids, probs),
        case["mask/pred_masks"],
        recorded["mrcnn_mask_no_positive"],
        np.zeros_like(case["mask/pred_masks"]),
    )
