"""The ROIs that the heads are trained on, looked at: classes, refinement, mask targets, the share of positives.

Legend: R sampled ROIs, C classes incl. background. Boxes are (y1, x1, y2, x2) in pixels.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes

from mrcnn.config import Config
from mrcnn.data.images import parse_image_meta, unmold_image
from mrcnn.structures.boxes import apply_box_deltas
from mrcnn.visualization.figures import Path, axes_for, show_or_save

CROP = 112  # px of a ROI's picture


@dataclasses.dataclass
class TrainingRois:
    """What one image gives the heads to learn.

    Attributes:
        image_id: position in the dataset.
        image: uint8 [H, W, 3] as the network sees it.
        proposals: int [P, 4], P random ones, before sampling.
        rois: int [R, 4].
        class_ids: int [R], 0 for background.
        deltas: float [R, (dy, dx, log(dh), log(dw))], the targets, in units of BBOX_STD_DEV.
        refined: float [R, 4], what the targets make of the ROIs.
        masks: float [R, mh, mw], the mask targets.
    """

    image_id: int
    image: np.ndarray
    proposals: np.ndarray
    rois: np.ndarray
    class_ids: np.ndarray
    deltas: np.ndarray
    refined: np.ndarray
    masks: np.ndarray

    @property
    def positives(self) -> np.ndarray:
        """int [positives], positions of the ROIs that have an object."""
        return np.flatnonzero(self.class_ids > 0)


def training_rois(batch: tuple[Sequence, Sequence], config: Config, number: int = 0) -> TrainingRois:
    """One image of a batch of `data_generator(random_rois=..., detection_targets=True)`.

    Args:
        batch: (inputs, outputs).
        config: BBOX_STD_DEV and MEAN_PIXEL.
        number: of the image in the batch.
    """
    (images, metas, *_, proposals, rois), (class_ids, deltas, masks) = batch
    own = class_ids[number, ..., 0]
    rows = np.arange(len(own))
    chosen = deltas[number, rows, own]  # [R, 4], of the class
    refined = apply_box_deltas(rois[number].astype(np.float32), chosen * config.BBOX_STD_DEV)
    return TrainingRois(
        int(parse_image_meta(metas)["image_id"][number]),
        unmold_image(images[number], config),
        proposals[number],
        rois[number],
        own,
        chosen,
        refined,
        masks[number, rows, :, :, own],
    )


def target_table(own: TrainingRois, class_names: Sequence[str], count: int = 8) -> list[list[str]]:
    """Rows for `display_table`: class and deltas of the first ROIs with an object."""
    rows = [["ROI", "class", "height x width, px", "dy", "dx", "log(dh)", "log(dw)"]]
    for i in own.positives[:count]:
        y1, x1, y2, x2 = own.rois[i]
        rows.append(
            [
                str(i),
                class_names[own.class_ids[i]],
                f"{y2 - y1} x {x2 - x1}",
                *(f"{value:+.2f}" for value in own.deltas[i]),
            ]
        )
    return rows


def mask_pictures(own: TrainingRois, class_names: Sequence[str], count: int = 5) -> tuple[list[np.ndarray], list[str]]:
    """What the largest ROIs cut out of the image, one an object, then their mask targets.

    Returns:
        Pictures uint8 [CROP, CROP, 3] and float [mh, mw], and titles, for `display_images` with `count` columns.
    """
    areas = (own.rois[:, 2:] - own.rois[:, :2]).prod(axis=1)
    ranked = own.positives[np.argsort(-areas[own.positives], kind="stable")]
    _, first = np.unique(np.round(own.refined[ranked]), axis=0, return_index=True)  # one box is one object
    chosen = ranked[np.sort(first)][:count]
    boxes = own.rois[chosen].astype(int)
    cut = [cv2.resize(own.image[y1:y2, x1:x2], (CROP, CROP)) for y1, x1, y2, x2 in boxes]
    return cut + list(own.masks[chosen]), [class_names[own.class_ids[i]] for i in chosen] + ["target"] * len(chosen)


def positive_shares(batches: Iterable[tuple[Sequence, Sequence]]) -> np.ndarray:
    """The share of ROIs with an object in each image of some batches, float [images]."""
    return np.concatenate([(outputs[0][..., 0] > 0).mean(axis=1) for _, outputs in batches])


def plot_shares(shares: np.ndarray, config: Config, ax: Axes | None = None, save: Path | None = None) -> Axes:
    """Draws `positive_shares`, one bar an image, their mean, and the limit that the settings give.

    Args:
        shares: float [images].
        config: ROI_POSITIVE_RATIO.
        ax: axes to draw on.
        save: file to write instead of showing.

    Returns:
        The axes.
    """
    figure, axis = axes_for(ax, (9, 3))
    axis.bar(np.arange(len(shares)), shares, width=0.8, color="#3b6ea8")
    axis.axhline(shares.mean(), color="#d9822b", label=f"mean {shares.mean():.1%}")
    axis.axhline(
        config.ROI_POSITIVE_RATIO,
        color="black",
        linestyle=":",
        label=f"ROI_POSITIVE_RATIO {config.ROI_POSITIVE_RATIO:g}",
    )
    axis.set_ylim(0, max(0.5, shares.max(initial=0) * 1.2))
    axis.set_xlabel("image")
    axis.set_ylabel("share of positive ROIs")
    axis.legend(ncols=2)
    return show_or_save(figure, axis, ax, save)
