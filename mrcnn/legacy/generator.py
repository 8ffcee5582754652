"""Generate training batches in numpy as Matterport does, for notebooks and scripts. Training uses `Loader`.

Random numbers are drawn from np.random in the original's order, so a seed gives the original's batches.

Legend: N batch, A anchors, n instances, P random proposals, R sampled ROIs, G ground-truth slots, C classes incl.
background, S RPN_TRAIN_ANCHORS_PER_IMAGE. Boxes are (y1, x1, y2, x2) pixels.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.images import mold_image
from mrcnn.errors import InputError
from mrcnn.legacy.image_gt import load_image_gt
from mrcnn.modeling.anchors import pyramid_anchors_px
from mrcnn.modeling.targets import build_rpn_targets
from mrcnn.structures.boxes import box_refinement, compute_overlaps
from mrcnn.structures.masks import bilinear_resize

ROI_IOU = 0.5  # positive above, negative below (paper, section 3.1)


def generate_random_rois(
    image_shape: Sequence[int], count: int, gt_class_ids: np.ndarray, gt_boxes: np.ndarray
) -> np.ndarray:
    """Draw random proposals, nine of ten around the objects, the rest anywhere: to train the heads without an RPN.

    Args:
        image_shape: (H, W, ...).
        count: P.
        gt_class_ids: int [n]; not used.
        gt_boxes: int [n, 4].

    Returns:
        int32 [P, 4], at least one pixel high and wide.
    """
    around = int(0.9 * count / len(gt_boxes))
    rois = []
    for y1, x1, y2, x2 in gt_boxes:
        h, w = y2 - y1, x2 - x1
        rows = (max(y1 - h, 0), min(y2 + h, image_shape[0]))
        columns = (max(x1 - w, 0), min(x2 + w, image_shape[1]))
        rois.append(_random_boxes(rows, columns, around))
    rois.append(_random_boxes((0, image_shape[0]), (0, image_shape[1]), count - around * len(gt_boxes)))
    return np.concatenate(rois).astype(np.int32)


def _random_boxes(rows: tuple[int, int], columns: tuple[int, int], count: int) -> np.ndarray:
    """Return int [count, 4] with corners in the ranges: twice as many are drawn, those without area left out."""
    while True:
        y, x = (np.random.randint(low, high, (count * 2, 2)) for low, high in (rows, columns))
        y, x = (pairs[np.abs(pairs[:, 0] - pairs[:, 1]) >= 1][:count] for pairs in (y, x))
        if len(y) == len(x) == count:
            y, x = np.sort(y, axis=1), np.sort(x, axis=1)
            return np.stack([y[:, 0], x[:, 0], y[:, 1], x[:, 1]], axis=1)


def build_detection_targets(
    rpn_rois: np.ndarray, gt_class_ids: np.ndarray, gt_boxes: np.ndarray, gt_masks: np.ndarray, config: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the targets of the heads for one image's proposals. The network has its own (`mrcnn.modeling.targets`).

    Args:
        rpn_rois: int [P, 4].
        gt_class_ids: int [G], 0 in unused slots.
        gt_boxes: int [G, 4].
        gt_masks: bool [H, W, G] or mini-masks [h, w, G].
        config: TRAIN_ROIS_PER_IMAGE (R), ROI_POSITIVE_RATIO, MASK_SHAPE, ...

    Returns:
        rois: [R, 4]; negatives are repeated if there are too few.
        class_ids: int32 [R], 0 for negatives.
        bboxes: float32 [R, C, 4], deltas over BBOX_STD_DEV in the row of the class.
        masks: float32 [R, *MASK_SHAPE, C], not rounded.

    Raises:
        InputError: there is no object, or no negative proposal to fill the remaining places.
    """
    objects = np.flatnonzero(gt_class_ids > 0)
    if not len(objects):
        raise InputError("build_detection_targets was given no object with a class id above 0; leave the image out")
    gt_class_ids, gt_boxes, gt_masks = gt_class_ids[objects], gt_boxes[objects], gt_masks[:, :, objects]
    overlaps = compute_overlaps(rpn_rois, gt_boxes)  # [P, n]
    nearest, best = overlaps.argmax(axis=1), overlaps.max(axis=1)

    size, positives = config.TRAIN_ROIS_PER_IMAGE, np.flatnonzero(best > ROI_IOU)
    positives = _at_most(positives, int(size * config.ROI_POSITIVE_RATIO))
    negatives = _at_most(np.flatnonzero(best < ROI_IOU), size - len(positives))
    missing = size - len(positives) - len(negatives)
    if missing and not len(negatives):
        raise InputError(
            f"{len(rpn_rois)} proposals give {len(positives)} positives and no negative; give more of them"
        )
    repeated = np.random.choice(negatives, missing, replace=True) if missing else negatives[:0]
    kept = np.concatenate([positives, negatives, repeated])

    count = len(positives)
    rois, gt_index = rpn_rois[kept], nearest[positives]
    class_ids = np.zeros(size, np.int32)
    class_ids[:count] = gt_class_ids[gt_index]
    bboxes = np.zeros((size, config.NUM_CLASSES, 4), np.float32)
    bboxes[np.arange(count), class_ids[:count]] = box_refinement(rois[:count], gt_boxes[gt_index])
    bboxes /= config.BBOX_STD_DEV
    masks = np.zeros((size, *config.MASK_SHAPE, config.NUM_CLASSES), np.float32)
    for i, g in enumerate(gt_index):
        mask = _full_mask(gt_masks[:, :, g], gt_boxes[g], config) if config.USE_MINI_MASK else gt_masks[:, :, g]
        y1, x1, y2, x2 = rois[i].astype(np.int32)
        masks[i, :, :, class_ids[i]] = bilinear_resize(mask[y1:y2, x1:x2], config.MASK_SHAPE)
    return rois, class_ids, bboxes, masks


