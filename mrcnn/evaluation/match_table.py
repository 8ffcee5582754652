"""Which detection lies on which object: computed once per evaluation, for all images; every figure is read from it.

Legend: I images, G objects, D detections, P pairs, T IoU thresholds, K classes (without the background). Detections
stand image by image, in the order in which they were given; of each class at most 100 per image take part, the best.
"""

import dataclasses
import functools
import itertools
import os
import pathlib
import zipfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pycocotools import mask as coco_mask

from mrcnn.errors import InputError
from mrcnn.files import written_whole

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # bit for bit those of COCOeval
MOST = 100  # detections per image and class, as in COCO
LEAST_IOU = 0.1  # pairs with less overlap are not kept: for every figure they are background
AREAS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}  # px^2, COCO's


@dataclasses.dataclass
class Table:
    """The detections, the objects and their overlaps, by masks or by boxes, and the rules by which they are matched.

    Attributes:
        images: Number of images.
        classes: K.
        gt_image, gt_class: int [G], from 0.
        gt_crowd: bool [G], crowds and ignored objects: any number of detections may lie on them and count neither way.
            (Where `gt_ignored` is given: any number may match them.)
        gt_area: [G] px^2, of the mask (also where boxes are compared, as in COCO).
        dt_image, dt_class: int [D], from 0.
        dt_score: [D].
        dt_area: [D] px^2, of what is compared.
        dt_key: int [D], position of the detection among all that were added.
        pair_dt, pair_gt: int [P].
        pair_iou: [P], IoU; for crowds the share of the detection that lies on them.
        gt_ignored: bool [G], objects that count neither way, where they are others than the crowds.
        plain: Ignored objects are not put last, and of equal IoUs the first object is taken.
    """

    images: int
    classes: int
    gt_image: np.ndarray
    gt_class: np.ndarray
    gt_crowd: np.ndarray
    gt_area: np.ndarray
    dt_image: np.ndarray
    dt_class: np.ndarray
    dt_score: np.ndarray
    dt_area: np.ndarray
    dt_key: np.ndarray
    pair_dt: np.ndarray
    pair_gt: np.ndarray
    pair_iou: np.ndarray
    gt_ignored: np.ndarray | None = None
    plain: bool = False

    @property
    def ignored(self) -> np.ndarray:
        """bool [G], objects that count neither way."""
        return self.gt_crowd if self.gt_ignored is None else self.gt_ignored

    @functools.cached_property
    def by_score(self) -> np.ndarray:
        """int [D], the detections, the best score first; made once, for the table does not change."""
        return np.argsort(-self.dt_score, kind="stable")

    @functools.cached_property
    def place(self) -> np.ndarray:
        """int [D]: how many detections of its image and class stand before each one in `by_score`."""
        group = self.dt_image * self.classes + self.dt_class
        place = np.empty(len(group), np.int64)
        place[self.by_score] = ranks_in_group(group[self.by_score])
        return place


ARRAYS = [field.name for field in dataclasses.fields(Table)][2:-2]  # one value per object, detection or pair


