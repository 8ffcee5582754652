"""Tests networks of one and four channels, and a batch size that is changed after the network was built."""

import keras
import numpy as np
import pytest

from mrcnn.data.images import as_channels
from mrcnn.data.loader import Loader
from mrcnn.errors import InputError
from mrcnn.model import MaskRCNN
from tests.shapes import ShapesConfig, ShapesDataset

pytestmark = pytest.mark.graph


class SomeChannels(ShapesDataset):
    """Shapes with these of the channels R, G, B, B / 2; three of them are enough to compare with."""

    channels = (0, 1, 2)

    def load_image(self, image_id):
        image = super().load_image(image_id)
        return np.concatenate([image, image[..., 2:] // 2], axis=-1)[..., list(self.channels)]


def batch(*channels: int, **kwargs) -> np.ndarray:
    """Return input_image of the first batch with the channels in this order; images are scaled by 2 / 3 and flipped."""

    class ChannelsConfig(ShapesConfig):
        IMAGE_CHANNEL_COUNT = len(channels)
        IMAGE_MAX_DIM = IMAGE_MIN_DIM = 192

    dataset = SomeChannels().load_shapes(3)
    dataset.channels = channels
    return Loader(dataset, ChannelsConfig(), shuffle=False, augment=True, seed=3, **kwargs)[0][0]["input_image"]


def test_each_channel_is_loaded_as_in_a_colour_image():
    red_green_blue, half_blue = batch(0, 1, 2), batch(3, 3, 3)[..., :1]
    np.testing.assert_array_equal(batch(0, 1, 2, 3), np.concatenate([red_green_blue, half_blue], axis=-1))
    np.testing.assert_array_equal(batch(3), half_blue)
    assert half_blue.max() > 50 and half_blue.shape == (2, 192, 192, 1)


def test_a_wrong_number_of_channels_is_named():
    gray = np.zeros((4, 5), np.uint8)
    assert as_channels(gray, 1).shape == (4, 5, 1) and as_channels(gray, 3).shape == (4, 5, 3)
    with pytest.raises(InputError, match=r"shape \(4, 5, 1\), but IMAGE_CHANNEL_COUNT is 4"):
        as_channels(gray, 4)


@pytest.mark.parametrize("changed", [1, 3])
def test_batch_size_may_change_after_the_network_was_built(tmp_path, changed):
    model = MaskRCNN("training", ShapesConfig(), tmp_path)
    model.config.BATCH_SIZE = changed  # it was 2
    terms = keras.ops.convert_to_tensor([0.5, float("nan"), 1.0, 1.0, 1.0, 0.1])
    model.keras_model._note_nonfinite(terms, keras.ops.arange(7, 7 + changed, dtype="float32"))
    assert model.keras_model.first_nonfinite() == (["rpn_bbox_loss"], [7, 8][:changed])
