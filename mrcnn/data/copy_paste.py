"""Copy-paste: objects of one image put into another (Ghiasi et al., arXiv:2012.07177), rare classes above all.

All in pixels of the moulded image. What a pasted object covers is taken from the masks beneath it. Unlike the paper,
an object keeps its place and size in the picture (or is mirrored with its picture): a street's perspective says how
large a car is at which height.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from mrcnn.data.geometry import Placement, warp_image, warp_instances
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import uncovered

MOST_PASTED = 3  # objects a donor gives; streets stay plausible
LEAST_AREA = 64  # pixels of a pasted object; smaller ones are specks


def choose(instances: Instances, class_chances: np.ndarray, most: int, rng: np.random.Generator) -> Instances:
    """Objects to paste: one to MOST_PASTED, drawn without replacement.

    Args:
        instances: n objects of the donor; crowds and ignored ones are never taken.
        class_chances: float [C], C classes incl. background: how likely an object of each class is taken.
        most: places that are free.
        rng: of this image.
    """
    chances = np.where(instances.crowd | instances.ignore, 0.0, class_chances[instances.class_ids])
    count = min(int(rng.integers(1, MOST_PASTED + 1)), most, int(np.count_nonzero(chances)))
    if count <= 0:
        return instances.select(np.zeros(0, int))
    return instances.select(rng.choice(len(instances), count, replace=False, p=chances / chances.sum()))


def donor_matrix(placement: Placement, donor_shape: Sequence[int], mirror: bool) -> np.ndarray:
    """Where a donor's pixels go so that it lies on the picture: scaled to its height, then placed like it.

    Args:
        placement: of the picture that gets the objects.
        donor_shape: (h, w, ...) of the donor as loaded.
        mirror: left to right.

    Returns:
        float64 [2, 3] as in transforms.py, from donor pixels to moulded pixels.
    """
    scale = placement.source[0] / donor_shape[0]
    onto = np.array([[scale, 0, 0], [0, scale, 0], [0, 0, 1]])
    if mirror:
        onto[0] = -scale, 0, scale * donor_shape[1]
    return placement.matrix @ onto


def paste(
    image: np.ndarray, donor: np.ndarray, chosen: Instances, matrix: np.ndarray, least_share: float = 0.5
) -> Instances:
    """Paint objects of another image over a moulded one.

    Args:
        image: uint8 [H, W, 3], moulded; changed in place.
        donor: uint8 [h, w, 3], as loaded.
        chosen: objects of the donor, in its pixels.
        matrix: from donor pixels to moulded pixels, see `donor_matrix`.
        least_share: objects of which less is inside are not pasted.

    Returns:
        The pasted objects, in moulded pixels; a later one hides the earlier ones.
    """
    pasted, _, _ = warp_instances(chosen, matrix, image.shape, least_share)
    pasted = pasted.select(np.flatnonzero([np.count_nonzero(crop) >= LEAST_AREA for crop in pasted.crops]))
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
    """Take pasted objects out of the masks beneath them.

    Args:
        instances: n objects in moulded pixels.
        pasted: what lies over them.
        seen: float [n], share of each object that is inside the picture.
        min_area: objects of which a smaller share is left are dropped.

    Returns:
        The m <= n instances that are left.
    """
    result, kept = instances.select(np.arange(len(instances))), []
    for i, (box, crop) in enumerate(zip(instances.boxes_px, instances.crops, strict=True)):
        left = uncovered(box, crop, pasted.boxes_px, pasted.crops)
        if left is None or seen[i] * np.count_nonzero(left[1]) / np.count_nonzero(crop) < min_area:
            continue
        kept.append(i)
        result.boxes_px[i], result.crops[i] = left
    return result.select(np.array(kept, int))
