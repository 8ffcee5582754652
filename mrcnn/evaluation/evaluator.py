"""Evaluates a model on a dataset: COCO's figures for masks and boxes, with confidence intervals and an error analysis.

    result = evaluate(model, dataset)            # or evaluate("predictions.json", dataset)
    result.mask.AP, result.intervals.mask["AP"], result.to_json()
    headline(model, dataset).mask_AP             # only three figures, for use during training

Each `Evaluator` processes every image once and drops its masks after comparing them, so memory holds only numbers.
"""

import dataclasses
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from mrcnn.errors import InputError
from mrcnn.evaluation import bootstrap
from mrcnn.evaluation.check_results import CheckedEntries, check_predictions, load_predictions
from mrcnn.evaluation.coco_evaluator import CocoEvaluator, HeadlineEvaluator
from mrcnn.evaluation.coco_results import Entry, Predictor, Progress, image_key, predict_images
from mrcnn.evaluation.image import EvaluatedImage
from mrcnn.evaluation.result import BenchmarkFigures, Headline, Result
from mrcnn.evaluation.results_file import Store, entries_by_image
from mrcnn.evaluation.slices import Slicing

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset

log = logging.getLogger(__name__)

Source = Predictor | str | os.PathLike[str] | list[Entry]
Figures = TypeVar("Figures", covariant=True)


class Evaluator(Protocol[Figures]):
    """Computes figures from images and their predictions, which it receives one at a time."""

    def reset(self) -> None:
        """Forget all images."""
        ...

    def process(self, image: EvaluatedImage) -> None:
        """Add the next image."""
        ...

    def evaluate(self) -> Figures:
        """Return the figures over all images processed so far."""
        ...


def evaluate(
    source: Source,
    dataset: "Dataset",
    image_ids: Sequence[int] | np.ndarray | None = None,
    batch_size: int = 1,
    progress: Progress | None = None,
    *,
    store: Store | None = None,
    samples: int = bootstrap.SAMPLES,
    seed: int = 0,
    slicing: Slicing | None = None,
    benchmark: Evaluator[BenchmarkFigures] | None = None,
) -> Result:
    """Evaluate a model, or predictions made earlier, on a dataset.

    Args:
        source: A model with `detect_instances`, a COCO results file, or its list of entries.
        dataset: Prepared dataset; the truth is `dataset.load_instances(image_id)`.
        image_ids: The images to evaluate; None means all. Predictions for other images are left out.
        batch_size: Images per call of the model.
        progress: Wraps the list of batches while a model runs, for example `rich.progress.track`.
        store: File that receives the predictions, so that memory does not grow with them. Images that it already has
            are not predicted again.
        samples: Number of bootstrap samples; 0 leaves the intervals out.
        seed: Random seed of the bootstrap.
        slicing: The slices of the data to evaluate; None means the attributes of the images and the object sizes.
        benchmark: An evaluator for a benchmark's own protocols; its figures become `Result.official`.

    Returns:
        The figures, the curves and the predictions.

    Raises:
        InputError: There is no image, or a prediction is invalid.
    """
    ids = _checked_ids(dataset, image_ids)
    coco = CocoEvaluator(dataset, samples, seed, slicing or Slicing())
    evaluators: list[Evaluator[Any]] = [coco] if benchmark is None else [coco, benchmark]
    predictions = run_evaluators(evaluators, source, dataset, ids, batch_size, progress, store)
    result = dataclasses.replace(coco.evaluate(), predictions=predictions)
    if benchmark is not None:
        result.official = benchmark.evaluate()
        result.tables = {**result.tables, **result.official.tables}
    return result


def headline(
    source: Source, dataset: "Dataset", image_ids: Sequence[int] | np.ndarray | None = None, batch_size: int = 1
) -> Headline:
    """Compute only the figures that a training run needs after an epoch.

    Args:
        source ... batch_size: As for `evaluate`.

    Returns:
        Mask AP, mask AP50 and box AP, equal to those of `evaluate`, and the data for drawing the images.

    Raises:
        InputError: There is no image, or a prediction is invalid.
    """
    evaluator = HeadlineEvaluator(dataset)
    predictions = run_evaluators([evaluator], source, dataset, _checked_ids(dataset, image_ids), batch_size)
    return dataclasses.replace(evaluator.evaluate(), predictions=predictions)


