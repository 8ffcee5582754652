"""Write tensors in the format of `torch.save` since PyTorch 1.6, a zip archive with a pickle, without PyTorch."""

import math
import os
import pickle
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

from mrcnn.files import written_whole

STORAGES = {"float32": "FloatStorage", "int64": "LongStorage"}  # numpy's type -> PyTorch's
ROOT = "archive"
ORDERED_DICT = pickle.GLOBAL + b"collections\nOrderedDict\n" + pickle.EMPTY_TUPLE + pickle.REDUCE


def write_torch(path: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a state dict, which `torch.load(path, weights_only=True)` reads. The file appears only once it is complete.

    Args:
        path: the file; its folder must exist.
        tensors: name -> values [...] float32 or int64.

    Raises:
        InputError: the file cannot be written.
    """
    members = {"data.pkl": _pickle(tensors), "byteorder": b"little"}
    with written_whole(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            _add(archive, name, content)
        for number, array in enumerate(tensors.values()):
            _add(archive, f"data/{number}", array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        _add(archive, "version", b"3\n")


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a member without the time, so that the same tensors are the same bytes."""
    archive.writestr(zipfile.ZipInfo(f"{ROOT}/{name}"), content)


def _pickle(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Return the pickle, protocol 2, of an OrderedDict of tensors; the n-th has the storage n."""
    entries = (_text(name) + _tensor(array, str(number)) for number, (name, array) in enumerate(tensors.items()))
    content = ORDERED_DICT + pickle.MARK + b"".join(entries) + pickle.SETITEMS
    return pickle.PROTO + b"\x02" + content + pickle.STOP


def _tensor(array: np.ndarray, key: str) -> bytes:
    """Return the opcodes of a tensor whose values are those of a storage, row by row."""
    kind = pickle.GLOBAL + f"torch\n{STORAGES[array.dtype.name]}\n".encode()
    storage = _tuple(_text("storage"), kind, _text(key), _text("cpu"), _number(array.size)) + pickle.BINPERSID
    strides = (math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim))
    size, stride = _tuple(*map(_number, array.shape)), _tuple(*map(_number, strides))
    arguments = _tuple(storage, _number(0), size, stride, pickle.NEWFALSE, ORDERED_DICT)
    return pickle.GLOBAL + b"torch._utils\n_rebuild_tensor_v2\n" + arguments + pickle.REDUCE


def _tuple(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def _text(text: str) -> bytes:
    content = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(content)) + content


def _number(number: int) -> bytes:
    return pickle.BININT + struct.pack("<i", number)
