"""Compares the loader with Matterport's full-mask path, and tests order, seeds and threads."""

import logging
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from mrcnn.data.loader import Loader, errors_of
from mrcnn.errors import InputError
from mrcnn.legacy.image_gt import load_image_gt
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import expand_mask
from tests.drawn import scene
from tests.legacy_imgaug import import_augmenters
from tests.scenes import SceneConfig, Scenes, configured


def image_ids(loader: Loader) -> list[int]:
    return [int(i) for k in range(len(loader)) for i in loader[k][0]["input_image_meta"][:, 0]]


def assert_same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


MODES = [
    dict(IMAGE_RESIZE_MODE="square"),
    dict(IMAGE_RESIZE_MODE="rect"),
    dict(IMAGE_RESIZE_MODE="pad64", IMAGE_MIN_DIM=180),
    dict(IMAGE_RESIZE_MODE="square", IMAGE_MAX_DIM=300),  # 300 x 169: sides rounded separately
]


@pytest.mark.parametrize("settings", MODES, ids=lambda s: "-".join(str(v) for v in s.values()))
def test_items_equal_the_way_through_full_masks(settings):
    dataset, config = Scenes(), configured(**settings)
    loader = Loader(dataset, config, batch_size=1, shuffle=False)
    for image_id in range(3):
        (batch,) = loader[image_id]
        image, meta, class_ids, boxes, masks = load_image_gt(dataset, config, image_id)
        n = len(class_ids)
        np.testing.assert_allclose(batch["input_image_meta"][0], meta, rtol=1e-6)
        np.testing.assert_array_equal(batch["input_gt_class_ids"][0], np.pad(class_ids, (0, 10 - n)))
        assert (class_ids < 0).sum() == 1
        assert batch["input_image"].dtype == np.uint8
        difference = np.abs(batch["input_image"][0].astype(int) - image)
        y1, x1, y2, x2 = meta[7:11].astype(int)
        inner = difference[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1]  # Matterport darkens the border
        assert inner.max() <= 2
        difference[y1:y2, x1:x2] = 0
        assert difference.max() == 0
        assert np.abs(batch["input_gt_boxes"][0, :n] - boxes).max() <= 1
        assert not batch["input_gt_boxes"][0, n:].any() and not batch["input_gt_masks"][0, :, :, n:].any()
        expanded = expand_mask(
            batch["input_gt_boxes"][0, :n].astype(int), batch["input_gt_masks"][0, :, :, :n], image.shape
        )
        both = np.logical_and(expanded, masks).sum(axis=(0, 1)) / np.logical_or(expanded, masks).sum(axis=(0, 1))
        assert both.mean() > 0.95, both


def test_dtypes_and_order_of_inputs():
    (batch,) = Loader(Scenes(), SceneConfig())[0]
    expected = {
        "input_image": ("uint8", (2, 256, 256, 3)),
        "input_image_meta": ("float32", (2, 16)),
        "input_gt_class_ids": ("int32", (2, 10)),
        "input_gt_boxes": ("float32", (2, 10, 4)),
        "input_gt_masks": ("bool", (2, 28, 28, 10)),
    }
    got = {name: (str(value.dtype), value.shape) for name, value in batch.items()}
    assert list(got.items()) == list(expected.items())


def test_full_masks_without_mini_masks():
    dataset = Scenes()
    (batch,) = Loader(
        dataset, configured(USE_MINI_MASK=False, IMAGE_RESIZE_MODE="pad64", IMAGE_MIN_DIM=0), 1, shuffle=False
    )[1]
    masks = dataset.load_instances(1).to_masks((180, 320))
    expected = np.pad(masks, [(6, 6), (0, 0), (0, 10 - masks.shape[2])])
    np.testing.assert_array_equal(batch["input_gt_masks"][0], expected)


def test_a_pass_has_each_image_once_and_the_next_another_order():
    loader = Loader(Scenes(7), SceneConfig(), seed=3)
    assert len(loader) == 4
    first = image_ids(loader)
    loader.start_epoch(1)
    second = image_ids(loader)
    assert sorted(first) == sorted(second) == list(range(7))
    assert first != second
    assert image_ids(Loader(Scenes(7), SceneConfig(), seed=3, first_epoch=1)) == second
    assert image_ids(Loader(Scenes(7), SceneConfig(), seed=4)) != first


def test_steps_go_on_through_the_shuffled_set():
    loader = Loader(Scenes(5), SceneConfig(), seed=1, steps=2)
    assert len(loader) == 2
    seen = []
    for epoch in range(5):
        seen += image_ids(loader)
        loader.start_epoch(epoch + 1)
    for k in range(4):
        assert sorted(seen[5 * k : 5 * k + 5]) == list(range(5))


