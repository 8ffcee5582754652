"""Compares two evaluations of the same images: the differences of their figures, with confidence intervals.

The intervals come from a paired bootstrap: both evaluations use the same drawn images in every sample, so the
difficulty of an image cancels out. A difference can therefore be certain even if the intervals of the two figures
overlap.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mrcnn.errors import InputError
from mrcnn.evaluation import bootstrap, tide
from mrcnn.evaluation.result import CocoFigures, Interval, Result, to_json
from mrcnn.evaluation.stored_form import check_form
from mrcnn.evaluation.table_file import TABLE_FILE, StoredTables, load_tables
from mrcnn.user_files import read_json

RESULT_FILE = "result.json"
_PER_CLASS = ("AP", "AP50", "AP75")
_NEEDED = ("evaluated", "images", "mask", "box", "per_class", "per_image", "pr_curves", "errors", "matterport")

Figures = Mapping[str, float | None]


@dataclasses.dataclass
class StoredEvaluation:
    """An evaluation as scripts/evaluate.py stored it.

    Attributes:
        folder: The folder.
        result: The content of result.json: `Result.to_json`, with the model, data and settings under "evaluated".
        stored: The content of matches.npz.
    """

    folder: pathlib.Path
    result: dict[str, Any]
    stored: StoredTables


@dataclasses.dataclass
class _APs:
    """The figures of a class that a comparison reads."""

    AP: float | None
    AP50: float | None
    AP75: float | None


@dataclasses.dataclass
class _Protocol:
    """The figures of a benchmark's protocol that a comparison reads."""

    mask: CocoFigures
    per_class: dict[str, _APs]


def read_evaluation(folder: str | os.PathLike[str]) -> StoredEvaluation:
    """Read a folder that scripts/evaluate.py wrote.

    Raises:
        InputError: The folder is missing, or has no complete evaluation.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give two folders that evaluate.py wrote (its --out option)")
    path = folder / RESULT_FILE
    if not path.exists():
        raise InputError(f"{folder} has no {RESULT_FILE}; give two folders that evaluate.py wrote")
    try:
        result = read_json(path)
    except InputError as error:
        raise InputError(f"{path} is not valid JSON ({error}); evaluate again") from error
    missing = [name for name in _NEEDED if not isinstance(result, dict) or name not in result]
    if missing:
        raise InputError(f"{path} was not written by this version ({', '.join(missing)} missing); evaluate again")
    try:
        check_form(result, Result, "result")
        check_form(result["evaluated"], dict[str, Any], "result.evaluated")
        check_form(result["evaluated"].get("settings", {}), dict[str, Any], "result.evaluated.settings")
        check_form(result.get("official") or {}, dict[str, Any], "result.official")
        check_form(_protocols(result), dict[str, _Protocol], "result.official")
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}; evaluate again") from error
    stored = load_tables(folder / TABLE_FILE)
    table = stored.tables["mask"]
    objects = np.bincount(table.gt_image[~table.gt_crowd], minlength=len(stored.images))
    _check_parts(result, stored, path)
    if [row["objects"] for row in result["per_image"]] != objects.tolist():
        raise InputError(f"{path} and {TABLE_FILE} in the same folder are of different images; evaluate again")
    return StoredEvaluation(folder, result, stored)


@dataclasses.dataclass
class Difference:
    """One figure in both evaluations.

    Attributes:
        a, b: The figures.
        difference: b - a; None where one of them is undefined.
        interval: Confidence interval of the difference.
        better: "a" or "b" where the interval excludes 0, else None.
    """

    a: float | None
    b: float | None
    difference: float | None
    interval: Interval | None
    better: str | None


@dataclasses.dataclass
class ProtocolComparison:
    """The differences in a benchmark's protocol: COCO's twelve figures, and AP, AP50 and AP75 of each class."""

    mask: dict[str, Difference]
    per_class: dict[str, dict[str, Difference]]


@dataclasses.dataclass
class ImageDifference:
    """Matterport's AP50 of one image in both evaluations; `difference` is b - a."""

    image: str
    a: float
    b: float
    difference: float


