"""Copy-paste, colours, and whole augmented samples: compares the masks with the image."""

import cv2
import numpy as np
import pytest

from mrcnn.augment_settings import Augmentation, preset_settings
from mrcnn.config import Config
from mrcnn.data import copy_paste, photometry
from mrcnn.data.dataset import Dataset
from mrcnn.data.geometry import Placement
from mrcnn.data.sample_maker import Donors, Sample, SampleMaker
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import expand_mask, extract_bboxes

SHAPE = (120, 200)


class Painted(Dataset):
    """Each object is painted in gray 40 * class + 80 on black 20, so that the image shows its masks; four classes.

    Rectangles and discs on a grid do not overlap. The last image alone has class 4.
    """

    def __init__(self, count: int = 6) -> None:
        super().__init__()
        for class_id in (1, 2, 3, 4):
            self.add_class("drawn", class_id, f"class{class_id}")
        for i in range(count):
            self.add_image("drawn", i, None, rare=i == count - 1)
        self.prepare()

    def load_mask(self, image_id):
        rng = np.random.default_rng(image_id)
        masks, class_ids = np.zeros((*SHAPE, 6), bool), rng.integers(1, 4, 6).astype(np.int32)
        for i in range(6):
            y, x = 60 * (i // 3) + rng.integers(4, 20), 66 * (i % 3) + rng.integers(4, 20)
            h, w = rng.integers(12, 34, 2)
            masks[y : y + h, x : x + w, i] = True
        if self.image_info[image_id]["rare"]:
            class_ids[2] = 4
        return masks, class_ids

    def load_image(self, image_id):
        masks, class_ids = self.load_mask(image_id)
        gray = np.full(SHAPE, 20, np.uint8)
        for i, class_id in enumerate(class_ids):
            gray[masks[:, :, i]] = 80 + 40 * class_id
        return np.repeat(gray[:, :, None], 3, axis=2)


class PaintedConfig(Config):
    NAME = "painted"
    NUM_CLASSES = 5
    IMAGE_RESIZE_MODE = "rect"
    IMAGE_MIN_DIM, IMAGE_MAX_DIM = 128, 256
    USE_MINI_MASK = False
    MAX_GT_INSTANCES = 20


def maker(*settings: str, count: int = 6, seed: int = 0) -> SampleMaker:
    config, dataset = PaintedConfig().override(settings), Painted(count)
    augmentation = Augmentation.from_config(config)
    donors = Donors.from_dataset(dataset) if augmentation.copy_paste else None
    return SampleMaker(dataset, config, 1, 10, seed, True, True, augmentation, donors=donors)


GEOMETRY = [
    ["AUGMENT_FLIP=0.5", "AUGMENT_SCALE=(0.5, 1.8)", "AUGMENT_MIN_AREA=0.3"],
    ["AUGMENT_ROTATE=30.0", "AUGMENT_FLIP=0.5"],
    ["AUGMENT_COPY_PASTE=1.0", "AUGMENT_FLIP=0.5", "AUGMENT_ROTATE=10.0", "AUGMENT_SCALE=(0.7, 1.4)"],
]


def assert_painted(sample: Sample) -> None:
    """Assert that boxes fit the masks, and that exactly the pixels of each mask have the gray of its class."""
    np.testing.assert_array_equal(sample.boxes_px, extract_bboxes(sample.masks))
    assert sample.masks.sum(axis=2).max() <= 1  # nothing overlaps, pasted or not
    kernel = np.ones((5, 5), np.uint8)
    for i, class_id in enumerate(sample.class_ids):
        inner = cv2.erode(sample.masks[:, :, i].astype(np.uint8), kernel, borderValue=0)
        assert (np.abs(sample.image[inner > 0].astype(int) - 80 - 40 * class_id) <= 2).all()
    painted = cv2.erode((sample.image[:, :, 0] > 70).astype(np.uint8), kernel) > 0
    left_out = (painted & ~sample.masks.any(axis=2)).sum()
    assert left_out <= 4 or sample.lost > 0  # a remnant of a dropped object may be in the image
    assert sample.labelled == 6


@pytest.mark.parametrize("settings", GEOMETRY, ids=["scale", "rotate", "copy-paste"])
def test_masks_are_where_the_picture_shows_them_and_boxes_are_those_of_the_masks(settings):
    make, pasted = maker(*settings), 0
    for position in range(16):
        sample = make.sample(position)
        assert_painted(sample)
        pasted += len(sample.class_ids) - (6 - sample.lost)
    assert (pasted > 12) == (settings is GEOMETRY[2])


MODES = {
    "square": ((64, 192), (192, 192)),  # IMAGE_MIN_DIM and IMAGE_MAX_DIM, the frame
    "rect": ((128, 192), (128, 192)),
    "crop": ((128, 192), (128, 128)),
    "pad64": ((150, 192), (192, 256)),
    "none": ((64, 64), (128, 256)),
}


@pytest.mark.parametrize("settings", [["AUGMENT_FLIP=0.5"], *GEOMETRY], ids=["flip", "scale", "rotate", "copy-paste"])
@pytest.mark.parametrize("mode", MODES)
def test_every_resize_mode_trains_at_one_size(mode, settings):
    (low, high), frame = MODES[mode]
    make = maker(f"IMAGE_RESIZE_MODE={mode}", f"IMAGE_MIN_DIM={low}", f"IMAGE_MAX_DIM={high}", *settings)
    make.canvas = frame if mode in ("pad64", "none") else None
    for position in range(6):
        sample = make.sample(position)
        assert sample.image.shape == (*frame, 3)
        assert_painted(sample)
        y1, x1, y2, x2 = sample.meta[7:11].astype(int)
        outside = sample.image.copy()
        outside[y1:y2, x1:x2] = 0
        assert outside.max() == 0 and sample.meta[4:7].tolist() == [*frame, 3]


def test_mini_masks_hold_what_the_full_masks_hold():
    full, mini = maker(*GEOMETRY[2]), maker(*GEOMETRY[2], "USE_MINI_MASK=True")
    overlaps = []
    for position in range(8):
        one, other = full.sample(position), mini.sample(position)
        np.testing.assert_array_equal(one.boxes_px, other.boxes_px)
        grown = expand_mask(other.boxes_px, other.masks, one.image.shape)
        overlaps += list((grown & one.masks).sum(axis=(0, 1)) / (grown | one.masks).sum(axis=(0, 1)))
    assert np.mean(overlaps) > 0.98 and np.min(overlaps) > 0.9


def test_small_remnants_are_dropped_and_counted():
    """At double size, a larger minimum fraction drops more of the same objects, and all of them are counted as lost."""
    zoomed = ("AUGMENT_SCALE=(2.0, 2.0)", "TRAIN_EMPTY_IMAGES=True")
    runs = [maker(*zoomed, f"AUGMENT_MIN_AREA={least}") for least in (0.0, 0.5, 1.0)]
    totals = np.zeros(3, int)
    for position in range(12):
        samples = [make.sample(position) for make in runs]
        boxes = [{tuple(box) for box in sample.boxes_px.tolist()} for sample in samples]
        assert boxes[2] <= boxes[1] <= boxes[0]
        for sample in samples:
            assert len(sample.class_ids) + sample.lost == sample.labelled == 6
        touching = {box for box in boxes[0] if box[0] == 0 or box[1] == 0 or box[2] == 128 or box[3] == 256}
        assert boxes[0] - touching <= boxes[2]  # those that are whole stay
        totals += [len(one) for one in boxes]
    assert totals[0] > totals[1] + 2 > totals[2] + 4


def test_rare_classes_are_pasted_more():
    dataset = Painted(8)
    donors = Donors.from_dataset(dataset)
    counts = np.bincount(np.concatenate([dataset.load_class_ids(i) for i in range(8)]), minlength=5)
    np.testing.assert_allclose(donors.classes[1:], 1 / counts[1:])
    assert donors.images.argmax() == 7 and donors.images.sum() == pytest.approx(1)
    rng = np.random.default_rng(0)
    instances = dataset.load_instances(7)
    instances.crowd[0] = instances.ignore[1] = True
    taken = [copy_paste.choose(instances, donors.classes, 10, rng) for _ in range(200)]
    assert {len(chosen) for chosen in taken} == {1, 2, 3}
    everything = np.concatenate([chosen.boxes_px for chosen in taken])
    for i in range(6):
        assert (everything == instances.boxes_px[i]).all(axis=1).any() == (i > 1)  # no crowd, nothing ignored
    assert np.mean([4 in chosen.class_ids for chosen in taken]) > 0.8
    assert len(copy_paste.choose(instances, donors.classes, 0, rng)) == 0


def test_pasting_hides_what_lies_beneath():
    image, donor = np.zeros((60, 80, 3), np.uint8), np.full((30, 40, 3), 200, np.uint8)
    chosen = Instances([2, 3], [[5, 5, 15, 20], [10, 10, 20, 30]], [np.ones((10, 15), bool), np.ones((10, 20), bool)])
    same = Placement((60, 80), (60, 80), (0, 0), (60, 80), 1.0)
    matrix = copy_paste.donor_matrix(same, (30, 40), flip=True)
    pasted = copy_paste.paste(image, donor, chosen, matrix)
    # twice as large, mirrored in 80 columns; the second, pasted later, hides a corner of the first
    full = np.zeros((60, 80, 2), bool)
    full[10:30, 40:70, 0] = full[20:40, 20:60, 1] = True
    full[:, :, 0] &= ~full[:, :, 1]
    np.testing.assert_array_equal(pasted.to_masks((60, 80)), full)
    np.testing.assert_array_equal(image[:, :, 0] == 200, full.any(axis=2))
    beneath = np.zeros((60, 80, 3), bool)
    beneath[0:12, 30:75, 0] = True  # 60 of its 540 pixels hidden
    beneath[22:38, 22:50, 1] = True  # hidden altogether
    beneath[30:50, 40:50, 2] = True  # one half hidden
    instances = Instances.from_masks(beneath, [1, 1, 1])
    left = copy_paste.hide(instances, pasted, np.ones(3), 0.0)
    np.testing.assert_array_equal(left.to_masks((60, 80)), (beneath & ~full.any(axis=2)[:, :, None])[:, :, [0, 2]])
    np.testing.assert_array_equal(left.boxes_px, extract_bboxes(left.to_masks((60, 80))))
    for seen, count in ((1.0, 2), (0.9, 1)):  # one half of what is inside; 0.45 of the whole object
        assert len(copy_paste.hide(instances, pasted, np.full(3, seen), 0.5)) == count
    assert instances.boxes_px.tolist() == extract_bboxes(beneath).tolist()  # the caller's are not changed


def test_a_donor_object_outside_the_frame_is_not_pasted():
    image, donor = np.zeros((60, 80, 3), np.uint8), np.full((60, 80, 3), 200, np.uint8)
    chosen = Instances([1, 1], [[10, 0, 30, 30], [50, 60, 54, 64]], [np.ones((20, 30), bool), np.ones((4, 4), bool)])
    moved = Placement((60, 80), (60, 80), (0, -20), (60, 80), 1.0).matrix  # a third is left; a speck
    pasted = copy_paste.paste(image, donor, chosen, moved)
    assert pasted.boxes_px.tolist() == [] and image.max() == 0
    pasted = copy_paste.paste(image, donor, chosen, moved, min_area=0.3)
    assert pasted.boxes_px.tolist() == [[10, 0, 30, 10]] and image.max() == 200


def picture() -> np.ndarray:
    small = np.random.default_rng(2).integers(0, 256, (6, 10, 3), np.uint8)
    return cv2.resize(small, (160, 96), interpolation=cv2.INTER_LINEAR)


def test_color_matrices_by_known_colors():
    red, gray = np.array([255.0, 0, 0]), np.full(3, 90.0)
    np.testing.assert_allclose(photometry.hue_matrix(120) @ red, [0, 255, 0], atol=1e-9)
    np.testing.assert_allclose(photometry.hue_matrix(33) @ gray, gray)
    np.testing.assert_allclose(photometry.saturation_matrix(0) @ red, np.full(3, 0.299 * 255))
    np.testing.assert_allclose(photometry.saturation_matrix(1.7) @ gray, gray)
    np.testing.assert_allclose(photometry.saturation_matrix(1) @ red, red)


def test_color_jitter_stays_in_its_range_and_is_off_at_strength_0():
    image = picture()
    same = image.copy()
    photometry.jitter_color(same, 0.0, np.random.default_rng(0))
    np.testing.assert_array_equal(same, image)
    means = []
    for seed in range(40):
        changed = image.copy()
        photometry.jitter_color(changed, 0.5, np.random.default_rng(seed))
        means.append(changed.mean() / image.mean())
    assert 0.75 < min(means) < 0.9 and 1.1 < max(means) < 1.25


def test_weather_does_what_it_says():
    image, drawn = picture(), {}
    for change in (photometry.night, photometry.fog, photometry.rain, photometry.exposure):
        changed = image.copy()
        change(changed, np.random.default_rng(5))
        drawn[change.__name__] = changed.astype(float)
    assert drawn["night"].mean() < 0.5 * image.mean()
    assert drawn["night"][..., 2].mean() / drawn["night"][..., 0].mean() > image[..., 2].mean() / image[..., 0].mean()
    top, bottom = (drawn["fog"][rows].std() / image[rows].std() for rows in (slice(0, 20), slice(-10, None)))
    assert top < 0.7 and top < bottom < 1.0
    assert drawn["rain"].std() < image.std()
    order = np.argsort(image.reshape(-1), kind="stable")
    assert (np.diff(drawn["exposure"].reshape(-1)[order]) >= 0).all() and drawn["exposure"].mean() != image.mean()


def test_lighting_leaves_the_padding_black_and_masks_alone():
    settings = [*preset_settings("none"), "AUGMENT_COLOR=1.0", "AUGMENT_WEATHER=1.0", "AUGMENT_BLUR=1.0"]
    plain, lit, turned = maker(), maker(*settings), maker(*settings, "AUGMENT_ROTATE=20.0")
    for position in range(8):
        before, after = plain.sample(position), lit.sample(position)
        np.testing.assert_array_equal(before.masks, after.masks)
        np.testing.assert_array_equal(before.boxes_px, after.boxes_px)
        y1, x1, y2, x2 = after.meta[7:11].astype(int)
        assert not np.array_equal(before.image, after.image)
        outside = after.image.copy()
        outside[y1:y2, x1:x2] = 0
        assert not outside.any()
        corner = turned.sample(position)
        assert not corner.image[0, 0].any() and corner.image.any()


def test_the_datasets_own_picture_is_never_changed():
    class Cached(Painted):
        def __init__(self):
            super().__init__()
            self.pictures = {}

        def load_image(self, image_id):
            return self.pictures.setdefault(image_id, super().load_image(image_id))

    config = PaintedConfig().override([*preset_settings("strong"), "AUGMENT_SCALE=(1.0, 1.0)", "AUGMENT_WEATHER=1.0"])
    config.IMAGE_MIN_DIM, config.IMAGE_MAX_DIM = SHAPE  # the moulded image could be the very array
    dataset = Cached()
    make = SampleMaker(
        dataset, config, 1, 10, augmentation=Augmentation.from_config(config), donors=Donors.from_dataset(dataset)
    )
    for position in range(12):
        make.sample(position)
    for image_id, image in dataset.pictures.items():
        np.testing.assert_array_equal(image, Painted.load_image(dataset, image_id))


def test_multi_scale_takes_one_size_for_all_images_of_a_batch():
    config = PaintedConfig().override(["AUGMENT_MIN_DIMS=(60, 96, 120)"])
    make = SampleMaker(Painted(), config, 3, 20, augmentation=Augmentation.from_config(config), whole_epochs=True)
    heights = set()
    for step in range(12):
        batch = make.batch(0, step).inputs
        assert batch["input_image"].shape == (3, 128, 256, 3)
        windows = batch["input_image_meta"][:, 7:11]
        assert (windows == windows[0]).all()
        heights.add(int(windows[0, 2] - windows[0, 0]))
    assert heights == {60, 96, 120}


def test_sources_without_augmentation_stay_as_they_are():
    config = PaintedConfig().override(preset_settings("strong"))
    dataset = Painted()
    plain = maker()
    augmentation = Augmentation.from_config(config)
    make = SampleMaker(dataset, config, 1, 10, 0, True, True, augmentation, donors=Donors.from_dataset(dataset))
    make.no_augmentation_sources = ("drawn",)
    for position in range(6):
        for a, b in zip(plain.sample(position), make.sample(position), strict=True):
            np.testing.assert_array_equal(a, b)
