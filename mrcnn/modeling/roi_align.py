"""ROIAlign as the paper, torchvision, Detectron2 and MMDetection have it: several bilinear samples per cell, averaged.

A cell of an ROI is split into n x n parts, and each is sampled at its centre. Along one axis, sample i of all cells
lies on a regular grid, so every set of samples is one `pyramid_crop`; a border of one repeated pixel around the maps
gives their rule for samples outside: up to one pixel beyond the last centre the edge counts, further away 0.

Legend: N batch, K boxes per image, L pyramid levels, H W C a feature map, h w the cells of an ROI, n samples along one
axis of a cell.

Reference: He et al., Mask R-CNN (arXiv:1703.06870), section 3.
"""

import dataclasses
from typing import Any

import keras
from keras import ops

from mrcnn.modeling.crops import as_rows, native_adaptive_crop, pyramid_crop, pyramid_crop_transpose
from mrcnn.modeling.ops import as_data, has_native_kernels

Tensor = Any  # a tensor of the current backend

# In pixels of a level: normalised coordinates are rounded, and a cell of exactly 2 px must not get a third sample.
ROUNDING = 1e-5


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the cells of each ROI lie along one axis, in pixels of the bordered level.

    Attributes:
        start: float32 [N, K], where the first cell begins.
        cell: float32 [N, K], length of a cell.
        samples: float32 [N, K], n, a whole number, at least 1.
        last: float32 [N, K], the last pixel.
        count: number of cells, static.
    """

    start: Tensor
    cell: Tensor
    samples: Tensor
    last: Tensor
    count: int

    def span(self, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Return the positions of one sample [N, K] in the first and in the last cell, as fractions of the level."""
        first = self.start + (sample + 0.5) / self.samples * self.cell
        return first / self.last, (first + (self.count - 1) * self.cell) / self.last

    def all_samples(self) -> tuple[Tensor, Tensor]:
        """Return the positions of the first sample of the first cell and of the last one of the last cell, [N, K]."""
        return self.span(0.0)[0], self.span(self.samples - 1.0)[1]


def roi_align(
    feature_maps: list[keras.KerasTensor],
    boxes: keras.KerasTensor,
    levels: keras.KerasTensor,
    crop_size: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
) -> keras.KerasTensor:
    """Pool each ROI from its level.

    Args:
        feature_maps: L maps [N, Hl, Wl, C] float.
        boxes: [N, K, (y1, x1, y2, x2)] continuous, as fractions of the image: (0, 0, 1, 1) is all of it.
        levels: [N, K] int32, indices into `feature_maps`.
        crop_size: (h, w).
        sampling_ratio: n; 0: as many as a cell is long in pixels, rounded up, of each ROI and axis. An empty ROI then
            has no samples, and pools to 0.
        aligned: shift the samples by half a pixel, to where the pixels' centres are. False: also make ROIs at least a
            pixel high and wide.

    Returns:
        [N, K, h, w, C] in the dtype of the maps. Differentiable only in the maps.
    """
    boxes = as_data(boxes)
    boxes = ops.where(ops.isfinite(boxes), boxes, 0.0)  # with nan TensorFlow's kernel would read arbitrary memory
    maps = [ops.pad(ops.convert_to_tensor(f), [[0, 0], [1, 1], [1, 1], [0, 0]], mode="symmetric") for f in feature_maps]
    rows, columns = (_grid(boxes, maps, levels, axis, crop_size[axis], sampling_ratio, aligned) for axis in (0, 1))
    if not sampling_ratio:
        has_samples = ops.logical_and(rows.cell > 0, columns.cell > 0)[:, :, None, None, None]
        crops = _adaptive(maps, rows, columns, levels)
        return ops.where(has_samples, crops, ops.zeros((), crops.dtype))
    (top, bottom), (left, right) = rows.all_samples(), columns.all_samples()
    height, width = (count * sampling_ratio for count in crop_size)
    crops = pyramid_crop(maps, ops.stack([top, left, bottom, right], axis=-1), levels, (height, width))
    parts = (-1, boxes.shape[1], crop_size[0], sampling_ratio, crop_size[1], sampling_ratio, maps[0].shape[-1])
    return ops.mean(ops.reshape(crops, parts), axis=(3, 5))


