"""Compares each setting of the detection layer and of the heads' training, alone, with numpy."""

import functools

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.errors import InputError
from mrcnn.modeling import losses, ops, targets
from mrcnn.modeling.detection_layer import refine_detections, refine_detections_graph
from tests.compiled import RUNS, to_numpy, traced
from tests.modeling.test_ops import draw_scene, greedy, iou

pytestmark = pytest.mark.graph
REGIONS, CLASSES, SLOTS = 30, 4, 90
INPUT = (160, 192)
WINDOWS = np.array([[0, 0, 150, 180], [8, 4, 160, 192]])


def config_of(**settings) -> Config:
    config = Config()
    fixed = {
        "DETECTION_MAX_INSTANCES": SLOTS,
        "DETECTION_MIN_CONFIDENCE": 0.25,
        "DETECTION_NMS_THRESHOLD": 0.4,
        "BOX_CONVENTION": "continuous",
    }
    for name, value in {**fixed, **settings}.items():
        setattr(config, name, value)
    return config


def scene(seed: int) -> tuple[np.ndarray, ...]:
    """Draw ROIs, probabilities, deltas, windows and metas of two images."""
    draw = np.random.default_rng(seed)
    centre, half = draw.uniform(0.2, 0.8, (2, REGIONS, 2)), draw.uniform(0.02, 0.2, (2, REGIONS, 2))
    rois = np.concatenate([centre - half, centre + half], axis=-1).astype("f")
    logits = draw.normal(0, 1.5, (2, REGIONS, CLASSES))
    probs = (np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)).astype("f")
    deltas = draw.normal(0, 1.0, (2, REGIONS, CLASSES, 4)).astype("f")
    metas = np.zeros((2, 12 + CLASSES), "f")
    metas[:, 4:7], metas[:, 7:11] = (*INPUT, 3), WINDOWS
    return rois, probs, deltas, (WINDOWS / np.tile(INPUT, 2)).astype("f"), metas


def soft_nms(boxes, scores, class_ids, config) -> list[tuple[int, float]]:
    """Soft-NMS as in its paper: (index, score) in the order of selection."""
    left, taken = dict(enumerate(scores.astype(float))), []
    while left and len(taken) < config.DETECTION_MAX_INSTANCES:
        best = max(left, key=lambda i: left[i])
        score = left.pop(best)
        if score < config.DETECTION_MIN_CONFIDENCE:
            break
        taken.append((best, score))
        for i in left:
            if not config.DETECTION_CLASS_AGNOSTIC_NMS and class_ids[i] != class_ids[best]:
                continue
            overlap = iou(boxes[best], boxes[i])
            if config.DETECTION_SOFT_NMS == "gaussian":
                left[i] *= np.exp(-(overlap**2) / config.DETECTION_SOFT_NMS_SIGMA)
            elif overlap > config.DETECTION_NMS_THRESHOLD:
                left[i] *= 1 - overlap
    return taken


def by_definition(rois, probs, deltas, window, config) -> np.ndarray:
    """Detect in one image, in float64: [SLOTS, 6]."""
    rows = []
    for roi, row, change in zip(rois.astype(float), probs, deltas, strict=True):
        ids = range(1, CLASSES) if config.DETECTION_EVERY_CLASS else [int(np.argmax(row))]
        for class_id in ids:
            wanted = config.DETECTION_CLASSES is None or class_id in config.DETECTION_CLASSES
            if class_id == 0 or not wanted or row[class_id] < config.DETECTION_MIN_CONFIDENCE:
                continue
            dy, dx, dh, dw = change[class_id] * np.asarray(config.BBOX_STD_DEV)
            h, w = roi[2] - roi[0], roi[3] - roi[1]
            cy, cx = (roi[0] + roi[2]) / 2 + dy * h, (roi[1] + roi[3]) / 2 + dx * w
            h, w = h * np.exp(dh), w * np.exp(dw)
            low, high = window[[0, 1, 0, 1]], window[[2, 3, 2, 3]]
            box = np.clip([cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2], low, high)
            sides = (box[2:] - box[:2]) * INPUT
            if (sides > (config.DETECTION_MIN_SIZE or 0)).all():
                rows.append([*box, class_id, row[class_id]])
    rows = np.array(rows).reshape(-1, 6)
    boxes, class_ids, scores = rows[:, :4], rows[:, 4], rows[:, 5]
    if config.DETECTION_SOFT_NMS:
        taken = soft_nms(boxes, scores, class_ids, config)
    else:
        classes = np.zeros(len(rows)) if config.DETECTION_CLASS_AGNOSTIC_NMS else class_ids
        kept = greedy(boxes, scores, SLOTS, config.DETECTION_NMS_THRESHOLD, classes)
        taken = [(i, scores[i]) for i in kept]
    result = np.zeros((SLOTS, 6))
    for place, (i, score) in enumerate(taken):
        result[place] = [*rows[i, :5], score]
    return result


