"""Look at image files before they are decoded: what they are, their sizes and orientations. Pillow reads the headers.

Sizes are (height, width) px of the image as it is shown, after its orientation has been applied.
"""

import contextlib
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import PIL.Image
from PIL.TiffImagePlugin import COMPRESSION, COMPRESSION_INFO, IMAGELENGTH, IMAGEWIDTH, ImageFileDirectory_v2

from mrcnn.errors import InputError, LabelError
from mrcnn.user_files import open_file

# Maximum number of pixels of an image, that of Pillow's own limit: a square of 13,377. All cameras but those of 200
# megapixels stay below it, and so does the memory that resizing takes below 5 GB.
MAX_PIXELS = 178_956_970
# A file may hold 16 bytes per pixel (four channels of 32 bits), and this much of other things
OTHER_BYTES = 1 << 28
EXIF_ORIENTATION = 0x0112  # tag: 1 as stored, 2..4 flipped or upside down, 5..8 with rows and columns swapped
TRANSPOSED = (5, 6, 7, 8)
_PART = 1 << 20  # bytes read at once
_REFUSED = ("EPS",)  # a program: Pillow runs Ghostscript to draw it
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OPENCV_ALONE = (  # formats that OpenCV reads and Pillow does not know, with height and width or width and height
    re.compile(rb"#\?.{1,4000}?\n[-+]Y (?P<height>\d{1,9}) [-+]X (?P<width>\d{1,9})\n", re.DOTALL),
    re.compile(rb"P7\s.{0,4000}?WIDTH (?P<width>\d{1,9})\s+HEIGHT (?P<height>\d{1,9})\s", re.DOTALL),
    re.compile(rb"P[Ff]\s+(?P<width>\d{1,9})\s+(?P<height>\d{1,9})\s"),
)


@dataclass(frozen=True)
class Header:
    """What an image file says about itself.

    Attributes:
        format: Pillow's name of it, such as "JPEG"; "" for one that only OpenCV reads.
        size: (height, width) px of the image as shown.
        orientation: EXIF's, 1 to 8. That of a TIFF is 1: its decoders turn the image.
    """

    format: str
    size: tuple[int, int]
    orientation: int = 1


def read_header(file: BinaryIO, max_pixels: int = MAX_PIXELS) -> Header:
    """Read the header of an image file, without decoding pixels.

    Args:
        file: open for reading.
        max_pixels: the maximum number of pixels.

    Raises:
        InputError: it is not an image that can be read, or is larger.
    """
    start = file.read(8192)
    for form in _OPENCV_ALONE:
        if found := form.match(start):
            return _checked(Header("", (int(found["height"]), int(found["width"]))), max_pixels)
    try:
        with _identified(file) as image:
            header = _header(image, file)
    except InputError:
        if start[:4] not in _TIFF:
            raise
        with _naming_damage():
            header = _tiff_header(file)
    return _checked(header, max_pixels)


@contextlib.contextmanager
def opened(file: BinaryIO, max_pixels: int = MAX_PIXELS) -> Iterator[tuple[PIL.Image.Image, Header]]:
    """Yield Pillow's image of a file, which the block decodes, and its header.

    Args:
        file: open for reading.
        max_pixels: the maximum number of pixels.

    Raises:
        InputError: it is not an image that Pillow reads, is larger, or cannot be decoded.
    """
    with _identified(file) as image:
        header = _checked(_header(image, file), max_pixels)
        if header.format == "PNG":
            _check_png(file)
        with _naming_damage():
            yield image, header


