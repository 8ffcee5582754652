"""Tests the presets of other projects: their values, where they are stored, and that each trains and detects."""

import json

import keras
import numpy as np
import pytest

from mrcnn import variants
from mrcnn.config import Config
from mrcnn.data.loader import Loader
from mrcnn.engine.checkpoints import read_config, save_checkpoint
from mrcnn.errors import InputError
from mrcnn.model import MaskRCNN
from mrcnn.modeling import losses
from mrcnn.modeling.backbone import fpn_graph
from mrcnn.modeling.normalization import normalize
from mrcnn.modeling.roi_heads import build_fpn_mask_graph, fpn_classifier_graph
from mrcnn.modeling.rpn import build_rpn_model, propose
from tests.compiled import to_numpy, traced
from tests.shapes import ShapesConfig, ShapesDataset

OTHERS = ("paper", "detectron2", "torchvision", "torchvision-v2", "mmdet")
# Rows of the published table: what differs, in the order of OTHERS.
TABLE = {
    "STRIDE_IN_1X1": (True, True, False, False, False),
    "BN_EPSILON": (1e-5, 1e-5, 0, 1e-5, 1e-5),
    "BACKBONE_BIAS": (False,) * 5,
    "BACKBONE_SYMMETRIC_PADDING": (True,) * 5,
    "FPN_NORM": (None, None, None, "BN", None),
    "BOX_HEAD_NORM": (None, None, None, "BN", None),
    "MASK_HEAD_NORM": (None, None, None, "BN", None),
    "RPN_CONVS": (1, 1, 1, 2, 1),
    "BOX_HEAD_CONVS": (0, 0, 0, 4, 0),
    "BOX_HEAD_FCS": (2, 2, 2, 1, 2),
    "RPN_SIGMOID": (True,) * 5,
    "RPN_BBOX_STD_DEV": ([1, 1, 1, 1],) * 5,
    "BBOX_STD_DEV": ([0.1, 0.1, 0.2, 0.2],) * 5,
    "BBOX_DELTA_CLIP": ("upper", "upper", "upper", "upper", "both"),
    "RPN_ANCHOR_ROUNDED": (False, False, True, True, False),
    "ROI_SAMPLING_RATIO": (2, 0, 2, 2, 0),
    "ROI_ALIGNED": (False, True, False, False, True),
    "ROI_LEVEL_RULE": ("detectron2", "detectron2", "torchvision", "torchvision", "mmdet"),
    "RPN_PER_LEVEL": (True,) * 5,
    "PRE_NMS_LIMIT": (1000,) * 5,
    "PRE_NMS_LIMIT_TRAINING": (2000,) * 5,
    "POST_NMS_ROIS_INFERENCE": (1000,) * 5,
    "RPN_NMS_THRESHOLD": (0.7,) * 5,
    "DETECTION_EVERY_CLASS": (True,) * 5,
    "DETECTION_MIN_CONFIDENCE": (0.05,) * 5,
    "DETECTION_NMS_THRESHOLD": (0.5,) * 5,
    "DETECTION_MAX_INSTANCES": (100,) * 5,
    "IMAGE_RESIZE_MODE": ("pad32",) * 5,
    "IMAGE_MIN_DIM": (800,) * 5,
    "IMAGE_MAX_DIM": (1333,) * 5,
    "MASK_PASTE": ("grid", "grid", "torchvision", "torchvision", "grid"),
    "INPUT_FORMAT": ("BGR", "BGR", "RGB", "RGB", "RGB"),
    "IMAGE_INTERPOLATION": ("pillow", "pillow", "torchvision", "torchvision", "opencv"),
    "MEAN_PIXEL": ([103.53, 116.28, 123.675],) * 2 + ([123.675, 116.28, 103.53],) * 3,
    "PIXEL_STD": ([1, 1, 1],) * 2 + ([58.395, 57.12, 57.375],) * 3,
}


class Named(ShapesConfig):
    """Settings whose presets are valid: a preset has no classes of its own."""


