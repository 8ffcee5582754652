"""What Detectron2 and MMDetection compute in inference, restated with operations of torch and torchvision.

Needs torch and torchvision, which the project does not; only the recorder uses it. Legend: A anchors, P proposals,
K classes without background, n boxes. Boxes are (x1, y1, x2, y2) px of the resized image, continuous.
"""

import math
import re

import numpy as np
import PIL.Image
import torch
import torchvision.ops
from torch import Tensor
from torch.nn import functional as F

from tests.foreign.variants import LONGER, SHORTER, Variant

LIMIT = math.log(1000 / 16)
SIZES, RATIOS = (32, 64, 128, 256, 512), (0.5, 1.0, 2.0)  # sides px, height / width
RPN, HEADS = "proposal_generator.rpn_head", "roi_heads"
# MMDetection's names -> Detectron2's, in which everything here is written
RENAMED = (
    (r"backbone\.conv1", "stem.conv1"),
    (r"backbone\.bn1", "stem.conv1.norm"),
    (r"backbone\.layer(\d)\.(\d+)\.conv", lambda m: f"res{int(m[1]) + 1}.{m[2]}.conv"),
    (r"backbone\.layer(\d)\.(\d+)\.bn(\d)", lambda m: f"res{int(m[1]) + 1}.{m[2]}.conv{m[3]}.norm"),
    (r"backbone\.layer(\d)\.(\d+)\.downsample\.0", lambda m: f"res{int(m[1]) + 1}.{m[2]}.shortcut"),
    (r"backbone\.layer(\d)\.(\d+)\.downsample\.1", lambda m: f"res{int(m[1]) + 1}.{m[2]}.shortcut.norm"),
    (r"neck\.lateral_convs\.(\d)\.conv", lambda m: f"fpn_lateral{int(m[1]) + 2}"),
    (r"neck\.fpn_convs\.(\d)\.conv", lambda m: f"fpn_output{int(m[1]) + 2}"),
    (r"rpn_head\.rpn_conv", f"{RPN}.conv"),
    (r"rpn_head\.rpn_cls", f"{RPN}.objectness_logits"),
    (r"rpn_head\.rpn_reg", f"{RPN}.anchor_deltas"),
    (r"roi_head\.bbox_head\.shared_fcs\.(\d)", lambda m: f"{HEADS}.box_head.fc{int(m[1]) + 1}"),
    (r"roi_head\.bbox_head\.fc_cls", f"{HEADS}.box_predictor.cls_score"),
    (r"roi_head\.bbox_head\.fc_reg", f"{HEADS}.box_predictor.bbox_pred"),
    (r"roi_head\.mask_head\.convs\.(\d)\.conv", lambda m: f"{HEADS}.mask_head.mask_fcn{int(m[1]) + 1}"),
    (r"roi_head\.mask_head\.upsample", f"{HEADS}.mask_head.deconv"),
    (r"roi_head\.mask_head\.conv_logits", f"{HEADS}.mask_head.predictor"),
    (r"backbone\.(bottom_up\.)?", ""),  # of Detectron2
    (r"roi_heads\.res5", "res5"),
)


def renamed(name: str) -> str:
    """Return the name by which the functions here know a tensor."""
    for pattern, new in RENAMED:
        if match := re.match(pattern, name):
            return (new if isinstance(new, str) else new(match)) + name[match.end() :]
    return name


# ------------------------------------------------------------------------------------------------------------- image


def resized(image: np.ndarray, variant: Variant) -> np.ndarray:
    """Resize an image uint8 [H, W, 3] to the shorter side, or less where the longer one is at its limit."""
    height, width = image.shape[:2]
    scale = min(SHORTER / min(height, width), LONGER / max(height, width))
    new = int(height * scale + 0.5), int(width * scale + 0.5)
    if variant.mmdet:
        return opencv_bilinear(image, *new)
    return np.asarray(PIL.Image.fromarray(image).resize(new[::-1], PIL.Image.Resampling.BILINEAR))


