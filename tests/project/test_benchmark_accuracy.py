"""scripts/benchmark.py accuracy: both sides get the same weights and batches; what is trained again; the report."""

import argparse
import importlib.util
import pathlib
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from pycocotools import mask as coco

from mrcnn.augment_settings import preset_settings
from mrcnn.data.images import compose_image_meta
from mrcnn.engine import trainer
from mrcnn.errors import InputError
from mrcnn.evaluation.comparison import read_evaluation
from mrcnn.evaluation.evaluator import evaluate
from mrcnn.evaluation.table_file import save_tables
from mrcnn.files import write_json
from mrcnn.foreign.models import read_model
from mrcnn.foreign.torch_writer import write_torch
from mrcnn.modeling.pretrained import fetch
from mrcnn.modeling.weights import read_layers
from mrcnn.variants import TORCH_STD
from scripts.benchmarks import ablation, accuracy, torchvision_training
from tests.evaluation_scenes import Noisy, Scenes
from tests.foreign import state_dicts
from tests.shapes import ShapesConfig, ShapesDataset

# ------------------------------------------------------------------------------------------------- batches


def batch() -> dict[str, np.ndarray]:
    """Return a batch of an image of 6 x 7 in 8 x 10: an object of class 3, an unused slot, a crowd, an empty box."""
    masks = np.zeros((1, 4, 4, 4), bool)  # as large as the first box, so nothing is resized
    masks[0, :, :, 0] = np.eye(4, dtype=bool)
    masks[0, :, :, 2] = True
    boxes = [[2, 3, 6, 7], [0, 0, 0, 0], [1, 2, 5, 6], [4, 4, 4, 8]]
    meta = compose_image_meta(7, (6, 7, 3), (8, 10, 3), (1, 2, 7, 9), 1.0, np.ones(4, np.int32))
    return {
        "input_image": np.arange(240, dtype=np.uint8).reshape(1, 8, 10, 3),
        "input_image_meta": np.float32([meta]),
        "input_gt_class_ids": np.int32([[3, 0, -1, 1]]),
        "input_gt_boxes": np.float32([boxes]),
        "input_gt_masks": masks,
    }


def test_batch_as_torchvision_takes_it():
    image, target = torchvision_training.image_and_target(batch(), 0)
    assert image.shape == (6, 7, 3) and image[0, 0].tolist() == [36, 37, 38]  # row 1, column 2 of ten pixels a row
    assert target["boxes"].dtype == np.float32 and target["boxes"].tolist() == [[1, 1, 5, 5]]
    assert target["labels"].dtype == np.int64 and target["labels"].tolist() == [3]
    assert target["masks"].dtype == np.uint8
    assert np.argwhere(target["masks"]).tolist() == [[0, 1, 1], [0, 2, 2], [0, 3, 3], [0, 4, 4]]


def test_batches_are_those_of_our_training():
    config, dataset = ShapesConfig(), ShapesDataset().load_shapes(6)
    config.override([*preset_settings("default"), "BALANCE=class-aware", "SEED=4", "STEPS_PER_EPOCH=5"])
    ours, _ = trainer._loaders(config, dataset, None, trainer.RunOptions(), None, SimpleNamespace(epoch=0, step=0))
    theirs = torchvision_training.batches(dataset, config)
    assert len(ours) == len(theirs) == 5
    for (one,), (other,) in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name], err_msg=name)
    ours.close()
    theirs.close()


# ------------------------------------------------------------------------------------------------- weights


