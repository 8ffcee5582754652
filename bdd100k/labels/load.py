"""Load BDD100K labels of any format, recognised by content, in the form of `mrcnn.annotations.schema`.

Formats: Scalabel JSON (2020) with rle or poly2d, the 2018 JSON, its older layout of one file per image, COCO instance
JSON, folders of RGBA bitmask PNGs.
"""

import functools
import pathlib
from typing import Any

from bdd100k.config import CLASS_NAMES
from bdd100k.labels.bitmasks import read_bitmasks
from bdd100k.labels.categories import find_class, normalise_category, plain_name
from bdd100k.labels.scalabel import frames_of, is_frame, is_oldest, read_scalabel
from mrcnn.annotations import coco, json_kind
from mrcnn.annotations.dataset import log_summary
from mrcnn.annotations.findings import MISSING_IMAGE, Findings
from mrcnn.annotations.json_fields import Id
from mrcnn.annotations.reading import Finder
from mrcnn.annotations.schema import Annotations
from mrcnn.data.image_files import MAX_PIXELS
from mrcnn.errors import InputError
from mrcnn.user_files import open_file, read_json

CLASSES = list(enumerate(CLASS_NAMES, 1))


def by_name(name: str, source: pathlib.Path) -> pathlib.Path:
    """A Finder for labels without images: the path is the name."""
    return pathlib.Path(name)


def load_labels(path: str | pathlib.Path, keep_raw: bool = False, max_pixels: int = MAX_PIXELS) -> Annotations:
    """Read labels whose images need not be at hand, and log what was read and left out.

    Args:
        path: as for `read_labels`.
        keep_raw, max_pixels: as for `read_labels`.

    Raises:
        InputError: see `read_labels`.
    """
    labels = read_labels(path, keep_raw=keep_raw, max_pixels=max_pixels)
    log_summary(f"{path} ({labels.format})", labels.images, labels.findings)
    return labels


def read_labels(
    path: str | pathlib.Path,
    find: Finder = by_name,
    limit: int | None = None,
    keep_raw: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Annotations:
    """Read a label file, a folder of RGBA bitmasks or a folder with one JSON per image; the content decides which.

    A label that cannot be used is left out and reported in `findings`. Category names are normalised, unknown ones are
    counted by name, categories without instances are skipped. A JSON file is parsed once.

    Args:
        path: a JSON file or a pipe with one, or a folder with .png or .json files.
        find: finds the images; labels of images that it does not find are not read.
        limit: read at most this many images.
        keep_raw: keep the JSON of every image and object in its `raw`, for a converter.
        max_pixels: the maximum number of pixels of a bitmask.

    Returns:
        The labelled images in the order of the file.

    Raises:
        InputError: the path does not exist, the JSON is broken, it is not a label file, or nothing in it can be used.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such label file or folder")
    findings = Findings(str(path))
    if path.is_dir():
        found = _read_folder(path, find, findings, limit, keep_raw, max_pixels)
    else:
        found = _read_file(path, find, findings, limit, keep_raw)
    if not found.images and not findings.images_of(MISSING_IMAGE):
        why = "; ".join(map(str, findings.unusable()[:3])) or "it holds no frames"
        raise InputError(f"{path}: nothing in it can be used as labels ({why})")
    return found


def _read_folder(
    path: pathlib.Path, find: Finder, findings: Findings, limit: int | None, keep_raw: bool, max_pixels: int
) -> Annotations:
    bitmasks, documents = sorted(path.glob("*.png")), sorted(path.glob("*.json"))
    if bitmasks and (_first_is_rgba(path) or not documents):  # otherwise the PNGs are the images
        images = read_bitmasks(bitmasks, find, findings, limit, max_pixels)
        return Annotations("bitmasks", images, CLASSES, findings)
    if not documents:
        raise InputError(f"{path}: a label folder needs .png bitmasks or .json files, it has neither")
    frames = []
    for document in documents:
        parsed = read_json(document)
        if isinstance(parsed, dict) and "images" in parsed:
            raise InputError(f"{path}: holds several label files; name one of them, such as {document}")
        frames += frames_of(parsed, document)
    images = read_scalabel(frames, path, find, findings, limit, keep_raw)
    return Annotations("frame files", images, CLASSES, findings)


def _read_file(path: pathlib.Path, find: Finder, findings: Findings, limit: int | None, keep_raw: bool) -> Annotations:
    document = read_json(path, pipe=True)
    if isinstance(document, dict) and "images" in document:
        class_of = functools.partial(find_class, findings=findings)
        images = coco.read_document(document, path, find, findings, class_of, limit, keep_raw)
        classes, other_ids = coco.distinct_classes(_ids_of_classes(document))
        return Annotations("coco", images, classes, findings, other_ids)
    name = "frame files" if is_frame(document) or is_oldest(document) else "scalabel"
    images = read_scalabel(frames_of(document, path), path, find, findings, limit, keep_raw)
    return Annotations(name, images, CLASSES, findings)


def _ids_of_classes(document: dict[str, Any]) -> dict[str, list[Id]]:
    """Class -> the category ids of a COCO file that stand for it, that of its official name first."""
    ids: dict[str, list[Id]] = {name: [] for name in CLASS_NAMES}
    named = coco.category_ids(document)
    for category in sorted(named, key=lambda name: plain_name(name) not in CLASS_NAMES):
        known = normalise_category(category)
        if known is not None and not known[1]:
            ids[known[0]] += named[category]
    return ids


def label_rank(path: pathlib.Path) -> int | None:
    """Return how good a source of masks a file or folder is, from its content: 0 is best, None is not a label file.

    0 is Scalabel with rle, 1 Scalabel with poly2d, 2 COCO, 3 RGBA bitmasks, 4 boxes only; a folder with one JSON per
    image counts as its first file. Run-length codes come first: they are the official masks, which do not overlap;
    polygons of neighbours do.

    Raises:
        InputError: the file cannot be read.
    """
    if path.is_dir():
        if _first_is_rgba(path):
            return 3
        first = next((file for file in sorted(path.glob("*.json")) if file.is_file()), None)
        return label_rank(first) if first is not None and _is_one_image(first) else None
    kind = json_kind.json_kind(path)
    if kind.format == json_kind.COCO:
        return 2
    if kind.format != json_kind.SCALABEL:
        return None
    return {"rle": 0, "poly2d": 1, None: 4}[kind.masks]


def _is_one_image(path: pathlib.Path) -> bool:
    """Whether a JSON file is about one image, so that its folder holds the labels of all."""
    if path.stat().st_size > 1 << 24 or json_kind.json_kind(path).format != json_kind.SCALABEL:
        return False
    with open_file(path) as file:
        if not file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):  # a list is about many images
            return False
    try:
        document = read_json(path)
    except InputError:  # says nothing about the folder; whoever reads it raises
        return False
    return is_oldest(document) or is_frame(document)


def _first_is_rgba(folder: pathlib.Path) -> bool:
    first = next((path for path in sorted(folder.glob("*.png")) if path.is_file()), None)
    if first is None:
        return False
    with open_file(first) as file:
        header = file.read(26)  # signature 8, IHDR length and name 8, width, height 8, bit depth, colour type
    return header[:8] == b"\x89PNG\r\n\x1a\n" and header[24:26] == b"\x08\x06"
