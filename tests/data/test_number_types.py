"""Images that `load_image` returns in other numbers than uint8: training sees them as detection does, unchanged."""

import numpy as np
import pytest
from skimage.transform import resize

from mrcnn.augment_settings import Augmentation
from mrcnn.data.images import mold_image, resize_image, to_look_at
from mrcnn.data.loader import Loader
from mrcnn.errors import InputError
from tests.shapes import ShapesConfig, ShapesDataset

MEAN = np.array([123.7, 116.8, 103.9])
KINDS = {
    "int16": lambda image: image.astype(np.int16) * 20 - 1000,
    "uint16": lambda image: image.astype(np.uint16) * 257,
    "int64": lambda image: image.astype(np.int64) - 7,
    "unit": lambda image: image / 255.0,
    "float16": lambda image: (image / 4).astype(np.float16),
    "moulded": lambda image: mold_image(image, ShapesConfig()),
    "bool": lambda image: image > 105,
    "gray": lambda image: image[..., 0].astype(np.float32) - 3.5,
}


class Shapes(ShapesDataset):
    def __init__(self, *kinds):
        super().__init__()
        self.kinds = kinds
        self.load_shapes(4)

    def load_image(self, image_id):
        return self.kinds[image_id % len(self.kinds)](super().load_image(image_id))

    def numbers(self, image_id):
        """float64 [96, 128, 3]"""
        image = np.asarray(self.load_image(image_id), np.float64)
        return image if image.ndim == 3 else np.stack([image] * 3, axis=-1)


def config(**settings):
    result = ShapesConfig()
    for name, value in settings.items():
        setattr(result, name, value)
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_detection_see_the_numbers_of_load_image(kind):
    """Padded with zeros, and the mean subtracted afterwards."""
    dataset = Shapes(KINDS[kind])
    images = Loader(dataset, ShapesConfig(), shuffle=False)[0][0]["input_image"]
    assert images.dtype == np.float32 and images.shape == (2, 128, 128, 3)
    for image_id in (0, 1):
        expected = np.zeros((128, 128, 3))
        expected[16:112] = dataset.numbers(image_id)
        np.testing.assert_allclose(images[image_id], expected - MEAN, rtol=2e-7, atol=2e-5)


@pytest.mark.parametrize("kind", ["int16", "uint16", "unit", "moulded"])
@pytest.mark.parametrize("side", [64, 192])
def test_scaled_images_keep_their_range(kind, side):
    """In training and in `resize_image`; inside, where it does not matter what surrounds the image."""
    dataset = Shapes(KINDS[kind])
    numbers = dataset.numbers(0)
    height = side * 3 // 4
    expected = resize(numbers, (height, side), order=1, mode="constant", anti_aliasing=False, preserve_range=True)
    inside = np.s_[2:-2, 2:-2]
    (batch,) = Loader(dataset, config(IMAGE_MIN_DIM=height, IMAGE_MAX_DIM=side), batch_size=1, shuffle=False)[0]
    image = batch["input_image"][0, (side - height) // 2 :][:height] + MEAN
    step = np.ptp(numbers) / 1000  # OpenCV's interpolation
    np.testing.assert_allclose(image[inside], expected[inside], atol=step)
    detected, window, *_ = resize_image(dataset.load_image(0), height, side)
    truncated = 1.001 if dataset.load_image(0).dtype.kind in "iu" else step
    np.testing.assert_allclose(detected[window[0] : window[2]][inside], expected[inside], atol=truncated)
    assert detected.dtype == dataset.load_image(0).dtype


def test_augmentation_keeps_the_numbers():
    """Flips and quarter turns move numbers, scaling and pasting keep their range."""
    dataset = Shapes(KINDS["int16"])
    flipped = Loader(dataset, ShapesConfig(), shuffle=False, augment=Augmentation(flip=1.0))[0][0]["input_image"]
    np.testing.assert_allclose(flipped[0, 16:112] + MEAN, dataset.numbers(0)[:, ::-1], atol=1e-4)
    settings = Augmentation(rotate=30, scale=(0.3, 1.5), blur=1.0, copy_paste=1.0)
    for (batch,) in Loader(dataset, ShapesConfig(), augment=settings, workers=0):
        numbers = batch["input_image"] + MEAN
        assert -1000.001 < numbers.min() < 0.001 and 1500 < numbers.max() < 4100.001
        assert (abs(numbers) < 1e-3).all(axis=-1).any(), "the padding is zero"


def test_many_channels_are_scaled_down():
    """OpenCV averages at most four channels in one call."""

    def five(image):
        return np.concatenate([image, image[..., :2]], axis=-1).astype(np.float32)

    settings = config(IMAGE_CHANNEL_COUNT=5, MEAN_PIXEL=np.zeros(5))
    small = Augmentation(scale=(0.4, 0.4))
    images = Loader(Shapes(five), settings, shuffle=False, augment=small)[0][0]["input_image"]
    assert images.shape == (2, 128, 128, 5)
    np.testing.assert_array_equal(images[..., 3:], images[..., :2])
    three = Loader(Shapes(lambda image: image.astype(np.float32)), ShapesConfig(), shuffle=False, augment=small)
    np.testing.assert_allclose(images[..., :3] - MEAN, three[0][0]["input_image"], atol=1e-4)


def test_eight_bits_stay_eight_bits():
    expected = Loader(ShapesDataset().load_shapes(4), ShapesConfig(), shuffle=False)[1][0]["input_image"]
    assert expected.dtype == np.uint8
    mixed = Shapes(lambda image: image, lambda image: image.astype(np.float32))
    images = Loader(mixed, ShapesConfig(), shuffle=False)[1][0]["input_image"]
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, expected)


