"""Tests that the files of a run match what happened, and that measuring mask AP after each epoch changes nothing."""

import csv
import dataclasses
import itertools
import json
import math
import os
import pathlib
import random
import re
import types

import keras
import numpy as np
import pytest

from mrcnn.data.loader import Loader
from mrcnn.engine import run_folder
from mrcnn.engine.callbacks import NonFiniteLoss, StopWhenNotFinite
from mrcnn.engine.results_csv import read_results
from mrcnn.engine.validation import Validator
from mrcnn.errors import InputError
from mrcnn.evaluation.evaluator import evaluate, headline
from mrcnn.model import MaskRCNN
from mrcnn.modeling import weights
from tests.shapes import ShapesConfig, ShapesDataset

pytestmark = pytest.mark.graph

# With averages, the weights of a checkpoint differ from those that are trained.
SETTINGS = [
    "STEPS_PER_EPOCH=3",
    "EMA_MOMENTUM=0.5",
    "GRADIENT_CLIP_NORM=0.1",
    "PRE_NMS_LIMIT=2000",
    "POST_NMS_ROIS_TRAINING=512",  # enough that some overlap an object, so that there is something to learn
]
LAYERS, RATE, IMAGES = "mrcnn_class_logits", 0.0005, 5


@pytest.fixture(scope="module")
def dataset() -> ShapesDataset:
    return ShapesDataset().load_shapes(6)


@pytest.fixture(scope="module")
def val_dataset() -> ShapesDataset:
    return ShapesDataset().load_shapes(9, seed=1)


def train(model, dataset, epochs, **options):
    return model.train(dataset, options.pop("val", None), RATE, epochs, LAYERS, workers=1, **options)


def _find_everywhere(network):
    """Set weights with which every anchor is an object of each class alike, until some are learned."""
    layers = weights.leaf_layers(network)
    for name in ("mrcnn_class_logits", "mrcnn_bbox_fc", "rpn_bbox_pred"):
        for variable in layers[name]:
            variable.assign(np.zeros(variable.shape, np.float32))
    layers["mrcnn_class_logits"][1].assign(np.float32([-3, 0, 0, 0]))
    kernel = layers["rpn_class_raw"][0]
    kernel.assign(
        keras.ops.convert_to_numpy(kernel) * 1e-3
    )  # otherwise all scores are 1 and the first anchors are taken


@pytest.fixture(scope="module")
def evaluated():
    """Return the results of `Validator` in the fixture `runs`, one for each epoch."""
    return []


@pytest.fixture(scope="module")
def runs(dataset, val_dataset, evaluated, tmp_path_factory):
    """Train from the same weights with and without mask AP; return (model, history, next random number) of each."""
    keras.utils.set_random_seed(1)
    runs, start = [], None
    evaluate_images = Validator._evaluate

    def noted(self, model, image_ids):
        evaluated.append(evaluate_images(self, model, image_ids))
        return evaluated[-1]

    for options in ({"val": val_dataset, "validate": IMAGES}, {}):
        model = MaskRCNN("training", ShapesConfig().override(SETTINGS), tmp_path_factory.mktemp("logs"))
        _find_everywhere(model.keras_model)
        start = start or model.keras_model.get_weights()
        model.keras_model.set_weights(start)
        random.seed(3)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Validator, "_evaluate", noted)
            history = train(model, dataset, 2, **options).history
        runs.append((model, history, random.random()))
    return runs


@pytest.fixture(scope="module")
def folder(runs) -> pathlib.Path:
    return pathlib.Path(runs[0][0].log_dir)


def test_validation_does_not_change_training(runs):
    (with_ap, history, number), (without, plain, other_number) = runs
    for a, b in zip(with_ap.keras_model.weights, without.keras_model.weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b), err_msg=a.path)
    assert history["loss"] == plain["loss"] and number == other_number
    assert "val_mask_AP" in history and "val_mask_AP" not in plain and "val_loss" not in history


def scores_of(result):
    return np.array([entry["score"] for entry in result.predictions])


def objects_of(result):
    return [{key: value for key, value in entry.items() if key != "score"} for entry in result.predictions]


def test_ap_is_that_of_the_checkpoint(runs, folder, evaluated, val_dataset):
    model, history, _ = runs[0]
    names = json.loads((folder / "validation.json").read_text())["images"]
    ids = [i for i in val_dataset.image_ids if val_dataset.image_info[i]["id"] in names]
    assert len(ids) == len(names) == IMAGES and len(evaluated) == 2
    loaded = MaskRCNN("inference", model.config, model.model_dir)
    for number, during in enumerate(evaluated):
        loaded.load_weights(model.checkpoint_path.format(epoch=number + 1))
        result = evaluate(loaded, val_dataset, ids, samples=0)
        assert result.mask.AP == history["val_mask_AP"][number]
        assert result.mask.AP50 == history["val_mask_AP50"][number]
        assert result.box.AP == history["val_box_AP"][number]
        # the AP after six steps is near 0, so compare the detections themselves
        assert result.detections > 0 and objects_of(result) == objects_of(during)
        np.testing.assert_allclose(scores_of(result), scores_of(during), rtol=1e-6)
    first, second = (np.sort(scores_of(result)) for result in evaluated)
    assert len(first) != len(second) or np.abs(first - second).max() > 2e-6


