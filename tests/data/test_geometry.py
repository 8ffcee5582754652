"""Compares the geometry of augmentation with the same change of full masks and images, by numpy or brute force."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.augment_settings import PRESETS, Augmentation, preset_settings
from mrcnn.config import Config
from mrcnn.data.geometry import Placement, blacken_outside, draw_placement, place_image, warp_image, warp_instances
from mrcnn.data.images import resize_geometry
from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import extract_bboxes
from tests.drawn import disc, scene

SHAPE = (90, 140)
few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10_000)


def objects(seed: int, shape=SHAPE) -> tuple[Instances, np.ndarray]:
    """Draw instances and their full masks [H, W, n]."""
    masks, class_ids = scene(seed, shape, count=5)
    kept = masks.any(axis=(0, 1))
    instances = Instances.from_masks(masks[:, :, kept], class_ids[kept])
    return instances, masks[:, :, kept]


def sampled(picture: np.ndarray, matrix: np.ndarray, shape) -> np.ndarray:
    """Apply an affine map to an image by definition: look up each pixel's centre bilinearly, with 0 outside."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    u, v = (inverse[i, 0] * x + inverse[i, 1] * y + inverse[i, 2] - 0.5 for i in (0, 1))
    padded = np.pad(picture.astype(float), [(1, 1), (1, 1)] + [(0, 0)] * (picture.ndim - 2))
    total = np.zeros((*shape, *picture.shape[2:]))
    for dy in (0, 1):
        for dx in (0, 1):
            row, column = np.floor(v).astype(int) + dy, np.floor(u).astype(int) + dx
            weight = (1 - np.abs(v - row)) * (1 - np.abs(u - column))
            inside = (row >= -1) & (row <= picture.shape[0]) & (column >= -1) & (column <= picture.shape[1])
            value = padded[np.clip(row + 1, 0, padded.shape[0] - 1), np.clip(column + 1, 0, padded.shape[1] - 1)]
            total += (weight * inside).reshape(*shape, *[1] * (picture.ndim - 2)) * value
    return total


def assert_same(found: Instances, kept: np.ndarray, masks: np.ndarray) -> None:
    """Assert that `found` are exactly the masks that have a pixel, with their boxes."""
    np.testing.assert_array_equal(kept, np.flatnonzero(masks.any(axis=(0, 1))))
    np.testing.assert_array_equal(found.to_masks(masks.shape), masks[:, :, kept])
    np.testing.assert_array_equal(found.boxes_px, extract_bboxes(masks[:, :, kept]))


@few
@given(seeds)
def test_the_identity_changes_nothing(seed):
    instances, masks = objects(seed)
    found, kept, seen = warp_instances(instances, np.eye(3)[:2], SHAPE)
    assert_same(found, kept, masks)
    assert (seen == 1).all()


