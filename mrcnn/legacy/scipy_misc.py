"""The image functions of `scipy.misc`, which SciPy 1.2 and 1.3 removed, on Pillow as there."""

import os
from typing import Any

import numpy as np
from PIL import Image

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "cubic": Image.Resampling.BICUBIC,
}


def imread(name: Any, flatten: bool = False, mode: str | None = None) -> np.ndarray:
    """Return an image file as an array.

    Args:
        name: path or file object.
        flatten: return float32 gray values [H, W].
        mode: Pillow's mode to convert to, such as "RGB"; None: as in the file, palettes as RGB.

    Returns:
        uint8 [H, W] or [H, W, channels], or the type of the mode.
    """
    with Image.open(name) as image:
        return fromimage(image, flatten, mode)


def fromimage(im: Image.Image, flatten: bool = False, mode: str | None = None) -> np.ndarray:
    """Return a Pillow image as an array; arguments as of `imread`."""
    if mode is not None:
        im = im.convert(mode)
    elif im.mode == "P":
        im = im.convert("RGBA" if "transparency" in im.info else "RGB")
    if flatten:
        im = im.convert("F")
    elif im.mode == "1":
        im = im.convert("L")
    return np.array(im)


def bytescale(
    data: np.ndarray, cmin: float | None = None, cmax: float | None = None, high: int = 255, low: int = 0
) -> np.ndarray:
    """Map numbers to uint8.

    Args:
        data: any shape; uint8 is returned as it is.
        cmin: becomes `low`; None: the minimum of `data`.
        cmax: becomes `high`; None: the maximum.
        high, low: from 0 to 255.

    Returns:
        uint8, of the shape of `data`.
    """
    if data.dtype == np.uint8:
        return data
    cmin = data.min() if cmin is None else cmin
    cmax = data.max() if cmax is None else cmax
    scaled = (data - 1.0 * cmin) * ((high - low) / ((cmax - cmin) or 1)) + low
    return (scaled.clip(low, high) + 0.5).astype(np.uint8)


def toimage(
    arr: Any,
    high: int = 255,
    low: int = 0,
    cmin: float | None = None,
    cmax: float | None = None,
    pal: Any = None,
    mode: str | None = None,
    channel_axis: int | None = None,
) -> Image.Image:
    """Return an array as a Pillow image, through `bytescale`.

    Args:
        arr: [H, W], or with an axis of 3 or 4 channels.
        high, low, cmin, cmax: As in `bytescale`.
        pal: uint8 [256, 3], the palette of a 2-D array.
        mode: "F" and "I" keep numbers, "1" is black and white; None: gray, RGB or RGBA.
        channel_axis: Axis of the channels; None: the first that has 3 or 4 entries.

    Raises:
        ValueError: There is no such axis.
    """
    data = np.asarray(arr)
    if data.ndim == 2 and mode in ("F", "I"):
        return Image.fromarray(data.astype(np.float32 if mode == "F" else np.int32))
    scaled = bytescale(data, cmin, cmax, high, low)
    if data.ndim == 2:
        if mode == "1":
            return Image.fromarray(scaled > high / 2)
        image = Image.fromarray(scaled)
        if pal is not None:
            image.putpalette(np.asarray(pal, np.uint8).tobytes())
        return image
    axes = [axis for axis in range(data.ndim) if data.shape[axis] in (3, 4)] if channel_axis is None else [channel_axis]
    if data.ndim != 3 or not axes or data.shape[axes[0]] not in (3, 4):
        raise ValueError(f"an image is [H, W] or has an axis of 3 or 4 channels, not {data.shape}")
    image = Image.fromarray(np.ascontiguousarray(np.moveaxis(scaled, axes[0], 2)))
    return image if mode in (None, image.mode) else image.convert(mode)


def imsave(name: Any, arr: Any, format: str | None = None) -> None:
    """Write an array [H, W] or [H, W, channels] to an image file, through `bytescale`.

    Raises:
        ValueError: The array has another shape.
    """
    toimage(arr, channel_axis=2).save(os.fspath(name) if isinstance(name, os.PathLike) else name, format)


def imresize(arr: Any, size: Any, interp: str = "bilinear", mode: str | None = None) -> np.ndarray:
    """Resize an array, through `bytescale`.

    Args:
        arr: [H, W] or [H, W, channels].
        size: int, percent; float, factor; or (height, width, ...).
        interp: a name in FILTERS.
        mode: as in `toimage`.

    Returns:
        uint8 [height, width] or [height, width, channels].

    Raises:
        ValueError: `arr` has another shape.
    """
    image = toimage(arr, mode=mode)
    if isinstance(size, (int, np.integer, float, np.floating)):
        factor = size / 100.0 if isinstance(size, (int, np.integer)) else float(size)
        width, height = (int(side * factor) for side in image.size)
    else:
        height, width = int(size[0]), int(size[1])
    return fromimage(image.resize((width, height), FILTERS[interp]))


def imrotate(arr: Any, angle: float, interp: str = "bilinear") -> np.ndarray:
    """Rotate an array [H, W] or [H, W, channels] counter-clockwise, through `bytescale`.

    Args:
        arr: as in `toimage`.
        angle: degrees.
        interp: a name in FILTERS.

    Returns:
        uint8 of the shape of `arr`; corners that nothing falls into are 0.

    Raises:
        ValueError: `arr` has another shape.
    """
    resample: Any = FILTERS[interp]
    return fromimage(toimage(arr).rotate(angle, resample))