CHANGES = {
    "none": {},
    "DETECTION_EVERY_CLASS": {"DETECTION_EVERY_CLASS": True},
    "DETECTION_EVERY_CLASS, low": {"DETECTION_EVERY_CLASS": True, "DETECTION_MIN_CONFIDENCE": 0.02},
    "DETECTION_EVERY_CLASS, no limit": {"DETECTION_EVERY_CLASS": True, "DETECTION_MIN_CONFIDENCE": 0},
    "DETECTION_CLASSES": {"DETECTION_CLASSES": [1, 3]},
    "DETECTION_CLASSES of every class": {"DETECTION_CLASSES": [2], "DETECTION_EVERY_CLASS": True},
    "DETECTION_MIN_SIZE": {"DETECTION_MIN_SIZE": 25.0},
    "DETECTION_CLASS_AGNOSTIC_NMS": {"DETECTION_CLASS_AGNOSTIC_NMS": True},
    "linear": {"DETECTION_SOFT_NMS": "linear", "DETECTION_EVERY_CLASS": True},
    "gaussian": {"DETECTION_SOFT_NMS": "gaussian", "DETECTION_EVERY_CLASS": True},
    "gaussian of all classes": {"DETECTION_SOFT_NMS": "gaussian", "DETECTION_CLASS_AGNOSTIC_NMS": True},
    "sigma": {"DETECTION_SOFT_NMS": "gaussian", "DETECTION_SOFT_NMS_SIGMA": 0.1, "DETECTION_EVERY_CLASS": True},
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", CHANGES)
def test_detections_are_those_of_the_definition(run, name):
    config = config_of(**CHANGES[name])
    rois, probs, deltas, windows, metas = scene(3)

    def detect(*arrays):
        return refine_detections(*arrays[:4], config, arrays[4])

    found = to_numpy(run(detect)(*map(keras.ops.convert_to_tensor, (rois, probs, deltas, windows, metas))))
    for image in range(2):
        expected = by_definition(rois[image], probs[image], deltas[image], windows[image].astype(float), config)
        np.testing.assert_allclose(found[image], expected, atol=2e-5)
        assert (np.diff(found[image][:, 5]) <= 0).all() and expected[0, 5] > 0


def test_the_settings_change_the_detections():
    """Otherwise the comparison above would show nothing."""
    rois, probs, deltas, windows, _ = scene(3)
    results = {
        name: b"".join(
            by_definition(rois[i], probs[i], deltas[i], windows[i].astype(float), config_of(**changes))
            .round(4)
            .tobytes()
            for i in range(2)
        )
        for name, changes in CHANGES.items()
    }
    names = list(results)
    assert [(a, b) for i, a in enumerate(names) for b in names[:i] if results[a] == results[b]] == []


def test_sizes_in_pixels_need_the_images_sizes():
    rois, probs, deltas, windows, _ = scene(3)
    config = config_of(DETECTION_MIN_SIZE=25.0)
    with pytest.raises(InputError, match=r"DETECTION_MIN_SIZE is 25.0.*call refine_detections with meta"):
        refine_detections_graph(rois[0], probs[0], deltas[0], windows[0], config)


@functools.cache
def suppression(most: int):
    """Return non-maximum suppression that selects up to `most`, traced once for all numbers of candidates."""
    return traced(lambda boxes, scores, *rest: ops.non_max_suppression(boxes, scores, most, 0.3, *rest))


@pytest.mark.parametrize("candidates", [0, 1, 7, 16, 17, 75])
def test_suppression_that_ends_early_selects_the_same(monkeypatch, candidates):
    """Candidates are sorted to the front, so tiles without any are skipped; the greedy loop knows no tiles."""
    monkeypatch.setattr(ops, "NMS_TILE", 16)
    boxes, scores, class_ids, _ = draw_scene(candidates)
    scores = np.where(np.isfinite(scores), scores, 0).astype("f")
    valid = np.zeros(scores.shape, bool)
    valid[0, :candidates] = valid[1, 75 - candidates // 2 :] = True
    for most in (3, 30):
        indices, keep = to_numpy(suppression(most)(boxes, scores, class_ids, valid))
        for i in range(2):
            expected = greedy(boxes[i], scores[i], most, 0.3, class_ids[i], valid[i])
            assert indices[i][keep[i]].tolist() == expected


# ------------------------------------------------------------------------------------------------- training


def labelled(draw) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw class ids, boxes and mini-masks of two images with four slots: objects, a crowd and padding."""
    corner = draw.uniform(0.05, 0.5, (2, 4, 2))
    boxes = np.concatenate([corner, corner + draw.uniform(0.1, 0.4, (2, 4, 2))], axis=-1).astype("f")
    class_ids = np.array([[1, 2, -1, 0], [3, 0, 0, 0]], "int32")
    boxes[class_ids == 0] = 0
    return class_ids, boxes, draw.uniform(size=(2, 28, 28, 4)) > 0.5


def target_config(**settings) -> Config:
    fixed = {"TRAIN_ROIS_PER_IMAGE": 12, "ROI_POSITIVE_RATIO": 0.5, "MASK_SHAPE": [14, 14]}
    return config_of(**fixed, **settings)


@pytest.mark.parametrize("append", [False, True])
def test_labelled_boxes_are_proposals_where_they_are_appended(append):
    """All proposals lie far from the objects, so positives can only be the objects themselves; crowds are none."""
    class_ids, boxes, masks = labelled(np.random.default_rng(0))
    proposals = np.tile(np.array([0.95, 0.95, 0.99, 0.99], "f"), (2, 10, 1))
    config = target_config(PROPOSAL_APPEND_GT=append)
    rois, ids, deltas, _ = to_numpy(targets.detection_targets(proposals, class_ids, boxes, masks, config))
    for image in range(2):
        chosen = ids[image] > 0
        assert sorted(ids[image][chosen]) == ([i for i in class_ids[image] if i > 0] if append else [])
        for roi, class_id in zip(rois[image][chosen], ids[image][chosen], strict=True):
            np.testing.assert_array_equal(roi, boxes[image][class_ids[image] == class_id][0])
        assert not deltas[image][chosen].any()


def cells_of(mask: np.ndarray, roi: np.ndarray, box: np.ndarray, side: int, samples: int = 2) -> np.ndarray:
    """Sample a mask that fills `box` in the cells of a ROI by definition, in float64: [side, side]."""
    h, w = mask.shape
    place = (np.arange(side * samples) + 0.5) / (side * samples)
    y = (roi[0] + place * (roi[2] - roi[0]) - box[0]) / (box[2] - box[0]) * h - 0.5
    x = (roi[1] + place * (roi[3] - roi[1]) - box[1]) / (box[3] - box[1]) * w - 0.5
    values = np.zeros((len(y), len(x)))
    for i, v in enumerate(y):
        for j, u in enumerate(x):
            if -1 <= v <= h and -1 <= u <= w:
                v0, u0 = np.clip([v, u], 0, [h - 1, w - 1])
                top, left = int(v0), int(u0)
                bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
                fy, fx = v0 - top, u0 - left
                upper = mask[top, left] * (1 - fx) + mask[top, right] * fx
                lower = mask[bottom, left] * (1 - fx) + mask[bottom, right] * fx
                values[i, j] = upper * (1 - fy) + lower * fy
    return values.reshape(side, samples, side, samples).mean(axis=(1, 3))


@pytest.mark.parametrize("mini", [True, False])
def test_mask_targets_of_continuous_boxes_lie_at_the_centres_of_cells(mini):
    """MASK_PASTE puts each cell's probability at the cell's centre, so that is where its target is sampled."""
    class_ids, boxes, masks = labelled(np.random.default_rng(1))
    config = target_config(USE_MINI_MASK=mini)
    near = boxes[:, :2] + np.array([0.01, -0.02, -0.01, 0.015], "f")
    rois, ids, deltas, found = to_numpy(targets.detection_targets(near, class_ids, boxes, masks, config))
    checked = 0
    for image in range(2):
        for k in np.flatnonzero(ids[image] > 0):
            g = int(np.flatnonzero(class_ids[image] == ids[image, k])[0])
            frame = boxes[image, g] if mini else np.array([0, 0, 1, 1])
            values = cells_of(masks[image, :, :, g].astype(float), rois[image, k].astype(float), frame, 14)
            clear = np.abs(values - 0.5) > 1e-3
            np.testing.assert_array_equal(found[image, k][clear], (values >= 0.5)[clear])
            checked += 1
            height, width = rois[image, k, 2:] - rois[image, k, :2]
            shift = (boxes[image, g, :2] + boxes[image, g, 2:] - rois[image, k, :2] - rois[image, k, 2:]) / 2
            np.testing.assert_allclose(
                deltas[image, k, :2] * np.array(config.BBOX_STD_DEV)[:2], shift / [height, width], atol=1e-5
            )
    assert checked == 3


def test_hard_rois_are_the_half_with_the_highest_loss():
    draw = np.random.default_rng(2)
    ids = draw.integers(0, 3, (2, 9)).astype("int32")
    logits, target, pred = draw.normal(size=(2, 9, 3)), draw.normal(size=(2, 9, 4)), draw.normal(size=(2, 9, 3, 4))
    valid = np.ones((2, 9), bool)
    valid[1, 4:] = False
    arrays = [ids, *(a.astype("f") for a in (logits, target, pred)), valid]
    found = to_numpy(losses.hard_rois(*map(keras.ops.convert_to_tensor, arrays)))
    for image in range(2):
        loss = {}
        for k in np.flatnonzero(valid[image]):
            class_id = ids[image, k]
            loss[k] = np.log(np.exp(logits[image, k]).sum()) - logits[image, k, class_id]
            if class_id:
                d = np.abs(target[image, k] - pred[image, k, class_id])
                loss[k] += np.where(d < 1, 0.5 * d**2, d - 0.5).mean()
        half = sorted(loss, key=lambda k: -loss[k])[: (len(loss) + 1) // 2]
        assert np.flatnonzero(found[image]).tolist() == sorted(half)