def test_both_start_from_the_same_backbone(tmp_path):
    """torchvision reads the names of the file by itself; ours reads them as those of an ImageNet ResNet."""
    wide = ablation.widen(fetch("streets"), tmp_path / "wide.h5")
    state = accuracy.streets_backbone(wide)
    shapes = state_dicts.imagenet(state_dicts.Sizes(width=64), counter=False)
    assert {name: values.shape for name, values in state.items()} == {
        name: shape for name, shape in shapes.items() if not name.startswith("fc.")
    }
    write_torch(tmp_path / "backbone.pth", state)
    ours, trained = read_model(tmp_path / "backbone.pth"), read_layers(wide)
    assert ours.settings["BACKBONE"] == "resnet18" and ours.settings["BN_EPSILON"] == 1e-5
    kernel, bias = trained["res3b_branch2a"]
    np.testing.assert_array_equal(state["layer2.1.conv1.weight"], kernel.transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(ours.layers["res3b_branch2a"]["kernel"], kernel)
    stem = trained["conv1"][0] * np.reshape(TORCH_STD, (3, 1))  # which pixels are divided by there
    np.testing.assert_allclose(ours.layers["conv1"]["kernel"], stem, rtol=1e-6)
    gamma, beta, mean, variance = trained["bn3b_branch2a"]
    norm = ours.layers["bn3b_branch2a"]
    for value in (-1.0, 2.0):  # what comes out of the convolution, without its bias
        wanted = (value + bias - mean) / np.sqrt(variance + 1e-3) * gamma + beta
        found = (value - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + 1e-5) * norm["gamma"] + norm["beta"]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_settings_of_both():
    """torchvision's model is the same whatever ours is, but on the same images and with the same backbone."""
    own = ("STEPS_PER_EPOCH=3", "IMAGE_MIN_DIM=256", "BACKBONE=resnet34", "ROI_OHEM=True")
    small = accuracy.SIZES["small"]
    job = torchvision_training.Job("", "streets", "matterport", small.settings, own, 0.1, "", pathlib.Path(), None)
    ours, theirs = torchvision_training.configs(job, ["BG", *"abcdefgh"])
    assert ours.ROI_OHEM and not theirs.ROI_OHEM
    assert not ours.RPN_SIGMOID and theirs.RPN_SIGMOID and theirs.ROI_SAMPLING_RATIO == 2
    for config in (ours, theirs):
        assert (config.BACKBONE, config.NUM_CLASSES, config.IMAGE_MIN_DIM) == ("resnet34", 9, 256)
        assert config.RPN_CHANNELS == config.TOP_DOWN_PYRAMID_SIZE and not config.TRAIN_BN


def test_large_size_is_torchvisions_own_model():
    large = accuracy.SIZES["large"]
    job = torchvision_training.Job("", "bdd100k", "torchvision", large.settings, (), 0.1, "", pathlib.Path(), None)
    ours, theirs = torchvision_training.configs(job, ["BG", *"abcdefgh"])
    assert ours.to_dict() == theirs.to_dict()
    sizes = ("TOP_DOWN_PYRAMID_SIZE", "RPN_CHANNELS", "FPN_CLASSIF_FC_LAYERS_SIZE", "MASK_HEAD_CHANNELS")
    assert [getattr(ours, name) for name in sizes] == [256, 256, 1024, 256]


# ------------------------------------------------------------------------------------------------- results


def test_detections_of_torchvision_as_coco_results():
    probs = np.zeros((1, 1, 5, 6), np.float32)
    probs[0, 0, 1:4, 2:5] = 0.5
    probs[0, 0, 1, 2] = 0.49
    found = {"boxes": np.float32([[1.5, 1, 5, 4]]), "labels": np.array([2]), "scores": np.float32([0.75])}
    (entry,) = torchvision_training.as_entries({**found, "masks": probs}, "street", [0, 10, 20])
    assert (entry["image_id"], entry["category_id"], entry["score"]) == ("street", 20, 0.75)
    assert entry["bbox"] == [1.5, 1, 3.5, 3]
    np.testing.assert_array_equal(coco.decode(entry["segmentation"]), probs[0, 0] >= 0.5)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> pathlib.Path:
    """Return a folder with the evaluations of noisy detections ("ours") and of every fifth one ("torchvision")."""
    folder, scenes = tmp_path_factory.mktemp("recorded"), Scenes(images=12, seed=2)
    every = evaluate(Noisy(scenes), scenes, samples=100)
    few = evaluate(every.predictions[::5], scenes, samples=100)
    for name, result in (("ours", every), ("torchvision", few)):
        (folder / name).mkdir()
        write_json(folder / name / "result.json", {"evaluated": {}, **result.to_json()})
        names = [f"street-{i}.jpg" for i in scenes.image_ids]
        save_tables(folder / name / "matches.npz", result.tables, names, scenes.class_names[1:])
    return folder


def test_report_of_two_results(recorded, capsys):
    runs = {name: read_evaluation(recorded / name) for name in ("ours", "torchvision")}
    report = accuracy.figures(runs)
    assert report["images"] == 12
    for kind in ("mask", "box"):
        for figure in ("AP", "AP50"):
            ours, theirs, gain = (report[name][kind][figure] for name in ("ours", "torchvision", "difference"))
            assert ours["value"] == runs["ours"].result[kind][figure] > theirs["value"] > 0
            assert ours["interval"][0] < ours["value"] < ours["interval"][1]
            assert gain["value"] == pytest.approx(ours["value"] - theirs["value"])
            assert gain["better"] == "ours" and 0 < gain["interval"][0] < gain["value"] < gain["interval"][1]
    accuracy.show(report)
    gain = report["difference"]["mask"]["AP"]
    low, high = gain["interval"]
    shown = f"{100 * gain['value']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    assert shown in next(
        line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("difference ")
    )


