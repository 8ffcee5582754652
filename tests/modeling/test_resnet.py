"""Compares ResNets with a second implementation in numpy, option by option, with features that torchvision computed,
and tests the names of layers that other code looks up."""

import pathlib

import keras
import numpy as np
import pytest

from mrcnn.backbones import RESNETS, ResNet, block_name
from mrcnn.errors import InputError
from mrcnn.modeling import stage_outputs
from mrcnn.modeling.applications import application_graph
from mrcnn.modeling.network import build_inference_network
from mrcnn.modeling.resnet import resnet_graph, stage5_graph
from tests.restated_resnet import Options, Restated
from tests.seeded import assign_seeded_weights
from tests.shapes import ShapesConfig

pytestmark = pytest.mark.graph

RECIPE = {"seed": 15, "overrides": {}}
BASIC, BOTTLENECK = ResNet((1, 1, 1, 2), bottleneck=False), ResNet((1, 1, 1, 2))
GROUPED = ResNet((1, 1, 1, 2), groups=4, width_per_group=32)  # 8 channels in each group of C2, for a stem of 16
CASES = {
    "bottleneck": (BOTTLENECK, {}),
    "basic": (BASIC, {}),
    "groups": (GROUPED, {}),
    "wide": (ResNet((1, 1, 1, 2), width_per_group=128), {}),
    "stride in 3x3": (BOTTLENECK, {"stride_in_1x1": False}),
    "stride in grouped 3x3": (GROUPED, {"stride_in_1x1": False}),
    "no bias": (BOTTLENECK, {"use_bias": False}),
    "epsilon": (BOTTLENECK, {"epsilon": 0.3}),
    "no epsilon": (BOTTLENECK, {"epsilon": 0.0}),
    "symmetric pooling": (BOTTLENECK, {"symmetric_padding": True}),
    "symmetric basic": (BASIC, {"symmetric_padding": True}),
    "symmetric 3x3": (BOTTLENECK, {"symmetric_padding": True, "stride_in_1x1": False}),
    "dilated": (BOTTLENECK, {"dilate_c5": True}),
    "dilated basic": (BASIC, {"dilate_c5": True}),
    "dilated groups": (GROUPED, {"dilate_c5": True, "stride_in_1x1": False}),
}
TORCHVISION = {"stride_in_1x1": False, "use_bias": False, "epsilon": 1e-5, "symmetric_padding": True}


def weights_of(model: keras.Model) -> dict[str, np.ndarray]:
    return {
        f"{layer.name}/{variable.name}": keras.ops.convert_to_numpy(variable).astype(np.float64)
        for layer in model.layers
        for variable in layer.weights
    }


@pytest.mark.parametrize("case", CASES)
def test_every_option_against_numpy(case, monkeypatch):
    sizes, options = CASES[case]
    monkeypatch.setitem(RESNETS, "tiny", sizes)
    image = keras.Input((64, 128, 3))
    model = keras.Model(image, resnet_graph(image, "tiny", stage5=True, train_bn=False, width=16, **options))
    assign_seeded_weights(model, RECIPE)
    weights = weights_of(model)
    assert ("conv1/bias" in weights) == ("res5b_branch2b/bias" in weights) == options.get("use_bias", True)
    of_numpy = Options(groups=sizes.groups, **{k: v for k, v in options.items() if k != "use_bias"})
    x = np.random.default_rng(1).uniform(-100, 100, (2, 64, 128, 3)).astype(np.float32)
    expected = Restated(weights, of_numpy).stages(x)
    for found, values in zip(model.predict_on_batch(x), expected, strict=True):
        assert found.shape == values.shape and values.std() > 0.1
        np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-4 * values.std())


