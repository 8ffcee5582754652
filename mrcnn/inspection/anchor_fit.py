"""Measures how well anchors fit the objects of a dataset, and searches for settings that fit better.

Legend: n objects, R ratios. Boxes are (y1, x1, y2, x2) in pixels of the network's input.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from mrcnn.config import Config
from mrcnn.data.images import resize_geometry
from mrcnn.inspection.statistics import SIZES, ObjectSet
from mrcnn.modeling.anchors import anchor_levels, compute_backbone_shapes, generate_anchors
from mrcnn.structures.boxes import compute_overlaps

SAMPLE_SIZE = 4000  # objects to fit on, evenly spread; more would change the result by less than its rounding
MAX_LOSS = 0.02  # how much one size of objects may lose for the others, in mean IoU and in the fraction above 0.5


@dataclasses.dataclass
class TrainingBoxes:
    """The boxes of all images with the same input shape.

    Attributes:
        shape: (height, width) of the network's input.
        boxes: float64 [n, 4].
        sizes: int [n], positions in `mrcnn.inspection.statistics.SIZES`.
    """

    shape: tuple[int, int]
    boxes: np.ndarray
    sizes: np.ndarray


@dataclasses.dataclass
class Fit:
    """How well anchors fit some objects, by the IoU of each object with its best anchor.

    Anchors are positive from an IoU of 0.7; an object without such an anchor trains only its best one.

    Attributes:
        objects: Number of objects.
        mean: Mean IoU.
        above_50, above_70: Fractions of the objects with an IoU of at least 0.5 and 0.7.
    """

    objects: int
    mean: float
    above_50: float
    above_70: float

    def to_json(self) -> dict[str, float]:
        """Return the figures under the keys of statistics.json."""
        return {"objects": self.objects, "mean": self.mean, "above_0.5": self.above_50, "above_0.7": self.above_70}


Fits = dict[str, Fit | None]  # "all" and each of SIZES -> fit; None without objects


@dataclasses.dataclass
class Proposal:
    """Proposed anchor settings, and how well the current (before) and the proposed ones (after) fit, as from `fit`."""

    scales: tuple[int, ...]
    ratios: list[float]
    before: Fits
    after: Fits

    @property
    def options(self) -> str:
        """Return the settings as command-line options of the scripts."""
        scales = ", ".join(map(str, self.scales))
        return f'--set "RPN_ANCHOR_SCALES=({scales})" --set "RPN_ANCHOR_RATIOS={self.ratios}"'


def training_boxes(objects: ObjectSet, config: Config) -> list[TrainingBoxes]:
    """Scale the boxes of a dataset to the network's input and group them by its shape.

    Args:
        objects: Objects in the pixels of their images.
        config: Settings; IMAGE_* are read. In mode "crop", boxes lie in the whole scaled image.

    Raises:
        InputError: See `mrcnn.data.images.resize_geometry`.
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
            round_down=config.IMAGE_INTERPOLATION == "torchvision",
        )
        own = (sizes_of_objects == (height, width)).all(axis=1)
        scale = np.array([plan.size[0] / height, plan.size[1] / width] * 2)  # each side is rounded separately
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
    """Return the highest IoU of each box with any anchor of the pyramid.

    Among the anchors of one level and ratio, the best is the one whose centre is nearest in y and x: all have the same
    area, and their intersection with the box shrinks with the distance. So one candidate per level and ratio is enough.

    Args:
        boxes: float [n, 4] px.
        shape: (height, width) of the input.
        config: Settings; backbone, strides and RPN_ANCHOR_* are read.
        scales, ratios: Override those of `config`.

    Returns:
        float64 [n].
    """
    scales = config.RPN_ANCHOR_SCALES if scales is None else scales
    ratios = config.RPN_ANCHOR_RATIOS if ratios is None else ratios
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    best = np.zeros(len(boxes))
    shapes, strides = compute_backbone_shapes(config, shape), [stride for stride, _ in anchor_levels(config)]
    if len(strides) == 1:  # all scales are on the one map
        shapes, strides = np.repeat(shapes, len(scales), axis=0), strides * len(scales)
    for scale, feature_shape, stride in zip(scales, shapes, strides, strict=True):
        step = stride * config.RPN_ANCHOR_STRIDE
        last = (np.asarray(feature_shape) - 1) // config.RPN_ANCHOR_STRIDE * step
        nearest = np.clip(np.round(centers / step) * step, 0, last)  # [n, 2]
        around = generate_anchors(scale, ratios, (1, 1), stride, 1)  # [R, 4], centred on 0
        candidates = np.tile(nearest, 2)[:, None] + around  # [n, R, 4]
        best = np.maximum(best, compute_overlaps(boxes[:, None], candidates)[:, 0].max(axis=1, initial=0))
    return best


def fit(
    groups: Sequence[TrainingBoxes], config: Config, scales: Sequence | None = None, ratios: Sequence | None = None
) -> Fits:
    """Measure how well anchors fit, over all objects and by COCO size.

    Returns:
        "all", "small", "medium" and "large" -> fit, or None if there are no such objects.
    """
    overlaps, sizes = _all_overlaps(groups, config, scales, ratios)
    return {"all": _fit(overlaps), **{name: _fit(overlaps[sizes == i]) for i, name in enumerate(SIZES)}}


