"""What settings must have in common, beyond the rule of each: `Config.validate` asks here."""

from typing import Any

import numpy as np

from mrcnn.backbones import FPN_STRIDES, ending
from mrcnn.errors import InputError
from mrcnn.variants import Variants

LOSSES = ("rpn_class_loss", "rpn_bbox_loss", "mrcnn_class_loss", "mrcnn_bbox_loss", "mrcnn_mask_loss")
COARSEST_STRIDE = 64  # of P6, which subsamples P5 (stride 32) by two: image sides must be multiples of it


def check(config: Any) -> None:
    """Raise InputError if settings contradict each other."""
    _check_sides(config)
    _check_strides(config)
    _check_network(config)
    _check_variants(config)
    _check_training(config)


def _check_network(config: Any) -> None:
    if callable(config.BACKBONE) and not callable(config.COMPUTE_BACKBONE_SHAPE):
        raise InputError(
            "BACKBONE is a function, so COMPUTE_BACKBONE_SHAPE must be one too; return the sizes of P2..P6"
        )
    if config.NUM_CLASSES < 2:
        raise InputError(f"NUM_CLASSES is {config.NUM_CLASSES}; include the background: 1 + your classes")
    if not ending(config.BACKBONE) and len(config.RPN_ANCHOR_SCALES) != len(config.BACKBONE_STRIDES):
        raise InputError(
            f"RPN_ANCHOR_SCALES has {len(config.RPN_ANCHOR_SCALES)} entries, but BACKBONE_STRIDES has "
            f"{len(config.BACKBONE_STRIDES)}; give one scale per level"
        )
    if list(config.MASK_SHAPE) != [2 * config.MASK_POOL_SIZE] * 2:
        raise InputError(
            f"MASK_SHAPE is {list(config.MASK_SHAPE)}; the mask head doubles MASK_POOL_SIZE ({config.MASK_POOL_SIZE}), "
            f"so it must be {[2 * config.MASK_POOL_SIZE] * 2}"
        )
    for name in ("MEAN_PIXEL", "PIXEL_STD"):
        count = np.size(getattr(config, name))
        if count not in (1, config.IMAGE_CHANNEL_COUNT):
            raise InputError(
                f"{name} has {count} numbers, but IMAGE_CHANNEL_COUNT is {config.IMAGE_CHANNEL_COUNT}; give one for "
                "each channel, or one for all"
            )


def _check_variants(config: Any) -> None:
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


def _check_training(config: Any) -> None:
    weights = config.CLASS_LOSS_WEIGHTS
    if weights is not None and len(weights) != config.NUM_CLASSES:
        raise InputError(
            f"CLASS_LOSS_WEIGHTS is {weights}; give NUM_CLASSES = {config.NUM_CLASSES} factors of at least 0, the "
            "background's first, or None"
        )
    if weights is not None and not any(weights):
        raise InputError("CLASS_LOSS_WEIGHTS are all 0, so no class would be learnt; give one above 0")
    if not any(config.LOSS_WEIGHTS.get(name, 1.0) for name in LOSSES):
        raise InputError("LOSS_WEIGHTS are all 0, so nothing would be learnt; give one above 0")
    if int(config.TRAIN_ROIS_PER_IMAGE * config.ROI_POSITIVE_RATIO) < 1:
        raise InputError(
            f"TRAIN_ROIS_PER_IMAGE {config.TRAIN_ROIS_PER_IMAGE} times ROI_POSITIVE_RATIO {config.ROI_POSITIVE_RATIO} "
            "is below 1, so no ROI would be positive; raise one of them"
        )


def _check_strides(config: Any) -> None:
    # Anchors are laid out by these strides; the network has its own, and they must be the same.
    if ending(config.BACKBONE):
        fits, meant = True, ""  # its one map has stride 16, see `mrcnn.modeling.anchors`
    elif callable(config.BACKBONE):
        fits, meant = len(config.BACKBONE_STRIDES) == len(FPN_STRIDES), "give those of P2..P6 of your backbone"
    else:
        fits, meant = list(config.BACKBONE_STRIDES) == FPN_STRIDES, f"{config.BACKBONE} has {FPN_STRIDES}"
    if not fits:
        raise InputError(f"BACKBONE_STRIDES is {list(config.BACKBONE_STRIDES)}; {meant}")


def _check_sides(config: Any) -> None:
    # The sizes of "pad64", "pad32" and "none" follow the images, so only the other modes need multiples.
    both = ("IMAGE_MIN_DIM", "IMAGE_MAX_DIM")
    names = {"square": ("IMAGE_MAX_DIM",), "crop": ("IMAGE_MIN_DIM",), "rect": both, "pad32": both}
    for name in names.get(config.IMAGE_RESIZE_MODE, ()):
        side = getattr(config, name)
        if config.IMAGE_RESIZE_MODE == "pad32":
            if not side:
                raise InputError(f"{name} is {side}; with IMAGE_RESIZE_MODE=pad32 give a number of pixels above 0")
        elif not side or side % COARSEST_STRIDE:
            near = max(1, round((side or 0) / COARSEST_STRIDE)) * COARSEST_STRIDE
            raise InputError(
                f"{name} is {side}; with IMAGE_RESIZE_MODE={config.IMAGE_RESIZE_MODE} it must be a multiple of "
                f"{COARSEST_STRIDE} (the stride of the coarsest pyramid level), for example {near}"
            )
