"""Tests the RPN's layers and the proposal steps on inputs with known results."""

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.modeling import rpn
from mrcnn.modeling.anchors import generate_anchors
from mrcnn.structures.boxes import norm_boxes
from tests.compiled import to_numpy, traced
from tests.gradients import value_and_gradient

pytestmark = pytest.mark.graph
DRAW = np.random.default_rng(5)

# four anchors of 20 px in a 101 px image (so 0.01 is a pixel); the third nearly covers the first
ANCHORS = np.array(
    [[[0.0, 0.0, 0.2, 0.2], [0.5, 0.5, 0.7, 0.7], [0.02, 0.0, 0.22, 0.2], [0.9, 0.0, 1.1, 0.2]]], "float32"
)


def probs(scores) -> np.ndarray:
    scores = np.asarray([scores], "float32")
    return np.stack([1 - scores, scores], axis=-1)


def run(layer, arrays) -> np.ndarray:
    return to_numpy(traced(lambda *inputs: layer(list(inputs)))(*arrays))


def test_proposals_by_hand():
    deltas = np.zeros((1, 4, 4), "float32")
    deltas[0, 1] = [10, 0, 0, 0]  # in units of 0.1 heights: down by one height, 0.2
    steps = traced(lambda *inputs: rpn.propose(*inputs, Config(), 5, 0.7))
    steps = to_numpy(steps(probs([0.8, 0.9, 0.7, 0.6]), deltas, ANCHORS))
    np.testing.assert_allclose(steps["pre_nms_scores"], [[0.9, 0.8, 0.7, 0.6]])
    np.testing.assert_array_equal(steps["pre_nms_anchors"], ANCHORS[:, [1, 0, 2, 3]])
    np.testing.assert_allclose(steps["refined_anchors"][0, 0], [0.7, 0.5, 0.9, 0.7], rtol=1e-6)
    np.testing.assert_allclose(steps["refined_anchors_clipped"][0, 3], [0.9, 0, 1, 0.2], rtol=1e-6)
    # row 2 overlaps row 1 by 18 / 22 > 0.7
    expected = [[0.7, 0.5, 0.9, 0.7], [0, 0, 0.2, 0.2], [0.9, 0, 1, 0.2], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(steps["proposals"], [expected], rtol=1e-6)
    assert steps["rpn_non_max_suppression"].tolist() == [[0, 1, 3, 0, 0]]


def test_limit_and_count_cut_the_list():
    class Two(Config):
        PRE_NMS_LIMIT = 2

    deltas = np.zeros((1, 4, 4), "float32")
    inputs = probs([0.1, 0.9, 0.5, 0.7]), deltas, ANCHORS
    found = run(rpn.ProposalLayer(3, 0.7, Two()), inputs)
    np.testing.assert_allclose(found, [[ANCHORS[0, 1], [0.9, 0, 1, 0.2], np.zeros(4)]], rtol=1e-6)
    found = run(rpn.ProposalLayer(1, 0.7), inputs)
    np.testing.assert_allclose(found, [ANCHORS[0, 1:2]], rtol=1e-6)


def test_a_batch_gives_what_its_images_give_alone():
    anchors = norm_boxes(generate_anchors([16], [0.5, 1, 2], (8, 8), 8, 1), (64, 64))
    anchors = np.tile(anchors, (3, 1, 1))
    scores = DRAW.uniform(size=anchors.shape[:2]).astype("float32")
    arrays = [np.stack([1 - scores, scores], -1), DRAW.normal(size=anchors.shape).astype("float32"), anchors]
    layer = rpn.ProposalLayer(40, 0.5)
    together = run(layer, arrays)
    alone = [run(layer, [a[i : i + 1] for a in arrays])[0] for i in range(3)]
    np.testing.assert_array_equal(together, alone)


def test_no_gradient_passes_through_the_choice():
    deltas = DRAW.normal(size=(1, 4, 4)).astype("float32")
    layer = rpn.ProposalLayer(3, 0.7)
    total, gradient = value_and_gradient(
        lambda d: keras.ops.sum(layer([probs([0.8, 0.9, 0.7, 0.6]), d, ANCHORS])) + 0 * keras.ops.sum(d), deltas
    )
    assert total > 0 and not gradient.any()


def test_half_precision_leaves_the_boxes_alone():
    arrays = [probs([0.8, 0.9, 0.7, 0.6]), DRAW.normal(size=(1, 4, 4)).astype("float32"), ANCHORS]
    expected = run(rpn.ProposalLayer(3, 0.7), arrays)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = run(rpn.ProposalLayer(3, 0.7), arrays)
        outputs = rpn.build_rpn_model(1, 3, 8)(np.zeros((1, 4, 4, 8), "float32"))
    finally:
        keras.config.set_dtype_policy(before)
    np.testing.assert_array_equal(found, expected)
    assert {keras.backend.standardize_dtype(o.dtype) for o in outputs} == {"float32"}


@pytest.mark.parametrize("stride", [1, 2])
def test_head_answers_in_the_order_of_the_anchors(stride):
    """With weights that copy the input, a spot at one cell must activate the anchors whose centre lies there."""
    model = rpn.build_rpn_model(stride, 3, 1, channels=1)
    identity = np.zeros((3, 3, 1, 1), "float32")
    # "same" padding of a strided convolution over an even size pads only below and right: the kernel's first cell is it
    identity[(1, 1) if stride == 1 else (0, 0)] = 1
    model.get_layer("rpn_conv_shared").set_weights([identity, np.zeros(1)])
    model.get_layer("rpn_class_raw").set_weights([np.ones((1, 1, 1, 6)), np.zeros(6)])
    anchors = generate_anchors([8], [0.5, 1, 2], (4, 6), 10, stride)
    spot = np.zeros((1, 4, 6, 1), "float32")
    spot[0, 2, 4] = 1
    logits = to_numpy(model(spot)[0])[0]
    assert logits.shape == (len(anchors), 2)
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2
    np.testing.assert_array_equal(logits[:, 1] > 0, (centers == [20, 40]).all(axis=1))
    assert (logits[:, 1] > 0).sum() == 3
