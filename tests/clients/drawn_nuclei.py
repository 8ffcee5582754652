"""Bright discs on dark noise, each image a folder with images/ID.png (RGBA) and one PNG of 0 and 255 per disc."""

import pathlib

import numpy as np
import skimage.io

from tests.drawn import disc


def draw_nuclei(folder: pathlib.Path, count: int = 5) -> None:
    """Images c0, c1, ... of 70 to 100 pixels a side, with three to five discs that do not touch."""
    rng = np.random.default_rng(4)
    for number in range(count):
        name = f"c{number}"
        for part in ("images", "masks"):
            (folder / name / part).mkdir(parents=True)
        shape = tuple(int(side) for side in rng.integers(70, 100, 2))
        image = rng.integers(10, 60, (*shape, 4), dtype=np.uint8)
        image[..., 3] = 255
        corners = [(y, x) for y in (0, shape[0] // 2) for x in (0, shape[1] // 3, 2 * shape[1] // 3)]
        for i in rng.permutation(6)[: rng.integers(3, 6)]:
            cell = shape[0] / 2, shape[1] / 3
            radius = rng.uniform(7, min(cell) / 2 - 1)
            centre = [corners[i][axis] + rng.uniform(radius, cell[axis] - radius) for axis in (0, 1)]
            mask = disc(shape, centre, radius)
            image[mask, :3] = rng.integers(170, 230)
            path = folder / name / "masks" / f"{i}.png"
            skimage.io.imsave(path, (mask * 255).astype(np.uint8), check_contrast=False)
        skimage.io.imsave(folder / name / "images" / f"{name}.png", image, check_contrast=False)
