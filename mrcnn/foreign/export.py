"""Write a network of ours as a model of torchvision, the inverse of loading one.

What weights can make good is made good, exactly: biases before BatchNorm, epsilon, the order of colours and of anchors,
deviations of pixels and deltas, two logits for one. What they cannot is refused. What torchvision takes as arguments of
the model, such as the sizes of images, is named in the log.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from mrcnn.backbones import RESNETS, block_name
from mrcnn.config import Config
from mrcnn.errors import InputError
from mrcnn.foreign.layouts import norm_of
from mrcnn.foreign.models import Layers
from mrcnn.foreign.rules import NORM_VARIABLES, VARIABLES
from mrcnn.foreign.torch_writer import write_torch
from mrcnn.foreign.transforms import Heads, reorder_ratios, scale_deltas, to_theirs
from mrcnn.modeling import weights
from mrcnn.variants import PRESETS

log = logging.getLogger(__name__)

# Settings of torchvision's models that neither weights nor arguments of the model can replace, beside `_fixed`
ARITHMETIC = (
    *("STRIDE_IN_1X1", "BACKBONE_SYMMETRIC_PADDING", "IMAGE_PAD_VALUE", "BOX_CONVENTION", "BBOX_DELTA_CLIP"),
    *("RPN_CONVS", "RPN_ANCHOR_RATIOS", "RPN_ANCHOR_ROUNDED", "ROI_LEVEL_RULE", "ROI_SAMPLING_RATIO", "ROI_ALIGNED"),
    *("FPN_NORM", "BOX_HEAD_CONVS", "BOX_HEAD_FCS", "BOX_HEAD_NORM", "MASK_HEAD_NORM"),
)
BOX_STD = Config.BBOX_STD_DEV  # of torchvision too: its weights are 10, 10, 5, 5


def save_torchvision(network: keras.Model, config: Config, path: str | os.PathLike) -> None:
    """Write a network as a file of torchvision, which `torch.load(path, weights_only=True)` reads.

    `model.load_state_dict(torch.load(path, weights_only=True))` loads it into `maskrcnn_resnet50_fpn(weights=None,
    weights_backbone=None, num_classes=...)`, or into `maskrcnn_resnet50_fpn_v2`. For version 1, set `eps` of all its
    BatchNorm to 0, as torchvision does for its published file.

    Args:
        network: of ours, for training or inference.
        config: the settings that the network was built with.
        path: the .pth file; its folder must exist. It appears only once it is complete.

    Raises:
        InputError: see `to_torchvision`; or the file cannot be written.
    """
    write_torch(path, to_torchvision(network, config))


def to_torchvision(network: keras.Model, config: Config) -> dict[str, np.ndarray]:
    """Return the state dict of a network as a model of torchvision.

    That is version 1 with the names of its published file and frozen BatchNorm of epsilon 0, or, with the settings of
    the preset "torchvision-v2", version 2.

    Args:
        network: of ours, for training or inference.
        config: the settings that the network was built with.

    Returns:
        torchvision's name -> values [...] float32 in torchvision's layout; the counters of version 2 are int64.

    Raises:
        InputError: the settings are not those of a model of torchvision, all that differ are listed; or a value is not
            finite.
    """
    preset = PRESETS["torchvision-v2" if config.BOX_HEAD_CONVS else "torchvision"]
    _refuse_settings(config, preset)
    layers = _values(network)
    for absorb in ABSORBERS:
        absorb(layers, config, preset)
    second = bool(config.BOX_HEAD_CONVS)
    state = _state(layers, config, _names(config.BACKBONE, second), second)
    _say_arguments(config)
    _warn_of_rules(config, preset)
    return state


def backbone_to_torchvision(layers: Mapping[str, Mapping[str, np.ndarray]], config: Config) -> dict[str, np.ndarray]:
    """Return the state dict of a ResNet alone, named as in torchvision's ImageNet files, whose epsilon is 1e-5.

    Weights cannot make good where strided convolutions pad (BACKBONE_SYMMETRIC_PADDING), which moves features by up to
    a pixel: train on from there.

    Args:
        layers: our layer -> our variable -> values [...] float32; layers that are not the backbone's are left out.
        config: the settings that the layers were trained with.

    Returns:
        torchvision's name -> values [...] float32 in torchvision's layout.

    Raises:
        InputError: the backbone is no ResNet of torchvision.
    """
    sizes = RESNETS.get(config.BACKBONE) if isinstance(config.BACKBONE, str) else None
    if sizes is None or config.TRAIN_BN == "group" or (sizes.bottleneck and config.STRIDE_IN_1X1):
        raise InputError(
            f"BACKBONE {config.BACKBONE!r} with TRAIN_BN {config.TRAIN_BN!r} and STRIDE_IN_1X1 {config.STRIDE_IN_1X1} "
            f"is no backbone of torchvision: give one of {', '.join(RESNETS)} with BatchNorm and strides on the 3x3"
        )
    prefix = "backbone.body."
    names = [
        (ours, theirs.removeprefix(prefix), form)
        for ours, theirs, form in _names(config.BACKBONE, False)
        if theirs.startswith(prefix)
    ]
    known = {layer for name, _, _ in names for layer in (name, norm_of(name))}
    backbone = {layer: dict(values) for layer, values in layers.items() if layer in known}
    for absorb in (_biases, _epsilon, _colours):
        absorb(backbone, config, PRESETS["torchvision-v2"])
    return _state(backbone, config, names, False)


def _state(
    layers: Layers, config: Config, names: Iterable[tuple[str, str, str]], counters: bool
) -> dict[str, np.ndarray]:
    """Return our values under torchvision's `names`, with or without the counters of BatchNorm.

    Raises:
        InputError: a layer of ours has no place there.
    """
    heads = Heads(background_last=False, pool_size=config.POOL_SIZE)
    state: dict[str, np.ndarray] = {}
    left = dict(layers)
    for layer, name, form in names:
        values, norm = left.pop(layer, {}), left.pop(norm_of(layer), None)  # many blocks have no shortcut
        state |= {
            f"{name}.{k}": to_theirs(values[ours], form, heads) for k, ours in VARIABLES.items() if ours in values
        }
        if norm is not None:
            name = _norm_name(name)
            state |= {f"{name}.{kind}": norm[ours] for kind, ours in NORM_VARIABLES.items()}
            state |= {f"{name}.num_batches_tracked": np.zeros((), np.int64)} if counters else {}
    if left:
        raise InputError(f"torchvision's models have no place for these layers of the network: {', '.join(left)}")
    return state


def _refuse_settings(config: Config, preset: Mapping[str, Any]) -> None:
    """Raise InputError with all settings that torchvision's models do not have."""
    fixed = {name: preset[name] for name in ARITHMETIC} | {
        "POOL_SIZE": 7,
        "MASK_POOL_SIZE": 14,
        "RPN_ANCHOR_STRIDE": 1,
        "RPN_CHANNELS": config.TOP_DOWN_PYRAMID_SIZE,
        "IMAGE_CHANNEL_COUNT": 3,
    }
    differing = [
        f"  {name} is {getattr(config, name)!r}, in torchvision {value!r}"
        for name, value in fixed.items()
        if _ordered(name, getattr(config, name)) != _ordered(name, value)
    ]
    if not isinstance(config.BACKBONE, str) or config.BACKBONE not in RESNETS:
        differing.append(f"  BACKBONE is {config.BACKBONE!r}, in torchvision one of {', '.join(RESNETS)}")
    if config.TRAIN_BN == "group":
        differing.append("  TRAIN_BN is 'group', in torchvision BatchNorm")
    if differing:
        raise InputError(
            "the network computes in a way that no model of torchvision does, so its weights would give other results "
            "there:\n" + "\n".join(differing) + '\nTrain one with Config.preset("torchvision") to export it'
        )


