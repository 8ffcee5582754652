"""BDD100K's two protocols of instance segmentation, and the files that they take (github.com/bdd100k/bdd100k).

Both are COCO's figures on masks without overlaps. Predictions are flattened first: the better score has the pixel
(`bdd100k.evaluation.flatten`), at most 100 objects per image. The same predictions get other figures than by COCO's
protocol, and each protocol gets its own: say which one a figure is from. What follows is what the code of the official
toolkits (`bdd100k` and `scalabel`) does, and where their documentation says something else:

*Bitmask protocol*, that of the server: one RGBA PNG per image and `[{name, labels: [{index, score}]}]`.
    - A detection takes the object of its class with the largest IoU that is free; of equal ones the one with the lower
      instance id. COCO would take an object that counts before an ignored one; here they are alike.
    - Matched with an object whose ignore bit is set, a detection counts neither way, as does the object.
    - A crowd is never used up, as in COCO. But overlap with it is plain IoU (COCO: the share of the detection on it),
      and a crowd without the ignore bit is an object to be found, on which every detection is right: recall can exceed
      1. The documentation says that crowds and ignored objects are not considered.
    - A detection without a pixel left is dropped before it is counted.
    - The limit of 100 that the code names cuts the objects, not the detections; an image with more than 100 objects
      ends with an error there. Detections are cut at 100 per image and class, as in COCO. 100 per image in all, which
      BDD100K asks for, is kept by the files written here.
*RLE protocol*: `[{name, labels: [{id, category, score, rle: {counts, size}}]}]`.
    - Crowds and ignored objects are crowds to COCO's code.
    - If any two masks of an image overlap, the official code drops all predictions of that image; its message speaks of
      removing "such predictions". The files written here have no overlaps. "AP_as_given" is what the predictions would
      get without being flattened.
The documentation calls the difference between the two negligible (below 0.1 %). That holds where there are no crowds.
"""

import dataclasses
import logging
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools import mask as coco_mask

from bdd100k.config import CLASS_NAMES
from bdd100k.evaluation.flatten import MOST, Flat, flatten, paint
from mrcnn.evaluation import bootstrap, coco_ap
from mrcnn.evaluation.coco_results import category_ids, image_key, image_shape
from mrcnn.evaluation.match_table import Builder, Table, match, rank
from mrcnn.structures.rle import crop_to_rle

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset
    from mrcnn.evaluation.evaluator import Result


log = logging.getLogger(__name__)

SAMPLES = 200  # of the bootstrap, for the intervals of AP
_PER_CLASS = ("AP", "AP50", "AP75")
Write = Callable[[str, Flat, tuple[int, int]], None]


def has_official_classes(dataset: "Dataset") -> bool:
    """Whether a dataset has BDD100K's eight classes, so that the protocols apply."""
    ids = list(range(len(CLASS_NAMES) + 1))
    return list(dataset.class_names[1:]) == list(CLASS_NAMES) and category_ids(dataset) == ids


def add_official(result: "Result", dataset: "Dataset", image_ids: Sequence[int], write: Write | None = None) -> None:
    """Fills `result.official`: "bitmask" and "rle", each with "mask" (COCO's twelve), "per_class" (AP, AP50, AP75),
    "interval" (of AP) and "detections" (what was left after flattening); "rle" also has "overlapping_images" and
    "AP_as_given"; "at_most" is the limit of objects per image. `result.tables` gets the overlaps of both, images in the
    order of their names.

    Args:
        result: What `evaluate` returned for these images.
        dataset: With BDD100K's eight classes.
        image_ids: The images that were evaluated.
        write: Called with name, flat predictions and (height, width) of every image, to write submissions.
    """
    builders = {name: Builder(len(CLASS_NAMES)) for name in ("bitmask", "rle", "as_given")}
    crowds, ignored = [], []
    overlapping = 0
    entries_of = _by_image(result, dataset)
    by_name = sorted(image_ids, key=lambda image_id: frame_name(dataset, image_id))
    for image_id in by_name:
        shape = image_shape(dataset, image_id)
        given = entries_of(image_id)
        flat = flatten(given, shape)
        if write is not None:
            write(frame_name(dataset, image_id), flat, shape)
        overlapping += flat.overlapped
        truth = _truth(dataset, image_id, shape)
        crowds.append(truth["crowd"])
        ignored.append(truth["ignore"])
        left = _columns([(e, rle) for e, rle in zip(flat.entries, flat.visible, strict=True) if rle is not None])
        objects = (truth["areas"], truth["rles"])
        either = truth["crowd"] | truth["ignore"]
        builders["bitmask"].add(truth["class"], np.zeros(len(either), bool), *objects, *left)
        builders["rle"].add(truth["class"], either, *objects, *left)
        overlap = _meet(given, flat)
        builders["as_given"].add(
            truth["class"], either, *objects, *_columns([] if overlap else [(e, e["segmentation"]) for e in given])
        )
    weights = bootstrap.draw(len(by_name), SAMPLES, result.intervals["seed"]) if result.intervals else None
    bitmask = dataclasses.replace(
        builders["bitmask"].table(),
        gt_crowd=np.concatenate([np.zeros(0, bool), *crowds]),
        gt_ignored=np.concatenate([np.zeros(0, bool), *ignored]),
        plain=True,
    )
    result.tables.update(bitmask=bitmask, rle=builders["rle"].table())
    result.official = {
        "at_most": MOST,
        "bitmask": _figures(bitmask, weights),
        "rle": {
            **_figures(result.tables["rle"], weights),
            "overlapping_images": overlapping,
            "AP_as_given": coco_ap.twelve(*coco_ap.figures_of_table(builders["as_given"].table()))["AP"],
        },
    }


