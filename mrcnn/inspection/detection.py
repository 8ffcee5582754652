"""Figures of the steps of detection in one image: scores, proposals, classes, suppression, masks, activations.

`stages` is the result of `MaskRCNN.stages(image)`. Legend: P proposals, K candidates, C classes incl. background. Boxes
are (y1, x1, y2, x2) in pixels of the network's input.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import keras
import matplotlib.pyplot as plt
import numpy as np

from mrcnn.config import Config
from mrcnn.data.images import unmold_image
from mrcnn.inspection.anchors import level_sizes
from mrcnn.legacy.functions import non_max_suppression
from mrcnn.modeling import ops
from mrcnn.modeling.anchors import compute_backbone_shapes
from mrcnn.modeling.rpn import delta_limits
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


def boxes_in_pixels(boxes: np.ndarray, shape: Sequence[int], config: Config) -> np.ndarray:
    """Return normalised boxes [..., 4] of the network in pixels of its input of `shape` (H, W, ...): float [..., 4].

    They are whole numbers unless BOX_CONVENTION is "continuous".
    """
    if config.BOX_CONVENTION == "continuous":
        return boxes * np.tile(shape[:2], 2)
    return denorm_boxes(boxes, tuple(shape)).astype(float)


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


def plot_proposals(
    image: np.ndarray, stages: Stages, config: Config, limit: int = 50, save: Path | None = None
) -> None:
    """Draw the best anchors, the boxes that they are refined to, and the best proposals left after suppression.

    Args:
        image: uint8 [H, W, 3], the network's input.
        stages: Stages of the image.
        config: Settings; BOX_CONVENTION is read.
        limit: Number of boxes in each panel.
        save: File to write instead of showing the figure.

    Raises:
        InputError: `save` cannot be written.
    """
    kept = stages["proposals"][0][np.any(stages["proposals"][0] != 0, axis=1)]
    best = np.argsort(-stages["pre_nms_scores"][0], kind="stable")  # with RPN_PER_LEVEL each level has its own order
    panels = {
        f"the {limit} best anchors": stages["pre_nms_anchors"][0][best],
        "refined: moved and scaled by the RPN": stages["refined_anchors"][0][best],
        "clipped to the image": stages["refined_anchors_clipped"][0][best],
        f"after suppression: the best {limit} of {len(kept)} proposals": kept,
    }
    figure, axes = plt.subplots(2, 2, figsize=(11, 6.6), layout="constrained")
    for axis, (title, boxes) in zip(axes.flat, panels.items(), strict=True):
        boxes_px = boxes_in_pixels(boxes[:limit], image.shape, config)
        draw_boxes(image, boxes_px, title=title, ax=axis, visibilities=[2] * len(boxes_px))
    finish(figure, save)


# Heads ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Classified:
    """Output of the box head for each candidate: a proposal with its best class, and with DETECTION_EVERY_CLASS again
    with every other class whose score suffices.

    Attributes:
        boxes: float [K, 4], before the head's refinement.
        refined: float [K, 4], after it.
        class_ids: int [K], 0 is background.
        scores: float [K]; those in `kept` are lower after Soft-NMS.
        confident: int [k], positions of the candidates that enter the suppression.
        kept: int [m], positions of those left after it, by descending score.
    """

    boxes: np.ndarray
    refined: np.ndarray
    class_ids: np.ndarray
    scores: np.ndarray
    confident: np.ndarray
    kept: np.ndarray


def classify(stages: Stages, config: Config, shape: Sequence[int], window: np.ndarray) -> Classified:
    """Repeat the detection layer step by step.

    Args:
        stages: Stages of the image.
        config: Settings; BBOX_STD_DEV, BBOX_DELTA_CLIP, BOX_CONVENTION and DETECTION_* are read.
        shape: (H, W, ...) of the network's input.
        window: int (y1, x1, y2, x2) [4] px, the part of the input that is not padding.
    """
    rows, class_ids, scores = _candidates(stages["mrcnn_class"][0], config)
    proposals = stages["proposals"][0][rows]
    deltas = stages["mrcnn_bbox"][0][rows, class_ids] * config.BBOX_STD_DEV
    # Normalised, as in the network: boxes in pixels are a pixel wider, which changes the IoU of tiny ones.
    continuous = config.BOX_CONVENTION == "continuous"
    limits = norm_boxes(np.asarray(window), tuple(shape), continuous)
    refined = clip_boxes(apply_box_deltas(proposals, deltas, *delta_limits(config)), limits)
    size, shift = np.tile(shape[:2], 2) - (0 if continuous else 1), np.array([0, 0, 1, 1]) * (not continuous)
    boxes, refined_px = proposals * size + shift, refined * size + shift
    valid = (class_ids > 0) & (scores >= (config.DETECTION_MIN_CONFIDENCE or 0))
    valid &= ((refined[:, 2:] - refined[:, :2]) > 0).all(axis=1)
    if config.DETECTION_MIN_SIZE is not None:
        valid &= ((refined_px[:, 2:] - refined_px[:, :2]) > config.DETECTION_MIN_SIZE).all(axis=1)
    if config.DETECTION_CLASSES is not None:
        valid &= np.isin(class_ids, config.DETECTION_CLASSES)
    confident = np.flatnonzero(valid)
    kept, left = _suppressed(refined, scores, class_ids, confident, config)
    scores = scores.copy()
    scores[kept] = left
    return Classified(boxes, refined_px, class_ids, scores, confident, kept)


def _candidates(probs: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, class ids and scores [K] of the candidates: the best class of each proposal [P, C], then others."""
    rows, class_ids = np.arange(len(probs)), probs.argmax(axis=-1)
    if config.DETECTION_EVERY_CLASS:
        others = probs >= (config.DETECTION_MIN_CONFIDENCE or 0)
        others[:, 0] = others[rows, class_ids] = False
        more, more_ids = np.nonzero(others)
        rows, class_ids = np.concatenate([rows, more]), np.concatenate([class_ids, more_ids])
    return rows, class_ids, probs[rows, class_ids]