def test_types_that_do_not_go_together_are_named():
    mixed = Shapes(lambda image: image, lambda image: image / 2)
    with pytest.raises(InputError, match=r"image '0-1'.*float64 from .*, but uint8 for the first image.*one type"):
        Loader(mixed, ShapesConfig(), shuffle=False)[0]
    turned = Shapes(lambda image: image / 2, lambda image: image)  # the first decides: all become floats
    images = Loader(turned, ShapesConfig(), shuffle=False)[0][0]["input_image"]
    np.testing.assert_allclose(images[1, 16:112], turned.numbers(1) - MEAN, atol=1e-4)


def test_colours_of_other_numbers_cannot_be_changed():
    with pytest.raises(InputError, match="AUGMENT_COLOR and AUGMENT_WEATHER.*set both to 0"):
        Loader(Shapes(KINDS["int16"]), ShapesConfig(), augment=Augmentation(color=0.5))[0]


def test_training_warns_once_of_numbers_that_the_mean_is_not_for(caplog):
    loader = Loader(Shapes(KINDS["unit"]), ShapesConfig(), workers=0)
    for index in (0, 1):
        loader[index]
    (message,) = caplog.messages
    assert "values from 0 to 0.98, but MEAN_PIXEL [123.7, 116.8, 103.9]" in message
    caplog.clear()
    Loader(Shapes(lambda image: image.astype(np.float32)), ShapesConfig())[0]
    Loader(Shapes(KINDS["unit"]), config(MEAN_PIXEL=np.full(3, 0.5)))[0]
    assert not caplog.records


def test_images_to_look_at():
    """8-bit numbers stay; others are stretched from black to white."""
    ramp = np.arange(6).reshape(2, 3)
    for given, expected in (
        (ramp.astype(np.uint8), ramp),
        (ramp * 52.0, ramp * 51),  # 260 is too much
        (ramp * 50.4, [[0, 50, 101], [151, 202, 252]]),
        (ramp / 5, ramp * 51),
        (ramp.astype(np.int16) * 100 - 250, ramp * 51),
        (ramp > 2, [[0, 0, 0], [255, 255, 255]]),
        (np.zeros((2, 3), np.int16), ramp * 0),
    ):
        shown = to_look_at(given)
        assert shown.dtype == np.uint8 and shown.shape == (2, 3, 3)
        np.testing.assert_array_equal(shown, np.stack([expected] * 3, axis=-1))
    np.testing.assert_array_equal(to_look_at(np.dstack([ramp, ramp * 2, ramp * 3, ramp * 4]))[..., 2], ramp * 3)