def frame_name(dataset: "Dataset", image_id: int) -> str:
    """What BDD100K calls the image: the file name."""
    info = dataset.image_info[image_id]
    return str(info.get("name") or (pathlib.Path(info["path"]).name if info.get("path") else info["id"]))


def _by_image(result: "Result", dataset: "Dataset") -> Callable[[int], list[dict[str, Any]]]:
    """A function from an image to its entries, from a store or from a list."""
    predictions = result.predictions
    if not isinstance(predictions, list):
        return lambda image_id: predictions.of_image(image_key(dataset, image_id))
    groups: dict[Any, list[dict[str, Any]]] = {}
    for entry in predictions:
        groups.setdefault(entry["image_id"], []).append(entry)
    return lambda image_id: groups.get(image_key(dataset, image_id), [])


def _truth(dataset: "Dataset", image_id: int, shape: tuple[int, int]) -> dict[str, Any]:
    """The objects without overlaps; where labels overlap, the later one lies on top, as the official masks are made."""
    instances = dataset.load_instances(image_id)
    rles: list[Any] = [
        crop_to_rle(box, crop, shape) for box, crop in zip(instances.boxes_px.tolist(), instances.crops, strict=True)
    ]
    covered = int(coco_mask.area(coco_mask.merge(rles))) if rles else 0
    if sum(int(coco_mask.area(rle)) for rle in rles) > covered:
        rles = paint(rles[::-1], shape)[1][::-1]
    seen = [i for i, rle in enumerate(rles) if rle is not None]
    return {
        "class": instances.class_ids[seen] - 1,
        "crowd": instances.crowd[seen],
        "ignore": instances.ignore[seen],
        "rles": [rles[i] for i in seen],
        "areas": [float(coco_mask.area(rles[i])) for i in seen],
    }


def _meet(given: list[dict[str, Any]], flat: Flat) -> bool:
    """Whether any two of all given masks overlap, those beyond the limit too."""
    if flat.overlapped or len(given) <= len(flat.entries):
        return flat.overlapped
    masks = [e["segmentation"] for e in given]
    return sum(int(coco_mask.area(rle)) for rle in masks) > int(coco_mask.area(coco_mask.merge(masks)))


def _columns(entries: list[tuple[dict, dict]]) -> tuple[list, list, list, list]:
    """Classes, scores, areas and masks of entries with their masks, as `Builder.add` takes them."""
    rles = [rle for _, rle in entries]
    return (
        [e["category_id"] - 1 for e, _ in entries],
        [e["score"] for e, _ in entries],
        [float(coco_mask.area(rle)) for rle in rles],
        rles,
    )


def _figures(table: Table, weights: np.ndarray | None) -> dict[str, Any]:
    precision, recall = coco_ap.figures_of_table(table)
    per_class = {}
    for k, name in enumerate(CLASS_NAMES):
        figures = coco_ap.twelve(precision[:, :, [k]], recall[:, [k]])
        per_class[name] = {figure: figures[figure] for figure in _PER_CLASS}
    matches = match(table)
    ranked = [rank(table, matches, k, table.ignored) for k in range(table.classes)]
    return {
        "mask": coco_ap.twelve(precision, recall),
        "per_class": per_class,
        "detections": len(table.dt_score),
        "interval": None if weights is None else bootstrap.interval_of_ap(ranked, weights),
    }
