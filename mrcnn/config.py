"""Settings of a model and its training: Matterport's attribute names and defaults, validated before anything is built.

Subclass Config and override what differs, as with the original::

    class ShapesConfig(Config):
        NAME = "shapes"
        NUM_CLASSES = 1 + 3  # background and three shapes

This module imports neither Keras nor a backend, so `--help` and label tools start instantly.
"""

import ast
import dataclasses
import difflib
import functools
import json
import logging
import sys
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import numpy as np

from mrcnn import augment_settings, setting_rules, variants
from mrcnn.augment_settings import Augmentation
from mrcnn.backbones import BackboneName
from mrcnn.errors import InputError
from mrcnn.setting_rules import FLAG, FRACTION, NONE, POSITIVE_FRACTION, Number, Numbers, one_of, whole

log = logging.getLogger(__name__)

RESIZE_MODES = ("square", "rect", "pad64", "pad32", "crop", "none")
SIZE_FOLLOWS_IMAGE = ("pad64", "pad32", "none")  # modes that give moulded images of different sizes
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "step", "cosine")
PRECISIONS = ("float32", "bfloat16", "float16")
BALANCES = ("repeat-factor", "class-aware")
FPN_STRIDES = [4, 8, 16, 32, 64]  # of P2..P6, px
COARSEST_STRIDE = 64  # of P6, which subsamples P5 (stride 32) by two: image sides must be multiples of it
LOSSES = ("rpn_class_loss", "rpn_bbox_loss", "mrcnn_class_loss", "mrcnn_bbox_loss", "mrcnn_mask_loss")

# Rules that several settings share. The maxima are far above what anyone trains with: they stop slips of the keyboard.
CHANNELS = whole(1, 16_384)
COUNT = whole(1, 1_000_000)
SIDE_PX = whole(0, 65_536)
SEED_RULE = whole(0, 2**32 - 1)
RATE_RULE = Number(0, 10, above_low=True)
STEPS = Number(1, 10**9, whole=True, round_up=True)
FOUR_DEVIATIONS = Numbers(Number(0, 1000, above_low=True), count=4)
# Settings before which a new section begins, in the documentation
SECTIONS = {
    "NAME": "Run and devices",
    "BACKBONE": "Network",
    "RPN_ANCHOR_SCALES": "Anchors and proposals",
    "USE_MINI_MASK": "Images and masks",
    "TRAIN_ROIS_PER_IMAGE": "Training targets",
    "DETECTION_MAX_INSTANCES": "Detection",
    "OPTIMIZER": "Optimizer and losses",
    "AUGMENT_FLIP": "Augmentation",
    "BALANCE": "Rare classes",
    "USE_RPN_ROIS": "Other",
    "PIXEL_STD": "Variants of other projects",
}


