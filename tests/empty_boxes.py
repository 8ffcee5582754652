"""For parity tests: what an empty detection did in the original, which ours does not repeat.

A region that lies in the padding of the image is clipped to a box without area. TensorFlow 1.15's non-maximum
suppression, once it had taken such a box, took no other box of its class; today's TensorFlow does not do that.
"""

import numpy as np


def is_empty(detections: np.ndarray) -> np.ndarray:
    """[D, 6] -> [D] bool: a detection (class > 0) without area."""
    height, width = detections[:, 2] - detections[:, 0], detections[:, 3] - detections[:, 1]
    return (detections[:, 4] > 0) & ((height <= 0) | (width <= 0))


def as_if_empty_boxes_suppressed(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Makes ours [D, 6] comparable with the original's [D, 6]: two arrays [n, 6] that should be equal.

    From ours go the rows of a class that score below an empty box of that class in theirs; from theirs the empty boxes.
    Both list at most D rows, so what one list had no room for is cut off the other.
    """
    limit = {class_id: score for *_, class_id, score in theirs[is_empty(theirs)][::-1]}  # the highest score of each
    ours = np.array([row for row in ours if row[4] > 0 and row[5] > limit.get(row[4], -1)]).reshape(-1, 6)
    theirs = theirs[(theirs[:, 4] > 0) & ~is_empty(theirs)]
    room = min(len(ours), len(theirs))
    return ours[:room], theirs[:room]
