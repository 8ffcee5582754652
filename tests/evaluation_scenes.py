"""Random images with objects, crowds and detections, for the tests of evaluation."""

import numpy as np

from mrcnn.masks import Instances

NAMES = ["BG", "car", "person", "train"]
SHAPE = (120, 160)


class Scenes:
    """A dataset of ellipses: class ids 1..3 with category ids 10, 20, 30; image ids 0..n-1 with COCO ids 100..."""

    def __init__(self, images: int = 6, objects: int = 8, seed: int = 0, shape=SHAPE):
        rng = np.random.default_rng(seed)
        self.shape = shape
        self.image_ids = np.arange(images)
        self.class_names = NAMES
        self.class_info = [{"source": "", "id": 0, "name": "BG"}]
        self.class_info += [{"source": "drawn", "id": 10 * i, "name": NAMES[i]} for i in (1, 2, 3)]
        self.image_info = [{"id": f"street-{i}", "source": "drawn", "path": f"/data/street-{i}.jpg", "coco_id": 100 + i,
                            "height": shape[0], "width": shape[1]} for i in range(images)]
        self.instances = [self._draw(rng, rng.integers(1, objects + 1)) for _ in range(images)]

    def _draw(self, rng, count):
        masks = np.stack([ellipse(rng, self.shape) for _ in range(count)], axis=-1)
        instances = Instances.from_masks(masks, rng.integers(1, 3, count))  # class 3 has no object
        instances.crowd = rng.random(len(instances)) < 0.15
        instances.ignore = rng.random(len(instances)) < 0.15
        return instances

    def load_instances(self, image_id):
        return self.instances[image_id]

    def load_image(self, image_id):
        return np.full((*self.shape, 3), 40 + 20 * (image_id % 8), np.uint8)


class Noisy:
    """Finds most objects, moved and mistaken, and some that are not there. `detect_instances` as a model has it."""

    def __init__(self, scenes: Scenes, detections: int = 12, seed: int = 1):
        self.rng = np.random.default_rng(seed)
        self.truth = iter(scenes.instances)
        self.detections = detections

    def detect_instances(self, images):
        return [self._detect(image.shape[:2], next(self.truth)) for image in images]

    def _detect(self, shape, instances):
        rng, boxes, class_ids = self.rng, [], []
        for _ in range(self.detections):
            if len(instances) and rng.random() < 0.75:
                n = rng.integers(len(instances))
                box = instances.boxes_px[n] + rng.integers(-3, 4, 4)
                class_ids.append(instances.class_ids[n] if rng.random() < 0.85 else rng.integers(1, 4))
            else:
                y, x = rng.integers(0, shape[0] - 10), rng.integers(0, shape[1] - 10)
                box = np.array([y, x, y + rng.integers(5, 40), x + rng.integers(5, 40)])
                class_ids.append(rng.integers(1, 4))
            boxes.append(np.clip(box, 0, [*shape, *shape]))
        n = len(boxes)
        scores = np.round(rng.random(n), 1).astype(np.float32)  # many equal scores
        return {"rois": np.array(boxes, np.int32).reshape(-1, 4), "class_ids": np.array(class_ids, np.int32),
                "scores": scores, "mask_probs": round_probs(rng, n)}


class Nothing:
    """A model that finds nothing."""

    def detect_instances(self, images):
        return [{"rois": np.zeros((0, 4), np.int32), "class_ids": np.zeros(0, np.int32),
                 "scores": np.zeros(0, np.float32), "mask_probs": np.zeros((0, 28, 28), np.float32)} for _ in images]


def ellipse(rng, shape):
    """bool [H, W]"""
    y, x = np.mgrid[:shape[0], :shape[1]] + 0.5
    centre_y, centre_x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
    radius_y, radius_x = rng.uniform(3, shape[0] / 3), rng.uniform(3, shape[1] / 3)
    return ((y - centre_y) / radius_y) ** 2 + ((x - centre_x) / radius_x) ** 2 < 1


def round_probs(rng, n):
    """float32 [n, 28, 28], about an ellipse each."""
    y, x = np.mgrid[:28, :28] / 13.5 - 1
    return np.clip(1.5 - y**2 - x**2 + rng.normal(0, 0.1, (n, 28, 28)), 0, 1).astype(np.float32)
