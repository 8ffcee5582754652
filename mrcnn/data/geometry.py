"""Geometric augmentation: map image and objects from the file to the moulded image in a single step.

Resize, scale jitter, crop, rotation and flip are composed into one `Placement`, so the image is sampled once and each
mask only inside its own box. Colours are in photometry.py; augmenters of imgaug come in through imgaug_adapter.py.

Legend: H W moulded image, n m instances. Boxes are (y1, x1, y2, x2) pixels. Matrices are float64 [2, 3] and map (x, y)
of the image as loaded to (x, y) of the moulded image, in continuous coordinates: the centre of pixel (0, 0) is (0.5,
0.5).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mrcnn.augment_settings import Augmentation
from mrcnn.data.images import Geometry
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import tighten


@dataclass(frozen=True)
class Placement:
    """Where an image lies in its moulded image.

    Attributes:
        source: (height, width) of the image as loaded.
        size: (height, width) after scaling.
        offset: (y, x) of its top left corner; negative where it is cropped.
        shape: (H, W) of the moulded image.
        scale: factor, for the image meta.
        angle: degrees of rotation around the centre of the scaled image, positive to the right (y points down).
        flip: flip the moulded image left to right, after everything else.
        shrunk: scaled to less than half of what the resize mode asks for, so pixels are averaged against aliasing.
    """

    source: tuple[int, int]
    size: tuple[int, int]
    offset: tuple[int, int]
    shape: tuple[int, int]
    scale: float
    angle: float = 0.0
    flip: bool = False
    shrunk: bool = False

    @classmethod
    def from_plan(cls, plan: Geometry, source: Sequence[int]) -> "Placement":
        """Return the placement of a resize mode without augmentation. source: (height, width, ...) of the image as
        loaded.
        """
        offset = (plan.padding[0][0], plan.padding[1][0]) if plan.crop is None else (-plan.crop[0], -plan.crop[1])
        return cls((int(source[0]), int(source[1])), plan.size, offset, plan.shape, plan.scale)

    @property
    def factors(self) -> tuple[float, float]:
        """(y, x) moulded pixels per pixel; they differ slightly, because the sides are rounded separately."""
        return self.size[0] / self.source[0], self.size[1] / self.source[1]

    @property
    def matrix(self) -> np.ndarray:
        """float64 [2, 3], see the head of this file."""
        sy, sx = self.factors
        matrix = np.array([[sx, 0, self.offset[1]], [0, sy, self.offset[0]]], np.float64)
        if self.angle:
            cy, cx = self.offset[0] + self.size[0] / 2, self.offset[1] + self.size[1] / 2
            turn = _rotation(self.angle)
            matrix[:, 2] -= (cx, cy)
            matrix = turn @ matrix
            matrix[:, 2] += (cx, cy)
        if self.flip:
            matrix[0] *= -1
            matrix[0, 2] += self.shape[1]
        return matrix

    @property
    def corners(self) -> np.ndarray:
        """float64 [4, (x, y)], the image's corners in order around it; they may lie outside the moulded image."""
        height, width = self.source
        return (self.matrix @ np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1]])).T

    @property
    def window(self) -> tuple[int, int, int, int]:
        """The box around the visible part of the image."""
        corners = self.corners[:, ::-1].round(6)  # whole numbers stay whole
        low, high = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
        (y1, x1), (y2, x2) = (np.clip(edge, 0, self.shape).astype(int).tolist() for edge in (low, high))
        return y1, x1, y2, x2


def _rotation(degrees: float) -> np.ndarray:
    """Return the rotation matrix, float64 [2, 2]; exact for multiples of 90 degrees."""
    quarter = round(degrees / 90)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    if degrees == quarter * 90:
        cos, sin = round(cos), round(sin)
    return np.array([[cos, -sin], [sin, cos]], np.float64)


