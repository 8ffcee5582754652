"""Write detections as Scalabel frames, BDD100K's format of results.

Legend: n detected instances, C classes with background.
"""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.files import JsonListFile
from mrcnn.inference.media import Frame
from mrcnn.inference.writers import JSON_FILE, rle_of, score_of
from mrcnn.structures.instances import Instances


class ScalabelFrames(JsonListFile):
    """Writes detections.json as Scalabel frames with sizes, scores, boxes and run-length codes. A context manager.

    Args:
        folder: for the file.
        class_names: [C], entry 0 is the background.
    """

    def __init__(self, folder: str | os.PathLike, class_names: Sequence[str]) -> None:
        super().__init__(pathlib.Path(folder) / JSON_FILE)
        self.class_names = class_names

    def add(self, frame: Frame, instances: Instances, scores: np.ndarray) -> None:
        """Write a frame with its instances and their scores, float [n].

        Raises:
            InputError: the crop of an instance is not inside the image.
        """
        height, width = frame.image.shape[:2]
        video = {} if frame.index is None else {"videoName": frame.source.name, "frameIndex": frame.index}
        self.write(
            {
                "name": frame.name,
                **video,
                "size": {"width": width, "height": height},
                "labels": [self._label(instances, n, scores[n], (height, width)) for n in range(len(instances))],
            }
        )

    def _label(self, instances: Instances, number: int, score: float, shape: tuple[int, int]) -> dict[str, Any]:
        y1, x1, y2, x2 = instances.boxes_px[number].tolist()
        return {
            "id": str(number + 1),
            "category": self.class_names[instances.class_ids[number]],
            "score": score_of(score),
            "box2d": {"x1": x1, "y1": y1, "x2": x2 - 1, "y2": y2 - 1},  # Scalabel's last column and row belong to it
            "rle": rle_of(instances, number, shape),
        }
