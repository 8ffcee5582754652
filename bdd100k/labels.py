"""Every BDD100K label format, recognised by its content, into one validated in-memory form; from there into masks.

Formats: Scalabel JSON (2020) with rle or poly2d, the 2018 JSON, its older one-file-per-image layout, COCO instance
JSON, folders of RGBA bitmask PNGs.
"""

import logging
import pathlib
import re
from typing import Any

import numpy as np

from bdd100k.formats import oldest_to_scalabel, read_bitmasks, read_coco, read_scalabel
from bdd100k.frames import Frame, LabelObject, LabelReport, Labels, normalise_category
from mrcnn import copy_paste
from mrcnn.errors import InputError
from mrcnn.masks import Instances, polygons_to_crop, rle_to_crop
from mrcnn.outlines import kind, read_json

__all__ = [
    "Frame",
    "LabelObject",
    "LabelReport",
    "Labels",
    "frame_instances",
    "label_rank",
    "load_labels",
    "normalise_category",
    "object_mask",
]

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
                raise InputError(f"{path}: a COCO file needs a list {part!r}, it has {kind(document.get(part))}")
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
            f"{path}: holds a {kind(document)}{keys}. Labels are a list of frames, {{'frames': [...]}} or a COCO file "
            "with 'images' and 'annotations'"
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


def object_mask(label: LabelObject, height: int, width: int, rectangles_as_masks: bool = False) -> BoxAndCrop | None:
    """The box and the mask of one object, by its run-length code or its polygons.

    Args:
        label: the object.
        height, width: of its image, pixels.
        rectangles_as_masks: take the filled box2d of an object that has nothing else.

    Returns:
        (box_px int32 [4] as (y1, x1, y2, x2), y2 and x2 exclusive; crop bool [y2 - y1, x2 - x1]), tight around the
        mask; None where no pixel belongs to the object, or it has no mask.
    """
    if label.rle is not None:
        return rle_to_crop(label.rle)
    if label.polygons is not None:
        return polygons_to_crop(label.polygons, (height, width))
    if label.box2d is None or not rectangles_as_masks:
        return None
    x1, y1, x2, y2 = np.rint(label.box2d).astype(int)  # Scalabel: x2 and y2 belong to the box
    y1, x1, y2, x2 = max(y1, 0), max(x1, 0), min(y2 + 1, height), min(x2 + 1, width)
    if y2 <= y1 or x2 <= x1:
        return None
    return np.array([y1, x1, y2, x2], np.int32), np.ones((y2 - y1, x2 - x1), bool)


def frame_instances(frame: Frame, rectangles_as_masks: bool = False) -> Instances:
    """The instances of a frame, each a box and a crop; boxes always come from the masks.

    Raw Scalabel polygons run on behind nearer objects. As in the official masks, which are made from them, a later
    label's polygons hide those of earlier labels, so the masks do not overlap.

    Objects without a mask are left out unless `rectangles_as_masks`, and so are objects that cover no pixel.

    Raises:
        InputError: the frame's size is not known.
    """
    found = visible_masks(frame, rectangles_as_masks)
    seen = [i for i, mask in enumerate(found) if mask is not None]
    kept = [(label, *mask) for label, mask in zip(frame.objects, found, strict=True) if mask is not None]
    for label, mask in zip(frame.objects, found, strict=True):
        if mask is None and label.has_mask:
            logger.debug("%s, label %r: no pixel of it is seen; left out", frame.name, label.id)
    return Instances(
        class_ids=np.array([label.category_id for label, _, _ in kept], np.int32),
        boxes_px=np.array([box for _, box, _ in kept], np.int32).reshape(-1, 4),
        crops=[crop for _, _, crop in kept],
        crowd=np.array([label.crowd for label, _, _ in kept], bool),
        ignore=np.array([label.ignored for label, _, _ in kept], bool),
        origin=np.array(seen, int),
    )


def visible_masks(frame: Frame, rectangles_as_masks: bool = False) -> list[BoxAndCrop | None]:
    """`object_mask` of each label without what later polygons hide; None where no pixel is left or there is no mask.

    Raises:
        InputError: the frame's size is not known.
    """
    if not frame.height or not frame.width:
        raise InputError(f"{frame.name}: the image size is not known, so polygons have no extent; give the image")
    found = [object_mask(label, frame.height, frame.width, rectangles_as_masks) for label in frame.objects]
    if frame.layered:
        layers = [i for i, label in enumerate(frame.objects) if label.polygons is not None]
        for place, i in enumerate(layers):
            found[i] = uncovered(found[i], [found[j] for j in layers[place + 1 :]])
    return found


def uncovered(mask: BoxAndCrop | None, covers: list[BoxAndCrop | None]) -> BoxAndCrop | None:
    """What the masks in `covers` leave of a mask, in a box that is tight again; None if nothing is left."""
    if mask is None:
        return None
    present = [cover for cover in covers if cover is not None]
    boxes_px = np.array([box for box, _ in present], np.int32).reshape(-1, 4)
    return copy_paste.uncovered(*mask, boxes_px, [crop for _, crop in present])
