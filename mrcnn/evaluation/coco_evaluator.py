"""Evaluators that compute COCO's figures from the overlaps of all images: a full `Result`, or a `Headline` only.

For COCO's figures, ignored objects are crowds too: any number of detections may match them, and such detections count
as neither right nor wrong.
"""

from typing import TYPE_CHECKING

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.evaluation import bootstrap, coco_ap, curves, tide
from mrcnn.evaluation.coco_results import category_ids, class_of_category
from mrcnn.evaluation.image import EvaluatedImage
from mrcnn.evaluation.match_table import THRESHOLDS, Detections, Objects, Table, TableBuilder
from mrcnn.evaluation.result import (
    ClassFigures,
    Headline,
    ImageFigures,
    Intervals,
    MatterportFigures,
    Result,
)
from mrcnn.evaluation.slices import ObjectFlags, Slicing, image_groups, slices
from mrcnn.evaluation.voc_ap import ap_from_matches, match_overlaps

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset

KINDS = ("mask", "box")


class _TableEvaluator:
    """Collects the data that COCO's figures and Matterport's AP are computed from.

    Attributes:
        dataset: Dataset of the images.
        names: [K] class names without the background.
        image_ids: Ids of the images processed so far.
        ap50: Position of the image -> Matterport's AP, for the images with objects.
    """

    def __init__(self, dataset: "Dataset") -> None:
        self.dataset = dataset
        self.names = list(dataset.class_names[1:])
        self._class_of = {category: class_id - 1 for category, class_id in class_of_category(dataset).items()}
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._builders = {kind: TableBuilder(len(self.names)) for kind in KINDS}
        self.image_ids: list[int] = []
        self.ap50: dict[int, float] = {}

    def process(self, image: EvaluatedImage) -> None:
        """Add the overlaps of an image to the tables."""
        instances, entries = image.instances, image.entries
        gt_classes = np.asarray(instances.class_ids, int) - 1
        gt_crowd = np.asarray(instances.crowd | instances.ignore, bool)
        gt_areas = [int(np.count_nonzero(crop)) for crop in instances.crops]
        gt_boxes = [[x1, y1, x2 - x1, y2 - y1] for y1, x1, y2, x2 in instances.boxes_px.tolist()]
        dt_classes = np.array([self._class_of[entry["category_id"]] for entry in entries], int)
        dt_scores = np.array([entry["score"] for entry in entries], float)
        dt_boxes = [entry["bbox"] for entry in entries]
        box_areas = [width * height for _, _, width, height in dt_boxes]
        self._builders["mask"].add(
            Objects(gt_classes, gt_crowd, gt_areas, image.truth_rles),
            Detections(dt_classes, dt_scores, image.detection_areas, image.detection_rles),
        )
        self._builders["box"].add(
            Objects(gt_classes, gt_crowd, gt_areas, gt_boxes), Detections(dt_classes, dt_scores, box_areas, dt_boxes)
        )
        if not gt_crowd.all():
            self.ap50[len(self.image_ids)] = image_ap50(image, dt_classes, dt_scores)
        self.image_ids.append(image.image_id)

    def tables(self) -> dict[str, Table]:
        """Return the overlaps of all images processed so far, under "mask" and "box"."""
        return {kind: builder.table() for kind, builder in self._builders.items()}

    def image_ap50(self) -> dict[int, float]:
        """Return dataset image id -> Matterport's AP, for the images with objects."""
        return {self.image_ids[position]: ap for position, ap in self.ap50.items()}


class HeadlineEvaluator(_TableEvaluator):
    """Computes mask AP, mask AP50 and box AP, and Matterport's AP of each image."""

    def evaluate(self) -> Headline:
        """Return the figures over all images processed so far."""
        mask, box = (coco_ap.overall_precision(table) for table in self.tables().values())
        return Headline(coco_ap.mean(mask), coco_ap.mean(mask[coco_ap.IOU_50]), coco_ap.mean(box), self.image_ap50())


