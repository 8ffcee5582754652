"""Load the weights of another project into a network of ours: every tensor once and every variable once, or nothing.

Where the network's settings differ from the file's in a way that weights can make good, exactly, they do: the order of
colours and of anchors, deviations of pixels and deltas, two logits for one, biases and BatchNorm that one of them
lacks, epsilon. What they cannot make good is named in a warning.

Legend: A anchors of a location, C classes with background.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.config import Config
from mrcnn.errors import InputError
from mrcnn.foreign import class_names
from mrcnn.foreign.layouts import norm_of
from mrcnn.foreign.models import ForeignModel, Layers, read_model
from mrcnn.foreign.transforms import reorder_ratios, scale_deltas, select_classes
from mrcnn.modeling import weights
from mrcnn.modeling.weights import CLASS_LAYERS, LoadReport

log = logging.getLogger(__name__)

BACKBONE_LAYERS = ("conv1", "bn_conv1", "res", "bn2", "bn3", "bn4", "bn5", "convnext_", "layer_normalization")
# Settings on which the numbers depend although the shapes do not
ARITHMETIC = (
    *("STRIDE_IN_1X1", "BACKBONE_SYMMETRIC_PADDING", "MEAN_PIXEL", "IMAGE_PAD_VALUE", "BOX_CONVENTION"),
    *(
        "RPN_ANCHOR_SCALES",
        "RPN_ANCHOR_RATIOS",
        "RPN_ANCHOR_ROUNDED",
        "ROI_LEVEL_RULE",
        "ROI_SAMPLING_RATIO",
        "ROI_ALIGNED",
    ),
)


def load(
    network: keras.Model,
    path: str | os.PathLike,
    config: Config,
    exclude: Iterable[str] | None = None,
    wanted: Sequence[str] | None = None,
) -> LoadReport:
    """Load a file of torchvision, Detectron2, MMDetection, or a ResNet or ConvNeXt of torchvision or timm.

    Args:
        network: of ours, for training or inference.
        path: the file, of a kind that `is_tensor_file` knows.
        config: the settings that the network was built with.
        exclude: names of our layers to skip.
        wanted: names of the network's classes, background first: the file's classes are matched by name, and classes
            that it lacks keep their values. None: the file's classes are the network's.

    Returns:
        Which layers were loaded and which were not.

    Raises:
        InputError: see `mrcnn.foreign.models.read_model`; or layers of file and network do not fit each other.
    """
    return load_model(network, read_model(path), config, exclude, wanted)


def load_model(
    network: keras.Model,
    model: ForeignModel,
    config: Config,
    exclude: Iterable[str] | None = None,
    wanted: Sequence[str] | None = None,
) -> LoadReport:
    """Run `load` on a model that was read.

    Args:
        network: see `load`.
        model: of `mrcnn.foreign.models` or `mrcnn.foreign.keras_file`.
        config: see `load`.
        exclude: see `load`.
        wanted: see `load`.

    Returns:
        Which layers were loaded and which were not.

    Raises:
        InputError: layers of file and network do not fit each other.
    """
    targets = weights.leaf_layers(network)
    excluded = {name for name in weights.expand_exclude(network, exclude) if name in targets}
    layers = {name: dict(values) for name, values in model.layers.items()}
    for adapt in ADAPTERS:
        adapt(layers, model, config, targets)
    if wanted is not None and not model.is_backbone and not excluded >= set(CLASS_LAYERS):
        _choose_classes(layers, model, targets, wanted)
    expected = [name for name in targets if not model.is_backbone or name.startswith(BACKBONE_LAYERS)]
    values = _checked(layers, model, targets, expected, excluded)
    _warn_of_arithmetic(model, config)
    for name, arrays in values.items():
        for variable, array in zip(targets[name], arrays, strict=True):
            variable.assign(array)
    return LoadReport(
        path=model.path,
        loaded=list(values),
        skipped=[name for name in layers if name not in values],
        missing=[name for name in targets if name not in values and name not in excluded],
        excluded=sorted(excluded),
        mismatched={},
    )


def _checked(
    layers: Layers,
    model: ForeignModel,
    targets: Mapping[str, list[keras.Variable]],
    expected: Sequence[str],
    excluded: set[str],
) -> dict[str, list[np.ndarray]]:
    """Return the values of the variables of each layer to load, in their order.

    Raises:
        InputError: a layer is in the file alone or in the network alone, or shapes differ; the message lists all.
    """
    wanted = [name for name in expected if name not in excluded]
    unused = [name for name in layers if name not in targets]
    missing = [name for name in wanted if name not in layers]
    complaints, values = [], {}
    for name in (n for n in wanted if n in layers):
        arrays, variables = layers[name], {variable.name: variable for variable in targets[name]}
        unused += [f"{name}/{kind}" for kind in arrays if kind not in variables]
        missing += [f"{name}/{kind}" for kind in variables if kind not in arrays]
        for kind in arrays.keys() & variables.keys():
            in_model = tuple(variables[kind].shape)
            if arrays[kind].shape != in_model:
                complaints.append(
                    f"  {name}/{kind}: {_text(arrays[kind].shape)} in the file, {_text(in_model)} in the model"
                )
            if not np.isfinite(arrays[kind]).all():  # of a variance of 0 with an epsilon of 0
                complaints.append(f"  {name}/{kind}: not finite with BN_EPSILON and deviations of the model")
        values[name] = [arrays.get(variable.name) for variable in targets[name]]
    for title, names in (("the file alone has", unused), ("the model alone has", missing)):
        if names:
            complaints.append(f"  {title} {len(names)}: {', '.join(names)}")
    if complaints:
        differing = _differing(model, targets, layers)
        raise InputError(
            f"{model.path} ({model.layout.name}) does not fit the model; nothing was loaded:\n"
            + "\n".join(complaints)
            + (f"\nBuild the model with the file's settings: {differing}" if differing else "")
        )
    return values  # type: ignore[return-value]  # nothing is missing


def _differing(model: ForeignModel, targets: Mapping[str, Any], layers: Layers) -> str:
    """Return the advice that helps most."""
    heads = [name for name in CLASS_LAYERS if name in targets and name in layers]
    shapes = [(layers[n]["kernel"].shape[-1], targets[n][0].shape[-1]) for n in heads if "kernel" in layers[n]]
    if any(theirs != ours for theirs, ours in shapes):
        return f"or give the names of your classes, or exclude {', '.join(CLASS_LAYERS)}"
    preset = f'Config.preset("{model.layout.preset}") with ' if model.layout.preset else ""
    names = ("BACKBONE", "RPN_CONVS", "BOX_HEAD_CONVS", "BOX_HEAD_FCS", "FPN_NORM", "BOX_HEAD_NORM", "MASK_HEAD_NORM")
    return preset + ", ".join(f"{name}={model.settings[name]!r}" for name in names if name in model.settings)


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _warn_of_arithmetic(model: ForeignModel, config: Config) -> None:
    theirs = dict(model.settings)
    if "MEAN_PIXEL" in theirs and theirs["INPUT_FORMAT"] != config.INPUT_FORMAT:
        theirs["MEAN_PIXEL"] = tuple(theirs["MEAN_PIXEL"])[::-1]
    differing = [
        f"{name} is {getattr(config, name)!r} (file: {theirs[name]!r})"
        for name in ARITHMETIC
        if name in theirs and not _same(name, getattr(config, name), theirs[name])
    ]
    if differing:
        log.warning(
            "%s: the model's settings are not those of the file, so its results will differ until it is trained: %s",
            model.path,
            "; ".join(differing),
        )


def _same(name: str, ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, str) or theirs is None or ours is None:
        return bool(ours == theirs)
    if name == "RPN_ANCHOR_RATIOS":  # `_anchors` makes their order good
        ours, theirs = sorted(ours), sorted(theirs)
    return np.shape(ours) == np.shape(theirs) and bool(np.allclose(ours, theirs))


def _choose_classes(
    layers: Layers, model: ForeignModel, targets: Mapping[str, list[keras.Variable]], wanted: Sequence[str]
) -> None:
    """Replace the layers that depend on the classes by those of the wanted classes, in place."""
    if model.class_names is None:
        raise InputError(
            f"{model.path} does not say which classes its {model.settings['NUM_CLASSES'] - 1} outputs are; exclude "
            f"{', '.join(CLASS_LAYERS)} to train them anew"
        )
    class_names.say_missing(model.path, model.class_names, wanted, "its outputs start from random values")
    sources = class_names.match(model.class_names, wanted)
    for name in CLASS_LAYERS:
        for variable in targets.get(name, ()):
            fresh = keras.ops.convert_to_numpy(variable)
            if name in layers and variable.name in layers[name]:
                values = layers[name][variable.name]
                layers[name][variable.name] = select_classes(values, model.forms[name], sources, fresh)


# --------------------------------------------------------------------------------------- differences made good

Adapter = Callable[[Layers, ForeignModel, Config, Mapping[str, list[keras.Variable]]], None]


def _colours(layers: Layers, model: ForeignModel, config: Config, targets: Mapping[str, Any]) -> None:
    """Reorder and scale the stem's input channels, if the network takes other colours or deviations."""
    stem = next(layers[name] for name in layers if name == "conv1" or name.endswith("_stem_conv"))
    kernel = stem["kernel"]
    channels = kernel.shape[2]
    if channels != config.IMAGE_CHANNEL_COUNT:
        return  # the shapes tell
    known = IMAGENET_STD if model.is_backbone and channels == 3 else 1.0  # a backbone alone may not say it
    theirs = np.broadcast_to(np.asarray(model.settings.get("PIXEL_STD", known), np.float64), channels)
    ours = np.broadcast_to(np.asarray(config.PIXEL_STD, np.float64), channels)
    if model.settings.get("INPUT_FORMAT", "RGB") != config.INPUT_FORMAT:
        kernel, theirs = kernel[:, :, ::-1], theirs[::-1]
    stem["kernel"] = (kernel * (ours / theirs)[None, None, :, None]).astype(np.float32)


