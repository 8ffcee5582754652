"""Read labelme's JSON files, one per image."""

import base64
import binascii
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.annotations.findings import Findings
from mrcnn.annotations.object_masks import keep_part, png_mask
from mrcnn.annotations.reading import (
    Finder,
    class_in,
    known_size,
    listed_classes,
    locate,
    numbered,
    read_each,
    two_points,
)
from mrcnn.annotations.schema import AnnotatedImage, Annotation, Annotations
from mrcnn.errors import InputError, LabelError, json_type
from mrcnn.structures.polygons import as_points, ellipse, rectangle
from mrcnn.user_files import read_json

# "rotation" and "quadrilateral" are X-AnyLabeling's
POLYGONS = ("polygon", "oriented_rectangle", "rotation", "rotated_rectangle", "quadrilateral")


def read_labelme(paths: Sequence[pathlib.Path], find: Finder, findings: Findings) -> Annotations:
    """Read labelme files, one JSON per image; the image inside a file (imageData) is not used.

    Polygons, rectangles (rotated ones too), circles and masks are read; shapes with the same group_id and label are one
    object. Lines and points have no area. The labels _background_ and __ignore__ are not classes.

    Args:
        paths: the files.
        find: finds the images.
        findings: takes what cannot be used.

    Raises:
        InputError: a file is not a labelme file.
    """
    images = []
    for path in paths:
        document = read_json(path)
        if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
            raise InputError(f"{path}: a labelme file needs a list 'shapes'; this is {json_type(document)} without it")
        name = document.get("imagePath")
        image = locate(name if isinstance(name, str) and name else path.name, path, find, findings)
        if image is None:
            continue
        image.size = known_size(document.get("imageHeight"), document.get("imageWidth"))
        read_each(numbered(document["shapes"]), functools.partial(_add_shape, image, {}), image, findings)
        images.append(image)
    return Annotations("labelme", images, listed_classes(images), findings)


def _add_shape(image: AnnotatedImage, groups: dict[Any, Annotation], label_id: str, shape: Any) -> None:
    """Add a shape to the objects of an image, or its outline to the object of its group."""
    label = class_in(shape, "label", "shape")
    if label in ("_background_", "__ignore__"):
        return
    part = Annotation(label_id, label)
    form = shape.get("shape_type") or "polygon"  # old files hold nothing but polygons and have no shape_type
    if form == "mask":
        part.rle = _mask(shape, image.size)
    else:
        part.polygons = [_outline(form, shape.get("points"))]
    group = shape.get("group_id")
    keep_part(part, (group, part.name) if isinstance(group, int | str) else None, groups, image)


def _outline(form: Any, points: Any) -> np.ndarray:
    if form in POLYGONS or (form == "rectangle" and isinstance(points, list) and len(points) > 2):
        return as_points(points)
    if form not in ("rectangle", "circle"):
        raise LabelError(f"shape_type {form!r} has no area; draw a polygon, rectangle or circle")
    (x1, y1), (x2, y2) = two_points(form, points)
    if form == "circle":  # the centre and a point on the circle
        radius = float(np.hypot(x2 - x1, y2 - y1))
        return ellipse(x1, y1, radius, radius)
    return rectangle(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))


def _mask(shape: dict[str, Any], size: tuple[int, int] | None) -> dict[str, Any]:
    """The run-length code of a labelme 5 mask: a PNG in base64 whose top left pixel lies at the first point."""
    (x1, y1), _ = two_points("mask", shape.get("points"))
    try:
        data = base64.b64decode(shape.get("mask") or "", validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise LabelError(f"mask is not a PNG in base64 ({error})") from None
    return png_mask(data, round(x1), round(y1), size)
