"""Read Supervisely's JSON files: ann/NAME.jpg.json for each image img/NAME.jpg."""

import base64
import functools
import math
import pathlib
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.annotations.findings import Findings
from mrcnn.annotations.json_fields import number, read_json
from mrcnn.annotations.object_masks import cut_out, keep_part, png_mask
from mrcnn.annotations.reading import Finder, known_size, listed_classes, locate, numbered, read_each, two_points
from mrcnn.annotations.schema import AnnotatedImage, Annotation, Annotations
from mrcnn.errors import InputError, LabelError, json_type
from mrcnn.structures.polygons import as_points, rectangle


def read_supervisely(paths: Sequence[pathlib.Path], find: Finder, findings: Findings) -> Annotations:
    """Read Supervisely files: polygons with holes, bitmaps, rectangles; those of one instance and class are one object.

    Args:
        paths: the files.
        find: finds the images.
        findings: takes what cannot be used.

    Raises:
        InputError: a file is not a Supervisely file.
    """
    images = []
    for path in paths:
        document = read_json(path)
        size, objects = (document.get(key) if isinstance(document, dict) else None for key in ("size", "objects"))
        if not isinstance(size, dict) or not isinstance(objects, list):
            raise InputError(f"{path}: a Supervisely file needs 'size' and a list 'objects'")
        image = locate(path.name.removesuffix(".json"), path, functools.partial(_find, find), findings)
        if image is not None:
            image.size = known_size(size.get("height"), size.get("width"))
            read_each(numbered(objects), functools.partial(_add, image, {}), image, findings)
            images.append(image)
    return Annotations("supervisely", images, listed_classes(images), findings)


def _find(find: Finder, name: str, source: pathlib.Path) -> pathlib.Path | None:
    return find(f"../img/{name}", source) or find(name, source)


def _add(image: AnnotatedImage, groups: dict[Any, Annotation], label_id: str, entry: Any) -> None:
    """Add an object to an image, or a part to the object of its instance."""
    name = entry.get("classTitle") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise LabelError(f"object is {json_type(entry)} with classTitle {name!r:.60}, not a class name")
    part = Annotation(label_id, name.strip())
    form = entry.get("geometryType")
    if form in ("bitmap", "alpha_mask"):
        part.rle = _bitmap(entry.get(form) or entry.get("bitmap"), image.size)
    elif form in ("rectangle", "oriented_bbox"):
        part.polygons = [_rectangle(entry)]
    elif form in ("polygon", "multipolygon"):
        _set_polygons(part, entry.get("parts") if form == "multipolygon" else [entry.get("points")], image.size)
    else:
        raise LabelError(f"geometryType {form!r:.60} has no area; draw a polygon, bitmap or rectangle")
    instance = entry.get("instance")
    keep_part(part, (instance, part.name) if isinstance(instance, str) and instance else None, groups, image)


def _set_polygons(part: Annotation, rings: Any, size: tuple[int, int] | None) -> None:
    """Give an object its polygons, or a run-length code if they have holes."""
    try:
        outlines = [as_points(ring["exterior"]) for ring in rings]
        holes = [as_points(hole) for ring in rings for hole in ring.get("interior") or []]
    except (TypeError, KeyError, AttributeError):
        raise LabelError("points are not {'exterior': [[x, y], ...], 'interior': [...]}") from None
    if holes:
        part.rle = cut_out(outlines, holes, size)
    else:
        part.polygons = outlines


def _rectangle(entry: dict[str, Any]) -> np.ndarray:
    """The corners of a rectangle, which may be turned by an angle: radians, clockwise on the screen."""
    points = entry.get("points")
    (x1, y1), (x2, y2) = two_points("rectangle", points.get("exterior") if isinstance(points, dict) else points)
    corners, angle = (
        rectangle(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)),
        number(entry.get("angle", 0), "angle"),
    )
    turn = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    return (corners - corners.mean(axis=0)) @ turn + corners.mean(axis=0)


def _bitmap(bitmap: Any, size: tuple[int, int] | None) -> dict[str, Any]:
    """The run-length code of a bitmap: a PNG, compressed and in base64, whose first pixel lies at the origin (x, y)."""
    try:
        data, (left, top) = base64.b64decode(bitmap["data"]), bitmap["origin"]
        data = data if data.startswith(b"\x89PNG") else zlib.decompress(data)
    except (TypeError, KeyError, ValueError, zlib.error) as error:
        raise LabelError(f"bitmap is not {{'data': PNG in base64, 'origin': [x, y]}} ({error!r:.60})") from None
    return png_mask(data, round(number(left, "origin")), round(number(top, "origin")), size)
