"""Confidence intervals by drawing images with replacement: the percentile bootstrap.

An evaluation on other images of the same kind would give other figures; the interval says how far apart. Matches are
per image, so drawing an image twice counts its hits, mistakes and objects twice: every sample is evaluated from one
ranking, with a weight for each image, and no image is matched again. A sample equals COCO's figures of the list of
drawn images, up to the order of equal scores.

Legend: I images, B samples, T IoU thresholds, n detections of a class, h hits.

Reference: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mrcnn.evaluation.match_table import AREAS, Table
from mrcnn.evaluation.matching import Ranking, ignored_for_area, match, rank
from mrcnn.evaluation.result import Interval

SAMPLES = 500  # the ends of a 95 % interval are then those of 94 to 96 %
LEVEL = 0.95
_RECALLS = np.linspace(0, 1, 101)  # COCO's
_AT_ONCE = 16  # samples that are worked on together, so that their arrays stay in the processor's cache


def draw(images: int, samples: int = SAMPLES, seed: int = 0) -> np.ndarray:
    """Draw samples of images with replacement.

    Args:
        images: I.
        samples: B.
        seed: Equal seeds give equal samples.

    Returns:
        int32 [B, I], how often each image is in each sample; every row adds up to I.
    """
    rng = np.random.default_rng(seed)
    weights = np.zeros((samples, images), np.int32)
    for row in weights:
        row += np.bincount(rng.integers(0, images, images), minlength=images).astype(np.int32)
    return weights


def interval(values: np.ndarray, level: float = LEVEL) -> Interval | None:
    """Return the percentile interval of a figure.

    Args:
        values: float [B], the figure of every sample, nan where it is undefined.
        level: Fraction of the samples inside the interval.

    Returns:
        [low, high], or None where fewer than half of the samples are defined.
    """
    defined = values[~np.isnan(values)]
    if len(defined) * 2 < len(values) or not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]


def mean_of_defined(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Return the mean, float64, of [...] over some axes without nan, in the shape that is left; nan where all are."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=axis)
    total = np.where(defined, values, 0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def sampled_ap(ranking: Ranking, weights: np.ndarray) -> np.ndarray:
    """Compute COCO's AP of one class in every sample.

    Precision is needed at hits only: in between it falls.

    Args:
        ranking: The class.
        weights: int32 [B, I].

    Returns:
        float64 [B, T]; nan where a sample has no object of the class.
    """
    objects = _drawn_sum(ranking.per_image, weights).astype(np.int32)
    result = np.full((len(weights), len(ranking.hit)), np.nan)
    defined = np.flatnonzero(objects)
    result[defined] = 0
    always = np.logical_and.reduce(ranking.counted, axis=0)
    hits = np.flatnonzero(np.logical_or.reduce(ranking.hit, axis=0))
    counted = _DrawnCount(ranking.image, always, hits)
    at_threshold = [
        (t, ranking.image[hit], np.searchsorted(hits, np.flatnonzero(hit)), _sometimes_counted(ranking, t, always))
        for t, hit in enumerate(ranking.hit)
        if hit.any()
    ]
    steps, begin = _recalls_reached(objects)
    for start in range(0, len(defined), _AT_ONCE):
        rows = defined[start : start + _AT_ONCE]
        drawn = weights[rows]  # [b, I]
        counted_at_hits = counted(drawn)
        for t, hit_images, which, sometimes in at_threshold:
            total = counted_at_hits.take(which, axis=1)  # [b, h], counted detections up to each hit
            if sometimes is not None:
                total += sometimes(drawn)
            found = np.cumsum(drawn.take(hit_images, axis=1), axis=1, dtype=np.int32)  # [b, h], hits up to each hit
            precision = found / (total + np.spacing(1))
            precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            if (found[:, -1] > objects[rows]).any():  # several hits on one object: a crowd that counts
                np.minimum(found, objects[rows, None], out=found)
            found += begin[rows, None]
            gained = np.diff(steps.take(found), axis=1, prepend=np.zeros((len(rows), 1), np.uint8))
            result[rows, t] = np.einsum("bh,bh->b", precision, gained) / len(_RECALLS)
    return result


class _DrawnCount:
    """Counts the chosen detections up to each of some places, once for every time that their image was drawn."""

    def __init__(self, images: np.ndarray, chosen: np.ndarray, places: np.ndarray) -> None:
        """Prepare what no sample changes.

        Args:
            images: int [n], of each detection.
            chosen: bool [n].
            places: int [p], rising; each counts itself.
        """
        before = np.flatnonzero(chosen[: places[-1] + 1]) if len(places) else places
        self._images = images[before]
        self._ends = np.searchsorted(before, places, side="right")

    def __call__(self, drawn: np.ndarray) -> np.ndarray:
        """Return int32 [b, p] for samples int32 [b, I]."""
        sums = np.zeros((len(drawn), len(self._images) + 1), np.int32)
        np.cumsum(drawn.take(self._images, axis=1), axis=1, out=sums[:, 1:])
        return sums.take(self._ends, axis=1)


def _sometimes_counted(ranking: Ranking, t: int, always: np.ndarray) -> _DrawnCount | None:
    """The detections that count at a threshold but not at all of them, up to each hit; None if there is none."""
    sometimes = ranking.counted[t] & ~always
    return _DrawnCount(ranking.image, sometimes, np.flatnonzero(ranking.hit[t])) if sometimes.any() else None


def _recalls_reached(objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count how many of COCO's 101 recalls a number of hits reaches, as COCO rounds it.

    Args:
        objects: int [B].

    Returns:
        uint8 [s], and where each sample begins in it, int32 [B]: `steps[begin[b] + hits]`, hits from 0 to objects[b].
    """
    numbers, which = np.unique(objects, return_inverse=True)
    steps = []
    for n in numbers.tolist():
        needed = np.searchsorted(np.arange(n + 1) / max(n, 1), _RECALLS)  # hits, for each recall
        steps.append(np.cumsum(np.bincount(needed, minlength=n + 1)[: n + 1]).astype(np.uint8))
    begin = np.cumsum(numbers + 1) - numbers - 1
    return np.concatenate(steps), begin[which].astype(np.int32)


