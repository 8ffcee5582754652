"""Box functions and anchors against the original's numbers."""

import hashlib

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.legacy import functions
from mrcnn.modeling import anchors as anchor_maths
from mrcnn.modeling import losses
from mrcnn.structures import boxes

pytestmark = pytest.mark.graph


def close(found, expected):
    """1e-6 of the largest number: the last bits of a sum depend on the order of its terms."""
    found = keras.ops.convert_to_numpy(found)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * max(1, np.abs(expected).max()))


def sha256(array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def test_numpy_box_functions(golden):
    case = golden.npz("utils_boxes")
    one, two = case["boxes1"], case["boxes2"]
    close(boxes.compute_overlaps(one, two), case["compute_overlaps"])
    close(boxes.compute_overlaps(one.astype("float32"), two.astype("float32")), case["compute_overlaps_float32"])
    close(boxes.box_refinement(one, case["refine_gt"]), case["box_refinement"])
    close(boxes.apply_box_deltas(one, case["box_refinement"]), case["apply_box_deltas_back"])
    close(boxes.apply_box_deltas(one, case["deltas"]), case["apply_box_deltas"])
    double = boxes.apply_box_deltas(one, case["deltas"].astype("float64"))
    close(double, case["apply_box_deltas_float64_deltas"])
    assert double.dtype == np.float32


def test_numpy_normalisation_is_exact(golden):
    case = golden.npz("utils_boxes")
    for shape in (480, 640), (1024, 1024):
        name = f"{shape[0]}x{shape[1]}"
        normed = boxes.norm_boxes(case["boxes1"], shape)
        np.testing.assert_array_equal(normed, case[f"norm_boxes_{name}"])
        np.testing.assert_array_equal(boxes.denorm_boxes(normed, shape), case[f"denorm_boxes_{name}"])
    pixels = boxes.denorm_boxes(case["denorm_in"], (480, 640))
    np.testing.assert_array_equal(pixels, case["denorm_out_480x640"])
    assert pixels.dtype == np.int32


def test_graph_box_functions(golden):
    case = {name: keras.ops.convert_to_tensor(a) for name, a in golden.npz("graph_boxes").items()}
    expected = golden.npz("graph_boxes")
    moved = boxes.apply_box_deltas(case["boxes"], case["deltas"])
    close(moved, expected["apply_box_deltas_graph"])
    close(boxes.clip_boxes(moved, case["window"]), expected["clip_boxes_graph"])
    close(boxes.clip_boxes(moved, (0.0, 0.0, 1.0, 1.0)), expected["clip_boxes_graph_unit"])
    close(boxes.compute_overlaps(case["boxes"], case["boxes2"]), expected["overlaps_graph"])
    close(boxes.box_refinement(case["boxes"][30:60], case["boxes2"]), expected["box_refinement_graph"])
    shape = keras.ops.convert_to_tensor(np.array([256, 320], "int32"))
    normed = boxes.norm_boxes(case["pixel_boxes"], shape)
    close(normed, expected["norm_boxes_graph_256x320"])
    pixels = keras.ops.convert_to_numpy(boxes.denorm_boxes(normed, shape))
    np.testing.assert_array_equal(pixels, expected["denorm_boxes_graph_256x320"])


@pytest.mark.parametrize("name", ["a128", "a128_stride2", "a256x320", "a250x317_odd", "a1024"])
def test_anchors_are_the_same_bytes(golden, name):
    case, arrays = golden.json("utils_anchors")[name], golden.npz("utils_anchors")
    config = Config()
    config.BACKBONE_STRIDES, config.RPN_ANCHOR_STRIDE = case["strides"], case["anchor_stride"]
    config.RPN_ANCHOR_SCALES, config.RPN_ANCHOR_RATIOS = case["scales"], case["ratios"]
    shapes = anchor_maths.compute_backbone_shapes(config, case["image_shape"])
    np.testing.assert_array_equal(shapes, arrays[f"{name}/backbone_shapes"])
    anchors = anchor_maths.generate_pyramid_anchors(
        case["scales"], case["ratios"], shapes, case["strides"], case["anchor_stride"]
    )
    np.testing.assert_array_equal(anchors[:50], arrays[f"{name}/first50"])
    assert sha256(anchors) == case["sha256_float64"]
    assert sha256(anchor_maths.pyramid_anchors(config, case["image_shape"])) == case["norm_sha256_float32"]


def test_anchors_of_one_level_of_several_scales(golden):
    found = anchor_maths.generate_anchors([20, 30], [0.5, 1, 3], (3, 5), 8, 1)
    np.testing.assert_allclose(found, golden.npz("utils_anchors")["single_level"], rtol=1e-12, atol=1e-12)


def test_overlaps_without_area_are_zero_where_the_original_had_nan(golden):
    expected = golden.npz("graph_boxes")["overlaps_graph_zero_boxes"]
    assert np.isnan(expected).tolist() == [[True, False, False]] * 2 + [[False] * 3] * 2
    zero = np.zeros((2, 4), "float32")
    found = keras.ops.convert_to_numpy(boxes.compute_overlaps(*map(keras.ops.convert_to_tensor, (zero, zero))))
    np.testing.assert_array_equal(found, np.zeros((2, 2)))


def test_small_graph_functions(golden):
    case = golden.npz("graph_boxes")
    tensor = {name: keras.ops.convert_to_tensor(array) for name, array in case.items()}
    rows, mask = functions.trim_zeros_graph(tensor["trim_zeros_graph_in"])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(rows), case["trim_zeros_graph_out"])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(mask), case["trim_zeros_graph_mask"])
    close(functions.log2_graph(tensor["log2_graph_in"])[1:], case["log2_graph_out"][1:])
    assert keras.ops.convert_to_numpy(functions.log2_graph(tensor["log2_graph_in"]))[0] == case["log2_graph_out"][0]
    packed = functions.batch_pack_graph(tensor["batch_pack_in"], case["batch_pack_counts"], 3)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(packed), case["batch_pack_out"])
    close(losses.smooth_l1(tensor["smooth_l1_true"], tensor["smooth_l1_pred"]), case["smooth_l1"])
