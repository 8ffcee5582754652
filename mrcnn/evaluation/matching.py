"""Matches detections with objects by COCO's rules, for all images at once, and ranks the results.

Legend: as in `mrcnn.evaluation.match_table`; c candidates, n detections of one class.
"""

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np

from mrcnn.evaluation.match_table import MAX_DETECTIONS, THRESHOLDS, Table, ranks_by_score


@dataclasses.dataclass
class Matches:
    """The detections that can match, and the objects that they take.

    Attributes:
        candidates: int [c], detections whose IoU with an object of their class reaches the lowest threshold.
        hit: bool [T, c], whether the detection is matched.
        on_ignored: bool [T, c], whether it is matched with an ignored object.
        gt: int32 [T, c], the object, or -1.
    """

    candidates: np.ndarray
    hit: np.ndarray
    on_ignored: np.ndarray
    gt: np.ndarray


def match(table: Table, gt_ignored: np.ndarray | None = None, thresholds: np.ndarray = THRESHOLDS) -> Matches:
    """Match detections with objects as COCOeval does, for all images at once.

    In order of descending score, each detection takes the free object of its class with the largest IoU; of equal IoUs,
    the last object. It takes an ignored object only if no other reaches the threshold. A crowd can be taken any number
    of times. The n-th detections of every image and class are matched in one step, so the Python loop runs about 30
    times instead of once per detection, object and threshold.

    Args:
        table: The overlaps.
        gt_ignored: bool [G], objects that are not scored; None takes those of the table.
        thresholds: IoU [T].
    """
    ignored = table.ignored if gt_ignored is None else gt_ignored
    minimum = np.minimum(thresholds, 1 - 1e-10)[:, None]
    pairs = np.flatnonzero(
        (table.dt_class[table.pair_dt] == table.gt_class[table.pair_gt]) & (table.pair_iou >= minimum.min())
    )
    position = np.full(len(table.dt_score), -1)
    position[table.pair_dt[pairs]] = 0
    candidates = np.flatnonzero(position == 0)
    position[candidates] = np.arange(len(candidates))
    candidate = position[table.pair_dt[pairs]]  # [p]
    turn = _turns(table, candidates)
    gt, iou = table.pair_gt[pairs], table.pair_iou[pairs]
    order = np.lexsort((-gt if table.bitmask_rules else gt, iou, candidate, turn[candidate]))
    gt, iou, candidate, turns = gt[order], iou[order], candidate[order], turn[candidate][order]
    taken = np.zeros((len(thresholds), len(table.gt_class)), bool)
    match_gt = np.full((len(thresholds), len(candidates)), -1, np.int32)
    last_choice = ignored & (not table.bitmask_rules)
    bounds = np.searchsorted(turns, np.arange(turns[-1] + 2)) if len(turns) else np.zeros(1, int)
    for start, end in itertools.pairwise(bounds):
        now = gt[start:end]
        free = (iou[start:end] >= minimum) & (~taken[:, now] | table.gt_crowd[now])  # [T, p]
        t, detection, chosen = _best_free(now, free, candidate[start:end], last_choice)
        taken[t, chosen] = True
        match_gt[t, detection] = chosen
    hit = match_gt >= 0
    return Matches(candidates, hit, hit & ignored[match_gt], match_gt)


def _turns(table: Table, candidates: np.ndarray) -> np.ndarray:
    """Return how many candidates of the same image and class score higher than each candidate, int [c]."""
    groups = table.dt_image[candidates] * table.classes + table.dt_class[candidates]
    return ranks_by_score(groups, table.dt_score[candidates])


