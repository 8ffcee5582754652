"""COCO's twelve figures (Lin et al., arXiv:1405.0312; cocodataset.org/#detection-eval), computed from a match table.

They equal those of pycocotools' COCOeval to the last bit, as the tests check. COCOeval matches and accumulates in
Python loops, which take 5 s per 1,000 images; here all images are matched at once.

Legend: T IoU thresholds, R recalls (0, 0.01 ... 1), K classes (without the background), A areas (all, small, medium,
large).
"""

import dataclasses

import numpy as np

from mrcnn.evaluation.match_table import AREAS, THRESHOLDS, Table
from mrcnn.evaluation.matching import ignored_for_area, match, precision_at, rank, rank_classes
from mrcnn.evaluation.result import CocoFigures

ENGINE = "pycocotools"  # computes the overlaps

# Positions on the axes T and A.
IOU_50, IOU_75 = 0, 5
ALL, SMALL, MEDIUM, LARGE = range(4)


@dataclasses.dataclass
class CocoArrays:
    """The arrays of COCOeval that its figures need; -1 where a class has no object.

    Attributes:
        precision: float64 [T, R, K, A], with at most 100 detections per image and class.
        recall: float64 [T, K, A], with the same limit.
        recall_1, recall_10: float64 [T, K], over all areas, with at most 1 and 10 detections per image and class.
    """

    precision: np.ndarray
    recall: np.ndarray
    recall_1: np.ndarray
    recall_10: np.ndarray

    def of_class(self, class_id: int) -> "CocoArrays":
        """Return the arrays of one class, counted from 0."""
        k = [class_id]
        return CocoArrays(self.precision[:, :, k], self.recall[:, k], self.recall_1[:, k], self.recall_10[:, k])

    def figures(self) -> CocoFigures:
        """Return COCO's twelve figures, averaged over the classes that have objects."""
        precision, recall = self.precision, self.recall
        return CocoFigures(
            AP=mean(precision[..., ALL]),
            AP50=mean(precision[IOU_50, ..., ALL]),
            AP75=mean(precision[IOU_75, ..., ALL]),
            AP_S=mean(precision[..., SMALL]),
            AP_M=mean(precision[..., MEDIUM]),
            AP_L=mean(precision[..., LARGE]),
            AR1=mean(self.recall_1),
            AR10=mean(self.recall_10),
            AR100=mean(recall[..., ALL]),
            AR_S=mean(recall[..., SMALL]),
            AR_M=mean(recall[..., MEDIUM]),
            AR_L=mean(recall[..., LARGE]),
        )

    def ap_by_iou(self) -> list[float | None]:
        """Return AP at each of the ten IoU thresholds."""
        return [mean(at_threshold[..., ALL]) for at_threshold in self.precision]


def coco_arrays(table: Table) -> CocoArrays:
    """Compute precision and recall of every class and area."""
    classes = table.classes
    precision = np.full((len(THRESHOLDS), 101, classes, len(AREAS)), -1.0)
    recall = np.full((len(THRESHOLDS), classes, len(AREAS)), -1.0)
    recall_1, recall_10 = np.full((2, len(THRESHOLDS), classes), -1.0)
    for a, (size, area) in enumerate(AREAS.items()):
        ignored = ignored_for_area(table, area)
        matches = match(table, ignored)
        for k in range(classes):
            ranking = rank(table, matches, k, ignored, area)
            if not ranking.objects:
                continue
            precision[:, :, k, a] = precision_at(ranking.hit, ranking.counted, ranking.objects)
            recall[:, k, a] = ranking.recall()
            if size == "all":
                recall_1[:, k] = rank(table, matches, k, ignored, area, 1).recall()
                recall_10[:, k] = rank(table, matches, k, ignored, area, 10).recall()
    return CocoArrays(precision, recall, recall_1, recall_10)


def overall_precision(table: Table) -> np.ndarray:
    """Return the precision over all sizes, whose mean is AP: float64 [T, R, K], -1 where a class has no object."""
    columns = [
        precision_at(r.hit, r.counted, r.objects) if r.objects else np.full((len(THRESHOLDS), 101), -1.0)
        for r in rank_classes(table)
    ]
    return np.stack(columns, axis=-1)


def mean(values: np.ndarray) -> float | None:
    """Return the mean of the values above -1, which are the defined ones; None if there are none. Takes any shape."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None
