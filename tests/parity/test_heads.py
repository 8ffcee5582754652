"""The box head and the mask head against the original's, with its weights."""

import keras
import numpy as np
import pytest

from mrcnn.modeling.roi_heads import build_fpn_mask_graph, fpn_classifier_graph

pytestmark = pytest.mark.graph
INPUTS = ("rois", "image_meta", "P2", "P3", "P4", "P5")


@pytest.fixture(scope="module")
def recorded(golden):
    return golden.npz("graph_heads")


@pytest.fixture(scope="module")
def heads(recorded):
    inputs = [keras.Input(recorded[f"heads/{key}"].shape[1:]) for key in INPUTS]
    rois, meta, *maps = inputs
    boxes = fpn_classifier_graph(rois, maps, meta, 7, 9, train_bn=False, fc_layers_size=32)
    masks = build_fpn_mask_graph(rois, maps, meta, 14, 9, train_bn=False)
    model = keras.Model(inputs, [*boxes, masks])
    for layer in model.layers:
        layer.set_weights([recorded[f"heads/w/{layer.name}/{weight.name}"] for weight in layer.weights])
    return model


def test_weights_have_the_original_names(heads, golden):
    expected = {tuple(pair) for pair in golden.json("graph_heads")["heads_weight_names"]}
    assert {(layer.name, f"{layer.name}/{w.name}:0") for layer in heads.layers for w in layer.weights} == expected


def test_outputs_equal_the_original(heads, recorded):
    outputs = heads.predict_on_batch([recorded[f"heads/{key}"] for key in INPUTS])
    for output, name in zip(outputs, ("class_logits", "class_probs", "bbox", "mask"), strict=True):
        output = output[:, :, ::4] if name == "mask" else output  # every fourth row is recorded
        np.testing.assert_allclose(output, recorded[f"heads/out/{name}"], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("layer", ["mrcnn_class_logits", "mrcnn_class", "mrcnn_bbox", "mrcnn_mask"])
def test_layers_that_client_code_reads_give_the_head_outputs(heads, recorded, layer):
    """Notebooks take get_layer(name).output: the layer of that name must end in [N, R, ...]."""
    name = {"mrcnn_class_logits": "class_logits", "mrcnn_class": "class_probs"}.get(layer, layer.removeprefix("mrcnn_"))
    part = keras.Model(heads.inputs, heads.get_layer(layer).output)
    found = part.predict_on_batch([recorded[f"heads/{key}"] for key in INPUTS])
    found = found[:, :, ::4] if name == "mask" else found
    np.testing.assert_allclose(found, recorded[f"heads/out/{name}"], atol=1e-4)