def draw_placement(
    plan: Geometry,
    source: Sequence[int],
    augmentation: Augmentation,
    rng: np.random.Generator,
    min_dim: int | None = None,
) -> Placement:
    """Draw flip, rotation, scale and position for one image.

    Args:
        plan: of the resize mode, with the shape of the moulded image.
        source: (height, width, ...) of the image as loaded.
        augmentation: the ranges.
        rng: generator of this image.
        min_dim: one of augmentation.min_dims, px, or None.
    """
    base = Placement.from_plan(plan, source)
    size, offset, factor = base.size, base.offset, 1.0
    if min_dim is not None:
        factor = min_dim / min(base.source) / base.factors[0]
        if plan.crop is None:  # the whole image stays inside
            factor = min(factor, base.shape[0] / size[0], base.shape[1] / size[1])
    low, high = augmentation.scale
    jitter = rng.uniform(low, high) if high > low else low
    if factor * jitter != 1:
        size = (max(1, round(size[0] * factor * jitter)), max(1, round(size[1] * factor * jitter)))
        free = (base.shape[0] - size[0], base.shape[1] - size[1])
        if jitter == 1 and plan.crop is None:
            offset = (free[0] // 2, free[1] // 2)
        else:  # anywhere in the moulded image, or the moulded image anywhere in the scaled one
            offset = (_between(rng, free[0]), _between(rng, free[1]))
    angle = rng.uniform(-augmentation.rotate, augmentation.rotate) if augmentation.rotate else 0.0
    flip = bool(augmentation.flip and rng.random() < augmentation.flip)
    scale = base.scale * factor * jitter
    return Placement(base.source, size, offset, base.shape, scale, angle, flip, factor * jitter < 0.5)


def _between(rng: np.random.Generator, free: int) -> int:
    """Draw an integer between 0 and `free`, which may be negative."""
    return int(rng.integers(min(free, 0), max(free, 0) + 1))


def place_image(image: np.ndarray, placement: Placement) -> np.ndarray:
    """Sample the moulded image once, bilinearly; 0 outside the image. uint8 is rounded, where `resize_image`
    truncates.

    Args:
        image: uint8 or float32 [h, w, channels], of the size that the placement was made for.
        placement: where it goes.

    Returns:
        [H, W, channels] of the same type, never a view of `image`.
    """
    assert image.shape[:2] == placement.source, (image.shape, placement)
    if placement.angle:
        return _turn(image, placement)
    (y, x), (rows, columns), (height, width) = placement.offset, placement.size, placement.shape
    top, left = max(y, 0), max(x, 0)
    bottom, right = max(min(y + rows, height), top), max(min(x + columns, width), left)
    moulded = np.zeros((height, width, image.shape[2]), image.dtype)
    columns_seen = slice(width - right, width - left) if placement.flip else slice(left, right)
    target = moulded[top:bottom, columns_seen]
    if not target.size:
        return moulded
    if placement.size != placement.source:
        fits = not placement.flip and target.shape[:2] == placement.size  # resize straight into the target
        image = _resize(image, placement, target if fits else None)
    seen = image[top - y : bottom - y, left - x : right - x]
    if placement.flip:
        seen = cv2.flip(seen, 1, dst=target)
    if seen is not target:
        target[:] = seen.reshape(target.shape)  # OpenCV drops the axis of a single channel
    return moulded


def _resize(image: np.ndarray, placement: Placement, target: np.ndarray | None = None) -> np.ndarray:
    """Resize an image to the size of its placement, into `target` if one is given."""
    size = placement.size[::-1]
    if not placement.shrunk:
        return cv2.resize(image, size, dst=target, interpolation=cv2.INTER_LINEAR)
    if image.shape[2] <= 4:
        return cv2.resize(image, size, dst=target, interpolation=cv2.INTER_AREA)
    return np.dstack([cv2.resize(channel, size, interpolation=cv2.INTER_AREA) for channel in cv2.split(image)])


def _turn(image: np.ndarray, placement: Placement) -> np.ndarray:
    matrix = placement.matrix
    if placement.shrunk:
        image = _resize(image, placement)
        matrix[:, :2] /= placement.factors[::-1]
    return warp_image(image, matrix, placement.shape)


def blacken_outside(image: np.ndarray, placement: Placement) -> None:
    """Make the pixels outside a rotated image black again, in place, after its colours were changed.

    Args:
        image: uint8 or float32 [H, W, channels], moulded.
        placement: of the image.
    """
    inside = np.zeros(image.shape[:2], np.uint8)
    cv2.fillConvexPoly(inside, np.rint(placement.corners - 0.5).astype(np.int32), 1)
    image[:] = cv2.copyTo(image, inside)


def warp_image(
    image: np.ndarray, matrix: np.ndarray, shape: Sequence[int], corner: Sequence[int] = (0, 0)
) -> np.ndarray:
    """Sample an image under an affine map.

    Args:
        image: uint8 or float32 [h, w] or [h, w, channels].
        matrix: float64 [2, 3], see the head of this file.
        shape: (height, width) of the result.
        corner: (y, x) of the result's top left pixel in the moulded image.

    Returns:
        [height, width, ...] of the same type, bilinear, 0 outside the image. uint8 0 and 1 become 1 from one half on.
    """
    moved = matrix.copy()
    moved[:, 2] -= (corner[1], corner[0])
    moved[:, 2] += moved[:, :2].sum(axis=1) / 2 - 0.5  # OpenCV puts pixel centres at integers
    return cv2.warpAffine(image, moved, (int(shape[1]), int(shape[0])), flags=cv2.INTER_LINEAR)


def warp_instances(
    instances: Instances, matrix: np.ndarray, shape: Sequence[int], min_area: float = 0.0
) -> tuple[Instances, np.ndarray, np.ndarray]:
    """Map objects to a moulded image, sampling each mask only inside its new box. The new boxes come from the new
    masks.

    Args:
        instances: n objects of the image as loaded.
        matrix: float64 [2, 3], see the head of this file.
        shape: (H, W, ...) of the moulded image.
        min_area: minimum fraction of an object's area inside the image; objects with less are dropped.

    Returns:
        instances: m <= n, in pixels of the moulded image. An object inside has at least one pixel, however thin it is.
        kept: int [m], indices of the objects that remain.
        seen: float [m], the fraction of each object's area that is inside.
    """
    kept, boxes, crops, seen = [], [], [], []
    corners = instances.boxes_px[:, [[1, 0], [3, 0], [1, 2], [3, 2]]] @ matrix[:, :2].T + matrix[:, 2]  # [n, 4, (x, y)]
    low, high, limit = corners.min(axis=1), corners.max(axis=1), (shape[1], shape[0])
    first, last = np.maximum(np.floor(low), 0).astype(int), np.minimum(np.ceil(high), limit).astype(int)
    whole = ((low >= 0) & (high <= limit)).all(axis=1)
    growth = abs(np.linalg.det(matrix[:, :2]))
    for i in np.flatnonzero((first < last).all(axis=1)).tolist():
        crop, (left, top), (right, bottom) = instances.crops[i], first[i].tolist(), last[i].tolist()
        local = np.column_stack([matrix[:, :2], corners[i, 0] - first[i]])
        warped = tighten(_warp_crop(crop, local, (bottom - top, right - left)), top, left)
        if warped is None:
            continue
        fraction = 1.0 if whole[i] else min(1.0, np.count_nonzero(warped[1]) / (np.count_nonzero(crop) * growth))
        if fraction >= min_area:
            kept.append(i)
            boxes.append(warped[0])
            crops.append(warped[1])
            seen.append(fraction)
    index = np.array(kept, int)
    chosen = (values[index] for values in (instances.crowd, instances.ignore))
    moved = Instances(instances.class_ids[index], np.array(boxes).reshape(-1, 4), crops, *chosen)
    return moved, index, np.array(seen, np.float64)


def _warp_crop(crop: np.ndarray, matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Warp one object's mask into a window, bool [h, w]; `matrix` maps pixels of the crop to pixels of the window."""
    mask = warp_image(np.ascontiguousarray(crop).view(np.uint8), matrix, shape).view(bool)
    if not mask.any():  # thinner than a pixel everywhere: mark the pixels that the crop's pixels fall into
        rows, columns = np.nonzero(crop)
        x, y = np.floor(matrix @ np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))])).astype(int)
        inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
        mask[y[inside], x[inside]] = True
    return mask
