"""Decode image files that OpenCV does not turn into 8-bit colours: 32-bit numbers, and formats of Pillow alone."""

import contextlib
import io

import cv2
import numpy as np

from mrcnn.data.image_files import opened
from mrcnn.errors import InputError

LENIENT = ("TIFF", "BMP", "DIB", "GIF")  # formats whose damaged parts OpenCV leaves black without a word
_DAMAGED = ("decoder error", "truncated", "when reading image file")  # in Pillow's messages


def decode_rare(data: bytes, max_pixels: int) -> np.ndarray | None:
    """Decode an image file as 8-bit RGB; its orientation is not applied, except that of a TIFF.

    Args:
        data: of the file.
        max_pixels: the maximum number of pixels.

    Returns:
        uint8 [H, W, 3], or None if neither OpenCV nor Pillow can decode it. Floats of 0 to 1 are scaled by 255.

    Raises:
        InputError: the image holds other numbers than floats of 0 to 1 or numbers of 0 to 255, so no one knows what is
            white.
    """
    try:
        image = _pillow(data, max_pixels)
    except InputError:
        image = None
    if image is None or image.ndim == 2:
        with contextlib.suppress(cv2.error):
            found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            image = image if found is None else found if found.ndim == 2 else found[:, :, 2::-1]
    return None if image is None else _eight_bits(image)


def refuse_damaged(data: bytes, max_pixels: int) -> None:
    """Raise InputError for a file of LENIENT formats that is damaged, which Pillow notices.

    Args:
        data: of the file.
        max_pixels: the maximum number of pixels.

    Raises:
        InputError: Pillow cannot decode a part. A kind of file that it does not know is not refused.
    """
    try:
        _pillow(data, max_pixels)
    except InputError as error:
        if any(sign in str(error) for sign in _DAMAGED):
            raise InputError(f"damaged: {error}; copy or export it again") from error


def _pillow(data: bytes, max_pixels: int) -> np.ndarray:
    """uint8 [H, W, 3] RGB, or [H, W] of numbers of an unknown range."""
    with opened(io.BytesIO(data), max_pixels) as (image, _):
        if image.mode in ("I", "F"):
            return np.array(image)
        if image.mode.startswith("I;16"):
            return np.repeat((np.array(image) >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
        return np.array(image.convert("RGB"))


def _eight_bits(image: np.ndarray) -> np.ndarray:
    """Return an image [H, W] or [H, W, 3] RGB of any number type as uint8 [H, W, 3] RGB."""
    low, high = image.min(), image.max()
    scale = 255 if image.dtype.kind == "f" and high <= 1 else 1
    if not (low >= 0 and high * scale <= 255):  # false of NaN too
        raise InputError(
            f"the image holds {image.dtype} numbers from {low:g} to {high:g}, and it does not say which is white; "
            "convert it to 8 or 16 bits, or load it in a load_image() of your own"
        )
    image = np.round(image * scale).astype(np.uint8)
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else np.ascontiguousarray(image)
