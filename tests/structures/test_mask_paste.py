"""Compares the rules of MASK_PASTE with recorded values of torchvision and of torch's grid_sample."""

import pathlib

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mrcnn.evaluation.coco_results import detections_to_coco
from mrcnn.inference.detect_files import to_instances
from mrcnn.modeling.postprocessing import full_masks, unmold
from mrcnn.structures.masks import paste_mask
from tests.foreign.operations import MASK_BOXES, PASTED, seeded

GOLDEN = pathlib.Path(__file__).parents[1] / "foreign" / "golden" / "torch_operations.npz"
MASKS = seeded("masks", (len(MASK_BOXES), 1, 28, 28))[:, 0]
BOXES = MASK_BOXES[:, [1, 0, 3, 2]]
RULES = ("torchvision", "grid")


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("threshold", [0.5, 0.25, 0.8])
def test_pasted_masks_are_those_of_torch(recorded, rule, threshold):
    for probs, box, expected in zip(MASKS, BOXES, recorded[f"paste/{rule}"], strict=True):
        (y1, x1, y2, x2), crop = paste_mask(probs, box, PASTED, threshold, rule)
        found = np.zeros(PASTED, bool)
        found[y1:y2, x1:x2] = crop
        clear = np.abs(expected - threshold) > 1e-4
        np.testing.assert_array_equal(found[clear], expected[clear] >= threshold, err_msg=str(box))
        assert clear.mean() > 0.99


def test_sure_masks_reach_the_edges_of_whole_pixels():
    """A box of whole pixels with a mask of ones is filled; torchvision's last pixel is the one after the box."""
    ones, box = np.ones((28, 28), "f"), np.array([10, 12, 24, 40], "f")
    (top, left, bottom, right), crop = paste_mask(ones, box, PASTED, rule="grid")
    assert (top, left, bottom, right) == (10, 12, 24, 40) and crop.all()
    _, crop = paste_mask(np.zeros((28, 28), "f"), box, PASTED, rule="grid")
    assert not crop.any()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("box", [(60, 60, 70, 80), (-20, -20, -5, -5), (5, 5, 5, 9), (9, 9, 3, 3), (0, 1e7, 5, 1e8)])
def test_boxes_without_pixels_in_the_image_leave_nothing(rule, box):
    (y1, x1, y2, x2), crop = paste_mask(np.ones((28, 28), "f"), box, PASTED, rule=rule)
    assert crop.shape == (y2 - y1, x2 - x1) and 0 <= y1 <= y2 <= PASTED[0] and 0 <= x1 <= x2 <= PASTED[1]
    assert rule == "torchvision" or not crop.any()


def float_detections(rule: str) -> dict:
    return {
        "rois": np.array([[3.25, 5.5, 20.75, 40.125], [3.25, 5.5, 20.75, 40.25], [3.25, 5.5, 20.75, 40.25]], "f"),
        "class_ids": np.array([1, 2, 2]),
        "scores": np.array([0.9, 0.8, 0.8], "f"),
        "mask_probs": MASKS[[0, 1, 1]] * 0 + 1,
        "mask_paste": rule,
    }


@pytest.mark.parametrize("rule", RULES)
def test_coco_results_keep_fractions_of_boxes(rule):
    found = float_detections(rule)
    entries = detections_to_coco(found, PASTED, 7, [0, 11, 12])
    assert [entry["bbox"] for entry in entries] == [[5.5, 3.25, 34.625, 17.5], [5.5, 3.25, 34.75, 17.5]]  # no duplicate
    masks = full_masks(found["mask_probs"], found["rois"], PASTED, rule)
    for entry, mask in zip(entries, np.moveaxis(masks, -1, 0), strict=False):
        np.testing.assert_array_equal(coco_mask.decode(entry["segmentation"]).astype(bool), mask)


@pytest.mark.parametrize("rule", RULES)
def test_instances_of_files_are_the_pasted_masks(rule):
    found = float_detections(rule)
    instances, scores = to_instances(found, PASTED)
    expected = full_masks(found["mask_probs"], found["rois"], PASTED, rule)
    np.testing.assert_array_equal(instances.to_masks(PASTED), expected[..., :2])  # the third repeats the second
    np.testing.assert_allclose(scores, found["scores"][:2])


def test_exact_boxes_come_back_from_the_network_in_continuous_coordinates():
    """An image of 80 x 110 px lies in a window of 160 x 220 px, at the top left of an input of 192 x 224 px."""
    boxes_px = np.array([[0, 0, 80, 110], [3.3, 4.7, 50.1, 99.9]])
    moulded = boxes_px * 2 / [192, 224, 192, 224]
    rows = np.zeros((4, 6), "f")
    rows[:2, :4], rows[:2, 4], rows[:2, 5] = moulded, [1, 2], [0.9, 0.8]
    masks = seeded("probabilities", (4, 28, 28, 3))
    found = unmold(rows, masks, (80, 110, 3), (192, 224, 3), (0, 0, 160, 220), continuous=True)
    np.testing.assert_allclose(found[0], boxes_px, atol=1e-4)
    assert found[0].dtype == np.float32
    assert found[1].tolist() == [1, 2] and found[1].dtype == np.int32
    np.testing.assert_array_equal(found[3], masks[[0, 1], :, :, [1, 2]])
