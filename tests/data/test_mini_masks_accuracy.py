"""Compares the boxes and mini-masks of training with the exact shapes and with full masks.

The truth is the exact fraction of each moulded pixel that the label covers, thresholded at one half, and the centre of
mass and the box of the label, moved by the exact factors. The full-mask path is `load_image_gt`, as in Matterport's
code.
It is inexact itself: its nearest-pixel sampling aligns the centres of the corners (up to half a pixel off towards the
borders), and its bilinear resize has zeros outside (corners drop out).
"""

from typing import NamedTuple

import cv2
import numpy as np

from bdd100k.config import BDD100KConfig
from bdd100k.dataset import BDD100KDataset
from bdd100k.streets.scenes import write_streets
from mrcnn.data.sample_maker import SampleMaker
from mrcnn.legacy.image_gt import load_image_gt
from mrcnn.structures.masks import expand_mask, minimize_mask

SIDE = 1024


class Found(NamedTuple):
    """The figures of every object, [n] or [n, ...]; shifts are in moulded pixels."""

    agreement: np.ndarray  # IoU of the loader's mask and the full one, both through mini-masks
    fast: np.ndarray  # IoU of the loader's mask with the truth
    slow: np.ndarray  # IoU of the full one with the truth
    centre: np.ndarray  # [n, (y, x)] centre of mass of the loader's mask less the label's
    slow_centre: np.ndarray
    edges: np.ndarray  # [n, 4] box less the label's


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.logical_and(a, b).sum(axis=(0, 1)) / np.logical_or(a, b).sum(axis=(0, 1))


def centres(masks: np.ndarray) -> np.ndarray:
    """Return the centres of mass of masks [H, W, n], float [n, (y, x)]."""
    area = masks.sum(axis=(0, 1))
    y, x = (np.arange(size) + 0.5 for size in masks.shape[:2])
    return np.stack([y @ masks.sum(axis=1), x @ masks.sum(axis=0)], axis=1) / area[:, None]


def covered(masks: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Return whether half of each pixel belongs to the label's mask, bool [SIDE, SIDE, n]; exact for shrinking."""
    y1, x1, y2, x2 = window
    truth = np.zeros((SIDE, SIDE, masks.shape[2]), bool)
    for i in range(masks.shape[2]):
        share = cv2.resize(masks[:, :, i].astype(np.float32), (x2 - x1, y2 - y1), interpolation=cv2.INTER_AREA)
        truth[y1:y2, x1:x2, i] = share >= 0.5
    return truth


def study(dataset: BDD100KDataset) -> Found:
    config = BDD100KConfig().override(["IMAGE_RESIZE_MODE=square", f"IMAGE_MIN_DIM={SIDE}", f"IMAGE_MAX_DIM={SIDE}"])
    maker = SampleMaker(dataset, config, 1, len(dataset.image_ids), shuffle=False)
    found = []
    for image_id in map(int, dataset.image_ids):
        sample = maker.sample(image_id)
        _, _, class_ids, boxes, full = load_image_gt(dataset, config, image_id)
        np.testing.assert_array_equal(sample.class_ids, class_ids)
        instances = dataset.load_instances(image_id)
        height, width = maker.dataset.load_image(image_id).shape[:2]
        window = sample.meta[7:11].astype(int)
        factors, origin = (window[2:] - window[:2]) / (height, width), window[:2]
        labels = instances.to_masks((height, width))
        truth = covered(labels, window)
        fast = expand_mask(sample.boxes_px, sample.masks, (SIDE, SIDE))
        slow = expand_mask(boxes, minimize_mask(boxes, full, config.MINI_MASK_SHAPE), (SIDE, SIDE))
        exact = centres(labels) * factors + origin
        edges = sample.boxes_px - (instances.boxes_px * np.tile(factors, 2) + np.tile(origin, 2))
        found.append(
            (iou(fast, slow), iou(fast, truth), iou(slow, truth), centres(fast) - exact, centres(slow) - exact, edges)
        )
    return Found(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def opened(folder, labels=None) -> BDD100KDataset:
    dataset = BDD100KDataset()
    dataset.load_bdd100k(folder, "train", labels)
    dataset.prepare()
    return dataset


def assert_accurate(found: Found) -> None:
    assert found.agreement.mean() >= 0.98, found.agreement.mean()
    assert found.fast.mean() >= 0.975, found.fast.mean()
    assert found.fast.mean() >= found.slow.mean(), (found.fast.mean(), found.slow.mean())
    assert np.abs(found.edges).max() <= 0.5 + 1e-9, found.edges  # a rounding, of either sign
    assert np.abs(found.edges.mean(axis=0)).max() < 0.1, found.edges.mean(axis=0)
    # Nothing is moved. Single objects differ where parts thinner than a pixel come or go, on both ways alike.
    assert np.abs(found.centre.mean(axis=0)).max() < 0.1, found.centre.mean(axis=0)
    assert np.median(np.abs(found.centre)) < 0.15, np.median(np.abs(found.centre))
    least, most = (np.percentile(np.abs(way), 95) for way in (found.centre, found.slow_centre))
    assert least <= most + 0.05, (least, most)


def test_drawn_scenes(tmp_path):
    found = study(opened(write_streets(tmp_path, train=8, val=0, seed=1)))
    assert len(found.fast) > 100
    assert_accurate(found)


def test_real_photographs(shared_data):
    folder = shared_data / "bdd_sample"
    found = study(opened(folder, folder / "ins_seg_scalabel.json"))
    assert len(found.fast) == 38
    assert_accurate(found)
    assert np.percentile(np.abs(found.centre), 90) <= 0.25  # px
