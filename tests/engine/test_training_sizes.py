"""Tests training in every resize mode, including rectangles and images of different sizes."""

import keras
import numpy as np
import pytest

from mrcnn.data.loader import Loader
from mrcnn.engine import trainer
from mrcnn.errors import InputError
from mrcnn.legacy.generator import data_generator
from mrcnn.model import MaskRCNN
from mrcnn.modeling.anchors import generate_pyramid_anchors
from mrcnn.modeling.training_network import LOSS_NAMES
from tests.shapes import ShapesConfig, ShapesDataset

pytestmark = pytest.mark.graph


class CutShapes(ShapesDataset):
    """Shapes with every second image cut to 96 x 100: two sizes, neither a multiple of 64."""

    def load_image(self, image_id: int) -> np.ndarray:
        return super().load_image(image_id)[:, : self.image_size(image_id)[1]]

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        masks, class_ids = super().load_mask(image_id)
        return masks[:, : self.image_size(image_id)[1]], class_ids


@pytest.fixture(scope="module")
def mixed() -> CutShapes:
    dataset = CutShapes().load_shapes(6)
    for info in dataset.image_info[::2]:
        info["width"] = 60
    return dataset


def config_of(**settings) -> ShapesConfig:
    config = ShapesConfig().override(["TRAIN_BN=None", "STEPS_PER_EPOCH=2", "VALIDATION_STEPS=1"])
    return config.override([f"{key}={value}" for key, value in settings.items()])


CASES = {
    # "square" and "rect" are what all other tests train with
    "crop": (config_of(IMAGE_RESIZE_MODE="crop", IMAGE_MIN_DIM=64, IMAGE_MAX_DIM=128), (64, 64)),
    # 96 x 60 is enlarged by 72 / 60 to 115 x 72 and padded to 128 x 128; 96 x 128 stays and is padded to 128 x 128
    "pad64": (config_of(IMAGE_RESIZE_MODE="pad64", IMAGE_MIN_DIM=72, IMAGE_MAX_DIM=1000), (128, 128)),
    "none": (config_of(IMAGE_RESIZE_MODE="none", IMAGE_MAX_DIM=1000), (128, 128)),
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", CASES if keras.config.backend() == "tensorflow" else ["pad64"])
def test_every_resize_mode_trains(mode, mixed, tmp_path):
    config, size = CASES[mode]
    model = MaskRCNN("training", config, tmp_path)
    history = model.train(mixed, mixed, 0.005, 1, "all", workers=1).history
    terms = sum(history[name][-1] for name in LOSS_NAMES)
    assert 0 < history["loss"][-1] - terms < 0.01 and np.isfinite(history["val_loss"]).all()
    assert model.keras_model.image_shape == (*size, 3)
    expected = generate_pyramid_anchors(
        config.RPN_ANCHOR_SCALES,
        config.RPN_ANCHOR_RATIOS,
        [(size[0] // stride, size[1] // stride) for stride in config.BACKBONE_STRIDES],
        config.BACKBONE_STRIDES,
        config.RPN_ANCHOR_STRIDE,
    )
    np.testing.assert_allclose(model.keras_model.anchors_px, expected, atol=1e-4)


def test_canvas_holds_the_largest_image(mixed):
    config = config_of(IMAGE_RESIZE_MODE="pad64", IMAGE_MIN_DIM=150)
    # 96 x 60 by 150 / 60 is 240 x 150 -> 256 x 192; 96 x 128 by 150 / 96 is 150 x 200 -> 192 x 256
    assert trainer.canvas_of(config, [mixed]) == (256, 256)
    assert trainer.canvas_of(config_of(), [mixed]) is None


def test_pictures_and_boxes_lie_where_they_lay_before_the_padding(mixed):
    config = config_of(IMAGE_RESIZE_MODE="none")
    (batch,) = Loader(mixed, config, shuffle=False, workers=0, canvas=(128, 192))[0]
    for row in range(2):
        image, (masks, _) = mixed.load_image(row), mixed.load_mask(row)
        height, width = image.shape[:2]
        np.testing.assert_array_equal(batch["input_image"][row, :height, :width], image)
        assert not batch["input_image"][row, height:].any() and not batch["input_image"][row, :, width:].any()
        np.testing.assert_array_equal(batch["input_image_meta"][row, 7:11], [0, 0, height, width])
        seen = [np.argwhere(masks[..., i]) for i in range(masks.shape[-1]) if masks[..., i].any()]
        expected = [[*spots.min(axis=0), *(spots.max(axis=0) + 1)] for spots in seen]
        np.testing.assert_array_equal(batch["input_gt_boxes"][row, : len(expected)], expected)


def test_an_image_above_the_canvas_is_refused_by_name(mixed):
    loader = Loader(mixed, config_of(IMAGE_RESIZE_MODE="none"), shuffle=False, workers=0, canvas=(64, 128))
    with pytest.raises(InputError, match=r"image '0-0' .*moulded image is \(96, 60\).*canvas of \(64, 128\)"):
        loader[0]


def test_weights_survive_the_change_of_size(tmp_path):
    model = MaskRCNN("training", config_of(IMAGE_RESIZE_MODE="pad64"), tmp_path)
    model.set_trainable("rpn_conv_shared|fpn_p2", verbose=0)
    before = model.keras_model
    trainer.resize_network(model.training_run, (64, 192))
    assert model.keras_model is not before and model.keras_model.image_shape == (64, 192, 3)
    for mine, old in zip(model.keras_model.weights, before.weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(mine), keras.ops.convert_to_numpy(old))
    trainable = {variable.path.split("/")[-2] for variable in model.keras_model.trainable_variables}
    assert trainable == {"rpn_conv_shared", "fpn_p2"}
    same = model.keras_model
    trainer.resize_network(model.training_run, (64, 192))
    assert model.keras_model is same


def test_lists_of_data_generator_train_the_network(mixed, tmp_path):
    """RPN targets in the batch are used: if they mark every anchor as background, there is no box loss."""
    config = config_of()
    model = MaskRCNN("training", config, tmp_path)
    model.compile(0.005, 0.9)
    np.random.seed(3)
    inputs, _ = next(data_generator(mixed, config, shuffle=False, batch_size=2))
    metrics = model.keras_model.train_on_batch(inputs, return_dict=True)
    assert metrics["rpn_bbox_loss"] > 0.01
    inputs[2] = np.full_like(inputs[2], -1)
    model.keras_model.reset_metrics()
    metrics = model.keras_model.train_on_batch(inputs, return_dict=True)
    assert metrics["rpn_bbox_loss"] == 0


def test_heads_train_on_random_rois_without_an_rpn(mixed, tmp_path):
    config = config_of(USE_RPN_ROIS=False, POST_NMS_ROIS_TRAINING=300)
    model = MaskRCNN("training", config, tmp_path)
    np.random.seed(4)
    inputs, _ = next(data_generator(mixed, config, shuffle=False, batch_size=2, random_rois=300))
    outputs = model.keras_model(inputs, training=True)
    given = inputs[7] / (127.0, 127.0, 127.0, 127.0) - np.array([0, 0, 1, 1]) / 127.0  # Matterport's (h - 1, w - 1)
    rois = keras.ops.convert_to_numpy(outputs["output_rois"])
    for row in range(2):
        used = rois[row][(rois[row] != 0).any(axis=1)]
        nearest = np.abs(used[:, None] - given[row][None]).max(axis=-1).min(axis=1)
        assert len(used) > 3
        np.testing.assert_array_less(nearest, 1e-6)
