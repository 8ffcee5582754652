"""Tests that a resumed run equals one that never stopped: the same losses, and the same weights bit for bit."""

import contextlib
import dataclasses
import os
import signal

import keras
import numpy as np
import pytest

from mrcnn.engine import checkpoints
from mrcnn.engine.results_csv import read_results
from mrcnn.engine.run_lock import RunLock
from mrcnn.engine.stages import Stage
from mrcnn.engine.start import begin
from mrcnn.errors import InputError
from mrcnn.model import MaskRCNN
from tests.shapes import ShapesConfig, ShapesDataset

pytestmark = pytest.mark.graph

SETTINGS = [
    "TRAIN_BN=None",
    "STEPS_PER_EPOCH=4",
    "OPTIMIZER=adam",
    "EMA_MOMENTUM=0.5",
    "LEARNING_RATE_SCHEDULE=cosine",
    "WARMUP_STEPS=3",
    "AUGMENT_FLIP=0.5",
]
RATE, EPOCHS = 0.003, 3


def new_model(folder) -> MaskRCNN:
    return MaskRCNN("training", ShapesConfig().override(SETTINGS), folder)


def values(model: MaskRCNN) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable) for variable in model.keras_model.weights]


def train(model: MaskRCNN, dataset, **options):
    return model.train(dataset, None, RATE, EPOCHS, "heads", workers=1, **options).history


@pytest.fixture(scope="module")
def dataset() -> ShapesDataset:
    return ShapesDataset().load_shapes(6)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Return the weights with which all runs begin."""
    path = tmp_path_factory.mktemp("start") / "start.h5"
    keras.utils.set_random_seed(5)
    new_model(path.parent).keras_model.save_weights(path)
    return path


@pytest.fixture(scope="module")
def straight(start, dataset, tmp_path_factory):
    """Return [model, losses] of the run that was never stopped."""
    model = new_model(tmp_path_factory.mktemp("straight"))
    model.load_weights(start)
    return model, train(model, dataset, keep=2)["loss"]


class StopAt(keras.callbacks.Callback):
    """Sends this process a signal at a step of the run, counted from 0 over all epochs."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step

    def on_train_batch_begin(self, batch, logs=None):
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        self.left -= 1


