"""Everything that happens to an image before the network: read, convert, resize, pad, subtract the mean, describe.

Names and results are Matterport's. "Moulded" is the image as the network takes it, resized and padded or cropped.

Legend: N batch, H W image, C classes with background. Boxes are (y1, x1, y2, x2).
"""

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import PIL.Image

from mrcnn.data.image_files import MAX_PIXELS, Header, read_data, read_header, turn
from mrcnn.data.rare_images import LENIENT, decode_rare, refuse_damaged
from mrcnn.errors import InputError
from mrcnn.structures.masks import bilinear_resize
from mrcnn.user_files import open_file

NO_PADDING = [(0, 0), (0, 0), (0, 0)]
_NO_PATH = "the image has no path: give add_image(path=...), or override load_image()"


def read_image(path: str | os.PathLike | None, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image file as 8-bit RGB.

    Gray becomes three equal channels, transparency is dropped, 16 bits and floats of 0 to 1 are scaled to 8 bits, and
    the EXIF orientation is applied (labelling tools show images that way).

    Args:
        path: a JPEG, PNG or any other format that OpenCV or Pillow reads; of an animation the first image.
        max_pixels: the maximum number of pixels, checked before any is decoded.

    Returns:
        uint8 [H, W, 3].

    Raises:
        InputError: the file is missing, not an image, truncated, too large, or of 32-bit numbers of an unknown range.
    """
    if path is None:
        raise InputError(_NO_PATH)
    try:
        data, header = read_data(path, max_pixels)
        if _cut_off(data):
            raise InputError(f"the image is truncated ({len(data)} bytes); copy or download it again")
        image = _decode(data, header, max_pixels)
    except cv2.error as error:
        raise InputError(f"{path}: cannot be decoded ({error.err}); copy it again or leave it out") from error
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    if image is None:
        raise InputError(
            f"{path}: not an image that can be decoded ({len(data)} bytes); copy it again, convert it to JPEG or PNG, "
            "or leave it out"
        )
    return image


def _decode(data: bytes, header: Header, max_pixels: int) -> np.ndarray | None:
    """uint8 [H, W, 3] RGB; None if neither OpenCV nor Pillow can decode it."""
    if header.format in LENIENT:
        refuse_damaged(data, max_pixels)
    image = None
    if not (header.format == "PNG" and b"acTL" in data[: data.find(b"IDAT")]):  # OpenCV would play an animation
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        image = decode_rare(data, max_pixels)
    if image is None:
        return None
    image = turn(image, header.orientation)
    if image.shape[:2] != header.size:
        raise InputError(
            f"the header says {header.size[1]} x {header.size[0]} (width x height), but the image decodes to "
            f"{image.shape[1]} x {image.shape[0]}; save it again"
        )
    return image


def image_size(path: str | os.PathLike | None, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (height, width) of the image that `read_image` would return, from the file's header, without decoding
    pixels.

    Args:
        path: the file.
        max_pixels: the maximum number of pixels.

    Raises:
        InputError: the file is missing, not an image, or too large.
    """
    if path is None:
        raise InputError(_NO_PATH)
    try:
        with open_file(path) as file:
            return read_header(file, max_pixels).size
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise InputError(f"{path}: cannot be read as an image ({reason}); check the data folder") from error


def _cut_off(data: bytes) -> bool:
    """Return whether a JPEG or PNG lacks its end. OpenCV would fill the rest with gray and only print a warning."""
    if data.startswith(b"\xff\xd8"):  # must end after the last scan: a thumbnail has an end mark too
        return not data.endswith(b"\xff\xd9") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    return data.startswith(b"\x89PNG") and b"IEND" not in data[-64:]


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Return the three colour channels of an array that a user passes as an image; its numbers stay as they are.

    Args:
        image: [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] of any number type. Gray becomes three equal channels,
            transparency is dropped.

    Returns:
        [H, W, 3] of the same type, bool as float32; not copied if it has colours already.

    Raises:
        InputError: the shape is another one, there is no pixel, or a value is not a finite number.
    """
    image = _numbers(image)
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or image.size == 0:
        raise InputError(f"the image has shape {image.shape}; use [height, width], or 1, 3 or 4 channels last")
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[:, :, :3]


def as_channels(image: np.ndarray, count: int) -> np.ndarray:
    """Return an image for a network with IMAGE_CHANNEL_COUNT channels: `as_rgb` if three, otherwise unchanged.

    Args:
        image: [H, W, count] of any number type; [H, W] is one channel.
        count: channels of the network.

    Returns:
        [H, W, count] of the same type, bool as float32.

    Raises:
        InputError: the image has another number of channels, or a value is not a finite number.
    """
    if count == 3:
        return as_rgb(image)
    image = _numbers(image)
    if image.ndim != 3 or image.shape[2] != count:
        raise InputError(f"the image has shape {image.shape}, but IMAGE_CHANNEL_COUNT is {count}; change one of them")
    return image


def _numbers(image: np.ndarray) -> np.ndarray:
    """Return an image of finite numbers; [H, W] becomes [H, W, 1], and bool becomes 0 and 1 in float32."""
    image = np.asarray(image)
    if image.dtype.kind not in "buif":
        raise InputError(f"the image has values of type {image.dtype}; pass an array of numbers")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise InputError("the image has values that are not finite (NaN or infinity); replace them")
    image = image.astype(np.float32) if image.dtype == bool else image
    return image[:, :, None] if image.ndim == 2 else image


def to_look_at(image: np.ndarray) -> np.ndarray:
    """Return an image to draw on: numbers outside 0..255, or not above 1, are stretched to 0..255.

    Args:
        image: [H, W] or [H, W, channels] of any number type; three channels are shown of more, one of two.

    Returns:
        uint8 [H, W, 3], contiguous.
    """
    image = np.atleast_3d(image)
    image = np.repeat(image[:, :, :1], 3, axis=2) if image.shape[2] < 3 else image[:, :, :3]
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        if low < 0 or high > 255 or high <= 1:
            image = (image.astype(np.float32) - low) * (255 / max(high - low, 1e-9))
        image = np.round(image).astype(np.uint8)
    return np.ascontiguousarray(image)


def unexpected_range(image: np.ndarray, mean_pixel: Sequence[float] | np.ndarray) -> str | None:
    """Return a warning if numbers do not look like those that a mean of 8-bit images is subtracted from.

    Args:
        image: of any shape, as loaded. uint8 is never unexpected.
        mean_pixel: MEAN_PIXEL. Nothing is expected of images unless it is between 1 and 255, as that of 8-bit images.

    Returns:
        What the images hold and what MEAN_PIXEL is for, or None.
    """
    mean = np.asarray(mean_pixel, float)
    if image.dtype == np.uint8 or not image.size or not 1 < mean.max() <= 255:
        return None
    low, high = (round(float(edge), 2) for edge in (image.min(), image.max()))
    if low >= 0 and (1 < high <= 255 or high == 0):
        return None
    if low >= 0 and high <= 1:
        advice = "multiply them by 255, unless the model was trained on these numbers"
    else:
        advice = "pass images as loaded (not moulded), unless the model was trained on these numbers"
    return (
        f"the image has {image.dtype} values from {low:g} to {high:g}, but MEAN_PIXEL {mean.tolist()} is that of "
        f"images of 0 to 255. Numbers are taken as they are and MEAN_PIXEL is subtracted: {advice}"
    )


@dataclass(frozen=True)
class Geometry:
    """How one image becomes the network's input. All fields but `size` and `shape` are what `resize_image` returns.

    Attributes:
        size: (height, width) after scaling, before padding or cropping.
        window: (y1, x1, y2, x2) px, where the scaled image lies in the result.
        scale: factor from the image to the result.
        padding: [(top, bottom), (left, right), (0, 0)].
        crop: (y, x, height, width) in the scaled image, or None.
        shape: (height, width) of the result.
    """

    size: tuple[int, int]
    window: tuple[int, int, int, int]
    scale: float
    padding: list[tuple[int, int]]
    crop: tuple[int, int, int, int] | None
    shape: tuple[int, int]

    def on_canvas(self, canvas: tuple[int, int]) -> "Geometry":
        """Return the same geometry with more padding at the bottom and right, up to `canvas` (height, width).

        Raises:
            InputError: the result is already larger than the canvas.
        """
        down, right = canvas[0] - self.shape[0], canvas[1] - self.shape[1]
        if down < 0 or right < 0:
            raise InputError(f"the moulded image is {self.shape} (height, width), larger than the canvas of {canvas}")
        rows, columns, channels = self.padding
        padding = [(rows[0], rows[1] + down), (columns[0], columns[1] + right), channels]
        return replace(self, padding=padding, shape=canvas)


def resize_geometry(
    image_shape: Sequence[int],
    min_dim: int | None,
    max_dim: int | None,
    min_scale: float | None,
    mode: str,
    randint: Callable[[int, int], int] = random.randint,
    round_down: bool = False,
) -> Geometry:
    """Compute the scale, padding and crop for an image; see `resize_image`.

    Args:
        image_shape: (H, W, ...).
        min_dim: IMAGE_MIN_DIM in pixels, or None.
        max_dim: IMAGE_MAX_DIM in pixels, or None.
        min_scale: IMAGE_MIN_SCALE or None.
        mode: "square", "rect", "pad64", "pad32", "crop" or "none".
        randint: draws the position of the crop: randint(0, n) is in 0..n.
        round_down: with "pad32", whether the sides are rounded down, as torchvision does, or to the nearest.

    Raises:
        InputError: the mode is unknown, or lacks a side that it needs.
    """
    h, w = int(image_shape[0]), int(image_shape[1])
    both = ["min_dim", "max_dim"]
    needed = {"square": ["max_dim"], "rect": both, "crop": ["min_dim"], "pad64": [], "pad32": both, "none": []}
    if mode not in needed:
        raise InputError(f"resize mode {mode!r} is unknown; use one of {', '.join(map(repr, needed))}")
    missing = [name for name in needed[mode] if not {"min_dim": min_dim, "max_dim": max_dim}[name]]
    if missing:
        raise InputError(f"resize mode {mode!r} needs {' and '.join(missing)}")
    if mode == "none":
        return Geometry((h, w), (0, 0, h, w), 1, NO_PADDING, None, (h, w))
    low, high = int(min_dim or 0), int(max_dim or 0)  # 0: not given
    if mode == "pad32":
        return _pad32_geometry(h, w, low, high, round_down)
    scale = _scale(h, w, low, high, min_scale or 0, mode)
    height, width = (round(h * scale), round(w * scale)) if scale != 1 else (h, w)
    if mode == "crop":
        y, x = randint(0, height - low), randint(0, width - low)
        return Geometry((height, width), (0, 0, low, low), scale, NO_PADDING, (y, x, low, low), (low, low))
    if mode == "pad64":
        full = (-(-height // 64) * 64, -(-width // 64) * 64)
    else:
        full = (high, high) if mode == "square" else (low, high)
        height, width = max(1, min(height, full[0])), max(1, min(width, full[1]))
    top, left = (full[0] - height) // 2, (full[1] - width) // 2
    padding = [(top, full[0] - height - top), (left, full[1] - width - left), (0, 0)]
    return Geometry((height, width), (top, left, top + height, left + width), scale, padding, None, full)


def _pad32_geometry(h: int, w: int, min_dim: int, max_dim: int, round_down: bool) -> Geometry:
    scale = min(min_dim / min(h, w), max_dim / max(h, w))
    height, width = (max(1, int(side * scale + (0 if round_down else 0.5))) for side in (h, w))
    scale *= 1 + 1e-12  # `resize_mask`, which rounds halves to even, then rounds them up too
    full = (-(-height // 32) * 32, -(-width // 32) * 32)
    padding = [(0, full[0] - height), (0, full[1] - width), (0, 0)]
    return Geometry((height, width), (0, 0, height, width), scale, padding, None, full)


def _scale(h: int, w: int, min_dim: int, max_dim: int, min_scale: float, mode: str) -> float:
    """Return Matterport's factor: at least 1, and below 1 only to keep the long side within max_dim."""
    if mode == "rect":
        return min(min_dim / h, max_dim / w)
    scale = max(1, min_dim / min(h, w), min_scale)
    if mode == "square" and round(max(h, w) * scale) > max_dim:
        scale = max_dim / max(h, w)
    return scale


def resize_image(
    image: np.ndarray,
    min_dim: int | None = None,
    max_dim: int | None = None,
    min_scale: float | None = None,
    mode: str = "square",
    interpolation: str = "matterport",
) -> tuple[np.ndarray, tuple, float, list, tuple | None]:
    """Resize an image, keeping its aspect ratio.

    Args:
        image: [H, W, channels], any number type.
        min_dim: scale the short side up to this many pixels.
        max_dim: keep the long side within this many pixels ("square" and "rect").
        min_scale: minimum factor, as far as max_dim allows.
        mode: one of

            - "none": the image unchanged.
            - "square": zero padding to [max_dim, max_dim].
            - "rect": fit into min_dim high and max_dim wide, zero padding to exactly that.
            - "pad64": zero padding to multiples of 64; never scaled down.
            - "pad32": short side min_dim, long side at most max_dim, zero padding at the bottom and right to multiples
              of 32.
            - "crop": a random [min_dim, min_dim] part; never scaled down.
        interpolation: IMAGE_INTERPOLATION. With "matterport", pixels are interpolated as scikit-image does without
            anti-aliasing and truncated to the image's type, because the published weights were trained that way.

    Returns:
        image: the result, of the same type; float32 with "torchvision".
        window: (y1, x1, y2, x2) of the scaled image in the result.
        scale: factor.
        padding: [(top, bottom), (left, right), (0, 0)].
        crop: (y, x, height, width) or None.

    Raises:
        InputError: the mode is unknown, a side is missing, or the image is not [H, W, channels].
    """
    if image.ndim != 3:
        raise InputError(f"the image has shape {image.shape}; resize_image needs [height, width, channels]")
    plan = resize_geometry(image.shape, min_dim, max_dim, min_scale, mode, round_down=interpolation == "torchvision")
    if plan.size != image.shape[:2]:
        image = interpolate(image, plan.size, interpolation)
    if plan.crop is not None:
        y, x, h, w = plan.crop
        image = image[y : y + h, x : x + w]
    elif plan.padding != NO_PADDING:
        image = np.pad(image, plan.padding, mode="constant", constant_values=0)
    return image, plan.window, plan.scale, list(plan.padding), plan.crop


def interpolate(image: np.ndarray, size: tuple[int, int], method: str) -> np.ndarray:
    """Resize an image [H, W, channels] of any number type to `size` (height, width) by a rule of IMAGE_INTERPOLATION.

    Returns:
        [height, width, channels] of the same type; float32 with "torchvision".
    """
    if method == "matterport":
        return bilinear_resize(image, size).astype(image.dtype)
    if method == "pillow":
        return _pillow_resize(image, size)
    resizable = image if image.dtype == np.uint8 and method == "opencv" else image.astype(np.float32)
    resized = cv2.resize(resizable, size[::-1], interpolation=cv2.INTER_LINEAR).reshape(*size, image.shape[2])
    return resized if method == "torchvision" else resized.astype(image.dtype)


def _pillow_resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    mode = "L" if image.dtype == np.uint8 else "F"
    planes = image if mode == "L" else image.astype(np.float32)
    resized = [
        np.asarray(PIL.Image.fromarray(planes[..., i], mode).resize(size[::-1], PIL.Image.Resampling.BILINEAR))
        for i in range(image.shape[2])
    ]
    return np.stack(resized, axis=-1).astype(image.dtype)


def resize(
    image: np.ndarray,
    output_shape: Sequence[int],
    order: int = 1,
    mode: str = "constant",
    cval: float = 0,
    clip: bool = True,
    preserve_range: bool = False,
    anti_aliasing: bool = False,
    anti_aliasing_sigma: float | None = None,
) -> np.ndarray:
    """Call scikit-image's `resize` with Matterport's defaults; accepts bool images, which recent scikit-image refuses.

    The image is [h, w, ...] of any number type, `output_shape` is (height, width, ...); the rest is scikit-image's.

    Returns:
        float [*output_shape]; without `preserve_range`, integer types are scaled to 0..1.
    """
    from skimage.transform import resize as skimage_resize  # late: only users of this name need it

    if image.dtype == bool and order > 0:
        image = image.astype(np.float64)
    return skimage_resize(
        image,
        output_shape,
        order=order,
        mode=mode,
        cval=cval,
        clip=clip,
        preserve_range=preserve_range,
        anti_aliasing=anti_aliasing,
        anti_aliasing_sigma=anti_aliasing_sigma,
    )


def mold_image(images: np.ndarray, config: Any) -> np.ndarray:
    """Bring RGB of any type into the order of INPUT_FORMAT, subtract MEAN_PIXEL and divide by PIXEL_STD: float64
    [..., channels].
    """
    if config.INPUT_FORMAT == "BGR":
        images = images[..., ::-1]
    return (images.astype(np.float32) - config.MEAN_PIXEL) / config.PIXEL_STD


def mold_resized(image: np.ndarray, window: Sequence[int], config: Any) -> np.ndarray:
    """Mould a resized image [h, w, channels]: float64. With IMAGE_PAD_VALUE "mean", all around `window` (y1, x1, y2,
    x2) px is 0.
    """
    moulded = mold_image(image, config)
    if config.IMAGE_PAD_VALUE == "black":
        return moulded
    y1, x1, y2, x2 = window
    padded = np.zeros_like(moulded)
    padded[y1:y2, x1:x2] = moulded[y1:y2, x1:x2]
    return padded


def unmold_image(normalized_images: np.ndarray, config: Any) -> np.ndarray:
    """Return the RGB pixels of moulded images again: uint8 [..., channels], truncated."""
    images = (normalized_images * config.PIXEL_STD + config.MEAN_PIXEL).astype(np.uint8)
    return images[..., ::-1] if config.INPUT_FORMAT == "BGR" else images


def compose_image_meta(
    image_id: int,
    original_image_shape: Sequence[int],
    image_shape: Sequence[int],
    window: Sequence[int],
    scale: float,
    active_class_ids: Sequence[int] | np.ndarray,
) -> np.ndarray:
    """Pack everything that the network must know about one image into one row.

    Args:
        image_id: index in the dataset.
        original_image_shape: (H, W, channels) as loaded.
        image_shape: (H, W, channels) as moulded.
        window: (y1, x1, y2, x2) pixels of the moulded image that are not padding.
        scale: factor from original to moulded.
        active_class_ids: [C] flags, 1 for each class of the image's source.

    Returns:
        float64 [1 + 3 + 3 + 4 + 1 + C].
    """
    parts = [[image_id], original_image_shape, image_shape, window, [scale], active_class_ids]
    return np.concatenate([np.asarray(part, np.float64) for part in parts])


def parse_image_meta_graph(meta: Any) -> dict[str, Any]:
    """Split image meta (array or tensor [N, 12 + C]) into its named columns, keeping the type."""
    return {
        "image_id": meta[:, 0],
        "original_image_shape": meta[:, 1:4],
        "image_shape": meta[:, 4:7],
        "window": meta[:, 7:11],  # (y1, x1, y2, x2) pixels
        "scale": meta[:, 11],
        "active_class_ids": meta[:, 12:],
    }


def parse_image_meta(meta: np.ndarray) -> dict[str, np.ndarray]:
    """Split image meta [N, 12 + C] into named arrays: int32, except for the scale, which is float32."""
    parts = parse_image_meta_graph(meta)
    return {name: part.astype(np.float32 if name == "scale" else np.int32) for name, part in parts.items()}
