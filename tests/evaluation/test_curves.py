"""Compares score curves with brute force, confusion and calibration with counts by hand, slices with evaluations."""

import numpy as np
import pytest

from bdd100k.evaluation.slices import SLICING
from mrcnn.evaluation.curves import calibration, outcomes_at_50, score_curves
from mrcnn.evaluation.evaluator import evaluate
from tests.evaluation_scenes import Drawn, Noisy, Nothing, Scenes, found, overlap_table

A, B, C, D = (0, 0, 20, 20), (40, 0, 60, 20), (0, 40, 20, 60), (70, 70, 90, 90)


def test_score_curves_count_what_is_left_above_each_score():
    table, _, _ = overlap_table(np.random.default_rng(2))
    matches = outcomes_at_50(table)
    curves = score_curves(matches, ["a", "b", "c"])
    assert set(curves.per_class) == {"a", "b"} and curves.iou == 0.5  # c has no object
    counted = matches.hit | matches.mistake
    for name, k in (("a", 0), ("b", 1), ("all", None)):
        own = counted & ((table.dt_class == k) if k is not None else True)
        objects = int((~table.gt_crowd & ((table.gt_class == k) if k is not None else True)).sum())
        curve = curves.all if k is None else curves.per_class[name]
        f1s = []
        for n, score in enumerate(curves.scores):
            left = own & (table.dt_score >= score)
            right = int((matches.hit & left).sum())
            f1s.append(2 * right / (left.sum() + objects))
            assert curve.recall[n] == pytest.approx(right / objects)
            assert curve.f1[n] == pytest.approx(f1s[-1])
            assert curve.precision[n] == (pytest.approx(right / left.sum()) if left.any() else None)
        # Scores are multiples of 0.1, so the curve contains every set that a minimum score can give.
        assert curve.best.f1 == pytest.approx(max(f1s))
        assert f1s[round(curve.best.score * 100)] == pytest.approx(max(f1s))


def test_confusion_pairs_by_overlap_whatever_the_class():
    truth = [("car", A), ("truck", C), ("pedestrian", D), ("bus", B, "crowd")]
    entries = [
        found(0, *e)
        for e in [
            ("car", A, 0.9),
            ("truck", (0, 0, 20, 19), 0.95),  # on the car, but another overlaps it more
            ("car", C, 0.8),  # the truck, predicted as a car
            ("car", B, 0.85),  # on a crowd: does not count
            ("rider", (60, 30, 70, 40), 0.9),  # nothing there
            ("pedestrian", D, 0.1),
        ]
    ]  # too weak
    confusion = evaluate(entries, Drawn(truth), samples=0).confusion
    names, counts = confusion.classes, np.array(confusion.counts)
    # F1 of all classes is best with the car alone or the weakest too: 2/5 > 2*1/(1+3); 2*2/(5+3) = 1/2 with all.
    assert confusion.score == 0.1 and names[-1] == "background"

    def count(true, predicted):
        return counts[names.index(true), names.index(predicted)]

    assert count("car", "car") == count("truck", "car") == count("pedestrian", "pedestrian") == 1
    assert count("background", "truck") == count("background", "rider") == 1
    assert counts.sum() == 5 and counts[-1, -1] == 0


def test_confusion_leaves_weak_detections_out():
    truth = [("car", A), ("truck", C)]
    entries = [found(0, "car", A, 0.9), found(0, "car", C, 0.2)]
    confusion = evaluate(entries, Drawn(truth), samples=0).confusion
    names, counts = confusion.classes, np.array(confusion.counts)
    assert confusion.score == 0.9
    assert counts[names.index("truck"), -1] == 1 and counts[names.index("car"), names.index("car")] == 1
    assert counts.sum() == 2


