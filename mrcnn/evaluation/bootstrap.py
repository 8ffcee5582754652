"""Confidence intervals by drawing images with replacement: the percentile bootstrap.

An evaluation on other images of the same kind would give other figures; the interval says how far apart. Matches are
per image, so drawing an image twice counts its hits, mistakes and objects twice: every sample is evaluated from one
ranking, with a weight for each image, and no image is matched again. A sample equals COCO's figures of the list of
drawn images, up to the order of equal scores.

Legend: I images, B samples, T IoU thresholds.

Reference: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
"""

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mrcnn.evaluation.match_table import AREAS, Ranked, Table, area_ignored, match, rank

SAMPLES = 500  # the ends of a 95 % interval are then those of 94 to 96 %
LEVEL = 0.95
_STEPS = np.linspace(0, 1, 101)  # COCO's recalls
_AT_ONCE = 4_000_000  # numbers of an array
_BLOCK = 256  # rows of it that are worked on together
_GROUP = 16  # of these rows


def draw(images: int, samples: int = SAMPLES, seed: int = 0) -> np.ndarray:
    """How often each image is in each sample.

    Args:
        images: I.
        samples: B.
        seed: Equal seeds give equal samples.

    Returns:
        int32 [B, I]; every row adds up to I.
    """
    rng = np.random.default_rng(seed)
    weights = np.zeros((samples, images), np.int32)
    for row in weights:
        row += np.bincount(rng.integers(0, images, images), minlength=images).astype(np.int32)
    return weights


def interval(values: np.ndarray, level: float = LEVEL) -> list[float] | None:
    """[low, high]: the middle share `level` of the samples; None where fewer than half of them are defined."""
    defined = values[~np.isnan(values)]
    if len(defined) * 2 < len(values) or not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]


