"""Match tables: the overlaps of detections with objects, computed once per evaluation and used by every figure.

Legend: I images, G objects, D detections, P pairs, T IoU thresholds, K classes (without the background). Detections
are stored image by image in their given order; only the best 100 per image and class are kept.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pycocotools import mask as coco_mask

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # bitwise equal to COCOeval's
MAX_DETECTIONS = 100  # per image and class, as in COCO
MIN_IOU = 0.1  # pairs with less overlap are dropped: every figure counts them as background
AREAS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}  # px^2, COCO's


@dataclasses.dataclass
class Table:
    """Detections, objects and their overlaps, by masks or by boxes, and the rules by which they are matched.

    Attributes:
        images: Number of images.
        classes: K.
        gt_image, gt_class: int [G], from 0.
        gt_crowd: bool [G], objects that any number of detections may match: crowds and, unless `gt_ignored` is given,
            ignored objects. Neither they nor detections on them are scored.
        gt_area: [G] px^2, of the mask (also where boxes are compared, as in COCO).
        dt_image, dt_class: int [D], from 0.
        dt_score: [D].
        dt_area: [D] px^2, of the mask or box that is compared.
        dt_key: int [D], position of the detection among all that were added.
        pair_dt, pair_gt: int [P].
        pair_iou: [P], IoU; for a crowd, the fraction of the detection that lies on it.
        gt_ignored: bool [G], objects that are not scored, if these differ from the crowds.
        bitmask_rules: Whether to match by BDD100K's bitmask protocol: ignored objects are no last resort, and of
            objects with equal IoU the first is taken.
    """

    images: int
    classes: int
    gt_image: np.ndarray
    gt_class: np.ndarray
    gt_crowd: np.ndarray
    gt_area: np.ndarray
    dt_image: np.ndarray
    dt_class: np.ndarray
    dt_score: np.ndarray
    dt_area: np.ndarray
    dt_key: np.ndarray
    pair_dt: np.ndarray
    pair_gt: np.ndarray
    pair_iou: np.ndarray
    gt_ignored: np.ndarray | None = None
    bitmask_rules: bool = False

    @property
    def ignored(self) -> np.ndarray:
        """bool [G], objects that are not scored."""
        return self.gt_crowd if self.gt_ignored is None else self.gt_ignored

    @functools.cached_property
    def by_score(self) -> np.ndarray:
        """int [D], positions of the detections, best score first."""
        return np.argsort(-self.dt_score, kind="stable")

    @functools.cached_property
    def rank_in_image(self) -> np.ndarray:
        """int [D], how many detections of the same image and class score higher than each one."""
        return ranks_by_score(self.dt_image * self.classes + self.dt_class, self.dt_score)


# The arrays with one value per object, detection or pair, and their types.
COLUMNS: dict[str, type] = {
    "gt_image": np.int64,
    "gt_class": np.int64,
    "gt_crowd": np.bool_,
    "gt_area": np.float64,
    "dt_image": np.int64,
    "dt_class": np.int64,
    "dt_score": np.float64,
    "dt_area": np.float64,
    "dt_key": np.int64,
    "pair_dt": np.int64,
    "pair_gt": np.int64,
    "pair_iou": np.float64,
}


@dataclasses.dataclass
class Objects:
    """The labelled objects of one image.

    Attributes:
        classes: int [g], from 0.
        crowd: bool [g].
        areas: [g] px^2, of the masks.
        shapes: g of COCO's RLEs, or boxes [x, y, width, height] px.
    """

    classes: ArrayLike
    crowd: ArrayLike
    areas: ArrayLike
    shapes: list[Any]


@dataclasses.dataclass
class Detections:
    """The detections of one image.

    Attributes:
        classes: int [d], from 0.
        scores: [d].
        areas: [d] px^2, of `shapes`.
        shapes: d of COCO's RLEs, or boxes [x, y, width, height] px.
    """

    classes: ArrayLike
    scores: ArrayLike
    areas: ArrayLike
    shapes: list[Any]


class TableBuilder:
    """Builds a `Table` image by image. Masks are dropped once compared, so memory holds only numbers."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._images: list[dict[str, np.ndarray]] = []
        self._given: list[int] = []  # number of detections of each image, before the limit per class

    def add(self, objects: Objects, detections: Detections) -> None:
        """Add the next image."""
        scores = np.asarray(detections.scores, np.float64)
        classes = np.asarray(detections.classes, np.int64)
        crowd = np.asarray(objects.crowd, bool)
        kept = best_of_each_class(classes, scores)
        iou = np.zeros((len(kept), len(crowd)))
        if len(kept) and len(crowd):
            iou = _overlaps([detections.shapes[i] for i in kept], objects.shapes, crowd)
        pair_dt, pair_gt = np.nonzero(iou >= MIN_IOU)
        self._images.append(
            {
                "gt_image": np.zeros(len(crowd), np.int64),
                "gt_class": np.asarray(objects.classes, np.int64),
                "gt_crowd": crowd,
                "gt_area": np.asarray(objects.areas, np.float64),
                "dt_image": np.zeros(len(kept), np.int64),
                "dt_class": classes[kept],
                "dt_score": scores[kept],
                "dt_area": np.asarray(detections.areas, np.float64)[kept],
                "dt_key": kept,
                "pair_dt": pair_dt,
                "pair_gt": pair_gt,
                "pair_iou": iou[pair_dt, pair_gt],
            }
        )
        self._given.append(len(scores))

    def table(self, order: Sequence[int] | None = None) -> Table:
        """Return the table of all images, in the order in which they were added or in another one.

        Args:
            order: int [I], positions of the images among those that were added.
        """
        order = range(len(self._images)) if order is None else order
        images = [self._images[n] for n in order]
        objects = _starts([len(image["gt_class"]) for image in images])
        detections = _starts([len(image["dt_class"]) for image in images])
        numbers = np.arange(len(images))
        shifts = {
            "gt_image": numbers,
            "dt_image": numbers,
            "dt_key": _starts([self._given[n] for n in order]),
            "pair_dt": detections,
            "pair_gt": objects,
        }
        columns = {}
        for name, dtype in COLUMNS.items():
            parts = [image[name] for image in images]
            if name in shifts:
                parts = [part + shift for part, shift in zip(parts, shifts[name], strict=True)]
            columns[name] = np.concatenate([np.zeros(0, dtype), *parts])
        return Table(len(images), self._classes, **columns)  # type: ignore[arg-type]  # no column is a bool


