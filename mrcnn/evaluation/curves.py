"""What a detector does at IoU 0.5: precision and recall against the score, who is taken for whom, calibration.

Legend: that of `mrcnn.evaluation.match_table`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.evaluation.match_table import Table, match

IOU = 0.5
BINS = 10
_SCORES = np.arange(101) / 100


@dataclasses.dataclass
class Found:
    """What became of every detection of a table at IoU 0.5, matched as COCO does.

    Attributes:
        hit: bool [D], on an object that counts.
        mistake: bool [D], on none; the rest lies on crowds and ignored objects.
        gt: int [D], the object, or -1.
        score: float64 [D].
        class_id: int [D], from 0.
        objects: int [K], objects that count.
    """

    hit: np.ndarray
    mistake: np.ndarray
    gt: np.ndarray
    score: np.ndarray
    class_id: np.ndarray
    objects: np.ndarray


def at_half(table: Table) -> Found:
    """The matches at IoU 0.5."""
    matches = match(table, thresholds=np.array([IOU]))
    gt = np.full(len(table.dt_score), -1)
    gt[matches.candidates] = matches.gt[0]
    on_crowd = np.zeros(len(gt), bool)
    on_crowd[matches.candidates] = matches.on_ignored[0]
    objects = np.bincount(table.gt_class[~table.gt_crowd], minlength=table.classes)
    return Found((gt >= 0) & ~on_crowd, gt < 0, gt, table.dt_score, table.dt_class, objects)


def score_curves(found: Found, names: Sequence[str]) -> dict[str, Any]:
    """`Result.score_curves`: precision, recall and F1 of the detections with at least a score.

    Args:
        found: The matches.
        names: [K].
    """
    per_class = {
        name: _score_curve(found, found.class_id == k, int(found.objects[k]))
        for k, name in enumerate(names)
        if found.objects[k]
    }
    everything = _score_curve(found, np.ones(len(found.hit), bool), int(found.objects.sum()))
    return {"iou": IOU, "scores": _SCORES.tolist(), "all": everything, "per_class": per_class}


def _score_curve(found: Found, chosen: np.ndarray, objects: int) -> dict[str, Any]:
    counted = np.flatnonzero(chosen & (found.hit | found.mistake))
    order = counted[np.argsort(-found.score[counted], kind="stable")]
    scores = found.score[order]
    hits = np.concatenate([[0], np.cumsum(found.hit[order])])  # [n + 1], of the n best

    def figures(n: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # Without objects recall means nothing; without detections precision does not.
        recall = hits[n] / objects if objects else np.full(len(n), np.nan)
        return np.where(n > 0, hits[n] / np.maximum(n, 1), np.nan), recall, 2 * hits[n] / np.maximum(n + objects, 1)

    # Detections of equal score can only be kept or dropped together.
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) + 1 if len(scores) else np.zeros(0, int)
    best: dict[str, float | None] = {"score": None, "precision": None, "recall": None, "f1": None}
    if len(ends):
        curves = figures(ends)
        at = int(np.argmax(curves[2]))
        values = [scores[ends[at] - 1], *(curve[at] for curve in curves)]
        best = dict(zip(best, map(_plain, values), strict=True))
    curves = figures(np.searchsorted(-scores, -_SCORES, side="right"))
    return {
        **{name: [_plain(v) for v in curve] for name, curve in zip(("precision", "recall", "f1"), curves, strict=True)},
        "best": best,
    }


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def confusion(table: Table, names: Sequence[str], least_score: float | None) -> dict[str, Any]:
    """`Result.confusion`: objects and detections paired one to one by overlap, whatever their classes.

    The pair with the largest IoU comes first; of equal ones that of one class, then that of the better score. A
    detection that is left over is a background object taken for something, unless it lies on a crowd.

    Args:
        table: Overlaps of masks.
        names: [K].
        least_score: Detections below it are left out; None takes all.
    """
    strong = table.dt_score >= (0.0 if least_score is None else least_score)
    near = np.flatnonzero((table.pair_iou >= IOU) & strong[table.pair_dt])
    dt, gt, iou = table.pair_dt[near], table.pair_gt[near], table.pair_iou[near]
    other = table.dt_class[dt] != table.gt_class[gt]
    counts = np.zeros((table.classes + 1, table.classes + 1), int)
    dt_free, gt_free = strong.copy(), ~table.gt_crowd
    for pair in np.lexsort((-table.dt_score[dt], other, -iou)):
        d, g = dt[pair], gt[pair]
        if dt_free[d] and gt_free[g]:
            dt_free[d] = gt_free[g] = False
            counts[table.gt_class[g], table.dt_class[d]] += 1
    dt_free[dt[table.gt_crowd[gt]]] = False
    counts[-1, :-1] = np.bincount(table.dt_class[dt_free], minlength=table.classes)
    counts[:-1, -1] = np.bincount(table.gt_class[gt_free], minlength=table.classes)
    return {"iou": IOU, "score": least_score, "classes": [*names, "background"], "counts": counts.tolist()}


def calibration(found: Found, names: Sequence[str]) -> dict[str, Any]:
    """`Result.calibration`: precision against score in ten bins, and the expected calibration error.

    ECE as in Guo et al. (arXiv:1706.04599), section 2.

    Args:
        found: The matches; detections on crowds do not count.
        names: [K].
    """
    counted = found.hit | found.mistake
    bins, error = _reliability(found.score[counted], found.hit[counted])
    per_class = {}
    for k, name in enumerate(names):
        own = counted & (found.class_id == k)
        if own.any():
            per_class[name] = {"ece": _reliability(found.score[own], found.hit[own])[1], "count": int(own.sum())}
    return {"iou": IOU, "bins": bins, "ece": error, "per_class": per_class}


def _reliability(scores: np.ndarray, hit: np.ndarray) -> tuple[list[dict[str, Any]], float | None]:
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    score, hits = (np.bincount(place, weights=values, minlength=BINS) for values in (scores, hit))
    bins = [
        {
            "low": n / BINS,
            "high": (n + 1) / BINS,
            "count": int(count[n]),
            "score": float(score[n] / count[n]) if count[n] else None,
            "precision": float(hits[n] / count[n]) if count[n] else None,
        }
        for n in range(BINS)
    ]
    return bins, float(np.abs(score - hits).sum() / len(scores)) if len(scores) else None