@dataclasses.dataclass
class Comparison:
    """The figures of two evaluations and their differences; field names are the keys of compare.json.

    Attributes:
        images: Number of images.
        samples, level, seed: Number of samples, confidence level and random seed of the bootstrap.
        mask, box: COCO's twelve figures -> difference.
        official: Protocol that both evaluations have -> differences.
        matterport: "mAP50" -> difference.
        per_class: Class -> "mask", "box" -> AP, AP50, AP75 -> difference.
        per_image: One entry for each image with objects, the largest loss first.
        settings: Name -> its values (a, b), for the settings that differ.
    """

    images: int
    samples: int
    level: float
    seed: int
    mask: dict[str, Difference]
    box: dict[str, Difference]
    official: dict[str, ProtocolComparison]
    matterport: dict[str, Difference]
    per_class: dict[str, dict[str, dict[str, Difference]]]
    per_image: list[ImageDifference]
    settings: dict[str, tuple[Any, Any]]

    def to_json(self) -> dict[str, Any]:
        """Return the content of compare.json."""
        return to_json(self)


def compare(a: StoredEvaluation, b: StoredEvaluation, samples: int = bootstrap.SAMPLES, seed: int = 0) -> Comparison:
    """Compare the figures of two evaluations.

    Args:
        a, b: The evaluations. Differences are b - a.
        samples: Number of bootstrap samples; 0 leaves the intervals out.
        seed: Random seed of the bootstrap.

    Raises:
        InputError: The evaluations differ in images, labels or classes.
    """
    _refuse_different(a, b)
    images = len(a.stored.images)
    weights = bootstrap.draw(images, samples, seed) if samples else None
    both = (a.result, b.result)
    kinds = {}
    for kind in ("mask", "box"):
        classes = [{name: own[kind] for name, own in result["per_class"].items()} for result in both]
        kinds[kind] = _differences(a, b, kind, [result[kind] for result in both], classes, weights)
    ap50 = [{n: row["AP50"] for n, row in enumerate(result["per_image"]) if row["AP50"] is not None} for result in both]
    means = [None if weights is None else bootstrap.sampled_mean(values, weights) for values in ap50]
    per_image = [ImageDifference(a.stored.images[n], ap50[0][n], ap50[1][n], ap50[1][n] - ap50[0][n]) for n in ap50[0]]
    return Comparison(
        images=images,
        samples=samples,
        level=bootstrap.LEVEL,
        seed=seed,
        mask=kinds["mask"][0],
        box=kinds["box"][0],
        official=_official(a, b, weights),
        matterport={"mAP50": _difference([result["matterport"]["mAP50"] for result in both], means)},
        per_class={name: {kind: kinds[kind][1][name] for kind in kinds} for name in a.stored.names},
        per_image=sorted(per_image, key=lambda image: image.difference),
        settings=_different_settings(a.result["evaluated"], b.result["evaluated"]),
    )


def _differences(
    a: StoredEvaluation,
    b: StoredEvaluation,
    kind: str,
    figures: Sequence[Figures],
    classes: Sequence[Mapping[str, Figures]],
    weights: np.ndarray | None,
) -> tuple[dict[str, Difference], dict[str, dict[str, Difference]]]:
    """Compute the differences over all classes, and those of each class.

    Args:
        a, b: The evaluations.
        kind: Name of the tables. A table that is not stored (earlier versions stored none of the protocols) gets no
            interval.
        figures: COCO's twelve figures of each evaluation.
        classes: Class -> AP, AP50, AP75 and more, of each evaluation.
        weights: int32 [B, I], samples of the bootstrap, or None.
    """
    tables = [evaluation.stored.tables.get(kind) for evaluation in (a, b)]
    sampled = [
        ({}, []) if weights is None or table is None else bootstrap.samples_of_table(table, weights) for table in tables
    ]
    overall = {
        figure: _difference([own[figure] for own in figures], [samples.get(figure) for samples, _ in sampled])
        for figure in figures[0]
    }
    of_class = {}
    for k, name in enumerate(a.stored.names):
        of_this = [own[k] if own else {} for _, own in sampled]
        of_class[name] = {
            figure: _difference([own[name][figure] for own in classes], [s.get(figure) for s in of_this])
            for figure in _PER_CLASS
        }
    return overall, of_class


