"""Class balance: how often each class is labelled, how often an image is shown, and how much a class counts in the
loss.

Everything here works on counts per image. They come from labels without decoding a mask if the dataset knows its
classes (`Dataset.load_class_ids`).

Legend: M images, C classes with background.
"""

import logging
from typing import Any

import numpy as np

from mrcnn.config import BALANCES
from mrcnn.data.dataset import Dataset, check_class_ids, naming_image
from mrcnn.errors import InputError

log = logging.getLogger(__name__)

CLASS_WEIGHTINGS = ("effective", "inverse")


def image_class_counts(dataset: Dataset) -> np.ndarray:
    """Count the labelled objects of each class in each image; crowds and ignored objects do not count.

    Args:
        dataset: prepared.

    Returns:
        int64 [M, C]; column 0, the background, is 0.

    Raises:
        InputError: an image has a class id that the dataset does not know.
    """
    counts = np.zeros((len(dataset.image_ids), dataset.num_classes), np.int64)
    for row, image_id in enumerate(dataset.image_ids):
        with naming_image(dataset, image_id):
            class_ids = np.asarray(dataset.load_class_ids(image_id), np.int64)
            check_class_ids(dataset, image_id, class_ids)
        counts[row] = np.bincount(class_ids[class_ids > 0], minlength=dataset.num_classes)
    return counts


def repeat_factors(dataset: Dataset | np.ndarray, threshold: float = 0.1) -> np.ndarray:
    """Return how often to show each image in a pass, so that rare classes are seen more often.

    As in LVIS (Gupta et al., arXiv:1908.03195, appendix B.2), f(c) is the fraction of images that contain class c, r(c)
    = max(1, sqrt(threshold / f(c))), and an image is repeated r = max r(c) over its classes times. LVIS uses 0.001 for
    its 1,203 classes; 0.1 suits the eight of BDD100K: it repeats images with trains (f about 0.005) 4 to 5 times, and
    leaves images alone whose classes are each in a tenth of the images.

    Args:
        dataset: prepared, or its `image_class_counts`.
        threshold: fraction of images below which a class counts as rare, above 0 and at most 1.

    Returns:
        float64 [M], at least 1.

    Raises:
        InputError: the threshold is outside 0..1.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"the repeat threshold is {threshold}; give a fraction of the images, above 0 and at most 1")
    shown = _counts(dataset) > 0  # [M, C]
    fraction = shown.mean(axis=0)  # [C]
    factors = np.sqrt(threshold / np.where(fraction > 0, fraction, 1.0)).clip(min=1.0)
    return np.where(shown, factors, 1.0).max(axis=1, initial=1.0)


def class_aware_weights(dataset: Dataset | np.ndarray) -> np.ndarray:
    """Return how often each image is shown if a class is drawn first, uniformly, and then an image of that class.

    Class-aware sampling (Shen et al., arXiv:1512.05830). Stronger than `repeat_factors`: the images of a class in 0.5 %
    of the set make up 1 / (C - 1) of a pass.

    Args:
        dataset: prepared, or its `image_class_counts`.

    Returns:
        float64 [M] with mean 1; 0 for images without an object.

    Raises:
        InputError: no image has an object.
    """
    shown = _counts(dataset) > 0  # [M, C]
    images = shown.sum(axis=0)  # [C]
    present = images > 0
    if not present.any():
        raise InputError("no image has an object, so no class can be drawn; check the labels and the class names")
    chance = np.divide(1.0, images, out=np.zeros(len(images)), where=present) / present.sum()  # [C], of each image
    return shown @ chance * len(shown)


def image_weights(dataset: Dataset, config: Any) -> np.ndarray | None:
    """Return how often config.BALANCE shows each image in a pass, or None for once each.

    Args:
        dataset: prepared.
        config: BALANCE and REPEAT_THRESHOLD are read.

    Returns:
        float64 [M] for `Loader(image_weights=...)`, or None.

    Raises:
        InputError: BALANCE is unknown, or there is no object to balance.
    """
    if config.BALANCE is None:
        return None
    if config.BALANCE not in BALANCES:
        raise InputError(f"BALANCE is {config.BALANCE!r}; use one of {', '.join(BALANCES)}, or None")
    counts = image_class_counts(dataset)
    if config.BALANCE == "class-aware":
        weights = class_aware_weights(counts)
    else:
        weights = repeat_factors(counts, config.REPEAT_THRESHOLD)
    before, after = counts.sum(axis=0), effective_class_counts(counts, weights)
    rows = list(zip(dataset.class_names, before, after, strict=True))[1:]
    text = ", ".join(f"{name} {was} -> {now:.0f}" for name, was, now in rows)
    shown = weights.sum()
    log.info(
        "%s sampling: a pass over %d images shows %.0f images; objects: %s", config.BALANCE, len(weights), shown, text
    )
    return weights


def effective_class_counts(dataset: Dataset | np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the average number of objects of each class that a pass shows.

    Args:
        dataset: prepared, or its `image_class_counts`.
        weights: [M], how often each image is shown.

    Returns:
        float64 [C].

    Raises:
        InputError: see `image_class_counts`.
    """
    return np.asarray(weights, np.float64) @ _counts(dataset)


