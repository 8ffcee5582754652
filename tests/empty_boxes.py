"""Undoes, for parity tests, the effect that empty detections had in the original but not here.

A region that lies in the padding of the image is clipped to a box without area. TensorFlow 1.15's non-maximum
suppression, once it had taken such a box, took no other box of its class; today's TensorFlow does not do that.
"""

import numpy as np


def is_empty(detections: np.ndarray) -> np.ndarray:
    """Return which detections (class > 0) of [D, 6] have no area, bool [D]."""
    height, width = detections[:, 2] - detections[:, 0], detections[:, 3] - detections[:, 1]
    return (detections[:, 4] > 0) & ((height <= 0) | (width <= 0))


def as_if_empty_boxes_suppressed(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Make our detections [D, 6] comparable with the original's [D, 6]: return two arrays [n, 6] that should be equal.

    Rows of a class that score below an empty box of that class in theirs are removed from ours, and empty boxes are
    removed from theirs. Both list at most D rows, so the longer one is cut to the length of the other.
    """
    limit = {class_id: score for *_, class_id, score in theirs[is_empty(theirs)][::-1]}  # the highest score of each
    ours = np.array([row for row in ours if row[4] > 0 and row[5] > limit.get(row[4], -1)]).reshape(-1, 6)
    theirs = theirs[(theirs[:, 4] > 0) & ~is_empty(theirs)]
    room = min(len(ours), len(theirs))
    return ours[:room], theirs[:room]