@pytest.mark.parametrize("case", ["bottleneck", "symmetric 3x3", "groups"])
def test_stage_5_alone_against_numpy(case, monkeypatch):
    sizes, options = CASES[case]
    monkeypatch.setitem(RESNETS, "tiny", sizes)
    rois = keras.Input((14, 14, 64))
    model = keras.Model(rois, stage5_graph(rois, "tiny", train_bn=False, width=16, **options))
    assign_seeded_weights(model, RECIPE)
    x = np.random.default_rng(2).normal(0, 1, (3, 14, 14, 64)).astype(np.float32)
    expected = Restated(weights_of(model), Options(groups=sizes.groups, **options)).stage(x, 5, stride=2)
    assert expected.shape == (3, 7, 7, 512)
    np.testing.assert_allclose(model.predict_on_batch(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50_dc5", "resnext50_32x4d", "convnext_tiny"])
def test_features_of_torchvision(name):
    """The file holds values of C2..C5 that torchvision 0.29.1 computed in evaluation mode, on the same weights.

    The image and the weights are drawn as here; torchvision's kernels are ours, transposed. Kept are rows, columns and
    channels at equal distances, the first and the last among them. resnet50_dc5: replace_stride_with_dilation of the
    last stage, with dilation 2 in its first block too, as Detectron2. C5 of ConvNeXt ends with the normalisation of its
    classifier.
    """
    image = keras.Input((64, 96, 3))
    if name == "convnext_tiny":
        stages = application_graph(image, name, train_bn=False)
    else:
        architecture, suffix, _ = name.partition("_dc5")
        stages = resnet_graph(image, architecture, stage5=True, train_bn=False, dilate_c5=bool(suffix), **TORCHVISION)
    model = keras.Model(image, stages[1:])
    assign_seeded_weights(model, RECIPE)
    x = np.random.RandomState(15).uniform(-120, 130, (1, 64, 96, 3)).astype(np.float32)
    with np.load(pathlib.Path(__file__).with_name("torchvision_features.npz")) as recorded:
        for k, found in enumerate(model.predict_on_batch(x), 2):
            expected = recorded[f"{name}_c{k}"]
            kept = [
                np.linspace(0, side - 1, few).astype(int) for side, few in zip(found.shape[1:], (3, 3, 8), strict=True)
            ]
            assert expected.std() > 0.5
            np.testing.assert_allclose(found[0][np.ix_(*kept)], expected, rtol=1e-4, atol=1e-4 * expected.std())


def names_of(architecture: str, stage5: bool = True) -> list[str]:
    image = keras.Input((64, 64, 3))
    *stages, last = resnet_graph(image, architecture, stage5=stage5, width=16)
    assert (last is None) != stage5
    return [layer.name for layer in keras.Model(image, last if stage5 else stages).layers]


def test_resnet101_has_the_blocks_of_the_original():
    names = set(names_of("resnet101"))
    fourth = sorted(name[4] for name in names if name.startswith("res4") and name.endswith("_out"))
    assert "".join(fourth) == "abcdefghijklmnopqrstuvw"
    assert {"res2c_out", "res3d_out", "res5c_out", "bn4w_branch2c", "res5a_branch1", "bn_conv1"} <= names


def test_the_36_blocks_of_resnet152_have_letters_too():
    fourth = [name for name in names_of("resnet152") if name.startswith("res4") and name.endswith("_out")]
    assert fourth[22:28] == [f"res4{block}_out" for block in ("w", "x", "y", "z", "aa", "ab")]
    assert fourth[35:] == ["res4aj_out"]
    assert [block_name(number) for number in (0, 25, 26, 51, 52, 701, 702)] == ["a", "z", "aa", "az", "ba", "zz", "aaa"]


def test_the_output_of_a_stage_is_that_of_its_last_block(monkeypatch):
    monkeypatch.setitem(RESNETS, "resnet18", ResNet((1, 2, 28, 1), bottleneck=False))
    network = build_inference_network(ShapesConfig())
    outputs = stage_outputs.stage_outputs(network)
    for stage, block in (("C2", "2a"), ("C3", "3b"), ("C4", "4ab"), ("C5", "5a")):
        assert outputs[stage] is network.get_layer(f"res{block}_out").output


def test_without_stage_5():
    names = names_of("resnet50", stage5=False)
    assert "res4f_out" in names and not [name for name in names if name.startswith(("res5", "bn5"))]


def test_unknown_architecture():
    for build in (resnet_graph, stage5_graph):
        with pytest.raises(InputError, match=r"vgg16.*resnet18.*wide_resnet101_2"):
            build(keras.Input((64, 64, 3)), "vgg16")
