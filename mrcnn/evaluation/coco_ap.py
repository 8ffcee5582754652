"""COCO's twelve figures (Lin et al., arXiv:1405.0312; cocodataset.org/#detection-eval), by one of three engines.

They give the same numbers.

- "pycocotools": COCOeval accumulates; the matches, which take it 5 s per 1,000 images in a Python loop, come from
  `mrcnn.evaluation.match_table`, which finds the same ones for all images at once. The default.
- "pycocotools-plain": COCOeval as installed, start to end.
- "faster-coco-eval": the C++ program of that name, an optional extra: pip install 'mask-rcnn-bdd100k[eval]'.

Legend, COCOeval's axes: T IoU thresholds, R recalls, K classes (without the background), A areas (all, small, medium,
large), M most detections per image (1, 10, 100); G objects.
"""

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn.errors import InputError
from mrcnn.evaluation.match_table import AREAS, MOST, THRESHOLDS, Ranked, Table, area_ignored, match, precision_at, rank

Figures = dict[str, float | None]
ENGINES = ("pycocotools", "pycocotools-plain", "faster-coco-eval")
KINDS = {"mask": "segm", "box": "bbox"}

# Positions in COCOeval's arrays precision [T, R, K, A, M] and recall [T, K, A, M]: IoU thresholds .50:.05:.95, recall
# thresholds 0:.01:1, classes, areas (all, small, medium, large), at most 1, 10, 100 detections per image and class.
IOU_50, IOU_75 = 0, 5
ALL, SMALL, MEDIUM, LARGE = range(4)
TOP_1, TOP_10, TOP_100 = range(3)


def twelve(precision: np.ndarray, recall: np.ndarray) -> Figures:
    """The twelve COCO figures of precision [T, R, K, A, M] and recall [T, K, A, M]; None where all is undefined."""
    top = precision[..., TOP_100]  # [T, R, K, A]
    return {
        "AP": mean(top[..., ALL]),
        "AP50": mean(top[IOU_50, ..., ALL]),
        "AP75": mean(top[IOU_75, ..., ALL]),
        "AP_S": mean(top[..., SMALL]),
        "AP_M": mean(top[..., MEDIUM]),
        "AP_L": mean(top[..., LARGE]),
        "AR1": mean(recall[..., ALL, TOP_1]),
        "AR10": mean(recall[..., ALL, TOP_10]),
        "AR100": mean(recall[..., ALL, TOP_100]),
        "AR_S": mean(recall[..., SMALL, TOP_100]),
        "AR_M": mean(recall[..., MEDIUM, TOP_100]),
        "AR_L": mean(recall[..., LARGE, TOP_100]),
    }


def mean(values: np.ndarray) -> float | None:
    """The mean of what is defined, that is not -1, in an array of any shape; None if nothing is."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None


def arrays_of_table(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """COCOeval's precision [T, R, K, A, M] and recall [T, K, A, M], float64, -1 where there is no object."""
    return _arrays(table, _cocoeval)


