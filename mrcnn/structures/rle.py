"""COCO's run-length encoding of a mask, decoded to and encoded from its box and crop.

A mask is a list of run lengths, background first, down the columns from left to right. Compressed, the runs are text:
six bits per character, see `packed_numbers`. Boxes are (y1, x1, y2, x2) in pixels, y2 and x2 exclusive.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.errors import InputError, LabelError, json_type

MAX_GROUPS = 7  # 5-bit groups in one number: 35 bits hold the runs of any image
MAX_AREA_PX = 2**31 - 1  # of an image: pycocotools counts pixels in 32 bits


def rle_to_crop(rle: dict) -> tuple[np.ndarray, np.ndarray] | None:
    """Decode a COCO run-length encoding into a box and crop.

    Args:
        rle: {"size": [H, W], "counts": compressed string or bytes, or a list of run lengths}.

    Returns:
        box int32 [4] and bool crop, or None if the mask is empty.

    Raises:
        InputError: counts and size do not match, or no image has this size.
    """
    height, width = checked_size(rle["size"])
    try:
        runs = rle_lengths(rle["counts"])
    except LabelError as error:
        raise InputError(f"cannot decode an RLE of size {height} x {width}: {error}") from error
    ends = np.cumsum(runs)
    if not len(runs) or runs.min() < 0 or ends[-1] != height * width:
        raise InputError(f"the runs of an RLE of size {height} x {width} add up to {runs.sum()} pixels")
    filled = np.flatnonzero(runs[1::2]) * 2 + 1
    if not filled.size:
        return None
    first_x, first_y = np.divmod(ends[filled] - runs[filled], height)
    last_x, last_y = np.divmod(ends[filled] - 1, height)
    x1, x2 = int(first_x[0]), int(last_x[-1]) + 1
    # A run that continues into the next column contains the last row of one and the first row of the other.
    y1, y2 = (0, height) if (first_x < last_x).any() else (int(first_y.min()), int(last_y.max()) + 1)
    # Lay out only the columns that the object spans, not the image.
    lengths = np.diff(np.clip(ends, x1 * height, x2 * height), prepend=x1 * height)
    strip = np.repeat(np.arange(len(runs)) % 2 == 1, lengths).reshape(x2 - x1, height)
    return np.array([y1, x1, y2, x2], np.int32), np.ascontiguousarray(strip[:, y1:y2].T)


def crop_to_rle(box_px: Sequence[int], crop: np.ndarray, image_shape: Sequence[int]) -> dict:
    """Encode a mask as COCO's compressed run lengths, from its crop alone.

    Args:
        box_px: int (y1, x1, y2, x2) inside the image.
        crop: bool [y2 - y1, x2 - x1].
        image_shape: (H, W, ...).

    Returns:
        {"size": [H, W], "counts": bytes}, equal to `pycocotools.mask.encode` of the full mask.

    Raises:
        InputError: the crop does not lie in the image, or no image has this size.
    """
    from pycocotools import mask as coco

    height, width = checked_size(image_shape)
    y1, x1 = int(box_px[0]), int(box_px[1])
    if crop.size and (min(y1, x1) < 0 or y1 + crop.shape[0] > height or x1 + crop.shape[1] > width):
        raise InputError(
            f"a mask of {crop.shape} at row {y1}, column {x1} is not inside an image of {height} x {width}"
        )
    # Runs go down the columns. One zero below each column of the crop ends its runs inside that column.
    step = crop.shape[0] + 1
    pixels = np.zeros(crop.shape[1] * step + 1, bool)
    pixels[1:].reshape(crop.shape[1], step)[:, :-1] = crop.T
    changes = (pixels[1:] != pixels[:-1]).nonzero()[0]  # start, end, start, end, ...
    edges = np.zeros(len(changes) + 2, np.int64)
    edges[1:-1] = changes + changes // step * (height - step) + (x1 * height + y1)
    edges[-1] = height * width
    if crop.shape[0] == height:  # a run may end exactly where the next one starts: join them
        joined = np.flatnonzero(edges[2:-1] == edges[1:-2]) + 1
        edges = np.delete(edges, np.concatenate([joined, joined + 1]))
    counts = edges[1:] - edges[:-1]
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]
    return coco.frPyObjects(
        {"size": [height, width], "counts": counts}, height, width
    )  # faster with an array than with a list


def checked_size(shape: Sequence[int]) -> tuple[int, int]:
    """Return (height, width) px of an image, given its shape (H, W, ...).

    Raises:
        InputError: a side is negative, or there are more than MAX_AREA_PX pixels.
    """
    height, width = int(shape[0]), int(shape[1])
    if min(height, width) < 0 or height * width > MAX_AREA_PX:
        raise InputError(f"no image can be {height} px high and {width} px wide; masks hold up to {MAX_AREA_PX} pixels")
    return height, width


def rle_lengths(counts: Any) -> np.ndarray:
    """Return the run lengths of a COCO run-length code, int64 [runs], background first.

    Args:
        counts: a list of ints, or COCO's compressed text: `packed_numbers`, in which every run from the fourth on is
            stored as the difference from the run two before it.

    Raises:
        LabelError: `counts` is neither.
    """
    if isinstance(counts, list):
        if not all(isinstance(run, int) and abs(run) < 1 << 40 for run in counts):
            raise LabelError("rle counts are not whole numbers")
        return np.asarray(counts, np.int64)
    if isinstance(counts, str):
        counts = counts.encode("utf-8", "surrogatepass")
    if not isinstance(counts, bytes):
        raise LabelError(f"rle counts are {json_type(counts)}")
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 0x20:
        raise LabelError("rle counts are not COCO's compressed form")
    runs, last = packed_numbers(codes)
    if np.diff(last, prepend=-1).max() > MAX_GROUPS:
        raise LabelError("rle counts are not COCO's compressed form")
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])  # the first run is not in this chain: the third is stored as it is
    return runs


def packed_numbers(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decode integers that COCO packs into 5-bit groups, low group first.

    In a code, bit 0x20 says that more groups of the number follow; bit 0x10 of the last group is the sign.

    Args:
        codes: int64 [k], character codes less 48, each 0 to 63; the last one ends a number.

    Returns:
        numbers int64 [m], and int64 [m], the index of each number's last group in `codes`.
    """
    last = np.flatnonzero(codes & 0x20 == 0)
    first = np.concatenate([[0], last[:-1] + 1])[: len(last)]
    place = np.arange(len(codes)) - np.repeat(first, last - first + 1)  # of each group in its number
    numbers = np.add.reduceat((codes & 0x1F) << (5 * place), first) if len(codes) else codes
    return numbers - np.where(codes[last] & 0x10, 1 << (5 * (place[last] + 1)), 0), last
