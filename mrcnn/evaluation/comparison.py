"""Two evaluations of the same images: how far their figures are apart, and how sure that is.

The difference has an interval of its own. Both runs are evaluated on the same drawn images, sample by sample, so what
makes an image hard for both does not count (a paired bootstrap); the intervals of two figures may overlap, and their
difference still be sure.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.errors import InputError
from mrcnn.evaluation import bootstrap, match_table
from mrcnn.evaluation.coco_ap import Figures
from mrcnn.evaluation.match_table import Stored

RESULT_FILE = "result.json"
_PER_CLASS = ("AP", "AP50", "AP75")
_NEEDED = ("evaluated", "images", "mask", "box", "per_class", "per_image", "pr_curves", "errors", "matterport")


@dataclasses.dataclass
class Run:
    """An evaluation that was stored.

    Attributes:
        folder: Where.
        result: What result.json has.
        stored: What matches.npz has.
    """

    folder: pathlib.Path
    result: dict[str, Any]
    stored: Stored


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Reads a folder that scripts/evaluate.py wrote.

    Raises:
        InputError: There is no such folder, or it has no result of an evaluation.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give two folders that evaluate.py wrote (its --out)")
    path = folder / RESULT_FILE
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{folder} has no {RESULT_FILE} ({error.strerror}); give two folders that evaluate.py wrote"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid JSON: {error}; evaluate that run again") from error
    missing = [name for name in _NEEDED if not isinstance(result, dict) or name not in result]
    if missing:
        raise InputError(
            f"{path} is no result of this version's evaluation ({', '.join(missing)} missing); evaluate that run again"
        )
    stored = match_table.load(folder / match_table.FILE)
    objects = np.bincount(stored.tables["mask"].gt_image[~stored.tables["mask"].gt_crowd], minlength=len(stored.images))
    if [row["objects"] for row in result["per_image"]] != objects.tolist():
        raise InputError(f"{path} and {match_table.FILE} beside it are of different images; evaluate that run again")
    return Run(folder, result, stored)


def compare(a: Run, b: Run, samples: int = bootstrap.SAMPLES, seed: int = 0) -> dict[str, Any]:
    """The figures of two runs and their differences.

    Args:
        a, b: The runs. Differences are b - a.
        samples: Of the bootstrap; 0 leaves the intervals out.
        seed: Of the bootstrap.

    Returns:
        "images", "samples", "level", "seed"; "mask" and "box": figure -> row; "matterport" -> mAP50 -> row; "per_class"
        name -> "mask", "box" -> AP, AP50, AP75 -> row; "official": protocol that both runs have -> "mask" figure ->
        row, "per_class" name -> AP, AP50, AP75 -> row; "per_image": image, a, b, difference (Matterport's AP50), the
        largest loss first; "settings": name -> (a, b) where they differ. A row is a, b, difference, interval ([low,
        high] or None), better ("a", "b" or None: whether the interval excludes 0).

    Raises:
        InputError: The runs are not of the same images with the same truth and classes.
    """
    _refuse_different(a, b)
    images = len(a.stored.images)
    weights = bootstrap.draw(images, samples, seed) if samples else None
    result: dict[str, Any] = {"images": images, "samples": samples, "level": bootstrap.LEVEL, "seed": seed}
    per_class: dict[str, dict[str, Any]] = {name: {} for name in a.stored.names}
    for kind in ("mask", "box"):
        classes = [{name: own[kind] for name, own in run.result["per_class"].items()} for run in (a, b)]
        result[kind], of_class = _rows(a, b, kind, [run.result[kind] for run in (a, b)], classes, weights)
        for name, own in of_class.items():
            per_class[name][kind] = own
    result["official"] = _official(a, b, weights)
    ap50 = [
        {n: row["AP50"] for n, row in enumerate(run.result["per_image"]) if row["AP50"] is not None} for run in (a, b)
    ]
    means = [None if weights is None else bootstrap.sampled_mean(values, weights) for values in ap50]
    result["matterport"] = {"mAP50": _row([run.result["matterport"]["mAP50"] for run in (a, b)], means)}
    rows = [
        {"image": a.stored.images[n], "a": ap50[0][n], "b": ap50[1][n], "difference": ap50[1][n] - ap50[0][n]}
        for n in ap50[0]
    ]
    return {
        **result,
        "per_class": per_class,
        "per_image": sorted(rows, key=lambda row: row["difference"]),
        "settings": _different_settings(a.result["evaluated"], b.result["evaluated"]),
    }


def _rows(
    a: Run, b: Run, kind: str, figures: list[Figures], classes: list[dict[str, Figures]], weights: np.ndarray | None
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The rows of all classes together, and of each class.

    Args:
        a, b: The runs.
        kind: Name of the tables; runs of earlier versions have none of the protocols, and so no interval.
        figures, classes: COCO's twelve of both runs; class name -> AP, AP50, AP75 and more.
        weights: int [B, I] of the bootstrap, or None.
    """
    tables = [run.stored.tables.get(kind) for run in (a, b)]
    sampled = [
        ({}, []) if weights is None or table is None else bootstrap.samples_of_table(table, weights) for table in tables
    ]
    of_class = {}
    for k, name in enumerate(a.stored.names):
        samples = [own[k] if own else {} for _, own in sampled]
        of_class[name] = {
            figure: _row([own[name][figure] for own in classes], [s.get(figure) for s in samples])
            for figure in _PER_CLASS
        }
    return {
        figure: _row([own[figure] for own in figures], [overall.get(figure) for overall, _ in sampled])
        for figure in figures[0]
    }, of_class


def _official(a: Run, b: Run, weights: np.ndarray | None) -> dict[str, Any]:
    """The rows of the protocols that both runs have."""
    known = [
        {name: own for name, own in run.result.get("official", {}).items() if isinstance(own, dict)} for run in (a, b)
    ]
    result = {}
    for name in known[0]:
        if name in known[1]:
            mask, classes = ([own[name][part] for own in known] for part in ("mask", "per_class"))
            rows, of_class = _rows(a, b, name, mask, classes, weights)
            result[name] = {"mask": rows, "per_class": of_class}
    return result


def _row(values: Sequence[float | None], samples: Sequence[np.ndarray | None]) -> dict[str, Any]:
    (a, b), (samples_a, samples_b) = values, samples
    interval = None
    if samples_a is not None and samples_b is not None and a is not None and b is not None:
        interval = bootstrap.interval(samples_b - samples_a)
    better = None if interval is None else "b" if interval[0] > 0 else "a" if interval[1] < 0 else None
    return {
        "a": a,
        "b": b,
        "difference": None if a is None or b is None else b - a,
        "interval": interval,
        "better": better,
    }


def _refuse_different(a: Run, b: Run) -> None:
    """Raises InputError unless both runs are of the same images, classes and objects."""
    ours, theirs = a.stored.images, b.stored.images
    if ours != theirs:
        raise InputError(
            f"{a.folder} and {b.folder} are of different images: {_difference(ours, theirs)}. Evaluate "
            "both on the same data, --split and --limit"
        )
    if a.stored.names != b.stored.names:
        raise InputError(
            f"{a.folder} has the classes {', '.join(a.stored.names)}; {b.folder} has "
            f"{', '.join(b.stored.names)}: they cannot be compared"
        )
    first, second = (run.stored.tables["mask"] for run in (a, b))
    for name in ("gt_image", "gt_class", "gt_crowd", "gt_area"):
        one, other = getattr(first, name), getattr(second, name)
        if not np.array_equal(one, other):
            differ = np.flatnonzero(one[: len(other)] != other[: len(one)])
            at = int(differ[0]) if len(differ) else min(len(one), len(other))
            image = ours[int((first if at < len(first.gt_image) else second).gt_image[at])]
            raise InputError(
                f"{a.folder} and {b.folder} were evaluated against different labels, of image {image} for "
                "example: were they changed, or --rectangles given once? Evaluate both again"
            )


def _difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    if set(ours) == set(theirs):
        return "the order differs"
    told = []
    for name, some, other in (("first", ours, theirs), ("second", theirs, ours)):
        only = sorted(set(some) - set(other))
        told.append(f"{len(some)} in the {name}" + (f", {len(only)} only there such as {only[0]}" if only else ""))
    return "; ".join(told)


def _different_settings(a: dict[str, Any], b: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What was evaluated with, as far as it differs; settings of the model by their names."""
    flat = [{**{k: v for k, v in run.items() if k != "settings"}, **run.get("settings", {})} for run in (a, b)]
    return {
        name: (flat[0].get(name), flat[1].get(name))
        for name in dict.fromkeys([*flat[0], *flat[1]])
        if flat[0].get(name) != flat[1].get(name)
    }
