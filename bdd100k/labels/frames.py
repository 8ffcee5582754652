"""The in-memory form of labels, whatever file they came from: frames with objects, and a report of what was left out.

Coordinates are pixels as Scalabel counts them: (0, 0) is the top-left corner of the top-left pixel.
"""

import dataclasses
import logging
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np

from bdd100k.config import CLASS_NAMES
from mrcnn.annotations.findings import Finding

logger = logging.getLogger(__name__)

UNKNOWN = "unknown name"  # the kind of finding that is also counted by name
IMAGE_SIZE = (720, 1280)  # height, width of every BDD100K photograph


@dataclasses.dataclass
class LabelObject:
    """One labelled object. Exactly one of `polygons` and `rle` gives its mask; with neither, only `box2d` is known.

    Attributes:
        id: the label's id in its file, as a string.
        category: one of CLASS_NAMES; category_id: 1..8.
        crowd, ignored: the object is neither a positive nor a negative; occluded, truncated: as annotated.
        polygons: float64 [k, 2] arrays of (x, y) px, k >= 3, straight edges; the object is their union.
        rle: COCO run-length code {"size": [height, width], "counts": compressed str or bytes}.
        box2d: (x1, y1, x2, y2) px as the file has it; Scalabel includes x2 and y2. Never used when a mask is known.
        score: confidence, in files of predictions.
        source: the label as its JSON file has it, where `load_labels` was asked to keep it.
    """

    id: str
    category: str
    category_id: int
    crowd: bool = False
    ignored: bool = False
    occluded: bool = False
    truncated: bool = False
    polygons: list[np.ndarray] | None = None
    rle: dict[str, Any] | None = None
    box2d: tuple[float, float, float, float] | None = None
    score: float | None = None
    source: dict[str, Any] | None = None

    @property
    def has_mask(self) -> bool:
        """Whether the label says which pixels belong to the object."""
        return self.polygons is not None or self.rle is not None


@dataclasses.dataclass
class Frame:
    """One labelled image.

    Attributes:
        name: file name as the labels have it ("0000f77c-6257be58.jpg").
        image_path: the image file, where one was looked for and found.
        width, height: pixels; None while neither the labels nor an image have said it.
        attributes: weather, scene, timeofday, ... as annotated.
        objects: the instance labels in the file's order.
        coco_id: the image's id in a COCO file, else None.
        layered: polygons are layers, each hides those of the labels before it (Scalabel); COCO's may overlap.
        source: what the JSON file says of the image, without its labels, where `load_labels` was asked to keep it.
    """

    name: str
    image_path: pathlib.Path | None = None
    width: int | None = None
    height: int | None = None
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)
    objects: list[LabelObject] = dataclasses.field(default_factory=list)
    coco_id: int | None = None
    layered: bool = False
    source: dict[str, Any] | None = None


@dataclasses.dataclass
class LabelReport:
    """What a label file held and what was left out of it.

    Attributes:
        source: the file or folder; format: "scalabel", "coco", "bitmasks" or "frame files".
        categories: objects kept, by class; boxes_only: how many of them have no mask.
        unknown: categories that are neither an instance class nor known stuff, with counts; their objects are left out.
        stuff: known categories without instances, with counts; left out.
        findings: labels and frames that could not be used, and labels of unknown categories, each with its place.
        missing: names of labelled frames whose image is not at hand.
        unlabelled: names of images without labels, in the folder that was loaded.
    """

    source: str
    format: str
    categories: Counter[str] = dataclasses.field(default_factory=Counter)
    boxes_only: int = 0
    unknown: Counter[str] = dataclasses.field(default_factory=Counter)
    stuff: Counter[str] = dataclasses.field(default_factory=Counter)
    findings: list[Finding] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)
    unlabelled: list[str] = dataclasses.field(default_factory=list)

    def drop(self, kind: str, why: str, *, file: str | pathlib.Path | None = None, **where: str | None) -> None:
        """Notes a label or a frame that cannot be used.

        Args:
            kind: one of `mrcnn.annotations.findings.KINDS`.
            why: in words.
            file: where it stands, by default the source.
            **where: place, image and label, as in `mrcnn.annotations.findings.Finding`.
        """
        self.findings.append(Finding(kind, why, str(file or self.source), **where))

    @property
    def dropped(self) -> list[str]:
        """One line per label or frame that could not be used, naming the file, the frame and the label id."""
        return [str(finding) for finding in self.findings if finding.kind != UNKNOWN]

    def log(self, frames: int, most: int = 10) -> None:
        """Writes a summary to the log, with at most `most` of the dropped labels in full."""
        counts = ", ".join(f"{self.categories[name]} {name}" for name in CLASS_NAMES if self.categories[name])
        logger.info("%s (%s): %d frames, objects: %s", self.source, self.format, frames, counts or "none")
        if self.boxes_only:
            logger.info("%s: %d objects have a box2d and no mask", self.source, self.boxes_only)
        if self.stuff:
            logger.info("%s: skipped categories without instances: %s", self.source, listing(self.stuff))
        if self.unknown:
            logger.warning("%s: skipped unknown categories: %s", self.source, listing(self.unknown))
        if self.missing:
            first = ", ".join(self.missing[:3])
            logger.warning("%s: %d labelled frames have no image file: %s, ...", self.source, len(self.missing), first)
        dropped = self.dropped
        for line in dropped[:most]:
            logger.warning("dropped %s", line)
        if len(dropped) > most:
            logger.warning("%s: dropped %d more labels or frames", self.source, len(dropped) - most)


def listing(counts: Counter[str]) -> str:
    """'3 chair, 1 horse', the commonest first."""
    return ", ".join(f"{count} {name!r}" for name, count in counts.most_common())


@dataclasses.dataclass
class Labels(Sequence[Frame]):
    """The frames of a label file and the report about reading it; a sequence of frames."""

    frames: list[Frame]
    report: LabelReport

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        return self.frames[index]

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)