class Config(variants.Variants):
    """All settings, as class attributes, each with its rule and its meaning.

    Creating an instance computes BATCH_SIZE, IMAGE_SHAPE and IMAGE_META_SIZE.
    """

    NAME: Annotated[
        str | None, setting_rules.Name() | NONE, "The name of the log folder. Every subclass sets its own."
    ] = None
    GPU_COUNT: Annotated[int, whole(1, 1024), "Devices of this host that train together."] = 1
    IMAGES_PER_GPU: Annotated[int, whole(1, 4096), "Images of each device in a step."] = 2
    PRECISION: Annotated[
        str | None,
        one_of(*PRECISIONS, None),
        "Arithmetic of the convolutions. bfloat16 needs half the memory and is faster on GPUs that support it; float16 "
        "is for GPUs without bfloat16, and the loss is scaled. None follows keras.config.dtype_policy(), which is "
        "float32 by default.",
    ] = None
    STEPS_PER_EPOCH: Annotated[
        int,
        STEPS,
        "Steps of an epoch, which is not one pass over the data. Each ends with a checkpoint and validation.",
    ] = 1000
    VALIDATION_STEPS: Annotated[
        int, Number(0, 10**9, whole=True, round_up=True), "Batches of the validation loss after each epoch."
    ] = 50

    BACKBONE: Annotated[
        Any,
        BackboneName() | setting_rules.Function(),
        "A name, or a function of the image tensor, stage5= and train_bn= that returns the stages C1..C5.",
    ] = "resnet101"
    COMPUTE_BACKBONE_SHAPE: Annotated[
        Callable[..., Any] | None,
        NONE | setting_rules.Function(),
        "With a function as BACKBONE: a function of the image shape that returns the [n, 2] sizes of P2..P6.",
    ] = None
    BACKBONE_STRIDES: Annotated[
        Sequence[int],
        Numbers(whole(1, 1024), least=1),
        "Strides of P2..P6, in pixels. Other ones need a function as BACKBONE.",
    ] = list(FPN_STRIDES)
    BACKBONE_WIDTH: Annotated[
        int, whole(16, 1024), "Channels of the stem (64 in the ResNet paper), doubled at each later stage."
    ] = 64
    STRIDE_IN_1X1: Annotated[
        bool,
        FLAG,
        "The stride of a ResNet's bottleneck is in its first 1 x 1 convolution, as in the paper. False: in the 3 x 3, "
        "as in weights of torchvision.",
    ] = True
    BACKBONE_BIAS: Annotated[
        bool,
        FLAG,
        "Convolutions of a ResNet have a bias, although a normalisation follows. False: as in weights of torchvision "
        "and Detectron2.",
    ] = True
    BACKBONE_SYMMETRIC_PADDING: Annotated[
        bool,
        FLAG,
        "Strided 3 x 3 convolutions and the pooling of a ResNet pad every side by a pixel, as torchvision and "
        "Detectron2. False: only bottom and right, as Keras.",
    ] = False
    BN_EPSILON: Annotated[
        float,
        FRACTION,
        "What BatchNorm adds to the variance, in a ResNet and in the heads. Torchvision: 0 or 0.00001; Detectron2: "
        "0.00001.",
    ] = 1e-3
    FPN_CLASSIF_FC_LAYERS_SIZE: Annotated[int, CHANNELS, "Units of the box head's two dense layers."] = 1024
    TOP_DOWN_PYRAMID_SIZE: Annotated[int, CHANNELS, "Channels of the feature pyramid."] = 256
    RPN_CHANNELS: Annotated[int, CHANNELS, "Channels of the RPN's shared convolution."] = 512
    MASK_HEAD_CHANNELS: Annotated[int, CHANNELS, "Channels of the mask head."] = 256
    NUM_CLASSES: Annotated[int, whole(1, 100_000), "Number of classes, including the background."] = 1

    RPN_ANCHOR_SCALES: Annotated[
        Sequence[float],
        Numbers(Number(0, 65_536, above_low=True), least=1),
        "Side of the square anchor of each pyramid level, in pixels.",
    ] = (32, 64, 128, 256, 512)
    RPN_ANCHOR_RATIOS: Annotated[
        Sequence[float],
        Numbers(Number(0.001, 1000), least=1),
        "Ratios of width to height. Every level has an anchor of each.",
    ] = [0.5, 1, 2]
    RPN_ANCHOR_STRIDE: Annotated[int, whole(1, 1024), "1: anchors on every cell; 2: on every other cell."] = 1
    RPN_NMS_THRESHOLD: Annotated[
        float, FRACTION, "A proposal whose IoU with a better one is above this is removed."
    ] = 0.7
    RPN_TRAIN_ANCHORS_PER_IMAGE: Annotated[
        int,
        whole(2, 1_000_000),
        "Anchors per image for the RPN's losses, at most half of them positive.",
    ] = 256
    PRE_NMS_LIMIT: Annotated[int, whole(1, 10_000_000), "Anchors with the highest scores that enter the NMS."] = 6000
    POST_NMS_ROIS_TRAINING: Annotated[int, COUNT, "Proposals that the NMS leaves, in training."] = 2000
    POST_NMS_ROIS_INFERENCE: Annotated[int, COUNT, "Proposals that the NMS leaves, in detection."] = 1000

    USE_MINI_MASK: Annotated[
        bool,
        FLAG,
        "Train on masks that are cropped to their box and resized, which saves memory at the cost of a little detail.",
    ] = True
    MINI_MASK_SHAPE: Annotated[Sequence[int], Numbers(whole(2, 4096), count=2), "Their height and width."] = (56, 56)
    IMAGE_RESIZE_MODE: Annotated[
        str,
        one_of(*RESIZE_MODES),
        "square: scale the short side up to MIN_DIM unless the long side would exceed MAX_DIM, and pad with zeros to "
        "MAX_DIM x MAX_DIM. rect: fit into MIN_DIM high x MAX_DIM wide and pad with zeros to exactly that; a square "
        "input of wide road images would be 44 % padding. pad64: scale the short side up to MIN_DIM, then pad both "
        "sides to multiples of 64. pad32: scale the short side to MIN_DIM unless the long side would exceed MAX_DIM, "
        "and pad at the bottom and right to multiples of 32. crop: cut out a random MIN_DIM square. none: leave the "
        "image as it is; in detection its sides must be multiples of 64. With pad64, pad32 and none, training pads all "
        "images to the size of the largest.",
    ] = "square"
    IMAGE_MIN_DIM: Annotated[int, SIDE_PX | NONE, "See IMAGE_RESIZE_MODE; pixels. 0 or None: not used."] = 800
    IMAGE_MAX_DIM: Annotated[int, SIDE_PX | NONE, "See IMAGE_RESIZE_MODE; pixels. 0 or None: not used."] = 1024
    IMAGE_MIN_SCALE: Annotated[
        float, Number(0, 100) | NONE, "Minimum factor for scaling up, as far as IMAGE_MAX_DIM allows. 0: none."
    ] = 0
    IMAGE_CHANNEL_COUNT: Annotated[int, whole(1, 1024), "Channels of the images."] = 3
    MEAN_PIXEL: Annotated[
        Any,
        Numbers(Number(-1e6, 1e6), least=1) | Number(-1e6, 1e6),
        "Mean of each channel, in the order of INPUT_FORMAT, which is subtracted; see PIXEL_STD.",
    ] = np.array([123.7, 116.8, 103.9])

    TRAIN_ROIS_PER_IMAGE: Annotated[int, COUNT, "ROIs per image that the heads are trained on."] = 200
    ROI_POSITIVE_RATIO: Annotated[float, POSITIVE_FRACTION, "Fraction of positive ROIs among them."] = 0.33
    POOL_SIZE: Annotated[int, whole(1, 256), "Side of the ROI features of the box head, in cells."] = 7
    MASK_POOL_SIZE: Annotated[int, whole(1, 256), "Side of the ROI features of the mask head, in cells."] = 14
    MASK_SHAPE: Annotated[
        Sequence[int], Numbers(whole(2, 512), count=2), "Height and width of predicted masks: twice MASK_POOL_SIZE."
    ] = [28, 28]
    MAX_GT_INSTANCES: Annotated[int, COUNT, "Objects per training image; of more, the first are used."] = 100
    RPN_BBOX_STD_DEV: Annotated[
        Sequence[float] | np.ndarray,
        FOUR_DEVIATIONS,
        "What the RPN's targets (dy, dx, log dh, log dw) are divided by, which gives them about unit variance.",
    ] = np.array([0.1, 0.1, 0.2, 0.2])
    BBOX_STD_DEV: Annotated[
        Sequence[float] | np.ndarray, FOUR_DEVIATIONS, "The same for the targets of the box head."
    ] = np.array([0.1, 0.1, 0.2, 0.2])

    DETECTION_MAX_INSTANCES: Annotated[int, COUNT, "Instances that an image can have."] = 100
    DETECTION_MIN_CONFIDENCE: Annotated[float, FRACTION | NONE, "Minimum score of an instance."] = 0.7
    DETECTION_NMS_THRESHOLD: Annotated[
        float, FRACTION, "An instance whose IoU with a better one of its class is above this is removed."
    ] = 0.3

    OPTIMIZER: Annotated[
        str,
        one_of(*OPTIMIZERS),
        "sgd, as in the original; adam, which learns faster from random weights and needs a rate of about 0.0005; "
        "adamw, which decouples weight decay from the gradient.",
    ] = "sgd"
    LEARNING_RATE: Annotated[
        float,
        RATE_RULE,
        "The paper uses 0.02 for batches of 16; smaller batches and frozen BatchNorm need less.",
    ] = 0.001
    LEARNING_MOMENTUM: Annotated[float, Number(0, 1, below_high=True), "Momentum of SGD, or beta_1 of Adam."] = 0.9
    LEARNING_RATE_SCHEDULE: Annotated[
        str,
        one_of(*SCHEDULES),
        "step multiplies the rate by LEARNING_RATE_DROP_FACTOR after each epoch in LEARNING_RATE_DROP_EPOCHS; cosine "
        "decays it to 0 by the last epoch of the stage.",
    ] = "constant"
    LEARNING_RATE_DROP_EPOCHS: Annotated[
        Sequence[int], Numbers(COUNT), "Epochs of the schedule step, counted from the start of the run."
    ] = ()
    LEARNING_RATE_DROP_FACTOR: Annotated[float, POSITIVE_FRACTION, "Factor of the schedule step."] = 0.1
    WARMUP_STEPS: Annotated[int, whole(0, 10**9), "Length of the linear warm-up at the start of a stage."] = 0
    LAYER_RATES: Annotated[
        dict[str, float],
        setting_rules.Factors(Number(0, 1000)),
        "Factors on the learning rate by layer: {'conv1|bn_conv1|res2.*|bn2.*': 0.1}; the first match of a "
        "whole name wins.",
    ] = {}
    GRADIENT_ACCUMULATION_STEPS: Annotated[
        int, whole(1, 1_000_000), "Batches whose gradients are averaged into one update."
    ] = 1
    EMA_MOMENTUM: Annotated[
        float | None,
        Number(0, 1, above_low=True, below_high=True) | NONE,
        "If set, checkpoints and validation use an exponential moving average of the weights: 0.999 averages about "
        "1 / (1 - 0.999) = 1,000 steps.",
    ] = None
    WEIGHT_DECAY: Annotated[float, FRACTION, "See TRUE_WEIGHT_DECAY."] = 0.0001
    TRUE_WEIGHT_DECAY: Annotated[
        bool,
        FLAG,
        "False: Matterport's term, which is divided by each tensor's size and so is nearly 0. True: gradient "
        "WEIGHT_DECAY * w.",
    ] = False
    LOSS_WEIGHTS: Annotated[
        dict[str, float], setting_rules.Factors(Number(0, 1e6), LOSSES), "Factor of each of the five losses."
    ] = dict.fromkeys(LOSSES, 1.0)
    GRADIENT_CLIP_NORM: Annotated[
        float, Number(0, 1e9) | NONE, "The gradient of all weights together is clipped to this norm. 0 or None: not."
    ] = 5.0

    AUGMENT_FLIP: augment_settings.Flip = 0.0
    AUGMENT_ROTATE: augment_settings.Rotate = 0.0
    AUGMENT_SCALE: augment_settings.Scale = (1.0, 1.0)
    AUGMENT_MIN_DIMS: augment_settings.MinDims = ()
    AUGMENT_COLOR: augment_settings.Color = 0.0
    AUGMENT_BLUR: augment_settings.Blur = 0.0
    AUGMENT_WEATHER: augment_settings.Weather = 0.0
    AUGMENT_COPY_PASTE: augment_settings.CopyPaste = 0.0
    AUGMENT_MIN_AREA: augment_settings.MinArea = 0.0

    BALANCE: Annotated[
        str | None,
        one_of(*BALANCES, None),
        "None shows every image once per pass; repeat-factor repeats images with classes that appear in less than "
        "REPEAT_THRESHOLD of the images; class-aware shows all classes equally often.",
    ] = None
    REPEAT_THRESHOLD: Annotated[float, POSITIVE_FRACTION, "See BALANCE."] = 0.1
    CLASS_LOSS_WEIGHTS: Annotated[
        Sequence[float] | None,
        Numbers(Number(0, 1e6)) | NONE,
        "NUM_CLASSES factors for the class loss, the background's first.",
    ] = None

    USE_RPN_ROIS: Annotated[bool, FLAG, "False: ROIs come with the batch instead of from the RPN."] = True
    TRAIN_EMPTY_IMAGES: Annotated[bool, FLAG, "Train on images without objects, as background."] = False
    SEED: Annotated[int, SEED_RULE, "Of sampling inside the graph, shuffling and augmentation."] = 0
    TRAIN_BN: Annotated[
        bool | str | None,
        one_of(None, True, False, "group"),
        "None: train BatchNorm normally. False: freeze it, which is best for batches below about 8. True: always use "
        "batch statistics. group: use GroupNorm instead, which trains at any batch size but cannot load BatchNorm's "
        "weights.",
    ] = False

    def __init__(self) -> None:
        self._compute()

    def _compute(self) -> None:
        for name in ("GPU_COUNT", "IMAGES_PER_GPU", "NUM_CLASSES"):
            settings()[name].rule.check(name, getattr(self, name))
        self.BATCH_SIZE = self.IMAGES_PER_GPU * self.GPU_COUNT
        if self.IMAGE_RESIZE_MODE == "crop":
            sides = [self.IMAGE_MIN_DIM, self.IMAGE_MIN_DIM]
        elif self.IMAGE_RESIZE_MODE in ("rect", "pad32"):
            sides = [self.IMAGE_MIN_DIM, self.IMAGE_MAX_DIM]
        else:
            sides = [self.IMAGE_MAX_DIM, self.IMAGE_MAX_DIM]
        self.IMAGE_SHAPE = np.array([*(side or 0 for side in sides), self.IMAGE_CHANNEL_COUNT])
        # image id, original shape, shape, window, scale, one flag per class
        self.IMAGE_META_SIZE = 1 + 3 + 3 + 4 + 1 + self.NUM_CLASSES

    def validate(self) -> None:
        """Check that every setting follows its rule and that they are consistent.

        Numbers that numpy or a division made become Python's: np.int64(2) and 2.0 become 2.

        Raises:
            InputError: a setting is invalid; the message names the attribute, its value and the allowed values.
        """
        for name, setting in settings().items():
            value = getattr(self, name)
            setting.rule.check(name, value)
            stored = setting.rule.stored(value)
            if repr(stored) != repr(value):  # of another type: clients may have assigned what _compute gives
                setattr(self, name, stored)
                self._compute()
        self._validate_sides()
        self._validate_strides()
        self._validate_network()
        self._validate_training()
        variants.validate(self)
        Augmentation.from_config(self)  # checks that the AUGMENT_* settings fit the images

    def _validate_network(self) -> None:
        if callable(self.BACKBONE) and not callable(self.COMPUTE_BACKBONE_SHAPE):
            raise InputError(
                "BACKBONE is a function, so COMPUTE_BACKBONE_SHAPE must be one too; return the sizes of P2..P6"
            )
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

    def _validate_training(self) -> None:
        weights = self.CLASS_LOSS_WEIGHTS
        if weights is not None and len(weights) != self.NUM_CLASSES:
            raise InputError(
                f"CLASS_LOSS_WEIGHTS is {weights}; give NUM_CLASSES = {self.NUM_CLASSES} factors of at least 0, the "
                "background's first, or None"
            )
        if weights is not None and not any(weights):
            raise InputError("CLASS_LOSS_WEIGHTS are all 0, so no class would be learnt; give one above 0")
        if not any({**Config.LOSS_WEIGHTS, **self.LOSS_WEIGHTS}.values()):
            raise InputError("LOSS_WEIGHTS are all 0, so nothing would be learnt; give one above 0")
        if int(self.TRAIN_ROIS_PER_IMAGE * self.ROI_POSITIVE_RATIO) < 1:
            raise InputError(
                f"TRAIN_ROIS_PER_IMAGE {self.TRAIN_ROIS_PER_IMAGE} times ROI_POSITIVE_RATIO {self.ROI_POSITIVE_RATIO} "
                "is below 1, so no ROI would be positive; raise one of them"
            )

    def _validate_strides(self) -> None:
        # Anchors are laid out by these strides; the network has its own, and they must be the same.
        if callable(self.BACKBONE):
            fits, meant = len(self.BACKBONE_STRIDES) == len(FPN_STRIDES), "give those of P2..P6 of your backbone"
        else:
            fits, meant = list(self.BACKBONE_STRIDES) == FPN_STRIDES, f"{self.BACKBONE} has {FPN_STRIDES}"
        if not fits:
            raise InputError(f"BACKBONE_STRIDES is {list(self.BACKBONE_STRIDES)}; {meant}")

    def _validate_sides(self) -> None:
        # The sizes of "pad64", "pad32" and "none" follow the images, so only the other modes need multiples.
        both = ("IMAGE_MIN_DIM", "IMAGE_MAX_DIM")
        names = {"square": ("IMAGE_MAX_DIM",), "crop": ("IMAGE_MIN_DIM",), "rect": both, "pad32": both}
        for name in names.get(self.IMAGE_RESIZE_MODE, ()):
            side = getattr(self, name)
            if self.IMAGE_RESIZE_MODE == "pad32":
                if not side:
                    raise InputError(f"{name} is {side}; with IMAGE_RESIZE_MODE=pad32 give a number of pixels above 0")
            elif not side or side % COARSEST_STRIDE:
                near = max(1, round((side or 0) / COARSEST_STRIDE)) * COARSEST_STRIDE
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
                raise InputError(f"cannot read the setting {text!r:.200}: write KEY=VALUE")
            if key not in self.settable():
                raise InputError(f"unknown setting {key!r:.100}{self._nearest(key)}")
            self._assign(key, _literal(value))
        self._compute()
        return self

    def take_over(self, saved: dict[str, Any]) -> None:
        """Set attributes to the values that `to_dict` returned, as read from a JSON file. Unknown names are ignored.

        Raises:
            InputError: a value is invalid.
        """
        for key in self.settable():
            if key in saved:
                self._assign(key, saved[key])
        self._compute()

    @classmethod
    def preset(cls, name: str) -> "Config":
        """Return these settings with those of another project: its network, its arithmetic and its test settings.

        Args:
            name: "matterport", "paper", "detectron2", "torchvision", "torchvision-v2" or "mmdet".

        Raises:
            InputError: the name is unknown.
        """
        if name not in variants.PRESET_NAMES:
            raise InputError(f"preset {name!r:.100} is unknown; use one of {', '.join(variants.PRESET_NAMES)}")
        config = cls()
        defaults = {key: getattr(Config, key) for key in variants.PRESET_SETTINGS}
        config.take_over({**defaults, **variants.PRESETS.get(name, {})})
        return config

    def settable(self) -> list[str]:
        """Return the names of all attributes that `override` accepts, sorted."""
        return sorted(k for k in dir(type(self)) if k.isupper() and not k.startswith("_"))

    def _nearest(self, key: str) -> str:
        close = difflib.get_close_matches(key[:100].upper(), self.settable(), 1)
        return f": did you mean {close[0]}?" if close else "; `display()` lists the attributes"

    def _assign(self, key: str, value: Any) -> None:
        """Set an attribute; a list takes the type of the present value, and a dictionary adds to it."""
        setting, old = settings().get(key), getattr(self, key)
        if setting is not None:
            setting.rule.check(key, value)
            value = setting.rule.stored(value)
        if isinstance(old, np.ndarray) and isinstance(value, list | tuple):
            value = np.array(value, dtype=old.dtype)
        elif isinstance(old, list | tuple) and isinstance(value, list | tuple):
            value = type(old)(value)
        elif isinstance(old, dict) and isinstance(value, dict):
            value = {**old, **value}
        setattr(self, key, value)

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as JSON-ready values: arrays as lists, functions by name, what JSON lacks as text."""
        return {key: _plain(getattr(self, key)) for key in sorted(dir(self)) if key.isupper() and key[0] != "_"}

    def display(self) -> None:
        """Print all settings, one per line, as the original does."""
        lines = [f"{key:30} {getattr(self, key)}" for key in sorted(k for k in dir(self) if k.isupper())]
        sys.stdout.write("\nConfigurations:\n" + "\n".join(lines) + "\n\n")


@dataclasses.dataclass(frozen=True)
class Setting:
    """An attribute of `Config`: its name, the rule for its values, its meaning, and the section that it stands in."""

    name: str
    rule: setting_rules.Rule
    about: str
    section: str


@functools.cache
def settings() -> dict[str, Setting]:
    """Return the table of all settings, by name, in the order of `Config`."""
    table, section = {}, ""
    hints = typing.get_type_hints(Config, include_extras=True)
    for name in (*Config.__annotations__, *variants.Variants.__annotations__):
        hint = hints[name]
        rule, about = typing.get_args(hint)[-2:]
        section = SECTIONS.get(name, section)
        table[name] = Setting(name, rule, about, section)
    return table


def _literal(text: str) -> Any:
    """Return the Python value that a text writes, or else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if callable(value):
        return getattr(value, "__name__", str(value))
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)  # an attribute of a subclass, of a type of its own
    return value
