"""Stand-ins for the arrays in a file: what the file says about them, which is checked when they are read."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# Element types: numpy's names of them, little-endian, and BFLOAT16, which numpy lacks
BFLOAT16 = "bfloat16"
ELEMENTS = ("<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1", "|b1", BFLOAT16)
DENSE = "save it as a dense tensor of real numbers, integers or booleans"
MOST_AXES = 32
LARGEST = 1 << 48  # no size, stride or offset of a file is larger


class RefusedError(ValueError):
    """A file cannot be used. The message ends with what to do, unlike that of other errors of reading."""


class Opaque:
    """Stands for an object that no weights need, such as the options of a training program; it holds nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class Unsupported:
    """Stands for a tensor that cannot be read: quantized, sparse. An error only if it is one of the weights."""

    why: str

    def bytes_needed(self) -> int:
        """Return the size of the array that `read` would return."""
        return 0

    def read(self) -> np.ndarray:
        """Raise RefusedError with the reason; no array [...] of any type is returned."""
        raise RefusedError(f"{self.why}, which is not supported; {DENSE}")


@dataclasses.dataclass(frozen=True, eq=False)
class Storage:
    """The one-dimensional memory that tensors of PyTorch are views of.

    Attributes:
        element: of ELEMENTS; None if the file gives a type that is not supported; "" if only the tensor tells it.
        count: elements, or bytes where `element` is "".
        content: returns the bytes in the file.
    """

    element: str | None
    count: int
    content: Callable[[], bytes | memoryview]


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of PyTorch, a view of a storage. Offset and strides count elements; size is [first axis, ...]."""

    storage: Any
    offset: Any
    size: Any
    stride: Any
    element: str | None = ""  # "": as the storage says

    def bytes_needed(self) -> int:
        """Return the size of the array that `read` returns.

        Raises:
            ValueError: the size is not a tuple of sizes.
        """
        return math.prod(_numbers(self.size, "size")) * 8

    def read(self) -> np.ndarray:
        """Return the values [...] in C order; float16 and bfloat16 as float32.

        Raises:
            RefusedError: the type is not supported.
            ValueError: the tensor leaves its storage.
        """
        if not isinstance(self.storage, Storage):
            raise ValueError("it has no storage")
        element = self.element or self.storage.element
        if not element:
            raise RefusedError(f"its type is not supported; {DENSE}")
        size, stride = _numbers(self.size, "size"), _numbers(self.stride, "strides")
        (offset,) = _numbers((self.offset,), "offset")
        if len(size) != len(stride):
            raise ValueError(f"it has {len(size)} axes but {len(stride)} strides")
        width = item_bytes(element)
        count = self.storage.count // (1 if self.storage.element else width)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if (last >= count) if all(size) else (offset > count):
            raise ValueError(f"it needs {last + 1} elements, but its storage has {count}")
        content = self.storage.content()
        if len(content) != self.storage.count * (width if self.storage.element else 1):
            raise ValueError(f"its storage has {len(content)} bytes, which are not the {count} elements that it claims")
        steps = [step * width for step in stride]
        raw = np.ndarray(size, raw_type(element), content, offset * width, steps) if all(size) else np.empty(size)
        return finished(raw, element)


@dataclasses.dataclass(eq=False)
class ArrayType:
    """The type of a numpy array: a code such as "f4", and the byte order that its state gives."""

    code: Any
    order: Any = "="

    def numpy_type(self) -> np.dtype:
        """Return numpy's type.

        Raises:
            RefusedError: it is not a type of real numbers, integers or booleans.
        """
        for kind in ("", "<", "|"):
            if isinstance(self.code, str) and kind + self.code in ELEMENTS:
                return np.dtype((">" if self.order == ">" else "<") + self.code)
        raise RefusedError(f"its type is not supported; {DENSE}")


@dataclasses.dataclass(eq=False)
class Array:
    """A numpy array: shape [first axis, ...], type and bytes, which its state gives after it was made."""

    shape: Any = None
    type: Any = None
    content: Any = None
    fortran: bool = False

    def fill(self, state: Any) -> None:
        """Take the state that numpy pickles: (version, shape, type, whether in Fortran order, bytes).

        Raises:
            ValueError: it is not such a state.
        """
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ValueError("it has an array whose state is not one of numpy")
        self.shape, self.type, self.fortran, self.content = state[-4:]

    def bytes_needed(self) -> int:
        """Return the size of the array that `read` returns.

        Raises:
            ValueError: the shape is not a tuple of sizes.
        """
        return math.prod(_numbers(self.shape, "shape")) * 8

    def read(self) -> np.ndarray:
        """Return the values [...] in C order; float16 as float32.

        Raises:
            ValueError: the type is not supported, or shape and bytes do not fit.
        """
        shape = _numbers(self.shape, "shape")
        if not isinstance(self.type, ArrayType):
            raise ValueError("it has no type")
        dtype = self.type.numpy_type()
        content = latin_1(self.content)
        if len(content) != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"it has {len(content)} bytes, which do not fill the shape {list(shape)} of {dtype}")
        raw = np.ndarray(shape, dtype, content, order="F" if self.fortran else "C") if all(shape) else np.empty(shape)
        return finished(raw, dtype.newbyteorder("<").str)


@dataclasses.dataclass(frozen=True, eq=False)
class Plain:
    """Values that lie in the file in C order; shape is [first axis, ...]."""

    shape: Sequence[int]
    element: str
    content: memoryview

    def bytes_needed(self) -> int:
        """Return the size of the array that `read` returns."""
        return math.prod(self.shape) * 8

    def read(self) -> np.ndarray:
        """Return the values [...] in C order; float16 and bfloat16 as float32.

        Raises:
            ValueError: a boolean is neither 0 nor 1.
        """
        raw = np.frombuffer(self.content, raw_type(self.element)).reshape(self.shape)
        return finished(raw, self.element)


Stored = Tensor | Array | Plain | Unsupported
STORED = (Tensor, Array, Plain, Unsupported)


def item_bytes(element: str) -> int:
    """Return the bytes of one element of a type of ELEMENTS."""
    return raw_type(element).itemsize


def raw_type(element: str) -> np.dtype:
    """Return the type with which the bytes of a type of ELEMENTS are read."""
    return np.dtype("<u2" if element == BFLOAT16 else element)


def finished(raw: np.ndarray, element: str) -> np.ndarray:
    """Return values [...] in C order and native byte order; float16 and bfloat16 as float32.

    Args:
        raw: [...], from bytes of `raw_type(element)`.
        element: of ELEMENTS.

    Raises:
        ValueError: a boolean is neither 0 nor 1.
    """
    if element == BFLOAT16:
        return (raw.astype("<u4", order="C") << 16).view(np.float32)
    if element == "|b1" and raw.size and raw.view(np.uint8).max() > 1:
        raise ValueError("it has booleans that are neither 0 nor 1")
    wanted = np.float32 if element == "<f2" else np.dtype(element)
    return np.asarray(raw, wanted, order="C")


def latin_1(content: Any) -> bytes:
    """Return bytes from bytes, or from a string of Python 2, which is a text of the characters 0 to 255.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(content, str):
        return content.encode("latin-1")
    if isinstance(content, bytes | bytearray):
        return bytes(content)
    raise ValueError("its values are not bytes")


def _numbers(value: Any, what: str) -> tuple[int, ...]:
    """Return sizes, strides or offsets. Raises ValueError if they are not whole numbers that any array has."""
    if not isinstance(value, tuple) or len(value) > MOST_AXES:
        raise ValueError(f"its {what} is not a tuple of at most {MOST_AXES} numbers")
    for number in value:
        if type(number) is not int or not 0 <= number < LARGEST:
            raise ValueError(f"its {what} has a value that is not a number from 0 on: no array has it")
    return value
