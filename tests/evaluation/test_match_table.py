"""Compares the matching of all images at once with COCOeval's loop and faster-coco-eval."""

import numpy as np
import pytest

from mrcnn.evaluation.coco_ap import coco_arrays
from mrcnn.evaluation.evaluator import evaluate, headline
from mrcnn.evaluation.match_table import (
    AREAS,
    Detections,
    Objects,
    TableBuilder,
    best_of_each_class,
    ranks_by_score,
)
from mrcnn.evaluation.matching import ignored_for_area, match, precision_at, rank
from tests.coco_reference import coco_lists, reference_arrays
from tests.evaluation_scenes import Noisy, Nothing, Scenes, overlap_table


@pytest.mark.parametrize("seed", range(6))
def test_figures_equal_cocoeval_to_the_last_bit_with_crowds_and_equal_scores(seed):
    table, truth, detections = overlap_table(np.random.default_rng(seed))
    assert table.gt_crowd.any()
    ours, theirs = coco_arrays(table), reference_arrays(truth, detections, "box")
    for name, expected in vars(theirs).items():
        assert (expected > 0).any()
        np.testing.assert_array_equal(getattr(ours, name), expected)


def test_figures_equal_cocoeval_beyond_100_detections_of_a_class():
    table, truth, detections = overlap_table(np.random.default_rng(9), images=3, classes=2, detections=400)
    assert len(table.dt_score) < len(detections)
    ours, theirs = coco_arrays(table), reference_arrays(truth, detections, "box")
    for name, expected in vars(theirs).items():
        np.testing.assert_array_equal(getattr(ours, name), expected)


def assert_same_figures(result, arrays):
    """Assert that the figures of a result, over all classes and of each, equal those of these arrays."""
    for kind, expected in arrays.items():
        assert vars(getattr(result, kind)) == pytest.approx(vars(expected.figures()), abs=1e-9)
        for k, own in enumerate(result.per_class.values()):
            assert vars(getattr(own, kind)) == pytest.approx(vars(expected.of_class(k).figures()), abs=1e-9)


def test_faster_coco_eval_gives_the_same_figures():
    program = pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    scenes = Scenes(images=8, seed=3)
    result = evaluate(Noisy(scenes), scenes, samples=0)
    lists = coco_lists(scenes, result.predictions)
    programs = (program.COCO, program.COCOeval_faster)
    assert 0 < result.mask.AP < 1
    assert_same_figures(result, {kind: reference_arrays(*lists, kind, programs) for kind in ("mask", "box")})


def test_classes_are_in_the_order_of_the_dataset_not_of_their_ids():
    scenes = Scenes(images=6, seed=3)
    for info, category in zip(scenes.class_info[1:], (30, 10, 20), strict=True):
        info["id"] = category
    result = evaluate(Noisy(scenes), scenes, samples=0)
    lists = coco_lists(scenes, result.predictions)
    assert result.per_class["car"].category_id == 30
    assert_same_figures(result, {kind: reference_arrays(*lists, kind) for kind in ("mask", "box")})


@pytest.mark.parametrize("area", AREAS.values())
def test_ranking_gives_the_interpolated_precision_of_cocoeval(area):
    table, truth, detections = overlap_table(np.random.default_rng(1))
    expected = reference_arrays(truth, detections, "box").precision
    ignored = ignored_for_area(table, area)
    matches = match(table, ignored)
    for class_id in range(table.classes):
        ranked = rank(table, matches, class_id, ignored, area)
        theirs = expected[:, :, class_id, list(AREAS.values()).index(area)]
        if not ranked.per_image.sum():
            assert (theirs == -1).all()
            continue
        ours = precision_at(ranked.hit, ranked.counted, int(ranked.per_image.sum()))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_headline_is_that_of_the_whole_evaluation():
    scenes = Scenes(images=6, seed=5)
    short, whole = headline(Noisy(scenes), scenes, batch_size=2), evaluate(Noisy(scenes), scenes, samples=0)
    assert (short.mask_AP, short.mask_AP50, short.box_AP) == (whole.mask.AP, whole.mask.AP50, whole.box.AP)
    assert short.image_ap50 == whole.image_ap50 and short.predictions == whole.predictions
    assert headline(Nothing(), scenes).mask_AP == 0
    assert headline(Nothing(), scenes, [0]).image_ap50 == {0: 0.0}


