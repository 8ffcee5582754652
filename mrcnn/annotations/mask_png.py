"""Read mask images: instance ids in one file per image, or one file per object; PNG where possible."""

import itertools
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.annotations.findings import NO_LABELS, Findings
from mrcnn.annotations.mask_values import MaskValues, interpret
from mrcnn.annotations.object_masks import BoxAndCrop
from mrcnn.annotations.reading import ONE_CLASS, read_lines, sibling
from mrcnn.annotations.schema import AnnotatedImage, Annotations
from mrcnn.data.image_files import MAX_PIXELS, opened, turn
from mrcnn.errors import InputError, LabelError
from mrcnn.user_files import open_file

log = logging.getLogger(__name__)

SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")  # the first one that is there is read
VOC_VOID_COLOUR = [224, 224, 192]
_JPEG_NOISE = 24  # differences between the channels of a gray JPEG
_MANY = 1 << 20  # larger ids are sorted, which takes longer than counting them
_LOOKED_AT = 10  # masks, when a folder is opened


def split_ids(ids: np.ndarray) -> list[BoxAndCrop | None]:
    """Return the mask of each value but 0, ascending.

    Args:
        ids: int [H, W] instance ids, 0 for the background.
    """
    from scipy.ndimage import find_objects  # late: only folders of masks need it

    if ids.max(initial=0) < _MANY:
        present = np.bincount(ids.ravel()) > 0
        present[:1] = False
        ranks = np.cumsum(present)[ids]  # 0 for the background
    else:
        values, ranks = np.unique(ids, return_inverse=True)
        ranks = ranks.reshape(ids.shape) + (values[0] != 0)

    masks: list[BoxAndCrop | None] = []
    for rank, place in enumerate(find_objects(ranks), 1):
        rows, columns = place
        box = np.array([rows.start, columns.start, rows.stop, columns.stop], np.int32)
        masks.append((box, ranks[place] == rank))
    return masks


def read_mask(path: pathlib.Path, shape: tuple[int, int], one_object: bool = False) -> np.ndarray:
    """Read the instance ids of a mask image; see `explain_mask`.

    Returns:
        int32 [height, width].

    Raises:
        InputError: missing, broken, of several channels that differ, of another size, or its values are no ids.
    """
    return explain_mask(path, shape, one_object).ids


def explain_mask(path: pathlib.Path, shape: tuple[int, int], one_object: bool = False) -> MaskValues:
    """Read a mask image and say what its values mean.

    The file has one channel or several equal ones: gray of 8, 16 or 32 bits, black and white, or a palette (then its
    indices count). Transparent pixels are background. An EXIF orientation is obeyed, as in images.

    Args:
        path: the file.
        shape: (height, width) of its image, px.
        one_object: all values but 0 are the same object.

    Raises:
        InputError: missing, broken, of several channels that differ, of another size, or its values are no ids.
    """
    try:
        with open_file(path) as file, opened(file, max(MAX_PIXELS, shape[0] * shape[1])) as (image, header):
            if header.size != shape:
                height, width = header.size
                raise LabelError(f"is {width} x {height}, its image is {shape[1]} x {shape[0]} (width x height)")
            lossy, pages = header.format in ("JPEG", "MPO"), getattr(image, "n_frames", 1)
            if pages > 1:
                raise LabelError(f"has {pages} pages; a mask is one")
            voc = image.mode == "P" and (image.getpalette() or [])[765:768] == VOC_VOID_COLOUR
            pixels = turn(_one_channel(image, _JPEG_NOISE if lossy else 0), header.orientation)
        return interpret(pixels, lossy, voc, one_object)
    except LabelError as error:
        raise InputError(f"{path}: {error}") from None
    except InputError as error:
        raise InputError(f"{path}: the mask cannot be read ({str(error).removeprefix(f'{path}: ')})") from error


