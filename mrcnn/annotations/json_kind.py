"""Tell what a JSON label file is without parsing it: this is the one place that decides.

Only the keys are looked for, in the bytes of the file. That takes a second for a gigabyte, where parsing takes a minute
and several times the memory; so the reader that is chosen is the first and only one to parse the file.
"""

import dataclasses
import functools
import json
import pathlib
import re

from mrcnn.annotations.json_fields import Id, category_names
from mrcnn.errors import InputError
from mrcnn.user_files import UTF_16, parse_json, read_bytes

COCO, VIA, VIA3, LABELME, SCALABEL = "coco", "via", "via3", "labelme", "scalabel"
ISAT, SUPERVISELY = "isat", "supervisely"


@dataclasses.dataclass(frozen=True)
class JsonKind:
    """What a JSON file holds.

    Attributes:
        format: COCO, VIA, VIA3, LABELME, ISAT, SUPERVISELY or SCALABEL; None for any other JSON.
        masks: the key of a Scalabel file's masks, "rle" (taken before the other) or "poly2d"; None for boxes alone.
        categories: (id, name) of the categories of a COCO file.
    """

    format: str | None
    masks: str | None = None
    categories: tuple[tuple[Id, str], ...] = ()


def json_kind(path: pathlib.Path) -> JsonKind:
    """Return what a JSON file holds. A file that has not changed is read once.

    Raises:
        InputError: it cannot be read.
    """
    try:
        stat = path.stat()
        return _kind(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


@functools.lru_cache(maxsize=1024)
def _kind(path: pathlib.Path, size: int, changed: int) -> JsonKind:
    data = read_bytes(path)
    if data.startswith(UTF_16):
        data = data.decode("utf-16", errors="replace").encode()

    def has(*keys: str) -> bool:
        return all(_after(data, key) is not None for key in keys)

    if has("images", "annotations", "categories"):
        return JsonKind(COCO, categories=_categories(data))
    if has("_via_img_metadata") or has("regions", "filename"):
        return JsonKind(VIA)
    if has("shapes") and (has("imagePath") or has("shape_type")):
        return JsonKind(LABELME)
    if has("metadata", "view", "attribute", "file"):
        return JsonKind(VIA3)
    if has("objects") and _after(data, "description", rb'"ISAT') is not None:
        return JsonKind(ISAT)
    if has("objects", "tags") and _after(data, "size", rb"\{") is not None:
        return JsonKind(SUPERVISELY)
    if has("name") and (has("labels") or has("frames", "objects")):
        masks = "rle" if _after(data, "rle", rb"\{") else "poly2d" if _after(data, "poly2d", rb"\[") else None
        return JsonKind(SCALABEL, masks)
    return JsonKind(None)


def _after(data: bytes, key: str, value: bytes = b"") -> int | None:
    """Where the value of a key starts that opens with `value`; None if there is no such key."""
    quoted, rest = f'"{key}"'.encode(), re.compile(rb"\s*:\s*(?=" + value + rb")")
    place = data.find(quoted)
    while place >= 0:
        colon = rest.match(data, place + len(quoted))
        if colon:
            return colon.end()
        place = data.find(quoted, place + len(quoted))
    return None


def _categories(data: bytes) -> tuple[tuple[Id, str], ...]:
    """(id, name) of the list "categories"; the reader says what is wrong with a list that is broken."""
    start = _after(data, "categories") or 0
    for length in (1 << 16, 1 << 22, len(data)):  # the list is short, and may be followed by gigabytes
        try:
            text = data[start : start + length].decode("utf-8", errors="replace")
            _, end = json.JSONDecoder().raw_decode(text)
            return tuple(category_names(parse_json(text[:end], "categories")).items())
        except (ValueError, RecursionError):  # an InputError is a ValueError
            continue
    return ()
