"""Batches for Keras: their order and augmentation follow from a seed; worker threads or processes make them.

sample_maker.py makes a single sample, prefetch.py runs the workers.

Legend: N batch, H W moulded image, G padded ground-truth slots, M images, C classes with background, mh mw mini-mask.
Boxes are (y1, x1, y2, x2).
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.augment_settings import Augmentation
from mrcnn.config import Config
from mrcnn.data.class_balance import pass_length
from mrcnn.data.dataset import Dataset
from mrcnn.data.images import unexpected_range
from mrcnn.data.prefetch import Prefetcher, Step
from mrcnn.data.sample_maker import Batch, Donors, Sample, SampleMaker
from mrcnn.errors import InputError

__all__ = ["Loader", "Sample", "errors_of"]

log = logging.getLogger(__name__)

WATCHED_BATCHES = 10  # the first ones, whose numbers are compared with MEAN_PIXEL if they are not 8-bit


class Loader(keras.utils.PyDataset):
    """Training or validation batches, the same for a seed whatever the number and kind of workers.

    An item is `(inputs,)` with

    - input_image: uint8 [N, H, W, 3] RGB, zero padded; where `load_image` returns other numbers, float32, padded and
      then moulded (the mean subtracted)
    - input_image_meta: float32 [N, 12 + C], see `compose_image_meta`
    - input_gt_class_ids: int32 [N, G], 0 in unused slots, negative for crowds and ignored objects
    - input_gt_boxes: float32 [N, G, 4] pixels of the moulded image, 0 in unused slots
    - input_gt_masks: bool [N, mh, mw, G] mini-masks ([N, H, W, G] without USE_MINI_MASK)

    A batch is a function of (seed, epoch, step) alone, so a run resumes anywhere: `first_epoch` and `first_batch`.
    While Keras (or a `for` loop) goes through an epoch, the workers make the next batches; outside an epoch,
    `loader[i]` is made by the caller itself. `close()` stops the workers; `errors_of` calls it.

    Pass shuffle=False to `fit`: by default Keras reorders the batches with Python's global generator. An image without
    an object to learn from is replaced by the next one that has some, unless config.TRAIN_EMPTY_IMAGES is set.
    """

    _unwatched = WATCHED_BATCHES

    def __init__(
        self,
        dataset: Dataset,
        config: Config,
        batch_size: int | None = None,
        shuffle: bool = True,
        augment: bool | Augmentation = False,
        augmentation: Any = None,
        no_augmentation_sources: Sequence[str] = (),
        seed: int | None = 0,
        steps: int | None = None,
        workers: int = 2,
        first_epoch: int = 0,
        canvas: tuple[int, int] | None = None,
        worker_kind: str = "thread",
        first_batch: int = 0,
        image_weights: np.ndarray | None = None,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        """Set up without loading anything.

        Args:
            dataset: prepared.
            config: image, mask and batch settings. Its AUGMENT_* settings and BALANCE are not read here: see `augment`
                and `image_weights`.
            batch_size: N; None uses config.BATCH_SIZE.
            shuffle: use a new order for each pass; otherwise every epoch has the same images in the dataset's order.
            augment: True flips half of the images left to right; or `Augmentation.from_config(config)`.
            augmentation: an imgaug augmenter, applied to the image as loaded.
            no_augmentation_sources: sources of the dataset whose images are not augmented.
            seed: of order, flips, crops and augmentation; None draws one.
            steps: batches per epoch; with `shuffle`, epochs continue through the passes. None: one pass per epoch,
                whose last batch may be smaller (with several shards it is filled from the next pass).
            workers: threads or processes; 0 makes each batch when it is requested.
            first_epoch: number of the first epoch, to resume a run.
            canvas: (height, width) to which every image is padded at the bottom and right, for the modes "pad64",
                "pad32" and "none", whose images differ in size; see `mrcnn.engine.trainer.canvas_of`.
            worker_kind: "thread" or "process", see `mrcnn.data.prefetch.Prefetcher`.
            first_batch: the first epoch starts at this batch and is shorter accordingly. Keras takes the length of all
                epochs of a `fit` from the first one, so run the rest of such an epoch in its own `fit`, then continue
                with the same loader.
            image_weights: float [M], how often each image is shown in a pass (see `mrcnn.data.class_balance`), with
                `shuffle`; None: once.
            shard: (index, count) of this host. All hosts share seed, steps and N; the batches of all hosts in a step
                together equal the batch of one host with N * count.

        Raises:
            InputError: the dataset has no images or is not prepared, or a value is out of range.
        """
        super().__init__(workers=1, use_multiprocessing=False)  # Prefetcher replaces Keras' own queue
        _check_dataset(dataset, config)
        if not 0 <= shard[0] < shard[1]:
            raise InputError(f"shard is {shard}; give (index, count) with 0 <= index < count")
        batch_size = batch_size or config.BATCH_SIZE
        weights = image_weights if shuffle else None
        length = len(dataset.image_ids) if weights is None else pass_length(weights)
        settings = augment if isinstance(augment, Augmentation) else Augmentation(flip=0.5 if augment else 0.0)
        self.maker = SampleMaker(
            dataset,
            config,
            batch_size,
            steps or -(-length // (batch_size * shard[1])),
            seed=int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed,
            shuffle=shuffle,
            whole_epochs=steps is not None or shard[1] > 1,
            augmentation=settings,
            imgaug=augmentation,
            no_augmentation_sources=tuple(no_augmentation_sources),
            image_weights=weights,
            shard=shard,
            canvas=canvas,
            donors=Donors.from_dataset(dataset) if settings.copy_paste else None,
        )
        if not 0 <= first_batch < self.maker.steps:
            raise InputError(f"first_batch is {first_batch}; an epoch has {self.maker.steps} batches, numbered from 0")
        self.epoch, self.first_batch = first_epoch, first_batch
        self.error: InputError | None = None  # the first one raised, see `errors_of`
        self._prefetcher = Prefetcher(self.maker, workers, worker_kind) if workers else None
        self.handed: list[tuple[int, float, float]] = []  # per batch: requesting thread, request and arrival times
        self._in_epoch, self._labelled, self._lost = False, 0, 0

    def __len__(self) -> int:
        return self.maker.steps - self.first_batch

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray]]:
        return self._item(index, ahead=self._in_epoch)

    def __iter__(self) -> Iterator[tuple[dict[str, np.ndarray]]]:
        """Iterate over the current epoch. (A `for` loop does not advance to the next one: see `start_epoch`.)"""
        for index in range(len(self)):
            yield self._item(index, ahead=True)

    def start_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Move to a step: the next item 0 is batch `first_batch` of `epoch`."""
        self.epoch, self.first_batch = epoch, first_batch

    def on_epoch_begin(self) -> None:
        """Let the workers run ahead; Keras calls this before each epoch."""
        self._in_epoch = True
        self.handed = []
        self._labelled, self._lost = 0, 0

    def on_epoch_end(self) -> None:
        """Advance to the next epoch; Keras calls this after each epoch, and also before the first, where it has no
        effect.
        """
        if not self._in_epoch:
            return
        if self._lost:
            min_area = self.maker.augmentation.min_area
            less = f", or had less than {min_area:.0%} of their area left," if min_area else ""
            log.info(
                "%d of %d objects lay outside the cropped or augmented images%s and were dropped",
                self._lost,
                self._labelled,
                less,
            )
        self._in_epoch = False
        self.start_epoch(self.epoch + 1)

    def close(self) -> None:
        """Stop the workers. They start again if another batch is requested in an epoch."""
        self._in_epoch = False
        if self._prefetcher is not None:
            self._prefetcher.close()

    def _item(self, index: int, ahead: bool) -> tuple[dict[str, np.ndarray]]:
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of an epoch of {len(self)}")
        asked = time.monotonic()
        try:
            batch = self._fetch((self.epoch, self.first_batch + index), ahead)
        except InputError as error:
            self.error = self.error or error
            raise
        self._watch(batch.inputs["input_image"])
        if self._in_epoch:
            self.handed.append((threading.get_ident(), asked, time.monotonic()))
        self._labelled, self._lost = self._labelled + batch.labelled, self._lost + batch.lost
        return (batch.inputs,)

    def _watch(self, images: np.ndarray) -> None:
        """Warn once if the numbers of the first batches are not those that MEAN_PIXEL is for."""
        if images.dtype == np.uint8 or not self._unwatched or not self.maker.shuffle:  # only training warns
            return
        self._unwatched -= 1
        mean_pixel = self.maker.config.MEAN_PIXEL
        warning = unexpected_range(images + np.asarray(mean_pixel, np.float32), mean_pixel)
        if warning:
            self._unwatched = 0
            log.warning("training data: %s", warning)

    def _fetch(self, step: Step, ahead: bool) -> Batch:
        if self._prefetcher is None or not ahead:
            return self.maker.batch(*step)
        return self._prefetcher.get(step, self._coming(step, self._prefetcher.workers + 2))

    def _coming(self, step: Step, count: int) -> list[Step]:
        """Return the steps after `step`. Training continues into the next epoch; validation starts over some time
        later.
        """
        epoch, number = step
        coming = []
        for _ in range(count):
            number += 1
            if number == self.maker.steps:
                if not self.maker.shuffle:
                    break
                epoch, number = epoch + 1, 0
            coming.append((epoch, number))
        return coming


@contextlib.contextmanager
def errors_of(*loaders: Loader | None) -> Iterator[None]:
    """Run `fit` inside: re-raise a loader's InputError instead of the error that TensorFlow's pipeline wraps it in.

    The loaders are always closed, so no worker keeps the program alive, not even after Ctrl-C.

    Raises:
        InputError: as the loader raised it, naming the image.
    """
    known = [loader for loader in loaders if loader is not None]
    try:
        yield
    except Exception as error:
        for loader in known:
            if loader.error is not None and loader.error is not error:
                raise loader.error from error
        raise
    finally:
        for loader in known:
            loader.close()


def _check_dataset(dataset: Dataset, config: Config) -> None:
    if not dataset.image_info:
        raise InputError("the dataset has no images; check the folder and the split, and call add_image for each")
    if not len(dataset.image_ids):
        raise InputError(f"the dataset has {len(dataset.image_info)} images, but prepare() was not called")
    if dataset.num_classes != config.NUM_CLASSES:
        raise InputError(
            f"config.NUM_CLASSES is {config.NUM_CLASSES}, but the dataset has {dataset.num_classes} classes with the "
            f"background: {', '.join(dataset.class_names)}"
        )
