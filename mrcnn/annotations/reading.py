"""What the label readers share: images found by name, sizes, class lists, text files."""

import codecs
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from mrcnn.annotations.findings import MISSING_IMAGE, Findings
from mrcnn.annotations.json_fields import is_side
from mrcnn.annotations.schema import AnnotatedImage
from mrcnn.errors import InputError

# Finds an image by the name that a label file gives it: (name, label file) -> path or None.
Finder = Callable[[str, pathlib.Path], pathlib.Path | None]
ONE_CLASS = "object"  # where a format has no word for the class


def locate(name: str, source: pathlib.Path, find: Finder, findings: Findings) -> AnnotatedImage | None:
    """Return the image that a label file names; None, and a finding, if there is no such file."""
    path = find(name, source)
    if path is None:
        findings.add(MISSING_IMAGE, "no image file of this name is in the folder", source, image=name)
        return None
    return AnnotatedImage(name, path, source)


def known_size(height: Any, width: Any) -> tuple[int, int] | None:
    """Return (height, width) px, or None if the two JSON values are not a size."""
    return (height, width) if is_side(height) and is_side(width) else None


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
    """Return the lines of a text file: UTF-8, or UTF-16 with a byte order mark, as some Windows programs write it.

    Raises:
        InputError: it cannot be read, or is not such text.
    """
    try:
        data = path.read_bytes()
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if wide else "utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not a text file in UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
