"""Clients written against the original's published interface run as they stand, in a process of their own."""

import csv
import json
import pickle
import re
import shutil

import numpy as np
import pytest
import skimage.io

from tests.clients.conftest import STREETS_WEIGHTS
from tests.clients.drawn_balloons import draw_balloons
from tests.clients.drawn_nuclei import draw_nuclei
from tests.clients.processes import checkpoints, run_client, run_legacy

pytestmark = pytest.mark.slow


def test_a_script_that_is_not_there(tmp_path):
    done = run_legacy(tmp_path / "nothing.py")
    assert done.returncode == 2 and "no such script" in done.stderr and "Traceback" not in done.stderr


def test_shapes_client_trains_twice_and_detects(tmp_path):
    done = run_client("shapes_client.py", tmp_path)
    assert "masks (64, 64) mAP True" in done.stdout
    assert "gt_mask" in done.stdout and "shape: (64, 64, 2)" in done.stdout
    assert checkpoints(tmp_path) == ["mask_rcnn_shapes_0001.h5", "mask_rcnn_shapes_0002.h5"]


def test_balloon_client_trains_heads_from_other_weights_and_splashes(tmp_path):
    samples = tmp_path / "samples" / "balloon"  # the client looks for the weights two folders up
    samples.mkdir(parents=True)
    shutil.copy(STREETS_WEIGHTS, tmp_path / "mask_rcnn_coco.h5")
    data = tmp_path / "balloons"
    draw_balloons(data / "train", count=40, seed=0)  # of 12 it would learn which, not what
    draw_balloons(data / "val", count=2, seed=1)

    done = run_client("balloon_client.py", "train", f"--dataset={data}", "--weights=coco", cwd=samples)
    assert "Train images: ['balloon0.png', 'balloon1.png'," in done.stdout and "balloon40" not in done.stdout
    assert re.search(r"excluded, shapes differ: mrcnn_class_logits 256x\d+ .* 256x2 \+ 2 in the model", done.stdout)
    assert checkpoints(tmp_path / "logs") == ["mask_rcnn_balloon_0001.h5"]

    image_path = data / "val" / "balloon0.png"
    done = run_client("balloon_client.py", "splash", "--weights=last", f"--image={image_path}", cwd=samples)
    assert re.search(r"mask_rcnn_balloon_0001.h5: (\d+) of \1 layers loaded", done.stdout)
    (path,) = samples.glob("splash_*.png")
    image, splash = skimage.io.imread(image_path), skimage.io.imread(path)
    coloured = (splash == image).all(axis=-1)
    assert (np.ptp(splash[~coloured], axis=-1) == 0).all()  # gray
    balloon = (image == (220, 30, 40)).all(axis=-1)
    assert np.count_nonzero(coloured & balloon) > 0.5 * np.count_nonzero(coloured | balloon) > 0


def test_nucleus_client_crops_augments_and_writes_run_lengths(tmp_path):
    data, results = tmp_path / "data", tmp_path / "results"
    draw_nuclei(data, count=5)
    results.mkdir()
    done = run_client("nucleus_client.py", data, results)
    assert "Train 3 Val 2 ['BG', 'nucleus']" in done.stdout
    assert "val_loss of 2 epochs, rpn_bbox_loss of 2" in done.stdout
    assert checkpoints(results / "logs") == ["mask_rcnn_nucleus_0001.h5", "mask_rcnn_nucleus_0002.h5"]

    lines = list(csv.reader((results / "submit.csv").open()))
    assert lines[0] == ["ImageId", "EncodedPixels"] and {line[0] for line in lines[1:]} == {"c3", "c4"}
    for name, found in pickle.loads((results / "results.pkl").read_bytes()).items():
        shape = skimage.io.imread(data / name / "images" / f"{name}.png").shape[:2]
        assert found["masks"].shape == (*shape, len(found["scores"])) and len(found["scores"]) > 0
        y1, x1, y2, x2 = found["rois"].T
        assert (y1 >= 0).all() and (x1 >= 0).all() and (y2 <= shape[0]).all() and (x2 <= shape[1]).all()
        decoded = [run_lengths_to_mask(text, shape) for image_id, text in lines[1:] if image_id == name]
        taken = np.zeros(shape, int)
        for mask in decoded:
            taken += mask
        assert taken.max() == 1  # no pixel twice
        np.testing.assert_array_equal(taken > 0, found["masks"].any(axis=-1))
        best = found["masks"][:, :, np.argmax(found["scores"])]
        np.testing.assert_array_equal(decoded[0], best)
        assert picture_has_content(results / f"{name}.png")


def run_lengths_to_mask(text: str, shape: tuple[int, int]) -> np.ndarray:
    """bool [H, W] of "start length start length ...", from pixel 1 down the columns."""
    mask = np.zeros(shape[0] * shape[1], bool)
    numbers = [int(number) for number in text.split()]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        mask[start - 1 : start - 1 + length] = True
    return mask.reshape(shape, order="F")


