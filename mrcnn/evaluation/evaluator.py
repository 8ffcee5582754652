"""Evaluation on a dataset: COCO's figures for masks and boxes with confidence intervals, and what the errors are.

    result = evaluate(model, dataset)            # or evaluate("predictions.json", dataset)
    result.mask["AP"], result.intervals["mask"]["AP"], result.to_json()
    mask_ap(model, dataset)                      # COCO's mask AP alone, for use during training

Every image is looked at once: its overlaps go into a table of numbers (`mrcnn.evaluation.match_table`), the masks
are forgotten, and all figures are read from the table. Crowds and ignored objects are crowds to COCO's code: any number
of detections may lie on them, and those count neither as right nor as wrong.
"""

import dataclasses
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.errors import InputError
from mrcnn.evaluation import bootstrap, coco_ap, slices, tide
from mrcnn.evaluation import curves as curve_figures
from mrcnn.evaluation.coco_ap import ALL, IOU_50, TOP_100, Figures
from mrcnn.evaluation.coco_results import (
    Checked,
    Entry,
    Predictor,
    Progress,
    category_ids,
    check_predictions,
    image_key,
    image_shape,
    load_predictions,
    predict_images,
)
from mrcnn.evaluation.match_table import THRESHOLDS, Builder, Table, match, precision_at, rank
from mrcnn.evaluation.results_file import Store
from mrcnn.evaluation.voc_ap import (
    ap_from_matches,
    compute_ap,
    compute_ap_range,
    compute_matches,
    compute_overlaps_masks,
    compute_recall,
    match_overlaps,
)
from mrcnn.structures.instances import Instances
from mrcnn.structures.rle import crop_to_rle

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset


__all__ = [
    "Result",
    "compute_ap",
    "compute_ap_range",
    "compute_matches",
    "compute_overlaps_masks",
    "compute_recall",
    "evaluate",
    "mask_ap",
]

log = logging.getLogger(__name__)

Source = Predictor | str | os.PathLike[str] | list[Entry]


@dataclasses.dataclass
class Result:
    """Figures of one evaluation, from 0 to 1. A figure is None where there is no object to compute it from.

    "Twelve" is a dictionary of COCO's figures: AP (mean over IoU 0.50:0.05:0.95), AP50, AP75, AP_S, AP_M, AP_L (small
    < 32^2 px <= medium < 96^2 <= large, by mask area), AR1, AR10, AR100, AR_S, AR_M, AR_L. Lists of ten belong to
    `iou_thresholds`, lists of 101 to the recalls or scores 0, 0.01 ... 1. `to_json` has every field but the last three.

    Attributes:
        images: Number of images.
        objects: Number of objects, without crowds and ignored ones.
        ignored: Number of crowds and ignored objects.
        detections: Number of detections.
        engine: What computed `mask` and `box`; see `mrcnn.evaluation.coco_ap`.
        mask: Twelve, for masks. The headline.
        box: Twelve, for boxes.
        iou_thresholds: 0.50 ... 0.95.
        ap_by_iou: "mask", "box": AP at each threshold.
        per_class: Class name -> category_id, objects, ignored, detections, mask and box (twelve each), ap_by_iou.
        pr_curve: Precision of masks at IoU 0.5: "recall" [101], "precision" class name -> [101], for the classes that
            have objects, "mean" [101] over those classes (empty if there is none).
        pr_curves: "mask", "box": class name -> [10][101], interpolated precision at every IoU threshold and recall.
        score_curves: Masks at IoU 0.5 against a least score: "iou", "scores" [101], "all" (every class together) and
            "per_class" name -> "precision", "recall", "f1" [101] each, and "best": score, precision, recall, f1 where
            F1 is largest.
        confusion: "iou", "score" (the best one of all classes together), "classes" (C: names, then "background"),
            "counts" [C][C], rows truth, columns predictions: who was taken for whom; classes do not matter for the
            match.
        errors: TIDE's split at IoU 0.5 (arXiv:2008.08115): "iou", "background_iou", "AP50", "delta_ap" (what AP50 would
            gain if errors of one kind did not happen: class, place, both, duplicate, background, missed),
            "false_positives" and "false_negatives" (the gain without any of them), "counts" of each kind, "per_class"
            name -> AP50, delta_ap, counts.
        calibration: Whether a score of 0.8 means right in 80 %, by masks at IoU 0.5: "iou", "bins" (low, high, count,
            mean score, precision), "ece" (mean gap, weighted by count), "per_class" name -> ece, count.
        slices: Attribute ("weather", "scene", "timeofday", "size", "occlusion", "truncation") -> value -> images,
            objects, AP, AP50, AR100 (masks), interval (of AP). See `mrcnn.evaluation.slices`.
        intervals: "samples", "level", "seed" of the bootstrap over images; "mask" and "box": figure -> [low, high];
            "per_class" name -> "mask", "box" -> AP, AP50, AP75; "matterport" -> mAP50. Empty without samples.
        matterport: mAP50: `compute_ap` of each image at IoU 0.5 with classes pooled, averaged over the images with
            objects, as users of Matterport's code mean it. Crowds are left out of its truth. Not comparable with AP50.
        official: Figures of the protocols of a benchmark, filled in by its package (`bdd100k.evaluation.protocols`).
        per_image: For each image: "image" (as predictions name it), objects, detections, AP50 (Matterport's, or None).
        image_ap50: Dataset image id -> Matterport's AP at 0.5, for the images with objects.
        predictions: The COCO results that were evaluated: a list, or a `Store` (iterable) where one was given.
        tables: "mask" and "box": the overlaps that all figures were read from, as `mrcnn.evaluation.match_table` stores
            them; and those of `official`, by the names of the protocols.
    """

    images: int
    objects: int
    ignored: int
    detections: int
    engine: str
    mask: Figures
    box: Figures
    iou_thresholds: list[float]
    ap_by_iou: dict[str, list[float | None]]
    per_class: dict[str, dict[str, Any]]
    pr_curve: dict[str, Any]
    pr_curves: dict[str, dict[str, list[list[float]]]]
    score_curves: dict[str, Any]
    confusion: dict[str, Any]
    errors: dict[str, Any]
    calibration: dict[str, Any]
    slices: dict[str, dict[str, dict[str, Any]]]
    intervals: dict[str, Any]
    matterport: Figures
    official: dict[str, Any]
    per_image: list[dict[str, Any]]
    image_ap50: dict[int, float]
    predictions: list[Entry] | Store
    tables: dict[str, Table] = dataclasses.field(compare=False)

    def to_json(self) -> dict[str, Any]:
        """All figures and curves as plain numbers, None for what is undefined; without the last three fields."""
        left_out = ("image_ap50", "predictions", "tables")
        return {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name not in left_out
        }