def opencv_bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 [H, W, 3] as OpenCV's INTER_LINEAR, which computes with weights in units of 1 / 2048."""

    def taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        position = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
        position = np.clip(position, 0, old - 1)
        first = np.minimum(position.astype(int), old - 2)
        weight = np.rint((position - first) * 2048).astype(np.int64)
        return first, first + 1, 2048 - weight, weight

    left, right, of_left, of_right = taps(image.shape[1], width)
    top, bottom, of_top, of_bottom = taps(image.shape[0], height)
    pixels = image.astype(np.int64)
    rows = pixels[:, left] * of_left[:, None] + pixels[:, right] * of_right[:, None]
    upper, lower = (rows[index] >> 4 for index in (top, bottom))
    total = (upper * of_top[:, None, None] >> 16) + (lower * of_bottom[:, None, None] >> 16)
    return np.clip(total + 2 >> 2, 0, 255).astype(np.uint8)


def normalised(image: np.ndarray, variant: Variant) -> Tensor:
    """Return a resized RGB image as the network takes it: [1, 3, h, w], sides padded by 0 to multiples of 32."""
    pixels = torch.from_numpy(np.ascontiguousarray(image[..., ::-1] if variant.bgr else image)).float()
    pixels = (pixels - torch.tensor(variant.mean)) / torch.tensor(variant.std)
    height, width = image.shape[:2]
    return F.pad(pixels.permute(2, 0, 1)[None], (0, -width % 32, 0, -height % 32))


# ----------------------------------------------------------------------------------------------------------- network


