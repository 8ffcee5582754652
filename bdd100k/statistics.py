"""Compute and plot the figures of a data set; for BDD100K also weather, scene, time of day, occlusion, truncation."""

import dataclasses
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from mrcnn.annotations.dataset import AnnotatedDataset
from mrcnn.config import Config
from mrcnn.errors import InputError
from mrcnn.inspection.statistics import balancing, collect, summarise

if TYPE_CHECKING:
    from mrcnn.inspection.anchor_fit import Fits

UNSTATED = "not stated"


def attributes(dataset: AnnotatedDataset) -> dict[str, dict[str, int]]:
    """Return how many images have each value of each of the dataset's IMAGE_ATTRIBUTES, the most frequent first."""
    result = {}
    for key in dataset.IMAGE_ATTRIBUTES:
        values = Counter(str(info["annotated"].attributes.get(key) or UNSTATED) for info in dataset.image_info)
        result[key] = dict(values.most_common())
    return result


def flags(dataset: AnnotatedDataset) -> dict[str, dict[str, float | None]]:
    """Return the fraction of objects with each of the dataset's OBJECT_FLAGS.

    Ignored objects and crowds are left out. Formats without these flags give 0.

    Returns:
        Flag -> class name, or "all" -> fraction; None for a class without objects.
    """
    labels = [label for info in dataset.image_info for label in info["annotated"].objects]
    labels = [label for label in labels if not (label.crowd or label.ignore)]
    result: dict[str, dict[str, float | None]] = {}
    for flag in dataset.OBJECT_FLAGS:
        counted = Counter(label.name for label in labels)
        marked = Counter(label.name for label in labels if getattr(label, flag))
        fractions = {name: marked[name] / counted[name] if counted[name] else None for name in dataset.class_names[1:]}
        result[flag] = {"all": marked.total() / len(labels) if labels else None, **fractions}
    return result


def write_statistics(
    dataset: AnnotatedDataset, config: Config, out: pathlib.Path, progress: Callable[[Iterable], Iterable] = iter
) -> dict[str, Any]:
    """Compute all figures of a data set and plot them.

    Args:
        dataset: prepared; one split.
        config: image size, anchors and REPEAT_THRESHOLD are read.
        out: an existing folder for classes.png, objects.png, anchors.png and, for BDD100K, attributes.png.
        progress: wraps the loop over the images, for a progress bar.

    Returns:
        All figures, ready for JSON: those of `mrcnn.inspection.statistics.summarise`, and balancing, anchors,
        attributes, flags.

    Raises:
        InputError: an image or its labels cannot be used, or there is no object.
    """
    from mrcnn.inspection import anchor_fit, statistics_plots  # late: they import Keras

    objects = collect(dataset, progress)
    if not len(objects.class_ids):
        raise InputError(
            f"the {len(dataset.image_ids)} images have no object: there is nothing to count; give a split with labels"
        )
    summary, shown = summarise(objects), balancing(objects, config)
    figures = dataclasses.asdict(summary)
    figures["balancing"] = {setting: dataclasses.asdict(own) for setting, own in shown.items()}
    groups = anchor_fit.training_boxes(objects, config)
    proposal = anchor_fit.propose(groups, config)
    figures["anchors"] = {
        "inputs": [{"shape": list(map(int, g.shape)), "objects": len(g.boxes)} for g in groups],
        "scales": list(config.RPN_ANCHOR_SCALES),
        "ratios": list(config.RPN_ANCHOR_RATIOS),
        "fit": _to_json(anchor_fit.fit(groups, config)),
        "proposal": None
        if proposal is None
        else {
            "scales": list(proposal.scales),
            "ratios": proposal.ratios,
            "fit": _to_json(proposal.after),
            "options": proposal.options,
        },
    }
    statistics_plots.plot_classes(summary, shown, out / "classes.png")
    statistics_plots.plot_objects(objects, summary, out / "objects.png")
    overlaps = {"now": anchor_fit.overlaps_of(groups, config)}
    if proposal is not None:
        overlaps["proposed"] = anchor_fit.overlaps_of(groups, config, proposal.scales, proposal.ratios)
    proposed = None if proposal is None else (proposal.scales, proposal.ratios)
    statistics_plots.plot_anchors(groups, config, overlaps, proposed, out / "anchors.png")
    if dataset.IMAGE_ATTRIBUTES:
        figures |= {"attributes": attributes(dataset), "flags": flags(dataset)}
        shares, titles = _shares(dataset, figures["attributes"], figures["flags"])
        statistics_plots.plot_shares(shares, titles, out / "attributes.png")
    return figures


def _to_json(fits: "Fits") -> dict[str, dict[str, float] | None]:
    return {size: None if fit is None else fit.to_json() for size, fit in fits.items()}


def _shares(
    dataset: AnnotatedDataset, counts: dict[str, dict[str, int]], flagged: dict[str, dict[str, float | None]]
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """What attributes.png shows: fractions of images and of objects, and the titles."""
    images = max(1, len(dataset.image_info))
    shares = {key: {name: count / images for name, count in values.items()} for key, values in counts.items()}
    shares |= {flag: {name: share or 0.0 for name, share in values.items()} for flag, values in flagged.items()}
    titles = {key: f"{title}, images" for key, title in dataset.IMAGE_ATTRIBUTES.items()}
    return shares, titles | {flag: f"{flag.capitalize()}, objects" for flag in dataset.OBJECT_FLAGS}
