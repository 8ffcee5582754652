"""Matches of all images at once against COCOeval's loop, by every engine."""

import numpy as np
import pytest

from mrcnn.errors import InputError
from mrcnn.evaluation.coco_ap import arrays_of_lists, arrays_of_table, figures_of_table
from mrcnn.evaluation.evaluator import evaluate, mask_ap
from mrcnn.evaluation.match_table import (
    AREAS,
    Builder,
    area_ignored,
    best_of_each,
    match,
    precision_at,
    rank,
    ranks_in_group,
)
from tests.evaluation_scenes import Noisy, Nothing, Scenes, overlap_table


@pytest.mark.parametrize("seed", range(6))
def test_figures_equal_cocoeval_to_the_last_bit_with_crowds_and_equal_scores(seed):
    table, truth, detections = overlap_table(np.random.default_rng(seed))
    assert table.gt_crowd.any()
    ours, theirs = arrays_of_table(table), arrays_of_lists(truth, detections, "box", "pycocotools-plain")
    for mine, expected in zip(ours, theirs, strict=True):
        assert (expected > 0).any()
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-12)
    precision, recall = figures_of_table(table)
    np.testing.assert_allclose(precision[..., 2], theirs[0][..., 2], rtol=0, atol=1e-12)
    np.testing.assert_allclose(recall, theirs[1], rtol=0, atol=1e-12)


def test_figures_equal_cocoeval_beyond_100_detections_of_a_class():
    table, truth, detections = overlap_table(np.random.default_rng(9), images=3, classes=2, detections=400)
    assert len(table.dt_score) < len(detections)
    expected = arrays_of_lists(truth, detections, "box", "pycocotools-plain")
    np.testing.assert_allclose(arrays_of_table(table)[0], expected[0], rtol=0, atol=1e-12)


def test_faster_coco_eval_gives_the_same_figures():
    pytest.importorskip("faster_coco_eval", reason="the extra faster-coco-eval is not installed")
    scenes = Scenes(images=8, seed=3)
    predictions = evaluate(Noisy(scenes), scenes, samples=0).predictions
    one, other = (evaluate(predictions, scenes, engine=e, samples=0) for e in ("pycocotools", "faster-coco-eval"))
    assert 0 < one.mask["AP"] < 1 and other.engine == "faster-coco-eval"
    for kind in ("mask", "box"):
        assert getattr(other, kind) == pytest.approx(getattr(one, kind), abs=1e-9)
        for name in one.per_class:
            assert other.per_class[name][kind] == pytest.approx(one.per_class[name][kind], abs=1e-9)


def test_plain_engine_counts_classes_in_their_order_not_by_id():
    scenes = Scenes(images=6, seed=3)
    for info, category in zip(scenes.class_info[1:], (30, 10, 20), strict=True):
        info["id"] = category
    one, other = (evaluate(Noisy(scenes), scenes, engine=e, samples=0) for e in ("pycocotools", "pycocotools-plain"))
    assert one.mask == pytest.approx(other.mask, abs=1e-9) and one.per_class["car"]["category_id"] == 30
    for name in one.per_class:
        assert one.per_class[name]["mask"] == pytest.approx(other.per_class[name]["mask"], abs=1e-9)


@pytest.mark.parametrize("area", AREAS.values())
def test_ranking_gives_the_interpolated_precision_of_cocoeval(area):
    table, truth, detections = overlap_table(np.random.default_rng(1))
    expected = arrays_of_lists(truth, detections, "box", "pycocotools-plain")[0]
    ignored = area_ignored(table, area)
    matches = match(table, ignored)
    for class_id in range(table.classes):
        ranked = rank(table, matches, class_id, ignored, area)
        theirs = expected[:, :, class_id, list(AREAS.values()).index(area), 2]
        if not ranked.per_image.sum():
            assert (theirs == -1).all()
            continue
        ours = precision_at(ranked.hit, ranked.counted, int(ranked.per_image.sum()))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_mask_ap_is_the_headline():
    scenes = Scenes(images=6, seed=5)
    assert mask_ap(Noisy(scenes), scenes, batch_size=2) == pytest.approx(evaluate(Noisy(scenes), scenes).mask["AP"])
    assert mask_ap(Nothing(), scenes) == 0


def test_unknown_engine_is_named():
    scenes = Scenes(images=1)
    with pytest.raises(InputError, match="engine 'best' is unknown; use pycocotools, "):
        evaluate(Nothing(), scenes, engine="best")


def one_pair_each(ious, crowd=(), plain=False):
    """Matches at IoU 0.5 of detections, the best first, with objects of one class; `ious` [D, G]."""
    ious = np.array(ious)
    builder = Builder(1)
    n, m = ious.shape
    builder.add([0] * m, [False] * m, [1] * m, [], [], [], [], [])
    table = builder.table()
    table.dt_image, table.dt_class = np.zeros(n, int), np.zeros(n, int)
    table.dt_score, table.dt_area = np.linspace(1, 0.5, n), np.ones(n)
    table.pair_dt, table.pair_gt = (axis.ravel() for axis in np.indices(ious.shape))
    table.pair_iou = ious.ravel()
    table.gt_crowd = np.isin(np.arange(m), crowd)
    found = np.full(n, -1)
    table.plain = plain
    matches = match(table, thresholds=np.array([0.5]))
    found[matches.candidates] = matches.gt[0]
    return found.tolist()


def test_rules_of_matching_by_hand():
    assert one_pair_each([[0.6, 0.8], [0.7, 0.9]]) == [1, 0]  # the better score chooses first, the other takes the rest
    assert one_pair_each([[0.8, 0.4], [0.9, 0.4]]) == [0, -1]  # taken, and 0.4 is too little
    assert one_pair_each([[0.5, 0.49]]) == [0]  # the threshold itself is enough
    assert one_pair_each([[0.7, 0.7]]) == [1]  # of equal ones COCO takes the last ...
    assert one_pair_each([[0.7, 0.7]], plain=True) == [0]  # ... and BDD100K's bitmask code the first
    assert one_pair_each([[0.6, 0.9]], crowd=[1]) == [0]  # an object that counts comes before a crowd ...
    assert one_pair_each([[0.6, 0.9]], crowd=[1], plain=True) == [1]  # ... but not there
    assert one_pair_each([[0.9], [0.8], [0.7]], crowd=[0]) == [0, 0, 0]  # a crowd is never used up


def test_best_of_each_class_in_the_given_order():
    scores = np.array([0.1, 0.9, 0.5, 0.5, 0.8, 0.2])
    assert best_of_each(np.array([0, 0, 0, 0, 1, 0]), scores, 2).tolist() == [1, 2, 4]
    assert ranks_in_group(np.array([3, 1, 3, 3, 1])).tolist() == [0, 0, 1, 2, 1]
    assert ranks_in_group(np.zeros(0, int)).tolist() == []