def sampled_aps(rankings: Sequence[Ranking], weights: np.ndarray) -> list[np.ndarray]:
    """Return `sampled_ap` of each of several rankings, on two or more processors: numpy releases Python's lock."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(min(4, threads)) as pool:
        return list(pool.map(lambda ranking: sampled_ap(ranking, weights), rankings))


def _drawn_sum(per_image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """int [B]: the sum of whole numbers [I] over the images drawn, weights [B, I]."""
    return np.einsum("bi,i->b", weights, per_image.astype(weights.dtype))


def sampled_recall(ranking: Ranking, weights: np.ndarray) -> np.ndarray:
    """Compute the recall of one class in every sample, averaged over the thresholds (COCO's AR).

    Args:
        ranking: The class, with as many detections per image as may count.
        weights: int32 [B, I].

    Returns:
        float64 [B]; nan where a sample has no object of the class.
    """
    hits = np.bincount(ranking.image, weights=ranking.hit.sum(axis=0), minlength=weights.shape[1])
    objects = _drawn_sum(ranking.per_image, weights)
    return np.where(objects > 0, _drawn_sum(hits, weights) / np.maximum(objects, 1) / len(ranking.hit), np.nan)


def sampled_mean(values: Mapping[int, float], weights: np.ndarray) -> np.ndarray:
    """Compute the mean of one value per image in every sample.

    Args:
        values: Position of the image -> value; the other images are left out.
        weights: int32 [B, I].

    Returns:
        float64 [B]; nan where a sample has no image with a value.
    """
    filled, known = np.zeros(weights.shape[1]), np.zeros(weights.shape[1], bool)
    for image, value in values.items():
        filled[image], known[image] = value, True
    count = weights @ known
    return np.where(count > 0, weights @ filled / np.maximum(count, 1), np.nan)


def interval_of_ap(rankings: Sequence[Ranking], weights: np.ndarray) -> Interval | None:
    """Return [low, high] of COCO's AP over the classes that have objects; weights int32 [B, I]."""
    aps = sampled_aps([r for r in rankings if r.objects], weights)
    return interval(mean_of_defined(np.stack(aps), (0, 2))) if aps else None  # [K, B, T] -> [B]


def intervals_of_table(
    table: Table, weights: np.ndarray
) -> tuple[dict[str, Interval | None], list[dict[str, Interval | None]]]:
    """Compute the intervals of COCO's twelve figures, and of AP, AP50 and AP75 of each class.

    Args:
        table: The overlaps.
        weights: int32 [B, I].

    Returns:
        Figure -> [low, high] or None; the same for each class.
    """
    samples, classes = samples_of_table(table, weights)
    overall, *of_class = ({name: interval(values) for name, values in some.items()} for some in (samples, *classes))
    return overall, of_class


def samples_of_table(table: Table, weights: np.ndarray) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]:
    """Compute COCO's twelve figures, and AP, AP50 and AP75 of each class, in every sample.

    Args:
        table: The overlaps.
        weights: int32 [B, I].

    Returns:
        Figure -> float64 [B], nan where it is undefined; the same for each class.
    """
    samples: dict[str, np.ndarray] = {}
    classes: list[dict[str, np.ndarray]] = []
    names = {"all": ("AP", "AR100"), "small": ("AP_S", "AR_S"), "medium": ("AP_M", "AR_M"), "large": ("AP_L", "AR_L")}
    rankings = {}
    for size, area in AREAS.items():
        ignored = ignored_for_area(table, area)
        matches = match(table, ignored)
        rankings[size] = [rank(table, matches, k, ignored, area) for k in range(table.classes)]
        for limit in (1, 10) if size == "all" else ():
            top = [rank(table, matches, k, ignored, area, limit) for k in range(table.classes)]
            samples[f"AR{limit}"] = mean_of_defined(np.stack([sampled_recall(r, weights) for r in top]), 0)
    all_aps = sampled_aps([r for of_size in rankings.values() for r in of_size], weights)
    for n, (size, of_size) in enumerate(rankings.items()):
        aps = np.stack(all_aps[n * table.classes : (n + 1) * table.classes])  # [K, B, T]
        ap, recall = names[size]
        samples[ap] = mean_of_defined(aps, (0, 2))
        samples[recall] = mean_of_defined(np.stack([sampled_recall(r, weights) for r in of_size]), 0)
        if size == "all":
            samples["AP50"], samples["AP75"] = (mean_of_defined(aps[..., t], 0) for t in (0, 5))
            classes = [{"AP": mean_of_defined(own, 1), "AP50": own[:, 0], "AP75": own[:, 5]} for own in aps]
    return samples, classes
