"""The figures of an evaluation, one dataclass per concept; `to_json` converts any of them to the form of result.json.

Field names are the keys of the file. Figures are fractions from 0 to 1, or None if there is no object (or no detection)
to compute them from. Lists of ten have one value per IoU threshold 0.50, 0.55 ... 0.95; lists of 101 have one per
recall or score 0, 0.01 ... 1. Dictionaries keyed by class use the class names, without the background. C is the number
of classes with the background.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mrcnn.evaluation.coco_results import Entry
    from mrcnn.evaluation.match_table import Table
    from mrcnn.evaluation.results_file import Store

Interval = list[float]  # [low, high]
NOT_IN_JSON = {"json": False}  # metadata of a field that `to_json` leaves out


def to_json(value: Any) -> Any:
    """Convert dataclasses of figures, and lists and dictionaries of them, to dictionaries, lists and numbers."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (field for field in dataclasses.fields(value) if field.metadata.get("json", True))
        return {field.name: to_json(getattr(value, field.name)) for field in fields}
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_json(item) for item in value]
    return value


@dataclasses.dataclass
class CocoFigures:
    """COCO's twelve figures.

    Attributes:
        AP: Mean over the classes and the IoU thresholds 0.50:0.05:0.95.
        AP50, AP75: At one IoU threshold.
        AP_S, AP_M, AP_L: For objects whose mask area is below 32^2 px, between 32^2 and 96^2 px, and above.
        AR1, AR10, AR100: Recall with that many detections per image and class, averaged over the IoU thresholds.
        AR_S, AR_M, AR_L: AR100 by mask area.
    """

    AP: float | None
    AP50: float | None
    AP75: float | None
    AP_S: float | None
    AP_M: float | None
    AP_L: float | None
    AR1: float | None
    AR10: float | None
    AR100: float | None
    AR_S: float | None
    AR_M: float | None
    AR_L: float | None


TWELVE = tuple(field.name for field in dataclasses.fields(CocoFigures))


@dataclasses.dataclass
class ClassFigures:
    """The figures of one class.

    Attributes:
        category_id: Category id in the source of the labels.
        objects: Number of objects, without crowds and ignored ones.
        ignored: Number of crowds and ignored objects.
        detections: Number of detections.
        mask, box: COCO's figures.
        ap_by_iou: "mask", "box" -> AP at each of the ten IoU thresholds.
    """

    category_id: int | str
    objects: int
    ignored: int
    detections: int
    mask: CocoFigures
    box: CocoFigures
    ap_by_iou: dict[str, list[float | None]]


@dataclasses.dataclass
class PRCurve:
    """Interpolated precision of masks over recall at IoU 0.5.

    Attributes:
        recall: [101].
        precision: Class -> [101], for the classes that have objects.
        mean: [101] over these classes; empty if no class has objects.
    """

    recall: list[float]
    precision: dict[str, list[float]]
    mean: list[float]


@dataclasses.dataclass
class BestScore:
    """The minimum score at which F1 is largest, and the figures there; all None if there is no detection."""

    score: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None


@dataclasses.dataclass
class ScoreCurve:
    """Precision, recall and F1 over the minimum score, [101] each, and the score with the best F1."""

    precision: list[float | None]
    recall: list[float | None]
    f1: list[float | None]
    best: BestScore


@dataclasses.dataclass
class ScoreCurves:
    """Score curves of masks at one IoU threshold.

    Attributes:
        iou: The threshold.
        scores: [101] minimum scores.
        all: The curve of all classes together.
        per_class: Class -> curve, for the classes that have objects.
    """

    iou: float
    scores: list[float]
    all: ScoreCurve
    per_class: dict[str, ScoreCurve]


@dataclasses.dataclass
class Confusion:
    """How often each class was predicted for each true class, by masks.

    Attributes:
        iou: Minimum IoU of a pair.
        score: Minimum score of a detection: that with the best F1 over all classes; None takes all detections.
        classes: [C] names; the last is "background".
        counts: [C][C] pairs; rows are true classes, columns predicted ones.
    """

    iou: float
    score: float | None
    classes: list[str]
    counts: list[list[int]]


@dataclasses.dataclass
class ClassErrors:
    """The errors of one class: its AP50 and, for each kind of error, the loss in AP50 and the count."""

    AP50: float
    delta_ap: dict[str, float]
    counts: dict[str, int]


@dataclasses.dataclass
class ErrorSplit:
    """The errors of masks by kind, as in TIDE (arXiv:2008.08115); see `mrcnn.evaluation.tide`.

    Attributes:
        iou: IoU threshold of a match.
        background_iou: IoU below which a detection lies on the background.
        AP50: AP at `iou`.
        delta_ap: Kind of error (class, place, both, duplicate, background, missed) -> gain in AP50 without such errors.
        false_positives, false_negatives: Gain in AP50 without any of them.
        counts: Kind -> number of errors.
        per_class: Class -> its errors, for the classes that have objects.
    """

    iou: float
    background_iou: float
    AP50: float | None
    delta_ap: dict[str, float | None]
    false_positives: float | None
    false_negatives: float | None
    counts: dict[str, int]
    per_class: dict[str, ClassErrors]


@dataclasses.dataclass
class CalibrationBin:
    """The detections with scores in [low, high): their count, mean score and precision."""

    low: float
    high: float
    count: int
    score: float | None
    precision: float | None


@dataclasses.dataclass
class ClassCalibration:
    """Expected calibration error and number of detections of one class."""

    ece: float | None
    count: int


