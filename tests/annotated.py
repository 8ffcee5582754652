"""The same two objects in every format that `mrcnn.annotations.folder` reads: images a.jpg and b.jpg, 12 x 20 px.

In each image: a "leaf", rows 1..3 and columns 2..5, and a "stem", rows 5..8 and columns 10..17 (one class with masks).
"""

import base64
import json
import pathlib
import zlib

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


def via3_document(names: tuple[str, ...] = NAMES) -> dict:
    """The class is a choice whose options have ids; the last attribute describes whole images."""
    attributes = {
        "1": {"aname": "class", "anchor_id": "FILE1_Z0_XY1", "type": 4, "options": {"0": "stem", "1": "leaf"}},
        "2": {"aname": "caption", "anchor_id": "FILE1_Z0_XY0", "type": 1, "options": {}},
    }
    files, views, regions = {}, {}, {}
    for i, name in enumerate(names, 1):
        files[str(i)] = {"fid": i, "fname": f"{name}.jpg", "type": 2, "loc": 1, "src": ""}
        views[str(i)] = {"fid_list": [i]}
        for key, xy, av in (
            ("c", [], {"2": "a plant"}),
            ("leaf", [7, *(v for point in LEAF for v in point)], {"1": "1"}),
            ("stem", [2, 10, 5, 8, 4], {"1": "0"}),
        ):
            regions[f"{i}_{key}"] = {"vid": str(i), "flg": 0, "z": [], "xy": xy, "av": av}
    return {
        "project": {"pid": "__VIA_PROJECT_ID__", "data_format_version": "3.1.1", "vid_list": list(views)},
        "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}},
        "attribute": attributes,
        "file": files,
        "metadata": regions,
        "view": views,
    }


def isat_document(name: str) -> dict:
    objects = [
        {"category": kind, "group": i, "segmentation": points, "layer": 1.0, "iscrowd": False, "note": ""}
        for i, (kind, points) in enumerate((("leaf", LEAF), ("stem", STEM)), 1)
    ]
    info = {"description": "ISAT", "folder": "x", "name": f"{name}.jpg", "width": WIDTH, "height": HEIGHT, "depth": 3}
    return {"info": info, "objects": objects}


def supervisely_document() -> dict:
    png = cv2.imencode(".png", np.full((4, 8), 255, np.uint8))[1].tobytes()
    data = base64.b64encode(zlib.compress(png)).decode()
    leaf = {"geometryType": "polygon", "points": {"exterior": LEAF, "interior": []}}
    stem = {"geometryType": "bitmap", "bitmap": {"data": data, "origin": [10, 5]}}
    objects = [{"id": 1, "classTitle": "leaf", "tags": [], **leaf}, {"id": 2, "classTitle": "stem", "tags": [], **stem}]
    return {"description": "", "tags": [], "size": {"height": HEIGHT, "width": WIDTH}, "objects": objects}


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
    if kind == "via3":
        return write(root / "via3.json", via3_document(names))
    if kind == "isat":
        for name in names:
            write(root / f"{name}.json", isat_document(name))
        return root / f"{names[0]}.json"
    if kind == "supervisely":
        for name in names:
            picture(root / "img" / f"{name}.jpg")
            (root / f"{name}.jpg").unlink()
            write(root / "ann" / f"{name}.jpg.json", supervisely_document())
        write(root / "meta.json", {"classes": [{"title": "leaf", "shape": "polygon"}], "tags": []})
        return root / "ann" / f"{names[0]}.jpg.json"
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


KINDS = ("via", "via3", "labelme", "isat", "supervisely", "coco", "yolo", "masks", "mask folders")
