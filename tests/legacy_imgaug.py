"""imgaug 0.4.0 (2020) for tests on numpy 2, which no longer has the `sctypes` that it reads at import."""

import numpy as np
import pytest

_SCTYPES = {
    "int": [np.int8, np.int16, np.int32, np.int64],
    "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
    "float": [np.float16, np.float32, np.float64],
    "complex": [np.complex64, np.complex128],
    "others": [bool, object, bytes, str, np.void],
}


def import_augmenters():
    """`imgaug.augmenters`; skips where imgaug is not installed."""
    if not hasattr(np, "sctypes"):
        np.sctypes = _SCTYPES
    return pytest.importorskip("imgaug.augmenters")
