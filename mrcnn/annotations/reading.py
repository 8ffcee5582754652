"""What the label readers share: images found by name, sizes, class lists, text files."""

import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from mrcnn.annotations.findings import MISSING_IMAGE, Findings
from mrcnn.annotations.json_fields import as_side, number
from mrcnn.annotations.schema import AnnotatedImage
from mrcnn.errors import LabelError, json_type
from mrcnn.structures.rle import MAX_AREA_PX
from mrcnn.user_files import read_text

# Finds an image by the name that a label file gives it: (name, label file) -> path, or None if there is no such file.
# Raises LabelError if several files may be meant.
Finder = Callable[[str, pathlib.Path], pathlib.Path | None]
ONE_CLASS = "object"  # where a format has no word for the class


def locate(name: str, source: pathlib.Path, find: Finder, findings: Findings) -> AnnotatedImage | None:
    """Return the image that a label file names; None, and a finding, if there is not exactly one such file."""
    try:
        path, why = find(name, source), "no image file of this name is in the folder"
    except LabelError as error:
        path, why = None, str(error)
    if path is None:
        findings.add(MISSING_IMAGE, why, source, image=name)
        return None
    return AnnotatedImage(name, path, source)


def read_each(
    entries: Iterable[tuple[str, Any]], read: Callable[[str, Any], None], image: AnnotatedImage, findings: Findings
) -> None:
    """Read the labels of an image; those that cannot be used become findings.

    Args:
        entries: (label id, label as in the file).
        read: adds one label to the image, given its id and the label; raises LabelError if it cannot be used.
        image: names the image and its label file.
        findings: takes what cannot be used.
    """
    for label_id, entry in entries:
        try:
            read(label_id, entry)
        except LabelError as error:
            findings.add(error.kind, str(error), image.source, image=image.name, label=label_id)


def numbered(entries: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Return the labels of a format without label ids, each with its place as its id: "0", "1", ..."""
    return ((str(place), entry) for place, entry in enumerate(entries))


def class_in(entry: Any, key: str, what: str) -> str:
    """Return the class name that a label holds under a key.

    Args:
        entry: the label as in the file.
        key: the key.
        what: what the format calls a label.

    Raises:
        LabelError: the label is not an object, or has no such name.
    """
    if not isinstance(entry, dict):
        raise LabelError(f"{what} is {json_type(entry)}, not an object")
    name = entry.get(key)
    if not isinstance(name, str) or not name.strip():
        raise LabelError(f"{key} is {name!r:.60}, not a class name")
    return name.strip()


def two_points(form: str, points: Any) -> list[tuple[float, float]]:
    """Return the two points (x, y) px that give a shape. Raises LabelError with its name if they are not two points."""
    if not isinstance(points, list) or len(points) != 2 or any(not isinstance(p, list) or len(p) != 2 for p in points):
        raise LabelError(f"a {form} needs two points [x, y], it has {points!r:.60}")
    return [(number(x, "x"), number(y, "y")) for x, y in points]


def known_size(height: Any, width: Any) -> tuple[int, int] | None:
    """Return (height, width) px, or None if the two JSON values are not a size."""
    sides = as_side(height), as_side(width)
    if sides[0] is None or sides[1] is None or sides[0] * sides[1] > MAX_AREA_PX:
        return None
    return sides[0], sides[1]


def listed_classes(images: Sequence[AnnotatedImage]) -> list[tuple[int, str]]:
    """Return (id, name) of the classes that objects have, by name."""
    names = sorted({label.name for image in images for label in image.objects})
    return list(enumerate(names, 1))


def sibling(image: pathlib.Path, folder: str, suffix: str) -> pathlib.Path | None:
    """Return an image's path with its last folder called images replaced; None if it is in no such folder."""
    parts = list(image.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place].lower() in ("images", "image", "imgs"):
            parts[place] = folder
            return pathlib.Path(*parts).with_suffix(suffix)
    return None


def read_lines(path: pathlib.Path) -> list[str]:
    """Return the lines of a text file. Raises InputError, see `read_text`."""
    return read_text(path).splitlines()
