"""Confidence intervals by the percentile bootstrap, which draws images with replacement.

The interval estimates how much a figure would vary between sets of images of the same kind. Matching is done within an
image, so an image drawn twice contributes its hits, mistakes and objects twice. Every sample is therefore evaluated
from one ranking with a weight per image, and no image is matched again. The figures of a sample equal COCO's figures
for the drawn images, up to the order of equal scores.

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

SAMPLES = 500  # the bounds of a 95 % interval then lie between those of exact 94 % and 96 % intervals
LEVEL = 0.95
_RECALLS = np.linspace(0, 1, 101)  # COCO's
_IN_CACHE = 40_000  # an array [samples, hits] of this many numbers fits the processor's cache


def draw(images: int, samples: int = SAMPLES, seed: int = 0) -> np.ndarray:
    """Draw samples of images with replacement.

    Args:
        images: I.
        samples: B.
        seed: Equal seeds give equal samples.

    Returns:
        int32 [B, I], how often each sample contains each image; every row sums to I.
    """
    rng = np.random.default_rng(seed)
    weights = np.zeros((samples, images), np.int32)
    for row in weights:
        row += np.bincount(rng.integers(0, images, images), minlength=images).astype(np.int32)
    return weights


def interval(values: np.ndarray, level: float = LEVEL) -> Interval | None:
    """Return the percentile interval of a figure.

    Args:
        values: float [B], the figure in every sample, nan where it is undefined.
        level: Fraction of the samples inside the interval.

    Returns:
        [low, high], or None if the figure is defined in fewer than half of the samples.
    """
    defined = values[~np.isnan(values)]
    if len(defined) * 2 < len(values) or not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]


def mean_of_defined(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Return the mean of [...] over some axes, float64 [remaining axes], without nan; nan where all values are."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=axis)
    total = np.where(defined, values, 0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def sampled_ap(ranking: Ranking, weights: np.ndarray) -> np.ndarray:
    """Compute COCO's AP of one class in every sample.

    Precision is only needed at hits, because it falls between them.

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
    at_once = max(8, _IN_CACHE // max(1, len(hits)))
    for start in range(0, len(defined), at_once):
        rows = defined[start : start + at_once]
        drawn = weights[rows]  # [b, I]
        counted_at_hits = counted(drawn)
        for t, hit_images, which, sometimes in at_threshold:
            total = counted_at_hits.take(which, axis=1)  # [b, h], number of counted detections up to each hit
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
    """Counts the chosen detections up to given positions, each as often as its image was drawn."""

    def __init__(self, images: np.ndarray, chosen: np.ndarray, places: np.ndarray) -> None:
        """Prepare the values that all samples share.

        Args:
            images: int [n], the image of each detection.
            chosen: bool [n].
            places: int [p], ascending positions, each included in its own count.
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
    """Return a counter of the detections that count at this threshold but not at every one; None if there are none."""
    sometimes = ranking.counted[t] & ~always
    return _DrawnCount(ranking.image, sometimes, np.flatnonzero(ranking.hit[t])) if sometimes.any() else None


def _recalls_reached(objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate how many of COCO's 101 recalls each number of hits reaches, with COCO's rounding.

    Args:
        objects: int [B].

    Returns:
        The table, uint8 [s], and the start of each sample in it, int32 [B], read as `steps[begin[b] + hits]` with hits
        from 0 to objects[b].
    """
    numbers, which = np.unique(objects, return_inverse=True)
    steps = []
    for n in numbers.tolist():
        needed = np.searchsorted(np.arange(n + 1) / max(n, 1), _RECALLS)  # hits, for each recall
        steps.append(np.cumsum(np.bincount(needed, minlength=n + 1)[: n + 1]).astype(np.uint8))
    begin = np.cumsum(numbers + 1) - numbers - 1
    return np.concatenate(steps), begin[which].astype(np.int32)


def sampled_aps(rankings: Sequence[Ranking], weights: np.ndarray) -> list[np.ndarray]:
    """Return `sampled_ap` of each ranking, computed in up to four threads, since numpy releases the GIL."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(min(4, threads)) as pool:
        return list(pool.map(lambda ranking: sampled_ap(ranking, weights), rankings))


def _drawn_sum(per_image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the sum of whole numbers [I] over the drawn images, int [B], for weights [B, I]."""
    return np.einsum("bi,i->b", weights, per_image.astype(weights.dtype))


def sampled_recall(ranking: Ranking, weights: np.ndarray) -> np.ndarray:
    """Compute the recall of one class in every sample, averaged over the thresholds (COCO's AR).

    Args:
        ranking: The class, limited to the number of detections per image that AR allows.
        weights: int32 [B, I].

    Returns:
        float64 [B]; nan where a sample has no object of the class.
    """
    hits = np.bincount(ranking.image, weights=ranking.hit.sum(axis=0), minlength=weights.shape[1])
    objects = _drawn_sum(ranking.per_image, weights)
    return np.where(objects > 0, _drawn_sum(hits, weights) / np.maximum(objects, 1) / len(ranking.hit), np.nan)


def sampled_mean(values: Mapping[int, float], weights: np.ndarray) -> np.ndarray:
    """Compute the mean of a per-image value in every sample.

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
    """Return [low, high] of COCO's AP over the classes that have objects; `weights` is int32 [B, I]."""
    aps = sampled_aps([r for r in rankings if r.objects], weights)
    return interval(mean_of_defined(np.stack(aps), (0, 2))) if aps else None  # [K, B, T] -> [B]


def intervals(samples: Mapping[str, np.ndarray]) -> dict[str, Interval | None]:
    """Return figure -> [low, high] or None; `samples` is figure -> its value in every sample, float64 [B]."""
    return {name: interval(values) for name, values in samples.items()}


def samples_of_table(table: Table, weights: np.ndarray) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]:
    """Compute COCO's twelve figures, and the AP, AP50 and AP75 of each class, in every sample.

    Args:
        table: The overlaps.
        weights: int32 [B, I].

    Returns:
        Figure -> float64 [B], nan where it is undefined; then the same for each class.
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