class Builder:
    """Collects the images of a `Table`; masks are looked at and forgotten, so that memory holds only numbers."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._rows: list[dict[str, np.ndarray]] = []
        self._images = self._objects = self._kept = self._given = 0  # so far

    def add(
        self,
        gt_class: ArrayLike,
        gt_crowd: ArrayLike,
        gt_area: ArrayLike,
        gt_shape: list[Any],
        dt_class: ArrayLike,
        dt_score: ArrayLike,
        dt_area: ArrayLike,
        dt_shape: list[Any],
    ) -> None:
        """Adds the next image.

        Args:
            gt_class, dt_class: int [g] and [d], from 0.
            gt_crowd: bool [g], crowds and ignored objects.
            gt_area, dt_area: [g] and [d], px^2.
            dt_score: [d].
            gt_shape, dt_shape: g and d of COCO's run-length codes, or boxes [x, y, width, height] px.
        """
        scores = np.asarray(dt_score, np.float64)
        kept = best_of_each(np.asarray(dt_class, np.int64), scores)
        crowd = np.asarray(gt_crowd, bool)
        iou = np.zeros((len(kept), len(crowd)))
        if len(kept) and len(crowd):
            iou = _overlaps([dt_shape[i] for i in kept], gt_shape, crowd)
        dt, gt = np.nonzero(iou >= LEAST_IOU)
        self._rows.append(
            {
                "gt_image": np.full(len(crowd), self._images),
                "gt_class": np.asarray(gt_class, np.int64),
                "gt_crowd": crowd,
                "gt_area": np.asarray(gt_area, np.float64),
                "dt_image": np.full(len(kept), self._images),
                "dt_class": np.asarray(dt_class, np.int64)[kept],
                "dt_score": scores[kept],
                "dt_area": np.asarray(dt_area, np.float64)[kept],
                "dt_key": kept + self._given,
                "pair_dt": dt + self._kept,
                "pair_gt": gt + self._objects,
                "pair_iou": iou[dt, gt],
            }
        )
        self._images += 1
        self._objects += len(crowd)
        self._kept += len(kept)
        self._given += len(scores)

    def table(self) -> Table:
        """All images that were added."""
        empty = {
            name: np.zeros(
                0, bool if name == "gt_crowd" else np.float64 if name.endswith(("area", "score", "iou")) else np.int64
            )
            for name in ARRAYS
        }
        joined = {name: np.concatenate([empty[name], *(row[name] for row in self._rows)]) for name in ARRAYS}
        return Table(self._images, self._classes, **joined)  # type: ignore[arg-type]  # none of them is `plain`


def best_of_each(classes: np.ndarray, scores: np.ndarray, most: int = MOST) -> np.ndarray:
    """int [k]: where, in order, the `most` best scores [n] of each class stand; classes [n]; of equals the first."""
    if len(classes) <= most:
        return np.arange(len(classes))
    order = np.argsort(-scores, kind="stable")
    ranks = ranks_in_group(classes[order])
    return np.sort(order[ranks < most])


def ranks_in_group(groups: np.ndarray) -> np.ndarray:
    """int [n]: how many elements of the same group come before each element."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else ordered
    ranks = np.empty(len(groups), np.int64)
    ranks[order] = np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))
    return ranks


def _overlaps(dt_shape: list[Any], gt_shape: list[Any], crowd: np.ndarray) -> np.ndarray:
    """[D, G]"""
    if not isinstance(dt_shape[0], dict):
        dt_shape, gt_shape = np.asarray(dt_shape, np.float64), np.asarray(gt_shape, np.float64)  # type: ignore
    return coco_mask.iou(dt_shape, gt_shape, crowd.astype(np.uint8).tolist())


@dataclasses.dataclass
class Matches:
    """The result of `match`. Only detections with an overlap of 0.5 or more with an object of their class can match.

    Attributes:
        candidates: int [c], those detections.
        hit: bool [T, c], matched.
        on_ignored: bool [T, c], matched with an ignored object.
        gt: int32 [T, c], the object, or -1.
    """

    candidates: np.ndarray
    hit: np.ndarray
    on_ignored: np.ndarray
    gt: np.ndarray


