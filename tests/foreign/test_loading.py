"""Loading into networks of other settings, which gives the same results, and files that do not fit."""

import logging
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.errors import InputError
from mrcnn.foreign import any_file
from mrcnn.inference.detector import Detector
from mrcnn.modeling import weights
from mrcnn.modeling.network import build_inference_network
from tests.foreign import state_dicts
from tests.foreign.state_dicts import Sizes
from tests.foreign.torchvision_weights import seeded_image

Tensors = dict[str, np.ndarray]
JAX = keras.config.backend() == "jax"
IMAGE = seeded_image(90, 120)
CLASS_LAYERS = ("mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask")
CITYSCAPES = ["BG", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"]
BDD100K = ["BG", "pedestrian", *CITYSCAPES[2:]]


def settings(path: pathlib.Path, **changes: Any) -> Config:
    """Return a file's settings for small images, with changes."""
    config = Config()
    in_file = any_file.settings_of(path)
    assert in_file is not None
    config.take_over(in_file | {"IMAGE_MIN_DIM": 96, "IMAGE_MAX_DIM": 128, "POST_NMS_ROIS_INFERENCE": 60} | changes)
    config.validate()
    return config


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, pathlib.Path]:
    folder = tmp_path_factory.mktemp("files")
    shapes = {"v1": state_dicts.torchvision_v1(Sizes()), "v2": state_dicts.torchvision_v2(Sizes())}
    return {name: state_dicts.write(folder / name, state_dicts.seeded(s), "zip") for name, s in shapes.items()}


# ------------------------------------------------------------------------------------- other settings, same results


@pytest.fixture(scope="module")
def expected(files) -> Callable[[str], dict[str, np.ndarray]]:
    """Return what a file's own settings give, computed once."""
    known: dict[str, dict[str, np.ndarray]] = {}

    def of(version: str) -> dict[str, np.ndarray]:
        if version not in known:
            known[version] = detections(files[version])
        return known[version]

    return of


def detections(path: pathlib.Path, **changes: Any) -> dict[str, np.ndarray]:
    """Detect in the image with a file's weights and settings, some of them changed."""
    config = settings(path, **changes)
    network = build_inference_network(config)
    report = any_file.load(network, path, config)
    assert not report.untouched
    return Detector(network, config).detect_instances([IMAGE])[0]


REVERSED = {"INPUT_FORMAT": "BGR", "MEAN_PIXEL": (103.53, 116.28, 123.675), "PIXEL_STD": (57.375, 57.12, 58.395)}
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "biases of the backbone": ("v1", {"BACKBONE_BIAS": True}),
    "epsilon": ("v1", {"BN_EPSILON": 1e-3}),
    "epsilon, version 2": ("v2", {"BN_EPSILON": 1e-3}),
    "colours": ("v1", REVERSED),
    "deviations of pixels": ("v1", {"PIXEL_STD": 1}),
    "two logits": ("v1", {"RPN_SIGMOID": False}),
    "anchors": ("v1", {"RPN_ANCHOR_RATIOS": (0.5, 1, 2)}),
    "deviations of the RPN": ("v1", {"RPN_BBOX_STD_DEV": (0.1, 0.1, 0.2, 0.2)}),
    "deviations of boxes": ("v1", {"BBOX_STD_DEV": (0.3, 0.4, 0.5, 0.6)}),
    "normalised box head": ("v1", {"BOX_HEAD_NORM": "BN"}),
    "normalised mask head": ("v1", {"MASK_HEAD_NORM": "BN"}),
    "normalised pyramid": ("v1", {"FPN_NORM": "BN"}),
    "plain pyramid": ("v2", {"FPN_NORM": None}),
    "plain heads": ("v2", {"BOX_HEAD_NORM": None, "MASK_HEAD_NORM": None}),
}
CHANGES["all at once"] = ("v1", {key: value for v, c in CHANGES.values() if v == "v1" for key, value in c.items()})
CHANGES["all at once"][1].update(PIXEL_STD=(2.0, 3.0, 4.0))


