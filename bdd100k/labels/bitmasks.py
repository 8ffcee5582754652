"""Read RGBA bitmasks, BDD100K's format of one PNG per image."""

import pathlib
from collections.abc import Sequence

import numpy as np

from bdd100k.config import CLASS_NAMES
from mrcnn.annotations.findings import Findings
from mrcnn.annotations.reading import Finder, locate
from mrcnn.annotations.schema import AnnotatedImage, Annotation
from mrcnn.data.image_files import MAX_PIXELS, opened
from mrcnn.errors import InputError
from mrcnn.user_files import open_file


def read_bitmasks(
    paths: Sequence[pathlib.Path],
    find: Finder,
    findings: Findings,
    limit: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> list[AnnotatedImage]:
    """Read RGBA bitmasks.

    R is the category id (0 for the background), G is truncated << 3 | occluded << 2 | crowd << 1 | ignore, and the
    instance id is (B << 8) + A. Each PNG is decoded once; its objects are kept as run-length codes, so that a whole
    split fits into memory.

    Args:
        paths: the PNGs; NAME.png belongs to NAME.jpg.
        find: finds the images.
        findings: takes what cannot be used.
        limit: stop after this many images.
        max_pixels: the maximum number of pixels of a PNG.
    """
    images: list[AnnotatedImage] = []
    for path in paths:
        if limit is not None and len(images) >= limit:
            break
        image = locate(path.stem + ".jpg", path, find, findings)
        pixels = _read_rgba(path, findings, max_pixels) if image is not None else None
        if image is None or pixels is None:
            continue
        image.size = pixels.shape[0], pixels.shape[1]
        for label in _objects(pixels, findings):
            image.keep(label)
        images.append(image)
    return images


def _read_rgba(path: pathlib.Path, findings: Findings, max_pixels: int) -> np.ndarray | None:
    try:
        with open_file(path) as file, opened(file, max_pixels) as (image, _):
            if image.mode == "RGBA":
                return np.asarray(image)
            findings.add("unusable frame", f"is {image.mode}, not RGBA: a BDD100K bitmask has four channels", path)
    except InputError as error:
        findings.add("unusable frame", f"cannot be read: {str(error).removeprefix(f'{path}: ')}", path)
    return None


def _objects(pixels: np.ndarray, findings: Findings) -> list[Annotation]:
    """The objects of a bitmask, by ascending id."""
    from pycocotools import mask as coco

    height, width = pixels.shape[:2]
    # One pass over the image finds the runs of equal colour down the columns, which is the order of run-length codes.
    codes = np.ascontiguousarray(pixels).view(">u4")[..., 0].T.reshape(-1)  # R is the highest byte, A the lowest
    starts = np.concatenate([[0], np.flatnonzero(codes[1:] != codes[:-1]) + 1])
    ends, colours = np.append(starts[1:], codes.size), codes[starts]
    objects = []
    for colour in np.unique(colours):
        category_id, bits, instance = int(colour) >> 24, int(colour) >> 16 & 0xFF, int(colour) & 0xFFFF
        if category_id == 0:
            continue
        if category_id > len(CLASS_NAMES):
            findings.unknown[f"category id {category_id}"] += 1
            continue
        own = colours == colour
        places = np.stack([starts[own], ends[own]], 1).reshape(-1)  # where the object starts, ends, starts, ...
        runs = np.diff(np.concatenate([[0], places, [codes.size]]))
        runs = runs[: len(runs) - (runs[-1] == 0)]  # COCO writes no empty run at the end
        objects.append(
            Annotation(
                str(instance),
                CLASS_NAMES[category_id - 1],
                rle=coco.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width),
                truncated=bool(bits & 8),
                occluded=bool(bits & 4),
                crowd=bool(bits & 2),
                ignore=bool(bits & 1),
            )
        )
    return sorted(objects, key=lambda label: int(label.id))
