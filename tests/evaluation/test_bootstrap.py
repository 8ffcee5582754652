"""Compares samples of the bootstrap with an evaluation of the drawn images."""

import numpy as np
import pytest

from mrcnn.evaluation import bootstrap
from mrcnn.evaluation.evaluator import evaluate
from mrcnn.evaluation.match_table import AREAS
from mrcnn.evaluation.matching import ignored_for_area, rank_classes
from tests.coco_reference import reference_arrays
from tests.evaluation_scenes import Noisy, Nothing, Scenes, overlap_table


def drawn_lists(truth, detections, weights):
    """Return COCO's lists with every image as often as it was drawn."""
    images, annotations, results = [], [], []
    for image, count in enumerate(weights):
        for _ in range(count):
            number = len(images)
            images.append({**truth["images"][image], "id": number})
            annotations += [{**a, "image_id": number} for a in truth["annotations"] if a["image_id"] == image]
            results += [{**d, "image_id": number} for d in detections if d["image_id"] == image]
    annotations = [{**a, "id": n} for n, a in enumerate(annotations, 1)]
    return {"images": images, "annotations": annotations, "categories": truth["categories"]}, results


@pytest.mark.parametrize("seed", [0, 1])
def test_every_sample_equals_cocoeval_on_the_drawn_images(seed):
    table, truth, detections = overlap_table(np.random.default_rng(seed), images=8, decimals=None)
    weights = bootstrap.draw(8, 5, seed)
    assert (weights.sum(axis=1) == 8).all() and weights.max() > 1
    for number, (name, area) in enumerate(AREAS.items()):
        ranked = rank_classes(table, ignored_for_area(table, area), area)
        ap = [bootstrap.sampled_ap(r, weights) for r in ranked]
        recall = [bootstrap.sampled_recall(r, weights) for r in ranked]
        for sample, row in enumerate(weights):
            arrays = reference_arrays(*drawn_lists(truth, detections, row), "box")
            for k in range(table.classes):
                expected = arrays.precision[:, :, k, number].mean(axis=1)
                np.testing.assert_allclose(
                    ap[k][sample], np.where(expected < 0, np.nan, expected), atol=1e-9, err_msg=f"{name} {k} {sample}"
                )
                expected = arrays.recall[:, k, number].mean()
                np.testing.assert_allclose(recall[k][sample], np.nan if expected < 0 else expected, atol=1e-9)


def test_samples_in_several_blocks_equal_cocoeval(monkeypatch):
    table, truth, detections = overlap_table(np.random.default_rng(6), images=70, classes=2, objects=12, decimals=None)
    monkeypatch.setattr(bootstrap, "_IN_CACHE", 0)  # eight samples in a block
    weights = bootstrap.draw(70, 19, 1)
    ranked = rank_classes(table)
    assert ranked[0].hit[0].sum() > 64 and (~ranked[0].counted).any() and not ranked[1].objects
    found, nothing = bootstrap.sampled_aps(ranked, weights)
    assert np.isnan(nothing).all()
    for sample in (0, 8, 18):
        arrays = reference_arrays(*drawn_lists(truth, detections, weights[sample]), "box")
        np.testing.assert_allclose(found[sample], arrays.precision[:, :, 0, 0].mean(axis=1), atol=1e-12)


def test_intervals_are_quantiles_of_cocoevals_figures():
    table, truth, detections = overlap_table(np.random.default_rng(4), images=6, decimals=None)
    weights = bootstrap.draw(6, 20, 3)
    samples, samples_of_class = bootstrap.samples_of_table(table, weights)
    overall, classes = bootstrap.intervals(samples), [bootstrap.intervals(own) for own in samples_of_class]
    lists = [drawn_lists(truth, detections, row) for row in weights]
    arrays = [reference_arrays(*some, "box") for some in lists]
    figures = [vars(some.figures()) for some in arrays]
    for name, known in overall.items():
        values = [f[name] for f in figures if f[name] is not None]
        assert len(values) > 10
        np.testing.assert_allclose(known, np.quantile(values, [0.025, 0.975]), atol=1e-9, err_msg=name)
    of_class = [some.of_class(0).figures().AP50 for some in arrays]
    np.testing.assert_allclose(classes[0]["AP50"], np.quantile(of_class, [0.025, 0.975]), atol=1e-9)
    assert classes[2]["AP"] is None  # no object of this class


def test_hits_reach_a_recall_as_coco_rounds_it():
    objects = np.array([1, 3, 7, 10, 29, 50, 100, 113, 399])
    steps, begin = bootstrap._recalls_reached(objects)
    for n, first in zip(objects, begin, strict=True):
        needed = np.searchsorted(np.arange(0, n + 1) / n, np.linspace(0, 1, 101))  # as COCO looks it up
        for hits in range(n + 1):
            assert steps[first + hits] == (needed <= hits).sum()


def test_result_has_intervals_around_the_figures_and_the_seed_fixes_them():
    scenes = Scenes(images=8, seed=3)
    one, same, other = (evaluate(Noisy(scenes), scenes, samples=60, seed=seed) for seed in (1, 1, 2))
    assert one.intervals == same.intervals != other.intervals
    assert (one.intervals.samples, one.intervals.level, one.intervals.seed) == (60, 0.95, 1)
    for kind in ("mask", "box"):
        assert set(getattr(one.intervals, kind)) == set(vars(getattr(one, kind)))
        low, high = getattr(one.intervals, kind)["AP"]
        assert 0 <= low < getattr(one, kind).AP < high <= 1
    low, high = one.intervals.matterport["mAP50"]
    assert low < one.matterport.mAP50 < high
    assert one.intervals.per_class["train"]["mask"]["AP"] is None
    low, high = one.intervals.per_class["car"]["mask"]["AP"]
    assert low < one.per_class["car"].mask.AP < high


def test_mean_over_images_against_the_drawn_list():
    weights = np.array([[2, 0, 1], [0, 3, 0], [1, 1, 1]])
    assert bootstrap.sampled_mean({0: 0.4, 2: 1.0}, weights).tolist()[0::2] == pytest.approx([0.6, 0.7])
    assert np.isnan(bootstrap.sampled_mean({0: 0.4, 2: 1.0}, weights)[1])


def test_nothing_found_and_no_samples():
    scenes = Scenes(images=3)
    assert evaluate(Nothing(), scenes, samples=20).intervals.mask["AP"] == [0, 0]
    without = evaluate(Nothing(), scenes, samples=0)
    assert without.intervals is None and without.to_json()["intervals"] == {}
    assert bootstrap.interval(np.array([np.nan, np.nan, 0.5])) is None
