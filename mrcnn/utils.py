"""Matterport's `mrcnn.utils`: all its names, imported from the modules that define them."""

from mrcnn.data.dataset import Dataset
from mrcnn.data.images import resize, resize_image
from mrcnn.evaluation.voc_ap import (
    compute_ap,
    compute_ap_range,
    compute_matches,
    compute_overlaps_masks,
    compute_recall,
)
from mrcnn.legacy import reexports
from mrcnn.legacy.functions import batch_slice, mold_mask, non_max_suppression, trim_zeros
from mrcnn.modeling.anchors import generate_anchors, generate_pyramid_anchors
from mrcnn.modeling.pretrained import COCO_MODEL_URL, download_trained_weights
from mrcnn.structures.boxes import (
    apply_box_deltas,
    box_refinement,
    compute_iou,
    compute_overlaps,
    denorm_boxes,
    norm_boxes,
)
from mrcnn.structures.boxes import box_refinement as box_refinement_graph  # one function for arrays and tensors
from mrcnn.structures.masks import expand_mask, extract_bboxes, minimize_mask, resize_mask, unmold_mask

__all__ = [
    "COCO_MODEL_URL",
    "Dataset",
    "apply_box_deltas",
    "batch_slice",
    "box_refinement",
    "box_refinement_graph",
    "compute_ap",
    "compute_ap_range",
    "compute_iou",
    "compute_matches",
    "compute_overlaps",
    "compute_overlaps_masks",
    "compute_recall",
    "denorm_boxes",
    "download_trained_weights",
    "expand_mask",
    "extract_bboxes",
    "generate_anchors",
    "generate_pyramid_anchors",
    "minimize_mask",
    "mold_mask",
    "non_max_suppression",
    "norm_boxes",
    "resize",
    "resize_image",
    "resize_mask",
    "trim_zeros",
    "unmold_mask",
]

__getattr__ = reexports.getter(__name__, reexports.UTILS)
