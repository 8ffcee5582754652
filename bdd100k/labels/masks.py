"""The masks of labelled objects: boxes and crops, without what nearer objects hide."""

import logging

import numpy as np

from bdd100k.labels.frames import Frame, LabelObject
from mrcnn.errors import InputError
from mrcnn.structures import masks
from mrcnn.structures.instances import Instances
from mrcnn.structures.polygons import polygons_to_crop
from mrcnn.structures.rle import rle_to_crop

logger = logging.getLogger(__name__)

BoxAndCrop = tuple[np.ndarray, np.ndarray]  # int32 [4] (y1, x1, y2, x2) px, exclusive; bool [y2 - y1, x2 - x1]


def object_mask(label: LabelObject, height: int, width: int, rectangles_as_masks: bool = False) -> BoxAndCrop | None:
    """The box and the mask of one object, by its run-length code or its polygons.

    Args:
        label: the object.
        height, width: of its image, pixels.
        rectangles_as_masks: take the filled box2d of an object that has nothing else.

    Returns:
        (box_px int32 [4] as (y1, x1, y2, x2), y2 and x2 exclusive; crop bool [y2 - y1, x2 - x1]), tight around the
        mask; None where no pixel belongs to the object, or it has no mask.
    """
    if label.rle is not None:
        return rle_to_crop(label.rle)
    if label.polygons is not None:
        return polygons_to_crop(label.polygons, (height, width))
    if label.box2d is None or not rectangles_as_masks:
        return None
    x1, y1, x2, y2 = np.rint(label.box2d).astype(int)  # Scalabel: x2 and y2 belong to the box
    y1, x1, y2, x2 = max(y1, 0), max(x1, 0), min(y2 + 1, height), min(x2 + 1, width)
    if y2 <= y1 or x2 <= x1:
        return None
    return np.array([y1, x1, y2, x2], np.int32), np.ones((y2 - y1, x2 - x1), bool)


def frame_instances(frame: Frame, rectangles_as_masks: bool = False) -> Instances:
    """The instances of a frame, each a box and a crop; boxes always come from the masks.

    Raw Scalabel polygons run on behind nearer objects. As in the official masks, which are made from them, a later
    label's polygons hide those of earlier labels, so the masks do not overlap.

    Objects without a mask are left out unless `rectangles_as_masks`, and so are objects that cover no pixel.

    Raises:
        InputError: the frame's size is not known.
    """
    found = visible_masks(frame, rectangles_as_masks)
    seen = [i for i, mask in enumerate(found) if mask is not None]
    kept = [(label, *mask) for label, mask in zip(frame.objects, found, strict=True) if mask is not None]
    for label, mask in zip(frame.objects, found, strict=True):
        if mask is None and label.has_mask:
            logger.debug("%s, label %r: no pixel of it is seen; left out", frame.name, label.id)
    return Instances(
        class_ids=np.array([label.category_id for label, _, _ in kept], np.int32),
        boxes_px=np.array([box for _, box, _ in kept], np.int32).reshape(-1, 4),
        crops=[crop for _, _, crop in kept],
        crowd=np.array([label.crowd for label, _, _ in kept], bool),
        ignore=np.array([label.ignored for label, _, _ in kept], bool),
        origin=np.array(seen, int),
    )


def visible_masks(frame: Frame, rectangles_as_masks: bool = False) -> list[BoxAndCrop | None]:
    """`object_mask` of each label without what later polygons hide; None where no pixel is left or there is no mask.

    Raises:
        InputError: the frame's size is not known.
    """
    if not frame.height or not frame.width:
        raise InputError(f"{frame.name}: the image size is not known, so polygons have no extent; give the image")
    found = [object_mask(label, frame.height, frame.width, rectangles_as_masks) for label in frame.objects]
    if frame.layered:
        layers = [i for i, label in enumerate(frame.objects) if label.polygons is not None]
        for place, i in enumerate(layers):
            found[i] = uncovered(found[i], [found[j] for j in layers[place + 1 :]])
    return found


def uncovered(mask: BoxAndCrop | None, covers: list[BoxAndCrop | None]) -> BoxAndCrop | None:
    """What the masks in `covers` leave of a mask, in a box that is tight again; None if nothing is left."""
    if mask is None:
        return None
    present = [cover for cover in covers if cover is not None]
    boxes_px = np.array([box for box, _ in present], np.int32).reshape(-1, 4)
    return masks.uncovered(*mask, boxes_px, [crop for _, crop in present])
