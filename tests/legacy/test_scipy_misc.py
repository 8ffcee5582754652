"""The image functions that scipy.misc had, against values worked out by hand from its documentation."""

import numpy as np
import pytest
from PIL import Image

from mrcnn.legacy import scipy_misc


def test_bytescale_maps_the_range_and_leaves_bytes():
    np.testing.assert_array_equal(scipy_misc.bytescale(np.array([-1.0, 0.0, 3.0])), [0, 64, 255])  # 255 / 4 + 0.5
    np.testing.assert_array_equal(scipy_misc.bytescale(np.array([0.5, 2.0]), cmin=0, cmax=1), [128, 255])
    np.testing.assert_array_equal(scipy_misc.bytescale(np.array([0, 10]), high=200, low=100), [100, 200])
    np.testing.assert_array_equal(scipy_misc.bytescale(np.array([7.0, 7.0])), [0, 0])
    data = np.array([3, 4], np.uint8)
    assert scipy_misc.bytescale(data) is data


def test_reading_modes_palettes_and_black_and_white(tmp_path):
    path = tmp_path / "palette.png"
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(path)
    np.testing.assert_array_equal(scipy_misc.imread(path), [[[10, 20, 30], [40, 50, 60]]])
    np.testing.assert_array_equal(scipy_misc.imread(path, mode="L"), [[18, 48]])  # 0.299 R + 0.587 G + 0.114 B
    flat = scipy_misc.imread(path, flatten=True)
    assert flat.dtype == np.float32
    np.testing.assert_allclose(flat, [[18.15, 48.15]], atol=0.2)
    Image.fromarray(np.array([[True, False]])).save(path)
    np.testing.assert_array_equal(scipy_misc.imread(path), [[255, 0]])


def test_images_of_arrays():
    channels_first = np.zeros((3, 5, 7), np.uint8)
    channels_first[1] = 9
    image = scipy_misc.toimage(channels_first)
    assert image.mode == "RGB" and image.size == (7, 5) and image.getpixel((0, 0)) == (0, 9, 0)
    assert scipy_misc.toimage(np.full((2, 2), 0.25), mode="F").getpixel((0, 0)) == 0.25
    assert scipy_misc.toimage(np.array([[0, 100, 255]], np.uint8), mode="1").tobytes() == b"\x20"
    with pytest.raises(ValueError, match=r"not \(5, 7, 2\)"):
        scipy_misc.toimage(np.zeros((5, 7, 2)))


def test_resizing_by_percent_factor_and_size():
    image = np.zeros((10, 20, 3), np.uint8)
    assert scipy_misc.imresize(image, 50).shape == (5, 10, 3)
    assert scipy_misc.imresize(image, 0.1).shape == (1, 2, 3)
    assert scipy_misc.imresize(image, (4, 6, 3)).shape == (4, 6, 3)
    assert scipy_misc.imresize(image[..., 0], (4, 6)).shape == (4, 6)
    halves = np.array([[0, 0, 200, 200]], np.uint8)
    np.testing.assert_array_equal(scipy_misc.imresize(halves, (1, 2), interp="nearest"), [[0, 200]])
    np.testing.assert_array_equal(scipy_misc.imrotate(np.array([[1, 2], [3, 4]], np.uint8), 90), [[2, 4], [1, 3]])
