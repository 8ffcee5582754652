"""Provides the detector that the tests of detection share."""

import keras
import numpy as np
import pytest

from mrcnn.model import MaskRCNN
from tests.shapes import ShapesConfig


@pytest.fixture(scope="package")
def model(tmp_path_factory):
    """Build a model with random weights whose proposals are anchors and never background, so it always detects some."""
    keras.utils.set_random_seed(3)
    model = MaskRCNN("inference", ShapesConfig(), tmp_path_factory.mktemp("logs"))
    rpn = model.keras_model.get_layer("rpn_model")
    # small kernels keep scores distinct; saturated ones would tie, and the first anchors lie in the padding
    for layer, factor in (
        (rpn.get_layer("rpn_bbox_pred"), 0.0),
        (rpn.get_layer("rpn_class_raw"), 0.01),
        (model.keras_model.get_layer("mrcnn_bbox_fc"), 0.0),
        (model.keras_model.get_layer("mrcnn_class_logits"), 0.01),
    ):
        layer.kernel.assign(layer.kernel.value * factor)
    model.keras_model.get_layer("mrcnn_class_logits").bias.assign(np.float32([-50, 0, 0, 0]))
    return model
