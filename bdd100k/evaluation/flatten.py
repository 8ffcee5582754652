"""Predictions without overlaps: where masks meet, the better score has the pixel, as BDD100K's evaluation wants it."""

import dataclasses
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.structures.rle import packed_numbers

MOST = 100  # objects per image


@dataclasses.dataclass
class Flat:
    """The predictions of one image, the best score first.

    Attributes:
        entries: COCO results; of equal scores the earlier one comes first.
        visible: COCO's run-length code of what no better one covers, or None where nothing is left.
        labels: uint8 [H, W], 1 + position in `entries`, 0 for the background.
        overlapped: Whether any two masks had a pixel in common.
    """

    entries: list[dict[str, Any]]
    visible: list[dict[str, Any] | None]
    labels: np.ndarray
    overlapped: bool


def flatten(entries: list[dict[str, Any]], shape: tuple[int, int], most: int = MOST) -> Flat:
    """Paints the masks in ascending score, so that the best lies on top.

    Args:
        entries: COCO results of one image, with compressed run-length codes.
        shape: (height, width).
        most: Only so many of the best are painted; 255 at most.
    """
    order = np.argsort([-e["score"] for e in entries], kind="stable")[:most]
    chosen = [entries[i] for i in order]
    labels, visible, overlapped = paint([e["segmentation"] for e in chosen], shape)
    return Flat(chosen, visible, labels, overlapped)


def paint(rles: list[dict[str, Any]], shape: tuple[int, int]) -> tuple[np.ndarray, list[dict[str, Any] | None], bool]:
    """Masks on one canvas, the first on top.

    Args:
        rles: Run-length codes, 255 at most.
        shape: (height, width).

    Returns:
        labels uint8 [H, W], 1 + position; what is left of each mask, None for nothing; whether any two met.
    """
    height, width = shape
    places, owners = filled_runs([rle["counts"] for rle in rles])
    starts, ends, colours = _top_runs(places, owners, len(rles), height * width)
    areas = np.bincount(owners, places[:, 1] - places[:, 0], len(rles)).astype(int)
    left = np.bincount(colours, ends - starts, len(rles) + 1)[1:].astype(int)
    visible: list[dict[str, Any] | None] = [rle if area else None for rle, area in zip(rles, left, strict=True)]
    by_colour = np.argsort(colours, kind="stable")
    bounds = np.searchsorted(colours[by_colour], np.arange(len(rles) + 2))
    for i in np.flatnonzero((left < areas) & (left > 0)).tolist():
        own = by_colour[bounds[i + 1] : bounds[i + 2]]
        visible[i] = _encode(starts[own], ends[own], shape)
    labels = np.repeat(colours.astype(np.uint8), ends - starts).reshape(width, height).T
    return labels, visible, bool((left < areas).any())


def _top_runs(
    places: np.ndarray, owners: np.ndarray, masks: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What lies on top, as runs from the first pixel to the last, column by column.

    Args:
        places: int [r, (start, end)].
        owners: int [r]; the lowest lies on top.
        masks: Number of owners.
        size: Pixels.

    Returns:
        starts, ends, colours: int [s]; colours are 1 + owner, 0 for the background.
    """
    edges = np.sort(np.append(places, [0, size]), kind="stable")  # merges; those of each mask are in order already
    edges = edges[np.append(edges[1:] != edges[:-1], True)]  # nothing begins or ends within a piece between two
    first, last = np.searchsorted(edges, places.T)
    count = last - first
    pieces = np.arange(count.sum()) + np.repeat(first - np.cumsum(count) + count, count)
    top = np.full(len(edges) - 1, masks)
    np.minimum.at(top, pieces, np.repeat(owners, count))
    changes = np.concatenate([[0], np.flatnonzero(top[1:] != top[:-1]) + 1])
    return edges[changes], edges[np.append(changes[1:], -1)], (top[changes] + 1) % (masks + 1)


def filled_runs(counts: list[str | bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Where compressed run-length codes have pixels; all codes are decoded in one step.

    Args:
        counts: Texts as `mrcnn.structures.rle.rle_lengths` takes them one by one.

    Returns:
        int [r, (start, end)], places column by column, end exclusive; int [r], which code each belongs to.
    """
    joined = b"".join(text.encode("ascii") if isinstance(text, str) else text for text in counts)
    codes = np.frombuffer(joined, np.uint8).astype(np.int64) - 48
    runs, last = packed_numbers(codes)
    numbers = np.searchsorted(last, np.cumsum([len(text) for text in counts]))  # numbers up to the end of each code
    starts = np.concatenate([[0], numbers[:-1]])[: len(counts)]
    owner = np.repeat(np.arange(len(counts)), numbers - starts)
    position = np.arange(len(runs)) - starts[owner]
    # From the fourth number on each is the difference to the one two before: two sums per code, of the numbers 1, 3,
    # 5 ... and of 2, 4, 6 ...; number 0 stands alone.
    for parity in (1, 0):
        chosen = np.flatnonzero((position % 2 == parity) & (position > 0))
        runs[chosen] = _sums_in_group(runs[chosen], owner[chosen])
    ends = _sums_in_group(runs, owner)
    filled = np.flatnonzero(position % 2)
    return np.stack([ends[filled] - runs[filled], ends[filled]], axis=1), owner[filled]


def _sums_in_group(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The running sum, from 0 again where a group begins."""
    sums = np.cumsum(values)
    begins = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]])) if len(groups) else groups
    before = sums[begins] - values[begins]
    return sums - np.repeat(before, np.diff(np.append(begins, len(groups))))


def _encode(starts: np.ndarray, ends: np.ndarray, shape: tuple[int, int]) -> dict[str, Any]:
    edges = np.zeros(2 * len(starts) + 2, np.int64)
    edges[1:-1:2], edges[2:-1:2], edges[-1] = starts, ends, shape[0] * shape[1]
    runs = edges[1:] - edges[:-1]
    runs = runs[: len(runs) - (runs[-1] == 0)]  # COCO writes no empty run at the end
    rle = coco_mask.frPyObjects({"size": list(shape), "counts": runs}, *shape)
    return {"size": list(shape), "counts": rle["counts"].decode("ascii")}
