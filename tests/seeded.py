"""Weights from a seed instead of a file of 180 MB: each array has its own random stream.

The recipe is that of the recorded model: RandomState(crc32("layer/weight") ^ seed), scaled by the kind of layer, then a
few calibrated scales and biases (the "overrides").
"""

import zlib

import numpy as np


def assign_seeded_weights(model, recipe: dict) -> None:
    """Fill a Keras model, including nested models, with the arrays of the recipe."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            assign_seeded_weights(layer, recipe)
            continue
        for variable in layer.weights:
            variable.assign(seeded_array(layer.name, variable.name, tuple(variable.shape), recipe))


def seeded_array(layer: str, weight: str, shape: tuple[int, ...], recipe: dict) -> np.ndarray:
    """Return the values of one weight, float32."""
    seed = (zlib.crc32(f"{layer}/{weight}".encode()) ^ recipe["seed"]) & 0xFFFFFFFF
    draw = np.random.RandomState(seed)
    override = recipe["overrides"].get(layer, {})
    if weight == "kernel":
        values = draw.normal(0, _kernel_deviation(layer, shape), shape).astype(np.float32)
        return values * np.float32(override.get("kernel_scale", 1.0))
    if weight == "bias":
        values = draw.normal(0, 0.02, shape)
        return np.asarray(override.get("bias", values), np.float32)
    low_high = {"gamma": (0.2, 0.4) if layer.endswith("branch2c") else (0.8, 1.2), "moving_variance": (0.6, 1.6)}
    if weight in low_high:
        return draw.uniform(*low_high[weight], shape).astype(np.float32)
    assert weight in ("beta", "moving_mean"), weight
    return draw.normal(0, 0.1, shape).astype(np.float32)


def _kernel_deviation(layer: str, shape: tuple[int, ...]) -> float:
    fan_in = int(np.prod(shape[:-1]))
    if layer == "conv1":
        return np.sqrt(2.0 / fan_in) / 60.0
    if layer == "mrcnn_mask_deconv":
        return np.sqrt(2.0 / shape[-1])
    if layer.startswith("fpn_"):
        return np.sqrt(1.0 / fan_in)
    if layer in ("rpn_class_raw", "mrcnn_class_logits", "mrcnn_mask"):
        return 2 * np.sqrt(1.0 / fan_in)
    if layer == "rpn_bbox_pred":
        return 0.5 * np.sqrt(1.0 / fan_in)
    if layer == "mrcnn_bbox_fc":
        return np.sqrt(1.0 / fan_in)
    return np.sqrt(2.0 / fan_in)