def figures_of_table(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """As `arrays_of_table` without COCOeval's loop over detections; tests hold both equal."""

    def of_class(ranked: Ranked, objects: int) -> tuple[np.ndarray, np.ndarray]:
        return precision_at(ranked.hit, ranked.counted, objects), ranked.hit.sum(axis=1) / objects

    return _arrays(table, of_class)


def _arrays(
    table: Table, accumulate: Callable[[Ranked, int], tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall; `accumulate` makes them [T, R] and [T] of a ranking and the number of its objects."""
    precision = np.full((len(THRESHOLDS), 101, table.classes, len(AREAS), 3), -1.0)
    recall = np.full((len(THRESHOLDS), table.classes, len(AREAS), 3), -1.0)
    for a, area in enumerate(AREAS.values()):
        ignored = area_ignored(table, area)
        matches = match(table, ignored)
        for k in range(table.classes):
            for m, most in enumerate((1, 10, MOST)):
                ranked = rank(table, matches, k, ignored, area, most)
                objects = int(ranked.per_image.sum())
                if objects:
                    precision[:, :, k, a, m], recall[:, k, a, m] = accumulate(ranked, objects)
    return precision, recall


def _cocoeval(ranked: Ranked, objects: int) -> tuple[np.ndarray, np.ndarray]:
    """COCOeval's precision [T, R] and recall [T], of a ranking that it takes for that of one image.

    Its loop over detections takes longest, so those that count at no threshold are left out: they change nothing.
    """
    counted = ranked.counted.any(axis=0)
    evaluator = _quietly(COCOeval, None, None, "segm")
    params = evaluator.params
    params.catIds, params.imgIds, params.maxDets = [0], [0], [len(ranked.score) + 1]
    params.areaRng, params.areaRngLbl = params.areaRng[:1], params.areaRngLbl[:1]
    evaluator._paramsEval = params
    evaluator.evalImgs = [
        {
            "dtScores": ranked.score[counted],
            "dtMatches": ranked.hit[:, counted],
            "dtIgnore": ~ranked.counted[:, counted],
            "gtIgnore": np.zeros(objects, bool),
        }
    ]
    _quietly(evaluator.accumulate)
    return evaluator.eval["precision"][:, :, 0, 0, 0], evaluator.eval["recall"][:, 0, 0, 0]


def arrays_of_lists(
    truth: dict[str, list], detections: list[dict], kind: str, engine: str
) -> tuple[np.ndarray, np.ndarray]:
    """As `arrays_of_table`, by an engine that takes a COCO data set and a list of results.

    Args:
        truth: images, annotations, categories.
        detections: COCO results with whole numbers as `image_id`.
        kind: "mask" or "box".
        engine: "pycocotools-plain" or "faster-coco-eval".

    Raises:
        InputError: The engine is not installed.
    """
    # An unmatched detection outside an area range is not counted there. Its area is that of what is compared.
    if kind == "mask":
        areas = [coco_mask.area(d["segmentation"]) for d in detections]  # one by one: lists fail from 256 masks on
    else:
        areas = [d["bbox"][2] * d["bbox"][3] for d in detections]
    found = [
        {**d, "id": n, "iscrowd": 0, "area": float(area)}
        for n, (d, area) in enumerate(zip(detections, areas, strict=True), 1)
    ]
    dataset_class, evaluator_class = _classes(engine)
    sides = []
    for annotations in (truth["annotations"], found):
        coco = dataset_class()
        coco.dataset = {**truth, "annotations": [dict(a) for a in annotations]}  # COCOeval writes into them
        _quietly(coco.createIndex)
        sides.append(coco)
    evaluator = _quietly(evaluator_class, *sides, KINDS[kind])
    evaluator.params.imgIds = sorted(image["id"] for image in truth["images"])
    _quietly(evaluator.evaluate)
    _quietly(evaluator.accumulate)
    assert evaluator.params.maxDets[-1] == MOST
    ids = [category["id"] for category in truth["categories"]]
    shape = [len(THRESHOLDS), 101, len(ids), len(AREAS), 3]
    order = np.searchsorted(sorted(ids), ids)  # they count classes by id
    return (
        np.reshape(evaluator.eval["precision"], shape)[:, :, order],
        np.reshape(evaluator.eval["recall"], [shape[0], *shape[2:]])[:, order],
    )


def check_engine(engine: str) -> None:
    """Raises InputError where an engine is unknown or not installed."""
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r} is unknown; use {', '.join(ENGINES)}")
    _classes(engine)


def _classes(engine: str) -> tuple[Any, Any]:
    if engine != "faster-coco-eval":
        return COCO, COCOeval
    try:
        from faster_coco_eval import COCO as FasterCOCO
        from faster_coco_eval import COCOeval_faster
    except ImportError as error:
        raise InputError(
            "engine faster-coco-eval is not installed: pip install faster-coco-eval, or use "
            f"pycocotools, which gives the same figures ({error})"
        ) from error
    return FasterCOCO, COCOeval_faster


def _quietly(function: Any, *args: Any) -> Any:
    """Calls COCO's code without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*args)