@dataclasses.dataclass
class _Looked:
    """What was kept of the images.

    Attributes:
        tables: "mask" and, unless it was not wanted, "box".
        names: Class names without the background.
        keys: What predictions call each image.
        counts: int [I, (objects, ignored, detections)].
        given: int [K], detections of each class.
        ap50: Position of the image -> Matterport's AP.
        flags: bool [G] per property of objects, such as "occluded".
        truth, detections: COCO's lists, for the engines that need them; else empty.
    """

    tables: dict[str, Table]
    names: list[str]
    keys: list[int | str]
    counts: np.ndarray
    given: np.ndarray
    ap50: dict[int, float]
    flags: dict[str, np.ndarray]
    truth: dict[str, list]
    detections: list[dict]


def evaluate(
    source: Source,
    dataset: "Dataset",
    image_ids: Sequence[int] | np.ndarray | None = None,
    batch_size: int = 1,
    progress: Progress | None = None,
    *,
    store: Store | None = None,
    engine: str = "pycocotools",
    samples: int = bootstrap.SAMPLES,
    seed: int = 0,
) -> Result:
    """Evaluates a model, or predictions made earlier, on a dataset.

    Args:
        source: A model with `detect_instances`, a COCO results file, or its list of entries.
        dataset: Prepared dataset; the truth is `dataset.load_instances(image_id)`.
        image_ids: Which of its images; None means all. Predictions for others are left out.
        batch_size: Images per call of the model.
        progress: Wraps the list of batches while a model runs, for example `rich.progress.track`.
        store: A file for what the model finds, so that memory does not grow with it; what it already has is not
            predicted again.
        engine: What computes the twelve figures; see `mrcnn.evaluation.coco_ap`.
        samples: Samples of the bootstrap; 0 leaves the intervals out.
        seed: Of the bootstrap.

    Returns:
        The figures, the curves and the predictions.

    Raises:
        InputError: There is no image, a prediction cannot be used, or the engine is not there.
    """
    coco_ap.check_engine(engine)
    image_ids = _images(dataset, image_ids)
    per_image, predictions = _by_image(source, dataset, image_ids, batch_size, progress, store)
    looked = _look(per_image, dataset, image_ids, lists=engine != "pycocotools")
    arrays = {
        kind: coco_ap.arrays_of_table(table)
        if engine == "pycocotools"
        else coco_ap.arrays_of_lists(looked.truth, looked.detections, kind, engine)
        for kind, table in looked.tables.items()
    }
    weights = bootstrap.draw(len(image_ids), samples, seed) if samples else None
    table = looked.tables["mask"]
    found = curve_figures.at_half(table)
    score_curves = curve_figures.score_curves(found, looked.names)
    objects, ignored, detections = looked.counts.sum(axis=0).tolist()
    return Result(
        images=len(image_ids),
        objects=objects,
        ignored=ignored,
        detections=detections,
        engine=engine,
        mask=coco_ap.twelve(*arrays["mask"]),
        box=coco_ap.twelve(*arrays["box"]),
        iou_thresholds=[round(float(t), 2) for t in THRESHOLDS],
        ap_by_iou={kind: _ap_by_iou(precision) for kind, (precision, _) in arrays.items()},
        per_class=_per_class(looked, arrays, dataset),
        pr_curve=_pr_curve(arrays["mask"][0], looked.names),
        pr_curves={kind: _pr_curves(precision, looked.names) for kind, (precision, _) in arrays.items()},
        score_curves=score_curves,
        confusion=curve_figures.confusion(table, looked.names, score_curves["all"]["best"]["score"]),
        errors=tide.error_split(table, found, looked.names),
        calibration=curve_figures.calibration(found, looked.names),
        slices=slices.slices(table, slices.image_groups(dataset, image_ids), looked.flags, weights),
        intervals={}
        if weights is None
        else {"samples": samples, "level": bootstrap.LEVEL, "seed": seed, **_intervals(looked, weights)},
        matterport={"mAP50": float(np.mean(list(looked.ap50.values()))) if looked.ap50 else None},
        official={},
        per_image=_per_image(looked),
        image_ap50={image_ids[i]: ap for i, ap in looked.ap50.items()},
        predictions=predictions,
        tables=looked.tables,
    )


