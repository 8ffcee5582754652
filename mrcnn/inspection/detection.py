"""The steps of detection on one image, looked at: scores, proposals, classes, suppression, masks, activations.

All functions take what `MaskRCNN.stages(image)` returns. Legend: P proposals, C classes incl. background, D detections.
Boxes are (y1, x1, y2, x2) in pixels of the image as the network sees it.
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
from mrcnn.modeling.anchors import compute_backbone_shapes
from mrcnn.structures.boxes import apply_box_deltas, clip_boxes, denorm_boxes
from mrcnn.structures.masks import paste_mask
from mrcnn.utils import non_max_suppression
from mrcnn.visualization.drawing import class_color
from mrcnn.visualization.figures import Path, finish
from mrcnn.visualization.regions import draw_boxes

if TYPE_CHECKING:
    from mrcnn.model import MaskRCNN


Stages = dict[str, np.ndarray]


def moulded(model: "MaskRCNN", image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image as the network sees it, uint8 [H, W, 3], and its window int [4]: the part that is not padding."""
    images, _, windows = model.mold_inputs([image])
    return unmold_image(images[0], model.config), windows[0]


# RPN -----------------------------------------------------------------------------------------------------------------


def score_maps(stages: Stages, config: Config, shape: Sequence[int]) -> list[np.ndarray]:
    """The best object score of the anchors of each cell, float [rows, columns] for each level, the finest first.

    Args:
        stages: of the image.
        config: strides and RPN_ANCHOR_*.
        shape: (H, W, ...) of the image as the network sees it.
    """
    scores = np.split(stages["rpn_class"][0, :, 1], np.cumsum(level_sizes(config, shape))[:-1])
    cells = -(-compute_backbone_shapes(config, tuple(shape)) // config.RPN_ANCHOR_STRIDE)
    return [own.reshape(*size, -1).max(axis=-1) for own, size in zip(scores, cells, strict=True)]


def plot_score_maps(image: np.ndarray, maps: Sequence[np.ndarray], save: Path | None = None) -> None:
    """Draws the image and `score_maps` beside each other."""
    figure, axes = plt.subplots(2, 3, figsize=(11, 4.4), layout="constrained")
    axes.flat[0].imshow(image)
    axes.flat[0].set_title("the image as the network sees it")
    for level, (axis, scores) in enumerate(zip(axes.flat[1:], maps, strict=True), 2):
        shown = axis.imshow(scores, vmin=0, vmax=1, cmap="magma", interpolation="nearest")
        axis.set_title(f"P{level}, {scores.shape[0]} x {scores.shape[1]} cells: {np.sum(scores > 0.5)} above 0.5")
    figure.colorbar(shown, ax=axes[:, -1], shrink=0.8, label="best score of a cell's anchors")
    for axis in axes.flat:
        axis.axis("off")
    finish(figure, save)


def plot_proposals(image: np.ndarray, stages: Stages, limit: int = 50, save: Path | None = None) -> None:
    """Draws the best anchors, the boxes they are refined to, and the best proposals that suppression leaves.

    Args:
        image: uint8 [H, W, 3] as the network sees it.
        stages: of it.
        limit: boxes in each picture.
        save: file to write instead of showing.
    """
    shape = image.shape[:2]
    kept = stages["proposals"][0][np.any(stages["proposals"][0] != 0, axis=1)]
    pictures = {
        f"the {limit} best anchors": stages["pre_nms_anchors"][0],
        "refined: moved and scaled by the RPN": stages["refined_anchors"][0],
        "clipped to the image": stages["refined_anchors_clipped"][0],
        f"after suppression: the best {limit} of {len(kept)} proposals": kept,
    }
    figure, axes = plt.subplots(2, 2, figsize=(11, 6.6), layout="constrained")
    for axis, (title, boxes) in zip(axes.flat, pictures.items(), strict=True):
        own = denorm_boxes(boxes[:limit], shape)
        draw_boxes(image, own, title=title, ax=axis, visibilities=[2] * len(own))
    finish(figure, save)


# Heads ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Classified:
    """What the box head says of each proposal.

    Attributes:
        boxes: float [P, 4], before its refinement.
        refined: float [P, 4], after it.
        class_ids: int [P], 0 is background.
        scores: float [P].
        confident: int [k], positions of those that pass the least score.
        kept: int [m], which of these the suppression of each class leaves, by falling score.
    """

    boxes: np.ndarray
    refined: np.ndarray
    class_ids: np.ndarray
    scores: np.ndarray
    confident: np.ndarray
    kept: np.ndarray


def classify(stages: Stages, config: Config, shape: Sequence[int], window: np.ndarray) -> Classified:
    """The detection layer step by step, in numpy.

    Args:
        stages: of the image.
        config: BBOX_STD_DEV and DETECTION_*.
        shape: (H, W, ...) of the image as the network sees it.
        window: int (y1, x1, y2, x2) [4] px, the part of it that is not padding.
    """
    probs, rows = stages["mrcnn_class"][0], np.arange(len(stages["mrcnn_class"][0]))
    class_ids = probs.argmax(axis=-1)
    scores = probs[rows, class_ids]
    size = np.array([shape[0] - 1, shape[1] - 1] * 2)
    boxes = stages["proposals"][0] * size + [0, 0, 1, 1]
    deltas = stages["mrcnn_bbox"][0][rows, class_ids] * config.BBOX_STD_DEV
    refined = apply_box_deltas(stages["proposals"][0], deltas) * size + [0, 0, 1, 1]
    refined = clip_boxes(refined, np.asarray(window))
    area = (refined[:, 2:] - refined[:, :2]).prod(axis=1)
    confident = np.flatnonzero((class_ids > 0) & (scores >= config.DETECTION_MIN_CONFIDENCE) & (area > 0))
    kept = [
        own[non_max_suppression(refined[own], scores[own], config.DETECTION_NMS_THRESHOLD)]
        for own in (confident[class_ids[confident] == c] for c in np.unique(class_ids[confident]))
    ]
    together = np.concatenate([np.zeros(0, int), *kept]).astype(int)
    best = together[np.argsort(-scores[together], kind="stable")][: config.DETECTION_MAX_INSTANCES]
    return Classified(boxes, refined, class_ids, scores, confident, best)


def plot_classified(
    image: np.ndarray, found: Classified, class_names: Sequence[str], limit: int = 30, save: Path | None = None
) -> None:
    """Draws proposals by class before the box head's refinement, after it, and after the suppression of each class.

    Args:
        image: uint8 [H, W, 3] as the network sees it.
        found: see `classify`.
        class_names: [C].
        limit: proposals in the first picture, drawn by chance (np.random); background ones are gray.
        save: file to write instead of showing.
    """
    some = np.random.permutation(len(found.boxes))[:limit]
    figure, axes = plt.subplots(2, 2, figsize=(11, 6.6), layout="constrained")
    parts = [
        (f"{limit} of {len(found.boxes)} proposals; gray is background", some, found.boxes, None),
        (f"{len(found.confident)} with a class and enough score", found.confident, found.boxes, None),
        ("dotted: before, solid: after the refinement", found.confident, found.boxes, found.refined),
        (f"after suppression class by class: {len(found.kept)} detections", found.kept, found.refined, None),
    ]
    for axis, (title, rows, boxes, refined) in zip(axes.flat, parts, strict=True):
        last = axis is axes.flat[-1]
        draw_boxes(
            image,
            boxes[rows],
            None if refined is None else refined[rows],
            title=title,
            ax=axis,
            visibilities=[(2 if refined is None else 1) * (found.class_ids[i] > 0) for i in rows],
            captions=[f"{class_names[found.class_ids[i]]} {found.scores[i]:.2f}" for i in rows] if last else None,
            colors=[class_color(found.class_ids[i]) for i in rows],
        )
    finish(figure, save)


def step_table(found: Classified, class_names: Sequence[str]) -> list[list[str]]:
    """Rows for `display_table`: how many proposals of each class are left after each step."""
    rows = [["class", "proposals", "with enough score", "after suppression"]]
    for class_id in np.unique(found.class_ids):
        counts = [np.count_nonzero(found.class_ids == class_id)]
        counts += [np.count_nonzero(found.class_ids[chosen] == class_id) for chosen in (found.confident, found.kept)]
        rows.append([class_names[class_id] if class_id else "background", *map(str, counts)])
    return rows


def mask_pictures(
    stages: Stages, image: np.ndarray, class_names: Sequence[str], count: int = 5
) -> tuple[list[np.ndarray], list[str]]:
    """Of the largest detections: the part of the image under the box, the mask of the class as the network gives it,
    and that mask at the size of the box, cut at 0.5. For `display_images` with `count` columns.

    Args:
        stages: of the image.
        image: uint8 [H, W, 3] as the network sees it.
        class_names: [C].
        count: how many.

    Returns:
        Pictures uint8 [h, w, 3] and titles, row by row.
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
    """The channels of some stages that vary most, each scaled to its own range, for `display_images` with `channels`
    columns.

    Args:
        stages: of an image.
        names: of feature maps; those that there are not are left out.
        channels: of each.

    Returns:
        Pictures float [h, w] from 0 to 1, and titles.
    """
    pictures, titles = [], []
    for name in (name for name in names if name in stages):
        features = stages[name][0].astype(np.float32)  # [h, w, channels]
        for channel in np.argsort(-features.std(axis=(0, 1)))[:channels]:
            low, high = np.percentile(features[..., channel], (1, 99))
            pictures.append(np.clip((features[..., channel] - low) / max(high - low, 1e-6), 0, 1))
            titles.append(f"{name} {features.shape[0]} x {features.shape[1]}, channel {channel}")
    return pictures, titles
