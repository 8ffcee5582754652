"""Give numpy back the names that it has lost and scripts, samples and imgaug 0.4 use."""

import functools
from typing import Any

import numpy as np

# numpy 1.24 removed these; numpy 2 has np.bool again, as its own type
ALIASES = {"bool": bool, "int": int, "float": float, "complex": complex, "object": object, "str": str, "unicode": str}
SCTYPES = {
    "int": [np.int8, np.int16, np.int32, np.int64],
    "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
    "float": [np.float16, np.float32, np.float64],
    "complex": [np.complex64, np.complex128],
    "others": [bool, object, bytes, str, np.void],
}
# numpy 2 removed these: old name -> present name
RENAMED = {
    "Inf": "inf",
    "Infinity": "inf",
    "NaN": "nan",
    "PINF": "inf",
    "alltrue": "all",
    "asfarray": "asarray",
    "bool8": "bool_",
    "complex_": "complex128",
    "cumproduct": "cumprod",
    "float_": "float64",
    "infty": "inf",
    "int0": "intp",
    "mat": "asmatrix",
    "product": "prod",
    "round_": "round",
    "row_stack": "vstack",
    "sometrue": "any",
    "string_": "bytes_",
    "trapz": "trapezoid",
    "unicode_": "str_",
}


def restore_numpy_names() -> list[str]:
    """Give numpy back the names that it lacks: np.int, np.float_, np.sctypes, np.in1d and the like.

    imgaug 0.4.0 needs np.sctypes when it is imported; Matterport's samples use np.bool. Names that numpy has
    stay as they are, but np.fromstring takes bytes again.

    Returns:
        The names that were added, in alphabetical order.
    """
    old = {**ALIASES, **{name: getattr(np, new) for name, new in RENAMED.items()}}
    old |= {"sctypes": SCTYPES, "NINF": -np.inf, "asscalar": _asscalar, "in1d": _in1d}
    added = []
    for name, value in old.items():
        if name not in np.__dict__:  # hasattr would run numpy's own __getattr__, which warns
            setattr(np, name, value)
            added.append(name)
    if not hasattr(np.fromstring, "__wrapped__"):
        np.fromstring = _with_bytes(np.fromstring)
    return sorted(added)


def _asscalar(array: np.ndarray) -> Any:
    return array.item()


def _in1d(values: Any, known: Any, assume_unique: bool = False, invert: bool = False) -> np.ndarray:
    return np.isin(np.ravel(values), known, assume_unique=assume_unique, invert=invert)


def _with_bytes(fromstring: Any) -> Any:
    """Return np.fromstring with its binary mode, which numpy 2.3 removed: an array of a copy of the bytes."""

    @functools.wraps(fromstring)
    def with_bytes(string: Any, dtype: Any = float, count: int = -1, *, sep: str = "", like: Any = None) -> np.ndarray:
        if sep:
            return fromstring(string, dtype, count, sep=sep)
        return np.frombuffer(string.encode() if isinstance(string, str) else string, dtype, count).copy()

    return with_bytes
