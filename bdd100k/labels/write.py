"""Labels in memory as Scalabel frames, a COCO document or RGBA pixels.

`bdd100k.labels.convert` says what each can hold.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from bdd100k.config import CLASS_NAMES
from bdd100k.labels.categories import normalise_category
from bdd100k.labels.frames import Frame, LabelObject, Labels
from bdd100k.labels.load import BoxAndCrop
from bdd100k.labels.masks import uncovered, visible_masks
from bdd100k.labels.poly2d import plain_poly2d
from mrcnn.errors import LabelError
from mrcnn.structures.polygons import crop_to_polygons, polygons_to_crop
from mrcnn.structures.rle import crop_to_rle

_UNSEEN = "objects that no pixel is seen of"
FLAGS = ("occluded", "truncated", "crowd", "ignored")
# Keys that the writers below make themselves; whatever else a file has travels with its label or image.
_SCALABEL_FRAME = {"name", "size", "attributes", "labels", "coco"}
_SCALABEL_LABEL = {"id", "category", "attributes", "poly2d", "rle", "score", "coco"}
_COCO_IMAGE = {"file_name", "height", "width", "attributes", "scalabel"}
_COCO_ANNOTATION = {
    "id",
    "image_id",
    "category_id",
    "segmentation",
    "bbox",
    "area",
    "iscrowd",
    "ignore",
    "scalabel_id",
    "attributes",
    "scalabel",
    "score",
}


@dataclasses.dataclass
class Conversion:
    """What was written.

    Attributes:
        frames, objects: how many of them.
        lost: what the format could not hold, in words, with counts of objects, images or pixels.
    """

    frames: int = 0
    objects: int = 0
    lost: Counter[str] = dataclasses.field(default_factory=Counter)


# Bitmasks ------------------------------------------------------------------------------------------------------------


def bitmask(frame: Frame, done: Conversion) -> np.ndarray:
    """uint8 [H, W, 4]: R category, G flags, (B << 8) + A the id. A later object lies on top of an earlier one."""
    assert frame.height and frame.width
    codes = np.zeros((frame.height, frame.width), np.uint32)
    ids = _bitmask_ids(frame.objects, done)
    painted: list[tuple[np.uint32, int]] = []
    for label, number, mask in zip(frame.objects, ids, visible_masks(frame), strict=True):
        done.lost["objects with further attributes"] += bool(set(_attributes(label)) - set(FLAGS))
        done.lost["scores"] += label.score is not None
        done.lost["objects whose category had another name"] += _other_name(label) is not None
        if mask is None:
            done.lost[_UNSEEN if label.has_mask else "objects with a box and no mask"] += 1
            continue
        flags = label.truncated << 3 | label.occluded << 2 | label.crowd << 1 | label.ignored
        code = np.uint32(label.category_id << 24 | flags << 16 | number)
        (y1, x1, y2, x2), crop = mask
        region = codes[y1:y2, x1:x2]
        done.lost["pixels of an object that a later object covers"] += int(np.count_nonzero(region[crop]))
        region[crop] = code
        painted.append((code, int(crop.sum())))
        done.objects += 1
    left = dict(zip(*np.unique(codes, return_counts=True), strict=True))
    for code, pixels in painted:
        done.lost["objects that are covered in part"] += 0 < left.get(code, 0) < pixels
        done.lost["objects that are covered wholly"] += code not in left
        done.objects -= code not in left
    done.lost["images with attributes (weather, ...)"] += bool(frame.attributes)
    done.lost["images whose name does not end in .jpg"] += not frame.name.endswith(".jpg")
    return np.ascontiguousarray(codes.astype(">u4")).view(np.uint8).reshape(*codes.shape, 4)


def _bitmask_ids(objects: list[LabelObject], done: Conversion) -> list[int]:
    """The ids as numbers, if all of them are different numbers that fit into 16 bits; else 1, 2, ..."""
    numbers = [_whole(label.id) for label in objects]
    known = [n for n in numbers if n is not None and n < 1 << 16]
    if len(set(known)) == len(objects):
        return known
    done.lost["ids of objects, which are numbered anew"] += len(objects)
    return list(range(1, len(objects) + 1))


def _whole(text: str) -> int | None:
    """The number that an id is, if it is written as str() writes one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 and str(int(text)) == text else None


# Scalabel ------------------------------------------------------------------------------------------------------------


def scalabel_frames(labels: Labels, masks: str, done: Conversion) -> list[dict[str, Any]]:
    """Scalabel frames; `masks` is that of `bdd100k.labels.convert.convert`.

    Raises:
        InputError: the size of a frame with polygons is not known.
    """
    return [_scalabel_frame(frame, labels.report.format, masks, done) for frame in labels]


