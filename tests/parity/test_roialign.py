"""Crop-and-resize from a pyramid against the original's PyramidROIAlign, plain and compiled."""

import keras
import numpy as np
import pytest

from mrcnn.modeling import crops
from mrcnn.modeling.roi_heads import PyramidROIAlign, roi_levels
from tests.compiled import compiled, to_numpy, traced

pytestmark = pytest.mark.graph


@pytest.fixture(scope="module")
def case(golden):
    return golden.npz("graph_roialign")


@pytest.mark.parametrize(
    "prefix, size, name", [("", (7, 7), "pool7"), ("", (14, 14), "pool14_first30"), ("rect/", (5, 3), "rect/pool5x3")]
)
def test_pyramid_crop(case, prefix, size, name):
    expected = case[name]
    count = expected.shape[1]
    maps = [case[f"{prefix}P{level}"] for level in (2, 3, 4, 5)]
    rois, levels = case[f"{prefix}rois"][:, :count], case[f"{prefix}roi_level"][:, :count] - 2

    def crop(*arrays):
        return crops.pyramid_crop(list(arrays[:4]), arrays[4], arrays[5], size)

    if keras.config.backend() != "jax":
        found = to_numpy(traced(crop)(*maps, rois, levels))
        np.testing.assert_array_equal(found, expected)  # to the bit
    found = to_numpy(compiled(crop)(*maps, rois, levels))
    np.testing.assert_allclose(found, expected, atol=1e-5)  # a compiler may fuse the interpolation's sums
    # but not those that say which rows and columns fall off the edge by rounding
    np.testing.assert_array_equal(found.any(axis=(3, 4)), expected.any(axis=(3, 4)))


@pytest.mark.parametrize("prefix, name, size", [("", "pool7", (7, 7)), ("rect/", "rect/pool5x3", (5, 3))])
def test_layer_chooses_the_originals_levels(case, golden, prefix, name, size):
    """Keep: the level is rounded to the nearest, where the paper rounds down."""
    rois, meta = case[f"{prefix}rois"], case[f"{prefix}image_meta"].astype("float32")
    levels = to_numpy(roi_levels(keras.ops.convert_to_tensor(rois), (meta[:, 4:5], meta[:, 5:6])))
    np.testing.assert_array_equal(levels, case[f"{prefix}roi_level"])
    if not prefix:
        counts = golden.json("graph_roialign")["level_counts"]
        assert {str(level): int((levels == level).sum()) for level in (2, 3, 4, 5)} == counts
    pooled = to_numpy(PyramidROIAlign(size)([rois, meta, *(case[f"{prefix}P{level}"] for level in (2, 3, 4, 5))]))
    np.testing.assert_allclose(pooled, case[name], atol=1e-5)
