"""Final detections against the original's.

Two of its scenes contain regions that are clipped to an empty box. The original listed those (and removed them after
the network), and TensorFlow 1.15's suppression, having taken an empty box, dropped all later boxes of that class. We
list no empty box and lose no object to one; `as_if_empty_boxes_suppressed` brings our answer to the original's terms.
"""

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.modeling.detection_layer import DetectionLayer, refine_detections, refine_detections_graph
from mrcnn.structures.boxes import apply_box_deltas, clip_boxes, compute_overlaps, norm_boxes
from tests.empty_boxes import as_if_empty_boxes_suppressed, is_empty

pytestmark = pytest.mark.graph
EQUAL = ("conf0", "conf0.5", "conf0.7_max20", "nms0.7", "all_background", "all_below_confidence")


def make_config(golden, name: str) -> Config:
    config = Config()
    for key, value in golden.json("graph_detections")[name]["config"].items():
        setattr(config, key, value)
    return config


def inputs_of(golden, name: str) -> list[np.ndarray]:
    """One scene, with zero rows to the size of the largest, so that JAX compiles each operation once."""
    recorded = golden.npz("graph_detections")
    arrays = [recorded[f"{name}/{key}"] for key in ("rois", "probs", "deltas")]
    arrays = [np.pad(array, [(0, 300 - len(array))] + [(0, 0)] * (array.ndim - 1)) for array in arrays]
    return [array[None] for array in (*arrays, recorded[f"{name}/window"])]


def refine(inputs, config) -> np.ndarray:
    return keras.ops.convert_to_numpy(refine_detections(*map(keras.ops.convert_to_tensor, inputs), config))


@pytest.mark.parametrize("name", EQUAL)
def test_same_detections_in_the_same_order(golden, name):
    inputs = [keras.ops.convert_to_tensor(array[0]) for array in inputs_of(golden, name)]
    found = keras.ops.convert_to_numpy(refine_detections_graph(*inputs, make_config(golden, name)))
    np.testing.assert_allclose(found, golden.npz("graph_detections")[f"{name}/detections"], atol=1e-5)


def test_padded_regions_give_nothing(golden):
    recorded = golden.npz("graph_detections")["zero_padded_rois/detections"]
    assert is_empty(recorded).sum() == golden.json("graph_detections")["zero_padded_rois"]["zero_area"] == 8
    found = refine(inputs_of(golden, "zero_padded_rois"), make_config(golden, "zero_padded_rois"))[0]
    assert not is_empty(found).any()
    ours, theirs = as_if_empty_boxes_suppressed(found, recorded)
    assert len(theirs) == 12  # its 20 without the 8
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_layer_on_a_batch_clips_each_image_to_its_window(golden):
    recorded = golden.npz("graph_detections")
    config = make_config(golden, "layer")
    inputs = [recorded[f"layer/{key}"] for key in ("rois", "probs", "deltas", "image_meta")]
    found = keras.ops.convert_to_numpy(DetectionLayer(config)(inputs))
    for ours, theirs in zip(found, recorded["layer/detections"], strict=True):
        assert is_empty(theirs).any() and not is_empty(ours).any()
        ours, theirs = as_if_empty_boxes_suppressed(ours, theirs)
        assert len(theirs) > 15
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("name", [*EQUAL, "zero_padded_rois"])
def test_equals_greedy_suppression_written_out(golden, name):
    config, inputs = make_config(golden, name), inputs_of(golden, name)
    expected = greedy(*(array[0] for array in inputs), config)
    found = refine(inputs, config)[0]
    np.testing.assert_allclose(found[: len(expected)], expected, atol=1e-5)
    assert not np.any(found[len(expected) :])


def test_layer_equals_greedy_suppression_written_out(golden):
    recorded, config = golden.npz("graph_detections"), make_config(golden, "layer")
    inputs = [recorded[f"layer/{key}"] for key in ("rois", "probs", "deltas", "image_meta")]
    found = keras.ops.convert_to_numpy(DetectionLayer(config)(inputs))
    for index in range(2):
        rois, probs, deltas, meta = (array[index] for array in inputs)
        expected = greedy(rois, probs, deltas, norm_boxes(meta[7:11], meta[4:6]), config)
        np.testing.assert_allclose(found[index, : len(expected)], expected, atol=1e-5)
        assert not np.any(found[index, len(expected) :])


def greedy(rois, probs, deltas, window, config) -> np.ndarray:
    """One box after the other, in numpy: [n, 6]."""
    class_ids, scores = probs.argmax(axis=1), probs.max(axis=1)
    deltas = deltas[np.arange(len(rois)), class_ids] * config.BBOX_STD_DEV.astype("f")
    boxes = clip_boxes(apply_box_deltas(rois, deltas), window)
    kept = []
    for index in np.argsort(-scores, kind="stable"):
        y1, x1, y2, x2 = boxes[index]
        good = class_ids[index] > 0 and scores[index] >= config.DETECTION_MIN_CONFIDENCE and y2 > y1 and x2 > x1
        rivals = [k for k in kept if class_ids[k] == class_ids[index]]
        if good and not (compute_overlaps(boxes[[index]], boxes[rivals]) > config.DETECTION_NMS_THRESHOLD).any():
            kept.append(index)
    kept = kept[: config.DETECTION_MAX_INSTANCES]
    return np.concatenate([boxes[kept], class_ids[kept][:, None], scores[kept][:, None]], axis=1)