def _suppressed(
    boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, confident: np.ndarray, config: Config
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the candidates [K] that are left after suppression, and their scores, both [m]."""
    most, threshold = config.DETECTION_MAX_INSTANCES, config.DETECTION_NMS_THRESHOLD
    groups = np.zeros_like(class_ids) if config.DETECTION_CLASS_AGNOSTIC_NMS else class_ids
    if config.DETECTION_SOFT_NMS and len(confident):
        sigma = config.DETECTION_SOFT_NMS_SIGMA if config.DETECTION_SOFT_NMS == "gaussian" else None
        arrays = (values[confident][None] for values in (boxes.astype(np.float32), scores, groups.astype(np.int32)))
        chosen, chosen_scores, chosen_groups = map(keras.ops.convert_to_tensor, arrays)
        minimum = config.DETECTION_MIN_CONFIDENCE or 0.0
        found = ops.soft_non_max_suppression(
            chosen, chosen_scores, most, threshold, sigma, minimum, class_ids=chosen_groups
        )
        index, keep, left = (keras.ops.convert_to_numpy(values)[0] for values in found)
        return confident[index[keep]], left[keep]
    kept = [
        members[non_max_suppression(boxes[members], scores[members], threshold)]
        for members in (confident[groups[confident] == group] for group in np.unique(groups[confident]))
    ]
    together = np.concatenate([np.zeros(0, int), *kept]).astype(int)
    best = together[np.argsort(-scores[together], kind="stable")][:most]
    return best, scores[best]


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
        (f"after suppression: {len(steps.kept)} detections", steps.kept, steps.refined, None),
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
    stages: Stages, image: np.ndarray, config: Config, class_names: Sequence[str], count: int = 5
) -> tuple[list[np.ndarray], list[str]]:
    """Draw the masks of the largest detections, for `display_images` with `count` columns.

    Args:
        stages: Stages of the image.
        image: uint8 [H, W, 3], the network's input.
        config: Settings; BOX_CONVENTION and MASK_PASTE are read.
        class_names: [C].
        count: Maximum number of detections.

    Returns:
        Pictures uint8 [h, w, 3] and titles, in three rows: the part of the image in the box, the mask of its class as
        the network outputs it, and that mask at the size of the box, cut at 0.5.
    """
    detections = stages["detections"][0]
    boxes, class_ids = boxes_in_pixels(detections[:, :4], image.shape, config), detections[:, 4].astype(int)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * (class_ids > 0)
    chosen = [i for i in np.argsort(-areas)[:count] if areas[i] > 0]
    cut, small, large, titles = [], [], [], []
    for i in chosen:
        y1, x1, y2, x2 = boxes[i]
        probs = stages["mrcnn_mask"][0, i, :, :, class_ids[i]]
        (top, left, bottom, right), mask = paste_mask(probs, boxes[i], image.shape, rule=config.MASK_PASTE)
        part = image[top:bottom, left:right]
        cut.append(part)
        small.append(cv2.applyColorMap((probs * 255).astype(np.uint8), cv2.COLORMAP_MAGMA)[..., ::-1])
        large.append(np.where(mask[..., None], part, part // 4))
        titles.append(f"{class_names[class_ids[i]]} {detections[i, 5]:.2f}, {y2 - y1:.0f} x {x2 - x1:.0f} px")
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
