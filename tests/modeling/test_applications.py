"""Compares models of keras.applications inside the network with the models themselves."""

import keras
import numpy as np
import pytest
from keras import layers

from mrcnn.backbones import ALIASES, APPLICATIONS
from mrcnn.config import Config
from mrcnn.errors import InputError
from mrcnn.modeling import weights
from mrcnn.modeling.applications import application_graph
from mrcnn.modeling.grouped import GroupedConv2D
from mrcnn.modeling.normalization import BatchNorm

# Model -> the layers whose outputs are C2..C5
STAGES = {
    "MobileNetV2": ("block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu", "out_relu"),
    "ResNet50V2": ("conv2_block2_out", "conv3_block3_out", "conv4_block5_out", "post_relu"),
    "EfficientNetB0": (
        "block3a_expand_activation",
        "block4a_expand_activation",
        "block6a_expand_activation",
        "top_activation",
    ),
    "EfficientNetV2B0": (
        "block2b_add",
        "block4a_expand_activation",
        "block6a_expand_activation",
        "top_activation",
    ),
}


def randomise(model: keras.Model) -> None:
    """Draw weights that keep values of the order of 1, and statistics of BatchNorm."""
    rng = np.random.default_rng(3)
    for variable in model.weights:
        shape = tuple(variable.shape)
        if variable.name in ("gamma", "moving_variance"):
            values = rng.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            fan_in = (
                np.prod(shape[:2]) if "depthwise" in variable.path or "dw" in variable.path else np.prod(shape[:-1])
            )
            values = rng.normal(0, np.sqrt(2 / fan_in), shape)
        else:
            values = rng.normal(0, 0.1, shape)
        variable.assign(values)


def native(name: str, shape: tuple[int, int, int]) -> keras.Model:
    """Return the model of Keras, without its preprocessing."""
    options = {"include_preprocessing": False} if name.startswith("EfficientNetV2") else {}
    return getattr(keras.applications, name)(include_top=False, weights=None, input_shape=shape, **options)


def inlined(name: str, shape: tuple, train_bn=False) -> keras.Model:
    image = keras.Input(shape)
    return keras.Model(image, application_graph(image, name, train_bn)[1:])


@pytest.mark.parametrize("name", [pytest.param("MobileNetV2", marks=pytest.mark.graph), *list(STAGES)[1:]])
def test_stages_have_the_values_of_the_model_whose_file_is_loaded(name, tmp_path):
    theirs, ours = native(name, (64, 128, 3)), inlined(name, (None, None, 3))
    randomise(theirs)
    weights.save_weights(theirs, tmp_path / "theirs.h5")
    report = weights.load_weights(ours, tmp_path / "theirs.h5")
    assert not report.untouched and set(report.skipped) <= {"normalization"}
    x = np.random.default_rng(1).normal(0, 1, (1, 64, 128, 3)).astype(np.float32)
    first = theirs.layers[0].output
    if name == "EfficientNetB0":  # its preprocessing is part of the model
        first = theirs.get_layer("normalization").output
    expected = keras.Model(first, [theirs.get_layer(stage).output for stage in STAGES[name]]).predict_on_batch(x)
    for found, values, stride in zip(ours.predict_on_batch(x), expected, (4, 8, 16, 32), strict=True):
        assert found.shape[1:3] == (64 // stride, 128 // stride) and values.std() > 1e-3
        np.testing.assert_allclose(found, values, rtol=1e-3, atol=1e-4 * values.std())


def test_convnext_has_the_layers_of_a_file_of_keras(tmp_path):
    """Values are compared with torchvision's in test_resnet."""
    keras.applications.ConvNeXtTiny(include_top=False, weights=None)  # counts a layer without a name
    ours, again = inlined("convnext_tiny", (64, 96, 3)), inlined("ConvNeXtTiny", (None, None, 3))
    names = [(layer.name, [variable.name for variable in layer.weights]) for layer in ours.layers if layer.weights]
    assert names == [(layer.name, [v.name for v in layer.weights]) for layer in again.layers if layer.weights]
    assert dict(names)["layer_normalization"] == ["gamma", "beta"]
    assert dict(names)["convnext_tiny_stage_2_block_8_layer_scale"] == ["gamma"]
    assert not [layer for layer in ours.layers if isinstance(layer, keras.Model | layers.Normalization)]
    grouped = [layer for layer in ours.layers if isinstance(layer, layers.Conv2D) and layer.groups > 1]
    assert len(grouped) == 18 and all(isinstance(layer, GroupedConv2D) for layer in grouped)


@pytest.mark.graph
@pytest.mark.parametrize("train_bn, moves, batch", [(False, False, False), (None, True, True), (True, True, True)])
def test_batchnorm_obeys_train_bn(train_bn, moves, batch):
    model = inlined("MobileNet", (64, 64, 3), train_bn)
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    assert len(norms) == 27 and all(isinstance(layer, BatchNorm) for layer in norms)
    x = np.random.default_rng(1).normal(3, 2, (2, 64, 64, 3)).astype(np.float32)
    first = keras.Model(model.inputs, model.get_layer("conv1_bn").output)
    convolved = keras.ops.convert_to_numpy(keras.Model(model.inputs, model.get_layer("conv1").output)([x]))
    variance, epsilon = convolved.var(axis=(0, 1, 2)), model.get_layer("conv1_bn").epsilon
    found = keras.ops.convert_to_numpy(first([x], training=True))
    normed = (convolved - convolved.mean(axis=(0, 1, 2))) / np.sqrt(variance + epsilon)
    np.testing.assert_allclose(found, normed if batch else convolved / np.sqrt(1 + epsilon), rtol=1e-3, atol=1e-3)
    assert (keras.ops.convert_to_numpy(model.get_layer("conv1_bn").moving_mean).any()) == moves


def test_names_of_settings_are_those_of_keras():
    assert all(callable(getattr(keras.applications, name)) for name in APPLICATIONS)
    config = Config()
    for name in (*APPLICATIONS, *ALIASES):
        config.BACKBONE, config.NUM_CLASSES = name, 2
        config.validate()


@pytest.mark.parametrize(
    "name, train_bn, message",
    [
        ("Xception", False, "Xception.*no feature map of stride 4;"),
        ("NASNetMobile", False, "NASNetMobile.*no feature map of stride 4 or 8 or 16;"),
        ("ResNeXt50", False, "no model 'ResNeXt50'.*ConvNeXtTiny"),
        ("resnet", False, "no model 'resnet'"),  # a module of keras.applications
        ("MobileNet", "group", "TRAIN_BN is 'group'; MobileNet has no GroupNorm"),
    ],
)
def test_refused(name, train_bn, message):
    with pytest.raises(InputError, match=message):
        application_graph(keras.Input((64, 64, 3)), name, train_bn)


def test_settings_refuse_models_without_the_strides():
    with pytest.raises(
        InputError, match=r"BACKBONE is 'InceptionV3'; give resnet18, .*convnext_tiny, .* strides 4, 8, 16 and 32"
    ):
        Config().override(["BACKBONE=InceptionV3"])
