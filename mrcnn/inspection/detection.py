"""Figures of the steps of detection in one image: scores, proposals, classes, suppression, masks, activations.

`stages` is the result of `MaskRCNN.stages(image)`. Legend: P proposals, C classes incl. background. Boxes are (y1, x1,
y2, x2) in pixels of the network's input.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import matplotlib.pyplot as plt
import numpy as np

from mrcnn.config import Config
from mrcnn.data.images import unmold_image
from mrcnn.inspection.anchors import level_sizes
from mrcnn.legacy.functions import non_max_suppression
from mrcnn.modeling.anchors import compute_backbone_shapes
from mrcnn.structures.boxes import apply_box_deltas, clip_boxes, denorm_boxes, norm_boxes
from mrcnn.structures.masks import paste_mask
from mrcnn.visualization.drawing import class_color
from mrcnn.visualization.figures import Path, finish
from mrcnn.visualization.regions import draw_boxes

if TYPE_CHECKING:
    from mrcnn.model import MaskRCNN

Stages = dict[str, np.ndarray]


def network_image(model: "MaskRCNN", image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Resize and pad an image, uint8 [H, W, 3], as is done for the network.

    Returns:
        The network's input as an image, uint8 [H, W, 3], and its window int (y1, x1, y2, x2) [4] px: the part that is
        not padding.

    Raises:
        InputError: See `MaskRCNN.mold_inputs`.
    """
    images, _, windows = model.mold_inputs([image])
    return unmold_image(images[0], model.config), windows[0]


# RPN -----------------------------------------------------------------------------------------------------------------


