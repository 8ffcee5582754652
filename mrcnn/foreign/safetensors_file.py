"""Read safetensors files: the length of a header, the header in JSON, and the values one behind the other."""

import math
import struct
from typing import Any

from mrcnn.foreign.stand_ins import BFLOAT16, DENSE, LARGEST, MOST_AXES, Plain, RefusedError, item_bytes
from mrcnn.text import one_line
from mrcnn.user_files import parse_json

LONGEST_HEADER = 100_000_000
TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": BFLOAT16, "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
FIELDS = {"dtype", "shape", "data_offsets"}


def is_safetensors(start: bytes) -> bool:
    """Return whether a file that starts with these bytes, at least nine, is a safetensors file."""
    return len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= LONGEST_HEADER


def read_safetensors(data: bytes, name: str) -> tuple[dict[str, Plain], dict[str, Any]]:
    """Return the tensors of a safetensors file, and {"__metadata__": texts} if it has some.

    Args:
        data: the file.
        name: of the file, for messages.

    Raises:
        InputError: the header is not JSON.
        ValueError: it is damaged, or has a type that is not supported.
    """
    (length,) = struct.unpack("<Q", data[:8])
    if length > len(data) - 8:
        raise ValueError(f"its header claims {length} bytes, but only {len(data) - 8} follow")
    header = parse_json(data[8 : 8 + length], f"header of {name}")
    if not isinstance(header, dict):
        raise ValueError("its header is not an object of JSON")
    meta = {"__metadata__": _texts(header.pop("__metadata__"))} if "__metadata__" in header else {}
    values = memoryview(data)[8 + length :]
    tensors = {}
    places = []
    for tensor, entry in header.items():
        try:
            tensors[tensor] = _tensor(entry, values)
        except ValueError as error:
            raise type(error)(f"its tensor {one_line(tensor)} cannot be used: {error}") from error
        places.append(entry["data_offsets"])
    end = 0
    for start, stop in sorted(places):
        if start != end:
            raise ValueError(f"its tensors {'overlap' if start < end else 'leave a gap'} at byte {start} of the values")
        end = stop
    if end != len(values):
        raise ValueError(f"its tensors take {end} bytes, but {len(values)} follow the header")
    return tensors, meta


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError("its __metadata__ are not texts")
    return value


def _tensor(entry: Any, values: memoryview) -> Plain:
    if not isinstance(entry, dict) or set(entry) != FIELDS:
        raise ValueError("its entry in the header does not have dtype, shape and data_offsets")
    element = TYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if element is None:
        raise RefusedError(f"its type {one_line(entry['dtype'])} is not supported; {DENSE}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_numbers(shape) or not _are_numbers(offsets) or len(offsets) != 2 or len(shape) > MOST_AXES:
        raise ValueError("its shape or its offsets are not numbers from 0 on")
    start, stop = offsets
    if not start <= stop <= len(values) or stop - start != math.prod(shape) * item_bytes(element):
        raise ValueError(f"its offsets {start} and {stop} do not fit its shape and the {len(values)} bytes of values")
    return Plain(shape, element, values[start:stop])


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and 0 <= number < LARGEST for number in value)
