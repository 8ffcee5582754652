"""Statistics of a dataset: objects by class, number and size, and the effect of class balancing.

Legend: M images, n objects, C classes incl. background. Boxes are (y1, x1, y2, x2) in pixels, y2 and x2 exclusive.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mrcnn.config import Config
from mrcnn.data.class_balance import class_aware_weights, effective_class_counts, repeat_factors
from mrcnn.data.dataset import Dataset, checked_instances

# COCO's sizes, by the pixels of the mask at the original size of the image.
SIZES = ("small", "medium", "large")
SIZE_BORDERS = (32**2, 96**2)
PERCENTILES = (5, 25, 50, 75, 95)


@dataclasses.dataclass
class ObjectSet:
    """The objects of a dataset, without their masks.

    Attributes:
        class_names: [C], entry 0 is the background.
        image_sizes: int [M, (height, width)].
        image_ids: int [n], positions in the dataset, ascending.
        class_ids: int [n].
        boxes_px: int [n, 4], around the masks.
        areas_px: int [n], pixels of the masks.
        left_out: Number of crowds and ignored objects, which are not included.
    """

    class_names: list[str]
    image_sizes: np.ndarray
    image_ids: np.ndarray
    class_ids: np.ndarray
    boxes_px: np.ndarray
    areas_px: np.ndarray
    left_out: int

    @property
    def sizes(self) -> np.ndarray:
        """Return the size of each object, int [n], positions in SIZES."""
        return np.digitize(self.areas_px, SIZE_BORDERS)

    @property
    def class_counts(self) -> np.ndarray:
        """Return the objects per image and class, int64 [M, C], as `mrcnn.data.class_balance.image_class_counts`."""
        images, classes = len(self.image_sizes), len(self.class_names)
        return np.bincount(self.image_ids * classes + self.class_ids, minlength=images * classes).reshape(-1, classes)


def collect(dataset: Dataset, progress: Callable[[Iterable], Iterable] = iter) -> ObjectSet:
    """Load the objects image by image as training does and keep boxes and areas, so one image's masks at a time.

    Args:
        dataset: Prepared dataset.
        progress: Wraps the loop over the image ids, for a progress bar.

    Raises:
        InputError: An image or its labels cannot be read.
    """
    sizes, rows, left_out = [], [], 0
    for image_id in progress(dataset.image_ids):
        instances = checked_instances(dataset, image_id)
        sizes.append(dataset.image_size(image_id))
        kept = ~(instances.crowd | instances.ignore)
        left_out += int((~kept).sum())
        for i in np.flatnonzero(kept):
            area = np.count_nonzero(instances.crops[i])
            rows.append((image_id, instances.class_ids[i], *instances.boxes_px[i], area))
    table = np.array(rows, np.int64).reshape(-1, 7)
    names = list(dataset.class_names)
    image_sizes = np.array(sizes, np.int64).reshape(-1, 2)
    return ObjectSet(names, image_sizes, table[:, 0], table[:, 1], table[:, 2:6], table[:, 6], left_out)


def summarise(objects: ObjectSet) -> dict[str, Any]:
    """Compute the statistics of a dataset, ready for JSON.

    Returns:
        images, objects, left_out, images_without_objects; objects_per_image (mean, median, most, and histogram, whose
        entry k is the number of images with k objects); sizes (small, medium, large, and percentiles of the square
        root of the area in pixels); classes by name (objects, share, images, small, medium, large).
    """
    per_image = np.bincount(objects.image_ids, minlength=len(objects.image_sizes))
    counts, roots = objects.class_counts, np.sqrt(objects.areas_px)
    by_size = np.zeros((len(objects.class_names), len(SIZES)), int)
    np.add.at(by_size, (objects.class_ids, objects.sizes), 1)
    total = len(objects.class_ids)
    return {
        "images": len(per_image),
        "objects": total,
        "left_out": objects.left_out,
        "images_without_objects": int((per_image == 0).sum()),
        "objects_per_image": {
            "mean": float(per_image.mean()) if len(per_image) else 0.0,
            "median": float(np.median(per_image)) if len(per_image) else 0.0,
            "most": int(per_image.max(initial=0)),
            "histogram": np.bincount(per_image).tolist(),
        },
        "sizes": {
            **dict(zip(SIZES, by_size.sum(axis=0).tolist(), strict=True)),
            "sqrt_area_px": {str(p): float(np.percentile(roots, p)) if total else None for p in PERCENTILES},
        },
        "classes": {
            name: {
                "objects": int(by_size[i].sum()),
                "share": float(by_size[i].sum() / max(1, total)),
                "images": int((counts[:, i] > 0).sum()),
                **dict(zip(SIZES, by_size[i].tolist(), strict=True)),
            }
            for i, name in enumerate(objects.class_names)
            if i > 0
        },
    }


def balancing(objects: ObjectSet, config: Config) -> dict[str, Any]:
    """Compute how many objects of each class an epoch shows, without balancing and with each setting of BALANCE.

    Args:
        objects: Objects of the training set.
        config: Settings; REPEAT_THRESHOLD is read.

    Returns:
        For "none", "repeat-factor" and "class-aware": images in an epoch, classes (objects by name) and their shares.

    Raises:
        InputError: REPEAT_THRESHOLD is outside 0..1.
    """
    counts = objects.class_counts
    weights = {"none": np.ones(len(counts)), "repeat-factor": repeat_factors(counts, config.REPEAT_THRESHOLD)}
    if counts[:, 1:].any():
        weights["class-aware"] = class_aware_weights(counts)
    result = {}
    for name, factors in weights.items():
        shown = effective_class_counts(counts, factors)[1:]
        shares = shown / max(1e-9, shown.sum())
        result[name] = {
            "images": float(factors.sum()),
            "classes": dict(zip(objects.class_names[1:], shown.tolist(), strict=True)),
            "shares": dict(zip(objects.class_names[1:], shares.tolist(), strict=True)),
        }
    return result
