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
from mrcnn.annotations.json_fields import number
from mrcnn.annotations.object_masks import cut_out, keep_part, png_mask
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
from mrcnn.errors import InputError, LabelError
from mrcnn.structures.polygons import as_points, rectangle
from mrcnn.user_files import read_json

_OTHER_BYTES = 1 << 20  # of a PNG, besides its pixels


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
    """Add an object to an image, or its parts to the object of its instance."""
    name = class_in(entry, "classTitle", "object")
    form, points, instance = entry.get("geometryType"), entry.get("points"), entry.get("instance")
    if form in ("bitmap", "alpha_mask"):
        parts = [Annotation(label_id, name, rle=_bitmap(entry.get(form) or entry.get("bitmap"), image.size))]
    elif form in ("rectangle", "oriented_bbox"):
        parts = [Annotation(label_id, name, polygons=[_rectangle(points, entry.get("angle", 0))])]
    elif form in ("polygon", "multipolygon"):
        rings = entry.get("parts") if form == "multipolygon" else [points]
        parts = [_polygon(label_id, name, ring, image) for ring in (rings if isinstance(rings, list) else [rings])]
    else:
        raise LabelError(f"geometryType {form!r:.60} has no area; draw a polygon, bitmap or rectangle")
    for part in parts:
        keep_part(part, (instance, name) if isinstance(instance, str) and instance else label_id, groups, image)


def _polygon(label_id: str, name: str, ring: Any, image: AnnotatedImage) -> Annotation:
    """An object with a polygon, or if that has holes with a run-length code."""
    try:
        outline, holes = as_points(ring["exterior"]), [as_points(hole) for hole in ring.get("interior") or []]
    except (TypeError, KeyError, AttributeError):
        raise LabelError("points are not {'exterior': [[x, y], ...], 'interior': [...]}") from None
    if holes:
        return Annotation(label_id, name, rle=cut_out([outline], holes, image.size))
    return Annotation(label_id, name, polygons=[outline])


def _rectangle(points: Any, turned: Any) -> np.ndarray:
    """The corners of a rectangle, which may be turned by an angle: radians, clockwise on the screen."""
    (x1, y1), (x2, y2) = two_points("rectangle", points.get("exterior") if isinstance(points, dict) else points)
    corners = rectangle(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    angle = number(turned, "angle")
    turn = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    return as_points((corners - corners.mean(axis=0)) @ turn + corners.mean(axis=0))


def _bitmap(bitmap: Any, size: tuple[int, int] | None) -> dict[str, Any]:
    """The run-length code of a bitmap: a PNG, compressed and in base64, whose first pixel lies at the origin (x, y)."""
    if size is None:
        raise LabelError("a bitmap needs the size of the image in the file")
    try:
        data, (left, top) = base64.b64decode(bitmap["data"]), bitmap["origin"]
        if not data.startswith(b"\x89PNG"):
            stream = zlib.decompressobj()
            data = stream.decompress(data, _OTHER_BYTES + 16 * size[0] * size[1])
            if not stream.eof:
                raise zlib.error("the data is cut off, or larger than its image")
    except (TypeError, KeyError, ValueError, zlib.error) as error:
        raise LabelError(f"bitmap is not {{'data': PNG in base64, 'origin': [x, y]}} ({error!r:.60})") from None
    return png_mask(data, round(number(left, "origin")), round(number(top, "origin")), size)