class Network:
    """The network of a variant with weights of a state dict, in Detectron2's or MMDetection's names."""

    def __init__(self, tensors: dict[str, np.ndarray], variant: Variant) -> None:
        self.weights = {renamed(name): torch.from_numpy(values) for name, values in tensors.items()}
        assert len(self.weights) == len(tensors)
        self.variant = variant

    def conv(self, x: Tensor, name: str, stride: int = 1, dilation: int = 1) -> Tensor:
        """Convolve, and normalise if there is a norm."""
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        padding, groups = dilation * (weight.shape[-1] // 2), x.shape[1] // weight.shape[1]
        x = F.conv2d(x, weight, bias, stride, padding, dilation, groups)
        if f"{name}.norm.weight" not in self.weights:
            return x
        gamma, beta, mean, variance = (
            self.weights[f"{name}.norm.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return F.batch_norm(x, mean, variance, gamma, beta, eps=1e-5)

    def dense(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def numbered(self, name: str, first: int) -> list[str]:
        """Return those of name0, name1, ... that exist, from `first` on."""
        names = (f"{name}{number}" for number in range(first, 99))
        return [name for name in names if any(known.startswith(f"{name}.") for known in self.weights)]

    def block(self, x: Tensor, name: str, stride: int, dilation: int) -> Tensor:
        if f"{name}.conv3.weight" in self.weights:
            first, second = (stride, 1) if self.variant.stride_in_1x1 else (1, stride)
            y = self.conv(x, f"{name}.conv1", first).relu()
            y = self.conv(y, f"{name}.conv2", second, dilation).relu()
            y = self.conv(y, f"{name}.conv3")
        else:
            y = self.conv(x, f"{name}.conv1", stride, dilation).relu()
            y = self.conv(y, f"{name}.conv2", 1, dilation)
        shortcut = self.conv(x, f"{name}.shortcut", stride) if f"{name}.shortcut.weight" in self.weights else x
        return (y + shortcut).relu()

    def stage(self, x: Tensor, number: int, stride: int = 2, dilation: int = 1) -> Tensor:
        for block, name in enumerate(self.numbered(f"res{number}.", 0)):
            x = self.block(x, name, 1 if block else stride, dilation)
        return x

    def features(self, image: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return all maps by name, and those that RPN and heads use."""
        x = F.max_pool2d(self.conv(image, "stem.conv1", 2).relu(), 3, 2, 1)
        maps = {"C2": self.stage(x, 2, stride=1)}
        maps["C3"] = self.stage(maps["C2"], 3)
        maps["C4"] = self.stage(maps["C3"], 4)
        if self.variant.end == "c4":
            return maps, [maps["C4"]]
        if self.variant.end == "dc5":
            maps["C5"] = self.stage(maps["C4"], 5, stride=1, dilation=2)
            return maps, [maps["C5"]]
        maps["C5"] = self.stage(maps["C4"], 5)
        top = None
        for level in (5, 4, 3, 2):
            lateral = self.conv(maps[f"C{level}"], f"fpn_lateral{level}")
            top = lateral if top is None else lateral + F.interpolate(top, lateral.shape[2:], mode="nearest")
            maps[f"P{level}"] = self.conv(top, f"fpn_output{level}")
        maps["P6"] = F.max_pool2d(maps["P5"], 1, 2)
        return maps, [maps[f"P{level}"] for level in range(2, 7)]

    def rpn(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return logits [A] and deltas [A, 4] of each level; A runs over rows, columns, anchors of the location."""
        logits, deltas = [], []
        for x in levels:
            for name in self.numbered(f"{RPN}.conv.conv", 0) or [f"{RPN}.conv"]:
                x = self.conv(x, name).relu()
            logits.append(self.conv(x, f"{RPN}.objectness_logits")[0].permute(1, 2, 0).flatten())
            deltas.append(self.conv(x, f"{RPN}.anchor_deltas")[0].permute(1, 2, 0).reshape(-1, 4))
        return logits, deltas

    def box_head(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [P, K + 1], the background last, and deltas [P, 4 K]."""
        if self.variant.end == "c4":
            x = self.stage(pooled, 5).mean(dim=(2, 3))
        else:
            x = pooled
            for name in self.numbered(f"{HEADS}.box_head.conv", 1):
                x = self.conv(x, name).relu()
            x = x.flatten(1)
            for name in self.numbered(f"{HEADS}.box_head.fc", 1):
                x = self.dense(x, name).relu()
        predictor = f"{HEADS}.box_predictor"
        return self.dense(x, f"{predictor}.cls_score"), self.dense(x, f"{predictor}.bbox_pred")

    def mask_head(self, pooled: Tensor, labels: Tensor) -> Tensor:
        """Return the probabilities [n, side, side] of the masks of the labels."""
        head = f"{HEADS}.mask_head"
        x = self.stage(pooled, 5) if self.variant.end == "c4" else pooled
        for name in self.numbered(f"{head}.mask_fcn", 1):
            x = self.conv(x, name).relu()
        deconv = self.weights[f"{head}.deconv.weight"], self.weights[f"{head}.deconv.bias"]
        x = self.conv(F.conv_transpose2d(x, *deconv, stride=2).relu(), f"{head}.predictor")
        return x[torch.arange(len(labels)), labels].sigmoid()

    def pool(self, levels: list[Tensor], boxes: Tensor, side: int) -> Tensor:
        """Return ROIs [n, channels, side, side] of the level that suits each box."""
        if len(levels) == 1:
            return torchvision.ops.roi_align(levels[0], [boxes], side, 1 / 16, -1, aligned=True)
        scale = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
        if self.variant.mmdet:
            chosen = torch.floor(torch.log2(scale / 56 + 1e-6)).clamp(0, 3)
        else:
            chosen = torch.floor(4 + torch.log2(scale / 224 + 1e-8)).clamp(2, 5) - 2
        pooled = torch.zeros(len(boxes), levels[0].shape[1], side, side)
        for number, level in enumerate(levels[:4]):
            here = chosen == number
            pooled[here] = torchvision.ops.roi_align(level, [boxes[here]], side, 0.25 / 2**number, -1, aligned=True)
        return pooled


# ------------------------------------------------------------------------------------------------------------- boxes


def anchors_of(levels: list[Tensor]) -> list[Tensor]:
    """Return the anchors [A, 4] of each level; a single map has all sizes, one after the other."""
    single = len(levels) == 1
    result = []
    for number, level in enumerate(levels):
        stride, sizes = (16, SIZES) if single else (4 * 2**number, SIZES[number : number + 1])
        cell = []
        for size in sizes:
            for ratio in RATIOS:
                width = math.sqrt(size**2 / ratio)
                height = ratio * width
                cell.append([-width / 2, -height / 2, width / 2, height / 2])
        rows, columns = (torch.arange(side) * stride for side in level.shape[2:])
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        centres = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
        result.append((centres + torch.tensor(cell)).reshape(-1, 4).float())
    return result


def decoded(deltas: Tensor, boxes: Tensor, weights: tuple[float, ...], variant: Variant) -> Tensor:
    """Move boxes [n, 4] by deltas [n, (dx, dy, dw, dh)] over the weights."""
    dx, dy, dw, dh = (deltas / torch.tensor(weights)).unbind(1)
    dw, dh = (side.clamp(-LIMIT if variant.mmdet else None, LIMIT) for side in (dw, dh))
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + sides / 2
    centres = centres + torch.stack([dx, dy], 1) * sides
    sides = sides * torch.stack([dw, dh], 1).exp()
    return torch.cat([centres - sides / 2, centres + sides / 2], dim=1)


def suppressed(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, most: int) -> tuple[Tensor, float]:
    """Return the indices that survive within their group, by descending score, and how near to another choice it was.

    The second is the distance of the scores around the cut, or ten times that of an IoU with a survivor to its limit.
    """
    kept, near = [], math.inf
    for group in groups.unique():
        here = torch.nonzero(groups == group)[:, 0]
        survivors = here[torchvision.ops.nms(boxes[here], scores[here], threshold)]
        kept.append(survivors)
        overlaps = torchvision.ops.box_iou(boxes[survivors], boxes[here])
        near = min(near, 10 * (overlaps - threshold).abs().min().item())
    indices = torch.cat(kept)
    indices = indices[scores[indices].argsort(descending=True)]
    return indices[:most], min(near, gap(scores[indices], most))


def gap(scores: Tensor, most: int) -> float:
    """Return the difference of the scores on both sides of a cut, from descending scores."""
    return (scores[most - 1] - scores[most]).item() if len(scores) > most else math.inf


def proposals_of(
    logits: list[Tensor], deltas: list[Tensor], anchors: list[Tensor], size: tuple[int, int], variant: Variant
) -> tuple[Tensor, float]:
    """Return proposals [P, 4] by descending score, of an image of (height, width), and how near another choice was."""
    before = 1000 if variant.end == "fpn" else 6000
    boxes, scores, groups, near = [], [], [], math.inf
    for level, (logit, delta, anchor) in enumerate(zip(logits, deltas, anchors, strict=True)):
        ranked, order = logit.sort(descending=True)
        near = min(near, gap(ranked, before))
        order = order[:before]
        decided = clipped(decoded(delta[order], anchor[order], (1.0, 1.0, 1.0, 1.0), variant), size)
        full = (decided[:, 2] > decided[:, 0]) & (decided[:, 3] > decided[:, 1])
        boxes.append(decided[full])
        scores.append(logit[order][full])
        groups.append(torch.full((int(full.sum()),), level))
    all_boxes, all_scores, all_groups = torch.cat(boxes), torch.cat(scores), torch.cat(groups)
    indices, also_near = suppressed(all_boxes, all_scores, all_groups, 0.7, 1000)
    return all_boxes[indices], min(near, also_near)


def clipped(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Clip boxes [n, 4] to an image of (height, width)."""
    return torch.stack([boxes[:, i].clamp(0, size[1 - i % 2]) for i in range(4)], dim=1)


def detections_of(
    logits: Tensor, deltas: Tensor, proposals: Tensor, size: tuple[int, int], variant: Variant
) -> tuple[Tensor, Tensor, Tensor, float]:
    """Return boxes [n, 4], labels [n] from 0, scores [n], and how near another choice was."""
    probs = logits.softmax(1)[:, :-1]
    classes = probs.shape[1]
    boxes = decoded(deltas.reshape(-1, 4), proposals.repeat_interleave(classes, 0), (10.0, 10.0, 5.0, 5.0), variant)
    boxes, scores = clipped(boxes, size), probs.flatten()
    labels = torch.arange(classes).repeat(len(probs))
    chosen = torch.nonzero(scores > 0.05)[:, 0]
    indices, near = suppressed(boxes[chosen], scores[chosen], labels[chosen], 0.5, 100)
    indices = chosen[indices]
    return boxes[indices], labels[indices], scores[indices], near


def pasted(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Sample masks [n, side, side] at the centres of the pixels of an image of (height, width): bool [n, H, W]."""
    rows, columns = (torch.arange(side) + 0.5 for side in size)
    x = (columns - boxes[:, :1]) / (boxes[:, 2:3] - boxes[:, :1]) * 2 - 1
    y = (rows - boxes[:, 1:2]) / (boxes[:, 3:] - boxes[:, 1:2]) * 2 - 1
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)
    return F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0] >= 0.5
