"""Make training samples: image file and labels in, moulded image and mini-masks out, without Keras or full-size masks.

A batch depends only on (seed, epoch, step): any thread, process or host can make it at any time.

Legend: N batch, H W moulded image, G padded ground-truth slots, M images, C classes with background, n objects, mh mw
mini-mask. Boxes are (y1, x1, y2, x2).
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mrcnn.augment_settings import Augmentation
from mrcnn.config import Config
from mrcnn.data import copy_paste
from mrcnn.data.class_balance import class_aware_weights, image_class_counts, pass_length, weighted_order
from mrcnn.data.dataset import Dataset, active_classes, checked_instances, naming_image
from mrcnn.data.geometry import Placement, blacken_outside, draw_placement, place_image, warp_instances
from mrcnn.data.images import Geometry, as_channels, compose_image_meta, mold_resized, parse_image_meta, resize_geometry
from mrcnn.data.imgaug_adapter import apply_imgaug
from mrcnn.data.mini_masks import instances_to_mini
from mrcnn.data.photometry import relight
from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances

WORKER_KINDS = ("thread", "process")  # see prefetch.py


class Sample(NamedTuple):
    """One moulded image with its objects."""

    image: np.ndarray  # [H, W, 3], numbers as loaded, the mean not subtracted: uint8, or float32 (`SampleMaker.raw`)
    meta: np.ndarray  # float64 [12 + C]
    class_ids: np.ndarray  # int32 [n], negative for crowds and ignored objects
    boxes_px: np.ndarray  # int32 [n, 4]
    masks: np.ndarray  # bool [mh, mw, n], or [H, W, n] without USE_MINI_MASK
    labelled: int  # labelled objects of the image, at most G
    lost: int  # of these, the number outside the image, or with less than AUGMENT_MIN_AREA inside and uncovered


class Batch(NamedTuple):
    """The network's inputs for one step, and counts for the log."""

    inputs: dict[str, np.ndarray]  # by name, [N, ...] each; see `mrcnn.data.loader.Loader`
    labelled: int
    lost: int


class Donors(NamedTuple):
    """Where copy-paste takes its objects from."""

    images: np.ndarray  # float [M], probability of each image
    classes: np.ndarray  # float [C], relative probability of an object of each class

    @classmethod
    def from_dataset(cls, dataset: Dataset) -> "Donors":
        """Prefer rare classes: draw images by class, uniformly, and objects with 1 / the number of objects of their
        class.

        Raises:
            InputError: no image has an object, or one has a class id that the dataset does not know.
        """
        counts = image_class_counts(dataset)
        objects = counts.sum(axis=0)
        chances = np.divide(1.0, objects, out=np.zeros(len(objects)), where=objects > 0)
        return cls(class_aware_weights(counts) / len(counts), chances)


