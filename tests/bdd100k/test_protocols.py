"""Compares both protocols of BDD100K with the expected numbers of the official toolkits and with hand-worked cases."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from bdd100k.dataset import BDD100KDataset
from bdd100k.evaluation.flatten import flatten, paint
from bdd100k.evaluation.predictions import load_any
from bdd100k.evaluation.protocols import OfficialEvaluator, has_official_classes
from bdd100k.evaluation.submissions import Writer
from mrcnn.evaluation.evaluator import evaluate
from mrcnn.evaluation.result import to_json
from mrcnn.structures.instances import Instances
from tests.evaluation_scenes import Drawn, Noisy, Scenes, found


def official(dataset, entries, write=None, samples=0):
    return evaluate(entries, dataset, samples=samples, benchmark=OfficialEvaluator(dataset, write, samples > 0))


# The test case of the toolkit's bitmask evaluation, with the figures that it asserts.
OFFICIAL_TRUTH = [
    ("pedestrian", (0, 0, 10, 10)),
    ("rider", (20, 10, 40, 20)),
    ("car", (20, 20, 40, 30)),
    ("car", (40, 10, 60, 30)),
    ("car", (40, 30, 60, 40)),
    ("car", (60, 50, 70, 60)),
]
OFFICIAL_FOUND = [
    ("pedestrian", (0, 0, 10, 10), 0.4),
    ("rider", (20, 10, 40, 19), 0.9),
    ("car", (20, 20, 40, 27), 0.8),
    ("car", (40, 10, 60, 22), 0.9),
    ("car", (40, 30, 60, 35), 0.9),
    ("car", (60, 50, 70, 54), 0.9),
]


def test_bitmask_figures_are_those_that_the_toolkit_asserts():
    got = official(Drawn(OFFICIAL_TRUTH), [found(0, *e) for e in OFFICIAL_FOUND]).official.bitmask
    per_class = {name: own.AP for name, own in got.per_class.items() if own.AP is not None}
    assert per_class == pytest.approx({"pedestrian": 1, "rider": 0.9, "car": 0.15816831683168317}, abs=1e-9)
    expected = {
        "AP": 0.6860561056105611,
        "AP50": 0.8968646864686468,
        "AP75": 0.6666666666666666,
        "AP_S": 0.6860561056105611,
        "AP_M": None,
        "AP_L": None,
        "AR1": 0.6583333333333333,
        "AR10": 0.7083333333333334,
        "AR100": 0.7083333333333334,
        "AR_S": 0.7083333333333334,
        "AR_M": None,
        "AR_L": None,
    }
    assert vars(got.mask) == pytest.approx(expected, abs=1e-9)


def test_rle_figures_are_those_that_scalabel_asserts(shared_data, tmp_path):
    folder = shared_data / "bdd_labels_only"
    cv2.imwrite(str(tmp_path / "80985724-bc3fece0.jpg"), np.zeros((720, 1280, 3), np.uint8))
    dataset = BDD100KDataset()
    dataset.load_bdd100k(tmp_path, "val", labels=folder / "ins_seg_rle_sample.json")
    dataset.prepare()
    entries = load_any(folder / "scalabel__eval__testcases__ins_seg__ins_seg_preds.json", dataset)
    got = official(dataset, entries).official.rle
    expected = {
        "AP": 48.77227722772277,
        "AP50": 86.73267326732673,
        "AP75": 36.83168316831682,
        "AP_S": 0.0,
        "AP_M": 53.399339933993396,
        "AP_L": 50.247524752475236,
        "AR1": 44.66666666666667,
        "AR10": 48.66666666666667,
        "AR100": 48.66666666666667,
        "AR_S": 0.0,
        "AR_M": 53.333333333333336,
        "AR_L": 50.0,
    }
    assert {name: 100 * value for name, value in vars(got.mask).items()} == pytest.approx(expected, abs=1e-9)
    assert got.overlapping_images == 0 and got.AP_as_given == pytest.approx(got.mask.AP)
    assert got.per_class["truck"].AP == pytest.approx(0.7) and got.per_class["bus"].AP is None


def test_best_score_has_the_pixel():
    # By hand: the car of score 0.9 covers columns 0-9, so that of 0.6 keeps columns 10-14 of its 5-14. The truth equals
    # the second one. COCO gets IoU 1 after a mistake; flattened, the IoU is 50 / 100 = 0.5, which only counts for AP50.
    dataset = Drawn([("car", (0, 5, 10, 15))])
    result = official(dataset, [found(0, "car", (0, 5, 10, 15), 0.6), found(0, "car", (0, 0, 10, 10), 0.9)])
    assert result.mask.AP50 == result.mask.AP == pytest.approx(0.5)
    for protocol in (result.official.bitmask, result.official.rle):
        assert protocol.mask.AP50 == pytest.approx(0.5)
        assert protocol.mask.AP == pytest.approx(0.05)
        assert protocol.detections == 2
    # Given with their overlap, the official code drops both.
    assert result.official.rle.overlapping_images == 1 and result.official.rle.AP_as_given == 0


def test_what_is_covered_wholly_is_not_counted():
    # The truck on top is a mistake of another class; below it nothing is left of the car of 0.5.
    dataset = Drawn([("car", (0, 0, 10, 10))])
    result = official(dataset, [found(0, "truck", (0, 0, 20, 20), 0.9), found(0, "car", (0, 0, 10, 10), 0.5)])
    assert result.mask.AP == pytest.approx(1) and result.detections == 2
    for protocol in (result.official.bitmask, result.official.rle):
        assert protocol.mask.AP == 0 and protocol.detections == 1


def test_ignored_objects_are_not_put_last_by_the_bitmask_code():
    # The detection is both objects together: IoU 0.5 with each. COCO's code takes the one that counts. The bitmask code
    # takes the first, which is ignored, so there is no hit.
    dataset = Drawn([("car", (0, 10, 10, 20), "ignore"), ("car", (0, 0, 10, 10))])
    got = official(dataset, [found(0, "car", (0, 0, 10, 20), 0.9)]).official
    assert got.rle.mask.AP50 == pytest.approx(1) and got.bitmask.mask.AP50 == 0
    dataset = Drawn([("car", (0, 0, 10, 10)), ("car", (0, 10, 10, 20), "ignore")])
    got = official(dataset, [found(0, "car", (0, 0, 10, 20), 0.9)]).official
    assert got.bitmask.mask.AP50 == pytest.approx(1)


def test_crowds_are_objects_to_the_bitmask_code():
    # A crowd and a car; detections: the crowd's left half (IoU 0.5), its right half, the car.
    # Bitmask code at 0.5: two objects, three right detections: precision 1, recall 3/2. Above 0.5: two mistakes, then
    # the car: precision 1/3 up to recall 1/2, which is 51 of 101 points. COCO's code: the halves lie on a crowd.
    dataset = Drawn([("car", (0, 0, 20, 20), "crowd"), ("car", (40, 40, 60, 60))])
    entries = [
        found(0, "car", (0, 0, 20, 10), 0.9),
        found(0, "car", (0, 10, 20, 20), 0.8),
        found(0, "car", (40, 40, 60, 60), 0.7),
    ]
    got = official(dataset, entries).official
    assert got.rle.mask.AP == pytest.approx(1) and got.rle.mask.AR100 == 1
    assert got.bitmask.mask.AP50 == pytest.approx(1)
    assert got.bitmask.mask.AP == pytest.approx((1 + 9 * 51 / 101 / 3) / 10)
    assert got.bitmask.mask.AR100 == pytest.approx((1.5 + 9 * 0.5) / 10)


def test_crowd_with_the_ignore_bit_counts_neither_way_in_both():
    dataset = Drawn([("car", (0, 0, 20, 20), "crowd", "ignore"), ("car", (40, 40, 60, 60))])
    entries = [found(0, "car", (0, 0, 20, 12), 0.9), found(0, "car", (40, 40, 60, 60), 0.7)]
    got = official(dataset, entries).official
    assert [got.bitmask.mask.AP50, got.rle.mask.AP] == pytest.approx([1, 1])
    # Its IoU with the crowd is 0.6: beyond that it is a mistake to the bitmask code (precision 1/2).
    assert got.bitmask.mask.AP75 == pytest.approx(0.5)


def test_at_most_100_objects_per_image():
    boxes = [(y, x, y + 4, x + 4) for y in range(0, 100, 5) for x in range(0, 35, 5)]  # 140
    dataset = Drawn([("car", box) for box in boxes])
    names = ("car", "truck")
    entries = [found(0, names[n % 2], box, 0.9 - n / 1000) for n, box in enumerate(boxes)]
    result = official(dataset, entries)
    assert result.detections == 140 and result.official.at_most == 100
    for protocol in (result.official.bitmask, result.official.rle):
        assert protocol.detections == 100
        assert protocol.mask.AR100 == pytest.approx(50 / 140)  # 50 cars among the best 100
    assert result.mask.AR100 == pytest.approx(70 / 140)  # COCO's limit is for each class


@pytest.mark.parametrize("seed", range(4))
def test_painting_equals_full_masks(seed):
    rng = np.random.default_rng(seed)
    masks = [
        Instances.from_masks(m[..., None], [1]).to_masks((40, 60))[..., 0] if m.any() else m
        for m in (rng.random((12, 40, 60)) < 0.03)
    ]
    masks += [np.zeros((40, 60), bool), np.ones((40, 60), bool)]
    for y in range(6):
        block = np.zeros((40, 60), bool)
        block[y * 4 : y * 4 + 12, y * 7 : y * 7 + 20] = True
        masks.insert(rng.integers(0, 10), block)
    rles = [coco_mask.encode(np.asfortranarray(m.astype(np.uint8))) for m in masks]
    rles = [{**rle, "counts": rle["counts"].decode()} for rle in rles]
    labels, visible, overlapped = paint(rles, (40, 60))
    expected = np.zeros((40, 60), int)
    for n in range(len(masks) - 1, -1, -1):
        expected[masks[n]] = n + 1
    np.testing.assert_array_equal(labels, expected)
    assert overlapped
    for n, rle in enumerate(visible, 1):
        if not (expected == n).any():
            assert rle is None
        else:
            np.testing.assert_array_equal(coco_mask.decode(rle), expected == n)
    apart = [rle for n, rle in enumerate(visible) if rle]
    assert not paint(apart, (40, 60))[2]


def test_order_of_flattening():
    entries = [found(0, "car", (i, 0, i + 1, 5), score) for i, score in enumerate([0.5, 0.9, 0.5, 0.7])]
    flat = flatten(entries, (100, 100), limit=3)
    assert [e["score"] for e in flat.entries] == [0.9, 0.7, 0.5] and flat.entries[2] is entries[0]
    assert flat.labels[:4, 0].tolist() == [3, 1, 0, 2]


def crowded(seed=1):
    """Three images with random rectangles of all classes and predictions that overlap."""
    rng = np.random.default_rng(seed)
    names = ["pedestrian", "rider", "car", "bicycle"]

    def box():
        y, x, h, w = rng.integers(0, 70), rng.integers(0, 70), rng.integers(5, 30), rng.integers(5, 30)
        return int(y), int(x), int(y + h), int(x + w)

    truth = [[(names[rng.integers(4)], box()) for _ in range(6)] for _ in range(3)]
    entries = [
        found(i, name, b, round(float(rng.random()), 3))
        for i, rows in enumerate(truth)
        for name, b in [*rows, *((names[rng.integers(4)], box()) for _ in range(8))]
    ]
    return Drawn(*truth), entries


def test_submissions_read_again_give_the_same_figures(tmp_path):
    dataset, entries = crowded()
    with Writer(tmp_path / "submission") as writer:
        first = official(dataset, entries, writer.add)
    assert 0 < first.official.bitmask.mask.AP < 1 and first.official.rle.overlapping_images == 3
    folder = tmp_path / "submission"
    assert sorted(p.name for p in folder.iterdir()) == ["bitmask_scores.json", "bitmasks", "rle.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["submission"]
    for path in (folder, folder / "bitmasks", folder / "rle.json"):
        again = official(dataset, load_any(path, dataset))
        for protocol in ("bitmask", "rle"):
            assert vars(getattr(again.official, protocol).mask) == pytest.approx(
                vars(getattr(first.official, protocol).mask), abs=1e-9
            )
        assert again.official.rle.overlapping_images == 0


def test_files_are_as_the_documentation_of_bdd100k_says(tmp_path):
    dataset = Drawn([("car", (0, 0, 10, 10))], [])
    entries = [
        found(0, "bus", (0, 0, 10, 10), 0.9),
        found(0, "car", (0, 0, 10, 30), 0.6),
        found(0, "car", (0, 0, 5, 5), 0.2),
    ]
    with Writer(tmp_path / "s") as writer:
        official(dataset, entries, writer.add)
    pixels = np.asarray(Image.open(tmp_path / "s/bitmasks/a.png"))
    assert pixels.shape == (100, 100, 4)
    assert pixels[5, 5].tolist() == [5, 0, 0, 1] and pixels[5, 20].tolist() == [3, 0, 0, 2]  # R category, A index
    assert not pixels[50:].any() and not np.asarray(Image.open(tmp_path / "s/bitmasks/b.png")).any()
    assert json.loads((tmp_path / "s/bitmask_scores.json").read_text()) == [
        {"name": "a.png", "labels": [{"id": "1", "index": 1, "score": 0.9}, {"id": "2", "index": 2, "score": 0.6}]},
        {"name": "b.png", "labels": []},
    ]
    frames = json.loads((tmp_path / "s/rle.json").read_text())
    assert [f["name"] for f in frames] == ["a.jpg", "b.jpg"]
    label = frames[0]["labels"][1]
    assert (label["id"], label["category"], label["score"], label["rle"]["size"]) == ("2", "car", 0.6, [100, 100])
    assert coco_mask.area(label["rle"]) == 200


def test_failed_writing_leaves_the_old_submission(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "old").touch()
    with pytest.raises(RuntimeError), Writer(tmp_path / "s"):
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["s"] and (tmp_path / "s" / "old").exists()
    with Writer(tmp_path / "s"):
        pass
    assert json.loads((tmp_path / "s" / "rle.json").read_text()) == [] and not (tmp_path / "s" / "old").exists()


def test_interval_and_other_classes():
    dataset, entries = crowded()
    got = official(dataset, entries, samples=50).official
    low, high = got.rle.interval
    assert low < got.rle.mask.AP < high and has_official_classes(dataset)
    assert not has_official_classes(Scenes(images=1))


def test_figures_of_a_model_come_from_the_store_too(tmp_path):
    from mrcnn.evaluation.results_file import Store

    dataset, _ = crowded()
    dataset.instances = [dataset.load_instances(i) for i in range(3)]
    one, other = (
        evaluate(Noisy(dataset), dataset, samples=0, store=store, benchmark=OfficialEvaluator(dataset))
        for store in (None, Store(tmp_path / "d.jsonl", {}))
    )
    assert to_json(one.official) == to_json(other.official) and one.official.rle.detections > 0
