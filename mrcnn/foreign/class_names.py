"""The classes of other projects' models, and which of them stand for the classes of a data set."""

import logging
from collections.abc import Sequence
from typing import Any

from mrcnn.modeling.coco_classes import COCO_CLASSES

log = logging.getLogger(__name__)

# Cityscapes' eight classes with instances. BDD100K has the same in the same order, and calls a person a pedestrian.
DRIVING = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
COCO_80 = tuple(name for _, name in COCO_CLASSES[1:])
UNUSED = "(unused)"  # ids that COCO gave to no class; torchvision's models have outputs for them
COCO_90 = tuple(dict(COCO_CLASSES).get(number, UNUSED) for number in range(1, 91))
# Two words for one class; the first is COCO's.
SYNONYMS = {
    "person": ("pedestrian", "human"),
    "motorcycle": ("motorbike", "motor"),
    "bicycle": ("bike",),
    "airplane": ("aeroplane", "plane"),
    "tv": ("tv monitor", "television"),
    "couch": ("sofa",),
    "dining table": ("diningtable",),
    "potted plant": ("pottedplant",),
    "cell phone": ("mobile phone",),
}
_PLAIN = {"".join(other.split()): "".join(name.split()) for name, others in SYNONYMS.items() for other in others}
META_KEYS = ("CLASSES", "classes", "class_names", "thing_classes", "dataset_meta", "names")


def names_of(meta: dict[str, Any], count: int) -> tuple[str, ...] | None:
    """Return the names of a model's classes, without the background.

    Args:
        meta: what the file holds beside the tensors.
        count: number of classes without the background.

    Returns:
        The names that the file says; else those of the data set that is known by its number of classes; else None.
    """
    said = _said(meta)
    if said is not None and len(said) == count:
        return said
    return {len(DRIVING): DRIVING, len(COCO_80): COCO_80, len(COCO_90): COCO_90}.get(count)


def _said(meta: Any) -> tuple[str, ...] | None:
    """Return the class names in a file's plain values, which programs keep under several keys."""
    if not isinstance(meta, dict):
        return None
    for key in META_KEYS:
        value = meta.get(key)
        if isinstance(value, dict) and all(isinstance(name, str) for name in value.values()) and "CLASSES" not in value:
            value = list(value.values())
        if isinstance(value, dict):
            value = _said(value)
        if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
            return tuple(value)
    return None


def plain(name: str) -> str:
    """Return a class name without case, blanks, hyphens and underscores, and one word for each class."""
    letters = "".join(letter for letter in name.lower() if letter.isalnum())
    return _PLAIN.get(letters, letters)


def match(names: Sequence[str], wanted: Sequence[str]) -> list[int | None]:
    """Return for each wanted class, background first, the index of the class in `names` of that meaning, or None."""
    known = {plain(name): number for number, name in reversed(list(enumerate(names)))}
    return [0, *(known.get(plain(name)) for name in wanted[1:])]


def say_missing(path: Any, names: Sequence[str], wanted: Sequence[str], effect: str) -> None:
    """Log a warning that names the wanted classes that a file lacks; `effect` says what becomes of them."""
    missing = [name for name, source in zip(wanted, match(names, wanted), strict=True) if source is None]
    if missing:
        log.warning("%s has no class for %s: %s", path, ", ".join(missing), effect)
