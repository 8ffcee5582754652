"""Tests that the converted ImageNet weights of ResNet-101 give the features of keras.applications."""

import keras
import numpy as np
import pytest

from mrcnn.errors import InputError
from mrcnn.modeling import pretrained, weights
from mrcnn.modeling.resnet import resnet_graph


@pytest.fixture(scope="module")
def theirs():
    """Return ResNet-101 of keras.applications with random weights, including statistics of BatchNorm."""
    model = keras.applications.ResNet101(weights=None, include_top=False, input_shape=(64, 96, 3))
    rng = np.random.default_rng(7)
    for weight in model.weights:
        low, high = {"moving_variance": (0.0001, 0.01), "gamma": (0.05, 0.15), "kernel": (-0.03, 0.03)}.get(
            weight.name, (-0.1, 0.1)
        )
        weight.assign(rng.uniform(low, high, weight.shape).astype(np.float32))
    return model


@pytest.fixture(scope="module")
def ours(theirs, tmp_path_factory):
    """Return our backbone with the converted file."""
    folder = tmp_path_factory.mktemp("imagenet")
    layers = {
        layer.name: {f"{layer.name}/{weight.name}:0": keras.ops.convert_to_numpy(weight) for weight in layer.weights}
        for layer in theirs.layers
    }
    weights.write_layers(folder / "published.h5", layers)  # the layout of the published file
    pretrained.convert(folder / "published.h5", folder / "converted.h5")
    image = keras.Input((64, 96, 3))
    model = keras.Model(image, resnet_graph(image, "resnet101", stage5=True, train_bn=False))
    report = weights.load_weights(model, folder / "converted.h5")
    assert not report.untouched and not report.skipped
    return model


def between(model, first: str, last: str) -> keras.Model:
    return keras.Model(model.get_layer(first).output, model.get_layer(last).output)


def test_the_stem_reads_red_green_blue_where_theirs_reads_blue_green_red(theirs, ours):
    image = np.random.default_rng(1).uniform(-100, 100, (1, 64, 96, 3)).astype(np.float32)
    expected = between(theirs, theirs.layers[0].name, "conv1_relu").predict_on_batch(image[..., ::-1].copy())
    found = between(ours, ours.layers[0].name, "bn_conv1").predict_on_batch(image)
    assert expected.std() > 0.1
    np.testing.assert_allclose(np.maximum(found, 0), expected, rtol=1e-4, atol=1e-4 * expected.std())


def test_all_stages_give_the_same_features(theirs, ours):
    """Compares all stages after the first pooling, whose padding differs by a pixel between the two."""
    pooled = np.random.default_rng(2).uniform(0, 1, (1, 16, 24, 64)).astype(np.float32)
    expected = between(theirs, "pool1_pool", "conv5_block3_out").predict_on_batch(pooled)
    first = next(layer.name for layer in ours.layers if isinstance(layer, keras.layers.MaxPooling2D))
    found = between(ours, first, "res5c_out").predict_on_batch(pooled)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.std())


def test_names():
    assert pretrained.matterport_name("conv4_block23_3_conv") == "res4w_branch2c"
    assert pretrained.matterport_name("conv2_block1_0_bn") == "bn2a_branch1"
    assert pretrained.matterport_name("conv2_block1_out") is None


def test_another_file_is_refused(tmp_path):
    weights.write_layers(tmp_path / "other.h5", {"dense": {"dense/kernel:0": np.zeros((2, 2))}})
    with pytest.raises(InputError, match="no layer conv1_conv"):
        pretrained.convert(tmp_path / "other.h5", tmp_path / "converted.h5")
    assert not (tmp_path / "converted.h5").exists()