def match(table: Table, gt_ignored: np.ndarray | None = None, thresholds: np.ndarray = THRESHOLDS) -> Matches:
    """Matches as COCOeval does, for all images at once.

    Each detection, the best score first, takes the free object of its class with the largest IoU; an ignored one only
    if no other reaches the threshold; of equal IoUs the last object. Crowds are never used up. All detections that are
    the n-th of their image and class are matched in one step, so that Python runs a loop of about 30 instead of one
    over detections, objects and thresholds.

    Args:
        table: The overlaps.
        gt_ignored: bool [G], objects that count neither way; None takes those of the table.
        thresholds: IoU [T].
    """
    ignored = table.ignored if gt_ignored is None else gt_ignored
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]
    pairs = np.flatnonzero(
        (table.dt_class[table.pair_dt] == table.gt_class[table.pair_gt]) & (table.pair_iou >= least.min())
    )
    position = np.full(len(table.dt_score), -1)
    position[table.pair_dt[pairs]] = 0
    candidates = np.flatnonzero(position == 0)
    position[candidates] = np.arange(len(candidates))
    place = position[table.pair_dt[pairs]]  # [p] -> candidate
    group = table.dt_image[candidates] * table.classes + table.dt_class[candidates]
    by_score = np.argsort(-table.dt_score[candidates], kind="stable")
    turn = np.empty(len(candidates), np.int64)
    turn[by_score] = ranks_in_group(group[by_score])
    gt, iou = table.pair_gt[pairs], table.pair_iou[pairs]
    order = np.lexsort((-gt if table.plain else gt, iou, place, turn[place]))
    gt, iou, place, turns = gt[order], iou[order], place[order], turn[place][order]
    taken = np.zeros((len(thresholds), len(table.gt_class)), bool)
    found = np.full((len(thresholds), len(candidates)), -1, np.int32)
    bounds = np.searchsorted(turns, np.arange(turns[-1] + 2)) if len(turns) else np.zeros(1, int)
    for start, end in itertools.pairwise(bounds):
        _take_turn(
            gt[start:end],
            iou[start:end],
            place[start:end],
            least,
            ignored & (not table.plain),
            table.gt_crowd,
            taken,
            found,
        )
    hit = found >= 0
    return Matches(candidates, hit, hit & ignored[found], found)


def _take_turn(
    gt: np.ndarray,
    iou: np.ndarray,
    place: np.ndarray,
    least: np.ndarray,
    last: np.ndarray,
    crowd: np.ndarray,
    taken: np.ndarray,
    found: np.ndarray,
) -> None:
    """One detection of each image and class takes its object; fills `taken` [T, G] and `found` [T, c]."""
    n = len(gt)
    free = (iou >= least) & (~taken[:, gt] | crowd[gt])  # [T, p]
    rank = np.arange(1, n + 1) + np.where(last[gt], 0, n)
    starts = np.flatnonzero(np.concatenate([[True], place[1:] != place[:-1]]))
    best = np.maximum.reduceat(np.where(free, rank, 0), starts, axis=1)  # [T, detections]
    t, d = np.nonzero(best)
    chosen = gt[(best[t, d] - 1) % n]
    taken[t, chosen] = True
    found[t, place[starts[d]]] = chosen


@dataclasses.dataclass
class Ranked:
    """The detections of one class, the best score first, and what became of them.

    Attributes:
        image: int [n].
        score: [n].
        hit: bool [T, n], on an object that counts.
        counted: bool [T, n], hits and mistakes; the others lie on ignored objects or outside the area range.
        per_image: int [I], objects that count.
    """

    image: np.ndarray
    score: np.ndarray
    hit: np.ndarray
    counted: np.ndarray
    per_image: np.ndarray


def rank(
    table: Table,
    matches: Matches,
    class_id: int,
    gt_ignored: np.ndarray,
    area: tuple[float, float] | None = None,
    most: int = MOST,
) -> Ranked:
    """The ranking of one class.

    Args:
        table: The overlaps.
        matches: With these `gt_ignored`.
        class_id: From 0.
        gt_ignored: bool [G].
        area: px^2; detections outside that match nothing do not count. None counts all.
        most: Detections per image and class.
    """
    own = table.by_score[table.dt_class[table.by_score] == class_id]
    if most < MOST:
        own = own[table.place[own] < most]
    hit = np.zeros((len(matches.hit), len(own)), bool)
    ignored = np.zeros_like(hit)
    at = np.full(len(table.dt_score), -1)
    at[matches.candidates] = np.arange(len(matches.candidates))
    at = at[own]
    real = np.flatnonzero(at >= 0)
    hit[:, real], ignored[:, real] = matches.hit[:, at[real]], matches.on_ignored[:, at[real]]
    if area is not None:
        ignored |= ~hit & ((table.dt_area[own] < area[0]) | (table.dt_area[own] > area[1]))
    objects = table.gt_image[(table.gt_class == class_id) & ~gt_ignored]
    return Ranked(
        table.dt_image[own], table.dt_score[own], hit & ~ignored, ~ignored, np.bincount(objects, minlength=table.images)
    )