def _scalabel_frame(frame: Frame, source_format: str, masks: str, done: Conversion) -> dict[str, Any]:
    coco = source_format == "coco"
    source = frame.source or {}
    others = _others(_dict(source, "scalabel") if coco else source, _SCALABEL_FRAME)
    document: dict[str, Any] = {"name": frame.name, **others, "attributes": frame.attributes}
    document["size"] = {"width": frame.width, "height": frame.height}
    kept = _others(source, _COCO_IMAGE) if coco else source.get("coco")
    if kept:
        document["coco"] = kept
    found = visible_masks(frame)
    as_written = masks == "polygons" and frame.layered and not any(label.rle for label in frame.objects)
    if masks == "polygons" and not as_written:
        _count_hidden(found, done)
    document["labels"] = [
        _scalabel_label(label, mask, frame, coco, masks, as_written, done)
        for label, mask in zip(frame.objects, found, strict=True)
    ]
    return document


def _scalabel_label(
    label: LabelObject,
    mask: BoxAndCrop | None,
    frame: Frame,
    coco: bool,
    masks: str,
    as_written: bool,
    done: Conversion,
) -> dict[str, Any]:
    source = label.source or {}
    others = _others(_dict(source, "scalabel") if coco else source, _SCALABEL_LABEL)
    document: dict[str, Any] = {"id": label.id, "category": _other_name(label) or label.category, **others}
    document["attributes"] = _scalabel_attributes(label, coco)
    if label.score is not None:
        document["score"] = label.score
    if not others.get("box2d"):
        x1, y1, x2, y2 = _box_of(label, mask)
        document["box2d"] = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    kept = _others(source, _COCO_ANNOTATION) if coco else source.get("coco")
    if kept:
        document["coco"] = kept
    done.objects += 1
    if not coco and source.get("poly2d") and (as_written or (masks == "rle" and mask is not None)):
        try:
            document["poly2d"] = plain_poly2d(source["poly2d"])
        except LabelError:  # beside an rle, which is what counts, nobody has read it so far
            done.lost["broken outlines (poly2d) of objects that have a mask (rle)"] += 1
    if mask is None:
        done.lost["masks that no pixel is seen of"] += label.has_mask and not as_written
    elif masks == "rle":
        document["rle"] = _rle(label, mask, frame)
    elif not as_written:
        polygons = _polygons(label, mask, frame)
        document["poly2d"] = [{"vertices": p.tolist(), "types": "L" * len(p), "closed": True} for p in polygons]
    return document


def _scalabel_attributes(label: LabelObject, coco: bool) -> dict[str, Any]:
    attributes = _attributes(label)
    if label.source is None:
        return {flag: getattr(label, flag) for flag in FLAGS}
    if coco:  # its own keys say whether an object is a crowd or ignored
        if label.crowd or "crowd" in attributes:
            attributes["crowd"] = label.crowd
        known = normalise_category(_other_name(label) or label.category)
        if not (known and known[1]) and (label.ignored or "ignored" in attributes):  # other names say so themselves
            attributes["ignored"] = label.ignored
    return attributes


def _count_hidden(found: list[BoxAndCrop | None], done: Conversion) -> None:
    """Counts what layers of polygons hide of masks that may overlap."""
    for i, mask in enumerate(found):
        if mask is not None:
            rest = uncovered(mask, found[i + 1 :])
            hidden = int(mask[1].sum()) - (int(rest[1].sum()) if rest else 0)
            done.lost["pixels of an object that a later object covers (--masks rle keeps them)"] += hidden
            done.lost["objects that are covered in part or wholly (--masks rle keeps them)"] += hidden > 0


# COCO ----------------------------------------------------------------------------------------------------------------


def coco_document(labels: Labels, masks: str, done: Conversion) -> dict[str, Any]:
    """A COCO document; `masks` is that of `bdd100k.labels.convert.convert`.

    Raises:
        InputError: the size of a frame with polygons is not known.
    """
    coco = labels.report.format == "coco"
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    numbers = _coco_image_ids(labels, coco)
    ids = _coco_annotation_ids(labels)
    for frame, number in zip(labels, numbers, strict=True):
        source = frame.source or {}
        image = {"id": number, "file_name": frame.name, "height": frame.height, "width": frame.width}
        kept = source if coco else _dict(source, "coco")
        image.update(_others(kept, _COCO_IMAGE | {"id"}))
        if frame.attributes:
            image["attributes"] = frame.attributes
        others = _dict(source, "scalabel") if coco else _others(source, _SCALABEL_FRAME)
        if others:
            image["scalabel"] = others
        images.append(image)
        for label, mask in zip(frame.objects, visible_masks(frame), strict=True):
            if mask is None and label.has_mask:
                done.lost[_UNSEEN] += 1
                next(ids)
                continue
            annotation = _coco_annotation(label, mask, frame, coco, masks)
            annotations.append({"id": next(ids), "image_id": number, **annotation})
    done.objects = len(annotations)
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASS_NAMES, 1)]
    return {"images": images, "categories": categories, "annotations": annotations}


