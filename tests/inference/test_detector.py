"""Tests detect() with any kind, number and size of images, in every resize mode."""

import gc
import weakref

import keras
import numpy as np
import pytest

from mrcnn.errors import InputError
from mrcnn.inference import detector
from mrcnn.model import MaskRCNN
from tests.shapes import ShapesConfig, ShapesDataset

pytestmark = pytest.mark.graph


@pytest.fixture(scope="module")
def images():
    dataset = ShapesDataset().load_shapes(3)
    return [dataset.load_image(i) for i in dataset.image_ids]


def assert_same(first: dict, second: dict) -> None:
    assert len(first["scores"]) > 0
    for name in ("class_ids", "rois"):
        np.testing.assert_array_equal(first[name], second[name])
    np.testing.assert_allclose(first["scores"], second["scores"], atol=1e-5)


def test_kinds_of_images(model, images):
    gray = images[0][..., 0]
    expected = model.detect([np.repeat(gray[..., None], 3, axis=2)])[0]
    for kind in (gray, gray[..., None], gray.astype(np.uint16), gray.astype(np.int64), gray.astype(np.float32)):
        assert_same(expected, model.detect([kind])[0])
    alpha = np.full((*images[0].shape[:2], 1), 255, np.uint8)
    assert_same(model.detect([images[0]])[0], model.detect([np.concatenate([images[0], alpha], axis=2)])[0])


def test_numbers_are_taken_as_they_are(model, images):
    """Scripts that measure mAP pass `mold_image(image)`: the mean is subtracted twice, as in the original."""
    mean = np.array([123.7, 116.8, 103.9])
    for numbers in (images[0] - mean, images[0] / 255.0, images[0].astype(np.int16) * 9 - 1000):
        padded = np.zeros((1, 128, 128, 3))
        padded[0, 16:112] = numbers
        _, metas, _ = model.mold_inputs([images[0]])
        expected = model.detect_molded((padded - mean).astype(np.float32), metas)[0]
        found = model.detect(np.expand_dims(numbers, 0))[0]
        expected["rois"] = np.clip(expected["rois"] - (16, 0, 16, 0), 0, (96, 128, 96, 128))
        assert_same(expected, found)


def test_numbers_of_another_range_than_the_mean_are_said_once(tmp_path, images, caplog):
    model = MaskRCNN("inference", ShapesConfig(), tmp_path)
    for image in (images[0], images[0].astype(np.int32), np.zeros((9, 9, 3))):
        model.mold_inputs([image])
    assert not caplog.records
    model.mold_inputs([images[0] / 255.0])
    model.mold_inputs([images[0] / 255.0])
    (message,) = caplog.messages
    assert message.startswith(
        "the image has float64 values from 0.13 to 0.98, but MEAN_PIXEL [123.7, 116.8, 103.9] is that"
    )
    assert "multiply them by 255" in message
    for image in (images[0] - 200.0, images[0].astype(np.uint16) * 256):
        caplog.clear()
        MaskRCNN("inference", ShapesConfig(), tmp_path).mold_inputs([image])
        assert f"values from {image.min():g} to {image.max():g}," in caplog.text and "as loaded" in caplog.text
    caplog.clear()
    config = ShapesConfig()
    config.MEAN_PIXEL = np.array([0.5, 0.5, 0.5])
    MaskRCNN("inference", config, tmp_path).mold_inputs([images[0] / 255.0])
    assert not caplog.records


def test_no_image_and_odd_images(model):
    assert model.detect([]) == []
    with pytest.raises(InputError, match="shape"):
        model.detect([np.zeros((4, 5, 7), np.uint8)])


@pytest.mark.slow
def test_sizes_that_follow_the_image(model, images, tmp_path, monkeypatch):
    """Images of two sizes alternate; each gives the result of a network built for that size. No size is kept for ever:
    TensorFlow has one graph for all, and JAX drops the oldest.
    """
    monkeypatch.setattr(detector, "SIZES_KEPT", 1)
    model.keras_model.save_weights(tmp_path / "weights.h5")

    def load(*settings: str) -> MaskRCNN:
        other = MaskRCNN("inference", ShapesConfig().override(settings), tmp_path)
        other.load_weights(tmp_path / "weights.h5")
        return other

    large = np.zeros((128, 128, 3), np.uint8)
    large[:96] = images[0]
    small = images[1][:64, :64]
    expected = [model.detect([large])[0]]
    expected.append(load("IMAGE_RESIZE_MODE=rect", "IMAGE_MIN_DIM=64", "IMAGE_MAX_DIM=64").detect([small])[0])
    padding = load("IMAGE_RESIZE_MODE=pad64", "IMAGE_MIN_DIM=64")
    networks = []
    for index in (0, 1, 0):
        assert_same(expected[index], padding.detect([(large, small)[index]])[0])
        side = (128, 64)[index]
        networks.append(weakref.ref(padding.detector._network_for((side, side, 3))))
        assert padding.get_anchors((128, 64, 3)) is not padding.get_anchors((64, 64, 3))  # one is kept
    gc.collect()
    if keras.config.backend() == "jax":
        assert [network() is None for network in networks] == [True, True, False]
    else:
        assert all(network() is padding.keras_model for network in networks)
    if keras.config.backend() == "tensorflow":
        for height in (64, 128, 192, 256):
            for width in (64, 128, 192, 256):
                padding.detect([np.zeros((height, width, 3), np.uint8)])
        assert padding.keras_model.predict_function.experimental_get_tracing_count() <= 4
    assert_same(expected[1], load("IMAGE_RESIZE_MODE=none").detect([small])[0])


def test_a_training_model_does_not_detect(images, tmp_path):
    with pytest.raises(InputError, match="built for training"):
        MaskRCNN("training", ShapesConfig(), tmp_path).detect(images)


def test_detect_moulds_with_the_method_that_a_client_overrides(model, images, tmp_path):
    """Forks override `mold_inputs`; here images are turned upside down first, as if the caller had turned them."""

    class Turned(MaskRCNN):
        def mold_inputs(self, images):
            return super().mold_inputs([image[::-1] for image in images])

    turned = Turned("inference", ShapesConfig(), tmp_path)
    molded = turned.mold_inputs(images[:1])[0]
    np.testing.assert_array_equal(molded, model.mold_inputs([images[0][::-1]])[0])
    seen = []
    turned.keras_model.predict_on_batch = lambda inputs: (
        seen.append(inputs[0]) or model.keras_model.predict_on_batch(inputs)
    )
    turned.detect(images[:1])
    np.testing.assert_array_equal(seen[0], molded)
