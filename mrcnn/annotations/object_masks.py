"""Turn labelled objects into masks: boxes and crops, without what nearer objects hide.

Boxes are int32 [4] (y1, x1, y2, x2) in pixels, y2 and x2 exclusive; crops are bool [y2 - y1, x2 - x1].
"""

from collections.abc import Mapping, Sequence

import numpy as np

from mrcnn.annotations.schema import AnnotatedImage, Annotation
from mrcnn.errors import InputError
from mrcnn.structures import masks
from mrcnn.structures.instances import Instances
from mrcnn.structures.polygons import polygons_to_crop
from mrcnn.structures.rle import rle_to_crop

BoxAndCrop = tuple[np.ndarray, np.ndarray]


def object_mask(label: Annotation, shape: tuple[int, int]) -> BoxAndCrop | None:
    """Return box and mask of an object; the filled box if it has neither run-length code nor polygons.

    Args:
        label: the object.
        shape: (height, width) of its image, px.

    Returns:
        (box int32 [4], crop bool [y2 - y1, x2 - x1]), tight around the mask; None if no pixel belongs to the object.

    Raises:
        InputError: a run-length code does not fit its size; readers check that before.
    """
    if label.rle is not None:
        return rle_to_crop(label.rle)
    if label.polygons is not None:
        return polygons_to_crop(label.polygons, shape)
    assert label.box_px is not None
    x1, y1, x2, y2 = np.floor(np.add(label.box_px, 0.5)).astype(int)
    y1, x1, y2, x2 = max(y1, 0), max(x1, 0), min(y2, shape[0]), min(x2, shape[1])
    if y2 <= y1 or x2 <= x1:
        return None
    return np.array([y1, x1, y2, x2], np.int32), np.ones((y2 - y1, x2 - x1), bool)


def visible_masks(image: AnnotatedImage, boxes: bool = False) -> list[BoxAndCrop | None]:
    """Return what is seen of each object.

    In a layered image the polygons of a later object hide those of earlier ones: raw Scalabel polygons run on behind
    nearer objects, and the official masks are made from them in this way. So these masks do not overlap.

    Args:
        image: with its size.
        boxes: fill the boxes of objects that have no mask.

    Returns:
        For each object its (box, crop); None if no pixel of it is left, or it has no mask.

    Raises:
        InputError: the size of the image is not known.
    """
    if image.size is None:
        raise InputError(f"{image.name}: the image size is not known, so polygons have no extent; give the image")
    shape = image.size
    found = [object_mask(label, shape) if boxes or label.has_mask else None for label in image.objects]
    if image.layered:
        layers = [i for i, label in enumerate(image.objects) if label.polygons is not None]
        for place, i in enumerate(layers):
            found[i] = uncovered(found[i], [found[j] for j in layers[place + 1 :]])
    return found


def uncovered(mask: BoxAndCrop | None, covers: Sequence[BoxAndCrop | None]) -> BoxAndCrop | None:
    """Return what the masks in `covers` leave of a mask, in a tight box; None if nothing is left."""
    if mask is None:
        return None
    present = [cover for cover in covers if cover is not None]
    boxes_px = np.array([box for box, _ in present], np.int32).reshape(-1, 4)
    return masks.uncovered(*mask, boxes_px, [crop for _, crop in present])


def to_instances(
    labels: Sequence[Annotation], found: Sequence[BoxAndCrop | None], class_ids: Mapping[str, int]
) -> Instances:
    """Return the objects that have a mask.

    Args:
        labels: n objects.
        found: n masks (box int32 [4], crop bool [y2 - y1, x2 - x1]); None leaves an object out.
        class_ids: class name -> class id in the dataset.

    Returns:
        The instances; `origin` holds their positions in `labels`.
    """
    seen = [i for i, mask in enumerate(found) if mask is not None]
    kept = [mask for mask in found if mask is not None]
    return Instances(
        class_ids=np.array([class_ids[labels[i].name] for i in seen], np.int32),
        boxes_px=np.array([box for box, _ in kept], np.int32).reshape(-1, 4),
        crops=[crop for _, crop in kept],
        crowd=np.array([labels[i].crowd for i in seen], bool),
        ignore=np.array([labels[i].ignore for i in seen], bool),
        origin=np.array(seen, int),
    )