def _grid(
    boxes: Tensor, maps: list[Tensor], levels: Tensor, axis: int, count: int, sampling_ratio: int, aligned: bool
) -> Grid:
    """Return the cells of ROIs along an axis, 0 or 1, of their bordered levels."""
    sides = ops.stack([ops.cast(ops.shape(f)[1 + axis], "float32") for f in maps])  # [L], border included
    side = ops.take(sides, levels, axis=0)  # [N, K]
    start, end = (boxes[..., axis + corner] * (side - 2.0) for corner in (0, 2))
    length = end - start if aligned else ops.maximum(end - start, 1.0)
    cell = length / count
    samples = ops.ones_like(cell) * sampling_ratio if sampling_ratio else ops.maximum(ops.ceil(cell - ROUNDING), 1.0)
    # The border moves all by one pixel. Pixel 0 has its centre at 0.5, which `aligned` subtracts.
    return Grid(start + (0.5 if aligned else 1.0), cell, samples, side - 1.0, count)


def _adaptive(maps: list[Tensor], rows: Grid, columns: Grid, levels: Tensor) -> Tensor:
    """Run `roi_align` with a number of samples of its own for each ROI and axis.

    One pass per sample of the ROI that has the most. No backend differentiates a loop of unknown length well, so its
    gradient, which is a loop of the same kind, is written out.
    """
    size = (rows.count, columns.count)
    shapes = [ops.shape(f) for f in maps]
    most = ops.cast(ops.max(columns.samples), "int32")
    passes = ops.cast(ops.max(rows.samples), "int32") * most

    def boxes_and_weights(number: Tensor) -> tuple[Tensor, Tensor]:
        """Return where sample `number` of all cells lies, [N, K, 4], and its weight: 0 where an ROI has fewer."""
        i, j = (ops.cast(v, "float32") for v in (number // most, number % most))
        (top, bottom), (left, right) = rows.span(i), columns.span(j)
        used = ops.logical_and(i < rows.samples, j < columns.samples)
        weights = ops.where(used, 1.0 / (rows.samples * columns.samples), 0.0)
        boxes = ops.where(used[..., None], ops.stack([top, left, bottom, right], axis=-1), 0.0)
        return boxes, weights[:, :, None, None, None]

    def forward(*maps: Tensor) -> Tensor:
        if has_native_kernels():
            return native_adaptive_crop(maps, rows, columns, levels)

        def one(number: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
            boxes, weights = boxes_and_weights(number)
            crops = ops.cast(pyramid_crop(list(maps), boxes, levels, size), "float32")
            return number + 1, total + crops * weights

        start = ops.zeros((*ops.shape(levels), *size, maps[0].shape[-1]), "float32")
        _, total = ops.while_loop(lambda number, _: number < passes, one, (ops.cast(0, "int32"), start))
        return ops.cast(total, maps[0].dtype)

    @ops.custom_gradient
    def crop(*maps: Tensor) -> tuple[Tensor, Any]:
        dtype = maps[0].dtype

        def gradient(*args: Tensor, upstream: Tensor | None = None) -> tuple[Tensor, ...]:
            upstream = args[0] if upstream is None else upstream

            def one(number: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
                boxes, weights = boxes_and_weights(number)
                weighted = ops.cast(upstream, "float32") * weights
                return number + 1, total + pyramid_crop_transpose(weighted, shapes, boxes, levels, size)

            start = ops.zeros_like(ops.cast(as_rows(list(maps)), "float32"))
            _, total = ops.while_loop(lambda number, _: number < passes, one, (ops.cast(0, "int32"), start))
            parts, first = [], 0
            for shape in shapes:
                pixels = shape[0] * shape[1] * shape[2]
                parts.append(ops.cast(ops.reshape(total[first : first + pixels], shape), dtype))
                first += pixels
            return tuple(parts)

        return forward(*maps), gradient

    return crop(*maps)
