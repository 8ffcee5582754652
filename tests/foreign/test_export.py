"""Networks written as torchvision's models: what they are when they are read again, and what is refused."""

import logging
import pathlib
import pickletools
import zipfile
from typing import Any

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.errors import InputError
from mrcnn.foreign import any_file
from mrcnn.foreign.export import backbone_to_torchvision, save_torchvision, to_torchvision
from mrcnn.foreign.models import read_model
from mrcnn.foreign.tensor_files import read_tensor_file
from mrcnn.foreign.torch_writer import write_torch
from mrcnn.modeling.network import build_inference_network
from mrcnn.modeling.training_network import build_training_network
from tests.foreign import state_dicts
from tests.foreign.state_dicts import Sizes
from tests.foreign.test_loading import CHANGES, assert_same_instances, detections, settings

TENSORS = {
    "v1": state_dicts.seeded(state_dicts.torchvision_v1(Sizes())),
    "v2": state_dicts.seeded(state_dicts.torchvision_v2(Sizes())),
    "bottlenecks": state_dicts.seeded(state_dicts.torchvision_v1(Sizes((3, 4, 6, 3), bottleneck=True))),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, pathlib.Path]:
    folder = tmp_path_factory.mktemp("files")
    return {name: state_dicts.write(folder / name, tensors, "zip") for name, tensors in TENSORS.items()}


def loaded(path: pathlib.Path, **changes: Any) -> tuple[keras.Model, Config]:
    """Return a network with a file's weights, and its settings: the file's, some of them changed."""
    config = settings(path, **changes)
    network = build_inference_network(config)
    any_file.load(network, path, config)
    return network, config


@pytest.mark.graph
@pytest.mark.parametrize("version", TENSORS)
def test_what_was_loaded_is_exported_bit_for_bit(version, files, tmp_path):
    network, config = loaded(files[version])
    save_torchvision(network, config, tmp_path / "exported.pth")
    exported = read_tensor_file(tmp_path / "exported.pth")
    assert exported.kind == "torch"
    assert set(exported.tensors) == set(TENSORS[version])
    for name, values in TENSORS[version].items():
        assert exported.tensors[name].dtype == values.dtype
        np.testing.assert_array_equal(exported.tensors[name], values, err_msg=name)


@pytest.mark.graph
@pytest.mark.parametrize(
    "change", [name for name, (_, changes) in CHANGES.items() if not changes.keys() & {"FPN_NORM"}]
)
def test_settings_that_weights_make_good(change, files, tmp_path):
    """Loading makes them good in one direction, exporting in the other: the file holds what it held before."""
    version, changes = CHANGES[change]
    changes = {name: value for name, value in changes.items() if not name.endswith("_NORM")}
    network, config = loaded(files[version], **changes)
    for name, values in to_torchvision(network, config).items():
        scale = np.abs(TENSORS[version][name]).max(initial=0)
        if name.endswith(("running_var", "weight")) and "BN_EPSILON" in changes:
            continue  # another pair of the two, see below
        np.testing.assert_allclose(values, TENSORS[version][name], rtol=0, atol=2e-6 * scale + 1e-12, err_msg=name)


@pytest.mark.parametrize(("version", "epsilon"), [("v1", 1e-3), ("v2", 1e-3), ("v2", 0.0)])
def test_another_epsilon_is_in_the_variance(version, epsilon, files):
    network, config = loaded(files[version], BN_EPSILON=epsilon)
    state, theirs = to_torchvision(network, config), 0.0 if version == "v1" else 1e-5
    norms = [name.removesuffix(".running_var") for name in state if name.endswith("running_var")]
    assert len(norms) >= 20
    for norm in norms:
        ours, wanted = (
            tensors[f"{norm}.weight"] / np.sqrt(tensors[f"{norm}.running_var"].astype(float) + theirs)
            for tensors in (state, TENSORS[version])
        )
        np.testing.assert_allclose(ours, wanted, rtol=1e-6)


@pytest.mark.parametrize("variance", [0.0, 4e-6])
def test_variance_below_the_difference_of_the_epsilons(variance, files):
    network, config = loaded(files["v2"], BN_EPSILON=1e-6)
    layer = network.get_layer("bn_conv1")
    layer.moving_variance.assign(np.full(16, variance))
    scale = np.asarray(layer.gamma) / np.sqrt(variance + 1e-6)
    state = to_torchvision(network, config)
    name = "backbone.body.bn1."
    np.testing.assert_allclose(state[f"{name}weight"] / np.sqrt(state[f"{name}running_var"] + 1e-5), scale, rtol=1e-6)


