"""Settings in which the Mask R-CNNs of other projects differ from Matterport's, and presets that set them together.

Sources: He et al., Mask R-CNN (arXiv:1703.06870), Detectron2, torchvision (`torchvision.models.detection`) and
MMDetection. Names are those of Detectron2 or torchvision where they have one.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np

from mrcnn.errors import InputError
from mrcnn.setting_rules import FLAG, NONE, Number, Numbers, Rule, one_of, whole

NORMS = ("BN", None)
SIDE_RULE: Rule = Number(0, 65_536) | NONE
INTERPOLATIONS = ("matterport", "torchvision", "pillow", "opencv")


class Variants:
    """The settings, as class attributes of `Config`, each with its rule and meaning; the defaults are Matterport's."""

    PIXEL_STD: Annotated[
        Any,
        Numbers(Number(0, 1e6, above_low=True), least=1) | Number(0, 1e6, above_low=True),
        "What pixels are divided by after MEAN_PIXEL is subtracted, for each channel. 1: nothing.",
    ] = 1
    INPUT_FORMAT: Annotated[
        str,
        one_of("RGB", "BGR"),
        "Order of the channels that the network takes, and of MEAN_PIXEL and PIXEL_STD. Images are RGB in any case.",
    ] = "RGB"
    IMAGE_INTERPOLATION: Annotated[
        str,
        one_of(*INTERPOLATIONS),
        "How images are resized. matterport: bilinear in scikit-image's way, truncated to whole numbers. torchvision: "
        "bilinear between the centres of pixels, not rounded, sides rounded down. pillow: Pillow's bilinear filter, "
        "which averages where it shrinks. opencv: OpenCV's bilinear. Training, which scales and turns "
        "an image in one step, takes the sides from this setting and always interpolates as OpenCV.",
    ] = "matterport"
    IMAGE_PAD_VALUE: Annotated[
        str,
        one_of("black", "mean"),
        "Colour of the padding: black before the mean is subtracted, or the mean, which is 0 after it.",
    ] = "black"

    FPN_NORM: Annotated[str | None, one_of(*NORMS), "Normalisation of the feature pyramid's convolutions."] = None
    RPN_CONVS: Annotated[int, whole(1, 16), "3 x 3 convolutions of the RPN that its outputs share."] = 1
    RPN_SIGMOID: Annotated[
        bool,
        FLAG,
        "One logit per anchor, as everywhere but in Matterport: its sigmoid is the score, and anchors are ranked by "
        "the logit. False: a softmax of two.",
    ] = False
    BOX_HEAD_CONVS: Annotated[int, whole(0, 16), "3 x 3 convolutions of the box head before its dense layers."] = 0
    BOX_HEAD_FCS: Annotated[int, whole(1, 16), "Dense layers of the box head."] = 2
    BOX_HEAD_NORM: Annotated[
        str | None,
        one_of(*NORMS),
        "Normalisation of the box head: of its convolutions if it has any, else of its dense layers.",
    ] = "BN"
    MASK_HEAD_NORM: Annotated[str | None, one_of(*NORMS), "Normalisation of the mask head's convolutions."] = "BN"

    BOX_CONVENTION: Annotated[
        str,
        one_of("matterport", "continuous"),
        "Coordinates inside the network. continuous: a box of y1 to y2 px in an image of H px is y1 / H to y2 / H, and "
        "detect() returns float boxes. matterport: y1 / (H - 1) to (y2 - 1) / (H - 1), and whole pixels.",
    ] = "matterport"
    RPN_ANCHOR_ROUNDED: Annotated[
        bool,
        FLAG,
        "Anchors as torchvision's: their corners are rounded to whole pixels, and their stride is the input's side "
        "over the feature map's, rounded down.",
    ] = False
    RPN_PER_LEVEL: Annotated[
        bool,
        FLAG,
        "Select PRE_NMS_LIMIT anchors of each pyramid level and suppress within each; the best of all levels remain. "
        "False: all levels compete.",
    ] = False
    PRE_NMS_LIMIT_TRAINING: Annotated[
        int | None, whole(1, 10_000_000) | NONE, "PRE_NMS_LIMIT in training. None: the same."
    ] = None
    RPN_MIN_SIZE: Annotated[
        float | None, SIDE_RULE, "Proposals whose height or width is at most this, in px, are dropped. None: none."
    ] = None
    RPN_CLIP_TO_WINDOW: Annotated[
        bool, FLAG, "Clip proposals to the image without its padding. False: to the whole input."
    ] = False
    BBOX_DELTA_CLIP: Annotated[
        str | None,
        one_of("upper", "both", None),
        "Limits dh and dw to log(1000 / 16), so that a box grows to at most 62.5 times its anchor. both: and shrinks "
        "to no less than 1 / 62.5.",
    ] = None

    ROI_LEVEL_RULE: Annotated[
        str,
        one_of("matterport", "torchvision", "detectron2", "mmdet"),
        "Pyramid level of an ROI of s px: 4 + log2(s / 224), rounded to the nearest (matterport) or down (others, "
        "which differ in where they add a small number).",
    ] = "matterport"
    ROI_SAMPLING_RATIO: Annotated[
        int | None,
        whole(0, 16) | NONE,
        "ROIAlign averages this many samples along each side of a cell; 0: as many as the cell has pixels (adaptive). "
        "None: Matterport's crop and resize, one sample per cell, from corner to corner of the ROI.",
    ] = None
    ROI_ALIGNED: Annotated[
        bool,
        FLAG,
        "With ROI_SAMPLING_RATIO: shift samples by half a pixel, so that they lie where the pixels are (torchvision's "
        "aligned=True). False: also make ROIs at least one pixel of the level high and wide.",
    ] = False

    PROPOSAL_APPEND_GT: Annotated[
        bool, FLAG, "Add the labelled boxes to the proposals that the heads are trained on."
    ] = False
    ROI_OHEM: Annotated[
        bool,
        FLAG,
        "Online hard example mining (arXiv:1604.03540): the class and box losses take the half of the ROIs with the "
        "highest loss.",
    ] = False

    DETECTION_EVERY_CLASS: Annotated[
        bool,
        FLAG,
        "Every class of an ROI whose score suffices is a detection of its own. False: the class with the best score.",
    ] = False
    DETECTION_CLASSES: Annotated[
        Sequence[int] | None, Numbers(whole(1, 100_000), least=1) | NONE, "Ids of the classes to detect. None: all."
    ] = None
    DETECTION_MIN_SIZE: Annotated[
        float | None, SIDE_RULE, "Detections whose height or width is at most this, in px of the input, are dropped."
    ] = None
    DETECTION_CLASS_AGNOSTIC_NMS: Annotated[
        bool, FLAG, "Instances suppress those of other classes too. False: those of their own class."
    ] = False
    DETECTION_SOFT_NMS: Annotated[
        str | None,
        one_of("linear", "gaussian", None),
        "Soft-NMS (arXiv:1704.04503): overlapping instances lose score instead of being removed; "
        "DETECTION_NMS_THRESHOLD is where linear begins.",
    ] = None
    DETECTION_SOFT_NMS_SIGMA: Annotated[float, Number(0, 100, above_low=True), "Sigma of the gaussian Soft-NMS."] = 0.5
    MASK_PASTE: Annotated[
        str,
        one_of("matterport", "torchvision", "grid"),
        "How a mask is pasted into the image. matterport: resized to the box in whole pixels. torchvision: padded by a "
        "pixel and resized to the grown box, rounded towards 0. grid: sampled at the centre of each pixel in the exact "
        "box, as Detectron2 and MMDetection do.",
    ] = "matterport"


