"""Rectangles and discs in COCO's layout: instances_*.json with polygons, RLE lists, compressed RLE and a crowd."""

import json
import pathlib

import numpy as np
import skimage.io
from pycocotools import mask as coco_mask

from tests.drawn import disc

CATEGORIES = [{"id": 3, "name": "box"}, {"id": 18, "name": "disc"}]
SHAPE = (56, 64)


def draw_coco(folder: pathlib.Path, subset: str, count: int, first_id: int) -> None:
    """`count` images under folder/subset with a box (polygon) and a disc (RLE) each, the first one also with a crowd,
    and one more image with nothing on it."""
    (folder / subset).mkdir(parents=True)
    (folder / "annotations").mkdir(exist_ok=True)
    rng = np.random.default_rng(first_id)
    images, annotations = [], []
    for image_id in range(first_id, first_id + count + 1):
        image = rng.integers(90, 120, (*SHAPE, 3), dtype=np.uint8)
        objects = []
        if image_id < first_id + count:
            y, x, side = int(rng.integers(0, 30)), int(rng.integers(0, 8)), int(rng.integers(14, 22))
            image[y : y + side, x : x + side] = (40, 60, 230)
            objects.append((3, [[x, y, x + side, y, x + side, y + side, x, y + side]], 0))
            radius = rng.uniform(7, 12)
            mask = disc(SHAPE, (rng.uniform(radius, SHAPE[0] - radius), 47), radius)
            image[mask] = (230, 200, 20)
            objects.append((18, _rle(mask, compressed=image_id % 2 == 0), 0))
        if image_id == first_id:
            crowd = np.zeros(SHAPE, bool)
            crowd[50:, 34:] = True
            objects.append((18, _rle(crowd, compressed=False), 1))
        images.append({"id": image_id, "file_name": f"{image_id:012}.jpg", "height": SHAPE[0], "width": SHAPE[1]})
        skimage.io.imsave(folder / subset / images[-1]["file_name"], image, check_contrast=False)
        for category, segmentation, crowd_flag in objects:
            annotations.append(_annotation(len(annotations) + 1, image_id, category, segmentation, crowd_flag))
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (folder / "annotations" / f"instances_{subset}.json").write_text(json.dumps(content))


def _rle(mask: np.ndarray, compressed: bool) -> dict:
    """COCO's two spellings: a text, or the list of run lengths down the columns, zeros first."""
    if compressed:
        encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        return {"size": list(mask.shape), "counts": encoded["counts"].decode()}
    pixels = mask.T.ravel()
    edges = np.flatnonzero(np.diff(pixels)) + 1
    runs = np.diff([0, *edges, pixels.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if pixels[0] else runs}


def _annotation(number: int, image_id: int, category: int, segmentation: list | dict, crowd: int) -> dict:
    rle = segmentation
    if isinstance(segmentation, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, *SHAPE))
    elif isinstance(segmentation["counts"], list):
        rle = coco_mask.frPyObjects(segmentation, *SHAPE)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": crowd,
        "area": float(coco_mask.area(rle)),
        "bbox": coco_mask.toBbox(rle).tolist(),
    }
