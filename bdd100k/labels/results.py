"""Write detections as Scalabel frames, BDD100K's format of results."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from mrcnn.evaluation.coco_results import detections_to_coco
from mrcnn.files import JsonListFile
from mrcnn.inference.detect_files import JSON_FILE, Detections
from mrcnn.inference.media import Frame


class ScalabelFrames(JsonListFile):
    """Write detections.json as Scalabel frames with sizes, scores, boxes and run-length codes; a context manager."""

    def __init__(self, folder: str | os.PathLike, class_names: Sequence[str]) -> None:
        """Open the file.

        Args:
            folder: where detections.json is written.
            class_names: names by class id, entry 0 is the background.
        """
        super().__init__(pathlib.Path(folder) / JSON_FILE)
        self.class_names = class_names

    def add(self, frame: Frame, found: Detections) -> None:
        """Write a frame."""
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
