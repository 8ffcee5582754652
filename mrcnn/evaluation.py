"""Evaluation on a dataset: COCO's figures for masks and boxes, per class, and Matterport's mAP at IoU 0.5.

    result = evaluate(model, dataset)            # or evaluate("predictions.json", dataset)
    result.mask["AP"], result.matterport["mAP50"], result.to_json()

The COCO figures are computed by pycocotools' COCOeval. Crowds and ignored objects are crowds to it: any number of
detections may lie on them, and those count neither as right nor as wrong. Matterport's mAP50 is `compute_ap` of each
image, classes pooled, averaged over the images with objects; it has no notion of crowds, so they are left out of the
truth there. Both are computed from run-length encoding; no H x W x n array is made.
"""

import contextlib
import dataclasses
import io
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn.errors import InputError
from mrcnn.masks import crop_to_rle
from mrcnn.matching import (
    ap_from_matches,
    compute_ap,
    compute_ap_range,
    compute_matches,
    compute_overlaps_masks,
    compute_recall,
    match_overlaps,
)
from mrcnn.predictions import (
    Entry,
    Predictor,
    Progress,
    category_ids,
    check_predictions,
    image_key,
    image_shape,
    load_predictions,
    predict,
)

if TYPE_CHECKING:
    from mrcnn.data import Dataset

__all__ = ["Result", "compute_ap", "compute_ap_range", "compute_matches", "compute_overlaps_masks", "compute_recall",
           "evaluate"]

log = logging.getLogger(__name__)

Figures = dict[str, float | None]
KINDS = {"mask": "segm", "box": "bbox"}

# Positions in COCOeval's arrays precision [T, R, K, A, M] and recall [T, K, A, M]: IoU thresholds .50:.05:.95, recall
# thresholds 0:.01:1, classes, areas (all, small, medium, large), at most 1, 10, 100 detections per image and class.
_IOU_50, _IOU_75 = 0, 5
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)
_TOP_1, _TOP_10, _TOP_100 = range(3)


@dataclasses.dataclass
class Result:
    """Figures of one evaluation. A figure is None where there is no object it could be computed from.

    Attributes:
        matterport: mAP50.
        mask: AP, AP50, AP75, AP_S, AP_M, AP_L (small < 32^2 px <= medium < 96^2 <= large, by mask area), AR1, AR10,
            AR100, AR_S, AR_M, AR_L; from 0 to 1.
        box: The same for boxes.
        per_class: Class name -> category_id, objects, ignored, detections, mask and box figures.
        images: Number of images.
        objects: Number of objects, without crowds and ignored ones.
        ignored: Number of crowds and ignored objects.
        detections: Number of detections.
        pr_curve: Precision of masks at IoU 0.5: "recall" [101] from 0 to 1, "precision" class name -> [101], for the
            classes that have objects, "mean" [101] over those classes (empty if there is none).
        image_ap50: Dataset image id -> Matterport's AP at 0.5, for the images with objects.
        predictions: The COCO results that were evaluated.
    """

    matterport: Figures
    mask: Figures
    box: Figures
    per_class: dict[str, dict[str, Any]]
    images: int
    objects: int
    ignored: int
    detections: int
    pr_curve: dict[str, Any]
    image_ap50: dict[int, float]
    predictions: list[Entry]

    def to_json(self) -> dict[str, Any]:
        """All figures and the PR curve as plain numbers, None for what is undefined; without images and predictions."""
        left_out = ("image_ap50", "predictions")
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)
                if field.name not in left_out}


