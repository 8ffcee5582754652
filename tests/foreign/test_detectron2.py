"""Whole models of Detectron2 and MMDetection, loaded from files, against a restatement of what these projects compute.

The recorded numbers are those of record_detectron2.py. It pads the images of all models to multiples of 32, as we do;
Detectron2 pads those of C4 to nothing, so what C4 computes at the lower and right border of images of other sizes is
left out here. Its own weights of real images are not compared either: there are none that could be shipped.
"""

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.foreign import any_file
from mrcnn.inference.detector import Detector
from mrcnn.modeling.network import build_inference_network
from tests.foreign.recorded import Run
from tests.foreign.variants import GOLDEN, IMAGES, LONGER, ROWS, SHORTER, VALUES, VARIANTS, image_of

pytestmark = [pytest.mark.graph, pytest.mark.slow]
# Loading is numpy's; these three have every part of the graph that the others have but grouped convolutions.
ON_JAX = ("lsj", "c4", "mmdet")


@pytest.fixture(scope="module", params=ON_JAX if keras.config.backend() == "jax" else VARIANTS)
def runs(request, tmp_path_factory) -> dict[str, Run]:
    """Load a variant from a file, and run every stage on each image."""
    name, variant = request.param, VARIANTS[request.param]
    path = variant.write(tmp_path_factory.mktemp("variants") / f"{name}.bin")
    in_file = any_file.settings_of(path)
    assert in_file is not None
    sides = {"IMAGE_MIN_DIM": SHORTER, "IMAGE_MAX_DIM": LONGER}
    config = Config()
    config.take_over(in_file if variant.meta else in_file | sides)  # a configuration in the file says the sides
    config.validate()
    network = build_inference_network(config)
    report = any_file.load(network, path, config)
    assert not report.untouched and not report.skipped
    with np.load(GOLDEN / f"detectron2_{name}.npz") as file:
        golden = dict(file)
    found = Run.of(
        Detector(network, config),
        [image_of(image) for image in IMAGES],  # their inputs have one size
        [{key.partition("/")[2]: value for key, value in golden.items() if key.startswith(f"{i}/")} for i in IMAGES],
    )
    return dict(zip(IMAGES, found, strict=True))


@pytest.fixture(params=list(IMAGES))
def found(request, runs) -> Run:
    return runs[request.param]


def test_input_and_feature_maps(found):
    found.assert_input_and_maps(VALUES)


def test_rpn_and_its_anchors(found):
    found.assert_rpn(VALUES, ROWS)


def test_proposals_are_the_same_set(found):
    found.assert_proposals()


def test_pooled_regions_and_box_head(found):
    found.assert_box_head()


def test_detections_in_the_input(found):
    found.assert_detections()


def test_boxes_and_masks_in_the_image(found):
    found.assert_in_image(pixels=2)
