"""Record each epoch of a run: results.csv, curves, pictures, TensorBoard events, and a table or log lines."""

import logging
import math
import pathlib
import sys
import threading
import time
from collections.abc import Sequence

import keras
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from mrcnn.data.dataset import Dataset
from mrcnn.data.loader import Loader
from mrcnn.engine.checkpoints import State
from mrcnn.engine.event_file import EventFile
from mrcnn.engine.results_csv import MASK_AP, Results, Row
from mrcnn.engine.run import TrainingRun
from mrcnn.engine.run_pictures import batch_sheet, plot_curves, validation_sheet
from mrcnn.engine.validation import Validator
from mrcnn.files import make_folder
from mrcnn.modeling.training_network import LOSS_NAMES
from mrcnn.visualization.drawing import write_png

log = logging.getLogger(__name__)

PICTURED_BATCHES = 3
PICTURED_IMAGES = 4
TABLE_EPOCHS = 8  # rows of the table on a terminal
# column of the table -> (name in results.csv, format)
COLUMNS = {
    "epoch": ("epoch", "d"),
    "loss": ("loss", ".3f"),
    "val loss": ("val_loss", ".3f"),
    "mask AP": (MASK_AP, ".3f"),
    "AP50": ("val_mask_AP50", ".3f"),
    "box AP": ("val_box_AP", ".3f"),
    "rate": ("learning_rate", ".1e"),
    "img/s": ("images_per_second", ".1f"),
    "wait": ("data_wait", ".0%"),
    "s": ("seconds", ".0f"),
}
# more columns, for a terminal of at least WIDE_TERMINAL characters -> name in results.csv
WIDE = {
    "rpn class": "rpn_class_loss",
    "rpn box": "rpn_bbox_loss",
    "class": "mrcnn_class_loss",
    "box": "mrcnn_bbox_loss",
    "mask": "mrcnn_mask_loss",
}
WIDE_TERMINAL = 120


class Clock:
    """Times the steps of an epoch, and how long they waited for their batches."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self.begin()

    def begin(self) -> None:
        """Start timing an epoch."""
        self.thread = threading.get_ident()
        self.start = self.end = time.monotonic()
        self.begun: list[float] = []

    def step(self) -> None:
        """Note that a step begins."""
        self.begun.append(time.monotonic())

    def stop(self) -> None:
        """Note that the last step is done."""
        self.end = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds from the start of the epoch to the end of its last step."""
        return self.end - self.start

    def step_seconds(self) -> float:
        """Return the mean seconds of a step, without the first, which may include tracing, if there are others."""
        first = 1 if len(self.begun) > 1 else 0
        return (self.end - self.begun[first]) / (len(self.begun) - first)

    def waited(self) -> float:
        """Return the seconds that steps waited for data, an upper bound.

        Where the backend fetches batches in a thread of its own (TensorFlow), a step waits from its start until its
        batch is handed out; elsewhere the training thread waits inside the loader. Meanwhile the device may still be
        busy with the step before, so the true wait can be shorter.
        """
        total = 0.0
        for (thread, asked, given), begun in zip(self.loader.handed, self.begun, strict=False):
            total += given - (asked if thread == self.thread else min(max(asked, begun), given))
        return min(total, self.seconds)


class Recorder(keras.callbacks.Callback):
    """Writes the row of an epoch into results.csv before its checkpoint, without AP. `Reporter` completes the row."""

    def __init__(self, results: Results, state: State, loader: Loader, class_names: Sequence[str]) -> None:
        super().__init__()
        self.results, self.state, self.class_names = results, state, class_names
        self.clock = Clock(loader)
        self.validation_seconds = 0.0
        self.row: Row = {}
        self.class_table = np.zeros((len(class_names), 2))
        self._in_test = False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start the clock."""
        self.validation_seconds = 0.0
        self._in_test = False
        self.clock.begin()

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Note the time at which the step begins."""
        self.clock.step()

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Keep the counts of the training ROIs, which validation resets."""
        self._in_test = True
        self._training_ended()

    def on_test_end(self, logs: dict | None = None) -> None:
        """Note the time that validation by loss took."""
        self.validation_seconds = time.monotonic() - self.clock.end

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Write the row."""
        if not self._in_test:
            self._training_ended()
        seconds = self.clock.seconds
        maker = self.clock.loader.maker
        images = maker.batch_size * maker.shard[1]  # per step, on all hosts
        self.row = {
            "epoch": epoch + 1,
            "stage": str(self.state.stage["layers"]),
            "steps": len(self.clock.begun),
            "learning_rate": float(str(np.float32(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)))),
            **{name: float(value) for name, value in (logs or {}).items()},
            "seconds": round(seconds, 3),
            "images_per_second": round(images / self.clock.step_seconds(), 3),
            "data_wait": round(self.clock.waited() / max(seconds, 1e-9), 4),
            "loss_seconds": round(self.validation_seconds, 3),
        }
        self.results.put(self.row)

    def complete(self, logs: dict[str, float], seconds: float) -> None:
        """Write the row again with the figures of validation.

        Args:
            logs: of the epoch.
            seconds: that validation by AP took; 0 without.
        """
        self.row |= {name: float(value) for name, value in logs.items()}
        self.row["ap_seconds"] = round(seconds, 3)
        self.results.put(self.row)

    def epoch_seconds(self) -> float:
        """Return the seconds that the steps of a whole epoch take."""
        return self.clock.step_seconds() * self.clock.loader.maker.steps

    def loss_seconds(self) -> float:
        """Return the seconds that validation by loss took in this epoch; the first time with its tracing."""
        return self.validation_seconds

    def _training_ended(self) -> None:
        self.class_table = self.model.class_accuracy.table()  # waits for the device
        self.clock.stop()