def arguments(out: pathlib.Path, *options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    accuracy.add_arguments(parser)
    return parser.parse_args(["--out", str(out), *options])


def test_finished_parts_are_not_repeated(recorded, tmp_path, monkeypatch):
    calls = []

    def script(name, options, folder):
        calls.append(name)
        if name == "train.py":
            run = pathlib.Path(options[options.index("--logs") + 1]) / "run"
            run.mkdir(parents=True)
            (run / "mask_rcnn_streets_0001.h5").touch()
        if name == "evaluate.py":
            shutil.copytree(recorded / folder.name, folder / "evaluation", dirs_exist_ok=True)

    monkeypatch.setattr(accuracy, "call_script", script)
    monkeypatch.setattr(accuracy, "starting_backbone", lambda args, out: out / "backbone.pth")
    monkeypatch.setattr(torchvision_training.Job, "in_own_process", lambda job: calls.append(job.overrides))
    monkeypatch.setattr(accuracy.torchvision_model, "refuse_without", lambda: None)
    report = accuracy.run(arguments(tmp_path, "--against", "torchvision", "--steps", "7", "--set", "AUGMENT_FLIP=0.0"))
    own = ("STEPS_PER_EPOCH=7", "IMAGES_PER_GPU=2", "SEED=0", "AUGMENT_FLIP=0.0")
    assert calls == ["streets.py", "train.py", "evaluate.py", own, "evaluate.py"]
    assert report["ours"]["minutes"] >= 0 and report["difference"]["mask"]["AP"]["better"] == "ours"
    assert [value for value in report["command"] if value.startswith("AUGMENT_FLIP")] == ["AUGMENT_FLIP=0.0"]
    calls.clear()
    alone = accuracy.run(arguments(tmp_path, "--steps", "7", "--set", "AUGMENT_FLIP=0.0"))
    assert calls == ["streets.py", "evaluate.py"] and not alone.keys() & {"torchvision", "difference"}
    calls.clear()
    accuracy.run(arguments(tmp_path, "--steps", "8", "--set", "AUGMENT_FLIP=0.0"))
    assert calls == ["streets.py", "train.py", "evaluate.py"]


def test_what_cannot_run_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="give its folder with --data"):
        accuracy.run(arguments(tmp_path, "--size", "large"))
    with pytest.raises(InputError, match="no such file"):
        accuracy.starting_backbone(arguments(tmp_path, "--backbone-weights", "missing.pth"), tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install '\.\[benchmark\]'"):
        accuracy.run(arguments(tmp_path, "--against", "torchvision"))