def _ordered(name: str, value: Any) -> Any:
    """Return a setting to compare; weights make the order of the anchors good."""
    return sorted(map(float, value)) if name == "RPN_ANCHOR_RATIOS" else value


def _values(network: keras.Model) -> Layers:
    """Return layer -> variable -> values float32. Raises InputError if one is not finite."""
    layers: Layers = {}
    for name, variables in weights.leaf_layers(network).items():
        layers[name] = {v.name: np.asarray(keras.ops.convert_to_numpy(v), np.float32) for v in variables}
        if not all(np.isfinite(values).all() for values in layers[name].values()):
            raise InputError(f"{name} has values that are not finite: the training has diverged; export another one")
    return layers


# ------------------------------------------------------------------------------------------------------------- names


def _names(backbone: str, second: bool) -> Iterator[tuple[str, str, str]]:
    """Yield our layer, torchvision's name and the form of the values, for every kernel, in torchvision's order."""
    yield "conv1", "backbone.body.conv1", "plain"
    for stage, count in enumerate(RESNETS[backbone].blocks, 2):
        for block in range(count):
            ours, theirs = f"res{stage}{block_name(block)}_branch", f"backbone.body.layer{stage - 1}.{block}."
            for number, letter in enumerate("abc", 1):
                yield f"{ours}2{letter}", f"{theirs}conv{number}", "plain"
            yield f"{ours}1", f"{theirs}downsample.0", "plain"
    inner = ".0" if second else ""  # beside .1, the BatchNorm
    for ours, theirs in (("fpn_c{0}p{0}", "inner"), ("fpn_p{0}", "layer")):
        for level in range(2, 6):
            yield ours.format(level), f"backbone.fpn.{theirs}_blocks.{level - 2}{inner}", "plain"
    yield "rpn_conv_shared", "rpn.head.conv" + inner * 2, "plain"
    yield "rpn_conv_shared2", "rpn.head.conv.1.0", "plain"
    yield "rpn_class_raw", "rpn.head.cls_logits", "plain"
    yield "rpn_bbox_pred", "rpn.head.bbox_pred", "rpn_boxes"
    for number in range(4):
        yield f"mrcnn_class_window_conv{number + 1}", f"roi_heads.box_head.{number}.0", "plain"
    yield "mrcnn_class_conv1", f"roi_heads.box_head.{'5' if second else 'fc6'}", "fc"
    yield "mrcnn_class_conv2", "roi_heads.box_head.fc7", "fc"
    yield "mrcnn_class_logits", "roi_heads.box_predictor.cls_score", "classes"
    yield "mrcnn_bbox_fc", "roi_heads.box_predictor.bbox_pred", "class_boxes"
    for number in range(4):
        theirs = f"{number}.0" if second else f"mask_fcn{number + 1}"
        yield f"mrcnn_mask_conv{number + 1}", f"roi_heads.mask_head.{theirs}", "plain"
    yield "mrcnn_mask_deconv", "roi_heads.mask_predictor.conv5_mask", "plain"
    yield "mrcnn_mask", "roi_heads.mask_predictor.mask_fcn_logits", "class_masks"


