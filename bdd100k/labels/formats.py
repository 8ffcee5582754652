"""Readers, one per label format: the parsed JSON or a folder of PNGs in, frames out.

A label that cannot be used is noted in the report and left out; `bdd100k.labels.load.load_labels`
decides what that means for the whole file.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from bdd100k.config import CLASS_NAMES
from bdd100k.labels.categories import is_stuff, normalise_category
from bdd100k.labels.frames import UNKNOWN, Frame, LabelObject, LabelReport
from bdd100k.labels.poly2d import read_poly2d
from mrcnn.annotations.json_fields import check_rle, is_side, number
from mrcnn.errors import InputError, LabelError, json_type
from mrcnn.structures.polygons import as_points


def _wanted(name: str, available: frozenset[str] | None, report: LabelReport) -> bool:
    if available is None or pathlib.PurePath(name).stem in available:
        return True
    report.missing.append(name)
    return False


def _flag(attributes: dict, *names: str) -> bool:
    return any(attributes.get(name) in (True, 1, "true", "True", "1") for name in names)


def _category(name: Any, report: LabelReport) -> tuple[str, bool] | None:
    """The class of a label, or None for known stuff. Raises LabelError for any other name. Both are counted."""
    if not isinstance(name, str):
        raise LabelError(f"category is {json_type(name)}, not a name")
    found = normalise_category(name)
    if found is None:
        known, plain = is_stuff(name), " ".join(name.split()).lower()
        (report.stuff if known else report.unknown)[plain] += 1
        if not known:
            raise LabelError(f"category {plain!r} is none of the classes", UNKNOWN)
    return found


def _box2d(box: Any) -> tuple[float, float, float, float] | None:
    if not isinstance(box, dict):
        return None
    try:
        values = float(box["x1"]), float(box["y1"]), float(box["x2"]), float(box["y2"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise LabelError(f"box2d is {box!r}, needs numbers x1, y1, x2, y2") from None
    if not np.isfinite(values).all() or values[2] < values[0] or values[3] < values[1]:
        raise LabelError(f"box2d {values} is not a box")
    return values


def _scalabel_object(label: Any, frame: Frame, report: LabelReport) -> LabelObject | None:
    if not isinstance(label, dict):
        raise LabelError(f"label is {json_type(label)}, not an object")
    found = _category(label.get("category"), report)
    if found is None:
        return None
    attributes = label.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    size = (frame.height, frame.width) if frame.height and frame.width else None
    rle = check_rle(label["rle"], size) if label.get("rle") else None
    if rle and size is None:
        frame.height, frame.width = rle["size"]
    polygons = read_poly2d(label["poly2d"]) if label.get("poly2d") and rle is None else None
    box2d = _box2d(label.get("box2d"))
    if rle is None and polygons is None and box2d is None:
        raise LabelError("label has none of rle, poly2d and box2d")
    score = label.get("score")
    return LabelObject(
        id=str(label.get("id")),
        category=found[0],
        category_id=CLASS_NAMES.index(found[0]) + 1,
        crowd=_flag(attributes, "crowd"),
        ignored=found[1] or _flag(attributes, "ignored", "ignore"),
        occluded=_flag(attributes, "occluded"),
        truncated=_flag(attributes, "truncated"),
        polygons=polygons,
        rle=rle,
        box2d=box2d,
        score=float(score) if isinstance(score, int | float) else None,
    )


def read_scalabel(
    frames: Sequence[Any],
    report: LabelReport,
    available: frozenset[str] | None = None,
    limit: int | None = None,
    keep_source: bool = False,
) -> list[Frame]:
    """Reads Scalabel frames (2018 and 2020), and the oldest layout once `oldest_to_scalabel` has opened it.

    Args:
        frames: the JSON list.
        report: takes the counts and the dropped labels.
        available: the stems of the images at hand; other frames are only counted as missing. None takes every frame.
        limit: stop after this many frames.
        keep_source: fill the `source` of frames and objects.
    """
    result: list[Frame] = []
    seen: set[str] = set()
    for index, raw in enumerate(frames):
        if limit is not None and len(result) >= limit:
            break
        place = f"frame {index}"
        name = raw.get("name") if isinstance(raw, dict) else None
        if not isinstance(name, str) or not name:
            why = f"frame is {json_type(raw)}" if not isinstance(raw, dict) else "frame has no name"
            report.drop("unusable frame", why, place=place)
            continue
        labels = raw.get("labels") or []
        if not isinstance(labels, list):
            report.drop("unusable frame", f"labels are {json_type(labels)}, not a list", place=place, image=name)
            continue
        if name in seen:
            report.drop("duplicate image", "a frame of this name came before", place=place, image=name)
            continue
        seen.add(name)
        if not _wanted(name, available, report):
            continue
        attributes = raw.get("attributes")
        frame = Frame(name, attributes=attributes if isinstance(attributes, dict) else {}, layered=True)
        frame.height, frame.width = _size_of(raw.get("size"))
        if keep_source:
            frame.source = {key: value for key, value in raw.items() if key != "labels"}
        for label in labels:
            label_id = label.get("id") if isinstance(label, dict) else None
            try:
                _keep(_scalabel_object(label, frame, report), frame, report, label if keep_source else None)
            except LabelError as error:
                report.drop(error.kind, str(error), place=place, image=name, label=str(label_id))
        result.append(frame)
    return result


def _keep(label: LabelObject | None, frame: Frame, report: LabelReport, source: dict | None = None) -> None:
    if label is not None:
        label.source = source
        frame.objects.append(label)
        report.categories[label.category] += 1
        report.boxes_only += not label.has_mask


def _size_of(size: Any) -> tuple[int | None, int | None]:
    if isinstance(size, dict) and is_side(size.get("height")) and is_side(size.get("width")):
        return size["height"], size["width"]
    return None, None


def oldest_to_scalabel(document: dict) -> list[dict]:
    """The oldest layout, one file per image {'name', 'frames': [{'objects': [...]}]}, as Scalabel frames."""
    name = document["name"] if isinstance(document.get("name"), str) else None
    if name and not pathlib.PurePath(name).suffix:
        name += ".jpg"
    result = []
    for frame in document["frames"]:
        objects = frame.get("objects") if isinstance(frame, dict) else frame
        result.append({"name": name, "attributes": document.get("attributes"), "labels": objects})
    return result


def _coco_object(annotation: dict, frame: Frame, names: dict[int, str], report: LabelReport) -> LabelObject | None:
    category_id = annotation.get("category_id")
    if not isinstance(category_id, int) or category_id not in names:
        raise LabelError(f"category_id {category_id!r} is not among the categories")
    found = _category(names[category_id], report)
    if found is None:
        return None
    assert frame.height is not None and frame.width is not None
    segmentation = annotation.get("segmentation")
    rle = polygons = box2d = None
    if isinstance(segmentation, dict):
        rle = check_rle(segmentation, (frame.height, frame.width))
    elif isinstance(segmentation, list) and segmentation:
        if any(not isinstance(flat, list) or len(flat) % 2 for flat in segmentation):
            raise LabelError("segmentation is not a list of flat polygons [x, y, x, y, ...]")
        polygons = [as_points([flat[i : i + 2] for i in range(0, len(flat), 2)]) for flat in segmentation]
    bbox = annotation.get("bbox")
    if isinstance(bbox, list) and len(bbox) == 4:
        x, y, width, height = (number(value, "bbox") for value in bbox)
        box2d = _box2d({"x1": x, "y1": y, "x2": x + width - 1, "y2": y + height - 1})  # Scalabel includes x2 and y2
    if rle is None and polygons is None and box2d is None:
        raise LabelError("annotation has neither segmentation nor bbox")
    score, attributes = annotation.get("score"), annotation.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    return LabelObject(
        id=str(annotation.get("scalabel_id", annotation.get("id"))),
        category=found[0],
        category_id=CLASS_NAMES.index(found[0]) + 1,
        crowd=_flag(annotation, "iscrowd"),
        ignored=found[1] or _flag(annotation, "ignore", "ignored"),
        occluded=_flag(attributes, "occluded"),
        truncated=_flag(attributes, "truncated"),
        polygons=polygons,
        rle=rle,
        box2d=box2d,
        score=float(score) if isinstance(score, int | float) else None,
    )


def _coco_names(document: dict, report: LabelReport) -> dict[int, str]:
    categories = document.get("categories")
    if not isinstance(categories, list) or not categories:
        raise InputError(f"{report.source}: the COCO file has no 'categories', so its category ids have no meaning")
    named = [entry for entry in categories if isinstance(entry, dict) and isinstance(entry.get("name"), str)]
    return {entry["id"]: entry["name"] for entry in named if isinstance(entry.get("id"), int)}


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _coco_images(document: dict, report: LabelReport, keep_source: bool) -> dict[Any, Frame]:
    frames: dict[Any, Frame] = {}
    for index, image in enumerate(document["images"]):
        place = f"image {index}"
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str) or not _is_id(image.get("id")):
            report.drop("unusable frame", "needs 'id' (number or text) and 'file_name'", place=place)
        elif image["id"] in frames:
            report.drop("duplicate image", f"id {image['id']!r} came before", place=place, image=image["file_name"])
        elif not all(is_side(image.get(side)) for side in ("height", "width")):
            why = "needs 'height' and 'width' in pixels"
            report.drop("unusable frame", why, place=place, image=image["file_name"])
        else:
            attributes = image.get("attributes")
            attributes = attributes if isinstance(attributes, dict) else {}
            frame = Frame(image["file_name"], width=image["width"], height=image["height"], attributes=attributes)
            frame.source = image if keep_source else None
            frame.coco_id = image["id"] if isinstance(image["id"], int) else None
            frames[image["id"]] = frame
    return frames


def read_coco(
    document: dict,
    report: LabelReport,
    available: frozenset[str] | None = None,
    limit: int | None = None,
    keep_source: bool = False,
) -> list[Frame]:
    """Reads a COCO instance file: polygons, compressed and uncompressed run-length codes, iscrowd and ignore.

    The arguments are those of `read_scalabel`.

    Raises:
        InputError: the file has no categories.
    """
    names, frames = _coco_names(document, report), _coco_images(document, report, keep_source)
    wanted = [key for key, frame in frames.items() if _wanted(frame.name, available, report)][:limit]
    chosen = frozenset(wanted)
    for index, annotation in enumerate(document["annotations"]):
        if not isinstance(annotation, dict):
            report.drop("unusable label", f"is {json_type(annotation)}, not an object", place=f"annotation {index}")
            continue
        image_id = annotation.get("image_id")
        frame = frames.get(image_id) if _is_id(image_id) else None
        if frame is not None and image_id not in chosen:
            continue
        try:
            if frame is None:
                raise LabelError(f"image_id {image_id!r} is not among the images")
            _keep(_coco_object(annotation, frame, names, report), frame, report, annotation if keep_source else None)
        except LabelError as error:
            place, label_id = f"annotation {index}", str(annotation.get("id"))
            report.drop(error.kind, str(error), place=place, image=frame.name if frame else None, label=label_id)
    return [frames[key] for key in wanted]


def read_bitmasks(
    paths: Sequence[pathlib.Path],
    report: LabelReport,
    available: frozenset[str] | None = None,
    limit: int | None = None,
) -> list[Frame]:
    """Reads RGBA bitmasks, one PNG an image.

    R is the category id (0 background), G is truncated << 3 | occluded << 2 | crowd << 1 | ignore, the instance id is
    (B << 8) + A. Each PNG is decoded once; its objects are kept as run-length codes, so a full split fits into memory.
    The arguments are those of `read_scalabel`.
    """
    frames: list[Frame] = []
    for path in paths:
        if limit is not None and len(frames) >= limit:
            break
        pixels = _read_rgba(path, report) if _wanted(path.name, available, report) else None
        if pixels is None:
            continue
        frame = Frame(path.stem + ".jpg", width=pixels.shape[1], height=pixels.shape[0])
        for label in _bitmask_objects(pixels, report):
            _keep(label, frame, report)
        frames.append(frame)
    return frames


def _read_rgba(path: pathlib.Path, report: LabelReport) -> np.ndarray | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if image.mode == "RGBA":
                return np.asarray(image)
            why = f"is {image.mode}, not RGBA: a BDD100K bitmask has four channels"
            report.drop("unusable frame", why, file=path)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:  # Pillow reports broken PNG chunks as SyntaxError
        report.drop("unusable frame", f"cannot be read: {error}", file=path)
    return None


def _bitmask_objects(pixels: np.ndarray, report: LabelReport) -> list[LabelObject]:
    from pycocotools import mask as coco

    height, width = pixels.shape[:2]
    # One pass over the image: the runs of equal colour down the columns, which is the order of run-length codes.
    codes = np.ascontiguousarray(pixels).view(">u4")[..., 0].T.reshape(-1)  # R is the highest byte, A the lowest
    starts = np.concatenate([[0], np.flatnonzero(codes[1:] != codes[:-1]) + 1])
    ends, colours = np.append(starts[1:], codes.size), codes[starts]
    objects = []
    for colour in np.unique(colours):
        category_id, bits, instance = int(colour) >> 24, int(colour) >> 16 & 0xFF, int(colour) & 0xFFFF
        if category_id == 0:
            continue
        if category_id > len(CLASS_NAMES):
            report.unknown[f"category id {category_id}"] += 1
            continue
        own = colours == colour
        places = np.stack([starts[own], ends[own]], 1).reshape(-1)  # where the object starts, ends, starts, ...
        runs = np.diff(np.concatenate([[0], places, [codes.size]]))
        runs = runs[: len(runs) - (runs[-1] == 0)]  # COCO writes no empty run at the end
        rle = coco.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)
        objects.append(
            LabelObject(
                id=str(instance),
                category=CLASS_NAMES[category_id - 1],
                category_id=category_id,
                truncated=bool(bits & 8),
                occluded=bool(bits & 4),
                crowd=bool(bits & 2),
                ignored=bool(bits & 1),
                rle=rle,
            )
        )
    return sorted(objects, key=lambda label: int(label.id))
