"""Readers of JSON annotations: VGG Image Annotator 1 and 2, labelme, COCO with its own categories.

Each takes the files of its kind in a folder and gives images with objects. A label that cannot be used is a finding of
the report and left out; a file that is not what it should be is an InputError.
"""

import base64
import binascii
import io
import pathlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mrcnn.annotations import AnnotatedImage, Annotation, Annotations, keep
from mrcnn.checks import Report
from mrcnn.errors import InputError
from mrcnn.outlines import LabelError, as_points, check_rle, ellipse, is_side, kind, number, read_json, rectangle
from mrcnn.rle import crop_to_rle

# Finds an image by the name that a file has for it: (name, the annotation file) -> path or None.
Finder = Callable[[str, pathlib.Path], pathlib.Path | None]

CLASS_ATTRIBUTES = ("class", "label", "category", "class_name", "name", "type", "object")
ONE_CLASS = "object"  # where a format has no word for the class


def _listed_classes(images: Sequence[AnnotatedImage]) -> list[tuple[int, str]]:
    names = sorted({label.name for image in images for label in image.objects})
    return list(enumerate(names, 1))


# VGG Image Annotator -------------------------------------------------------------------------------------------------


def read_via(paths: Sequence[pathlib.Path], find: Finder, report: Report) -> Annotations:
    """Reads JSON exports and projects of the VGG Image Annotator 1 and 2.

    Polygons, closed polylines, rectangles, circles and ellipses; points and other shapes have no area. The class is a
    region attribute: the only one there is, or one called class, label, category, class_name, name, type or object.
    Without any attribute all regions are of the class "object".

    Raises:
        InputError: a file that is no VIA file, or several attributes that might be the class.
    """
    entries = [(path, key, entry) for path in paths for key, entry in _via_entries(path).items()]
    attribute = _class_attribute([entry for _, _, entry in entries], paths)
    images = []
    for path, key, entry in entries:
        whole = isinstance(entry, dict) and isinstance(entry.get("regions"), list | dict)
        if not whole or not isinstance(entry.get("filename"), str):
            report.add("unusable frame", "needs 'filename' and 'regions'", path, place=f"entry {key!r}")
            continue
        image = _locate(entry["filename"], path, find, report)
        if image is None:
            continue
        for number_, region in enumerate(_regions(entry)):
            try:
                keep(image, _via_object(region, str(number_), attribute))
            except LabelError as error:
                report.add(error.kind, str(error), path, image=image.name, label=str(number_))
        images.append(image)
    return Annotations("via", images, _listed_classes(images), report)


def _via_entries(path: pathlib.Path) -> dict[str, Any]:
    document = read_json(path)
    entries = document.get("_via_img_metadata", document) if isinstance(document, dict) else None
    if not isinstance(entries, dict):
        raise InputError(f"{path}: a VIA file is an object with one entry per image, this is {kind(document)}")
    return entries


def _regions(entry: Any) -> list[Any]:
    """VIA 1 has an object {"0": region, ...}, VIA 2 a list."""
    regions = entry.get("regions") if isinstance(entry, dict) else None
    return list(regions.values()) if isinstance(regions, dict) else regions if isinstance(regions, list) else []


def _class_attribute(entries: Sequence[Any], paths: Sequence[pathlib.Path]) -> str | None:
    """The region attribute that holds the class; None if regions have no attributes."""
    found = [
        region["region_attributes"]
        for entry in entries
        for region in _regions(entry)
        if isinstance(region, dict) and isinstance(region.get("region_attributes"), dict)
    ]
    names = list(Counter(name for attributes in found for name in attributes))
    named = [name for wanted in CLASS_ATTRIBUTES for name in names if name.strip().lower() == wanted]
    if named or len(names) < 2:
        return (named or names or [None])[0]
    raise InputError(
        f"{paths[0]}: regions have the attributes {', '.join(sorted(names))}, and none is called 'class'. Rename the "
        "one that holds the class"
    )


def _via_object(region: Any, label_id: str, attribute: str | None) -> Annotation:
    shape = region.get("shape_attributes") if isinstance(region, dict) else None
    if not isinstance(shape, dict):
        raise LabelError(f"region is {kind(region)} without 'shape_attributes'")
    name = ONE_CLASS
    if attribute is not None:
        attributes = region.get("region_attributes")
        name = _via_class(attributes.get(attribute) if isinstance(attributes, dict) else None, attribute)
    return Annotation(label_id, name, polygons=[_via_outline(shape)])


def _via_class(value: Any, attribute: str) -> str:
    if isinstance(value, dict):  # check boxes: {"cat": true, "dog": false}
        chosen = [key for key, on in value.items() if on]
        if len(chosen) > 1:
            raise LabelError(f"attribute {attribute!r} has several classes: {', '.join(map(str, chosen))}")
        value = chosen[0] if chosen else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = f"{value:g}"
    if not isinstance(value, str) or not value.strip():
        raise LabelError(f"attribute {attribute!r} has no class: {value!r:.60}")
    return value.strip()