def validate(config: Any) -> None:
    """Check that the variants of a `Config` are consistent, and that each has an effect.

    Raises:
        InputError: they are not; the message says which to change.
    """
    for name in ("MEAN_PIXEL", "PIXEL_STD"):
        count = np.size(getattr(config, name))
        if count not in (1, config.IMAGE_CHANNEL_COUNT):
            raise InputError(
                f"{name} has {count} numbers, but IMAGE_CHANNEL_COUNT is {config.IMAGE_CHANNEL_COUNT}; give one for "
                "each channel, or one for all"
            )
    beyond = [i for i in config.DETECTION_CLASSES or () if i >= config.NUM_CLASSES]
    if beyond:
        raise InputError(f"DETECTION_CLASSES has {beyond}; the class ids are 1 to {config.NUM_CLASSES - 1}")
    if config.INPUT_FORMAT == "BGR" and config.IMAGE_CHANNEL_COUNT != 3:
        raise InputError(
            f"INPUT_FORMAT is BGR, but IMAGE_CHANNEL_COUNT is {config.IMAGE_CHANNEL_COUNT}; only images of 3 channels "
            "have that order, so use RGB"
        )
    if config.ROI_ALIGNED and config.ROI_SAMPLING_RATIO is None:
        raise InputError("ROI_ALIGNED has no effect without ROI_SAMPLING_RATIO; set it, for example to 0 (adaptive)")
    if config.DETECTION_SOFT_NMS_SIGMA != Variants.DETECTION_SOFT_NMS_SIGMA and config.DETECTION_SOFT_NMS != "gaussian":
        raise InputError(
            f"DETECTION_SOFT_NMS_SIGMA is {config.DETECTION_SOFT_NMS_SIGMA}, but DETECTION_SOFT_NMS is "
            f"{config.DETECTION_SOFT_NMS}; only gaussian has a sigma"
        )


