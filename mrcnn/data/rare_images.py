"""Decode image files that OpenCV does not turn into 8-bit colours: 32-bit numbers, and formats of Pillow alone."""

import io

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps

from mrcnn.errors import InputError

PILLOW_ERRORS = (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError)


def decode_rare(data: bytes) -> np.ndarray | None:
    """Decode an image file as 8-bit RGB.

    Args:
        data: of the file.

    Returns:
        uint8 [H, W, 3], or None if neither OpenCV nor Pillow can decode it. Floats of 0 to 1 are scaled by 255.

    Raises:
        InputError: the image holds other numbers than floats of 0 to 1 or numbers of 0 to 255, so no one knows what is
            white.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    return _pillow(data) if image is None else _eight_bits(image)


def _eight_bits(image: np.ndarray) -> np.ndarray:
    """Return an image of OpenCV, [H, W] or BGR [H, W, 3 or 4] of any number type, as uint8 [H, W, 3] RGB."""
    image = image[:, :, None] if image.ndim == 2 else image[:, :, 2::-1]
    low, high = image.min(), image.max()
    scale = 255 if image.dtype.kind == "f" and high <= 1 else 1
    if not (low >= 0 and high * scale <= 255):  # false of NaN too
        raise InputError(
            f"the image holds {image.dtype} numbers from {low:g} to {high:g}, and it does not say which is white; "
            "convert it to 8 or 16 bits, or load it in a load_image() of your own"
        )
    image = np.round(image * scale).astype(np.uint8)
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else np.ascontiguousarray(image)


def _pillow(data: bytes) -> np.ndarray | None:
    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            return np.array(PIL.ImageOps.exif_transpose(image).convert("RGB"))
    except PILLOW_ERRORS:
        return None