@dataclass
class SampleMaker:
    """Makes the batches of a `Loader`, whose docstring explains the attributes."""

    dataset: Dataset
    config: Config
    batch_size: int
    steps: int  # batches per epoch
    seed: int = 0
    shuffle: bool = True
    whole_epochs: bool = False  # every epoch is `steps` full batches; else one pass, whose last batch may be smaller
    augmentation: Augmentation = field(default_factory=Augmentation)
    imgaug: Any = None
    no_augmentation_sources: tuple[str, ...] = ()
    image_weights: np.ndarray | None = None
    shard: tuple[int, int] = (0, 1)
    canvas: tuple[int, int] | None = None
    donors: Donors | None = None
    _orders: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    @functools.cached_property
    def raw(self) -> bool:
        """Whether batches hold 8-bit images, which the network moulds itself; otherwise they hold moulded floats.

        Image files are 8-bit; where `load_image` is the user's, the first image of the dataset decides.

        Raises:
            InputError: that image cannot be loaded.
        """
        if getattr(self.dataset.load_image, "__func__", None) is Dataset.load_image:
            return True
        first = int(self.dataset.image_ids[0])
        with naming_image(self.dataset, first):
            return np.asarray(self.dataset.load_image(first)).dtype == np.uint8

    def batch(self, epoch: int, step: int) -> Batch:
        """Return the batch of one step of an epoch.

        Raises:
            InputError: an image cannot be used (the message names it and says why), no image has an object, or sizes
                differ.
        """
        first = step * self.batch_size * self.shard[1] + self.shard[0] * self.batch_size
        items = self._pass_length()
        count = self.batch_size
        if self.whole_epochs:
            items = self.steps * self.batch_size * self.shard[1]
        else:
            count = min(count, items - first)
        epoch = epoch if self.shuffle else 0
        min_dim = None
        if self.augmentation.min_dims:  # the same for all images of the batch, on all hosts
            rng = np.random.default_rng((self.seed, 2, epoch, step))
            min_dim = int(rng.choice(self.augmentation.min_dims))
        samples = [self.sample(epoch * items + first + j, min_dim) for j in range(count)]
        labelled, lost = sum(s.labelled for s in samples), sum(s.lost for s in samples)
        return Batch(self._stack(samples), labelled, lost)

    def sample(self, position: int, min_dim: int | None = None) -> Sample:
        """Return the moulded image at a position in the endless sequence of passes.

        Args:
            position: 0, 1, 2, ...
            min_dim: short side of the scaled image in pixels (see `Augmentation.min_dims`), or None.

        Raises:
            InputError: see `batch`.
        """
        for attempt in range(len(self.dataset.image_ids)):
            # Each position has its own random stream, so threads do not affect each other.
            rng = np.random.default_rng((self.seed, 1, position, attempt))
            sample = self._make(self.image_at(position + attempt), rng, min_dim)
            if sample is not None:
                return sample
        raise InputError(
            f"none of the {len(self.dataset.image_ids)} images has an object to learn from (crowds and ignored objects "
            "are none); check the labels and their class names, or set TRAIN_EMPTY_IMAGES to train on background alone"
        )

    def image_at(self, position: int) -> int:
        """Return the image id at a position in the endless sequence of passes."""
        number, place = divmod(position, self._pass_length())
        return int(self._order(number)[place]) if self.shuffle else int(self.dataset.image_ids[place])

    def _pass_length(self) -> int:
        return len(self.dataset.image_ids) if self.image_weights is None else pass_length(self.image_weights)

    def _order(self, number: int) -> np.ndarray:
        """Return the image ids of one pass."""
        order = self._orders.get(number)
        if order is None:
            rng = np.random.default_rng((self.seed, 0, number))
            image_ids = np.asarray(self.dataset.image_ids)
            if self.image_weights is None:
                order = rng.permutation(image_ids)
            else:
                order = image_ids[weighted_order(self.image_weights, rng)]
            for old in [n for n in list(self._orders) if n < number - 1]:
                self._orders.pop(old, None)
            self._orders[number] = order
        return order

    def _make(self, image_id: int, rng: np.random.Generator, min_dim: int | None) -> Sample | None:
        """Return the moulded image, or None if it has no object to learn from."""
        with naming_image(self.dataset, image_id):
            instances = checked_instances(self.dataset, image_id)
            if not self._enough(instances.training_class_ids):
                return None
            image = as_channels(self.dataset.load_image(image_id), self.config.IMAGE_CHANNEL_COUNT)
            _check_fits(instances, image.shape)
            source = self.dataset.image_info[image_id]["source"]
            augmentation = Augmentation() if source in self.no_augmentation_sources else self.augmentation
            slots = self.config.MAX_GT_INSTANCES
            labelled = min(len(instances), slots)
            if self.imgaug is not None and source not in self.no_augmentation_sources:
                image, instances, _ = apply_imgaug(self.imgaug, image, instances, int(rng.integers(2**31)))
            if len(instances) > slots:
                instances = instances.select(rng.choice(len(instances), slots, replace=False))
            plan = self._plan(image.shape, rng)
            placement = draw_placement(plan, image.shape, augmentation, rng, min_dim)
            moulded = place_image(self._in_one_type(image), placement)
            _check_colors(moulded, augmentation)
        if augmentation.copy_paste and rng.random() < augmentation.copy_paste:
            objects, own = self._paste(image_id, moulded, instances, placement, rng)
            boxes, masks = self._minis(objects, placement.shape)
        elif placement.angle or placement.size != plan.size:
            objects, _, _ = warp_instances(instances, placement.matrix, placement.shape, augmentation.min_area)
            boxes, masks = self._minis(objects, placement.shape)
            own = len(objects)
        else:
            objects, boxes, masks = self._minis_at_once(instances, placement, augmentation.min_area)
            own = len(objects)
        class_ids = objects.training_class_ids
        if not self._enough(class_ids):
            return None
        y1, x1, y2, x2 = placement.window
        relight(moulded[y1:y2, x1:x2], augmentation, rng)
        if placement.angle:
            blacken_outside(moulded, placement)
        active = active_classes(self.dataset, image_id)
        meta = compose_image_meta(image_id, image.shape, moulded.shape, placement.window, placement.scale, active)
        return Sample(moulded, meta, class_ids, boxes, masks, labelled, labelled - own)

    def _minis(self, objects: Instances, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes and masks of objects that are already in pixels of the moulded image."""
        mini_shape = self.config.MINI_MASK_SHAPE if self.config.USE_MINI_MASK else None
        _, boxes, masks = instances_to_mini(objects, mini_shape, (1.0, 1.0), (0.0, 0.0), shape)
        return boxes, masks

    def _minis_at_once(
        self, instances: Instances, placement: Placement, min_area: float
    ) -> tuple[Instances, np.ndarray, np.ndarray]:
        """Return the visible objects, their boxes and masks straight from the labels; for images that are at most
        flipped.
        """
        mini_shape = self.config.MINI_MASK_SHAPE if self.config.USE_MINI_MASK else None
        kept, boxes, masks = instances_to_mini(
            instances, mini_shape, placement.factors, placement.offset, placement.shape, min_area
        )
        if placement.flip:
            width = placement.shape[1]
            boxes = boxes[:, [0, 3, 2, 1]] * (1, -1, 1, -1) + (0, width, 0, width)
            masks = masks[:, ::-1]
        return instances.select(kept), boxes, masks

    def _plan(self, shape: Sequence[int], rng: np.random.Generator) -> Geometry:
        config = self.config
        plan = resize_geometry(
            shape,
            config.IMAGE_MIN_DIM,
            config.IMAGE_MAX_DIM,
            config.IMAGE_MIN_SCALE,
            config.IMAGE_RESIZE_MODE,
            lambda low, high: int(rng.integers(low, high + 1)),
            round_down=config.IMAGE_INTERPOLATION == "torchvision",
        )
        return plan if self.canvas is None else plan.on_canvas(self.canvas)

    def _paste(
        self, image_id: int, moulded: np.ndarray, instances: Instances, placement: Placement, rng: np.random.Generator
    ) -> tuple[Instances, int]:
        """Paste objects of another image into `moulded`.

        Returns all objects in moulded pixels, the image's own first, and the number of its own.
        """
        min_area = self.augmentation.min_area
        own, _, seen = warp_instances(instances, placement.matrix, placement.shape, min_area)
        assert self.donors is not None
        donor_id = int(rng.choice(self.dataset.image_ids, p=self.donors.images))
        info = self.dataset.image_info
        source = info[donor_id]["source"]  # classes of another source would not count in the loss
        if donor_id == image_id or source != info[image_id]["source"] or source in self.no_augmentation_sources:
            return own, len(own)
        with naming_image(self.dataset, donor_id):
            chosen = checked_instances(self.dataset, donor_id)
            chosen = copy_paste.choose(chosen, self.donors.classes, self.config.MAX_GT_INSTANCES - len(own), rng)
            if not len(chosen):
                return own, len(own)
            donor = as_channels(self.dataset.load_image(donor_id), self.config.IMAGE_CHANNEL_COUNT)
            donor = self._in_one_type(donor)
            _check_fits(chosen, donor.shape)
            flip = bool(self.augmentation.flip and rng.random() < 0.5)
            matrix = copy_paste.donor_matrix(placement, donor.shape, flip)
            pasted = copy_paste.paste(moulded, donor, chosen, matrix)
        own = copy_paste.hide(own, pasted, seen, min_area)
        return own.join(pasted), len(own)

    def _in_one_type(self, image: np.ndarray) -> np.ndarray:
        """Return an image as uint8 or float32, as `raw` says, with the same numbers.

        OpenCV cannot resize every type of integer; float32 is exact up to 16,777,216.
        """
        if not self.raw:
            return image.astype(np.float32, copy=False)
        if image.dtype == np.uint8:
            return image
        with np.errstate(invalid="ignore"):
            whole = image.astype(np.uint8)
        if (whole != image).any():
            raise InputError(
                f"load_image returned {image.dtype} from {image.min():g} to {image.max():g}, but uint8 for the first "
                "image of the dataset; return one type for all images, for example image.astype(np.float32)"
            )
        return whole

    def _mold(self, sample: Sample) -> np.ndarray:
        window = parse_image_meta(sample.meta[None])["window"][0]
        return mold_resized(sample.image, window.astype(int), self.config).astype(np.float32)

    def _enough(self, class_ids: np.ndarray) -> bool:
        return self.config.TRAIN_EMPTY_IMAGES or bool((class_ids > 0).any())

    def _stack(self, samples: list[Sample]) -> dict[str, np.ndarray]:
        shapes = {sample.image.shape for sample in samples}
        if len(shapes) > 1:
            raise InputError(
                f"one batch has images of different sizes {sorted(shapes)}: use IMAGE_RESIZE_MODE 'square', 'rect' or "
                f"'crop' instead of {self.config.IMAGE_RESIZE_MODE!r}, a canvas, or batches of 1"
            )
        count, slots = len(samples), self.config.MAX_GT_INSTANCES
        class_ids = np.zeros((count, slots), np.int32)
        boxes = np.zeros((count, slots, 4), np.float32)
        masks = np.zeros((count, *samples[0].masks.shape[:2], slots), bool)
        for j, sample in enumerate(samples):
            n = len(sample.class_ids)
            class_ids[j, :n], boxes[j, :n], masks[j, :, :, :n] = sample.class_ids, sample.boxes_px, sample.masks
        images = [s.image if self.raw else self._mold(s) for s in samples]
        return {
            "input_image": np.stack(images) if count > 1 else images[0][None],
            "input_image_meta": np.stack([sample.meta for sample in samples]).astype(np.float32),
            "input_gt_class_ids": class_ids,
            "input_gt_boxes": boxes,
            "input_gt_masks": masks,
        }


def _check_fits(instances: Instances, shape: Sequence[int]) -> None:
    boxes, advice = instances.boxes_px, "check that labels and image belong together"
    size = f"the image is {shape[0]} high and {shape[1]} wide"
    if len(boxes) and (boxes.min() < 0 or boxes[:, 2].max() > shape[0] or boxes[:, 3].max() > shape[1]):
        raise InputError(
            f"its masks reach row {boxes[:, 2].max()} and column {boxes[:, 3].max()}, but {size}; {advice}"
        )
    if len(boxes) and instances.shape not in (None, tuple(shape[:2])):
        raise InputError(f"its masks are {instances.shape[0]} high and {instances.shape[1]} wide, but {size}; {advice}")


def _check_colors(image: np.ndarray, augmentation: Augmentation) -> None:
    if image.dtype != np.uint8 and (augmentation.color or augmentation.weather):
        raise InputError(
            "AUGMENT_COLOR and AUGMENT_WEATHER change colours of 0 to 255, but load_image returns other numbers than "
            "uint8; set both to 0, or return uint8"
        )
