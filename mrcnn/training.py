"""Training: loaders, optimizer, checkpoints, and what a person sees of a run."""

import dataclasses
import json
import logging
import math
import os
import sys
import time
import typing
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from mrcnn import ops, weights
from mrcnn.augment_settings import Augmentation
from mrcnn.config import Config
from mrcnn.data import Dataset
from mrcnn.errors import InputError
from mrcnn.images import resize_geometry
from mrcnn.loader import Loader, errors_of
from mrcnn.network import LOSS_NAMES, build_training_network
from mrcnn.sampling import image_weights

if typing.TYPE_CHECKING:
    from mrcnn.model import MaskRCNN

log = logging.getLogger(__name__)

CHECK_EVERY = 10  # steps between looks at the loss: each look waits for the device


class NonFiniteLoss(InputError):
    """A loss became infinite or not a number; the message names the terms and the images of that batch."""


@dataclasses.dataclass(frozen=True)
class LoaderOptions:
    """How training images are changed and loaded.

    Attributes:
        augmentation: an imgaug augmenter, or None.
        flip: mirror half of the images.
        no_augmentation_sources: dataset sources left as they are.
        workers: loader threads or processes.
        worker_kind: "thread" or "process".
    """

    augmentation: object = None
    flip: bool = False
    no_augmentation_sources: tuple[str, ...] = ()
    workers: int = 2
    worker_kind: str = "thread"


def compile_model(network: keras.Model, config: Config, learning_rate: float, momentum: float) -> None:
    """Compile with config.OPTIMIZER; the norm of the whole gradient is clipped to GRADIENT_CLIP_NORM."""
    clip = config.GRADIENT_CLIP_NORM
    if config.OPTIMIZER == "adam":
        optimizer = keras.optimizers.Adam(learning_rate=learning_rate, beta_1=momentum, global_clipnorm=clip)
    else:
        optimizer = keras.optimizers.SGD(learning_rate=learning_rate, momentum=momentum, global_clipnorm=clip)
    # the loss is in compute_loss; XLA only where it is faster than the backend's own kernels
    network.compile(optimizer=optimizer, jit_compile=ops.prefers_jit())
    optimizer.build(network.trainable_variables)  # or the first step is traced twice: once to make these variables