def test_calibration_by_hand():
    boxes = [(20 * i, 0, 20 * i + 10, 10) for i in range(5)]
    truth = [("car", boxes[0]), ("car", boxes[1]), ("truck", boxes[2]), ("car", boxes[3], "crowd")]
    entries = [
        found(0, *e)
        for e in [
            ("car", boxes[0], 0.95),
            ("car", boxes[1], 0.85),
            ("truck", boxes[4], 0.85),
            ("truck", boxes[2], 1.0),
            ("car", boxes[3], 0.5),
        ]
    ]
    result = evaluate(entries, Drawn(truth), samples=0).calibration
    bins = result.bins
    assert [b.count for b in bins] == [0] * 8 + [2, 2]  # the one on the crowd does not count; 1.0 is in the last bin
    assert bins[8].precision == 0.5 and bins[8].score == pytest.approx(0.85) and bins[5].precision is None
    assert bins[9].precision == 1 and bins[9].score == pytest.approx(0.975)
    assert result.ece == pytest.approx((2 * 0.35 + 2 * 0.025) / 4)
    assert vars(result.per_class["truck"]) == {"ece": pytest.approx((0.85 + 0) / 2), "count": 2}


def test_nothing_found():
    result = evaluate(Nothing(), Scenes(images=2), samples=0)
    assert result.calibration.ece is None and result.calibration.per_class == {}
    assert result.score_curves.all.best.score is None and result.confusion.score is None
    assert set(result.score_curves.all.precision) == {None} and set(result.score_curves.all.recall) == {0}
    assert (
        calibration(outcomes_at_50(overlap_table(np.random.default_rng(0), images=0)[0]), ["a", "b", "c"]).ece is None
    )


def test_slices_of_images_equal_an_evaluation_of_these_images():
    scenes = Scenes(images=8, seed=3)
    weather = ["clear", "rainy", "clear", None, "clear", "rainy", "clear", "clear"]
    for info, value in zip(scenes.image_info, weather, strict=True):
        info["attributes"] = {"weather": value, "number": 5} if value else {}
    result = evaluate(Noisy(scenes), scenes, samples=50)
    assert list(result.slices) == ["weather", "size"] and list(result.slices["weather"]) == ["clear", "rainy"]
    for value, own in result.slices["weather"].items():
        ids = [i for i, w in enumerate(weather) if w == value]
        alone = evaluate(result.predictions, scenes, ids, samples=0)
        assert (own.images, own.objects) == (len(ids), alone.objects)
        assert [own.AP, own.AP50, own.AR100] == pytest.approx(
            [alone.mask.AP, alone.mask.AP50, alone.mask.AR100], abs=1e-12
        )
    assert result.slices["weather"]["rainy"].interval is None  # two images say nothing about the spread
    clear = result.slices["weather"]["clear"]
    assert clear.interval[0] < clear.AP < clear.interval[1]


def test_slices_by_size_are_cocos():
    scenes = Scenes(images=8, seed=3)
    result = evaluate(Noisy(scenes), scenes, samples=0)
    for name, letter in (("small", "S"), ("medium", "M"), ("large", "L")):
        own = result.slices["size"][name]
        expected = [getattr(result.mask, f"{f}_{letter}") for f in ("AP", "AR")]
        assert [own.AP, own.AR100] == [None if v is None else pytest.approx(v, abs=1e-12) for v in expected]


def test_slices_by_occlusion_ignore_the_other_objects():
    truth = [("car", A, "occluded"), ("car", B), ("car", C), ("car", D, "truncated", "occluded")]
    entries = [found(0, "car", B, 0.9), found(0, "car", (30, 30, 40, 40), 0.8), found(0, "car", A, 0.7)]
    slices = evaluate(entries, Drawn(truth), samples=0, slicing=SLICING).slices
    # Occluded: A and D. The hit on B does not count, so the ranking is: mistake, A. Half of them are detected.
    assert slices["occlusion"]["occluded"].objects == 2
    assert slices["occlusion"]["occluded"].AP50 == pytest.approx(51 * 0.5 / 101)
    assert slices["occlusion"]["occluded"].AR100 == 0.5
    # Visible: B and C. B is detected first; later detections do not matter.
    assert slices["occlusion"]["visible"].AP50 == pytest.approx(51 / 101)
    assert slices["truncation"]["truncated"].AR100 == 0 and slices["truncation"]["truncated"].objects == 1
    assert slices["truncation"]["whole"].AR100 == pytest.approx(2 / 3)