def _via_outline(shape: dict[str, Any]) -> np.ndarray:
    form = shape.get("name")

    def of(key: str) -> float:
        return number(shape.get(key), f"{key} of the {form}")

    if form in ("polygon", "polyline"):
        x, y = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y):
            raise LabelError("all_points_x and all_points_y are not two lists of the same length")
        return as_points(list(zip(x, y, strict=True)))
    if form == "rect":
        return rectangle(of("x"), of("y"), of("x") + of("width"), of("y") + of("height"))
    if form == "circle":
        return ellipse(of("cx"), of("cy"), of("r"), of("r"))
    if form == "ellipse":
        return ellipse(of("cx"), of("cy"), of("rx"), of("ry"), of("theta") if "theta" in shape else 0.0)
    raise LabelError(f"shape {form!r} has no area; draw a polygon, rect, circle or ellipse")


# labelme -------------------------------------------------------------------------------------------------------------


def read_labelme(paths: Sequence[pathlib.Path], find: Finder, report: Report) -> Annotations:
    """Reads labelme files, one JSON per image; the image inside a file (imageData) is not used.

    Polygons, rectangles, circles and masks; shapes of one group_id and label are one object. Lines and points have no
    area. The labels _background_ and __ignore__ are no classes.

    Raises:
        InputError: a file that is no labelme file.
    """
    images = []
    for path in paths:
        document = read_json(path)
        if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
            raise InputError(f"{path}: a labelme file needs a list 'shapes'; this is {kind(document)} without it")
        name = document.get("imagePath")
        image = _locate(name if isinstance(name, str) and name else path.name, path, find, report)
        if image is None:
            continue
        image.size = _size(document.get("imageHeight"), document.get("imageWidth"))
        groups: dict[tuple[Any, str], Annotation] = {}
        for place, shape in enumerate(document["shapes"]):
            try:
                _labelme_shape(shape, str(place), image, groups)
            except LabelError as error:
                report.add(error.kind, str(error), path, image=image.name, label=str(place))
        images.append(image)
    return Annotations("labelme", images, _listed_classes(images), report)


def _labelme_shape(shape: Any, label_id: str, image: AnnotatedImage, groups: dict[Any, Annotation]) -> None:
    if not isinstance(shape, dict):
        raise LabelError(f"shape is {kind(shape)}, not an object")
    label = shape.get("label")
    if not isinstance(label, str) or not label.strip():
        raise LabelError(f"label is {label!r:.60}, not a class name")
    if label in ("_background_", "__ignore__"):
        return
    form = shape.get("shape_type") or "polygon"  # old files have polygons only and do not say so
    if form == "mask":
        keep(image, Annotation(label_id, label.strip(), rle=_labelme_mask(shape, image)))
        return
    outline = _labelme_outline(form, shape.get("points"))
    group = shape.get("group_id")
    key = (group, label) if isinstance(group, int | str) else None
    if key in groups:
        polygons = groups[key].polygons
        assert polygons is not None
        polygons.append(outline)
        return
    keep(image, Annotation(label_id, label.strip(), polygons=[outline]))
    if key is not None:
        groups[key] = image.objects[-1]


def _labelme_outline(form: Any, points: Any) -> np.ndarray:
    if form == "polygon" or (form == "rectangle" and isinstance(points, list) and len(points) > 2):
        return as_points(points)
    if form not in ("rectangle", "circle"):
        raise LabelError(f"shape_type {form!r} has no area; draw a polygon, rectangle or circle")
    (x1, y1), (x2, y2) = _two_points(form, points)
    if form == "circle":  # the centre and a point on the circle
        radius = float(np.hypot(x2 - x1, y2 - y1))
        return ellipse(x1, y1, radius, radius)
    return rectangle(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))


def _two_points(form: str, points: Any) -> list[tuple[float, float]]:
    if not isinstance(points, list) or len(points) != 2 or any(not isinstance(p, list) or len(p) != 2 for p in points):
        raise LabelError(f"a {form} needs two points [x, y], it has {points!r:.60}")
    return [(number(x, "x"), number(y, "y")) for x, y in points]


def _labelme_mask(shape: dict[str, Any], image: AnnotatedImage) -> dict[str, Any]:
    """A mask of labelme 5: a PNG in base64 whose top left pixel lies at the first point."""
    from PIL import Image

    (x1, y1), _ = _two_points("mask", shape.get("points"))
    if image.size is None:
        raise LabelError("a mask needs imageHeight and imageWidth in the file")
    try:
        crop = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape.get("mask") or "", validate=True)))) > 0
    except (binascii.Error, TypeError, OSError, SyntaxError) as error:
        raise LabelError(f"mask is no PNG in base64 ({error})") from None
    top, left = round(y1), round(x1)
    box = (top, left, top + crop.shape[0], left + crop.shape[1]) if crop.ndim == 2 else (0, 0, -1, -1)
    if top < 0 or left < 0 or box[2] > image.size[0] or box[3] > image.size[1] or not crop.any():
        raise LabelError(f"mask of shape {crop.shape} at row {top}, column {left} is empty or not inside the image")
    return crop_to_rle(box, crop, image.size)


