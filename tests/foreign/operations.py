"""The inputs of golden/torch_operations.npz, for the script that records it and the tests that read it."""

import numpy as np

MAP = (2, 22, 70, 3)  # images, height, width, channels of the pooled map
# y1, x1, y2, x2 in pixels of the map: whole, partly and wholly outside, tiny, empty, narrow, across the map
ROIS = np.array(
    [
        [[2, 3, 16, 17], [1.3, 2.7, 9.1, 30.2], [-4.1, -3.2, 6.3, 5.4], [17, 60, 26, 75], [5.2, 6.1, 5.4, 6.3]],
        [[8, 8, 8, 12], [10, 2, 11, 62], [0, 0, 22, 70], [30, 80, 40, 90], [0.5, 30.25, 21.5, 31.5]],
    ],
    np.float32,
)
POOLS = ((7, 7), (1, 1), (3, 2))
RATIOS = (1, 2, -1)
IMAGES = {"up": ((13, 17), (29, 40)), "down": ((31, 45), (14, 19)), "both": ((21, 18), (33, 11))}
PASTED = (40, 53)  # height and width of the image that masks are pasted into
MASK_BOXES = np.array(  # x1, y1, x2, y2
    [
        *([5, 4, 33, 32], [3.2, 5.7, 20.9, 18.1], [-8.5, -3.5, 12.5, 14.5], [40, 30, 70, 60], [10.2, 10.3, 10.6, 10.9]),
        *([-100, -80, 150, 120], [7, 3, 49, 17], [0, 0, 53, 40], [20.5, 1.5, 21.5, 39.5]),
    ],
    np.float32,
)


def seeded(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return values in 0..1 that depend on the name alone: float32."""
    return np.random.default_rng(sum(map(ord, name))).uniform(size=shape).astype(np.float32)