class CocoEvaluator(_TableEvaluator):
    """Computes all figures of a `Result`."""

    def __init__(self, dataset: "Dataset", samples: int, seed: int, slicing: Slicing) -> None:
        """Prepare for the first image.

        Args:
            dataset: Dataset of the images.
            samples: Number of bootstrap samples; 0 leaves the intervals out.
            seed: Random seed of the bootstrap.
            slicing: The slices of the data to evaluate.
        """
        self.samples, self.seed, self.slicing = samples, seed, slicing
        super().__init__(dataset)

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self._flags = ObjectFlags(self.dataset)
        self._detections = np.zeros(len(self.names), int)  # per class
        self._ignored = 0
        self._per_image: list[ImageFigures] = []

    def process(self, image: EvaluatedImage) -> None:
        """Add the overlaps, counts and flags of an image."""
        super().process(image)
        self._flags.add(image.image_id, image.instances)
        classes = [self._class_of[entry["category_id"]] for entry in image.entries]
        self._detections += np.bincount(np.array(classes, int), minlength=len(self.names))
        ignored = int(np.count_nonzero(image.instances.crowd | image.instances.ignore))
        self._ignored += ignored
        objects, ap50 = len(image.instances) - ignored, self.ap50.get(len(self._per_image))
        self._per_image.append(ImageFigures(image.key, objects, len(image.entries), ap50))

    def evaluate(self) -> Result:
        """Return the figures over all images processed so far."""
        tables = self.tables()
        table = tables["mask"]
        arrays = {kind: coco_ap.coco_arrays(own) for kind, own in tables.items()}
        weights = bootstrap.draw(len(self.image_ids), self.samples, self.seed) if self.samples else None
        sampled = {} if weights is None else {k: bootstrap.samples_of_table(t, weights) for k, t in tables.items()}
        size_samples = sampled["mask"][0] if sampled else {}
        outcomes = curves.outcomes_at_50(table)
        score_curves = curves.score_curves(outcomes, self.names)
        groups = image_groups(self.dataset, self.image_ids, self.slicing.attributes)
        return Result(
            images=len(self.image_ids),
            objects=sum(image.objects for image in self._per_image),
            ignored=self._ignored,
            detections=int(self._detections.sum()),
            engine=coco_ap.ENGINE,
            mask=arrays["mask"].figures(),
            box=arrays["box"].figures(),
            iou_thresholds=[round(float(t), 2) for t in THRESHOLDS],
            ap_by_iou={kind: own.ap_by_iou() for kind, own in arrays.items()},
            per_class=self._per_class(table, arrays),
            pr_curve=curves.pr_curve(arrays["mask"].precision, self.names),
            pr_curves={kind: curves.pr_curves(own.precision, self.names) for kind, own in arrays.items()},
            score_curves=score_curves,
            confusion=curves.confusion(table, self.names, score_curves.all.best.score),
            errors=tide.error_split(table, outcomes, self.names),
            calibration=curves.calibration(outcomes, self.names),
            slices=slices(table, groups, self._flags.joined(), self.slicing.flags, weights, size_samples),
            intervals=None if weights is None else self._intervals(sampled, weights),
            matterport=MatterportFigures(float(np.mean(list(self.ap50.values()))) if self.ap50 else None),
            official=None,
            per_image=self._per_image,
            image_ap50=self.image_ap50(),
            tables=tables,
        )

    def _per_class(self, table: Table, arrays: dict[str, coco_ap.CocoArrays]) -> dict[str, ClassFigures]:
        categories = category_ids(self.dataset)
        objects = np.bincount(table.gt_class[~table.gt_crowd], minlength=table.classes)
        ignored = np.bincount(table.gt_class[table.gt_crowd], minlength=table.classes)
        return {
            name: ClassFigures(
                category_id=categories[k + 1],
                objects=int(objects[k]),
                ignored=int(ignored[k]),
                detections=int(self._detections[k]),
                mask=arrays["mask"].of_class(k).figures(),
                box=arrays["box"].of_class(k).figures(),
                ap_by_iou={kind: own.of_class(k).ap_by_iou() for kind, own in arrays.items()},
            )
            for k, name in enumerate(self.names)
        }

    def _intervals(
        self, sampled: dict[str, tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]], weights: np.ndarray
    ) -> Intervals:
        """Compute intervals from the samples that `bootstrap.samples_of_table` returned for each kind."""
        return Intervals(
            samples=self.samples,
            level=bootstrap.LEVEL,
            seed=self.seed,
            mask=bootstrap.intervals(sampled["mask"][0]),
            box=bootstrap.intervals(sampled["box"][0]),
            per_class={
                name: {kind: bootstrap.intervals(classes[k]) for kind, (_, classes) in sampled.items()}
                for k, name in enumerate(self.names)
            },
            matterport=bootstrap.intervals({"mAP50": bootstrap.sampled_mean(self.ap50, weights)}),
        )


def image_ap50(image: EvaluatedImage, dt_classes: np.ndarray, dt_scores: np.ndarray) -> float:
    """Return Matterport's AP of one image at IoU 0.5, with the classes pooled and without crowds.

    Args:
        image: An image with at least one object that counts.
        dt_classes: int [d], from 0.
        dt_scores: [d].
    """
    if not len(dt_scores):
        return 0.0
    real = np.flatnonzero(~(image.instances.crowd | image.instances.ignore))
    overlaps = coco_mask.iou(image.detection_rles, [image.truth_rles[i] for i in real], [0] * len(real))
    near = np.flatnonzero(overlaps.max(axis=1) >= 0.5)  # the others cannot match
    gt_classes = image.instances.class_ids[real] - 1
    pred_match = np.full(len(dt_scores), -1.0)
    pred_match[near] = match_overlaps(overlaps[near], dt_classes[near], dt_scores[near], gt_classes, 0.5)[1]
    return ap_from_matches(pred_match, dt_scores, len(real))[0]
