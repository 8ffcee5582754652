"""Bad images, bad labels, bad settings: each gets an InputError that says what and where, or is read after all."""

import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from mrcnn.config import Config
from mrcnn.data.class_balance import image_class_counts
from mrcnn.data.dataset import Dataset
from mrcnn.data.images import as_rgb, image_size, read_image, resize_geometry, resize_image
from mrcnn.data.loader import Loader
from mrcnn.errors import InputError
from mrcnn.evaluation.image import EvaluatedImage
from mrcnn.legacy.generator import data_generator
from mrcnn.legacy.image_gt import load_image_gt
from mrcnn.structures.instances import Instances
from mrcnn.structures.rle import rle_to_crop


@pytest.fixture
def picture():
    """uint8 [40, 60, 3] RGB, red to the left, so that channel order and turning show."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30, 0] = 200
    image[:20, :, 2] = 100
    return image


def test_rgb_order_and_transparency(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "rgb.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgb.png"), picture)
    alpha = np.full((40, 60, 1), 128, np.uint8)
    Image.fromarray(np.concatenate([picture, alpha], axis=2)).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_image(str(tmp_path / "rgba.png")), picture)


def test_gray_and_sixteen_bits(tmp_path, picture):
    gray = picture[:, :, 0]
    Image.fromarray(gray).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(read_image(tmp_path / "gray.png"), np.repeat(gray[:, :, None], 3, axis=2))
    cv2.imwrite(str(tmp_path / "deep.png"), gray.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png"), np.repeat(gray[:, :, None], 3, axis=2))


def test_exif_orientation_is_applied(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: turn by 90 degrees clockwise
    Image.fromarray(picture).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    image = read_image(tmp_path / "turned.jpg")
    assert np.abs(image.astype(int) - np.rot90(picture, -1)).mean() < 5
    dataset = Dataset()
    dataset.add_image("s", "turned", str(tmp_path / "turned.jpg"))
    np.testing.assert_array_equal(dataset.load_image(0), image)


# What a viewer shows for each EXIF orientation: https://exiftool.org/TagNames/EXIF.html, tag 0x0112.
SHOWN = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("suffix", ["tif", "webp", "png", "jpg"])
def test_every_orientation_in_every_format(tmp_path, picture, suffix, orientation):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {"tif": {"tiffinfo": {0x0112: orientation}}, "webp": {"lossless": True}, "jpg": {"quality": 95}, "png": {}}
    Image.fromarray(picture).save(path, **({} if suffix == "tif" else {"exif": exif}), **how[suffix])
    image, shown = read_image(path), SHOWN[orientation](picture)
    assert image_size(path) == image.shape[:2] == shown.shape[:2]
    assert np.abs(image.astype(int) - shown).mean() < (5 if suffix == "jpg" else 0.01)


def with_chunk(png: bytes, kind: bytes, data: bytes, place: int) -> bytes:
    checksum = zlib.crc32(kind + data).to_bytes(4, "big")
    return png[:place] + len(data).to_bytes(4, "big") + kind + data + checksum + png[place:]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_png_orientation_behind_the_pixels_and_in_other_chunks(tmp_path, picture):
    """The chunk eXIf counts wherever it stands; what decoders do not obey (XMP, text chunks) does not."""
    Image.fromarray(picture).save(tmp_path / "a.png")
    png = (tmp_path / "a.png").read_bytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = exif.tobytes().removeprefix(b"Exif\0\0")
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    for name, content, shown in (
        ("after.png", with_chunk(png, b"eXIf", plain, len(png) - 12), np.rot90(picture, -1)),
        ("xmp.png", with_chunk(png, b"iTXt", xmp, 33), picture),
        ("damaged.png", with_chunk(png, b"eXIf", plain[:9], 33), picture),
    ):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(read_image(tmp_path / name), shown, err_msg=name)
        assert image_size(tmp_path / name) == shown.shape[:2], name


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_orientations_that_do_not_exist_are_ignored(tmp_path, picture, suffix):
    exif = Image.Exif()
    exif[0x0112] = 9
    Image.fromarray(picture).save(tmp_path / f"a.{suffix}", exif=exif, **{"webp": {"lossless": True}}.get(suffix, {}))
    assert image_size(tmp_path / f"a.{suffix}") == picture.shape[:2]
    assert np.abs(read_image(tmp_path / f"a.{suffix}").astype(int) - picture).mean() < 5


def test_umlauts_in_the_path(tmp_path, picture):
    path = tmp_path / "Straße 街.png"
    Image.fromarray(picture).save(path)
    np.testing.assert_array_equal(read_image(path), picture)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("part", [0.3, 0.8, 0.97])
def test_a_cut_off_file_is_refused_and_named(tmp_path, picture, suffix, part):
    whole = tmp_path / f"whole.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save(whole)
    assert read_image(whole).shape == (40, 60, 3)
    broken = tmp_path / f"broken.{suffix}"
    data = whole.read_bytes()
    broken.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(InputError, match=f"broken.{suffix}: the image is truncated.*copy or download it again"):
        read_image(broken)


def test_a_cut_off_jpeg_with_a_thumbnail_inside_is_refused(tmp_path, picture):
    """The thumbnail has an end mark of its own."""
    Image.fromarray(picture).save(tmp_path / "small.jpg")
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    thumbnail, data = (tmp_path / "small.jpg").read_bytes(), (tmp_path / "whole.jpg").read_bytes()
    block = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = data[:2] + block + data[2:]
    (tmp_path / "with.jpg").write_bytes(whole)
    assert read_image(tmp_path / "with.jpg").shape == (40, 60, 3)
    (tmp_path / "with.jpg").write_bytes(whole[:-300])
    with pytest.raises(InputError, match="is truncated"):
        read_image(tmp_path / "with.jpg")


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.jpg")
    plain = read_image(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes() + b"\0" * 100)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), plain)


def test_files_that_are_no_images(tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("<html>404</html>")
    for name in ("empty.jpg", "text.jpg"):
        with pytest.raises(InputError, match=f"{name}: not an image"):
            read_image(tmp_path / name)
    with pytest.raises(InputError, match="missing.jpg: cannot be read: No such file"):
        read_image(tmp_path / "missing.jpg")
    with pytest.raises(InputError, match="it is a folder, not a file"):
        read_image(tmp_path)
    with pytest.raises(InputError, match="no path"):
        read_image(None)


def test_arrays_that_a_user_calls_an_image(picture):
    np.testing.assert_array_equal(as_rgb(picture), picture)
    assert np.shares_memory(as_rgb(picture), picture)
    gray = picture[:, :, 0]
    three = np.repeat(gray[:, :, None], 3, axis=2)
    for given in (gray, gray[:, :, None], gray.tolist()):
        np.testing.assert_array_equal(as_rgb(given), three)
    np.testing.assert_array_equal(as_rgb(np.dstack([picture, gray])), picture)
    np.testing.assert_array_equal(as_rgb(gray > 0), three > 0)
    for shape in ((4,), (4, 4, 2), (4, 4, 5), (0, 4, 3), (2, 4, 4, 3)):
        with pytest.raises(InputError, match="shape"):
            as_rgb(np.zeros(shape))
    with pytest.raises(InputError, match="NaN"):
        as_rgb(np.full((4, 4), np.nan))
    with pytest.raises(InputError, match="values of type object"):
        as_rgb(np.full((4, 4), None))


def test_resize_modes():
    image = np.zeros((10, 20, 3), np.uint8)
    with pytest.raises(
        InputError, match="'foo' is unknown; use one of 'square', 'rect', 'crop', 'pad64', 'pad32', 'none'"
    ):
        resize_image(image, 64, 64, mode="foo")
    with pytest.raises(InputError, match="'square' needs max_dim"):
        resize_image(image, 64, None)
    with pytest.raises(InputError, match="'crop' needs min_dim"):
        resize_image(image, None, 64, mode="crop")
    with pytest.raises(InputError, match="needs .height, width, channels"):
        resize_image(image[:, :, 0], 64, 64)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (7, 5), (720, 1280)])
@pytest.mark.parametrize("mode", ["square", "rect"])
def test_any_shape_fits(shape, mode):
    image, window, *_ = resize_image(np.full((*shape, 3), 9, np.uint8), 64, 128, mode=mode)
    assert image.shape == ((128, 128, 3) if mode == "square" else (64, 128, 3))
    y1, x1, y2, x2 = window
    assert y2 > y1 and x2 > x1
    assert (image[y1:y2, x1:x2] == 9).all() and image.sum() == 27 * (y2 - y1) * (x2 - x1)


@pytest.mark.parametrize("min_dim", [720, 800, 100, None])
def test_pad64_takes_any_side(min_dim):
    """Fix 3: the original refuses sides that are no multiple of 64."""
    plan = resize_geometry((720, 1280, 3), min_dim, None, 0, "pad64")
    assert plan.shape[0] % 64 == plan.shape[1] % 64 == 0
    high = max(720, min_dim or 0)
    wide = round(1280 * high / 720)
    top, left = (-high % 64) // 2, (-wide % 64) // 2
    assert plan.window == (top, left, top + high, left + wide)


class Named(Dataset):
    def __init__(self, masks=None, class_ids=(1,)):
        super().__init__()
        self.add_class("s", 1, "thing")
        self.add_image("s", "first", None)
        self.prepare()
        self.masks, self.ids = masks, np.array(class_ids)

    def load_image(self, image_id):
        return np.zeros((20, 30, 3), np.uint8)

    def load_mask(self, image_id):
        return (self.masks, self.ids) if self.masks is not None else super().load_mask(image_id)


class TwoClasses(Config):
    NAME = "two"
    NUM_CLASSES = 2
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = 64


def test_masks_that_do_not_fit_the_image():
    wrong = Named(np.ones((40, 30, 1), bool))
    with pytest.raises(InputError, match=r"image 'first' .*the image is \(20, 30\).*\(40, 30, 1\)"):
        load_image_gt(wrong, TwoClasses(), 0)
    with pytest.raises(
        InputError, match="image 'first'.*reach row 40 and column 30, but the image is 20 high and 30 wide"
    ):
        Loader(wrong, TwoClasses())[0]
    with pytest.raises(InputError, match="image 'first'.*2 class ids"):
        Loader(Named(np.ones((20, 30, 1), bool), (1, 1)), TwoClasses())[0]
    with pytest.raises(InputError, match="2 class ids"):
        Instances.from_masks(np.ones((4, 4)), [1, 2])


@pytest.mark.parametrize("size", [(10, 30), (30, 20), (20, 29)])
def test_masks_of_another_size_than_the_image(size):
    """Also where the object lies inside the image."""
    mask = np.zeros((*size, 1), bool)
    mask[2:8, 3:9] = True
    with pytest.raises(InputError, match=rf"image 'first'.*masks are {size[0]} high and {size[1]} wide, but the image"):
        Loader(Named(mask), TwoClasses())[0]


CLASS_IDS = {
    "7": ([7], "class id 7; classes are 1 to 1 .data set 's'.: call add_class for each"),
    "negative": ([-2], "class id 2; classes are 1 to 1"),
    "background": ([0], "class id 0; classes are 1 to 1 .data set 's'.: leave out what is background"),
    "false": ([False], "class id 0; "),
    "fraction": ([1.5], "class ids .1.5. are not all whole numbers"),
    "nan": ([np.nan], "class ids .nan. are not all whole numbers"),
    "names": (["thing"], "class ids .'thing'. are not all whole numbers"),
    "none": ([None], "class ids .None. are not all whole numbers"),
    "two": ([1, 1], "2 class ids"),
}


@pytest.mark.parametrize("case", CLASS_IDS)
def test_class_ids_outside_the_classes(case):
    """In training, in `load_image_gt`, in class balance and where an evaluation reads the truth."""
    class_ids, message = CLASS_IDS[case]
    dataset = Named(np.ones((20, 30, 1), bool), class_ids)
    for read in (
        lambda: Loader(dataset, TwoClasses())[0],
        lambda: load_image_gt(dataset, TwoClasses(), 0),
        lambda: next(data_generator(dataset, TwoClasses())),
        lambda: EvaluatedImage.read(dataset, 0, []),
        lambda: image_class_counts(dataset),
    ):
        with pytest.raises(InputError, match=rf"^image 'first' .number 0, None.: [^:]*{message}") as caught:
            read()
        assert str(caught.value).count("image 'first'") == 1


@pytest.mark.parametrize("class_ids", [[1.0], [True], np.array([[1]]), np.array([1], np.uint8), [-1]])
def test_class_ids_of_any_number_type(class_ids):
    dataset = Named(np.ones((20, 30, 1), np.uint8) * 255, class_ids)
    expected = -1 if class_ids == [-1] else 1
    assert dataset.load_instances(0).training_class_ids.tolist() == [expected]
    assert load_image_gt(dataset, TwoClasses(), 0)[2].tolist() == [expected]


def test_an_empty_mask_of_class_0_is_no_object():
    """Scripts return it for images without objects."""
    dataset = Named(np.zeros((20, 30, 1)), [0])
    assert not len(dataset.load_instances(0))
    assert not len(load_image_gt(dataset, TwoClasses(), 0)[2])
    assert image_class_counts(dataset).tolist() == [[0, 0]]


def test_masks_that_are_not_numbers():
    for masks in (np.full((20, 30, 1), np.nan), np.full((20, 30, 1), None)):
        with pytest.raises(InputError, match="image 'first'.*masks of type (float64|object).*return bool masks"):
            Loader(Named(masks), TwoClasses())[0]


def test_no_objects_is_no_error_for_load_image_gt():
    for dataset in (Named(), Named(np.zeros((20, 30, 0), bool), ()), Named(np.zeros((20, 30, 1), bool))):
        for mini in (False, True):
            _, meta, class_ids, boxes, masks = load_image_gt(dataset, TwoClasses(), 0, use_mini_mask=mini)
            assert len(class_ids) == 0 and boxes.shape == (0, 4)
            assert masks.shape == ((56, 56, 0) if mini else (64, 64, 0))
            np.testing.assert_array_equal(meta[7:11], [10, 0, 53, 64])


@pytest.mark.parametrize("line", [np.s_[7:8, 3:28], np.s_[3:19, 8:9], np.s_[9:10, 9:10]])
def test_thin_objects_survive_shrinking(line):
    """Fix 10: sampled at the nearest pixel a line vanishes, and the original then drops the object."""
    mask = np.zeros((20, 30, 1), bool)
    mask[(*line, 0)] = True
    config = TwoClasses()
    config.IMAGE_MIN_DIM, config.IMAGE_MAX_DIM = None, 12
    _, _, class_ids, boxes, _ = load_image_gt(Named(mask), config, 0)
    assert class_ids.tolist() == [1]
    y, x = (np.argwhere(mask[:, :, 0]) + 0.5).mean(axis=0) * 0.4 + (2, 0)
    centre = (boxes[0, :2] + boxes[0, 2:]) / 2
    assert np.abs(centre - (y, x)).max() <= 0.75
    (batch,) = Loader(Named(mask), config, batch_size=1)[0]
    assert batch["input_gt_class_ids"][0, 0] == 1 and batch["input_gt_masks"][0, :, :, 0].all()


def test_datasets_that_cannot_train():
    empty = Dataset()
    empty.prepare()
    with pytest.raises(InputError, match="no images"):
        Loader(empty, TwoClasses())
    unprepared = Dataset()
    unprepared.add_class("s", 1, "thing")
    unprepared.add_image("s", 1, None)
    with pytest.raises(InputError, match="prepare"):
        Loader(unprepared, TwoClasses())
    config = TwoClasses()
    config.NUM_CLASSES = 81
    with pytest.raises(InputError, match="NUM_CLASSES is 81, but the dataset has 2 classes .*BG, thing"):
        Loader(Named(np.ones((20, 30, 1), bool)), config)
    with pytest.raises(InputError, match="'a.b' contains a dot"):
        Dataset().add_class("a.b", 1, "thing")
    with pytest.raises(InputError, match="none of the 1 images has an object"):
        Loader(Named(), TwoClasses())[0]


def test_augmentation_must_be_imgaug():
    with pytest.raises(InputError, match="augmentation is of type function; pass an imgaug augmenter"):
        load_image_gt(Named(np.ones((20, 30, 1), bool)), TwoClasses(), 0, augmentation=lambda image: image)


def test_rle_that_does_not_add_up():
    with pytest.raises(InputError, match="runs of an RLE of size 3 x 4 add up to 13"):
        rle_to_crop({"size": [3, 4], "counts": [4, 2, 7]})


@pytest.mark.parametrize("strides", [[4, 8, 16, 32], [8, 16, 32, 64, 128], [4, 8, 16, 32, 32]])
def test_strides_that_the_backbone_does_not_have(strides):
    config = TwoClasses()
    config.BACKBONE_STRIDES = strides
    with pytest.raises(InputError, match=r"BACKBONE_STRIDES is .*; resnet101 has \[4, 8, 16, 32, 64\]"):
        config.validate()
    config.BACKBONE, config.COMPUTE_BACKBONE_SHAPE = (lambda *_, **__: None), (lambda shape: None)
    if len(strides) == 5:
        config.validate()
    else:
        with pytest.raises(InputError, match="those of P2..P6 of your backbone"):
            config.validate()
    config.BACKBONE, config.BACKBONE_STRIDES = "resnet50", np.array([4, 8, 16, 32, 64])
    config.validate()