def test_rows_are_keras_history(runs, folder):
    history = runs[0][1]
    with open(folder / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"] and {row["stage"] for row in rows} == {LAYERS}
    for name, values in history.items():
        assert [float(row[name]) for row in rows] == values, name
    assert {row["learning_rate"] for row in rows} == {str(RATE)} and {row["steps"] for row in rows} == {"3"}
    assert all(float(row["seconds"]) > 0 and 0 <= float(row["data_wait"]) <= 1 for row in rows)


def test_folder_says_how_the_run_came_about(runs, folder, dataset):
    config = json.loads((folder / "config.json").read_text())
    assert config["STEPS_PER_EPOCH"] == 3 and config["NAME"] == "shapes"
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["backend"] == keras.config.backend() and environment["packages"]["numpy"] == np.__version__
    data = json.loads((folder / "data.json").read_text())
    assert data["train"] == {"images": 6} and data["val"] == {"images": 9} and data["classes"] == dataset.class_names
    line = (folder / "command.txt").read_text().splitlines()[0].split("\t")
    assert line[1] == os.getcwd() and line[3] == f"{LAYERS} from epoch 0 to 2"
    pictures = [len(list(folder.glob(pattern))) for pattern in ("batches/*.png", "validation/*.png", "curves.png")]
    assert pictures == [3, 2, 1] and len(list((folder / "tensorboard").iterdir())) == 1


class Scripted:
    """A `Validator._evaluate` that returns these mask APs, one per epoch."""

    def __init__(self, result, aps):
        self.result, self.aps, self.calls = result, iter(aps), []

    def __call__(self, model, image_ids):
        self.calls.append(list(image_ids))
        return dataclasses.replace(self.result, mask_AP=next(self.aps))


@pytest.fixture
def scripted(runs, folder, val_dataset, monkeypatch):
    """Return a function that sets the mask APs of the next epochs."""
    names = json.loads((folder / "validation.json").read_text())["images"]
    ids = [i for i in val_dataset.image_ids if val_dataset.image_info[i]["id"] in names]
    result = headline([], val_dataset, ids)

    def set_aps(aps):
        made = Scripted(result, aps)
        monkeypatch.setattr(Validator, "_evaluate", lambda self, model, image_ids: made(model, image_ids))
        return made, ids

    return set_aps


def test_the_best_checkpoint_is_kept_and_the_stage_ends_without_a_better_one(
    runs, folder, dataset, val_dataset, scripted
):
    model = runs[0][0]
    made, ids = scripted([0.1, 0.3, None, 0.3, 0.5])
    history = train(model, dataset, 20, val=val_dataset, validate=IMAGES, patience=2).history
    assert history["val_mask_AP"][:2] == [0.1, 0.3] and math.isnan(history["val_mask_AP"][2])
    assert len(history["loss"]) == 4  # the second 0.3 is no better than the first
    assert made.calls == [ids] * 4  # the images of the epochs before
    assert model.training_run.best_checkpoint.read_bytes() == (folder / "mask_rcnn_shapes_0004.h5").read_bytes()
    assert run_folder.find_last(model.model_dir, "shapes").endswith("_0006.h5")
    # repeated epochs count once, and the best checkpoint of the remaining ones is restored
    model.epoch = 3
    scripted([0.05, 0.04])
    train(model, dataset, 5, val=val_dataset, validate=IMAGES)
    rows = read_results(folder / "results.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["val_mask_AP"] for row in rows[2:]] == [0.1, 0.05, 0.04]
    assert model.training_run.best_checkpoint.read_bytes() == (folder / "mask_rcnn_shapes_0003.h5").read_bytes()


@pytest.mark.slow
def test_the_number_of_images_follows_from_the_time_of_an_epoch(runs, val_dataset, dataset, monkeypatch, scripted):
    model = runs[1][0]
    made, _ = scripted([0.0] * 9)
    clock = itertools.count(0, 4)  # 4 s between looks at the clock: 8 images take 4 s
    monkeypatch.setattr("mrcnn.engine.validation.time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr("mrcnn.engine.epoch_log.Recorder.epoch_seconds", lambda self: 60.0)
    monkeypatch.setattr("mrcnn.engine.validation.MINIMUM_IMAGES", 2)
    monkeypatch.setattr("mrcnn.engine.run_pictures.validation_sheet", lambda *args: np.zeros((4, 4, 3), np.uint8))
    train(model, dataset, model.epoch + 1, val=val_dataset, validate=True)
    # 0.09 * 60 s = 5.4 s at 0.5 s each: 10 images, more than there are
    assert [len(call) for call in made.calls] == [2, 8, 9]
    os.unlink(os.path.join(model.log_dir, "validation.json"))
    # validation by loss takes 2.7 of them, which leaves 5, and batches are whole
    monkeypatch.setattr("mrcnn.engine.epoch_log.Recorder.loss_seconds", lambda self: 2.7)
    train(model, dataset, model.epoch + 1, val=val_dataset, validate=True)
    assert [len(call) for call in made.calls[3:]] == [2, 8, 4]


def test_what_cannot_be_validated_is_said(runs, dataset, val_dataset):
    model = runs[1][0]
    with pytest.raises(InputError, match="without validation images"):
        train(model, dataset, 30, validate=True)
    with pytest.raises(InputError, match="patience is 2, but mask AP is not measured"):
        train(model, dataset, 30, val=val_dataset, patience=2)


class ResourceExhaustedError(Exception):
    """An exception with the name of TensorFlow's."""


def test_full_memory_ends_in_one_message_with_numbers(runs, dataset):
    class Full(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise ResourceExhaustedError("OOM when allocating tensor with shape[2,256,256,64]\n\nHint: long")

    with pytest.raises(InputError) as caught:
        train(runs[1][0], dataset, 30, custom_callbacks=[Full()])
    message = str(caught.value)
    assert "batches of 2 images of 128 x 128 px with 24 ROIs and 512 proposals each" in message
    assert "shape[2,256,256,64]" in message and "IMAGES_PER_GPU=1 with GRADIENT_ACCUMULATION_STEPS=2" in message
    assert "images of 64 x 64 px (25% of the pixels; IMAGE_MAX_DIM, IMAGE_MIN_DIM)" in message


def test_a_full_disk_does_not_hide_the_loss(dataset, tmp_path, monkeypatch):
    def full(*_):
        raise InputError("x.npz cannot be written: No space left on device")

    guard = StopWhenNotFinite(dataset, None, tmp_path, (0, 0))  # type: ignore[arg-type]
    guard.set_model(types.SimpleNamespace(first_nonfinite=lambda: (["mrcnn_mask_loss"], [0])))
    guard.on_epoch_begin(0)
    monkeypatch.setattr(guard, "_dump", full)
    with pytest.raises(NonFiniteLoss, match="mrcnn_mask_loss is not finite .*No space left on device") as caught:
        guard.on_train_batch_end(0, {"loss": math.nan})
    assert str(dataset.image_info[0]["path"]) in str(caught.value)


def test_the_loss_is_checked_before_a_state_is_written(dataset, tmp_path, monkeypatch):
    guard = StopWhenNotFinite(dataset, None, tmp_path, (0, 1), every=4)  # type: ignore[arg-type]
    guard.set_model(types.SimpleNamespace(first_nonfinite=lambda: (["loss"], [])))
    monkeypatch.setattr(guard, "_dump", lambda *_: None)
    guard.on_epoch_begin(0)
    guard.on_train_batch_end(1, {"loss": math.nan})  # step 3: looked at later
    with pytest.raises(NonFiniteLoss):
        guard.on_train_batch_end(2, {"loss": math.nan})  # step 4


def test_the_batch_of_a_loss_that_is_not_finite_is_in_a_file(runs, dataset):
    model = runs[1][0]
    layer = model.keras_model.get_layer("rpn_model").get_layer("rpn_class_raw")
    poisoned = np.full(layer.bias.shape, np.nan, np.float32)

    class Poison(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 1:
                layer.bias.assign(poisoned)

    if keras.config.backend() == "jax":  # whose variables cannot be changed while it trains
        layer.bias.assign(poisoned)
    epoch, step = model.epoch, 0 if keras.config.backend() == "jax" else 1
    with pytest.raises(NonFiniteLoss) as caught:
        train(model, dataset, epoch + 1, custom_callbacks=[Poison()])
    path = re.search(r"written to (\S+\.npz)", str(caught.value))[1]
    assert path.endswith(f"nonfinite_epoch_{epoch + 1:04d}_step_{step + 1:04d}.npz")
    expected = Loader(dataset, model.config, steps=3, workers=0, first_epoch=epoch)[step][0]
    with np.load(path) as found:
        assert (int(found["epoch"]), int(found["step"])) == (epoch + 1, step + 1)
        assert found["terms"][0] == "rpn_class_loss"
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name.removeprefix("input_")], value)
        ids = expected["input_image_meta"][:, 0].astype(int)
        assert found["ids"].tolist() == [dataset.image_info[i]["id"] for i in ids]
    assert all(name in str(caught.value) for name in (dataset.image_info[i]["path"] for i in ids))
