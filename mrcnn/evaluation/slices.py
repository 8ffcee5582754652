"""Figures for slices of the data: images by an attribute, objects by size or by a flag such as "occluded".

A slice of images is evaluated as if it were the whole data. A slice of objects is evaluated as COCO evaluates sizes:
the other objects are ignored, so detections on them do not count. A detection that lies on no object cannot be assigned
to a slice, except to one of sizes. It counts as a mistake in every slice, which lowers the AP of rare kinds of objects.
AR does not have this bias.

Legend: as in `mrcnn.evaluation.match_table`; B samples of the bootstrap.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mrcnn.evaluation import bootstrap
from mrcnn.evaluation.match_table import AREAS, Table
from mrcnn.evaluation.matching import Ranking, ignored_for_area, precision_at, rank_classes
from mrcnn.evaluation.result import SliceFigures

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset
    from mrcnn.structures.instances import Instances

SAMPLES = 200  # of the bootstrap; each slice costs as much time as the whole data
_MIN_IMAGES = 5  # a slice of fewer images gets no interval
_MAX_VALUES = 30  # an attribute with more values is a name rather than a category


class FlagNames(NamedTuple):
    """Display names of an object flag: of the attribute, and of the slices with and without the flag."""

    attribute: str
    yes: str
    no: str


@dataclasses.dataclass(frozen=True)
class Slicing:
    """The slices to evaluate for a dataset.

    Attributes:
        attributes: Attributes of images to list first; the others follow in their order of appearance.
        flags: Flag returned by `dataset.object_flags` -> its names; other flags make no slices.
    """

    attributes: Sequence[str] = ()
    flags: Mapping[str, FlagNames] = dataclasses.field(default_factory=dict)


def image_groups(
    dataset: "Dataset", image_ids: Sequence[int], first: Sequence[str] = ()
) -> dict[str, dict[str, np.ndarray]]:
    """Group images by their attributes, `image_info[i]["attributes"]`.

    Args:
        dataset: Dataset of the images.
        image_ids: [I].
        first: Attributes to list first.

    Returns:
        Attribute -> value -> bool [I], the images of the group; the most frequent value comes first. An image without
        an attribute is in none of its groups.
    """
    groups: dict[str, dict[str, list[int]]] = {}  # positions: arrays for a different value of each image may not fit
    for position, image_id in enumerate(image_ids):
        attributes = dataset.image_info[image_id].get("attributes") or {}
        for name, value in attributes.items():
            if isinstance(value, str):
                groups.setdefault(name, {}).setdefault(value, []).append(position)
    usable = [name for name in (*first, *groups) if name in groups and len(groups[name]) <= _MAX_VALUES]
    return {
        name: {
            value: np.isin(np.arange(len(image_ids)), own)
            for value, own in sorted(groups[name].items(), key=lambda item: (-len(item[1]), item[0]))
        }
        for name in dict.fromkeys(usable)
    }


class ObjectFlags:
    """Collects the flags of objects image by image from `dataset.object_flags`, if the dataset has that method."""

    def __init__(self, dataset: Any) -> None:
        self._read = getattr(dataset, "object_flags", None)
        self._rows: list[dict[str, np.ndarray]] = []

    def add(self, image_id: int, instances: "Instances") -> None:
        """Add the flags of the next image."""
        if self._read is not None:
            self._rows.append(self._read(image_id, instances))

    def joined(self) -> dict[str, np.ndarray]:
        """Return flag -> bool [G], over the objects of all images."""
        names = self._rows[0] if self._rows else {}
        return {name: np.concatenate([row[name] for row in self._rows]) for name in names}


def slices(
    table: Table,
    groups: Mapping[str, Mapping[str, np.ndarray]],
    flags: Mapping[str, np.ndarray],
    names: Mapping[str, FlagNames],
    weights: np.ndarray | None,
    size_samples: Mapping[str, np.ndarray],
) -> dict[str, dict[str, SliceFigures]]:
    """Evaluate every slice. Fewer than five images get no interval, since it would come out too narrow.

    Args:
        table: Overlaps of masks.
        groups: Attribute -> value -> bool [I].
        flags: Flag -> bool [G].
        names: Flag -> the names of its slices.
        weights: int [B, I], samples of the bootstrap, or None for no intervals.
        size_samples: "AP_S", "AP_M", "AP_L" -> float64 [B], as computed for the intervals of COCO's figures.

    Returns:
        Attribute -> value -> figures.
    """
    weights = None if weights is None else weights[:SAMPLES]
    everything = rank_classes(table, table.gt_crowd)
    result = {
        attribute: {
            value: _figures([_of_images(r, chosen) for r in everything], int(chosen.sum()), weights)
            for value, chosen in values.items()
        }
        for attribute, values in groups.items()
    }
    result["size"] = {}
    for size, figure in (("small", "AP_S"), ("medium", "AP_M"), ("large", "AP_L")):
        area = AREAS[size]
        own = _figures(rank_classes(table, ignored_for_area(table, area), area), table.images, None)
        if weights is not None and table.images >= _MIN_IMAGES:
            own.interval = bootstrap.interval(size_samples[figure][:SAMPLES])
        result["size"][size] = own
    for flag, (attribute, yes, no) in names.items():
        if flag in flags:
            result[attribute] = {
                value: _figures(rank_classes(table, table.gt_crowd | (flags[flag] != wanted)), table.images, weights)
                for value, wanted in ((yes, True), (no, False))
            }
    return result


def _of_images(ranking: Ranking, chosen: np.ndarray) -> Ranking:
    """Restrict a ranking to the chosen images, bool [I]."""
    kept = chosen[ranking.image]
    return Ranking(
        ranking.image[kept],
        ranking.score[kept],
        ranking.hit[:, kept],
        ranking.counted[:, kept],
        ranking.per_image * chosen,
    )


def _figures(rankings: list[Ranking], images: int, weights: np.ndarray | None) -> SliceFigures:
    defined = [r for r in rankings if r.objects]
    result = SliceFigures(images, sum(r.objects for r in defined))
    if defined:
        precision = np.stack([precision_at(r.hit, r.counted, r.objects) for r in defined])  # [K, T, 101]
        recall = [r.hit.sum() / r.objects / len(r.hit) for r in defined]
        result.AP, result.AP50 = float(precision.mean()), float(precision[:, 0].mean())
        result.AR100 = float(np.mean(recall))
        if weights is not None and images >= _MIN_IMAGES:
            result.interval = bootstrap.interval_of_ap(defined, weights)
    return result
