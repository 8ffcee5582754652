"""Every BDD100K label format, recognised by its content, into one validated in-memory form; from there into masks.

Formats: Scalabel JSON (2020) with rle or poly2d, the 2018 JSON, its older one-file-per-image layout, COCO instance
JSON, folders of RGBA bitmask PNGs.
"""

import logging
import pathlib
import re
from typing import Any

import numpy as np

from bdd100k.labels.formats import oldest_to_scalabel, read_bitmasks, read_coco, read_scalabel
from bdd100k.labels.frames import Frame, LabelReport, Labels
from mrcnn.annotations.json_fields import read_json
from mrcnn.errors import InputError, json_type

logger = logging.getLogger(__name__)

BoxAndCrop = tuple[np.ndarray, np.ndarray]  # int32 [4] (y1, x1, y2, x2) px, exclusive; bool [y2 - y1, x2 - x1]


def load_labels(
    path: str | pathlib.Path,
    available: frozenset[str] | None = None,
    limit: int | None = None,
    keep_source: bool = False,
) -> Labels:
    """Reads a label file, a folder of RGBA bitmasks or a folder of one JSON per image; the content decides which.

    A label that cannot be used is dropped; the returned report and the log name it. Category names are normalised,
    unknown ones are counted by name, known stuff is skipped.

    Args:
        path: a JSON file, or a folder with .png or .json files.
        available: stems of the image files at hand ("7d06fefd-f7be05a6"); other frames are counted as missing and not
            read. None takes every frame.
        limit: read at most this many frames.
        keep_source: keep the JSON of every frame and object in its `source`, for a converter.

    Returns:
        The frames in the file's order (a sequence) with `.report`.

    Raises:
        InputError: the path does not exist, the JSON is broken, it is no label file, or not one frame could be used.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such label file or folder")
    report = LabelReport(str(path), "scalabel")
    read = _read_folder if path.is_dir() else _read_file
    frames = read(path, report, available, limit, keep_source)
    if not frames and not report.missing:
        why = "; ".join(report.dropped[:3]) or "it holds no frames"
        raise InputError(f"{path}: nothing in it can be used as labels ({why})")
    report.log(len(frames))
    return Labels(frames, report)


def _read_folder(
    path: pathlib.Path, report: LabelReport, available: frozenset[str] | None, limit: int | None, keep_source: bool
) -> list[Frame]:
    bitmasks, documents = sorted(path.glob("*.png")), sorted(path.glob("*.json"))
    if bitmasks and (_first_is_rgba(path) or not documents):  # else the PNGs are the images
        report.format = "bitmasks"
        return read_bitmasks(bitmasks, report, available, limit)
    if not documents:
        raise InputError(f"{path}: a label folder needs .png bitmasks or .json files, it has neither")
    report.format = "frame files"
    raw = []
    for document in documents:
        parsed = read_json(document)
        if isinstance(parsed, dict) and "images" in parsed:
            raise InputError(f"{path}: holds several label files; name one of them, such as {document}")
        raw += _scalabel_frames(parsed, document, report)
    return read_scalabel(raw, report, available, limit, keep_source)


def _read_file(
    path: pathlib.Path, report: LabelReport, available: frozenset[str] | None, limit: int | None, keep_source: bool
) -> list[Frame]:
    document = read_json(path)
    if isinstance(document, dict) and "images" in document:
        for part in ("images", "annotations"):
            if not isinstance(document.get(part), list):
                raise InputError(f"{path}: a COCO file needs a list {part!r}, it has {json_type(document.get(part))}")
        report.format = "coco"
        return read_coco(document, report, available, limit, keep_source)
    return read_scalabel(_scalabel_frames(document, path, report), report, available, limit, keep_source)


def _scalabel_frames(document: Any, path: pathlib.Path, report: LabelReport) -> list[Any]:
    """The list of frames in any of the Scalabel-like layouts."""
    if _is_frame(document):
        report.format = "frame files"
        return [document]
    frames = document.get("frames") if isinstance(document, dict) else document
    if not isinstance(frames, list):
        keys = f" with the keys {sorted(document)[:8]}" if isinstance(document, dict) else ""
        raise InputError(
            f"{path}: holds a {json_type(document)}{keys}. Labels are a list of frames, {{'frames': [...]}} or a "
            "COCO file with 'images' and 'annotations'"
        )
    if frames and isinstance(frames[0], dict) and "image_id" in frames[0] and "name" not in frames[0]:
        raise InputError(f"{path}: looks like COCO results (predictions), not like labels")
    if isinstance(document, dict) and frames and isinstance(frames[0], dict) and "objects" in frames[0]:
        report.format = "frame files"
        return oldest_to_scalabel(document)
    config = document.get("config") if isinstance(document, dict) else None
    size = config.get("imageSize") if isinstance(config, dict) else None  # stands for frames without their own
    if size:
        sized = (isinstance(frame, dict) and not frame.get("size") for frame in frames)
        return [{**frame, "size": size} if lacks else frame for frame, lacks in zip(frames, sized, strict=True)]
    return frames


def label_rank(path: pathlib.Path) -> int | None:
    """How good a source of masks a file or folder is, from its content: 0 is best, None is no label file.

    0 Scalabel with rle, 1 Scalabel with poly2d, 2 COCO, 3 RGBA bitmasks, 4 boxes only; a folder with one JSON per image
    counts as its first file. The run-length codes come first:
    they are the official masks, without overlaps; polygons of neighbours overlap.
    """
    if path.is_dir():
        if _first_is_rgba(path):
            return 3
        first = next(iter(sorted(path.glob("*.json"))), None)
        return label_rank(first) if first is not None and _is_one_frame(first) else None
    data = path.read_bytes()
    if re.search(rb'"annotations"\s*:', data) and re.search(rb'"images"\s*:', data):
        return 2
    if not re.search(rb'"(labels|objects)"\s*:', data):
        return None
    if re.search(rb'"rle"\s*:\s*\{', data):
        return 0
    if re.search(rb'"poly2d"\s*:\s*\[', data):
        return 1
    return 4


def _is_one_frame(path: pathlib.Path) -> bool:
    """Whether a JSON file is about one image, so that its folder holds the labels of all."""
    if path.stat().st_size > 1 << 24:
        return False
    try:
        document = read_json(path)
    except InputError:  # says nothing about the folder; whoever reads it raises
        return False
    if not isinstance(document, dict):
        return False
    frames = document.get("frames")
    oldest = isinstance(frames, list) and bool(frames) and isinstance(frames[0], dict) and "objects" in frames[0]
    return oldest or _is_frame(document)


def _is_frame(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("name"), str) and "labels" in document


def _first_is_rgba(folder: pathlib.Path) -> bool:
    first = next(iter(sorted(folder.glob("*.png"))), None)
    return first is not None and _is_rgba(first)


def _is_rgba(path: pathlib.Path) -> bool:
    header = path.open("rb").read(26)  # signature 8, IHDR length and name 8, width, height 8, bit depth, colour type
    return header[:8] == b"\x89PNG\r\n\x1a\n" and header[24:26] == b"\x08\x06"
