"""Draws masks for tests of masks and loaders: discs, rectangles, rings and L shapes."""

import numpy as np


def disc(shape, centre, radius, hole=0.0) -> np.ndarray:
    """Return an ellipse or ring, bool [H, W], of the pixels whose centre is inside.

    Args:
        shape: (H, W).
        centre: (y, x) in pixels.
        radius: Radius in pixels, (ry, rx) or one number.
        hole: Radius of the hole as a fraction of `radius`.
    """
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    ry, rx = (radius, radius) if np.isscalar(radius) else radius
    distance = ((y - centre[0]) / ry) ** 2 + ((x - centre[1]) / rx) ** 2
    return (distance <= 1) & (distance >= hole**2)


def scene(seed: int, shape=(180, 320), count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return masks bool [H, W, count] of shapes of 6 to 60 pixels, and class ids int32 [count], 1 to 3."""
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
