"""Tests TIDE's kinds of errors on hand-made scenes whose AP is worked out in comments."""

import pytest

from mrcnn.evaluation.evaluator import evaluate
from tests.evaluation_scenes import Drawn, Noisy, Nothing, Scenes, found

A, B, C, D = (0, 0, 20, 20), (40, 0, 60, 20), (0, 40, 20, 60), (70, 70, 90, 90)
B_MOVED, C_MOVED = (40, 8, 60, 28), (0, 48, 20, 68)  # 12 of 28 columns in common: IoU 240 / 560 = 0.43
NOWHERE = (0, 80, 20, 100)


def split(truth, *entries):
    dataset = Drawn(truth)
    return evaluate([found(0, *entry) for entry in entries], dataset, samples=0).errors


def test_one_error_of_each_kind():
    errors = split(
        [("car", A), ("car", B), ("truck", C), ("pedestrian", D)],
        ("car", A, 0.9),
        ("car", A, 0.8),
        ("car", C, 0.7),
        ("car", B_MOVED, 0.6),
        ("car", NOWHERE, 0.5),
        ("car", C_MOVED, 0.4),
    )
    # The objects B and C would be detected without the errors of place and class, so only D is missed.
    assert errors.counts == {"class": 1, "place": 1, "both": 1, "duplicate": 1, "background": 1, "missed": 1}
    # Cars: the first detection is right (precision 1 up to recall 0.5: 51 of 101 points), nothing after it.
    base = 51 / 101
    assert errors.AP50 == pytest.approx(base / 3)
    gains = errors.delta_ap
    # With the moved one in place, the fourth detection is the second hit: precision 2/4 for the other 50 points.
    assert gains["place"] == pytest.approx(50 * 0.5 / 101 / 3)
    assert gains["class"] == pytest.approx(1 / 3)  # the truck is detected
    assert gains["missed"] == pytest.approx(1 / 3)  # pedestrians have no other errors
    assert gains["both"] == gains["duplicate"] == gains["background"] == pytest.approx(0)  # all after the last hit
    assert errors.false_positives == pytest.approx(0)
    assert errors.false_negatives == pytest.approx(1 - base / 3)
    assert errors.per_class["car"].delta_ap["place"] == pytest.approx(25 / 101)
    assert errors.per_class["pedestrian"].counts["missed"] == 1
    assert errors.per_class["car"].counts["class"] == 1  # counted where the mistake was made
    assert set(errors.per_class) == {"car", "truck", "pedestrian"}


def test_a_badly_placed_one_of_a_found_object_only_goes():
    errors = split([("car", A), ("car", B)], ("car", A, 0.9), ("car", (0, 8, 20, 28), 0.5), ("car", B, 0.4))
    # Hit, mistake, hit: precision 1 up to recall 0.5, then 2/3.
    assert errors.AP50 == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert errors.delta_ap["place"] == pytest.approx(1 - errors.AP50) and errors.counts["missed"] == 0


def test_only_the_best_mistake_about_an_object_becomes_right():
    errors = split([("truck", C)], ("car", C, 0.9), ("bus", C, 0.8), ("truck", C_MOVED, 0.7))
    assert errors.counts["class"] == 2 and errors.counts["place"] == 1 and errors.counts["missed"] == 0
    assert errors.AP50 == 0
    # The car of score 0.9 becomes the truck, first in the ranking: AP 1; cars and buses have no object.
    assert errors.delta_ap["class"] == pytest.approx(1)
    assert errors.delta_ap["place"] == pytest.approx(
        0
    )  # the class error has a better score, so this one is only removed


def test_detections_on_crowds_are_no_mistakes():
    errors = split(
        [("car", A, "crowd"), ("car", B, "ignore"), ("car", C)],
        ("car", A, 0.9),
        ("car", B, 0.8),
        ("car", (0, 0, 20, 10), 0.7),
        ("car", C, 0.6),
    )
    assert errors.AP50 == pytest.approx(1) and set(errors.counts.values()) == {0}
    assert set(errors.delta_ap.values()) == {0.0}


def test_base_is_the_headline_and_repairs_add_up_to_every_mistake():
    scenes = Scenes(images=8, seed=3)
    result = evaluate(Noisy(scenes), scenes, samples=0)
    errors = result.errors
    assert errors.AP50 == pytest.approx(result.mask.AP50, abs=1e-12)
    kinds = ("class", "place", "both", "duplicate", "background")
    mistakes = sum(errors.counts[kind] for kind in kinds)
    everything = result.score_curves.all
    right = everything.recall[0] * result.objects
    assert everything.precision[0] == pytest.approx(right / (right + mistakes))
    assert all(errors.delta_ap[kind] >= 0 for kind in errors.delta_ap) and errors.false_positives > 0


def test_nothing_found_and_nothing_there():
    errors = split([("car", A), ("truck", C)])
    assert errors.AP50 == 0 and errors.counts["missed"] == 2 and errors.delta_ap["missed"] == 1
    errors = split([], ("car", A, 0.9))
    assert errors.AP50 is None and errors.counts["background"] == 1 and errors.delta_ap["class"] is None
    assert evaluate(Nothing(), Scenes(images=1), samples=0).errors.counts["missed"] > 0