@pytest.mark.parametrize("number, name", list(enumerate(OTHERS)))
def test_presets_have_the_published_values(number, name):
    config = Named.preset(name)
    config.validate()
    settings = config.to_dict()
    for key, row in TABLE.items():
        expected = list(row[number]) if isinstance(row[number], tuple) else row[number]
        found = list(settings[key]) if isinstance(settings[key], tuple) else settings[key]
        assert found == expected, key


def test_the_preset_of_matterport_is_the_defaults():
    assert Config.preset("matterport").to_dict() == Config().to_dict()
    with pytest.raises(InputError, match="preset 'matterprot' is unknown; use one of matterport, paper"):
        Config.preset("matterprot")


@pytest.mark.parametrize("name", variants.PRESET_NAMES)
def test_presets_survive_json_and_overrides(name):
    config = Named.preset(name)
    stored = json.loads(json.dumps(config.to_dict()))
    again = Named()
    again.take_over(stored)
    again.validate()
    assert json.loads(json.dumps(again.to_dict())) == stored
    texts = [f"{key}={value!r}" for key, value in stored.items() if key in variants.PRESET_SETTINGS]
    assert json.loads(json.dumps(Named().override(texts).to_dict())) == stored


CONTRADICTIONS = [
    (["ROI_ALIGNED=True"], "ROI_ALIGNED has no effect without ROI_SAMPLING_RATIO"),
    (
        ["INPUT_FORMAT=BGR", "IMAGE_CHANNEL_COUNT=1", "MEAN_PIXEL=9"],
        "INPUT_FORMAT is BGR, but IMAGE_CHANNEL_COUNT is 1",
    ),
    (["DETECTION_SOFT_NMS_SIGMA=0.3"], "DETECTION_SOFT_NMS_SIGMA is 0.3, but DETECTION_SOFT_NMS is None"),
    (["DETECTION_SOFT_NMS=linear", "DETECTION_SOFT_NMS_SIGMA=0.3"], "only gaussian has a sigma"),
    (["DETECTION_CLASSES=[1, 4]"], r"DETECTION_CLASSES has \[4\]; the class ids are 1 to 3"),
    (["PIXEL_STD=(1, 2)"], "PIXEL_STD has 2 numbers, but IMAGE_CHANNEL_COUNT is 3"),
    (["IMAGE_RESIZE_MODE=pad32", "IMAGE_MIN_DIM=0"], "IMAGE_MIN_DIM is 0; with IMAGE_RESIZE_MODE=pad32"),
]


@pytest.mark.parametrize("changes, message", CONTRADICTIONS)
def test_contradictions_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        Named().override(changes).validate()


ALLOWED = [
    {"ROI_ALIGNED": True, "ROI_SAMPLING_RATIO": 0},
    {"DETECTION_SOFT_NMS": "gaussian", "DETECTION_SOFT_NMS_SIGMA": 0.3},
    {"DETECTION_CLASSES": [1, 3], "PIXEL_STD": 2},
]


@pytest.mark.parametrize("changes", ALLOWED)
def test_what_looks_like_a_contradiction_and_is_none(changes):
    config = Named().override([f"{key}={value!r}" for key, value in changes.items()])
    config.validate()
    assert {key: getattr(config, key) for key in changes} == changes


# ------------------------------------------------------------------------------------------------ the network


def tiny(name: str) -> Config:
    """Return a preset at the size of the smallest network: what the preset says about size is made small."""
    small = {
        key: getattr(ShapesConfig, key)
        for key in ("RPN_CHANNELS", "POST_NMS_ROIS_TRAINING", "POST_NMS_ROIS_INFERENCE", "TRAIN_ROIS_PER_IMAGE")
    }
    config = Named.preset(name)
    config.take_over({**small, "RPN_ANCHOR_SCALES": (16, 24, 32, 48, 64), "PRE_NMS_LIMIT": 50})
    config.override(
        ["PRE_NMS_LIMIT_TRAINING=60", "IMAGE_MIN_DIM=96", "IMAGE_MAX_DIM=128", "DETECTION_MIN_CONFIDENCE=0"]
    )
    config.validate()
    return config


