"""ConvNeXt of torchvision and timm, against what torchvision computes with the same weights, and files that do not fit.

The recorded numbers are those of record_convnext.py.
"""

import json
import pathlib
from collections.abc import Callable

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.errors import InputError
from mrcnn.foreign import any_file, loading, models
from mrcnn.foreign.tensor_files import TensorFile
from mrcnn.modeling import pretrained, weights
from mrcnn.modeling.applications import application_graph
from mrcnn.modeling.registry import REGISTRY
from tests.foreign import state_dicts
from tests.foreign.torchvision_weights import seeded_image

GOLDEN = pathlib.Path(__file__).parent / "golden" / "convnext_tiny.npz"
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
Tensors = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensors]:
    """Return the same seeded values under the names of torchvision and of timm, whose tensors have the same order."""
    theirs = state_dicts.seeded(state_dicts.convnext())
    timm = state_dicts.convnext(timm=True)
    values = (array.reshape(shape) for array, shape in zip(theirs.values(), timm.values(), strict=True))
    return {"torchvision": theirs, "timm": dict(zip(timm, values, strict=True))}


@pytest.fixture(scope="module")
def backbone() -> keras.Model:
    """Return the layers of BACKBONE="convnext_tiny" on an image of [64, 96]; tests change their values."""
    image = keras.Input((64, 96, 3))
    return keras.Model(image, application_graph(image, "convnext_tiny")[1:])


@pytest.fixture(scope="module")
def features(backbone) -> Callable[[np.ndarray], list[np.ndarray]]:
    return lambda x: [np.asarray(stage) for stage in backbone.predict_on_batch(x[None].astype(np.float32))]


def settings(**changes: object) -> Config:
    config = Config()
    config.take_over({"BACKBONE": "convnext_tiny", "NUM_CLASSES": 9} | changes)
    return config


@pytest.mark.graph
@pytest.mark.parametrize(
    ("style", "kind", "changes"),
    [
        ("torchvision", "zip", {"PIXEL_STD": STD}),
        ("timm", "safetensors", {}),  # images are not divided: the stem does it
        ("timm", "legacy", {"INPUT_FORMAT": "BGR", "MEAN_PIXEL": MEAN[::-1], "PIXEL_STD": (2.0, 3.0, 4.0)}),
    ],
)
def test_features_are_those_of_torchvision(style, kind, changes, tensors, backbone, features, tmp_path):
    path = state_dicts.write(tmp_path / "weights", tensors[style], kind)
    config = settings(**changes)
    report = any_file.load(backbone, path, config)
    assert len(report.loaded) == 99 and not report.missing and not report.skipped
    image = seeded_image(64, 96) - MEAN
    image = image[..., ::-1] if config.INPUT_FORMAT == "BGR" else image
    with np.load(GOLDEN) as recorded:
        for k, found in enumerate(features(image / config.PIXEL_STD), 2):
            expected = recorded[f"C{k}"]
            assert expected.std() > 0.5
            sample = found.reshape(-1)[:: found.size // 800]
            np.testing.assert_allclose(sample, expected, rtol=1e-4, atol=1e-4)


def test_names_and_shapes_are_those_of_torchvision():
    with np.load(GOLDEN) as recorded:
        shapes = json.loads(str(recorded["shapes"]))
    assert shapes == {name: list(shape) for name, shape in state_dicts.convnext().items()}


@pytest.mark.parametrize("timm", [False, True])
@pytest.mark.parametrize(
    ("blocks", "width", "name", "layer"),
    [
        ((3, 3, 9, 3), 96, "convnext_tiny", "convnext_tiny_stage_2_block_8_layer_scale"),
        ((3, 3, 27, 3), 96, "ConvNeXtSmall", "convnext_small_stage_2_block_26_layernorm"),
        ((3, 3, 27, 3), 128, "ConvNeXtBase", "convnext_base_downsampling_conv_2"),
        ((3, 3, 27, 3), 192, "ConvNeXtLarge", "convnext_large_stem_conv"),
        ((3, 3, 27, 3), 256, "ConvNeXtXLarge", "layer_normalization"),
    ],
)
def test_size_follows_from_blocks_and_channels(blocks, width, name, layer, timm):
    model = read(unallocated(state_dicts.convnext(blocks, width, timm)))
    assert model.settings == {"BACKBONE": name} and layer in model.layers
    assert sorted(model.ignored) == [f"{'head.fc' if timm else 'classifier.2'}.{n}" for n in ("bias", "weight")]


def test_another_size_fills_every_layer():
    tensors = unallocated(state_dicts.convnext((3, 3, 27, 3)))
    tensors |= {"features.5.26.block.2.bias": np.full(384, 7), "features.4.1.bias": np.full(384, 8)}
    image = keras.Input((64, 64, 3))
    network = keras.Model(image, application_graph(image, "ConvNeXtSmall")[1:])
    report = loading.load_model(network, read(tensors), settings(BACKBONE="ConvNeXtSmall"))
    assert set(report.loaded) == set(weights.leaf_layers(network)) and not report.skipped
    assert (np.array(network.get_layer("convnext_small_stage_2_block_26_layernorm").beta) == 7).all()
    assert (np.array(network.get_layer("convnext_small_downsampling_conv_1").bias) == 8).all()


def unallocated(shapes: state_dicts.Shapes) -> Tensors:
    return {name: np.broadcast_to(np.float32(1), shape) for name, shape in shapes.items()}


def read(tensors: Tensors) -> models.ForeignModel:
    return models.from_tensors(TensorFile(pathlib.Path("faulty.pth"), "torch", tensors, {}))


# ------------------------------------------------------------------------------------------- files that do not fit


def without(*names: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: array for name, array in tensors.items() if not name.startswith(names)}


def shaped(name: str, *shape: int) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: np.zeros(shape, np.float32)}


