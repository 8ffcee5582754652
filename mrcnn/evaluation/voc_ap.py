"""Computes Matterport's AP of one image: overlaps of masks, matching, and the area under the precision envelope.

Legend: P predictions, T true objects, H W image. Boxes are [n, (y1, x1, y2, x2)] in pixels, zero rows are padding.

Users of Matterport's code quote these figures ("mAP" as the mean of `compute_ap` over images, classes pooled). COCO's
figures are in `mrcnn.evaluation.coco_ap`.
"""

import logging
from collections.abc import Iterable

import numpy as np

from mrcnn.errors import InputError

logger = logging.getLogger(__name__)

# Number of pixels converted to float32 at a time: with 50 masks they take 50 MB, and sums below 2^24 stay exact.
_PIXELS_AT_ONCE = 1 << 18


def compute_overlaps_masks(masks1: np.ndarray, masks2: np.ndarray) -> np.ndarray:
    """Compute the IoU of every pair of masks.

    Args:
        masks1: [H, W, n], bool or numbers; a pixel belongs to the mask where the value is > 0.5.
        masks2: [H, W, m], likewise.

    Returns:
        float32 [n, m]. Two empty masks have IoU 0 (nan in Matterport's code).

    Raises:
        InputError: The two arrays differ in height or width.
    """
    n, m = masks1.shape[-1], masks2.shape[-1]
    if n == 0 or m == 0:
        return np.zeros((n, m), np.float32)
    if masks1.shape[:2] != masks2.shape[:2]:
        raise InputError(
            f"the masks differ in size: {masks1.shape[:2]} and {masks2.shape[:2]} (height, width); bring both to the "
            "size of the image (mini-masks with expand_mask)"
        )
    flat1, flat2 = masks1.reshape(-1, n), masks2.reshape(-1, m)  # [H*W, n], [H*W, m]
    intersection = np.zeros((n, m))
    area1, area2 = np.zeros(n), np.zeros(m)
    for start in range(0, len(flat1), _PIXELS_AT_ONCE):
        rows = slice(start, start + _PIXELS_AT_ONCE)
        block1 = (flat1[rows] > 0.5).astype(np.float32)
        block2 = (flat2[rows] > 0.5).astype(np.float32)
        intersection += block1.T @ block2
        area1 += block1.sum(axis=0)
        area2 += block2.sum(axis=0)
    union = area1[:, None] + area2[None, :] - intersection
    return (intersection / np.maximum(union, 1)).astype(np.float32)


