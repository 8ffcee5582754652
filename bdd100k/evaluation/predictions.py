"""Reads the predictions of any program: COCO results, Scalabel JSON with scores, or RGBA bitmasks with a score file."""

import logging
import pathlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from bdd100k.config import CLASS_NAMES
from bdd100k.evaluation.protocols import frame_name, has_official_classes
from bdd100k.evaluation.submissions import BITMASKS, SCORES
from bdd100k.labels.load import load_labels
from mrcnn.annotations.json_kind import SCALABEL, json_kind
from mrcnn.annotations.object_masks import object_mask
from mrcnn.annotations.schema import AnnotatedImage, Annotation, Annotations
from mrcnn.errors import InputError
from mrcnn.evaluation.check_results import CheckedEntries, check_predictions, load_predictions
from mrcnn.evaluation.coco_results import Entry
from mrcnn.structures.rle import crop_to_rle
from mrcnn.user_files import read_json

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset


log = logging.getLogger(__name__)


def load_any(path: str | pathlib.Path, dataset: "Dataset") -> CheckedEntries:
    """Read predictions, and determine their format from the content.

    Args:
        path: A JSON file of COCO results, or of Scalabel frames whose labels have `score` and `rle` or `poly2d`. Or a
            folder of RGBA PNGs with a JSON `[{name, labels: [{index, score}]}]`, either inside it or beside it under
            the folder's name. Or a folder with `bitmasks` and `bitmask_scores.json`, as `Writer` writes it.
        dataset: Prepared dataset that the predictions belong to.

    Returns:
        The checked COCO results.

    Raises:
        InputError: The predictions cannot be read, or one of them is invalid: an unknown image or category, a wrong
            size, a score that is missing or not a number from 0 to 1, two categories with the same index.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        if not path.is_file() or json_kind(path).format != SCALABEL:
            return load_predictions(path, dataset)
        _refuse_other_classes(path, dataset)
        labels = _read(path)
        masked = [label.has_mask for image in labels.images for label in image.objects]
        if masked and not any(masked):
            raise InputError(f"{path}: no prediction has a mask (rle or poly2d)")
        if not all(masked):  # as in the official code
            log.warning("%s: %d predictions without rle and poly2d are left out", path, masked.count(False))
        return _checked(labels, path, dataset)
    _refuse_other_classes(path, dataset)
    folder = path / BITMASKS if (path / BITMASKS).is_dir() else path
    labels = _read(folder)
    _give_scores(labels, folder, _score_file(path, folder))
    return _checked(labels, path, dataset)


def _refuse_other_classes(path: pathlib.Path, dataset: "Dataset") -> None:
    if not has_official_classes(dataset):
        raise InputError(
            f"{path}: Scalabel JSON and bitmasks need BDD100K's classes, but this dataset has other classes; "
            "give COCO results"
        )


def _read(path: pathlib.Path) -> Annotations:
    """Read the predictions as labels; raise InputError if one of them is invalid."""
    labels = load_labels(path)
    findings = labels.findings
    if findings.entries:
        first = "; ".join(map(str, findings.entries[:3]))
        raise InputError(f"{len(findings.entries)} predictions cannot be used: {first}")
    if findings.unknown or findings.stuff:
        names = [*findings.unknown, *findings.stuff]
        raise InputError(f"{path}: predictions of {', '.join(names[:5])}; the classes are {', '.join(CLASS_NAMES)}")
    return labels


def _checked(labels: Annotations, path: pathlib.Path, dataset: "Dataset") -> CheckedEntries:
    """Convert the labels to checked COCO results."""
    shapes = _shapes(dataset)
    entries: list[Entry] = []
    places: list[str] = []
    for image in labels.images:
        if pathlib.PurePath(image.name).stem not in shapes:
            raise InputError(
                f"{path}: {image.name!r} is no image of this dataset; its images are called "
                f"{', '.join(repr(name) for name in list(shapes)[:3])} ..."
            )
        for label in filter(lambda label: label.has_mask, image.objects):
            entries.append(_entry(image, label, shapes))
            places.append(f"{image.name}, label {label.id!r}")
    return check_predictions(entries, dataset, str(path), places)


def _shapes(dataset: "Dataset") -> dict[str, tuple[int, int]]:
    return {pathlib.PurePath(frame_name(dataset, int(i))).stem: dataset.image_size(int(i)) for i in dataset.image_ids}


def _entry(image: AnnotatedImage, label: Annotation, shapes: dict[str, tuple[int, int]]) -> Entry:
    segmentation: Any = label.rle
    if segmentation is None:
        shape = shapes[pathlib.PurePath(image.name).stem]
        found = object_mask(label, shape)
        box, crop = found if found is not None else (np.zeros(4, int), np.zeros((0, 0), bool))
        segmentation = crop_to_rle(box.tolist(), crop, shape)
    bbox = None
    if label.box_px is not None:
        x1, y1, x2, y2 = label.box_px
        bbox = [x1, y1, x2 - x1, y2 - y1]
    return {
        "image_id": image.name,
        "category_id": CLASS_NAMES.index(label.name) + 1,
        "category_name": label.name,  # decides: a COCO file may give its categories other ids
        "score": label.score,
        "bbox": bbox,
        "segmentation": segmentation,
    }


def _score_file(path: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    beside = [path / SCORES, folder.with_suffix(".json"), folder.parent / SCORES]
    inside = sorted(folder.glob("*.json"))
    if len(inside) > 1:
        raise InputError(
            f"{folder}: several JSON files, {inside[0].name} and {inside[1].name}; keep only the one with the scores"
        )
    for file in (*inside, *beside):
        if file.is_file():
            return file
    raise InputError(
        f"{path}: bitmasks need a score file, a JSON [{{name, labels: [{{index, score}}]}}] in the folder "
        f"or beside it as {beside[1].name}"
    )


def _give_scores(labels: Annotations, folder: pathlib.Path, file: pathlib.Path) -> None:
    """Set the scores of the objects in the PNGs. An index without a pixel is covered by others and has no object."""
    scores = _read_scores(file)
    for image in labels.images:
        stem = pathlib.PurePath(image.name).stem
        if stem not in scores:
            raise InputError(f"{file}: no scores for {folder / (stem + '.png')}")
        own = scores.pop(stem)
        ids = [label.id for label in image.objects]
        repeated = next((i for i, times in Counter(ids).items() if times > 1), None)
        if repeated is not None:
            raise InputError(f"{folder / (stem + '.png')}: index {repeated} has pixels of several categories or flags")
        absent = [i for i in ids if i not in own]
        if absent:
            raise InputError(f"{file}: {stem} has no score for the index {absent[0]}, which has pixels in its PNG")
        for label in image.objects:
            label.score = own[label.id]
    if scores:
        raise InputError(f"{file}: scores for {next(iter(scores))}, which has no PNG in {folder}")


def _read_scores(file: pathlib.Path) -> dict[str, dict[str, float]]:
    """Return stem of the image -> index as text -> score."""
    frames = read_json(file)
    try:
        scores: dict[str, dict[str, float]] = {}
        for frame in frames:
            own = scores.setdefault(pathlib.PurePath(frame["name"]).stem, {})
            for label in frame.get("labels") or []:
                if own.setdefault(str(int(label["index"])), label["score"]) is not label["score"]:
                    raise InputError(f"{file}: {frame['name']} has the index {label['index']} twice")
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: expected a list of {{name, labels: [{{index, score}}]}} ({error!r})") from error
    return scores
