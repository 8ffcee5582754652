"""Turn labelled objects into masks: boxes and crops, without what nearer objects hide.

Boxes are int32 [4] (y1, x1, y2, x2) in pixels, y2 and x2 exclusive; crops are bool [y2 - y1, x2 - x1].
"""

import io
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from mrcnn.annotations.schema import AnnotatedImage, Annotation
from mrcnn.data.image_files import MAX_PIXELS, opened
from mrcnn.errors import InputError, LabelError
from mrcnn.structures import masks
from mrcnn.structures.instances import Instances
from mrcnn.structures.polygons import polygons_to_crop
from mrcnn.structures.rle import crop_to_rle, rle_lengths, rle_to_crop

BoxAndCrop = tuple[np.ndarray, np.ndarray]
_MANY = 64  # masks of an image
_MASK_AREA = 4  # times that of its image: what a mask image may have, of which the part outside is cut off


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
        for i, mask in zip(layers, _visible([found[i] for i in layers]), strict=True):
            found[i] = mask
    return found


def _visible(layers: Sequence[BoxAndCrop | None]) -> list[BoxAndCrop | None]:
    """What later masks leave of each mask."""
    present = [layer for layer in layers if layer is not None]
    if len(present) < _MANY:
        return [uncovered(layer, layers[i + 1 :]) for i, layer in enumerate(layers)]
    # Comparing all with all would take minutes for thousands: paint them, so that the last one is seen in each pixel.
    boxes = np.array([box for box, _ in present])
    (top, left), (bottom, right) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    canvas = np.full((bottom - top, right - left), -1, np.int32)
    places = [np.s_[y1 - top : y2 - top, x1 - left : x2 - left] for y1, x1, y2, x2 in boxes.tolist()]
    for i, (place, (_, crop)) in enumerate(zip(places, present, strict=True)):
        canvas[place][crop] = i
    seen = iter(
        masks.tighten(canvas[place] == i, int(box[0]), int(box[1]))
        for i, (place, box) in enumerate(zip(places, boxes, strict=True))
    )
    return [None if layer is None else next(seen) for layer in layers]


def uncovered(mask: BoxAndCrop | None, covers: Sequence[BoxAndCrop | None]) -> BoxAndCrop | None:
    """Return what the masks in `covers` leave of a mask, in a tight box; None if nothing is left."""
    if mask is None:
        return None
    present = [cover for cover in covers if cover is not None]
    boxes_px = np.array([box for box, _ in present], np.int32).reshape(-1, 4)
    return masks.uncovered(*mask, boxes_px, [crop for _, crop in present])


def cut_out(
    outlines: Sequence[np.ndarray], holes: Sequence[np.ndarray], size: tuple[int, int] | None
) -> dict[str, Any]:
    """Return the run-length code of polygons with holes.

    Args:
        outlines: polygons [k, (x, y)] px; their union is the object.
        holes: polygons [k, (x, y)] px that do not belong to it.
        size: (height, width) of the image, px.

    Raises:
        LabelError: no pixel is left, or the size is not known.
    """
    if size is None:
        raise LabelError("has a hole, which needs the size of the image in the file")
    from pycocotools import mask as coco

    # In run lengths: `size` is what a file states, and an array of this size may not fit into memory.
    whole, cut = (coco.merge(_filled(polygons, size)) for polygons in (outlines, holes))
    rest = coco.merge([whole, _inverted(cut)], intersect=True)
    if not coco.area(rest):
        raise LabelError("no pixel of the image lies inside its outline", "no area")
    return rest


def png_mask(data: bytes, left: int, top: int, size: tuple[int, int] | None) -> dict[str, Any]:
    """Return the run-length code of a mask that is a PNG of the object's surroundings.

    Args:
        data: the PNG: pixels that are not transparent, or in a PNG without transparency not 0, are the object.
        left, top: where its first pixel lies in the image; what lies outside the image is cut off.
        size: (height, width) of the image, px.

    Raises:
        LabelError: it is no PNG of a mask, is larger than four times its image, no pixel of it lies in the image, or
            the size is not known.
        InputError: the size of the image is more than a mask can hold.
    """
    if size is None:
        raise LabelError("a mask needs the size of the image in the file")
    try:
        with opened(io.BytesIO(data), min(_MASK_AREA * size[0] * size[1], MAX_PIXELS)) as (image, _):
            pixels = np.asarray(image.getchannel("A") if "A" in image.getbands() else image)
    except InputError as error:
        raise LabelError(f"mask is not a PNG ({error})") from None
    if pixels.ndim != 2:
        raise LabelError(f"mask has shape {pixels.shape}; it needs one channel, or a transparent one")
    inside = pixels[max(-top, 0) : max(size[0] - top, 0), max(-left, 0) : max(size[1] - left, 0)] > 0
    mask = masks.tighten(inside, max(top, 0), max(left, 0))
    if mask is None:
        raise LabelError(
            f"mask of shape {pixels.shape} at row {top}, column {left} has no pixel in the image", "no area"
        )
    box, crop = mask
    return crop_to_rle(box.tolist(), crop, size)


def keep_part(part: Annotation, group: Hashable, groups: dict[Hashable, Annotation], image: AnnotatedImage) -> None:
    """Add an object to an image, or a part of an object to what is there of it.

    Args:
        part: with polygons or a run-length code; the size of the image is known if it has a run-length code.
        group: parts with the same group are one object; None for an object of its own.
        groups: group -> the object of the image.
        image: takes the object.

    Raises:
        LabelError: it has no class name.
    """
    known = groups.get(group) if group is not None else None
    if known is None:
        image.keep(part)
        if group is not None:
            groups[group] = part
    elif known.polygons is not None and part.polygons is not None:
        known.polygons += part.polygons
    else:
        known.rle, known.polygons = _union(known, part, image.size), None


def _union(first: Annotation, second: Annotation, size: tuple[int, int] | None) -> dict[str, Any]:
    """The run-length code of two parts of an object, at least one of which has such a code."""
    from pycocotools import mask as coco

    assert size is not None
    codes = _filled((first.polygons or []) + (second.polygons or []), size)
    return coco.merge([*codes, *(part.rle for part in (first, second) if part.rle is not None)])


def _filled(polygons: Sequence[np.ndarray], size: tuple[int, int]) -> list[dict[str, Any]]:
    """The run-length codes of polygons that `as_points` has checked, in an image of (height, width) px."""
    from pycocotools import mask as coco

    return coco.frPyObjects([polygon.ravel().tolist() for polygon in polygons], *size) if len(polygons) else []


def _inverted(rle: dict[str, Any]) -> dict[str, Any]:
    """The run-length code of the pixels that do not belong to a mask."""
    from pycocotools import mask as coco

    runs = rle_lengths(rle["counts"]).tolist()
    return coco.frPyObjects({"size": rle["size"], "counts": runs[1:] if runs[0] == 0 else [0, *runs]}, *rle["size"])


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