def test_without_shuffle_every_epoch_is_the_same():
    loader = Loader(
        Scenes(5), configured(IMAGE_RESIZE_MODE="crop", IMAGE_MIN_DIM=128), shuffle=False, steps=2, augment=True
    )
    first = [loader[i][0] for i in range(2)]
    assert image_ids(loader) == [0, 1, 2, 3]
    loader.start_epoch(1)
    for a, b in zip(first, (loader[i][0] for i in range(2)), strict=True):
        assert_same(a, b)


def test_threads_and_order_of_calls_change_nothing():
    config = configured(IMAGE_RESIZE_MODE="crop", IMAGE_MIN_DIM=128, MAX_GT_INSTANCES=5)
    reference = Loader(Scenes(), config, seed=5, steps=8, augment=True)
    expected = [reference[i][0] for i in range(8)]
    other = Loader(Scenes(), config, seed=5, steps=8, augment=True, workers=4)
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda i: other[i][0], reversed(range(8))))
    for a, b in zip(expected, reversed(got), strict=True):
        assert_same(a, b)


def test_flip_mirrors_image_boxes_masks_and_window():
    # 300 wide in 303: the window is not in the middle, so a forgotten window shows
    config = configured(IMAGE_RESIZE_MODE="rect", IMAGE_MIN_DIM=169, IMAGE_MAX_DIM=303)
    dataset = Scenes(4)
    plain = Loader(dataset, config, batch_size=4, shuffle=False)[0][0]
    flips = 0
    for seed in range(6):
        batch = Loader(dataset, config, batch_size=4, shuffle=False, augment=True, seed=seed)[0][0]
        for j in range(4):
            flipped = not np.array_equal(batch["input_image"][j], plain["input_image"][j])
            flips += flipped
            if not flipped:
                assert_same({k: v[j] for k, v in batch.items()}, {k: v[j] for k, v in plain.items()})
                continue
            np.testing.assert_array_equal(batch["input_image"][j], plain["input_image"][j][:, ::-1])
            n = int((plain["input_gt_class_ids"][j] != 0).sum())
            old, new = plain["input_gt_boxes"][j, :n], batch["input_gt_boxes"][j, :n]
            np.testing.assert_array_equal(
                new, np.stack([old[:, 0], 303 - old[:, 3], old[:, 2], 303 - old[:, 1]], axis=1)
            )
            np.testing.assert_array_equal(batch["input_gt_masks"][j], plain["input_gt_masks"][j][:, ::-1])
            y1, x1, y2, x2 = plain["input_image_meta"][j, 7:11]
            assert x1 != 303 - x2
            np.testing.assert_array_equal(batch["input_image_meta"][j, 7:11], [y1, 303 - x2, y2, 303 - x1])
    assert 4 < flips < 20


def test_images_without_objects_are_replaced_unless_wanted():
    dataset = Scenes(6, empty=(0, 3, 4))
    assert image_ids(Loader(dataset, SceneConfig(), shuffle=False)) == [1, 1, 2, 5, 5, 5]
    assert set(image_ids(Loader(dataset, SceneConfig()))) == {1, 2, 5}
    loader = Loader(dataset, configured(TRAIN_EMPTY_IMAGES=True), shuffle=False)
    assert image_ids(loader) == list(range(6))
    batch = loader[0][0]
    assert not batch["input_gt_class_ids"][0].any() and batch["input_gt_class_ids"][1].any()
    assert batch["input_image"][0].any()


def test_no_object_anywhere_is_an_error_not_a_loop():
    """Fix 7."""
    loader = Loader(Scenes(3, empty=(0, 1, 2)), SceneConfig())
    with pytest.raises(InputError, match="none of the 3 images has an object to learn"):
        loader[0]
    assert isinstance(loader.error, InputError)


def test_more_objects_than_slots_gives_a_random_subset():
    config = configured(MAX_GT_INSTANCES=3)
    dataset = Scenes(1)
    everything = Loader(dataset, SceneConfig(), batch_size=1, shuffle=False)[0][0]
    chosen = set()
    for seed in range(8):
        batch = Loader(dataset, config, batch_size=1, seed=seed)[0][0]
        boxes = {tuple(box) for box in batch["input_gt_boxes"][0].tolist()}
        assert len(boxes) == 3
        assert boxes <= {tuple(box) for box in everything["input_gt_boxes"][0].tolist()}
        chosen |= boxes
    assert len(chosen) > 5


def test_ignored_objects_are_negative_and_do_not_make_an_image_worth_training_on():
    class OneIgnored(Scenes):
        def load_instances(self, image_id):
            masks, class_ids = scene(image_id)
            instances = Instances.from_masks(masks, class_ids)
            instances.ignore[:] = image_id == 0
            instances.ignore[1] = True
            return instances

    batch = Loader(OneIgnored(2), SceneConfig(), shuffle=False)[0][0]
    assert batch["input_image_meta"][:, 0].tolist() == [1, 1]
    ids = batch["input_gt_class_ids"][0]
    np.testing.assert_array_equal(ids[:8] < 0, np.arange(8) == 1)