def _one_channel(image: Any, tolerance: int) -> np.ndarray:
    """int32 [H, W], the values of a Pillow image whose channels differ by no more than `tolerance`."""
    pixels, bands = np.asarray(image), image.getbands()
    if bands in (("R", "G", "B"), ("R", "G", "B", "A"), ("L", "A")):
        colours = pixels[..., : 1 if bands[0] == "L" else 3]
        if np.ptp(colours.astype(np.int32), axis=2).max(initial=0) > tolerance:
            raise LabelError(f"is {image.mode} with colours; a mask needs one channel, gray of 8 or 16 bits")
        pixels = colours[..., 0] if bands[-1] != "A" else np.where(pixels[..., -1] > 0, colours[..., 0], 0)
    elif len(bands) != 1:
        raise LabelError(f"is {image.mode}; a mask needs one channel, gray of 8 or 16 bits")
    values = pixels.astype(np.int32)
    if (values != pixels).any() or values.min(initial=0) < 0:
        raise LabelError("has values that are no whole numbers from 0; instance ids are")
    return values


def mask_of(image: pathlib.Path) -> pathlib.Path | None:
    """Return the file with an image's instance ids: in masks/ if the image is in images/, or NAME_mask.png beside it.

    Any of SUFFIXES is taken, in small or capital letters.
    """
    for place in (sibling(image, "masks", ""), sibling(image, "mask", ""), image.with_name(f"{image.stem}_mask")):
        if place is None:
            continue
        for suffix in SUFFIXES:
            for path in (place.with_name(place.name + suffix), place.with_name(place.name + suffix.upper())):
                if path != image and path.is_file():
                    return path
    return None


def mask_folder_of(image: pathlib.Path) -> pathlib.Path | None:
    """Return the folder with one file per object: masks/NAME/ for images/NAME.jpg, ID/masks/ for ID/images/NAME.png."""
    inner = sibling(image, "masks", "")
    if inner is None:
        return None
    if inner.is_dir():
        return inner
    if not inner.parent.is_dir():
        return None
    first_two = list(itertools.islice((path for path in image.parent.iterdir() if path.is_file()), 2))
    return inner.parent if len(first_two) == 1 and not mask_of(image) else None


def read_masks(root: pathlib.Path, files: Sequence[pathlib.Path], findings: Findings) -> Annotations:
    """Find mask images: one per image whose values are instance ids, or a folder per image with one file per object.

    All objects are of one class, named by classes.txt if there is one, else "object". The masks are decoded when an
    image is loaded.

    Args:
        root: the folder.
        files: the image files.
        findings: takes the images without masks.

    Raises:
        InputError: classes.txt names several classes.
    """
    names = [ONE_CLASS]
    if (root / "classes.txt").is_file():
        names = [line.strip() for line in read_lines(root / "classes.txt") if line.strip()]
        if len(names) != 1:
            raise InputError(f"{root / 'classes.txt'}: masks of ids have one class, this file names {len(names)}")
    images = []
    for file in files:
        image = AnnotatedImage(file.relative_to(root).as_posix(), file, file, id_mask=mask_of(file))
        if image.id_mask is None:
            folder = mask_folder_of(file)
            image.mask_files = _mask_files(folder) if folder else None
            if not image.mask_files:
                findings.add(NO_LABELS, "has no mask", file, image=image.name)
                continue
        images.append(image)
    return Annotations("masks", images, [(1, names[0])], findings)


def _mask_files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def check_values(images: Sequence[AnnotatedImage], findings: Findings, most: int | None = None) -> int:
    """Report masks whose values are not just ids: void pixels, soft edges. Loading an image reports unreadable ones.

    Args:
        images: with their sizes.
        findings: takes a finding for each such mask.
        most: look at so many masks at most, evenly spread.

    Returns:
        How many masks were looked at.
    """
    masks = [(image, path) for image in images for path in [image.id_mask, *(image.mask_files or [])] if path]
    places = range(len(masks)) if most is None else np.unique(np.linspace(0, len(masks) - 1, most).astype(int))
    for image, path in (masks[place] for place in places if masks):
        assert image.size is not None
        try:
            found = explain_mask(path, image.size, one_object=image.id_mask is None)
        except InputError:
            continue
        if found.kind is not None:
            findings.add(found.kind, found.detail, path, image=image.name)
    return len(places)


def log_values(images: Sequence[AnnotatedImage]) -> None:
    """Log what `check_values` says about a few masks of the images."""
    found = Findings("")
    count = check_values(images, found, most=_LOOKED_AT)
    for kind, number in found.counts().items():
        first = next(finding for finding in found.entries if finding.kind == kind)
        log.warning("%d of %d masks looked at: %s, such as %s", number, count, kind, first)
