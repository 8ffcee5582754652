"""Compares ROIAlign with recorded values of torchvision, on every path, with its gradient."""

import pathlib

import keras
import numpy as np
import pytest

from mrcnn.modeling import crops, roi_align
from mrcnn.modeling.roi_heads import PyramidROIAlign
from tests.compiled import RUNS, compiled, to_numpy, traced
from tests.foreign.operations import MAP, POOLS, RATIOS, ROIS, seeded
from tests.gradients import value_and_gradient

pytestmark = pytest.mark.graph
GOLDEN = pathlib.Path(__file__).parents[1] / "foreign" / "golden" / "torch_operations.npz"
CASES = [(pool, ratio, aligned) for pool in POOLS for ratio in RATIOS for aligned in (False, True)]
SIDES = np.tile(np.array(MAP[1:3], "f"), 2)


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(params=["native", "gathers"])
def path(request, monkeypatch):
    """Run TensorFlow's kernels, or what all others run."""
    if request.param == "native" and keras.config.backend() != "tensorflow":
        pytest.skip("these kernels are TensorFlow's")
    if request.param == "gathers":
        for module in (crops, roi_align):
            monkeypatch.setattr(module, "has_native_kernels", lambda: False)


def key_of(pool, ratio, aligned) -> str:
    return f"roi/{pool[0]}x{pool[1]}/{ratio}/{aligned}"


def pooled(maps, boxes, pool, ratio, aligned):
    """Pool boxes in pixels of the map from the second of two levels; the first is another map."""
    other = keras.ops.ones_like(maps)[:, :5, :6] * 7
    levels = np.ones(boxes.shape[:2], "int32")
    return roi_align.roi_align([other, maps], boxes / SIDES, levels, pool, max(ratio, 0), aligned)


@pytest.mark.parametrize("pool, ratio, aligned", CASES)
def test_values_are_those_of_torchvision(path, recorded, pool, ratio, aligned):
    found = traced(lambda maps: pooled(maps, ROIS, pool, ratio, aligned))(seeded("map", MAP))
    np.testing.assert_allclose(to_numpy(found), recorded[key_of(pool, ratio, aligned)], atol=2e-5)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("run", RUNS)
def test_compiled_values_are_those_of_torchvision(recorded, run, ratio):
    found = run(lambda maps: pooled(maps, ROIS, (7, 7), ratio, True))(seeded("map", MAP))
    np.testing.assert_allclose(to_numpy(found), recorded[key_of((7, 7), ratio, True)], atol=2e-5)


# A single cell has up to 60 x 60 samples, whose 3,600 passes take minutes; (7, 7) has the same paths.
WITH_GRADIENT = [case for case in CASES if case[0] != (3, 2) and case[:2] != ((1, 1), -1)]


@pytest.mark.parametrize("pool, ratio, aligned", WITH_GRADIENT)
def test_gradients_are_those_of_torchvision(path, recorded, pool, ratio, aligned):
    upstream = seeded("upstream", (*ROIS.shape[:2], *pool, MAP[3]))
    _, gradient = value_and_gradient(
        lambda maps: keras.ops.sum(pooled(maps, ROIS, pool, ratio, aligned) * upstream), seeded("map", MAP), jit=True
    )
    np.testing.assert_allclose(gradient, recorded[f"{key_of(pool, ratio, aligned)}/gradient"], atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="JAX compiles in any case")
