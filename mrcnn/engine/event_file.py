"""Write TensorBoard event files, on any backend."""

import contextlib
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from mrcnn.errors import InputError
from mrcnn.files import make_folder


class EventFile:
    """A new event file. Events are in the file after `flush` or `close`.

    The writer of tensorboardX is used without its thread, which would die of a full disk and make the next event wait
    for ever.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, folder: str | os.PathLike, first_step: int) -> None:
        """Open the file.

        Args:
            folder: of the event files; made if missing.
            first_step: TensorBoard drops what earlier files in the folder hold of this step and later ones.
        """
        from tensorboardX.event_file_writer import EventsWriter  # late: it is needed for training alone
        from tensorboardX.proto.event_pb2 import SessionLog

        self.folder = pathlib.Path(folder)
        make_folder(folder)
        # its own names are unique to the second only, and it truncates a file that exists
        unique = f".{os.getpid()}.{time.time_ns()}"
        with self._explained():
            self._writer = EventsWriter(os.path.join(folder, "events"), unique)
        self._write(first_step, session_log=SessionLog(status=SessionLog.START))

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Add a number."""
        from tensorboardX import summary

        self._write(step, summary=summary.scalar(tag, value))

    def add_image(self, tag: str, image: np.ndarray, step: int, dataformats: str = "HWC") -> None:
        """Add an image, uint8 [H, W, 3], or [H, W] with "HW" as `dataformats`."""
        from tensorboardX import summary

        self._write(step, summary=summary.image(tag, image, dataformats=dataformats))

    def flush(self) -> None:
        """Write what was added to the disk."""
        with self._explained():
            self._writer.flush()

    def close(self) -> None:
        """Write what was added, and close the file."""
        with self._explained():
            self._writer.close()

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        with self._explained():
            self._writer.write_event(Event(wall_time=time.time(), step=step, **content))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"cannot write into {self.folder}: {error.strerror}") from error
