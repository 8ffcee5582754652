"""The whole network against the original: seeded weights in, predict() and detect() out, on each backend."""

import json

import numpy as np
import pytest

from mrcnn.config import Config
from tests.seeded import assign_seeded_weights

pytestmark = pytest.mark.graph

OUTPUTS = ("detections", "mrcnn_class", "mrcnn_bbox", "mrcnn_mask", "rpn_rois", "rpn_class", "rpn_bbox")
CASES = ("128_smooth128", "128_batch2", "128_drawn120x90")


def make_config(values: dict) -> Config:
    """A Config subclass with the recorded settings."""
    attributes = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return type("GoldenConfig", (Config,), {"NAME": "golden", **attributes})()


@pytest.fixture(scope="module")
def model(golden):
    from mrcnn.model import MaskRCNN

    config = make_config(golden.json("model_resnet50")["128_batch2"]["config"])
    model = MaskRCNN("inference", config, "logs")
    assign_seeded_weights(model.keras_model, golden.json("model_weights_recipe_resnet50"))
    return model


@pytest.mark.parametrize("case", CASES)
def test_predict_equals_the_original(model, golden, case):
    recorded = golden.npz(f"model_resnet50_{case}")
    images = recorded["molded_images"]
    anchors = np.repeat(model.get_anchors(images.shape[1:])[None], len(images), axis=0)
    outputs = model.keras_model.predict_on_batch([images, recorded["image_metas"].astype("float32"), anchors])
    tolerances = dict.fromkeys(OUTPUTS, 1e-3) | {"rpn_class": 2e-4, "rpn_bbox": 5e-4}
    for name, output in zip(OUTPUTS, outputs, strict=True):
        np.testing.assert_allclose(output, recorded[f"out/{name}"], atol=tolerances[name], err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_detect_equals_the_original(model, golden, case):
    recorded = golden.npz(f"model_resnet50_{case}")
    images = [recorded[f"image{i}"] for i in range(2) if f"image{i}" in recorded.files]
    for index, found in enumerate(model.detect(images)):
        prefix = f"detect{index}/"
        np.testing.assert_array_equal(found["class_ids"], recorded[prefix + "class_ids"])
        np.testing.assert_allclose(found["scores"], recorded[prefix + "scores"], atol=1e-3)
        # a coordinate that lies at half a pixel may round to either side
        assert np.abs(found["rois"] - recorded[prefix + "rois"]).max() <= 1
        shape = recorded[prefix + "masks_shape"]
        masks = np.unpackbits(recorded[prefix + "masks"])[: np.prod(shape)].reshape(shape).astype(bool)
        overlap = (found["masks"] & masks).sum((0, 1)) / np.maximum((found["masks"] | masks).sum((0, 1)), 1)
        assert overlap.min() > 0.99, f"mask IoU {overlap.min()}"


def test_any_number_of_images_gives_what_one_gives(model, golden):
    recorded = golden.npz("model_resnet50_128_batch2")
    images = [recorded["image0"], recorded["image1"], recorded["image0"]]  # 3 images, batches of 2
    for together, image in zip(model.detect_instances(images), images, strict=True):
        alone = model.detect_instances([image])[0]
        np.testing.assert_array_equal(together["rois"], alone["rois"])
        np.testing.assert_allclose(together["scores"], alone["scores"], atol=1e-5)


def test_layers_are_those_of_the_original(model, golden):
    layers = golden.json("layers_resnet50")["inference"]
    expected = {layer["name"]: layer["weights"] for layer in layers if layer["weights"]}
    shapes = {
        name: dict(zip(entry["weight_names"], entry["shapes"], strict=True))
        for entry in golden.json("h5_structure_resnet50")["layers"]
        if (name := entry["layer"]) in expected
    }
    from mrcnn.weights import _named_weights

    found = {layer.name: dict(_named_weights(layer)) for layer in model.keras_model.layers if layer.weights}
    assert list(found) == list(dict.fromkeys(found)) and set(found) == set(expected), set(found) ^ set(expected)
    for name, named in found.items():
        assert {key: list(variable.shape) for key, variable in named.items()} == shapes[name], name
    plain = {layer.name for layer in model.keras_model.layers}
    for name in ("ROI", "roi_align_classifier", "roi_align_mask", "mrcnn_detection", "mrcnn_class", "mrcnn_bbox",
                 "rpn_class", "rpn_bbox", "res4f_out", "fpn_p4add"):
        assert name in plain, json.dumps(sorted(plain))
