"""Curves and tables at IoU 0.5: precision and recall over the score, confusion of classes, calibration.

Legend: as in `mrcnn.evaluation.match_table`; R recalls, A areas.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mrcnn.evaluation.coco_ap import ALL, IOU_50
from mrcnn.evaluation.match_table import Table
from mrcnn.evaluation.matching import match
from mrcnn.evaluation.result import (
    BestScore,
    Calibration,
    CalibrationBin,
    ClassCalibration,
    Confusion,
    PRCurve,
    ScoreCurve,
    ScoreCurves,
)

IOU = 0.5
BINS = 10
_SCORES = np.arange(101) / 100


def pr_curve(precision: np.ndarray, names: Sequence[str]) -> PRCurve:
    """Return precision over recall at IoU 0.5 for the classes that have objects, and their mean.

    Args:
        precision: `CocoArrays.precision`, [T, R, K, A].
        names: [K].
    """
    curves = precision[IOU_50, :, :, ALL].T  # [K, 101]
    defined = {name: curve for name, curve in zip(names, curves, strict=True) if curve[0] > -1}
    mean = np.mean(list(defined.values()), axis=0).tolist() if defined else []
    recall = [n / 100 for n in range(101)]
    return PRCurve(recall, {name: curve.tolist() for name, curve in defined.items()}, mean)


def pr_curves(precision: np.ndarray, names: Sequence[str]) -> dict[str, list[list[float]]]:
    """Return precision over recall at every IoU threshold, class -> [10][101]; for the arguments see `pr_curve`."""
    curves = np.moveaxis(precision[..., ALL], 2, 0)  # [K, T, 101]
    return {name: curve.tolist() for name, curve in zip(names, curves, strict=True) if curve[0, 0] > -1}


@dataclasses.dataclass
class Outcomes:
    """How every detection of a table is judged at IoU 0.5 by COCO's matching.

    Attributes:
        hit: bool [D], whether it matches an object that counts.
        mistake: bool [D], whether it matches no object; the rest match crowds and ignored objects.
        gt: int [D], the matched object, or -1.
        score: float64 [D].
        class_id: int [D], from 0.
        objects: int [K], number of objects that count.
    """

    hit: np.ndarray
    mistake: np.ndarray
    gt: np.ndarray
    score: np.ndarray
    class_id: np.ndarray
    objects: np.ndarray


def outcomes_at_50(table: Table) -> Outcomes:
    """Match a table at IoU 0.5 and return the outcome of every detection."""
    matches = match(table, thresholds=np.array([IOU]))
    gt = np.full(len(table.dt_score), -1)
    gt[matches.candidates] = matches.gt[0]
    on_crowd = np.zeros(len(gt), bool)
    on_crowd[matches.candidates] = matches.on_ignored[0]
    objects = np.bincount(table.gt_class[~table.gt_crowd], minlength=table.classes)
    return Outcomes((gt >= 0) & ~on_crowd, gt < 0, gt, table.dt_score, table.dt_class, objects)


def score_curves(outcomes: Outcomes, names: Sequence[str]) -> ScoreCurves:
    """Return precision, recall and F1 over the minimum score.

    Args:
        outcomes: Outcomes of all detections.
        names: [K].
    """
    per_class = {
        name: _score_curve(outcomes, outcomes.class_id == k, int(outcomes.objects[k]))
        for k, name in enumerate(names)
        if outcomes.objects[k]
    }
    everything = _score_curve(outcomes, np.ones(len(outcomes.hit), bool), int(outcomes.objects.sum()))
    return ScoreCurves(IOU, _SCORES.tolist(), everything, per_class)


def _score_curve(outcomes: Outcomes, chosen: np.ndarray, objects: int) -> ScoreCurve:
    counted = np.flatnonzero(chosen & (outcomes.hit | outcomes.mistake))
    order = counted[np.argsort(-outcomes.score[counted], kind="stable")]
    scores = outcomes.score[order]
    hits = np.concatenate([[0], np.cumsum(outcomes.hit[order])])  # [n + 1], hits among the n best

    def figures(n: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # Recall is undefined without objects, precision without detections.
        recall = hits[n] / objects if objects else np.full(len(n), np.nan)
        return np.where(n > 0, hits[n] / np.maximum(n, 1), np.nan), recall, 2 * hits[n] / np.maximum(n + objects, 1)

    # Detections of equal score can only be kept or dropped together.
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) + 1 if len(scores) else np.zeros(0, int)
    best = BestScore()
    if len(ends):
        curves = figures(ends)
        at = int(np.argmax(curves[2]))
        best = BestScore(float(scores[ends[at] - 1]), *(_none_for_nan(curve[at]) for curve in curves))
    precision, recall, f1 = (
        [_none_for_nan(value) for value in curve] for curve in figures(np.searchsorted(-scores, -_SCORES, side="right"))
    )
    return ScoreCurve(precision, recall, f1, best)


def _none_for_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def confusion(table: Table, names: Sequence[str], min_score: float | None) -> Confusion:
    """Pair objects and detections one to one by overlap, regardless of class, and count the pairs of classes.

    Pairs are formed by descending IoU; ties go to pairs of the same class, then to the higher score. An unpaired
    detection counts as background predicted as its class, unless it lies on a crowd.

    Args:
        table: Overlaps of masks.
        names: [K].
        min_score: Minimum score of a detection; None takes all.
    """
    strong = table.dt_score >= (0.0 if min_score is None else min_score)
    near = np.flatnonzero((table.pair_iou >= IOU) & strong[table.pair_dt])
    dt, gt, iou = table.pair_dt[near], table.pair_gt[near], table.pair_iou[near]
    other_class = table.dt_class[dt] != table.gt_class[gt]
    counts = np.zeros((table.classes + 1, table.classes + 1), int)
    dt_free, gt_free = strong.copy(), ~table.gt_crowd
    for pair in np.lexsort((-table.dt_score[dt], other_class, -iou)):
        d, g = dt[pair], gt[pair]
        if dt_free[d] and gt_free[g]:
            dt_free[d] = gt_free[g] = False
            counts[table.gt_class[g], table.dt_class[d]] += 1
    dt_free[dt[table.gt_crowd[gt]]] = False
    counts[-1, :-1] = np.bincount(table.dt_class[dt_free], minlength=table.classes)
    counts[:-1, -1] = np.bincount(table.gt_class[gt_free], minlength=table.classes)
    return Confusion(IOU, min_score, [*names, "background"], counts.tolist())


def calibration(outcomes: Outcomes, names: Sequence[str]) -> Calibration:
    """Compare precision with score in ten bins, and compute the expected calibration error (ECE).

    The ECE is defined in Guo et al. (arXiv:1706.04599), section 2.

    Args:
        outcomes: Outcomes of all detections; those on crowds do not count.
        names: [K].
    """
    counted = outcomes.hit | outcomes.mistake
    bins, error = _reliability(outcomes.score[counted], outcomes.hit[counted])
    per_class = {}
    for k, name in enumerate(names):
        own = counted & (outcomes.class_id == k)
        if own.any():
            per_class[name] = ClassCalibration(_reliability(outcomes.score[own], outcomes.hit[own])[1], int(own.sum()))
    return Calibration(IOU, bins, error, per_class)


def _reliability(scores: np.ndarray, hit: np.ndarray) -> tuple[list[CalibrationBin], float | None]:
    number = np.minimum((scores * BINS).astype(int), BINS - 1)
    count = np.bincount(number, minlength=BINS)
    score, hits = (np.bincount(number, weights=values, minlength=BINS) for values in (scores, hit))
    bins = [
        CalibrationBin(
            low=n / BINS,
            high=(n + 1) / BINS,
            count=int(count[n]),
            score=float(score[n] / count[n]) if count[n] else None,
            precision=float(hits[n] / count[n]) if count[n] else None,
        )
        for n in range(BINS)
    ]
    return bins, float(np.abs(score - hits).sum() / len(scores)) if len(scores) else None
