"""Callbacks that guard a run and save it: non-finite losses, checkpoints and the state, signals."""

import dataclasses
import logging
import math
import os
import pathlib
import signal
import threading
import typing
from collections.abc import Callable, Sequence
from types import FrameType

import keras
import numpy as np

from mrcnn.backend import hosts
from mrcnn.data.dataset import Dataset
from mrcnn.data.sample_maker import SampleMaker
from mrcnn.engine import checkpoints
from mrcnn.engine.run import TrainingRun
from mrcnn.errors import InputError
from mrcnn.files import written_whole
from mrcnn.modeling.training_network import LOSS_NAMES

log = logging.getLogger(__name__)

# Figures that a run logs, without "val_" -> how they improve
DIRECTIONS = {
    **dict.fromkeys(("loss", *LOSS_NAMES), "min"),
    **dict.fromkeys(("mask_AP", "mask_AP50", "box_AP", "roi_accuracy"), "max"),
}

CHECK_EVERY = 10  # steps between checks of the loss: each check waits for the device


def choose_modes(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Set `mode` of callbacks that monitor a figure of the run and leave the mode to Keras, which cannot know it.

    EarlyStopping, ModelCheckpoint and ReduceLROnPlateau with mode="auto" are meant; Keras 3 would raise.
    """
    for callback in callbacks:
        direction = DIRECTIONS.get(str(getattr(callback, "monitor", "")).removeprefix("val_"))
        if direction and getattr(callback, "mode", None) == "auto":
            callback.mode = direction


class NonFiniteLoss(InputError):
    """A loss became infinite or not a number; the message names the terms and the images of that batch."""


class StopWhenNotFinite(keras.callbacks.Callback):
    """Stop the run when a loss is not finite, name the term and the images, and write that batch to a file.

    Args:
        dataset: of the training images.
        maker: makes any batch of the run again.
        folder: of the run.
        first: (epoch, step) at which this call of `train` begins.
        every: the state is written after every so many steps; the loss is checked before.

    Raises:
        NonFiniteLoss: after a step or an epoch.
        InputError: the batch cannot be made again, or cannot be written.
    """

    def __init__(
        self,
        dataset: Dataset,
        maker: SampleMaker,
        folder: str | os.PathLike,
        first: tuple[int, int],
        every: int | None = None,
    ) -> None:
        super().__init__()
        self.dataset, self.maker, self.folder = dataset, maker, pathlib.Path(folder)
        self.first, self.every = first, every
        self._epoch = self._first_step = 0
        self._checked, self._last = -1, -1  # steps of this epoch: last known finite, and newest

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Note the first step of the epoch."""
        self._epoch = epoch
        self._first_step = self.first[1] if epoch == self.first[0] else 0
        self._checked = self._last = self._first_step - 1

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Check the running mean of the loss every few steps, and before a state: once not finite, it stays so."""
        self._last = self._first_step + batch
        if batch % CHECK_EVERY == 0 or (self.every and (self._last + 1) % self.every == 0):
            self._check(logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Check the loss before the checkpoint is written."""
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
        except InputError as error:  # the user must hear of the loss first
            dumped = f" ({error})"
        raise NonFiniteLoss(
            f"the loss is {loss}: {' and '.join(terms)} {'is' if len(terms) == 1 else 'are'} not finite for the batch "
            f"with {', '.join(images) or 'unknown images'}{dumped}. No checkpoint was "
            "written after it. Check the labels of these images, lower LEARNING_RATE, or raise the batch size"
        )

    def _dump(self, terms: list[str], image_ids: list[int]) -> pathlib.Path | None:
        """Make the batch again (of several hosts: this one's part) and write it.

        Returns:
            The file, or None if no batch since the last check has these images.
        """
        offset = self.maker.shard[0] * self.maker.batch_size
        image_ids = image_ids[offset : offset + self.maker.batch_size]
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
    """Save the weights by layer name after each epoch, and then the state, which makes the epoch count as done.

    Args:
        run: the run; its epoch is advanced.
        state: at the beginning of this call of `train`.
        last: the epoch that ends the stage: after it the weights become their moving averages, if there are any.
        every: also write the state after every so many steps of an epoch; None: only after each epoch.
        keep: number of newest checkpoints to keep; None keeps all.

    Raises:
        InputError: a file cannot be written.
    """

    def __init__(
        self,
        run: TrainingRun,
        state: checkpoints.State,
        last: int,
        every: int | None = None,
        keep: int | None = None,
    ) -> None:
        super().__init__()
        self.run, self.state, self.last = run, state, last
        self.every, self.keep = every, keep
        self.epoch, self.done = state.epoch, state.step
        self._first_step = state.step  # Keras counts the steps of a `fit` from 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Note the epoch and its first step."""
        if epoch != self.state.epoch:
            self._first_step = 0
        self.epoch, self.done = epoch, self._first_step

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Write the state after every `every` steps."""
        self.done = self._first_step + batch + 1
        if self.every and self.done % self.every == 0 and self.done < int(self.run.config.STEPS_PER_EPOCH):
            self.write_state()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Write mask_rcnn_NAME_EPOCH.h5 and the state; delete checkpoints that are not kept."""
        run = self.run
        if epoch + 1 == self.last:
            checkpoints.take_averages(self.model)
        checkpoints.save_checkpoint(self.model, run.checkpoint(epoch + 1), run.config, run.class_names, epoch + 1)
        run.epoch = self.epoch = epoch + 1
        self.done = 0
        self.write_state()
        for old in range(1, epoch + 2 - self.keep) if self.keep else ():
            run.checkpoint(old).unlink(missing_ok=True)

    def write_state(self) -> None:
        """Write the state of this step."""
        checkpoints.save_state(self.model, dataclasses.replace(self.state, epoch=self.epoch, step=self.done))


class StopOnSignal(keras.callbacks.Callback):
    """Stop after the current step on Ctrl-C, or on the signal with which a cluster ends a job.

    Between two steps the state is consistent. A second Ctrl-C stops at once.

    Args:
        save: writes the state before the stop.

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
        """Install the handlers; Python allows that in the main thread alone."""
        if threading.current_thread() is threading.main_thread() and not self._before:
            self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Stop if a signal was received."""
        self._stop_if_asked()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stop if a signal was received during validation."""
        self._stop_if_asked()

    def release(self) -> None:
        """Restore the handlers of before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _stop_if_asked(self) -> None:
        if self.received:
            if hosts.is_first_host():
                log.warning("stopping after this step; the state is saved")
                self.save()
            else:
                log.warning("stopping after this step; only the first host saves the state")
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received += 1
        if self.received > 1:
            before = self._before.get(number)
            if callable(before):
                before(number, frame)  # that of `mrcnn.process` raises until it has an effect
            raise KeyboardInterrupt
