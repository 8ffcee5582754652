"""Read ISAT's JSON files, one per image."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

from mrcnn.annotations.findings import Findings
from mrcnn.annotations.json_fields import flag, number
from mrcnn.annotations.object_masks import cut_out, keep_part
from mrcnn.annotations.reading import Finder, class_in, known_size, listed_classes, locate, numbered, read_each
from mrcnn.annotations.schema import AnnotatedImage, Annotation, Annotations
from mrcnn.errors import InputError, LabelError, json_type
from mrcnn.structures.polygons import as_points
from mrcnn.user_files import read_json

HOLE = "__background__"


def read_isat(paths: Sequence[pathlib.Path], find: Finder, findings: Findings) -> Annotations:
    """Read ISAT files: polygons. Those of one group (above 0) and category are one object; __background__ cuts holes.

    Args:
        paths: the files.
        find: finds the images.
        findings: takes what cannot be used.

    Raises:
        InputError: a file is not an ISAT file.
    """
    images = []
    for path in paths:
        document = read_json(path)
        info, objects = (document.get(key) if isinstance(document, dict) else None for key in ("info", "objects"))
        if not isinstance(info, dict) or not isinstance(objects, list):
            raise InputError(f"{path}: an ISAT file needs 'info' and a list 'objects'; this is {json_type(document)}")
        name = info.get("name")
        image = locate(name if isinstance(name, str) and name else path.name, path, find, findings)
        if image is not None:
            image.size = known_size(info.get("height"), info.get("width"))
            holes_first = sorted(numbered(objects), key=lambda item: not _is_hole(item[1]))
            read_each(holes_first, functools.partial(_add, image, [], {}), image, findings)
            images.append(image)
    return Annotations("isat", images, listed_classes(images), findings)


def _is_hole(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("category") == HOLE


def _add(image: AnnotatedImage, holes: list[Any], groups: dict[Any, Annotation], label_id: str, entry: Any) -> None:
    """Add an object to an image, or a hole with its layer to the holes, which cut into the layers below."""
    name = class_in(entry, "category", "object")
    if entry.get("shape_type", "polygon") != "polygon":
        raise LabelError(f"shape_type {entry['shape_type']!r:.60} is not read; draw a polygon")
    outline, layer = as_points(entry.get("segmentation")), number(entry.get("layer") or 0, "layer")
    if name == HOLE:
        holes.append((layer, outline))
        return
    above = [hole for height, hole in holes if height > layer]
    part = Annotation(label_id, name, polygons=[outline], crowd=flag(entry, "iscrowd"))
    if above:
        part.polygons, part.rle = None, cut_out([outline], above, image.size)
    group = entry.get("group")
    keep_part(part, (group, name, part.crowd) if isinstance(group, int | str) and group else None, groups, image)
