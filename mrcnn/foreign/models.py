"""A Mask R-CNN, or a backbone, of another project: its weights under our names, its settings and its classes.

The settings are those of the project's preset, and what the shapes say: the backbone, the numbers of classes, channels
and layers. MMDetection writes its whole configuration into a file, from which the rest is read.
"""

import dataclasses
import logging
import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mrcnn.backbones import C4, DC5, RESNETS, resnet_name
from mrcnn.errors import InputError
from mrcnn.foreign import class_names, convnext
from mrcnn.foreign.layouts import LAYOUTS, layout_of, norm_of, vectors_of
from mrcnn.foreign.rules import Layout, Place
from mrcnn.foreign.tensor_files import TensorFile, read_tensor_file
from mrcnn.foreign.transforms import FORMS, Heads, to_ours
from mrcnn.modeling.weights import listed
from mrcnn.text import one_line
from mrcnn.variants import PRESETS, TORCH_STD

log = logging.getLogger(__name__)

Layers = dict[str, dict[str, np.ndarray]]  # our layer -> our variable -> values


@dataclasses.dataclass(frozen=True)
class ForeignModel:
    """The contents of a file of another project.

    Attributes:
        path: the file.
        layout: how the project names its tensors.
        layers: our layer -> our variable -> values float32 in our layout.
        forms: our layer -> its form, a key of `mrcnn.foreign.transforms.FORMS`.
        settings: of `Config`; a backbone alone has only those of the backbone.
        class_names: background first; None if the file does not say and the number is not known, or for a backbone.
        ignored: names of the tensors that hold no weights of the detector.
    """

    path: pathlib.Path
    layout: Layout
    layers: Layers
    forms: dict[str, str]
    settings: dict[str, Any]
    class_names: tuple[str, ...] | None
    ignored: tuple[str, ...]

    @property
    def is_backbone(self) -> bool:
        """Whether the file holds a backbone alone."""
        return not self.layout.preset


def read_model(path: str | os.PathLike) -> ForeignModel:
    """Read a model of torchvision, Detectron2 or MMDetection, or a ResNet or ConvNeXt of torchvision or timm.

    Args:
        path: a file of a kind that `mrcnn.foreign.tensor_files.is_tensor_file` knows.

    Raises:
        InputError: the file cannot be read (see `read_tensor_file`), is of no known project, or has tensors that belong
            to no layer of a Mask R-CNN; or see `from_tensors`.
    """
    return from_tensors(read_tensor_file(path))


def from_tensors(file: TensorFile) -> ForeignModel:
    """Run `read_model` on the contents of a file.

    Raises:
        InputError: it is of no known project, has tensors that belong to no layer of a Mask R-CNN, or lacks some; or
            its shapes do not fit each other, or a variance is negative.
    """
    layout = layout_of(file.tensors)
    if layout is None:
        raise InputError(
            f"{file.path}: its {len(file.tensors)} tensors ({listed(list(file.tensors))}) are not named as in any "
            f"project that is known: {', '.join(known.name for known in LAYOUTS)}"
        )
    places, ignored, unknown = _places(layout, file.tensors)
    if unknown:
        raise InputError(
            f"{file.path} looks like a model of {layout.name}, but {len(unknown)} of its tensors belong to no layer of "
            f"a Mask R-CNN: {listed(unknown)}. Is it another architecture (cascade, deformable convolutions, box "
            "detector)? Nothing was loaded"
        )
    _refuse_doubles(file.path, places)
    shapes = {place.layer: file.tensors[name].shape for name, place in places.items() if place.variable == "kernel"}
    heads = Heads(layout.background_last, _pool_size(file.path, shapes))
    layers: Layers = {}
    for name, place in places.items():
        values = file.tensors[name]
        try:
            ours = to_ours(np.asarray(values, np.float32), place.form, heads, place.layer == "mrcnn_class_conv1")
        except ValueError:
            raise InputError(
                f"{file.path} is damaged: {one_line(name)} has the shape {values.shape}, which {place.layer} cannot "
                "have; nothing was loaded"
            ) from None
        if place.variable == "moving_variance" and ours.min(initial=0) < 0:
            raise InputError(f"{file.path} is damaged: the variance {one_line(name)} is negative; nothing was loaded")
        layers.setdefault(place.layer, {})[place.variable] = ours
    _refuse_other_lengths(file.path, places, layers)
    _refuse_incomplete(file.path, layers)
    counters = any(name.endswith("num_batches_tracked") for name in file.tensors)
    settings = _settings(file.path, layout, layers, counters, file.meta)
    named = None if not layout.preset else class_names.names_of(file.meta, settings["NUM_CLASSES"] - 1)
    forms = {place.layer: place.form for place in places.values() if FORMS[place.form] is not FORMS["plain"]}
    background = None if named is None else ("BG", *named)
    if layout is convnext.CONVNEXT:
        layers = convnext.renamed(layers, settings["BACKBONE"])
    return ForeignModel(file.path, layout, layers, forms, settings, background, ignored)