class Reporter(keras.callbacks.Callback):
    """Reports an epoch after checkpoint and validation: completes its row, draws curves and pictures, logs figures."""

    def __init__(
        self, run: TrainingRun, recorder: Recorder, train_dataset: Dataset, validator: Validator | None
    ) -> None:
        super().__init__()
        self.run, self.recorder, self.train_dataset, self.validator = run, recorder, train_dataset, validator
        self.folder = pathlib.Path(run.folder)
        self._pictured: list[int] = []
        self._events: EventFile | None = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Draw the first batches and open the event file.

        Raises:
            InputError: a file cannot be written.
        """
        if self._events is not None:  # the second `fit` of an epoch that was resumed
            return
        state, maker = self.recorder.state, self.recorder.clock.loader.maker
        self._events = EventFile(self.folder / "tensorboard", state.epoch + 1)
        make_folder(self.folder / "batches")
        for step in range(state.step, min(state.step + PICTURED_BATCHES, maker.steps)):
            sheet = batch_sheet(maker.batch(state.epoch, step).inputs, self.train_dataset, self.run.config)
            write_png(self.folder / "batches" / f"epoch_{state.epoch + 1:04d}_step_{step + 1:04d}.png", sheet)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Write the figures and pictures of the epoch.

        Raises:
            InputError: a file cannot be written, or a validation image cannot be read.
        """
        recorder, validator, events = self.recorder, self.validator, self._events
        assert events is not None
        recorder.complete(logs or {}, validator.seconds if validator else 0.0)
        rows = recorder.results.rows
        plot_curves(rows, self.folder / "curves.png", self.folder.name)
        for tag, value in _tags(recorder.row).items():
            events.add_scalar(tag, value, epoch + 1)
        if validator is not None:
            events.add_image("validation", self._picture_validation(epoch + 1, validator), epoch + 1)
        events.flush()
        if sys.stderr.isatty():
            console = Console(stderr=True)
            console.print(results_table(rows[-TABLE_EPOCHS:], console.width))
        else:
            for line in row_lines(recorder.row):
                log.info(line)
        log.info("  class right on sampled ROIs: %s", class_shares(recorder.class_names, recorder.class_table))

    def on_train_end(self, logs: dict | None = None) -> None:
        """Close the event file once the stage is done; another `fit` may follow before that."""
        assert self._events is not None
        if self.model.stop_training or self.run.epoch >= self.recorder.state.stage["epochs"]:
            self._events.close()

    def _picture_validation(self, epoch: int, validator: Validator) -> np.ndarray:
        result, dataset = validator.result, validator.dataset
        assert result is not None
        if not self._pictured:
            with_objects = [image_id for image_id in validator.image_ids if image_id in result.image_ap50]
            self._pictured = (with_objects or validator.image_ids)[:PICTURED_IMAGES]
        sheet = validation_sheet(result, dataset, self._pictured)
        make_folder(self.folder / "validation")
        write_png(self.folder / "validation" / f"epoch_{epoch:04d}.png", sheet)
        return sheet


def results_table(rows: Sequence[Row], width: int) -> Table:
    """Return a table of epochs for a terminal of a width in characters; a wide one shows the terms of the loss too."""
    columns = dict(COLUMNS)
    if width >= WIDE_TERMINAL:
        columns |= {name: (term, ".3f") for name, term in WIDE.items()}
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    shown = {name: column for name, column in columns.items() if any(column[0] in row for row in rows)}
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(row, name, form) for name, form in shown.values()))
    return table


def _cell(row: Row, name: str, form: str) -> str:
    value = row.get(name, math.nan)
    return "-" if isinstance(value, float) and math.isnan(value) else format(value, form)


def row_lines(row: Row) -> list[str]:
    """Return an epoch as log lines: the losses; the validation losses and AP, where they were measured."""
    lines = [
        f"epoch {row['epoch']}, {row['seconds']:.0f} s, {row['images_per_second']:.1f} images/s, "
        f"{row['data_wait']:.0%} of it waiting for data: {_losses_text(row, '')}"
    ]
    if "val_loss" in row:
        lines.append(f"  validation: {_losses_text(row, 'val_')}")
    if MASK_AP in row:
        ap = ", ".join(
            f"{title} {_cell(row, name, '.4f')}"
            for title, name in (("mask AP", MASK_AP), ("AP50", "val_mask_AP50"), ("box AP", "val_box_AP"))
        )
        lines.append(f"  {ap} (measured in {row['ap_seconds']:.0f} s)")
    return lines


def class_shares(class_names: Sequence[str], table: np.ndarray) -> str:
    """Return "car 80% of 120, truck ..." from a `ClassAccuracy.table`."""
    shares = [
        f"{name} {share:.0%} of {count:.0f}"
        for name, (count, share) in list(zip(class_names, table, strict=True))[1:]
        if count
    ]
    return ", ".join(shares) or "no ROI matched an object"


def _losses_text(row: Row, prefix: str) -> str:
    parts = [f"loss {_cell(row, prefix + 'loss', '.3f')}"]
    parts += [f"{name.removesuffix('_loss')} {_cell(row, prefix + name, '.3f')}" for name in LOSS_NAMES]
    return ", ".join(parts)


def _tags(row: Row) -> dict[str, float]:
    """Return the figures of a row by TensorBoard tag: train/loss, val/loss, val/mask_AP, run/seconds ..."""
    run = ("learning_rate", "seconds", "images_per_second", "data_wait", "loss_seconds", "ap_seconds")
    tags = {}
    for name, value in row.items():
        if name in ("epoch", "stage", "steps") or math.isnan(float(value)):
            continue
        group = "run" if name in run else "val" if name.startswith("val_") else "train"
        tags[f"{group}/{name.removeprefix('val_')}"] = float(value)
    return tags
