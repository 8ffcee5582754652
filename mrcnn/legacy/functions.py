"""Small functions of the original's `mrcnn.model` that its users call and this code does not need itself."""

import sys
from typing import Any

import numpy as np
from keras import ops as K


def log(text: str, array: np.ndarray | None = None) -> None:
    """Write a line to standard output; with an array of any shape also its shape, range and dtype."""
    if array is not None:
        low, high = (f"{array.min():10.5f}", f"{array.max():10.5f}") if array.size else ("", "")
        text = f"{text:25}shape: {array.shape!s:20}  min: {low:>10}  max: {high:>10}  {array.dtype}"
    sys.stdout.write(text + "\n")


def log2_graph(x: Any) -> Any:
    """Base-2 logarithm of a float tensor of any shape."""
    return K.log(x) / K.log(K.cast(2.0, x.dtype))


def trim_zeros_graph(boxes: Any, name: str | None = None) -> tuple[Any, Any]:
    """The rows of [n, 4], in any coordinates, that are not zero, and the bool mask [n] of them.

    Only outside a compiled graph on JAX.
    """
    non_zeros = K.any(boxes != 0, axis=1)
    return K.take(boxes, K.nonzero(non_zeros)[0], axis=0), non_zeros


def batch_pack_graph(x: Any, counts: Any, num_rows: int) -> Any:
    """The first counts[i] rows of each x[i], i < num_rows, one after the other.

    x is [num_rows, k, ...], counts int [num_rows]; the result [sum of counts, ...].
    """
    return K.concatenate([x[i, : counts[i]] for i in range(num_rows)], axis=0)