def mask_ap(
    source: Source, dataset: "Dataset", image_ids: Sequence[int] | np.ndarray | None = None, batch_size: int = 1
) -> float | None:
    """COCO's mask AP and nothing else: what a training run wants to know after an epoch.

    Args:
        source ... batch_size: As for `evaluate`.

    Returns:
        AP over IoU 0.50:0.05:0.95, equal to `evaluate(...).mask["AP"]`; None where there is no object.

    Raises:
        InputError: There is no image, or a prediction cannot be used.
    """
    image_ids = _images(dataset, image_ids)
    per_image, _ = _by_image(source, dataset, image_ids, batch_size, None, None, keep=False)
    table = _look(per_image, dataset, image_ids, only_masks=True).tables["mask"]
    matches = match(table)
    ranked = [rank(table, matches, class_id, table.gt_crowd) for class_id in range(table.classes)]
    aps = [precision_at(r.hit, r.counted, int(r.per_image.sum())) for r in ranked if r.per_image.sum()]
    return float(np.mean(aps)) if aps else None


def _images(dataset: "Dataset", image_ids: Sequence[int] | np.ndarray | None) -> list[int]:
    chosen = [int(i) for i in (dataset.image_ids if image_ids is None else image_ids)]
    if not chosen:
        raise InputError("there is no image to evaluate on; the dataset is empty (is `prepare()` missing?)")
    if len(set(chosen)) < len(chosen):
        raise InputError("image_ids has an image twice; each is evaluated once")
    return chosen


def _by_image(
    source: Source,
    dataset: "Dataset",
    image_ids: list[int],
    batch_size: int,
    progress: Progress | None,
    store: Store | None,
    keep: bool = True,
) -> tuple[Iterable[list[Entry]], list[Entry] | Store]:
    """The entries of each image in turn, and all of them, which may become complete only while the first are read."""
    if not isinstance(source, (str, os.PathLike, list)):
        held: list[Entry] = []
        found = _predicted(source, dataset, image_ids, batch_size, progress, store, held, keep)
        return found, held if store is None else store
    if isinstance(source, list):
        predictions = source if isinstance(source, Checked) else check_predictions(source, dataset)
    else:
        predictions = load_predictions(source, dataset)
    groups: dict[int | str, list[Entry]] = {image_key(dataset, image_id): [] for image_id in image_ids}
    used = [entry for entry in predictions if entry["image_id"] in groups]
    if len(used) < len(predictions):
        log.info(
            "%d of %d predictions are for images that are not evaluated", len(predictions) - len(used), len(predictions)
        )
    for entry in used:
        groups[entry["image_id"]].append(entry)
    without = sum(not group for group in groups.values())
    if without:
        log.info("%d of %d images have no prediction", without, len(image_ids))
    return list(groups.values()), used


