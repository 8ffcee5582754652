"""Read labelme's JSON files, one per image."""

import base64
import binascii
import io
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.annotations.findings import Findings
from mrcnn.annotations.json_fields import number, read_json
from mrcnn.annotations.reading import Finder, known_size, listed_classes, locate
from mrcnn.annotations.schema import AnnotatedImage, Annotation, Annotations
from mrcnn.errors import InputError, LabelError, json_type
from mrcnn.structures.polygons import as_points, ellipse, rectangle
from mrcnn.structures.rle import crop_to_rle


def read_labelme(paths: Sequence[pathlib.Path], find: Finder, findings: Findings) -> Annotations:
    """Read labelme files, one JSON per image; the image inside a file (imageData) is not used.

    Polygons, rectangles, circles and masks are read; shapes with the same group_id and label are one object. Lines and
    points have no area. The labels _background_ and __ignore__ are not classes.

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
        groups: dict[tuple[Any, str], Annotation] = {}
        for place, shape in enumerate(document["shapes"]):
            try:
                _add_shape(shape, str(place), image, groups)
            except LabelError as error:
                findings.add(error.kind, str(error), path, image=image.name, label=str(place))
        images.append(image)
    return Annotations("labelme", images, listed_classes(images), findings)


def _add_shape(shape: Any, label_id: str, image: AnnotatedImage, groups: dict[Any, Annotation]) -> None:
    """Add a shape to the objects of an image, or its outline to the object of its group."""
    if not isinstance(shape, dict):
        raise LabelError(f"shape is {json_type(shape)}, not an object")
    label = shape.get("label")
    if not isinstance(label, str) or not label.strip():
        raise LabelError(f"label is {label!r:.60}, not a class name")
    if label in ("_background_", "__ignore__"):
        return
    form = shape.get("shape_type") or "polygon"  # old files hold nothing but polygons and have no shape_type
    if form == "mask":
        image.keep(Annotation(label_id, label.strip(), rle=_mask(shape, image)))
        return
    outline = _outline(form, shape.get("points"))
    group = shape.get("group_id")
    key = (group, label) if isinstance(group, int | str) else None
    if key in groups:
        polygons = groups[key].polygons
        assert polygons is not None
        polygons.append(outline)
        return
    image.keep(Annotation(label_id, label.strip(), polygons=[outline]))
    if key is not None:
        groups[key] = image.objects[-1]


def _outline(form: Any, points: Any) -> np.ndarray:
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


def _mask(shape: dict[str, Any], image: AnnotatedImage) -> dict[str, Any]:
    """The run-length code of a labelme 5 mask: a PNG in base64 whose top left pixel lies at the first point."""
    from PIL import Image

    (x1, y1), _ = _two_points("mask", shape.get("points"))
    if image.size is None:
        raise LabelError("a mask needs imageHeight and imageWidth in the file")
    try:
        crop = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape.get("mask") or "", validate=True)))) > 0
    except (binascii.Error, TypeError, OSError, SyntaxError) as error:
        raise LabelError(f"mask is not a PNG in base64 ({error})") from None
    top, left = round(y1), round(x1)
    box = (top, left, top + crop.shape[0], left + crop.shape[1]) if crop.ndim == 2 else (0, 0, -1, -1)
    if top < 0 or left < 0 or box[2] > image.size[0] or box[3] > image.size[1] or not crop.any():
        raise LabelError(f"mask of shape {crop.shape} at row {top}, column {left} is empty or not inside the image")
    return crop_to_rle(box, crop, image.size)
