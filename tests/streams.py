"""Arrays of the recorded cases that were drawn from numpy's legacy generator: drawn again, they need not travel.

`RandomState` gives the same numbers for ever, so each array here equals the recorded one to the bit;
tests/golden/subset.py checks that before it leaves one out.
"""

import numpy as np

NOISE_SEEDS = {"in/noise720x1280": (101, (720, 1280, 3)), "in/small100x150": (103, (100, 150, 3))}
ROIALIGN_SEED, HEADS_MAPS_SEED, HEADS_SEED, RPN_SEED = 421, 461, 462, 463

# The heads' layers with weights, in the order in which they were drawn: 16 channels in, 256 in the mask head
HEADS = (
    ("mrcnn_mask_conv1", (3, 3, 16, 256)),
    ("mrcnn_mask_bn1", (256,)),
    ("mrcnn_mask_conv2", (3, 3, 256, 256)),
    ("mrcnn_mask_bn2", (256,)),
    ("mrcnn_class_conv1", (7, 7, 16, 32)),
    ("mrcnn_class_bn1", (32,)),
    ("mrcnn_mask_conv3", (3, 3, 256, 256)),
    ("mrcnn_mask_bn3", (256,)),
    ("mrcnn_class_conv2", (1, 1, 32, 32)),
    ("mrcnn_class_bn2", (32,)),
    ("mrcnn_mask_conv4", (3, 3, 256, 256)),
    ("mrcnn_mask_bn4", (256,)),
    ("mrcnn_class_logits", (32, 9)),
    ("mrcnn_bbox_fc", (32, 36)),
    ("mrcnn_mask_deconv", (2, 2, 256, 256)),
    ("mrcnn_mask", (1, 1, 256, 9)),
)
RPN = (("rpn_conv_shared", (3, 3, 16, 512)), ("rpn_class_raw", (1, 1, 512, 6)), ("rpn_bbox_pred", (1, 1, 512, 12)))


def regenerated(name: str) -> dict[str, np.ndarray]:
    """The arrays of the recorded file `name` (no suffix) that are streams; {} for a file without such."""
    if name == "utils_resize_image":
        return {key: _noise(seed, shape) for key, (seed, shape) in NOISE_SEEDS.items()}
    if name == "graph_roialign":
        return _pyramid("P", ROIALIGN_SEED, 128, 6)
    if name == "graph_heads":
        maps = _pyramid("heads/P", HEADS_MAPS_SEED, 32, 16)
        return {**maps, **_weights("heads/w/", HEADS_SEED, HEADS), **_weights("rpn/w/", RPN_SEED, RPN)}
    return {}


def _noise(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def _pyramid(prefix: str, seed: int, side: int, channels: int) -> dict[str, np.ndarray]:
    """float32 [2, side, side, channels] for level 2, then half the side for each level up to 5."""
    draw = np.random.RandomState(seed)
    shapes = {level: (2, side >> (level - 2), side >> (level - 2), channels) for level in (2, 3, 4, 5)}
    return {f"{prefix}{level}": draw.randn(*shape).astype(np.float32) for level, shape in shapes.items()}


def _weights(prefix: str, seed: int, layers: tuple) -> dict[str, np.ndarray]:
    """One stream for all layers; kernels of more than 60,000 numbers were rounded to float16."""
    draw, arrays = np.random.RandomState(seed), {}
    for layer, shape in layers:
        if len(shape) == 1:
            values = {
                "gamma": draw.uniform(0.8, 1.2, shape),
                "beta": 0.1 * draw.randn(*shape),
                "moving_mean": 0.1 * draw.randn(*shape),
                "moving_variance": draw.uniform(0.5, 1.5, shape),
            }
        else:
            fan_in = shape[-1] if layer == "mrcnn_mask_deconv" else int(np.prod(shape[:-1]))
            outputs = shape[-2] if layer == "mrcnn_mask_deconv" else shape[-1]
            values = {"kernel": np.sqrt(2 / fan_in) * draw.randn(*shape), "bias": 0.1 * draw.randn(outputs)}
        for weight, value in values.items():
            half = weight == "kernel" and value.size > 60_000
            arrays[f"{prefix}{layer}/{weight}"] = value.astype(np.float16 if half else np.float32)
    return arrays