IMAGENET_STD = (58.395, 57.12, 57.375)


def _anchors(layers: Layers, model: ForeignModel, config: Config, targets: Mapping[str, Any]) -> None:
    """Reorder the anchors of a location, if the network has them in another order."""
    if model.is_backbone:
        return
    theirs = [float(ratio) for ratio in model.settings["RPN_ANCHOR_RATIOS"]]
    ours = [float(ratio) for ratio in config.RPN_ANCHOR_RATIOS]
    if sorted(ours) != sorted(theirs):
        return  # shapes or `_warn_of_arithmetic` tell
    order = [theirs.index(ratio) for ratio in ours]
    for layer, numbers in (("rpn_class_raw", 1), ("rpn_bbox_pred", 4)):
        for kind, values in layers[layer].items():
            layers[layer][kind] = reorder_ratios(values, order, numbers)


def _two_logits(layers: Layers, model: ForeignModel, config: Config, targets: Mapping[str, Any]) -> None:
    """Add the background's logit, 0, if the network has a softmax of two."""
    if model.is_backbone or config.RPN_SIGMOID:
        return
    for kind, values in layers["rpn_class_raw"].items():
        pairs = np.stack([np.zeros_like(values), values], axis=-1)  # [..., A, (background, object)]
        layers["rpn_class_raw"][kind] = pairs.reshape(*values.shape[:-1], -1)