@pytest.mark.graph
@pytest.mark.parametrize("name", ["detectron2", "torchvision-v2"])  # each setting's other values occur in one of them
def test_a_tiny_network_of_each_preset_trains_and_detects(name, tmp_path):
    config = tiny(name)
    dataset = ShapesDataset().load_shapes(2)
    model = MaskRCNN("training", config, tmp_path)
    model.keras_model.compile(optimizer=keras.optimizers.SGD(1e-3))
    inputs = Loader(dataset, config, shuffle=False, canvas=model.keras_model.image_shape[:2])[0][0]
    before = [np.array(w) for w in model.keras_model.get_weights()]
    found = model.keras_model.train_on_batch(inputs, return_dict=True)
    assert all(np.isfinite(value) for value in found.values()) and found["loss"] > 0
    after = model.keras_model.get_weights()
    assert all(np.isfinite(w).all() for w in after) and any((a != b).any() for a, b in zip(before, after, strict=True))

    path = tmp_path / "a.h5"
    save_checkpoint(model.keras_model, path, config, ["BG", *dataset.class_names[1:]], 1)
    stored = read_config(path)
    assert {key: stored[key] for key in variants.PRESET_SETTINGS} == json.loads(
        json.dumps({key: config.to_dict()[key] for key in variants.PRESET_SETTINGS})
    )
    detector = MaskRCNN("inference", config, tmp_path)
    detector.load_weights(path)
    (result,) = detector.detect([dataset.load_image(0)])
    assert len(result["rois"]) > 0 and result["rois"].dtype == np.float32
    assert np.isfinite(result["rois"]).all() and np.isfinite(result["scores"]).all()
    assert result["rois"].min() >= 0 and (result["rois"].max(axis=0) <= [96, 128, 96, 128]).all()
    assert result["masks"].shape == (96, 128, len(result["rois"]))


# -------------------------------------------------------------------------------------------------- layers


def numpy_conv(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray | float = 0.0) -> np.ndarray:
    """Convolve [h, w, c] with [3, 3, c, C] or [1, 1, c, C] and zero padding, by definition."""
    edge = kernel.shape[0] // 2
    padded = np.pad(x.astype(float), [(edge, edge), (edge, edge), (0, 0)])
    result = np.zeros((*x.shape[:2], kernel.shape[3]))
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            result += padded[i : i + x.shape[0], j : j + x.shape[1]] @ kernel[i, j]
    return result + bias


def randomised(model: keras.Model) -> dict[str, list[np.ndarray]]:
    """Give every weight a value and return them by layer."""
    draw = np.random.default_rng(0)
    model.set_weights([draw.uniform(0.1, 0.9, w.shape) - (0.5 if w.ndim > 1 else 0) for w in model.get_weights()])
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def outputs_of(model: keras.Model, arrays: np.ndarray | list[np.ndarray], *layers: str) -> list[np.ndarray]:
    """Run a model, and return its outputs and those of some of its layers."""
    outputs = [*model.outputs, *(model.get_layer(name).output for name in layers)]
    return to_numpy(traced(keras.Model(model.inputs, outputs))(arrays))


def normed(x: np.ndarray, values: list[np.ndarray], epsilon: float) -> np.ndarray:
    gamma, beta, mean, variance = values
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


@pytest.mark.graph
@pytest.mark.parametrize("convs, sigmoid", [(1, True), (2, True), (2, False)])
def test_head_of_the_rpn_is_the_definition(convs, sigmoid):
    model = build_rpn_model(1, 3, 5, 8, convs, sigmoid)
    named = randomised(model)
    assert sorted(named) == sorted(["rpn_conv_shared", "rpn_conv_shared2"][:convs] + ["rpn_class_raw", "rpn_bbox_pred"])
    maps = np.random.default_rng(1).normal(size=(1, 4, 6, 5)).astype("f")
    logits, probs, deltas = outputs_of(model, [maps])
    x = maps[0]
    for name in ["rpn_conv_shared", "rpn_conv_shared2"][:convs]:
        x = np.maximum(numpy_conv(x, *named[name]), 0)
    raw = numpy_conv(x, *named["rpn_class_raw"])
    expected = raw.reshape(-1, 1 if sigmoid else 2)
    if sigmoid:
        expected = np.concatenate([0 * expected, expected], axis=1)
        np.testing.assert_allclose(probs[0, :, 1], 1 / (1 + np.exp(-expected[:, 1])), atol=1e-5)
    np.testing.assert_allclose(logits[0], expected, atol=1e-4)
    np.testing.assert_allclose(deltas[0], numpy_conv(x, *named["rpn_bbox_pred"]).reshape(-1, 4), atol=1e-4)


