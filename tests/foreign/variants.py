"""Small models of Detectron2 and MMDetection: how each computes, and the files and images for it.

This module needs numpy alone: the recorder runs it where torch is, the tests where it is not.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.foreign import state_dicts
from tests.foreign.state_dicts import Shapes, Sizes
from tests.foreign.torchvision_weights import seeded_image

GOLDEN = pathlib.Path(__file__).parent / "golden"
SHORTER, LONGER = 180, 320  # px of a resized image
VALUES, ROWS = 300, 120  # of each recorded output, about so many are kept
# height, width: the first is padded to 192 x 320 as it is, the second is shrunk to 180 x 313 before
IMAGES = {"same": (180, 320), "shrunk": (270, 470)}
BLUE_FIRST = (103.53, 116.28, 123.675)
STD_BLUE_FIRST = (57.375, 57.12, 58.395)
CAFFE = """
model = dict(
    type='MaskRCNN',
    backbone=dict(type='ResNet', depth=50, num_stages=4, norm_eval=True, style='caffe'))
img_norm_cfg = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False)
train_pipeline = [dict(type='Resize', img_scale=[(640, 300), (640, 360)], keep_ratio=True)]
test_pipeline = [dict(type='MultiScaleFlipAug', img_scale=(320, 180), flip=False)]
"""


@dataclasses.dataclass(frozen=True)
class Variant:
    """A model of another project.

    Attributes:
        shapes: of its tensors, from sizes.
        sizes: of the model.
        seed: of their values.
        mmdet: whether it is MMDetection's rather than Detectron2's.
        end: the maps of RPN and heads: "fpn", "c4" or "dc5".
        stride_in_1x1: whether a bottleneck's first convolution has the stride.
        bgr: whether it takes blue first, as `mean` and `std` have it.
        mean: of pixels.
        std: of pixels.
        meta: plain values in the file.
    """

    shapes: Callable[[Sizes], Shapes]
    sizes: Sizes
    seed: str = ""
    mmdet: bool = False
    end: str = "fpn"
    stride_in_1x1: bool = True
    bgr: bool = True
    mean: tuple[float, float, float] = BLUE_FIRST
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    meta: dict[str, Any] | None = None

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the values of all tensors; stems that take colours of 0 to 255 have weights to suit."""
        tensors = state_dicts.seeded(self.shapes(self.sizes), self.seed)
        stem = next(name for name, values in tensors.items() if values.shape[2:] == (7, 7))
        tensors[stem] /= np.float32(58 if self.std[0] == 1 else 1)
        return tensors

    def write(self, path: pathlib.Path) -> pathlib.Path:
        """Write them as the project does."""
        kind, key = ("zip", "state_dict") if self.mmdet else ("pickle", "model")
        return state_dicts.write(path, self.tensors(), kind, key, self.meta)


def image_of(name: str) -> np.ndarray:
    """Return one of IMAGES, uint8 [height, width, (red, green, blue)]."""
    return seeded_image(*IMAGES[name])


SMALL = Sizes((3, 4, 6, 3), bottleneck=True)
GROUPED = dataclasses.replace(SMALL, groups=32, width_per_group=4)
PYTORCH = {"bgr": False, "mean": BLUE_FIRST[::-1], "std": STD_BLUE_FIRST[::-1]}
VARIANTS = {
    "fpn": Variant(state_dicts.detectron2, SMALL, "4"),
    "x101": Variant(state_dicts.detectron2, GROUPED, "4", stride_in_1x1=False, std=STD_BLUE_FIRST),
    "lsj": Variant(lambda sizes: state_dicts.detectron2(sizes, lsj=True), Sizes(), "4"),
    "c4": Variant(state_dicts.detectron2_c4, SMALL, end="c4"),
    "dc5": Variant(state_dicts.detectron2_dc5, SMALL, "4", end="dc5"),
    "mmdet": Variant(state_dicts.mmdet, SMALL, mmdet=True, stride_in_1x1=False, **PYTORCH),
    "mmdet_caffe": Variant(state_dicts.mmdet, SMALL, mmdet=True, meta={"config": CAFFE}),
}
