"""Compares interpolation with torch, Pillow and OpenCV, sizes of pad32 with torchvision, and moulding with numpy."""

import pathlib

import cv2
import keras
import numpy as np
import PIL.Image
import pytest

from mrcnn.config import Config
from mrcnn.data.images import interpolate, mold_resized, resize_geometry, resize_image, unmold_image
from mrcnn.legacy.generator import data_generator
from mrcnn.legacy.image_gt import load_image_gt
from mrcnn.modeling.anchors import pyramid_anchors_px
from mrcnn.modeling.network import Molding
from mrcnn.structures.boxes import apply_box_deltas
from tests.foreign.operations import IMAGES, seeded
from tests.shapes import ShapesConfig, ShapesDataset

GOLDEN = pathlib.Path(__file__).parents[1] / "foreign" / "golden" / "torch_operations.npz"


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return dict(file)


def image_of(name: str, dtype="uint8", channels: int = 3) -> np.ndarray:
    return np.round(seeded(name, (*IMAGES[name][0], channels)) * 255).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "uint16"])
@pytest.mark.parametrize("name", IMAGES)
def test_torchvision_is_torchs_interpolate_and_is_not_rounded(recorded, name, dtype):
    found = interpolate(image_of(name, dtype), IMAGES[name][1], "torchvision")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, recorded[f"resize/{name}"], atol=2e-3)


