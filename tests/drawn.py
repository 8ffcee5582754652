"""Drawn objects for tests of masks and loaders: discs, boxes, blobs and rings as full masks."""

import numpy as np


def disc(shape, centre, radius, hole=0.0) -> np.ndarray:
    """bool [H, W]; a pixel belongs to it if its centre does. centre (y, x) in pixels, radius (ry, rx) or one number."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    ry, rx = (radius, radius) if np.isscalar(radius) else radius
    distance = ((y - centre[0]) / ry) ** 2 + ((x - centre[1]) / rx) ** 2
    return (distance <= 1) & (distance >= hole**2)


def scene(seed: int, shape=(180, 320), count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Masks bool [H, W, count] of discs, ellipses, rectangles, rings and L shapes of 6 to 60 pixels; ids int32 1..3."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((*shape, count), bool)
    for i in range(count):
        size = rng.uniform(6, 60, 2)
        y, x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        if i % 4 == 0:
            masks[:, :, i] = disc(shape, (y, x), size / 2)
        elif i % 4 == 1:
            masks[int(y) : int(y + size[0]), int(x) : int(x + size[1]), i] = True
        elif i % 4 == 2:
            masks[:, :, i] = disc(shape, (y, x), size, hole=0.4)
        else:
            masks[int(y) : int(y + size[0]), int(x) : int(x + size[1] / 2), i] = True
            masks[int(y + size[0] / 2) : int(y + size[0]), int(x) : int(x + size[1]), i] = True
    return masks, rng.integers(1, 4, count).astype(np.int32)
