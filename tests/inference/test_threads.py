"""Tests detection from several threads at once, with images of changing sizes, and while weights are loaded."""

import itertools
import threading
import time

import numpy as np
import pytest

from mrcnn.inference.detector import _Gate
from tests.long_service import MODES, always_detects, equal
from tests.shapes import ShapesDataset

SIDES = [(64, 64), (128, 128)]


@pytest.fixture(scope="module")
def images():
    dataset = ShapesDataset().load_shapes(len(SIDES))
    return [np.resize(dataset.load_image(n), (*side, 3)) for n, side in enumerate(SIDES)]


def in_threads(work, count=4):
    """Call `work(number)` in threads, and raise what one of them raised."""
    errors = []

    def run(number):
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.graph
@pytest.mark.slow
def test_threads_give_the_results_of_one(images, tmp_path):
    """Two models at once: one size, and a size for each image, whose first calls come from all threads together."""
    models = [always_detects(mode, tmp_path) for mode in MODES[:2]]
    found = [[None] * 12 for _ in range(4)]

    def work(number):
        rng = np.random.default_rng(number)
        for n in range(12):
            which, image = rng.integers(2), rng.integers(len(images))
            found[number][n] = which, image, models[which].detect([images[image]])[0]

    in_threads(work)
    expected = [[model.detect([image])[0] for image in images] for model in models]
    assert sum(len(result["scores"]) for results in expected for result in results) > 10
    for which, image, result in itertools.chain(*found):
        assert equal(result, expected[which][image])


@pytest.mark.graph
@pytest.mark.slow
def test_weights_change_all_at_once_while_threads_detect(images, tmp_path):
    model = always_detects("square", tmp_path)
    files, expected = [tmp_path / "a.h5", tmp_path / "b.h5"], []
    for path in files:
        model.keras_model.save_weights(path)
        expected.append(model.detect([images[1]])[0])
        for layer in model.keras_model.layers:
            layer.set_weights([value * 1.01 for value in layer.get_weights()])
    assert not equal(*expected)
    done, seen = threading.Event(), []

    def work(number):
        if number:
            while not done.is_set():
                seen.append(model.detect([images[1]])[0])
        else:
            try:
                for n in range(4):
                    model.load_weights(files[n % 2])
                    end = time.monotonic() + 20
                    while len(seen) < 3 * (n + 1) and time.monotonic() < end:
                        time.sleep(0.01)
            finally:
                done.set()

    model.load_weights(files[0])
    in_threads(work)
    assert len(seen) >= 12
    assert all(equal(result, expected[0]) or equal(result, expected[1]) for result in seen)


def test_one_who_waits_alone_enters_when_the_others_have_left_and_before_new_ones():
    gate, order = _Gate(), []
    entered, waiting = threading.Event(), threading.Event()

    def first():
        with gate.together():
            entered.set()
            waiting.wait(10)
            order.append("first leaves")

    def alone():
        entered.wait(10)
        with gate.alone():
            order.append("alone")

    def later():
        entered.wait(10)
        while not gate._alone:
            pass
        waiting.set()
        with gate.together():
            order.append("later")

    in_threads(lambda number: (first, alone, later)[number](), 3)
    assert order == ["first leaves", "alone", "later"]
