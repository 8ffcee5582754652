"""Tests that loading a crowded street needs no memory for objects times pixels, in a separate process."""

import pathlib
import subprocess
import sys

import pytest

from tests.conftest import TESTS

# 300 objects of 720 x 1280 pixels would be 276 MB as full masks; and as many again at the moulded size.
SCRIPT = """
import pathlib, tracemalloc
import numpy as np
from bdd100k.config import BDD100KConfig
from mrcnn.augment_settings import Augmentation, preset_settings
from mrcnn.data.dataset import Dataset
from mrcnn.structures.instances import Instances
from mrcnn.structures.polygons import polygons_to_crop
from mrcnn.data.sample_maker import Donors, SampleMaker

class Crowded(Dataset):
    def load_image(self, image_id):
        return np.full((720, 1280, 3), 90, np.uint8)

    def load_class_ids(self, image_id):
        return np.arange(300) % 8 + 1

    def load_instances(self, image_id):
        rng = np.random.default_rng(image_id)
        turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        shapes = []
        for _ in range(300):
            centre, radius = rng.uniform((0, 0), (1280, 720)), rng.uniform(10, 90, 2)
            ring = centre + radius * np.stack([np.cos(turns), np.sin(turns)], axis=1)
            shapes.append(polygons_to_crop([ring], (720, 1280)))
        return Instances(self.load_class_ids(image_id), [box for box, _ in shapes], [crop for _, crop in shapes])

def peak_mib():  # getrusage would give the peak of the parent too, which Linux hands on
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024

dataset = Crowded()
for number in range(1, 9):
    dataset.add_class("drawn", number, str(number))
for number in range(2):
    dataset.add_image("drawn", number, None)
dataset.prepare()
for preset in ("none", "strong"):
    config = BDD100KConfig().override([*preset_settings(preset), "MAX_GT_INSTANCES=300"])
    augmentation, donors = Augmentation.from_config(config), Donors.from_dataset(dataset)
    make = SampleMaker(dataset, config, 1, 4, augmentation=augmentation, donors=donors)
    before = peak_mib()
    make.sample(0)  # imports and caches
    tracemalloc.start()
    objects = [len(make.sample(position).class_ids) for position in (1, 2, 3)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(preset, min(objects), peak // 2**20, peak_mib() - before)
"""


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_a_crowded_image_is_loaded_without_full_masks():
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=TESTS.parent, capture_output=True, text=True, timeout=120, check=True
    )
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in lines] == ["none", "strong"]
    for _, objects, peak_mib, grown_mib in lines:
        assert int(objects) > 60
        assert int(peak_mib) < 32, result.stdout  # numpy's; crops of 300 objects are 6 MiB, images 3 MiB each
        assert int(grown_mib) < 64, result.stdout  # and OpenCV's, the rasteriser's and the imports
