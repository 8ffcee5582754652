"""Lock a run folder, so that one training at a time writes into it.

The lock is one of the operating system on a file in the folder: it ends with the process that holds it, however that
ends, and is never left behind. The file stays, and marks the folder as one that a run has.
"""

import contextlib
import datetime
import itertools
import logging
import os
import pathlib
import socket
import tempfile

from mrcnn.engine.checkpoints import STATE_FILE
from mrcnn.errors import InputError
from mrcnn.files import NO_LOCKS, make_folder, take_lock
from mrcnn.text import one_line

log = logging.getLogger(__name__)

LOCK_FILE = "run.lock"


class RunLock:
    """The lock of a folder that exists, held until `close` or the end of the process.

    Where the file system has no locks, a warning is logged and nothing is locked.

    Raises:
        InputError: another training holds it, or the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike, new: bool = False) -> None:
        """Lock a folder.

        Args:
            folder: the run folder.
            new: whether the lock file must not exist yet; FileExistsError is raised if it does.
        """
        path = pathlib.Path(folder) / LOCK_FILE
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | (os.O_EXCL if new else 0), 0o666)
        except FileExistsError:
            raise
        except OSError as error:
            raise InputError(f"cannot write into the run folder {folder}: {error.strerror}") from error
        try:
            self._lock(path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the lock."""
        os.close(self._handle)

    def _lock(self, path: pathlib.Path) -> None:
        try:
            taken = take_lock(self._handle)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise InputError(f"cannot lock the run folder {path.parent}: {error.strerror}") from error
            taken = True
            log.warning(
                "%s cannot be locked (%s): make sure that no second training writes into it",
                path.parent,
                error.strerror,
            )
        if not taken:
            owner = os.pread(self._handle, 200, 0).decode(errors="replace").strip()
            raise InputError(
                f"another training is writing into {path.parent} ({one_line(owner) or 'just started'}): wait for its "
                "end, or stop it. To train from one of its checkpoints meanwhile, copy that file to another folder"
            )
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        with contextlib.suppress(OSError):  # a full disk: the text is for people alone
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"process {os.getpid()} on {socket.gethostname()} since {now}\n".encode(), 0)


def claim_new(folder: str) -> tuple[str, RunLock]:
    """Make and lock a folder that no other run has: `folder`, or where that is taken `folder`-2, -3 and so on.

    A folder that exists is not taken if it holds nothing of a run: callers may have made it for files of their own.

    Returns:
        The folder and its lock.

    Raises:
        InputError: the folder cannot be made.
    """
    for number in itertools.count(1):
        candidate = pathlib.Path(folder if number == 1 else f"{folder}-{number}")
        make_folder(candidate)
        if (candidate / STATE_FILE).exists() or any(candidate.glob("mask_rcnn_*.h5")):
            continue  # of a version that had no locks
        with contextlib.suppress(FileExistsError):
            return os.fspath(candidate), RunLock(candidate, new=True)
    raise AssertionError("not reached")


def refuse_unusable(folder: str | os.PathLike) -> None:
    """Check before a training that a folder can be written, or made, and that no other training writes into it.

    Args:
        folder: the run folder, or for a new run that of all runs.

    Raises:
        InputError: it cannot, or another training does.
    """
    place = pathlib.Path(folder).absolute()
    existing = next(above for above in (place, *place.parents) if os.path.lexists(above))
    if not existing.is_dir():
        raise InputError(f"cannot write into {folder}: {existing} is no folder")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror}; choose another folder") from error
    if (place / LOCK_FILE).exists():
        RunLock(folder).close()
