"""Draws training images as the network receives them, under several settings of the augmentation."""

import copy
from collections.abc import Sequence

import numpy as np

from mrcnn.augment_settings import Augmentation, preset_settings
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.images import to_look_at
from mrcnn.data.sample_maker import Donors, Sample, SampleMaker
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import expand_mask
from mrcnn.visualization.drawing import draw_instances


def augmented(
    dataset: Dataset,
    config: Config,
    image_id: int,
    presets: Sequence[str] = ("default", "strong", "lsj"),
    count: int = 3,
    seed: int = 0,
) -> tuple[list[np.ndarray], list[str]]:
    """Augment one image and its objects several times with each preset, for `display_images` with `count` columns.

    Args:
        dataset: Prepared dataset; copy-paste takes objects from its other images.
        config: Settings; IMAGE_* and MINI_MASK_SHAPE are read.
        image_id: Id of the image in the dataset.
        presets: Names of `mrcnn.augment_settings.PRESETS`.
        count: Number of images per preset.
        seed: Seed of the random choices.

    Returns:
        Images uint8 [H, W, 3] and titles, preset by preset.
    """
    images, titles = [], []
    for preset in presets:
        settings = copy.copy(config).override(preset_settings(preset))
        augmentation = Augmentation.from_config(settings)
        donors = Donors.from_dataset(dataset) if augmentation.copy_paste else None
        maker = SampleMaker(dataset, settings, 1, 1, seed=seed, shuffle=False, augmentation=augmentation, donors=donors)
        for n in range(count):
            sample = maker.sample(image_id + n * len(dataset.image_ids))
            images.append(draw_sample(sample))
            titles.append(f"{preset}: {len(sample.class_ids)} objects of {sample.labelled}")
    return images, titles


def draw_sample(sample: Sample) -> np.ndarray:
    """Draw a training image, uint8 [H, W, 3], with its objects as the network receives them.

    Masks are expanded from the mini-masks; colours are those of the classes.
    """
    masks = sample.masks
    if masks.shape[:2] != sample.image.shape[:2]:
        masks = expand_mask(sample.boxes_px, masks, sample.image.shape)
    instances = Instances.from_masks(masks, sample.class_ids)
    return draw_instances(to_look_at(sample.image), instances)
