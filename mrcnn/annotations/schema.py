"""The in-memory form of labels, whatever format they come from.

Objects stay polygons or run-length codes until an image is loaded; then they become boxes and crops.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.annotations.findings import Findings
from mrcnn.annotations.json_fields import Id
from mrcnn.errors import LabelError


@dataclasses.dataclass
class Annotation:
    """One labelled object. Polygons or a run-length code give its mask; with neither, only its box is known.

    Attributes:
        id: the label's id in its file, used in messages.
        name: its class.
        polygons: float64 [k, 2] arrays of (x, y) px, k >= 3; the object is their union.
        rle: COCO run-length code {"size": [height, width], "counts": ...}.
        box_px: (x1, y1, x2, y2) px, x2 and y2 exclusive. Not used where the mask is known.
        crowd, ignore: the object is neither a positive nor a negative.
        occluded, truncated: as labelled.
        score: confidence, in files of predictions.
        raw: the label as it stands in its JSON file, where the reader was asked to keep it.
    """

    id: str
    name: str
    polygons: list[np.ndarray] | None = None
    rle: dict[str, Any] | None = None
    box_px: tuple[float, float, float, float] | None = None
    crowd: bool = False
    ignore: bool = False
    occluded: bool = False
    truncated: bool = False
    score: float | None = None
    raw: dict[str, Any] | None = None

    @property
    def has_mask(self) -> bool:
        """Whether the label says which pixels belong to the object."""
        return self.polygons is not None or self.rle is not None


@dataclasses.dataclass
class AnnotatedImage:
    """One image with its objects.

    Attributes:
        name: unique in its data set, with "/" between the parts.
        path: the image file; the bare name where the reader was given no images.
        source: the label file.
        size: (height, width) in px as the labels state it, then that of the image file.
        objects: the labelled objects, in the order of the file.
        id_mask: in place of `objects`, a mask image whose values are instance ids, 0 for the background.
        mask_files: in place of `objects`, one mask image per object; its non-zero pixels are the object.
        coco_id: its id in a COCO file, a number or text.
        split: "train", "val" or "test", where folders or files say it.
        attributes: properties of the image as labelled, such as weather.
        layered: whether polygons are layers, each of which hides those before it (Scalabel); COCO's may overlap.
        labelled: False in a split that has no labels at all.
        raw: the image as it stands in its JSON file, without labels, where the reader was asked to keep it.
    """

    name: str
    path: pathlib.Path
    source: pathlib.Path
    size: tuple[int, int] | None = None
    objects: list[Annotation] = dataclasses.field(default_factory=list)
    id_mask: pathlib.Path | None = None
    mask_files: list[pathlib.Path] | None = None
    coco_id: Id | None = None
    split: str | None = None
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)
    layered: bool = False
    labelled: bool = True
    raw: dict[str, Any] | None = None

    @property
    def has_mask_files(self) -> bool:
        """Whether the objects are in mask images, which are decoded when the image is loaded."""
        return self.id_mask is not None or self.mask_files is not None

    def keep(self, label: Annotation) -> None:
        """Add an object whose box or mask has been checked. Raises LabelError if it has no class name."""
        if not label.name:
            raise LabelError("has no class")
        self.objects.append(label)


@dataclasses.dataclass
class Annotations:
    """What a reader returns.

    Attributes:
        format: name of the format, such as "coco".
        images: all images, of every split.
        classes: (id, name) in order. The ids are those of a COCO file, elsewhere 1, 2, 3, ...
        findings: what could not be used.
        other_ids: class name -> further ids that mean it: categories of one name are one class.
    """

    format: str
    images: list[AnnotatedImage]
    classes: Sequence[tuple[Id, str]]
    findings: Findings
    other_ids: dict[str, list[Id]] = dataclasses.field(default_factory=dict)
