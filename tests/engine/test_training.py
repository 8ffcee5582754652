"""Tests training of a tiny network: the loss is the sum of five terms, falls, and stops the run if it is not finite."""

import re

import keras
import numpy as np
import pytest

from mrcnn.engine import run_folder
from mrcnn.engine.callbacks import NonFiniteLoss, choose_modes
from mrcnn.engine.checkpoints import read_config
from mrcnn.engine.stages import LAYER_REGEX
from mrcnn.errors import InputError
from mrcnn.model import MaskRCNN
from mrcnn.modeling.training_network import LOSS_NAMES
from tests.shapes import ShapesConfig, ShapesDataset

to_numpy = keras.ops.convert_to_numpy
pytestmark = pytest.mark.graph


@pytest.fixture(scope="module")
def dataset() -> ShapesDataset:
    return ShapesDataset().load_shapes(8)


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """Train the heads, then all layers; return [model, both histories, log folder]."""
    keras.utils.set_random_seed(1)
    config = ShapesConfig().override(["TRAIN_BN=None", "STEPS_PER_EPOCH=12"])
    model = MaskRCNN("training", config, tmp_path_factory.mktemp("logs"))
    before = {v.path: to_numpy(v) for v in model.keras_model.weights}
    heads = model.train(dataset, None, 0.02, 1, "heads", workers=1)
    between = {v.path: to_numpy(v) for v in model.keras_model.weights}
    everything = model.train(dataset, dataset, 0.02, 3, "all", augmentation=False, workers=1)
    return model, (heads, everything), (before, between)


def monitors(model: MaskRCNN) -> list[keras.callbacks.Callback]:
    """One callback of each kind that monitors a loss and leaves the mode to Keras; none of them acts."""
    file = f"{model.model_dir}/monitored.weights.h5"
    return [
        keras.callbacks.EarlyStopping("val_mrcnn_mask_loss", patience=99),
        keras.callbacks.ReduceLROnPlateau("rpn_bbox_loss", patience=99),
        keras.callbacks.ModelCheckpoint(file, "val_rpn_class_loss", save_best_only=True, save_weights_only=True),
    ]


def test_loss_is_the_sum_of_five_terms_also_after_a_second_train(trained):
    model, histories, _ = trained
    model.config.WEIGHT_DECAY = 0.0001
    for history in histories:
        terms = [history.history[name][-1] for name in LOSS_NAMES]
        decay = history.history["loss"][-1] - sum(terms)
        # Matterport's decay: 1e-4 * mean(w^2) over some 60 tensors, far below a second copy of any term
        assert 0 <= decay < 0.01, (history.history, decay)


def test_loss_falls(trained):
    losses = [loss for history in trained[1] for loss in history.history["loss"]]
    assert losses[-1] < 0.8 * losses[0], losses


def test_callbacks_that_monitor_a_loss_look_for_its_minimum(dataset, tmp_path):
    model = MaskRCNN("training", ShapesConfig(), tmp_path)
    callbacks = monitors(model)
    history = model.train(dataset, dataset, 0.02, 2, "heads", custom_callbacks=callbacks, workers=1).history
    assert [callback.mode for callback in callbacks] == ["min", "min", "min"]
    for callback in callbacks:
        assert callback.best == min(history[callback.monitor]), callback
    assert (tmp_path / "monitored.weights.h5").exists()


def test_modes_of_callbacks():
    asked = {"val_loss": "min", "mrcnn_class_loss": "min", "val_mask_AP": "max", "roi_accuracy": "max", "mine": "auto"}
    callbacks = [keras.callbacks.EarlyStopping(name) for name in asked] + [
        keras.callbacks.EarlyStopping("loss", mode="max")
    ]
    choose_modes([*callbacks, keras.callbacks.History()])
    assert [callback.mode for callback in callbacks] == [*asked.values(), "max"]


def test_stage_heads_leaves_the_backbone_alone(trained):
    before, between = trained[2]
    moved = {path for path in before if not np.array_equal(before[path], between[path]) and "moving" not in path}
    names = {path.split("/")[-2] for path in moved if path.split("/")[-1] in ("kernel", "bias", "gamma", "beta")}
    assert {"fpn_p2", "rpn_conv_shared"} <= names
    assert all(re.fullmatch(LAYER_REGEX["heads"], name) for name in names), names


