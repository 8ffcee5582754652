"""Compares anchor and ROI targets with hand-worked scenes and brute force, and tests the faults of the original."""

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.modeling.targets import DetectionTargetLayer, build_rpn_targets, detection_targets, rpn_targets
from mrcnn.structures.boxes import apply_box_deltas, compute_overlaps
from tests.gradients import value_and_gradient

pytestmark = pytest.mark.graph


def make_config(**settings) -> Config:
    config = Config()
    for key, value in settings.items():
        setattr(config, key, value)
    return config


def sample_anchors(anchors, gt_boxes, gt_class_ids, sampled, seed=1):
    """Sample the anchors of one image; return index, match, deltas."""
    inputs = np.asarray(anchors, "f"), np.asarray(gt_boxes, "f")[None], np.asarray(gt_class_ids, "int32")[None]
    config = make_config(RPN_TRAIN_ANCHORS_PER_IMAGE=sampled)
    outputs = rpn_targets(*map(keras.ops.convert_to_tensor, inputs), config, keras.random.SeedGenerator(seed))
    return [keras.ops.convert_to_numpy(output)[0] for output in outputs]


def labels_and_boxes(anchors, gt_boxes, gt_class_ids, how):
    """Return the kind of each anchor (1, -1, 0) and the target box of positive ones, without sampling."""
    size = 2 * len(anchors)
    deviation = np.array([0.1, 0.1, 0.2, 0.2])
    if how == "numpy":
        config = make_config(RPN_TRAIN_ANCHORS_PER_IMAGE=size)
        labels, packed = build_rpn_targets(None, anchors, gt_class_ids, gt_boxes, config)
        deltas = np.zeros((len(anchors), 4))
        deltas[labels == 1] = packed[: np.sum(labels == 1)]
    else:
        index, match, sampled_deltas = sample_anchors(anchors, gt_boxes, gt_class_ids, size)
        labels, deltas = np.zeros(len(anchors), int), np.zeros((len(anchors), 4))
        used = match != 0
        assert len(np.unique(index[used])) == used.sum()
        labels[index[used]], deltas[index[used]] = match[used], sampled_deltas[used]
    return labels, apply_box_deltas(anchors, deltas * deviation)


BOTH = pytest.mark.parametrize("how", ["numpy", "graph"])
# Three anchors in a row and one far away.
ANCHORS = np.array([[0, 0, 10, 10], [0, 10, 10, 20], [0, 20, 10, 30], [50, 50, 60, 60]], float)


@BOTH
def test_an_object_that_no_anchor_overlaps_makes_no_anchor_positive(how):
    """In the original, its best IoU is 0, which every anchor has, so all became positive with huge deltas."""
    boxes, class_ids = np.array([[200, 200, 204, 204], [0, 0, 10, 10]], float), np.array([1, 1])
    labels, _ = labels_and_boxes(ANCHORS, boxes, class_ids, how)
    assert labels.tolist() == [1, -1, -1, -1]
    labels, _ = labels_and_boxes(ANCHORS, boxes[:1], class_ids[:1], how)
    assert labels.tolist() == [-1, -1, -1, -1]


@BOTH
def test_a_forced_anchor_regresses_to_the_object_that_forced_it(how):
    """Anchor 1 is the best of the small object (IoU 0.16) but overlaps the wide one more (0.5), whose best is anchor 2.

    The original sent anchor 1 to the wide object and left the small one without any anchor.
    """
    boxes = np.array([[0, 15, 10, 30], [0, 10, 4, 14]], float)
    overlaps = compute_overlaps(ANCHORS, boxes)
    assert overlaps.argmax(axis=0).tolist() == [2, 1] and overlaps[1].argmax() == 0
    labels, became = labels_and_boxes(ANCHORS, boxes, np.array([1, 1]), how)
    assert labels.tolist() == [-1, 1, 1, -1]
    np.testing.assert_allclose(became[1], boxes[1], atol=1e-4)
    np.testing.assert_allclose(became[2], boxes[0], atol=1e-4)


@BOTH
def test_crowds_are_neither_objects_nor_background(how):
    boxes = np.array([[0, 0, 10, 10], [0, 18, 10, 40]], float)
    labels, _ = labels_and_boxes(ANCHORS, boxes, np.array([1, -1]), how)
    assert labels.tolist() == [1, 0, 0, -1]