def read_data(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> tuple[bytes, Header]:
    """Return the bytes of an image file and its header, which is checked before the rest is read.

    Args:
        path: the file.
        max_pixels: the maximum number of pixels.

    Raises:
        InputError: it is missing, not a regular file, not an image, larger, or holds far more than an image.
    """
    with open_file(path) as file:
        header = read_header(file, max_pixels)
        most = 16 * max_pixels + OTHER_BYTES
        file.seek(0)
        data = file.read(most + 1)
    if len(data) > most:
        raise InputError(f"the file is larger than {most} bytes; --max-pixels raises this limit")
    return data, header


def turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn or flip an image as its EXIF orientation says.

    Args:
        image: [H, W, ...] of any number type.
        orientation: EXIF's, 1 to 8.

    Returns:
        The image of the same type, [H, W, ...] or [W, H, ...], contiguous.
    """
    if orientation in TRANSPOSED:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _checked(header: Header, max_pixels: int) -> Header:
    height, width = header.size
    if height < 1 or width < 1:
        raise InputError(f"has no pixels: its header says {width} x {height}")
    if height * width > max_pixels:
        raise InputError(
            f"is {width} x {height}: {height * width} pixels are more than {max_pixels}; --max-pixels raises this limit"
        )
    return header


@contextlib.contextmanager
def _naming_damage() -> Iterator[None]:
    """Raise InputError for what Pillow raises: damaged files lead to exceptions of almost any kind.

    Raises:
        InputError: in place of the error.
    """
    try:
        yield
    except (InputError, LabelError):
        raise
    except Exception as error:
        raise InputError(f"cannot be decoded ({str(error) or type(error).__name__:.200})") from error


@contextlib.contextmanager
def _identified(file: BinaryIO) -> Iterator[PIL.Image.Image]:
    """Yield the image of a file as `PIL.Image.open` does, without its limit of pixels, which is one for all threads.

    Raises:
        InputError: Pillow does not know the format, or the header is damaged.
    """
    PIL.Image.init()
    file.seek(0)
    start, why = file.read(16).ljust(16, b"\0"), ""
    for name in [name for name in PIL.Image.ID if name not in _REFUSED]:
        make, accepts = PIL.Image.OPEN[name]
        if accepts is not None and accepts(start) is not True:
            continue
        file.seek(0)
        try:
            with _naming_damage():
                image = make(file, "")
        except InputError as error:
            if accepts is not None:  # those without a test try everything
                why = f": {name} {error}"
            continue
        with image:
            yield image
        return
    raise InputError(f"not an image, or its header is damaged{why}")


def _header(image: PIL.Image.Image, file: BinaryIO) -> Header:
    """The header of Pillow's image of a file.

    An orientation in XMP or in a text chunk, which `PIL.Image.Image.getexif` knows too, is not obeyed.
    """
    form, (width, height) = image.format or "", image.size
    if form == "TIFF":
        return Header(form, (height, width))
    exif = image.info.get("exif") or (_png_exif(file) if form == "PNG" else b"")
    tags = PIL.Image.Exif()
    orientation = None
    with contextlib.suppress(InputError), _naming_damage():  # decoders ignore what is damaged
        tags.load(exif)
        orientation = tags.get(EXIF_ORIENTATION)
    if not isinstance(orientation, int) or orientation not in range(1, 9):
        orientation = 1
    return Header(form, (width, height) if orientation in TRANSPOSED else (height, width), orientation)


def _tiff_header(file: BinaryIO) -> Header:
    """The header of a TIFF whose numbers Pillow does not decode, such as three floats per pixel."""
    file.seek(0)
    start = file.read(8)
    tags = ImageFileDirectory_v2(start + (file.read(8) if 43 in start[2:4] else b""))
    file.seek(tags.next)
    tags.load(file)
    if tags.get(COMPRESSION, 1) not in COMPRESSION_INFO:  # OpenCV would leave it black
        raise InputError(f"a TIFF of the unknown compression {tags[COMPRESSION]!r:.20}")
    height, width = int(tags[IMAGELENGTH]), int(tags[IMAGEWIDTH])
    return Header("TIFF", (width, height) if tags.get(EXIF_ORIENTATION) in TRANSPOSED else (height, width))


def _png_exif(file: BinaryIO) -> bytes:
    """Return the EXIF data of a PNG; it may stand behind the pixels, which are skipped without decoding."""
    place = file.tell()
    exif = next((file.read(length) for kind, length in _png_chunks(file) if kind == b"eXIf"), b"")
    file.seek(place)
    return exif


def _check_png(file: BinaryIO) -> None:
    """Compare the checksums of a PNG; Pillow leaves out those of the pixels. Raises InputError if one is wrong."""
    place = file.tell()
    for kind, length in _png_chunks(file):
        if not kind[:1].isupper():  # it is not needed to decode the pixels
            continue
        crc = zlib.crc32(kind)
        for start in range(0, length, _PART):
            crc = zlib.crc32(file.read(min(_PART, length - start)), crc)
        if file.read(4) != crc.to_bytes(4, "big"):
            raise InputError(f"damaged: the checksum of its part {kind.decode('ascii', 'replace')!r} is wrong")
    file.seek(place)


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield the kind and length of each part of a PNG; the file is at its data."""
    start = file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        yield kind, length
        start = file.seek(start + length + 12)  # with its own length and kind, and the checksum
