"""Statistics of a dataset: objects by class, number and size, and the effect of class balancing.

Legend: M images, n objects, C classes incl. background. Boxes are (y1, x1, y2, x2) in pixels, y2 and x2 exclusive.
"""

import dataclasses
from collections.abc import Callable, Iterable

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
        boxes_px: int [n, 4], the boxes around the masks.
        areas_px: int [n], the areas of the masks.
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
    """Load the objects image by image as training does, keeping only their boxes and areas in memory.

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


@dataclasses.dataclass
class ObjectsPerImage:
    """The distribution of the number of objects per image.

    Attributes:
        mean, median, most: Mean, median and maximum; 0 without images.
        histogram: Entry k is the number of images with k objects.
    """

    mean: float
    median: float
    most: int
    histogram: list[int]


@dataclasses.dataclass
class SizeCounts:
    """The sizes of the objects.

    Attributes:
        small, medium, large: Number of objects of each of SIZES.
        sqrt_area_px: Each of PERCENTILES, as text -> that percentile of the square root of the mask area in pixels;
            None without objects.
    """

    small: int
    medium: int
    large: int
    sqrt_area_px: dict[str, float | None]


@dataclasses.dataclass
class ClassSummary:
    """The objects of one class.

    Attributes:
        objects: Number of objects.
        share: Fraction of all objects.
        images: Number of images that contain the class.
        small, medium, large: Number of objects of each of SIZES.
    """

    objects: int
    share: float
    images: int
    small: int
    medium: int
    large: int


@dataclasses.dataclass
class Summary:
    """The statistics of a dataset; field names are keys of statistics.json.

    Attributes:
        images: Number of images.
        objects: Number of objects, without crowds and ignored ones.
        left_out: Number of crowds and ignored objects.
        images_without_objects: Number of images without objects.
        objects_per_image: Distribution of the number of objects per image.
        sizes: Sizes of all objects.
        classes: Class -> its objects.
    """

    images: int
    objects: int
    left_out: int
    images_without_objects: int
    objects_per_image: ObjectsPerImage
    sizes: SizeCounts
    classes: dict[str, ClassSummary]


@dataclasses.dataclass
class ShownObjects:
    """The objects that an epoch of training shows with one setting of BALANCE; field names are keys of statistics.json.

    Attributes:
        images: Number of images in the epoch.
        classes: Class -> number of objects shown.
        shares: Class -> fraction of the objects shown.
    """

    images: float
    classes: dict[str, float]
    shares: dict[str, float]


def summarise(objects: ObjectSet) -> Summary:
    """Compute the statistics of a dataset."""
    per_image = np.bincount(objects.image_ids, minlength=len(objects.image_sizes))
    counts, roots = objects.class_counts, np.sqrt(objects.areas_px)
    by_size = np.zeros((len(objects.class_names), len(SIZES)), int)
    np.add.at(by_size, (objects.class_ids, objects.sizes), 1)
    small, medium, large = by_size.sum(axis=0).tolist()
    total = len(objects.class_ids)
    return Summary(
        images=len(per_image),
        objects=total,
        left_out=objects.left_out,
        images_without_objects=int((per_image == 0).sum()),
        objects_per_image=ObjectsPerImage(
            mean=float(per_image.mean()) if len(per_image) else 0.0,
            median=float(np.median(per_image)) if len(per_image) else 0.0,
            most=int(per_image.max(initial=0)),
            histogram=np.bincount(per_image).tolist(),
        ),
        sizes=SizeCounts(
            small=small,
            medium=medium,
            large=large,
            sqrt_area_px={str(p): float(np.percentile(roots, p)) if total else None for p in PERCENTILES},
        ),
        classes={
            name: ClassSummary(
                int(by_size[i].sum()),
                float(by_size[i].sum() / max(1, total)),
                int((counts[:, i] > 0).sum()),
                *by_size[i].tolist(),
            )
            for i, name in enumerate(objects.class_names)
            if i > 0
        },
    )


def balancing(objects: ObjectSet, config: Config) -> dict[str, ShownObjects]:
    """Compute how many objects of each class an epoch shows, without balancing and with each setting of BALANCE.

    Args:
        objects: Objects of the training set.
        config: Settings; REPEAT_THRESHOLD is read.

    Returns:
        Setting ("none", "repeat-factor", "class-aware") -> the objects that an epoch shows; "class-aware" is left out
        if there are no objects.

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
        result[name] = ShownObjects(
            images=float(factors.sum()),
            classes=dict(zip(objects.class_names[1:], shown.tolist(), strict=True)),
            shares=dict(zip(objects.class_names[1:], shares.tolist(), strict=True)),
        )
    return result
