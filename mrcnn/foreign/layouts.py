"""How other projects name the tensors of a Mask R-CNN, and which of our layers holds each.

Names are those of the published files; those that torchvision uses in memory today stand beside them.

Sources: torchvision (`torchvision.models.detection`), Detectron2, MMDetection 2 and 3, timm.
"""

import re
from collections.abc import Iterable

from mrcnn.foreign.convnext import CONVNEXT
from mrcnn.foreign.rules import NORM, NORM_VARIABLES, PLAIN, Layout, Rule


def _resnet(prefix: str) -> tuple[Rule, ...]:
    """Return the rules of torchvision's ResNet, whose names MMDetection and timm have too."""
    block = rf"{prefix}layer(?P<stage>\d)\.(?P<block>\d+)\."
    return (
        Rule(rf"{prefix}conv1\.{PLAIN}", "conv1"),
        Rule(rf"{prefix}bn1\.{NORM}", "bn_conv1"),
        Rule(rf"{block}conv(?P<conv>\d)\.{PLAIN}", "res{stage}{block}_branch{branch}", shift=1),
        Rule(rf"{block}bn(?P<conv>\d)\.{NORM}", "bn{stage}{block}_branch{branch}", shift=1),
        Rule(rf"{block}downsample\.0\.{PLAIN}", "res{stage}{block}_branch1", shift=1),
        Rule(rf"{block}downsample\.1\.{NORM}", "bn{stage}{block}_branch1", shift=1),
    )


def _detectron2_block(prefix: str) -> tuple[Rule, ...]:
    """Return the rules of the blocks of one of Detectron2's stages; `prefix` has the group stage, or names res5."""
    block = rf"{prefix}\.(?P<block>\d+)\."
    stage = "{stage}" if "?P<stage>" in prefix else "5"
    return (
        Rule(rf"{block}conv(?P<conv>\d)\.{PLAIN}", f"res{stage}{{block}}_branch{{branch}}"),
        Rule(rf"{block}conv(?P<conv>\d)\.norm\.{NORM}", f"bn{stage}{{block}}_branch{{branch}}"),
        Rule(rf"{block}shortcut\.{PLAIN}", f"res{stage}{{block}}_branch1"),
        Rule(rf"{block}shortcut\.norm\.{NORM}", f"bn{stage}{{block}}_branch1"),
    )


def _numbered(layer: str, names: Iterable[str], form: str = "plain", first: int = 1) -> tuple[Rule, ...]:
    """Return one rule for each of some names of layers that we number, from `first` on."""
    return tuple(
        Rule(rf"{re.escape(name)}\.{PLAIN}", layer.format(number), form) for number, name in enumerate(names, first)
    )


_COUNTER = r".*\.num_batches_tracked"