@pytest.mark.parametrize("sizes", [Sizes(), Sizes((3, 4, 6, 3), bottleneck=True)], ids=["resnet18", "resnet50"])
def test_backbone_alone_has_the_names_of_imagenet_files(sizes, tmp_path):
    tensors = state_dicts.seeded(state_dicts.imagenet(sizes, counter=False))
    model = read_model(state_dicts.write(tmp_path / "backbone", tensors, "zip"))
    config = Config.preset("torchvision-v2").override([f"BACKBONE={model.settings['BACKBONE']}"])
    state = backbone_to_torchvision({**model.layers, "mrcnn_mask": {"bias": np.zeros(3)}}, config)
    assert set(state) == {name for name in tensors if not name.startswith("fc.")}
    for name, values in state.items():
        np.testing.assert_array_equal(values, tensors[name], err_msg=name)


@pytest.mark.parametrize("settings", [["BACKBONE=resnet50"], ["BACKBONE=resnet18", "TRAIN_BN=group"], ["BACKBONE=C"]])
def test_backbone_that_torchvision_does_not_have_is_refused(settings):
    config = Config()
    for setting in settings:  # one of them is no backbone at all
        name, _, value = setting.partition("=")
        setattr(config, name, value)
    with pytest.raises(InputError, match="no backbone of torchvision"):
        backbone_to_torchvision({}, config)


def test_softmax_of_two_becomes_the_difference_of_its_logits(files):
    network, config = loaded(files["v1"], RPN_SIGMOID=False)
    layer, draw = network.get_layer("rpn_model").get_layer("rpn_class_raw"), np.random.default_rng(5)
    kernel, bias = draw.normal(size=(1, 1, 16, 6)), draw.normal(size=6)
    layer.set_weights([kernel, bias])
    state = to_torchvision(network, config)
    for anchor in range(3):
        row = state["rpn.head.cls_logits.weight"][anchor, :, 0, 0]
        np.testing.assert_allclose(row, kernel[0, 0, :, 2 * anchor + 1] - kernel[0, 0, :, 2 * anchor], atol=1e-6)
    np.testing.assert_allclose(state["rpn.head.cls_logits.bias"], bias[1::2] - bias[::2], atol=1e-6)


@pytest.mark.graph
def test_network_for_training_with_our_own_settings_detects_the_same_when_read_again(tmp_path, files):
    """Biases before BatchNorm, which no file of torchvision has, are in its statistics."""
    version, changes = CHANGES["all at once"]
    changes = {name: value for name, value in changes.items() if not name.endswith("_NORM")}
    config = settings(files[version], **changes, IMAGE_RESIZE_MODE="rect", IMAGE_MAX_DIM=128, IMAGE_MIN_DIM=128)
    training = build_training_network(config)
    any_file.load(training, files[version], config)
    draw = np.random.default_rng(3)
    conv, norm = training.get_layer("res3a_branch2a"), training.get_layer("bn3a_branch2a")
    shift = draw.normal(size=32)
    conv.bias.assign(np.asarray(conv.bias) + shift)
    norm.moving_mean.assign(np.asarray(norm.moving_mean) + shift)
    save_torchvision(training, config, tmp_path / "exported.pth")
    assert_same_instances(detections(tmp_path / "exported.pth"), detections(files[version]))


# ---------------------------------------------------------------------------------------------------- what is refused


def test_matterports_settings_are_refused_with_all_that_differ():
    class Small(Config):
        NAME, NUM_CLASSES, BACKBONE, BACKBONE_WIDTH = "small", 3, "resnet18", 16

    config = Small()
    with pytest.raises(InputError) as error:
        to_torchvision(build_inference_network(config), config)
    text = str(error.value)
    for setting in (
        "STRIDE_IN_1X1 is True, in torchvision False",
        "BACKBONE_SYMMETRIC_PADDING is False, in torchvision True",
        "BOX_CONVENTION is 'matterport', in torchvision 'continuous'",
        "BOX_HEAD_NORM is 'BN', in torchvision None",
        "MASK_HEAD_NORM is 'BN', in torchvision None",
        "ROI_SAMPLING_RATIO is None, in torchvision 2",
        "RPN_ANCHOR_ROUNDED is False, in torchvision True",
        "IMAGE_PAD_VALUE is 'black', in torchvision 'mean'",
        "RPN_CHANNELS is 512, in torchvision 256",
    ):
        assert setting in text
    assert "BN_EPSILON" not in text and "RPN_SIGMOID" not in text  # these are made good