@pytest.mark.graph
def test_class_loss_of_one_logit_is_the_binary_cross_entropy():
    draw = np.random.default_rng(2)
    z, match = draw.normal(0, 3, (2, 9)), draw.choice([-1, 0, 1], (2, 9))
    logits = np.stack([0 * z, z], axis=-1).astype("f")
    probability = 1 / (1 + np.exp(-z))
    expected = -np.where(match == 1, np.log(probability), np.log(1 - probability))[match != 0].mean()
    np.testing.assert_allclose(to_numpy(losses.rpn_class_loss(match, logits)), expected, rtol=1e-5)


@pytest.mark.graph
def test_anchors_are_ranked_by_their_logits_where_the_sigmoid_is_one():
    z = np.array([[20, 30, 25, 40]], "f")  # whose sigmoids are all 1 in float32
    assert len(np.unique(1 / (1 + np.exp(-z)))) == 1
    anchors = np.array([[[0, 0.1 * i, 0.1, 0.1 * i + 0.1] for i in range(4)]], "f")
    propose_four = traced(lambda *arrays: propose(*arrays, Config(), 4, 0.7))
    found = propose_four(np.stack([0 * z, z], axis=-1), np.zeros((1, 4, 4), "f"), anchors)
    np.testing.assert_allclose(to_numpy(found["proposals"])[0], anchors[0][[3, 1, 2, 0]], atol=1e-6)