def match_overlaps(
    overlaps: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    gt_class_ids: np.ndarray,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Match each prediction, best score first, to the free object of its class that it overlaps most.

    This follows Matterport's rule: the search stops at the first free object below `iou_threshold`, of any class.

    Args:
        overlaps: [P, T] IoU.
        pred_class_ids: int [P].
        pred_scores: [P]; equal scores keep their order.
        gt_class_ids: int [T].
        iou_threshold: Minimum IoU of a match.
        score_threshold: Objects with a lower IoU are skipped; despite the name, which is Matterport's, it is an IoU.

    Returns:
        gt_match: float [T], index of the matched prediction or -1.
        pred_match: float [P], index of the matched object or -1.
    """
    gt_match = np.full(overlaps.shape[1], -1.0)
    pred_match = np.full(overlaps.shape[0], -1.0)
    minimum = max(iou_threshold, score_threshold)
    for i in np.argsort(-np.asarray(pred_scores, np.float64), kind="stable"):
        for j in np.argsort(-overlaps[i], kind="stable"):
            if overlaps[i, j] < minimum:
                break
            if gt_match[j] < 0 and pred_class_ids[i] == gt_class_ids[j]:
                gt_match[j], pred_match[i] = i, j
                break
    return gt_match, pred_match


def ap_from_matches(
    pred_match: np.ndarray, pred_scores: np.ndarray, gt_count: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """Compute AP as the area under the precision envelope, as PASCAL VOC does since 2010, for one image.

    Args:
        pred_match: int or float [P], index of the matched object or -1.
        pred_scores: [P]; equal scores keep their order.
        gt_count: T.

    Returns:
        ap: In [0, 1]; 0 if there is no object.
        precisions: [P + 2], non-increasing.
        recalls: [P + 2], from 0 to 1.
    """
    hits = np.cumsum(pred_match[np.argsort(-np.asarray(pred_scores, np.float64), kind="stable")] > -1)
    precisions = np.concatenate([[0], hits / np.arange(1, len(hits) + 1), [0]])
    recalls = np.concatenate([[0], hits / max(gt_count, 1), [1]])
    precisions = np.maximum.accumulate(precisions[::-1])[::-1]
    return float(np.sum(np.diff(recalls) * precisions[1:])), precisions, recalls


def compute_matches(
    gt_boxes: np.ndarray,
    gt_class_ids: np.ndarray,
    gt_masks: np.ndarray,
    pred_boxes: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    pred_masks: np.ndarray,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match predictions with the objects of one image by mask IoU.

    Unlike Matterport's function, all indices and rows are in the caller's order, not in that of a copy sorted by score.

    Args:
        gt_boxes: [T', 4] px; zero rows are padding and are dropped with their ids and masks.
        gt_class_ids: int [T'].
        gt_masks: [H, W, T'] bool.
        pred_boxes: [P', 4] px; zero rows are dropped likewise.
        pred_class_ids: int [P'].
        pred_scores: [P'].
        pred_masks: [H, W, P'] bool.
        iou_threshold: Minimum IoU of a match.
        score_threshold: See `match_overlaps`.

    Returns:
        gt_match: float [T], index of the matched prediction or -1; T and P count without padding.
        pred_match: float [P], index of the matched object or -1.
        overlaps: float32 [P, T], mask IoU.

    Raises:
        InputError: The masks of truth and predictions differ in height or width.
    """
    gt_class_ids, _, gt_masks = _trim(gt_boxes, gt_class_ids, gt_class_ids, gt_masks)
    pred_class_ids, pred_scores, pred_masks = _trim(pred_boxes, pred_class_ids, pred_scores, pred_masks)
    overlaps = compute_overlaps_masks(pred_masks, gt_masks)
    gt_match, pred_match = match_overlaps(
        overlaps, pred_class_ids, pred_scores, gt_class_ids, iou_threshold, score_threshold
    )
    return gt_match, pred_match, overlaps


def compute_ap(
    gt_boxes: np.ndarray,
    gt_class_ids: np.ndarray,
    gt_masks: np.ndarray,
    pred_boxes: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    pred_masks: np.ndarray,
    iou_threshold: float = 0.5,
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Compute AP of one image at one IoU threshold, with the classes pooled.

    Args:
        gt_boxes ... pred_masks: See `compute_matches`.
        iou_threshold: Minimum IoU of a match.

    Returns:
        ap: In [0, 1]; 0 if there is no object (nan in Matterport's code).
        precisions: [P + 2].
        recalls: [P + 2].
        overlaps: float32 [P, T], in the caller's order.

    Raises:
        InputError: See `compute_matches`.
    """
    _, pred_match, overlaps = compute_matches(
        gt_boxes, gt_class_ids, gt_masks, pred_boxes, pred_class_ids, pred_scores, pred_masks, iou_threshold
    )
    scores = np.asarray(pred_scores)[np.flatnonzero(_real_rows(pred_boxes))]
    return (*ap_from_matches(pred_match, scores, overlaps.shape[1]), overlaps)


def compute_ap_range(
    gt_box: np.ndarray,
    gt_class_id: np.ndarray,
    gt_mask: np.ndarray,
    pred_box: np.ndarray,
    pred_class_id: np.ndarray,
    pred_score: np.ndarray,
    pred_mask: np.ndarray,
    iou_thresholds: Iterable[float] | None = None,
    verbose: int = 1,
) -> float:
    """Compute the mean of `compute_ap` over IoU thresholds.

    Args:
        gt_box ... pred_mask: See `compute_matches`.
        iou_thresholds: The thresholds; None means 0.50, 0.55 ... 0.95.
        verbose: Whether to log each figure at level INFO.

    Returns:
        The mean AP.

    Raises:
        InputError: No threshold is given.
    """
    thresholds = [float(t) for t in (np.arange(0.5, 1.0, 0.05) if iou_thresholds is None else iou_thresholds)]
    if not thresholds:
        raise InputError("iou_thresholds is empty; give at least one, or None for 0.50:0.05:0.95")
    gt_class_id, _, gt_mask = _trim(gt_box, gt_class_id, gt_class_id, gt_mask)
    pred_class_id, pred_score, pred_mask = _trim(pred_box, pred_class_id, pred_score, pred_mask)
    overlaps = compute_overlaps_masks(pred_mask, gt_mask)  # once for all thresholds
    aps = []
    for threshold in thresholds:
        _, pred_match = match_overlaps(overlaps, pred_class_id, pred_score, gt_class_id, threshold)
        aps.append(ap_from_matches(pred_match, pred_score, overlaps.shape[1])[0])
        if verbose:
            logger.info("AP @%.2f:\t %.3f", threshold, aps[-1])
    mean = float(np.mean(aps))
    if verbose:
        logger.info("AP @%.2f-%.2f:\t %.3f", thresholds[0], thresholds[-1], mean)
    return mean


def compute_recall(pred_boxes: np.ndarray, gt_boxes: np.ndarray, iou: float) -> tuple[float, np.ndarray]:
    """Compute the fraction of objects that are the best overlap of some predicted box.

    Args:
        pred_boxes: [P, 4] px.
        gt_boxes: [T, 4] px.
        iou: Minimum IoU.

    Returns:
        recall: In [0, 1]; 0 if there is no object.
        positive_ids: int [p], indices of the predicted boxes that reach the IoU with some object.
    """
    # Imported here because Keras takes seconds to import and no other figure needs it.
    from mrcnn.structures.boxes import compute_overlaps

    if len(pred_boxes) == 0 or len(gt_boxes) == 0:
        return 0.0, np.zeros(0, np.int64)
    overlaps = compute_overlaps(np.asarray(pred_boxes), np.asarray(gt_boxes))  # [P, T]
    positive_ids = np.flatnonzero(overlaps.max(axis=1) >= iou)
    found = np.unique(overlaps.argmax(axis=1)[positive_ids])
    return len(found) / len(gt_boxes), positive_ids


def _real_rows(boxes: np.ndarray) -> np.ndarray:
    """Return which boxes are not zero padding, bool [n]."""
    return np.any(np.asarray(boxes).reshape(-1, 4) != 0, axis=1)


def _trim(
    boxes: np.ndarray, class_ids: np.ndarray, scores: np.ndarray, masks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drop the rows whose box is padding. Ids, scores and masks may differ from the boxes in length only by padding."""
    rows = np.flatnonzero(_real_rows(boxes))
    # Copying [H, W, n] masks costs as much as the IoU, and most callers have no padding.
    if len(rows) != masks.shape[-1]:
        masks = masks[..., rows]
    return np.asarray(class_ids)[rows], np.asarray(scores)[rows], masks