def score_maps(stages: Stages, config: Config, shape: Sequence[int]) -> list[np.ndarray]:
    """Return the highest objectness score among the anchors of each cell.

    Args:
        stages: Stages of the image.
        config: Settings; strides and RPN_ANCHOR_* are read.
        shape: (H, W, ...) of the network's input.

    Returns:
        float [rows, columns] for each level of the pyramid, the finest first.
    """
    scores = np.split(stages["rpn_class"][0, :, 1], np.cumsum(level_sizes(config, shape))[:-1])
    cells = -(-compute_backbone_shapes(config, tuple(shape)) // config.RPN_ANCHOR_STRIDE)
    return [level.reshape(*size, -1).max(axis=-1) for level, size in zip(scores, cells, strict=True)]


def plot_score_maps(image: np.ndarray, maps: Sequence[np.ndarray], save: Path | None = None) -> None:
    """Draw the network's input, uint8 [H, W, 3], and its `score_maps`.

    Raises:
        InputError: `save` cannot be written.
    """
    columns = min(3, len(maps) + 1)
    rows = -(-(len(maps) + 1) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(11, 2.2 * rows), layout="constrained", squeeze=False)
    axes.flat[0].imshow(image)
    axes.flat[0].set_title("the image as the network sees it")
    names = [f"P{level}" for level in range(2, 2 + len(maps))] if len(maps) > 1 else ["the one map"]
    for name, axis, scores in zip(names, axes.flat[1:], maps, strict=False):
        heat = axis.imshow(scores, vmin=0, vmax=1, cmap="magma", interpolation="nearest")
        axis.set_title(f"{name}, {scores.shape[0]} x {scores.shape[1]} cells: {np.sum(scores > 0.5)} above 0.5")
    figure.colorbar(heat, ax=axes[:, -1], shrink=0.8, label="best score of a cell's anchors")
    for axis in axes.flat:
        axis.axis("off")
    finish(figure, save)


def plot_proposals(image: np.ndarray, stages: Stages, limit: int = 50, save: Path | None = None) -> None:
    """Draw the best anchors, the boxes that they are refined to, and the best proposals left after suppression.

    Args:
        image: uint8 [H, W, 3], the network's input.
        stages: Stages of the image.
        limit: Number of boxes in each panel.
        save: File to write instead of showing the figure.

    Raises:
        InputError: `save` cannot be written.
    """
    shape = image.shape[:2]
    kept = stages["proposals"][0][np.any(stages["proposals"][0] != 0, axis=1)]
    panels = {
        f"the {limit} best anchors": stages["pre_nms_anchors"][0],
        "refined: moved and scaled by the RPN": stages["refined_anchors"][0],
        "clipped to the image": stages["refined_anchors_clipped"][0],
        f"after suppression: the best {limit} of {len(kept)} proposals": kept,
    }
    figure, axes = plt.subplots(2, 2, figsize=(11, 6.6), layout="constrained")
    for axis, (title, boxes) in zip(axes.flat, panels.items(), strict=True):
        boxes_px = denorm_boxes(boxes[:limit], shape)
        draw_boxes(image, boxes_px, title=title, ax=axis, visibilities=[2] * len(boxes_px))
    finish(figure, save)


# Heads ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Classified:
    """Output of the box head for each proposal.

    Attributes:
        boxes: float [P, 4], before the head's refinement.
        refined: float [P, 4], after it.
        class_ids: int [P], 0 is background.
        scores: float [P].
        confident: int [k], positions of the proposals above the minimum score.
        kept: int [m], positions of those left after suppression within each class, by descending score.
    """

    boxes: np.ndarray
    refined: np.ndarray
    class_ids: np.ndarray
    scores: np.ndarray
    confident: np.ndarray
    kept: np.ndarray


def classify(stages: Stages, config: Config, shape: Sequence[int], window: np.ndarray) -> Classified:
    """Repeat the detection layer step by step, in numpy.

    Args:
        stages: Stages of the image.
        config: Settings; BBOX_STD_DEV and DETECTION_* are read.
        shape: (H, W, ...) of the network's input.
        window: int (y1, x1, y2, x2) [4] px, the part of the input that is not padding.
    """
    probs, rows = stages["mrcnn_class"][0], np.arange(len(stages["mrcnn_class"][0]))
    class_ids = probs.argmax(axis=-1)
    scores = probs[rows, class_ids]
    proposals = stages["proposals"][0]
    deltas = stages["mrcnn_bbox"][0][rows, class_ids] * config.BBOX_STD_DEV
    # Normalised, as in the network: boxes in pixels are a pixel wider, which changes the IoU of tiny ones.
    refined = clip_boxes(apply_box_deltas(proposals, deltas), norm_boxes(np.asarray(window), tuple(shape)))
    area = (refined[:, 2:] - refined[:, :2]).prod(axis=1)
    confident = np.flatnonzero((class_ids > 0) & (scores >= (config.DETECTION_MIN_CONFIDENCE or 0)) & (area > 0))
    kept = [
        members[non_max_suppression(refined[members], scores[members], config.DETECTION_NMS_THRESHOLD)]
        for members in (confident[class_ids[confident] == c] for c in np.unique(class_ids[confident]))
    ]
    together = np.concatenate([np.zeros(0, int), *kept]).astype(int)
    best = together[np.argsort(-scores[together], kind="stable")][: config.DETECTION_MAX_INSTANCES]
    size, shift = np.array([shape[0] - 1, shape[1] - 1] * 2), np.array([0, 0, 1, 1])
    return Classified(proposals * size + shift, refined * size + shift, class_ids, scores, confident, best)


def plot_classified(
    image: np.ndarray, steps: Classified, class_names: Sequence[str], limit: int = 30, save: Path | None = None
) -> None:
    """Draw proposals in the colours of their classes, before and after refinement, and after suppression.

    Args:
        image: uint8 [H, W, 3], the network's input.
        steps: Result of `classify`.
        class_names: [C].
        limit: Number of proposals in the first panel, chosen by `np.random`; background is gray.
        save: File to write instead of showing the figure.

    Raises:
        InputError: `save` cannot be written.
    """
    some = np.random.permutation(len(steps.boxes))[:limit]
    figure, axes = plt.subplots(2, 2, figsize=(11, 6.6), layout="constrained")
    parts = [
        (f"{limit} of {len(steps.boxes)} proposals; gray is background", some, steps.boxes, None),
        (f"{len(steps.confident)} with a class and enough score", steps.confident, steps.boxes, None),
        ("dotted: before, solid: after the refinement", steps.confident, steps.boxes, steps.refined),
        (f"after suppression class by class: {len(steps.kept)} detections", steps.kept, steps.refined, None),
    ]
    for axis, (title, rows, boxes, refined) in zip(axes.flat, parts, strict=True):
        last = axis is axes.flat[-1]
        draw_boxes(
            image,
            boxes[rows],
            None if refined is None else refined[rows],
            title=title,
            ax=axis,
            visibilities=[(2 if refined is None else 1) * (steps.class_ids[i] > 0) for i in rows],
            captions=[f"{class_names[steps.class_ids[i]]} {steps.scores[i]:.2f}" for i in rows] if last else None,
            colors=[class_color(steps.class_ids[i]) for i in rows],
        )
    finish(figure, save)


def step_table(steps: Classified, class_names: Sequence[str]) -> list[list[str]]:
    """Return rows for `display_table`: the number of proposals of each class left after each step."""
    rows = [["class", "proposals", "with enough score", "after suppression"]]
    for class_id in np.unique(steps.class_ids):
        counts = [np.count_nonzero(steps.class_ids == class_id)]
        counts += [np.count_nonzero(steps.class_ids[chosen] == class_id) for chosen in (steps.confident, steps.kept)]
        rows.append([class_names[class_id] if class_id else "background", *map(str, counts)])
    return rows


def mask_pictures(
    stages: Stages, image: np.ndarray, class_names: Sequence[str], count: int = 5
) -> tuple[list[np.ndarray], list[str]]:
    """Draw the masks of the largest detections, for `display_images` with `count` columns.

    Args:
        stages: Stages of the image.
        image: uint8 [H, W, 3], the network's input.
        class_names: [C].
        count: Maximum number of detections.

    Returns:
        Pictures uint8 [h, w, 3] and titles, in three rows: the part of the image in the box, the mask of its class as
        the network outputs it, and that mask at the size of the box, cut at 0.5.
    """
    detections = stages["detections"][0]
    boxes, class_ids = denorm_boxes(detections[:, :4], image.shape[:2]), detections[:, 4].astype(int)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * (class_ids > 0)
    chosen = [i for i in np.argsort(-areas)[:count] if areas[i] > 0]
    cut, small, large, titles = [], [], [], []
    for i in chosen:
        y1, x1, y2, x2 = boxes[i]
        probs = stages["mrcnn_mask"][0, i, :, :, class_ids[i]]
        (top, left, bottom, right), mask = paste_mask(probs, boxes[i], image.shape)
        part = image[top:bottom, left:right]
        cut.append(part)
        small.append(cv2.applyColorMap((probs * 255).astype(np.uint8), cv2.COLORMAP_MAGMA)[..., ::-1])
        large.append(np.where(mask[..., None], part, part // 4))
        titles.append(f"{class_names[class_ids[i]]} {detections[i, 5]:.2f}, {y2 - y1} x {x2 - x1} px")
    sizes = [f"{picture.shape[0]} x {picture.shape[1]} probabilities" for picture in small]
    return cut + small + large, titles + sizes + ["cut at 0.5"] * len(chosen)


def activation_pictures(
    stages: Stages, names: Sequence[str] = ("C2", "C4", "P2"), channels: int = 6
) -> tuple[list[np.ndarray], list[str]]:
    """Draw the channels of feature maps that vary the most, for `display_images` with `channels` columns.

    Args:
        stages: Stages of an image.
        names: Names of feature maps; unknown ones are left out.
        channels: Number of channels of each map.

    Returns:
        Pictures float [h, w], each scaled from its own range to [0, 1], and titles.
    """
    pictures, titles = [], []
    for name in (name for name in names if name in stages):
        features = stages[name][0].astype(np.float32)  # [h, w, channels]
        for channel in np.argsort(-features.std(axis=(0, 1)))[:channels]:
            low, high = np.percentile(features[..., channel], (1, 99))
            pictures.append(np.clip((features[..., channel] - low) / max(high - low, 1e-6), 0, 1))
            titles.append(f"{name} {features.shape[0]} x {features.shape[1]}, channel {channel}")
    return pictures, titles