@pytest.mark.graph
@pytest.mark.parametrize("norm", [None, "BN"])
def test_pyramid_is_the_definition(norm):
    stages = [keras.Input((16 // 2**k, 16 // 2**k, 3), name=f"c{k + 2}") for k in range(4)]
    normalise = (lambda x, name: normalize(x, name, False, epsilon=1e-5)) if norm else None
    model = keras.Model(stages, fpn_graph([None, *stages], 4, normalise))
    named = randomised(model)
    convs = ["fpn_c2p2", "fpn_c3p3", "fpn_c4p4", "fpn_c5p5", "fpn_p2", "fpn_p3", "fpn_p4", "fpn_p5"]
    norms = [name.replace("fpn_", "fpn_bn_") for name in convs] if norm else []
    assert sorted(named) == sorted(convs + norms) and all(len(named[n]) == (1 if norm else 2) for n in convs)
    draw = np.random.default_rng(3)
    maps = [draw.normal(size=(1, 16 // 2**k, 16 // 2**k, 3)).astype("f") for k in range(4)]
    found = outputs_of(model, maps)

    def conv(x, name):
        x = numpy_conv(x, *named[name])
        return normed(x, named[name.replace("fpn_", "fpn_bn_")], 1e-5) if norm else x

    top, levels = conv(maps[3][0], "fpn_c5p5"), []
    levels.insert(0, top)
    for level in (4, 3, 2):
        top = top.repeat(2, axis=0).repeat(2, axis=1) + conv(maps[level - 2][0], f"fpn_c{level}p{level}")
        levels.insert(0, top)
    expected = [conv(x, f"fpn_p{k}") for k, x in enumerate(levels, 2)]
    for one, other in zip(found, [*expected, expected[3][::2, ::2]], strict=True):
        np.testing.assert_allclose(one[0], other, atol=1e-4)


HEADS = [(0, 2, None), (0, 2, "BN"), (2, 1, "BN"), (1, 3, None)]


@pytest.mark.graph
@pytest.mark.parametrize("convs, fcs, norm", HEADS)
def test_box_head_is_the_definition(convs, fcs, norm):
    config = Config()
    config.BOX_HEAD_CONVS, config.BOX_HEAD_FCS, config.BOX_HEAD_NORM = convs, fcs, norm
    inputs = [keras.Input((1, 4)), keras.Input((15,)), keras.Input((8, 8, 3))]
    outputs = fpn_classifier_graph(inputs[0], [inputs[2]], inputs[1], 3, 2, False, 6, config)
    model = keras.Model(inputs, [model_input for model_input in outputs])
    named = randomised(model)
    x = np.random.default_rng(4).normal(size=(8, 8, 3)).astype("f")
    meta = np.array([[0, 32, 32, 3, 32, 32, 3, 0, 0, 32, 32, 1, 1, 1, 1]], "f")
    arrays = [np.array([[[0.1, 0.2, 0.8, 0.9]]], "f"), meta, x[None]]
    logits, probs, deltas, pooled = outputs_of(model, arrays, "roi_align_classifier")
    y, names = pooled[0, 0], []
    for number in range(1, convs + 1):
        names.append(f"mrcnn_class_window_conv{number}")
        y = numpy_conv(y, *named[names[-1]])
        if norm:
            names.append(f"mrcnn_class_window_bn{number}")
            y = normed(y, named[names[-1]], config.BN_EPSILON)
        y = np.maximum(y, 0)
    y = y.reshape(-1)
    for number in range(1, fcs + 1):
        names.append(f"mrcnn_class_conv{number}")
        kernel, bias = named[names[-1]]
        y = y @ kernel.reshape(-1, 6) + bias
        if norm and not convs:
            names.append(f"mrcnn_class_bn{number}")
            y = normed(y, named[names[-1]], config.BN_EPSILON)
        y = np.maximum(y, 0)
    assert sorted(named) == sorted([*names, "mrcnn_class_logits", "mrcnn_bbox_fc"])
    expected = y @ named["mrcnn_class_logits"][0] + named["mrcnn_class_logits"][1]
    np.testing.assert_allclose(logits[0, 0], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        probs[0, 0], np.exp(expected - expected.max()) / np.exp(expected - expected.max()).sum(), atol=1e-4
    )
    boxes = y @ named["mrcnn_bbox_fc"][0] + named["mrcnn_bbox_fc"][1]
    np.testing.assert_allclose(deltas[0, 0], boxes.reshape(2, 4), rtol=1e-4, atol=1e-4)


@pytest.mark.graph
@pytest.mark.parametrize("norm", [None, "BN"])
def test_mask_head_is_the_definition(norm):
    config = Config()
    config.MASK_HEAD_NORM = norm
    inputs = [keras.Input((1, 4)), keras.Input((15,)), keras.Input((8, 8, 3))]
    out = build_fpn_mask_graph(inputs[0], [inputs[2]], inputs[1], 4, 2, False, 5, logits=True, config=config)
    model = keras.Model(inputs, out)
    named = randomised(model)
    meta = np.array([[0, 32, 32, 3, 32, 32, 3, 0, 0, 32, 32, 1, 1, 1, 1]], "f")
    x = np.random.default_rng(5).normal(size=(1, 8, 8, 3)).astype("f")
    arrays = [np.array([[[0.1, 0.2, 0.8, 0.9]]], "f"), meta, x]
    found, pooled = outputs_of(model, arrays, "roi_align_mask")
    y, names = pooled[0, 0], []
    for number in range(1, 5):
        names.append(f"mrcnn_mask_conv{number}")
        y = numpy_conv(y, *named[names[-1]])
        if norm:
            names.append(f"mrcnn_mask_bn{number}")
            y = normed(y, named[names[-1]], config.BN_EPSILON)
        y = np.maximum(y, 0)
    kernel, bias = named["mrcnn_mask_deconv"]  # [2, 2, out, in]: each pixel becomes 2 x 2
    y = np.einsum("hwi,aboi->hawbo", y, kernel).reshape(8, 8, 5) + bias
    expected = numpy_conv(np.maximum(y, 0), *named["mrcnn_mask"])
    assert sorted(named) == sorted([*names, "mrcnn_mask_deconv", "mrcnn_mask"])
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-4, atol=1e-4)