def _best_free(
    gt: np.ndarray, free: np.ndarray, candidate: np.ndarray, last_choice: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Choose an object for one candidate of each image and class.

    Args:
        gt: int [p], the objects that each candidate overlaps, smallest IoU first.
        free: bool [T, p], whether the object can be taken.
        candidate: int [p], ascending.
        last_choice: bool [G], objects that are taken only if no other can be.

    Returns:
        int [m] each: threshold, candidate, object.
    """
    n = len(gt)
    preference = np.arange(1, n + 1) + np.where(last_choice[gt], 0, n)
    starts = np.flatnonzero(np.concatenate([[True], candidate[1:] != candidate[:-1]]))
    best = np.maximum.reduceat(np.where(free, preference, 0), starts, axis=1)  # [T, candidates]
    t, which = np.nonzero(best)
    return t, candidate[starts[which]], gt[(best[t, which] - 1) % n]


@dataclasses.dataclass
class Ranking:
    """The detections of one class, best score first, and how each was judged.

    Attributes:
        image: int [n].
        score: [n].
        hit: bool [T, n], whether it matches an object that counts.
        counted: bool [T, n], whether it is a hit or a mistake; the others match an ignored object or lie outside the
            area range.
        per_image: int [I], objects that count.
    """

    image: np.ndarray
    score: np.ndarray
    hit: np.ndarray
    counted: np.ndarray
    per_image: np.ndarray

    @property
    def objects(self) -> int:
        """Number of objects that count."""
        return int(self.per_image.sum())

    def recall(self) -> np.ndarray:
        """Return the recall at each threshold, float64 [T]; at least one object must count."""
        return self.hit.sum(axis=1) / self.objects


def rank(
    table: Table,
    matches: Matches,
    class_id: int,
    gt_ignored: np.ndarray,
    area: tuple[float, float] | None = None,
    limit: int = MAX_DETECTIONS,
) -> Ranking:
    """Rank the detections of one class.

    Args:
        table: The overlaps.
        matches: The matches with the same `gt_ignored`.
        class_id: From 0.
        gt_ignored: bool [G].
        area: (minimum, maximum) px^2; an unmatched detection outside this range does not count. None counts all.
        limit: Detections per image and class.
    """
    own = table.by_score[table.dt_class[table.by_score] == class_id]
    if limit < MAX_DETECTIONS:
        own = own[table.rank_in_image[own] < limit]
    hit = np.zeros((len(matches.hit), len(own)), bool)
    on_ignored = np.zeros_like(hit)
    position = np.full(len(table.dt_score), -1)
    position[matches.candidates] = np.arange(len(matches.candidates))
    position = position[own]
    can_match = np.flatnonzero(position >= 0)
    hit[:, can_match] = matches.hit[:, position[can_match]]
    on_ignored[:, can_match] = matches.on_ignored[:, position[can_match]]
    if area is not None:
        on_ignored |= ~hit & ((table.dt_area[own] < area[0]) | (table.dt_area[own] > area[1]))
    objects = table.gt_image[(table.gt_class == class_id) & ~gt_ignored]
    per_image = np.bincount(objects, minlength=table.images)
    return Ranking(table.dt_image[own], table.dt_score[own], hit & ~on_ignored, ~on_ignored, per_image)


def rank_classes(
    table: Table, gt_ignored: np.ndarray | None = None, area: tuple[float, float] | None = None
) -> list[Ranking]:
    """Match a table and rank the detections of every class; for the arguments see `match` and `rank`."""
    gt_ignored = table.ignored if gt_ignored is None else gt_ignored
    matches = match(table, gt_ignored)
    return [rank(table, matches, class_id, gt_ignored, area) for class_id in range(table.classes)]


def precision_at(hit: np.ndarray, counted: np.ndarray, objects: int) -> np.ndarray:
    """Return COCO's interpolated precision at the recalls 0, 0.01 ... 1.

    Args:
        hit, counted: bool [T, n], best score first.
        objects: Number of objects that count, at least 1.

    Returns:
        float64 [T, 101]; 0 at recalls that are not reached.
    """
    hits = np.cumsum(hit, axis=1)
    precision = hits / (np.cumsum(counted, axis=1) + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.concatenate([precision, np.zeros((len(hit), 1))], axis=1)
    steps = np.linspace(0, 1, 101)
    return np.stack([row[np.searchsorted(recall, steps)] for row, recall in zip(padded, hits / objects, strict=True)])


def ignored_for_area(table: Table, area: Iterable[float]) -> np.ndarray:
    """Return the objects that the table ignores or that lie outside the area (minimum, maximum) px^2, bool [G]."""
    low, high = area
    return table.ignored | (table.gt_area < low) | (table.gt_area > high)
