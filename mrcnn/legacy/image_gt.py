"""Load one image with its full or mini masks, as the original's `load_image_gt` does.

Legend: n objects, C classes with background, H W image.
"""

import logging
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset, active_classes, check_class_ids, naming_image
from mrcnn.data.images import compose_image_meta, resize_image
from mrcnn.errors import InputError
from mrcnn.structures.instances import whole_class_ids
from mrcnn.structures.masks import extract_bboxes, minimize_mask, resize_mask, resize_nearest

log = logging.getLogger(__name__)


def load_image_gt(
    dataset: Dataset,
    config: Any,
    image_id: int,
    augment: bool = False,
    augmentation: Any = None,
    use_mini_mask: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Load one image with its full masks, resized and padded: for notebooks and evaluation. Training uses `Loader`.

    Args:
        dataset: prepared.
        config: IMAGE_* and MINI_MASK_SHAPE are read.
        image_id: position in the dataset.
        augment: flip left to right with probability 1/2.
        augmentation: an imgaug augmenter that keeps the size of the image; None or False: none.
        use_mini_mask: return mini-masks.

    Returns:
        image: [H, W, 3], as loaded in type.
        image_meta: float64 [12 + C].
        class_ids: int32 [n], without objects outside the image.
        bbox: int32 [n, (y1, x1, y2, x2)] pixels.
        mask: bool [H, W, n], or [*MINI_MASK_SHAPE, n].

    Raises:
        InputError: image or labels cannot be read, image and masks differ in size, a class id is not among the classes,
            or the augmentation changes the size; the message names the image.
    """
    with naming_image(dataset, image_id):
        image, window, scale, mask, class_ids, original_shape = _load(dataset, config, image_id)
        if augment and random.randint(0, 1):
            image, mask = np.fliplr(image), np.fliplr(mask)
            window = (window[0], image.shape[1] - window[3], window[2], image.shape[1] - window[1])
        if augmentation:
            from mrcnn.data.imgaug_adapter import apply_to_masks  # late: imgaug is needed only here

            image, mask, window = apply_to_masks(augmentation, image, mask, window)
        kept = mask.any(axis=(0, 1))
        mask, class_ids = mask[:, :, kept], class_ids[kept]
        check_class_ids(dataset, image_id, class_ids)
    bbox = extract_bboxes(mask)
    if use_mini_mask:
        mask = minimize_mask(bbox, mask, config.MINI_MASK_SHAPE)
    active = active_classes(dataset, image_id)
    meta = compose_image_meta(image_id, original_shape, image.shape, window, scale, active)
    return image, meta, class_ids, bbox, mask


def _load(dataset: Dataset, config: Any, image_id: int) -> tuple:
    """Return image, window, scale and masks at the network's size, class ids int32 [n], and the shape as loaded."""
    image = dataset.load_image(image_id)
    mask, class_ids = dataset.load_mask(image_id)
    mask, shape = np.asarray(mask), image.shape
    if mask.ndim == 3 and mask.shape[-1] == 0:
        mask = np.zeros((*shape[:2], 0), bool)
    class_ids = whole_class_ids(class_ids)
    if mask.ndim != 3 or mask.shape[:2] != shape[:2] or mask.shape[-1] != len(class_ids):
        raise InputError(
            f"the image is {shape[:2]} (height, width), its masks have shape {mask.shape} for {len(class_ids)} class "
            "ids; load_mask must return [height, width, n] and n ids"
        )
    image, window, scale, padding, crop = resize_image(
        image,
        config.IMAGE_MIN_DIM,
        config.IMAGE_MAX_DIM,
        config.IMAGE_MIN_SCALE,
        config.IMAGE_RESIZE_MODE,
        config.IMAGE_INTERPOLATION,
    )
    # A crop is cut out of the scaled image; in all other modes the window is the scaled image.
    size = (
        (window[2] - window[0], window[3] - window[1]) if crop is None else [round(side * scale) for side in shape[:2]]
    )
    return image, window, scale, _resize_all(mask, size, padding, crop), class_ids, shape


def _resize_all(mask: np.ndarray, size: Sequence[int], padding: Sequence, crop: Sequence[int] | None) -> np.ndarray:
    """Resize masks, but keep the pixels of an object that is too thin to be sampled."""
    resized = resize_nearest(mask, size)
    factors = size[0] / mask.shape[0], size[1] / mask.shape[1]
    for i in np.flatnonzero(mask.any(axis=(0, 1)) & ~resized.any(axis=(0, 1))):
        places = zip(np.nonzero(mask[:, :, i]), factors, strict=True)
        rows, columns = (((place + 0.5) * factor).astype(int) for place, factor in places)
        resized[np.minimum(rows, size[0] - 1), np.minimum(columns, size[1] - 1), i] = True
    return resize_mask(resized, 1, padding, crop)
