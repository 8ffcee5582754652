"""Tests the file of detections: continuation after a stop, cut-off lines, other origins, and memory."""

import json
import tracemalloc

import numpy as np
import pytest

from mrcnn.evaluation.evaluator import evaluate
from mrcnn.evaluation.results_file import Store, write_entries
from mrcnn.files import write_json
from tests.evaluation_scenes import Noisy, Nothing, Scenes


class Counting(Noisy):
    """Noisy that counts its images and stops like Ctrl-C before image `stop_at`."""

    def __init__(self, scenes, stop_at=None):
        super().__init__(scenes)
        self.seen, self.stop_at = 0, stop_at

    def detect_instances(self, images):
        if self.seen == self.stop_at:
            raise KeyboardInterrupt
        self.seen += len(images)
        return super().detect_instances(images)


@pytest.fixture
def scenes():
    return Scenes(images=6, seed=3)


def test_a_stopped_run_goes_on(scenes, tmp_path):
    whole = evaluate(Noisy(scenes), scenes, samples=0)
    path = tmp_path / "d.jsonl"
    with pytest.raises(KeyboardInterrupt):
        evaluate(Counting(scenes, stop_at=4), scenes, store=Store(path, {"weights": "a"}), samples=0)
    with path.open("a") as file:
        file.write('{"image_id": 104, "entries": [{"image')  # the line cut off by the stop
    rest = Counting(scenes)
    rest.rng, rest.truth = Noisy(scenes).rng, iter(scenes.instances)
    rest.detect_instances([scenes.load_image(i) for i in range(4)])  # its random numbers continue from there
    rest.seen = 0
    store = Store(path, {"weights": "a"})
    result = evaluate(rest, scenes, store=store, samples=0)
    assert rest.seen == 2 and len(store) == result.detections == whole.detections
    assert result.to_json() == whole.to_json()
    assert list(result.predictions) == whole.predictions


def test_another_origin_starts_anew(scenes, tmp_path):
    path = tmp_path / "d.jsonl"
    evaluate(Noisy(scenes), scenes, store=Store(path, {"weights": "a"}), samples=0)
    store = Store(path, {"weights": "b"})
    assert len(store) == 0 and 100 not in store
    model = Counting(scenes)
    evaluate(model, scenes, store=store, samples=0)
    assert model.seen == 6 and 100 in Store(path, {"weights": "b"})


def test_files_are_the_same_from_store_and_list(scenes, tmp_path):
    store = Store(tmp_path / "d.jsonl", {})
    write_entries(tmp_path / "a.json", evaluate(Noisy(scenes), scenes, store=store, samples=0).predictions)
    write_json(tmp_path / "b.json", evaluate(Noisy(scenes), scenes, samples=0).predictions)
    entries = json.loads((tmp_path / "a.json").read_text())
    assert entries == json.loads((tmp_path / "b.json").read_text()) and len(entries) == len(store) > 0
    write_entries(tmp_path / "c.json", [])
    assert json.loads((tmp_path / "c.json").read_text()) == []
    store.remove()
    assert not store.path.exists()


def test_nothing_found_is_an_answer_too(scenes, tmp_path):
    store = Store(tmp_path / "d.jsonl", {})
    assert evaluate(Nothing(), scenes, store=store, samples=0).mask.AP == 0
    assert len(store) == 0 and all(100 + i in Store(store.path, {}) for i in range(6))


def test_memory_grows_by_numbers_not_by_masks(tmp_path):
    """Adds 20 images of 540 x 960 pixels with 12 detections: full masks would take 124 MB, crops 10 MB."""
    peaks = []
    for images in (5, 25):
        scenes = Scenes(images=5, shape=(540, 960), objects=3)
        scenes.image_ids = np.arange(images)
        scenes.image_info = [
            {**scenes.image_info[i % 5], "id": str(i), "path": f"{i}.jpg", "coco_id": i} for i in range(images)
        ]
        scenes.instances = [scenes.instances[i % 5] for i in range(images)]
        model, store = Noisy(scenes, detections=12), Store(tmp_path / f"{images}.jsonl", {})
        tracemalloc.start()
        evaluate(model, scenes, store=store, samples=20)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Tables, and what pasting keeps for box sizes seen before, which is bounded.
    assert peaks[1] - peaks[0] < 20 * 60_000, peaks
