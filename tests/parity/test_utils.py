"""What mrcnn.utils has itself, against the original's numbers; and that it has every name of the original."""

import numpy as np
import pytest

from mrcnn import utils
from mrcnn.config import Config
from mrcnn.errors import InputError

NAMES = [
    "COCO_MODEL_URL",
    "extract_bboxes",
    "compute_iou",
    "compute_overlaps",
    "compute_overlaps_masks",
    "non_max_suppression",
    "apply_box_deltas",
    "box_refinement",
    "box_refinement_graph",
    "Dataset",
    "resize_image",
    "resize_mask",
    "minimize_mask",
    "expand_mask",
    "mold_mask",
    "unmold_mask",
    "generate_anchors",
    "generate_pyramid_anchors",
    "trim_zeros",
    "compute_matches",
    "compute_ap",
    "compute_ap_range",
    "compute_recall",
    "batch_slice",
    "download_trained_weights",
    "norm_boxes",
    "denorm_boxes",
    "resize",
]


def test_every_name_is_there():
    assert [name for name in NAMES if not hasattr(utils, name)] == []
    assert sorted(utils.__all__) == sorted(NAMES)


def test_mold_mask():
    """The original's function of this name has no body: here it gives the mini-masks that training would use."""
    masks = np.zeros((20, 30, 2), bool)
    masks[4:12, 6:22, 0] = True
    masks[5:15, 10:20, 1] = np.tri(10, dtype=bool)
    config = Config()
    config.MINI_MASK_SHAPE = (10, 10)
    minis = utils.mold_mask(masks, config)
    np.testing.assert_array_equal(minis, np.stack([np.ones((10, 10)), np.tri(10)], axis=-1))


def test_non_max_suppression(golden):
    figures = golden.npz("utils_boxes")
    for threshold in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0):
        kept = utils.non_max_suppression(figures["boxes1"], figures["nms_scores"], threshold)
        np.testing.assert_array_equal(kept, figures[f"nms_int_{threshold}"])
    for threshold in (0.3, 0.7):
        kept = utils.non_max_suppression(figures["nms_float_boxes"], figures["nms_scores"], threshold)
        np.testing.assert_array_equal(kept, figures[f"nms_float_{threshold}"])
    assert kept.dtype == np.int32
    tied = utils.non_max_suppression(figures["nms_tie_boxes"], figures["nms_tie_scores"], 0.3)
    np.testing.assert_array_equal(np.sort(tied), np.sort(figures["nms_tie_0.3"]))
    assert utils.non_max_suppression(np.zeros((0, 4)), np.zeros(0), 0.3).shape == (0,)  # the original asserts


def test_compute_iou(golden):
    figures = golden.npz("utils_boxes")
    boxes, box = figures["boxes1"].astype(float), figures["boxes2"][0].astype(float)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    found = utils.compute_iou(box, boxes, (box[2] - box[0]) * (box[3] - box[1]), areas)
    np.testing.assert_allclose(found, figures["compute_iou_row0"], rtol=1e-6)


def test_mask_overlaps(golden):
    """What was 0 / 0, and nan in the original, is 0: two masks or two boxes without a pixel do not overlap."""
    recorded, figures = golden.npz("utils_masks"), golden.npz("utils_boxes")
    shape = recorded["masks_shape"]
    masks = np.unpackbits(recorded["masks"])[: shape.prod()].reshape(shape).astype(bool)
    first, second = masks[..., :9], masks[..., [0, 5, 10, 11, 12]]
    np.testing.assert_allclose(utils.compute_overlaps_masks(first, second), figures["overlaps_masks"], rtol=1e-6)
    floats = utils.compute_overlaps_masks(first * 0.9, second * 0.6)  # numbers above 0.5 belong to the mask
    np.testing.assert_allclose(floats, figures["overlaps_masks_float_in"], rtol=1e-6)
    assert utils.compute_overlaps_masks(first[..., :0], second).shape == figures["overlaps_masks_empty1"].shape
    assert utils.compute_overlaps_masks(first, second[..., :0]).shape == figures["overlaps_masks_empty2"].shape
    blank = np.zeros_like(first[..., :1])
    found = utils.compute_overlaps_masks(blank, np.concatenate([second[..., :1], blank], axis=2))
    np.testing.assert_array_equal(found, np.nan_to_num(figures["overlaps_masks_blank"]))
    recorded = figures["compute_overlaps_zero_boxes"]
    assert np.isnan(recorded).sum() == 2
    first = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 5, 5], [20, 20, 30, 30.0]])
    found = utils.compute_overlaps(first, np.array([[0, 0, 0, 0], [1, 1, 5, 5.0]]))
    np.testing.assert_array_equal(found, np.nan_to_num(recorded))


def test_trim_zeros(golden):
    figures = golden.npz("utils_boxes")
    np.testing.assert_array_equal(utils.trim_zeros(figures["trim_zeros_in"]), figures["trim_zeros_out"])


def test_batch_slice():
    first, second = np.arange(12.0).reshape(3, 4), np.ones((3, 4))
    total = utils.batch_slice([first, second], lambda a, b: a * 2 + b, 3)
    np.testing.assert_allclose(np.asarray(total), first * 2 + 1)
    doubled, summed = utils.batch_slice(first, lambda a: (a * 2, a.sum()), 3, names=["a", "b"])
    np.testing.assert_allclose(np.asarray(doubled), first * 2)
    np.testing.assert_allclose(np.asarray(summed), first.sum(axis=1))


def test_download_keeps_a_file_that_is_there_and_says_if_it_is_another(tmp_path):
    path = tmp_path / "mask_rcnn_coco.h5"
    path.write_bytes(b"something else")
    with pytest.raises(InputError, match="mask_rcnn_coco.h5 is not the published file"):
        utils.download_trained_weights(str(path))
    assert path.read_bytes() == b"something else"
