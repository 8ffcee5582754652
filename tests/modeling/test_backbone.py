"""Compares the sizes of all backbones with published figures, and the feature pyramid with sums."""

import re

import keras
import numpy as np
import pytest

from mrcnn.backbones import RESNETS
from mrcnn.config import Config
from mrcnn.errors import InputError
from mrcnn.modeling.backbone import backbone_graph, fpn_graph, later_layers
from mrcnn.modeling.normalization import BatchNorm, normalize
from mrcnn.modeling.resnet import resnet_graph

# Parameters with a classifier of 1000 classes, and 10^9 multiply-adds for an image of 224 x 224, as torchvision
# documents its models. It has no resnext101_32x4d; those figures were counted with its class ResNet.
PUBLISHED = {
    "resnet18": (11_689_512, 1.81),
    "resnet34": (21_797_672, 3.66),
    "resnet50": (25_557_032, 4.09),
    "resnet101": (44_549_160, 7.80),
    "resnet152": (60_192_808, 11.51),
    "resnext50_32x4d": (25_028_904, 4.23),
    "resnext101_32x4d": (44_177_704, 7.97),
    "resnext101_32x8d": (88_791_336, 16.41),
    "resnext101_64x4d": (83_455_272, 15.46),
    "wide_resnet50_2": (68_883_240, 11.40),
    "wide_resnet101_2": (126_886_696, 22.75),
    "convnext_tiny": (28_589_128, 4.46),
}
# With biases and moving statistics, without the classifier, in keras.applications
OF_KERAS = {"resnet50": 23_587_712, "resnet101": 42_658_176, "resnet152": 58_370_944}


def build(backbone: str, side: int, **settings: object) -> keras.Model:
    config = Config()
    config.BACKBONE = backbone
    for name, value in settings.items():
        setattr(config, name, value)
    image = keras.Input((side, side, 3))
    return keras.Model(image, backbone_graph(image, config)[1:])


def test_published_figures_are_of_all_backbones():
    assert {*RESNETS, "convnext_tiny"} == set(PUBLISHED)


@pytest.mark.parametrize("backbone", PUBLISHED)
def test_parameters_and_multiply_adds_are_the_published_ones(backbone):
    model = build(backbone, 224, BACKBONE_BIAS=False, STRIDE_IN_1X1=False)
    channels = model.outputs[-1].shape[-1]
    parameters, billions = PUBLISHED[backbone]
    learnt = [variable for variable in model.weights if not variable.name.startswith("moving_")]
    assert sum(np.prod(variable.shape) for variable in learnt) + channels * 1000 + 1000 == parameters
    # Each cell of a convolution's or dense layer's output multiplies the whole kernel.
    kernels = [(layer.kernel.shape, layer.output.shape) for layer in model.layers if hasattr(layer, "kernel")]
    multiply_adds = sum(np.prod(kernel) * np.prod(output[1:3]) for kernel, output in kernels) + channels * 1000
    assert multiply_adds / 1e9 == pytest.approx(billions, abs=0.0051)
    assert [stage.shape[1:3] for stage in model.outputs] == [(56, 56), (28, 28), (14, 14), (7, 7)]


@pytest.mark.parametrize("backbone", OF_KERAS)
def test_parameters_with_biases_are_those_of_keras(backbone):
    assert build(backbone, 64).count_params() == OF_KERAS[backbone]


def test_settings_reach_the_network():
    settings = {
        "STRIDE_IN_1X1": False,
        "BACKBONE_BIAS": False,
        "BN_EPSILON": 1e-5,
        "BACKBONE_SYMMETRIC_PADDING": True,
        "BACKBONE_WIDTH": 16,
    }
    ours, model = build("resnet50", 64), build("resnet50", 64, **settings)
    first, second = (network.get_layer("res3a_branch2a") for network in (ours, model))
    assert (first.strides, first.use_bias, first.filters) == ((2, 2), True, 128)
    assert (second.strides, second.use_bias, second.filters) == ((1, 1), False, 32)
    assert model.get_layer("res3a_branch2b").strides == (2, 2)
    assert (ours.get_layer("bn3a_branch2a").epsilon, model.get_layer("bn3a_branch2a").epsilon) == (1e-3, 1e-5)
    assert model.get_layer("bn_conv1").epsilon == 1e-5
    names = {layer.name for layer in model.layers} - {layer.name for layer in ours.layers}
    assert {"pool1_pad", "res3a_branch2b_pad", "res4a_branch2b_pad", "res5a_branch2b_pad"} <= names


def test_epsilon_of_normalize():
    x = keras.Input((4, 4, 32))
    model = keras.Model(x, normalize(x, "bn", False, epsilon=3.0))
    found = model.predict_on_batch(np.ones((1, 4, 4, 32), np.float32))
    np.testing.assert_allclose(found, 0.5, rtol=1e-6)  # 1 / sqrt(moving variance 1 + 3)


def test_later_layers_of_a_resnet_are_those_that_their_names_say():
    config = Config()
    config.BACKBONE, config.BACKBONE_WIDTH = "resnet18", 16
    image = keras.Input((64, 64, 3), name="input_image")
    network = keras.Model(image, fpn_graph(backbone_graph(image, config), 16))
    for stage in (3, 4, 5):
        pattern = re.compile(rf"(res|bn)[{stage}-5].*")
        expected = [layer.name for layer in network.layers if layer.weights and pattern.fullmatch(layer.name)]
        assert sorted(later_layers(network, stage)) == sorted(expected) != []


def test_a_nested_backbone_has_no_later_layers():
    inner = keras.Input((64, 64, 3))
    nested = keras.Model(inner, resnet_graph(inner, "resnet18", stage5=True, width=16)[1:])
    image = keras.Input((64, 64, 3), name="input_image")
    network = keras.Model(image, fpn_graph([None, *nested(image)], 16))
    with pytest.raises(InputError, match=r"3\+: the backbone is one nested model"):
        later_layers(network, 3)


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
