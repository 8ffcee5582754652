"""Copy-paste augmentation: paste objects of one image into another (Ghiasi et al., arXiv:2012.07177), rare classes
first.

Everything is in pixels of the moulded image. The masks beneath lose what a pasted object covers. Unlike in the paper,
an object keeps its place and size in the image (or is flipped with its image): a street's perspective determines how
large a car is at which height.

Legend: H W moulded image, h w a donor or a crop, n m instances, C classes with background. Boxes are (y1, x1, y2, x2).
"""

from collections.abc import Sequence

import cv2
import numpy as np

from mrcnn.data.geometry import Placement, warp_image, warp_instances
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import uncovered

MAX_PASTED = 3  # objects from one donor; more make streets implausible
MIN_PASTED_AREA = 64  # pixels of a pasted object, 8 x 8; smaller ones are specks


def choose(instances: Instances, class_chances: np.ndarray, limit: int, rng: np.random.Generator) -> Instances:
    """Choose objects to paste: one to MAX_PASTED, drawn without replacement.

    Args:
        instances: n objects of the donor; crowds and ignored ones are never chosen.
        class_chances: float [C], relative probability that an object of each class is chosen.
        limit: maximum number of objects, the free slots of the image.
        rng: generator of this image.
    """
    chances = np.where(instances.crowd | instances.ignore, 0.0, class_chances[instances.class_ids])
    count = min(int(rng.integers(1, MAX_PASTED + 1)), limit, int(np.count_nonzero(chances)))
    if count <= 0:
        return instances.select(np.zeros(0, int))
    return instances.select(rng.choice(len(instances), count, replace=False, p=chances / chances.sum()))


def donor_matrix(placement: Placement, donor_shape: Sequence[int], flip: bool) -> np.ndarray:
    """Return the matrix that lays a donor over an image: scaled to the image's height, then placed like the image.

    Args:
        placement: of the image that receives the objects.
        donor_shape: (h, w, ...) of the donor as loaded.
        flip: left to right.

    Returns:
        float64 [2, 3] as in geometry.py, from donor pixels to moulded pixels.
    """
    scale = placement.source[0] / donor_shape[0]
    onto = np.array([[scale, 0, 0], [0, scale, 0], [0, 0, 1]])
    if flip:
        onto[0] = -scale, 0, scale * donor_shape[1]
    return placement.matrix @ onto


def paste(
    image: np.ndarray, donor: np.ndarray, chosen: Instances, matrix: np.ndarray, min_area: float = 0.5
) -> Instances:
    """Paint objects of another image over a moulded one.

    Args:
        image: uint8 or float32 [H, W, channels], moulded; changed in place.
        donor: [h, w, channels] of the same type, as loaded.
        chosen: objects of the donor, in its pixels.
        matrix: from donor pixels to moulded pixels, see `donor_matrix`.
        min_area: minimum fraction of an object's area inside the image; objects with less are not pasted.

    Returns:
        The pasted objects, in moulded pixels; a later one hides the earlier ones.
    """
    pasted, _, _ = warp_instances(chosen, matrix, image.shape, min_area)
    pasted = pasted.select(np.flatnonzero([np.count_nonzero(crop) >= MIN_PASTED_AREA for crop in pasted.crops]))
    for (y1, x1, y2, x2), crop in zip(pasted.boxes_px, pasted.crops, strict=True):
        pixels = warp_image(donor, matrix, (y2 - y1, x2 - x1), (y1, x1))
        cv2.copyTo(pixels, np.ascontiguousarray(crop).view(np.uint8), image[y1:y2, x1:x2])
    kept = []
    for i in range(len(pasted)):
        later = range(i + 1, len(pasted))
        left = uncovered(pasted.boxes_px[i], pasted.crops[i], pasted.boxes_px[later], [pasted.crops[j] for j in later])
        if left is not None:
            kept.append(i)
            pasted.boxes_px[i], pasted.crops[i] = left
    return pasted.select(np.array(kept, int))


def hide(instances: Instances, pasted: Instances, seen: np.ndarray, min_area: float) -> Instances:
    """Remove the pixels that pasted objects cover from the masks beneath them.

    Args:
        instances: n objects in moulded pixels.
        pasted: the objects on top.
        seen: float [n], fraction of each object that is inside the image.
        min_area: minimum fraction of an object's area that must remain visible; objects with less are dropped.

    Returns:
        The m <= n instances that remain.
    """
    result, kept = instances.select(np.arange(len(instances))), []
    for i, (box, crop) in enumerate(zip(instances.boxes_px, instances.crops, strict=True)):
        left = uncovered(box, crop, pasted.boxes_px, pasted.crops)
        if left is None or seen[i] * np.count_nonzero(left[1]) / np.count_nonzero(crop) < min_area:
            continue
        kept.append(i)
        result.boxes_px[i], result.crops[i] = left
    return result.select(np.array(kept, int))