def _predicted(
    source: Predictor,
    dataset: "Dataset",
    image_ids: list[int],
    batch_size: int,
    progress: Progress | None,
    store: Store | None,
    held: list[Entry],
    keep: bool,
) -> Iterator[list[Entry]]:
    """The model's entries; they go into the store, else into `held` if they are to be kept."""
    keys = [image_key(dataset, image_id) for image_id in image_ids]
    if store is None:
        for _, entries in predict_images(source, dataset, image_ids, batch_size, progress):
            held += entries if keep else []
            yield entries
        return
    missing = [image_id for image_id, key in zip(image_ids, keys, strict=True) if key not in store]
    if len(missing) < len(image_ids):
        log.info(
            "%s has the detections of %d of %d images already",
            store.path,
            len(image_ids) - len(missing),
            len(image_ids),
        )
    for image_id, entries in predict_images(source, dataset, missing, batch_size, progress):
        store.add(image_key(dataset, image_id), entries)
    yield from (store.of_image(key) for key in keys)


def _look(
    per_image: Iterable[list[Entry]],
    dataset: "Dataset",
    image_ids: list[int],
    lists: bool = False,
    only_masks: bool = False,
) -> _Looked:
    """Looks at every image once."""
    categories = category_ids(dataset)
    class_of = {category: n for n, category in enumerate(categories[1:])}
    names = list(dataset.class_names[1:])
    builders = {kind: Builder(len(names)) for kind in (["mask"] if only_masks else ["mask", "box"])}
    counts, ap50, flags = [], {}, slices.Flags(dataset)
    given = np.zeros(len(names), int)
    truth: dict[str, list] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in zip(categories[1:], names, strict=True)],
    }
    detections: list[dict] = []
    for position, (image_id, entries) in enumerate(zip(image_ids, per_image, strict=True)):
        instances = dataset.load_instances(image_id)
        gt = _truth(instances, image_shape(dataset, image_id))
        flags.add(image_id, instances)
        classes = [class_of[e["category_id"]] for e in entries]
        scores = [e["score"] for e in entries]
        rles, boxes = [e["segmentation"] for e in entries], [e["bbox"] for e in entries]
        areas = [float(coco_mask.area(rle)) for rle in rles]  # one by one: lists fail from 256 masks on
        builders["mask"].add(gt.classes, gt.crowd, gt.areas, gt.rles, classes, scores, areas, rles)
        if not only_masks:
            builders["box"].add(
                gt.classes, gt.crowd, gt.areas, gt.boxes, classes, scores, [w * h for _, _, w, h in boxes], boxes
            )
            if not gt.crowd.all():
                ap50[position] = _image_ap50(gt, rles, np.array(classes, int), np.array(scores))
        counts.append((int((~gt.crowd).sum()), int(gt.crowd.sum()), len(entries)))
        given += np.bincount(classes, minlength=len(names)) if classes else 0
        if lists:
            height, width = image_shape(dataset, image_id)
            truth["images"].append({"id": image_id, "height": height, "width": width})
            first = len(truth["annotations"]) + 1  # from 1: COCOeval takes a match with id 0 for no match
            truth["annotations"] += gt.annotations(image_id, first, categories[1:])
            detections += [{**entry, "image_id": image_id} for entry in entries]
    return _Looked(
        {kind: builder.table() for kind, builder in builders.items()},
        names,
        [image_key(dataset, image_id) for image_id in image_ids],
        np.array(counts),
        given,
        ap50,
        flags.joined(),
        truth,
        detections,
    )


@dataclasses.dataclass
class _Truth:
    """The objects of one image; `crowd` has the ignored ones too."""

    classes: np.ndarray
    crowd: np.ndarray
    areas: list[int]
    rles: list[dict[str, Any]]
    boxes: list[list[float]]

    def annotations(self, image_id: int, first: int, categories: Sequence[int]) -> list[dict[str, Any]]:
        """As COCO annotations, with ids from `first` on."""
        return [
            {
                "id": first + n,
                "image_id": image_id,
                "category_id": categories[self.classes[n]],
                "bbox": self.boxes[n],
                "area": self.areas[n],
                "segmentation": self.rles[n],
                "iscrowd": int(self.crowd[n]),
            }
            for n in range(len(self.rles))
        ]


