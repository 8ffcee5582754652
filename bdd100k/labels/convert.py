"""Convert labels of any format that `bdd100k.labels.load` reads to Scalabel JSON, RGBA bitmask PNGs or COCO JSON.

What each format holds, so that a file converted there and back says the same:

Scalabel JSON, masks as rle: everything: ids, categories, all attributes of objects and images, scores, masks (which may
    overlap). An original poly2d is kept beside the rle. What only COCO has is kept under "coco".
Scalabel JSON, masks as polygons: polygons are layers, a later object hides an earlier one, so masks cannot overlap.
    Otherwise as above: in an image without any rle, poly2d is kept as it is, with its curves; other masks are traced
    along pixel edges, exactly.
COCO JSON: everything, masks may overlap. What COCO has no key for is in `scalabel_id`, `attributes` and `scalabel` of
    annotations and images. Masks are run lengths, or polygons: then curves become straight edges, within 0.05 px.
    Scalabel's polygons are layers; what a later one hides of an earlier one is not in its COCO mask.
RGBA bitmasks: one PNG per image with category, occluded, truncated, crowd, ignored, an id from 0 to 65535 and one
    object per pixel. Not: overlapping masks (the later object is on top), objects without a mask, other ids, other
    attributes of objects, attributes of images, image names that do not end in .jpg, scores.

Only objects of the eight instance classes are converted; others are counted by name. The groups and config of a
Scalabel file are left out. Whatever a format cannot hold is counted and logged.
"""

import logging
import os
import pathlib

import numpy as np

from bdd100k.labels.load import load_labels
from bdd100k.labels.write import Conversion, bitmask, coco_document, scalabel_frames
from mrcnn.annotations.schema import AnnotatedImage, Annotations
from mrcnn.data.image_files import MAX_PIXELS
from mrcnn.data.images import image_size
from mrcnn.errors import InputError
from mrcnn.files import folder_written_whole, write_json

logger = logging.getLogger(__name__)

IMAGE_SIZE = (720, 1280)  # (height, width) in px of every BDD100K image
_LONGEST_NAME = 240  # bytes; most file systems hold 255, of which a temporary name needs some
FORMATS = ("scalabel", "coco", "bitmask")
MASKS = ("rle", "polygons")


def convert(
    source: str | pathlib.Path,
    target: str | pathlib.Path,
    to: str,
    masks: str = "rle",
    images: str | pathlib.Path | None = None,
    force: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Conversion:
    """Read labels of any format and write them in another; the target appears only when it is complete.

    Args:
        source: what `load_labels` reads: a JSON file, or a folder of bitmask PNGs or of JSON files.
        target: a JSON file, or a folder for bitmasks.
        to: one of FORMATS.
        masks: "rle" or "polygons", for JSON.
        images: folder with the images, which gives the sizes that the labels do not state. Without it such images are
            taken to be 1280 x 720, as all images of BDD100K are.
        force: overwrite the target; a folder only if it holds nothing but PNG files.
        max_pixels: the maximum number of pixels of an image, also of one that only the labels describe.

    Returns:
        Counts of what was written and of what the format cannot hold; both are logged.

    Raises:
        InputError: the labels cannot be read, the format is unknown, the target exists, or the size of an image is not
            known or too large.
    """
    source, target = pathlib.Path(source), pathlib.Path(target)
    if to not in FORMATS or masks not in MASKS:
        raise InputError(f"cannot convert to {to!r} with masks {masks!r}; use {', '.join(FORMATS)} and rle or polygons")
    _check_target(source, target, to, force)
    labels = load_labels(source, keep_raw=True, max_pixels=max_pixels)
    if labels.findings.unknown and not any(image.objects for image in labels.images):
        names = ", ".join(list(labels.findings.unknown)[:8])
        raise InputError(f"{source}: no object of BDD100K's classes; its categories are {names}")
    _find_sizes(labels, images, max_pixels)
    done = Conversion(len(labels.images))
    if to == "bitmask":
        with folder_written_whole(target) as folder:
            for name, image in _png_names(labels).items():
                _save_png(folder / name, bitmask(image, done))
    else:
        write = scalabel_frames if to == "scalabel" else coco_document
        write_json(target, write(labels, masks, done))
    done.lost = +done.lost  # removes zeros
    logger.info("%s: %d images, %d objects written", target, done.images, done.objects)
    for what, count in done.lost.items():
        logger.warning("%s cannot hold: %d %s", target, count, what)
    return done


def _check_target(source: pathlib.Path, target: pathlib.Path, to: str, force: bool) -> None:
    if target.exists():
        if target.resolve() == source.resolve():
            raise InputError(f"{target}: source and target are the same; choose another name for the target")
        if not force:
            raise InputError(f"{target} exists already; --force overwrites it")
        if target.is_dir() != (to == "bitmask"):
            raise InputError(f"{target} is a {'folder' if target.is_dir() else 'file'}, which {to} does not write")
        others = [p for p in target.iterdir() if p.suffix != ".png"] if target.is_dir() else []
        if others:
            raise InputError(f"{target} holds {others[0].name}, not only PNG files; choose another folder")
    if not target.absolute().parent.is_dir():
        raise InputError(f"{target}: the folder {target.absolute().parent} does not exist; create it first")


def _find_sizes(labels: Annotations, folder: str | pathlib.Path | None, max_pixels: int) -> None:
    """Fill in the sizes of images that the labels do not state."""
    for image in labels.images:
        if image.size is not None and image.size[0] * image.size[1] > max_pixels:
            raise InputError(
                f"{labels.findings.source}: {image.name} is {image.size[1]} x {image.size[0]}, more than {max_pixels} "
                "pixels; --max-pixels raises this limit"
            )
    unsized = [image for image in labels.images if image.size is None]
    if not unsized:
        return
    source = labels.findings.source
    if folder is not None:
        files = {path.name: path for path in sorted(pathlib.Path(folder).rglob("*"))}
        for image in unsized:
            name = pathlib.PurePath(image.name).name
            if name not in files:
                raise InputError(f"{source}: no size for {image.name}, and no such image in {folder}")
            image.size = image_size(files[name], max_pixels)
        return
    for image in unsized:
        points = [polygon for label in image.objects for polygon in label.polygons or []]
        x, y = np.concatenate(points).max(axis=0) if points else (0, 0)
        if x > IMAGE_SIZE[1] + 1 or y > IMAGE_SIZE[0] + 1:
            raise InputError(
                f"{source}: the size of {image.name} is not known and its labels reach to ({x:g}, {y:g}), beyond "
                "1280 x 720; --images DIR reads the sizes from the images"
            )
        image.size = IMAGE_SIZE
    logger.info("%s: no size for %d images; taken as 1280 x 720", source, len(unsized))


def _png_names(labels: Annotations) -> dict[str, AnnotatedImage]:
    names: dict[str, AnnotatedImage] = {}
    for image in labels.images:
        name = pathlib.PurePath(image.name).stem + ".png"
        if "\0" in name or len(os.fsencode(name)) > _LONGEST_NAME:
            raise InputError(f"{labels.findings.source}: {name!r:.80} cannot be the name of a file; rename this image")
        if name in names:
            raise InputError(f"{labels.findings.source}: {names[name].name} and {image.name} would both become {name}")
        names[name] = image
    return names


# Writing -------------------------------------------------------------------------------------------------------------


def _save_png(path: pathlib.Path, pixels: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path)