def _starts(counts: list[int]) -> np.ndarray:
    """Return the start of each of n consecutive groups of these sizes, int [n]."""
    return np.cumsum([0, *counts])[:-1]


def best_of_each_class(classes: np.ndarray, scores: np.ndarray, limit: int = MAX_DETECTIONS) -> np.ndarray:
    """Return the positions, in order, of the detections that are among the best of their class.

    Args:
        classes: int [n].
        scores: [n]; of equal scores the first ranks higher.
        limit: Detections per class.

    Returns:
        int [k].
    """
    if len(classes) <= limit:
        return np.arange(len(classes))
    return np.flatnonzero(ranks_by_score(classes, scores) < limit)


def ranks_by_score(groups: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return how many elements of the same group score higher than each element, int [n].

    Args:
        groups: int [n].
        scores: [n]; of equal scores the first ranks higher.
    """
    order = np.argsort(-scores, kind="stable")
    ranks = np.empty(len(groups), np.int64)
    ranks[order] = _ranks_in_group(groups[order])
    return ranks


def _ranks_in_group(groups: np.ndarray) -> np.ndarray:
    """Return how many elements of the same group precede each element, int [n]; `groups` is int [n]."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else ordered
    ranks = np.empty(len(groups), np.int64)
    ranks[order] = np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))
    return ranks


def _overlaps(dt_shapes: list[Any], gt_shapes: list[Any], crowd: np.ndarray) -> np.ndarray:
    """Compute the IoU [d, g]; for a crowd, the fraction of the detection that lies on it."""
    if not isinstance(dt_shapes[0], dict):
        dt_shapes, gt_shapes = np.asarray(dt_shapes, np.float64), np.asarray(gt_shapes, np.float64)  # type: ignore
    return coco_mask.iou(dt_shapes, gt_shapes, crowd.astype(np.uint8).tolist())
