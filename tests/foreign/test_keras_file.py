"""Files of Keras Applications' ResNets, against what Keras' own network computes."""

import logging
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.errors import InputError
from mrcnn.foreign import any_file
from mrcnn.modeling.network import build_inference_network
from mrcnn.modeling.weights import leaf_layers, save_weights

STAGES = {"res2c_out": "conv2_block3_out", "res3d_out": "conv3_block4_out", "res5c_out": "conv5_block3_out"}


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> tuple[keras.Model, Any]:
    """Return Keras' ResNet-50 with random weights and statistics, and a file of them."""
    model = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(64, 96, 3))
    draw = np.random.default_rng(1)
    for variables in leaf_layers(model).values():
        for variable in variables:
            if variable.name != "kernel":
                low, high = (0.5, 1.5) if variable.name in ("gamma", "moving_variance") else (-0.2, 0.2)
                variable.assign(draw.uniform(low, high, variable.shape))
    path = tmp_path_factory.mktemp("keras") / "resnet50_notop.h5"
    save_weights(model, path)
    return model, path


@pytest.mark.graph
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"BACKBONE_BIAS": False, "BN_EPSILON": 1e-5, "INPUT_FORMAT": "BGR"},
        {"PIXEL_STD": (2.0, 3.0, 4.0), "BACKBONE_BIAS": False},
    ],
)
def test_backbone_computes_what_keras_computes(changes, original, caplog):
    model, path = original
    config = Config()
    config.take_over(
        {"BACKBONE": "resnet50", "BACKBONE_SYMMETRIC_PADDING": True, "IMAGE_RESIZE_MODE": "pad32"} | changes
    )
    network = build_inference_network(config)
    with caplog.at_level(logging.WARNING, logger="mrcnn.foreign"):
        report = any_file.load(network, path, config)
    assert not caplog.records
    backbone = ("conv1", "bn_conv1", "res", "bn2", "bn3", "bn4", "bn5")
    assert report.loaded == [name for name in leaf_layers(network) if name.startswith(backbone)]
    image = np.random.default_rng(2).normal(0, 50, (1, 64, 96, 3)).astype(np.float32)  # RGB, the mean subtracted
    ours = keras.Model(network.get_layer("input_image").output, [network.get_layer(name).output for name in STAGES])
    theirs = keras.Model(model.input, [model.get_layer(name).output for name in STAGES.values()])
    wanted = theirs.predict_on_batch(image[..., ::-1])
    given = image[..., ::-1] if config.INPUT_FORMAT == "BGR" else image
    found = ours.predict_on_batch((given / np.asarray(config.PIXEL_STD)).astype(np.float32))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * np.abs(other).max())


def test_faulty_files_are_refused(original, tmp_path):
    _, path = original
    config = Config()
    config.take_over({"BACKBONE": "resnet101"})
    network = build_inference_network(config)
    with pytest.raises(InputError, match="res4g_branch2a"):
        any_file.load(network, path, config)
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(path.read_bytes())
    with h5py.File(damaged, "r+") as file:
        group = file["conv3_block1_2_conv"]
        group.attrs["weight_names"] = group.attrs["weight_names"][:1]
    with pytest.raises(InputError, match="conv3_block1_2_conv has 1 arrays instead of kernel, bias"):
        any_file.load(network, damaged, config)