@pytest.mark.parametrize("name", IMAGES)
def test_pillow_is_pillow(name):
    """Detectron2 resizes 8-bit colours together and other numbers channel by channel."""
    size = IMAGES[name][1]
    whole = PIL.Image.fromarray(image_of(name)).resize(size[::-1], PIL.Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(interpolate(image_of(name), size, "pillow"), np.asarray(whole))
    image = image_of(name, "float32") / 7
    planes = [PIL.Image.fromarray(np.ascontiguousarray(image[..., i])).resize(size[::-1], 2) for i in range(3)]
    found = interpolate(image, size, "pillow")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.dstack(planes), atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("name", IMAGES)
def test_opencv_is_opencv(name, channels):
    size = IMAGES[name][1]
    for dtype in ("uint8", "float32"):
        image = image_of(name, dtype, channels)
        planes = [cv2.resize(np.ascontiguousarray(image[..., i]), size[::-1]) for i in range(channels)]
        found = interpolate(image, size, "opencv")
        assert found.dtype == image.dtype
        np.testing.assert_allclose(found, np.dstack(planes), atol=1e-3)


def test_sides_are_those_of_torchvision(recorded):
    for height, width, *expected in recorded["sizes"].tolist():
        plan = resize_geometry((height, width), 800, 1333, None, "pad32", round_down=True)
        assert list(plan.size) == expected, (height, width)


@pytest.mark.parametrize("shape", [(720, 1280), (427, 640), (375, 500), (500, 333), (1000, 1), (1, 1)])
@pytest.mark.parametrize("round_down", [False, True])
def test_pad32_scales_and_pads_as_detectron2(shape, round_down):
    plan = resize_geometry(shape, 800, 1333, None, "pad32", round_down=round_down)
    scale = min(800 / min(shape), 1333 / max(shape))
    for side, new, full in zip(shape, plan.size, plan.shape, strict=True):
        assert abs(side * scale - new) <= (1 if round_down else 0.5 + 1e-9) or new == 1
        assert full == -(-new // 32) * 32
    assert plan.window == (0, 0, *plan.size) and [pad[0] for pad in plan.padding] == [0, 0, 0]
    assert max(plan.size) <= 1333


def test_sides_of_a_half_are_rounded_up():
    """Detectron2 and MMDetection add 0.5 and cut: 3 * 2.5 = 7.5 px become 8, and 5 * 2.5 = 12.5 become 13."""
    assert resize_geometry((2, 3), 5, 100, None, "pad32").size == (5, 8)
    assert resize_geometry((2, 5), 5, 100, None, "pad32").size == (5, 13)
    assert resize_geometry((2, 5), 5, 100, None, "pad32", round_down=True).size == (5, 12)


class Halves(ShapesDataset):
    """Images of 90 x 127 px, whose longer side is x.5 at a factor of 1.5."""

    def load_image(self, image_id):
        return np.full((90, 127, 3), 100, np.uint8)

    def load_mask(self, image_id):
        return np.ones((90, 127, 1), bool), np.array([1])


@pytest.mark.parametrize("interpolation", ["matterport", "torchvision", "pillow", "opencv"])
@pytest.mark.parametrize("low", [135, 137, 141, 60])
def test_masks_of_load_image_gt_cover_the_image_exactly(interpolation, low):
    config = ShapesConfig().override(
        ["IMAGE_RESIZE_MODE=pad32", f"IMAGE_MIN_DIM={low}", "IMAGE_MAX_DIM=500", f"IMAGE_INTERPOLATION={interpolation}"]
    )
    dataset = Halves().load_shapes(1)
    image, meta, _, boxes, masks = load_image_gt(dataset, config, 0)
    plan = resize_geometry((90, 127), low, 500, None, "pad32", round_down=interpolation == "torchvision")
    assert image.shape[:2] == plan.shape and tuple(meta[7:11]) == plan.window
    assert masks.shape == (*plan.shape, 1)
    np.testing.assert_array_equal(boxes, [plan.window])
    inside = np.zeros(plan.shape, bool)
    inside[: plan.size[0], : plan.size[1]] = True
    np.testing.assert_array_equal(masks[..., 0], inside)
    if interpolation != "matterport":  # which darkens the border
        np.testing.assert_allclose(image[..., 0], inside * 100.0, atol=1e-3)


def test_load_image_gt_interpolates_as_detection_does():
    config = ShapesConfig().override(["IMAGE_MAX_DIM=64", "IMAGE_INTERPOLATION=pillow"])
    dataset = ShapesDataset().load_shapes(1)
    image, found = dataset.load_image(0), load_image_gt(dataset, config, 0)[0]
    expected = np.asarray(PIL.Image.fromarray(image).resize((64, 48), PIL.Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(found[8:56], expected)
    assert (found != resize_image(image, 128, 64)[0]).any()


MOLDINGS = {
    "PIXEL_STD": ["PIXEL_STD=(58.395, 57.12, 57.375)"],
    "PIXEL_STD, one for all": ["PIXEL_STD=2.5", "MEAN_PIXEL=100"],
    "INPUT_FORMAT": ["INPUT_FORMAT=BGR"],
    "IMAGE_PAD_VALUE": ["IMAGE_PAD_VALUE=mean"],
    "all": ["INPUT_FORMAT=BGR", "PIXEL_STD=(58.395, 57.12, 57.375)", "IMAGE_PAD_VALUE=mean"],
}


def moulded_by_definition(image: np.ndarray, window, config: Config) -> np.ndarray:
    mean, std = (np.broadcast_to(np.asarray(v, float), 3) for v in (config.MEAN_PIXEL, config.PIXEL_STD))
    result = np.zeros(image.shape)
    for place, channel in enumerate((2, 1, 0) if config.INPUT_FORMAT == "BGR" else (0, 1, 2)):
        result[..., place] = (image[..., channel].astype(float) - mean[place]) / std[place]
    if config.IMAGE_PAD_VALUE == "mean":
        y1, x1, y2, x2 = window
        outside = np.ones(image.shape[:2], bool)
        outside[y1:y2, x1:x2] = False
        result[outside] = 0
    return result


@pytest.mark.graph
@pytest.mark.parametrize("name", MOLDINGS)
def test_moulding_on_the_host_and_in_the_graph_is_the_definition(name):
    config = ShapesConfig().override(MOLDINGS[name])
    images = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), np.uint8)
    windows = np.array([[2, 3, 17, 30], [0, 0, 20, 30]])
    metas = np.zeros((2, 16), "f")
    metas[:, 7:11] = windows
    in_graph = keras.ops.convert_to_numpy(Molding.of(config).mold(keras.ops.convert_to_tensor(images), metas))
    assert in_graph.dtype == np.float32
    for image, window, found in zip(images, windows, in_graph, strict=True):
        expected = moulded_by_definition(image, window, config)
        np.testing.assert_allclose(mold_resized(image, window, config), expected, atol=2e-5)
        np.testing.assert_allclose(found, expected, atol=2e-5)
        inside = unmold_image(found, config)[window[0] : window[2], window[1] : window[3]].astype(int)
        original = image[window[0] : window[2], window[1] : window[3]].astype(int)
        assert set(np.unique(original - inside)) <= {0, 1}  # truncated, as in the original


def test_batches_of_the_original_generator_follow_the_settings():
    """Its RPN targets are those of the anchors that the network has, and its padding is moulded as in detection."""
    changes = ["IMAGE_PAD_VALUE=mean", "RPN_ANCHOR_ROUNDED=True", "RPN_ANCHOR_SCALES=(17, 24, 33, 48, 64)"]
    config = ShapesConfig().override(changes)
    dataset = ShapesDataset().load_shapes(1)
    (images, _, match, deltas, class_ids, boxes, _), _ = next(data_generator(dataset, config, batch_size=1))
    assert not images[0, :16].any() and not images[0, 112:].any() and images[0, 16:112].any()
    positive = np.flatnonzero(match[0, :, 0] == 1)
    anchors = pyramid_anchors_px(config, (128, 128, 3))[positive]
    refined = apply_box_deltas(anchors, deltas[0, : len(positive)] * config.RPN_BBOX_STD_DEV)
    objects = boxes[0][class_ids[0] > 0]
    assert len(positive) and np.abs(refined[:, None] - objects).max(axis=-1).min(axis=1).max() < 0.01
