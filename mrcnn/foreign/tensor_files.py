"""Read files of tensors that other programs wrote: PyTorch, pickles of numpy arrays, safetensors. No code of them runs.

`torch_file.py` and `safetensors_file.py` take a file apart, `pickle_machine.py` reads the pickles in it,
`pickle_names.py` lists what they may name, `state_dict.py` finds the weights, and `stand_ins.py` checks and reads them.
"""

import dataclasses
import io
import os
import pathlib
import re
import struct
import zipfile
import zlib
from typing import Any, BinaryIO

import numpy as np

from mrcnn.errors import InputError, reason
from mrcnn.foreign import safetensors_file, state_dict, torch_file
from mrcnn.foreign.pickle_machine import read_pickle
from mrcnn.foreign.stand_ins import RefusedError, Stored
from mrcnn.text import one_line
from mrcnn.user_files import open_file

HDF5, OLD_TORCH = b"\x89HDF\r\n\x1a\n", (b"sys_info\0", b"pickle\0", b"tensors\0", b"storages\0")
# How a pickle of a dictionary starts: protocol 2 to 5; 1; 0
PICKLE = re.compile(
    rb"\x80[\x02-\x05][\x95}(\x8cc]|}[q(U]|\(dp\d+\n"
    rb"|c(collections|copy_reg|copyreg|numpy[\w.]*|torch[\w.]*|_codecs|__builtin__|builtins|posix|nt|os|subprocess)\n\w+\n"
)
LARGEST_RESULT = 16  # times the size of the file, and some bytes more: tensors may share their memory in the file
ANY_RESULT = 1 << 26
ADVICE = "it is damaged, or cut off: download or copy it again"


@dataclasses.dataclass(frozen=True)
class TensorFile:
    """The weights in a file.

    Attributes:
        path: the file.
        kind: what it is: "torch" (of `torch.save`), "pickle" (any other) or "safetensors".
        tensors: flat name -> values [...] in the order of the file; float16 and bfloat16 as float32. All are finite.
            They may be read-only.
        meta: plain values beside the tensors, such as "epoch", "__author__" and, in safetensors, "__metadata__": texts,
            numbers, bool, None, lists and dictionaries. The entries of a dictionary "meta", such as "CLASSES", are
            among them themselves.
    """

    path: pathlib.Path
    kind: str
    tensors: dict[str, np.ndarray]
    meta: dict[str, Any]


def is_tensor_file(path: str | os.PathLike[str]) -> bool:
    """Return whether `read_tensor_file` knows the format of a file, by its content alone; False for a missing file.

    Args:
        path: of any file; HDF5 files and Keras' archives are none.
    """
    try:
        with open_file(path) as file:
            return _kind(file) is not None
    except (InputError, OSError):
        return False


def read_tensor_file(path: str | os.PathLike[str]) -> TensorFile:
    """Return the weights in a file of PyTorch, a pickle of numpy arrays, or a safetensors file.

    They are looked for under the keys that training programs use; common prefixes of the names are removed. Nothing of
    the file is run: a name in a pickle that is on no list ends the reading.

    Args:
        path: the file.

    Raises:
        InputError: the file is missing, in another format, damaged, would run code, is a whole model, or has tensors
            that are not finite or not supported.
    """
    path = pathlib.Path(path)
    with open_file(path) as file:
        try:
            kind = _kind(file)
            if kind is None:
                raise RefusedError(
                    "it is not a file of PyTorch, a pickle of numpy arrays or a safetensors file; give one of these"
                )
            stored, meta = _read(file, kind, path)
            size = file.seek(0, os.SEEK_END)
            return TensorFile(path, kind.partition(" ")[0], _arrays(stored, size), meta)
        except InputError:
            raise
        except RefusedError as error:
            raise InputError(f"{path}: cannot be read: {error}") from error
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
            raise _damaged(path, error) from error
        except (EOFError, MemoryError, OSError, struct.error, zipfile.BadZipFile, zlib.error) as error:
            raise _damaged(path, error) from error


def _damaged(path: pathlib.Path, error: Exception) -> InputError:
    why = reason(error) if isinstance(error, OSError) else str(error) or type(error).__name__
    return InputError(f"{path}: cannot be read: {one_line(why, 400)}; {ADVICE}")


def _kind(file: BinaryIO) -> str | None:
    """Return the format of a file: "torch", "torch legacy", "torch tar", "pickle", "safetensors"; None: another."""
    start = file.read(512)
    file.seek(0)
    if start.startswith(torch_file.ZIP):
        return "torch" if torch_file.is_torch_zip(file) else None
    if start.startswith(torch_file.LEGACY):
        return "torch legacy"
    if start[257:262] == b"ustar" and start.startswith(OLD_TORCH):
        return "torch tar"
    if safetensors_file.is_safetensors(start):
        return "safetensors"
    return "pickle" if PICKLE.match(start) else None


def _read(file: BinaryIO, kind: str, path: pathlib.Path) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Return the tensors of a model, which are not read yet, and the plain values beside them."""
    file.seek(0)
    if kind == "torch tar":
        raise RefusedError("PyTorch wrote it before 0.2, as a tar archive; load it there and save it with a newer one")
    if kind == "torch":
        return state_dict.find(torch_file.read_zip(file), str(path))
    data = file.read()
    if kind == "safetensors":
        tensors, meta = safetensors_file.read_safetensors(data, str(path))
        if not tensors:
            raise RefusedError("it has no tensors; give a file with the weights of a model")
        return state_dict.without_prefixes(dict(tensors)), meta
    if kind == "torch legacy":
        return state_dict.find(torch_file.read_legacy(io.BytesIO(data)), str(path))
    stream = io.BytesIO(data)
    saved = read_pickle(stream, functions={"torch.storage._load_from_bytes": torch_file.NestedStorages()})
    if stream.tell() != len(data):
        raise ValueError(f"{len(data) - stream.tell()} bytes follow its pickle")
    return state_dict.find(saved, str(path))


def _arrays(stored: dict[str, Stored], size: int) -> dict[str, np.ndarray]:
    """Return the values of all tensors. Raises ValueError, or what zipfile raises, if one cannot be read."""
    if sum(item.bytes_needed() for item in stored.values()) > LARGEST_RESULT * size + ANY_RESULT:
        raise ValueError("its tensors need much more memory than it has bytes")
    arrays = {}
    for name, item in stored.items():
        try:
            arrays[name] = item.read()
        except ValueError as error:
            kind = RefusedError if isinstance(error, RefusedError) else ValueError
            raise kind(f"its tensor {one_line(name)} cannot be used: {error}") from error
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise RefusedError(f"its tensor {one_line(name)} has values that are not finite; use another file")
    return arrays