def weighted_order(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one pass over weighted images, in random order.

    Systematic sampling: an image of weight w appears floor(w) or ceil(w) times, w times on average, and every pass has
    the same length. So a position in the sequence is known without the passes before it.

    Args:
        weights: float [M], not negative, with a sum of at least 0.5.
        rng: decides on the fractional parts and the order.

    Returns:
        int [round(sum of weights)], indices 0..M-1.
    """
    length = pass_length(weights)
    drawn = rng.permutation(len(weights))  # in a fixed order, some pairs would never appear in one pass
    ends = np.cumsum(weights[drawn])
    ends *= length / ends[-1]
    ends[-1] = length
    marks = np.floor(ends + rng.random())  # after each image: the number of draws so far
    times = np.diff(marks, prepend=0.0).astype(int)
    return rng.permutation(np.repeat(drawn, times))


def pass_length(weights: np.ndarray) -> int:
    """Return the number of images in one pass of `weighted_order`."""
    return max(1, round(float(np.sum(weights))))


def class_weights(dataset: Dataset | np.ndarray, method: str = "effective", beta: float = 0.999) -> np.ndarray:
    """Return weights of the classes for config.CLASS_LOSS_WEIGHTS, larger for rare classes.

    "effective" divides by the effective number (1 - beta^n) / (1 - beta) of n objects (Cui et al., arXiv:1901.05555,
    section 4), which saturates near 1 / (1 - beta), so that frequent classes get similar weights. "inverse" divides by
    n.

    Args:
        dataset: prepared, or its `image_class_counts`.
        method: "effective" or "inverse".
        beta: of the effective number, at least 0 and below 1.

    Returns:
        float64 [C]: 1 for the background and for classes without an object; the mean over all objects is 1, so the
        objects' total weight against the background stays the same.

    Raises:
        InputError: the method or beta is invalid, or there is no object at all.
    """
    if method not in CLASS_WEIGHTINGS:
        raise InputError(f"class weights {method!r} are unknown; use one of {', '.join(CLASS_WEIGHTINGS)}")
    if not 0 <= beta < 1:
        raise InputError(f"beta is {beta}; give at least 0 and less than 1")
    objects = _counts(dataset).sum(axis=0)
    objects[0] = 0
    present = np.flatnonzero(objects)
    if not len(present):
        raise InputError("no image has an object, so classes cannot be weighted; check the labels and the class names")
    number = objects[present].astype(np.float64)
    raw = 1 / number if method == "inverse" else (1 - beta) / (1 - beta**number)
    weights = np.ones(len(objects))
    weights[present] = raw * number.sum() / (raw @ number)
    return weights


def _counts(dataset: Dataset | np.ndarray) -> np.ndarray:
    return dataset.copy() if isinstance(dataset, np.ndarray) else image_class_counts(dataset)
