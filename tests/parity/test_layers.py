"""The layer lists of the original, and which of its weights each `layers=` preset trains."""

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.engine.stages import LAYER_REGEX
from mrcnn.model import MaskRCNN

pytestmark = pytest.mark.graph

# The original's layers with a name of their own that have no counterpart. The loader assigns the RPN targets in the
# graph, the losses are not layers, and reshapes are not listed.
NO_LAYER_HERE = {
    "training": {
        "input_rpn_match",
        "input_rpn_bbox",
        "output_rois",
        "pool_squeeze",
        "rpn_class_loss",
        "rpn_bbox_loss",
        "mrcnn_class_loss",
        "mrcnn_bbox_loss",
        "mrcnn_mask_loss",
    },
    "inference": {"pool_squeeze"},
}
COUNTED = ("activation_", "add_", "lambda_", "max_pooling2d_", "zero_padding2d_")


class NineClasses(Config):
    NAME = "layers"
    NUM_CLASSES = 9
    BACKBONE = "resnet50"
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = 128
    TRAIN_BN = None  # as the original's set_trainable left it


@pytest.fixture(scope="module")
def training() -> MaskRCNN:
    return MaskRCNN("training", NineClasses(), "logs")


def leaves(model: keras.Model):
    for layer in model.layers:
        yield from leaves(layer) if isinstance(layer, keras.Model) else [layer]


def trainable_names(model: keras.Model) -> set[str]:
    return {f"{layer.name}/{weight.name}:0" for layer in leaves(model) for weight in layer.trainable_weights}


@pytest.mark.parametrize("mode", ["training", "inference"])
def test_every_named_layer_is_there_and_has_the_weights(training, golden, mode):
    network = (training if mode == "training" else MaskRCNN(mode, NineClasses(), "logs")).keras_model
    found = {layer.name: layer for layer in network.layers}
    recorded = {layer["name"]: layer for layer in golden.json("layers_resnet50")[mode]}
    named = {name for name in recorded if not name.startswith(COUNTED)}
    assert named - set(found) == NO_LAYER_HERE[mode]
    for name in named & set(found):
        if name == "rpn_model":
            inner = [f"{layer.name}/{w.name}:0" for layer in leaves(found[name]) for w in layer.weights]
            assert sorted(inner) == sorted(recorded[name]["weights"])
        else:
            assert {f"{name}/{w.name}:0" for w in found[name].weights} == set(recorded[name]["weights"]), name


def test_inputs_and_outputs_of_the_inference_network(golden):
    network = MaskRCNN("inference", NineClasses(), "logs").keras_model
    recorded = golden.json("layers_resnet50")
    assert [tensor.name for tensor in network.inputs] == [n.removesuffix(":0") for n in recorded["inference_inputs"]]
    owners = [name.split("/")[0] for name in recorded["inference_outputs"]]
    shapes = [tuple(network.get_layer(name).output.shape) for name in owners if name not in ("rpn_class", "rpn_bbox")]
    assert shapes == [tuple(output.shape) for output in network.outputs[:-2]]
    assert [tuple(output.shape)[1:] for output in network.outputs[-2:]] == [(4092, 2), (4092, 4)]


@pytest.mark.parametrize("layers", ["heads", "5+", "4+", "3+", "all"])
def test_presets_train_the_originals_weights(training, golden, layers):
    recorded = golden.json("set_trainable_resnet50")[layers]
    assert LAYER_REGEX[layers] == recorded["regex"]
    training.set_trainable(LAYER_REGEX[layers], verbose=0)
    assert trainable_names(training.keras_model) == set(recorded["trainable_weights"])
    count = sum(int(np.prod(weight.shape)) for weight in training.keras_model.trainable_weights)
    assert count == recorded["parameters"]
    still = {layer.name for layer in leaves(training.keras_model) if layer.weights and not layer.trainable_weights}
    assert still == set(recorded["frozen_layers"])


@pytest.mark.parametrize("layers", ["heads", "all"])
def test_train_bn_false_takes_gamma_and_beta_out_of_every_preset(training, golden, layers):
    """Fix 11: the original's set_trainable turned them on again."""
    training.config.TRAIN_BN = False
    training.set_trainable(LAYER_REGEX[layers], verbose=0)
    recorded = set(golden.json("set_trainable_resnet50")[layers]["trainable_weights"])
    normalised = {name for name in recorded if name.endswith(("/gamma:0", "/beta:0"))}
    assert normalised and trainable_names(training.keras_model) == recorded - normalised
    training.config.TRAIN_BN = None
