"""Write files that are either complete or absent."""

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TextIO

from mrcnn.errors import InputError


@contextlib.contextmanager
def written_whole(path: str | os.PathLike, durable: bool = True) -> Iterator[pathlib.Path]:
    """Yield a temporary file beside `path`: it replaces `path` if the block succeeds and is deleted if the block fails.

    Args:
        path: the file to write; its folder must exist.
        durable: wait until the bytes are on disk, so that a power cut cannot lose them. Not worth the milliseconds for
            files that are quick to make again.

    Raises:
        InputError: the disk is full or the file cannot be written; whatever was at `path` before is still there.
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
        temporary.chmod(0o666 & ~umask)  # mkstemp creates files that only their owner can read
        if durable:
            _sync(temporary)
        temporary.replace(path)
        if durable:
            _sync(path.parent)
    except OSError as error:
        kept = "the previous file is kept" if path.exists() else "no partial file is left"
        raise InputError(f"cannot write {path} ({error}): is the disk full? {kept}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: pathlib.Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: str | os.PathLike[str], value: Any, indent: int | None = None) -> None:
    """Write a value as JSON; the file is complete or absent. Numbers that are not finite raise ValueError.

    Raises:
        InputError: see `written_whole`.
    """
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=indent, allow_nan=False), encoding="utf-8")


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write bytes, such as an encoded image; the file is complete or absent.

    Raises:
        InputError: see `written_whole`.
    """
    with written_whole(path, durable=False) as temporary:
        temporary.write_bytes(data)


class JsonListFile:
    """Write a JSON list entry by entry, as a context manager; the file appears once the block succeeds.

    Raises:
        InputError: see `written_whole`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        self._stack = contextlib.ExitStack()
        self._file: TextIO | None = None
        self._separator = "["
        self._encode = json.JSONEncoder(allow_nan=False).encode  # json.dumps would create an encoder per entry

    def write(self, entry: dict[str, Any]) -> None:
        """Append an entry. Raises ValueError if it contains a number that is not finite."""
        assert self._file is not None, "used as a context manager"
        self._file.write(self._separator + self._encode(entry))
        self._separator = ",\n"

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._stack.enter_context(written_whole(self.path))
        self._file = self._stack.enter_context(temporary.open("w", encoding="utf-8"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._file is not None:
            self._file.write("[]\n" if self._separator == "[" else "]\n")
        self._stack.__exit__(kind, error, trace)


def refuse_unwritable(path: str | os.PathLike[str]) -> None:
    """Check that a file can be written, before the work whose result it is to hold.

    Raises:
        InputError: it is a folder or a device, its folder does not exist, or that cannot be written.
    """
    path = pathlib.Path(path)
    try:
        if path.is_dir():
            raise InputError(f"cannot write {path}: it is a folder; give the name of a file")
        if path.exists() and not path.is_file():
            raise InputError(f"cannot write {path}: it is no regular file")
        if not path.parent.is_dir():
            raise InputError(f"cannot write {path}: there is no folder {path.parent}; create it first")
        with tempfile.TemporaryFile(prefix=path.name + ".", dir=path.parent):  # its name would be about as long
            pass
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another file") from error
