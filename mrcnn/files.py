"""Files that are whole or not there at all."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

from mrcnn.errors import InputError


@contextlib.contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A temporary file beside `path` that takes its name, synced, if the block succeeds, and vanishes if it fails.

    Raises:
        InputError: the disk is full or refuses the file; what was at `path` before is still there.
    """
    path = pathlib.Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another folder") from error
    os.close(handle)
    temporary = pathlib.Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner can read
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        kept = "what was there before is kept" if path.exists() else "nothing is left of it"
        raise InputError(f"cannot write {path} ({error}): is the disk full? {kept}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: pathlib.Path) -> None:
    """Waits until a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
