"""The same two objects in every format that `mrcnn.annotations.folder` reads: images a.jpg and b.jpg, 12 x 20 px.

In each image: a "leaf", rows 1..3 and columns 2..5, and a "stem", rows 5..8 and columns 10..17 (one class with masks).
"""

import json
import pathlib

import cv2
import numpy as np

HEIGHT, WIDTH = 12, 20
LEAF = [[2, 1], [6, 1], [6, 4], [2, 4]]
STEM = [[10, 5], [18, 5], [18, 9], [10, 9]]
NAMES = ("a", "b")


def masks() -> np.ndarray:
    """Return the masks of leaf and stem, bool [12, 20, 2]."""
    full = np.zeros((HEIGHT, WIDTH, 2), bool)
    full[1:4, 2:6, 0] = full[5:9, 10:18, 1] = True
    return full


def picture(path: pathlib.Path, height: int = HEIGHT, width: int = WIDTH) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))


def write(path: pathlib.Path, document: object) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def via_entry(name: str) -> dict:
    x, y = zip(*LEAF, strict=True)
    leaf = {"name": "polygon", "all_points_x": list(x), "all_points_y": list(y)}
    stem = {"name": "rect", "x": 10, "y": 5, "width": 8, "height": 4}
    regions = [
        {"shape_attributes": shape, "region_attributes": {"class": kind}}
        for shape, kind in ((leaf, "leaf"), (stem, "stem"))
    ]
    return {"filename": f"{name}.jpg", "size": 1, "regions": regions, "file_attributes": {}}


def labelme_document(name: str) -> dict:
    shapes = [
        {"label": "leaf", "points": LEAF, "group_id": None, "shape_type": "polygon", "flags": {}},
        {"label": "stem", "points": [[18, 9], [10, 5]], "group_id": None, "shape_type": "rectangle", "flags": {}},
    ]
    return {
        "version": "5.0.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": f"{name}.jpg",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }


def coco_document(names: tuple[str, ...] = NAMES) -> dict:
    annotations = []
    for image_id in range(len(names)):
        for category, points in ((5, LEAF), (9, STEM)):
            annotations.append(
                {
                    "id": len(annotations) + 70,
                    "image_id": image_id,
                    "category_id": category,
                    "segmentation": [np.ravel(points).tolist()],
                    "iscrowd": 0,
                }
            )
    images = [{"id": i, "file_name": f"{n}.jpg", "height": HEIGHT, "width": WIDTH} for i, n in enumerate(names)]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 9, "name": "stem"}, {"id": 5, "name": "leaf"}],
    }


def yolo_text() -> str:
    lines = []
    for number, points in enumerate((LEAF, STEM)):
        flat = np.ravel(np.array(points) / (WIDTH, HEIGHT))
        lines.append(" ".join([str(number), *(f"{v:.6f}" for v in flat)]))
    return "\n".join(lines) + "\n"


def id_mask() -> np.ndarray:
    """Return an image of instance ids 3 and 400, uint16 [12, 20]."""
    return (masks() * np.array([3, 400], np.uint16)).sum(2).astype(np.uint16)


def folder(root: pathlib.Path, kind: str, names: tuple[str, ...] = NAMES) -> pathlib.Path:
    """Write a data folder in a format and return its first label file."""
    inner = kind in ("yolo", "masks", "mask folders")
    for name in names:
        picture(root / "images" / f"{name}.jpg" if inner else root / f"{name}.jpg")
    if kind == "via":
        return write(root / "via.json", {f"{name}.jpg1": via_entry(name) for name in names})
    if kind == "labelme":
        for name in names:
            write(root / f"{name}.json", labelme_document(name))
        return root / f"{names[0]}.json"
    if kind == "coco":
        return write(root / "labels.json", coco_document(names))
    if kind == "yolo":
        write(root / "classes.txt", "leaf\nstem\n")
        for name in names:
            write(root / "labels" / f"{name}.txt", yolo_text())
        return root / "labels" / f"{names[0]}.txt"
    for name in names:
        if kind == "masks":
            (root / "masks").mkdir(exist_ok=True)
            cv2.imwrite(str(root / "masks" / f"{name}.png"), id_mask())
        else:
            (root / "masks" / name).mkdir(parents=True)
            for i in range(2):
                cv2.imwrite(str(root / "masks" / name / f"{i}.png"), masks()[..., i].astype(np.uint8) * 255)
    return root / "masks" / (f"{names[0]}.png" if kind == "masks" else f"{names[0]}/0.png")


KINDS = ("via", "labelme", "coco", "yolo", "masks", "mask folders")
