"""Mask images as people have them: void borders, smoothed and JPEG masks, other file types, several equal channels."""

import cv2
import numpy as np
import pytest
from PIL import Image

from mrcnn.annotations.folder import open_folder
from mrcnn.annotations.label_checks import check_annotated_folder
from mrcnn.annotations.mask_png import split_ids
from mrcnn.annotations.mask_values import interpret
from mrcnn.errors import InputError, LabelError
from tests.annotated import HEIGHT, WIDTH, folder, masks, picture, write
from tests.field_cases import field_case

BOTH = masks().any(2)


@pytest.mark.parametrize(
    ("name", "areas", "findings"),
    [
        ("voc_void", [150, 300], {"void pixels": 1}),
        ("mask_upper", [150, 300], {}),
        ("mask_rgb_binary", [450], {}),
        ("mask_jpg", [450], {"soft mask": 1}),
    ],
)
def test_cases_from_the_field(tmp_path, name, areas, findings, caplog):
    root = field_case(tmp_path, name, "images/i0.jpg")
    found = open_folder(root).load_mask(0)[0]
    assert found.sum((0, 1)).tolist() == areas
    assert found[5:15, 5:20].all(2).any() == (len(areas) == 1)
    assert all(kind in caplog.text for kind in findings)
    checked = check_annotated_folder(root)
    assert (checked.counts(), checked.objects) == (findings, len(areas))
    assert checked.problems == findings.get("soft mask", 0)


def one_mask(tmp_path, write_mask, name="a.png"):
    """The ids in a folder with one image and its mask."""
    picture(tmp_path / "images/a.jpg")
    (tmp_path / "masks").mkdir(exist_ok=True)
    write_mask(tmp_path / "masks" / name)
    return open_folder(tmp_path).load_mask(0)[0]


def saved(pixels, mode=None, **how):
    image = Image.fromarray(pixels)
    return lambda path: (image.convert(mode) if mode else image).save(path, **how)


SMALL_IDS = masks().astype(np.uint8) @ np.array([1, 2], np.uint8)


@pytest.mark.parametrize("suffix", ["png", "PNG", "tif", "TIF", "tiff", "TIFF", "bmp", "BMP"])
def test_file_types(tmp_path, suffix):
    np.testing.assert_array_equal(one_mask(tmp_path, saved(SMALL_IDS), f"a.{suffix}"), masks())


@pytest.mark.parametrize("suffix", ["jpg", "JPG", "jpeg", "JPEG"])
def test_black_and_white_jpegs(tmp_path, suffix):
    found = one_mask(tmp_path, saved(BOTH.astype(np.uint8) * 255, quality=95), f"a.{suffix}")
    np.testing.assert_array_equal(found[..., 0], BOTH)


def test_ids_in_a_jpeg_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.jpg: its \d+ values are no ids.*JPEG.*again as a PNG"):
        picture(tmp_path / "images/a.jpg", 200, 200)
        (tmp_path / "masks").mkdir()
        saved(disks([100, 200]).astype(np.uint8))(tmp_path / "masks/a.jpg")
        open_folder(tmp_path).load_mask(0)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P", "I", "F", "I;16"])
def test_channels_and_depths(tmp_path, mode):
    suffix = "tif" if mode in ("I", "F") else "png"
    if mode == "P":  # indices, whatever their colours are
        image = Image.fromarray(SMALL_IDS)
        image.putpalette([9, 9, 9, 7, 7, 7, 8, 8, 8])
        found = one_mask(tmp_path, image.save)
    elif mode == "I;16":
        found = one_mask(tmp_path, saved(SMALL_IDS.astype(np.uint16) * 300))
    elif mode == "F":
        found = one_mask(tmp_path, saved(SMALL_IDS.astype(np.float32) * 300), "a.tif")
    else:
        found = one_mask(tmp_path, saved(SMALL_IDS, mode), f"a.{suffix}")
    np.testing.assert_array_equal(found, masks())


