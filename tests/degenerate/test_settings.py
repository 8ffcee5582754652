"""Settings: every rule by hand-written values, the types of old code, and what JSON files hold of them."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from bdd100k.config import BDD100KConfig, CustomConfig, StreetsConfig
from mrcnn.config import Config, settings
from mrcnn.errors import InputError
from mrcnn.modeling.network import Molding, training_shape
from tests.hostile.settings import ACCEPTED, REFUSED
from tests.shapes import ShapesConfig


def changed(name, value):
    """Return settings with one attribute set in a subclass, as clients write them."""
    return type("Changed", (ShapesConfig,), {name: value})()


def test_every_setting_has_a_rule_that_its_default_follows():
    own = {name for name in dir(Config) if name.isupper()}
    assert set(settings()) == own
    for config in (Config, BDD100KConfig, CustomConfig, StreetsConfig, ShapesConfig):
        wrong = [name for name, setting in settings().items() if not setting.rule.fits(getattr(config, name))]
        assert wrong == []
    assert all(setting.about.endswith(".") and setting.section for setting in settings().values())


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused_values(name):
    for value in REFUSED[name]:
        with pytest.raises(InputError, match=name) as caught:
            StreetsConfig().override([f"{name}={value}"]).validate()
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_accepted_values(name):
    for text, expected in ACCEPTED[name].items():
        config = StreetsConfig().override([f"{name}={text}"])
        config.validate()
        assert np.array_equal(getattr(config, name), expected)


@pytest.mark.parametrize(
    "name,value,expected",
    [
        ("NUM_CLASSES", np.int64(4), 4),
        ("STEPS_PER_EPOCH", 657 / 10, 66),
        ("STEPS_PER_EPOCH", np.float64(50), 50),
        ("LEARNING_RATE", np.float32(0.5), 0.5),
        ("USE_MINI_MASK", np.bool_(False), False),
        ("TRAIN_BN", 0, False),
        ("RPN_ANCHOR_SCALES", (np.int64(8), 16, 32, 64, 128), (8, 16, 32, 64, 128)),
        ("DETECTION_MIN_CONFIDENCE", None, None),
    ],
)
def test_types_of_old_code(name, value, expected):
    config = changed(name, value)
    config.validate()
    found = getattr(config, name)
    assert found == expected and type(found) is type(expected)
    assert json.loads(json.dumps(config.to_dict()))[name] == (
        list(expected) if isinstance(expected, tuple) else expected
    )


@pytest.mark.parametrize("value", [127.5, [127.5], np.array([1, 2, 3]), (1.0, 2, 3)])
def test_mean_pixel_of_old_code(value):
    config = changed("MEAN_PIXEL", value)
    config.validate()
    assert np.array_equal(config.MEAN_PIXEL, value)


def test_what_is_computed():
    config = changed("IMAGES_PER_GPU", 3.0)
    config.validate()
    assert config.BATCH_SIZE == 3 and type(config.BATCH_SIZE) is int
    config.BATCH_SIZE = 1  # as clients do before detect
    config.validate()
    assert config.BATCH_SIZE == 1
    free = ShapesConfig().override(["IMAGE_RESIZE_MODE=pad64", "IMAGE_MAX_DIM=None", "IMAGE_MIN_DIM=None"])
    free.validate()
    assert free.IMAGE_SHAPE.tolist() == [0, 0, 3] and training_shape(free) == (64, 64, 3)
    with pytest.raises(InputError, match="NUM_CLASSES is '5'"):
        changed("NUM_CLASSES", "5")


def test_one_mean_for_all_channels():
    assert Molding.of(changed("MEAN_PIXEL", 127.5)).mean == (127.5, 127.5, 127.5)
    assert Molding.of(ShapesConfig()).mean == (123.7, 116.8, 103.9)


def test_attributes_of_clients_are_kept_whatever_they_are():
    @dataclasses.dataclass
    class Own:
        side: int = 3

    class Client(ShapesConfig):
        FOLDER = pathlib.Path("images")
        NAMES = {"a"}
        OWN = Own()
        COUNT = np.int32(7)
        NOT_FINITE = float("nan")

    config = Client()
    config.validate()
    plain = json.loads(json.dumps(config.to_dict(), allow_nan=False))
    assert plain["FOLDER"] == "images" and plain["COUNT"] == 7 and plain["NAMES"] == "{'a'}" and "3" in plain["OWN"]
    assert config.override(["COUNT=9"]).COUNT == 9


def test_settings_come_back_from_json_as_they_were():
    saved = json.loads(json.dumps(StreetsConfig().to_dict()))
    config = Config()
    config.take_over({**saved, "UNKNOWN": 1})
    assert config.to_dict() == StreetsConfig().to_dict() and not hasattr(config, "UNKNOWN")
    assert isinstance(config.MEAN_PIXEL, np.ndarray) and isinstance(config.RPN_ANCHOR_SCALES, tuple)
    with pytest.raises(InputError, match="LEARNING_RATE is 'x'"):
        config.take_over({"LEARNING_RATE": "x"})


def test_together():
    with pytest.raises(InputError, match="TRAIN_ROIS_PER_IMAGE 2 times ROI_POSITIVE_RATIO 0.33 is below 1"):
        changed("TRAIN_ROIS_PER_IMAGE", 2).validate()
    with pytest.raises(InputError, match="CLASS_LOSS_WEIGHTS are all 0"):
        changed("CLASS_LOSS_WEIGHTS", [0, 0, 0, 0]).validate()
    with pytest.raises(InputError, match="LOSS_WEIGHTS are all 0"):
        changed("LOSS_WEIGHTS", dict.fromkeys(Config.LOSS_WEIGHTS, 0)).validate()
    changed("LOSS_WEIGHTS", {"rpn_class_loss": 0}).validate()
    with pytest.raises(InputError, match="MEAN_PIXEL has 3 numbers, but IMAGE_CHANNEL_COUNT is 4"):
        changed("IMAGE_CHANNEL_COUNT", 4).validate()


def test_layers_and_rates_of_a_stage(tmp_path):
    from mrcnn.model import MaskRCNN
    from tests.shapes import ShapesDataset

    model, data = MaskRCNN("training", ShapesConfig(), str(tmp_path)), ShapesDataset().load_shapes(2)
    for rate, layers, message in (
        (float("nan"), "heads", "the learning rate is nan"),
        (-1.0, "heads", "the learning rate is -1"),
        (0.1, "zzz", "no layer that can train has such a name"),
        (0.1, "((", "not a regular expression"),
    ):
        with pytest.raises(InputError, match=message):
            model.train(data, None, rate, 1, layers)
    model.config.LAYER_RATES = {"res2.*": 0.1, "resnet2.*": 0.1}
    with pytest.raises(
        InputError, match=r"LAYER_RATES: no layer has a name like 'resnet2\.\*'; the layers are conv1, "
    ):
        model.train(data, None, 0.1, 1, "heads")
    assert list(tmp_path.iterdir()) == []
