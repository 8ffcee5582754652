"""In a real Jupyter kernel training and detection show bars, losses and instances, and nothing that is not ours."""

import os
import re
from unittest import mock

import nbclient
import nbformat
import pytest

pytestmark = pytest.mark.slow

TRAIN = """
from mrcnn.legacy.restore import restore; restore()
import tensorflow as tf
from mrcnn.model import MaskRCNN
from tests.shapes import ShapesConfig, ShapesDataset

data = ShapesDataset().load_shapes(2)
model = MaskRCNN("training", ShapesConfig().override(["STEPS_PER_EPOCH=2"]), "logs")
with tf.Session(config=tf.ConfigProto()):
    model.train(data, None, 0.01, 1, "heads")
"""
DETECT = """
model = MaskRCNN("inference", ShapesConfig(), "logs")
model.load_weights(model.find_last()[1], by_name=True)
found = model.detect([data.load_image(0)], verbose=1)
"""
CONFIGURE = """
import logging
logging.basicConfig(level=logging.WARNING)
found = model.detect([data.load_image(0)], verbose=1)
"""


def test_a_notebook_shows_what_the_original_showed(tmp_path):
    cells = [nbformat.v4.new_code_cell(source) for source in (TRAIN, DETECT, CONFIGURE)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with mock.patch.dict(os.environ, {"PYTHONPATH": root}):
        os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
        client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
        client.execute()
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    assert {(output.output_type, output.get("name")) for output in outputs} == {("stream", "stdout")}
    train, detect, configured = ("".join(output.text for output in cell.outputs) for cell in notebook.cells)
    lines = re.split(r"[\r\n]", train)
    bar = max(number for number, line in enumerate(lines) if "2/2" in line and "rpn_class_loss" in line)
    report = next(number for number, line in enumerate(lines) if line.startswith("epoch 1, "))
    assert bar < report  # on a line of its own
    assert "layers train (heads): fpn_c5p5" in train
    assert "67 of 67 layers loaded" in detect and "image (96, 128): " in detect
    assert configured == ""
