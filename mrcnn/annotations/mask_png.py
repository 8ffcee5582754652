"""Read mask PNGs: instance ids in one PNG per image, or one PNG per object."""

import pathlib
from collections.abc import Sequence

import numpy as np

from mrcnn.annotations.findings import NO_LABELS, Findings
from mrcnn.annotations.object_masks import BoxAndCrop
from mrcnn.annotations.reading import ONE_CLASS, read_lines, sibling
from mrcnn.annotations.schema import AnnotatedImage, Annotations
from mrcnn.errors import InputError


def split_ids(ids: np.ndarray) -> list[BoxAndCrop | None]:
    """Return the mask of each value but 0, ascending.

    Args:
        ids: int [H, W] instance ids, 0 for the background.
    """
    from scipy.ndimage import find_objects  # late: only folders of masks need it

    values, ranks = np.unique(ids, return_inverse=True)
    ranks = ranks.reshape(ids.shape) + (values[0] != 0)  # rank 0 is the background, even where no pixel is

    masks: list[BoxAndCrop | None] = []
    for rank, place in enumerate(find_objects(ranks), 1):
        rows, columns = place
        box = np.array([rows.start, columns.start, rows.stop, columns.stop], np.int32)
        masks.append((box, ranks[place] == rank))
    return masks


def read_mask(path: pathlib.Path, shape: tuple[int, int]) -> np.ndarray:
    """Read a mask PNG of one channel: grey of 8 or 16 bits, black and white, or with a palette (then its indices).

    Args:
        path: the file.
        shape: (height, width) of its image, px.

    Returns:
        int32 [height, width].

    Raises:
        InputError: missing, broken, of several channels, or of another size.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
                raise InputError(f"{path}: is {image.mode}; a mask needs one channel, grey of 8 or 16 bits")
            pixels = np.asarray(image).astype(np.int32)
    except (OSError, SyntaxError) as error:  # Pillow reports broken PNG chunks as SyntaxError
        raise InputError(f"{path}: the mask cannot be read ({error})") from error
    if pixels.shape != shape:
        raise InputError(
            f"{path}: is {pixels.shape[1]} x {pixels.shape[0]}, its image is {shape[1]} x {shape[0]} (width x height)"
        )
    return pixels


def mask_of(image: pathlib.Path) -> pathlib.Path | None:
    """Return the PNG with an image's instance ids: in masks/ if the image is in images/, or NAME_mask.png beside it."""
    beside = image.with_name(f"{image.stem}_mask.png")
    for path in (sibling(image, "masks", ".png"), sibling(image, "mask", ".png"), beside):
        if path is not None and path != image and path.is_file():
            return path
    return None


def mask_folder_of(image: pathlib.Path) -> pathlib.Path | None:
    """Return the folder with one PNG per object: masks/NAME/ for images/NAME.jpg, ID/masks/ for ID/images/NAME.png."""
    inner = sibling(image, "masks", "")
    if inner is None:
        return None
    if inner.is_dir():
        return inner
    alone = len([path for path in image.parent.iterdir() if path.is_file()]) == 1
    return inner.parent if alone and inner.parent.is_dir() and not mask_of(image) else None


def read_masks(root: pathlib.Path, files: Sequence[pathlib.Path], findings: Findings) -> Annotations:
    """Find mask PNGs: one per image whose values are instance ids, or a folder per image with one PNG per object.

    All objects are of one class, named by classes.txt if there is one, else "object". The PNGs are decoded when an
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
            image.mask_files = sorted(folder.glob("*.png")) if folder else None
            if not image.mask_files:
                findings.add(NO_LABELS, "has no mask", file, image=image.name)
                continue
        images.append(image)
    return Annotations("masks", images, [(1, names[0])], findings)