def evaluate(source: Predictor | str | os.PathLike[str] | list[Entry], dataset: "Dataset",
             image_ids: Sequence[int] | np.ndarray | None = None, batch_size: int = 1,
             progress: Progress | None = None) -> Result:
    """Evaluates a model, or predictions made earlier, on a dataset.

    Args:
        source: A model with `detect_instances`, a COCO results file, or its list of entries.
        dataset: Prepared dataset; the truth is `dataset.load_instances(image_id)`.
        image_ids: Which of its images; None means all. Predictions for others are left out.
        batch_size: Images per call of the model.
        progress: Wraps the list of batches while a model runs, for example `rich.progress.track`.

    Returns:
        The figures, the PR curve and the predictions.

    Raises:
        InputError: There is no image, or a prediction cannot be used.
    """
    image_ids = [int(i) for i in (dataset.image_ids if image_ids is None else image_ids)]
    if not image_ids:
        raise InputError("there is no image to evaluate on; the dataset is empty (is `prepare()` missing?)")
    if isinstance(source, (str, os.PathLike)):
        predictions = load_predictions(source, dataset)
    elif isinstance(source, list):
        predictions = check_predictions(source, dataset)
    else:
        predictions = predict(source, dataset, image_ids, batch_size, progress)
    by_key = {image_key(dataset, image_id): image_id for image_id in image_ids}
    used = [entry for entry in predictions if entry["image_id"] in by_key]
    if len(used) < len(predictions):
        log.info("%d of %d predictions are for images that are not evaluated", len(predictions) - len(used),
                 len(predictions))
    truth = _truth(dataset, image_ids)
    detections = [_coco_detection(entry, by_key, number) for number, entry in enumerate(used, 1)]
    return _result(dataset, truth, detections, used)


def _truth(dataset: "Dataset", image_ids: Sequence[int]) -> dict[str, list]:
    """The ground truth as a COCO data set; image ids are the dataset's."""
    categories = category_ids(dataset)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id in image_ids:
        height, width = shape = image_shape(dataset, image_id)
        images.append({"id": image_id, "height": height, "width": width})
        instances = dataset.load_instances(image_id)
        for n, (class_id, (y1, x1, y2, x2)) in enumerate(zip(instances.class_ids, instances.boxes_px.tolist(),
                                                             strict=True)):
            rle = crop_to_rle((y1, x1, y2, x2), instances.crops[n], shape)
            annotations.append({
                "id": len(annotations) + 1,  # from 1: COCOeval takes a match with id 0 for no match
                "image_id": image_id, "category_id": categories[int(class_id)],
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": int(np.count_nonzero(instances.crops[n])),
                "segmentation": rle, "iscrowd": int(bool(instances.crowd[n] or instances.ignore[n]))})
    named = [{"id": i, "name": name} for i, name in zip(categories[1:], dataset.class_names[1:], strict=True)]
    return {"images": images, "annotations": annotations, "categories": named}


def _coco_detection(entry: Entry, by_key: dict[int | str, int], number: int) -> dict[str, Any]:
    return {**entry, "image_id": by_key[entry["image_id"]], "id": number, "iscrowd": 0}


def _result(dataset: "Dataset", truth: dict[str, list], detections: list[dict], predictions: list[Entry]) -> Result:
    arrays = {name: _coco_arrays(truth, detections, kind) for name, kind in KINDS.items()}
    per_class: dict[str, dict[str, Any]] = {}
    for k, category in enumerate(sorted(truth["categories"], key=lambda c: c["id"])):
        own = [a for a in truth["annotations"] if a["category_id"] == category["id"]]
        ignored = sum(a["iscrowd"] for a in own)
        figures = {name: _figures(precision[:, :, [k]], recall[:, [k]]) for name, (precision, recall) in arrays.items()}
        per_class[category["name"]] = {
            "category_id": category["id"], "objects": len(own) - ignored, "ignored": ignored,
            "detections": sum(d["category_id"] == category["id"] for d in detections), **figures}
    ap50 = _matterport_ap50(truth, detections)
    crowds = sum(a["iscrowd"] for a in truth["annotations"])
    return Result(
        matterport={"mAP50": float(np.mean(list(ap50.values()))) if ap50 else None},
        mask=_figures(*arrays["mask"]), box=_figures(*arrays["box"]), per_class=per_class,
        images=len(truth["images"]), objects=len(truth["annotations"]) - crowds, ignored=crowds,
        detections=len(detections), pr_curve=_pr_curve(arrays["mask"][0], list(per_class)), image_ap50=ap50,
        predictions=predictions)


