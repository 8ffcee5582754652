"""Anchor targets against the original's.

The numpy function draws with np.random in the original's order, so its matches are equal to the last anchor. What the
graph function draws is its own; it is compared where nothing has to be drawn.
"""

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.modeling.targets import build_rpn_targets, rpn_targets
from mrcnn.structures.boxes import compute_overlaps

CASES = (
    "boxes",
    "boxes_crowd",
    "one_box_no_overlap_limit",
    "anchor_shaped_ties",
    "many_positives_subsampled",
    "no_subsampling",
    "no_subsampling_crowd",
)
# Rows whose anchor is positive as the best of one object but overlaps another one more: the original regressed it to
# the other one. Everything else must be equal.
CORRECTED = {"many_positives_subsampled": [4, 5]}


def make_config(golden, name: str) -> Config:
    config = Config()
    config.RPN_TRAIN_ANCHORS_PER_IMAGE = golden.json("data_rpn_targets")[name]["RPN_TRAIN_ANCHORS_PER_IMAGE"]
    return config


def build(golden, name: str):
    recorded = golden.npz("data_rpn_targets")
    np.random.seed(golden.json("data_rpn_targets")[name]["numpy_seed"])
    return build_rpn_targets(
        (256, 256, 3),
        recorded["anchors"],
        recorded[f"{name}/gt_class_ids"],
        recorded[f"{name}/gt_boxes"],
        make_config(golden, name),
    )


@pytest.mark.parametrize("name", CASES)
def test_same_anchors_same_draws(golden, name):
    rpn_match, rpn_bbox = build(golden, name)
    assert np.random.randint(0, 2**31 - 1) == golden.json("data_rpn_targets")[name]["next_random"]
    np.testing.assert_array_equal(rpn_match, golden.npz("data_rpn_targets")[f"{name}/rpn_match"])
    assert [str(rpn_match.dtype), str(rpn_bbox.dtype)] == golden.json("data_rpn_targets")[name]["dtypes"]


@pytest.mark.parametrize("name", CASES)
def test_same_deltas_but_for_the_corrected_rows(golden, name):
    _, rpn_bbox = build(golden, name)
    recorded = golden.npz("data_rpn_targets")[f"{name}/rpn_bbox"]
    different = np.flatnonzero(np.any(np.abs(rpn_bbox - recorded) > 1e-9, axis=1))
    assert different.tolist() == CORRECTED.get(name, [])


@pytest.mark.parametrize("name", CORRECTED)
def test_corrected_rows_lead_to_the_object_whose_best_anchor_it_is(golden, name):
    recorded = golden.npz("data_rpn_targets")
    rpn_match, rpn_bbox = build(golden, name)
    anchors = recorded["anchors"][rpn_match == 1][CORRECTED[name]]
    decoded = decode(anchors, rpn_bbox[CORRECTED[name]])
    gt_boxes = recorded[f"{name}/gt_boxes"]
    target = compute_overlaps(decoded, gt_boxes).argmax(axis=1)
    np.testing.assert_allclose(decoded, gt_boxes[target], atol=1e-6)
    best_of_object = compute_overlaps(recorded["anchors"], gt_boxes).max(axis=0)
    own = compute_overlaps(anchors, gt_boxes)
    rows = np.arange(len(anchors))
    np.testing.assert_allclose(own[rows, target], best_of_object[target], rtol=1e-12)
    assert np.all(own.max(axis=1) > own[rows, target])  # the original would go to this other object


def decode(anchors, rpn_bbox):
    """Deltas over their standard deviations, back to boxes, in float64."""
    dy, dx, log_dh, log_dw = (rpn_bbox * [0.1, 0.1, 0.2, 0.2]).T
    height, width = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    y, x = (anchors[:, 0] + anchors[:, 2]) / 2 + dy * height, (anchors[:, 1] + anchors[:, 3]) / 2 + dx * width
    height, width = height * np.exp(log_dh), width * np.exp(log_dw)
    return np.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], axis=1)


@pytest.mark.graph
@pytest.mark.parametrize("name", ["no_subsampling", "no_subsampling_crowd"])
def test_graph_matches_the_original_where_nothing_is_drawn(golden, name):
    recorded = golden.npz("data_rpn_targets")
    inputs = recorded["anchors"], recorded[f"{name}/gt_boxes"][None], recorded[f"{name}/gt_class_ids"][None]
    outputs = rpn_targets(
        *map(keras.ops.convert_to_tensor, inputs), make_config(golden, name), keras.random.SeedGenerator(1)
    )
    index, match, deltas = (keras.ops.convert_to_numpy(output)[0] for output in outputs)
    rpn_match = np.zeros(len(recorded["anchors"]), "int32")
    rpn_match[index[match != 0]] = match[match != 0]
    np.testing.assert_array_equal(rpn_match, recorded[f"{name}/rpn_match"])
    assert len(np.unique(index[match != 0])) == np.sum(match != 0)
    positive = np.flatnonzero(match == 1)
    positive = positive[np.argsort(index[positive])]
    np.testing.assert_allclose(deltas[positive], recorded[f"{name}/rpn_bbox"][: len(positive)], atol=2e-5)
    assert not np.any(deltas[match != 1])