def run_evaluators(
    evaluators: Sequence[Evaluator[Any]],
    source: Source,
    dataset: "Dataset",
    image_ids: Sequence[int],
    batch_size: int = 1,
    progress: Progress | None = None,
    store: Store | None = None,
) -> list[Entry] | Store:
    """Reset the evaluators, then pass every image with its predictions to each of them once.

    Args:
        evaluators: The evaluators; they share the data read for an image.
        source ... store: As for `evaluate`; `image_ids` must not repeat an image.

    Returns:
        The COCO results of these images: `store` if a model filled it, otherwise a list.

    Raises:
        InputError: A prediction is invalid.
    """
    pairs: Iterable[tuple[int, list[Entry]]]
    predictions: list[Entry] | Store
    if isinstance(source, (str, os.PathLike, list)):
        predictions = _given_entries(source, dataset, image_ids)
        pairs = _pairs(predictions, dataset, image_ids)
    elif store is not None:
        _fill(store, source, dataset, image_ids, batch_size, progress)
        predictions, pairs = store, _pairs(store, dataset, image_ids)
    else:
        predictions = []
        pairs = _kept(predict_images(source, dataset, image_ids, batch_size, progress), predictions)
    for evaluator in evaluators:
        evaluator.reset()
    for image_id, entries in pairs:
        image = EvaluatedImage.read(dataset, image_id, entries)
        for evaluator in evaluators:
            evaluator.process(image)
    return predictions


def _checked_ids(dataset: "Dataset", image_ids: Sequence[int] | np.ndarray | None) -> list[int]:
    ids = [int(i) for i in (dataset.image_ids if image_ids is None else image_ids)]
    if not ids:
        raise InputError("there is no image to evaluate: the dataset is empty (was `prepare()` called?)")
    if len(set(ids)) < len(ids):
        raise InputError("image_ids has an image twice; list each image once")
    return ids


def _given_entries(
    source: str | os.PathLike[str] | list[Entry], dataset: "Dataset", image_ids: Sequence[int]
) -> list[Entry]:
    """Read and check entries, and return those of the chosen images."""
    if isinstance(source, CheckedEntries):
        entries = source
    elif isinstance(source, list):
        entries = check_predictions(source, dataset)
    else:
        entries = load_predictions(source, dataset)
    keys = {image_key(dataset, image_id) for image_id in image_ids}
    used = [entry for entry in entries if entry["image_id"] in keys]
    if len(used) < len(entries):
        log.info("%d of %d predictions are for images that are not evaluated", len(entries) - len(used), len(entries))
    without = len(keys - {entry["image_id"] for entry in used})
    if without:
        log.info("%d of %d images have no prediction", without, len(image_ids))
    return used


def _fill(
    store: Store,
    model: Predictor,
    dataset: "Dataset",
    image_ids: Sequence[int],
    batch_size: int,
    progress: Progress | None,
) -> None:
    """Predict the images that are not in the store."""
    missing = [image_id for image_id in image_ids if image_key(dataset, image_id) not in store]
    if len(missing) < len(image_ids):
        known = len(image_ids) - len(missing)
        log.info("%s already has the detections of %d of %d images", store.path, known, len(image_ids))
    for image_id, entries in predict_images(model, dataset, missing, batch_size, progress):
        store.add(image_key(dataset, image_id), entries)


def _pairs(
    predictions: list[Entry] | Store, dataset: "Dataset", image_ids: Sequence[int]
) -> Iterator[tuple[int, list[Entry]]]:
    of_image = entries_by_image(predictions)
    for image_id in image_ids:
        yield image_id, of_image(image_key(dataset, image_id))


def _kept(pairs: Iterable[tuple[int, list[Entry]]], predictions: list[Entry]) -> Iterator[tuple[int, list[Entry]]]:
    """Pass the pairs on and add their entries to `predictions`."""
    for image_id, entries in pairs:
        predictions += entries
        yield image_id, entries
