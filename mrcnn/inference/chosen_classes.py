"""A detector whose classes are those of a data set, matched by name, although its model knows others."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from mrcnn.config import Config


class Detects(Protocol):
    """A model or a detector."""

    config: Config

    def detect_instances(self, images: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        """See `mrcnn.inference.detector.Detector.detect_instances`."""
        ...


class ChosenClasses:
    """Gives the instances of another detector the class ids of a data set, and leaves out the classes it lacks.

    Args:
        detector: its DETECTION_CLASSES should be the keys of `ids`, so that other classes take no room.
        ids: class id of the detector -> class id of the data set.
    """

    def __init__(self, detector: Detects, ids: Mapping[int, int]) -> None:
        self.detector, self.config = detector, detector.config
        self.ids = dict(ids)

    def detect_instances(self, images: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        """Detect instances; see `mrcnn.inference.detector.Detector.detect_instances` for images [H, W, 3] and results.

        Returns:
            One dict per image, with rois [n, 4] px, class_ids int32 [n] of the data set, scores float32 [n] and
            mask_probs float32 [n, 28, 28].
        """
        return [self._renamed(found) for found in self.detector.detect_instances(images)]

    def _renamed(self, found: dict[str, Any]) -> dict[str, Any]:
        class_ids = np.array([self.ids.get(int(i), 0) for i in found["class_ids"]], np.int32).reshape(-1)
        known = class_ids > 0
        chosen = {key: found[key][known] for key in ("rois", "scores", "mask_probs")}
        return {**found, **chosen, "class_ids": class_ids[known]}