@few
@given(seeds, st.sampled_from([0, 90, 180, 270]), st.booleans())
def test_quarter_turns_and_flips_are_exact(seed, angle, flip):
    """In a square image, a turn to the right is numpy's rot90 with k = -1, and the flip comes after it."""
    instances, masks = objects(seed, (100, 100))
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (100, 100, 3), np.uint8)
    placement = Placement((100, 100), (100, 100), (0, 0), (100, 100), 1.0, angle, flip)
    found, kept, seen = warp_instances(instances, placement.matrix, (100, 100))
    turned, picture = np.rot90(masks, -(angle // 90)), np.rot90(image, -(angle // 90))
    if flip:
        turned, picture = turned[:, ::-1], picture[:, ::-1]
    assert_same(found, kept, turned)
    assert (seen == 1).all()
    np.testing.assert_array_equal(place_image(image, placement), picture)


@few
@given(seeds, st.integers(-120, 60), st.integers(-80, 50), st.sampled_from([0.0, 0.2, 0.6]))
def test_crops_and_shifts_are_exact_and_small_rests_are_dropped(seed, x, y, min_area):
    instances, masks = objects(seed)
    frame = (70, 110)
    found, kept, seen = warp_instances(instances, np.array([[1.0, 0, x], [0, 1, y]]), frame, min_area)
    moved = np.zeros((*frame, masks.shape[2]), bool)
    part = masks[max(-y, 0) : max(70 - y, 0), max(-x, 0) : max(110 - x, 0)]
    moved[max(y, 0) : max(y, 0) + part.shape[0], max(x, 0) : max(x, 0) + part.shape[1]] = part
    share = moved.sum(axis=(0, 1)) / masks.sum(axis=(0, 1))
    moved[:, :, share < min_area] = False
    assert_same(found, kept, moved)
    np.testing.assert_allclose(seen, share[kept])


@few
@given(seeds, st.floats(-180, 180), st.floats(0.7, 1.6))
def test_any_turn_and_scale_equals_the_full_masks_sampled_by_the_definition(seed, angle, scale):
    masks = np.stack([disc(SHAPE, (40, 50), (20, 30)), disc(SHAPE, (60, 100), 25, hole=0.4)], axis=2)
    masks[30:55, 70:120, 1] = True
    instances = Instances.from_masks(masks, [1, 2])
    rng = np.random.default_rng(seed)
    size = (round(90 * scale), round(140 * scale))
    offset = (int(rng.integers(-20, 20)), int(rng.integers(-20, 20)))
    placement = Placement(SHAPE, size, offset, (120, 150), scale, angle, bool(rng.integers(2)))
    found, kept, _ = warp_instances(instances, placement.matrix, placement.shape)
    values = sampled(masks, placement.matrix, placement.shape)
    got = np.zeros((*placement.shape, 2), bool)
    got[:, :, kept] = found.to_masks(placement.shape)
    np.testing.assert_array_equal(found.boxes_px, extract_bboxes(got[:, :, kept]))
    clear = np.abs(values - 0.5) > 0.08  # OpenCV rounds positions to 1/32 pixel, and one half may fall either way
    np.testing.assert_array_equal(got[clear], values[clear] > 0.5)
    assert clear.mean() > 0.98


@few
@given(seeds, st.floats(-40, 40))
def test_the_image_is_sampled_where_the_masks_are(seed, angle):
    """Turned or only resized, an image painted with its mask still has the mask's outline."""
    rng = np.random.default_rng(seed)
    mask = disc(SHAPE, (45, 70), (25, 40))
    image = np.where(mask[:, :, None], 255, 0).astype(np.uint8).repeat(3, axis=2)
    scale = rng.uniform(0.7, 1.5)
    size = (round(90 * scale), round(140 * scale))
    offset = (int(rng.integers(-15, 15)), int(rng.integers(-15, 15)))
    for turn in (0.0, angle):
        placement = Placement(SHAPE, size, offset, (128, 192), scale, turn, bool(rng.integers(2)))
        moulded = place_image(image, placement)
        found, _, _ = warp_instances(Instances.from_masks(mask[:, :, None], [1]), placement.matrix, placement.shape)
        painted, outline = moulded[:, :, 0] > 127, found.to_masks(placement.shape)[:, :, 0]
        assert np.logical_and(painted, outline).sum() / np.logical_or(painted, outline).sum() > 0.98
        reference = sampled(image, placement.matrix, placement.shape)
        # resize repeats the border's pixels, the definition blends them with black: only the border may differ
        assert np.percentile(np.abs(moulded.astype(float) - reference), 98) <= 4


def test_the_window_is_the_box_around_the_picture():
    white = np.full((60, 100, 3), 255, np.uint8)
    cases = [(0, (-10, 30), True), (0, (5, -20), False), (25, (20, 30), True), (-90, (30, 10), False)]
    for angle, offset, flip in cases:
        placement = Placement((60, 100), (60, 100), offset, (128, 160), 1.0, angle, flip)
        lit = place_image(white, placement)[:, :, 0] > 0
        rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
        seen = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
        assert np.abs(np.subtract(placement.window, seen)).max() <= 1, (angle, placement.window, seen)


def test_blacken_outside_leaves_the_turned_picture_alone():
    placement = Placement((60, 100), (60, 100), (20, 30), (110, 160), 1.0, 20.0)
    inside = place_image(np.full((60, 100, 3), 255, np.uint8), placement)[:, :, 0]
    image = np.full((110, 160, 3), 200, np.uint8)
    blacken_outside(image, placement)
    assert (image[inside == 255] == 200).mean() > 0.995
    far = cv2.dilate(inside, np.ones((5, 5), np.uint8)) == 0
    assert far.sum() > 5000 and not image[far].any()


def test_place_image_never_gives_the_image_itself():
    image = np.zeros((64, 64, 3), np.uint8)
    assert not np.shares_memory(place_image(image, Placement((64, 64), (64, 64), (0, 0), (64, 64), 1.0)), image)
    assert not np.shares_memory(place_image(image, Placement((64, 64), (64, 64), (-8, -8), (48, 48), 1.0)), image)


def test_small_images_are_averaged_not_picked():
    """A fine checkerboard shrunk to a quarter is gray; picking pixels would leave black and white."""
    board = (np.indices((128, 128)).sum(axis=0) % 2 * 255).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    plan = resize_geometry((128, 128), 128, 128, 0, "square")
    for rotate in (0.0, 10.0):
        augmentation = Augmentation(scale=(0.3, 0.3), rotate=rotate)
        placement = draw_placement(plan, (128, 128), augmentation, np.random.default_rng(0))
        assert placement.size == (38, 38) and placement.shrunk
        y1, x1, y2, x2 = placement.window
        middle = place_image(board, placement)[y1 + 8 : y2 - 8, x1 + 8 : x2 - 8]
        assert np.abs(middle.astype(int) - 127).max() < 50, rotate


def test_an_object_thinner_than_a_pixel_keeps_one():
    mask = np.zeros((100, 100, 1), bool)
    mask[20:80, 33, 0] = True
    shrink = np.array([[0.1, 0, 0.45], [0, 0.1, 0]])
    found, kept, seen = warp_instances(Instances.from_masks(mask, [1]), shrink, (10, 11))
    assert kept.tolist() == [0] and seen.tolist() == [1.0]
    assert found.boxes_px.tolist() == [[2, 3, 8, 4]]


def test_draws_stay_in_their_ranges_and_fill_them():
    plan = resize_geometry((720, 1280), 1024, 1024, 0, "square")
    augmentation = Augmentation(flip=0.25, rotate=10, scale=(0.5, 2.0))
    drawn = [draw_placement(plan, (720, 1280), augmentation, np.random.default_rng(i)) for i in range(400)]
    factors = np.array([p.factors for p in drawn]) / 0.8
    assert factors.min() >= 0.499 and factors.max() <= 2.001
    assert np.quantile(factors, [0.1, 0.9]) == pytest.approx([0.65, 1.85], abs=0.1)
    assert np.abs(factors[:, 0] / factors[:, 1] - 1).max() < 0.01
    assert 0.15 < np.mean([p.flip for p in drawn]) < 0.35
    angles = np.array([p.angle for p in drawn])
    assert -10 <= angles.min() < -9 and 9 < angles.max() <= 10
    for p in drawn:  # inside the frame, or filling it
        for side in (0, 1):
            low, high = sorted((0, p.shape[side] - p.size[side]))
            assert low <= p.offset[side] <= high
        assert p.scale == pytest.approx(p.factors[0], rel=0.01)


@pytest.mark.parametrize("mode, sides", [("rect", (768, 1280)), ("square", (1024, 1280)), ("crop", (640, 640))])
def test_multi_scale_changes_the_picture_not_the_frame(mode, sides):
    plan = resize_geometry((720, 1280), *sides, 0, mode, lambda low, high: low)
    for min_dim in (600, 660, 720):
        placement = draw_placement(plan, (720, 1280), Augmentation(), np.random.default_rng(1), min_dim)
        assert placement.shape == plan.shape
        assert placement.size == (min_dim, round(1280 * min_dim / 720))
        if mode != "crop":
            assert placement.offset == tuple((f - s) // 2 for f, s in zip(placement.shape, placement.size, strict=True))
    whole = draw_placement(plan, (720, 1280), Augmentation(), np.random.default_rng(1), 2000)
    assert mode == "crop" or (np.array(whole.size) <= plan.shape).all()


def test_settings_are_read_and_checked():
    config = Config()
    assert Augmentation.from_config(config) == Augmentation()
    assert Augmentation.from_config(config, flip=True).flip == 0.5
    for name in PRESETS:
        config.override([*preset_settings("strong"), *preset_settings(name)])
        given = {key.removeprefix("AUGMENT_").lower(): value for key, value in PRESETS[name].items()}
        assert Augmentation.from_config(config) == Augmentation(**given)
    for setting, message in [
        ("AUGMENT_FLIP=1.5", "AUGMENT_FLIP is 1.5; give a number from 0 to 1"),
        ("AUGMENT_SCALE=(0, 2)", "AUGMENT_SCALE is .*above 0"),
        ("AUGMENT_SCALE=(2.0, 1.0)", "AUGMENT_SCALE is"),
        ("AUGMENT_ROTATE=-1.0", "AUGMENT_ROTATE is -1.0"),
        ("AUGMENT_MIN_DIMS=(600.5,)", "AUGMENT_MIN_DIMS is .*whole numbers"),
    ]:
        config = Config()
        config.NUM_CLASSES = 2
        with pytest.raises(InputError, match=message):
            config.override([setting]).validate()
    config = Config().override(["IMAGE_CHANNEL_COUNT=1", "AUGMENT_COLOR=0.5"])
    with pytest.raises(InputError, match="need RGB images, but IMAGE_CHANNEL_COUNT is 1"):
        Augmentation.from_config(config)
    config = Config().override(["AUGMENT_MIN_DIMS=(600, 720)", "IMAGE_RESIZE_MODE=pad64"])
    with pytest.raises(InputError, match="needs a fixed image size, but IMAGE_RESIZE_MODE is 'pad64'"):
        Augmentation.from_config(config)


def test_warp_image_against_the_definition():
    rng = np.random.default_rng(4)
    image = np.kron(rng.integers(0, 256, (9, 14, 3), np.uint8), np.ones((10, 10, 1), np.uint8))
    matrix = np.array([[0.9, -0.3, 20.0], [0.25, 1.1, -8.0]])
    expected = sampled(image, matrix, (100, 160))
    whole = warp_image(image, matrix, (100, 160))
    part = warp_image(image, matrix, (30, 40), (25, 50))
    for found, truth in [(whole, expected), (part, expected[25:55, 50:90])]:
        difference = np.abs(found - truth)
        # Before OpenCV 5 positions are rounded to 1/32 pixel: up to 1/64 off in x and in y, at edges of up to 255.
        assert difference.max() <= 2 * 255 / 64 + 0.5 and np.percentile(difference, 99) <= 4
