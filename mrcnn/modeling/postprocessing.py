"""Turn the network's padded output for one image into instances in the original image.

Legend: D detections, C classes with background, H W the original image, h w a mask, n instances. Boxes are (y1, x1, y2,
x2).
"""

from collections.abc import Sequence

import numpy as np

from mrcnn.structures.boxes import clip_boxes, denorm_boxes, norm_boxes
from mrcnn.structures.masks import paste_mask


def unmold(
    detections: np.ndarray,
    mrcnn_mask: np.ndarray,
    original_image_shape: Sequence[int],
    image_shape: Sequence[int],
    window: Sequence[int],
    continuous: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Map one image's detections to the original image; drop those whose box has no area there.

    Args:
        detections: [D, (y1, x1, y2, x2, class_id, score)] norm, zero padded.
        mrcnn_mask: float [D, h, w, C] probabilities.
        original_image_shape: (H, W, channels) before resizing.
        image_shape: (height, width, channels) of the moulded image.
        window: (y1, x1, y2, x2) px, the part of the moulded image that is not padding.
        continuous: whether BOX_CONVENTION is "continuous".

    Returns:
        boxes int32 [n, 4] px, float32 if continuous; class_ids int32 [n], scores float32 [n], and mask probabilities
        float32 [n, h, w] that cover the boxes.
    """
    count = int(np.argmin(detections[:, 4] != 0)) if (detections[:, 4] == 0).any() else len(detections)
    class_ids = detections[:count, 4].astype(np.int32)
    probs = mrcnn_mask[np.arange(count), :, :, class_ids]  # [n, h, w]
    # Relative to the window, which is the original image. float32 as in the network: float64 rounds half pixels
    # differently.
    wy1, wx1, wy2, wx2 = norm_boxes(np.asarray(window), tuple(image_shape), continuous)
    shift = np.array([wy1, wx1, wy1, wx1])
    scale = np.array([wy2 - wy1, wx2 - wx1, wy2 - wy1, wx2 - wx1])
    boxes = (detections[:count, :4] - shift) / scale
    if continuous:
        boxes = clip_boxes(boxes, np.array([0, 0, 1, 1], np.float32)) * np.tile(original_image_shape[:2], 2).astype(
            np.float32
        )
    else:
        boxes = denorm_boxes(boxes, tuple(original_image_shape))
    keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return boxes[keep], class_ids[keep], detections[:count, 5][keep], probs[keep]


def full_masks(
    probs: np.ndarray, boxes: np.ndarray, image_shape: Sequence[int], rule: str = "matterport"
) -> np.ndarray:
    """Paste mask probabilities [n, h, w] into their boxes [n, 4] px by a rule of MASK_PASTE: bool [H, W, n]."""
    masks = np.zeros((*image_shape[:2], len(boxes)), bool)
    for index, (prob, box) in enumerate(zip(probs, boxes, strict=True)):
        (y1, x1, y2, x2), crop = paste_mask(prob, box, image_shape, rule=rule)
        masks[y1:y2, x1:x2, index] = crop
    return masks
