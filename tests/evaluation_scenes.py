"""Random images with objects, crowds and detections, for the tests of evaluation."""

import numpy as np

from bdd100k.config import CLASS_NAMES
from mrcnn.data.dataset import Dataset
from mrcnn.evaluation.match_table import Detections, Objects, TableBuilder
from mrcnn.structures.instances import Instances
from mrcnn.structures.rle import crop_to_rle

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
        self.image_info = [
            {
                "id": f"street-{i}",
                "source": "drawn",
                "path": f"/data/street-{i}.jpg",
                "coco_id": 100 + i,
                "height": shape[0],
                "width": shape[1],
            }
            for i in range(images)
        ]
        self.instances = [self._draw(rng, rng.integers(1, objects + 1)) for _ in range(images)]

    def _draw(self, rng, count):
        masks = np.stack([ellipse(rng, self.shape) for _ in range(count)], axis=-1)
        instances = Instances.from_masks(masks, rng.integers(1, 3, count))  # class 3 has no object
        instances.crowd = rng.random(len(instances)) < 0.15
        instances.ignore = rng.random(len(instances)) < 0.15
        return instances

    def load_instances(self, image_id):
        return self.instances[image_id]

    image_size = Dataset.image_size

    def load_image(self, image_id):
        return np.full((*self.shape, 3), 40 + 20 * (image_id % 8), np.uint8)


class Noisy:
    """A model that detects most objects, moved or with a wrong class, and some that do not exist."""

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
        return {
            "rois": np.array(boxes, np.int32).reshape(-1, 4),
            "class_ids": np.array(class_ids, np.int32),
            "scores": scores,
            "mask_probs": round_probs(rng, n),
        }


class Nothing:
    """A model that detects nothing."""

    def detect_instances(self, images):
        return [
            {
                "rois": np.zeros((0, 4), np.int32),
                "class_ids": np.zeros(0, np.int32),
                "scores": np.zeros(0, np.float32),
                "mask_probs": np.zeros((0, 28, 28), np.float32),
            }
            for _ in images
        ]


def ellipse(rng, shape):
    """Return a random ellipse, bool [H, W]."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    centre_y, centre_x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
    radius_y, radius_x = rng.uniform(3, shape[0] / 3), rng.uniform(3, shape[1] / 3)
    return ((y - centre_y) / radius_y) ** 2 + ((x - centre_x) / radius_x) ** 2 < 1


def round_probs(rng, n):
    """Return mask probabilities, roughly an ellipse each, float32 [n, 28, 28]."""
    y, x = np.mgrid[:28, :28] / 13.5 - 1
    return np.clip(1.5 - y**2 - x**2 + rng.normal(0, 0.1, (n, 28, 28)), 0, 1).astype(np.float32)


class Drawn:
    """A dataset of BDD100K's classes whose objects are rectangles: (name, (y1, x1, y2, x2), *flags) for each image.

    Flags are "crowd", "ignore", "occluded", "truncated". Images are called a.jpg, b.jpg, ... and have the attributes
    given for them.
    """

    def __init__(self, *images, shape=(100, 100), attributes=()):
        self.class_names = ["BG", *CLASS_NAMES]
        self.class_info = [{"source": "", "id": 0, "name": "BG"}]
        self.class_info += [{"source": "bdd100k", "id": i, "name": name} for i, name in enumerate(CLASS_NAMES, 1)]
        self.shape, self.images = shape, images
        self.image_ids = np.arange(len(images))
        letters = "abcdefghijklmnopqrstuvwxyz"
        self.image_info = [
            {
                "id": f"{letters[i]}.jpg",
                "source": "bdd100k",
                "path": f"/data/{letters[i]}.jpg",
                "coco_id": i + 1,
                "height": shape[0],
                "width": shape[1],
                "attributes": attributes[i] if attributes else {},
            }
            for i in range(len(images))
        ]

    def load_image(self, image_id):
        return np.full((*self.shape, 3), 90, np.uint8)

    image_size = Dataset.image_size

    def load_instances(self, image_id):
        rows = self.images[image_id]
        crops = [np.ones((y2 - y1, x2 - x1), bool) for _, (y1, x1, y2, x2), *_ in rows]
        return Instances(
            [CLASS_NAMES.index(name) + 1 for name, *_ in rows],
            [box for _, box, *_ in rows],
            crops,
            ["crowd" in row for row in rows],
            ["ignore" in row for row in rows],
        )

    def object_flags(self, image_id, instances):
        return {
            name: np.array([name in row for row in self.images[image_id]], bool) for name in ("occluded", "truncated")
        }


def found(image_id, name, box, score, shape=(100, 100)):
    """Return a COCO result for a rectangle (y1, x1, y2, x2) in an image of `Drawn`, counted from 0."""
    y1, x1, y2, x2 = box
    rle = crop_to_rle(box, np.ones((y2 - y1, x2 - x1), bool), shape)
    return {
        "image_id": image_id + 1,
        "category_id": CLASS_NAMES.index(name) + 1,
        "score": score,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "segmentation": {"size": list(shape), "counts": rle["counts"].decode()},
    }


def overlap_table(rng, images=12, classes=3, objects=6, detections=20, crowd=0.2, decimals=1):
    """Draw random boxes; return them as a `Table` and as COCO's lists (truth, detections)."""
    builder = TableBuilder(classes)
    truth = {
        "images": [{"id": i, "height": 400, "width": 400} for i in range(images)],
        "annotations": [],
        "categories": [{"id": k + 1, "name": str(k)} for k in range(classes)],
    }
    results = []
    for image in range(images):
        gt = _boxes(rng, rng.integers(0, objects + 1))
        gt_class = rng.integers(0, classes - 1, len(gt))  # the last class has no object
        is_crowd = rng.random(len(gt)) < crowd
        dt = _boxes(rng, rng.integers(0, detections + 1))
        dt_class = rng.integers(0, classes, len(dt))
        for n in np.flatnonzero(rng.random(len(dt)) < 0.7):
            if len(gt):
                at = rng.integers(len(gt))
                dt[n] = np.maximum(gt[at] + rng.integers(-4, 5, 4) * (rng.random() < 0.8), 1)
                dt_class[n] = gt_class[at] if rng.random() < 0.8 else dt_class[n]
        scores = np.round(rng.random(len(dt)), decimals) if decimals else rng.random(len(dt))
        areas = gt[:, 2] * gt[:, 3] * 0.8  # of the masks, in truth
        builder.add(
            Objects(gt_class, is_crowd, areas, gt.tolist()),
            Detections(dt_class, scores, dt[:, 2] * dt[:, 3], dt.tolist()),
        )
        truth["annotations"] += [
            {
                "id": len(truth["annotations"]) + n + 1,
                "image_id": image,
                "category_id": int(gt_class[n]) + 1,
                "bbox": gt[n].tolist(),
                "area": float(areas[n]),
                "iscrowd": int(is_crowd[n]),
            }
            for n in range(len(gt))
        ]
        results += [
            {"image_id": image, "category_id": int(dt_class[n]) + 1, "bbox": dt[n].tolist(), "score": float(scores[n])}
            for n in range(len(dt))
        ]
    return builder.table(), truth, results


def _boxes(rng, count):
    """Draw small, medium and large boxes, float [count, (x, y, width, height)]."""
    size = np.exp(rng.uniform(2.0, 5.2, (count, 2))).round()
    return np.concatenate([rng.integers(1, 380, (count, 2)), size], axis=1).astype(float)
