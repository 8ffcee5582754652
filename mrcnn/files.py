"""Write files and folders that are either complete or absent.

What is being written lies beside its target under a hidden name that follows from the target's, and is locked. So the
next writer of the same target takes over what a killed process has left, and leaves alone what another one writes.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import pathlib
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TextIO

from mrcnn.errors import InputError, reason
from mrcnn.text import without_surrogates

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

Path = str | os.PathLike[str]
MOST_WRITERS = 100  # of one file at the same time
# How file systems say that they have no locks
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_UNFINISHED = re.compile(r"\.[0-9a-f]{16}-\w+\.tmp.*")  # the names that _place gives
_NO_JSON = "JSON holds no number that is not finite or has thousands of digits"


@contextlib.contextmanager
def written_whole(path: Path, durable: bool = True, suffix: str = "") -> Iterator[pathlib.Path]:
    """Yield a temporary file beside `path`: it replaces `path` if the block succeeds and is deleted if the block fails.

    Args:
        path: the file to write; its folder must exist. What a link leads to is written; so is a device or a pipe.
        durable: wait until the bytes are on disk, so that a power cut cannot lose them. Not worth the milliseconds for
            files that are quick to make again.
        suffix: of the temporary file, for writers that look at it.

    Raises:
        InputError: the disk is full or the file cannot be written; whatever was at `path` before is still there.
    """
    with _said(path):
        target = pathlib.Path(os.path.realpath(path))
        if not _is_special(target):
            with _place(target, suffix) as temporary:
                yield temporary
                if durable:
                    _sync(temporary)
                temporary.replace(target)
            if durable:
                _sync(target.parent)
            return
        with tempfile.TemporaryDirectory() as folder:
            temporary = pathlib.Path(folder, f"content{suffix}")
            yield temporary
            with temporary.open("rb") as source, target.open("wb") as out:
                shutil.copyfileobj(source, out)


@contextlib.contextmanager
def folder_written_whole(path: Path) -> Iterator[pathlib.Path]:
    """Yield an empty folder beside `path`: it replaces `path` if the block succeeds and is deleted if the block fails.

    Args:
        path: the folder to write or replace; its parent must exist.

    Raises:
        InputError: the disk is full or the folder cannot be written; whatever was at `path` before is still there.
    """
    with _said(path):
        target = pathlib.Path(os.path.realpath(path))
        if target.exists() and not target.is_dir():
            raise InputError(f"cannot write {path}: it is a file; give the name of a folder")
        with _place(target, folder=True) as place:
            new, old = place / "new", place / "old"
            if old.exists() and not target.exists():
                old.rename(target)  # a process was killed between the two renames below
            for left_over in (new, old):
                shutil.rmtree(left_over, ignore_errors=True)
            new.mkdir()
            yield new
            try:
                if target.exists():
                    target.rename(old)
                new.rename(target)
            finally:
                if old.exists() and not target.exists():
                    old.rename(target)


def make_folder(path: Path) -> pathlib.Path:
    """Make a folder, with those above it, unless it is there, and return it.

    Raises:
        InputError: it cannot be made.
    """
    with _said(path, "create the folder"):
        pathlib.Path(path).mkdir(parents=True, exist_ok=True)
    return pathlib.Path(path)


@contextlib.contextmanager
def _said(path: Path, action: str = "write") -> Iterator[None]:
    """Turn an error of the system into an InputError that names what is being written."""
    try:
        yield
    except InputError:  # some are OSErrors too
        raise
    except OSError as error:
        kept = "; the previous one is kept" if action == "write" and _is_there(path) else ""
        raise InputError(f"cannot {action} {os.fsdecode(path)}: {reason(error)}{kept}") from error
    except ValueError as error:
        if not isinstance(error, UnicodeEncodeError) and "null byte" not in str(error):
            raise
        raise InputError(f"cannot {action} {os.fsdecode(path)!r}: no file can have such a name ({error})") from error


def _is_there(path: Path) -> bool:
    return os.path.isfile(path) or os.path.isdir(path)


def _is_special(path: pathlib.Path) -> bool:
    """Return whether a path is a device, a pipe or a socket. Raises InputError for a folder."""
    try:
        kind = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(kind):
        raise InputError(f"cannot write {path}: it is a folder; give the name of a file")
    return not stat.S_ISREG(kind)


@contextlib.contextmanager
def _place(target: pathlib.Path, suffix: str = "", folder: bool = False) -> Iterator[pathlib.Path]:
    """Yield a temporary file, or folder, beside a target, locked; what is left of it at the end is deleted.

    A file is empty; a folder may hold what a killed process left in it.
    """
    stem = "." + hashlib.sha1(os.fsencode(target.name)).hexdigest()[:16]
    if not _has_locks(target.parent):
        with _place_of_its_own(target.parent, f"{stem}-", f".tmp{suffix}", folder) as path:
            yield path
        return
    paths = (target.with_name(f"{stem}-{number}.tmp{suffix}") for number in range(MOST_WRITERS))
    for path in paths:
        handle = _take(path, folder)
        if handle is not None:
            break
    else:
        raise InputError(f"cannot write {target}: {MOST_WRITERS} others are writing it; wait, or choose another name")
    try:
        for left_over in itertools.takewhile(os.path.lexists, paths):  # of a second writer that was killed
            if (other := _take(left_over, folder)) is not None:
                _delete(left_over, other)
        yield path
    finally:
        _delete(path, handle)


def _has_locks(folder: pathlib.Path) -> bool:
    """Return whether files in a folder can be locked. Raises OSError if it cannot be opened."""
    if fcntl is None:  # Windows opens no folders either
        return False
    handle = os.open(folder, os.O_RDONLY)
    try:
        take_lock(handle, shared=True)
    except OSError as error:
        return error.errno not in NO_LOCKS
    finally:
        os.close(handle)
    return True


def take_lock(handle: int, shared: bool = False) -> bool:
    """Lock an open file or folder until it is closed, or the process ends; return False if another one has the lock.

    Args:
        handle: of `os.open`.
        shared: whether others may have such a lock too.

    Raises:
        OSError: it cannot be locked; `errno` is one of NO_LOCKS where nothing can be.
    """
    if fcntl is None:
        raise OSError(errno.ENOSYS, "this operating system has no flock")
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _place_of_its_own(parent: pathlib.Path, prefix: str, suffix: str, folder: bool) -> Iterator[pathlib.Path]:
    """Yield a temporary file or folder of a name that nobody else has, where nothing can be locked."""
    if folder:
        with tempfile.TemporaryDirectory(suffix, prefix, parent) as name:
            yield pathlib.Path(name)
        return
    handle, name = tempfile.mkstemp(suffix, prefix, parent)
    os.close(handle)
    path = pathlib.Path(name)
    try:
        umask = os.umask(0)
        os.umask(umask)
        path.chmod(0o666 & ~umask)  # mkstemp creates files that only their owner can read
        yield path
    finally:
        path.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> int:
    """Delete what killed processes left of files that they were writing in a folder or below, and return how many.

    Call it while nobody else writes there.
    """
    left = [path for path in pathlib.Path(folder).rglob(".*.tmp*") if _UNFINISHED.fullmatch(path.name)]
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(left)


def _take(path: pathlib.Path, folder: bool) -> int | None:
    """Make and lock a temporary file or folder; return its handle, or None if it belongs to somebody else."""
    if folder:
        with contextlib.suppress(FileExistsError):
            path.mkdir()
    flags = os.O_RDONLY if folder else os.O_RDWR | os.O_CREAT
    try:
        handle = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR) or (folder and error.errno == errno.ENOENT):
            return None  # a link; a folder; deleted at this moment
        raise
    if not _lock(handle, path):
        os.close(handle)
        return None
    if not folder:
        os.ftruncate(handle, 0)
    return handle


def _delete(path: pathlib.Path, handle: int) -> None:
    """Delete a temporary file or folder, unless it was renamed to its target, and give up its lock."""
    if _is(handle, path):  # after a rename the path may be another writer's already
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    os.close(handle)


def _is(handle: int, path: pathlib.Path) -> bool:
    """Return whether an open file is the one that has this path now."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


