"""Matterport's `mrcnn.utils`: every name of it, from the module where its code stands now."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.images import resize, resize_image
from mrcnn.evaluation.voc_ap import (
    compute_ap,
    compute_ap_range,
    compute_matches,
    compute_overlaps_masks,
    compute_recall,
)
from mrcnn.modeling.anchors import generate_anchors, generate_pyramid_anchors
from mrcnn.modeling.pretrained import REGISTRY, fetch_entry
from mrcnn.structures.boxes import (
    apply_box_deltas,
    box_refinement,
    compute_iou,
    compute_overlaps,
    denorm_boxes,
    norm_boxes,
)
from mrcnn.structures.masks import expand_mask, extract_bboxes, minimize_mask, mold_mask, resize_mask, unmold_mask

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

COCO_MODEL_URL = REGISTRY["coco"].url
box_refinement_graph = box_refinement  # one function for arrays and tensors


def non_max_suppression(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Greedy non-maximum suppression of arrays (graphs use `mrcnn.modeling.ops.non_max_suppression`).

    Args:
        boxes: float [n, (y1, x1, y2, x2)] in any coordinates.
        scores: float [n].
        threshold: a box is dropped if its IoU with a better one that stays is above this.

    Returns:
        int32 [m], indices of the boxes that stay, best first.
    """
    boxes = np.asarray(boxes, np.float32)
    order = np.argsort(scores)[::-1]
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[compute_overlaps(boxes[best : best + 1], boxes[order])[0] <= threshold] if order.size else order
    return np.array(kept, np.int32)


def trim_zeros(x: np.ndarray) -> np.ndarray:
    """The rows [m, k] of a padded [n, k] array, of the same type, that are not all zero."""
    assert x.ndim == 2, f"trim_zeros takes [rows, columns], not {x.shape}"
    return x[(x != 0).any(axis=1)]


def batch_slice(inputs: Any, graph_fn: Callable[..., Any], batch_size: int, names: Sequence[str] | None = None) -> Any:
    """Apply a function of one image to each image of a batch. Nothing in this package needs it: its layers are batched.

    Args:
        inputs: a tensor [N, ...] or a list of them.
        graph_fn: takes one image's part of each and returns a tensor or several.
        batch_size: N.
        names: ignored; tensors have no names of their own here.

    Returns:
        The results, stacked over the batch: one tensor, or a list.
    """
    inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    results = [graph_fn(*(tensor[i] for tensor in inputs)) for i in range(batch_size)]
    results = [result if isinstance(result, (list, tuple)) else [result] for result in results]
    stacked = [keras.ops.stack(parts, axis=0) for parts in zip(*results, strict=True)]
    return stacked[0] if len(stacked) == 1 else stacked


def download_trained_weights(coco_model_path: str | os.PathLike, verbose: int = 1) -> None:
    """Download Matterport's COCO weights to this path, unless they are there. `verbose` is ignored: see the log.

    Raises:
        InputError: no connection, or a broken transfer; nothing is left at the path then.
    """
    folder, file_name = os.path.split(os.path.abspath(coco_model_path))
    fetch_entry(dataclasses.replace(REGISTRY["coco"], file_name=file_name), folder)
