"""Image files that are absurd, damaged or no files: refused by name before they take memory, or read as they are."""

import io
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from bdd100k.labels.bitmasks import read_bitmasks
from mrcnn.annotations.findings import Findings
from mrcnn.annotations.mask_png import read_mask
from mrcnn.data.dataset import Dataset
from mrcnn.data.images import image_size, read_image
from mrcnn.errors import InputError
from mrcnn.inference.media import find_sources, read_frames
from tests.hostile.images import bmp, chunk, exif_of, png
from tests.project.test_architecture import ROOT


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)


def test_the_limit_holds_for_every_reader_and_is_checked_before_decoding(tmp_path, pixels):
    bomb = png(30000, 30000, 1, 0, bytes(3751 * 30000))
    assert len(bomb) < 600_000
    (tmp_path / "a_bomb.png").write_bytes(bomb)
    (tmp_path / "bomb.bmp").write_bytes(bmp(40000, -40000))
    (tmp_path / "bomb.hdr").write_bytes(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 32767 +X 32767\n" + bytes(300))
    Image.fromarray(pixels).save(tmp_path / "good.png")
    message = r"\d+ x \d+: \d+ pixels are more than 178956970; --max-pixels raises this limit"
    tracemalloc.start()
    for name in ("a_bomb.png", "bomb.bmp", "bomb.hdr"):
        for read in (read_image, image_size):
            with pytest.raises(InputError, match=f"{name}.*{message}"):
                read(tmp_path / name)
    with pytest.raises(InputError, match=message):
        read_mask(tmp_path / "a_bomb.png", (9, 14))
    findings = Findings("")
    read_bitmasks([tmp_path / "a_bomb.png"], lambda name, source: source, findings)
    assert "30000 x 30000" in findings.entries[0].detail
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    failed = []
    frames = list(read_frames(find_sources([tmp_path]), lambda source, reason: failed.append(source.name)))
    assert failed == ["a_bomb.png", "bomb.bmp", "bomb.hdr"] and [frame.name for frame in frames] == ["good.png"]
    np.testing.assert_array_equal(frames[0].image, pixels)


def test_the_limit_is_the_users(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    dataset = Dataset()
    dataset.add_image("x", "a", tmp_path / "a.png")
    dataset.max_pixels = 126
    np.testing.assert_array_equal(dataset.load_image(0), pixels)
    dataset.max_pixels = 125
    for use in (dataset.load_image, dataset.image_size):
        with pytest.raises(InputError, match=r"14 x 9: 126 pixels are more than 125"):
            use(0)


def test_an_image_above_pillows_own_limit_can_be_read(tmp_path):
    """Pillow refuses 179 million pixels wherever it is asked to open a file; the limit here is another one."""
    (tmp_path / "wide.png").write_bytes(png(14000, 13000, 1, 0, bytes(1751 * 13000)))
    assert image_size(tmp_path / "wide.png", max_pixels=200_000_000) == (13000, 14000)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "loop"])
def test_what_is_no_file_is_named_and_not_waited_for(tmp_path, kind):
    path = tmp_path / "x.jpg"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "x.jpg")
    expected = "Too many levels" if kind == "loop" else f"it is a {kind}, not a file"
    for read in (read_image, image_size):
        with pytest.raises(InputError, match=f"x.jpg.*cannot be read.*{expected}"):
            read(path)


@pytest.mark.parametrize("kind", range(6))
def test_an_orientation_that_is_none_is_not_obeyed(tmp_path, pixels, kind):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    data = file.getvalue()
    (tmp_path / "a.png").write_bytes(data[:33] + chunk(b"eXIf", exif_of(kind)) + data[33:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)
    assert image_size(tmp_path / "a.png") == (9, 14)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_of_formats_are_obeyed_alike(tmp_path, orientation, form):
    """The places of the brightest corner, as the EXIF standard defines them; OpenCV does not turn AVIF."""
    image = np.zeros((32, 48, 3), np.uint8)
    image[:16, :24] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}.get(form, {})
    try:
        Image.fromarray(image).save(tmp_path / "a", form, exif=exif, **options)
    except (KeyError, OSError):
        pytest.skip(f"Pillow is built without {form}")
    shown = read_image(tmp_path / "a")
    assert shown.shape[:2] == image_size(tmp_path / "a") == ((48, 32) if orientation > 4 else (32, 48))
    bottom, right = [(0, 0), (0, 1), (1, 1), (1, 0), (0, 0), (0, 1), (1, 1), (1, 0)][orientation - 1]
    half = shown.shape[0] // 2, shown.shape[1] // 2
    quarter = shown[bottom * half[0] :, right * half[1] :][: half[0], : half[1]]
    assert quarter.mean() > 250 and shown.mean() == pytest.approx(255 / 4, abs=3)


def test_damaged_pixels_of_a_mask_are_noticed(tmp_path):
    """Pillow does not look at the checksum of the pixels of a PNG."""
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 10:30] = 1
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG", compress_level=0)
    data = bytearray(file.getvalue())
    data[data.index(b"IDAT") + 40] ^= 1  # a pixel
    (tmp_path / "m.png").write_bytes(data)
    with pytest.raises(InputError, match="the checksum of its part 'IDAT' is wrong"):
        read_mask(tmp_path / "m.png", (40, 60))


def test_a_damaged_tiff_is_no_black_image(tmp_path, pixels):
    Image.fromarray(np.tile(pixels, (8, 8, 1))).save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), np.tile(pixels, (8, 8, 1)))
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[8:300] = b"\xff" * 292
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.tif: damaged"):
        read_image(tmp_path / "a.tif")


def test_an_animation_without_frames_shows_its_image(tmp_path, pixels):
    """OpenCV composes the frames of an animated PNG, also where there are none."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    data = file.getvalue()
    (tmp_path / "a.png").write_bytes(data[:33] + chunk(b"acTL", b"\x7f\xff\xff\xff\0\0\0\0") + data[33:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)


def test_scripts_take_the_limit(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    (tmp_path / "classes.txt").write_text("leaf\n")
    check = [sys.executable, str(ROOT / "scripts" / "check_data.py"), "--data", str(tmp_path), "--images"]
    assert subprocess.run(check, capture_output=True, timeout=120, check=False).returncode == 0
    done = subprocess.run([*check, "--max-pixels", "100"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and "a.jpg" in done.stderr and "126 pixels are more than 100" in done.stderr
