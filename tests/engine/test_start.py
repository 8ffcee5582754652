"""Tests how a training stage begins, and the attributes that clients of MaskRCNN read and assign."""

import dataclasses
import os
import pathlib

import numpy as np
import pytest

from mrcnn.engine import checkpoints
from mrcnn.engine.checkpoints import State
from mrcnn.engine.run import TrainingRun
from mrcnn.engine.start import Start, choose_start
from mrcnn.errors import InputError
from mrcnn.model import MaskRCNN
from tests.shapes import ShapesConfig, ShapesDataset

PLANNED = State(
    path=pathlib.Path("run/training.state"),
    epoch=2,
    step=0,
    first_epoch=2,
    stage={"layers": "heads", "epochs": 4},
    trained=["a/kernel", "a/bias"],
    optimizer={"OPTIMIZER": "sgd"},
    data="1234",
    class_names=["BG", "car"],
)


def changed(exact=False, **fields) -> State:
    return dataclasses.replace(PLANNED, exact=exact, **fields)


OTHER_STAGE = {"stage": {"layers": "all", "epochs": 4}}
OTHER_OPTIMIZER = {"optimizer": {"OPTIMIZER": "adam"}}


@pytest.mark.parametrize(
    ("pending", "before", "start"),
    [
        (None, None, Start.FRESH),
        (None, changed(), Start.REUSE_MOMENTS),
        (None, changed(trained=["a/kernel"]), Start.FRESH),
        (changed(exact=True), None, Start.CONTINUE),
        (changed(exact=True, step=3), None, Start.CONTINUE),
        (changed(exact=True, **OTHER_STAGE), None, Start.REUSE_MOMENTS),
        (changed(exact=True, **OTHER_STAGE, **OTHER_OPTIMIZER), None, Start.FRESH),
        (changed(), None, Start.REUSE_MOMENTS),  # of a checkpoint: never exact
        (changed(data="5678", class_names=["BG"]), None, Start.REUSE_MOMENTS),
        (changed(**OTHER_OPTIMIZER), None, Start.FRESH),
        (changed(**OTHER_OPTIMIZER), changed(), Start.REUSE_MOMENTS),
    ],
)
def test_a_stage_begins_in_one_of_three_ways(pending, before, start):
    assert choose_start(PLANNED, pending, before) is start


@pytest.mark.parametrize(
    ("pending", "message"),
    [
        (changed(exact=True, data="5678"), "images or labels have changed"),
        (changed(exact=True, class_names=["BG", "bus"]), "trained on the classes bus; the data has car"),
        (
            changed(exact=True, step=3, **OTHER_STAGE),
            "stopped after step 3 of epoch 3, in the stage 'all' up to epoch 4",
        ),
    ],
)
def test_an_exact_state_that_does_not_fit_is_refused(pending, message):
    with pytest.raises(InputError, match=message):
        choose_start(PLANNED, pending, None)


def test_a_run_is_resumed_in_its_folder_whatever_it_is_called(monkeypatch, tmp_path):
    state = changed(path=tmp_path / "my run" / "training.state")
    monkeypatch.setattr(checkpoints, "read_state", lambda folder: state)
    run = TrainingRun(None, ShapesConfig())
    assert run.resume(f"{tmp_path}/my run/").epoch == 2
    assert run.pending_state == dataclasses.replace(state, exact=True)
    assert run.folder == str(tmp_path / "my run") and run.epoch == 2
    assert run.checkpoint(3) == tmp_path / "my run" / "mask_rcnn_shapes_0003.h5"
    assert run.best_checkpoint == tmp_path / "my run" / "mask_rcnn_shapes_best.h5"


@pytest.mark.graph
def test_attributes_that_clients_assign(tmp_path):
    model, other = (MaskRCNN("inference", ShapesConfig(), tmp_path) for _ in range(2))
    image = ShapesDataset().load_shapes(1).load_image(0)
    before = model.detector
    assert model.detector is before and model.mode == "inference" and model.model_dir == os.fspath(tmp_path)
    model.keras_model = other.keras_model
    assert model.detector is not before
    expected = other.run_graph([image], [("rois", other.keras_model.get_layer("ROI").output)])["rois"]
    found = model.run_graph([image], [("rois", model.keras_model.get_layer("ROI").output)])["rois"]
    np.testing.assert_array_equal(found, expected)
    model.log_dir, model.checkpoint_path, model.epoch = "elsewhere", "elsewhere/x_{epoch:04d}.h5", 7
    run = model.training_run
    assert (run.folder, run.epoch, str(run.checkpoint(7))) == ("elsewhere", 7, os.path.join("elsewhere", "x_0007.h5"))
    assert model.anchors.shape == model.get_anchors((128, 128, 3)).shape
    model.anchors = np.zeros((1, 4))
    assert model.anchors.shape == (1, 4)
    model.config = ShapesConfig().override(["IMAGE_MAX_DIM=64", "IMAGE_MIN_DIM=64"])
    assert model.mold_inputs([image])[0].shape == (1, 64, 64, 3)
