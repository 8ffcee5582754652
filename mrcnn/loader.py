"""Batches for training: image file and labels in, moulded image and mini-masks out, with no full-size mask on the way.

Legend: N batch, H W moulded image, G padded ground-truth slots, C classes incl. background. Boxes are (y1, x1, y2, x2).
"""

import contextlib
import functools
import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import keras
import numpy as np

from mrcnn.augment import apply_imgaug
from mrcnn.config import Config
from mrcnn.data import Dataset, active_classes
from mrcnn.errors import InputError
from mrcnn.images import Geometry, as_rgb, compose_image_meta, resize_geometry
from mrcnn.masks import Instances, instances_to_mini

log = logging.getLogger(__name__)


class Sample(NamedTuple):
    """One moulded image with its objects."""

    image: np.ndarray  # uint8 [H, W, 3]
    meta: np.ndarray  # float64 [12 + C]
    class_ids: np.ndarray  # int32 [n], negative: crowd or ignored
    boxes_px: np.ndarray  # int32 [n, 4]
    masks: np.ndarray  # bool [mh, mw, n], or [H, W, n] without USE_MINI_MASK


class Loader(keras.utils.PyDataset):
    """Training or validation batches, the same ones for a seed whatever the number of workers.

    An item is `(inputs,)` with

    - input_image: uint8 [N, H, W, 3] RGB, zero padded
    - input_image_meta: float32 [N, 12 + C], see `compose_image_meta`
    - input_gt_class_ids: int32 [N, G], 0 in unused slots, negative for crowds and ignored objects
    - input_gt_boxes: float32 [N, G, 4] pixels of the moulded image, 0 in unused slots
    - input_gt_masks: bool [N, mh, mw, G] mini-masks ([N, H, W, G] without USE_MINI_MASK)

    Give `fit` shuffle=False: by default Keras draws an order of the batches of its own, from Python's global generator.
    An image without an object to learn is replaced by the next one that has some, unless config.TRAIN_EMPTY_IMAGES.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: Config,
        batch_size: int | None = None,
        shuffle: bool = True,
        augment: bool = False,
        augmentation: Any = None,
        no_augmentation_sources: Sequence[str] = (),
        seed: int | None = 0,
        steps: int | None = None,
        workers: int = 2,
        first_epoch: int = 0,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            dataset: prepared.
            config: image, mask and batch settings.
            batch_size: N; None takes config.BATCH_SIZE.
            shuffle: a new order for each pass. Otherwise every epoch has the same images in the dataset's order.
            augment: flip half of the images left to right.
            augmentation: an imgaug augmenter, applied to the image as loaded.
            no_augmentation_sources: sources of the dataset whose images are not augmented.
            seed: of order, flips, crops and augmentation; None draws one.
            steps: batches an epoch; with `shuffle` the epochs go on through the passes. None: one pass an epoch, whose
                last batch may be smaller.
            workers: threads. OpenCV works outside Python's lock, so they run side by side.
            first_epoch: number of the first epoch, where a run is resumed.

        Raises:
            InputError: no images, or not prepared.
        """
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=max(4, 2 * workers))
        if not dataset.image_info:
            raise InputError("the dataset has no images; check the folder and the split, and call add_image for each")
        if not len(dataset.image_ids):
            raise InputError(f"the dataset has {len(dataset.image_info)} images but prepare() was not called")
        if dataset.num_classes != config.NUM_CLASSES:
            raise InputError(
                f"config.NUM_CLASSES is {config.NUM_CLASSES}, the dataset has {dataset.num_classes} classes (the "
                f"background counts as one): {', '.join(dataset.class_names)}"
            )
        self.dataset, self.config = dataset, config
        self.batch_size = batch_size or config.BATCH_SIZE
        self.shuffle, self.flip, self.steps = shuffle, augment, steps
        self.augmentation, self.no_augmentation_sources = augmentation, tuple(no_augmentation_sources)
        self.seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self.epoch = first_epoch
        self.error: InputError | None = None  # the first one, see `errors_of`
        self._order = functools.lru_cache(maxsize=4)(self._order_of_pass)
        self._lost, self._lock = 0, threading.Lock()

    def __len__(self) -> int:
        return self.steps or -(-len(self.dataset.image_ids) // self.batch_size)

    def on_epoch_end(self) -> None:
        """Keras calls this after each epoch."""
        self.epoch += 1
        with self._lock:
            lost, self._lost = self._lost, 0
        if lost:
            log.info("%d objects lay outside the cropped or augmented images and were left out", lost)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray]]:
        count = self.batch_size
        if self.steps is None:
            count = min(count, len(self.dataset.image_ids) - index * count)
        try:
            samples = [self.sample(index * self.batch_size + j) for j in range(count)]
            return (self._batch(samples),)
        except InputError as error:
            self.error = self.error or error
            raise

    def sample(self, place: int) -> Sample:
        """The image at a place of the current epoch, moulded.

        Args:
            place: 0, 1, 2, ...: batch number times batch size plus the number inside the batch.

        Raises:
            InputError: names the image that cannot be used and why; or no image has an object.
        """
        epoch = self.epoch if self.shuffle else 0
        items = len(self.dataset.image_ids) if self.steps is None else self.steps * self.batch_size
        position = epoch * items + place
        for attempt in range(len(self.dataset.image_ids)):
            # A random stream for each place of each epoch: no thread disturbs another.
            rng = np.random.default_rng((self.seed, 1, position, attempt))
            image_id = self._image_at(position + attempt)
            try:
                sample = self._load(image_id, rng)
            except Exception as error:
                info = self.dataset.image_info[image_id]
                reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
                raise InputError(f"image {info['id']!r} (number {image_id}, {info['path']}): {reason}") from error
            if sample is not None:
                return sample
        raise InputError(
            f"none of the {len(self.dataset.image_ids)} images has an object to learn; check the labels and their "
            "class names, or set TRAIN_EMPTY_IMAGES to train on background alone"
        )

    def _image_at(self, position: int) -> int:
        number, place = divmod(position, len(self.dataset.image_ids))
        return int(self._order(number)[place]) if self.shuffle else int(self.dataset.image_ids[place])

    def _order_of_pass(self, number: int) -> np.ndarray:
        return np.random.default_rng((self.seed, 0, number)).permutation(self.dataset.image_ids)

    def _load(self, image_id: int, rng: np.random.Generator) -> Sample | None:
        """The moulded image, or None if it has no object to learn."""
        instances = self.dataset.load_instances(image_id)
        if not self._enough(instances.training_class_ids):
            return None
        image = as_rgb(self.dataset.load_image(image_id))
        _check_fits(instances, image.shape)
        augmented = self.dataset.image_info[image_id]["source"] not in self.no_augmentation_sources
        labelled = len(instances)
        if augmented and self.augmentation is not None:
            image, instances, _ = apply_imgaug(self.augmentation, image, instances, int(rng.integers(2**31)))
        if len(instances) > self.config.MAX_GT_INSTANCES:
            labelled -= len(instances) - self.config.MAX_GT_INSTANCES
            instances = instances.select(rng.choice(len(instances), self.config.MAX_GT_INSTANCES, replace=False))
        sample = self._mould(image_id, image, instances, rng, flip=augmented and self.flip and rng.random() < 0.5)
        with self._lock:
            self._lost += labelled - len(sample.class_ids)
        return sample if self._enough(sample.class_ids) else None

    def _enough(self, class_ids: np.ndarray) -> bool:
        return self.config.TRAIN_EMPTY_IMAGES or bool((class_ids > 0).any())

    def _mould(
        self, image_id: int, image: np.ndarray, instances: Instances, rng: np.random.Generator, flip: bool
    ) -> Sample:
        config = self.config
        plan = resize_geometry(
            image.shape,
            config.IMAGE_MIN_DIM,
            config.IMAGE_MAX_DIM,
            config.IMAGE_MIN_SCALE,
            config.IMAGE_RESIZE_MODE,
            lambda low, high: int(rng.integers(low, high + 1)),
        )
        scale = (plan.size[0] / image.shape[0], plan.size[1] / image.shape[1])  # the sides are rounded separately
        offset = (plan.padding[0][0], plan.padding[1][0]) if plan.crop is None else (-plan.crop[0], -plan.crop[1])
        mini_shape = config.MINI_MASK_SHAPE if config.USE_MINI_MASK else None
        kept, boxes, masks = instances_to_mini(instances, mini_shape, scale, offset, plan.shape)
        y1, x1, y2, x2 = plan.window
        if flip:
            width = plan.shape[1]
            boxes = boxes[:, [0, 3, 2, 1]] * (1, -1, 1, -1) + (0, width, 0, width)
            masks = masks[:, ::-1]
            x1, x2 = width - x2, width - x1
        moulded = mould_pixels(image, plan, flip)
        active = active_classes(self.dataset, image_id)
        meta = compose_image_meta(image_id, image.shape, moulded.shape, (y1, x1, y2, x2), plan.scale, active)
        return Sample(moulded, meta, instances.training_class_ids[kept], boxes, masks)

    def _batch(self, samples: list[Sample]) -> dict[str, np.ndarray]:
        shapes = {sample.image.shape for sample in samples}
        if len(shapes) > 1:
            raise InputError(
                f"images of different sizes {sorted(shapes)} in one batch: use IMAGE_RESIZE_MODE 'square', 'rect' or "
                f"'crop' instead of {self.config.IMAGE_RESIZE_MODE!r}, or batches of 1"
            )
        count, slots = len(samples), self.config.MAX_GT_INSTANCES
        class_ids = np.zeros((count, slots), np.int32)
        boxes = np.zeros((count, slots, 4), np.float32)
        masks = np.zeros((count, *samples[0].masks.shape[:2], slots), bool)
        for j, sample in enumerate(samples):
            n = len(sample.class_ids)
            class_ids[j, :n], boxes[j, :n], masks[j, :, :, :n] = sample.class_ids, sample.boxes_px, sample.masks
        return {
            "input_image": np.stack([sample.image for sample in samples]),
            "input_image_meta": np.stack([sample.meta for sample in samples]).astype(np.float32),
            "input_gt_class_ids": class_ids,
            "input_gt_boxes": boxes,
            "input_gt_masks": masks,
        }


