"""What happens between the steps and epochs of training: guards, reports, checkpoints, the state."""

import dataclasses
import logging
import math
import pathlib
import signal
import threading
import time
import typing
from collections.abc import Callable
from types import FrameType

import keras
import numpy as np

from mrcnn import checkpoints
from mrcnn.data import Dataset
from mrcnn.errors import InputError
from mrcnn.network import LOSS_NAMES

if typing.TYPE_CHECKING:
    from mrcnn.model import MaskRCNN

log = logging.getLogger(__name__)

CHECK_EVERY = 10  # steps between looks at the loss: each look waits for the device


class NonFiniteLoss(InputError):
    """A loss became infinite or not a number; the message names the terms and the images of that batch."""


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
    """After each epoch: the weights by layer name, and then the state, with which the epoch counts as done.

    Args:
        owner: the model that trains.
        state: of the beginning of this call of `train`; where it stands is filled in.
        last: the epoch that ends the stage: with it the weights become their moving averages, if there are any.
        every: also write the state each time that so many steps of an epoch are done; None leaves that out.
        keep: checkpoints to keep, the newest ones; None keeps all.
    """

    def __init__(
        self,
        owner: "MaskRCNN",
        state: checkpoints.State,
        last: int,
        every: int | None = None,
        keep: int | None = None,
    ) -> None:
        super().__init__()
        self.owner, self.state, self.last = owner, state, last
        self.every, self.keep = every, keep
        self.epoch, self.done = state.epoch, state.step
        self._first_step = state.step  # Keras counts the steps of a `fit` from 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Note where the run stands."""
        if epoch != self.state.epoch:
            self._first_step = 0
        self.epoch, self.done = epoch, self._first_step

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Write the state if it is time."""
        self.done = self._first_step + batch + 1
        if self.every and self.done % self.every == 0 and self.done < int(self.owner.config.STEPS_PER_EPOCH):
            self.write_state()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Write mask_rcnn_NAME_EPOCH.h5 and the state; remove what is not kept."""
        path = pathlib.Path(self.owner.checkpoint_path.format(epoch=epoch + 1))
        if epoch + 1 == self.last:
            checkpoints.take_averages(self.model)
        checkpoints.save_checkpoint(self.owner, path, epoch + 1)
        self.owner.epoch = self.epoch = epoch + 1
        self.done = 0
        self.write_state()
        for old in range(1, epoch + 2 - self.keep) if self.keep else ():
            pathlib.Path(self.owner.checkpoint_path.format(epoch=old)).unlink(missing_ok=True)

    def write_state(self) -> None:
        """Write the state as it is now."""
        checkpoints.save_state(self.model, dataclasses.replace(self.state, epoch=self.epoch, step=self.done))


class StopOnSignal(keras.callbacks.Callback):
    """Ctrl-C, or the signal with which a cluster ends a job, stops after the present step: then the state is whole.

    A second Ctrl-C stops at once.

    Args:
        save: called before the stop.

    Raises:
        KeyboardInterrupt: after the step.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, save: Callable[[], None]) -> None:
        super().__init__()
        self.save = save
        self.received = 0
        self._before: dict[int, typing.Any] = {}

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Take the signals; only the main thread can."""
        if threading.current_thread() is threading.main_thread() and not self._before:
            self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Stop if a signal came."""
        self._stop_if_asked()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stop if a signal came during validation."""
        self._stop_if_asked()

    def release(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _stop_if_asked(self) -> None:
        if self.received:
            log.warning("stopping after this step; the state is written")
            self.save()
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received += 1
        if self.received > 1:
            raise KeyboardInterrupt