def test_each_epoch_leaves_a_checkpoint_that_last_finds(trained, dataset):
    model, _, _ = trained
    path = model.find_last()
    assert path.endswith("_0003.h5") and model.epoch == 3
    folder, path_of_2018 = path
    assert folder == path[0] == model.log_dir and path_of_2018 == path[1] == path and path[-3:] == ".h5"
    settings = read_config(path)
    assert settings["BACKBONE_WIDTH"] == 16 and settings["RPN_ANCHOR_SCALES"] == [16, 24, 32, 48, 64]
    again = MaskRCNN("training", model.config, model.model_dir)
    report = again.load_weights(path)
    assert not report.untouched and again.epoch == 3 and again.log_dir == model.log_dir
    for mine, saved in zip(again.keras_model.trainable_weights, model.keras_model.trainable_weights, strict=True):
        np.testing.assert_array_equal(to_numpy(mine), to_numpy(saved))


def test_find_last_without_a_run_raises_as_the_original_and_as_an_input_error(tmp_path):
    model = MaskRCNN("inference", ShapesConfig(), tmp_path)
    for kind in (FileNotFoundError, InputError):
        with pytest.raises(kind, match="no run of 'shapes'"):
            model.find_last()


def test_epochs_that_are_done_are_not_trained_again(trained, dataset, caplog):
    model = trained[0]
    before = [to_numpy(v) for v in model.keras_model.weights]
    history = model.train(dataset, None, 0.01, 3, "heads")  # as the original: nothing, but here it says so
    assert history.history == {} and "3 epochs are done already" in caplog.text
    for value, variable in zip(before, model.keras_model.weights, strict=True):
        np.testing.assert_array_equal(value, to_numpy(variable))


def test_nonfinite_loss_names_the_term_and_the_images(dataset, tmp_path):
    model = MaskRCNN("training", ShapesConfig(), tmp_path)
    layer = model.keras_model.get_layer("rpn_model").get_layer("rpn_class_raw")
    layer.bias.assign(np.full(layer.bias.shape, np.nan, np.float32))  # frozen, so that its decay does not count
    with pytest.raises(NonFiniteLoss) as caught:
        model.train(dataset, None, 0.01, 1, "mrcnn_.*", workers=1)
    message = str(caught.value)
    assert message.startswith("the loss is nan: rpn_class_loss is not finite for the batch with ")
    named = re.findall(r"shape0-\d\.png", message)
    assert len(named) == model.config.BATCH_SIZE and len(set(named)) == 2
    with pytest.raises(InputError):
        run_folder.find_last(tmp_path, "shapes")  # nothing was written


def test_frozen_batchnorm_is_frozen_whatever_the_regex(dataset, tmp_path):
    model = MaskRCNN("training", ShapesConfig(), tmp_path)  # TRAIN_BN = False
    model.set_trainable(".*", verbose=0)
    trainable = {v.path.split("/")[-1] for v in model.keras_model.trainable_weights}
    assert trainable == {"kernel", "bias"}


@pytest.mark.parametrize("true_decay", [False, True])
def test_weight_decay_is_the_formula(dataset, tmp_path, true_decay):
    config = ShapesConfig().override([f"TRUE_WEIGHT_DECAY={true_decay}", "WEIGHT_DECAY=0.5"])
    model = MaskRCNN("training", config, tmp_path)
    model.set_trainable("mrcnn_class_logits|mrcnn_class_bn1|rpn_conv_shared", verbose=0)
    values = [to_numpy(v).astype(float) for v in model.keras_model.trainable_weights]
    assert len(values) == 4  # two kernels, two biases; BatchNorm is frozen
    expected = 0.5 * sum(0.5 * (v**2).sum() if true_decay else (v**2).mean() for v in values)
    np.testing.assert_allclose(float(model.keras_model.weight_decay()), expected, rtol=1e-5)


def test_keras_model_saves_and_loads_h5_as_the_shapes_notebook_does(tmp_path):
    first, second = (MaskRCNN("inference", ShapesConfig(), tmp_path) for _ in range(2))
    first.keras_model.save_weights(tmp_path / "shapes.h5")
    second.keras_model.load_weights(tmp_path / "shapes.h5", by_name=True)
    for mine, other in zip(first.keras_model.weights, second.keras_model.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(mine), to_numpy(other))
    first.keras_model.metrics_tensors = []  # old scripts empty it before they compile again


def test_raw_and_moulded_images_give_the_same(tmp_path):
    model = MaskRCNN("inference", ShapesConfig(), tmp_path)
    image = ShapesDataset().load_shapes(1).load_image(0)
    padded = np.zeros((1, 128, 128, 3), np.uint8)
    padded[0, 16:112] = image
    meta = np.zeros((1, model.config.IMAGE_META_SIZE), np.float32)
    meta[0, 4:11] = 128, 128, 3, 0, 0, 128, 128
    anchors = model.get_anchors((128, 128, 3))[None]
    raw = model.keras_model.predict_on_batch([padded, meta, anchors])
    moulded = model.keras_model.predict_on_batch([padded - np.float32(model.config.MEAN_PIXEL), meta, anchors])
    for a, b in zip(raw, moulded, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