def _lock(handle: int, path: pathlib.Path) -> bool:
    """Lock an open file for this process; return False if another one has it, or has moved it meanwhile."""
    if not take_lock(handle):
        return False
    mine = os.fstat(handle)
    single = stat.S_ISDIR(mine.st_mode) or (stat.S_ISREG(mine.st_mode) and mine.st_nlink == 1)
    return single and _is(handle, path)


def _sync(path: pathlib.Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on disk."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Write a value as JSON, in ASCII; the file is complete or absent. See `json_text`.

    Raises:
        InputError: a number is not finite; see also `written_whole`.
    """
    try:
        text = json_text(value, indent)
    except ValueError as error:
        raise InputError(f"cannot write {os.fsdecode(path)}: {_NO_JSON} ({error})") from error
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="ascii")


def json_text(value: Any, indent: int | None = None) -> str:
    r"""Return a value as JSON, in ASCII. Bytes of file names that are no UTF-8 become text such as \xff.

    A number that is not finite is a ValueError, as in `json.dumps`.
    """
    text = json.dumps(value, indent=indent, allow_nan=False)
    if "\\ud" not in text:
        return text
    return json.dumps(_whole(value), indent=indent, allow_nan=False)


def _whole(value: Any) -> Any:
    """Return a value of JSON in which no text has half of a surrogate pair."""
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, dict):
        return {_whole(key): _whole(entry) for key, entry in value.items()}
    return [_whole(entry) for entry in value] if isinstance(value, list | tuple) else value


def write_bytes(path: Path, data: bytes) -> None:
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

    def __init__(self, path: Path) -> None:
        self.path = pathlib.Path(path)
        self._stack = contextlib.ExitStack()
        self._file: TextIO | None = None
        self._separator = "["
        self._encode = json.JSONEncoder(allow_nan=False).encode  # json.dumps would create an encoder per entry

    def write(self, entry: dict[str, Any]) -> None:
        """Append an entry, as `json_text` gives it. Raises InputError if it contains a number that is not finite."""
        assert self._file is not None, "used as a context manager"
        try:
            text = self._encode(entry)
        except ValueError as error:
            raise InputError(f"cannot write {self.path}: {_NO_JSON} ({error})") from error
        self._file.write(self._separator + (json_text(entry) if "\\ud" in text else text))
        self._separator = ",\n"

    def __enter__(self) -> Self:
        make_folder(self.path.parent)
        temporary = self._stack.enter_context(written_whole(self.path))
        self._file = self._stack.enter_context(temporary.open("w", encoding="ascii"))
        self._stack.push(self._finish)
        return self

    def _finish(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._file is not None:
            self._file.write("[]\n" if self._separator == "[" else "]\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
