"""Read Scalabel frames: the 2020 and 2018 releases, and the oldest layout of one file per image."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from bdd100k.labels.categories import find_class
from bdd100k.labels.poly2d import read_poly2d
from mrcnn.annotations.findings import Findings
from mrcnn.annotations.json_fields import as_score, check_rle, flag
from mrcnn.annotations.reading import Finder, known_size, locate
from mrcnn.annotations.schema import AnnotatedImage, Annotation
from mrcnn.errors import InputError, LabelError, json_type


def frames_of(document: Any, path: pathlib.Path) -> list[Any]:
    """Return the list of frames in any of the Scalabel layouts.

    Args:
        document: the parsed JSON.
        path: the file, for messages.

    Raises:
        InputError: it is not a label file.
    """
    if is_frame(document):
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
    if is_oldest(document):
        return _from_oldest(document)
    config = document.get("config") if isinstance(document, dict) else None
    size = config.get("imageSize") if isinstance(config, dict) else None  # for frames without a size of their own
    if size:
        return [{**f, "size": size} if isinstance(f, dict) and not f.get("size") else f for f in frames]
    return frames


def is_frame(document: Any) -> bool:
    """Return whether a parsed JSON file is a single Scalabel frame."""
    return isinstance(document, dict) and isinstance(document.get("name"), str) and "labels" in document


def is_oldest(document: Any) -> bool:
    """Return whether a parsed JSON file has the oldest layout: {"name", "frames": [{"objects": [...]}]}."""
    frames = document.get("frames") if isinstance(document, dict) else None
    return isinstance(frames, list) and bool(frames) and isinstance(frames[0], dict) and "objects" in frames[0]


def _from_oldest(document: dict[str, Any]) -> list[dict[str, Any]]:
    name = document["name"] if isinstance(document.get("name"), str) else None
    if name and not pathlib.PurePath(name).suffix:
        name += ".jpg"
    result = []
    for frame in document["frames"]:
        objects = frame.get("objects") if isinstance(frame, dict) else frame
        result.append({"name": name, "attributes": document.get("attributes"), "labels": objects})
    return result


def read_scalabel(
    frames: Sequence[Any],
    source: pathlib.Path,
    find: Finder,
    findings: Findings,
    limit: int | None = None,
    keep_raw: bool = False,
) -> list[AnnotatedImage]:
    """Read Scalabel frames.

    Args:
        frames: what `frames_of` returned.
        source: the label file or folder.
        find: finds the images.
        findings: takes what cannot be used, and the categories that are skipped.
        limit: stop after this many images.
        keep_raw: fill `raw` of images and objects, for a converter.

    Returns:
        The images that were found, in the order of the frames.
    """
    images: list[AnnotatedImage] = []
    seen: set[str] = set()
    for index, raw in enumerate(frames):
        if limit is not None and len(images) >= limit:
            break
        place = f"frame {index}"
        name = raw.get("name") if isinstance(raw, dict) else None
        if not isinstance(name, str) or not name:
            detail = "frame has no name" if isinstance(raw, dict) else f"frame is {json_type(raw)}"
            findings.add("unusable frame", detail, source, place=place)
            continue
        labels = raw.get("labels") or []
        if not isinstance(labels, list):
            detail = f"labels are {json_type(labels)}, not a list"
            findings.add("unusable frame", detail, source, place=place, image=name)
            continue
        if name in seen:
            findings.add("duplicate image", "a frame of this name came before", source, place=place, image=name)
            continue
        seen.add(name)
        image = locate(name, source, find, findings)
        if image is None:
            continue
        image.layered, image.attributes = True, _dict(raw.get("attributes"))
        size = _dict(raw.get("size"))
        image.size = known_size(size.get("height"), size.get("width"))
        if keep_raw:
            image.raw = {key: value for key, value in raw.items() if key != "labels"}
        _add_labels(labels, image, place, findings, keep_raw)
        images.append(image)
    return images


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _add_labels(labels: list[Any], image: AnnotatedImage, place: str, findings: Findings, keep_raw: bool) -> None:
    for raw in labels:
        try:
            label = _object(raw, image, findings)
            if label is not None:
                label.raw = raw if keep_raw else None
                image.keep(label)
        except LabelError as error:
            label_id = str(_dict(raw).get("id"))
            findings.add(error.kind, str(error), image.source, place=place, image=image.name, label=label_id)


def _object(label: Any, image: AnnotatedImage, findings: Findings) -> Annotation | None:
    """The object of a label; None for a known category without instances."""
    if not isinstance(label, dict):
        raise LabelError(f"label is {json_type(label)}, not an object")
    known = find_class(label.get("category"), findings)
    if known is None:
        return None
    name, ignored = known
    attributes = _dict(label.get("attributes"))
    rle = check_rle(label["rle"], image.size) if label.get("rle") else None
    if rle and image.size is None:
        image.size = rle["size"][0], rle["size"][1]
    polygons = read_poly2d(label["poly2d"]) if label.get("poly2d") and rle is None else None
    box_px = _box(label.get("box2d"))
    if rle is None and polygons is None and box_px is None:
        raise LabelError("label has none of rle, poly2d and box2d")
    score = label.get("score")
    return Annotation(
        str(label.get("id")),
        name,
        polygons=polygons,
        rle=rle,
        box_px=box_px,
        crowd=flag(attributes, "crowd"),
        ignore=ignored or flag(attributes, "ignored", "ignore"),
        occluded=flag(attributes, "occluded"),
        truncated=flag(attributes, "truncated"),
        score=as_score(score),
    )


def _box(box: Any) -> tuple[float, float, float, float] | None:
    """(x1, y1, x2, y2) of a box2d; its last column and row belong to it, so 1 is added to make x2 and y2 exclusive."""
    if not isinstance(box, dict):
        return None
    try:
        x1, y1, x2, y2 = float(box["x1"]), float(box["y1"]), float(box["x2"]), float(box["y2"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise LabelError(f"box2d is {box!r}, needs numbers x1, y1, x2, y2") from None
    if not np.isfinite([x1, y1, x2, y2]).all() or x2 < x1 or y2 < y1:
        raise LabelError(f"box2d {(x1, y1, x2, y2)} is not a box")
    return x1, y1, x2 + 1, y2 + 1
