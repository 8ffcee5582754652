"""Augmentation with an imgaug augmenter that the user passes. imgaug is optional and only imported here, when needed.

Masks go through imgaug as segmentation maps: it moves them with the image if an augmenter moves pixels, and leaves them
alone if it only changes colours. So every augmenter is safe, and no list of safe ones is needed.

Legend: H W image, n m instances. Boxes are (y1, x1, y2, x2) in pixels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances


def apply_imgaug(
    augmentation: Any, image: np.ndarray, instances: Instances, seed: int | None = None
) -> tuple[np.ndarray, Instances, np.ndarray]:
    """Augment an image and its objects alike.

    Args:
        augmentation: an imgaug augmenter.
        image: uint8 [H, W, channels], or another number type that the augmenter takes.
        instances: n objects in that image.
        seed: makes the result reproducible; None uses imgaug's own random state.

    Returns:
        image: of the size and type that the augmenter gives it.
        instances: m <= n objects; those moved out of the image are gone.
        kept: int [m], indices of the objects that remain.

    Raises:
        InputError: not an imgaug augmenter.
    """
    if not hasattr(augmentation, "to_deterministic"):
        kind = type(augmentation).__name__
        raise InputError(f"augmentation is of type {kind}; pass an imgaug augmenter such as iaa.Fliplr(0.5)")
    from imgaug.augmentables.segmaps import SegmentationMapsOnImage

    fixed = augmentation.to_deterministic()  # a copy that treats the image and the maps alike
    if seed is not None:
        fixed.seed_(seed, deterministic_too=True)
    layers = _pack(instances, image.shape)
    image = fixed.augment_image(np.ascontiguousarray(image))
    if not len(instances):
        return image, instances, np.zeros(0, int)
    layers = fixed.augment_segmentation_maps(SegmentationMapsOnImage(layers, shape=image.shape)).get_arr()
    boxes, crops = _unpack(layers, len(instances))
    kept = np.array([i for i, crop in enumerate(crops) if crop is not None], int)
    moved = Instances(
        instances.class_ids[kept],
        boxes[kept],
        [crops[i] for i in kept],
        instances.crowd[kept],
        instances.ignore[kept],
    )
    return image, moved, kept


def apply_to_masks(
    augmentation: Any, image: np.ndarray, masks: np.ndarray, window: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int, int]]:
    """Augment a padded image with full masks, and return where its content lies now.

    Args:
        augmentation: an imgaug augmenter that keeps the size of the image.
        image: uint8 [H, W, channels], or another number type that the augmenter takes.
        masks: bool [H, W, n].
        window: (y1, x1, y2, x2) pixels of the padded image that are not padding.

    Returns:
        image: [H, W, channels] of the same type.
        masks: bool [H, W, n], empty where an object left the image.
        window: the box (y1, x1, y2, x2) px around the moved window.

    Raises:
        InputError: the augmenter changed the size.
    """
    y1, x1, y2, x2 = window
    shape = image.shape
    objects = Instances.from_masks(masks, np.arange(1, masks.shape[2] + 1))
    # The window goes along as one more object, so that the image meta stays correct.
    everything = Instances(
        np.append(objects.class_ids, 0),
        np.vstack([objects.boxes_px, [window]]),
        [*objects.crops, np.ones((y2 - y1, x2 - x1), bool)],
    )
    image, moved, _ = apply_imgaug(augmentation, image, everything)
    if image.shape != shape:
        raise InputError(f"the augmentation changed the image from {shape} to {image.shape}; use keep_size=True")
    result = np.zeros_like(masks, bool)
    for class_id, box, crop in zip(moved.class_ids, moved.boxes_px, moved.crops, strict=True):
        if class_id == 0:
            window = box
        else:
            result[box[0] : box[2], box[1] : box[3], class_id - 1] = crop
    y1, x1, y2, x2 = (int(v) for v in window)
    return image, result, (y1, x1, y2, x2)


def _pack(instances: Instances, shape: Sequence[int]) -> np.ndarray:
    """Paint instance i as i + 1 into int32 [H, W, layers]: one layer, and more only where objects overlap."""
    layers: list[np.ndarray] = []
    for i, ((y1, x1, y2, x2), crop) in enumerate(zip(instances.boxes_px, instances.crops, strict=True)):
        for layer in layers:
            if not layer[y1:y2, x1:x2][crop].any():
                break
        else:
            layer = np.zeros((shape[0], shape[1]), np.int32)
            layers.append(layer)
        layer[y1:y2, x1:x2][crop] = i + 1
    return np.stack(layers, axis=-1) if layers else np.zeros((shape[0], shape[1], 1), np.int32)


def _unpack(layers: np.ndarray, count: int) -> tuple[np.ndarray, list[np.ndarray | None]]:
    """Return boxes int32 [count, 4] and crops of the objects that `_pack` painted; None where nothing is left."""
    from scipy.ndimage import find_objects

    boxes = np.zeros((count, 4), np.int32)
    crops: list[np.ndarray | None] = [None] * count
    for k in range(layers.shape[2]):
        layer = np.ascontiguousarray(layers[:, :, k])
        for i, place in enumerate(find_objects(layer, count)):
            if place is not None:
                rows, columns = place
                boxes[i] = rows.start, columns.start, rows.stop, columns.stop
                crops[i] = layer[place] == i + 1
    return boxes, crops