@BOTH
def test_without_objects_everything_is_background(how):
    padding = 2 if how == "graph" else 0
    labels, _ = labels_and_boxes(ANCHORS, np.zeros((padding, 4)), np.zeros(padding, int), how)
    assert labels.tolist() == [-1, -1, -1, -1]


@BOTH
@pytest.mark.parametrize("objects", [3, 20])
def test_labels_equal_the_rules_written_out(how, objects):
    """20 objects fill three chunks of the graph function, the last one partly, with padding in between."""
    draw = np.random.default_rng(objects)
    corners = draw.uniform(0, 200, (400, 2))
    anchors = np.concatenate([corners, corners + draw.uniform(10, 60, (400, 2))], axis=1)
    corners = draw.uniform(0, 200, (objects, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(10, 60, (objects, 2))], axis=1)
    class_ids = np.where(np.arange(objects) % 5 == 2, -1, 1)
    expected, target = rules_written_out(anchors, boxes, class_ids)
    if how == "graph":
        padding = np.zeros((2, 4))
        boxes, class_ids = np.concatenate([boxes[:2], padding, boxes[2:]]), np.insert(class_ids, [2, 2], 0)
        target = np.where(target >= 2, target + 2, target)
    labels, became = labels_and_boxes(anchors, boxes, class_ids, how)
    np.testing.assert_array_equal(labels, expected)
    positive = expected == 1
    assert positive.sum() >= objects // 2
    np.testing.assert_allclose(became[positive], boxes[target[positive]], atol=1e-3)


def rules_written_out(anchors, boxes, class_ids):
    """Apply Faster R-CNN's rules one anchor at a time; return labels and the object of each positive anchor."""
    overlaps = compute_overlaps(anchors, boxes)
    objects, crowds = np.flatnonzero(class_ids > 0), np.flatnonzero(class_ids < 0)
    labels, target = np.zeros(len(anchors), int), np.zeros(len(anchors), int)
    for anchor in range(len(anchors)):
        own = max(objects, key=lambda o: overlaps[anchor, o])
        forcing = [o for o in objects if 0 < overlaps[anchor, o] == overlaps[:, o].max()]
        if forcing:
            labels[anchor], target[anchor] = 1, max(forcing, key=lambda o: overlaps[anchor, o])
        elif overlaps[anchor, own] >= 0.7:
            labels[anchor], target[anchor] = 1, own
        elif overlaps[anchor, own] < 0.3 and not (overlaps[anchor, crowds] >= 0.001).any():
            labels[anchor] = -1
    return labels, target


def test_at_most_half_of_the_sampled_anchors_are_positive_and_negatives_fill_up():
    grid = np.array([[y, x, y + 10, x + 10] for y in range(0, 100, 10) for x in range(0, 100, 10)], float)
    index, match, _ = sample_anchors(grid, grid[:30], np.ones(30), 16)  # 30 positives and 70 negatives to draw from
    assert match.tolist() == [1] * 8 + [-1] * 8 and len(np.unique(index)) == 16
    assert np.all(index[:8] < 30) and np.all(index[8:] >= 30)
    index, match, _ = sample_anchors(grid, grid[:3], np.ones(3), 16)
    assert match.tolist() == [1] * 3 + [-1] * 13 and set(index[:3]) == {0, 1, 2}
    index, match, deltas = sample_anchors(grid[:5], grid[:1], np.ones(1), 16)  # fewer anchors than requested
    assert match.tolist() == [1] + [-1] * 4 + [0] * 11 and sorted(index[:5]) == [0, 1, 2, 3, 4]
    assert not np.any(deltas)


