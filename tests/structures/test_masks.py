"""Instances, polygons, RLE and mini-masks against brute force, pycocotools and Matterport's way through full masks."""

import numpy as np
import pytest
from pycocotools import mask as coco

from mrcnn.data.mini_masks import instances_to_mini
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import (
    bilinear_resize,
    expand_mask,
    extract_bboxes,
    minimize_mask,
    paste_mask,
    resize_mask,
    unmold_mask,
)
from mrcnn.structures.polygons import polygons_to_crop
from mrcnn.structures.rle import crop_to_rle, rle_to_crop
from tests.drawn import scene


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return np.logical_and(a, b).sum() / np.logical_or(a, b).sum()


def test_instances_to_masks_and_back():
    masks, class_ids = scene(0)
    masks[:, :, 3] = False  # an empty one is left out
    class_ids[5] *= -1
    instances = Instances.from_masks(masks, class_ids)
    kept = [i for i in range(8) if masks[:, :, i].any()]
    assert len(instances) == len(kept) < 8
    np.testing.assert_array_equal(instances.to_masks(masks.shape), masks[:, :, kept])
    np.testing.assert_array_equal(instances.class_ids, np.abs(class_ids[kept]))
    np.testing.assert_array_equal(instances.training_class_ids, class_ids[kept])
    np.testing.assert_array_equal(instances.crowd, class_ids[kept] < 0)
    chosen = instances.select(np.array([2, 0]))
    np.testing.assert_array_equal(chosen.to_masks(masks.shape), masks[:, :, [kept[2], kept[0]]])


def test_ignored_objects_get_a_negative_id_too():
    crop = np.ones((1, 1), bool)
    instances = Instances([3, 2, 1], [[0, 0, 1, 1]] * 3, [crop] * 3, crowd=[0, 1, 0], ignore=[0, 0, 1])
    assert instances.training_class_ids.tolist() == [3, -2, -1]


def test_polygons_equal_cocos_own_filling():
    rng = np.random.default_rng(1)
    shape = (50, 70)
    for _ in range(100):
        rings = [rng.uniform(-15, 85, (rng.integers(3, 9), 2)) for _ in range(rng.integers(1, 3))]
        full = coco.decode(coco.merge(coco.frPyObjects([ring.ravel().tolist() for ring in rings], *shape)))
        result = polygons_to_crop(rings, shape)
        if result is None:
            assert not full.any()
            continue
        box, crop = result
        np.testing.assert_array_equal(Instances([1], [box], [crop]).to_masks(shape)[:, :, 0], full)
        np.testing.assert_array_equal(box, extract_bboxes(full[:, :, None])[0])


def test_polygon_of_whole_pixels():
    box, crop = polygons_to_crop([np.array([[2, 1], [5, 1], [5, 3], [2, 3]])], (6, 8))
    assert box.tolist() == [1, 2, 3, 5] and crop.all()


def test_polygons_without_a_pixel():
    assert polygons_to_crop([], (10, 10)) is None
    assert polygons_to_crop([np.array([[1, 1], [5, 5]])], (10, 10)) is None
    assert polygons_to_crop([np.array([[20, 20], [30, 20], [25, 30]])], (10, 10)) is None


@pytest.mark.parametrize("density", [0.0, 0.2, 0.6, 1.0])
def test_rle_equals_pycocotools(density):
    rng = np.random.default_rng(2)
    for _ in range(60):
        shape = rng.integers(1, 9, 2)
        full = rng.random(shape) < density
        expected = coco.encode(np.asfortranarray(full.astype(np.uint8)))
        assert crop_to_rle((0, 0, *shape), full, shape) == expected
        result = rle_to_crop(expected)
        if result is None:
            assert not full.any()
            continue
        box, crop = result
        np.testing.assert_array_equal(Instances([1], [box], [crop]).to_masks(shape)[:, :, 0], full)
        assert crop_to_rle(box, crop, shape) == expected
        text = {"size": expected["size"], "counts": expected["counts"].decode()}
        np.testing.assert_array_equal(rle_to_crop(text)[1], crop)


def test_uncompressed_rle():
    box, crop = rle_to_crop({"size": [3, 4], "counts": [4, 2, 6]})  # down the columns: rows 1 and 2 of column 1
    assert box.tolist() == [1, 1, 3, 2] and crop.all()