def _coco_annotation(
    label: LabelObject, mask: BoxAndCrop | None, frame: Frame, coco: bool, masks: str
) -> dict[str, Any]:
    source = label.source or {}
    x1, y1, x2, y2 = _box_of(label, mask)
    segmentation: Any = []
    if mask is not None and masks == "rle":
        segmentation = _rle(label, mask, frame)
    elif mask is not None:
        segmentation = [polygon.ravel().tolist() for polygon in _polygons(label, mask, frame)]
    document = {
        "category_id": label.category_id,
        "segmentation": segmentation,
        "bbox": [x1, y1, x2 - x1 + 1, y2 - y1 + 1],  # Scalabel's x2 and y2 belong to the box
        "area": int(mask[1].sum()) if mask is not None else (x2 - x1 + 1) * (y2 - y1 + 1),
        "iscrowd": int(label.crowd),
        "ignore": int(label.ignored),
        "scalabel_id": label.id,
    }
    attributes = _attributes(label)
    if label.source is None:
        attributes.update({flag: getattr(label, flag) for flag in FLAGS})
    if attributes:
        document["attributes"] = attributes
    if label.score is not None:
        document["score"] = label.score
    others = dict(_dict(source, "scalabel")) if coco else _others(source, _SCALABEL_LABEL)
    if _other_name(label):
        others["category"] = _other_name(label)
    if others:
        document["scalabel"] = others
    document.update(_others(source if coco else _dict(source, "coco"), _COCO_ANNOTATION))
    return document


def _coco_image_ids(labels: Labels, coco: bool) -> list[Any]:
    """The ids of the COCO file that the labels come from, if they have one; else 1, 2, ..."""
    sources = [frame.source or {} for frame in labels]
    ids = [(source if coco else _dict(source, "coco")).get("id") for source in sources]
    good = all(isinstance(i, int | str) for i in ids) and len(set(ids)) == len(ids)
    return ids if good else list(range(1, len(ids) + 1))


def _coco_annotation_ids(labels: Labels) -> Iterator[int]:
    """The labels' ids if they are different numbers throughout, else 1, 2, ..."""
    ids = [_whole(label.id) for frame in labels for label in frame.objects]
    known = [i for i in ids if i is not None]
    return iter(known if len(set(known)) == len(ids) else range(1, len(ids) + 1))


# Parts of both -------------------------------------------------------------------------------------------------------


def _others(document: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """The entries under other keys, without those that are null."""
    return {key: value for key, value in document.items() if key not in known and value is not None}


def _dict(document: dict[str, Any], key: str) -> dict[str, Any]:
    """The object under a key, an empty one if there is none."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _attributes(label: LabelObject) -> dict[str, Any]:
    """The attributes as annotated."""
    return dict(_dict(label.source or {}, "attributes"))


def _other_name(label: LabelObject) -> str | None:
    """The category as the file names it, where that is not the name of its class ("other vehicle", "bike")."""
    source = label.source or {}
    name = (_dict(source, "scalabel") or source).get("category")
    return name if isinstance(name, str) and name.strip().lower() != label.category else None


def _box_of(label: LabelObject, mask: BoxAndCrop | None) -> tuple[float, float, float, float]:
    """(x1, y1, x2, y2) px as Scalabel counts: x2 and y2 belong to the box."""
    if mask is None:
        assert label.box2d is not None or label.polygons
        if label.box2d is not None:
            return label.box2d
        points = np.concatenate(label.polygons or [])
        return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
    y1, x1, y2, x2 = mask[0].tolist()
    return x1, y1, x2 - 1, y2 - 1


def _rle(label: LabelObject, mask: BoxAndCrop, frame: Frame) -> dict[str, Any]:
    """COCO's compressed run lengths with text, from the file where it has them."""
    assert frame.height and frame.width
    if label.rle is not None and isinstance(label.rle["counts"], str):
        return label.rle
    rle = crop_to_rle(mask[0].tolist(), mask[1], (frame.height, frame.width))
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}


def _polygons(label: LabelObject, mask: BoxAndCrop, frame: Frame) -> list[np.ndarray]:
    """The label's own polygons if they fill to exactly this mask, else the outline of the mask."""
    assert frame.height and frame.width
    if label.polygons is not None:
        filled = polygons_to_crop(label.polygons, (frame.height, frame.width))
        if filled is not None and np.array_equal(filled[0], mask[0]) and np.array_equal(filled[1], mask[1]):
            return label.polygons
    return crop_to_polygons(mask[0].tolist(), mask[1])
