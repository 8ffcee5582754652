"""The .h5 layout of a file that the original code wrote with Keras 2.1.6: layer names, weight names, shapes, bytes."""

import hashlib

import h5py
import keras
import numpy as np
import pytest
from keras import layers as L

from mrcnn.config import Config
from mrcnn.modeling import weights
from mrcnn.modeling.network import build_inference_network
from mrcnn.modeling.normalization import BatchNorm
from tests.seeded import seeded_array

pytestmark = pytest.mark.graph

# Enough of each kind: stem, a residual block, FPN, the nested RPN, former TimeDistributed layers, class-specific heads.
LAYERS = [
    "conv1",
    "bn_conv1",
    "res2a_branch2a",
    "bn2a_branch2a",
    "res2a_branch1",
    "bn2a_branch1",
    "fpn_c5p5",
    "rpn_model",
    "mrcnn_class_bn1",
    "mrcnn_class_logits",
    "mrcnn_bbox_fc",
    "mrcnn_mask_conv1",
    "mrcnn_mask_bn1",
    "mrcnn_mask_deconv",
    "mrcnn_mask",
]


@pytest.fixture(scope="module")
def structure(golden):
    """The original's layers by name."""
    return {layer["layer"]: layer for layer in golden.json("h5_structure_resnet50")["layers"]}


@pytest.fixture(scope="module")
def draw(golden):
    """draw(layer, weight, shape) -> the array of the original's file, which was made from seeds."""
    recipe = golden.json("model_weights_recipe_resnet50")
    return lambda layer, weight, shape: seeded_array(layer, weight, tuple(shape), recipe)


@pytest.fixture(scope="module")
def original(structure, draw, tmp_path_factory):
    """A file as Keras 2.1.6 lays it out, with the layers of LAYERS and one without weights."""
    path = tmp_path_factory.mktemp("h5") / "original.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in ["input_image", *LAYERS]]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.1.6"
        file.create_group("input_image").attrs["weight_names"] = []
        for name in LAYERS:
            layer, group = structure[name], file.create_group(name)
            group.attrs["weight_names"] = [weight.encode() for weight in layer["weight_names"]]
            for weight, shape in zip(layer["weight_names"], layer["shapes"], strict=True):
                owner, kind = weight.removesuffix(":0").split("/")
                group[weight] = draw(owner, kind, shape)
    return path


def layer_for(name: str, kinds: list[str], shapes: list[list[int]]) -> tuple[L.Layer, tuple]:
    """A layer with the original's weights and the shape of its input."""
    if kinds[0] == "gamma":
        return BatchNorm(name=name), (1, 1, *shapes[0])
    if len(shapes[0]) == 2:
        return L.Dense(shapes[0][1], name=name), (shapes[0][0],)
    if name == "mrcnn_mask_deconv":  # kernel [h, w, out, in]
        return L.Conv2DTranspose(shapes[0][2], 2, strides=2, name=name), (1, 1, shapes[0][3])
    return L.Conv2D(shapes[0][3], shapes[0][:2], padding="same", name=name), (1, 1, shapes[0][2])


def build(structure: dict, names: list[str], model_name: str) -> keras.Model:
    """Independent layers side by side, each with an input of its own; rpn_model as a model inside."""
    inputs, outputs = [], []
    for name in names:
        layer = structure[name]
        owners = list(dict.fromkeys(weight.split("/")[0] for weight in layer["weight_names"]))
        if owners != [name]:
            by_owner = {owner: {"layer": owner} for owner in owners}
            for owner in owners:
                mine = [i for i, weight in enumerate(layer["weight_names"]) if weight.startswith(owner + "/")]
                by_owner[owner] |= {key: [layer[key][i] for i in mine] for key in ("weight_names", "shapes")}
            inner = build(by_owner, owners, name)
            inputs += [keras.Input(tensor.shape[1:]) for tensor in inner.inputs]
            outputs += inner(inputs[-len(inner.inputs) :])
            continue
        kinds = [weight.split("/")[1].removesuffix(":0") for weight in layer["weight_names"]]
        made, shape = layer_for(name, kinds, layer["shapes"])
        inputs.append(keras.Input(shape))
        outputs.append(made(inputs[-1]))
    return keras.Model(inputs, outputs, name=model_name)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def test_loads_the_original_and_writes_it_again(structure, original, tmp_path):
    model = build(structure, LAYERS, "mask_rcnn")
    report = weights.load_weights(model, original)
    rpn = ["rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred"]
    assert set(report.loaded) == {*LAYERS, *rpn} - {"rpn_model"}
    assert report.untouched == report.skipped == []
    weights.save_weights(model, tmp_path / "ours.h5")
    with h5py.File(tmp_path / "ours.h5") as file:
        for name in LAYERS:
            golden = structure[name]
            assert [n.decode() for n in file[name].attrs["weight_names"]] == golden["weight_names"]
            for weight, shape, sha256, dtype in zip(
                golden["weight_names"], golden["shapes"], golden["sha256"], golden["dtypes"], strict=True
            ):
                dataset = file[name][weight]
                assert (list(dataset.shape), dataset.dtype, digest(dataset[()])) == (shape, dtype, sha256), weight


def test_variables_hold_the_right_arrays(structure, original, draw):
    model = build(structure, ["bn_conv1", "rpn_model", "mrcnn_mask_deconv"], "part")
    weights.load_weights(model, original)
    batch_norm, deconv = model.get_layer("bn_conv1"), model.get_layer("mrcnn_mask_deconv")
    shared = model.get_layer("rpn_model").get_layer("rpn_conv_shared")
    for layer, weight in (
        (batch_norm, "gamma"),
        (batch_norm, "beta"),
        (batch_norm, "moving_mean"),
        (batch_norm, "moving_variance"),
        (deconv, "kernel"),
        (shared, "kernel"),
        (shared, "bias"),
    ):
        value = keras.ops.convert_to_numpy(getattr(layer, weight))
        np.testing.assert_array_equal(value, draw(layer.name, weight, value.shape), err_msg=f"{layer.name}/{weight}")


def test_the_whole_network_has_the_originals_weights(structure, tmp_path):
    """Every layer with weights of a ResNet-50 model of nine classes: names, order and shapes in the file we write."""

    class NineClasses(Config):
        NAME = "nine"
        NUM_CLASSES = 9
        BACKBONE = "resnet50"
        IMAGE_MIN_DIM = IMAGE_MAX_DIM = 128

    weights.save_weights(build_inference_network(NineClasses()), tmp_path / "w.h5", dtype="float16")
    with h5py.File(tmp_path / "w.h5") as file:
        found = {}
        for name in (n.decode() for n in file.attrs["layer_names"]):
            names = [n.decode() for n in file[name].attrs["weight_names"]]
            if names:
                found[name] = (names, [list(file[name][n].shape) for n in names])
    expected = {name: (layer["weight_names"], layer["shapes"]) for name, layer in structure.items() if layer["shapes"]}
    assert found == expected and list(found) == list(expected)
