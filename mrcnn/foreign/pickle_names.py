"""List the names that a pickle of weights may use, each with a function of our own that stands for it.

A pickle is a program: it names functions and classes and calls them. Here a name leads to a `Known`, never to the
object of that name, and a name that is not listed ends the reading.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from mrcnn.foreign.stand_ins import BFLOAT16, Array, ArrayType, Opaque, RefusedError, Tensor, Unsupported, latin_1
from mrcnn.text import one_line

SAVE = "save the weights alone, torch.save(model.state_dict(), FILE), where the model can be loaded"
# Element types of PyTorch; None: not supported
TYPES = {
    "float64": "<f8", "double": "<f8", "float32": "<f4", "float": "<f4", "float16": "<f2", "half": "<f2",
    "bfloat16": BFLOAT16, "int64": "<i8", "long": "<i8", "int32": "<i4", "int": "<i4", "int16": "<i2", "short": "<i2",
    "int8": "|i1", "uint64": "<u8", "uint32": "<u4", "uint16": "<u2", "uint8": "|u1", "bool": "|b1",
}  # fmt: skip
OTHER_TYPES = re.compile(r"complex\d+|cfloat|cdouble|chalf|q?u?int\d+(x\d)?|float\d\w+|bits\w+")
STORAGES = {
    "Double": "<f8", "Float": "<f4", "Half": "<f2", "BFloat16": BFLOAT16, "Long": "<i8", "Int": "<i4", "Short": "<i2",
    "Char": "|i1", "Byte": "|u1", "Bool": "|b1", "Untyped": "",
}  # fmt: skip
STORAGE = re.compile(r"torch\.(?:cuda\.|storage\.)?_?(\w+)Storage")
WHOLE_MODEL = re.compile(r"(torch\.nn|torchvision|timm|mmdet|mmcv\.cnn|detectron2|__main__|models?)\..*")
# Classes in the files of training programs whose objects hold no weights.
OPAQUE = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|datetime\.(datetime|date|time|timedelta|timezone)|_strptime\.\w+"
    r"|pathlib\.(Pure)?(Posix|Windows)?Path|pathlib\._local\.(Pure)?(Posix|Windows)?Path|uuid\.UUID|decimal\.Decimal"
    r"|mm(cv|engine)\.(utils\.config|config\.config|config)\.(Config|ConfigDict)"
    r"|mmengine\.logging\.(history_buffer\.HistoryBuffer(\.\w+)?|message_hub\.MessageHub)|addict\.(addict\.)?Dict"
    r"|easydict\.EasyDict|(yacs|fvcore\.common|detectron2\.config)\.config\.CfgNode"
    r"|omegaconf\.(dictconfig\.DictConfig|listconfig\.ListConfig|base\.(ContainerMetadata|Metadata)|nodes\.\w+Node)"
    r"|typing\.Any|torch\.torch_version\.TorchVersion|numpy\.random\.(_pickle\.__\w+_ctor|mtrand\.RandomState)"
    r"|torch\.(device|layout|Tensor|memory_format|Generator|nn\.parameter\.(Parameter|Buffer))"
    r"|torch\.(strided|sparse_\w+|jagged|(per_tensor|per_channel)_\w+|contiguous_format|channels_last|preserve_format)"
    r"|torch\.serialization\._get_layout|torch\.optim\.\w+(\.\w+)?"
    r"|builtins\.(dict|list|tuple|int|float|str|bool|complex|slice|range|object|getattr)"  # mmengine keeps methods
    r"|(pytorch_lightning|lightning\.pytorch)\.callbacks\.\w+\.\w+"
    r"|(pytorch_lightning|lightning\.pytorch|lightning_fabric|lightning\.fabric)\.utilities\.\w+\.AttributeDict"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """A name that pickles of weights use.

    Attributes:
        name: with its module, as Python 3 and numpy 1 have it.
        call: what stands for a call of it.
    """

    name: str
    call: Callable[..., Any]


def known(module: str, name: str) -> Known:
    """Return what stands for a name.

    Args:
        module: "torch._utils" and so on.
        name: of a function or class in it.

    Raises:
        RefusedError: pickles of weights have no such name.
    """
    modules = {"__builtin__": "builtins", "copy_reg": "copyreg"}
    full = f"{modules.get(module, module)}.{name}".replace("numpy._core.", "numpy.core.")
    if full in FUNCTIONS:
        return Known(full, FUNCTIONS[full])
    if full.startswith("torch._utils._rebuild_") or full == "torch._tensor._rebuild_from_type":
        kind = one_line(full.rpartition("_rebuild_")[2].replace("_", " "))
        return Known(full, lambda *_: Unsupported(f"it is a {kind}"))
    if OPAQUE.fullmatch(full) or type_of(full) is not None:
        return Known(full, _opaque)
    shown = one_line(full)
    if WHOLE_MODEL.fullmatch(full):
        raise RefusedError(
            "it holds a whole model, or another object of the program that wrote it; to load it would run code: "
            f"{shown}. Nothing was run; {SAVE}"
        )
    raise RefusedError(f"to load it would run code: {shown}. Nothing was run; {SAVE}")


def type_of(name: str) -> tuple[str | None] | None:
    """Return the element type that "torch.FloatStorage" or "torch.float32" stands for, in a tuple.

    The type is None if it is not supported, and "" for storages without one; None for any other name.
    """
    if match := STORAGE.fullmatch(name):
        return (STORAGES.get(match[1]),)
    short = name.removeprefix("torch.")
    if name != short and (short in TYPES or OTHER_TYPES.fullmatch(short)):
        return (TYPES.get(short),)
    return None


def element_of(value: Any) -> str | None:
    """Return the element type that a value of a pickle stands for; None if it is not supported.

    Raises:
        ValueError: the value is no type.
    """
    found = type_of(value.name) if isinstance(value, Known) else None
    if found is None:
        raise ValueError("it has a tensor whose type is none")
    return found[0]


# ---------------------------------------------------------------------------------------------------------------------
# What stands for the calls


def _opaque(*_: Any, **__: Any) -> Opaque:
    return Opaque()


def _dictionary(pairs: Any = ()) -> dict:
    """Return what OrderedDict does; the lists of pairs are those of Python 2."""
    if isinstance(pairs, dict):
        return pairs
    return {hashable(key): value for key, value in pairs}


def _first(value: Any = "", *_: Any) -> Any:
    """Return the content of a set, or of bytes, which are texts of the characters 0 to 255 in old pickles."""
    return value


def _encode(text: Any, encoding: Any = "latin1") -> str:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("it has bytes in an encoding that no pickle uses")
    return text


def _set(items: Any = None) -> list:
    if items is not None and not isinstance(items, list):
        raise ValueError("it has a set that was not made from a list")
    return [] if items is None else items


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    return Tensor(storage, offset, size, stride)


def _tensor_with_type(storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, *rest: Any) -> Tensor:
    return Tensor(storage, offset, size, stride, element_of(rest[0]))


def _parameter(data: Any, *_: Any) -> Tensor | Unsupported:
    if not isinstance(data, Tensor | Unsupported):
        raise ValueError("it has a parameter without a tensor")
    return data


def _from_type(function: Any, _type: Any, arguments: Any, *_: Any) -> Any:
    """Return what stands for a tensor with attributes of Python, which are left out."""
    if not isinstance(function, Known) or not function.name.startswith("torch._") or not isinstance(arguments, tuple):
        raise ValueError("it has a tensor of a type of its own that cannot be read")
    return function.call(*arguments)


def _new_array(*_: Any) -> Array:
    return Array()


def _array_of_buffer(content: Any, dtype: Any, shape: Any, order: Any = "C", *_: Any) -> Array:
    return Array(shape, dtype, content, order == "F")


def _array_type(code: Any, *_: Any) -> ArrayType:
    return ArrayType(code)


def _scalar(dtype: Any, content: Any = "") -> Any:
    """Return a number of numpy as one of Python."""
    if not isinstance(dtype, ArrayType):
        raise ValueError("it has a number without a type")
    try:
        kind = dtype.numpy_type()
    except ValueError:  # a text or an object
        return Opaque()
    if not isinstance(content, str | bytes) or len(content) != kind.itemsize:
        raise ValueError("it has a number of the wrong length")
    return np.frombuffer(latin_1(content), kind)[0].item()


def _object(kind: Any, *_: Any) -> Any:
    """Return what stands for an object of protocol 0 or 1."""
    if not isinstance(kind, Known):
        raise ValueError("it has an object without a class")
    return {} if kind.call is _dictionary else Opaque()


def hashable(key: Any) -> Any:
    """Return a key of a dictionary; keys that could take long to hash become stand-ins."""
    return (
        key if _is_simple(key) or (isinstance(key, tuple) and len(key) < 20 and all(map(_is_simple, key))) else Opaque()
    )


def _is_simple(key: Any) -> bool:
    if isinstance(key, int):
        return key.bit_length() <= 64
    return key is None or isinstance(key, str | bytes | float)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dictionary,
    "collections.Counter": _dictionary,
    "collections.defaultdict": lambda *_: {},
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "builtins.bytes": _first,
    "builtins.bytearray": _first,
    "_codecs.encode": _encode,
    "copyreg._reconstructor": _object,
    "torch.Size": _first,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_with_type,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "numpy.core.multiarray._reconstruct": _new_array,
    "numpy.core.numeric._frombuffer": _array_of_buffer,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.ndarray": _new_array,
    "numpy.dtype": _array_type,
}
