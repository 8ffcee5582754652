"""Tests Dataset, the mode "rect", and augmentation of full masks against images of the masks."""

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.images import resize_image
from mrcnn.errors import InputError
from mrcnn.legacy.image_gt import load_image_gt
from tests.drawn import disc
from tests.legacy_imgaug import import_augmenters


class Discs(Dataset):
    """One gray image (40) of 90 x 120 with two discs, each painted white in its own colour channel."""

    def __init__(self) -> None:
        super().__init__()
        self.add_class("drawn", 1, "disc, round")
        self.add_class("drawn", 2, "other")
        self.add_class("drawn", 1, "the same id again")
        self.add_image("drawn", "a", None)
        self.prepare()

    def load_mask(self, image_id):
        shape = (90, 120)
        masks = np.stack([disc(shape, (35, 40), 18), disc(shape, (50, 75), (14, 22))], axis=2)
        return masks, np.array([1, 2], np.int32)

    def load_image(self, image_id):
        masks, _ = self.load_mask(image_id)
        image = np.full((90, 120, 3), 40, np.uint8)
        image[:, :, :2][masks] = 255
        return image


class DiscsConfig(Config):
    NAME = "discs"
    NUM_CLASSES = 3
    IMAGE_MIN_DIM = 90
    IMAGE_MAX_DIM = 128


def test_dataset_counts_and_names():
    dataset = Discs()
    assert dataset.class_names == ["BG", "disc", "other"]  # the first of several names, a class once per source
    assert (dataset.num_classes, dataset.num_images) == (3, 1)
    assert dataset.image_ids.tolist() == [0] and dataset.class_ids.tolist() == [0, 1, 2]
    assert dataset.sources == ["", "drawn"]
    assert dataset.source_class_ids == {"": [0], "drawn": [0, 1, 2]}
    assert dataset.map_source_class_id("drawn.2") == 2 and dataset.get_source_class_id(2, "drawn") == 2
    assert dataset.source_image_link(0) is None and dataset.image_reference(0) == ""


def test_instances_come_from_the_masks():
    dataset = Discs()
    masks, class_ids = dataset.load_mask(0)
    instances = dataset.load_instances(0)
    np.testing.assert_array_equal(instances.to_masks((90, 120)), masks)
    np.testing.assert_array_equal(instances.class_ids, class_ids)


@pytest.mark.parametrize(
    "shape, size, expected",
    [
        ((720, 1280), (576, 1024), (0, 0, 576, 1024)),  # BDD100K fits exactly
        ((720, 1280), (600, 1024), (12, 0, 588, 1024)),
        ((480, 640), (576, 1024), (0, 128, 576, 896)),  # limited by the height: 768 wide
        ((100, 50), (64, 128), (0, 48, 64, 80)),
        ((50, 100), (64, 130), (0, 1, 64, 129)),  # enlarged by 1.28
    ],
)
def test_rect_fits_into_exactly_its_size(shape, size, expected):
    image, window, scale, padding, _ = resize_image(np.full((*shape, 3), 7, np.uint8), *size, mode="rect")
    assert image.shape[:2] == size
    assert window == expected
    assert scale == min(size[0] / shape[0], size[1] / shape[1])
    y1, x1, y2, x2 = window
    assert padding == [(y1, size[0] - y2), (x1, size[1] - x2), (0, 0)]
    assert (image[y1:y2, x1:x2] == 7).all() and (image == 7).sum() == 3 * (y2 - y1) * (x2 - x1)


def augmented(augmenter):
    """Return the augmented image and masks, and the window."""
    image, meta, class_ids, boxes, masks = load_image_gt(Discs(), DiscsConfig(), 0, augmentation=augmenter)
    np.testing.assert_array_equal(class_ids, [1, 2])
    return image, masks, meta[7:11].astype(int), boxes


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("Affine", dict(rotate=20, scale=0.8)),
        ("Affine", dict(shear=15)),
        ("PerspectiveTransform", dict(scale=0.1)),
        ("PiecewiseAffine", dict(scale=0.03)),
        ("ElasticTransformation", dict(alpha=8.0, sigma=4.0)),
        ("Rot90", dict(k=1)),
        ("CropAndPad", dict(percent=-0.1)),
        ("Crop", dict(px=(5, 9))),
        ("Fliplr", dict(p=1.0)),
        ("GaussianBlur", dict(sigma=1.0)),
        ("AdditiveGaussianNoise", dict(scale=8.0)),
        ("CoarseDropout", dict(p=0.02, size_percent=0.1)),
    ],
)
def test_masks_stay_on_their_objects_under_any_augmenter(name, arguments):
    """Fix 13: the original moved the masks under nine augmenters only; under all others they stayed in place."""
    augmenters = import_augmenters()
    image, masks, _, boxes = augmented(getattr(augmenters, name)(seed=1, **arguments))
    for i in range(2):
        painted = image[:, :, i] > 147  # half way between 40 and 255
        overlap = np.logical_and(painted, masks[:, :, i]).sum() / np.logical_or(painted, masks[:, :, i]).sum()
        assert overlap > 0.93, (name, overlap)
        rows, columns = np.flatnonzero(masks[:, :, i].any(axis=1)), np.flatnonzero(masks[:, :, i].any(axis=0))
        assert boxes[i].tolist() == [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]


def test_the_window_moves_with_the_image():
    """Fix 13: padding is black and the image is not, so the window is visible."""
    augmenters = import_augmenters()
    for augmenter in (
        augmenters.Affine(translate_px={"x": 9, "y": -4}),
        augmenters.Affine(scale=0.5),
        augmenters.Fliplr(1.0),
        augmenters.Sequential([augmenters.Flipud(1.0), augmenters.Affine(translate_px={"y": 7})]),
    ):
        image, _, window, _ = augmented(augmenter)
        rows, columns = np.flatnonzero(image[:, :, 2].max(axis=1) > 20), np.flatnonzero(image[:, :, 2].max(axis=0) > 20)
        seen = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
        assert np.abs(window - seen).max() <= 1, (window, seen)


def test_an_augmentation_that_changes_the_size_is_refused():
    augmenters = import_augmenters()
    with pytest.raises(InputError, match=r"from \(128, 128, 3\) to \(\d+, \d+, 3\); use keep_size=True"):
        augmented(augmenters.Crop(px=5, keep_size=False))


def test_only_a_class_without_load_mask_is_warned_about(caplog):
    class NoObjects(Dataset):
        def load_mask(self, image_id):
            return super().load_mask(image_id)

    for kind, count in ((NoObjects, 0), (Dataset, 1)):
        dataset = kind()
        dataset.add_image("drawn", "a", None)
        dataset.prepare()
        masks, class_ids = dataset.load_mask(0)
        assert masks.shape == (0, 0, 0) and len(class_ids) == 0
        assert caplog.text.count("has no load_mask() of its own") == count
