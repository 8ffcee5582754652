"""Settings of a model and its training: Matterport's attribute names and defaults, validated before anything is built.

Subclass Config and override what differs, as with the original::

    class ShapesConfig(Config):
        NAME = "shapes"
        NUM_CLASSES = 1 + 3  # background and three shapes

This module imports neither Keras nor a backend, so `--help` and label tools start instantly.
"""

import ast
import logging
import math
from collections.abc import Iterable

import numpy as np

from mrcnn.augment_settings import Augmentation
from mrcnn.errors import InputError

log = logging.getLogger(__name__)

RESIZE_MODES = ("square", "rect", "pad64", "crop", "none")
BACKBONES = ("resnet18", "resnet50", "resnet101")
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "step", "cosine")
PRECISIONS = ("float32", "bfloat16", "float16")
BALANCES = ("repeat-factor", "class-aware")
FPN_STRIDES = [4, 8, 16, 32, 64]  # of P2..P6, px
COARSEST_STRIDE = 64  # of P6, which subsamples P5 (stride 32) by two: image sides must be multiples of it


class Config:
    """All settings, as class attributes. Creating an instance computes BATCH_SIZE, IMAGE_SHAPE and IMAGE_META_SIZE."""

    NAME: str | None = None  # names the log folder; every subclass sets its own

    # Each of this host's GPU_COUNT devices trains on IMAGES_PER_GPU images per step.
    GPU_COUNT = 1
    IMAGES_PER_GPU = 2

    # Precision of the convolutions: "float32", "bfloat16" (half the memory, faster on GPUs that support it) or
    # "float16" (for GPUs without bfloat16; the loss is scaled). None follows keras.config.dtype_policy(), float32 by
    # default.
    PRECISION: str | None = None

    # An epoch is this many steps, not one pass over the data. Each ends with a checkpoint and validation.
    STEPS_PER_EPOCH = 1000
    VALIDATION_STEPS = 50

    # "resnet18", "resnet50", "resnet101", or a function of the image tensor, stage5= and train_bn= that returns the
    # stages C1..C5; then COMPUTE_BACKBONE_SHAPE(image_shape) must return the [n, 2] sizes of P2..P6.
    BACKBONE = "resnet101"
    COMPUTE_BACKBONE_SHAPE = None
    BACKBONE_STRIDES = [4, 8, 16, 32, 64]
    BACKBONE_WIDTH = 64  # channels of the stem (64 in the ResNet paper), doubled at each later stage; at least 16
    FPN_CLASSIF_FC_LAYERS_SIZE = 1024
    TOP_DOWN_PYRAMID_SIZE = 256
    RPN_CHANNELS = 512
    MASK_HEAD_CHANNELS = 256

    NUM_CLASSES = 1  # including the background

    # Anchors: one scale (side of the square anchor in pixels) per pyramid level, times the ratios (width / height).
    RPN_ANCHOR_SCALES = (32, 64, 128, 256, 512)
    RPN_ANCHOR_RATIOS = [0.5, 1, 2]
    RPN_ANCHOR_STRIDE = 1  # 2: anchors on every other cell

    # Proposals: the PRE_NMS_LIMIT anchors with the highest scores, then NMS, then the best POST_NMS_ROIS_*.
    RPN_NMS_THRESHOLD = 0.7
    RPN_TRAIN_ANCHORS_PER_IMAGE = 256
    PRE_NMS_LIMIT = 6000
    POST_NMS_ROIS_TRAINING = 2000
    POST_NMS_ROIS_INFERENCE = 1000

    # Mini-masks: masks cropped to their box and resized, to save memory at the cost of a little detail.
    USE_MINI_MASK = True
    MINI_MASK_SHAPE = (56, 56)  # height, width

    # Input size.
    # "square": scale the short side up to MIN_DIM unless the long side would exceed MAX_DIM; pad with zeros to
    #     MAX_DIM x MAX_DIM.
    # "rect": fit into MIN_DIM high x MAX_DIM wide and pad with zeros to exactly that. A square input of wide road
    #     images would be 44 % padding.
    # "pad64": scale the short side up to MIN_DIM, then pad both sides to multiples of 64.
    # "crop": cut out a random MIN_DIM square.
    # "none": leave the image as it is; for detection its sides must be multiples of 64.
    # With "pad64" and "none", training pads all images to the size of the largest.
    IMAGE_RESIZE_MODE = "square"
    IMAGE_MIN_DIM = 800
    IMAGE_MAX_DIM = 1024
    IMAGE_MIN_SCALE = 0  # minimum factor for scaling up; 0: none
    IMAGE_CHANNEL_COUNT = 3
    MEAN_PIXEL = np.array([123.7, 116.8, 103.9])  # RGB, subtracted; there is no division by a standard deviation

    # ROIs sampled per image for the heads, a third of them positive.
    TRAIN_ROIS_PER_IMAGE = 200
    ROI_POSITIVE_RATIO = 0.33
    POOL_SIZE = 7
    MASK_POOL_SIZE = 14
    MASK_SHAPE = [28, 28]
    MAX_GT_INSTANCES = 100

    # Regression targets (dy, dx, log dh, log dw) are divided by these, which gives them about unit variance.
    RPN_BBOX_STD_DEV = np.array([0.1, 0.1, 0.2, 0.2])
    BBOX_STD_DEV = np.array([0.1, 0.1, 0.2, 0.2])

    DETECTION_MAX_INSTANCES = 100
    DETECTION_MIN_CONFIDENCE = 0.7
    DETECTION_NMS_THRESHOLD = 0.3

    # "sgd", as in the original; "adam", which learns faster from random weights and needs a rate of about 0.0005;
    # "adamw", which decouples weight decay from the gradient.
    OPTIMIZER = "sgd"
    LEARNING_RATE = 0.001  # the paper uses 0.02 for batches of 16; smaller batches and frozen BatchNorm need less
    LEARNING_MOMENTUM = 0.9
    # "step" multiplies the rate by LEARNING_RATE_DROP_FACTOR after each epoch in LEARNING_RATE_DROP_EPOCHS; "cosine"
    # decays it to 0 by the last epoch of the stage. WARMUP_STEPS: length of the linear warm-up at the start of a stage.
    LEARNING_RATE_SCHEDULE = "constant"
    LEARNING_RATE_DROP_EPOCHS: tuple = ()
    LEARNING_RATE_DROP_FACTOR = 0.1
    WARMUP_STEPS = 0
    # Regular expression of layer names -> factor on the rate: {"conv1|bn_conv1|res2.*|bn2.*": 0.1}; first match wins.
    LAYER_RATES: dict = {}
    GRADIENT_ACCUMULATION_STEPS = 1  # batches whose gradients are averaged into one update
    # If set, checkpoints and validation use an exponential moving average of the weights: 0.999 averages about
    # 1 / (1 - 0.999) = 1,000 steps.
    EMA_MOMENTUM: float | None = None
    WEIGHT_DECAY = 0.0001
    # False: Matterport's term, which is divided by each tensor's size and so is nearly 0. True: gradient
    # WEIGHT_DECAY * w.
    TRUE_WEIGHT_DECAY = False
    LOSS_WEIGHTS = {
        "rpn_class_loss": 1.0,
        "rpn_bbox_loss": 1.0,
        "mrcnn_class_loss": 1.0,
        "mrcnn_bbox_loss": 1.0,
        "mrcnn_mask_loss": 1.0,
    }
    GRADIENT_CLIP_NORM = 5.0

    # Augmentation of training images, off by default; mrcnn/augment_settings.py explains each setting and the presets.
    AUGMENT_FLIP = 0.0  # fraction of the images
    AUGMENT_ROTATE = 0.0  # degrees to either side
    AUGMENT_SCALE = (1.0, 1.0)  # minimum and maximum factor; the moulded size stays the same
    AUGMENT_MIN_DIMS: tuple = ()  # multi-scale training: the short sides that a batch may draw
    AUGMENT_COLOR = 0.0  # strength, 0 to 1
    AUGMENT_BLUR = 0.0  # fraction of the images
    AUGMENT_WEATHER = 0.0  # fraction of the images: night, fog, rain or exposure
    AUGMENT_COPY_PASTE = 0.0  # fraction of the images that receive objects from others
    AUGMENT_MIN_AREA = 0.0  # drop objects of which less than this fraction is left

    # Sampling of rare classes, see mrcnn/data/class_balance.py. None shows every image once per pass; "repeat-factor"
    # repeats images with classes that appear in less than REPEAT_THRESHOLD of the images; "class-aware" shows all
    # classes equally often.
    BALANCE: str | None = None
    REPEAT_THRESHOLD = 0.1
    CLASS_LOSS_WEIGHTS: list | None = None  # NUM_CLASSES factors for the class loss, background first

    USE_RPN_ROIS = True  # False: ROIs come with the batch instead of from the RPN
    TRAIN_EMPTY_IMAGES = False  # True: train on images without objects, as background

    SEED = 0  # of sampling inside the graph, shuffling and augmentation

    # None: train BatchNorm normally. False: freeze it (best for batches below about 8). True: always use batch
    # statistics. "group": use GroupNorm instead, which trains at any batch size but cannot load BatchNorm's weights.
    TRAIN_BN: bool | str | None = False

    def __init__(self) -> None:
        self._compute()

    def _compute(self) -> None:
        self.BATCH_SIZE = self.IMAGES_PER_GPU * self.GPU_COUNT
        channels = self.IMAGE_CHANNEL_COUNT
        if self.IMAGE_RESIZE_MODE == "crop":
            self.IMAGE_SHAPE = np.array([self.IMAGE_MIN_DIM, self.IMAGE_MIN_DIM, channels])
        elif self.IMAGE_RESIZE_MODE == "rect":
            self.IMAGE_SHAPE = np.array([self.IMAGE_MIN_DIM, self.IMAGE_MAX_DIM, channels])
        else:
            self.IMAGE_SHAPE = np.array([self.IMAGE_MAX_DIM, self.IMAGE_MAX_DIM, channels])
        # image id, original shape, shape, window, scale, one flag per class
        self.IMAGE_META_SIZE = 1 + 3 + 3 + 4 + 1 + self.NUM_CLASSES

    def validate(self) -> None:
        """Check that the settings are consistent.

        Raises:
            InputError: a setting is invalid; the message names the attribute, its value and the allowed values.
        """
        if self.IMAGE_RESIZE_MODE not in RESIZE_MODES:
            raise InputError(f"IMAGE_RESIZE_MODE is {self.IMAGE_RESIZE_MODE!r}; use one of {', '.join(RESIZE_MODES)}")
        if not callable(self.BACKBONE) and self.BACKBONE not in BACKBONES:
            raise InputError(f"BACKBONE is {self.BACKBONE!r}; use one of {', '.join(BACKBONES)}, or pass a function")
        if self.OPTIMIZER not in OPTIMIZERS:
            raise InputError(f"OPTIMIZER is {self.OPTIMIZER!r}; use one of {', '.join(OPTIMIZERS)}")
        if self.LEARNING_RATE_SCHEDULE not in SCHEDULES:
            raise InputError(
                f"LEARNING_RATE_SCHEDULE is {self.LEARNING_RATE_SCHEDULE!r}; use one of {', '.join(SCHEDULES)}"
            )
        if callable(self.BACKBONE) and not callable(self.COMPUTE_BACKBONE_SHAPE):
            raise InputError(
                "BACKBONE is a function, so COMPUTE_BACKBONE_SHAPE must be one too; return the sizes of P2..P6"
            )
        self._validate_sides()
        self._validate_strides()
        if self.NUM_CLASSES < 2:
            raise InputError(f"NUM_CLASSES is {self.NUM_CLASSES}; include the background: 1 + your classes")
        if len(self.RPN_ANCHOR_SCALES) != len(self.BACKBONE_STRIDES):
            raise InputError(
                f"RPN_ANCHOR_SCALES has {len(self.RPN_ANCHOR_SCALES)} entries, but BACKBONE_STRIDES has "
                f"{len(self.BACKBONE_STRIDES)}; give one scale per level"
            )
        if list(self.MASK_SHAPE) != [2 * self.MASK_POOL_SIZE] * 2:
            raise InputError(
                f"MASK_SHAPE is {list(self.MASK_SHAPE)}; the mask head doubles MASK_POOL_SIZE ({self.MASK_POOL_SIZE}), "
                f"so it must be {[2 * self.MASK_POOL_SIZE] * 2}"
            )
        weights = self.CLASS_LOSS_WEIGHTS
        if weights is not None and not (len(weights) == self.NUM_CLASSES and all(w >= 0 for w in weights)):
            raise InputError(
                f"CLASS_LOSS_WEIGHTS is {weights}; give NUM_CLASSES = {self.NUM_CLASSES} factors of at least 0, the "
                "background's first, or None"
            )
        if self.PRECISION is not None and self.PRECISION not in PRECISIONS:
            raise InputError(f"PRECISION is {self.PRECISION!r}; use one of {', '.join(PRECISIONS)}, or None")
        if self.BALANCE is not None and self.BALANCE not in BALANCES:
            raise InputError(f"BALANCE is {self.BALANCE!r}; use one of {', '.join(BALANCES)}, or None")
        Augmentation.from_config(self)  # checks the AUGMENT_* settings
        unknown = set(self.LOSS_WEIGHTS) - set(Config.LOSS_WEIGHTS)
        if unknown:
            raise InputError(f"LOSS_WEIGHTS names {sorted(unknown)}; known: {sorted(Config.LOSS_WEIGHTS)}")

    def _validate_strides(self) -> None:
        # Anchors are laid out by these strides; the network has its own, and they must be the same.
        if callable(self.BACKBONE):
            fits, meant = len(self.BACKBONE_STRIDES) == len(FPN_STRIDES), "give those of P2..P6 of your backbone"
        else:
            fits, meant = list(self.BACKBONE_STRIDES) == FPN_STRIDES, f"{self.BACKBONE} has {FPN_STRIDES}"
        if not fits:
            raise InputError(f"BACKBONE_STRIDES is {list(self.BACKBONE_STRIDES)}; {meant}")

    def _validate_sides(self) -> None:
        # The sizes of "pad64" and "none" follow the images, so only the other modes have fixed sides to check.
        names = {"square": ("IMAGE_MAX_DIM",), "crop": ("IMAGE_MIN_DIM",), "rect": ("IMAGE_MIN_DIM", "IMAGE_MAX_DIM")}
        for name in names.get(self.IMAGE_RESIZE_MODE, ()):
            side = getattr(self, name)
            if not isinstance(side, (int, np.integer)) or side < COARSEST_STRIDE or side % COARSEST_STRIDE:
                near = max(1, round(float(side) / COARSEST_STRIDE)) * COARSEST_STRIDE
                raise InputError(
                    f"{name} is {side}; with IMAGE_RESIZE_MODE={self.IMAGE_RESIZE_MODE} it must be a multiple of "
                    f"{COARSEST_STRIDE} (the stride of the coarsest pyramid level), for example {near}"
                )

    def override(self, assignments: Iterable[str]) -> "Config":
        """Set attributes from strings such as "IMAGES_PER_GPU=4" or "RPN_ANCHOR_SCALES=(16, 32, 64, 128, 256)".

        Values are parsed as Python literals; anything else is taken as a string. Returns self, with the computed
        attributes updated.

        Raises:
            InputError: a string has no "=", the attribute is unknown (the message suggests the closest name), or the
                value has the wrong type.
        """
        for text in assignments:
            key, sign, value = (part.strip() for part in text.partition("="))
            if not sign:
                raise InputError(f"cannot read the setting {text!r}: write KEY=VALUE")
            if key not in self.settable():
                raise InputError(f"unknown setting {key!r}{self._nearest(key)}")
            setattr(self, key, self._parse(key, value))
        self._compute()
        return self

    def settable(self) -> list[str]:
        """Return the names of all attributes that `override` accepts, sorted."""
        return sorted(k for k in dir(type(self)) if k.isupper() and not k.startswith("_"))

    def _nearest(self, key: str) -> str:
        import difflib

        close = difflib.get_close_matches(key.upper(), self.settable(), 1)
        return f": did you mean {close[0]}?" if close else "; `display()` lists the attributes"

    def _parse(self, key: str, text: str) -> object:
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        old = getattr(self, key)
        if isinstance(old, bool) or key == "TRAIN_BN":
            good = value in (True, False) or (key == "TRAIN_BN" and value in (None, "group"))
        elif isinstance(old, int):
            good = isinstance(value, int) and not isinstance(value, bool)
        elif isinstance(old, float):
            good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        elif isinstance(old, np.ndarray):
            good = isinstance(value, (list, tuple)) and len(value) == len(old)
            value = np.array(value, dtype=old.dtype) if good else value
        elif isinstance(old, (list, tuple)):
            good = isinstance(value, (list, tuple))
            value = type(old)(value) if good else value
        elif isinstance(old, dict):
            good = isinstance(value, dict)
            value = {**old, **value} if good else value
        else:
            good = True
        if not good:
            raise InputError(f"{key} is {old!r}; {text!r} is not of that type")
        return value

    def to_dict(self) -> dict:
        """Return all settings as JSON-ready values: arrays as lists, functions by name."""
        plain = {}
        for key in sorted(k for k in dir(self) if k.isupper() and not k.startswith("_")):
            value = getattr(self, key)
            if isinstance(value, np.ndarray):
                value = value.tolist()
            elif callable(value):
                value = getattr(value, "__name__", str(value))
            plain[key] = value
        return plain

    def display(self) -> None:
        """Print all settings, one per line, as the original does."""
        import sys

        lines = [f"{key:30} {getattr(self, key)}" for key in sorted(k for k in dir(self) if k.isupper())]
        sys.stdout.write("\nConfigurations:\n" + "\n".join(lines) + "\n\n")