@dataclasses.dataclass
class Calibration:
    """How well scores predict precision, by masks: of the detections with score 0.8, 80 % should be right.

    Attributes:
        iou: IoU threshold of a match.
        bins: Ten bins of equal width in score.
        ece: Mean gap between score and precision, weighted by count.
        per_class: Class -> its error, for the classes that have detections.
    """

    iou: float
    bins: list[CalibrationBin]
    ece: float | None
    per_class: dict[str, ClassCalibration]


@dataclasses.dataclass
class SliceFigures:
    """The mask figures of some of the images or objects; `interval` is the confidence interval of AP."""

    images: int
    objects: int
    AP: float | None = None
    AP50: float | None = None
    AR100: float | None = None
    interval: Interval | None = None


@dataclasses.dataclass
class Intervals:
    """Confidence intervals from a bootstrap over the images; see `mrcnn.evaluation.bootstrap`.

    Attributes:
        samples: Number of samples.
        level: Confidence level, such as 0.95.
        seed: Random seed of the samples.
        mask, box: COCO's twelve figures -> interval.
        per_class: Class -> "mask", "box" -> AP, AP50, AP75 -> interval.
        matterport: "mAP50" -> interval.
    """

    samples: int
    level: float
    seed: int
    mask: dict[str, Interval | None]
    box: dict[str, Interval | None]
    per_class: dict[str, dict[str, dict[str, Interval | None]]]
    matterport: dict[str, Interval | None]


@dataclasses.dataclass
class MatterportFigures:
    """What users of Matterport's code call mAP: the mean of `compute_ap` over the images that have objects.

    Attributes:
        mAP50: At IoU 0.5, with the classes pooled and without crowds. Not comparable with AP50.
    """

    mAP50: float | None


@dataclasses.dataclass
class ImageFigures:
    """One image: its name in predictions, its counts and Matterport's AP at IoU 0.5 (None without objects)."""

    image: int | str
    objects: int
    detections: int
    AP50: float | None


class BenchmarkFigures(Protocol):
    """The figures of a benchmark's own protocols: a dataclass of the benchmark's package that `to_json` can convert."""

    @property
    def tables(self) -> Mapping[str, "Table"]:
        """Name of the protocol -> the overlaps that its figures were computed from."""
        ...


@dataclasses.dataclass
class Result:
    """All figures of one evaluation.

    Attributes:
        images: Number of images.
        objects: Number of objects, without crowds and ignored ones.
        ignored: Number of crowds and ignored objects.
        detections: Number of detections.
        engine: The library that computes the overlaps; the COCO figures equal those of its COCOeval to the last bit.
        mask: COCO's figures for masks, the main result.
        box: COCO's figures for boxes.
        iou_thresholds: 0.50 ... 0.95.
        ap_by_iou: "mask", "box" -> AP at each threshold.
        per_class: Class -> its figures.
        pr_curve: Precision of masks at IoU 0.5.
        pr_curves: "mask", "box" -> class -> [10][101], interpolated precision at every IoU threshold and recall.
        score_curves: Precision, recall and F1 over the minimum score.
        confusion: How often each class was predicted for each true class.
        errors: The kinds of errors and the AP50 that each costs.
        calibration: How well scores predict precision.
        slices: Attribute ("weather", "size", ...) -> value -> figures; see `mrcnn.evaluation.slices`.
        intervals: Confidence intervals; None if no bootstrap was run ({} in JSON).
        matterport: Matterport's mAP.
        official: The figures of a benchmark's own protocols; None if there are none ({} in JSON).
        per_image: One entry for each image.
        image_ap50: Dataset image id -> Matterport's AP at 0.5, for the images with objects. Not in JSON.
        predictions: The COCO results that were evaluated, a list or a `Store` (iterable). Not in JSON.
        tables: "mask", "box" and the protocols of `official` -> the overlaps that all figures are computed from. Not
            in JSON.
    """

    images: int
    objects: int
    ignored: int
    detections: int
    engine: str
    mask: CocoFigures
    box: CocoFigures
    iou_thresholds: list[float]
    ap_by_iou: dict[str, list[float | None]]
    per_class: dict[str, ClassFigures]
    pr_curve: PRCurve
    pr_curves: dict[str, dict[str, list[list[float]]]]
    score_curves: ScoreCurves
    confusion: Confusion
    errors: ErrorSplit
    calibration: Calibration
    slices: dict[str, dict[str, SliceFigures]]
    intervals: Intervals | None
    matterport: MatterportFigures
    official: BenchmarkFigures | None
    per_image: list[ImageFigures]
    image_ap50: dict[int, float] = dataclasses.field(metadata=NOT_IN_JSON)
    predictions: "list[Entry] | Store" = dataclasses.field(default_factory=list, metadata=NOT_IN_JSON)
    tables: "dict[str, Table]" = dataclasses.field(default_factory=dict, compare=False, metadata=NOT_IN_JSON)

    def to_json(self) -> dict[str, Any]:
        """Return the content of result.json: all figures and curves as dictionaries, lists and numbers."""
        result = to_json(self)
        return {**result, "intervals": result["intervals"] or {}, "official": result["official"] or {}}


@dataclasses.dataclass
class Headline:
    """The figures that a training run tracks, equal to those of `Result`.

    Attributes:
        mask_AP, mask_AP50, box_AP: COCO's figures.
        image_ap50: Dataset image id -> Matterport's AP at 0.5, for the images with objects.
        predictions: The COCO results that were evaluated.
    """

    mask_AP: float | None
    mask_AP50: float | None
    box_AP: float | None
    image_ap50: dict[int, float]
    predictions: "list[Entry] | Store" = dataclasses.field(default_factory=list)