def test_every_anchor_is_drawn_equally_often():
    grid = np.array([[y, x, y + 10, x + 10] for y in range(0, 40, 10) for x in range(0, 100, 10)], "f")
    images = 500
    boxes, class_ids = np.repeat(grid[None, :1], images, axis=0), np.ones((images, 1), "int32")
    config, seeds = make_config(RPN_TRAIN_ANCHORS_PER_IMAGE=14), keras.random.SeedGenerator(5)
    tensors = [keras.ops.convert_to_tensor(array) for array in (grid, boxes, class_ids)]
    first, again = (keras.ops.convert_to_numpy(rpn_targets(*tensors, config, seeds)[0]) for _ in range(2))
    assert not np.array_equal(first, again), "the seed generator must move on"
    counts = np.bincount(np.concatenate([first, again])[:, 1:].ravel(), minlength=40)[1:]
    assert counts.sum() == 2 * images * 13
    # 1000 draws of 13 out of 39: each 333 times, standard deviation 15
    assert np.abs(counts - 1000 / 3).max() < 5 * 15


# ---------------------------------------------------------------------------------------------------- heads

# 20 x 20 boxes (normalised) of which the first two are objects; proposals are these, shifted or not.
GT_BOXES = np.array([[0.1, 0.1, 0.3, 0.3], [0.6, 0.6, 0.8, 0.8], [0, 0, 0, 0]], "f")
GT_CLASS_IDS = np.array([3, 5, 0], "int32")
FAR_AWAY = np.array([[0.4, 0.05 * k, 0.5, 0.05 * k + 0.1] for k in range(12)], "f")


def sample_rois(proposals, class_ids=GT_CLASS_IDS, boxes=GT_BOXES, masks=None, **settings):
    settings = {"TRAIN_ROIS_PER_IMAGE": 12, "ROI_POSITIVE_RATIO": 0.25, "MASK_SHAPE": [4, 4], **settings}
    masks = np.ones((8, 8, len(boxes)), bool) if masks is None else masks
    arrays = [np.asarray(array)[None] for array in (proposals, class_ids, boxes, masks)]
    outputs = detection_targets(
        *map(keras.ops.convert_to_tensor, arrays), make_config(**settings), keras.random.SeedGenerator(2)
    )
    return [keras.ops.convert_to_numpy(output)[0] for output in outputs]


def test_padded_proposals_are_never_sampled_as_background():
    """The zero rows overlap nothing, so the original's rule alone would treat them as background.

    Two positives need six negatives, but there are only four background proposals and twenty rows of padding.
    """
    proposals = np.concatenate([GT_BOXES[:2], FAR_AWAY[:4], np.zeros((20, 4), "f")])
    rois, class_ids, _, _ = sample_rois(proposals)
    assert sorted(class_ids[:2]) == [3, 5] and not np.any(class_ids[2:])
    assert {tuple(roi) for roi in rois[2:6]} == {tuple(box) for box in FAR_AWAY[:4]}
    assert not np.any(rois[6:])


def test_negatives_keep_the_ratio_and_positives_their_share():
    shifts = np.linspace(0, 0.02, 10, dtype="f")[:, None]
    positives = np.concatenate([GT_BOXES[0] + shifts, GT_BOXES[1] + shifts])  # 20 candidates, all with IoU > 0.5
    proposals = np.concatenate([positives, FAR_AWAY])
    rois, class_ids, _, _ = sample_rois(proposals)
    assert np.sum(class_ids > 0) == 3 and np.any(rois != 0, axis=1).sum() == 12  # a quarter of 12
    rois, class_ids, _, _ = sample_rois(np.concatenate([positives[:1], FAR_AWAY]))
    assert np.sum(class_ids > 0) == 1 and np.any(rois != 0, axis=1).sum() == 4  # one positive brings three negatives
    rois, _, _, _ = sample_rois(FAR_AWAY)
    assert not np.any(rois)  # no positive, no negatives


def test_an_empty_image_gives_background_if_asked_to():
    nothing = {"class_ids": np.zeros(3, "int32"), "boxes": np.zeros((3, 4), "f")}
    rois, class_ids, deltas, masks = sample_rois(FAR_AWAY, **nothing, TRAIN_EMPTY_IMAGES=True)
    assert np.any(rois != 0, axis=1).sum() == 9  # 12 less the quarter that positives would have
    assert not np.any(class_ids) and not np.any(deltas) and not np.any(masks)
    assert not np.any(sample_rois(FAR_AWAY, **nothing)[0])