def _coco_arrays(truth: dict[str, list], detections: list[dict], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """COCOeval's precision [T, R, K, A, M] and recall [T, K, A, M]; -1 where there is no object."""
    # An unmatched detection outside an area range is not counted there. Its area is that of what is compared.
    if kind == "segm":
        areas = [coco_mask.area(d["segmentation"]) for d in detections]  # one by one: lists fail from 256 masks on
    else:
        areas = [d["bbox"][2] * d["bbox"][3] for d in detections]
    sized = [{**d, "area": float(area)} for d, area in zip(detections, areas, strict=True)]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(_coco(truth), _coco({**truth, "annotations": sized}), kind)
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator.eval["precision"], evaluator.eval["recall"]


def _coco(data: dict[str, list]) -> COCO:
    coco = COCO()
    coco.dataset = {**data, "annotations": [dict(a) for a in data["annotations"]]}  # COCOeval writes into them
    coco.createIndex()
    return coco


def _figures(precision: np.ndarray, recall: np.ndarray) -> Figures:
    """The twelve COCO figures of [T, R, K, A, M] and [T, K, A, M]."""

    def mean(values: np.ndarray) -> float | None:
        defined = values[values > -1]
        return float(defined.mean()) if defined.size else None

    top = precision[..., _TOP_100]  # [T, R, K, A]
    return {
        "AP": mean(top[..., _ALL]), "AP50": mean(top[_IOU_50, ..., _ALL]), "AP75": mean(top[_IOU_75, ..., _ALL]),
        "AP_S": mean(top[..., _SMALL]), "AP_M": mean(top[..., _MEDIUM]), "AP_L": mean(top[..., _LARGE]),
        "AR1": mean(recall[..., _ALL, _TOP_1]), "AR10": mean(recall[..., _ALL, _TOP_10]),
        "AR100": mean(recall[..., _ALL, _TOP_100]), "AR_S": mean(recall[..., _SMALL, _TOP_100]),
        "AR_M": mean(recall[..., _MEDIUM, _TOP_100]), "AR_L": mean(recall[..., _LARGE, _TOP_100])}


def _pr_curve(precision: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Precision over recall at IoU 0.5 for each class with objects, and their mean."""
    curves = precision[_IOU_50, :, :, _ALL, _TOP_100].T  # [K, 101]
    defined = {name: curve for name, curve in zip(names, curves, strict=True) if curve[0] > -1}
    mean = np.mean(list(defined.values()), axis=0).tolist() if defined else []
    return {"recall": [n / 100 for n in range(101)],
            "precision": {name: curve.tolist() for name, curve in defined.items()}, "mean": mean}


def _matterport_ap50(truth: dict[str, list], detections: list[dict]) -> dict[int, float]:
    """Image id -> AP at IoU 0.5 with classes pooled, as `compute_ap` gives it, for images with objects."""
    gt_of: dict[int, list] = {image["id"]: [] for image in truth["images"]}
    pred_of: dict[int, list] = {image["id"]: [] for image in truth["images"]}
    for annotation in truth["annotations"]:
        if not annotation["iscrowd"]:
            gt_of[annotation["image_id"]].append(annotation)
    for detection in detections:
        pred_of[detection["image_id"]].append(detection)
    return {image_id: _image_ap(gt, pred_of[image_id], 0.5) for image_id, gt in gt_of.items() if gt}


def _image_ap(gt: list[dict], pred: list[dict], iou_threshold: float) -> float:
    if not pred:
        return 0.0
    overlaps = coco_mask.iou([p["segmentation"] for p in pred], [g["segmentation"] for g in gt], [0] * len(gt))
    scores = np.array([p["score"] for p in pred])
    _, pred_match = match_overlaps(overlaps, np.array([p["category_id"] for p in pred]), scores,
                                   np.array([g["category_id"] for g in gt]), iou_threshold)
    return ap_from_matches(pred_match, scores, len(gt))[0]
