"""The RPN head and the proposals against the original's, row by row."""

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.modeling import rpn
from mrcnn.modeling.anchors import pyramid_anchors
from tests.compiled import RUNS, to_numpy, traced

pytestmark = pytest.mark.graph


def inputs(golden, name: str):
    """-> config, facts, [probabilities, deltas, anchors], the original's proposals."""
    arrays = golden.npz("graph_proposals")
    facts = golden.json("graph_proposals")[name]
    config = Config()
    config.RPN_ANCHOR_SCALES, config.PRE_NMS_LIMIT = facts["anchor_scales"], facts["pre_nms_limit"]
    anchors = np.tile(pyramid_anchors(config, facts["image_shape"]), (facts["batch"], 1, 1))
    scores, deltas = arrays[f"{name}/fg_scores"], arrays[f"{name}/rpn_bbox"].astype("float32")
    if f"{name}/anchor" in arrays:  # the best 6000 were recorded; the layer looks at no other
        best, (scores, deltas) = arrays[f"{name}/anchor"], (np.zeros_like(anchors[..., 0]), np.zeros_like(anchors))
        scores[:, best], deltas[:, best] = arrays[f"{name}/fg_scores"], arrays[f"{name}/rpn_bbox"]
    probs = np.stack([1 - scores, scores], axis=-1)
    return config, facts, [probs, deltas, anchors], arrays[f"{name}/proposals"]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", ["p128_batch2", "p128_limit50", "p128_padded", "p1024_infer", "p1024_train"])
def test_proposals_in_order(golden, name, run):
    config, facts, arrays, expected = inputs(golden, name)
    layer = rpn.ProposalLayer(facts["proposal_count"], facts["nms_threshold"], config)

    def call(probs, deltas, anchors):
        return layer([probs, deltas, anchors])

    found = to_numpy(run(call)(*arrays))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.any(axis=-1).sum(axis=1).tolist() == facts["nonzero_rows"]


def test_boxes_without_area_are_proposed_once(golden):
    """The original's kernel (TensorFlow 1.15) took its first box without area again and again until the list was full.

    TensorFlow's kernel of today takes it once. So do we: equal rows up to there, then the list goes on.
    """
    config, facts, arrays, expected = inputs(golden, "p128_degenerate")
    count, threshold = facts["proposal_count"], facts["nms_threshold"]
    steps = to_numpy(traced(lambda *inputs: rpn.propose(*inputs, config, count, threshold))(*arrays))
    found = steps["proposals"][0]
    empty = np.flatnonzero((expected[0, :, 3] - expected[0, :, 1]) <= 0)
    np.testing.assert_array_equal(expected[0, empty], np.repeat(expected[0, empty[:1]], len(empty), axis=0))
    np.testing.assert_allclose(found[: empty[0] + 1], expected[0, : empty[0] + 1], atol=1e-5)
    taken = steps["rpn_non_max_suppression"][0]
    assert len(set(taken.tolist())) == count


@pytest.mark.parametrize("stride, suffix", [(1, "out"), (2, "out_stride2")])
def test_rpn_head(golden, stride, suffix):
    case = golden.npz("graph_heads")
    model = rpn.build_rpn_model(stride, 3, case["rpn/in"].shape[-1])
    for name in ("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred"):
        model.get_layer(name).set_weights([case[f"rpn/w/{name}/{w}"].astype("float32") for w in ("kernel", "bias")])
    found = to_numpy(model(keras.ops.convert_to_tensor(case["rpn/in"])))
    for array, name in zip(found, ("class_logits", "probs", "bbox"), strict=True):
        np.testing.assert_allclose(array, case[f"rpn/{suffix}/{name}"], atol=1e-4)
