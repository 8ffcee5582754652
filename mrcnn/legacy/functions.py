"""Small functions of the original's `mrcnn.model` and `mrcnn.utils` that only its users call."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops as K

from mrcnn.errors import InputError
from mrcnn.structures.boxes import compute_overlaps
from mrcnn.structures.masks import extract_bboxes, minimize_mask


def parallel_model(keras_model: keras.Model, gpu_count: int | None) -> keras.Model:
    """Return a model for several GPUs, which is the model itself: GPU_COUNT of its settings has made it parallel.

    Raises:
        InputError: the model was built for another number of devices than `gpu_count`, if that is given.
    """
    devices = int(getattr(getattr(keras_model, "config", None), "GPU_COUNT", 1))
    if gpu_count not in (None, devices):
        raise InputError(
            f"{gpu_count} GPUs are asked for, but the model was built for {devices}: set GPU_COUNT = {gpu_count} in "
            "its settings before MaskRCNN(mode='training', ...) builds it"
        )
    return keras_model


class LastCheckpoint(str):
    """The path of a checkpoint that is also the pair (run folder, path), which `find_last` returned until 2018.

    Items 0 and 1 and unpacking give the pair; everything else is the str.
    """

    def __getitem__(self, key: Any) -> str:
        return self._pair()[key] if key in (0, 1) else super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._pair())

    def _pair(self) -> tuple[str, str]:
        return os.path.dirname(self), str(self)


def log(text: str, array: np.ndarray | None = None) -> None:
    """Write a line to standard output; with an array of any shape also its shape, range and dtype."""
    if array is not None:
        low, high = (f"{array.min():10.5f}", f"{array.max():10.5f}") if array.size else ("", "")
        text = f"{text:25}shape: {array.shape!s:20}  min: {low:>10}  max: {high:>10}  {array.dtype}"
    sys.stdout.write(text + "\n")


def log2_graph(x: Any) -> Any:
    """Return the base-2 logarithm of a float tensor of any shape."""
    return K.log(x) / K.log(K.cast(2.0, x.dtype))


def trim_zeros_graph(boxes: Any, name: str | None = None) -> tuple[Any, Any]:
    """Return the rows of [n, 4], in any coordinates, that are not zero, and the bool mask [n] of these rows.

    On JAX it works only outside a compiled graph.
    """
    non_zeros = K.any(boxes != 0, axis=1)
    return K.take(boxes, K.nonzero(non_zeros)[0], axis=0), non_zeros


def batch_pack_graph(x: Any, counts: Any, num_rows: int) -> Any:
    """Return the first counts[i] rows of each x[i], i < num_rows, one after the other.

    x is [num_rows, k, ...], counts int [num_rows]; the result [sum of counts, ...].
    """
    return K.concatenate([x[i, : counts[i]] for i in range(num_rows)], axis=0)


def mold_mask(mask: np.ndarray, config: Any) -> np.ndarray:
    """Return mini-masks of full masks. The original's function of this name has no body.

    Args:
        mask: bool [H, W, n].
        config: MINI_MASK_SHAPE (h, w) is read.

    Returns:
        bool [h, w, n].
    """
    return minimize_mask(extract_bboxes(mask), mask, config.MINI_MASK_SHAPE)


def non_max_suppression(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Suppress arrays of boxes that overlap a better one; graphs use `mrcnn.modeling.ops.non_max_suppression`.

    Args:
        boxes: float [n, (y1, x1, y2, x2)] in any coordinates.
        scores: float [n].
        threshold: a box is dropped if its IoU with a better one that stays is above this.

    Returns:
        int32 [m], indices of the boxes that stay, best first.
    """
    boxes = np.asarray(boxes, np.float32)
    order = np.argsort(scores)[::-1]
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[compute_overlaps(boxes[best : best + 1], boxes[order])[0] <= threshold] if order.size else order
    return np.array(kept, np.int32)


def trim_zeros(x: np.ndarray) -> np.ndarray:
    """Return the rows [m, k] of a padded [n, k] array that are not all zero, in the same type."""
    assert x.ndim == 2, f"trim_zeros takes [rows, columns], not {x.shape}"
    return x[(x != 0).any(axis=1)]


def batch_slice(inputs: Any, graph_fn: Callable[..., Any], batch_size: int, names: Sequence[str] | None = None) -> Any:
    """Apply a function of one image to each image of a batch. Nothing in this package needs it: its layers are batched.

    Args:
        inputs: a tensor [N, ...] or a list of them.
        graph_fn: takes one image's part of each and returns a tensor or several.
        batch_size: N.
        names: ignored; tensors have no names of their own here.

    Returns:
        The results, stacked over the batch: one tensor, or a list.
    """
    inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    results = [graph_fn(*(tensor[i] for tensor in inputs)) for i in range(batch_size)]
    results = [result if isinstance(result, (list, tuple)) else [result] for result in results]
    stacked = [K.stack(parts, axis=0) for parts in zip(*results, strict=True)]
    return stacked[0] if len(stacked) == 1 else stacked
