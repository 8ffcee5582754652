"""Image files of many formats, damaged or absurd: what is decoded must be what was drawn, or what Pillow decodes."""

import contextlib
import io
import os
import pathlib
import socket
import struct
import zlib
from collections.abc import Callable

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.PngImagePlugin

from mrcnn.data.images import image_size, read_image
from mrcnn.inference.media import find_sources, read_frames
from tests.hostile.cases import Case
from tests.hostile.documents import damage

HEIGHT, WIDTH = 16, 24
LOSSY = ("JPEG", "AVIF")
SUFFIXES = (".jpg", ".png", ".tif", ".bmp", ".webp", ".gif", ".jp2", ".tga")
Made = tuple[str, bytes, np.ndarray]  # the format, the file, and the pixels that belong to it


def case(rng: np.random.Generator, folder: pathlib.Path) -> Case:
    """Write an image and damage it, or something that is no image."""
    path = folder / ("image" + str(rng.choice(SUFFIXES)))
    if rng.random() < 0.08:
        return special(rng, path)
    form, data, pixels = picture(rng)
    action = str(rng.choice(["bytes", "header", "parts", "none"], p=[0.35, 0.35, 0.25, 0.05]))
    what = ""
    if action == "bytes":
        data, what = damage(data, rng, digits=True)
    elif action == "header":
        made = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            made[rng.integers(min(len(made), 80))] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
        data, what = bytes(made), "header"
    elif action == "parts":
        form, data, what = absurd(rng, form, data)
    path.write_bytes(data)
    return Case(f"{form}: {what}", lambda: read(path), right(data, pixels, form in LOSSY))


def read(path: pathlib.Path) -> np.ndarray:
    """Read the image in the ways that scripts do."""
    image = read_image(path)
    assert image.shape[:2] == image_size(path)
    failed: list[str] = []
    (frame,) = read_frames(find_sources([path]), lambda source, reason: failed.append(reason))
    np.testing.assert_array_equal(frame.image, image)
    return image


