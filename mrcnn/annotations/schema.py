"""The in-memory form of annotations, and what all readers share.

Objects stay polygons or run-length codes until an image is loaded; then they become boxes and crops.
"""

import dataclasses
import logging
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mrcnn.annotations.findings import Report
from mrcnn.annotations.json_fields import is_side
from mrcnn.errors import InputError, LabelError
from mrcnn.structures.polygons import polygons_to_crop
from mrcnn.structures.rle import rle_to_crop

log = logging.getLogger(__name__)

BoxAndCrop = tuple[np.ndarray, np.ndarray]  # int32 [4] (y1, x1, y2, x2) px, exclusive; bool [y2 - y1, x2 - x1]


@dataclasses.dataclass
class Annotation:
    """One annotated object; with neither polygons nor rle only its box is known.

    Attributes:
        id: how messages name it.
        name: its class.
        polygons: float64 [k, 2] arrays of (x, y) px; the object is their union.
        rle: COCO run-length code {"size": [height, width], "counts": ...}.
        box_px: (x1, y1, x2, y2) px, x2 and y2 exclusive.
        crowd, ignore: neither a positive nor a negative.
    """

    id: str
    name: str
    polygons: list[np.ndarray] | None = None
    rle: dict[str, Any] | None = None
    box_px: tuple[float, float, float, float] | None = None
    crowd: bool = False
    ignore: bool = False

    @property
    def has_mask(self) -> bool:
        """Whether the annotation says which pixels belong to the object."""
        return self.polygons is not None or self.rle is not None


@dataclasses.dataclass
class AnnotatedImage:
    """One image with its objects.

    Attributes:
        name: unique in its folder, with "/" between the parts.
        path: the image file.
        source: the file that annotates it.
        size: (height, width) that the annotations say, px.
        objects: its annotations.
        id_mask: in place of `objects`, a PNG whose values are instance ids, 0 for the background.
        mask_files: in place of `objects`, one PNG per object; what is not 0 belongs to it.
        coco_id: its id in a COCO file.
        split: "train", "val" or "test", where folders or files say it.
    """

    name: str
    path: pathlib.Path
    source: pathlib.Path
    size: tuple[int, int] | None = None
    objects: list[Annotation] = dataclasses.field(default_factory=list)
    id_mask: pathlib.Path | None = None
    mask_files: list[pathlib.Path] | None = None
    coco_id: int | None = None
    split: str | None = None


@dataclasses.dataclass
class Annotations:
    """What a reader found in a folder.

    Attributes:
        format: its name, which is the source of classes and images in the dataset.
        images: all of them, of every split.
        classes: (id, name) in their order; ids from 1.
        report: what could not be used.
    """

    format: str
    images: list[AnnotatedImage]
    classes: list[tuple[int, str]]
    report: Report


def object_mask(label: Annotation, shape: tuple[int, int]) -> BoxAndCrop | None:
    """Box and mask of an object in an image of `shape` (height, width); None if no pixel belongs to it.

    Raises:
        InputError: a run-length code whose runs do not fit its size; readers check that before.
    """
    if label.rle is not None:
        return rle_to_crop(label.rle)
    if label.polygons is not None:
        return polygons_to_crop(label.polygons, shape)
    assert label.box_px is not None
    x1, y1, x2, y2 = np.rint(label.box_px).astype(int)
    y1, x1, y2, x2 = max(y1, 0), max(x1, 0), min(y2, shape[0]), min(x2, shape[1])
    if y2 <= y1 or x2 <= x1:
        return None
    return np.array([y1, x1, y2, x2], np.int32), np.ones((y2 - y1, x2 - x1), bool)


def keep(image: AnnotatedImage, label: Annotation) -> None:
    """Adds a label whose box or polygons were checked. Raises LabelError where it has no class name."""
    if not label.name:
        raise LabelError("has no class")
    image.objects.append(label)


# Finds an image by the name that a file has for it: (name, the annotation file) -> path or None.
Finder = Callable[[str, pathlib.Path], pathlib.Path | None]
ONE_CLASS = "object"  # where a format has no word for the class


def listed_classes(images: Sequence[AnnotatedImage]) -> list[tuple[int, str]]:
    names = sorted({label.name for image in images for label in image.objects})
    return list(enumerate(names, 1))


# Parts of all --------------------------------------------------------------------------------------------------------


def locate(name: str, path: pathlib.Path, find: Finder, report: Report) -> AnnotatedImage | None:
    found = find(name, path)
    if found is None:
        report.add("missing image", "no image file of this name is in the folder", path, image=name)
        return None
    return AnnotatedImage(name, found, path)


def known_size(height: Any, width: Any) -> tuple[int, int] | None:
    return (height, width) if is_side(height) and is_side(width) else None


def swapped(image: pathlib.Path, folder: str, suffix: str) -> pathlib.Path | None:
    """The path of an image with its last folder called images replaced; None if there is no such folder."""
    parts = list(image.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place].lower() in ("images", "image", "imgs"):
            parts[place] = folder
            return pathlib.Path(*parts).with_suffix(suffix)
    return None


def read_lines(path: pathlib.Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not a text file in UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