@pytest.mark.slow
def test_a_run_stopped_by_a_signal_goes_on_to_the_same_weights(start, straight, dataset, tmp_path):
    stopped = new_model(tmp_path)
    stopped.load_weights(start)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, dataset, custom_callbacks=[StopAt(5)])  # in the second epoch, before its last step
    assert signal.getsignal(signal.SIGTERM) is before
    state = checkpoints.read_state(stopped.log_dir)
    assert (state.epoch, state.step) == (1, 2)

    again = new_model(tmp_path)
    again.resume(stopped.log_dir)
    losses = train(again, dataset)["loss"]
    for found, expected in zip(values(again), values(straight[0]), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert losses[-1] == straight[1][-1]
    rows = read_results(os.path.join(stopped.log_dir, "results.csv"))
    assert [row["epoch"] for row in rows] == [1, 2, 3] and [row["steps"] for row in rows] == [4, 2, 4]
    assert [row["loss"] for row in rows[1:]] == losses
    assert again.find_last() == os.path.join(stopped.log_dir, "mask_rcnn_shapes_0003.h5")


@pytest.mark.slow
@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="the case above shows the others")
def test_the_state_between_epochs_is_that_of_its_last_step(start, straight, dataset, tmp_path):
    """After kill -9, the last written state is resumed, and the steps after it are repeated."""
    model = new_model(tmp_path)
    model.load_weights(start)

    class Kill(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if os.path.exists(os.path.join(model.log_dir, "mask_rcnn_shapes_0002.h5")) and batch == 2:
                raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(model, dataset, custom_callbacks=[Kill()], save_every=3)
    state = checkpoints.read_state(model.log_dir)
    assert (state.epoch, state.step) == (2, 3)
    again = new_model(tmp_path)
    again.resume(model.log_dir)
    train(again, dataset)
    for found, expected in zip(values(again), values(straight[0]), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_the_last_checkpoint_holds_the_averages_which_the_model_ends_with(straight):
    model = straight[0]
    other = new_model(model.model_dir)
    other.load_weights(model.find_last())
    trained = {v.path for v in model.keras_model.trainable_variables}
    raw = checkpoints.read_state(model.log_dir)
    assert raw.epoch == 3 and len(trained) == len(raw.trained)
    for mine, saved in zip(other.keras_model.weights, model.keras_model.weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(mine), keras.ops.convert_to_numpy(saved))


@pytest.mark.slow
def test_resume_refuses_other_data_other_settings_and_a_folder_without_a_state(straight, dataset, tmp_path):
    folder = straight[0].log_dir
    state = checkpoints.read_state(folder)
    model = new_model(tmp_path)
    with pytest.raises(InputError, match="holds no training.state"):
        model.resume(tmp_path)
    model.resume(folder)
    with pytest.raises(InputError, match="images or labels have changed"):
        model.train(ShapesDataset().load_shapes(7), None, RATE, EPOCHS + 1, "heads")
    (tmp_path / "training.state").write_bytes(b"half a file")
    with pytest.raises(InputError, match="is no state of a run"):
        model.resume(tmp_path)
    inside = checkpoints.State(**{**vars(state), "step": 2, "exact": True})
    model.training_run.pending_state = inside
    with pytest.raises(InputError, match="stopped after step 2 of epoch 4, in the stage 'heads'"):
        model.train(dataset, None, RATE, EPOCHS + 1, "4+")


@pytest.mark.slow
def test_resume_refuses_a_run_in_training_and_one_that_went_on(straight, dataset, tmp_path):
    model = new_model(tmp_path)
    model.resume(straight[0].log_dir)
    with (
        contextlib.closing(RunLock(straight[0].log_dir)),
        pytest.raises(InputError, match="another training is writing into"),
    ):
        model.train(dataset, None, RATE, EPOCHS + 1, "heads")
    before, state = values(model), checkpoints.read_state(straight[0].log_dir)
    with pytest.raises(InputError, match="was written again after it was read"):
        checkpoints.restore(model.keras_model, dataclasses.replace(state, step=2), ("network",))
    for found, expected in zip(values(model), before, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_momentum_lives_on_from_one_train_to_the_next_and_through_a_checkpoint(dataset, tmp_path):
    config = ShapesConfig().override(["TRAIN_BN=None", "STEPS_PER_EPOCH=2"])
    model = MaskRCNN("training", config, tmp_path)
    model.train(dataset, None, 0.002, 1, "heads", workers=1)
    first = model.keras_model.optimizer
    before = [keras.ops.convert_to_numpy(v) for v in checkpoints.moments(first)]
    assert any(np.abs(value).max() > 0 for value in before)
    again = MaskRCNN("training", config, tmp_path)
    again.load_weights(model.find_last())
    seen = []
    look = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: seen.append(
            [keras.ops.convert_to_numpy(v) for v in checkpoints.moments(again.keras_model.optimizer)]
        )
    )
    again.train(dataset, None, 0.001, 2, "heads", workers=1, custom_callbacks=[look])
    for found, expected in zip(seen[0], before, strict=True):
        np.testing.assert_array_equal(found, expected)
    model.train(dataset, None, 0.001, 2, "heads", workers=1)
    assert model.keras_model.optimizer is first and int(first.iterations) == 4
    model.set_trainable("mrcnn_.*", verbose=0)
    begin(model.training_run, Stage("mrcnn_.*", 0.001, 3), "")  # other layers: other moments
    assert model.keras_model.optimizer is not first


def test_only_the_newest_checkpoints_are_kept(straight):
    names = sorted(name for name in os.listdir(straight[0].log_dir) if name.endswith(".h5"))
    assert names == ["mask_rcnn_shapes_0002.h5", "mask_rcnn_shapes_0003.h5"]