def test_paste_cuts_at_the_image():
    probs = np.random.default_rng(3).random((28, 28)).astype(np.float32)
    whole = bilinear_resize(probs, (40, 50)) >= 0.5
    box, crop = paste_mask(probs, (-10, -20, 30, 30), (20, 25))
    assert box.tolist() == [0, 0, 20, 25]
    np.testing.assert_array_equal(crop, whole[10:30, 20:45])
    full = unmold_mask(probs, (-10, -20, 30, 30), (20, 25))
    np.testing.assert_array_equal(full, whole[10:30, 20:45])


def test_boxes_without_area_give_nothing_instead_of_an_error():
    """Fix 10: the original raises (`Invalid bounding box`, `SVD did not converge`)."""
    mask = np.ones((8, 9, 2), bool)
    boxes = np.array([[2, 2, 2, 6], [1, 1, 5, 5]])
    mini = minimize_mask(boxes, mask, (4, 4))
    assert not mini[:, :, 0].any() and mini[:, :, 1].all()
    expanded = expand_mask(boxes, np.ones((4, 4, 2), bool), mask.shape)
    assert expanded[:, :, 0].sum() == 0 and expanded[:, :, 1].sum() == 16
    for box in ((3, 3, 3, 7), (4, 4, 2, 2), (100, 3, 120, 7)):
        assert not unmold_mask(np.ones((28, 28)), box, (10, 10)).any()
        box_px, crop = paste_mask(np.ones((28, 28)), box, (10, 10))
        assert crop.size == 0 and crop.shape == (box_px[2] - box_px[0], box_px[3] - box_px[1])


@pytest.mark.parametrize("line", [np.s_[7:8, 3:40], np.s_[3:40, 7:8], np.s_[5:6, 5:6]])
def test_masks_one_pixel_thin_survive_the_mini_mask(line):
    """Fix 10: bool arrays, which today's scikit-image refuses to resize, and lines that must not vanish."""
    mask = np.zeros((60, 60, 1), bool)
    mask[(*line, 0)] = True
    box = extract_bboxes(mask)
    mini = minimize_mask(box, mask, (28, 28))
    assert mini.all()
    np.testing.assert_array_equal(expand_mask(box, mini, mask.shape), mask)
    for scale in (0.1, 0.375, 0.8, 1.0, 3.0):
        size = round(60 * scale)
        kept, boxes, minis = instances_to_mini(
            Instances.from_masks(mask, [1]), (28, 28), (scale, scale), (0, 0), (size, size)
        )
        assert kept.tolist() == [0] and minis.all()
        assert ((boxes[0, 2:] - boxes[0, :2]) >= 1).all() and boxes.max() <= size


def test_a_speckled_mask_keeps_a_pixel():
    """Thinner than the cells of the mini-mask everywhere: its pixels are marked instead of sampled away."""
    mask = np.zeros((200, 200, 1), bool)
    mask[np.arange(0, 200, 50), np.arange(0, 200, 50), 0] = True
    _, _, minis = instances_to_mini(Instances.from_masks(mask, [1]), (14, 14), (1.0, 1.0), (0, 0), (200, 200))
    assert minis.sum() == 4 and minis[0, 0, 0] and minis[13, 13, 0]