def picture_has_content(path) -> bool:
    """Whether a figure shows more than paper: several colours, on at least a fiftieth of it."""
    picture = skimage.io.imread(path)[..., :3].astype(int)
    colours = np.unique(picture.reshape(-1, 3), axis=0)
    return np.count_nonzero((picture < 250).any(axis=-1)) > picture[..., 0].size / 50 and len(colours) >= 3


def test_coco_client_trains_in_three_stages_and_evaluates(coco_run):
    assert "CLASSES ['BG', 'box', 'disc'] IMAGES 12" in coco_run.stdout and "Auto Download:  False" in coco_run.stdout
    assert checkpoints(coco_run.logs) == [f"mask_rcnn_coco_000{epoch}.h5" for epoch in (1, 2, 3)]
    assert "has no load_mask()" not in coco_run.stdout  # it asks its parent for "no objects", which is no mistake
    for kind in ("bbox", "segm"):
        stats = np.array(json.loads(re.search(rf"{kind} STATS (\[.*\])", coco_run.stdout)[1]))
        assert np.isfinite(stats).all() and len(stats) == 12
        assert stats[1] > 0.5, f"{kind} AP50 is {stats[1]}"  # untrained heads give 0
        assert stats[4] == stats[5] == -1  # all objects are small
    assert 4 <= int(re.search(r"RESULTS (\d+) of 5 images", coco_run.stdout)[1]) <= 200


@pytest.fixture(scope="module")
def inspected(coco_run, tmp_path_factory):
    """Folder and printed text of inspect_client.py, and the arrays of its cells."""
    folder = tmp_path_factory.mktemp("inspected")
    done = run_client("inspect_client.py", coco_run.data, coco_run.logs, folder)
    return folder, done.stdout, dict(np.load(folder / "values.npz"))


def test_inspecting_client_sees_consistent_targets(inspected):
    _, stdout, values = inspected
    assert "image ID: coco.301 (1) http://cocodataset.org/#explore?id=301" in stdout
    np.testing.assert_allclose(values["model_anchors"], values["anchors"])
    # deltas applied to their anchors or ROIs give the boxes of the objects
    objects = values["batch_boxes"][values["batch_boxes"].any(axis=1)]
    for name, boxes in (
        ("target_refined_anchors", values["gt_boxes"]),
        ("batch_refined_anchors", objects),
        ("batch_refined_rois", objects),
    ):
        distance = np.abs(values[name][:, None] - boxes[None]).max(axis=-1).min(axis=1)
        assert len(distance) and distance.max() < 1e-3, name


def test_inspecting_client_repeats_the_detection_by_hand(inspected):
    _, _, values = inspected
    real = values["proposals"].any(axis=1)
    np.testing.assert_allclose(values["proposals"][real], values["kept_anchors"][real], atol=1e-6)
    order = np.argsort(-values["step_scores"])
    np.testing.assert_array_equal(values["step_class_ids"][order], values["class_ids"])
    np.testing.assert_allclose(values["step_scores"][order], values["scores"], atol=1e-5)
    np.testing.assert_allclose(values["step_boxes"][order], values["rois"], atol=2)  # it rounds twice
    np.testing.assert_array_equal(values["det_masks"].transpose(1, 2, 0), values["masks"])
    np.testing.assert_array_equal(values["unmolded_rois"], values["rois"])
    np.testing.assert_array_equal(values["molded_rois"], values["rois"])
    assert len(values["APs"]) == 4 and np.mean(values["APs"]) > 0.5


def test_inspecting_client_sees_layers_and_weights(inspected):
    folder, stdout, values = inspected
    np.testing.assert_allclose(values["unmolded"], values["image"], atol=1)  # the original, too, cuts off the fraction
    assert values["shapes"].tolist() == ["(1, 16, 16, 32)", "(1, 4, 4, 128)", "(1, 40, 4)", "(1, 100, 14, 14, 64)"]
    layers = re.search(r"LAYERS (\[.*\])", stdout)[1]
    assert "'conv1'" in layers and "'mrcnn_bbox_fc'" in layers and "'mrcnn_mask_deconv'" in layers
    pictures = sorted(folder.glob("*.png"))
    assert len(pictures) == 25
    for path in pictures:
        assert picture_has_content(path), path.name


def test_weights_saved_by_a_notebook_are_those_of_the_checkpoint(inspected, coco_run):
    import h5py

    (last,) = coco_run.logs.glob("*/mask_rcnn_coco_0003.h5")
    with h5py.File(last) as trained, h5py.File(inspected[0] / "mask_rcnn_copy.h5") as copy:
        arrays = {}
        trained.visititems(lambda name, item: arrays.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
        used = [name for name in arrays if name in copy]
        assert len(used) > 100 and "mrcnn_mask/mrcnn_mask/kernel:0" in used
        for name in used:
            np.testing.assert_array_equal(copy[name][()], arrays[name], err_msg=name)
