"""Figures for a part of the data: images by an attribute, objects by size or by what hides them.

A slice of images is evaluated as if it were all. A slice of objects is evaluated as COCO does its sizes: the other
objects are ignored, so that detections on them do not count. What a detection that lies on no object was meant for
cannot be known: unless its size tells, it is a mistake in every slice of objects, and AP of a rare kind of object is
low for that alone. AR has no such fault.

Legend: that of `mrcnn.evaluation.match_table`; B samples of the bootstrap.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.evaluation import bootstrap
from mrcnn.evaluation.match_table import AREAS, Ranked, Table, area_ignored, match, precision_at, rank

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset
    from mrcnn.structures.instances import Instances


ATTRIBUTES = ("weather", "scene", "timeofday")
SAMPLES = 200  # of the bootstrap: an interval for each slice takes as long as one for all images
_FLAGS = {"occluded": ("occlusion", "occluded", "visible"), "truncated": ("truncation", "truncated", "whole")}
_LEAST = 5  # images for an interval
_MOST = 30  # values of an attribute; one with more is a name, not a kind


def image_groups(dataset: "Dataset", image_ids: Sequence[int]) -> dict[str, dict[str, np.ndarray]]:
    """Attribute -> value -> bool [I], for what `image_info[i]["attributes"]` says of the images.

    Values come in order of frequency. Images without the attribute are in none of its slices.
    """
    groups: dict[str, dict[str, np.ndarray]] = {}
    for position, image_id in enumerate(image_ids):
        attributes = dataset.image_info[image_id].get("attributes") or {}
        for name, value in attributes.items():
            if isinstance(value, str):
                values = groups.setdefault(name, {})
                values.setdefault(value, np.zeros(len(image_ids), bool))[position] = True
    known = [name for name in (*ATTRIBUTES, *groups) if name in groups and len(groups[name]) <= _MOST]
    return {
        name: dict(sorted(groups[name].items(), key=lambda item: (-item[1].sum(), item[0])))
        for name in dict.fromkeys(known)
    }


class Flags:
    """Properties of the objects, image by image: what `dataset.object_flags` says, if it has that method."""

    def __init__(self, dataset: Any) -> None:
        self._ask = getattr(dataset, "object_flags", None)
        self._rows: list[dict[str, np.ndarray]] = []

    def add(self, image_id: int, instances: "Instances") -> None:
        """Asks for one image."""
        if self._ask is not None:
            self._rows.append(self._ask(image_id, instances))

    def joined(self) -> dict[str, np.ndarray]:
        """bool [G] each."""
        names = self._rows[0] if self._rows else {}
        return {name: np.concatenate([row[name] for row in self._rows]) for name in names}


def slices(
    table: Table, groups: dict[str, dict[str, np.ndarray]], flags: dict[str, np.ndarray], weights: np.ndarray | None
) -> dict[str, dict[str, dict[str, Any]]]:
    """`Result.slices`. Slices of fewer than five images have no interval: it would seem narrower than it is.

    Args:
        table: Overlaps of masks.
        groups: Attribute -> value -> bool [I].
        flags: "occluded", "truncated": bool [G].
        weights: int [B, I] of the bootstrap, or None for no intervals.
    """
    weights = None if weights is None else weights[:SAMPLES]
    everything = _ranked(table, table.gt_crowd)
    result = {
        name: {
            value: _figures([_some_images(r, chosen) for r in everything], int(chosen.sum()), weights)
            for value, chosen in values.items()
        }
        for name, values in groups.items()
    }
    result["size"] = {
        name: _figures(_ranked(table, area_ignored(table, area), area), table.images, weights)
        for name, area in AREAS.items()
        if name != "all"
    }
    for flag, (attribute, yes, no) in _FLAGS.items():
        if flag in flags:
            result[attribute] = {
                value: _figures(_ranked(table, table.gt_crowd | (flags[flag] != wanted)), table.images, weights)
                for value, wanted in ((yes, True), (no, False))
            }
    return result


def _ranked(table: Table, gt_ignored: np.ndarray, area: tuple[float, float] | None = None) -> list[Ranked]:
    matches = match(table, gt_ignored)
    return [rank(table, matches, class_id, gt_ignored, area) for class_id in range(table.classes)]


def _some_images(ranked: Ranked, chosen: np.ndarray) -> Ranked:
    kept = chosen[ranked.image]
    return Ranked(
        ranked.image[kept], ranked.score[kept], ranked.hit[:, kept], ranked.counted[:, kept], ranked.per_image * chosen
    )


def _figures(ranked: list[Ranked], images: int, weights: np.ndarray | None) -> dict[str, Any]:
    real = [r for r in ranked if r.per_image.sum()]
    result: dict[str, Any] = {
        "images": images,
        "objects": int(sum(r.per_image.sum() for r in real)),
        "AP": None,
        "AP50": None,
        "AR100": None,
        "interval": None,
    }
    if not real:
        return result
    precision = np.stack([precision_at(r.hit, r.counted, int(r.per_image.sum())) for r in real])  # [K, T, 101]
    recall = [r.hit.sum() / r.per_image.sum() / len(r.hit) for r in real]
    result.update(AP=float(precision.mean()), AP50=float(precision[:, 0].mean()), AR100=float(np.mean(recall)))
    if weights is not None and images >= _LEAST:
        result["interval"] = bootstrap.interval_of_ap(real, weights)
    return result
