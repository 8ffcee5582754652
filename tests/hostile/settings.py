"""Settings with values of wrong types, out of range, of the wrong length or without sense together.

The two tables say by hand which values must be accepted and which refused; they know nothing of the rules in the code.
Other values may be either, but what is accepted must be numbers that training can use.
"""

import math
import pathlib
from typing import Any

import numpy as np

from bdd100k.config import StreetsConfig
from mrcnn.config import Config
from tests.hostile.cases import Case

WORDS = (
    "''",
    "'many'",
    "None",
    "True",
    "(1,)",
    "[]",
    "{}",
    "nan",
    "1e400",
    "-1e400",
    "2**3",
    "b'1'",
    "1+1j",
    "0x",
    "...",
)
COUNTS = (
    "IMAGES_PER_GPU GPU_COUNT NUM_CLASSES BACKBONE_WIDTH RPN_CHANNELS TOP_DOWN_PYRAMID_SIZE POOL_SIZE "
    "MASK_HEAD_CHANNELS FPN_CLASSIF_FC_LAYERS_SIZE RPN_ANCHOR_STRIDE RPN_TRAIN_ANCHORS_PER_IMAGE PRE_NMS_LIMIT "
    "POST_NMS_ROIS_TRAINING POST_NMS_ROIS_INFERENCE TRAIN_ROIS_PER_IMAGE MAX_GT_INSTANCES DETECTION_MAX_INSTANCES "
    "GRADIENT_ACCUMULATION_STEPS IMAGE_CHANNEL_COUNT"
).split()
BELOW_ONE = ("LEARNING_MOMENTUM", "EMA_MOMENTUM")
FRACTIONS = (
    "RPN_NMS_THRESHOLD DETECTION_NMS_THRESHOLD DETECTION_MIN_CONFIDENCE ROI_POSITIVE_RATIO REPEAT_THRESHOLD "
    "AUGMENT_FLIP AUGMENT_COLOR AUGMENT_BLUR AUGMENT_WEATHER AUGMENT_COPY_PASTE AUGMENT_MIN_AREA WEIGHT_DECAY "
    "LEARNING_RATE_DROP_FACTOR"
).split()
FLAGS = ("USE_MINI_MASK", "TRUE_WEIGHT_DECAY", "USE_RPN_ROIS", "TRAIN_EMPTY_IMAGES")
CHOICES = ("OPTIMIZER", "LEARNING_RATE_SCHEDULE", "IMAGE_RESIZE_MODE", "BACKBONE")