TORCH_MEAN = (123.675, 116.28, 103.53)  # of ImageNet, RGB
TORCH_STD = (58.395, 57.12, 57.375)
# What all but Matterport share: settings of `Config` and of `Variants`.
_FIELD: dict[str, Any] = {
    "BACKBONE_BIAS": False,
    "BACKBONE_SYMMETRIC_PADDING": True,
    "BN_EPSILON": 1e-5,
    "BOX_HEAD_CONVS": 0,
    "BOX_HEAD_FCS": 2,
    "BOX_HEAD_NORM": None,
    "FPN_NORM": None,
    "MASK_HEAD_NORM": None,
    "RPN_CHANNELS": 256,
    "RPN_CONVS": 1,
    "RPN_SIGMOID": True,
    "RPN_ANCHOR_SCALES": (32, 64, 128, 256, 512),
    "RPN_ANCHOR_RATIOS": (2, 1, 0.5),  # width / height of the others' height / width 0.5, 1, 2
    "RPN_ANCHOR_ROUNDED": False,
    "RPN_BBOX_STD_DEV": (1.0, 1.0, 1.0, 1.0),
    "RPN_PER_LEVEL": True,
    "PRE_NMS_LIMIT": 1000,
    "PRE_NMS_LIMIT_TRAINING": 2000,
    "POST_NMS_ROIS_TRAINING": 1000,
    "POST_NMS_ROIS_INFERENCE": 1000,
    "RPN_MIN_SIZE": 0,
    "RPN_CLIP_TO_WINDOW": True,
    "BBOX_DELTA_CLIP": "upper",
    "BOX_CONVENTION": "continuous",
    "ROI_SAMPLING_RATIO": 0,
    "ROI_ALIGNED": True,
    "PROPOSAL_APPEND_GT": True,
    "TRAIN_ROIS_PER_IMAGE": 512,
    "ROI_POSITIVE_RATIO": 0.25,
    "DETECTION_EVERY_CLASS": True,
    "DETECTION_MIN_CONFIDENCE": 0.05,
    "DETECTION_MIN_SIZE": None,
    "DETECTION_NMS_THRESHOLD": 0.5,
    "MASK_PASTE": "grid",
    "IMAGE_RESIZE_MODE": "pad32",
    "IMAGE_MIN_DIM": 800,
    "IMAGE_MAX_DIM": 1333,
    "IMAGE_PAD_VALUE": "mean",
    "INPUT_FORMAT": "RGB",
}
_TORCHVISION: dict[str, Any] = {
    **_FIELD,
    "STRIDE_IN_1X1": False,
    "BN_EPSILON": 0.0,
    "RPN_ANCHOR_ROUNDED": True,
    "POST_NMS_ROIS_TRAINING": 2000,
    "RPN_MIN_SIZE": 1e-3,
    "ROI_LEVEL_RULE": "torchvision",
    "ROI_SAMPLING_RATIO": 2,
    "ROI_ALIGNED": False,
    "DETECTION_MIN_SIZE": 1e-2,
    "MASK_PASTE": "torchvision",
    "IMAGE_INTERPOLATION": "torchvision",
    "MEAN_PIXEL": TORCH_MEAN,
    "PIXEL_STD": TORCH_STD,
}
_DETECTRON2: dict[str, Any] = {
    **_FIELD,
    "STRIDE_IN_1X1": True,
    "ROI_LEVEL_RULE": "detectron2",
    "IMAGE_INTERPOLATION": "pillow",
    "MEAN_PIXEL": TORCH_MEAN[::-1],
    "PIXEL_STD": (1.0, 1.0, 1.0),
    "INPUT_FORMAT": "BGR",
}
PRESETS: dict[str, dict[str, Any]] = {
    # Detectron, whose code the paper's authors published: two samples along each side of a cell, not aligned
    "paper": {**_DETECTRON2, "ROI_SAMPLING_RATIO": 2, "ROI_ALIGNED": False, "POST_NMS_ROIS_TRAINING": 2000},
    "detectron2": _DETECTRON2,
    "torchvision": _TORCHVISION,
    "torchvision-v2": {
        **_TORCHVISION,
        "BN_EPSILON": 1e-5,
        "FPN_NORM": "BN",
        "RPN_CONVS": 2,
        "BOX_HEAD_CONVS": 4,
        "BOX_HEAD_FCS": 1,
        "BOX_HEAD_NORM": "BN",
        "MASK_HEAD_NORM": "BN",
    },
    "mmdet": {
        **_FIELD,
        "STRIDE_IN_1X1": False,
        "ROI_LEVEL_RULE": "mmdet",
        "BBOX_DELTA_CLIP": "both",
        "IMAGE_INTERPOLATION": "opencv",
        "MEAN_PIXEL": TORCH_MEAN,
        "PIXEL_STD": TORCH_STD,
    },
}
# "matterport" is the defaults of everything that another preset sets; `Config.preset` takes them from the class.
PRESET_NAMES = ("matterport", *PRESETS)
PRESET_SETTINGS = tuple(sorted({name for preset in PRESETS.values() for name in preset}))
