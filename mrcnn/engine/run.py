"""A training run: the network, its settings, where it is written, and how far it has come."""

import contextlib
import dataclasses
import logging
import os
import pathlib
from collections.abc import Iterator

import keras

from mrcnn.backend.hosts import is_first_host, own_folder
from mrcnn.config import Config, settings
from mrcnn.engine import checkpoints, run_folder, run_lock
from mrcnn.engine.checkpoints import State
from mrcnn.engine.run_lock import RunLock
from mrcnn.errors import InputError
from mrcnn.files import make_folder, remove_unfinished

log = logging.getLogger(__name__)


@dataclasses.dataclass
class TrainingRun:
    """What `mrcnn.engine.trainer.fit` trains. The trainer advances `epoch` and may replace `network` (other size).

    Attributes:
        network: the training network with its present weights.
        config: its settings.
        folder: where the run writes its files; made when training starts.
        checkpoint_path: path of the checkpoints, with the placeholder {epoch:04d}.
        epoch: epochs that are done.
        class_names: of the training data, background first; empty before the first training.
        pending_state: the state from which the next call of `fit` starts, or None.
        trained_with: what the last call of `fit` began with, or None before the first: the optimizer belongs to it.
    """

    network: keras.Model
    config: Config
    folder: str = ""
    checkpoint_path: str = ""
    epoch: int = 0
    class_names: list[str] = dataclasses.field(default_factory=list)
    pending_state: State | None = None
    trained_with: State | None = None
    _new: str = dataclasses.field(default="", repr=False)  # a folder that is to be of this run alone
    _lock: RunLock | None = dataclasses.field(default=None, repr=False)

    def place(self, model_dir: str | os.PathLike, checkpoint: str | os.PathLike | None = None) -> None:
        """Choose the folder, the names of the checkpoints and the epoch to count from.

        Args:
            model_dir: the folder that holds the run folders.
            checkpoint: one that this project wrote: its folder and epoch are taken up again. None, or any other file: a
                new folder NAME + date, epoch 0.
        """
        folder, self.epoch = run_folder.folder_and_epoch(model_dir, self.config.NAME, checkpoint)
        self._write_into(folder)
        again = checkpoint is not None and folder == os.path.dirname(os.fspath(checkpoint))
        self._new = "" if again else self.folder

    def checkpoint(self, epoch: int) -> pathlib.Path:
        """Return the path of the checkpoint of an epoch, counted from 1."""
        return pathlib.Path(self.checkpoint_path.format(epoch=epoch))

    @property
    def best_checkpoint(self) -> pathlib.Path:
        """mask_rcnn_NAME_best.h5 in the run folder: a copy of the checkpoint with the best mask AP."""
        return pathlib.Path(self.checkpoint_path.replace("{epoch:04d}", "best"))

    def reuse_moments_of(self, checkpoint: str | os.PathLike) -> None:
        """Let the next training start with the optimizer moments saved beside a checkpoint, if they belong to it.

        Raises:
            InputError: the state file there is broken.
        """
        self.pending_state = checkpoints.state_of(checkpoint, self.epoch)

    def resume(self, folder: str | os.PathLike) -> State:
        """Take up a stopped run: the next training with its settings gives the weights that it would have given.

        Args:
            folder: of the run, with its state.

        Raises:
            InputError: there is no state, or it is broken.
        """
        state = checkpoints.read_state(folder)
        if state is None:
            raise InputError(
                f"{folder} holds no {checkpoints.STATE_FILE}; give the folder of a run, or a checkpoint "
                "with --weights PATH"
            )
        self.epoch = state.epoch
        self._write_into(os.path.dirname(os.path.join(folder, "")))  # without a slash at its end
        self._new = ""
        self.pending_state = dataclasses.replace(state, exact=True)
        return state

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the lock of the run folder, so that no other training writes into it. May be nested.

        A new run gets its folder here, with a suffix where another run has its name. What a killed run left unfinished
        in the folder is deleted.

        Raises:
            InputError: another training holds the lock, NAME is unfit for a folder, or the folder cannot be written.
        """
        if self._lock is not None or not is_first_host():  # other hosts write into a folder that only they know
            make_folder(self.folder)
            yield
            return
        self._lock = self._take_folder()
        try:
            if left := remove_unfinished(self.folder):
                log.info("deleted %d unfinished files that a killed run had left in %s", left, self.folder)
            yield
        finally:
            self._lock.close()
            self._lock = None

    def _take_folder(self) -> RunLock:
        # Clients may have assigned it after `validate`.
        settings()["NAME"].rule.check("NAME", self.config.NAME)
        if self.folder != self._new:  # it is taken up again, or was assigned
            make_folder(self.folder)
            return RunLock(self.folder)
        folder, lock = run_lock.claim_new(self.folder)
        if folder != self.folder:
            self._write_into(folder)
        self._new = ""
        return lock

    def _write_into(self, folder: str) -> None:
        self.folder = own_folder(folder)
        self.checkpoint_path = os.path.join(self.folder, run_folder.checkpoint_name(self.config.NAME))
