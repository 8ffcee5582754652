"""Read projects of the VGG Image Annotator 3, in the form of VIA 1 and 2."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.annotations.findings import Findings
from mrcnn.annotations.reading import Finder
from mrcnn.annotations.schema import Annotations
from mrcnn.annotations.via import read_entries
from mrcnn.errors import InputError
from mrcnn.user_files import read_json

IMAGE = 2  # the type of a file; videos are 4, sounds 8
# What "xy" holds: the number of a shape, then its coordinates. Extreme shapes are given by points on their edge.
POINT, RECTANGLE, CIRCLE, ELLIPSE, LINE, POLYLINE, POLYGON, EXTREME_RECTANGLE, EXTREME_CIRCLE = range(1, 10)
FIELDS = {RECTANGLE: "rect x y width height", CIRCLE: "circle cx cy r", ELLIPSE: "ellipse cx cy rx ry"}


def read_via3(paths: Sequence[pathlib.Path], find: Finder, findings: Findings) -> Annotations:
    """Read projects of the VGG Image Annotator 3. Shapes and classes are those of `read_via`; videos are not read.

    Args:
        paths: the files.
        find: finds the images.
        findings: takes what cannot be used.

    Raises:
        InputError: a file is not a VIA 3 project, or several attributes might be the class.
    """
    return read_entries("via3", [entry for path in paths for entry in _entries(path, find)], find, findings)


def _entries(path: pathlib.Path, find: Finder) -> list[tuple[pathlib.Path, str, Any]]:
    """(file, view id, image as in VIA 2) for the views of a project."""
    project = read_json(path)
    for part in ("attribute", "file", "metadata", "view"):
        if not isinstance(project, dict) or not isinstance(project.get(part), dict):
            raise InputError(f"{path}: a VIA 3 project needs an object {part!r}")
    regions: dict[str, dict[str, Any]] = {view: {} for view in project["view"]}
    for key, region in project["metadata"].items():
        fields = region if isinstance(region, dict) else {"xy": region}
        if fields.get("xy"):  # others describe the whole image
            shape, values = _shape(fields["xy"]), _values(fields.get("av"), project["attribute"])
            entry = {"shape_attributes": shape, "region_attributes": values}
            regions.setdefault(str(fields.get("vid")), {})[key] = entry
    views = [(view, project["view"].get(view), entries) for view, entries in regions.items()]
    return [(path, key, {"filename": _name(v, project["file"], path, find), "regions": r}) for key, v, r in views]


def _name(view: Any, files: dict[str, Any], path: pathlib.Path, find: Finder) -> str | None:
    """The name of the image of a view, with its folder if that is right; None if it is not one image."""
    ids = view.get("fid_list") if isinstance(view, dict) else None
    file = files.get(str(ids[0])) if isinstance(ids, list) and len(ids) == 1 else None
    if not isinstance(file, dict) or file.get("type") != IMAGE:
        return None
    address = file.get("src")
    return address if isinstance(address, str) and find(address, path) else file.get("fname")


def _values(chosen: Any, attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a region by name; chosen options as {class: True}."""
    values = {}
    for key, value in chosen.items() if isinstance(chosen, dict) else ():
        attribute = attributes[key] if isinstance(attributes.get(key), dict) else {}
        options = attribute.get("options")
        if isinstance(options, dict) and options and isinstance(value, str):
            value = {str(options.get(choice, choice)): True for choice in value.split(",")}
        values[str(attribute.get("aname", key))] = value
    return values


def _shape(xy: Any) -> dict[str, Any]:
    """The shape_attributes of VIA 1 and 2; what is not one of their shapes is its name, for the message."""
    form, *numbers = xy if isinstance(xy, list) else [xy]
    x, y = numbers[::2], numbers[1::2]
    if form in (POLYLINE, POLYGON):
        return {"name": "polygon", "all_points_x": x, "all_points_y": y}
    if form in (RECTANGLE, CIRCLE, ELLIPSE):
        name, *fields = FIELDS[form].split()
        return {"name": name, **dict(zip(fields, numbers, strict=False))}
    try:
        if form == EXTREME_RECTANGLE:
            return {"name": "rect", "x": min(x), "y": min(y), "width": max(x) - min(x), "height": max(y) - min(y)}
        if form == EXTREME_CIRCLE:
            return _circle_through(np.array([x, y], np.float64).T)
    except (TypeError, ValueError, OverflowError, np.linalg.LinAlgError):
        pass  # unusable numbers
    return {"name": {POINT: "point", LINE: "line"}.get(form if isinstance(form, int) else 0, f"{xy!r:.60}")}


def _circle_through(points: np.ndarray) -> dict[str, Any]:
    """The circle through three points [3, (x, y)]."""
    sides = points[1:] - points[0]
    centre = points[0] + np.linalg.solve(2 * sides, (sides**2).sum(axis=1))
    radius = np.hypot(*(points[0] - centre))
    return {"name": "circle", "cx": float(centre[0]), "cy": float(centre[1]), "r": float(radius)}