def right(data: bytes, pixels: np.ndarray, lossy: bool) -> Callable[[np.ndarray], bool]:
    """Return what tells whether an image is the one that was drawn, or the one that Pillow alone decodes."""

    def alike(image: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
        return image.shape == other.shape and float(np.abs(image.astype(int) - other).mean()) <= tolerance

    def check(image: np.ndarray) -> bool:
        if alike(image, pixels, 6 if lossy else 0):
            return True
        if data[:2] in (b"#?", b"P7", b"PF"):  # formats that Pillow does not know, here of black pixels
            return not image.any() and image.size <= 90
        with contextlib.suppress(Exception), PIL.Image.open(io.BytesIO(data)) as other:
            return alike(image, eight_bits(PIL.ImageOps.exif_transpose(other)), 3)
        return False

    return check


def eight_bits(image: PIL.Image.Image) -> np.ndarray:
    """Return Pillow's image as uint8 [H, W, 3]."""
    if image.mode.startswith("I"):
        gray = (np.asarray(image) >> (8 if image.mode.startswith("I;16") else 0)).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def picture(rng: np.random.Generator) -> Made:
    """Draw an image and encode it."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    colour = np.stack([rows * 12 + 20, columns * 8 + 30, (rows + columns) * 5], axis=-1).astype(np.uint8)
    form = str(rng.choice(["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "TGA", "SGI", "PCX", "ICO", "JPEG2000"]))
    mode = str(rng.choice(["RGB", "RGB", "L"]))
    if form == "PNG":
        mode = str(rng.choice(["RGB", "L", "P", "RGBA", "I;16", "1"]))
    made = PIL.Image.fromarray(colour)
    image = made if mode == "RGB" else made.convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = PIL.Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    turned = int(rng.integers(1, 9)) if form in ("PNG", "JPEG", "WEBP", "TIFF") and rng.random() < 0.3 else 1
    options: dict = {"JPEG": {"quality": 95, "subsampling": 0, "progressive": bool(rng.integers(2))}}.get(form, {})
    options |= {"WEBP": {"lossless": True}, "TIFF": {"compression": str(rng.choice(["raw", "tiff_lzw"]))}}.get(form, {})
    if form == "GIF":
        options = {"save_all": True, "append_images": [image.rotate(180)] * int(rng.integers(3))}
    if form == "ICO":
        image, options = image.resize((32, 32)), {"sizes": [(32, 32)]}
    if turned > 1:
        exif = PIL.Image.Exif()
        exif[0x0112] = turned
        options["exif"] = exif
    file = io.BytesIO()
    image.save(file, form, **options)
    data = file.getvalue()
    with PIL.Image.open(io.BytesIO(data)) as stored:
        pixels = eight_bits(PIL.ImageOps.exif_transpose(stored))
    return form, data, pixels


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a part of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int = 1, colour: int = 0, rows: bytes = b"", more: bytes = b"") -> bytes:
    """Return a PNG with a header that may be absurd, more parts and compressed rows."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def exif_of(kind: int) -> bytes:
    """Return EXIF data whose orientation is text, a list, a fraction, far away, or in a loop."""
    entry = [
        struct.pack("<HHI4s", 0x0112, 2, 4, b"6\0\0\0"),
        struct.pack("<HHI4s", 0x0112, 3, 40000, b"\0\0\0\0"),
        struct.pack("<HHI4s", 0x0112, 5, 1, b"\xff\xff\xff\x7f"),
        struct.pack("<HHIHH", 0x0112, 3, 1, 77, 0),
        struct.pack("<HHII", 0x8769, 4, 1, 8),
        struct.pack("<HHI4s", 0x0112, 99, 1, b"\6\0\0\0"),
    ][kind % 6]
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + struct.pack("<I", 8)


def absurd(rng: np.random.Generator, form: str, data: bytes) -> tuple[str, bytes, str]:
    """Return a file made to take memory, time or the wrong way: its format, its bytes, and what is wrong with it."""
    exif = exif_of(int(rng.integers(6)))
    if form == "JPEG" and rng.random() < 0.7:
        exif = exif if rng.random() < 0.7 else bytes(60000)
        return form, data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif + data[2:], "EXIF"
    if form == "PNG" and rng.random() < 0.7:
        bomb = zlib.compress(bytes(80_000_000), 9)
        more = [
            chunk(b"eXIf", exif),
            chunk(b"zTXt", b"a\0\0" + bomb),
            chunk(b"iTXt", b"a\0\1\0\0\0" + bomb),
            chunk(b"iCCP", b"a\0\0" + bomb),
            chunk(b"tEXt", b"a" * 100_000),
            chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)),
            chunk(b"sBIT", b""),
            chunk(b"gAMA", b"\0"),
            chunk(b"tRNS", b"\0" * 2000),
        ]
        return form, data[:33] + more[rng.integers(len(more))] + data[33:], "parts"
    width, height = (int(v) for v in rng.choice([0, 1, 20000, 2**16 - 1, 2**31 - 1, 2**32 - 1], 2))
    side = int(rng.choice([15000, 30000]))
    made = [
        ("PNG", png(width, height, 8, 2, bytes(1000))),
        ("PNG", png(side, side, 1, 0, bytes((side // 8 + 1) * side))),
        ("GIF", b"GIF89a" + struct.pack("<HHBBB", width & 0xFFFF, height & 0xFFFF, 0x80, 0, 0) + bytes(200)),
        ("BMP", bmp(width, height)),
        ("BMP", bmp(WIDTH, -HEIGHT)),
        ("TIFF", tiff(width, height, 8)),
        ("TIFF", tiff(WIDTH, HEIGHT, 8)),
        ("PPM", b"P6 %d %d 255\n" % (width, height) + bytes(300)),
        ("PAM", b"P7\nWIDTH %d\nHEIGHT %d\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n" % (width, height) + bytes(90)),
        ("HDR", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n" % (height, width) + bytes(90)),
        ("PFM", b"PF\n%d %d\n-1\n" % (width, height) + bytes(90)),
        (
            "TGA",
            struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, width & 0xFFFF, height & 0xFFFF, 24, 0) + bytes(90),
        ),
        ("EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n"),
    ]
    name, content = made[rng.integers(len(made))]
    return name, content, f"absurd, {width} x {height}"


def bmp(width: int, height: int) -> bytes:
    """Return a BMP of 24 bits; a negative height is one whose first row is on top."""
    pixels = bytes(3 * WIDTH * HEIGHT)
    head = struct.pack("<IiiHHIIiiII", 40, _signed(width), _signed(height), 1, 24, 0, len(pixels), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + head + pixels


def _signed(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


def tiff(width: int, height: int, following: int) -> bytes:
    """Return a TIFF of 8 bits whose next page is at `following`: 8 is itself."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1), (278, height), (279, 384)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value & 0xFFFFFFFF) for tag, value in tags)
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)).ljust(
        600, b"\7"
    )


def special(rng: np.random.Generator, path: pathlib.Path) -> Case:
    """Put something at the path that is not a file: it must be refused and not be waited for."""
    kind = str(rng.choice(["folder", "pipe", "socket", "device", "loop", "missing", "empty", "short"]))
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind in ("device", "loop"):
        path.symlink_to("/dev/zero" if kind == "device" else path.name)
    elif kind != "missing":
        path.write_bytes(b"" if kind == "empty" else b"\x89PNG\r\n\x1a\n")
    return Case(kind, lambda: (read_image, image_size)[int(rng.integers(2))](path), lambda result: False)
