"""What detection writes: images with instances drawn in, and COCO results."""

import contextlib
import logging
import os
import pathlib
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from mrcnn.evaluation.coco_results import detections_to_coco
from mrcnn.files import JsonListFile, write_bytes, write_json
from mrcnn.inference.detect_files import IMAGES_FILE, JSON_FILE, Detections, to_instances
from mrcnn.inference.media import Frame, Source, VideoFile
from mrcnn.visualization.drawing import draw_instances

logger = logging.getLogger(__name__)
JPEG_QUALITY = 92
PEN_WIDTH = 1000  # px of image width for each step of line width and letters


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
    write_bytes(path.with_suffix(suffix), data.tobytes())


class CocoResults(JsonListFile):
    """Writes detections.json, COCO results with `category_name`, and images.json, with what COCO results lack: the
    names and sizes of all images, in which an `id` is the name, and the categories. A context manager.

    COCO("images.json").loadRes("detections.json") of pycocotools puts them together.
    """

    def __init__(self, folder: str | os.PathLike, categories: Sequence[tuple[int, str]]) -> None:
        """Args:
        folder: for the two files.
        categories: [C] (id, name), entry 0 is the background.
        """
        super().__init__(pathlib.Path(folder) / JSON_FILE)
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
            write_json(self.path.with_name(IMAGES_FILE), document)