def test_objects_outside_the_crop_are_dropped_and_counted(caplog):
    class TwoCorners(Scenes):
        def load_mask(self, image_id):
            masks = np.zeros((180, 320, 2), bool)
            masks[10:20, 10:20, 0] = masks[160:170, 300:310, 1] = True
            return masks, np.array([1, 2])

    config = configured(IMAGE_RESIZE_MODE="crop", IMAGE_MIN_DIM=179, TRAIN_EMPTY_IMAGES=True)
    loader = Loader(TwoCorners(1), config, batch_size=1, steps=12)
    loader.on_epoch_begin()
    left = 0
    for i in range(12):
        batch = loader[i][0]
        n = int((batch["input_gt_class_ids"] != 0).sum())
        left += 2 - n
        assert n < 2  # they are 300 columns apart
        area = np.prod(batch["input_gt_boxes"][0, :n, 2:] - batch["input_gt_boxes"][0, :n, :2], axis=1)
        assert (area > 0).all() and batch["input_gt_masks"][0, :, :, :n].all()
    with caplog.at_level(logging.INFO):
        loader.on_epoch_end()
    assert f"{left} of 24 objects lay outside" in caplog.text


def test_active_classes_are_those_of_the_images_source():
    dataset = Scenes(1)
    dataset.add_class("other", 1, "other thing")
    dataset.prepare()
    batch = Loader(dataset, configured(NUM_CLASSES=5))[0][0]
    assert batch["input_image_meta"][0, 12:].tolist() == [1, 1, 1, 1, 0]


def test_an_error_names_its_image():
    class Broken(Scenes):
        def load_image(self, image_id):
            return np.zeros((180, 320, 3, 1)) if image_id == 2 else super().load_image(image_id)

        def load_mask(self, image_id):
            if image_id == 1:
                raise KeyError("polygon")
            return super().load_mask(image_id)

    loader = Loader(Broken(3), SceneConfig(), batch_size=1, shuffle=False)
    loader[0]
    with pytest.raises(InputError, match="image 'scene1' .number 1.*KeyError: 'polygon'"):
        loader[1]
    with pytest.raises(InputError, match="image 'scene2'.*shape .180, 320, 3, 1."):
        loader[2]


def test_imgaug_moves_objects_with_the_image():
    augmenters = import_augmenters()
    dataset, config = Scenes(2), configured(IMAGE_RESIZE_MODE="rect", IMAGE_MIN_DIM=180, IMAGE_MAX_DIM=320)
    plain = Loader(dataset, config, shuffle=False)[0][0]
    flipped = Loader(dataset, config, shuffle=False, augmentation=augmenters.Fliplr(1.0))[0][0]
    np.testing.assert_array_equal(flipped["input_image"], plain["input_image"][:, :, ::-1])
    n = int((plain["input_gt_class_ids"][0] != 0).sum())
    np.testing.assert_array_equal(flipped["input_gt_boxes"][0, :n, 1], 320 - plain["input_gt_boxes"][0, :n, 3])
    differing = flipped["input_gt_masks"] != plain["input_gt_masks"][:, :, ::-1]
    assert differing.mean() < 0.001  # samples of exactly one half fall either way
    untouched = Loader(
        dataset, config, shuffle=False, augmentation=augmenters.Fliplr(1.0), no_augmentation_sources=["drawn"]
    )[0][0]
    assert_same(untouched, plain)


def test_imgaug_is_reproducible_and_keeps_overlapping_objects_apart():
    augmenters = import_augmenters()
    changes = augmenters.Sequential(
        [augmenters.Affine(rotate=(-30, 30)), augmenters.GaussianBlur(3.0), augmenters.Multiply((0.5, 1.5))]
    )

    def batch(seed):
        return Loader(Scenes(2), SceneConfig(), shuffle=False, augmentation=changes, seed=seed)[0][0]

    first = batch(1)
    assert_same(first, batch(1))
    assert not np.array_equal(first["input_image"], batch(2)["input_image"])

    class Overlapping(Scenes):
        def load_mask(self, image_id):
            masks = np.zeros((180, 320, 2), bool)
            masks[40:120, 60:200, 0] = masks[60:100, 100:160, 1] = True  # the second inside the first
            return masks, np.array([1, 2])

    turned = augmenters.Rot90(2, keep_size=True)
    moved = Loader(
        Overlapping(1),
        configured(IMAGE_RESIZE_MODE="rect", IMAGE_MIN_DIM=180, IMAGE_MAX_DIM=320),
        1,
        augmentation=turned,
    )[0][0]
    assert moved["input_gt_boxes"][0, :2].tolist() == [[60, 120, 140, 260], [80, 160, 120, 220]]
    assert moved["input_gt_masks"][0, :, :, :2].all()