def _deviations(layers: Layers, model: ForeignModel, config: Config, targets: Mapping[str, Any]) -> None:
    """Scale the deltas, if the network's are divided by other deviations."""
    if model.is_backbone:
        return
    for layer, ours, theirs in (
        ("rpn_bbox_pred", config.RPN_BBOX_STD_DEV, model.settings["RPN_BBOX_STD_DEV"]),
        ("mrcnn_bbox_fc", config.BBOX_STD_DEV, Config.BBOX_STD_DEV),
    ):
        for kind, values in layers[layer].items():
            layers[layer][kind] = scale_deltas(values, theirs, ours)


def _epsilon(layers: Layers, model: ForeignModel, config: Config, targets: Mapping[str, Any]) -> None:
    """Let gamma absorb the difference between the two epsilons."""
    theirs, ours = model.settings.get("BN_EPSILON", config.BN_EPSILON), config.BN_EPSILON  # ConvNeXt has no BatchNorm
    for values in layers.values():
        if "moving_variance" in values and theirs != ours:
            variance = values["moving_variance"].astype(np.float64)
            factor = np.sqrt((variance + ours) / np.maximum(variance + theirs, np.finfo(np.float64).tiny))
            values["gamma"] = (values["gamma"] * factor).astype(np.float32)


def _fold_norms(layers: Layers, model: ForeignModel, config: Config, targets: Mapping[str, Any]) -> None:
    """Fold BatchNorm that the network lacks into the convolution before it."""
    for conv in [name for name in layers if "kernel" in layers[name] and norm_of(name) not in targets]:
        if norm_of(conv) not in layers:
            continue
        norm = layers.pop(norm_of(conv))
        scale = norm["gamma"] / np.sqrt(norm["moving_variance"] + config.BN_EPSILON)  # `_epsilon` ran before
        bias = layers[conv].get("bias", 0.0)
        layers[conv]["kernel"] = (layers[conv]["kernel"] * scale).astype(np.float32)
        layers[conv]["bias"] = (norm["beta"] + (bias - norm["moving_mean"]) * scale).astype(np.float32)


def _absent(layers: Layers, model: ForeignModel, config: Config, targets: Mapping[str, list[keras.Variable]]) -> None:
    """Add what changes nothing for what the network alone has: biases of 0, and BatchNorm that is the identity."""
    for name, variables in targets.items():
        kinds = {variable.name: variable for variable in variables}
        if name in layers:
            if "bias" in kinds and "bias" not in layers[name] and "kernel" in layers[name]:
                layers[name]["bias"] = np.zeros(kinds["bias"].shape, np.float32)
        elif "moving_variance" in kinds and not model.is_backbone and not name.startswith(BACKBONE_LAYERS):
            ones, zeros = np.ones(kinds["gamma"].shape, np.float32), np.zeros(kinds["gamma"].shape, np.float32)
            gamma = ones * np.float32(np.sqrt(1 + config.BN_EPSILON))
            layers[name] = {"gamma": gamma, "beta": zeros, "moving_mean": zeros, "moving_variance": ones}


def _fold_biases(layers: Layers, model: ForeignModel, config: Config, targets: Mapping[str, Any]) -> None:
    """Let BatchNorm take over the bias of the convolution before it, if the network's has none."""
    for conv in [name for name in layers if "bias" in layers[name] and name in targets]:
        norm = layers.get(norm_of(conv), {})
        if "moving_mean" in norm and all(variable.name != "bias" for variable in targets[conv]):
            norm["moving_mean"] = norm["moving_mean"] - layers[conv].pop("bias")


ADAPTERS: tuple[Adapter, ...] = (
    *(_colours, _anchors, _two_logits, _deviations),
    *(_epsilon, _fold_norms, _absent, _fold_biases),
)