@pytest.mark.parametrize(
    "changes",
    [
        {"FPN_NORM": "BN"},
        {"RPN_CONVS": 2},
        {"BOX_HEAD_FCS": 1},
        {"ROI_ALIGNED": True},
        {"BBOX_DELTA_CLIP": "both"},
        {"RPN_ANCHOR_RATIOS": (0.3, 1, 3)},
        {"POOL_SIZE": 5},
        {"BACKBONE": "VGG16"},
        {"TRAIN_BN": "group"},
    ],
)
def test_each_setting_that_no_model_of_torchvision_has_is_refused(changes, files, tmp_path):
    (name,) = changes
    config = settings(files["v1"], **changes)
    with pytest.raises(InputError, match=f"{name} is"):
        save_torchvision(build_inference_network(config), config, tmp_path / "exported.pth")
    assert not list(tmp_path.iterdir())


def test_values_that_are_not_finite_are_refused(files, tmp_path):
    network, config = loaded(files["v1"])
    network.get_layer("fpn_p2").bias.assign(np.full(16, np.inf))
    with pytest.raises(InputError, match="fpn_p2 has values that are not finite"):
        save_torchvision(network, config, tmp_path / "exported.pth")
    assert not list(tmp_path.iterdir())


def test_arguments_and_rules_of_torchvision_are_said(files, caplog):
    changes = {"RPN_ANCHOR_SCALES": (16, 32, 64, 128, 256), "DETECTION_NMS_THRESHOLD": 0.4, "MASK_PASTE": "grid"}
    config = settings(files["v1"], **changes)
    with caplog.at_level(logging.INFO, logger="mrcnn.foreign.export"):
        to_torchvision(build_inference_network(config), config)
    said = [record.getMessage() for record in caplog.records if record.name == "mrcnn.foreign.export"]
    assert said == [
        "torchvision's model must have num_classes=9, min_size=96, max_size=128, rpn_post_nms_top_n_test=60, "
        "box_nms_thresh=0.4, eps=0 in its BatchNorm, "
        "rpn_anchor_generator=AnchorGenerator(((16,), (32,), (64,), (128,), (256,)), ((0.5, 1.0, 2.0),) * 5)",
        "torchvision's model will not detect exactly the same: MASK_PASTE is 'grid' (torchvision: 'torchvision')",
    ]


# --------------------------------------------------------------------------------------------------------- the format


def test_file_is_a_stored_archive_with_a_pickle_of_protocol_2(tmp_path):
    tensors = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "counter": np.array(7)}
    write_torch(tmp_path / "one.pth", tensors)
    write_torch(tmp_path / "two.pth", tensors | {"a.weight": np.asfortranarray(tensors["a.weight"])})
    assert (tmp_path / "one.pth").read_bytes() == (tmp_path / "two.pth").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.pth") as archive:
        assert all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())
        assert archive.namelist()[0] == "archive/data.pkl"
        assert archive.read("archive/data/0") == np.arange(6, dtype="<f4").tobytes()
        code = list(pickletools.genops(archive.read("archive/data.pkl")))
    assert [argument for opcode, argument, _ in code if opcode.name == "PROTO"] == [2]
    assert {argument for opcode, argument, _ in code if opcode.name == "GLOBAL"} == {
        "collections OrderedDict",
        "torch._utils _rebuild_tensor_v2",
        "torch FloatStorage",
        "torch LongStorage",
    }
    read = read_tensor_file(tmp_path / "one.pth").tensors
    np.testing.assert_array_equal(read["a.weight"], tensors["a.weight"])
    assert (read["counter"].shape, read["counter"].dtype, int(read["counter"])) == ((), np.int64, 7)


def test_file_in_a_missing_folder_is_an_error_of_the_user(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        write_torch(tmp_path / "missing" / "one.pth", {"a": np.zeros(1, np.float32)})