TORCHVISION = Layout(
    name="torchvision",
    preset="torchvision",
    sign=r"backbone\.body\.",
    background_last=False,
    ignored=(_COUNTER,),
    rules=(
        *_resnet(r"backbone\.body\."),
        Rule(rf"backbone\.fpn\.inner_blocks\.(?P<level>\d)(\.0)?\.{PLAIN}", "fpn_c{level}p{level}", shift=2),
        Rule(rf"backbone\.fpn\.inner_blocks\.(?P<level>\d)\.1\.{NORM}", "fpn_bn_c{level}p{level}", shift=2),
        Rule(rf"backbone\.fpn\.layer_blocks\.(?P<level>\d)(\.0)?\.{PLAIN}", "fpn_p{level}", shift=2),
        Rule(rf"backbone\.fpn\.layer_blocks\.(?P<level>\d)\.1\.{NORM}", "fpn_bn_p{level}", shift=2),
        Rule(rf"rpn\.head\.conv(\.0\.0)?\.{PLAIN}", "rpn_conv_shared"),
        Rule(rf"rpn\.head\.conv\.(?P<number>[1-9])\.0\.{PLAIN}", "rpn_conv_shared{number}", shift=1),
        Rule(rf"rpn\.head\.cls_logits\.{PLAIN}", "rpn_class_raw"),
        Rule(rf"rpn\.head\.bbox_pred\.{PLAIN}", "rpn_bbox_pred", "rpn_boxes"),
        *_numbered("mrcnn_class_conv{}", ["roi_heads.box_head.fc6", "roi_heads.box_head.fc7"], "fc"),
        Rule(rf"roi_heads\.box_head\.(?P<number>[0-3])\.0\.{PLAIN}", "mrcnn_class_window_conv{number}", shift=1),
        Rule(rf"roi_heads\.box_head\.(?P<number>[0-3])\.1\.{NORM}", "mrcnn_class_window_bn{number}", shift=1),
        *_numbered("mrcnn_class_conv{}", ["roi_heads.box_head.5"], "fc"),
        Rule(rf"roi_heads\.box_predictor\.cls_score\.{PLAIN}", "mrcnn_class_logits", "classes"),
        Rule(rf"roi_heads\.box_predictor\.bbox_pred\.{PLAIN}", "mrcnn_bbox_fc", "class_boxes"),
        *_numbered("mrcnn_mask_conv{}", [f"roi_heads.mask_head.mask_fcn{i}" for i in range(1, 5)]),
        Rule(rf"roi_heads\.mask_head\.(?P<number>[0-3])\.0\.{PLAIN}", "mrcnn_mask_conv{number}", shift=1),
        Rule(rf"roi_heads\.mask_head\.(?P<number>[0-3])\.1\.{NORM}", "mrcnn_mask_bn{number}", shift=1),
        Rule(rf"roi_heads\.mask_predictor\.conv5_mask\.{PLAIN}", "mrcnn_mask_deconv"),
        Rule(rf"roi_heads\.mask_predictor\.mask_fcn_logits\.{PLAIN}", "mrcnn_mask", "class_masks"),
    ),
)
DETECTRON2 = Layout(
    name="Detectron2",
    preset="detectron2",
    sign=r"(backbone\.bottom_up\.|backbone\.(stem|res2)\.)",
    background_last=True,
    ignored=(_COUNTER, r"proposal_generator\.anchor_generator\..*", r"anchor_generator\..*", "pixel_mean", "pixel_std"),
    rules=(
        Rule(rf"backbone\.(bottom_up\.)?stem\.conv1\.{PLAIN}", "conv1"),
        Rule(rf"backbone\.(bottom_up\.)?stem\.conv1\.norm\.{NORM}", "bn_conv1"),
        *_detectron2_block(r"backbone\.(bottom_up\.)?res(?P<stage>[2-5])"),
        *_detectron2_block(r"roi_heads\.res5"),
        Rule(rf"backbone\.fpn_lateral(?P<level>\d)\.{PLAIN}", "fpn_c{level}p{level}"),
        Rule(rf"backbone\.fpn_lateral(?P<level>\d)\.norm\.{NORM}", "fpn_bn_c{level}p{level}"),
        Rule(rf"backbone\.fpn_output(?P<level>\d)\.{PLAIN}", "fpn_p{level}"),
        Rule(rf"backbone\.fpn_output(?P<level>\d)\.norm\.{NORM}", "fpn_bn_p{level}"),
        Rule(rf"proposal_generator\.rpn_head\.conv(\.conv0)?\.{PLAIN}", "rpn_conv_shared"),
        Rule(
            rf"proposal_generator\.rpn_head\.conv\.conv(?P<number>[1-9])\.{PLAIN}",
            "rpn_conv_shared{number}",
            shift=1,
        ),
        Rule(rf"proposal_generator\.rpn_head\.objectness_logits\.{PLAIN}", "rpn_class_raw"),
        Rule(rf"proposal_generator\.rpn_head\.anchor_deltas\.{PLAIN}", "rpn_bbox_pred", "rpn_boxes"),
        Rule(rf"roi_heads\.box_head\.conv(?P<number>\d)\.{PLAIN}", "mrcnn_class_window_conv{number}"),
        Rule(rf"roi_heads\.box_head\.conv(?P<number>\d)\.norm\.{NORM}", "mrcnn_class_window_bn{number}"),
        Rule(rf"roi_heads\.box_head\.fc(?P<number>\d)\.{PLAIN}", "mrcnn_class_conv{number}", "fc"),
        Rule(rf"roi_heads\.box_predictor\.cls_score\.{PLAIN}", "mrcnn_class_logits", "classes"),
        Rule(rf"roi_heads\.box_predictor\.bbox_pred\.{PLAIN}", "mrcnn_bbox_fc", "class_boxes"),
        Rule(rf"roi_heads\.mask_head\.mask_fcn(?P<number>\d)\.{PLAIN}", "mrcnn_mask_conv{number}"),
        Rule(rf"roi_heads\.mask_head\.mask_fcn(?P<number>\d)\.norm\.{NORM}", "mrcnn_mask_bn{number}"),
        Rule(rf"roi_heads\.mask_head\.deconv\.{PLAIN}", "mrcnn_mask_deconv"),
        Rule(rf"roi_heads\.mask_head\.predictor\.{PLAIN}", "mrcnn_mask", "class_masks"),
    ),
)
MMDET = Layout(
    name="MMDetection",
    preset="mmdet",
    sign=r"(rpn_head|roi_head|neck)\.",
    background_last=True,
    ignored=(_COUNTER, r"data_preprocessor\..*"),
    rules=(
        *_resnet(r"backbone\."),
        Rule(rf"neck\.lateral_convs\.(?P<level>\d)\.conv\.{PLAIN}", "fpn_c{level}p{level}", shift=2),
        Rule(rf"neck\.lateral_convs\.(?P<level>\d)\.bn\.{NORM}", "fpn_bn_c{level}p{level}", shift=2),
        Rule(rf"neck\.fpn_convs\.(?P<level>\d)\.conv\.{PLAIN}", "fpn_p{level}", shift=2),
        Rule(rf"neck\.fpn_convs\.(?P<level>\d)\.bn\.{NORM}", "fpn_bn_p{level}", shift=2),
        Rule(rf"rpn_head\.rpn_conv\.{PLAIN}", "rpn_conv_shared"),
        Rule(rf"rpn_head\.rpn_conv\.0\.conv\.{PLAIN}", "rpn_conv_shared"),
        Rule(rf"rpn_head\.rpn_conv\.(?P<number>[1-9])\.conv\.{PLAIN}", "rpn_conv_shared{number}", shift=1),
        Rule(rf"rpn_head\.rpn_cls\.{PLAIN}", "rpn_class_raw"),
        Rule(rf"rpn_head\.rpn_reg\.{PLAIN}", "rpn_bbox_pred", "rpn_boxes"),
        Rule(
            rf"roi_head\.bbox_head\.shared_convs\.(?P<number>\d)\.conv\.{PLAIN}",
            "mrcnn_class_window_conv{number}",
            shift=1,
        ),
        Rule(
            rf"roi_head\.bbox_head\.shared_convs\.(?P<number>\d)\.bn\.{NORM}",
            "mrcnn_class_window_bn{number}",
            shift=1,
        ),
        Rule(
            rf"roi_head\.bbox_head\.shared_fcs\.(?P<number>\d)\.{PLAIN}",
            "mrcnn_class_conv{number}",
            "fc",
            shift=1,
        ),
        Rule(rf"roi_head\.bbox_head\.fc_cls\.{PLAIN}", "mrcnn_class_logits", "classes"),
        Rule(rf"roi_head\.bbox_head\.fc_reg\.{PLAIN}", "mrcnn_bbox_fc", "class_boxes"),
        Rule(rf"roi_head\.mask_head\.convs\.(?P<number>\d)\.conv\.{PLAIN}", "mrcnn_mask_conv{number}", shift=1),
        Rule(rf"roi_head\.mask_head\.convs\.(?P<number>\d)\.bn\.{NORM}", "mrcnn_mask_bn{number}", shift=1),
        Rule(rf"roi_head\.mask_head\.upsample\.{PLAIN}", "mrcnn_mask_deconv"),
        Rule(rf"roi_head\.mask_head\.conv_logits\.{PLAIN}", "mrcnn_mask", "class_masks"),
    ),
)
IMAGENET = Layout(
    name="ImageNet ResNet",
    preset="",
    sign=r"layer1\.0\.conv1\.weight$",
    background_last=False,
    ignored=(_COUNTER, rf"fc\.{PLAIN}"),
    rules=_resnet(""),
)
LAYOUTS = (TORCHVISION, DETECTRON2, MMDET, IMAGENET, CONVNEXT)


def norm_of(layer: str) -> str:
    """Return the name of the BatchNorm after a convolution or dense layer of ours, if it has one."""
    if layer == "conv1":
        return "bn_conv1"
    if layer.startswith("res"):
        return layer.replace("res", "bn", 1)
    return layer.replace("fpn_", "fpn_bn_", 1) if layer.startswith("fpn_") else layer.replace("_conv", "_bn")


def vectors_of(layer: str) -> list[str]:
    """Return the variables of a layer of ours that has no kernel."""
    if layer.endswith("_layer_scale"):
        return ["gamma"]
    layer_norm = "layernorm" in layer or layer == "layer_normalization"
    return ["gamma", "beta"] if layer_norm else list(NORM_VARIABLES.values())


def layout_of(names: Iterable[str]) -> Layout | None:
    """Return the layout of a file with tensors of these names, or None if it is none that is known."""
    names = list(names)
    return next((layout for layout in LAYOUTS if any(re.match(layout.sign, name) for name in names)), None)
