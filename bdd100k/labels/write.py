"""Turn labels in memory into Scalabel frames, a COCO document or RGBA pixels.

`bdd100k.labels.convert` says what each format can hold.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from bdd100k.config import CLASS_NAMES
from bdd100k.labels.categories import normalise_category
from bdd100k.labels.poly2d import plain_poly2d
from mrcnn.annotations.object_masks import BoxAndCrop, uncovered, visible_masks
from mrcnn.annotations.schema import AnnotatedImage, Annotation, Annotations
from mrcnn.errors import LabelError
from mrcnn.structures.polygons import crop_to_polygons, polygons_to_crop
from mrcnn.structures.rle import crop_to_rle

_UNSEEN = "objects of which no pixel is visible"
FLAGS = ("occluded", "truncated", "crowd", "ignored")  # the attributes of a Scalabel label that other formats know
# Keys that the writers below make themselves; everything else in a file is carried over with its label or image.
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
    """Counts of what was written.

    Attributes:
        images, objects: how many were written.
        lost: what the format could not hold, in words, with counts of objects, images or pixels.
    """

    images: int = 0
    objects: int = 0
    lost: Counter[str] = dataclasses.field(default_factory=Counter)


# Bitmasks ------------------------------------------------------------------------------------------------------------


def bitmask(image: AnnotatedImage, done: Conversion) -> np.ndarray:
    """Return uint8 [H, W, 4]: R category, G flags, (B << 8) + A the id. A later object lies on top of an earlier one.

    Args:
        image: with its size.
        done: takes the counts.
    """
    assert image.size
    codes = np.zeros(image.size, np.uint32)
    ids = _bitmask_ids(image.objects, done)
    painted: list[tuple[np.uint32, int]] = []
    for label, number, mask in zip(image.objects, ids, visible_masks(image), strict=True):
        done.lost["objects with further attributes"] += bool(set(_attributes(label)) - set(FLAGS))
        done.lost["scores"] += label.score is not None
        done.lost["objects whose category had another name"] += _other_name(label) is not None
        if mask is None:
            done.lost[_UNSEEN if label.has_mask else "objects with a box and no mask"] += 1
            continue
        flags = label.truncated << 3 | label.occluded << 2 | label.crowd << 1 | label.ignore
        code = np.uint32(_category_id(label) << 24 | flags << 16 | number)
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
    done.lost["images with attributes (weather, ...)"] += bool(image.attributes)
    done.lost["images whose name does not end in .jpg"] += not image.name.endswith(".jpg")
    return np.ascontiguousarray(codes.astype(">u4")).view(np.uint8).reshape(*codes.shape, 4)


def _bitmask_ids(objects: list[Annotation], done: Conversion) -> list[int]:
    """The ids as numbers, if all are distinct numbers that fit into 16 bits; else 1, 2, ..."""
    numbers = [_whole(label.id) for label in objects]
    known = [n for n in numbers if n is not None and n < 1 << 16]
    if len(set(known)) == len(objects):
        return known
    done.lost["ids of objects, which are renumbered"] += len(objects)
    return list(range(1, len(objects) + 1))


def _whole(text: str) -> int | None:
    """The id as a number, if it is written exactly as str() writes that number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 and str(int(text)) == text else None


# Scalabel ------------------------------------------------------------------------------------------------------------


def scalabel_frames(labels: Annotations, masks: str, done: Conversion) -> list[dict[str, Any]]:
    """Return the labels as Scalabel frames.

    Args:
        labels: with the sizes of the images.
        masks: as for `bdd100k.labels.convert.convert`.
        done: takes the counts.

    Raises:
        InputError: the size of an image is not known.
    """
    return [_scalabel_frame(image, labels.format == "coco", masks, done) for image in labels.images]


def _scalabel_frame(image: AnnotatedImage, coco: bool, masks: str, done: Conversion) -> dict[str, Any]:
    raw = image.raw or {}
    others = _others(_dict(raw, "scalabel") if coco else raw, _SCALABEL_FRAME)
    document: dict[str, Any] = {"name": image.name, **others, "attributes": image.attributes}
    found = visible_masks(image)
    assert image.size
    document["size"] = {"width": image.size[1], "height": image.size[0]}
    kept = _others(raw, _COCO_IMAGE) if coco else raw.get("coco")
    if kept:
        document["coco"] = kept
    as_written = masks == "polygons" and image.layered and not any(label.rle for label in image.objects)
    if masks == "polygons" and not as_written:
        _count_hidden(found, done)
    document["labels"] = [
        _scalabel_label(label, mask, image.size, coco, masks, as_written, done)
        for label, mask in zip(image.objects, found, strict=True)
    ]
    return document