def bilinear(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """float [len(rows), len(columns)]: values at places in pixels (the first centre is 0.5), edge pixels continued."""
    result = np.zeros((len(rows), len(columns)))
    for i, row in enumerate(rows - 0.5):
        for j, column in enumerate(columns - 0.5):
            y, x = int(np.floor(row)), int(np.floor(column))
            for near_y, weight_y in ((y, y + 1 - row), (y + 1, row - y)):
                for near_x, weight_x in ((x, x + 1 - column), (x + 1, column - x)):
                    near = np.clip(near_y, 0, values.shape[0] - 1), np.clip(near_x, 0, values.shape[1] - 1)
                    result[i, j] += weight_y * weight_x * values[near]
    return result


def sample_by_hand(mask: np.ndarray, box, mini_shape, scale, offset) -> np.ndarray:
    """float [h, w], what is cut at one half: the label at the centres of the cells, or of the pixels and then cells."""
    y1, x1, y2, x2 = extract_bboxes(mask[:, :, None])[0]
    crop, size = mask[y1:y2, x1:x2], box[2:] - box[:2]

    def in_crop(count: int, axis: int) -> np.ndarray:
        centres = box[axis] + (np.arange(count) + 0.5) * size[axis] / count
        return (centres - offset[axis]) / scale[axis] - (y1, x1)[axis]

    if size.prod() >= 4 * np.prod(mini_shape):
        return bilinear(crop, in_crop(mini_shape[0], 0), in_crop(mini_shape[1], 1))
    shares = bilinear(crop, in_crop(size[0], 0), in_crop(size[1], 1))
    return bilinear(shares, *((np.arange(n) + 0.5) * pixels / n for n, pixels in zip(mini_shape, size, strict=True)))


@pytest.mark.parametrize("scale, offset", [((0.8, 0.8), (22, 0)), ((1.7, 1.7), (0, 3)), ((0.31, 0.3125), (4, 0))])
def test_mini_masks_are_sampled_over_exactly_their_box(scale, offset):
    masks, class_ids = scene(4)
    size = (round(180 * scale[0]) + 2 * offset[0], round(320 * scale[1]) + 2 * offset[1])
    kept, boxes, minis = instances_to_mini(Instances.from_masks(masks, class_ids), (14, 18), scale, offset, size)
    originals = [i for i in range(8) if masks[:, :, i].any()]
    for i, box, mini in zip(kept, boxes, np.moveaxis(minis, 2, 0), strict=True):
        expected = sample_by_hand(masks[:, :, originals[i]], box, (14, 18), scale, offset)
        clear = np.abs(expected - 0.5) > 0.06  # OpenCV rounds positions to 1/32 pixel
        assert clear.mean() > 0.8
        np.testing.assert_array_equal(mini[clear], expected[clear] > 0.5)


def centre_of_mass(mask: np.ndarray) -> np.ndarray:
    return (np.argwhere(mask) + 0.5).mean(axis=0)


@pytest.mark.parametrize(
    "width, size, least_iou, most_apart", [(320, 256, 0.98, 0.25), (320, 320, 0.98, 0.25), (320, 400, 0.97, 1.0)]
)
def test_agrees_with_the_way_through_full_masks(width, size, least_iou, most_apart):
    """For drawn objects of 6 to 60 pixels, against Matterport's way, whose own samples are shifted when it enlarges."""
    ious, apart, shifts = [], [], []
    for seed in range(6):
        height = width * 9 // 16
        masks, _ = scene(seed, (height, width))
        masks = masks[:, :, masks.sum(axis=(0, 1)) > 30]
        scale, rows = size / width, round(height * size / width)
        top = (size - rows) // 2
        slow = resize_mask(masks, scale, [(top, size - rows - top), (0, 0), (0, 0)])
        slow = expand_mask(extract_bboxes(slow), minimize_mask(extract_bboxes(slow), slow, (56, 56)), slow.shape)
        instances = Instances.from_masks(masks, np.ones(masks.shape[2], int))
        exact = (rows / height, scale)
        kept, boxes, minis = instances_to_mini(instances, (56, 56), exact, (top, 0), (size, size))
        fast = expand_mask(boxes, minis, (size, size))
        assert len(kept) == masks.shape[2]
        for i in range(masks.shape[2]):
            ious.append(iou(slow[:, :, i], fast[:, :, i]))
            centre = centre_of_mass(fast[:, :, i])
            apart.append(np.abs(centre - centre_of_mass(slow[:, :, i])).max())
            shifts.append(centre - centre_of_mass(masks[:, :, i]) * exact - (top, 0))
    assert np.mean(ious) >= least_iou, np.mean(ious)
    assert np.max(apart) <= most_apart, np.max(apart)
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.05, np.mean(shifts, axis=0)  # none from the place in the image


def test_crop_cuts_boxes_tight():
    """An L shape whose foot is outside the crop gets the box of what is left of it."""
    mask = np.zeros((40, 40, 2), bool)
    mask[5:30, 10:14, 0] = True
    mask[26:30, 10:35, 0] = True
    mask[35:39, 35:39, 1] = True  # outside
    instances = Instances.from_masks(mask, [1, 2])
    kept, boxes, minis = instances_to_mini(instances, (28, 28), (1.0, 1.0), (-2, -4), (20, 30))
    assert kept.tolist() == [0]
    assert boxes.tolist() == [[3, 6, 20, 10]] and minis.all()


def test_full_masks_instead_of_mini_masks():
    masks, class_ids = scene(5)
    instances = Instances.from_masks(masks, class_ids)
    _, boxes, full = instances_to_mini(instances, None, (1.0, 1.0), (10, 20), (200, 360))
    expected = np.pad(instances.to_masks(masks.shape), [(10, 10), (20, 20), (0, 0)])
    np.testing.assert_array_equal(full, expected)
    np.testing.assert_array_equal(boxes, extract_bboxes(expected))