def canvas_of(config: Config, datasets: Sequence[Dataset]) -> tuple[int, int] | None:
    """The one size (height, width) at which all images of the datasets are trained.

    Only the modes "pad64" and "none" let the size follow the image. A compiled step has one size, so it is that of the
    largest image, moulded and rounded up to multiples of 64; smaller images get more padding. Other modes: None.

    Raises:
        InputError: the size of an image cannot be read.
    """
    if config.IMAGE_RESIZE_MODE not in ("pad64", "none"):
        return None
    sizes = set()
    for dataset in datasets:
        sizes |= {dataset.image_size(image_id) for image_id in dataset.image_ids}
    moulded = [
        resize_geometry(size, config.IMAGE_MIN_DIM, None, config.IMAGE_MIN_SCALE, config.IMAGE_RESIZE_MODE).shape
        for size in sizes
    ]
    height, width = (-(-side // 64) * 64 for side in np.max(moulded, axis=0).tolist())
    log.info("images of %d sizes are trained at %d x %d (height x width)", len(sizes), height, width)
    return height, width


def resize_network(model: "MaskRCNN", canvas: tuple[int, int]) -> None:
    """Build the training network of `model` again for images of another size, with the weights that it has."""
    image_shape = (*canvas, int(model.config.IMAGE_CHANNEL_COUNT))
    if model.keras_model.image_shape == image_shape:
        return
    network = build_training_network(model.config, image_shape)
    network.set_weights(model.keras_model.get_weights())
    for old, new in zip(_plain_layers(model.keras_model), _plain_layers(network), strict=True):
        new.trainable = old.trainable
    model.keras_model = network


def _plain_layers(network: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from _plain_layers(layer)
        else:
            yield layer


def fit(
    model: "MaskRCNN",
    train_dataset: Dataset,
    val_dataset: Dataset | None,
    learning_rate: float,
    epochs: int,
    options: LoaderOptions,
    callbacks: list[keras.callbacks.Callback],
) -> keras.callbacks.History:
    """Train `model` up to epoch `epochs`, one checkpoint an epoch in model.log_dir.

    Raises:
        NonFiniteLoss: see there. Weights of the last good epoch are on disk.
        InputError: an image or label cannot be read.
    """
    config = model.config
    if epochs <= model.epoch:
        raise InputError(
            f"{model.epoch} epochs are done already; `epochs` is the one to reach, {epochs} is not after it"
        )
    canvas = canvas_of(config, [train_dataset, *([val_dataset] if val_dataset else [])])
    if canvas is not None:
        resize_network(model, canvas)
    loader = Loader(
        train_dataset,
        config,
        shuffle=True,
        augment=Augmentation.from_config(config, options.flip),
        augmentation=options.augmentation,
        no_augmentation_sources=options.no_augmentation_sources,
        seed=config.SEED,
        steps=config.STEPS_PER_EPOCH,
        workers=options.workers,
        worker_kind=options.worker_kind,
        image_weights=image_weights(train_dataset, config),
        first_epoch=model.epoch,
        canvas=canvas,
    )
    validation = None
    if val_dataset is not None:
        validation = Loader(
            val_dataset,
            config,
            shuffle=False,
            seed=config.SEED,
            steps=config.VALIDATION_STEPS,
            workers=options.workers,
            worker_kind=options.worker_kind,
            canvas=canvas,
        )
    model.class_names = list(train_dataset.class_names)
    os.makedirs(model.log_dir, exist_ok=True)
    compile_model(model.keras_model, config, learning_rate, config.LEARNING_MOMENTUM)
    log.info(
        "from epoch %d to %d, learning rate %g, checkpoints in %s", model.epoch, epochs, learning_rate, model.log_dir
    )
    own_callbacks = [
        StopWhenNotFinite(train_dataset),
        EpochReport(train_dataset.class_names),
        Checkpoint(model),
        keras.callbacks.CSVLogger(os.path.join(model.log_dir, "losses.csv"), append=True),
    ]
    loaders = [loader] if validation is None else [loader, validation]
    with errors_of(*loaders):  # TensorFlow's pipeline would hide which image cannot be read
        history = model.keras_model.fit(
            loader,
            initial_epoch=model.epoch,
            epochs=epochs,
            validation_data=validation,
            shuffle=False,  # the loader shuffles, from config.SEED
            callbacks=own_callbacks + callbacks,
            verbose=1 if sys.stderr.isatty() else 0,
        )
    model.epoch = max(model.epoch, epochs)
    return history


class StopWhenNotFinite(keras.callbacks.Callback):
    """Stops the run when a loss is not finite and says which term and which images."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__()
        self.dataset = dataset

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Look at the running mean of the loss: once not finite it stays so."""
        if batch % CHECK_EVERY == 0:
            self._check(logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Look once more before the checkpoint is written."""
        self._check(logs)

    def _check(self, logs: dict | None) -> None:
        loss = float((logs or {}).get("loss", 0.0))
        if math.isfinite(loss):
            return
        terms, image_ids = self.model.first_nonfinite() or (["loss"], [])
        images = [str(self.dataset.image_info[i].get("path") or self.dataset.image_info[i]["id"]) for i in image_ids]
        raise NonFiniteLoss(
            f"the loss is {loss}: {' and '.join(terms)} {'is' if len(terms) == 1 else 'are'} not finite for the batch "
            f"with {', '.join(images) or 'unknown images'}. No checkpoint was written from here on. Look at the labels "
            "of these images, lower LEARNING_RATE, or raise the batch size"
        )


class EpochReport(keras.callbacks.Callback):
    """Logs one line an epoch with every loss, and the share of sampled ROIs whose class was right, class by class."""

    def __init__(self, class_names: list[str]) -> None:
        super().__init__()
        self.class_names = class_names
        self._train_table = np.zeros((len(class_names), 2))

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start the clock."""
        self._start = time.monotonic()

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Keep the counts of the training ROIs: validation starts them anew."""
        self._train_table = self.model.class_accuracy.table()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Log the losses and the classes."""
        logs = logs or {}
        if "val_loss" not in logs:
            self._train_table = self.model.class_accuracy.table()
        log.info("epoch %d, %.0f s: %s", epoch + 1, time.monotonic() - self._start, _losses_text(logs, ""))
        if "val_loss" in logs:
            log.info("  validation: %s", _losses_text(logs, "val_"))
        shares = [
            f"{name} {share:.0%} of {count:.0f}"
            for name, (count, share) in list(zip(self.class_names, self._train_table, strict=True))[1:]
            if count
        ]
        log.info("  class right on sampled ROIs: %s", ", ".join(shares) or "no ROI met an object")


def _losses_text(logs: dict, prefix: str) -> str:
    parts = [f"loss {logs.get(prefix + 'loss', math.nan):.3f}"]
    parts += [f"{name.removesuffix('_loss')} {logs.get(prefix + name, math.nan):.3f}" for name in LOSS_NAMES]
    return ", ".join(parts)


class Checkpoint(keras.callbacks.Callback):
    """Writes the weights by layer name after each epoch, with the settings and class names they belong to."""

    def __init__(self, owner: "MaskRCNN") -> None:
        super().__init__()
        self.owner = owner

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Write mask_rcnn_NAME_EPOCH.h5."""
        path = self.owner.checkpoint_path.format(epoch=epoch + 1)
        save_checkpoint(self.owner, path, epoch + 1)
        self.owner.epoch = epoch + 1


def save_checkpoint(model: "MaskRCNN", path: str | os.PathLike, epoch: int, dtype: str | None = None) -> None:
    """Write the weights with the class names and the settings, from which `read_config` makes the same model again."""
    attrs: dict[str, object] = {"mrcnn_config": json.dumps(model.config.to_dict()), "epoch": epoch}
    if model.class_names:
        attrs["class_names"] = json.dumps(model.class_names)
    weights.save_weights(model.keras_model, path, dtype=dtype, attrs=attrs)


def read_config(path: str | os.PathLike) -> dict | None:
    """The settings that a checkpoint was written with, or None for a file of another program."""
    text = weights.read_attrs(path).get("mrcnn_config")
    return json.loads(str(text)) if text else None


def read_class_names(path: str | os.PathLike) -> list[str] | None:
    """The class names that a checkpoint was trained on, background first; None where it does not say."""
    text = weights.read_attrs(path).get("class_names")
    return json.loads(str(text)) if text else None
