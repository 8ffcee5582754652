"""A small dataset and its settings for tests of the loader; it needs no Keras, so worker processes start at once."""

import cv2
import numpy as np

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from tests.drawn import scene


class SceneConfig(Config):
    NAME = "scenes"
    NUM_CLASSES = 4
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 256
    MAX_GT_INSTANCES = 10
    MINI_MASK_SHAPE = (28, 28)
    IMAGES_PER_GPU = 2


class Scenes(Dataset):
    """Smooth images of 180 x 320 with the objects of `tests.drawn.scene`; the images in `empty` have none."""

    def __init__(self, count: int = 5, empty: tuple[int, ...] = (), objects: int = 8) -> None:
        super().__init__()
        for class_id in (1, 2, 3):
            self.add_class("drawn", class_id, f"class {class_id}")
        for i in range(count):
            self.add_image("drawn", f"scene{i}", None, objects=0 if i in empty else objects)
        self.prepare()

    def load_image(self, image_id):
        small = np.random.default_rng(image_id).integers(0, 256, (6, 10, 3), np.uint8)
        return cv2.resize(small, (320, 180), interpolation=cv2.INTER_CUBIC)

    def load_mask(self, image_id):
        count = self.image_info[image_id]["objects"]
        masks, class_ids = scene(image_id, count=8)
        if count == 8:
            class_ids[6] *= -1  # a crowd
        return masks[:, :, :count], class_ids[:count]


def configured(**settings) -> Config:
    config = SceneConfig()
    for name, value in settings.items():
        setattr(config, name, value)
    config._compute()
    return config