@pytest.mark.graph
@pytest.mark.parametrize("change", CHANGES)
def test_settings_that_weights_can_make_good_change_nothing(change, files, expected, caplog):
    if JAX and change not in ("plain pyramid", "all at once"):
        pytest.skip("the arithmetic of adapters is numpy's; two of them suffice on a second backend")
    version, changes = CHANGES[change]
    with caplog.at_level(logging.WARNING):
        found = detections(files[version], **changes)
    assert not [record for record in caplog.records if record.name.startswith("mrcnn")]
    assert_same_instances(found, expected(version))


def assert_same_instances(ours: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    """Compare detections; those whose scores are equal up to rounding may be swapped."""
    assert len(wanted["rois"]) > 20 and len(ours["rois"]) == len(wanted["rois"])
    apart = np.abs(ours["rois"][:, None] - wanted["rois"][None]).max(axis=-1)
    apart += 1e6 * (ours["class_ids"][:, None] != wanted["class_ids"][None])
    rows = apart.argmin(axis=0)
    assert len(set(rows)) == len(rows) and apart.min(axis=0).max() < 0.01
    np.testing.assert_allclose(ours["scores"][rows], wanted["scores"], atol=1e-4)
    np.testing.assert_allclose(ours["mask_probs"][rows], wanted["mask_probs"], atol=5e-4)  # of other boxes by 1e-4 px


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"STRIDE_IN_1X1": True}, "STRIDE_IN_1X1"),
        ({"MEAN_PIXEL": (0, 0, 0)}, "MEAN_PIXEL"),
        ({"INPUT_FORMAT": "BGR"}, "MEAN_PIXEL"),  # its order is that of the channels
        ({"RPN_ANCHOR_RATIOS": (0.3, 1, 3)}, "RPN_ANCHOR_RATIOS"),
        ({"RPN_ANCHOR_SCALES": (16, 32, 64, 128, 256)}, "RPN_ANCHOR_SCALES"),
        ({"BACKBONE_SYMMETRIC_PADDING": False}, "BACKBONE_SYMMETRIC_PADDING"),
        ({"ROI_SAMPLING_RATIO": None}, "ROI_SAMPLING_RATIO"),
    ],
)
def test_settings_that_weights_cannot_make_good_are_named(changes, named, files, caplog):
    config = settings(files["v1"], **changes)
    with caplog.at_level(logging.WARNING):
        any_file.load(build_inference_network(config), files["v1"], config)
    assert f"{named} is" in caplog.text
    assert caplog.text.count("(file: ") == 1


# ------------------------------------------------------------------------------------------------- classes, exclude


@pytest.fixture(scope="module")
def network(files) -> tuple[keras.Model, Config]:
    """Return a network of eight classes and its settings; tests change its weights."""
    config = settings(files["v1"])
    return build_inference_network(config), config


def snapshot(network: keras.Model) -> Tensors:
    return {
        f"{name}/{variable.name}": np.array(variable)
        for name, variables in weights.leaf_layers(network).items()
        for variable in variables
    }


def randomize(network: keras.Model) -> Tensors:
    """Give every variable values that no file has, and return them."""
    draw = np.random.default_rng(7)
    for variables in weights.leaf_layers(network).values():
        for variable in variables:
            variable.assign(draw.uniform(1, 2, variable.shape))
    return snapshot(network)


