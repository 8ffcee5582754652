"""Why AP50 is not 1: TIDE's six kinds of errors and what each costs (Bolya et al. 2020, arXiv:2008.08115).

A mistake is a detection that COCO's matching at IoU 0.5 gives no object. It is, by its largest IoU with an object of
its class (own) and of another class (other), the first that applies:
    place       0.1 <= own < 0.5: the right class, badly placed
    class       other >= 0.5: well placed, the wrong class
    duplicate   own >= 0.5: the object has a better detection already
    background  own and other < 0.1
    both        the rest: 0.1 <= other < 0.5
An object is missed if nothing matches it and no mistake of place or class would.

The cost of a kind is the AP50 without its errors, minus the AP50. A mistake of place or class becomes right, if it is
the best-scored one for an object that nothing matches, else it goes; other mistakes go; missed objects go. The costs do
not add up to 1 - AP50: one repair can make another worth more. Detections on crowds are no mistakes. As in TIDE's code;
two differences: AP50 is COCO's, so a class without objects does not count, and a class of which every object was missed
gets AP 1 without them if it has no mistakes, else 0.

Legend: that of `mrcnn.evaluation.match_table`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.evaluation.curves import IOU, Found
from mrcnn.evaluation.match_table import LEAST_IOU, Table, precision_at

KINDS = ("class", "place", "both", "duplicate", "background", "missed")


@dataclasses.dataclass
class Assigned:
    """The kind of every error.

    Attributes:
        kind: str [D], "" for what is no mistake.
        about: int [D], the object with the largest IoU, of its class for mistakes of place and duplicates, of another
            for mistakes of class and both; -1 for background.
        iou: [D], that IoU.
        repaired: int [r], the mistakes of place and class that become right if mistakes of their kind do not happen.
        missed: bool [G].
    """

    kind: np.ndarray
    about: np.ndarray
    iou: np.ndarray
    repaired: np.ndarray
    missed: np.ndarray


def assign(table: Table, found: Found) -> Assigned:
    """Says of every detection and object what is wrong with it.

    Args:
        table: Overlaps of masks.
        found: Its matches at IoU 0.5.
    """
    kind, about, iou = _kinds(table, found)
    target = np.where((kind == "place") | (kind == "class"), about, -1)
    used = np.zeros(len(table.gt_class), bool)
    used[found.gt[found.hit]] = True
    repaired = _repaired(target, used, found)
    reachable = np.zeros(len(used), bool)
    reachable[target[repaired]] = True
    return Assigned(kind, about, iou, repaired, ~used & ~reachable & ~table.gt_crowd)


def error_split(table: Table, found: Found, names: Sequence[str]) -> dict[str, Any]:
    """`Result.errors`.

    Args:
        table: Overlaps of masks.
        found: Its matches at IoU 0.5.
        names: [K].
    """
    errors = assign(table, found)
    used = np.zeros(len(table.gt_class), bool)
    used[found.gt[found.hit]] = True
    base = _aps(found, found.class_id, found.hit, found.hit | found.mistake, found.objects)
    gains = {name: _without(name, table, found, errors) - base for name in KINDS}
    no_false = _aps(found, found.class_id, found.hit, found.hit, found.objects) - base
    all_found = (
        _aps(
            found,
            found.class_id,
            found.hit,
            found.hit | found.mistake,
            np.bincount(table.gt_class[used], minlength=table.classes),
        )
        - base
    )
    of_class = {name: np.bincount(found.class_id[errors.kind == name], minlength=table.classes) for name in KINDS}
    of_class["missed"] = np.bincount(table.gt_class[errors.missed], minlength=table.classes)
    return {
        "iou": IOU,
        "background_iou": LEAST_IOU,
        "AP50": _mean(base),
        "delta_ap": {name: _mean(gain) for name, gain in gains.items()},
        "false_positives": _mean(no_false),
        "false_negatives": _mean(all_found),
        "counts": {name: int(counts.sum()) for name, counts in of_class.items()},
        "per_class": {
            name: {
                "AP50": float(base[k]),
                "delta_ap": {n: float(gain[k]) for n, gain in gains.items()},
                "counts": {n: int(counts[k]) for n, counts in of_class.items()},
            }
            for k, name in enumerate(names)
            if found.objects[k]
        },
    }


def _mean(values: np.ndarray) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None


def _kinds(table: Table, found: Found) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`Assigned.kind`, `about` and `iou`."""
    real = np.flatnonzero(~table.gt_crowd[table.pair_gt])
    same = table.dt_class[table.pair_dt[real]] == table.gt_class[table.pair_gt[real]]
    own, own_gt = _largest(table, real[same])
    other, other_gt = _largest(table, real[~same])
    rules = [
        ("place", (own >= LEAST_IOU) & (own < IOU)),
        ("class", other >= IOU),
        ("duplicate", own >= IOU),
        ("background", np.maximum(own, other) < LEAST_IOU),
    ]
    kind = np.select(
        [rule & found.mistake for _, rule in rules] + [found.mistake], [name for name, _ in rules] + ["both"], ""
    )
    of_own, of_other = np.isin(kind, ("place", "duplicate")), np.isin(kind, ("class", "both"))
    return kind, np.select([of_own, of_other], [own_gt, other_gt], -1), np.select([of_own, of_other], [own, other], 0.0)


def _largest(table: Table, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[D] the largest IoU of each detection among some pairs, and its object; 0 and -1 where there is none."""
    iou, gt = np.zeros(len(table.dt_score)), np.full(len(table.dt_score), -1)
    order = pairs[np.lexsort((-table.pair_gt[pairs], table.pair_iou[pairs]))]  # the last entry stays: the largest
    iou[table.pair_dt[order]], gt[table.pair_dt[order]] = table.pair_iou[order], table.pair_gt[order]
    return iou, gt


def _repaired(target: np.ndarray, used: np.ndarray, found: Found) -> np.ndarray:
    """int [r]: the best mistake of place or class for each object that nothing matches."""
    usable = np.flatnonzero(target >= 0)
    usable = usable[~used[target[usable]]]
    order = usable[np.argsort(-found.score[usable], kind="stable")]
    return order[np.unique(target[order], return_index=True)[1]]


def _without(name: str, table: Table, found: Found, errors: Assigned) -> np.ndarray:
    """[K] AP50 without the errors of one kind."""
    classes, hit, objects = found.class_id, found.hit, found.objects
    kept = (found.hit | found.mistake) & (errors.kind != name)
    if name in ("class", "place"):
        right = errors.repaired[errors.kind[errors.repaired] == name]
        classes, hit = classes.copy(), hit.copy()
        hit[right] = kept[right] = True
        classes[right] = table.gt_class[errors.about[right]]
    if name == "missed":
        objects = objects - np.bincount(table.gt_class[errors.missed], minlength=table.classes)
    return _aps(found, classes, hit, kept, objects)


def _aps(found: Found, classes: np.ndarray, hit: np.ndarray, kept: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """[K] COCO's AP at one IoU; nan for a class that has no object at all."""
    result = np.full(len(objects), np.nan)
    for k in np.flatnonzero(found.objects):
        own = np.flatnonzero(kept & (classes == k))
        own = own[np.argsort(-found.score[own], kind="stable")]
        if objects[k]:
            result[k] = precision_at(hit[None, own], np.ones((1, len(own)), bool), int(objects[k])).mean()
        else:
            result[k] = float(not len(own))
    return result