def _official(a: StoredEvaluation, b: StoredEvaluation, weights: np.ndarray | None) -> dict[str, ProtocolComparison]:
    """Compute the differences of the protocols that both evaluations have."""
    known = [_protocols(evaluation.result) for evaluation in (a, b)]
    result = {}
    for name in known[0]:
        if name in known[1]:
            figures, classes = ([own[name][part] for own in known] for part in ("mask", "per_class"))
            result[name] = ProtocolComparison(*_differences(a, b, name, figures, classes, weights))
    return result


def _check_parts(result: Mapping[str, Any], stored: StoredTables, path: pathlib.Path) -> None:
    """Raise InputError if the figures and the tables are of different classes, or the curves are not whole."""
    names, curves = set(stored.names), result["pr_curves"].get("mask", {})
    lists = [result["per_class"], *(own["per_class"] for own in _protocols(result).values())]
    if any(set(own) != names for own in lists) or not set(curves) <= names:
        raise InputError(f"{path} and {TABLE_FILE} in the same folder have different classes; evaluate again")
    if not set(tide.KINDS) <= set(result["errors"]["delta_ap"]) & set(result["errors"]["counts"]):
        raise InputError(f"{path} is damaged: a kind of error is missing; evaluate again")
    if any([len(line) for line in own] != [101] * 10 for own in curves.values()):
        raise InputError(f"{path} is damaged: a curve has other points than 10 x 101; evaluate again")


def _protocols(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a benchmark's protocols by name."""
    return {name: own for name, own in (result.get("official") or {}).items() if isinstance(own, dict)}


def _difference(values: Sequence[float | None], samples: Sequence[np.ndarray | None]) -> Difference:
    (a, b), (samples_a, samples_b) = values, samples
    if a is None or b is None:
        return Difference(a, b, None, None, None)
    if samples_a is None or samples_b is None:
        return Difference(a, b, b - a, None, None)
    interval = bootstrap.interval(samples_b - samples_a)
    better = None if interval is None else "b" if interval[0] > 0 else "a" if interval[1] < 0 else None
    return Difference(a, b, b - a, interval, better)


def _refuse_different(a: StoredEvaluation, b: StoredEvaluation) -> None:
    """Raise InputError unless both evaluations are of the same images, classes and objects."""
    images, others = a.stored.images, b.stored.images
    if images != others:
        raise InputError(
            f"{a.folder} and {b.folder} are of different images: {_image_difference(images, others)}. Evaluate both "
            "with the same data, --split and --limit"
        )
    if a.stored.names != b.stored.names:
        raise InputError(
            f"{a.folder} has the classes {', '.join(a.stored.names)}; {b.folder} has {', '.join(b.stored.names)}: they "
            "cannot be compared"
        )
    first, second = (evaluation.stored.tables["mask"] for evaluation in (a, b))
    for name in ("gt_image", "gt_class", "gt_crowd", "gt_area"):
        one, other = getattr(first, name), getattr(second, name)
        if not np.array_equal(one, other):
            differ = np.flatnonzero(one[: len(other)] != other[: len(one)])
            at = int(differ[0]) if len(differ) else min(len(one), len(other))
            image = images[int((first if at < len(first.gt_image) else second).gt_image[at])]
            raise InputError(
                f"{a.folder} and {b.folder} were evaluated against different labels, for example of image {image}. "
                "Were labels changed, or was --rectangles given for only one? Evaluate both again"
            )


def _image_difference(images: Sequence[str], others: Sequence[str]) -> str:
    if set(images) == set(others):
        return "the order differs"
    parts = []
    for name, some, other in (("first", images, others), ("second", others, images)):
        only = sorted(set(some) - set(other))
        parts.append(f"{len(some)} in the {name}" + (f", {len(only)} only there such as {only[0]}" if only else ""))
    return "; ".join(parts)


def _different_settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the entries of "evaluated" that differ, with the settings of the model under their own names."""
    flat = [{**{k: v for k, v in run.items() if k != "settings"}, **run.get("settings", {})} for run in (a, b)]
    return {
        name: (flat[0].get(name), flat[1].get(name))
        for name in dict.fromkeys([*flat[0], *flat[1]])
        if flat[0].get(name) != flat[1].get(name)
    }
