"""Polygons and COCO's run-length codes of one object, to and from its box and crop.

Boxes are (y1, x1, y2, x2) in pixels, y2 and x2 exclusive. Pixel (row, column) covers [row, row + 1) x
[column, column + 1): its centre is at + 0.5, and polygon vertices may be fractions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.errors import InputError, LabelError, json_type

MAX_GROUPS = 7  # of 5 bits in one number: 35 bits hold any run of an image


def rle_to_crop(rle: dict) -> tuple[np.ndarray, np.ndarray] | None:
    """Decode a COCO run-length encoding.

    Args:
        rle: {"size": [H, W], "counts": compressed string or bytes, or a list of run lengths}.

    Returns:
        box int32 [4] and bool crop, or None if the mask is empty.

    Raises:
        InputError: counts and size do not fit together.
    """
    height, width = rle["size"]
    try:
        runs = rle_lengths(rle["counts"])
    except LabelError as error:
        raise InputError(f"an RLE of size {height} x {width} cannot be decoded: {error}") from error
    ends = np.cumsum(runs)
    if not len(runs) or runs.min() < 0 or ends[-1] != height * width:
        raise InputError(f"an RLE of size {height} x {width} has runs that add up to {runs.sum()} pixels")
    filled = np.flatnonzero(runs[1::2]) * 2 + 1
    if not filled.size:
        return None
    first_x, first_y = np.divmod(ends[filled] - runs[filled], height)
    last_x, last_y = np.divmod(ends[filled] - 1, height)
    x1, x2 = int(first_x[0]), int(last_x[-1]) + 1
    # A run that goes on in the next column has the last pixel of one and the first of the other.
    y1, y2 = (0, height) if (first_x < last_x).any() else (int(first_y.min()), int(last_y.max()) + 1)
    # Only the columns from the first to the last pixel of the object are laid out, not the image.
    lengths = np.diff(np.clip(ends, x1 * height, x2 * height), prepend=x1 * height)
    strip = np.repeat(np.arange(len(runs)) % 2 == 1, lengths).reshape(x2 - x1, height)
    return np.array([y1, x1, y2, x2], np.int32), np.ascontiguousarray(strip[:, y1:y2].T)


def crop_to_rle(box_px: Sequence[int], crop: np.ndarray, image_shape: Sequence[int]) -> dict:
    """COCO's compressed run-length encoding of a mask, from its crop alone.

    Args:
        box_px: int (y1, x1, y2, x2) inside the image.
        crop: bool [y2 - y1, x2 - x1].
        image_shape: (H, W, ...).

    Returns:
        {"size": [H, W], "counts": bytes}, equal to `pycocotools.mask.encode` of the full mask.
    """
    from pycocotools import mask as coco

    height, width = int(image_shape[0]), int(image_shape[1])
    y1, x1 = int(box_px[0]), int(box_px[1])
    # RLE runs down the columns. One zero below each column of the crop ends its runs inside the column.
    step = crop.shape[0] + 1
    pixels = np.zeros(crop.shape[1] * step + 1, bool)
    pixels[1:].reshape(crop.shape[1], step)[:, :-1] = crop.T
    changes = (pixels[1:] != pixels[:-1]).nonzero()[0]  # start, end, start, end, ...
    edges = np.zeros(len(changes) + 2, np.int64)
    edges[1:-1] = changes + changes // step * (height - step) + (x1 * height + y1)
    edges[-1] = height * width
    if crop.shape[0] == height:  # a run may end where the next one starts: they are one run
        joined = np.flatnonzero(edges[2:-1] == edges[1:-2]) + 1
        edges = np.delete(edges, np.concatenate([joined, joined + 1]))
    counts = edges[1:] - edges[:-1]
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]
    return coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)  # a list takes it longer


def rle_lengths(counts: Any) -> np.ndarray:
    """The run lengths of a COCO run-length code, int64 [runs], background first.

    Args:
        counts: a list of ints, or COCO's compressed text: groups of 5 bits, low first, 0x20 marks "more follows", 0x10
            in the last group is the sign; from the fourth run on, the difference to the run two before is stored.

    Raises:
        LabelError: neither of these.
    """
    if isinstance(counts, list):
        if not all(isinstance(run, int) and abs(run) < 1 << 40 for run in counts):
            raise LabelError("rle counts are not whole numbers")
        return np.asarray(counts, np.int64)
    if isinstance(counts, str):
        counts = counts.encode("utf-8")
    if not isinstance(counts, bytes):
        raise LabelError(f"rle counts are {json_type(counts)}")
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 0x20:
        raise LabelError("rle counts are not COCO's compressed form")
    runs, last = packed_numbers(codes)
    if np.diff(last, prepend=-1).max() > MAX_GROUPS:
        raise LabelError("rle counts are not COCO's compressed form")
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])  # the first run stands alone; the third is stored as it is
    return runs


def packed_numbers(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DOC"""
    last = np.flatnonzero(codes & 0x20 == 0)
    first = np.concatenate([[0], last[:-1] + 1])[: len(last)]
    place = np.arange(len(codes)) - np.repeat(first, last - first + 1)  # of each group in its number
    numbers = np.add.reduceat((codes & 0x1F) << (5 * place), first) if len(codes) else codes
    return numbers - np.where(codes[last] & 0x10, 1 << (5 * (place[last] + 1)), 0), last
