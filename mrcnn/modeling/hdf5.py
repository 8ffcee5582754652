"""Write HDF5 files with a checksum, and read HDF5 files of any origin without trusting them.

`written` adds one line of text behind the end of the HDF5 file, where no program for HDF5 looks: the SHA-256 of all
bytes before it. `opened` verifies it. A program that changes such a file cuts the line off; files without it, such as
those of other programs, are read without that check. Reading follows hard links only, so that a file cannot make
another file be read, and compares sizes with what is stored before memory is allocated.

Functions raise ValueError with a reason; within `opened` it becomes an InputError that names the file.
"""

import collections
import contextlib
import hashlib
import io
import math
import mmap
import os
import pathlib
import struct
import zlib
from collections.abc import Iterator

import h5py
import numpy as np
from h5py import h5d, h5z

from mrcnn.errors import InputError
from mrcnn.files import written_whole
from mrcnn.text import one_line

CHECKSUM = b"\nmrcnn sha256 "  # and 64 hexadecimal digits and a newline
CHECKSUM_BYTES = len(CHECKSUM) + 64 + 1
HEADER = b"\x89HDF\r\n\x1a\n\0"  # of the files that `written` makes: signature and version
HEAP = b"GCOL\1\0\0\0"
BLOCK = 1 << 22  # bytes read at once for the checksum

# gzip, shuffle, fletcher32 and lzf are part of h5py; any other filter could load a plug-in.
FILTERS = {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32, h5z.FILTER_LZF}
MOST_CHUNKS = 10_000  # h5py itself chooses chunks of up to 1 MiB
CHUNK_BYTES = 1 << 26  # a chunk may be larger than its array
ATTRIBUTE_BYTES = 1 << 24
MOST_NAMES = 100_000
# kind of the wanted numpy type -> kinds that may be stored
KINDS = {"f": "f", "i": "iu", "u": "iu", "b": "b"}


# ---------------------------------------------------------------------------------------------------------------------
# Files


@contextlib.contextmanager
def written(path: str | os.PathLike) -> Iterator[h5py.File]:
    """Yield a new HDF5 file in memory; if the block succeeds, write it to `path` with its checksum.

    It is written from memory because the HDF5 library cannot report a full disk: it crashes when it closes the file.

    Raises:
        InputError: the file cannot be written; whatever was at `path` before is still there.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        yield file
    with written_whole(path) as temporary, temporary.open("wb") as out, buffer.getbuffer() as content:
        out.write(content)
        out.write(CHECKSUM + hashlib.sha256(content).hexdigest().encode() + b"\n")


@contextlib.contextmanager
def opened(path: str | os.PathLike, complaint: str, advice: str) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading and verify its checksum, if it has one.

    Args:
        path: the file.
        complaint: begins the message of an error, for example "cannot read weights from w.h5".
        advice: ends the message: what to do.

    Raises:
        InputError: the file is missing, damaged or no HDF5 file, or the block raised an error of h5py or a ValueError.
    """
    path = pathlib.Path(path)
    try:
        _verify(path)
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(h5py.File(path, "r"))
            except OSError as error:
                raise ValueError(f"it is not an HDF5 file, or it is truncated ({error})") from error
            yield file
    except InputError:
        raise
    # what h5py raises for damaged files
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, ArithmeticError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{complaint}: {one_line(reason, 400)}; {advice}") from error


def _verify(path: pathlib.Path) -> None:
    """Raise ValueError if a file has a checksum that is not that of its bytes, or none and a heap without end."""
    with path.open("rb") as file:
        start = file.read(48)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - CHECKSUM_BYTES))
        line = file.read()
        if line.startswith(CHECKSUM):
            file.seek(0)
            whole = line == CHECKSUM + _sha256(file, size - CHECKSUM_BYTES).encode() + b"\n"
        else:  # a damaged line is longer than the file of HDF5, whose length is in its header
            whole = not start.startswith(HEADER) or size - int.from_bytes(start[40:48], "little") != CHECKSUM_BYTES
            if size:
                _refuse_endless_heaps(file)
    if not whole:
        raise ValueError("its checksum is wrong: bytes have changed since it was written")


