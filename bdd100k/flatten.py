"""Predictions without overlaps: where masks meet, the better score has the pixel, as BDD100K's evaluation wants it."""

import dataclasses
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.outlines import rle_lengths

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


def paint(rles: list[dict[str, Any]], shape: tuple[int, int]
          ) -> tuple[np.ndarray, list[dict[str, Any] | None], bool]:
    """Masks on one canvas, the first on top.

    Args:
        rles: Run-length codes, 255 at most.
        shape: (height, width).

    Returns:
        labels uint8 [H, W], 1 + position; what is left of each mask, None for nothing; whether any two met.
    """
    height, width = shape
    canvas = np.zeros(height * width, np.uint8)  # column by column, as run-length codes go
    areas = np.zeros(len(rles), int)
    for n in range(len(rles) - 1, -1, -1):
        ends = np.cumsum(rle_lengths(rles[n]["counts"]))
        starts, ends = ends[:-1:2], ends[1::2]
        areas[n] = (ends - starts).sum()
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            canvas[start:end] = n + 1
    left = np.bincount(canvas, minlength=len(rles) + 1)[1:]
    visible: list[dict[str, Any] | None] = [rle if area else None for rle, area in zip(rles, left, strict=True)]
    cut = np.flatnonzero((left < areas) & (left > 0))
    if len(cut):
        starts = np.concatenate([[0], np.flatnonzero(canvas[1:] != canvas[:-1]) + 1])
        ends, colours = np.append(starts[1:], canvas.size), canvas[starts]
        for i in cut.tolist():
            own = colours == i + 1
            visible[i] = _encode(starts[own], ends[own], shape)
    return canvas.reshape(width, height).T, visible, bool((left < areas).any())


def _encode(starts: np.ndarray, ends: np.ndarray, shape: tuple[int, int]) -> dict[str, Any]:
    places = np.stack([starts, ends], 1).reshape(-1)
    runs = np.diff(np.concatenate([[0], places, [shape[0] * shape[1]]]))
    runs = runs[: len(runs) - (runs[-1] == 0)]  # COCO writes no empty run at the end
    rle = coco_mask.frPyObjects({"size": list(shape), "counts": runs.tolist()}, *shape)
    return {"size": list(shape), "counts": rle["counts"].decode("ascii")}