def precision_at(hit: np.ndarray, counted: np.ndarray, objects: int) -> np.ndarray:
    """COCO's interpolated precision at the recalls 0, 0.01 ... 1.

    Args:
        hit, counted: bool [T, n], the best score first.
        objects: Objects that count, 1 or more.

    Returns:
        float64 [T, 101]; 0 at recalls that are not reached.
    """
    hits = np.cumsum(hit, axis=1)
    precision = hits / (np.cumsum(counted, axis=1) + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.concatenate([precision, np.zeros((len(hit), 1))], axis=1)
    steps = np.linspace(0, 1, 101)
    return np.stack([row[np.searchsorted(recall, steps)] for row, recall in zip(padded, hits / objects, strict=True)])


def area_ignored(table: Table, area: Iterable[float]) -> np.ndarray:
    """bool [G]: what the table ignores, and objects outside an area range."""
    low, high = area
    return table.ignored | (table.gt_area < low) | (table.gt_area > high)


FILE = "matches.npz"
_FORMAT = 1
_SMALL = ("image", "class", "key", "dt", "gt")  # whole numbers below 2^31


@dataclasses.dataclass
class Stored:
    """What the file says.

    Attributes:
        tables: "mask" and "box", and those of the protocols of a benchmark.
        images: [I] file names.
        names: Class names without the background.
    """

    tables: dict[str, Table]
    images: list[str]
    names: list[str]


def save(path: str | os.PathLike[str], tables: dict[str, Table], images: Sequence[str], names: Sequence[str]) -> None:
    """Writes the tables of an evaluation; about 2 kB per image of 20 objects, 4 with BDD100K's protocols.

    Args:
        path: Of the .npz file.
        tables: `Result.tables`.
        images: [I] file names: by them another run is known to be of the same images.
        names: [K] class names without the background.

    Raises:
        InputError: The file cannot be written.
    """
    arrays = {
        "format": np.array(_FORMAT),
        "images": np.array(list(images)),
        "names": np.array(list(names)),
        "kinds": np.array(list(tables)),
    }
    for kind, table in tables.items():
        for name in ARRAYS:
            values = getattr(table, name)
            arrays[f"{kind}_{name}"] = values.astype(np.int32) if name.split("_")[1] in _SMALL else values
        arrays[f"{kind}_plain"] = np.array(table.plain)
        if table.gt_ignored is not None:
            arrays[f"{kind}_gt_ignored"] = table.gt_ignored
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load(path: str | os.PathLike[str]) -> Stored:
    """Reads what `save` wrote; every figure computed from it is the same to the last bit.

    Raises:
        InputError: There is no such file, or it is another one.
    """
    path = pathlib.Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        if int(arrays["format"]) != _FORMAT:
            raise InputError(f"{path} has format {arrays['format']}, this version reads {_FORMAT}: evaluate again")
        images, names = arrays["images"].tolist(), arrays["names"].tolist()
        kinds = arrays["kinds"].tolist() if "kinds" in arrays else ["mask", "box"]  # as earlier versions wrote it
        tables = {kind: _table(arrays, kind, len(images), len(names)) for kind in kinds}
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; evaluate that run again, which writes it") from error
    except (OSError, KeyError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no table of matches ({error}); evaluate that run again") from error
    return Stored(tables, images, names)


def _table(arrays: dict[str, np.ndarray], kind: str, images: int, classes: int) -> Table:
    values = {name: arrays[f"{kind}_{name}"] for name in ARRAYS}
    return Table(
        images,
        classes,
        gt_ignored=arrays.get(f"{kind}_gt_ignored"),
        plain=bool(arrays.get(f"{kind}_plain", False)),
        **{name: a.astype(np.int64) if a.dtype == np.int32 else a for name, a in values.items()},
    )