def overlaps_of(
    groups: Sequence[TrainingBoxes], config: Config, scales: Sequence | None = None, ratios: Sequence | None = None
) -> np.ndarray:
    """Return `best_overlaps` of all groups, float64 [n]."""
    return _all_overlaps(groups, config, scales, ratios)[0]


def _all_overlaps(
    groups: Sequence[TrainingBoxes], config: Config, scales: Sequence | None, ratios: Sequence | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best overlap float64 [n] and the size int [n] of all objects."""
    parts = [best_overlaps(group.boxes, group.shape, config, scales, ratios) for group in groups]
    empty = np.zeros(0)
    return np.concatenate([empty, *parts]), np.concatenate([empty, *(group.sizes for group in groups)])


def _fit(overlaps: np.ndarray) -> Fit | None:
    """Return the figures of some best overlaps, or None if there are none."""
    if not len(overlaps):
        return None
    above_50, above_70 = (float((overlaps >= threshold).mean()) for threshold in (0.5, 0.7))
    return Fit(len(overlaps), float(overlaps.mean()), above_50, above_70)


def propose(groups: Sequence[TrainingBoxes], config: Config) -> Proposal | None:
    """Search for scales and ratios that overlap the objects better, as many as now so that weights still fit.

    The distance of an object to an anchor is 1 - IoU, as in YOLOv2 (Redmon and Farhadi, arXiv:1612.08242, section 2),
    but on the grid of the anchors. The search starts from the current settings and from the quantiles of size and shape
    in log space. It changes each number by ever smaller factors as long as the mean distance falls and no size of
    objects loses more than MAX_LOSS. It is deterministic.

    Returns:
        The better of the two results, or None if there are no objects or neither beats the current settings.
    """
    before = fit(groups, config)
    if before["all"] is None:
        return None
    sample = _sample(groups)
    levels = len(config.RPN_ANCHOR_SCALES)
    current = np.array([*config.RPN_ANCHOR_SCALES, *config.RPN_ANCHOR_RATIOS], np.float64)
    boxes = np.concatenate([group.boxes for group in sample])
    height, width = np.maximum((boxes[:, 2:] - boxes[:, :2]).T, 1)
    spread = [_middles(np.sqrt(height * width), levels), _middles(width / height, len(current) - levels)]

    def figures(numbers: np.ndarray) -> np.ndarray:
        """Return the mean IoU of all objects, then mean IoU and fraction above 0.5 of each size."""
        overlaps, sizes = _all_overlaps(sample, config, numbers[:levels].tolist(), numbers[levels:].tolist())
        own = [overlaps[sizes == i] for i in np.unique(sizes)]
        return np.array([overlaps.mean(), *(part.mean() for part in own), *((part >= 0.5).mean() for part in own)])

    floor = figures(current) - MAX_LOSS
    ends = [_climb(start, figures, floor) for start in (current, np.concatenate(spread))]
    best = max(ends, key=lambda numbers: float(figures(numbers)[0] if (figures(numbers) >= floor).all() else -1))
    scales = tuple(sorted(max(1, round(float(v))) for v in best[:levels]))
    ratios = sorted(round(float(v), 2) for v in best[levels:])
    after = fit(groups, config, scales, ratios)
    better = after["all"] is not None and after["all"].mean > before["all"].mean
    return Proposal(scales, ratios, before, after) if better else None


def _middles(values: np.ndarray, count: int) -> np.ndarray:
    """Return the quantiles 0.5 / count, 1.5 / count, ... of `values`, so that each represents equally many of them."""
    return np.exp(np.quantile(np.log(values), (np.arange(count) + 0.5) / count))


def _climb(numbers: np.ndarray, figures: Callable[[np.ndarray], np.ndarray], floor: np.ndarray) -> np.ndarray:
    """Change one number at a time, keeping a step if the first figure rises.

    Once all figures reach `floor`, a step that takes one below it is not kept.
    """
    score = figures(numbers)
    for factor in (1.25, 1.1, 1.04, 1.015):
        moved = True
        while moved:
            moved = False
            for i, step in itertools.product(range(len(numbers)), (factor, 1 / factor)):
                trial = numbers.copy()
                trial[i] *= step
                reached = figures(trial)
                allowed = (reached >= floor).all() or not (score >= floor).all()
                if allowed and reached[0] > score[0] + 1e-5:
                    numbers, score, moved = trial, reached, True
    return numbers


def _sample(groups: Sequence[TrainingBoxes]) -> list[TrainingBoxes]:
    """Return at most about SAMPLE_SIZE objects, evenly spread over the groups."""
    step = max(1, sum(len(group.boxes) for group in groups) // SAMPLE_SIZE)
    return [TrainingBoxes(group.shape, group.boxes[::step], group.sizes[::step]) for group in groups]
