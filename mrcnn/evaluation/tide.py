"""Splits the loss in AP50 into TIDE's six kinds of errors (Bolya et al. 2020, arXiv:2008.08115).

A mistake is a detection that COCO's matching at IoU 0.5 leaves without an object. Its kind follows from its largest IoU
with an object of its class (own) and of another class (other), by the first rule that applies:
    place       0.1 <= own < 0.5: the right class in the wrong place
    class       other >= 0.5: the right place, the wrong class
    duplicate   own >= 0.5: the object already has a better detection
    background  own and other < 0.1
    both        the rest: 0.1 <= other < 0.5
An object is missed if no detection matches it, even after repairing the mistakes of place and class.

The cost of a kind is the AP50 without its errors minus the actual AP50. A mistake of place or class is turned into a
hit if it is the highest-scored one for an object that no detection matches; otherwise it is removed. All other mistakes
and missed objects are removed. The costs do not add up to 1 - AP50, since one repair can increase the value of another.
Detections on crowds are not mistakes. This follows TIDE's code with two differences. AP50 is COCO's, so a class without
objects does not count. A class whose objects are all missed gets, without them, AP 1 if it has no mistakes and 0
otherwise.

Legend: as in `mrcnn.evaluation.match_table`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mrcnn.evaluation.curves import IOU, Outcomes
from mrcnn.evaluation.match_table import MIN_IOU, Table
from mrcnn.evaluation.matching import precision_at
from mrcnn.evaluation.result import ClassErrors, ErrorSplit

KINDS = ("class", "place", "both", "duplicate", "background", "missed")


@dataclasses.dataclass
class Errors:
    """The kind of every error of an evaluation.

    Attributes:
        kind: str [D], "" for a detection that is not a mistake.
        about: int [D], the object with the largest IoU: one of the same class for "place" and "duplicate", one of
            another class for "class" and "both", and -1 for "background".
        iou: [D], the IoU with that object.
        repaired: int [r], the mistakes of place and class that a repair turns into hits.
        missed: bool [G], whether the object is missed.
    """

    kind: np.ndarray
    about: np.ndarray
    iou: np.ndarray
    repaired: np.ndarray
    missed: np.ndarray


def find_errors(table: Table, outcomes: Outcomes) -> Errors:
    """Determine the kind of error of every detection, and the missed objects.

    Args:
        table: Overlaps of masks.
        outcomes: Outcomes of its detections at IoU 0.5.
    """
    kind, about, iou = _kinds(table, outcomes)
    target = np.where((kind == "place") | (kind == "class"), about, -1)
    matched = _matched(table, outcomes)
    repaired = _repaired(target, matched, outcomes)
    reachable = np.zeros(len(matched), bool)
    reachable[target[repaired]] = True
    return Errors(kind, about, iou, repaired, ~matched & ~reachable & ~table.gt_crowd)


def error_split(table: Table, outcomes: Outcomes, names: Sequence[str]) -> ErrorSplit:
    """Count the errors of each kind and compute their cost in AP50.

    Args:
        table: Overlaps of masks.
        outcomes: Outcomes of its detections at IoU 0.5.
        names: [K].
    """
    errors = find_errors(table, outcomes)
    hit, class_id, objects = outcomes.hit, outcomes.class_id, outcomes.objects
    base = _class_aps(outcomes, class_id, hit, hit | outcomes.mistake, objects)
    gains = {kind: _without(kind, table, outcomes, errors) - base for kind in KINDS}
    all_right = _class_aps(outcomes, class_id, hit, hit, objects) - base
    found = np.bincount(table.gt_class[_matched(table, outcomes)], minlength=table.classes)
    all_found = _class_aps(outcomes, class_id, hit, hit | outcomes.mistake, found) - base
    counts = {kind: np.bincount(class_id[errors.kind == kind], minlength=table.classes) for kind in KINDS}
    counts["missed"] = np.bincount(table.gt_class[errors.missed], minlength=table.classes)
    return ErrorSplit(
        iou=IOU,
        background_iou=MIN_IOU,
        AP50=_mean(base),
        delta_ap={kind: _mean(gain) for kind, gain in gains.items()},
        false_positives=_mean(all_right),
        false_negatives=_mean(all_found),
        counts={kind: int(of_kind.sum()) for kind, of_kind in counts.items()},
        per_class={
            name: ClassErrors(
                AP50=float(base[k]),
                delta_ap={kind: float(gain[k]) for kind, gain in gains.items()},
                counts={kind: int(of_kind[k]) for kind, of_kind in counts.items()},
            )
            for k, name in enumerate(names)
            if objects[k]
        },
    )


def _mean(values: np.ndarray) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None


def _matched(table: Table, outcomes: Outcomes) -> np.ndarray:
    """Return the objects that a detection matches, bool [G]."""
    matched = np.zeros(len(table.gt_class), bool)
    matched[outcomes.gt[outcomes.hit]] = True
    return matched


def _kinds(table: Table, outcomes: Outcomes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `kind`, `about` and `iou` of `Errors`."""
    real = np.flatnonzero(~table.gt_crowd[table.pair_gt])
    same = table.dt_class[table.pair_dt[real]] == table.gt_class[table.pair_gt[real]]
    own, own_gt = _largest(table, real[same])
    other, other_gt = _largest(table, real[~same])
    rules = {
        "place": (own >= MIN_IOU) & (own < IOU),
        "class": other >= IOU,
        "duplicate": own >= IOU,
        "background": np.maximum(own, other) < MIN_IOU,
        "both": True,
    }
    kind = np.select([rule & outcomes.mistake for rule in rules.values()], list(rules), "")
    of_own, of_other = np.isin(kind, ("place", "duplicate")), np.isin(kind, ("class", "both"))
    return kind, np.select([of_own, of_other], [own_gt, other_gt], -1), np.select([of_own, of_other], [own, other], 0.0)