@pytest.mark.graph
def test_classes_are_matched_by_name(network, tmp_path, caplog):
    """COCO's 80 classes into BDD100K's 8: the rider's outputs, which COCO lacks, keep their values."""
    model, config = network
    before = randomize(model)
    tensors = state_dicts.seeded(state_dicts.detectron2(Sizes(classes=80)))
    path = state_dicts.write(tmp_path / "coco.pkl", tensors, "pickle", "model")
    with caplog.at_level(logging.WARNING):
        any_file.load(model, path, config, class_names=BDD100K)
    assert "no class for rider" in caplog.text
    after, predictor = snapshot(model), "roi_heads.box_predictor"
    coco = {"pedestrian": 0, "car": 2, "truck": 7, "bus": 5, "train": 6, "motorcycle": 3, "bicycle": 1, "BG": 80}
    for number, name in enumerate(BDD100K):
        logits, boxes, mask = (
            after["mrcnn_class_logits/kernel"][:, number],
            after["mrcnn_bbox_fc/kernel"].reshape(32, 9, 4)[:, number],
            after["mrcnn_mask/kernel"][0, 0, :, number],
        )
        if name == "rider":
            np.testing.assert_array_equal(logits, before["mrcnn_class_logits/kernel"][:, number])
            np.testing.assert_array_equal(boxes, before["mrcnn_bbox_fc/kernel"].reshape(32, 9, 4)[:, number])
            np.testing.assert_array_equal(mask, before["mrcnn_mask/kernel"][0, 0, :, number])
            continue
        row = coco[name]
        np.testing.assert_array_equal(logits, tensors[f"{predictor}.cls_score.weight"][row])
        if name == "BG":
            assert not boxes.any() and not mask.any()
            continue
        rows = tensors[f"{predictor}.bbox_pred.weight"][4 * row : 4 * row + 4]  # dx, dy, dw, dh
        np.testing.assert_array_equal(boxes.T, rows[[1, 0, 3, 2]])
        np.testing.assert_array_equal(mask, tensors["roi_heads.mask_head.predictor.weight"][row, :, 0, 0])


@pytest.mark.graph
def test_excluded_layers_keep_their_values_whatever_their_shape(network, tmp_path):
    model, config = network
    before = randomize(model)
    path = tmp_path / "coco.pth"
    state_dicts.write(path, state_dicts.seeded(state_dicts.mmdet(Sizes(classes=80))), "zip", "state_dict")
    report = any_file.load(model, path, config, exclude=CLASS_LAYERS)
    after = snapshot(model)
    assert sorted(report.excluded) == sorted(CLASS_LAYERS) and not report.missing
    kept = {name for name in before if np.array_equal(before[name], after[name])}
    assert {name.partition("/")[0] for name in kept} == set(CLASS_LAYERS)


@pytest.mark.parametrize(
    ("meta", "named"),
    [
        ({"CLASSES": [f"thing {i}" for i in range(8)]}, "thing 7"),
        ({"dataset_meta": {"classes": [f"thing {i}" for i in range(8)]}}, "thing 7"),
        ({"CLASSES": ["too", "few"]}, "bicycle"),
        (None, "bicycle"),
    ],
)
def test_names_of_classes_are_those_in_the_file_or_of_the_known_data_set(meta, named, tmp_path):
    path = tmp_path / "m.pth"
    state_dicts.write(path, state_dicts.seeded(state_dicts.mmdet(Sizes())), "zip", "state_dict", meta)
    names = any_file.class_names_of(path)
    assert names is not None and (names[0], names[-1], len(names)) == ("BG", named, 9)


def test_classes_without_names_are_not_guessed(network, tmp_path):
    model, config = network
    path = tmp_path / "m.pth"
    state_dicts.write(path, state_dicts.seeded(state_dicts.mmdet(Sizes(classes=5))), "zip", "state_dict")
    assert any_file.class_names_of(path) is None
    with pytest.raises(InputError, match="does not say which classes its 5 outputs are"):
        any_file.load(model, path, config, class_names=BDD100K)


