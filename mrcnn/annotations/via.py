"""Read VGG Image Annotator 1 and 2: JSON exports and projects."""

import functools
import pathlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mrcnn.annotations.findings import Findings
from mrcnn.annotations.json_fields import number
from mrcnn.annotations.reading import ONE_CLASS, Finder, listed_classes, locate, numbered, read_each
from mrcnn.annotations.schema import AnnotatedImage, Annotation, Annotations
from mrcnn.errors import InputError, LabelError, json_type
from mrcnn.structures.polygons import as_points, ellipse, rectangle
from mrcnn.user_files import read_json

CLASS_ATTRIBUTES = ("class", "label", "category", "class_name", "name", "type", "object")


def read_via(paths: Sequence[pathlib.Path], find: Finder, findings: Findings) -> Annotations:
    """Read JSON exports and projects of the VGG Image Annotator 1 and 2.

    Polygons, closed polylines, rectangles, circles and ellipses are read; points and other shapes have no area. The
    class is a region attribute: the only one there is, or one called class, label, category, class_name, name, type or
    object. Without any attribute all regions are of the class "object".

    Args:
        paths: the files.
        find: finds the images.
        findings: takes what cannot be used.

    Raises:
        InputError: a file is not a VIA file, or several attributes might be the class.
    """
    return read_entries("via", [entry for path in paths for entry in _entries(path)], find, findings)


def read_entries(
    form: str, entries: Sequence[tuple[pathlib.Path, str, Any]], find: Finder, findings: Findings
) -> Annotations:
    """Read images and regions of any version of VIA, which are in the form of version 2.

    Args:
        form: name of the format.
        entries: (file, key, image) with the image {"filename": ..., "regions": ...}.
        find: finds the images.
        findings: takes what cannot be used.

    Raises:
        InputError: several attributes might be the class.
    """
    attribute = _class_attribute(entries)
    images = []
    for path, key, entry in entries:
        whole = isinstance(entry, dict) and isinstance(entry.get("regions"), list | dict)
        if not whole or not isinstance(entry.get("filename"), str):
            findings.add("unusable frame", "needs 'filename' of an image and 'regions'", path, place=f"entry {key!r}")
            continue
        image = locate(entry["filename"], path, find, findings)
        if image is None:
            continue
        read_each(_regions(entry), functools.partial(_add_region, image, attribute), image, findings)
        images.append(image)
    return Annotations(form, images, listed_classes(images), findings)


def _entries(path: pathlib.Path) -> list[tuple[pathlib.Path, str, Any]]:
    document = read_json(path)
    entries = document.get("_via_img_metadata", document) if isinstance(document, dict) else None
    if not isinstance(entries, dict):
        raise InputError(f"{path}: a VIA file is an object with one entry per image, this is {json_type(document)}")
    return [(path, key, entry) for key, entry in entries.items()]


def _regions(entry: Any) -> Iterable[tuple[str, Any]]:
    """The regions of an image with their ids: VIA 1 and 3 have an object {id: region, ...}, VIA 2 a list."""
    regions = entry.get("regions") if isinstance(entry, dict) else None
    return regions.items() if isinstance(regions, dict) else numbered(regions if isinstance(regions, list) else [])


def _class_attribute(entries: Sequence[tuple[pathlib.Path, str, Any]]) -> str | None:
    """The region attribute that holds the class; None if regions have no attributes."""
    found = [
        region["region_attributes"]
        for _, _, entry in entries
        for _, region in _regions(entry)
        if isinstance(region, dict) and isinstance(region.get("region_attributes"), dict)
    ]
    names = list(Counter(name for attributes in found for name in attributes))
    named = [name for wanted in CLASS_ATTRIBUTES for name in names if name.strip().lower() == wanted]
    if named or len(names) < 2:
        return next(iter([*named, *names]), None)
    raise InputError(
        f"{entries[0][0]}: regions have the attributes {', '.join(sorted(names))}, and none is called 'class'. Rename "
        "the one that holds the class to 'class'"
    )


def _add_region(image: AnnotatedImage, attribute: str | None, label_id: str, region: Any) -> None:
    shape = region.get("shape_attributes") if isinstance(region, dict) else None
    if not isinstance(shape, dict):
        raise LabelError(f"region is {json_type(region)} without 'shape_attributes'")
    name = ONE_CLASS
    if attribute is not None:
        attributes = region.get("region_attributes")
        name = _class_name(attributes.get(attribute) if isinstance(attributes, dict) else None, attribute)
    image.keep(Annotation(label_id, name, polygons=[_outline(shape)]))


def _class_name(value: Any, attribute: str) -> str:
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


def _outline(shape: dict[str, Any]) -> np.ndarray:
    form = shape.get("name")

    def field(key: str) -> float:
        return number(shape.get(key), f"{key} of the {form}")

    if form in ("polygon", "polyline"):
        x, y = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y):
            raise LabelError("all_points_x and all_points_y are not two lists of the same length")
        return as_points(list(zip(x, y, strict=True)))
    if form == "rect":
        return rectangle(field("x"), field("y"), field("x") + field("width"), field("y") + field("height"))
    if form == "circle":
        return ellipse(field("cx"), field("cy"), field("r"), field("r"))
    if form == "ellipse":
        return ellipse(field("cx"), field("cy"), field("rx"), field("ry"), field("theta") if "theta" in shape else 0.0)
    raise LabelError(f"shape {form!r} has no area; draw a polygon, rect, circle or ellipse")