FAULTS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "no stem": (without("features.0.0."), "convnext_stem_conv"),
    "no bias of the stem": (without("features.0.0.bias"), "convnext_stem_conv/bias"),
    "no scale": (without("features.5.4.layer_scale"), "convnext_tiny_stage_2_block_4_layer_scale"),
    "half a norm": (without("features.4.0.bias"), "convnext_downsampling_layernorm_1/beta"),
    "no kernel": (without("features.3.1.block.3.weight"), "convnext_stage_1_block_1_pointwise_conv_1/kernel"),
    "no last norm": (without("classifier.0."), "layer_normalization"),
    "no block": (without("features.5.8."), "(3, 3, 8, 3) blocks"),
    "block too many": (shaped("features.1.3.block.0.weight", 96, 1, 7, 7), "convnext_stage_0_block_3"),
    "scale too many": (shaped("features.1.3.layer_scale", 96, 1, 1), "convnext_tiny_stage_0_block_3_layer_scale"),
    "response norm of version 2": (shaped("stages.0.blocks.0.mlp.grn.weight", 384), "mlp.grn.weight"),
    "both projects' names": (shaped("stages.3.blocks.2.gamma", 768), "stages.3.blocks.2.gamma"),
    "channels of a kernel": (shaped("features.3.0.block.0.weight", 192, 2, 7, 7), "stage_1_block_0_depthwise_conv"),
    "cells of a kernel": (shaped("features.2.1.weight", 192, 96, 3, 3), "downsampling_conv_0/kernel: 3x3x96x192"),
    "axes of a kernel": (shaped("features.3.0.block.3.weight", 768, 192, 1, 1), "pointwise_conv_1/kernel: 1x1x192x768"),
    "axes of the stem": (shaped("features.0.0.weight", 96, 48), "convnext_stem_conv"),
    "axes of a scale": (shaped("features.7.0.layer_scale", 768, 2, 1), "features.7.0.layer_scale"),
    "scale of no axis": (shaped("features.7.0.layer_scale"), "features.7.0.layer_scale"),
    "length of a scale": (shaped("features.7.0.layer_scale", 96, 1, 1), "stage_3_block_0_layer_scale/gamma: 96"),
    "length of a norm": (shaped("features.0.1.weight", 95), "convnext_tiny_stem_layernorm/gamma: 95"),
    "length of a bias": (shaped("features.2.1.bias", 191), "features.2.1.bias"),
}


@pytest.fixture(scope="module")
def before(backbone) -> Tensors:
    """Return the values of a backbone's variables that no file has."""
    for variable in backbone.weights:
        variable.assign(keras.ops.full_like(variable, 2.5))
    return {variable.path: np.array(variable) for variable in backbone.weights}


def assert_unchanged(backbone: keras.Model, before: Tensors) -> None:
    assert all(np.array_equal(before[variable.path], np.array(variable)) for variable in backbone.weights)


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_file_changes_nothing(fault, tensors, backbone, before):
    change, named = FAULTS[fault]
    with pytest.raises(InputError) as error:
        loading.load_model(backbone, read(change(tensors["torchvision"])), settings())
    assert named in str(error.value) and "faulty.pth" in str(error.value)
    assert_unchanged(backbone, before)


def test_value_that_is_no_number_changes_nothing(tensors, backbone, before, tmp_path):
    scale = np.full((96, 1, 1), np.nan, np.float32)
    path = tmp_path / "faulty.pth"
    state_dicts.write(path, tensors["torchvision"] | {"features.1.0.layer_scale": scale}, "zip")
    with pytest.raises(InputError, match=r"faulty.pth.*features.1.0.layer_scale"):
        any_file.load(backbone, path, settings())
    assert_unchanged(backbone, before)


def test_backbones_of_another_kind_name_their_own(tensors, backbone, before):
    resnet = read(state_dicts.seeded(state_dicts.imagenet(state_dicts.Sizes())))
    with pytest.raises(InputError, match=r"file alone has.*conv1(?s:.*)BACKBONE='resnet18'"):
        loading.load_model(backbone, resnet, settings())
    small = read(unallocated(state_dicts.convnext((3, 3, 27, 3))))
    with pytest.raises(InputError, match=r"convnext_small_stem_conv(?s:.*)BACKBONE='ConvNeXtSmall'"):
        loading.load_model(backbone, small, settings())
    assert_unchanged(backbone, before)


@pytest.mark.parametrize("name", ["convnext_tiny", "ConvNeXtTiny"])
def test_imagenet_weights_are_torchvisions(name, monkeypatch):
    monkeypatch.setattr(pretrained, "fetch", lambda name, folder: REGISTRY[name].file_name)
    assert pretrained.imagenet_path(name) == "convnext_tiny-983f1562.pth"