@pytest.mark.graph
def test_backbone_alone_fills_the_backbone(network, tmp_path):
    model, config = network
    before = randomize(model)
    tensors = state_dicts.seeded(state_dicts.imagenet(Sizes()))
    report = any_file.load(model, state_dicts.write(tmp_path / "resnet18.pth", tensors, "zip"), config)
    after = snapshot(model)
    assert all(name.startswith(("conv1", "bn_conv1", "res", "bn")) for name in report.loaded)
    assert {n for n in after if np.array_equal(before[n], after[n])} == {
        f"{layer}/{variable.name}"
        for layer, variables in weights.leaf_layers(model).items()
        if layer in report.missing
        for variable in variables
    }
    kernel = tensors["layer2.0.downsample.0.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(after["res3a_branch1/kernel"], kernel)
    # epsilon is 1e-5 in the file and 0 in the network
    gamma = tensors["bn1.weight"] * np.sqrt(tensors["bn1.running_var"] / (tensors["bn1.running_var"] + 1e-5))
    np.testing.assert_allclose(after["bn_conv1/gamma"], gamma, rtol=1e-6)


# ------------------------------------------------------------------------------------------- files that do not fit


def without(name: str) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.pop(name)


def with_tensor(name: str, *shape: int) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.update({name: np.zeros(shape, np.float32)})


def with_value(name: str, value: float) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors[name].__setitem__(0, value)


def two_key_styles(tensors: Tensors) -> None:
    tensors["rpn.head.conv.0.0.weight"] = tensors["rpn.head.conv.weight"]


def all_renamed(tensors: Tensors) -> None:
    for name in list(tensors):
        tensors[f"yolo.{name}"] = tensors.pop(name)


def only_a_box_detector(tensors: Tensors) -> None:
    for name in [name for name in tensors if "mask" in name]:
        del tensors[name]


V1_FAULTS: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "missing vector": (without("rpn.head.conv.bias"), "rpn_conv_shared/bias"),
    "missing gamma": (without("backbone.body.layer3.1.bn2.weight"), "bn4b_branch2b/gamma"),
    "missing variance": (without("backbone.body.bn1.running_var"), "bn_conv1/moving_variance"),
    "missing RPN boxes": (without("rpn.head.bbox_pred.weight"), "rpn_bbox_pred"),
    "missing box outputs": (without("roi_heads.box_predictor.bbox_pred.weight"), "mrcnn_bbox_fc"),
    "missing norm": (
        lambda t: [t.pop(f"backbone.body.layer1.0.bn1.{n}") for n in ("weight", "bias", "running_mean", "running_var")],
        "res2a_branch2a/bias",
    ),
    "missing stem": (without("backbone.body.conv1.weight"), "conv1"),
    "no masks": (only_a_box_detector, "mrcnn_mask"),
    "extra tensor": (with_tensor("backbone.body.layer2.0.se.weight", 4), "backbone.body.layer2.0.se.weight"),
    "extra level": (with_tensor("backbone.fpn.inner_blocks.4.weight", 16, 16, 1, 1), "fpn_c6p6"),
    "extra block": (with_tensor("backbone.body.layer1.2.conv2.bias", 16), "res2c_branch2b"),
    "shape of a kernel": (with_tensor("backbone.fpn.layer_blocks.1.weight", 16, 15, 3, 3), "fpn_p3/kernel"),
    "axes of a kernel": (with_tensor("backbone.fpn.layer_blocks.1.weight", 16, 16), "fpn_p3"),
    "axes of a bias": (with_tensor("rpn.head.conv.bias", 16, 1), "rpn.head.conv.bias"),
    "length of a bias": (with_tensor("rpn.head.cls_logits.bias", 4), "rpn.head.cls_logits.bias"),
    "length of a norm": (with_tensor("backbone.body.layer3.1.bn2.weight", 7), "backbone.body.layer3.1.bn2.weight"),
    "no number": (with_tensor("rpn.head.conv.bias"), "rpn.head.conv.bias"),
    "first dense layer": (with_tensor("roi_heads.box_head.fc6.weight", 32, 16 * 48), "768"),
    "RPN boxes": (with_tensor("rpn.head.bbox_pred.weight", 16, 16, 1, 1), "rpn.head.bbox_pred.bias"),
    "boxes not in fours": (with_tensor("rpn.head.bbox_pred.weight", 13, 16, 1, 1), "rpn.head.bbox_pred.weight"),
    "one mask for all": (
        lambda t: [with_tensor(f"roi_heads.mask_predictor.mask_fcn_logits.{n}", *s)(t) for n, s in MASK_OF_ALL],
        "mrcnn_mask has 1 outputs instead of 9",
    ),
    "NaN": (with_value("rpn.head.conv.bias", np.nan), "rpn.head.conv.bias"),
    "infinite": (with_value("rpn.head.conv.bias", np.inf), "rpn.head.conv.bias"),
    "negative variance": (with_value("backbone.body.bn1.running_var", -0.1), "backbone.body.bn1.running_var"),
    "two key styles": (two_key_styles, "rpn.head.conv.0.0.weight"),
    "deformable": (with_tensor("backbone.body.layer2.0.conv2_offset.weight", 18, 32, 3, 3), "conv2_offset"),
    "box detector of one stage": (with_tensor("head.classification_head.conv.weight", 4), "classification_head"),
    "unknown project": (all_renamed, "yolo."),
}
MASK_OF_ALL = (("weight", (1, 16, 1, 1)), ("bias", (1,)))