def _largest(table: Table, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest IoU of each detection among some pairs and its object, [D]; 0 and -1 without a pair."""
    iou, gt = np.zeros(len(table.dt_score)), np.full(len(table.dt_score), -1)
    order = pairs[np.lexsort((-table.pair_gt[pairs], table.pair_iou[pairs]))]  # the last assignment is the largest
    iou[table.pair_dt[order]], gt[table.pair_dt[order]] = table.pair_iou[order], table.pair_gt[order]
    return iou, gt


def _repaired(target: np.ndarray, matched: np.ndarray, outcomes: Outcomes) -> np.ndarray:
    """Return the highest-scored mistake of place or class for each object that no detection matches, int [r]."""
    usable = np.flatnonzero(target >= 0)
    usable = usable[~matched[target[usable]]]
    order = usable[np.argsort(-outcomes.score[usable], kind="stable")]
    return order[np.unique(target[order], return_index=True)[1]]


def _without(kind: str, table: Table, outcomes: Outcomes, errors: Errors) -> np.ndarray:
    """Compute AP50 [K] without the errors of one kind."""
    classes, hit, objects = outcomes.class_id, outcomes.hit, outcomes.objects
    kept = (hit | outcomes.mistake) & (errors.kind != kind)
    if kind in ("class", "place"):
        right = errors.repaired[errors.kind[errors.repaired] == kind]
        classes, hit = classes.copy(), hit.copy()
        hit[right] = kept[right] = True
        classes[right] = table.gt_class[errors.about[right]]
    if kind == "missed":
        objects = objects - np.bincount(table.gt_class[errors.missed], minlength=table.classes)
    return _class_aps(outcomes, classes, hit, kept, objects)


def _class_aps(
    outcomes: Outcomes, classes: np.ndarray, hit: np.ndarray, kept: np.ndarray, objects: np.ndarray
) -> np.ndarray:
    """Compute COCO's AP at one IoU from the kept detections, [K]; nan for a class without any object."""
    result = np.full(len(objects), np.nan)
    for k in np.flatnonzero(outcomes.objects):
        own = np.flatnonzero(kept & (classes == k))
        own = own[np.argsort(-outcomes.score[own], kind="stable")]
        if objects[k]:
            result[k] = precision_at(hit[None, own], np.ones((1, len(own)), bool), int(objects[k])).mean()
        else:
            result[k] = float(not len(own))
    return result