def _scalabel_label(
    label: Annotation,
    mask: BoxAndCrop | None,
    size: tuple[int, int],
    coco: bool,
    masks: str,
    as_written: bool,
    done: Conversion,
) -> dict[str, Any]:
    raw = label.raw or {}
    others = _others(_dict(raw, "scalabel") if coco else raw, _SCALABEL_LABEL)
    document: dict[str, Any] = {"id": label.id, "category": _other_name(label) or label.name, **others}
    document["attributes"] = _scalabel_attributes(label, coco)
    if label.score is not None:
        document["score"] = label.score
    if not others.get("box2d"):
        x1, y1, x2, y2 = _box_of(label, mask)
        document["box2d"] = {"x1": x1, "y1": y1, "x2": x2 - 1, "y2": y2 - 1}  # the last column and row belong to it
    kept = _others(raw, _COCO_ANNOTATION) if coco else raw.get("coco")
    if kept:
        document["coco"] = kept
    done.objects += 1
    if not coco and raw.get("poly2d") and (as_written or (masks == "rle" and mask is not None)):
        try:
            document["poly2d"] = plain_poly2d(raw["poly2d"])
        except LabelError:  # beside an rle, which is what counts, it has not been read before
            done.lost["broken outlines (poly2d) of objects that have a mask (rle)"] += 1
    if mask is None:
        done.lost["masks of which no pixel is visible"] += label.has_mask and not as_written
    elif masks == "rle":
        document["rle"] = _rle(label, mask, size)
    elif not as_written:
        polygons = _polygons(label, mask, size)
        document["poly2d"] = [{"vertices": p.tolist(), "types": "L" * len(p), "closed": True} for p in polygons]
    return document


def _scalabel_attributes(label: Annotation, coco: bool) -> dict[str, Any]:
    attributes = _attributes(label)
    if label.raw is None:
        return _flags(label)
    if coco:  # COCO has keys of its own for crowds and ignored objects
        if label.crowd or "crowd" in attributes:
            attributes["crowd"] = label.crowd
        known = normalise_category(_other_name(label) or label.name)
        if not (known and known[1]) and (label.ignore or "ignored" in attributes):  # such names imply it
            attributes["ignored"] = label.ignore
    return attributes


def _flags(label: Annotation) -> dict[str, bool]:
    return dict(zip(FLAGS, (label.occluded, label.truncated, label.crowd, label.ignore), strict=True))


def _count_hidden(found: list[BoxAndCrop | None], done: Conversion) -> None:
    """Count what layers of polygons hide of masks that may overlap."""
    for i, mask in enumerate(found):
        if mask is not None:
            rest = uncovered(mask, found[i + 1 :])
            hidden = int(mask[1].sum()) - (int(rest[1].sum()) if rest else 0)
            done.lost["pixels of an object that a later object covers (--masks rle keeps them)"] += hidden
            done.lost["objects that are covered in part or wholly (--masks rle keeps them)"] += hidden > 0


# COCO ----------------------------------------------------------------------------------------------------------------


def coco_document(labels: Annotations, masks: str, done: Conversion) -> dict[str, Any]:
    """Return the labels as a COCO document; arguments and errors as for `scalabel_frames`.

    Args:
        labels: with the sizes of the images.
        masks: as for `bdd100k.labels.convert.convert`.
        done: takes the counts.

    Raises:
        InputError: the size of an image is not known.
    """
    coco = labels.format == "coco"
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    numbers = _coco_image_ids(labels.images, coco)
    ids = _coco_annotation_ids(labels.images)
    for image, number in zip(labels.images, numbers, strict=True):
        found = visible_masks(image)
        images.append(_coco_image(image, number, coco))
        for label, mask in zip(image.objects, found, strict=True):
            if mask is None and label.has_mask:
                done.lost[_UNSEEN] += 1
                next(ids)
                continue
            assert image.size
            annotation = _coco_annotation(label, mask, image.size, coco, masks)
            annotations.append({"id": next(ids), "image_id": number, **annotation})
    done.objects = len(annotations)
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASS_NAMES, 1)]
    return {"images": images, "categories": categories, "annotations": annotations}


def _coco_image(image: AnnotatedImage, number: Any, coco: bool) -> dict[str, Any]:
    assert image.size
    raw = image.raw or {}
    document = {"id": number, "file_name": image.name, "height": image.size[0], "width": image.size[1]}
    document.update(_others(raw if coco else _dict(raw, "coco"), _COCO_IMAGE | {"id"}))
    if image.attributes:
        document["attributes"] = image.attributes
    others = _dict(raw, "scalabel") if coco else _others(raw, _SCALABEL_FRAME)
    if others:
        document["scalabel"] = others
    return document


