"""The figures of a data set, and for BDD100K weather, scene, time of day, occlusion and truncation."""

import pathlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from bdd100k.config import CLASS_NAMES
from bdd100k.dataset import BDD100KDataset
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.errors import InputError
from mrcnn.inspection.statistics import balancing, collect, summarise

ATTRIBUTES = {"weather": "Weather", "scene": "Scene", "timeofday": "Time of day"}
FLAGS = ("occluded", "truncated")
UNSTATED = "not stated"


def attributes(dataset: BDD100KDataset) -> dict[str, dict[str, int]]:
    """How many images have each weather, scene and time of day, the commonest first."""
    result = {}
    for key in ATTRIBUTES:
        values = Counter(str(info["frame"].attributes.get(key) or UNSTATED) for info in dataset.image_info)
        result[key] = dict(values.most_common())
    return result


def flags(dataset: BDD100KDataset) -> dict[str, dict[str, float | None]]:
    """Shares of occluded and truncated objects: of all and of each class, None for a class without objects.

    Ignored objects and crowds are left out. Formats without these flags give 0.
    """
    labels = [label for info in dataset.image_info for label in info["frame"].objects]
    labels = [label for label in labels if not (label.crowd or label.ignored)]
    result: dict[str, dict[str, float | None]] = {}
    for flag in FLAGS:
        counted = Counter(label.category for label in labels)
        marked = Counter(label.category for label in labels if getattr(label, flag))
        shares = {name: marked[name] / counted[name] if counted[name] else None for name in CLASS_NAMES}
        result[flag] = {"all": marked.total() / len(labels) if labels else None, **shares}
    return result


def write_statistics(
    dataset: Dataset, config: Config, out: pathlib.Path, progress: Callable[[Iterable], Iterable] = iter
) -> dict[str, Any]:
    """Computes everything and draws it.

    Args:
        dataset: prepared; one split.
        config: image size, anchors and REPEAT_THRESHOLD are read.
        out: an existing folder; gets classes.png, objects.png, anchors.png and, for BDD100K, attributes.png.
        progress: wraps the loop over the images.

    Returns:
        All figures, ready for JSON: those of `mrcnn.inspection.statistics.summarise`, and balancing, anchors,
        attributes, flags.

    Raises:
        InputError: an image or its labels cannot be used, or there is no object.
    """
    from mrcnn.inspection import (
        anchor_fit,
        statistics_plots,  # late: they bring in Keras
    )

    objects = collect(dataset, progress)
    if not len(objects.class_ids):
        raise InputError(
            f"the {len(dataset.image_ids)} images have no object: there is nothing to count; give a split with labels"
        )
    figures = {**summarise(objects), "balancing": balancing(objects, config)}
    groups = anchor_fit.training_boxes(objects, config)
    proposal = anchor_fit.propose(groups, config)
    figures["anchors"] = {
        "inputs": [{"shape": list(map(int, g.shape)), "objects": len(g.boxes)} for g in groups],
        "scales": list(config.RPN_ANCHOR_SCALES),
        "ratios": list(config.RPN_ANCHOR_RATIOS),
        "fit": anchor_fit.fit(groups, config),
        "proposal": None
        if proposal is None
        else {
            "scales": list(proposal.scales),
            "ratios": proposal.ratios,
            "fit": proposal.after,
            "options": proposal.options,
        },
    }
    statistics_plots.plot_classes(figures, figures["balancing"], out / "classes.png")
    statistics_plots.plot_objects(objects, figures, out / "objects.png")
    overlaps = {"now": anchor_fit.overlaps_of(groups, config)}
    if proposal is not None:
        overlaps["proposed"] = anchor_fit.overlaps_of(groups, config, proposal.scales, proposal.ratios)
    proposed = None if proposal is None else (proposal.scales, proposal.ratios)
    statistics_plots.plot_anchors(groups, config, overlaps, proposed, out / "anchors.png")
    if isinstance(dataset, BDD100KDataset):
        figures |= {"attributes": attributes(dataset), "flags": flags(dataset)}
        shares = {key: _shares(values) for key, values in figures["attributes"].items()}
        shares |= {flag: {name: share or 0.0 for name, share in figures["flags"][flag].items()} for flag in FLAGS}
        titles = {
            **{key: f"{title}, images" for key, title in ATTRIBUTES.items()},
            **{flag: f"{flag.capitalize()}, objects" for flag in FLAGS},
        }
        statistics_plots.plot_shares(shares, titles, out / "attributes.png")
    return figures


def _shares(counts: dict[str, int]) -> dict[str, float]:
    total = max(1, int(np.sum(list(counts.values()))))
    return {name: count / total for name, count in counts.items()}
