"""Detect in files: images, folders and videos in; pictures, videos and JSON out.

Frames pass in batches, so memory does not grow with their number. What a run writes is up to its sinks: each receives
every frame with the instances detected in it.

Legend: n detected instances, C classes with background, H W image.
"""

import collections
import dataclasses
import itertools
import logging
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from mrcnn.data.image_files import MAX_PIXELS
from mrcnn.evaluation.coco_results import Predictor
from mrcnn.inference.media import Frame, Source, read_frames
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import paste_mask

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class DetectionSummary:
    """What a run did.

    Attributes:
        frames: number of images and video frames.
        objects: detected instances by class name.
        failed: (path, reason) of every source that could not be read to its end.
    """

    frames: int = 0
    objects: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failed: list[tuple[pathlib.Path, str]] = dataclasses.field(default_factory=list)


class Sink(Protocol):
    """Receives the frames of a run, in order."""

    def add(self, frame: Frame, instances: Instances, scores: np.ndarray) -> None:
        """Take a frame, the n instances detected in it, and their scores, float [n], descending."""


def detect_files(
    predictor: Predictor,
    sources: Iterable[Source],
    class_names: Sequence[str],
    sinks: Sequence[Sink],
    batch_size: int = 1,
    progress: Callable[[Frame], None] = lambda frame: None,
    max_pixels: int = MAX_PIXELS,
) -> DetectionSummary:
    """Detect in any number of images and videos of any size.

    Args:
        predictor: a model for inference, such as `mrcnn.inference.detector.Detector`.
        sources: see `mrcnn.inference.media.find_sources`. One that cannot be read is logged and left out.
        class_names: [C], entry 0 is the background.
        sinks: each receives every frame.
        batch_size: frames that go through the network together.
        progress: called after each frame.
        max_pixels: the maximum number of pixels of an image or frame.

    Returns:
        What was detected, and what could not be read.
    """
    summary = DetectionSummary()

    def failed(source: Source, reason: str) -> None:
        logger.error("skipped: %s", reason)
        summary.failed.append((source.path, reason))

    for frame, detections in _detect(predictor, read_frames(sources, failed, max_pixels), batch_size):
        instances, scores = to_instances(detections, frame.image.shape)
        for sink in sinks:
            sink.add(frame, instances, scores)
        summary.frames += 1
        summary.objects.update(class_names[class_id] for class_id in instances.class_ids)
        progress(frame)
    return summary


def to_instances(detections: dict[str, Any], shape: Sequence[int]) -> tuple[Instances, np.ndarray]:
    """Paste the masks of an image's detections, leaving out boxes outside the image and exact repetitions.

    Args:
        detections: rois int [m, 4] px, class_ids int [m], scores [m], mask_probs [m, h, w], of `detect_instances`.
        shape: (H, W, ...) of the image in pixels.

    Returns:
        The n <= m instances, in order, and their scores, float [n].
    """
    kept, boxes, crops, known = [], [], [], set()
    columns = [np.asarray(detections[name]) for name in ("rois", "class_ids", "scores")]
    for i, (roi, class_id, score) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        key = (*roi, class_id, score)
        rule = detections.get("mask_paste", "matterport")
        box, crop = paste_mask(detections["mask_probs"][i], roi, shape, rule=rule)
        if crop.size and key not in known:
            known.add(key)
            kept.append(i)
            boxes.append(box)
            crops.append(crop)
    return Instances(columns[1][kept], np.array(boxes), crops), columns[2][kept]


def _detect(
    predictor: Predictor, frames: Iterator[Frame], batch_size: int
) -> Iterator[tuple[Frame, dict[str, np.ndarray]]]:
    """Yield each frame with its detections."""
    while batch := list(itertools.islice(frames, batch_size)):
        yield from zip(batch, predictor.detect_instances([frame.image for frame in batch]), strict=True)
