"""Whole models of torchvision's two versions, loaded from files, against what torchvision computes with those weights.

The recorded numbers are those of record_torchvision.py; large ones are samples of every n-th value.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.foreign import any_file
from mrcnn.inference.detector import Detector
from mrcnn.modeling.network import build_inference_network
from tests.foreign import state_dicts
from tests.foreign.recorded import Run
from tests.foreign.torchvision_weights import seeded_image, seeded_tensor

pytestmark = [pytest.mark.graph, pytest.mark.slow]
GOLDEN = pathlib.Path(__file__).parent / "golden"
SIZES = {"small": (200, 333, 256, 448), "bdd100k": (720, 1280, 720, 1280)}  # height, width, shorter, longer side
COCO = dataclasses.replace(state_dicts.R50, classes=90)


@pytest.fixture(scope="session", params=["v1", "v2"])  # so that each is loaded once, for all sizes
def model(request, tmp_path_factory) -> tuple[str, Callable[[int, int], Detector]]:
    """Load a file of seeded weights once; return the version, and its detector for any sides."""
    version = request.param
    path = weight_file(version, tmp_path_factory.mktemp("torchvision") / f"{version}.bin")
    in_file = any_file.settings_of(path)
    assert in_file is not None

    def settings(low: int, high: int) -> Config:
        config = Config()
        config.take_over(in_file | {"IMAGE_MIN_DIM": low, "IMAGE_MAX_DIM": high})
        return config

    network = build_inference_network(settings(800, 1333))
    report = any_file.load(network, path, settings(800, 1333))
    assert not report.untouched and not report.skipped
    path.unlink()
    return version, lambda low, high: Detector(network, settings(low, high))


def weight_file(version: str, path: pathlib.Path) -> pathlib.Path:
    """Write version 1 as a file of PyTorch with the published names, version 2 as safetensors."""
    tensors = {
        name: seeded_tensor(name, tuple(shape))
        for name, shape in json.loads((GOLDEN / f"torchvision_{version}.json").read_text()).items()
    }
    if version == "v2":
        return state_dicts.write(path, tensors, "safetensors")
    published = zip(state_dicts.torchvision_v1(COCO, in_memory=True), state_dicts.torchvision_v1(COCO), strict=True)
    return state_dicts.write(path, {new: tensors[old] for old, new in published}, "zip")


@pytest.fixture(scope="module", params=list(SIZES))
def found(request, model) -> Run:
    """Run every stage on one image."""
    version, detector_of = model
    height, width, low, high = SIZES[request.param]
    detector, image = detector_of(low, high), seeded_image(height, width)
    with np.load(GOLDEN / f"torchvision_{version}.npz") as file:
        golden = {key.partition("/")[2]: value for key, value in file.items() if key.startswith(request.param)}
    return Run.of(detector, [image], [golden])[0]


def test_input_and_feature_maps(found):
    found.assert_input_and_maps(1000)


def test_rpn_and_its_anchors(found):
    found.assert_rpn(2000, 500)


def test_proposals_are_the_same_set(found):
    found.assert_proposals()


def test_pooled_regions_and_box_head(found):
    found.assert_box_head()


def test_detections_in_the_input(found):
    found.assert_detections()


def test_boxes_and_masks_in_the_image(found):
    found.assert_in_image(pixels=2)