def test_images_of_a_table_in_another_order():
    """The table is the same as if the images had been added in that order."""
    shapes = [[[0, 0, 9, 9]], [[0, 0, 9, 9], [20, 20, 9, 9]], []]
    images = [
        (Objects([0] * len(s), [False] * len(s), [81] * len(s), s), Detections([0], [score], [81], [[1, 0, 9, 9]]))
        for s, score in zip(shapes, (0.5, 0.6, 0.7), strict=True)
    ]
    given, ordered = TableBuilder(1), TableBuilder(1)
    for image in images:
        given.add(*image)
    for n in (2, 0, 1):
        ordered.add(*images[n])
    table, expected = given.table([2, 0, 1]), ordered.table()
    for name, values in vars(expected).items():
        np.testing.assert_array_equal(getattr(table, name), values, err_msg=name)
    assert (
        table.gt_image.tolist() == [1, 2, 2] and table.pair_gt.tolist() == [0, 1] and table.pair_dt.tolist() == [1, 2]
    )


def one_pair_each(ious, crowd=(), bitmask_rules=False):
    """Match detections, the best first, with objects of one class at IoU 0.5; `ious` is [D, G]."""
    ious = np.array(ious)
    builder = TableBuilder(1)
    n, m = ious.shape
    builder.add(Objects([0] * m, [False] * m, [1] * m, []), Detections([], [], [], []))
    table = builder.table()
    table.dt_image, table.dt_class = np.zeros(n, int), np.zeros(n, int)
    table.dt_score, table.dt_area = np.linspace(1, 0.5, n), np.ones(n)
    table.pair_dt, table.pair_gt = (axis.ravel() for axis in np.indices(ious.shape))
    table.pair_iou = ious.ravel()
    table.gt_crowd = np.isin(np.arange(m), crowd)
    found = np.full(n, -1)
    table.bitmask_rules = bitmask_rules
    matches = match(table, thresholds=np.array([0.5]))
    found[matches.candidates] = matches.gt[0]
    return found.tolist()


def test_rules_of_matching_by_hand():
    assert one_pair_each([[0.6, 0.8], [0.7, 0.9]]) == [
        1,
        0,
    ]  # the better score chooses first, the other takes what is left
    assert one_pair_each([[0.8, 0.4], [0.9, 0.4]]) == [0, -1]  # taken, and 0.4 is too little
    assert one_pair_each([[0.5, 0.49]]) == [0]  # the threshold itself is enough
    assert one_pair_each([[0.7, 0.7]]) == [1]  # of equal ones COCO takes the last ...
    assert one_pair_each([[0.7, 0.7]], bitmask_rules=True) == [0]  # ... and BDD100K's bitmask code the first
    assert one_pair_each([[0.6, 0.9]], crowd=[1]) == [0]  # an object that counts comes before a crowd ...
    assert one_pair_each([[0.6, 0.9]], crowd=[1], bitmask_rules=True) == [1]  # ... but not there
    assert one_pair_each([[0.9], [0.8], [0.7]], crowd=[0]) == [0, 0, 0]  # a crowd is never used up


def test_best_of_each_class_in_the_given_order():
    scores = np.array([0.1, 0.9, 0.5, 0.5, 0.8, 0.2])
    assert best_of_each_class(np.array([0, 0, 0, 0, 1, 0]), scores, 2).tolist() == [1, 2, 4]
    groups = np.array([3, 1, 3, 3, 1])
    assert ranks_by_score(groups, np.zeros(5)).tolist() == [0, 0, 1, 2, 1]
    assert ranks_by_score(groups, np.array([0.1, 0.2, 0.3, 0.2, 0.9])).tolist() == [2, 1, 0, 1, 0]
    assert ranks_by_score(np.zeros(0, int), np.zeros(0)).tolist() == []
