"""Evaluates by BDD100K's two protocols of instance segmentation (github.com/bdd100k/bdd100k).

Both compute COCO's figures on masks without overlaps. Predictions are flattened first (`bdd100k.evaluation.flatten`):
each pixel goes to the mask with the best score, with at most 100 objects per image. The two protocols and COCO's give
different figures for the same predictions, so state which one a figure is from. The following describes the code of the
official toolkits (`bdd100k` and `scalabel`), and where their documentation differs:

*Bitmask protocol*, used by the server: one RGBA PNG per image and `[{name, labels: [{index, score}]}]`.
    - A detection takes the free object of its class with the largest IoU; of equal ones, the one with the lower
      instance id. COCO prefers an object that counts to an ignored one; here they are treated alike.
    - An object whose ignore bit is set is not scored, nor is a detection matched with it.
    - A crowd can be matched any number of times, as in COCO. But its overlap is plain IoU (in COCO, the fraction of the
      detection on it), and a crowd without the ignore bit counts as an object on which every detection is a hit, so
      recall can exceed 1. The documentation says that crowds and ignored objects are not considered.
    - A detection without a visible pixel is dropped before it is counted.
    - The limit of 100 in the code applies to the objects, not the detections; an image with more than 100 objects
      raises an error there. Detections are limited to 100 per image and class, as in COCO. The files written here
      also keep the limit of 100 per image that BDD100K asks for.
*RLE protocol*: `[{name, labels: [{id, category, score, rle: {counts, size}}]}]`.
    - Crowds and ignored objects are both passed to COCO's code as crowds.
    - If any two masks of an image overlap, the official code drops all predictions of that image, although its message
      speaks of removing "such predictions". The files written here have no overlaps. "AP_as_given" is the AP of the
      predictions without flattening.
The documentation calls the difference between the two protocols negligible (below 0.1 %). That only holds without
crowds.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools import mask as coco_mask

from bdd100k.config import CLASS_NAMES
from bdd100k.evaluation.flatten import MAX_OBJECTS, Flattened, flatten, paint
from mrcnn.evaluation import bootstrap, coco_ap
from mrcnn.evaluation.coco_results import Entry, class_of_category
from mrcnn.evaluation.image import EvaluatedImage
from mrcnn.evaluation.match_table import Detections, Objects, Table, TableBuilder
from mrcnn.evaluation.matching import rank_classes
from mrcnn.evaluation.result import NOT_IN_JSON, CocoFigures, Interval

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset

SAMPLES = 200  # of the bootstrap, for the intervals of AP
WriteImage = Callable[[str, Flattened, tuple[int, int]], None]


def has_official_classes(dataset: "Dataset") -> bool:
    """Return whether a dataset has BDD100K's eight classes, for which the protocols are defined."""
    return list(dataset.class_names[1:]) == list(CLASS_NAMES)


def frame_name(dataset: "Dataset", image_id: int) -> str:
    """Return BDD100K's name of an image, which is its file name."""
    info = dataset.image_info[image_id]
    return str(info.get("name") or (pathlib.Path(info["path"]).name if info.get("path") else info["id"]))


@dataclasses.dataclass
class ClassFigures:
    """AP of one class."""

    AP: float | None
    AP50: float | None
    AP75: float | None


@dataclasses.dataclass
class ProtocolFigures:
    """The figures of one protocol.

    Attributes:
        mask: COCO's twelve figures.
        per_class: Class -> figures.
        detections: Number of detections left after flattening.
        interval: Confidence interval of AP; None if no bootstrap was run.
    """

    mask: CocoFigures
    per_class: dict[str, ClassFigures]
    detections: int
    interval: Interval | None


@dataclasses.dataclass
class RLEFigures(ProtocolFigures):
    """The figures of the RLE protocol.

    Attributes:
        overlapping_images: Number of images whose given predictions overlap.
        AP_as_given: AP of the predictions without flattening, which drops those of overlapping images.
    """

    overlapping_images: int
    AP_as_given: float | None


@dataclasses.dataclass
class OfficialFigures:
    """The figures of both protocols; field names are the keys of "official" in result.json.

    Attributes:
        at_most: Maximum number of detections per image.
        bitmask, rle: Figures of the protocols.
        tables: "bitmask", "rle" -> the overlaps, with the images in the order of their names. Not in JSON.
    """

    at_most: int
    bitmask: ProtocolFigures
    rle: RLEFigures
    tables: Mapping[str, Table] = dataclasses.field(metadata=NOT_IN_JSON)


