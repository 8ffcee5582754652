"""ROI sampling against the original's. Its order is random, so rows are compared sorted; where it drew, only counts."""

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.modeling.targets import DetectionTargetLayer, detection_targets, detection_targets_graph

pytestmark = pytest.mark.graph

SAME = ("mini", "full_masks", "crowd", "no_negatives", "no_positives", "mask_shape_14")
DRAWN = ("negatives_capped", "positives_capped")
TARGETS = ("class_ids", "deltas", "masks")
INPUTS = ("proposals", "gt_class_ids", "gt_boxes", "gt_masks")


def padded(golden, name: str, proposals: int = 160, slots: int = 9) -> list[np.ndarray]:
    """The inputs of one scene, zero padded: one size for all scenes, so that JAX compiles each operation once."""
    arrays = [golden.npz("graph_detection_targets")[f"{name}/{key}"] for key in INPUTS]
    for index, axis, size in ((0, 0, proposals), (1, 0, slots), (2, 0, slots), (3, 2, slots)):
        missing = max(size - arrays[index].shape[axis], 0)
        arrays[index] = np.pad(arrays[index], [(0, missing if d == axis else 0) for d in range(arrays[index].ndim)])
    return arrays


def sample(images: list[list[np.ndarray]], config: Config) -> list[list[np.ndarray]]:
    """rois, class ids, deltas and masks of each image of a batch."""
    batch = [keras.ops.convert_to_tensor(np.stack(arrays)) for arrays in zip(*images, strict=True)]
    outputs = detection_targets(*batch, config, keras.random.SeedGenerator(1))
    outputs = [keras.ops.convert_to_numpy(output) for output in outputs]
    return [[output[index] for output in outputs] for index in range(len(images))]


def run(golden, name: str) -> list[np.ndarray]:
    return sample([padded(golden, name)], make_config(golden, name))[0]


def make_config(golden, name: str) -> Config:
    config = Config()
    for key, value in golden.json("graph_detection_targets")[name]["config"].items():
        setattr(config, key, np.array(value) if key == "BBOX_STD_DEV" else value)
    return config


def in_order(rois, class_ids, deltas, masks):
    """Positives, then negatives, then padding; the first two by box."""
    kind = np.where(class_ids > 0, 0, np.where(np.any(rois != 0, axis=1), 1, 2))
    order = np.lexsort((*rois.T[::-1], kind))
    return rois[order], class_ids[order], deltas[order], masks[order]


@pytest.mark.parametrize("name", SAME)
def test_same_rois_and_targets(golden, name):
    rois, class_ids, deltas, masks = in_order(*run(golden, name))
    recorded = golden.npz("graph_detection_targets")
    np.testing.assert_allclose(rois, recorded[f"{name}/rois_sorted"], atol=1e-6)
    np.testing.assert_array_equal(class_ids, recorded[f"{name}/class_ids_sorted"])
    np.testing.assert_allclose(deltas, recorded[f"{name}/deltas_sorted"], atol=1e-5)
    different = masks != recorded[f"{name}/masks_sorted"]  # a sample at exactly 0.5 may round to either side
    assert different.mean() < 1e-3 and set(np.unique(masks)) <= {0, 1}


@pytest.mark.parametrize("name", [*SAME, *DRAWN])
def test_same_counts_positives_first(golden, name):
    rois, class_ids, _, _ = run(golden, name)
    expected = golden.json("graph_detection_targets")[name]
    positives, negatives = expected["positives"], expected["negatives"]
    assert np.all(class_ids[:positives] > 0) and not np.any(class_ids[positives:])
    is_roi = np.any(rois != 0, axis=1)
    assert np.all(is_roi[: positives + negatives]) and not np.any(is_roi[positives + negatives :])


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_drawn_comes_from_the_right_pool(golden, name):
    """The original's rows are one draw: ours are distinct proposals too, and those in both have the same class."""
    rois, class_ids, deltas, masks = run(golden, name)
    proposals = golden.npz("graph_detection_targets")[f"{name}/proposals"]
    drawn = rois[np.any(rois != 0, axis=1)]
    assert len(np.unique(drawn, axis=0)) == len(drawn)
    assert {tuple(roi) for roi in drawn} <= {tuple(proposal) for proposal in proposals}
    recorded = [golden.npz("graph_detection_targets")[f"{name}/{key}_sorted"] for key in ("rois", *TARGETS)]
    theirs = {tuple(roi): targets for roi, *targets in zip(*recorded, strict=True) if roi.any()}
    ours = {tuple(roi): targets for roi, *targets in zip(rois, class_ids, deltas, masks, strict=True) if roi.any()}
    both = set(ours) & set(theirs)
    assert len(both) >= 4
    for roi in both:
        assert ours[roi][0] == theirs[roi][0]
        np.testing.assert_allclose(ours[roi][1], theirs[roi][1], atol=1e-5)
    assert np.mean([ours[roi][2] != theirs[roi][2] for roi in both]) < 1e-3


def test_no_ground_truth_gives_zeros(golden):
    assert all(golden.json("graph_detection_targets")["no_gt_all_zero_output"])
    proposals, *gt = padded(golden, "mini")
    inputs = [array[None] for array in (proposals, *map(np.zeros_like, gt))]
    outputs = DetectionTargetLayer(make_config(golden, "mini"), seed=1)(inputs)
    for output, shape in zip(outputs, ((200, 4), (200,), (200, 4), (200, 28, 28)), strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(output), np.zeros((1, *shape)))


def test_neither_padding_nor_the_rest_of_the_batch_matters(golden):
    config = make_config(golden, "mini")
    without_padding = map(keras.ops.convert_to_tensor, padded(golden, "mini", proposals=0, slots=0))
    alone = map(keras.ops.convert_to_numpy, detection_targets_graph(*without_padding, config))
    together, _ = sample([padded(golden, "mini"), padded(golden, "crowd")], config)
    for found, expected in zip(in_order(*together), in_order(*alone), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
