"""Compares run_graph, ancestor and stages with the network's outputs and the arithmetic between the stages."""

import numpy as np
import pytest

from mrcnn.errors import InputError
from mrcnn.model import MaskRCNN
from mrcnn.structures.boxes import apply_box_deltas
from tests.shapes import ShapesConfig, ShapesDataset

pytestmark = pytest.mark.graph


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return MaskRCNN("inference", ShapesConfig(), tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="module")
def image():
    return ShapesDataset().load_shapes(1).load_image(0)


@pytest.fixture(scope="module")
def stages(model, image):
    return model.stages(image)


def test_stages_end_in_the_outputs_of_the_network(model, image, stages):
    molded, metas, _ = model.mold_inputs([image])
    anchors = model.get_anchors((128, 128, 3))[None]
    outputs = model.keras_model.predict_on_batch([molded, metas.astype("float32"), anchors])
    names = ("detections", "mrcnn_class", "mrcnn_bbox", "mrcnn_mask", "proposals", "rpn_class", "rpn_bbox")
    # The two graphs are compiled separately and may sum in another order. Untrained features are in the hundreds, as
    # are the terms of each sum, and rounding is relative to them.
    largest = max(np.abs(stages[level]).max() for level in ("P2", "P3", "P4", "P5"))
    for name, value in zip(names, outputs, strict=True):
        np.testing.assert_allclose(stages[name], value, rtol=0, atol=1e-6 * largest, err_msg=name)
    assert list(stages)[:9] == ["C2", "C3", "C4", "C5", "P2", "P3", "P4", "P5", "P6"]


def test_steps_to_the_proposals_follow_from_each_other(model, stages):
    best = np.argsort(-stages["rpn_class"][0, :, 1], kind="stable")[:200]
    anchors, deltas = model.get_anchors((128, 128, 3))[best], stages["rpn_bbox"][0][best]
    np.testing.assert_allclose(np.sort(stages["pre_nms_anchors"][0], axis=0), np.sort(anchors, axis=0), atol=1e-6)
    refined = apply_box_deltas(anchors, deltas * model.config.RPN_BBOX_STD_DEV.astype(np.float32))
    found = stages["refined_anchors"][0]
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(refined, axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(stages["refined_anchors_clipped"], np.clip(stages["refined_anchors"], 0, 1), atol=1e-6)
    kept = stages["rpn_non_max_suppression"][0]
    real = (stages["proposals"][0] != 0).any(axis=1)
    np.testing.assert_allclose(
        stages["proposals"][0][real], stages["refined_anchors_clipped"][0][kept[real]], atol=1e-6
    )


def test_names_of_the_original_notebooks(model, image, stages, capsys):
    pillar = model.keras_model.get_layer("ROI").output
    assert model.ancestor(pillar, "ROI/something_else:0") is None and model.ancestor(pillar, "nothing:0") is None
    values = model.run_graph(
        [image],
        [
            ("rpn_class", model.keras_model.get_layer("rpn_class").output),
            ("pre_nms_anchors", model.ancestor(pillar, "ROI/pre_nms_anchors:0")),
            ("refined_anchors_clipped", model.ancestor(pillar, "ROI/refined_anchors_clipped:0")),
            ("post_nms_anchor_ix", model.ancestor(pillar, "ROI/rpn_non_max_suppression/NonMaxSuppressionV3:0")),
            ("proposals", pillar),
        ],
    )
    assert len(values) == 5 and list(values)[-1] == "proposals"
    np.testing.assert_array_equal(values["post_nms_anchor_ix"], stages["rpn_non_max_suppression"][0])
    np.testing.assert_allclose(values["proposals"], stages["proposals"], atol=1e-6)
    assert "post_nms_anchor_ix" in capsys.readouterr().out


def test_a_missing_node_is_named(model, image):
    with pytest.raises(InputError, match="no tensor was given for gone"):
        model.run_graph([image], [("gone", None)])


def test_detect_molded_gives_what_detect_gives(model, image):
    square = np.zeros((128, 128, 3), np.uint8)
    square[16:112] = image
    molded, metas, _ = model.mold_inputs([square])
    (found,), (again,) = model.detect([square]), model.detect_molded(molded, metas)
    for name in ("rois", "class_ids", "scores", "masks"):
        np.testing.assert_allclose(found[name], again[name], atol=1e-5, err_msg=name)


def test_anchors_in_pixels_of_the_last_new_size(model):
    model.get_anchors((128, 192, 3))
    anchors = model.anchors
    assert anchors.shape == (3 * (32 * 48 + 16 * 24 + 8 * 12 + 4 * 6 + 2 * 3), 4)
    np.testing.assert_allclose(anchors[1], (-8, -8, 8, 8))  # scale 16, ratio 1, on the corner of the first cell
    np.testing.assert_allclose(anchors[-2], (64 - 32, 128 - 32, 64 + 32, 128 + 32))  # last cell of P6, scale 64
    fresh = MaskRCNN("inference", ShapesConfig(), model.model_dir)
    assert fresh.anchors.shape == (3 * (32 * 32 + 16 * 16 + 8 * 8 + 4 * 4 + 2 * 2), 4)
