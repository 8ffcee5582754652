"""Read the files of `torch.save`: the zip archives of PyTorch 1.6 and later, and the streams of pickles before."""

import functools
import io
import os
import struct
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

from mrcnn.foreign.pickle_machine import read_pickle
from mrcnn.foreign.pickle_names import SAVE, element_of
from mrcnn.foreign.stand_ins import RefusedError, Storage, item_bytes, latin_1
from mrcnn.text import one_line

ZIP = b"PK\x03\x04"
MAGIC = 0x1950A86A20F9469CFC6C
LEGACY = b"\x80\x02\x8a\n" + MAGIC.to_bytes(10, "little") + b"."  # a pickle of the number
PROTOCOL = 1001
MOST_KEYS = 1_000_000
ENCRYPTED = 1  # flag of a member
UNPACKED = 20  # times the size of the archive that its compressed members may have


def is_torch_zip(file: BinaryIO) -> bool:
    """Return whether a zip archive is one of `torch.save`, also if it was cut off."""
    start = file.read(30)
    (length,) = struct.unpack("<H", start[26:28].ljust(2, b"\0"))
    if start.startswith(ZIP) and file.read(length).endswith(b"/data.pkl"):  # its first member
        return True
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except (OSError, ValueError, RuntimeError, LookupError, struct.error, zipfile.BadZipFile, MemoryError):
        return False


def read_zip(file: BinaryIO) -> Any:
    """Return what a zip archive of `torch.save` holds, see `read_pickle`. Tensors read the open file later.

    Raises:
        RefusedError: it would run code, or is an archive of another kind.
        ValueError: it is damaged; so are BadZipFile and other errors of zipfile.
    """
    archive = zipfile.ZipFile(file)
    members = {member.filename: member for member in archive.infolist()}
    _refuse_odd_members(archive.infolist(), file.seek(0, os.SEEK_END))
    roots = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise RefusedError(f"it has {len(roots)} members data.pkl, but files of torch.save have one; {SAVE}")
    (root,) = roots
    if root + "constants.pkl" in members:
        raise RefusedError(f"it is a TorchScript program, not weights; {SAVE}")
    if root + "byteorder" in members and archive.read(root + "byteorder") != b"little":
        raise RefusedError("it was written on a big-endian machine; save it on a usual one")

    read = functools.cache(archive.read)  # many tensors may be views of one storage

    def content(key: str) -> Callable[[], bytes]:
        if f"{root}data/{key}" not in members:
            raise ValueError(f"it has no member {one_line(root)}data/{one_line(key)}")
        return lambda: read(f"{root}data/{key}")

    return read_pickle(io.BytesIO(archive.read(root + "data.pkl")), _Storages(content))


def _refuse_odd_members(members: list[zipfile.ZipInfo], size: int) -> None:
    """Check the sizes that an archive claims before anything is unpacked."""
    if len({member.filename for member in members}) < len(members):
        raise ValueError("it has two members of one name")
    if any(member.flag_bits & ENCRYPTED for member in members):
        raise RefusedError("it is encrypted; unpack it with its password and pack it again without")
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
        raise RefusedError("it is compressed in a way that PyTorch does not know; pack it again without compression")
    stored = [member for member in members if member.compress_type == zipfile.ZIP_STORED]
    if any(member.file_size != member.compress_size for member in stored):
        raise ValueError("it has a member whose two sizes differ")
    if sum(member.compress_size for member in members) > size:
        raise ValueError("its members claim more bytes than it has")
    if sum(member.file_size for member in members) > UNPACKED * size:
        raise ValueError("it is compressed to an extent that no weights are")


def read_legacy(file: BinaryIO) -> Any:
    """Return what a stream of PyTorch before 1.6 holds, see `read_pickle`.

    It is pickles of a magic number, a version, facts about the machine, the object, and the keys of the storages; then
    come the storages, each as a count of elements and bytes.

    Args:
        file: in memory.

    Raises:
        RefusedError: it would run code.
        ValueError: it is damaged; see `read_pickle`.
    """
    if read_pickle(file) != MAGIC or read_pickle(file) != PROTOCOL:
        raise ValueError("its version is not that of any PyTorch")
    machine = read_pickle(file)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise RefusedError("it was written on a big-endian machine; save it on a usual one")
    contents: dict[str, memoryview] = {}
    storages = _Storages(lambda key: lambda: contents[key])
    found = read_pickle(file, storages)
    keys = read_pickle(file)
    if not isinstance(keys, list) or len(keys) > MOST_KEYS or sorted(map(str, keys)) != sorted(storages.made):
        raise ValueError("its list of storages is not that of its tensors")
    rest = memoryview(file.read())
    for key in keys:
        storage = storages.made[key]
        (count,) = struct.unpack("<q", rest[:8])
        if count != storage.count:
            raise ValueError(f"a storage of {storage.count} elements is stored with {count}")
        if storage.element is None:
            raise RefusedError("it has a tensor whose type is not supported; leave it out")
        end = 8 + count * (item_bytes(storage.element) if storage.element else 1)
        if end > len(rest):
            raise ValueError("it ends within its last storage")
        contents[key], rest = rest[8:end], rest[end:]
    if len(rest):
        raise ValueError(f"it has {len(rest)} bytes behind its last storage")
    return found


class NestedStorages:
    """Reads the storages in a plain pickle of tensors, each of which is a file of `torch.save` in itself."""

    def __init__(self) -> None:
        self.read: dict[bytes | str, Storage] = {}

    def __call__(self, content: Any) -> Storage:
        """Return a storage, given the bytes of its file.

        Raises:
            RefusedError: they would run code.
            ValueError: they are damaged, or hold something else.
        """
        if content not in self.read:  # a pickle may name one content any number of times
            data = latin_1(content)
            storage = read_legacy(io.BytesIO(data)) if data.startswith(LEGACY) else None
            if not isinstance(storage, Storage):
                raise ValueError("it has bytes in place of a storage of PyTorch")
            self.read[content] = storage
        return self.read[content]


class _Storages:
    """Makes the storages that a pickle refers to, each once."""

    def __init__(self, content: Callable[[str], Callable[[], Any]]) -> None:
        self.content = content
        self.made: dict[str, Storage] = {}

    def __call__(self, named: Any) -> Storage:
        """Return a storage.

        Args:
            named: ("storage", type, key, device, count), and in old files a view, which must be None.
        """
        if isinstance(named, tuple) and named[:1] == ("module",):
            raise RefusedError(f"it is a whole model, not its weights, and would run its code. Nothing was run; {SAVE}")
        if not isinstance(named, tuple) or len(named) not in (5, 6) or named[0] != "storage":
            raise ValueError("it refers to something that is no storage")
        _, kind, key, _, count = named[:5]
        if named[5:] not in ((), (None,)):
            raise RefusedError("it has views of storages, as PyTorch wrote before 0.4; save it with a newer one")
        if not isinstance(key, str) or type(count) is not int or count < 0:
            raise ValueError("it has a storage without a name or a size")
        element = element_of(kind)
        made = self.made.setdefault(key, Storage(element, count, self.content(key)))
        if (made.element, made.count) != (element, count):
            raise ValueError(f"its storage {one_line(key)} has two sizes or types")
        return made
