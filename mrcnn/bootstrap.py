"""Confidence intervals by drawing images with replacement (Efron's percentile bootstrap).

An evaluation on other images of the same kind would give other figures; the interval says how far apart. Matches are
per image, so drawing an image twice counts its hits, mistakes and objects twice: every sample is evaluated from one
ranking, with a weight for each image, and no image is matched again. A sample equals COCO's figures of the list of
drawn images, up to the order of equal scores.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mrcnn.match_table import AREAS, Ranked, Table, area_ignored, match, rank

SAMPLES = 1000
LEVEL = 0.95
_STEPS = np.linspace(0, 1, 101)  # COCO's recalls
_AT_ONCE = 300_000  # numbers in memory


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
    """The mean without nan; nan where all are."""
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
        [B, T]; nan where a sample has no object of the class.
    """
    objects = weights @ ranked.per_image  # [B]
    result = np.full((len(weights), len(ranked.hit)), np.nan)
    rows = np.flatnonzero(objects)
    if not len(rows):
        return result
    step = max(1, _AT_ONCE // max(1, len(ranked.image)))
    for start in range(0, len(rows), step):
        some = rows[start:start + step]
        result[some] = _some_ap(ranked, weights[some], objects[some])
    return result


def _some_ap(ranked: Ranked, weights: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """`sampled_ap` where every sample has an object. Precision matters at hits only: it falls in between."""
    thresholds = len(ranked.hit)
    always = np.logical_and.reduce(ranked.counted, axis=0)
    hit_once = np.flatnonzero(ranked.hit.any(axis=0))
    result = np.zeros((len(weights), thresholds))
    if not len(hit_once):
        return result
    last = hit_once[-1] + 1  # what comes after the last hit changes nothing
    drawn = weights[:, ranked.image[:last]]  # [B, n]
    counted = np.cumsum(np.where(always[:last], drawn, 0), axis=1, dtype=np.int32)[:, hit_once]
    needed = _hits_for_recall(objects)  # [B, 101]
    for t in range(thresholds):
        hits = ranked.hit[t, hit_once]
        places = hit_once[hits]
        if not len(places):
            continue
        found = np.cumsum(drawn[:, places], axis=1, dtype=np.int32)  # [B, h]
        total = counted[:, hits].astype(np.float64)
        sometimes = np.flatnonzero(ranked.counted[t, :last] & ~always[:last])  # ignored at another threshold
        if len(sometimes):
            extra = np.concatenate([np.zeros((len(weights), 1), int), np.cumsum(drawn[:, sometimes], axis=1)], axis=1)
            total += extra[:, np.searchsorted(sometimes, places, side="right")]
        precision = found / (total + np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        result[:, t] = _mean_at(precision, found, needed)
    return result


def _hits_for_recall(objects: np.ndarray) -> np.ndarray:
    """int [B, 101]: the least number of hits whose share of the objects reaches each recall, as COCO rounds it."""
    hits = np.ceil(_STEPS * objects[:, None]).astype(np.int64)
    hits -= (hits - 1) / objects[:, None] >= _STEPS
    hits += hits / objects[:, None] < _STEPS
    return hits


def _mean_at(precision: np.ndarray, found: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """[B]: the mean precision at the recalls. All rows are searched as one sorted list, with an offset for each."""
    rows, places = precision.shape
    offset = (np.arange(rows) * (max(int(found[:, -1].max()), int(needed.max())) + 1))[:, None]
    at = np.searchsorted((found + offset).ravel(), (needed + offset).ravel()).reshape(needed.shape)
    at -= np.arange(rows)[:, None] * places
    padded = np.concatenate([precision, np.zeros((rows, 1))], axis=1)
    return np.take_along_axis(padded, np.minimum(at, places), axis=1).mean(axis=1)


def sampled_recall(ranked: Ranked, weights: np.ndarray) -> np.ndarray:
    """The recall of one class in every sample, averaged over the thresholds (COCO's AR).

    Args:
        ranked: The class, with as many detections per image as may count.
        weights: int [B, I].

    Returns:
        [B]; nan where a sample has no object of the class.
    """
    per_image = np.bincount(ranked.image, weights=ranked.hit.sum(axis=0), minlength=weights.shape[1])
    objects = weights @ ranked.per_image
    return np.where(objects > 0, weights @ per_image / np.maximum(objects, 1) / len(ranked.hit), np.nan)


def sampled_mean(values: dict[int, float] | Sequence[float], weights: np.ndarray) -> np.ndarray:
    """[B]: the weighted mean of one value per image; images without one, in a dictionary, are left out."""
    filled = np.full(weights.shape[1], np.nan)
    for image, value in values.items() if isinstance(values, dict) else enumerate(values):
        filled[image] = value
    real = ~np.isnan(filled)
    count = weights @ real
    return np.where(count > 0, weights @ np.where(real, filled, 0) / np.maximum(count, 1), np.nan)


def interval_of_ap(ranked: list[Ranked], weights: np.ndarray) -> list[float] | None:
    """[low, high] of COCO's AP over the classes that have objects."""
    aps = [sampled_ap(r, weights) for r in ranked if r.per_image.sum()]
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
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # numpy works on arrays without Python's lock
        for area_name, area in AREAS.items():
            ignored = area_ignored(table, area)
            matches = match(table, ignored)
            ranked = [rank(table, matches, k, ignored, area) for k in range(table.classes)]
            aps = np.stack(list(pool.map(lambda r: sampled_ap(r, weights), ranked)))  # [K, B, T]
            ap, recall = names[area_name]
            samples[ap] = mean_of_defined(aps, (0, 2))
            samples[recall] = mean_of_defined(np.stack([sampled_recall(r, weights) for r in ranked]), 0)
            if area_name == "all":
                samples["AP50"], samples["AP75"] = (mean_of_defined(aps[..., t], 0) for t in (0, 5))
                classes = [{"AP": mean_of_defined(ap_of, 1), "AP50": ap_of[:, 0], "AP75": ap_of[:, 5]}
                           for ap_of in aps]
                for most in (1, 10):
                    top = [rank(table, matches, k, ignored, area, most) for k in range(table.classes)]
                    samples[f"AR{most}"] = mean_of_defined(np.stack([sampled_recall(r, weights) for r in top]), 0)
    return samples, classes