def test_proposals_on_a_crowd_are_not_background():
    boxes = np.concatenate([GT_BOXES, [[0.4, 0.0, 0.5, 0.22]]]).astype("f")
    rois, class_ids, _, _ = sample_rois(
        np.concatenate([GT_BOXES[:2], FAR_AWAY[:8]]), np.append(GT_CLASS_IDS, -4).astype("int32"), boxes
    )
    assert {tuple(roi) for roi in rois[2:] if roi.any()} == {tuple(box) for box in FAR_AWAY[5:8]}
    assert np.all(class_ids >= 0)


def test_deltas_lead_to_the_object():
    proposals = np.concatenate([GT_BOXES[:2] + np.float32([0.01, -0.02, 0.03, 0.02]), FAR_AWAY])
    rois, class_ids, deltas, _ = sample_rois(proposals)
    decoded = apply_box_deltas(rois[:2], deltas[:2] * np.array([0.1, 0.1, 0.2, 0.2]))
    expected = [GT_BOXES[GT_CLASS_IDS.tolist().index(class_id)] for class_id in class_ids[:2]]
    np.testing.assert_allclose(decoded, expected, atol=1e-5)
    assert not np.any(deltas[2:])


@pytest.mark.parametrize("mini", [True, False])
def test_masks_are_what_lies_under_the_roi(mini):
    """One object, its left half a mask, on a 41 x 41 image whose pixel centres are multiples of 1/40.

    The ROI covers the object's left 3/4: of its four columns at 0, 1/4, 1/2, 3/4 of the object, the first three see
    mask (which ends at 1/2 inclusive).
    """
    box = np.array([[8, 8, 24, 24]], "f") / 40
    half = np.zeros((17, 17, 1), bool)
    half[:, :9] = True
    full = np.zeros((41, 41, 1), bool)
    full[8:25, 8:25] = half
    proposals = np.concatenate([np.array([[8, 8, 24, 20]], "f") / 40, FAR_AWAY])
    _, class_ids, _, masks = sample_rois(
        proposals, np.array([2], "int32"), box, half if mini else full, USE_MINI_MASK=mini
    )
    assert class_ids[0] == 2
    np.testing.assert_array_equal(masks[0], [[1, 1, 1, 0]] * 4)
    assert not np.any(masks[1:])


def test_no_gradient_flows_into_the_proposals():
    """In the original, the box loss reached the RPN through its own targets."""
    config = make_config(TRAIN_ROIS_PER_IMAGE=12, ROI_POSITIVE_RATIO=0.25, MASK_SHAPE=[4, 4])
    gt = [keras.ops.convert_to_tensor(array[None]) for array in (GT_CLASS_IDS, GT_BOXES, np.ones((8, 8, 3), bool))]
    proposals = np.concatenate([GT_BOXES[:2] + np.float32(0.01), FAR_AWAY])[None]

    def loss(tensor):
        rois, _, deltas, _ = detection_targets(tensor, *gt, config, keras.random.SeedGenerator(2))
        return keras.ops.sum(deltas) + keras.ops.sum(rois)

    value, gradient = value_and_gradient(loss, proposals)
    assert value != 0 and not np.any(gradient)


def test_layer_draws_anew_in_every_compiled_step_and_repeats_with_the_seed():
    config = make_config(TRAIN_ROIS_PER_IMAGE=12, ROI_POSITIVE_RATIO=0.25, MASK_SHAPE=[4, 4])
    shifts = np.linspace(0, 0.02, 30, dtype="f")[:, None]
    arrays = [GT_BOXES[0] + shifts, GT_CLASS_IDS, GT_BOXES, np.ones((8, 8, 3), bool)]
    batch = [np.repeat(array[None], 2, axis=0) for array in arrays]

    def draws():
        inputs = [keras.Input(a.shape[1:], dtype=keras.backend.standardize_dtype(a.dtype)) for a in batch]
        model = keras.Model(inputs, DetectionTargetLayer(config, seed=7)(inputs))
        model.compile(jit_compile=keras.config.backend() != "torch")  # XLA: every shape must be static
        return [model.predict_on_batch(batch)[0] for _ in range(2)]

    first, second = draws()
    assert not np.array_equal(first, second)
    assert not np.array_equal(first[0], first[1])  # the images of a batch are sampled independently
    for found, expected in zip(draws(), (first, second), strict=True):
        np.testing.assert_array_equal(found, expected)