def _coco_annotation(
    label: Annotation, mask: BoxAndCrop | None, size: tuple[int, int], coco: bool, masks: str
) -> dict[str, Any]:
    raw = label.raw or {}
    x1, y1, x2, y2 = _box_of(label, mask)
    segmentation: Any = []
    if mask is not None and masks == "rle":
        segmentation = _rle(label, mask, size)
    elif mask is not None:
        segmentation = [polygon.ravel().tolist() for polygon in _polygons(label, mask, size)]
    document = {
        "category_id": _category_id(label),
        "segmentation": segmentation,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": int(mask[1].sum()) if mask is not None else (x2 - x1) * (y2 - y1),
        "iscrowd": int(label.crowd),
        "ignore": int(label.ignore),
        "scalabel_id": label.id,
    }
    attributes = _attributes(label)
    if label.raw is None:
        attributes.update(_flags(label))
    if attributes:
        document["attributes"] = attributes
    if label.score is not None:
        document["score"] = label.score
    others = dict(_dict(raw, "scalabel")) if coco else _others(raw, _SCALABEL_LABEL)
    if _other_name(label):
        others["category"] = _other_name(label)
    if others:
        document["scalabel"] = others
    document.update(_others(raw if coco else _dict(raw, "coco"), _COCO_ANNOTATION))
    return document


def _coco_image_ids(images: list[AnnotatedImage], coco: bool) -> list[Any]:
    """The ids of the COCO file that the labels come from, if they come from one; else 1, 2, ..."""
    ids = [(raw if coco else _dict(raw, "coco")).get("id") for raw in (image.raw or {} for image in images)]
    good = all(isinstance(i, int | str) for i in ids) and len(set(ids)) == len(ids)
    return ids if good else list(range(1, len(ids) + 1))


def _coco_annotation_ids(images: list[AnnotatedImage]) -> Iterator[int]:
    """The labels' ids if all are distinct numbers, else 1, 2, ..."""
    ids = [_whole(label.id) for image in images for label in image.objects]
    known = [i for i in ids if i is not None]
    return iter(known if len(set(known)) == len(ids) else range(1, len(ids) + 1))


# Parts of several ---------------------------------------------------------------------------------------------------


def _category_id(label: Annotation) -> int:
    return CLASS_NAMES.index(label.name) + 1


def _others(document: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """The entries under other keys than the known ones, without null values."""
    return {key: value for key, value in document.items() if key not in known and value is not None}


def _dict(document: dict[str, Any], key: str) -> dict[str, Any]:
    """The JSON object under a key, empty if there is none."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _attributes(label: Annotation) -> dict[str, Any]:
    """The attributes as labelled."""
    return dict(_dict(label.raw or {}, "attributes"))


def _other_name(label: Annotation) -> str | None:
    """The category as the file names it, if that is not the name of its class ("other vehicle", "bike")."""
    raw = label.raw or {}
    name = (_dict(raw, "scalabel") or raw).get("category")
    return name if isinstance(name, str) and name.strip().lower() != label.name else None


def _box_of(label: Annotation, mask: BoxAndCrop | None) -> tuple[float, float, float, float]:
    """(x1, y1, x2, y2) px, x2 and y2 exclusive: of the mask, or as labelled if there is none."""
    if mask is not None:
        y1, x1, y2, x2 = mask[0].tolist()
        return x1, y1, x2, y2
    if label.box_px is not None:
        return label.box_px
    points = np.concatenate(label.polygons or [])
    return (*points.min(axis=0).tolist(), *(points.max(axis=0) + 1).tolist())


def _rle(label: Annotation, mask: BoxAndCrop, size: tuple[int, int]) -> dict[str, Any]:
    """COCO's compressed run lengths as text, from the file if it has them."""
    if label.rle is not None and isinstance(label.rle["counts"], str):
        return label.rle
    rle = crop_to_rle(mask[0].tolist(), mask[1], size)
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}


def _polygons(label: Annotation, mask: BoxAndCrop, size: tuple[int, int]) -> list[np.ndarray]:
    """The label's own polygons if they fill to exactly this mask, else the outline of the mask."""
    if label.polygons is not None:
        filled = polygons_to_crop(label.polygons, size)
        if filled is not None and np.array_equal(filled[0], mask[0]) and np.array_equal(filled[1], mask[1]):
            return label.polygons
    return crop_to_polygons(mask[0].tolist(), mask[1])
