"""What a file of another project says about its model, and where each of its numbers goes.

The probes put single numbers into a model of zeros, so that a wrong order of colours, classes, coordinates, anchors or
cells shows in the outputs of the network.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.foreign import any_file, models
from mrcnn.foreign.tensor_files import TensorFile
from mrcnn.inference.detector import Detector
from mrcnn.modeling.network import build_inference_network
from mrcnn.modeling.stage_outputs import run
from tests.foreign import state_dicts
from tests.foreign.state_dicts import R50, Shapes, Sizes

COCO_90 = dataclasses.replace(R50, classes=90)
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


# ------------------------------------------------------------------------------------------ names, counts, settings


@pytest.mark.parametrize(
    ("shapes", "tensors", "parameters", "frozen"),
    [
        (state_dicts.torchvision_v1(COCO_90), 307, 44_401_393, True),
        (state_dicts.torchvision_v2(COCO_90), 432, 46_359_409, False),
        (state_dicts.detectron2(R50), 307, 44_343_216, True),
        (state_dicts.mmdet(R50), 360, 44_396_336, False),
    ],
    ids=["torchvision-v1", "torchvision-v2", "detectron2", "mmdet"],
)
def test_published_models_have_these_counts_and_all_tensors_a_place(shapes, tensors, parameters, frozen):
    """The counts are those that the projects' own models have; the statistics of BatchNorm are no parameters, and if it
    is frozen, nothing of it is.
    """
    norms = {name.rpartition(".")[0] for name in shapes if name.endswith("running_var")}
    counted = [n for n in shapes if not n.endswith(STATISTICS) and not (frozen and n.rpartition(".")[0] in norms)]
    assert len(shapes) == tensors
    assert sum(math.prod(shapes[name]) for name in counted) == parameters
    model = models.from_tensors(unallocated(shapes))
    counters = [name for name in shapes if name.endswith("num_batches_tracked")]
    assert sorted(model.ignored) == sorted(counters)
    assert sum(map(len, model.layers.values())) == tensors - len(counters)
    assert model.settings["BACKBONE"] == "resnet50" and model.settings["BACKBONE_WIDTH"] == 64
    assert (model.settings["TOP_DOWN_PYRAMID_SIZE"], model.settings["FPN_CLASSIF_FC_LAYERS_SIZE"]) == (256, 1024)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_state_dicts_are_those_of_torchvision(version):
    make = {"v1": lambda sizes: state_dicts.torchvision_v1(sizes, in_memory=True), "v2": state_dicts.torchvision_v2}
    path = pathlib.Path(__file__).parent / "golden" / f"torchvision_{version}.json"
    assert {name: list(shape) for name, shape in make[version](COCO_90).items()} == json.loads(path.read_text())


def unallocated(shapes: Shapes) -> TensorFile:
    """Return a file of ones that take no memory."""
    tensors = {name: np.broadcast_to(np.float32(1), shape) for name, shape in shapes.items()}
    return TensorFile(pathlib.Path("model.pth"), "torch", tensors, {})


@pytest.mark.parametrize(
    ("blocks", "name"), [((3, 4, 6, 3), "resnet50"), ((3, 4, 23, 3), "resnet101"), ((3, 8, 36, 3), "resnet152")]
)
def test_backbone_follows_from_the_blocks(blocks, name):
    model = models.from_tensors(unallocated(state_dicts.mmdet(dataclasses.replace(R50, blocks=blocks))))
    assert model.settings["BACKBONE"] == name


def test_published_and_in_memory_names_of_torchvision_are_the_same_model():
    sizes = Sizes()
    published = state_dicts.seeded(state_dicts.torchvision_v1(sizes))
    renamed = dict(zip(state_dicts.torchvision_v1(sizes, in_memory=True), published.values(), strict=True))
    one, other = (models.from_tensors(TensorFile(pathlib.Path("m"), "torch", t, {})) for t in (published, renamed))
    assert one.settings == other.settings and one.layers.keys() == other.layers.keys()
    for layer, values in one.layers.items():
        for kind, array in values.items():
            np.testing.assert_array_equal(array, other.layers[layer][kind])


CONFIG = """
img_norm_cfg = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False)
model = dict(backbone=dict(type='ResNet', depth=50, style='caffe'))
train_pipeline = [dict(type='Resize', img_scale=(1333, 800))]
test_pipeline = [dict(type='MultiScaleFlipAug', img_scale=(1280, 720))]
"""


@pytest.mark.parametrize("key", ["config", "cfg"])  # of MMDetection 2 and 3
def test_mmdetection_configuration_in_the_file(key, tmp_path):
    tensors = state_dicts.seeded(state_dicts.mmdet(Sizes()))
    path = state_dicts.write(tmp_path / "m.pth", tensors, "zip", "state_dict", {key: CONFIG})
    settings = models.read_model(path).settings
    assert (settings["STRIDE_IN_1X1"], settings["INPUT_FORMAT"]) == (True, "BGR")
    assert (settings["MEAN_PIXEL"], settings["PIXEL_STD"]) == ((103.53, 116.28, 123.675), (1.0, 1.0, 1.0))
    assert (settings["IMAGE_MIN_DIM"], settings["IMAGE_MAX_DIM"]) == (720, 1280)


# ------------------------------------------------------------------------------------------------------------ probes


@dataclasses.dataclass(frozen=True)
class Family:
    """One way in which models are published.

    Attributes:
        shapes: of the tensors, from sizes.
        kind: of file, see `state_dicts.write`.
        key: where the tensors are in it.
        classes: without background.
        names: of the tensors that the probes change.
        background_last: whether the background is the classifier's last row, and boxes and masks have none.
        bgr: whether the first channel is blue.
        meta: plain values in the file.
    """

    shapes: Callable[[Sizes], Shapes]
    kind: str
    key: str
    classes: int
    names: "Names"
    background_last: bool = True
    bgr: bool = False
    meta: dict | None = None


@dataclasses.dataclass(frozen=True)
class Names:
    """Names of the tensors that the probes change, without ".weight" and ".bias", and of the layer that ends the mask
    head's convolutions.
    """

    stem: str
    rpn_logits: str
    rpn_boxes: str
    fc: str
    logits: str
    boxes: str
    deconv: str
    masks: str
    last_mask: str


RPN_TV, TV = ("rpn.head.cls_logits", "rpn.head.bbox_pred"), "roi_heads."
PREDICTORS_TV = tuple(f"{TV}{n}" for n in ("box_predictor.cls_score", "box_predictor.bbox_pred"))
MASKS_TV = tuple(f"{TV}mask_predictor.{n}" for n in ("conv5_mask", "mask_fcn_logits"))
V1 = Names("backbone.body.conv1", *RPN_TV, f"{TV}box_head.fc6", *PREDICTORS_TV, *MASKS_TV, f"{TV}mask_head.mask_fcn4")
V1_IN_MEMORY = dataclasses.replace(V1, last_mask=f"{TV}mask_head.3.0")
V2 = dataclasses.replace(V1, fc=f"{TV}box_head.5", last_mask=f"{TV}mask_head.3.1")
D2 = Names(
    "backbone.bottom_up.stem.conv1",
    "proposal_generator.rpn_head.objectness_logits",
    "proposal_generator.rpn_head.anchor_deltas",
    *(f"roi_heads.box_{n}" for n in ("head.fc1", "predictor.cls_score", "predictor.bbox_pred")),
    *(f"roi_heads.mask_head.{n}" for n in ("deconv", "predictor", "mask_fcn4")),
)
LSJ = dataclasses.replace(D2, last_mask="roi_heads.mask_head.mask_fcn4.norm")
MM = Names(
    *("backbone.conv1", "rpn_head.rpn_cls", "rpn_head.rpn_reg"),
    *(f"roi_head.bbox_head.{n}" for n in ("shared_fcs.0", "fc_cls", "fc_reg")),
    *(f"roi_head.mask_head.{n}" for n in ("upsample", "conv_logits", "convs.3.conv")),
)
FAMILIES = {
    "torchvision-v1-90": Family(state_dicts.torchvision_v1, "zip", "", 90, V1, False),
    "torchvision-v1-in-memory-8": Family(
        lambda sizes: state_dicts.torchvision_v1(sizes, in_memory=True), "legacy", "model", 8, V1_IN_MEMORY, False
    ),
    "torchvision-v2-90": Family(state_dicts.torchvision_v2, "safetensors", "", 90, V2, False),
    "torchvision-v2-8": Family(state_dicts.torchvision_v2, "zip", "state_dict", 8, V2, False),
    "detectron2-80": Family(state_dicts.detectron2, "pickle", "model", 80, D2, bgr=True),
    "detectron2-8": Family(state_dicts.detectron2, "pickle", "model", 8, D2, bgr=True),
    "detectron2-lsj-80": Family(lambda s: state_dicts.detectron2(s, lsj=True), "pickle", "model", 80, LSJ, bgr=True),
    "mmdet-2-80": Family(state_dicts.mmdet, "legacy", "state_dict", 80, MM, meta={"mmdet_version": "2.28.2"}),
    "mmdet-3-8": Family(state_dicts.mmdet, "zip", "state_dict", 8, MM, meta={"dataset_meta": {"classes": ["x"] * 8}}),
}
HOT_CLASS, HOT_CHANNEL, HOT_ROW, HOT_COLUMN = 3, 5, 2, 6  # the class counts from 1, the background is 0
RED = 0.5  # of the stem's kernel


def probed(family: Family) -> dict[str, np.ndarray]:
    """Return a state dict of zeros, with single numbers where the tests of this file look for them."""
    tensors = {
        name: np.zeros(shape, np.float32) for name, shape in family.shapes(Sizes(classes=family.classes)).items()
    }
    for norm in [name.removesuffix(".running_var") for name in tensors if name.endswith(".running_var")]:
        tensors[f"{norm}.running_var"] += 1
        tensors[f"{norm}.weight"] += 1
    names, row = family.names, HOT_CLASS - 1 if family.background_last else HOT_CLASS
    tensors[f"{names.stem}.weight"][0, 2 if family.bgr else 0, 3, 3] = RED
    tensors[f"{names.rpn_logits}.bias"][:] = 4, -4, 0  # the wide anchors before the high ones
    tensors[f"{names.rpn_boxes}.bias"][:] = [0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.25]  # wide: dx; high: dh
    tensors[f"{names.fc}.weight"][0, HOT_CHANNEL * 49 + HOT_ROW * 7 + HOT_COLUMN] = 1
    tensors[f"{names.logits}.bias"][row] = 10
    tensors[f"{names.boxes}.bias"][4 * row : 4 * row + 4] = 1, 0, 0, 1  # dx, dy, dw, dh, over 10, 10, 5, 5
    tensors[f"{names.last_mask}.bias"][0] = 1
    tensors[f"{names.deconv}.weight"][0, 0, 0, 1] = 1  # of each 2 x 2 cells the upper right
    tensors[f"{names.masks}.weight"][row, 0] = 20
    tensors[f"{names.masks}.bias"][row] = -10
    return tensors


@dataclasses.dataclass(frozen=True)
class Probe:
    """A probed model, and what it gives for one image.

    Attributes:
        family: what was probed.
        config: the file's settings.
        network: with the file's weights.
        outputs: by name, without the batch axis.
        image: uint8 [H, W, 3].
        instances: rois px, class_ids, scores and mask_probs of what was detected.
    """

    family: Family
    config: Config
    network: keras.Model
    outputs: dict[str, np.ndarray]
    image: np.ndarray
    instances: dict


# Files are read and changed by numpy, so a second backend runs each kind of network once.
NETWORKS = ["torchvision-v1-90", "torchvision-v2-8", "detectron2-lsj-80", "mmdet-3-8"]


@pytest.fixture(scope="module", params=NETWORKS if keras.config.backend() == "jax" else list(FAMILIES))
def probe(request, tmp_path_factory) -> Probe:
    family = FAMILIES[request.param]
    path = tmp_path_factory.mktemp("probe") / "weights"
    state_dicts.write(path, probed(family), family.kind, family.key, family.meta)
    config = Config()
    config.take_over(any_file.settings_of(path) | {"IMAGE_MIN_DIM": 128, "IMAGE_MAX_DIM": 128})
    config.POST_NMS_ROIS_INFERENCE = 100
    network = build_inference_network(config)
    report = any_file.load(network, path, config)
    assert not report.skipped and not report.untouched
    image = np.zeros((128, 128, 3), np.uint8)
    image[:64, :, 0], image[:, :64, 1], image[::2, :, 2] = 255, 200, 100
    detector = Detector(network, config)
    molded, metas, windows = detector.mold_inputs([image])
    outputs = [(name, network.get_layer(layer).output) for name, layer in LAYERS.items()]
    values = run(network, outputs, detector.network_inputs(molded, metas))
    values = {name: np.asarray(keras.ops.convert_to_numpy(value))[0] for name, value in values.items()}
    found = detector.unmold(values["detections"], values["masks"], image.shape, molded[0].shape, windows[0])
    instances = dict(zip(("rois", "class_ids", "scores", "mask_probs"), found, strict=True))
    return Probe(family, config, network, values, image, instances)


LAYERS = {
    "stem": "conv1",
    "rpn_class": "rpn_class",
    "rpn_bbox": "rpn_bbox",
    "rois": "ROI",
    "bbox": "mrcnn_bbox",
    "detections": "mrcnn_detection",
    "masks": "mrcnn_mask",
}


@pytest.mark.graph
def test_only_the_red_channel_reaches_the_stem(probe):
    red = probe.image[::2, ::2, 0].astype(float)  # under the middle of the 7 x 7 kernel
    expected = RED * (red - 123.675) / (1 if probe.family.bgr else 58.395)
    np.testing.assert_allclose(probe.outputs["stem"][..., 0], expected, rtol=1e-5)
    assert not probe.outputs["stem"][..., 1:].any()


@pytest.mark.graph
def test_the_classifier_names_the_hot_class(probe):
    assert len(probe.instances["class_ids"]) > 10 and (probe.instances["class_ids"] == HOT_CLASS).all()
    np.testing.assert_allclose(probe.instances["scores"], np.e**10 / (np.e**10 + probe.family.classes), rtol=1e-5)


@pytest.mark.graph
def test_boxes_move_to_the_right_and_grow_in_height(probe):
    deltas = probe.outputs["bbox"]
    np.testing.assert_allclose(deltas[:, HOT_CLASS], np.tile([0, 1, 1, 0], (len(deltas), 1)), atol=1e-6)
    assert not np.delete(deltas, HOT_CLASS, axis=1).any()
    y1, x1, y2, x2 = (probe.outputs["rois"] * 128).T
    middle, half = (y1 + y2) / 2, (y2 - y1) / 2 * np.exp(0.2)  # dh of 1 over the weight 5
    shift = (x2 - x1) / 10
    expected = np.clip(np.stack([middle - half, x1 + shift, middle + half, x2 + shift], axis=1), 0, 128)
    distances = np.abs(probe.instances["rois"][:, None] - expected[None]).max(axis=-1)
    assert distances.min(axis=1).max() < 1e-3


@pytest.mark.graph
def test_the_first_anchor_is_wide_and_has_its_own_deltas(probe):
    deltas = probe.outputs["rpn_bbox"].reshape(-1, 3, 4)
    np.testing.assert_allclose(deltas, np.broadcast_to(WIDE_MIDDLE_HIGH, deltas.shape), atol=1e-6)
    scores = probe.outputs["rpn_class"][:, 1].reshape(-1, 3)
    expected = 1 / (1 + np.exp([-4.0, 4.0, 0.0]))
    np.testing.assert_allclose(scores, np.broadcast_to(expected, scores.shape), rtol=1e-5)
    y1, x1, y2, x2 = (probe.outputs["rois"] * 128).T
    inside = (y1 > 0.01) & (x1 > 0.01) & (y2 < 127.99) & (x2 < 127.99)
    assert inside.sum() > 10
    np.testing.assert_allclose(((x2 - x1) / (y2 - y1))[inside], 2, atol=0.15)  # torchvision's are rounded to pixels


WIDE_MIDDLE_HIGH = [[0, 0.5, 0, 0], [0, 0, 0, 0], [0, 0, 0.25, 0]]  # (dy, dx, dh, dw)


@pytest.mark.graph
def test_the_deconvolution_fills_the_upper_right_of_two_by_two(probe):
    expected = np.full((28, 28), 1 / (1 + np.exp(10)))
    expected[0::2, 1::2] = 1 / (1 + np.exp(-10))
    np.testing.assert_allclose(
        probe.instances["mask_probs"], np.broadcast_to(expected, (len(probe.instances["rois"]), 28, 28)), atol=1e-6
    )


@pytest.mark.graph
def test_the_dense_layer_sees_the_hot_cell(probe):
    every = np.eye(7 * 7 * 16, dtype=np.float32).reshape(-1, 7, 7, 16)  # one hot cell of (row, column, channel) each
    out = keras.ops.convert_to_numpy(probe.network.get_layer("mrcnn_class_conv1")(every))
    assert out.sum() == 1
    assert np.unravel_index(out[:, 0, 0, 0].argmax(), (7, 7, 16)) == (HOT_ROW, HOT_COLUMN, HOT_CHANNEL)