def _norm_name(conv: str) -> str:
    """Return torchvision's name of the BatchNorm after a convolution: conv2 -> bn2, downsample.0 -> downsample.1."""
    start, dot, last = conv.rpartition(".")
    return f"{start}{dot}{last.replace('conv', 'bn') if last.startswith('conv') else int(last) + 1}"


# ---------------------------------------------------------------------------------------------- differences made good

Absorber = Callable[[Layers, Config, Mapping[str, Any]], None]


def _biases(layers: Layers, config: Config, preset: Mapping[str, Any]) -> None:
    """Let BatchNorm take over the bias before it: torchvision's convolutions before BatchNorm have none."""
    for layer, values in layers.items():
        norm = layers.get(norm_of(layer), {})
        if "bias" in values and "moving_mean" in norm:
            norm["moving_mean"] = norm["moving_mean"] - values.pop("bias")


def _epsilon(layers: Layers, config: Config, preset: Mapping[str, Any]) -> None:
    """Let the variance take over the difference between the two epsilons; gamma, where it would be negative."""
    ours, theirs = config.BN_EPSILON, preset["BN_EPSILON"]
    for values in layers.values():
        if "moving_variance" in values and ours != theirs:
            total = values["moving_variance"].astype(np.float64) + ours
            variance = np.maximum(total - theirs, 0)
            factor = np.sqrt((variance + theirs) / np.maximum(total, np.finfo(np.float64).tiny))
            values["moving_variance"], values["gamma"] = _float32(variance), _float32(values["gamma"] * factor)


def _float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)


def _colours(layers: Layers, config: Config, preset: Mapping[str, Any]) -> None:
    """Let the stem take RGB, divided by torchvision's deviations."""
    kernel, ours = layers["conv1"]["kernel"], np.broadcast_to(np.asarray(config.PIXEL_STD, np.float64), 3)
    if config.INPUT_FORMAT == "BGR":
        kernel, ours = kernel[:, :, ::-1], ours[::-1]
    layers["conv1"]["kernel"] = _float32(kernel * (preset["PIXEL_STD"] / ours)[:, None])


