"""scripts/train.py with typical mistakes: one message says what is wrong and where, exit code 2, no files left."""

import json
import pathlib
import runpy
import sys

import cv2
import numpy as np
import pytest

from mrcnn import errors

TRAIN = pathlib.Path(__file__).parents[2] / "scripts" / "train.py"


@pytest.fixture
def train(monkeypatch, capsys, tmp_path):
    """Return a function that runs the script in this process: (exit code, stderr)."""
    main = runpy.run_path(str(TRAIN))["main"]

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["train.py", "--logs", str(tmp_path / "logs"), *map(str, arguments)])
        code = errors.exit_code(main)
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def folder(tmp_path):
    """Write two images with one car each, as BDD100K's polygons."""
    data = tmp_path / "data"
    images = data / "images" / "10k" / "train"
    labels = data / "labels" / "ins_seg" / "polygons"
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    frames = []
    for name in ("a.jpg", "b.jpg"):
        cv2.imwrite(str(images / name), np.random.default_rng(0).integers(0, 255, (72, 128, 3), np.uint8))
        path = {"vertices": [[10, 10], [60, 10], [60, 50], [10, 50]], "types": "LLLL", "closed": True}
        frames.append({"name": name, "labels": [{"id": "1", "category": "car", "poly2d": [path]}]})
    (labels / "ins_seg_train.json").write_text(json.dumps(frames))
    return data


def test_missing_folder(train, tmp_path):
    code, message = train("--data", tmp_path / "nowhere")
    assert code == 2 and str(tmp_path / "nowhere") in message and "Traceback" not in message


def test_broken_json(train, folder):
    labels = folder / "labels" / "ins_seg" / "polygons" / "ins_seg_train.json"
    labels.write_text(labels.read_text()[:-40])
    code, message = train("--data", folder)
    assert code == 2 and str(labels) in message and "line" in message


def test_empty_dataset(train, folder):
    for image in (folder / "images" / "10k" / "train").iterdir():
        image.unlink()
    code, message = train("--data", folder)
    assert code == 2 and "error:" in message and "train" in message


def test_labels_without_any_object(train, folder):
    labels = folder / "labels" / "ins_seg" / "polygons" / "ins_seg_train.json"
    labels.write_text(json.dumps([{"name": "a.jpg", "labels": []}, {"name": "b.jpg", "labels": []}]))
    code, message = train("--data", folder)
    assert code == 2 and "error:" in message and "object" in message


def test_labels_whose_objects_lie_outside(train, folder):
    labels = folder / "labels" / "ins_seg" / "polygons" / "ins_seg_train.json"
    frames = json.loads(labels.read_text())
    for frame in frames:
        frame["labels"][0]["poly2d"][0]["vertices"] = [[500, 10], [560, 10], [560, 50], [500, 50]]
    labels.write_text(json.dumps(frames))
    code, message = train("--data", folder, "--set", "VALIDATION_STEPS=0")
    assert code == 2 and str(labels) in message and "2 no area" in message and "Traceback" not in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--weights", "no.h5"), ("no.h5", "no such file")),
        (("--weights", "last"), ("no run of 'streets'", "train first")),
        (("--set", "LERNING_RATE=1"), ("unknown setting 'LERNING_RATE'", "LEARNING_RATE")),
        (("--set", "IMAGE_MAX_DIM=500"), ("IMAGE_MAX_DIM is 500", "64")),
        (("--set", "BACKBONE=vgg"), ("BACKBONE is 'vgg'", "resnet50")),
        (("--epochs", 3, 4), ("--epochs 3 4: the run has 1 stage; give no more",)),
        (("--recipe", "seed", "--stage", "all"), ("has its own stages; leave out --stage all",)),
        (
            ("--stage", "zzz", "--set", "VALIDATION_STEPS=0"),
            ("layers 'zzz': no layer that can train has such a name", "res3a_branch2a"),
        ),
        (("--stage", "bn_conv1", "--set", "VALIDATION_STEPS=0"), ("layers 'bn_conv1': no layer that can train",)),
        (("--set", "IMAGES_PER_GPU=many"), ("IMAGES_PER_GPU is 'many'; give a whole number from 1",)),
    ],
)
def test_options_that_do_not_fit(train, folder, arguments, words):
    code, message = train("--data", folder, "--config", "streets", *arguments)
    assert code == 2 and all(word in message for word in words), message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--workers", 4), ("--workers 4 needs --engine ray", "--loaders", "--hosts")),
        (("--engine", "ray"), ("--engine ray needs", "--workers N")),
        (("--engine", "ray", "--workers", 2, "--hosts", "a:1,b:2"), ("leave out --hosts and --host-index",)),
        (("--hosts", "a:1,b:2"), ("--host-index N", "must be given together")),
        (("--host-index", 0), ("--hosts HOST:PORT,...", "must be given together")),
        (("--hosts", "a:1,b:2", "--host-index", 2), ("host index is 2; with 2 hosts it is 0 to 1",)),
    ],
)
def test_several_hosts_and_ray(train, arguments, words):
    code, message = train(*arguments)
    assert code == 2 and all(word in message for word in words), message


def test_truncated_jpeg_stops_the_run_by_name(train, folder, tmp_path):
    image = folder / "images" / "10k" / "train" / "b.jpg"
    image.write_bytes(image.read_bytes()[:900])
    settings = (
        "BACKBONE_WIDTH=16",
        "TOP_DOWN_PYRAMID_SIZE=16",
        "IMAGE_MIN_DIM=64",
        "IMAGE_MAX_DIM=128",
        "STEPS_PER_EPOCH=2",
        "VALIDATION_STEPS=0",
        "RPN_CHANNELS=8",
        "MASK_HEAD_CHANNELS=8",
        "FPN_CLASSIF_FC_LAYERS_SIZE=16",
    )
    overrides = [part for setting in settings for part in ("--set", setting)]
    code, message = train("--data", folder, "--config", "streets", "--epochs", 1, *overrides)
    assert code == 2 and str(image) in message and "Traceback" not in message, message
    assert not list((tmp_path / "logs").rglob("*.h5"))


@pytest.mark.parametrize(
    ("save", "message"),
    [("nowhere/w.h5", "there is no folder"), (".", "it is a folder"), ("file/w.h5", "there is no folder")],
)
def test_where_the_weights_cannot_be_saved_is_said_before_anything_is_read(train, folder, tmp_path, save, message):
    (tmp_path / "file").touch()
    code, error = train("--data", folder, "--save", tmp_path / save)
    assert code == 2 and f"cannot write {tmp_path / save}" in error and message in error
    assert not (tmp_path / "logs").exists()


def test_a_device_is_no_file_for_weights(train, folder):
    code, error = train("--data", folder, "--save", "/dev/null")
    assert code == 2 and "cannot write /dev/null: it is no regular file" in error


def test_a_name_that_is_no_folder(train, folder, tmp_path):
    code, error = train("--data", folder, "--set", "NAME=a/../../b")
    assert code == 2 and "NAME is 'a/../../b'" in error and not (tmp_path / "logs").exists()


def test_logs_that_are_a_file(train, folder, tmp_path):
    (tmp_path / "logs").touch()
    code, error = train("--data", folder)
    assert code == 2 and f"cannot write into {tmp_path / 'logs'}" in error and "is no folder" in error