def test_a_run_resumes_at_any_batch():
    whole = Loader(Scenes(5), SceneConfig(), seed=4, steps=4, augment=True)
    whole.start_epoch(1)
    resumed = Loader(Scenes(5), SceneConfig(), seed=4, steps=4, augment=True, first_epoch=1, first_batch=3)
    resumed.on_epoch_begin()
    assert len(resumed) == 1
    assert_same(resumed[0][0], whole[3][0])
    with pytest.raises(IndexError):
        resumed[1]
    resumed.on_epoch_end()
    whole.start_epoch(2)
    assert len(resumed) == 4
    for a, b in zip(resumed, whole, strict=True):
        assert_same(a[0], b[0])
    resumed.close()
    whole.close()
    with pytest.raises(InputError, match="first_batch is 4; an epoch has 4 batches"):
        Loader(Scenes(5), SceneConfig(), steps=4, first_batch=4)
    with pytest.raises(InputError, match=r"shard is \(2, 2\)"):
        Loader(Scenes(5), SceneConfig(), shard=(2, 2))


def test_an_epoch_of_several_hosts_is_rounded_up_to_whole_batches():
    hosts = [Loader(Scenes(7), SceneConfig(), seed=2, shard=(number, 2)) for number in range(2)]
    assert [len(host) for host in hosts] == [2, 2]
    seen = []
    for epoch in range(7):
        for host in hosts:
            host.start_epoch(epoch)
        for step in range(2):
            for host in hosts:
                seen += host[step][0]["input_image_meta"][:, 0].astype(int).tolist()
    for number in range(8):  # 56 images are eight passes
        assert sorted(seen[7 * number : 7 * number + 7]) == list(range(7))


class Recorder(keras.Model):
    """A model that learns nothing and records the image ids of the batches."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.dense = keras.layers.Dense(1)

    def call(self, inputs):
        return self.dense(inputs["input_image_meta"])

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        self.seen += np.asarray(x["input_image_meta"])[:, 0].astype(int).tolist()
        return keras.ops.mean(y_pred)


@pytest.fixture
def recorder():
    model = Recorder()
    model.compile("sgd", run_eagerly=True)
    return model


@pytest.mark.graph
@pytest.mark.parametrize("workers, kind", [(0, "thread"), (3, "thread"), (2, "process")])
def test_keras_takes_each_image_once_an_epoch(recorder, workers, kind):
    if keras.config.backend() != "tensorflow":
        pytest.skip("only TensorFlow runs compute_loss with values here; the order comes from Keras, not the backend")
    loader = Loader(Scenes(5), SceneConfig(), seed=2, workers=workers, worker_kind=kind)
    with errors_of(loader):
        recorder.fit(loader, epochs=2, verbose=0, shuffle=False)
    assert sorted(recorder.seen[:5]) == sorted(recorder.seen[5:]) == list(range(5))
    reference = Loader(Scenes(5), SceneConfig(), seed=2)
    first = image_ids(reference)
    reference.start_epoch(1)
    assert recorder.seen == first + image_ids(reference)


@pytest.mark.graph
def test_the_rest_of_an_epoch_and_the_next_ones_by_keras(recorder):
    if keras.config.backend() != "tensorflow":
        pytest.skip("only TensorFlow runs compute_loss with values here")
    loader = Loader(Scenes(6), SceneConfig(), seed=2, first_epoch=1, first_batch=2)
    with errors_of(loader):
        for begin, end in ((1, 2), (2, 4)):
            recorder.fit(loader, initial_epoch=begin, epochs=end, verbose=0, shuffle=False)
    whole, expected = Loader(Scenes(6), SceneConfig(), seed=2), []
    for epoch in (1, 2, 3):
        whole.start_epoch(epoch)
        expected += image_ids(whole)
    assert recorder.seen == expected[4:]


@pytest.mark.graph
@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_in_a_thread_ends_the_fit_and_keeps_its_type(recorder, workers):
    class Broken(Scenes):
        def load_mask(self, image_id):
            if image_id == 11:
                raise KeyError("polygon")
            return super().load_mask(image_id)

    loader = Loader(Broken(12), SceneConfig(), shuffle=False, workers=workers)
    with pytest.raises(InputError, match="image 'scene11'.*polygon"), errors_of(None, loader):
        recorder.fit(loader, verbose=0)
    with pytest.raises(KeyError), errors_of(Loader(Scenes(2), SceneConfig())):
        raise KeyError("not the loader's")
