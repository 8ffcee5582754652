"""Figures and tables of the ROIs that the heads are trained on: classes, refinement, mask targets, positives.

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

CROP = 112  # side of the picture of a ROI, in pixels


@dataclasses.dataclass
class TrainingRois:
    """The training targets of the heads for one image.

    Attributes:
        image_id: Id in the dataset.
        image: uint8 [H, W, 3], the network's input.
        proposals: int [P, 4], the P random proposals before sampling.
        rois: int [R, 4].
        class_ids: int [R], 0 is background.
        deltas: float [R, (dy, dx, log(dh), log(dw))], the box targets in units of BBOX_STD_DEV.
        refined: float [R, 4], the ROIs after applying their deltas.
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
        """Return the positions of the ROIs that hold an object, int [positives]."""
        return np.flatnonzero(self.class_ids > 0)


def training_rois(batch: tuple[Sequence, Sequence], config: Config, number: int = 0) -> TrainingRois:
    """Extract one image from a batch of `data_generator(random_rois=..., detection_targets=True)`.

    Args:
        batch: (inputs, outputs).
        config: Settings; BBOX_STD_DEV and MEAN_PIXEL are read.
        number: Position of the image in the batch.
    """
    (images, metas, *_, proposals, rois), (class_ids, deltas, masks) = batch
    roi_classes = class_ids[number, ..., 0]
    rows = np.arange(len(roi_classes))
    chosen = deltas[number, rows, roi_classes]  # [R, 4], those of the ROI's class
    refined = apply_box_deltas(rois[number].astype(np.float32), chosen * config.BBOX_STD_DEV)
    return TrainingRois(
        int(parse_image_meta(metas)["image_id"][number]),
        unmold_image(images[number], config),
        proposals[number],
        rois[number],
        roi_classes,
        chosen,
        refined,
        masks[number, rows, :, :, roi_classes],
    )


def target_table(targets: TrainingRois, class_names: Sequence[str], count: int = 8) -> list[list[str]]:
    """Return rows for `display_table`: class and deltas of the first `count` ROIs with an object."""
    rows = [["ROI", "class", "height x width, px", "dy", "dx", "log(dh)", "log(dw)"]]
    for i in targets.positives[:count]:
        y1, x1, y2, x2 = targets.rois[i]
        rows.append(
            [
                str(i),
                class_names[targets.class_ids[i]],
                f"{y2 - y1} x {x2 - x1}",
                *(f"{value:+.2f}" for value in targets.deltas[i]),
            ]
        )
    return rows


def target_pictures(
    targets: TrainingRois, class_names: Sequence[str], count: int = 5
) -> tuple[list[np.ndarray], list[str]]:
    """Draw the image in the largest ROIs, one per object, above their mask targets.

    Returns:
        Pictures uint8 [CROP, CROP, 3] and float [mh, mw], and titles, for `display_images` with `count` columns.
    """
    areas = (targets.rois[:, 2:] - targets.rois[:, :2]).prod(axis=1)
    ranked = targets.positives[np.argsort(-areas[targets.positives], kind="stable")]
    # ROIs that are refined to the same box belong to the same object.
    _, first = np.unique(np.round(targets.refined[ranked]), axis=0, return_index=True)
    chosen = ranked[np.sort(first)][:count]
    boxes = targets.rois[chosen].astype(int)
    crops = [cv2.resize(targets.image[y1:y2, x1:x2], (CROP, CROP)) for y1, x1, y2, x2 in boxes]
    names = [class_names[targets.class_ids[i]] for i in chosen]
    return crops + list(targets.masks[chosen]), names + ["target"] * len(chosen)


def positive_fractions(batches: Iterable[tuple[Sequence, Sequence]]) -> np.ndarray:
    """Return the fraction of ROIs with an object in each image of the batches, float [images]."""
    return np.concatenate([(outputs[0][..., 0] > 0).mean(axis=1) for _, outputs in batches])


def plot_positives(fractions: np.ndarray, config: Config, ax: Axes | None = None, save: Path | None = None) -> Axes:
    """Plot `positive_fractions` as one bar per image, with their mean and the limit that the settings impose.

    Args:
        fractions: float [images].
        config: Settings; ROI_POSITIVE_RATIO is read.
        ax: Axes to draw on.
        save: File to write instead of showing the figure.

    Returns:
        The axes.

    Raises:
        InputError: `save` cannot be written.
    """
    figure, axis = axes_for(ax, (9, 3))
    axis.bar(np.arange(len(fractions)), fractions, width=0.8, color="#3b6ea8")
    axis.axhline(fractions.mean(), color="#d9822b", label=f"mean {fractions.mean():.1%}")
    axis.axhline(
        config.ROI_POSITIVE_RATIO,
        color="black",
        linestyle=":",
        label=f"ROI_POSITIVE_RATIO {config.ROI_POSITIVE_RATIO:g}",
    )
    axis.set_ylim(0, max(0.5, fractions.max(initial=0) * 1.2))
    axis.set_xlabel("image")
    axis.set_ylabel("fraction of positive ROIs")
    axis.legend(ncols=2)
    return show_or_save(figure, axis, ax, save)