def _refuse_endless_heaps(file: io.BufferedReader) -> None:
    """Raise ValueError if a heap of texts has an object without a length: HDF5 1.14 would read it for ever.

    A heap is a signature, its length, and objects: index (0: free space), count of references, length, content.
    """
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(HEAP)
        while start >= 0:
            at, end = start + 16, start + int.from_bytes(content[start + 8 : start + 16], "little")
            while at + 16 <= end <= len(content):
                index, length = struct.unpack("<H6xQ", content[at : at + 16])
                step = 16 + -(-length // 8) * 8 if index else length
                if step == 0 or step >= 1 << 63:
                    raise ValueError("it has a damaged heap")
                at += step
            start = content.find(HEAP, start + 1)


def _sha256(file: io.BufferedReader, size: int) -> str:
    """Return the SHA-256 of the next `size` bytes of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    while size > 0 and (block := file.read(min(BLOCK, size))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# Groups and arrays


def find(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """Return what a group holds under a name such as "conv1/kernel:0", or None.

    Raises:
        ValueError: a soft or external link stands on the way, the name leads elsewhere (".."), or it leads to an array
            whose values are not stored plainly, see `refuse_unplain`.
    """
    item = group
    for part in name.split("/"):
        if part in ("", ".", ".."):
            raise ValueError(f"{one_line(name)!r} is no plain name")
        link = item.get(part, getlink=True) if isinstance(item, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{one_line(name)} is a link to another place, which is not followed")
        item = item[part]
    if isinstance(item, h5py.Dataset):
        refuse_unplain(item)
    return item


def refuse_unplain(dataset: h5py.Dataset) -> None:
    """Check that the values of an array are stored in its own file, complete, and in no more memory than it claims.

    Raises:
        ValueError: they are stored in another file, only in part or not at all, by a filter that needs a plug-in, or in
            chunks out of proportion.
    """
    where, stored = one_line(dataset.name), dataset.id.get_create_plist()
    if stored.get_layout() == h5d.VIRTUAL or stored.get_external_count():
        raise ValueError(f"{where} has its values in another file, which is not read")
    if dataset.shape is None:
        raise ValueError(f"{where} has no values")
    codes = [stored.get_filter(number)[0] for number in range(stored.get_nfilters())]
    if not FILTERS.issuperset(codes) or len(set(codes)) < len(codes):
        raise ValueError(f"{where} is compressed in a way that is not supported (filters {codes}); use gzip or none")
    size = math.prod(dataset.shape) * dataset.id.get_type().get_size()
    if size and dataset.id.get_space_status() != h5d.SPACE_STATUS_ALLOCATED:
        raise ValueError(f"{where} was never filled with values")
    if dataset.chunks is None:
        if size > dataset.file.id.get_filesize():
            raise ValueError(f"{where} claims {size} bytes, more than the file has")
    elif size:
        _refuse_odd_chunks(dataset, size)


def _refuse_odd_chunks(dataset: h5py.Dataset, size: int) -> None:
    chunk_bytes = math.prod(dataset.chunks) * dataset.id.get_type().get_size()
    count = math.prod(-(-side // step) for side, step in zip(dataset.shape, dataset.chunks, strict=True))
    if count > MOST_CHUNKS or chunk_bytes > max(CHUNK_BYTES, size):
        raise ValueError(
            f"{one_line(dataset.name)} is stored in {count} chunks of {chunk_bytes} bytes; store it in one"
        )


def type_of(dataset: h5py.Dataset) -> np.dtype | None:
    """Return the type of an array's values, or None where numpy has no such type."""
    try:
        return dataset.dtype
    except (TypeError, ValueError):
        return None


def values(dataset: h5py.Dataset, dtype: str | None = None) -> np.ndarray:
    """Return the values of an array. Compare its shape with the wanted one before.

    Args:
        dataset: from `find`.
        dtype: "float32", "int32", "bool" and so on, to which numbers of the same kind are converted; None: any floats
            and integers, in their type.

    Returns:
        The values [...] in the shape of the array; float32 and so on, as `dtype` or as stored.

    Raises:
        ValueError: the values are of another kind (text, bool, complex), not finite or too large for the type.
    """
    stored = type_of(dataset)
    kinds = "fiu" if dtype is None else KINDS[np.dtype(dtype).kind]
    if stored is None or stored.kind not in kinds:
        raise ValueError(f"its values are {_kind(stored)}, not {'numbers' if dtype is None else dtype}")
    _refuse_bombs(dataset)
    found = np.asarray(dataset[()])
    with np.errstate(over="ignore"):
        wanted = found if dtype is None else found.astype(dtype, copy=False)
    if wanted.dtype.kind == "f" and not np.isfinite(wanted).all():
        raise ValueError("it has values that are not finite")
    if wanted.dtype.kind in "iu" and wanted is not found and not np.array_equal(wanted, found):
        raise ValueError(f"it has values too large for {dtype}")
    return wanted


def _kind(dtype: np.dtype | None) -> str:
    if dtype is None or dtype.kind in "OVM":
        return "of a type that is no number"
    return {"b": "bool", "c": "complex", "S": "text", "U": "text"}.get(dtype.kind, str(dtype))


def _refuse_bombs(dataset: h5py.Dataset) -> None:
    """Refuse chunks that unpack to more than they may hold: the library would allocate without limit."""
    stored = dataset.id.get_create_plist()
    if dataset.chunks is None or not dataset.size or not stored.get_nfilters():
        return
    most = math.prod(dataset.chunks) * dataset.dtype.itemsize + 4  # and the checksum of the filter fletcher32
    for part in dataset.iter_chunks():
        _, packed = dataset.id.read_direct_chunk(tuple(side.start for side in part))
        unpacked = len(packed) - 1024  # what cannot be compressed becomes a little longer
        with contextlib.suppress(zlib.error):  # of another filter, or damaged: the library will complain
            unpacked = max(unpacked, len(zlib.decompressobj().decompress(packed, most + 1)))
        if unpacked > most:
            raise ValueError("it is compressed to an extent that no weights are")


# ---------------------------------------------------------------------------------------------------------------------
# Attributes


def attribute(item: h5py.Group, name: str) -> object:
    """Return an attribute: text, a number or an array; None if there is none of that name.

    Raises:
        ValueError: it is larger than any attribute of weights, or its bytes are no UTF-8.
    """
    if name not in item.attrs:
        return None
    stored = item.attrs.get_id(name)
    if stored.get_space().get_simple_extent_npoints() * stored.get_type().get_size() > ATTRIBUTE_BYTES:
        raise ValueError(f"its attribute {one_line(name)} is too large")
    value = item.attrs[name]
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value


def names(item: h5py.Group, attribute_name: str) -> list[str] | None:
    """Return a list of names; Keras splits lists above 64 KiB into attribute0, attribute1, ... None without any.

    Raises:
        ValueError: the attribute is no list of texts, or names something twice.
    """
    keys = [attribute_name]
    if attribute_name not in item.attrs:
        numbers = [key.removeprefix(attribute_name) for key in item.attrs if key.startswith(attribute_name)]
        keys = [attribute_name + number for number in sorted(filter(_is_number, numbers), key=int)]
    found = [name for key in keys for name in _texts(attribute(item, key), key)]
    if len(found) > MOST_NAMES:
        raise ValueError(f"it has {len(found)} {attribute_name}, more than any network")
    if len(set(found)) < len(found):
        (twice, _), *_ = collections.Counter(found).most_common(1)
        raise ValueError(f"its {attribute_name} have {one_line(twice)} twice")
    return found if keys else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _texts(value: object, key: str) -> list[str]:
    if not isinstance(value, np.ndarray) or value.ndim != 1:
        raise ValueError(f"its attribute {key} is no list of names")
    texts = [item.decode() if isinstance(item, bytes) else item for item in value.tolist()]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"its attribute {key} is no list of names")
    return texts