def anchors(count: int) -> Callable[[Tensors], Any]:
    def change(tensors: Tensors) -> None:
        for name, outputs in (("rpn_head.rpn_cls", count), ("rpn_head.rpn_reg", 4 * count)):
            tensors[f"{name}.weight"], tensors[f"{name}.bias"] = np.zeros((outputs, 16, 1, 1)), np.zeros(outputs)
            tensors |= {key: tensors[key].astype(np.float32) for key in (f"{name}.weight", f"{name}.bias")}

    return change


MMDET_FAULTS: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "cascade": (with_tensor("roi_head.bbox_head.0.fc_cls.weight", 9, 32), "roi_head.bbox_head.0.fc_cls.weight"),
    "cascade masks": (with_tensor("roi_head.mask_head.2.conv_logits.bias", 8), "roi_head.mask_head.2"),
    "deformable": (with_tensor("backbone.layer2.0.conv2.conv_offset.weight", 18, 32, 3, 3), "conv_offset"),
    "one anchor": (anchors(1), "1 anchors per location"),
    "fifteen anchors": (anchors(15), "15 anchors per location"),
    "no pyramid": (
        lambda t: [t.pop(name) for name in list(t) if name.startswith("neck.")],
        "without a feature pyramid",
    ),
}


@pytest.mark.parametrize("fault", V1_FAULTS)
def test_faulty_file_of_torchvision_changes_nothing(fault, network, tmp_path):
    change, named = V1_FAULTS[fault]
    assert_refused(network, tmp_path, state_dicts.torchvision_v1(Sizes()), change, named)


@pytest.mark.parametrize("fault", MMDET_FAULTS)
def test_other_models_of_mmdetection_change_nothing(fault, network, tmp_path):
    change, named = MMDET_FAULTS[fault]
    assert_refused(network, tmp_path, state_dicts.mmdet(Sizes()), change, named)


def assert_refused(
    network: tuple[keras.Model, Config],
    folder: pathlib.Path,
    shapes: state_dicts.Shapes,
    change: Callable[[Tensors], Any],
    named: str,
) -> None:
    """Change a file's tensors, and check that it is refused with a message that names the fault, and nothing loaded."""
    model, config = network
    tensors, before = state_dicts.seeded(shapes), randomize(model)
    change(tensors)
    path = state_dicts.write(folder / "faulty.pth", tensors, "zip", "model")
    with pytest.raises(InputError) as error:
        any_file.load(model, path, config)
    assert named in str(error.value) and "faulty.pth" in str(error.value)
    after = snapshot(model)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_network_of_other_sizes_is_told_which_settings_the_file_has(files):
    config = settings(files["v1"], BOX_HEAD_FCS=1, RPN_CONVS=2)
    with pytest.raises(InputError) as error:
        any_file.load(build_inference_network(config), files["v1"], config)
    assert all(part in str(error.value) for part in ("mrcnn_class_conv2", "rpn_conv_shared2", "RPN_CONVS=1"))
