"""Weights and images from seeds, so that what torchvision and others compute with them can be recorded.

This module needs numpy alone: the recorders run it where torchvision is, the tests where it is not.
"""

import zlib

import numpy as np

COUNTERS = "num_batches_tracked"
TRANSPOSED = ("conv5_mask", "mask_head.deconv", "mask_head.upsample")
LAST_NORMS = (".bn3.", ".conv3.norm.")  # of a block


def seeded_tensor(name: str, shape: tuple[int, ...], seed: str = "") -> np.ndarray:
    """Return the values of one tensor of a state dict, float32, or int64 for a counter."""
    if name.endswith(COUNTERS):
        return np.zeros(shape, np.int64)
    draw = np.random.default_rng(zlib.crc32((name + seed).encode()))
    kind = name.rpartition(".")[2]
    if kind == "running_var":
        return draw.uniform(0.5, 1.5, shape).astype(np.float32)
    if kind == "running_mean":
        return draw.normal(0, 0.1, shape).astype(np.float32)
    if kind == "layer_scale":  # the last of a block, as below
        return draw.uniform(0.2, 0.4, shape).astype(np.float32)
    if len(shape) == 1:
        return (_norm_weight(name, draw, shape) if kind == "weight" else draw.normal(0, 0.1, shape)).astype(np.float32)
    fan_in = shape[0] if any(part in name for part in TRANSPOSED) else int(np.prod(shape[1:]))
    return draw.normal(0, _gain(name) / np.sqrt(fan_in), shape).astype(np.float32)


def _norm_weight(name: str, draw: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    low, high = (
        (0.2, 0.4) if any(part in name for part in LAST_NORMS) else (0.8, 1.2)
    )  # so that sums over blocks stay small
    return draw.uniform(low, high, shape)


def _gain(name: str) -> float:
    """Return the deviation of a kernel over that which keeps variances; the outputs are neither saturated nor flat."""
    for part, gain in (
        ("rpn.head.cls_logits", 0.2),
        ("rpn.head.bbox_pred", 0.03),
        ("cls_score", 0.2),
        ("box_predictor.bbox_pred", 0.15),
        ("mask_fcn_logits", 0.3),
        ("objectness_logits", 0.2),
        ("rpn_cls", 0.2),
        ("anchor_deltas", 0.03),
        ("rpn_reg", 0.03),
        ("fc_cls", 0.2),
        ("fc_reg", 0.15),
        ("mask_head.predictor", 0.1),
        ("conv_logits", 0.1),
        ("fpn", 1.0),
        ("neck", 1.0),
    ):
        if part in name:
            return gain
    return np.sqrt(2.0)


def seeded_image(height: int, width: int) -> np.ndarray:
    """Return a smooth random image, uint8 [height, width, 3]."""
    coarse = np.random.default_rng(height * 10_000 + width).integers(0, 256, (height // 20 + 1, width // 20 + 1, 3))
    fine = np.random.default_rng(width).integers(-20, 21, (height, width, 3))
    blocks = np.kron(coarse, np.ones((20, 20, 1), int))[:height, :width]
    return np.clip(blocks + fine, 0, 255).astype(np.uint8)