def mean_of_defined(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """The mean, float64, of [...] over some axes without nan, in the shape that is left; nan where all are."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=axis)
    total = np.where(defined, values, 0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def sampled_ap(ranked: Ranked, weights: np.ndarray) -> np.ndarray:
    """COCO's AP of one class in every sample.

    Args:
        ranked: The class.
        weights: int [B, I].

    Returns:
        float64 [B, T]; nan where a sample has no object of the class.
    """
    objects = _drawn_sum(ranked.per_image, weights)
    result = np.full((len(weights), len(ranked.hit)), np.nan)
    rows = np.flatnonzero(objects)
    hit_once = np.flatnonzero(ranked.hit.any(axis=0))
    if not len(hit_once):
        result[rows] = 0
        return result
    drawn = np.ascontiguousarray(weights.T)  # [I, B]: all samples of an image side by side
    sometimes = np.flatnonzero(ranked.counted.any(axis=0) & ~ranked.counted.all(axis=0))
    step = max(64, _AT_ONCE // max(len(hit_once), len(sometimes)))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        result[some] = _some_ap(ranked, np.ascontiguousarray(drawn[:, some]), objects[some], hit_once)
    return result


def sampled_aps(ranked: Sequence[Ranked], weights: np.ndarray) -> list[np.ndarray]:
    """`sampled_ap` of each of several rankings, on all processors: numpy lets Python's lock go for large arrays."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads == 1 or len(weights) * sum(np.count_nonzero(r.hit) for r in ranked) < _AT_ONCE:
        return [sampled_ap(r, weights) for r in ranked]
    with ThreadPoolExecutor(min(4, threads)) as pool:
        return list(pool.map(lambda r: sampled_ap(r, weights), ranked))


def _some_ap(ranked: Ranked, drawn: np.ndarray, objects: np.ndarray, hit_once: np.ndarray) -> np.ndarray:
    """`sampled_ap` of samples that have objects. Precision matters at hits only: in between, it falls.

    Args:
        ranked: The class.
        drawn: int32 [I, b].
        objects: int [b], 1 or more.
        hit_once: int [h], detections that are hits at some threshold.
    """
    images = ranked.image[: hit_once[-1] + 1]  # what comes after the last hit changes nothing
    always = np.logical_and.reduce(ranked.counted[:, : len(images)], axis=0)
    counted = _running(drawn, images, always, hit_once)  # [h, b]
    steps, begin = _steps_reached(objects)
    result = np.zeros((len(objects), len(ranked.hit)))
    for t, hit in enumerate(ranked.hit):
        places = np.flatnonzero(hit)
        total = counted[hit[hit_once]]
        sometimes = ranked.counted[t, : len(images)] & ~always  # ignored at another threshold
        if sometimes.any():
            before = np.flatnonzero(sometimes)
            more = np.concatenate([np.zeros_like(drawn[:1]), drawn[images[before]]])
            _accumulate(np.add, more)
            total += more[np.searchsorted(before, places, side="right")]
        found = drawn[images[places]]
        _accumulate(np.add, found)
        result[:, t] = _interpolated_ap(found, total, objects.astype(np.int32), steps, begin)
    return result


def _interpolated_ap(
    found: np.ndarray, total: np.ndarray, objects: np.ndarray, steps: np.ndarray, begin: np.ndarray
) -> np.ndarray:
    """COCO's AP at one threshold in every sample.

    Precision at a recall is the best from there on, so this goes from the last hit to the first, in blocks that stay in
    the processor's cache.

    Args:
        found, total: int32 [h, b], hits and counted detections up to each hit.
        objects: int32 [b].
        steps, begin: See `_steps_reached`.

    Returns:
        float64 [b].
    """
    result, best = np.zeros((2, len(objects)))
    for end in range(len(found), 0, -_BLOCK):
        start = max(end - _BLOCK, 0)
        precision = found[start:end] / (total[start:end] + np.spacing(1))
        np.maximum(precision[-1], best, out=precision[-1])
        _accumulate(np.maximum, precision[::-1])
        best = precision[0]
        reached = steps.take(np.minimum(found[max(start - 1, 0) : end], objects) + begin)
        gained = np.diff(reached, axis=0, prepend=np.zeros((int(start == 0), len(objects)), np.uint8))
        result += np.einsum("hb,hb->b", precision, gained)
    return result / len(_STEPS)


def _accumulate(operation: np.ufunc, rows: np.ndarray) -> None:
    """`operation.accumulate` down the rows of an array [n, b], in place; group by group takes a third of the time."""
    groups = rows[: len(rows) // _GROUP * _GROUP].reshape(-1, _GROUP, rows.shape[1])
    for before, row in itertools.pairwise(groups.swapaxes(0, 1)):  # one row of each group
        operation(before, row, out=row)
    for before, last in itertools.pairwise(groups[:, -1]):
        operation(before, last, out=last)
    operation(groups[1:, :-1], groups[:-1, -1:], out=groups[1:, :-1])
    for n in range(max(len(rows) // _GROUP * _GROUP, 1), len(rows)):
        operation(rows[n - 1], rows[n], out=rows[n])


def _running(drawn: np.ndarray, images: np.ndarray, chosen: np.ndarray, places: np.ndarray) -> np.ndarray:
    """int32 [p, b]: how many of the chosen detections each sample has up to each place, itself included.

    Args:
        drawn: int32 [I, b], how often each sample has each image.
        images: int [n], of each detection.
        chosen: bool [n].
        places: int [p], rising.
    """
    rows = list(drawn)
    sums = np.empty((len(places), drawn.shape[1]), np.int32)
    total = np.zeros(drawn.shape[1], np.int32)
    ends = np.searchsorted(np.flatnonzero(chosen), places, side="right").tolist()
    images = images[chosen].tolist()
    start = 0
    for row, end in zip(sums, ends, strict=True):
        for image in images[start:end]:
            total += rows[image]
        row[:] = total
        start = end
    return sums


def _steps_reached(objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many of COCO's 101 recalls a number of hits reaches, as COCO rounds it.

    Args:
        objects: int [b].

    Returns:
        uint8 [s], and where each sample begins in it, int32 [b]: `steps[begin[b] + hits]`, hits from 0 to objects[b].
    """
    numbers, which = np.unique(objects, return_inverse=True)
    begin = np.cumsum(numbers + 1) - numbers - 1
    recall = _STEPS[:, None]
    needed = np.ceil(recall * numbers).astype(int)  # hits; by rounding one too many or one too few
    needed -= (needed > 0) & ((needed - 1) / numbers >= recall)
    needed += needed / numbers < recall
    reached = np.cumsum(np.bincount((begin + needed).ravel(), minlength=int((numbers + 1).sum())))
    reached -= np.repeat(np.arange(len(numbers)) * len(_STEPS), numbers + 1)  # of the numbers before
    return reached.astype(np.uint8), begin[which].astype(np.int32)


def _drawn_sum(per_image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """int [B]: the sum of whole numbers [I] over the images drawn, weights [B, I]. `@` would start BLAS' threads."""
    return np.einsum("bi,i->b", weights, per_image.astype(weights.dtype))


def sampled_recall(ranked: Ranked, weights: np.ndarray) -> np.ndarray:
    """The recall of one class in every sample, averaged over the thresholds (COCO's AR).

    Args:
        ranked: The class, with as many detections per image as may count.
        weights: int [B, I].

    Returns:
        float64 [B]; nan where a sample has no object of the class.
    """
    per_image = np.bincount(ranked.image, weights=ranked.hit.sum(axis=0), minlength=weights.shape[1])
    objects = _drawn_sum(ranked.per_image, weights)
    return np.where(objects > 0, _drawn_sum(per_image, weights) / np.maximum(objects, 1) / len(ranked.hit), np.nan)


def sampled_mean(values: dict[int, float] | Sequence[float], weights: np.ndarray) -> np.ndarray:
    """float64 [B]: the weighted mean of one value per image; images without one, in a dictionary, are left out."""
    filled = np.full(weights.shape[1], np.nan)
    for image, value in values.items() if isinstance(values, dict) else enumerate(values):
        filled[image] = value
    real = ~np.isnan(filled)
    count = weights @ real
    return np.where(count > 0, weights @ np.where(real, filled, 0) / np.maximum(count, 1), np.nan)


def interval_of_ap(ranked: list[Ranked], weights: np.ndarray) -> list[float] | None:
    """[low, high] of COCO's AP over the classes that have objects."""
    aps = sampled_aps([r for r in ranked if r.per_image.sum()], weights)
    return interval(mean_of_defined(np.stack(aps), (0, 2))) if aps else None  # [K, B, T] -> [B]


def intervals_of_table(table: Table, weights: np.ndarray) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The intervals of COCO's twelve figures, and of AP, AP50 and AP75 of each class.

    Args:
        table: The overlaps.
        weights: int [B, I].

    Returns:
        figure -> [low, high] or None; the same for each class.
    """
    samples, classes = samples_of_table(table, weights)
    overall, *of_class = ({name: interval(values) for name, values in some.items()} for some in (samples, *classes))
    return overall, of_class


def samples_of_table(table: Table, weights: np.ndarray) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]:
    """As `intervals_of_table`, with the figure of every sample: figure -> [B], nan where it is undefined."""
    samples: dict[str, np.ndarray] = {}
    classes: list[dict[str, np.ndarray]] = []
    names = {"all": ("AP", "AR100"), "small": ("AP_S", "AR_S"), "medium": ("AP_M", "AR_M"), "large": ("AP_L", "AR_L")}
    rankings = {}
    for area_name, area in AREAS.items():
        ignored = area_ignored(table, area)
        matches = match(table, ignored)
        rankings[area_name] = [rank(table, matches, k, ignored, area) for k in range(table.classes)]
        for most in (1, 10) if area_name == "all" else ():
            top = [rank(table, matches, k, ignored, area, most) for k in range(table.classes)]
            samples[f"AR{most}"] = mean_of_defined(np.stack([sampled_recall(r, weights) for r in top]), 0)
    all_aps = sampled_aps([r for ranked in rankings.values() for r in ranked], weights)
    for n, (area_name, ranked) in enumerate(rankings.items()):
        aps = np.stack(all_aps[n * table.classes : (n + 1) * table.classes])  # [K, B, T]
        ap, recall = names[area_name]
        samples[ap] = mean_of_defined(aps, (0, 2))
        samples[recall] = mean_of_defined(np.stack([sampled_recall(r, weights) for r in ranked]), 0)
        if area_name == "all":
            samples["AP50"], samples["AP75"] = (mean_of_defined(aps[..., t], 0) for t in (0, 5))
            classes = [{"AP": mean_of_defined(ap_of, 1), "AP50": ap_of[:, 0], "AP75": ap_of[:, 5]} for ap_of in aps]
    return samples, classes
