"""What happens between the steps and epochs of training: guards, reports, checkpoints, the state."""

import dataclasses
import logging
import math
import os
import pathlib
import signal
import threading
import typing
from collections.abc import Callable
from types import FrameType

import keras
import numpy as np

from mrcnn.backend import hosts
from mrcnn.data.dataset import Dataset
from mrcnn.data.sample_maker import SampleMaker
from mrcnn.engine import checkpoints
from mrcnn.errors import InputError
from mrcnn.files import written_whole

if typing.TYPE_CHECKING:
    from mrcnn.model import MaskRCNN


log = logging.getLogger(__name__)

CHECK_EVERY = 10  # steps between looks at the loss: each look waits for the device


class NonFiniteLoss(InputError):
    """A loss became infinite or not a number; the message names the terms and the images of that batch."""


class StopWhenNotFinite(keras.callbacks.Callback):
    """Stops the run when a loss is not finite, says which term and which images, and writes that batch to a file.

    Args:
        dataset: of the training images.
        maker: makes the batches of the run, those of the past too.
        folder: of the run.
        first: (epoch, step) at which this call of `train` begins.

    Raises:
        NonFiniteLoss: after a step or an epoch.
        InputError: the batch cannot be made again, or not be written.
    """

    def __init__(self, dataset: Dataset, maker: SampleMaker, folder: str | os.PathLike, first: tuple[int, int]) -> None:
        super().__init__()
        self.dataset, self.maker, self.folder = dataset, maker, pathlib.Path(folder)
        self.first = first
        self._epoch = self._first_step = 0
        self._checked, self._last = -1, -1  # steps of this epoch: the last one with a finite loss, and the newest

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Note where the run stands."""
        self._epoch = epoch
        self._first_step = self.first[1] if epoch == self.first[0] else 0
        self._checked = self._last = self._first_step - 1

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Look at the running mean of the loss: once not finite it stays so."""
        self._last = self._first_step + batch
        if batch % CHECK_EVERY == 0:
            self._check(logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Look once more before the checkpoint is written."""
        self._check(logs)

    def _check(self, logs: dict | None) -> None:
        loss = float((logs or {}).get("loss", 0.0))
        if math.isfinite(loss):
            self._checked = self._last
            return
        terms, image_ids = self.model.first_nonfinite() or (["loss"], [])
        images = [str(self.dataset.image_info[i].get("path") or self.dataset.image_info[i]["id"]) for i in image_ids]
        try:
            file = self._dump(terms, image_ids)
            dumped = f", written to {file}" if file else ""
        except InputError as error:  # the loss is what the user has to hear of
            dumped = f" ({error})"
        raise NonFiniteLoss(
            f"the loss is {loss}: {' and '.join(terms)} {'is' if len(terms) == 1 else 'are'} not finite for the batch "
            f"with {', '.join(images) or 'unknown images'}{dumped}. No checkpoint was "
            "written from here on. Look at the labels of these images, lower LEARNING_RATE, or raise the batch size"
        )

    def _dump(self, terms: list[str], image_ids: list[int]) -> pathlib.Path | None:
        """Make the batch (of several hosts: this one's part) again and write it; None if none since the last look has
        these images."""
        place = self.maker.shard[0] * self.maker.batch_size
        image_ids = image_ids[place : place + self.maker.batch_size]
        for step in range(self._checked + 1, self._last + 1):
            inputs = self.maker.batch(self._epoch, step).inputs
            if inputs["input_image_meta"][:, 0].astype(int).tolist() == image_ids:
                path = self.folder / f"nonfinite_epoch_{self._epoch + 1:04d}_step_{step + 1:04d}.npz"
                ids = [str(self.dataset.image_info[i]["id"]) for i in image_ids]
                arrays: dict[str, typing.Any] = {
                    "ids": ids,
                    "terms": terms,
                    "epoch": self._epoch + 1,
                    "step": step + 1,
                    **{name.removeprefix("input_"): value for name, value in inputs.items()},
                }
                with written_whole(path) as temporary, temporary.open("wb") as file:
                    np.savez_compressed(file, **arrays)
                return path
        return None


class Checkpoint(keras.callbacks.Callback):
    """After each epoch: the weights by layer name, and then the state, with which the epoch counts as done.

    Args:
        owner: the model that trains.
        state: of the beginning of this call of `train`; where it stands is filled in.
        last: the epoch that ends the stage: with it the weights become their moving averages, if there are any.
        every: also write the state each time that so many steps of an epoch are done; None leaves that out.
        keep: checkpoints to keep, the newest ones; None keeps all.

    Raises:
        InputError: a file cannot be written.
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
            if hosts.is_first_host():
                log.warning("stopping after this step; the state is written")
                self.save()
            else:
                log.warning("stopping after this step; its state is not written, only the first host does that")
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received += 1
        if self.received > 1:
            raise KeyboardInterrupt