def test_gradients_compiled_by_xla_are_those_of_torchvision(recorded):
    import tensorflow as tf

    upstream = seeded("upstream", (*ROIS.shape[:2], 7, 7, MAP[3]))

    def gradient(maps):
        with tf.GradientTape() as tape:
            tape.watch(maps)
            total = tf.reduce_sum(pooled(maps, ROIS, (7, 7), -1, True) * upstream)
        return tape.gradient(total, maps)

    found = compiled(gradient)(tf.constant(seeded("map", MAP)))
    np.testing.assert_allclose(found, recorded[f"{key_of((7, 7), -1, True)}/gradient"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype, limit", [("float16", 2e-3), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("ratio", [2, -1])
def test_half_precision_is_close_and_keeps_its_type(path, recorded, dtype, limit, ratio):
    maps = keras.ops.cast(seeded("map", MAP), dtype)
    found = traced(lambda maps: pooled(maps, ROIS, (7, 7), ratio, True))(maps)
    assert keras.backend.standardize_dtype(found.dtype) == dtype
    found = keras.ops.convert_to_numpy(keras.ops.cast(found, "float32"))
    np.testing.assert_allclose(found, recorded[key_of((7, 7), ratio, True)], atol=limit)


def test_each_region_is_pooled_from_its_own_level_and_image():
    """A level holds 10 * image + level everywhere, so its value tells where a sample came from."""
    maps = [
        np.full((2, 24 // 2**k, 40 // 2**k, 1), k, "f") + np.array([0, 10], "f")[:, None, None, None] for k in (0, 1)
    ]
    boxes = np.tile(np.array([0.1, 0.2, 0.7, 0.9], "f"), (2, 3, 1))
    levels = np.array([[0, 1, 0], [1, 1, 0]], "int32")
    for ratio in (0, 1, 2):
        pool = traced(lambda *maps, ratio=ratio: roi_align.roi_align(maps, boxes, levels, (2, 3), ratio, True))
        found = to_numpy(pool(*maps))
        expected = np.array([[0, 1, 0], [11, 11, 10]])[:, :, None, None, None]
        np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-5)


def test_whole_pixels_have_whole_numbers_of_samples():
    """Rounding of normalised coordinates must not give a cell of exactly 2 pixels a third sample."""
    ramp = seeded("ramp", (1, 184, 320, 1))
    draw = np.random.default_rng(1)
    corner = np.stack([draw.integers(0, 170, 200), draw.integers(0, 306, 200)], axis=-1)
    boxes = np.concatenate([corner, corner + 14], axis=-1)[None].astype("f")
    levels, sides = np.zeros((1, 200), "int32"), np.tile(np.array([184, 320], "f"), 2)
    pool = traced(lambda boxes: roi_align.roi_align([ramp], boxes, levels, (7, 7), 0, True))
    found = to_numpy(pool(boxes / sides))[0, ..., 0]
    # A cell of 2 x 2 px, aligned, has its samples on the centres of its four pixels.
    for crop, (y, x) in zip(found, corner, strict=True):
        expected = ramp[0, y : y + 14, x : x + 14, 0].reshape(7, 2, 7, 2).mean(axis=(1, 3))
        np.testing.assert_allclose(crop, expected, atol=1e-4)


@pytest.mark.parametrize("convention", ["continuous", "matterport"])
def test_layer_takes_boxes_of_either_convention(recorded, convention):
    """In Matterport's normalisation y2 is the last pixel, over the height less one."""
    maps, (height, width) = seeded("map", MAP), (MAP[1] * 4, MAP[2] * 4)  # of P2, with stride 4
    boxes_px = ROIS * 4
    if convention == "continuous":
        boxes = boxes_px / np.array([height, width] * 2, "f")
    else:
        boxes = (boxes_px - np.array([0, 0, 1, 1], "f")) / np.array([height - 1, width - 1] * 2, "f")
    meta = np.array([[0, 1, 1, 3, height, width, 3, 0, 0, height, width, 1, 1, 1]] * 2, "f")
    layer = PyramidROIAlign((7, 7), sampling_ratio=2, aligned=False, continuous=convention == "continuous")
    found = to_numpy(traced(lambda *arrays: layer(list(arrays)))(boxes.astype("f"), meta, maps))
    np.testing.assert_allclose(found, recorded[key_of((7, 7), 2, False)], atol=1e-4)


def test_matterports_crop_takes_continuous_boxes():
    """The grid's corners are the centres of the first and the last pixel of the box, in either convention."""
    column = np.broadcast_to(np.arange(16, dtype="f"), (16, 16))[None, :, :, None]
    meta = np.array([[0, 16, 16, 3, 16, 16, 3, 0, 0, 16, 16, 1, 1, 1]], "f")
    box = np.array([[[2, 3, 6, 10]]], "f") / 16  # columns 3 to 9
    layer = PyramidROIAlign((2, 4), continuous=True)
    found = to_numpy(traced(lambda *arrays: layer(list(arrays)))(box, meta, column))
    np.testing.assert_allclose(found[0, 0, :, :, 0], [[3, 5, 7, 9]] * 2, atol=1e-5)
