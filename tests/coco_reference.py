"""Computes precision and recall with COCOeval and faster-coco-eval, as independent references."""

import contextlib
import io

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn.evaluation.coco_ap import CocoArrays
from mrcnn.evaluation.coco_results import category_ids, image_key
from mrcnn.structures.rle import crop_to_rle

KINDS = {"mask": "segm", "box": "bbox"}


def reference_arrays(truth, detections, kind, programs=(COCO, COCOeval)):
    """Compute `CocoArrays` with another program.

    Args:
        truth: images, annotations, categories; classes are returned in the order of these categories.
        detections: COCO results with the ids of these images.
        kind: "mask" or "box".
        programs: The classes of a dataset and of its evaluation.
    """
    # An unmatched detection outside an area range does not count there. Its area is that of what is compared.
    if kind == "mask":
        areas = [coco_mask.area(d["segmentation"]) for d in detections]  # one by one: a list fails from 256 masks
    else:
        areas = [d["bbox"][2] * d["bbox"][3] for d in detections]
    numbered = zip(detections, areas, strict=True)
    found = [{**d, "id": n, "iscrowd": 0, "area": float(area)} for n, (d, area) in enumerate(numbered, 1)]
    dataset_class, evaluator_class = programs
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for annotations in (truth["annotations"], found):
            coco = dataset_class()
            coco.dataset = {**truth, "annotations": [dict(a) for a in annotations]}  # COCOeval writes into them
            coco.createIndex()
            sides.append(coco)
        evaluator = evaluator_class(*sides, KINDS[kind])
        evaluator.params.imgIds = sorted(image["id"] for image in truth["images"])
        evaluator.evaluate()
        evaluator.accumulate()
    ids = [category["id"] for category in truth["categories"]]
    order = np.searchsorted(sorted(ids), ids)  # the programs order classes by id
    precision = np.reshape(evaluator.eval["precision"], (10, 101, len(ids), 4, 3))
    recall = np.reshape(evaluator.eval["recall"], (10, len(ids), 4, 3))
    precision, recall = precision[:, :, order], recall[:, order]
    return CocoArrays(precision[..., 2], recall[..., 2], recall[:, :, 0, 0], recall[:, :, 0, 1])


def coco_lists(dataset, predictions):
    """Convert a dataset and the predictions of `evaluate` to (truth, detections) for `reference_arrays`."""
    categories = category_ids(dataset)
    names = enumerate(dataset.class_names[1:], 1)
    truth = {"images": [], "annotations": [], "categories": [{"id": categories[n], "name": name} for n, name in names]}
    numbers = {}
    for image_id in map(int, dataset.image_ids):
        height, width = dataset.image_size(image_id)
        numbers[image_key(dataset, image_id)] = image_id
        truth["images"].append({"id": image_id, "height": height, "width": width})
        instances = dataset.load_instances(image_id)
        for n, (y1, x1, y2, x2) in enumerate(instances.boxes_px.tolist()):
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"])
                    + 1,  # from 1, because COCOeval treats a match with id 0 as no match
                    "image_id": image_id,
                    "category_id": categories[instances.class_ids[n]],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": int(instances.crops[n].sum()),
                    "segmentation": crop_to_rle([y1, x1, y2, x2], instances.crops[n], (height, width)),
                    "iscrowd": int(instances.crowd[n] or instances.ignore[n]),
                }
            )
    return truth, [{**entry, "image_id": numbers[entry["image_id"]]} for entry in predictions]
