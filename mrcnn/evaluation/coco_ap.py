"""COCO's twelve figures (Lin et al., arXiv:1405.0312; cocodataset.org/#detection-eval), computed from a match table.

They equal those of pycocotools' COCOeval to the last bit, which the tests check. COCOeval matches and accumulates in
Python loops, which takes 5 s per 1,000 images; here all images are matched at once.

Legend, COCOeval's axes: T IoU thresholds, R recalls (0, 0.01 ... 1), K classes (without the background), A areas (all,
small, medium, large), M maximum detections per image and class (1, 10, 100).
"""

import numpy as np

from mrcnn.evaluation.match_table import AREAS, MAX_DETECTIONS, THRESHOLDS, Table
from mrcnn.evaluation.matching import ignored_for_area, match, precision_at, rank, rank_classes
from mrcnn.evaluation.result import CocoFigures

ENGINE = "pycocotools"  # computes the overlaps

# Positions on COCOeval's axes T, A and M.
IOU_50, IOU_75 = 0, 5
ALL, SMALL, MEDIUM, LARGE = range(4)
TOP_1, TOP_10, TOP_100 = range(3)


def precision_and_recall(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Return COCOeval's precision [T, R, K, A, M] and recall [T, K, A, M], float64, -1 where there is no object."""
    precision = np.full((len(THRESHOLDS), 101, table.classes, len(AREAS), 3), -1.0)
    recall = np.full((len(THRESHOLDS), table.classes, len(AREAS), 3), -1.0)
    for a, area in enumerate(AREAS.values()):
        ignored = ignored_for_area(table, area)
        matches = match(table, ignored)
        for k in range(table.classes):
            for m, limit in enumerate((1, 10, MAX_DETECTIONS)):
                ranking = rank(table, matches, k, ignored, area, limit)
                if ranking.objects:
                    precision[:, :, k, a, m] = precision_at(ranking.hit, ranking.counted, ranking.objects)
                    recall[:, k, a, m] = ranking.hit.sum(axis=1) / ranking.objects
    return precision, recall


def overall_precision(table: Table) -> np.ndarray:
    """Return precision of objects of all sizes, whose mean is AP: float64 [T, R, K], -1 where there is no object."""
    rankings = rank_classes(table)
    columns = [
        precision_at(r.hit, r.counted, r.objects) if r.objects else np.full((len(THRESHOLDS), 101), -1.0)
        for r in rankings
    ]
    return np.stack(columns, axis=-1)


def coco_figures(precision: np.ndarray, recall: np.ndarray, class_id: int | None = None) -> CocoFigures:
    """Return COCO's twelve figures, None where all is undefined.

    Args:
        precision: [T, R, K, A, M].
        recall: [T, K, A, M].
        class_id: From 0; None takes the mean over the classes that have objects.
    """
    if class_id is not None:
        precision, recall = precision[:, :, [class_id]], recall[:, [class_id]]
    top = precision[..., TOP_100]  # [T, R, K, A]
    return CocoFigures(
        AP=mean(top[..., ALL]),
        AP50=mean(top[IOU_50, ..., ALL]),
        AP75=mean(top[IOU_75, ..., ALL]),
        AP_S=mean(top[..., SMALL]),
        AP_M=mean(top[..., MEDIUM]),
        AP_L=mean(top[..., LARGE]),
        AR1=mean(recall[..., ALL, TOP_1]),
        AR10=mean(recall[..., ALL, TOP_10]),
        AR100=mean(recall[..., ALL, TOP_100]),
        AR_S=mean(recall[..., SMALL, TOP_100]),
        AR_M=mean(recall[..., MEDIUM, TOP_100]),
        AR_L=mean(recall[..., LARGE, TOP_100]),
    )


def ap_by_iou(precision: np.ndarray, class_id: int | None = None) -> list[float | None]:
    """Return AP at each of the ten IoU thresholds; arguments as of `coco_figures`."""
    classes = slice(None) if class_id is None else [class_id]
    return [mean(at_threshold[:, classes, ALL, TOP_100]) for at_threshold in precision]


def mean(values: np.ndarray) -> float | None:
    """Return the mean of the defined values, those above -1, of an array of any shape; None if there is none."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None