def _one_logit(layers: Layers, config: Config, preset: Mapping[str, Any]) -> None:
    """Subtract the background's logit from the object's: a softmax of two is the sigmoid of their difference."""
    if config.RPN_SIGMOID:
        return
    for kind, values in layers["rpn_class_raw"].items():
        pairs = values.reshape(*values.shape[:-1], -1, 2)  # [..., A, (background, object)]
        layers["rpn_class_raw"][kind] = pairs[..., 1] - pairs[..., 0]


def _anchors(layers: Layers, config: Config, preset: Mapping[str, Any]) -> None:
    """Put the anchors of a location in torchvision's order."""
    ours = [float(ratio) for ratio in config.RPN_ANCHOR_RATIOS]
    order = [ours.index(float(ratio)) for ratio in preset["RPN_ANCHOR_RATIOS"]]
    for layer, numbers in (("rpn_class_raw", 1), ("rpn_bbox_pred", 4)):
        for kind, values in layers[layer].items():
            layers[layer][kind] = reorder_ratios(values, order, numbers)


def _deviations(layers: Layers, config: Config, preset: Mapping[str, Any]) -> None:
    """Scale the deltas to torchvision's deviations."""
    for layer, ours, theirs in (
        ("rpn_bbox_pred", config.RPN_BBOX_STD_DEV, preset["RPN_BBOX_STD_DEV"]),
        ("mrcnn_bbox_fc", config.BBOX_STD_DEV, BOX_STD),
    ):
        for kind, values in layers[layer].items():
            layers[layer][kind] = scale_deltas(values, ours, theirs)


ABSORBERS: tuple[Absorber, ...] = (_biases, _epsilon, _colours, _one_logit, _anchors, _deviations)


# ---------------------------------------------------------------------------------------- arguments of torchvision


def _say_arguments(config: Config) -> None:
    """Log the arguments that torchvision's model needs to compute what the network does, if they are not its own."""
    mean = np.broadcast_to(np.asarray(config.MEAN_PIXEL, np.float64), 3)[:: -1 if config.INPUT_FORMAT == "BGR" else 1]
    sizes = ", ".join(f"({scale:g},)" for scale in config.RPN_ANCHOR_SCALES)
    given = {
        "num_classes": (config.NUM_CLASSES, 91),
        "min_size": (config.IMAGE_MIN_DIM, 800),
        "max_size": (config.IMAGE_MAX_DIM, 1333),
        "image_mean": ([round(float(value) / 255, 6) for value in mean], [0.485, 0.456, 0.406]),
        "rpn_nms_thresh": (config.RPN_NMS_THRESHOLD, 0.7),
        "rpn_pre_nms_top_n_test": (config.PRE_NMS_LIMIT, 1000),
        "rpn_post_nms_top_n_test": (config.POST_NMS_ROIS_INFERENCE, 1000),
        "box_score_thresh": (config.DETECTION_MIN_CONFIDENCE, 0.05),
        "box_nms_thresh": (config.DETECTION_NMS_THRESHOLD, 0.5),
        "box_detections_per_img": (config.DETECTION_MAX_INSTANCES, 100),
    }
    texts = [f"{name}={value}" for name, (value, default) in given.items() if value != default]
    texts += [] if config.BOX_HEAD_CONVS else ["eps=0 in its BatchNorm"]
    if sizes != "(32,), (64,), (128,), (256,), (512,)":
        texts.append(f"rpn_anchor_generator=AnchorGenerator(({sizes}), ((0.5, 1.0, 2.0),) * 5)")
    if texts:
        log.info("torchvision's model must have %s", ", ".join(texts))


# What torchvision does in one way alone; ours changes results a little, or selects among them
RULES = (
    *("RPN_PER_LEVEL", "RPN_MIN_SIZE", "RPN_CLIP_TO_WINDOW", "DETECTION_EVERY_CLASS", "DETECTION_MIN_SIZE"),
    *("DETECTION_CLASSES", "DETECTION_CLASS_AGNOSTIC_NMS", "DETECTION_SOFT_NMS"),
    *("MASK_PASTE", "IMAGE_RESIZE_MODE", "IMAGE_INTERPOLATION"),
)


def _warn_of_rules(config: Config, preset: Mapping[str, Any]) -> None:
    """Log a warning of the settings that torchvision cannot be given, although its weights are the same."""
    values = [(name, getattr(config, name), preset.get(name, getattr(Config, name))) for name in RULES]
    texts = [f"{name} is {ours!r} (torchvision: {theirs!r})" for name, ours, theirs in values if ours != theirs]
    if texts:
        log.warning("torchvision's model will not detect exactly the same: %s", "; ".join(texts))
