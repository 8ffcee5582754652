"""Do the anchors suit the objects? The best IoU that any anchor reaches with each object, and better settings.

Legend: n objects, R ratios. Boxes are (y1, x1, y2, x2) in pixels of the image as the network sees it.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mrcnn.config import Config
from mrcnn.data.images import resize_geometry
from mrcnn.inspection.statistics import SIZES, ObjectSet
from mrcnn.modeling.anchors import compute_backbone_shapes, generate_anchors
from mrcnn.structures.boxes import compute_overlaps

# A positive anchor has an IoU of 0.7 or more; an object that no anchor reaches so well trains one anchor only.
THRESHOLDS = (0.5, 0.7)
FITTED_ON = 4000  # objects, evenly spread: more change the result by less than it is rounded
MOST_LOST = 0.02  # of the mean IoU, and of the share above 0.5, that one size of objects may lose to another


@dataclasses.dataclass
class TrainingBoxes:
    """Boxes of equally large network inputs: `shape` (height, width), `boxes` float64 [n, 4], `sizes` int [n]."""

    shape: tuple[int, int]
    boxes: np.ndarray
    sizes: np.ndarray


@dataclasses.dataclass
class Proposal:
    """Anchor settings, and how well they and the present ones fit (see `fit`)."""

    scales: tuple[int, ...]
    ratios: list[float]
    before: dict[str, Any]
    after: dict[str, Any]

    @property
    def options(self) -> str:
        """For the command line of a script."""
        scales = ", ".join(map(str, self.scales))
        return f'--set "RPN_ANCHOR_SCALES=({scales})" --set "RPN_ANCHOR_RATIOS={self.ratios}"'


def training_boxes(objects: ObjectSet, config: Config) -> list[TrainingBoxes]:
    """Boxes as the network sees them, by the size of its input.

    Args:
        objects: in the pixels of their images.
        config: IMAGE_* are read. With "crop" every object is taken in the whole scaled image, wherever crops lie.

    Raises:
        InputError: see `mrcnn.data.images.resize_geometry`.
    """
    groups: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray]]] = {}
    sizes_of_objects = objects.image_sizes[objects.image_ids]
    for height, width in np.unique(objects.image_sizes, axis=0):
        plan = resize_geometry(
            (height, width),
            config.IMAGE_MIN_DIM,
            config.IMAGE_MAX_DIM,
            config.IMAGE_MIN_SCALE,
            config.IMAGE_RESIZE_MODE,
            lambda low, high: low,
        )
        own = (sizes_of_objects == (height, width)).all(axis=1)
        scale = np.array([plan.size[0] / height, plan.size[1] / width] * 2)  # the sides are rounded separately
        offset = np.array([plan.padding[0][0], plan.padding[1][0]] * 2)
        shape = plan.shape if plan.crop is None else plan.size
        groups.setdefault(shape, []).append((objects.boxes_px[own] * scale + offset, objects.sizes[own]))
    return [
        TrainingBoxes(shape, *(np.concatenate(parts) for parts in zip(*members, strict=True)))
        for shape, members in groups.items()
    ]


def best_overlaps(
    boxes: np.ndarray,
    shape: tuple[int, int],
    config: Config,
    scales: Sequence | None = None,
    ratios: Sequence | None = None,
) -> np.ndarray:
    """The IoU of each box with the anchor that overlaps it most, of all anchors of the pyramid.

    Among the anchors of one level and ratio that is the one whose centre is nearest, in y and in x: their area is the
    same, and what they share with the box only falls with the distance. So one candidate each is enough.

    Args:
        boxes: [n, 4] px.
        shape: (height, width) of the input.
        config: backbone, strides and RPN_ANCHOR_*.
        scales, ratios: instead of those of the config.

    Returns:
        float64 [n].
    """
    scales = config.RPN_ANCHOR_SCALES if scales is None else scales
    ratios = config.RPN_ANCHOR_RATIOS if ratios is None else ratios
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    best = np.zeros(len(boxes))
    levels = zip(scales, compute_backbone_shapes(config, shape), config.BACKBONE_STRIDES, strict=True)
    for scale, feature_shape, stride in levels:
        step = stride * config.RPN_ANCHOR_STRIDE
        last = (np.asarray(feature_shape) - 1) // config.RPN_ANCHOR_STRIDE * step
        nearest = np.clip(np.round(centers / step) * step, 0, last)  # [n, 2]
        around = generate_anchors(scale, ratios, (1, 1), stride, 1)  # [R, 4], centred on 0
        candidates = np.tile(nearest, 2)[:, None] + around  # [n, R, 4]
        best = np.maximum(best, compute_overlaps(boxes[:, None], candidates)[:, 0].max(axis=1, initial=0))
    return best


def fit(
    groups: Sequence[TrainingBoxes], config: Config, scales: Sequence | None = None, ratios: Sequence | None = None
) -> dict[str, Any]:
    """How well anchors fit: figures over all objects and by COCO size, ready for JSON.

    Returns:
        "all", "small", "medium", "large": each objects, mean (of the best IoU), above_0.5 and above_0.7 (shares), or
        None where there is no object.
    """
    overlaps, sizes = _all_overlaps(groups, config, scales, ratios)
    figures = {"all": _figures(overlaps)}
    return {**figures, **{name: _figures(overlaps[sizes == i]) for i, name in enumerate(SIZES)}}


def overlaps_of(
    groups: Sequence[TrainingBoxes], config: Config, scales: Sequence | None = None, ratios: Sequence | None = None
) -> np.ndarray:
    """`best_overlaps` of all groups, float64 [n]."""
    return _all_overlaps(groups, config, scales, ratios)[0]


def _all_overlaps(
    groups: Sequence[TrainingBoxes], config: Config, scales: Any, ratios: Any
) -> tuple[np.ndarray, np.ndarray]:
    parts = [best_overlaps(group.boxes, group.shape, config, scales, ratios) for group in groups]
    empty = np.zeros(0)
    return np.concatenate([empty, *parts]), np.concatenate([empty, *(group.sizes for group in groups)])


def _figures(overlaps: np.ndarray) -> dict[str, Any] | None:
    if not len(overlaps):
        return None
    shares = {f"above_{threshold}": float((overlaps >= threshold).mean()) for threshold in THRESHOLDS}
    return {"objects": len(overlaps), "mean": float(overlaps.mean()), **shares}


def propose(groups: Sequence[TrainingBoxes], config: Config) -> Proposal | None:
    """Scales and ratios that overlap the objects better, as many as there are now, so that weights still fit.

    The distance of an object to an anchor is 1 - IoU, as in YOLOv2 (Redmon and Farhadi, arXiv:1612.08242, section 2),
    but on the grid where anchors really lie. From two starts, the present settings and the quantiles of size and shape
    in log space, each number is moved by ever smaller factors as long as the mean distance falls and no size of objects
    loses more than MOST_LOST. No chance is involved.

    Returns:
        The better result, or None if there is no object or nothing better than the present settings.
    """
    sample = _sample(groups)
    if not sum(len(group.boxes) for group in sample):
        return None
    levels, now = len(config.RPN_ANCHOR_SCALES), _numbers(config.RPN_ANCHOR_SCALES, config.RPN_ANCHOR_RATIOS)
    boxes = np.concatenate([group.boxes for group in sample])
    height, width = np.maximum((boxes[:, 2:] - boxes[:, :2]).T, 1)
    spread = [_middles(np.sqrt(height * width), levels), _middles(width / height, len(now) - levels)]

    def figures(numbers: np.ndarray) -> np.ndarray:
        """Mean IoU of all objects; mean IoU and share above 0.5 of each size."""
        overlaps, sizes = _all_overlaps(sample, config, numbers[:levels], numbers[levels:])
        own = [overlaps[sizes == i] for i in np.unique(sizes)]
        return np.array([overlaps.mean(), *(part.mean() for part in own), *((part >= 0.5).mean() for part in own)])

    least = figures(now) - MOST_LOST
    ends = [_climb(start, figures, least) for start in (now, np.concatenate(spread))]
    best = max(ends, key=lambda numbers: float(figures(numbers)[0] if (figures(numbers) >= least).all() else -1))
    scales = tuple(sorted(max(1, round(float(v))) for v in best[:levels]))
    ratios = sorted(round(float(v), 2) for v in best[levels:])
    before, after = fit(groups, config), fit(groups, config, scales, ratios)
    return Proposal(scales, ratios, before, after) if after["all"]["mean"] > before["all"]["mean"] else None


def _numbers(scales: Sequence, ratios: Sequence) -> np.ndarray:
    return np.array([*scales, *ratios], np.float64)


def _middles(values: np.ndarray, count: int) -> np.ndarray:
    """`count` values that stand for equally many of `values` each: the quantiles 0.5 / count, 1.5 / count, ..."""
    return np.exp(np.quantile(np.log(values), (np.arange(count) + 0.5) / count))


def _climb(numbers: np.ndarray, figures: Callable[[np.ndarray], np.ndarray], least: np.ndarray) -> np.ndarray:
    """Moves one number at a time; a step counts if the first figure rises and, once all are at `least`, all stay."""
    score = figures(numbers)
    for factor in (1.25, 1.1, 1.04, 1.015):
        moved = True
        while moved:
            moved = False
            for i, way in itertools.product(range(len(numbers)), (factor, 1 / factor)):
                trial = numbers.copy()
                trial[i] *= way
                reached = figures(trial)
                allowed = (reached >= least).all() or not (score >= least).all()
                if allowed and reached[0] > score[0] + 1e-5:
                    numbers, score, moved = trial, reached, True
    return numbers


def _sample(groups: Sequence[TrainingBoxes]) -> list[TrainingBoxes]:
    """At most about FITTED_ON objects, evenly spread over all."""
    step = max(1, sum(len(group.boxes) for group in groups) // FITTED_ON)
    return [TrainingBoxes(group.shape, group.boxes[::step], group.sizes[::step]) for group in groups]