# COCO ----------------------------------------------------------------------------------------------------------------


def read_coco(paths: Sequence[pathlib.Path], find: Finder, report: Report) -> Annotations:
    """Reads COCO instance files with any categories: polygons, run-length codes, boxes, iscrowd and ignore.

    Raises:
        InputError: a file that is no COCO file, or files whose categories differ.
    """
    images: list[AnnotatedImage] = []
    classes: dict[int, str] = {}
    for path in paths:
        document = read_json(path)
        for part in ("images", "annotations", "categories"):
            if not isinstance(document, dict) or not isinstance(document.get(part), list):
                raise InputError(f"{path}: a COCO file needs a list {part!r}")
        names = {
            entry["id"]: entry["name"].strip()
            for entry in document["categories"]
            if isinstance(entry, dict) and isinstance(entry.get("id"), int) and isinstance(entry.get("name"), str)
        }
        if not names or (classes and names != classes):
            raise InputError(
                f"{path}: its categories {names} are not those of {paths[0]}: {classes}"
                if names
                else f"{path}: none of its categories has an 'id' and a 'name'"
            )
        classes = names
        by_id = _coco_images(document["images"], path, find, report)
        for place, annotation in enumerate(document["annotations"]):
            image_id = annotation.get("image_id") if isinstance(annotation, dict) else None
            image = by_id.get(image_id) if isinstance(image_id, int | str) else None
            label_id = str(annotation.get("id", place)) if isinstance(annotation, dict) else str(place)
            try:
                if not isinstance(annotation, dict):
                    raise LabelError(f"annotation is {kind(annotation)}, not an object")
                if image is None and isinstance(image_id, int | str) and image_id in by_id:
                    continue  # its image is a finding already
                if image is None:
                    raise LabelError(f"image_id {image_id!r:.60} is not among the images")
                keep(image, _coco_object(annotation, label_id, names, image))
            except LabelError as error:
                report.add(error.kind, str(error), path, image=image.name if image else None, label=label_id)
        images += [image for image in by_id.values() if image is not None]
    return Annotations("coco", images, sorted(classes.items()), report)


def _coco_images(
    entries: list[Any], path: pathlib.Path, find: Finder, report: Report
) -> dict[int | str, AnnotatedImage | None]:
    """Images by id; None for those that were found to be missing."""
    images: dict[int | str, AnnotatedImage | None] = {}
    for place, entry in enumerate(entries):
        known = isinstance(entry, dict) and isinstance(entry.get("file_name"), str)
        if not known or not isinstance(entry.get("id"), int | str):
            report.add("unusable frame", "needs 'id' and 'file_name'", path, place=f"image {place}")
        elif entry["id"] in images:
            report.add("duplicate image", f"id {entry['id']!r} came before", path, image=entry["file_name"])
        else:
            image = images[entry["id"]] = _locate(entry["file_name"], path, find, report)
            if image is not None:
                image.size = _size(entry.get("height"), entry.get("width"))
                image.coco_id = entry["id"] if isinstance(entry["id"], int) else None
    return images


def _coco_object(annotation: dict[str, Any], label_id: str, names: dict[int, str], image: AnnotatedImage) -> Annotation:
    category = annotation.get("category_id")
    if not isinstance(category, int) or category not in names:
        raise LabelError(f"category_id {category!r:.60} is not among the categories", "unknown name")
    label = Annotation(
        label_id, names[category], crowd=bool(annotation.get("iscrowd")), ignore=bool(annotation.get("ignore"))
    )
    segmentation, box = annotation.get("segmentation"), annotation.get("bbox")
    if isinstance(segmentation, dict):
        label.rle = check_rle(segmentation, image.size)
    elif isinstance(segmentation, list) and segmentation:
        if any(not isinstance(flat, list) or len(flat) % 2 for flat in segmentation):
            raise LabelError("segmentation is not a list of flat polygons [x, y, x, y, ...]")
        label.polygons = [as_points([flat[i : i + 2] for i in range(0, len(flat), 2)]) for flat in segmentation]
    elif isinstance(box, list) and len(box) == 4:
        x, y, width, height = (number(value, "bbox") for value in box)
        rectangle(x, y, x + width, y + height)  # raises where it has no area
        label.box_px = (x, y, x + width, y + height)
    else:
        raise LabelError("annotation has neither segmentation nor bbox")
    return label


# Parts of all --------------------------------------------------------------------------------------------------------


def _locate(name: str, path: pathlib.Path, find: Finder, report: Report) -> AnnotatedImage | None:
    found = find(name, path)
    if found is None:
        report.add("missing image", "no image file of this name is in the folder", path, image=name)
        return None
    return AnnotatedImage(name, found, path)


def _size(height: Any, width: Any) -> tuple[int, int] | None:
    return (height, width) if is_side(height) and is_side(width) else None
