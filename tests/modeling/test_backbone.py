"""Compares the backbones with published parameter counts, and tests names of layers that other code looks up."""

import keras
import numpy as np
import pytest

from mrcnn.errors import InputError
from mrcnn.modeling.backbone import BatchNorm, fpn_graph, resnet_graph

# Without the classifier. ResNet-50 and 101: keras.applications. ResNet-18: torchvision's 11,166,912 convolution
# weights, and for each of its 4,800 channels a bias and the four numbers of a BatchNorm.
PUBLISHED = {"resnet18": 11_166_912 + 5 * 4_800, "resnet50": 23_587_712, "resnet101": 42_658_176}


@pytest.mark.parametrize("architecture", PUBLISHED)
def test_parameters_are_those_of_the_paper(architecture):
    image = keras.Input((64, 128, 3))
    stages = resnet_graph(image, architecture, stage5=True)
    model = keras.Model(image, stages)
    assert model.count_params() == PUBLISHED[architecture]
    assert [stage.shape[1:3] for stage in stages] == [(16, 32), (16, 32), (8, 16), (4, 8), (2, 4)]


def test_resnet101_has_the_blocks_of_the_original():
    image = keras.Input((64, 64, 3))
    names = {layer.name for layer in keras.Model(image, resnet_graph(image, "resnet101", stage5=True)).layers}
    fourth = sorted(name[4] for name in names if name.startswith("res4") and name.endswith("_out"))
    assert "".join(fourth) == "abcdefghijklmnopqrstuvw"
    assert {"res2c_out", "res3d_out", "res5c_out", "bn4w_branch2c", "res5a_branch1", "bn_conv1"} <= names


def test_without_stage_5():
    image = keras.Input((64, 64, 3))
    *stages, last = resnet_graph(image, "resnet50", stage5=False)
    assert last is None and [stage.shape[-1] for stage in stages] == [64, 256, 512, 1024]
    names = {layer.name for layer in keras.Model(image, stages).layers}
    assert "res4f_out" in names and not {name for name in names if name.startswith(("res5", "bn5"))}


def test_pyramid_adds_the_coarser_level_upsampled():
    """With kernels that pass on the first channel, P4 is C4 + upsampled C5, and P6 is every other pixel of P5."""
    shapes = [(16, 16, 1), (16, 16, 1), (8, 8, 1), (4, 4, 1), (2, 2, 1)]
    stages = [keras.Input(shape) for shape in shapes]
    pyramid = keras.Model(stages[1:], fpn_graph(stages, 1))  # C1 is not used, and not every Keras takes it as an input
    for layer in pyramid.layers:
        if layer.weights:
            kernel = np.zeros(layer.kernel.shape, np.float32)
            kernel[tuple(side // 2 for side in kernel.shape[:2])] = 1  # the middle: identity
            layer.kernel.assign(kernel)
    rng = np.random.default_rng(0)
    c2, c3, c4, c5 = (rng.normal(size=(1, *shape)).astype("float32") for shape in shapes[1:])
    p2, p3, p4, p5, p6 = (keras.ops.convert_to_numpy(p) for p in pyramid([c2, c3, c4, c5]))
    double = lambda x: x.repeat(2, axis=1).repeat(2, axis=2)  # noqa: E731
    np.testing.assert_allclose(p5, c5, rtol=1e-6)
    np.testing.assert_allclose(p4, c4 + double(c5), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(p3, c3 + double(c4 + double(c5)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(p2, c2 + double(c3 + double(c4 + double(c5))), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(p6, c5[:, ::2, ::2], rtol=1e-6)


def test_unknown_architecture():
    with pytest.raises(InputError, match="vgg16"):
        resnet_graph(keras.Input((64, 64, 3)), "vgg16")


def test_group_normalisation_in_place_of_batchnorm_does_not_look_at_the_batch():
    image = keras.Input((64, 64, 3))
    network = keras.Model(image, resnet_graph(image, "resnet18", stage5=True, train_bn="group", width=16))
    assert not any(isinstance(layer, BatchNorm) for layer in network.layers)
    layer = network.get_layer("bn3a_branch2a")  # the name stays, so that set_trainable's expressions hold
    assert [weight.name for weight in layer.weights] == ["gamma", "beta"]
    x = np.random.default_rng(3).normal(2, 5, (2, 4, 4, 32)).astype(np.float32)
    grouped = x.reshape(2, 16, 32, 1)  # 32 channels: 32 groups of one
    mean, variance = grouped.mean(axis=(1, 3), keepdims=True), grouped.var(axis=(1, 3), keepdims=True)
    expected = ((grouped - mean) / np.sqrt(variance + layer.epsilon)).reshape(x.shape)
    found = keras.ops.convert_to_numpy(layer(x, training=True))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(x[:1], training=True)), found[:1], atol=1e-5)