@contextlib.contextmanager
def errors_of(*loaders: Loader | None) -> Iterator[None]:
    """Around `fit`: raises the InputError of a loader in place of the error that TensorFlow's pipeline makes of it.

    Raises:
        InputError: as the loader raised it, naming the image.
    """
    try:
        yield
    except Exception as error:
        for loader in loaders:
            if loader is not None and loader.error is not None and loader.error is not error:
                raise loader.error from error
        raise


def mould_pixels(image: np.ndarray, plan: Geometry, flip: bool = False) -> np.ndarray:
    """Resize, pad or crop, and flip an image, with OpenCV's bilinear filter (rounded, where `resize_image` truncates).

    Args:
        image: uint8 [H, W, 3].
        plan: of `resize_geometry` for this image.
        flip: mirror the result left to right.

    Returns:
        uint8 [*plan.shape, 3].
    """
    if plan.size != image.shape[:2]:
        image = cv2.resize(image, (plan.size[1], plan.size[0]), interpolation=cv2.INTER_LINEAR)
    if plan.crop is not None:
        y, x, h, w = plan.crop
        image = image[y : y + h, x : x + w]
    if flip:
        image = cv2.flip(image, 1)
    if image.shape[:2] == plan.shape:
        return image
    (top, _), (left, right), _ = plan.padding
    left = right if flip else left
    moulded = np.zeros((*plan.shape, 3), np.uint8)
    moulded[top : top + image.shape[0], left : left + image.shape[1]] = image
    return moulded


def _check_fits(instances: Instances, shape: Sequence[int]) -> None:
    boxes = instances.boxes_px
    if len(boxes) and (boxes.min() < 0 or boxes[:, 2].max() > shape[0] or boxes[:, 3].max() > shape[1]):
        raise InputError(
            f"its masks reach to row {boxes[:, 2].max()} and column {boxes[:, 3].max()}, the image is {shape[0]} high "
            f"and {shape[1]} wide; labels and image do not belong together"
        )
