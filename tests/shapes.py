"""A tiny dataset of squares, circles and triangles on noise, drawn in memory, and settings that train in seconds."""

import cv2
import numpy as np

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset


class ShapesConfig(Config):
    """Settings of the smallest network that is still a Mask R-CNN: images of 128 px, 3 classes."""

    NAME = "shapes"
    NUM_CLASSES = 4
    BACKBONE = "resnet18"
    BACKBONE_WIDTH = 16  # at 8, oneDNN in TensorFlow 2.21 corrupts memory in the gradient of a strided convolution
    TOP_DOWN_PYRAMID_SIZE = 16
    RPN_CHANNELS = 16
    FPN_CLASSIF_FC_LAYERS_SIZE = 32
    MASK_HEAD_CHANNELS = 16
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH = 4
    VALIDATION_STEPS = 0
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    RPN_ANCHOR_SCALES = (16, 24, 32, 48, 64)
    RPN_TRAIN_ANCHORS_PER_IMAGE = 64
    PRE_NMS_LIMIT = 200
    POST_NMS_ROIS_TRAINING = 64
    POST_NMS_ROIS_INFERENCE = 32
    TRAIN_ROIS_PER_IMAGE = 24
    MAX_GT_INSTANCES = 6
    MINI_MASK_SHAPE = (28, 28)
    DETECTION_MIN_CONFIDENCE = 0.05
    LEARNING_RATE = 0.02


class ShapesDataset(Dataset):
    """Images of 96 x 128 with 1 to 4 shapes each; image i is the same in every process."""

    def load_shapes(self, count: int, seed: int = 0) -> "ShapesDataset":
        """Add the classes and `count` images."""
        for class_id, name in enumerate(("square", "circle", "triangle"), 1):
            self.add_class("shapes", class_id, name)
        for number in range(count):
            self.add_image("shapes", f"{seed}-{number}", path=f"shape{seed}-{number}.png", width=128, height=96)
        self.prepare()
        return self

    def _draw(self, image_id: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        seed, number = map(int, self.image_info[image_id]["id"].split("-"))
        rng = np.random.default_rng([seed, number])
        image = rng.integers(90, 120, (96, 128, 3), dtype=np.uint8)
        masks, class_ids = [], []
        for _ in range(rng.integers(1, 5)):
            class_id, side = int(rng.integers(1, 4)), int(rng.integers(16, 40))
            y, x = int(rng.integers(0, 96 - side)), int(rng.integers(0, 128 - side))
            mask = np.zeros((96, 128), np.uint8)
            if class_id == 1:
                mask[y : y + side, x : x + side] = 1
            elif class_id == 2:
                cv2.circle(mask, (x + side // 2, y + side // 2), side // 2, 1, -1)
            else:
                cv2.fillPoly(mask, [np.array([[x, y + side], [x + side, y + side], [x + side // 2, y]])], 1)
            image[mask > 0] = rng.integers(0, 255, 3)
            masks = [m & ~mask.astype(bool) for m in masks] + [mask.astype(bool)]  # later shapes hide earlier ones
            class_ids.append(class_id)
        return image, np.stack(masks, axis=-1), np.array(class_ids, np.int32)

    def load_image(self, image_id: int) -> np.ndarray:
        """Return uint8 [96, 128, 3]."""
        return self._draw(image_id)[0]

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Return bool [96, 128, n] and int32 [n]; shapes that are completely hidden are left out."""
        _, masks, class_ids = self._draw(image_id)
        visible = masks.any((0, 1))
        return masks[..., visible], class_ids[visible]
