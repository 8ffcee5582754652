"""Detection in files: images, folders and videos in; pictures, videos and JSON out. Frames pass in batches, so memory
does not grow with their number.

What comes out of a run are sinks: each is told of every frame with what was found in it. Legend: n detections, H W
image, C classes incl. background.
"""

import collections
import dataclasses
import itertools
import logging
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from mrcnn.evaluation.coco_results import Predictor
from mrcnn.inference.media import Frame, Source, read_frames
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import paste_mask

logger = logging.getLogger(__name__)

Detections = dict[str, np.ndarray]
JSON_FILE, IMAGES_FILE = "detections.json", "images.json"


@dataclasses.dataclass
class Report:
    """What a run did: frames that were read, objects by class, and (path, reason) of every source that failed."""

    frames: int = 0
    objects: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failed: list[tuple[pathlib.Path, str]] = dataclasses.field(default_factory=list)


class Sink(Protocol):
    """Takes the frames of a run, in order."""

    def add(self, frame: Frame, found: Detections) -> None:
        """Takes a frame and what `detect_instances` found in it."""


def detect_files(
    predictor: Predictor,
    sources: Iterable[Source],
    class_names: Sequence[str],
    sinks: Sequence[Sink],
    batch_size: int = 1,
    progress: Callable[[Frame], None] = lambda frame: None,
) -> Report:
    """Detects in images and videos of any number and size.

    Args:
        predictor: a model for inference.
        sources: see `mrcnn.inference.media.find_sources`. One that cannot be read is logged and left out.
        class_names: [C], entry 0 is the background.
        sinks: they are told of every frame.
        batch_size: frames that go through the network together.
        progress: called after each frame.

    Returns:
        What was done.
    """
    report = Report()

    def failed(source: Source, reason: str) -> None:
        logger.error("skipped: %s", reason)
        report.failed.append((source.path, reason))

    for frame, found in _found(predictor, read_frames(sources, failed), batch_size):
        for sink in sinks:
            sink.add(frame, found)
        report.frames += 1
        report.objects.update(class_names[class_id] for class_id in found["class_ids"])
        progress(frame)
    return report


def _found(predictor: Predictor, frames: Iterator[Frame], batch_size: int) -> Iterator[tuple[Frame, Detections]]:
    while batch := list(itertools.islice(frames, batch_size)):
        yield from zip(batch, predictor.detect_instances([frame.image for frame in batch]), strict=True)


def to_instances(found: Detections, shape: Sequence[int]) -> tuple[Instances, np.ndarray]:
    """Detections as objects with scores, the best last, so that it is drawn on top.

    Args:
        found: rois int [n, 4] px, class_ids int [n], scores [n], mask_probs [n, h, w].
        shape: (H, W, ...) of the image.

    Returns:
        The m <= n objects that lie in the image, and their scores, float [m].
    """
    order = np.argsort(found["scores"], kind="stable")
    pasted = [(i, *paste_mask(found["mask_probs"][i], found["rois"][i], shape)) for i in order]
    kept = [(i, box, crop) for i, box, crop in pasted if crop.size]
    indices = np.array([i for i, _, _ in kept], int)
    instances = Instances(
        found["class_ids"][indices], np.array([box for _, box, _ in kept]), [crop for _, _, crop in kept]
    )
    return instances, found["scores"][indices]
