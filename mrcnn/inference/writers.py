"""Write what is detected: pictures with the instances drawn in, and COCO results.

Legend: n detected instances, C classes with background, H W image.
"""

import contextlib
import os
import pathlib
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from mrcnn.files import JsonListFile, make_folder, write_bytes, write_json
from mrcnn.inference.media import Frame, Source, VideoFile
from mrcnn.structures.instances import Instances
from mrcnn.structures.rle import crop_to_rle
from mrcnn.visualization.drawing import draw_instances, encoded

JSON_FILE, IMAGES_FILE = "detections.json", "images.json"
JPEG_QUALITY = 92
PEN_WIDTH = 1000  # px of the longer side per step of line width and letter size


class Pictures:
    """Writes every image and video under its own name with its instances drawn in, as PNG or MP4 (a.tga.png) where
    OpenCV cannot write the format. A context manager.

    Args:
        folder: for the results; made if missing.
        class_names: [C], for the captions.
    """

    def __init__(self, folder: str | os.PathLike, class_names: Sequence[str]) -> None:
        self.folder = pathlib.Path(folder)
        self.class_names = class_names
        self._video: tuple[Source, VideoFile] | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> "Pictures":
        return self

    def add(self, frame: Frame, instances: Instances, scores: np.ndarray) -> None:
        """Draw the instances with their scores, float [n], into a frame and write it.

        Raises:
            InputError: the file cannot be written.
        """
        order = np.argsort(scores, kind="stable")  # the best is drawn last, on top
        pen = max(1.0, max(frame.image.shape[:2]) / PEN_WIDTH)
        picture = draw_instances(frame.image, instances.select(order), self.class_names, scores[order], pen=pen)
        path = self.folder / frame.source.result_name
        make_folder(path.parent)
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
    """Write uint8 [H, W, 3] in the format of the suffix, whole or not at all."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix.lower() in (".jpg", ".jpeg", ".jpe") else []
    write_bytes(path, encoded(image, path.suffix, options))


class CocoResults(JsonListFile):
    """Writes detections.json, COCO results with `category_name`, and images.json. A context manager.

    images.json holds what COCO results lack: the names and sizes of all images, whose `id` is the name, and the
    categories. COCO("images.json").loadRes("detections.json") of pycocotools puts both together.

    Args:
        folder: for the two files.
        categories: [C] (id, name), entry 0 is the background.
    """

    def __init__(self, folder: str | os.PathLike, categories: Sequence[tuple[int, str]]) -> None:
        super().__init__(pathlib.Path(folder) / JSON_FILE)
        self.categories = categories
        self.images: list[dict[str, Any]] = []

    def add(self, frame: Frame, instances: Instances, scores: np.ndarray) -> None:
        """Write the entries of a frame; scores are float [n].

        Raises:
            InputError: the crop of an instance is not inside the image.
        """
        height, width = frame.image.shape[:2]
        self.images.append({"id": frame.name, "file_name": frame.name, "width": width, "height": height})
        for n, class_id in enumerate(instances.class_ids):
            category_id, category_name = self.categories[class_id]
            y1, x1, y2, x2 = instances.boxes_px[n].tolist()
            self.write(
                {
                    "image_id": frame.name,
                    "category_id": category_id,
                    "score": score_of(scores[n]),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "segmentation": rle_of(instances, n, (height, width)),
                    "category_name": category_name,
                }
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if kind is None:
            categories = [{"id": number, "name": name} for number, name in self.categories[1:]]
            document = {"images": self.images, "annotations": [], "categories": categories}
            write_json(self.path.with_name(IMAGES_FILE), document)


def score_of(score: float) -> float:
    """Return a score as JSON has it: a float32 softmax may end at 1.0000001."""
    return min(float(score), 1.0)


def rle_of(instances: Instances, number: int, shape: tuple[int, int]) -> dict[str, Any]:
    """Return the mask of an instance as COCO's compressed run lengths, with text counts as JSON needs them.

    Args:
        instances: of an image.
        number: which of them.
        shape: (H, W) of the image in pixels.

    Raises:
        InputError: the crop of the instance is not inside the image.
    """
    rle = crop_to_rle(instances.boxes_px[number].tolist(), instances.crops[number], shape)
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}