def test_transparent_pixels_are_background(tmp_path):
    pixels = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    pixels[..., 3] = BOTH * 255
    np.testing.assert_array_equal(one_mask(tmp_path, saved(pixels))[..., 0], BOTH)


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (np.full((HEIGHT, WIDTH), 0.5, np.float32), "no whole numbers"),
        (np.full((HEIGHT, WIDTH), np.nan, np.float32), "no whole numbers"),
        (np.full((HEIGHT, WIDTH), -1, np.int32), "no whole numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_values_that_are_no_ids(tmp_path, pixels, why):
    with pytest.raises(InputError, match=rf"a\.tif: has values that are {why}"):
        one_mask(tmp_path, saved(pixels), "a.tif")


def test_several_pages(tmp_path):
    other = Image.fromarray(SMALL_IDS)
    with pytest.raises(InputError, match="has 2 pages; a mask is one"):
        one_mask(tmp_path, saved(SMALL_IDS, save_all=True, append_images=[other]), "a.tif")


def test_exif_orientation_of_a_mask(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    found = one_mask(tmp_path, saved(np.ascontiguousarray(np.rot90(SMALL_IDS)), exif=exif))
    np.testing.assert_array_equal(found, masks())


@pytest.mark.parametrize("suffix", ["PNG", "tif", "jpg"])
def test_one_file_per_object_of_any_type(tmp_path, suffix):
    picture(tmp_path / "images/a.jpg")
    (tmp_path / "masks/a").mkdir(parents=True)
    for i in range(2):
        saved(masks()[..., i].astype(np.uint8) * 255)(tmp_path / f"masks/a/{i}.{suffix}")
    np.testing.assert_array_equal(open_folder(tmp_path).load_mask(0)[0], masks())


def test_soft_masks_of_one_object_each(tmp_path):
    picture(tmp_path / "images/a.jpg", 80, 80)
    (tmp_path / "masks/a").mkdir(parents=True)
    soft = cv2.GaussianBlur(disk(80, 40, 40, 20) * np.uint8(255), (9, 9), 2)
    cv2.imwrite(str(tmp_path / "masks/a/0.png"), soft)
    assert open_folder(tmp_path).load_mask(0)[0].sum() == (soft > 127).sum() < (soft > 0).sum()
    assert check_annotated_folder(tmp_path).counts() == {"soft mask": 1}


def test_png_comes_before_jpg(tmp_path):
    saved(BOTH.astype(np.uint8) * 255)(tmp_path / "x.jpg")
    (tmp_path / "masks").mkdir()
    (tmp_path / "x.jpg").rename(tmp_path / "masks/a.jpg")
    np.testing.assert_array_equal(one_mask(tmp_path, saved(SMALL_IDS)), masks())


def test_many_images_in_one_folder(tmp_path):
    """Images that lie together have no folder masks/ of their own, as an image that is alone has."""
    folder(tmp_path, "masks")
    picture(tmp_path / "images/c.jpg")
    write(tmp_path / "masks/readme.txt", "none for c.jpg")
    dataset = open_folder(tmp_path)
    assert [finding.image for finding in dataset.findings.entries] == ["images/c.jpg"]


# What values mean


def disk(side, y, x, radius):
    rows, columns = np.mgrid[:side, :side] + 0.5
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


def disks(ids, side=200):
    """int32 [side, side], disks in rows that do not touch."""
    pixels = np.zeros((side, side), np.int32)
    for place, number in enumerate(ids):
        pixels[disk(side, 25 + 36 * (place // 5), 25 + 36 * (place % 5), 9 + 2 * (place % 4))] = number
    return pixels


def with_border(pixels, width=5, value=255):
    kernel = np.ones((width, width), np.uint8)
    objects = (pixels > 0).astype(np.uint8)
    return np.where(cv2.dilate(objects, kernel) != cv2.erode(objects, kernel), value, pixels)


def values_of(pixels, **how):
    return np.unique(interpret(np.asarray(pixels, np.int32), **how).ids).tolist()


@pytest.mark.parametrize("ids", [[1], [1, 2, 3], [2, 5, 6, 8], [15], [20, 3, 9]])
def test_border_of_255_is_void(ids):
    pixels = with_border(disks(ids))
    found = interpret(pixels)
    assert found.kind == "void pixels"
    np.testing.assert_array_equal(found.ids, np.where(pixels == 255, 0, pixels))


@pytest.mark.parametrize(
    "ids",
    [[255], [127, 255], [85, 170, 255], [51, 102, 153, 204, 255], [255, 254, 253], [17, 90, 255]],
)
def test_255_is_an_object_among_others(ids):
    assert values_of(disks(ids)) == [0, *sorted(ids)]
    assert interpret(disks(ids)).kind is None


def test_255_beside_ids_from_1_is_void_as_an_area_too():
    assert values_of(disks([1, 2, 3, 255])) == [0, 1, 2, 3]
    assert values_of(disks([1, 2, 3, 255]), one_object=True) == [0, 1, 2, 3, 255]


def test_palette_of_voc_tells_void(tmp_path):
    """An object of 255 alone, as a crop of a VOC mask may show: void by its colour."""
    pixels = np.where(BOTH, np.uint8(255), np.uint8(0))
    plain = one_mask(tmp_path, saved(pixels))
    np.testing.assert_array_equal(plain[..., 0], BOTH)
    image = Image.fromarray(pixels)
    image.putpalette([0] * 765 + [224, 224, 192])
    assert one_mask(tmp_path, image.save).shape[2] == 0


@pytest.mark.parametrize("way", [cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4])
@pytest.mark.parametrize("scale", [0.4, 0.5, 1.5, 2, 3.3, 6])
def test_smoothed_mask_of_one_object_is_cut_at_half(way, scale):
    soft = cv2.resize((disks(range(1, 11)) > 0) * np.uint8(255), None, fx=scale, fy=scale, interpolation=way)
    assert len(np.unique(soft)) > 3
    found = interpret(soft.astype(np.int32))
    assert found.kind == "soft mask"
    np.testing.assert_array_equal(found.ids, soft > 127)


@pytest.mark.parametrize("quality", [30, 50, 75, 90, 95, 100])
@pytest.mark.parametrize("lossy", [True, False])
def test_mask_that_was_a_jpeg(quality, lossy):
    """Also when it was saved as PNG again: not one pixel differs from the mask before."""
    before = disks(range(1, 11)) > 0
    code = cv2.imencode(".jpg", before * np.uint8(255), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    found = interpret(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE).astype(np.int32), lossy=lossy)
    np.testing.assert_array_equal(found.ids > 0, before)
    assert found.kind == "soft mask"


@pytest.mark.parametrize("scale", [0.5, 1.5, 3])
def test_smoothed_ids_are_refused(scale):
    for pixels in (disks(range(1, 13)), with_border(disks([1, 2, 3])), disks(range(10, 130, 12))):
        soft = cv2.resize(pixels.astype(np.uint8), None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        with pytest.raises(LabelError, match="values are no ids"):
            interpret(soft.astype(np.int32))


@pytest.mark.parametrize("radius", [1, 2, 4, 12])
@pytest.mark.parametrize("top", [250, 60_000])
def test_crowded_ids_are_not_taken_for_smoothed(radius, top):
    """Objects of any size over each other, with ids in any order."""
    random = np.random.default_rng(radius)
    pixels = np.zeros((150, 200), np.int32)
    for number in random.permutation(top)[: 2000 // radius] + 1:
        y, x = random.integers(0, 150), random.integers(0, 200)
        cv2.circle(pixels, (int(x), int(y)), radius, int(number), -1)
    if (pixels == 255).any():
        pixels[pixels == 255] = 0
    assert values_of(pixels) == np.unique(pixels).tolist()


def test_ids_beyond_16_bits():
    pixels = disks([1, 70_000, 2**30])
    assert values_of(pixels) == [0, 1, 70_000, 2**30]
    assert [int(crop.sum()) for _, crop in split_ids(pixels)] == [(pixels == i).sum() for i in (1, 70_000, 2**30)]


def test_ids_of_16_bits_have_no_void():
    assert values_of(disks([1, 2, 255, 256])) == [0, 1, 2, 255, 256]
