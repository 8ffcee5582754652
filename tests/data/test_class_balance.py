"""Compares the balancing of rare classes with hand-worked formulas and with counts of drawn images."""

import logging

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.data import class_balance
from mrcnn.data.dataset import Dataset
from mrcnn.errors import InputError

# 10 images: class 1 in all, class 2 in two, class 3 in one; class 4 never
COUNTS = np.array([[0, 3, 0, 0, 0]] * 7 + [[0, 1, 2, 0, 0], [0, 1, 1, 0, 0], [0, 5, 0, 4, 0]])


class Labelled(Dataset):
    """Images that consist only of class ids."""

    def __init__(self, class_ids: list[list[int]], classes: int = 4) -> None:
        super().__init__()
        for class_id in range(1, classes + 1):
            self.add_class("drawn", class_id, f"class{class_id}")
        for number, ids in enumerate(class_ids):
            self.add_image("drawn", number, None, ids=ids)
        self.prepare()

    def load_mask(self, image_id):
        ids = np.array(self.image_info[image_id]["ids"], np.int32)
        return np.ones((4, 4, len(ids)), bool), ids


def test_counts_leave_out_crowds_and_images_without_objects():
    counts = class_balance.image_class_counts(Labelled([[1, 1, 3], [], [2, -2, 2, -1]]))
    assert counts.tolist() == [[0, 2, 0, 1, 0], [0] * 5, [0, 0, 2, 0, 0]]


def test_counts_refuse_a_class_that_was_not_added():
    with pytest.raises(InputError, match="image 1 .*: class id 7; classes are 1 to 4"):
        class_balance.image_class_counts(Labelled([[1], [7]]))


def test_counts_of_streets_equal_those_of_the_decoded_masks(tmp_path):
    from bdd100k.dataset import BDD100KDataset
    from bdd100k.streets.scenes import write_streets

    write_streets(tmp_path, train=3, val=1, seed=3)
    dataset = BDD100KDataset()
    dataset.load_bdd100k(tmp_path, "train")
    dataset.prepare()
    for image_id in dataset.image_ids:
        decoded = dataset.load_instances(image_id).training_class_ids
        assert sorted(dataset.load_class_ids(image_id)) == sorted(decoded)
    assert class_balance.image_class_counts(dataset).sum() > 10


def test_counts_of_annotated_folders_need_no_mask(tmp_path, monkeypatch):
    import json

    import cv2

    from mrcnn.annotations.folder import open_folder

    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), np.uint8))
    ring = [2, 2, 12, 2, 12, 12]
    labels = [
        {
            "id": i,
            "image_id": 1,
            "category_id": c,
            "segmentation": [ring],
            "iscrowd": crowd,
            "area": 50,
            "bbox": [2, 2, 10, 10],
        }
        for i, (c, crowd) in enumerate([(3, 0), (9, 0), (3, 1), (9, 0)])
    ]
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": labels,
    }
    (tmp_path / "instances.json").write_text(json.dumps(document))
    dataset = open_folder(tmp_path, "train", None, False)
    dataset.prepare()
    decoded = dataset.load_instances(0).training_class_ids
    monkeypatch.setattr(dataset, "load_instances", None)
    np.testing.assert_array_equal(dataset.load_class_ids(0), decoded)
    assert class_balance.image_class_counts(dataset).tolist() == [[0, 1, 2]]


def test_repeat_factors_follow_the_formula_of_lvis():
    factors = class_balance.repeat_factors(COUNTS, threshold=0.4)
    # f = 1, 0.2, 0.1: r = 1, sqrt(0.4 / 0.2), sqrt(0.4 / 0.1)
    np.testing.assert_allclose(factors, [1] * 7 + [np.sqrt(2), np.sqrt(2), 2])
    np.testing.assert_array_equal(class_balance.repeat_factors(COUNTS, threshold=0.1), 1)
    np.testing.assert_array_equal(class_balance.repeat_factors(np.zeros((3, 5), int)), 1)
    with pytest.raises(InputError, match=r"threshold is 0\b"):
        class_balance.repeat_factors(COUNTS, 0)


def test_class_aware_weights_equal_the_two_draws():
    """They are exactly equal, by the law of total probability over the classes that occur."""
    expected = np.zeros(10)
    for c in (1, 2, 3):
        images = np.flatnonzero(COUNTS[:, c])
        expected[images] += 1 / 3 / len(images)
    np.testing.assert_allclose(class_balance.class_aware_weights(COUNTS), expected * 10)
    with pytest.raises(InputError, match="no image has an object"):
        class_balance.class_aware_weights(np.zeros((3, 5), int))


def test_effective_counts_are_what_the_drawn_passes_hold():
    weights = class_balance.repeat_factors(COUNTS, 0.4)
    rng = np.random.default_rng(0)
    passes = [class_balance.weighted_order(weights, rng) for _ in range(400)]
    assert {len(order) for order in passes} == {class_balance.pass_length(weights)} == {12}
    times = np.stack([np.bincount(order, minlength=10) for order in passes])
    assert times[:, 9].min() >= 1 and times[:, 9].max() <= 3 and times[:, 0].max() <= 2
    np.testing.assert_allclose(times.mean(axis=0), weights * 12 / weights.sum(), atol=0.1)
    drawn = np.mean([COUNTS[order].sum(axis=0) for order in passes], axis=0)
    np.testing.assert_allclose(
        drawn, class_balance.effective_class_counts(COUNTS, weights) * 12 / weights.sum(), rtol=0.05
    )


def test_a_pass_of_equal_weights_is_a_permutation():
    rng = np.random.default_rng(1)
    first, second = (class_balance.weighted_order(np.ones(50), rng) for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(50))
    assert first.tolist() != second.tolist()


def test_class_weights_by_hand():
    inverse = class_balance.class_weights(COUNTS, "inverse")  # 28, 3 and 4 objects: a third of the weight each
    np.testing.assert_allclose(inverse, [1, 35 / 3 / 28, 35 / 3 / 3, 35 / 3 / 4, 1])
    effective = class_balance.class_weights(COUNTS, "effective", beta=0.9)
    raw = np.array([1 / sum(0.9**k for k in range(n)) for n in (28, 3, 4)])  # the geometric sum of eq. 6
    np.testing.assert_allclose(effective / effective[1], [1 / effective[1], *(raw / raw[0]), 1 / effective[1]])
    assert effective @ COUNTS.sum(axis=0) == pytest.approx(35)
    with pytest.raises(InputError, match="'sqrt'"):
        class_balance.class_weights(COUNTS, "sqrt")
    with pytest.raises(InputError, match="no image has an object"):
        class_balance.class_weights(np.zeros((2, 3), int))


def test_image_weights_follow_the_settings_and_say_so(caplog):
    dataset, config = Labelled([[1]] * 9 + [[1, 2]]), Config()
    assert class_balance.image_weights(dataset, config) is None
    config.BALANCE, config.REPEAT_THRESHOLD = "repeat-factor", 0.4
    with caplog.at_level(logging.INFO):
        np.testing.assert_allclose(class_balance.image_weights(dataset, config), [1] * 9 + [2])
    assert "10 images shows 11 images; objects: class1 10 -> 11, class2 1 -> 2" in caplog.text
    config.BALANCE = "class-aware"
    np.testing.assert_allclose(class_balance.image_weights(dataset, config), [0.5] * 9 + [5.5])
    config.BALANCE = "sqrt"
    with pytest.raises(InputError, match="BALANCE is 'sqrt'"):
        class_balance.image_weights(dataset, config)
