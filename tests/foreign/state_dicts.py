"""State dicts of every layout that is loaded, from sizes: names and shapes as the projects publish them, and files."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.foreign import writers
from tests.foreign.torchvision_weights import seeded_tensor

Shapes = dict[str, tuple[int, ...]]
Names = Callable[[int, int, int], tuple[str, str]]
TYPES = {"float32": "F32", "int64": "I64"}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of a model.

    Attributes:
        blocks: of the stages C2 to C5.
        bottleneck: whether a block is 1x1, 3x3, 1x1; False: two 3x3.
        width: channels of the stem.
        channels: of feature pyramid, RPN and mask head.
        fc: units of the box head's dense layers.
        classes: without background.
        groups: of a bottleneck's 3x3.
        width_per_group: channels of each group in C2, for a stem of 64.
    """

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    bottleneck: bool = False
    width: int = 16
    channels: int = 16
    fc: int = 32
    classes: int = 8
    groups: int = 1
    width_per_group: int = 64


R50 = Sizes((3, 4, 6, 3), True, 64, 256, 1024, 80)
CELLS = 49  # of an ROI in the box head


def _conv(name: str, out: int, into: int, size: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, into, size, size)} | ({f"{name}.bias": (out,)} if bias else {})


def _dense(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _norm(name: str, channels: int, counter: bool) -> Shapes:
    shapes: Shapes = {f"{name}.{kind}": (channels,) for kind in ("weight", "bias", "running_mean", "running_var")}
    return shapes | ({f"{name}.num_batches_tracked": ()} if counter else {})


def _normed(name: str, norm: str, out: int, into: int, size: int, counter: bool) -> Shapes:
    return _conv(name, out, into, size, bias=False) | _norm(norm, out, counter)


def _resnet(sizes: Sizes, stem: tuple[str, str], names: Names, counter: bool) -> Shapes:
    """Return the shapes of a ResNet; `names(stage, block, number)` names convolution 1 to 3, or 0, the shortcut's."""
    shapes, channels = _normed(*stem, sizes.width, 3, 7, counter), sizes.width
    for stage in (2, 3, 4, 5):
        narrow = sizes.width * 2 ** (stage - 2)
        wide = narrow * 4 if sizes.bottleneck else narrow
        inner = narrow * sizes.width_per_group // 64 * sizes.groups
        for block in range(sizes.blocks[stage - 2]):
            kernels = [(inner, channels, 1), (inner, inner // sizes.groups, 3), (wide, inner, 1)]
            kernels = kernels if sizes.bottleneck else [(narrow, channels, 3), (narrow, narrow, 3)]
            for number, kernel in enumerate(kernels, 1):
                shapes |= _normed(*names(stage, block, number), *kernel, counter)
            if channels != wide:
                shapes |= _normed(*names(stage, block, 0), wide, channels, 1, counter)
            channels = wide
    return shapes


def imagenet(sizes: Sizes, prefix: str = "", counter: bool = True) -> Shapes:
    """Return the shapes of torchvision's or timm's ResNet, under a prefix without its classifier."""

    def names(stage: int, block: int, number: int) -> tuple[str, str]:
        start = f"{prefix}layer{stage - 1}.{block}."
        return (
            (f"{start}conv{number}", f"{start}bn{number}")
            if number
            else (
                f"{start}downsample.0",
                f"{start}downsample.1",
            )
        )

    body = _resnet(sizes, (f"{prefix}conv1", f"{prefix}bn1"), names, counter)
    return body if prefix else body | _dense("fc", 1000, _stage_channels(sizes)[3])


def _stage_channels(sizes: Sizes) -> list[int]:
    return [sizes.width * 2**k * (4 if sizes.bottleneck else 1) for k in range(4)]


def convnext(blocks: tuple[int, ...] = (3, 3, 9, 3), width: int = 96, timm: bool = False) -> Shapes:
    """Return the shapes of torchvision's or timm's ConvNeXt."""
    depthwise, norm, wide, narrow = (
        ("conv_dw", "norm", "mlp.fc1", "mlp.fc2") if timm else (f"block.{k}" for k in (0, 2, 3, 5))
    )
    stem = "stem" if timm else "features.0"
    shapes: Shapes = _conv(f"{stem}.0", width, 3, 4) | _scaled(f"{stem}.1", width)
    for stage, count in enumerate(blocks):
        size = width * 2**stage
        if stage:
            step = f"stages.{stage}.downsample" if timm else f"features.{2 * stage}"
            shapes |= _scaled(f"{step}.0", size // 2) | _conv(f"{step}.1", size, size // 2, 2)
        for block in range(count):
            name = f"stages.{stage}.blocks.{block}" if timm else f"features.{2 * stage + 1}.{block}"
            shapes |= {f"{name}.gamma": (size,)} if timm else {f"{name}.layer_scale": (size, 1, 1)}
            shapes |= _conv(f"{name}.{depthwise}", size, 1, 7) | _scaled(f"{name}.{norm}", size)
            shapes |= _dense(f"{name}.{wide}", 4 * size, size) | _dense(f"{name}.{narrow}", size, 4 * size)
    head = ("head.norm", "head.fc") if timm else ("classifier.0", "classifier.2")
    return shapes | _scaled(head[0], 8 * width) | _dense(head[1], 1000, 8 * width)


def _scaled(name: str, channels: int) -> Shapes:
    """Return the shapes of a LayerNorm."""
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def torchvision_v1(sizes: Sizes, in_memory: bool = False) -> Shapes:
    """Return the shapes of version 1, as published or as torchvision names them in memory today."""
    size, classes, inner = sizes.channels, sizes.classes + 1, ".0" if in_memory else ""
    shapes = imagenet(sizes, "backbone.body.", counter=False)
    for level, channels in enumerate(_stage_channels(sizes)):
        shapes |= _conv(f"backbone.fpn.inner_blocks.{level}{inner}", size, channels, 1)
        shapes |= _conv(f"backbone.fpn.layer_blocks.{level}{inner}", size, size, 3)
    shapes |= _conv("rpn.head.conv" + inner * 2, size, size, 3)
    shapes |= _conv("rpn.head.cls_logits", 3, size, 1) | _conv("rpn.head.bbox_pred", 12, size, 1)
    shapes |= _dense("roi_heads.box_head.fc6", sizes.fc, size * CELLS) | _dense(
        "roi_heads.box_head.fc7", sizes.fc, sizes.fc
    )
    for number in range(4):
        name = f"mask_head.{number}.0" if in_memory else f"mask_head.mask_fcn{number + 1}"
        shapes |= _conv(f"roi_heads.{name}", size, size, 3)
    return shapes | _torchvision_predictors(sizes, classes)


def torchvision_v2(sizes: Sizes) -> Shapes:
    """Return the shapes of version 2."""
    size, classes = sizes.channels, sizes.classes + 1
    shapes = imagenet(sizes, "backbone.body.")
    for level, channels in enumerate(_stage_channels(sizes)):
        for kind, into, side in (("inner", channels, 1), ("layer", size, 3)):
            name = f"backbone.fpn.{kind}_blocks.{level}"
            shapes |= _normed(f"{name}.0", f"{name}.1", size, into, side, True)
    shapes |= _conv("rpn.head.conv.0.0", size, size, 3) | _conv("rpn.head.conv.1.0", size, size, 3)
    shapes |= _conv("rpn.head.cls_logits", 3, size, 1) | _conv("rpn.head.bbox_pred", 12, size, 1)
    for head in ("box_head", "mask_head"):
        for number in range(4):
            name = f"roi_heads.{head}.{number}"
            shapes |= _normed(f"{name}.0", f"{name}.1", size, size, 3, True)
    return shapes | _dense("roi_heads.box_head.5", sizes.fc, size * CELLS) | _torchvision_predictors(sizes, classes)


def _torchvision_predictors(sizes: Sizes, classes: int) -> Shapes:
    box, mask = "roi_heads.box_predictor", "roi_heads.mask_predictor"
    return {
        **_dense(f"{box}.cls_score", classes, sizes.fc),
        **_dense(f"{box}.bbox_pred", 4 * classes, sizes.fc),
        **_conv(f"{mask}.conv5_mask", sizes.channels, sizes.channels, 2),
        **_conv(f"{mask}.mask_fcn_logits", classes, sizes.channels, 1),
    }


def _detectron2_names(prefix: str, res5: str) -> Names:
    """Return the names of convolutions and their norms, those of stage 5 under a prefix of their own."""

    def names(stage: int, block: int, number: int) -> tuple[str, str]:
        name = f"{res5 if stage == 5 else prefix}res{stage}.{block}." + (f"conv{number}" if number else "shortcut")
        return name, f"{name}.norm"

    return names


def detectron2(sizes: Sizes, lsj: bool = False) -> Shapes:
    """Return the shapes of Detectron2's models with FPN; `lsj`: of its new baselines, with norms everywhere."""
    size, bottom_up = sizes.channels, "backbone.bottom_up."

    def conv(name: str, out: int, into: int, side: int) -> Shapes:
        return _normed(name, f"{name}.norm", out, into, side, False) if lsj else _conv(name, out, into, side)

    stem = f"{bottom_up}stem.conv1"
    shapes = _resnet(sizes, (stem, f"{stem}.norm"), _detectron2_names(bottom_up, bottom_up), False)
    for level, channels in enumerate(_stage_channels(sizes), 2):
        shapes |= conv(f"backbone.fpn_lateral{level}", size, channels, 1)
        shapes |= conv(f"backbone.fpn_output{level}", size, size, 3)
    shapes |= _detectron2_rpn(size, 3, ("conv.conv0", "conv.conv1") if lsj else ("conv",))
    for number in range(1, 5 if lsj else 1):
        shapes |= conv(f"roi_heads.box_head.conv{number}", size, size, 3)
    shapes |= _dense("roi_heads.box_head.fc1", sizes.fc, size * CELLS)
    shapes |= {} if lsj else _dense("roi_heads.box_head.fc2", sizes.fc, sizes.fc)
    for number in range(1, 5):
        shapes |= conv(f"roi_heads.mask_head.mask_fcn{number}", size, size, 3)
    return shapes | _detectron2_predictors(sizes, sizes.fc, size)


def detectron2_c4(sizes: Sizes) -> Shapes:
    """Return the shapes of Detectron2's models on C4, which have stage 5 in the heads."""
    _, _, c4, c5 = _stage_channels(sizes)
    stem = "backbone.stem.conv1"
    shapes = _resnet(sizes, (stem, f"{stem}.norm"), _detectron2_names("backbone.", "roi_heads."), False)
    return shapes | _detectron2_rpn(c4, 15) | _detectron2_predictors(sizes, c5, c5)


def detectron2_dc5(sizes: Sizes) -> Shapes:
    """Return the shapes of Detectron2's models on a dilated C5."""
    stem, c5 = "backbone.stem.conv1", _stage_channels(sizes)[3]
    shapes = _resnet(sizes, (stem, f"{stem}.norm"), _detectron2_names("backbone.", "backbone."), False)
    shapes |= _detectron2_rpn(c5, 15)
    shapes |= _dense("roi_heads.box_head.fc1", sizes.fc, c5 * CELLS)
    shapes |= _dense("roi_heads.box_head.fc2", sizes.fc, sizes.fc)
    for number, into in enumerate((c5, *[sizes.channels] * 3), 1):
        shapes |= _conv(f"roi_heads.mask_head.mask_fcn{number}", sizes.channels, into, 3)
    return shapes | _detectron2_predictors(sizes, sizes.fc, sizes.channels)


def _detectron2_rpn(channels: int, anchors: int, convs: tuple[str, ...] = ("conv",)) -> Shapes:
    rpn = "proposal_generator.rpn_head"
    shapes: Shapes = {}
    for name in convs:
        shapes |= _conv(f"{rpn}.{name}", channels, channels, 3)
    shapes |= _conv(f"{rpn}.objectness_logits", anchors, channels, 1)
    return shapes | _conv(f"{rpn}.anchor_deltas", 4 * anchors, channels, 1)


def _detectron2_predictors(sizes: Sizes, box_features: int, mask_features: int) -> Shapes:
    return {
        **_dense("roi_heads.box_predictor.cls_score", sizes.classes + 1, box_features),
        **_dense("roi_heads.box_predictor.bbox_pred", 4 * sizes.classes, box_features),
        "roi_heads.mask_head.deconv.weight": (mask_features, sizes.channels, 2, 2),
        "roi_heads.mask_head.deconv.bias": (sizes.channels,),
        **_conv("roi_heads.mask_head.predictor", sizes.classes, sizes.channels, 1),
    }


def mmdet(sizes: Sizes) -> Shapes:
    """Return the shapes of MMDetection 2 and 3."""
    size, head = sizes.channels, "roi_head"
    shapes = imagenet(sizes, "backbone.")
    for level, channels in enumerate(_stage_channels(sizes)):
        shapes |= _conv(f"neck.lateral_convs.{level}.conv", size, channels, 1)
        shapes |= _conv(f"neck.fpn_convs.{level}.conv", size, size, 3)
    shapes |= _conv("rpn_head.rpn_conv", size, size, 3)
    shapes |= _conv("rpn_head.rpn_cls", 3, size, 1) | _conv("rpn_head.rpn_reg", 12, size, 1)
    shapes |= _dense(f"{head}.bbox_head.shared_fcs.0", sizes.fc, size * CELLS)
    shapes |= _dense(f"{head}.bbox_head.shared_fcs.1", sizes.fc, sizes.fc)
    for number in range(4):
        shapes |= _conv(f"{head}.mask_head.convs.{number}.conv", size, size, 3)
    return shapes | {
        **_dense(f"{head}.bbox_head.fc_cls", sizes.classes + 1, sizes.fc),
        **_dense(f"{head}.bbox_head.fc_reg", 4 * sizes.classes, sizes.fc),
        **_conv(f"{head}.mask_head.upsample", size, size, 2),
        **_conv(f"{head}.mask_head.conv_logits", sizes.classes, size, 1),
    }


# ------------------------------------------------------------------------------------------------- values and files


def seeded(shapes: Shapes, seed: str = "") -> dict[str, np.ndarray]:
    """Return values from a seed for each tensor."""
    return {name: seeded_tensor(name, shape, seed) for name, shape in shapes.items()}


def write(
    path: pathlib.Path, tensors: Mapping[str, np.ndarray], kind: str, key: str = "", meta: dict[str, Any] | None = None
) -> pathlib.Path:
    """Write a file as a training program does.

    Args:
        path: the file.
        tensors: name -> values.
        kind: "zip", "legacy" (both of PyTorch), "pickle" (numpy arrays) or "safetensors".
        key: where the tensors are in the dictionary that is saved, with an optimizer beside them; "": at the top.
        meta: plain values beside them.
    """
    if kind == "safetensors":
        stored = {n: (TYPES[a.dtype.name], list(a.shape), a.tobytes()) for n, a in tensors.items()}
        path.write_bytes(writers.safetensors(stored, {"format": "pt"}))
        return path
    momentum = np.ones(3, np.float32)
    arrays = dict(tensors) | {"momentum": momentum}
    convert = writers.numpy_array if kind == "pickle" else writers.tensor
    arguments = {name: (array,) if kind == "pickle" else (array, name) for name, array in arrays.items()}
    saved: Any = writers.ordered({name: convert(*arguments[name]) for name in tensors})
    if kind == "pickle":
        saved = {name: convert(array) for name, array in tensors.items()}
    if key:
        state = {"state": {0: {"momentum_buffer": convert(*arguments["momentum"])}}, "param_groups": [{"lr": 0.02}]}
        saved = {key: saved, "optimizer": state, "epoch": 12} | ({"meta": meta} if meta else {})
    if kind == "pickle":
        content = writers.pickled(saved)
    else:
        storages = arrays if key else dict(tensors)
        content = (writers.torch_zip if kind == "zip" else writers.torch_legacy)(saved, storages)
    path.write_bytes(content)
    return path
