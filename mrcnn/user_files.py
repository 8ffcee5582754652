"""Read users' files: the bytes of regular files, text and JSON. Whatever is in them, the error is an `InputError`."""

import codecs
import json
import logging
import os
import re
import stat
import sys
from typing import Any, BinaryIO

import numpy as np

from mrcnn.errors import InputError

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
MAX_DEPTH = 100  # lists and objects inside each other; label files have ten, and Python's recursion ends at 1,000
_MARKS = np.zeros(256, np.int8)  # what a byte of JSON opens or closes
_MARKS[list(b"[{")], _MARKS[list(b"]}")], _MARKS[ord('"')] = 1, -1, 2
# An escaped character beyond 16 bits, half of one, any other escape
_ESCAPE = re.compile(r"(\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w)|(\\u[dD][89a-fA-F]\w\w)|(\\.)", re.DOTALL | re.ASCII)
_HALF = re.compile(r"\\u[dD][89a-fA-F]")

log = logging.getLogger(__name__)


def open_file(path: str | os.PathLike[str], pipe: bool = False) -> BinaryIO:
    """Open a regular file for reading: a pipe would block, and a device need not end.

    Args:
        path: the file.
        pipe: whether a pipe is fine too, such as `<(command)` that a user gives as a file.

    Raises:
        InputError: it is missing, cannot be opened, or is something else.
    """
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
        if kind == stat.S_IFREG or (kind == stat.S_IFIFO and pipe):
            return open(path, "rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # the path has a NUL
        raise InputError(f"{os.fspath(path)!r}: no file has such a name ({error})") from error
    what = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}.get(kind, "device")
    raise InputError(f"{path}: cannot be read: it is a {what}, not a file")


def read_bytes(path: str | os.PathLike[str], pipe: bool = False) -> bytes:
    """Return the bytes of a file.

    Args:
        path: the file.
        pipe: as for `open_file`.

    Raises:
        InputError: see `open_file`.
    """
    with open_file(path, pipe) as file:
        try:
            return file.read()
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def read_text(path: str | os.PathLike[str], pipe: bool = False) -> str:
    """Return a text file: UTF-8, or UTF-16 with a byte order mark, as some Windows programs write it.

    Args:
        path: the file.
        pipe: as for `open_file`.

    Raises:
        InputError: it cannot be read, or is not such text.
    """
    return _decode(read_bytes(path, pipe), str(path))


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-16" if data.startswith(UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: is not a text file in UTF-8 (byte {error.start})") from error


def read_json(path: str | os.PathLike[str], pipe: bool = False) -> Any:
    """Parse a JSON file; see `parse_json`.

    Args:
        path: the file.
        pipe: as for `open_file`.

    Raises:
        InputError: it cannot be read, or is not JSON.
    """
    return parse_json(read_bytes(path, pipe), str(path))


def parse_json(data: bytes | str, name: str) -> Any:
    """Parse JSON.

    NaN and Infinity are read, as Python writes them. Half a surrogate pair, which no file can be named or written with,
    becomes U+FFFD.

    Args:
        data: the text; bytes are decoded as by `read_text`.
        name: of the file, for messages.

    Raises:
        InputError: it is not JSON, nests more than MAX_DEPTH lists and objects, has an integer of thousands of digits,
            or a key with two values; the message names the line and the column where it can.
    """
    text = _decode(data, name) if isinstance(data, bytes) else data
    if _depth(text.encode("utf-8", "surrogatepass")) > MAX_DEPTH:
        raise InputError(f"{name}: its JSON is nested more deeply than that of any label file ({MAX_DEPTH} levels)")
    if _HALF.search(text):
        text = _whole_characters(text, name)
    try:
        return json.loads(text, object_pairs_hook=_fields)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{name}: broken JSON at {place}: {error.msg}. Is the file complete?") from error
    except _TwoValuesError as error:
        raise InputError(f"{name}: the key {error.args[0]!r:.60} has two values in one object; keep one") from None
    except ValueError as error:
        digits = sys.get_int_max_str_digits()
        raise InputError(f"{name}: has a number that is too long, with more than {digits} digits") from error


class _TwoValuesError(ValueError):
    """A key comes twice in an object."""


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises _TwoValuesError if a key has two values."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        for key, value in pairs:
            if repr(fields[key]) != repr(value):  # NaN equals NaN
                raise _TwoValuesError(key)
    return fields


def _depth(data: bytes) -> int:
    """How many lists and objects of JSON are inside each other; brackets in strings do not count."""
    if b"\\" in data:
        data = re.sub(rb"\\.", b"", data, flags=re.DOTALL)
    marks = _MARKS[np.frombuffer(data, np.uint8)]
    marks = marks[marks != 0]
    outside = np.cumsum(marks == 2) % 2 == 0
    return int(np.cumsum(np.where(outside & (marks != 2), marks, 0)).max(initial=0))


def _whole_characters(text: str, name: str) -> str:
    """JSON text with U+FFFD for each escape that is half a surrogate pair."""
    halves = 0

    def replaced(match: re.Match[str]) -> str:
        nonlocal halves
        halves += match[2] is not None
        return match[0] if match[2] is None else "\\ufffd"

    text = _ESCAPE.sub(replaced, text)
    if halves:
        log.warning("%s: %d escapes such as \\ud800 are half a character; read as \\ufffd", name, halves)
    return text
