"""Whole models of torchvision's two versions, loaded from files, against what torchvision computes with those weights.

The recorded numbers are those of record_torchvision.py; large ones are samples of every n-th value.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.foreign import any_file
from mrcnn.inference.detector import Detector
from mrcnn.modeling.network import build_inference_network
from mrcnn.modeling.postprocessing import full_masks
from mrcnn.modeling.stage_outputs import run, stage_outputs
from tests.foreign import state_dicts
from tests.foreign.torchvision_weights import seeded_image, seeded_tensor

pytestmark = [pytest.mark.graph, pytest.mark.slow]
GOLDEN = pathlib.Path(__file__).parent / "golden"
SIZES = {"small": (200, 333, 256, 448), "bdd100k": (720, 1280, 720, 1280)}  # height, width, shorter, longer side
MAPS = [f"C{k}" for k in range(2, 6)] + [f"P{k}" for k in range(2, 7)]
XY = [1, 0, 3, 2]  # (y, x, h, w) -> (x, y, w, h)
COCO = dataclasses.replace(state_dicts.R50, classes=90)


@dataclasses.dataclass(frozen=True)
class Run:
    """What we compute, and what torchvision did, for one image.

    Attributes:
        ours: stage -> values of this image, without the batch axis.
        detector: with the settings of the image's size.
        image: uint8 [H, W, 3].
        input: float32 [h, w, 3].
        window: (y1, x1, y2, x2), the part of it that is not padding.
        golden: name -> recorded values.
    """

    ours: dict[str, np.ndarray]
    detector: Detector
    image: np.ndarray
    input: np.ndarray
    window: np.ndarray
    golden: dict[str, np.ndarray]

    def boxes_px(self, boxes_norm: np.ndarray) -> np.ndarray:
        """Return boxes [n, (y1, x1, y2, x2)] as torchvision writes them, [n, (x1, y1, x2, y2)] px."""
        height, width = self.input.shape[:2]
        return (boxes_norm * [height, width, height, width])[:, XY]

    def final(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return boxes, class ids, scores and masks [n, 28, 28] in the image."""
        found, masks = self.ours["detections"], self.ours["mrcnn_mask"]
        return self.detector.unmold(found, masks, self.image.shape, self.input.shape, self.window)


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
    molded, metas, windows = detector.mold_inputs([image])
    outputs = stage_outputs(detector.network)
    for name in ("rpn_class_logits", "mrcnn_class_logits", "roi_align_classifier"):
        outputs[name] = detector.network.get_layer(name).output
    wanted = [*MAPS, "rpn_class_logits", "rpn_bbox", "proposals", "roi_align_classifier", "mrcnn_class_logits"]
    wanted += ["mrcnn_bbox", "detections", "mrcnn_mask"]
    values = run(detector.network, [(n, outputs[n]) for n in wanted], detector.network_inputs(molded, metas))
    ours = {name: np.asarray(keras.ops.convert_to_numpy(value))[0] for name, value in values.items()}
    with np.load(GOLDEN / f"torchvision_{version}.npz") as file:
        golden = {key.partition("/")[2]: value for key, value in file.items() if key.startswith(request.param)}
    return Run(ours, detector, image, molded[0], windows[0], golden)


def sampled(values: np.ndarray, size: int) -> np.ndarray:
    """Return every n-th value or row, as many as were recorded."""
    return values[:: max(1, len(values) // size)]


def assert_near(ours: np.ndarray, golden: np.ndarray, fraction: float = 1e-4) -> None:
    """Compare up to a fraction of the largest recorded number."""
    np.testing.assert_allclose(ours, golden, rtol=0, atol=fraction * np.abs(golden).max())


def test_input_and_feature_maps(found):
    assert_near(sampled(found.input.reshape(-1), 1000), found.golden["input"])
    assert list(found.input.shape[:2]) == list(found.golden["shape"])
    for name in MAPS:
        assert found.ours[name].shape == tuple(found.golden[f"{name}_shape"])
        assert_near(sampled(found.ours[name].reshape(-1), 1000), found.golden[name])


def test_rpn_and_its_anchors(found):
    logits = found.ours["rpn_class_logits"][:, 1]
    every = max(1, len(logits) // 500)
    assert_near(sampled(logits, 2000), found.golden["rpn_logits"])
    assert_near(found.ours["rpn_bbox"][::every, XY], found.golden["rpn_deltas"])
    found.detector.get_anchors(found.input.shape)
    np.testing.assert_allclose(found.detector.anchors_px()[::every, XY], found.golden["anchors"], atol=1e-4)


def test_proposals_are_the_same_set(found):
    ours, golden = found.boxes_px(found.ours["proposals"]), found.golden["proposals"]
    assert (np.abs(ours).sum(axis=1) > 0).sum() == len(golden)
    distances = np.abs(ours[:, None] - golden[None]).max(axis=-1)
    assert distances.min(axis=0).max() < 0.01
    assert len(set(distances.argmin(axis=0))) == len(golden)  # each has its own partner


def test_pooled_regions_and_box_head(found):
    count = len(found.golden["pooled"])
    pooled = np.moveaxis(found.ours["roi_align_classifier"][:count], 3, 1)[:, ::32]
    assert_near(pooled, found.golden["pooled"])
    assert_near(found.ours["mrcnn_class_logits"][:count], found.golden["class_logits"])
    assert_near(found.ours["mrcnn_bbox"][:count][..., XY].reshape(count, -1), found.golden["box_deltas"])


def partners(boxes: np.ndarray, class_ids: np.ndarray, scores: np.ndarray, found: Run, key: str) -> np.ndarray:
    """Return our row for each recorded detection; rows whose scores are equal up to rounding may be swapped."""
    golden, labels = found.golden[key], found.golden["labels"]
    distances = np.abs(boxes[:, None] - golden[None]).max(axis=-1) + 1e6 * (class_ids[:, None] != labels[None])
    rows = distances.argmin(axis=0)
    assert len(boxes) == len(golden) == len(set(rows))
    assert distances.min(axis=0).max() < 0.01
    np.testing.assert_allclose(scores[rows], found.golden["scores"], atol=1e-4)
    assert (np.diff(scores) <= 0).all()
    return rows[: len(found.golden["masks"])]


def test_detections_in_the_input(found):
    detections = found.ours["detections"]
    detections = detections[detections[:, 4] > 0]
    rows = partners(found.boxes_px(detections[:, :4]), detections[:, 4], detections[:, 5], found, "boxes")
    masks = found.ours["mrcnn_mask"][rows, :, :, detections[rows, 4].astype(int)]
    np.testing.assert_allclose(masks, found.golden["masks"], atol=1e-4)


def test_boxes_and_masks_in_the_image(found):
    boxes, class_ids, scores, probs = found.final()
    rows = partners(boxes[:, XY], class_ids, scores, found, "final_boxes")
    masks = full_masks(probs[rows], boxes[rows], found.image.shape, found.detector.config.MASK_PASTE)
    ours = np.packbits(np.moveaxis(masks, 2, 0))
    differing = np.unpackbits(ours ^ found.golden["final_masks"]).sum()
    assert differing <= 2  # pixels whose probability is within rounding of 0.5
