"""Writers of foreign files for tests, from their descriptions: pickles opcode by opcode, archives, safetensors."""

import dataclasses
import io
import json
import pickle
import struct
import zipfile
from typing import Any

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
# numpy's type -> name of PyTorch's storage
STORAGES = {"<f4": "Float", "<f8": "Double", "<f2": "Half", "<i8": "Long", "<i4": "Int", "|u1": "Byte", "|b1": "Bool"}


@dataclasses.dataclass(frozen=True)
class Name:
    """A function or class."""

    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a function, and the state that the result is given."""

    function: Any
    arguments: Any
    state: Any = None
    opcode: bytes = pickle.REDUCE


@dataclasses.dataclass(frozen=True)
class Outside:
    """Something outside of the pickle."""

    named: Any


@dataclasses.dataclass(frozen=True)
class Opcodes:
    """Any opcodes."""

    code: bytes


def opcodes(value: Any) -> bytes:
    """Return the opcodes of protocol 2 that put a value on the stack; bytes are strings of Python 2."""
    match value:
        case Opcodes():
            return value.code
        case None:
            return pickle.NONE
        case bool():
            return pickle.NEWTRUE if value else pickle.NEWFALSE
        case int() if -(2**31) <= value < 2**31:
            return pickle.BININT + struct.pack("<i", value)
        case int():
            content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return pickle.LONG1 + bytes([len(content)]) + content
        case float():
            return pickle.BINFLOAT + struct.pack(">d", value)
        case str():
            text = value.encode("utf-8", "surrogatepass")
            return pickle.BINUNICODE + struct.pack("<I", len(text)) + text
        case bytes():
            return pickle.BINSTRING + struct.pack("<i", len(value)) + value
        case tuple():
            return pickle.MARK + b"".join(map(opcodes, value)) + pickle.TUPLE
        case list():
            return pickle.EMPTY_LIST + pickle.MARK + b"".join(map(opcodes, value)) + pickle.APPENDS
        case dict():
            entries = b"".join(opcodes(key) + opcodes(item) for key, item in value.items())
            return pickle.EMPTY_DICT + pickle.MARK + entries + pickle.SETITEMS
        case Name():
            return pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode()
        case Call():
            built = b"" if value.state is None else opcodes(value.state) + pickle.BUILD
            return opcodes(value.function) + opcodes(value.arguments) + value.opcode + built
        case Outside():
            return opcodes(value.named) + pickle.BINPERSID
    raise TypeError(f"no opcodes for {value!r}")


def pickled(value: Any) -> bytes:
    """Return a pickle of protocol 2."""
    return pickle.PROTO + b"\x02" + opcodes(value) + pickle.STOP


def ordered(entries: dict) -> Call:
    """Return an OrderedDict, as `state_dict` returns it, with its attribute."""
    code = opcodes(Call(Name("collections", "OrderedDict"), ())) + pickle.MARK
    code += b"".join(opcodes(key) + opcodes(item) for key, item in entries.items()) + pickle.SETITEMS
    return Opcodes(code + opcodes({"_metadata": {}}) + pickle.BUILD)


def storage(array: np.ndarray, key: str, /, **changes: Any) -> Outside:
    """Return how a pickle of PyTorch refers to the storage of an array."""
    kind = Name("torch", f"{STORAGES[array.dtype.newbyteorder('<').str]}Storage")
    named = {"what": "storage", "kind": kind, "key": key, "device": "cpu", "count": array.size} | changes
    return Outside(tuple(named.values()))


def tensor(array: np.ndarray, key: str, **changes: Any) -> Call:
    """Return a tensor with a storage of its own; `changes` replace offset, size, stride or kind."""
    stride = tuple(step // array.itemsize for step in array.strides)
    given = {"storage": storage(array, key), "offset": 0, "size": array.shape, "stride": stride} | changes
    rest = (False, Call(Name("collections", "OrderedDict"), ()))
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), (*given.values(), *rest))


def numpy_array(array: np.ndarray, **changes: Any) -> Call:
    """Return an array as numpy's pickles of protocol 2 have it in Python 2."""
    order = "|" if array.itemsize == 1 else "<"
    kind = Call(Name("numpy", "dtype"), (array.dtype.str[1:], 0, 1), (3, order, None, None, None, -1, -1, 0))
    given = {"version": 1, "shape": array.shape, "kind": kind, "fortran": False, "content": array.tobytes()} | changes
    empty = (Name("numpy", "ndarray"), (0,), b"b")
    return Call(Name("numpy.core.multiarray", "_reconstruct"), empty, tuple(given.values()))


def torch_zip(saved: Any, storages: dict[str, np.ndarray | bytes], extra: dict[str, bytes] | None = None) -> bytes:
    """Return an archive of PyTorch 1.6 or later.

    Args:
        saved: what is pickled.
        storages: key -> values.
        extra: more members; those of the same name replace the usual ones.
    """
    members = {"data.pkl": pickled(saved), "byteorder": b"little"}
    members |= {
        f"data/{key}": value if isinstance(value, bytes) else value.tobytes() for key, value in storages.items()
    }
    members |= {"version": b"3\n", **(extra or {})}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def torch_legacy(saved: Any, storages: dict[str, np.ndarray], keys: list[str] | None = None) -> bytes:
    """Return a stream of PyTorch before 1.6."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = [pickled(part) for part in (MAGIC, 1001, machine, saved, sorted(storages) if keys is None else keys)]
    tail = [struct.pack("<q", storages[key].size) + storages[key].tobytes() for key in sorted(storages)]
    return b"".join(head + tail)


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]], metadata: dict[str, str] | None = None) -> bytes:
    """Return a safetensors file.

    Args:
        tensors: name -> type, shape, bytes.
        metadata: texts.
    """
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    end = 0
    for name, (kind, shape, content) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + len(content)]}
        end += len(content)
    return safetensors_file(header, b"".join(content for _, _, content in tensors.values()))


def safetensors_file(header: Any, values: bytes) -> bytes:
    """Return a safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + values
