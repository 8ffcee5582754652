"""Removes overlaps from predictions: each pixel goes to the mask with the best score, as BDD100K requires."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.evaluation.coco_results import Entry
from mrcnn.structures.rle import packed_numbers

MAX_OBJECTS = 100  # per image


@dataclasses.dataclass
class Flattened:
    """The predictions of one image without overlaps, best score first.

    Attributes:
        entries: COCO results; of equal scores the earlier one comes first.
        visible: COCO's RLE of the part that no better mask covers, or None if nothing is left.
        labels: uint8 [H, W], 1 + position in `entries`; 0 for the background.
        overlapped: Whether any two masks overlapped.
    """

    entries: list[Entry]
    visible: list[dict[str, Any] | None]
    labels: np.ndarray
    overlapped: bool


def flatten(entries: Sequence[Entry], shape: tuple[int, int], limit: int = MAX_OBJECTS) -> Flattened:
    """Paint the masks in order of score, the best on top.

    Args:
        entries: COCO results of one image, with compressed RLEs.
        shape: (height, width) px.
        limit: Maximum number of predictions to paint, the best first; at most 255.
    """
    order = np.argsort([-e["score"] for e in entries], kind="stable")[:limit]
    chosen = [entries[i] for i in order]
    labels, visible, overlapped = paint([e["segmentation"] for e in chosen], shape)
    return Flattened(chosen, visible, labels, overlapped)


def paint(
    rles: Sequence[dict[str, Any]], shape: tuple[int, int]
) -> tuple[np.ndarray, list[dict[str, Any] | None], bool]:
    """Paint masks on one canvas with the first on top.

    Args:
        rles: COCO's compressed RLEs, at most 255.
        shape: (height, width) px.

    Returns:
        labels: uint8 [H, W], 1 + position of the mask on top; 0 for the background.
        visible: The visible part of each mask, or None if nothing is left.
        overlapped: Whether any two masks overlapped.
    """
    height, width = shape
    runs, owners = filled_runs([rle["counts"] for rle in rles])
    starts, ends, labels = _top_runs(runs, owners, len(rles), height * width)
    areas = np.bincount(owners, runs[:, 1] - runs[:, 0], len(rles)).astype(int)
    left = np.bincount(labels, ends - starts, len(rles) + 1)[1:].astype(int)
    visible: list[dict[str, Any] | None] = [rle if area else None for rle, area in zip(rles, left, strict=True)]
    by_label = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[by_label], np.arange(len(rles) + 2))
    for i in np.flatnonzero((left < areas) & (left > 0)).tolist():
        own = by_label[bounds[i + 1] : bounds[i + 2]]
        visible[i] = _encode(starts[own], ends[own], shape)
    image = np.repeat(labels.astype(np.uint8), ends - starts).reshape(width, height).T
    return image, visible, bool((left < areas).any())


def _top_runs(runs: np.ndarray, owners: np.ndarray, masks: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the top mask of every pixel, as runs from the first pixel to the last, column by column.

    Args:
        runs: int [r, (start, end)].
        owners: int [r], the mask of each run; the lowest number lies on top.
        masks: Number of masks.
        size: Number of pixels.

    Returns:
        starts, ends, labels: int [s]; labels are 1 + owner, or 0 for the background.
    """
    edges = np.sort(
        np.append(runs, [0, size]), kind="stable"
    )  # quick, because the runs of each mask are already sorted
    edges = edges[np.append(edges[1:] != edges[:-1], True)]  # no run begins or ends between two edges
    first, last = np.searchsorted(edges, runs.T)
    count = last - first
    pieces = np.arange(count.sum()) + np.repeat(first - np.cumsum(count) + count, count)
    top = np.full(len(edges) - 1, masks)
    np.minimum.at(top, pieces, np.repeat(owners, count))
    changes = np.concatenate([[0], np.flatnonzero(top[1:] != top[:-1]) + 1])
    return edges[changes], edges[np.append(changes[1:], -1)], (top[changes] + 1) % (masks + 1)


def filled_runs(counts: Sequence[str | bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Decode several compressed RLEs to runs of pixels in one step, which takes a third of the time.

    Args:
        counts: Compressed counts, as `mrcnn.structures.rle.rle_lengths` takes them.

    Returns:
        runs: int [r, (start, end)], pixels column by column, end exclusive.
        owners: int [r], the position of the RLE of each run.
    """
    joined = b"".join(text.encode("ascii") if isinstance(text, str) else text for text in counts)
    lengths, last = packed_numbers(np.frombuffer(joined, np.uint8).astype(np.int64) - 48)
    bounds = np.searchsorted(last, np.cumsum([0, *map(len, counts)]))  # count of numbers before each RLE
    owner = np.repeat(np.arange(len(counts)), np.diff(bounds))
    position = np.arange(len(lengths)) - bounds[owner]
    # From the fourth number on, each is the difference from the number two places before. So there are two running sums
    # per RLE, over the numbers 1, 3, 5 ... and 2, 4, 6 ...; number 0 stands alone.
    for parity in (1, 0):
        chosen = np.flatnonzero((position % 2 == parity) & (position > 0))
        lengths[chosen] = _running_sums(lengths[chosen], owner[chosen])
    ends = _running_sums(lengths, owner)
    filled = np.flatnonzero(position % 2)
    return np.stack([ends[filled] - lengths[filled], ends[filled]], axis=1), owner[filled]


def _running_sums(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the running sum [n] within each group; `groups` is int [n], ascending."""
    sums = np.cumsum(values)
    begins = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]])) if len(groups) else groups
    before = sums[begins] - values[begins]
    return sums - np.repeat(before, np.diff(np.append(begins, len(groups))))


def _encode(starts: np.ndarray, ends: np.ndarray, shape: tuple[int, int]) -> dict[str, Any]:
    """Return COCO's RLE of the pixels in the runs [start, end)."""
    edges = np.zeros(2 * len(starts) + 2, np.int64)
    edges[1:-1:2], edges[2:-1:2], edges[-1] = starts, ends, shape[0] * shape[1]
    lengths = edges[1:] - edges[:-1]
    lengths = lengths[: len(lengths) - (lengths[-1] == 0)]  # COCO omits an empty run at the end
    rle = coco_mask.frPyObjects({"size": list(shape), "counts": lengths}, *shape)
    return {"size": list(shape), "counts": rle["counts"].decode("ascii")}
