"""The shipped weights, trained on TensorFlow, detect the same on JAX: boxes to 0.1 px, scores to 1e-4."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
WEIGHTS = ROOT / "weights" / "streets_resnet18.h5"

DETECT = """
import sys
import numpy as np
from bdd100k.streets.scenes import draw_scene
from bdd100k import cli
from mrcnn.model import MaskRCNN

weights, out = sys.argv[1:]
model = MaskRCNN("inference", cli.build_config(None, None, weights, ["DETECTION_MIN_CONFIDENCE=0.3"]), "logs")
model.load_weights(weights)
images = [draw_scene(99, index).image for index in range(2)]
molded, metas, windows = model.mold_inputs(images)
anchors = np.repeat(model.get_anchors(molded.shape[1:])[None], 2, axis=0)
detections, _, _, masks, *_ = model.keras_model.predict_on_batch([molded, metas.astype("float32"), anchors])
np.savez(out, detections=detections, masks=masks, shape=molded.shape[1:3])
"""


def detect(backend: str, out: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the raw detections in two drawn scenes, computed in a separate process."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", DETECT, str(WEIGHTS), str(out)]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=600)
    return dict(np.load(out))


@pytest.mark.slow
def test_detections_are_the_same_on_tensorflow_and_jax(tmp_path):
    first, second = (detect(backend, tmp_path / f"{backend}.npz") for backend in ("tensorflow", "jax"))
    height, width = first["shape"]
    size_px = np.array([height, width, height, width]) - 1
    for a, b, masks_a, masks_b in zip(
        first["detections"], second["detections"], first["masks"], second["masks"], strict=True
    ):
        count = (a[:, 4] > 0).sum()
        assert count >= 5 and (b[:, 4] > 0).sum() == count
        np.testing.assert_array_equal(a[:, 4], b[:, 4])
        np.testing.assert_allclose(a[:, 5], b[:, 5], atol=1e-4)
        np.testing.assert_allclose(a[:, :4] * size_px, b[:, :4] * size_px, atol=0.1)
        np.testing.assert_allclose(masks_a[:count], masks_b[:count], atol=1e-3)