class OfficialEvaluator:
    """Evaluates predictions by both protocols, as an `mrcnn.evaluation.evaluator.Evaluator`.

    evaluate(source, dataset, benchmark=OfficialEvaluator(dataset)).official.bitmask.mask.AP
    """

    def __init__(
        self, dataset: "Dataset", write: WriteImage | None = None, intervals: bool = True, seed: int = 0
    ) -> None:
        """Prepare for the first image.

        Args:
            dataset: Dataset with BDD100K's eight classes.
            write: Function that writes submissions; it is called with the name, the flattened predictions and (height,
                width) px of every image.
            intervals: Whether to compute confidence intervals of AP.
            seed: Random seed of the bootstrap.
        """
        self.dataset, self.write, self.intervals, self.seed = dataset, write, intervals, seed
        self._class_of = class_of_category(dataset)  # the official ids are the class ids
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._builders = {name: TableBuilder(len(CLASS_NAMES)) for name in ("bitmask", "rle", "as_given")}
        self._names: list[str] = []
        self._truths: list[_Truth] = []
        self._overlapping = 0

    def process(self, image: EvaluatedImage) -> None:
        """Flatten the predictions of an image, pass them to `write`, and add their overlaps to the tables."""
        name = frame_name(self.dataset, image.image_id)
        entries = [{**entry, "category_id": self._class_of[entry["category_id"]]} for entry in image.entries]
        flat = flatten(entries, image.shape)
        if self.write is not None:
            self.write(name, flat, image.shape)
        truth, rles = _flat_truth(image)
        visible = _detections((e, rle) for e, rle in zip(flat.entries, flat.visible, strict=True) if rle is not None)
        given = [] if _overlap(image, flat) else zip(entries, image.detection_rles, strict=True)
        areas = [float(coco_mask.area(rle)) for rle in rles]
        either = Objects(truth.classes, truth.crowd | truth.ignored, areas, rles)
        self._builders["bitmask"].add(Objects(truth.classes, np.zeros(len(rles), bool), areas, rles), visible)
        self._builders["rle"].add(either, visible)
        self._builders["as_given"].add(either, _detections(given))
        self._names.append(name)
        self._truths.append(truth)
        self._overlapping += flat.overlapped

    def evaluate(self) -> OfficialFigures:
        """Return the figures over all images processed so far."""
        order = sorted(range(len(self._names)), key=self._names.__getitem__)
        bitmask, rle, as_given = (builder.table(order) for builder in self._builders.values())
        bitmask = dataclasses.replace(
            bitmask,
            gt_crowd=np.concatenate([np.zeros(0, bool), *(self._truths[n].crowd for n in order)]),
            gt_ignored=np.concatenate([np.zeros(0, bool), *(self._truths[n].ignored for n in order)]),
            bitmask_rules=True,
        )
        weights = bootstrap.draw(len(order), SAMPLES, self.seed) if self.intervals else None
        as_given_ap = coco_ap.mean(coco_ap.overall_precision(as_given))
        return OfficialFigures(
            MAX_OBJECTS,
            ProtocolFigures(*_figures(bitmask, weights)),
            RLEFigures(*_figures(rle, weights), self._overlapping, as_given_ap),
            {"bitmask": bitmask, "rle": rle},
        )


@dataclasses.dataclass
class _Truth:
    """The visible objects of one image: classes int [g] from 0, crowd and ignored bool [g]."""

    classes: np.ndarray
    crowd: np.ndarray
    ignored: np.ndarray


def _flat_truth(image: EvaluatedImage) -> tuple[_Truth, list[Any]]:
    """Return the objects and masks without overlaps. Later labels cover earlier ones, as in the official masks."""
    instances = image.instances
    rles: list[dict[str, Any] | None] = list(image.truth_rles)
    covered = int(coco_mask.area(coco_mask.merge(image.truth_rles))) if rles else 0
    if sum(int(coco_mask.area(rle)) for rle in image.truth_rles) > covered:
        rles = paint(image.truth_rles[::-1], image.shape)[1][::-1]
    visible = [i for i, rle in enumerate(rles) if rle is not None]
    truth = _Truth(instances.class_ids[visible] - 1, instances.crowd[visible], instances.ignore[visible])
    return truth, [rles[i] for i in visible]


def _overlap(image: EvaluatedImage, flat: Flattened) -> bool:
    """Return whether any two of the given masks overlap, including those beyond the limit."""
    if flat.overlapped or len(image.entries) <= len(flat.entries):
        return flat.overlapped
    return sum(image.detection_areas) > int(coco_mask.area(coco_mask.merge(image.detection_rles)))


def _detections(entries: Iterable[tuple[Entry, dict[str, Any]]]) -> Detections:
    """Convert entries and their masks for `TableBuilder.add`."""
    pairs = list(entries)
    rles = [rle for _, rle in pairs]
    return Detections(
        [e["category_id"] - 1 for e, _ in pairs],
        [e["score"] for e, _ in pairs],
        [float(coco_mask.area(rle)) for rle in rles],
        rles,
    )


def _figures(
    table: Table, weights: np.ndarray | None
) -> tuple[CocoFigures, dict[str, ClassFigures], int, Interval | None]:
    """Compute the fields of `ProtocolFigures`."""
    arrays = coco_ap.coco_arrays(table)
    per_class = {}
    for k, name in enumerate(CLASS_NAMES):
        figures = arrays.of_class(k).figures()
        per_class[name] = ClassFigures(figures.AP, figures.AP50, figures.AP75)
    interval = None if weights is None else bootstrap.interval_of_ap(rank_classes(table), weights)
    return arrays.figures(), per_class, len(table.dt_score), interval
