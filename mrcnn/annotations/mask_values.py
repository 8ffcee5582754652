"""Decide what the values of a mask image mean: instance ids, pixels of no object (void), or one object with soft edges.

A mask that was resized with interpolation, or saved as JPEG, has many values along its edges that are no ids.
"""

import dataclasses

import cv2
import numpy as np

from mrcnn.errors import LabelError

VOID = 255  # in masks like those of PASCAL VOC
VOID_REACH_PX = 6  # the border around an object in VOC is 5 px wide
FEW_IDS = 128  # with ids above it, 255 is one more of them
# Of the pixels at edges, the fraction that lies between a smaller and a larger value, away from any area of its own
# value. Measured: below 0.10 for ids, also of thousands of objects of 2 to 4 px; 0.12 to 0.80 for smoothed masks.
SMOOTHED = 0.11
_FEW_VALUES = 3  # so many values must occur there
_RINGING = 0.01  # of the object; so much of a smoothed mask may be even between 0 and the maximum


@dataclasses.dataclass(frozen=True)
class MaskValues:
    """What a mask image holds.

    Attributes:
        ids: int32 [H, W] instance ids, 0 for the background.
        kind: kind of the finding about its values, None if there is nothing to say.
        detail: the finding in words.
    """

    ids: np.ndarray
    kind: str | None = None
    detail: str = ""


def interpret(pixels: np.ndarray, lossy: bool = False, voc: bool = False, one_object: bool = False) -> MaskValues:
    """Return the instance ids of a mask image.

    Args:
        pixels: int32 [H, W], 0 or more.
        lossy: the file is a JPEG, whose values are never exact.
        voc: 255 has the colour that VOC gives to void pixels.
        one_object: all values but 0 are the same object.

    Raises:
        LabelError: the mask was smoothed or is a JPEG, and is more than one object on a background.
    """
    top = int(pixels.max(initial=0))
    if top > np.iinfo(np.uint16).max:
        return MaskValues(pixels)
    values = pixels.astype(np.uint16)
    low, high = _range(values, 3)
    areas = np.bincount(values[low == high], minlength=VOID + 1)  # pixels whose neighbours have the same value
    counts = np.bincount(values.ravel(), minlength=VOID + 1)
    if lossy or _at_both_ends(counts, top) or _smoothed(values, low, high):
        return _two_valued(pixels, top, lossy)
    if not one_object and top == VOID and (voc or _is_void(values, counts, areas)):
        detail = f"the {counts[VOID]} pixels of value 255 are taken as void: between objects, or not labelled"
        return MaskValues(np.where(pixels == VOID, 0, pixels), "void pixels", detail)
    return MaskValues(pixels)


def _range(values: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The minimum and the maximum of the side x side pixels around each pixel."""
    kernel = np.ones((side, side), np.uint8)
    return cv2.erode(values, kernel), cv2.dilate(values, kernel)


def _smoothed(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether much of the edges has values between those at their sides, which no area nearby has."""
    edge, around = low != high, np.ones((5, 5), np.uint8)
    beside_own = cv2.dilate(np.where(edge, 0, values).astype(np.uint16), around) == values
    beside_own |= cv2.erode(np.where(edge, np.iinfo(np.uint16).max, values).astype(np.uint16), around) == values
    between = (low < values) & (values < high) & ~beside_own
    if np.count_nonzero(between) <= SMOOTHED * np.count_nonzero(edge):
        return False
    found = np.unique(values[between])
    if len(found) > VOID:  # more than 8 bits hold: real objects have some pixels each
        return bool(np.count_nonzero(between) < 1.5 * len(found))
    return len(found) >= _FEW_VALUES


def _at_both_ends(counts: np.ndarray, top: int) -> bool:
    """Whether the values are 0 and 255 with a little noise on both: a JPEG of the best quality."""
    noisy = counts[1:9].any() and counts[VOID - 8 : VOID].any()
    return top == VOID and bool(noisy) and not counts[9 : VOID - 8].any()


def _two_valued(pixels: np.ndarray, top: int, lossy: bool) -> MaskValues:
    """Cut a smoothed mask of one object at half its maximum."""
    found, noise = np.unique(pixels), top // 8  # so far from 0 and from the maximum, values may be noise
    if len(found) <= 2:
        return MaskValues(pixels)
    low, high = (limit.astype(np.int32) for limit in _range(pixels.astype(np.uint16), 3))
    if lossy:
        areas = (high - low <= noise) & (low > noise) & (high < top - noise)
    else:
        areas = (high == low) & (low > 0) & (low < top - noise)
    at_top = np.count_nonzero(pixels >= top - noise)
    if np.count_nonzero(areas) > _RINGING * at_top or at_top < np.count_nonzero(pixels > noise) / 4:
        raise LabelError(
            f"its {len(found)} values are no ids: the mask was smoothed when it was resized, or saved as JPEG. Make it "
            "again as a PNG, resized with nearest neighbour"
        )
    detail = f"the values between 0 and {top} are soft edges (smoothed, or JPEG); above {top // 2} is the object"
    return MaskValues((pixels > top // 2).astype(np.int32), "soft mask", detail)


def _is_void(values: np.ndarray, counts: np.ndarray, areas: np.ndarray) -> bool:
    """Whether 255 is no object: beside ids that are counted from 1, or along the borders of other objects."""
    ids = np.flatnonzero(counts[1:VOID]) + 1
    if not len(ids) or ids[-1] >= FEW_IDS:
        return False
    if ids[-1] <= 2 * len(ids) and areas[ids].any():
        return True
    others = ((values > 0) & (values < VOID)).astype(np.uint8)
    beside = cv2.dilate(others, np.ones((2 * VOID_REACH_PX + 1,) * 2, np.uint8))
    return bool(beside[values == VOID].mean() > 0.9)
