"""resize_image against the original's numbers: geometry exact, pixels off by one only at ties."""

import hashlib
import random

import numpy as np
import pytest

from mrcnn.data.images import resize, resize_image

CASES = [
    "crop_512",
    "crop_64",
    "crop_800",
    "none",
    "pad64_64",
    "pad64_768",
    "pad64_minscale1.5",
    "square_800_1024",
    "square_800_1024_smooth",
    "square_max128",
    "square_nomin",
    "square_up_128_256",
    "square_up_minscale2",
]
# The original truncates what rounding left of a whole number, so ties fall either way with its LAPACK. At a factor of
# 1.5 one pixel in 18 is a tie, at 2 one in 16 (scikit-image of today differs there in 1.8 % of the pixels itself).
MOST_DIFFERING = {"pad64_minscale1.5": 0.03, "square_up_minscale2": 0.006}


@pytest.fixture(scope="module")
def figures(golden):
    return golden.npz("utils_resize_image")


@pytest.mark.parametrize("name", CASES)
def test_resize_image(figures, golden, name):
    case = golden.json("utils_resize_image")[name]
    random.seed(case["python_random_seed"])
    given = figures[f"in/{case['src']}"]
    image, window, scale, padding, crop = resize_image(given, **case["kwargs"])

    assert list(window) == case["window"]
    assert scale == case["scale"]
    assert [list(pair) for pair in padding] == case["padding"]
    assert (None if crop is None else list(crop)) == case["crop"]
    assert list(image.shape) == case["shape"]
    assert image.dtype == np.uint8
    if name == "none":
        np.testing.assert_array_equal(image, given)
        return
    if scale == 1:  # nothing is interpolated: all pixels are the original's
        assert hashlib.sha256(image.tobytes()).hexdigest() == case["sha256"]
    if f"{name}/every_7th_row" in figures:
        got, expected = image[::7], figures[f"{name}/every_7th_row"]
    else:
        got = np.concatenate([image.reshape(-1)[figures[f"{name}/sample_index"]], image[::37].reshape(-1)])
        expected = np.concatenate([figures[f"{name}/sample"], figures[f"{name}/rows"].reshape(-1)])
    difference = np.abs(got.astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < MOST_DIFFERING.get(name, 0.005)
    assert abs(int(image.sum(dtype=np.int64)) - case["sum"]) <= MOST_DIFFERING.get(name, 0.005) * image.size


def test_float_and_one_channel(figures):
    given = figures["in/small100x150"]
    image, *_ = resize_image(given.astype(np.float32) / 255, min_dim=128, max_dim=256)
    expected = figures["square_float32_in/every_7th_row"]
    assert image.dtype == np.float32
    scale = 255.0 if expected.max() > 1 else 1.0
    np.testing.assert_allclose(image[::7] * scale, expected, atol=1e-3 * scale)
    gray, *_ = resize_image(given[:, :, :1], min_dim=128, max_dim=256)
    difference = np.abs(gray[::7].astype(int) - figures["square_1channel/every_7th_row"])
    assert difference.max() <= 1 and np.mean(difference > 0) < 0.005


@pytest.mark.parametrize("shape", [(14, 14), (56, 56), (17, 43), (1, 1), (3, 100), (28, 28), (120, 75)])
def test_resize(figures, shape):
    expected = figures[f"resize/28_to_{shape[0]}x{shape[1]}"]
    np.testing.assert_allclose(resize(figures["resize/in28"], shape), expected, atol=1e-6)


def test_resize_float32(figures):
    found = resize(figures["resize/in28"].astype(np.float32), (56, 56))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, figures["resize/in28_f32_to_56"], atol=1e-6)


def test_resize_bool_which_todays_scikit_image_refuses(figures):
    for shape, name in (((56, 56), "56"), ((7, 9), "7x9")):
        np.testing.assert_allclose(
            resize(figures["resize/in_bool"], shape), figures[f"resize/bool_to_{name}"], atol=1e-6
        )