def _places(layout: Layout, names: Iterable[str]) -> tuple[dict[str, Place], tuple[str, ...], list[str]]:
    """Return the places of the tensors by name, the names that hold no weights, and those that belong nowhere."""
    places, ignored, unknown = {}, [], []
    for name in names:
        if place := layout.place(name):
            places[name] = place
        elif layout.ignores(name):
            ignored.append(name)
        else:
            unknown.append(name)
    return places, tuple(ignored), unknown


def _refuse_doubles(path: pathlib.Path, places: Mapping[str, Place]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for name, place in places.items():
        other = seen.setdefault((place.layer, place.variable), name)
        if other != name:
            raise InputError(f"{path} is damaged: {one_line(other)} and {one_line(name)} are the same weights")


def _refuse_other_lengths(path: pathlib.Path, places: Mapping[str, Place], layers: Layers) -> None:
    """Check that every vector has a number for each output of its layer, or of the one that it normalises."""
    lengths: dict[str, int] = {}
    for layer, values in layers.items():
        if "kernel" in values and values["kernel"].ndim >= 2:
            outputs = values["kernel"].shape[-2 if layer == "mrcnn_mask_deconv" else -1]
            lengths |= {layer: outputs, norm_of(layer): outputs}
    for name, place in places.items():
        vector = layers[place.layer][place.variable]
        wanted = lengths.get(place.layer, len(vector) if vector.ndim else 0)
        if place.variable != "kernel" and vector.shape != (wanted,):
            raise InputError(
                f"{path} is damaged: {one_line(name)} has the shape {vector.shape}, but its layer has {wanted} "
                "outputs; nothing was loaded"
            )


def _refuse_incomplete(path: pathlib.Path, layers: Layers) -> None:
    """Check that every kernel has a bias or a BatchNorm after it, and that none of the three lacks a part."""
    missing = []
    for layer, values in layers.items():
        if "kernel" in values:
            missing += [] if "bias" in values or norm_of(layer) in layers else [f"{layer}/bias"]
        else:
            whole = ["kernel"] if "bias" in values else vectors_of(layer)
            missing += [f"{layer}/{kind}" for kind in whole if kind not in values]
    if missing:
        raise InputError(
            f"{path} is no whole model of its project: there are no values for {listed(missing)}; nothing was loaded"
        )


def _pool_size(path: pathlib.Path, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the cells along a side of the box head's ROIs, from the sizes of its first dense layer and of the maps."""
    fc, mask = shapes.get("mrcnn_class_conv1"), shapes.get("mrcnn_mask_conv1")
    window = shapes.get("mrcnn_class_window_conv1")  # its output is what the dense layer takes
    if fc is None or mask is None or len(fc) != 2 or len(mask) != 4:
        return 7
    channels = window[0] if window and len(window) == 4 else mask[1]
    side = round((fc[1] / max(channels, 1)) ** 0.5)
    if side * side * channels != fc[1]:
        raise InputError(
            f"{path} is damaged: its box head takes {fc[1]} numbers, which are no square of {channels} channels"
        )
    return side


# --------------------------------------------------------------------------------------------------------- settings


def _settings(
    path: pathlib.Path, layout: Layout, layers: Layers, counters: bool, meta: dict[str, Any]
) -> dict[str, Any]:
    """Return the settings of a model; `counters` says whether its BatchNorm has counters of batches."""
    if layout is convnext.CONVNEXT:
        _kernel(path, layers, convnext.STEM, 4)
        return {"BACKBONE": convnext.backbone_of(path, layers)}
    settings: dict[str, Any] = dict(PRESETS[layout.preset]) if layout.preset else {"STRIDE_IN_1X1": False}
    settings |= backbone_settings(path, layers)
    if not layout.preset:
        return settings | {"BACKBONE_BIAS": False, "BACKBONE_SYMMETRIC_PADDING": True, "BN_EPSILON": 1e-5}
    if "fpn_p2" not in layers and layout.name != "Detectron2":
        raise InputError(f"{path}: models of {layout.name} without a feature pyramid are not known; use one with FPN")
    settings |= _head_settings(path, layers)
    if layout.name == "torchvision":
        # Only the published file of version 1 has frozen BatchNorm, without counters, and there epsilon is 0.
        settings["BN_EPSILON"] = 1e-5 if counters else 0.0
    sizes = RESNETS[resnet_name(settings["BACKBONE"]) or ""]
    if layout.name == "Detectron2" and sizes.groups > 1:
        # Its ResNeXt were converted from files that have the stride where ResNeXt has it, and divide by deviations.
        settings |= {"STRIDE_IN_1X1": False, "PIXEL_STD": TORCH_STD[::-1]}
    if layout.name == "MMDetection":
        settings |= _mmdet_settings(path, meta)
    return settings


def _kernel(path: pathlib.Path, layers: Layers, layer: str, axes: int) -> tuple[int, ...]:
    """Return the shape of a layer's kernel."""
    kernel = layers.get(layer, {}).get("kernel")
    if kernel is None or kernel.ndim != axes:
        found = "is missing" if kernel is None else f"has {kernel.ndim} axes instead of {axes}"
        raise InputError(f"{path}: the weights of {layer} ({found}) do not make a whole model; nothing was loaded")
    return kernel.shape


def backbone_settings(path: pathlib.Path, layers: Layers) -> dict[str, Any]:
    """Return BACKBONE and BACKBONE_WIDTH of a ResNet, from the blocks of its stages and their channels.

    Args:
        path: the file, for messages.
        layers: of `ForeignModel`.

    Raises:
        InputError: no backbone that is known has such blocks.
    """
    blocks = tuple(sum(1 for n in layers if re.fullmatch(rf"res{k}[a-z]+_branch2a", n)) for k in (2, 3, 4, 5))
    width = _kernel(path, layers, "conv1", 4)[3]
    first, second = (_kernel(path, layers, f"res2a_branch2{letter}", 4) for letter in "ab")
    groups = first[3] // max(second[2], 1)
    for name, sizes in RESNETS.items():
        narrow = width * sizes.width_per_group // 64 * sizes.groups if sizes.bottleneck else width
        if (sizes.blocks, sizes.bottleneck) == (blocks, "res2a_branch2c" in layers) and (groups, first[3]) == (
            sizes.groups,
            narrow,
        ):
            return {"BACKBONE": name + _ending(layers), "BACKBONE_WIDTH": width}
    raise InputError(
        f"{path}: no backbone has {blocks} blocks in the stages C2 to C5, {groups} groups and {first[3]} channels; "
        f"known are {', '.join(RESNETS)}"
    )


def _ending(layers: Layers) -> str:
    """Return the ending of BACKBONE: a model without a feature pyramid has stage 5 in its heads, or dilated."""
    if "fpn_p2" in layers or "rpn_class_raw" not in layers:
        return ""
    return DC5 if "mrcnn_class_conv1" in layers else C4


def _head_settings(path: pathlib.Path, layers: Layers) -> dict[str, Any]:
    """Return the settings that the shapes of feature pyramid, RPN and heads say."""

    def count(pattern: str) -> int:
        return sum(1 for name in layers if re.fullmatch(pattern, name))

    end = _ending(layers)
    anchors, known = _kernel(path, layers, "rpn_class_raw", 4)[3], 15 if end else 3
    if anchors != known:
        raise InputError(f"{path} has {anchors} anchors per location; only models of its kind with {known} are known")
    classes = _kernel(path, layers, "mrcnn_class_logits", 2)[1]
    for layer, axes, outputs in (
        ("rpn_bbox_pred", 4, 4 * anchors),
        ("mrcnn_bbox_fc", 2, 4 * classes),
        ("mrcnn_mask", 4, classes),
    ):
        found = _kernel(path, layers, layer, axes)[-1]
        if found != outputs:
            raise InputError(
                f"{path}: {layer} has {found} outputs instead of {outputs}, for {anchors} anchors and {classes} "
                "classes with the background; models with one box or mask for all classes are not known. Nothing was "
                "loaded"
            )
    settings: dict[str, Any] = {
        "NUM_CLASSES": classes,
        "RPN_CHANNELS": _kernel(path, layers, "rpn_conv_shared", 4)[3],
        "MASK_HEAD_CHANNELS": _kernel(path, layers, "mrcnn_mask_deconv", 4)[2],
    }
    if end:  # Detectron2's settings of these two
        settings |= {"PRE_NMS_LIMIT": 6000, "PRE_NMS_LIMIT_TRAINING": 12_000, "POST_NMS_ROIS_TRAINING": 2000}
    else:
        settings["TOP_DOWN_PYRAMID_SIZE"] = _kernel(path, layers, "fpn_p2", 4)[3]
    if end == C4:
        return settings | {"POOL_SIZE": 7, "MASK_POOL_SIZE": 7, "MASK_SHAPE": [14, 14]}
    return settings | {
        "FPN_CLASSIF_FC_LAYERS_SIZE": _kernel(path, layers, "mrcnn_class_conv1", 4)[3],
        "POOL_SIZE": _kernel(path, layers, "mrcnn_class_conv1", 4)[0],
        "RPN_CONVS": count(r"rpn_conv_shared\d?"),
        "BOX_HEAD_CONVS": count(r"mrcnn_class_window_conv\d"),
        "BOX_HEAD_FCS": count(r"mrcnn_class_conv\d"),
        "FPN_NORM": "BN" if "fpn_bn_p2" in layers else None,
        "BOX_HEAD_NORM": "BN" if "mrcnn_class_window_bn1" in layers else None,
        "MASK_HEAD_NORM": "BN" if "mrcnn_mask_bn1" in layers else None,
    }


NUMBER = r"\s*(-?[\d.]+)\s*"
THREE = rf"\[{NUMBER},{NUMBER},{NUMBER}\]"


def _mmdet_settings(path: pathlib.Path, meta: dict[str, Any]) -> dict[str, Any]:
    """Read what MMDetection's configuration, a text in the file, says about images and strides."""
    text = meta.get("config", meta.get("cfg"))
    if not isinstance(text, str):
        log.info("%s has no configuration: taking MMDetection's own settings, in its style pytorch", path)
        return {}
    settings: dict[str, Any] = {}
    if re.search(r"style\s*=\s*['\"]caffe", text):
        settings["STRIDE_IN_1X1"] = True
    if re.search(r"(to_rgb|bgr_to_rgb)\s*=\s*False", text):
        settings["INPUT_FORMAT"] = "BGR"
    for key, word in (("MEAN_PIXEL", "mean"), ("PIXEL_STD", "std")):
        if found := re.search(rf"\b{word}\s*=\s*{THREE}", text):
            settings[key] = tuple(map(float, found.groups()))
    sizes = re.findall(r"\b(?:img_scale|scale)\s*=\s*\((\d+),\s*(\d+)\)", text)
    if sizes:  # the last one is that of the test pipeline
        sides = sorted(map(int, sizes[-1]))
        settings |= {"IMAGE_MIN_DIM": sides[0], "IMAGE_MAX_DIM": sides[1]}
    return settings