def _truth(instances: Instances, shape: tuple[int, int]) -> _Truth:
    boxes = instances.boxes_px.tolist()
    return _Truth(
        np.asarray(instances.class_ids, int) - 1,
        np.asarray(instances.crowd | instances.ignore, bool),
        [int(np.count_nonzero(crop)) for crop in instances.crops],
        [crop_to_rle(box, crop, shape) for box, crop in zip(boxes, instances.crops, strict=True)],
        [[x1, y1, x2 - x1, y2 - y1] for y1, x1, y2, x2 in boxes],
    )


def _image_ap50(gt: _Truth, rles: list[dict], classes: np.ndarray, scores: np.ndarray) -> float:
    """Matterport's AP of one image at IoU 0.5, classes pooled, without crowds."""
    if not len(rles):
        return 0.0
    real = np.flatnonzero(~gt.crowd)
    overlaps = coco_mask.iou(rles, [gt.rles[i] for i in real], [0] * len(real))
    near = np.flatnonzero(overlaps.max(axis=1) >= 0.5)  # the others match nothing
    pred_match = np.full(len(rles), -1.0)
    pred_match[near] = match_overlaps(overlaps[near], classes[near], scores[near], gt.classes[real], 0.5)[1]
    return ap_from_matches(pred_match, scores, len(real))[0]


def _per_class(looked: _Looked, arrays: dict[str, tuple], dataset: "Dataset") -> dict[str, dict[str, Any]]:
    table, categories = looked.tables["mask"], category_ids(dataset)
    result = {}
    for k, name in enumerate(looked.names):
        own = table.gt_class == k
        ignored = int((own & table.gt_crowd).sum())
        figures = {
            kind: coco_ap.twelve(precision[:, :, [k]], recall[:, [k]]) for kind, (precision, recall) in arrays.items()
        }
        result[name] = {
            "category_id": categories[k + 1],
            "objects": int(own.sum()) - ignored,
            "ignored": ignored,
            "detections": int(looked.given[k]),
            **figures,
            "ap_by_iou": {kind: _ap_by_iou(precision[:, :, [k]]) for kind, (precision, _) in arrays.items()},
        }
    return result


def _ap_by_iou(precision: np.ndarray) -> list[float | None]:
    return [coco_ap.mean(at[..., ALL, TOP_100]) for at in precision]


def _pr_curve(precision: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Precision over recall at IoU 0.5 for each class with objects, and their mean."""
    curves = precision[IOU_50, :, :, ALL, TOP_100].T  # [K, 101]
    defined = {name: curve for name, curve in zip(names, curves, strict=True) if curve[0] > -1}
    mean = np.mean(list(defined.values()), axis=0).tolist() if defined else []
    return {
        "recall": [n / 100 for n in range(101)],
        "precision": {name: curve.tolist() for name, curve in defined.items()},
        "mean": mean,
    }


def _pr_curves(precision: np.ndarray, names: Sequence[str]) -> dict[str, list[list[float]]]:
    curves = np.moveaxis(precision[..., ALL, TOP_100], 2, 0)  # [K, T, 101]
    return {name: curve.tolist() for name, curve in zip(names, curves, strict=True) if curve[0, 0] > -1}


def _per_image(looked: _Looked) -> list[dict[str, Any]]:
    return [
        {"image": key, "objects": int(objects), "detections": int(detections), "AP50": looked.ap50.get(i)}
        for i, (key, (objects, _, detections)) in enumerate(zip(looked.keys, looked.counts, strict=True))
    ]


def _intervals(looked: _Looked, weights: np.ndarray) -> dict[str, Any]:
    overall: dict[str, Any] = {}
    per_class: dict[str, dict[str, Any]] = {name: {} for name in looked.names}
    for kind, table in looked.tables.items():
        overall[kind], classes = bootstrap.intervals_of_table(table, weights)
        for name, figures in zip(looked.names, classes, strict=True):
            per_class[name][kind] = figures
    ap50 = bootstrap.sampled_mean(looked.ap50, weights)
    return {**overall, "per_class": per_class, "matterport": {"mAP50": bootstrap.interval(ap50)}}
