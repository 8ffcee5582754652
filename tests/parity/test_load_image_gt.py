"""load_image_gt and Dataset against the original's numbers: 6 images, 6 ways to resize, full masks and mini-masks."""

import random

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.legacy.image_gt import load_image_gt
from mrcnn.structures.masks import bilinear_resize
from tests.legacy_imgaug import import_augmenters

# name in the figures: mode, min_dim, max_dim, min_scale
RESIZES = {
    "square128": ("square", 128, 128, 0),
    "square256": ("square", 256, 256, 0),
    "square_128_192": ("square", 128, 192, 0),
    "pad64": ("pad64", 128, 128, 0),
    "crop64": ("crop", 64, 64, 1.2),
    "none": ("none", 128, 128, 0),
}
TIES = {"square256": 0.03, "crop64": 0.01}  # factors 2 and 1.2: see test_resize_image.py


class RecordedDataset(Dataset):
    """The images and masks that the figures were made from."""

    def __init__(self, figures, facts) -> None:
        super().__init__()
        self.figures = figures
        for info in facts["class_info"][1:]:
            self.add_class(info["source"], info["id"], info["name"])
        for i, source in enumerate(facts["source_of_image"]):
            self.add_image(source, i, None)
        self.prepare()

    def load_image(self, image_id):
        return self.figures[f"in{image_id}/image"]

    def load_mask(self, image_id):
        return self.figures[f"in{image_id}/masks"], self.figures[f"in{image_id}/class_ids"]


@pytest.fixture(scope="module")
def figures(golden):
    return golden.npz("data_load_image_gt")


@pytest.fixture(scope="module")
def dataset(figures, golden):
    return RecordedDataset(figures, golden.json("data_load_image_gt"))


def config_for(name: str) -> Config:
    config = Config()
    mode, config.IMAGE_MIN_DIM, config.IMAGE_MAX_DIM, config.IMAGE_MIN_SCALE = RESIZES[name]
    config.IMAGE_RESIZE_MODE = mode
    return config


def check_sample(result, figures, key: str, ties: float = 0.005, full=None, window=None, most: int = 1) -> None:
    image, meta, class_ids, boxes, masks = result
    pixels = key if f"{key}/every_7th_row" in figures else key.replace("/mini", "/full")  # the same picture
    difference = np.abs(image[::7].astype(int) - figures[f"{pixels}/every_7th_row"])
    assert difference.max() <= most and np.mean(difference > 0) < ties
    expected = figures[f"{key}/meta"].astype(float)
    if window is not None:
        expected[7:11] = window
    np.testing.assert_array_equal(meta, expected)
    np.testing.assert_array_equal(class_ids, figures[f"{key}/class_ids"])
    assert class_ids.dtype == np.int32
    np.testing.assert_array_equal(boxes, figures[f"{key}/bbox"])
    shape = figures[f"{key}/mask_shape"]
    assert masks.dtype == bool
    differing = masks != np.unpackbits(figures[f"{key}/mask"])[: shape.prod()].reshape(shape).astype(bool)
    if full is None:
        assert not differing.any()
        return
    for i in np.flatnonzero(differing.any(axis=(0, 1))):  # samples of exactly one half: rounding noise decided there
        y1, x1, y2, x2 = boxes[i]
        sampled = bilinear_resize(full[y1:y2, x1:x2, i], shape[:2])
        np.testing.assert_allclose(sampled[differing[:, :, i]], 0.5, atol=1e-6)


def test_dataset_maps(dataset, golden):
    facts = golden.json("data_load_image_gt")
    names = ["class_info", "class_from_source_map", "class_names", "image_from_source_map", "num_classes"]
    for name in [*names, "source_class_ids"]:
        assert getattr(dataset, name) == facts[name], name
    assert dataset.map_source_class_id("other.7") == 7
    assert dataset.get_source_class_id(8, "other") == 8


@pytest.mark.parametrize("image_id", range(6))
@pytest.mark.parametrize("name", RESIZES)
def test_load_image_gt(dataset, figures, name, image_id):
    random.seed(21 + image_id)  # the original's seed for the crops
    result = load_image_gt(dataset, config_for(name), image_id)
    check_sample(result, figures, f"{name}/{image_id}/full", TIES.get(name, 0.005))
    random.seed(21 + image_id)
    mini = load_image_gt(dataset, config_for(name), image_id, use_mini_mask=True)
    check_sample(mini, figures, f"{name}/{image_id}/mini", TIES.get(name, 0.005), full=result[4])


def test_augment_flips_with_the_same_draws(dataset, golden):
    """The original left the window as it was (fix 13); here it flips with the picture."""
    flipped = golden.json("data_load_image_gt")["augment_true_random_seed5_flipped"]
    config = config_for("pad64")
    config.IMAGE_MIN_DIM = None
    plain = [load_image_gt(dataset, config, i) for i in range(6)]
    random.seed(5)
    for before, expected in zip(plain, flipped, strict=True):
        after = load_image_gt(dataset, config, int(before[1][0]), augment=True)
        if not expected:
            np.testing.assert_array_equal(after[0], before[0])
            np.testing.assert_array_equal(after[1], before[1])
            continue
        np.testing.assert_array_equal(after[0], before[0][:, ::-1])
        np.testing.assert_array_equal(after[4], before[4][:, ::-1])
        width = before[0].shape[1]
        window = before[1][7:11]
        np.testing.assert_array_equal(after[1][7:11], [window[0], width - window[3], window[2], width - window[1]])


def test_imgaug(dataset, figures):
    augmenters = import_augmenters()
    config = config_for("square128")
    result = load_image_gt(dataset, config, 0, augmentation=augmenters.Fliplr(1.0))
    check_sample(result, figures, "imgaug_fliplr/0/full")
    brighter = augmenters.Sequential([augmenters.Flipud(1.0), augmenters.Multiply(1.5)])
    full = load_image_gt(dataset, config, 0, augmentation=brighter)[4]
    result = load_image_gt(dataset, config, 0, augmentation=brighter, use_mini_mask=True)
    # 85 rows with 21 above and 22 below: upside down the picture starts at 22 (the original's meta says 21)
    check_sample(result, figures, "imgaug_flipud/0/mini", full=full, window=(22, 0, 107, 128), most=2)
