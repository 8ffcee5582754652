"""Red polygons on gray noise with VIA's JSON file."""

import json
import pathlib

import numpy as np
import skimage.draw
import skimage.io


def draw_balloons(folder: pathlib.Path, count: int, seed: int) -> None:
    """`count` PNGs of 60 x 72 pixels with one or two 12-gons each, and via_region_data.json: every second entry in the
    form of VIA 1 (regions as a dict), the others in that of VIA 2; one more image has no region."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    entries = {}
    for number in range(count + 1):
        image = rng.integers(90, 130, (60, 72, 3), dtype=np.uint8)
        regions = []
        for left in (0, 36)[: rng.integers(1, 3)] if number < count else ():
            radius = rng.uniform(9, 15)
            y, x = rng.uniform(radius, 59 - radius), left + rng.uniform(radius, 35 - radius)
            angles = np.arange(12) * np.pi / 6
            ys, xs = (np.round(y + radius * np.sin(angles)), np.round(x + radius * np.cos(angles)))
            image[skimage.draw.polygon(ys, xs)] = (220, 30, 40)
            points = {"all_points_x": xs.astype(int).tolist(), "all_points_y": ys.astype(int).tolist()}
            regions.append({"shape_attributes": {"name": "polygon", **points}, "region_attributes": {}})
        name = f"balloon{number}.png"
        skimage.io.imsave(folder / name, image, check_contrast=False)
        via_1 = {str(i): region for i, region in enumerate(regions)}
        entries[f"{name}123"] = {"filename": name, "size": 123, "regions": regions if number % 2 else via_1}
    (folder / "via_region_data.json").write_text(json.dumps(entries))
