"""Detection in files: images, folders and videos in; pictures, videos and JSON out. Frames pass in batches, so memory
does not grow with their number.

What comes out of a run are sinks: each is told of every frame with what was found in it. Legend: n detections, H W
image, C classes incl. background.
"""

import collections
import contextlib
import dataclasses
import itertools
import json
import logging
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

import cv2
import numpy as np

from mrcnn.drawing import draw_instances
from mrcnn.errors import InputError
from mrcnn.masks import Instances, paste_mask
from mrcnn.media import Frame, Source, VideoFile, read_frames
from mrcnn.predictions import Predictor, detections_to_coco, write_json

logger = logging.getLogger(__name__)

Detections = dict[str, np.ndarray]
JSON_FILE, IMAGES_FILE = "detections.json", "images.json"
JPEG_QUALITY = 92
PEN_WIDTH = 1000  # px of image width for each step of line width and letters


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
        sources: see `mrcnn.media.find_sources`. One that cannot be read is logged, and left out from there on.
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


class Pictures:
    """Writes every image and video with what was found drawn into it, under its own name. A context manager."""

    def __init__(self, folder: str | os.PathLike, class_names: Sequence[str]) -> None:
        """Args:
        folder: for the results; made if need be.
        class_names: [C], for the labels.
        """
        self.folder = pathlib.Path(folder)
        self.class_names = class_names
        self._video: tuple[Source, VideoFile] | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> "Pictures":
        return self

    def add(self, frame: Frame, found: Detections) -> None:
        """Draws and writes a frame. Raises InputError where it cannot be written."""
        instances, scores = to_instances(found, frame.image.shape)
        pen = max(1.0, max(frame.image.shape[:2]) / PEN_WIDTH)
        picture = draw_instances(frame.image, instances, self.class_names, scores, pen=pen)
        path = self.folder / frame.source.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if frame.index is None:
            self._close()
            _write_image(path, picture)
            return
        if self._video is None or self._video[0] is not frame.source:
            self._close()
            video = self._open.enter_context(VideoFile(path, frame.fps, picture.shape[:2]))
            self._video = (frame.source, video)
        self._video[1].add(picture)

    def _close(self) -> None:
        self._open.close()
        self._video = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)


def _write_image(path: pathlib.Path, image: np.ndarray) -> None:
    """In the format of the ending (PNG where OpenCV writes none such); whole or not at all."""
    suffix = path.suffix if cv2.haveImageWriter(f"_{path.suffix}") else ".png"
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix.lower() in (".jpg", ".jpeg") else []
    done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    assert done, "OpenCV encodes every uint8 image"
    path = path.with_suffix(suffix)
    temporary = path.with_name(f".part-{path.name}")
    try:
        temporary.write_bytes(data.tobytes())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    temporary.replace(path)


class _JsonList:
    """A JSON list that is written entry by entry; it gets its name when the block ends without an error."""

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = pathlib.Path(folder)
        self._part = self.folder / f".{JSON_FILE}.part"
        self._stack = contextlib.ExitStack()
        self._file: TextIO | None = None
        self._separator = "["

    def write(self, entry: dict[str, Any]) -> None:
        assert self._file is not None, "used as a context manager"
        self._file.write(self._separator + json.dumps(entry, allow_nan=False))
        self._separator = ",\n"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = self._stack.enter_context(self._part.open("w", encoding="utf-8"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        if kind is None:
            self._file.write("[]\n" if self._separator == "[" else "]\n")
        self._stack.close()
        if kind is None:
            self._part.replace(self.folder / JSON_FILE)
        self._part.unlink(missing_ok=True)


class CocoResults(_JsonList):
    """Writes detections.json, COCO results with `category_name`, and images.json, with what COCO results lack: the
    names and sizes of all images, in which an `id` is the name, and the categories. A context manager.

    COCO("images.json").loadRes("detections.json") of pycocotools puts them together.
    """

    def __init__(self, folder: str | os.PathLike, categories: Sequence[tuple[int, str]]) -> None:
        """Args:
        folder: for the two files.
        categories: [C] (id, name), entry 0 is the background.
        """
        super().__init__(folder)
        self.categories = categories
        self.images: list[dict[str, Any]] = []

    def add(self, frame: Frame, found: Detections) -> None:
        """Writes the entries of a frame."""
        shape = frame.image.shape[:2]
        self.images.append({"id": frame.name, "file_name": frame.name, "width": shape[1], "height": shape[0]})
        names = dict(self.categories[1:])
        for entry in detections_to_coco(found, shape, frame.name, [number for number, _ in self.categories]):
            self.write({**entry, "category_name": names[entry["category_id"]]})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if kind is None:
            categories = [{"id": number, "name": name} for number, name in self.categories[1:]]
            document = {"images": self.images, "annotations": [], "categories": categories}
            write_json(self.folder / IMAGES_FILE, document)


class ScalabelFrames(_JsonList):
    """Writes detections.json as Scalabel frames with sizes, scores, boxes and run-length codes. A context manager."""

    def __init__(self, folder: str | os.PathLike, class_names: Sequence[str]) -> None:
        """Args:
        folder: for the file.
        class_names: [C].
        """
        super().__init__(folder)
        self.class_names = class_names

    def add(self, frame: Frame, found: Detections) -> None:
        """Writes a frame."""
        shape = frame.image.shape[:2]
        entries = detections_to_coco(found, shape, frame.name, range(len(self.class_names)))
        video = {} if frame.index is None else {"videoName": frame.source.name, "frameIndex": frame.index}
        self.write(
            {
                "name": frame.name,
                **video,
                "size": {"width": shape[1], "height": shape[0]},
                "labels": [self._label(n, entry) for n, entry in enumerate(entries, 1)],
            }
        )

    def _label(self, number: int, entry: dict[str, Any]) -> dict[str, Any]:
        x, y, width, height = entry["bbox"]
        box = {"x1": x, "y1": y, "x2": x + width - 1, "y2": y + height - 1}  # the last column and row belong to it
        return {
            "id": str(number),
            "category": self.class_names[entry["category_id"]],
            "score": entry["score"],
            "box2d": box,
            "rle": entry["segmentation"],
        }