REFUSED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(COUNTS, ("0", "-1", "1.5", "10**40", "9" * 5000, "None", "True", "'2'")),
    **dict.fromkeys(FRACTIONS, ("-0.1", "1.1", "5.0", "nan", "'x'", "True", "(0.5,)")),
    **dict.fromkeys(BELOW_ONE, ("1.0", "1", "-0.1", "5.0", "'x'")),
    **dict.fromkeys(FLAGS, ("2", "-1", "'yes'", "None", "[]", "0.5")),
    **dict.fromkeys(CHOICES, ("vgg", "1", "None", "True", "''", "('sgd',)")),
    "STEPS_PER_EPOCH": ("0", "-1", "0.5", "9" * 5000, "None", "True"),
    "SEED": ("-1", "2**32", "4294967296", "1.5", "None"),
    "LEARNING_RATE": ("0", "-0.001", "1e400", "nan", "11", "None", "'fast'"),
    "WARMUP_STEPS": ("-1", "0.5", "None"),
    "VALIDATION_STEPS": ("-1", "None", "'all'"),
    "GRADIENT_CLIP_NORM": ("-1", "nan", "'x'"),
    "BBOX_STD_DEV": ("(0, 0, 0, 0)", "(0.1, 0.1)", "0.1", "(0.1, 0.1, 0.2, -0.2)", "('a', 'b', 'c', 'd')"),
    "RPN_BBOX_STD_DEV": ("(0, 0, 0, 0)", "[[0.1, 0.1, 0.2, 0.2]]", "None", "(0.1, 0.1, 0.2, 1e400)"),
    "MEAN_PIXEL": ("('a', 'b', 'c')", "(1, 2)", "(1, 2, 3, 4)", "()", "None", "(1, 2, nan)", "[[1, 2, 3]]"),
    "RPN_ANCHOR_SCALES": ("()", "(16, 32)", "(0, 16, 32, 64, 128)", "(-16, 16, 32, 64, 128)", "16", "'16'"),
    "RPN_ANCHOR_RATIOS": ("()", "(0,)", "(-1, 1)", "1", "('1:2',)"),
    "BACKBONE_STRIDES": ("()", "(8, 16, 32, 64, 128)", "(4, 8, 16, 32)", "(0, 0, 0, 0, 0)", "4"),
    "MINI_MASK_SHAPE": ("(0, 0)", "(56,)", "56", "(56, 56, 3)", "(-1, 56)", "(1.5, 1.5)"),
    "MASK_SHAPE": ("(28,)", "(0, 0)", "(30, 30)", "28", "('a', 'b')"),
    "MASK_POOL_SIZE": ("0", "-14", "7", "1.5"),
    "IMAGE_MIN_DIM": ("0", "-64", "100", "10**9", "'x'", "None", "64.5"),
    "IMAGE_MAX_DIM": ("0", "-64", "100", "10**9", "'x'", "None", "(576, 576)"),
    "IMAGE_MIN_SCALE": ("-1", "nan", "'x'", "1e9"),
    "LAYER_RATES": (
        "{'((': 1}",
        "{'res2.*': -1}",
        "{'res2.*': 'slow'}",
        "{1: 1}",
        "0.1",
        "['res2.*']",
        "{'a' * 2: nan}",
    ),
    "LOSS_WEIGHTS": ("{'rpn_loss': 1}", "{'rpn_class_loss': -1}", "{'rpn_class_loss': 'x'}", "1", "[1, 1, 1, 1, 1]"),
    "CLASS_LOSS_WEIGHTS": ("(1, 2)", "1", "'all'", "(1, 1, 1, 1, 1, 1, 1, 1, -1)", "(1, 1, 1, 1, 1, 1, 1, 1, nan)"),
    "LEARNING_RATE_DROP_EPOCHS": ("8", "(0,)", "(-1,)", "('8',)", "(1.5,)"),
    "AUGMENT_SCALE": ("(0, 1)", "(2, 1)", "(1,)", "1.0", "(-1, 1)", "(1, 11)", "('a', 'b')"),
    "AUGMENT_ROTATE": ("-1", "181", "nan", "None"),
    "AUGMENT_MIN_DIMS": ("(0,)", "(-600,)", "600", "(600.5,)", "('x',)"),
    "NAME": (
        "'a/b'",
        "'a{b}'",
        "'../x'",
        "''",
        "'a\\x00b'",
        "'a\\nb'",
        "1",
        "'" + "n" * 300 + "'",
        "'.'",
        "'..'",
        "' x '",
    ),
    "PRECISION": ("half", "16", "True", "''"),
    "BALANCE": ("all", "1", "True"),
    "TRAIN_BN": ("2", "'layer'", "''", "(1,)"),
    "COMPUTE_BACKBONE_SHAPE": ("1", "'f'", "[]"),
}
ACCEPTED: dict[str, dict[str, Any]] = {  # text -> the value that it must become
    "IMAGES_PER_GPU": {"4": 4, "1": 1},
    "STEPS_PER_EPOCH": {"7": 7, "65.7": 66, "50.0": 50},
    "DETECTION_MIN_CONFIDENCE": {"0": 0, "1": 1, "0.3": 0.3, "None": None},
    "LEARNING_MOMENTUM": {"0": 0, "0.99": 0.99},
    "EMA_MOMENTUM": {"0.999": 0.999, "None": None},
    "USE_MINI_MASK": {"False": False, "0": False, "1": True},
    "TRAIN_BN": {"None": None, "group": "group", "True": True, "0": False},
    "SEED": {"0": 0, "4294967295": 2**32 - 1},
    "RPN_ANCHOR_SCALES": {"[8, 16, 32, 64, 128]": (8, 16, 32, 64, 128), "(1.5, 3, 6, 12, 24)": (1.5, 3, 6, 12, 24)},
    "RPN_ANCHOR_RATIOS": {"(1,)": [1], "[0.5, 1, 2, 4]": [0.5, 1, 2, 4]},
    "MEAN_PIXEL": {"(0, 0, 0)": [0, 0, 0], "[1.5, 2, 3]": [1.5, 2, 3]},
    "BBOX_STD_DEV": {"[1, 1, 1, 1]": [1, 1, 1, 1]},
    "LAYER_RATES": {"{'res2.*': 0.1, 'bn.*': 0}": {"res2.*": 0.1, "bn.*": 0}, "{}": {}},
    "IMAGE_MAX_DIM": {"640": 640, "576.0": 576},
    "AUGMENT_MIN_DIMS": {"(256, 320)": (256, 320), "()": ()},
    "OPTIMIZER": {"adamw": "adamw", "'sgd'": "sgd"},
    "NAME": {"a b": "a b", "'größe'": "größe"},
    "CLASS_LOSS_WEIGHTS": {"[1, 1, 1, 1, 1, 1, 1, 1, 0]": [1] * 8 + [0], "None": None},
}


