"""The heads of a network without a feature pyramid, whose ROIs are pooled from C4 and go through stage 5 of the ResNet.

Legend: N batch, R regions per image (static), C classes with background, M = 12 + C columns of the image meta.

Reference: He et al., Mask R-CNN (arXiv:1703.06870), figure 4, left.
"""

from typing import Any

import keras
from keras import ops

from mrcnn.config import Config
from mrcnn.modeling.roi_heads import PyramidROIAlign, merge_rois, predict_classes, predict_masks

Tensor = Any  # a tensor of the current backend, or a KerasTensor while a model is being built


def c4_classifier_graph(
    rois: Tensor, c4: Tensor, meta: Tensor, stage5: keras.Model, config: Config
) -> tuple[Tensor, Tensor, Tensor]:
    """Build the box head: stage 5 on each region, and the mean over its cells.

    Args:
        rois: [N, R, (y1, x1, y2, x2)] float, normalised.
        c4: [N, H / 16, W / 16, channels].
        meta: [N, M] float.
        stage5: of `mrcnn.modeling.backbone.stage5_model`. It halves the sides, so twice POOL_SIZE cells go in.
        config: POOL_SIZE, NUM_CLASSES, BOX_CONVENTION and ROI_* are read.

    Returns:
        logits [N, R, C], probabilities [N, R, C] and deltas [N, R, C, 4], as `fpn_classifier_graph` gives them.
    """
    x = PyramidROIAlign.of(config, 2 * config.POOL_SIZE, "roi_align_classifier")([rois, meta, c4])
    x = ops.mean(stage5(merge_rois(x)), axis=(1, 2))  # [N * R, channels of C5]
    return predict_classes(ops.reshape(x, (-1, rois.shape[1], x.shape[-1])), config.NUM_CLASSES)


def c4_mask_graph(rois: Tensor, c4: Tensor, meta: Tensor, stage5: keras.Model, config: Config, logits: bool) -> Tensor:
    """Build the mask head: stage 5 on each region, a deconvolution that doubles the size, and a mask per class.

    Args:
        rois: as in `c4_classifier_graph`.
        c4: as in `c4_classifier_graph`.
        meta: as in `c4_classifier_graph`.
        stage5: the box head's; twice MASK_POOL_SIZE cells go in.
        config: MASK_POOL_SIZE, MASK_HEAD_CHANNELS, NUM_CLASSES, BOX_CONVENTION and ROI_* are read.
        logits: return logits instead of probabilities.

    Returns:
        [N, R, 2 * MASK_POOL_SIZE, 2 * MASK_POOL_SIZE, C] float32.
    """
    side = config.MASK_POOL_SIZE
    x = PyramidROIAlign.of(config, 2 * side, "roi_align_mask")([rois, meta, c4])
    x = stage5(merge_rois(x))  # [N * R, side, side, channels of C5]
    x = ops.reshape(x, (-1, side, side, x.shape[-1]))
    return predict_masks(x, rois.shape[1], config.MASK_HEAD_CHANNELS, config.NUM_CLASSES, logits)