def _at_most(ids: np.ndarray, count: int) -> np.ndarray:
    """Draw `count` of the ids, or return all if there are fewer."""
    return np.random.choice(ids, count, replace=False) if len(ids) > count else ids


def _full_mask(mini_mask: np.ndarray, box: np.ndarray, config: Any) -> np.ndarray:
    y1, x1, y2, x2 = box
    full = np.zeros(config.IMAGE_SHAPE[:2], bool)
    full[y1:y2, x1:x2] = bilinear_resize(mini_mask, (y2 - y1, x2 - x1)) > 0.5
    return full


def data_generator(
    dataset: Dataset,
    config: Any,
    shuffle: bool = True,
    augment: bool = False,
    augmentation: Any = None,
    random_rois: int = 0,
    batch_size: int = 1,
    detection_targets: bool = False,
    no_augmentation_sources: Sequence[str] | None = None,
) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Yield batches endlessly, as the original does.

    Args:
        dataset: prepared.
        config: image, anchor and target settings.
        shuffle: draw a new order for each pass.
        augment: flip half of the images left to right.
        augmentation: an imgaug augmenter; None or False: none.
        random_rois: P proposals around the objects, in place of an RPN's.
        batch_size: N.
        detection_targets: also yield targets of the heads for the random proposals.
        no_augmentation_sources: sources of the dataset whose images are not augmented.

    Yields:
        inputs: images float32 [N, H, W, 3], meta [N, 12 + C], rpn_match int32 [N, A, 1], rpn_bbox [N, S, 4],
            gt_class_ids int32 [N, G], gt_boxes int32 [N, G, 4], gt_masks bool [N, h, w, G]; with `random_rois` rpn_rois
            int32 [N, P, 4]; with `detection_targets` rois [N, R, 4].
        outputs: empty, or class_ids [N, R, 1], bboxes [N, R, C, 4], masks [N, R, *MASK_SHAPE, C].

    Raises:
        InputError: an image or its labels cannot be read, or no image has an object.
    """
    image_ids = np.copy(dataset.image_ids)
    batch: list[tuple[list[np.ndarray], list[np.ndarray]]] = []
    without = 0  # consecutive images without an object
    while True:
        if shuffle:
            np.random.shuffle(image_ids)
        for image_id in image_ids:
            as_it_is = dataset.image_info[image_id]["source"] in (no_augmentation_sources or ())
            truth = load_image_gt(
                dataset, config, image_id, augment, None if as_it_is else augmentation, config.USE_MINI_MASK
            )
            if not (truth[2] > 0).any() and (random_rois or not config.TRAIN_EMPTY_IMAGES):
                without += 1
                if without == len(image_ids):
                    raise InputError(f"none of the {without} images has an object; check the labels and class names")
                continue
            without = 0
            batch.append(_one_image(truth, config, random_rois, detection_targets))
            if len(batch) == batch_size:
                inputs, outputs = zip(*batch, strict=True)
                batch = []
                yield (
                    [np.stack(parts) for parts in zip(*inputs, strict=True)],
                    [np.stack(parts) for parts in zip(*outputs, strict=True)],
                )


def _one_image(
    truth: tuple, config: Any, random_rois: int, detection_targets: bool
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    image, meta, class_ids, boxes, masks = truth
    anchors = pyramid_anchors_px(config, image.shape)  # of this image: it need not be square (fix 3)
    rpn_match, rpn_bbox = build_rpn_targets(image.shape, anchors, class_ids, boxes, config)
    outputs: list[np.ndarray] = []
    more: list[np.ndarray] = []
    if random_rois:
        rpn_rois = generate_random_rois(image.shape, random_rois, class_ids, boxes)
        more = [rpn_rois]
        if detection_targets:
            rois, target_class_ids, bboxes, target_masks = build_detection_targets(
                rpn_rois, class_ids, boxes, masks, config
            )
            more, outputs = [rpn_rois, rois], [target_class_ids[:, None], bboxes, target_masks]
    slots = config.MAX_GT_INSTANCES
    if len(class_ids) > slots:
        chosen = np.random.choice(np.arange(len(class_ids)), slots, replace=False)
        class_ids, boxes, masks = class_ids[chosen], boxes[chosen], masks[:, :, chosen]
    unused = (0, slots - len(class_ids))
    inputs = [
        mold_image(image.astype(np.float32), config).astype(np.float32),
        meta,
        rpn_match[:, None],
        rpn_bbox,
        np.pad(class_ids, unused).astype(np.int32),
        np.pad(boxes, [unused, (0, 0)]).astype(np.int32),
        np.pad(masks, [(0, 0), (0, 0), unused]),
    ]
    return inputs + more, outputs
