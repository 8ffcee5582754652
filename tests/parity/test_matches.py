"""compute_matches, compute_ap, compute_ap_range and compute_recall against numbers of the original code."""

import logging

import numpy as np
import pytest

from mrcnn.evaluation.voc_ap import (
    compute_ap,
    compute_ap_range,
    compute_matches,
    compute_overlaps_masks,
    compute_recall,
)

SCENES = ("s1", "s2", "s3", "s4", "s5_padded_preds", "s6")
ARGUMENTS = ("gt_boxes", "gt_class_ids", "gt_masks", "pred_boxes", "pred_class_ids", "pred_scores", "pred_masks")


def scene_arguments(npz, scene):
    values = []
    for name in ARGUMENTS:
        value = npz[f"{scene}/{name}"]
        if name.endswith("masks"):
            shape = npz[f"{scene}/{name}_shape"]
            value = np.unpackbits(value)[: np.prod(shape)].reshape(shape).astype(bool)
        values.append(value)
    return values


@pytest.fixture(scope="module")
def matches(golden):
    return golden.npz("utils_matches")


@pytest.fixture(scope="module")
def figures(golden):
    return golden.json("utils_matches")


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize(
    "suffix,options",
    [
        ("0.50", {"iou_threshold": 0.5}),
        ("0.75", {"iou_threshold": 0.75}),
        ("0.00_st0.3", {"iou_threshold": 0.0, "score_threshold": 0.3}),
    ],
)
def test_matches_are_the_originals_but_in_the_callers_order(matches, scene, suffix, options):
    arguments = scene_arguments(matches, scene)
    gt_match, pred_match, overlaps = compute_matches(*arguments, **options)
    real = np.any(arguments[3], axis=1)
    order = np.argsort(-arguments[5][real])  # no scene has equal scores
    np.testing.assert_array_equal(pred_match[order], matches[f"{scene}/pred_match_{suffix}"])
    expected = matches[f"{scene}/gt_match_{suffix}"]  # indices into the original's sorted copy
    np.testing.assert_array_equal(gt_match, np.where(expected > -1, order[expected.astype(int)], -1))
    np.testing.assert_allclose(overlaps[order], matches[f"{scene}/overlaps"], atol=1e-6)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("threshold", ["0.50", "0.75"])
def test_ap(matches, figures, scene, threshold):
    ap, precisions, recalls, _ = compute_ap(*scene_arguments(matches, scene), iou_threshold=float(threshold))
    assert ap == pytest.approx(figures[scene][f"AP_{threshold}"], abs=1e-6)
    np.testing.assert_allclose(precisions, matches[f"{scene}/precisions_{threshold}"], atol=1e-6)
    np.testing.assert_allclose(recalls, matches[f"{scene}/recalls_{threshold}"], atol=1e-6)


@pytest.mark.parametrize("scene", SCENES)
def test_ap_range_and_its_log(matches, figures, caplog, scene):
    arguments = scene_arguments(matches, scene)
    with caplog.at_level(logging.INFO, logger="mrcnn.evaluation.voc_ap"):
        ap = compute_ap_range(*arguments)
    assert ap == pytest.approx(figures[scene]["AP_range"], abs=1e-6)
    assert "".join(record.getMessage() + "\n" for record in caplog.records) == figures[scene]["printed"]


@pytest.mark.parametrize("kind", [list, tuple, np.array, iter])
def test_ap_range_takes_any_kind_of_thresholds(matches, figures, kind):
    ap = compute_ap_range(*scene_arguments(matches, "s1"), iou_thresholds=kind([0.5, 0.75, 0.8]), verbose=0)
    per_threshold = figures["s1"]["per_threshold"]
    assert ap == pytest.approx(np.mean([per_threshold[t] for t in ("0.50", "0.75", "0.80")]), abs=1e-6)


def test_no_predictions(matches, figures):
    gt_boxes, gt_class_ids, gt_masks, *_ = scene_arguments(matches, "s1")
    nothing = np.zeros((0, 4), int), np.zeros(0, int), np.zeros(0), np.zeros((*gt_masks.shape[:2], 0), bool)
    ap, precisions, recalls, overlaps = compute_ap(gt_boxes, gt_class_ids, gt_masks, *nothing)
    expected = figures["no_predictions"]
    assert ap == expected["AP"] and overlaps.shape == tuple(expected["overlaps_shape"])
    np.testing.assert_array_equal(precisions, expected["precisions"])
    np.testing.assert_array_equal(recalls, expected["recalls"])


def test_no_ground_truth_is_zero_where_the_original_gave_nan(matches, figures):
    *_, pred_boxes, pred_class_ids, pred_scores, pred_masks = scene_arguments(matches, "s1")
    nothing = np.zeros((0, 4), int), np.zeros(0, int), np.zeros((*pred_masks.shape[:2], 0), bool)
    ap, precisions, recalls, overlaps = compute_ap(*nothing, pred_boxes, pred_class_ids, pred_scores, pred_masks)
    expected = figures["no_ground_truth"]
    assert expected["AP"] == "nan" and ap == 0
    assert overlaps.shape == tuple(expected["overlaps_shape"])
    np.testing.assert_array_equal(precisions, expected["precisions"])
    np.testing.assert_array_equal(recalls, [0.0] * 31 + [1.0])


@pytest.mark.parametrize("iou", [0.3, 0.5, 0.7, 0.9])
def test_recall(golden, iou):
    npz, figures = golden.npz("utils_boxes"), golden.json("utils_boxes")
    recall, ids = compute_recall(npz["recall_pred"], npz["boxes2"], iou)
    assert recall == pytest.approx(figures["recall"][str(iou)], abs=1e-9)
    np.testing.assert_array_equal(ids, npz[f"recall_ids_{iou}"])


def test_mask_overlaps_by_counting_pixels():
    rng = np.random.default_rng(0)
    masks1, masks2 = rng.random((37, 41, 5)) > 0.6, rng.random((37, 41, 3))  # numbers are cut at 0.5
    expected = [
        [np.sum(a & (b > 0.5)) / np.sum(a | (b > 0.5)) for b in masks2.transpose(2, 0, 1)]
        for a in masks1.transpose(2, 0, 1)
    ]
    np.testing.assert_allclose(compute_overlaps_masks(masks1, masks2), expected, atol=1e-7)