def case(rng: np.random.Generator, folder: pathlib.Path) -> Case:
    """Give one setting a value, from the command line or as an attribute of a class."""
    kind = rng.choice(["refused", "accepted", "any", "any"])
    if kind == "any":
        name, value = str(rng.choice(sorted(Config().settable()))), str(rng.choice(_anything(rng)))
        return Case(f"{name}={value}", lambda: _set(name, value), _is_sound)
    table = REFUSED if kind == "refused" else ACCEPTED
    name = str(rng.choice(sorted(table)))
    value = str(rng.choice(sorted(table[name])))
    expected = ACCEPTED[name][value] if kind == "accepted" else None

    def right(config: Config) -> bool:
        if kind == "refused":
            return False
        found = getattr(config, name)
        found = found.tolist() if isinstance(found, np.ndarray) else found
        return type(found) is type(expected) and found == expected

    return Case(f"{name}={value:.60} ({kind})", lambda: _set(name, value), right)


def _anything(rng: np.random.Generator) -> list[str]:
    """Return texts of values of any kind."""
    numbers = [repr(float(rng.normal(0, 10.0 ** rng.integers(-3, 4)))), str(rng.integers(-3, 3000))]
    tables = [value for values in REFUSED.values() for value in values]
    return [*WORDS, *numbers, f"({numbers[0]}, {numbers[1]})", *map(str, rng.choice(tables, 5))]


def _set(name: str, text: str) -> Config:
    """Return validated settings with one value."""
    config = StreetsConfig().override([f"{name}={text}"])
    config.validate()
    return config


def _is_sound(config: Config) -> bool:
    """Whether settings that were accepted have numbers that training can use."""
    rois = config.TRAIN_ROIS_PER_IMAGE
    positives = int(rois * config.ROI_POSITIVE_RATIO)
    deviations = np.concatenate([np.asarray(config.BBOX_STD_DEV), np.asarray(config.RPN_BBOX_STD_DEV)])
    counts = [getattr(config, name) for name in COUNTS]
    fractions = [getattr(config, name) or 0 for name in (*FRACTIONS, *BELOW_ONE)]
    return (
        0 < positives <= rois
        and deviations.dtype.kind in "fi"
        and bool((deviations > 0).all() and np.isfinite(deviations).all())
        and all(type(count) is int and count > 0 for count in counts)
        and all(not isinstance(value, bool) and 0 <= value <= 1 for value in fractions)
        and all(math.isfinite(value) for value in (config.LEARNING_RATE, config.IMAGE_MIN_SCALE or 0))
        and config.BATCH_SIZE == config.IMAGES_PER_GPU * config.GPU_COUNT
        and not any(side % 64 for side in config.IMAGE_SHAPE[:2])
    )
