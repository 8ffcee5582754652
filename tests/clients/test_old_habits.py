"""Clients with the habits of 2017 to 2019 run as they stand: flat imports, TensorFlow 1, Keras 2, SciPy's images."""

import json
import pathlib
import shutil

import pytest

from tests.clients.processes import HERE, run_client, run_legacy

pytestmark = pytest.mark.slow

# what a copy of one of Matterport's modules is recognised by; whoever runs it has not been given ours
COPIES = {
    "model": "class MaskRCNN:\n    pass\nclass PyramidROIAlign:\n    pass\n",
    "config": "class Config(object):\n    RPN_ANCHOR_SCALES = ()\n    def display(self):\n        pass\n",
}
RAN = "raise SystemExit('the copy ran')\n"


def write_copies(folder) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").touch()
    for name, text in COPIES.items():
        (folder / f"{name}.py").write_text(RAN + text)


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """A folder as of 2017, the script beside copies of Matterport's modules and its own, and the lines it printed."""
    folder = tmp_path_factory.mktemp("flat")
    write_copies(folder)
    write_copies(folder / "mrcnn")
    shutil.copy(HERE / "flat_client.py", folder)
    (folder / "helpers.py").write_text("NAME = 'helper'\n")
    (folder / "mrcnn" / "extra.py").write_text("NAME = 'extra'\n")
    (folder / "info.yaml").write_text("label_names: [_background_, disc]\n")
    (folder / "sizes.json").write_text('{"disc": [64, 64]}')
    return folder, run_client(folder / "flat_client.py", folder).stdout.splitlines()


def test_flat_client_trains_on_what_scipy_wrote_and_finds_its_weights(flat):
    folder, lines = flat
    assert (
        f"{folder / 'model.py'} is a copy of Matterport's mrcnn/model.py: this project's mrcnn.model is used" in lines
    )
    assert any(line.startswith("NOT FOUND there is no run of 'flat' in ") for line in lines)
    assert "LAST True mask_rcnn_flat_0002.h5" in lines
    assert f"{folder / 'best.h5'}: 67 of 67 layers loaded" in lines
    # 0, 0.5, 1 and 0.25 become 0 to 255; 64 x 64 at 0.5 is 32 x 32
    assert "IMAGES uint8 (64, 64, 3) [128 255  64] (32, 32, 3) (64, 64) 1.0 (32, 32, 3)" in lines
    assert "FIGURE (400, 400, 3) True (np.float64(0.0), np.float64(0.0), np.float64(0.5))" in lines
    assert "NAMES True Layer True True" in lines and "NEIGHBOURS helper extra a True" in lines
    assert "ARGUMENTS ['box', 'boxes', 'box_area', 'boxes_area'] [[0.0, 1.0]]" in lines
    assert lines[-1] == "SECONDS True"


def test_flat_client_prints_layers_epochs_and_losses_into_a_file(flat):
    _, lines = flat
    assert any(line.startswith("21 layers train (heads): fpn_c5p5, fpn_c4p4") for line in lines)
    for epoch in (1, 2):
        (line,) = [line for line in lines if line.startswith(f"epoch {epoch}, ")]
        assert "loss " in line and "rpn_class " in line and "mrcnn_mask " in line
    assert sum(line.startswith(("image (64, 64): ", "image (32, 32): ")) for line in lines) == 2  # detect(verbose=1)


def test_session_client_detects_and_is_told_what_needs_a_graph(tmp_path):
    write_copies(tmp_path / "Mask_RCNN" / "mrcnn")
    (tmp_path / "Mask_RCNN" / "__init__.py").touch()
    script = pathlib.Path(shutil.copy(HERE / "session_client.py", tmp_path))
    done = run_legacy(script, tmp_path)
    lines = done.stdout.splitlines()
    assert {"SEEDED True", "FOUND 5 True", "LAYERS 4.0 True True True", "GPUS True True"} <= set(lines), done.stderr
    assert "RUN [np.int32(7), {'log': np.float32(0.0)}] 2.0" in lines
    no_graph = "Keras 3 computes at once and has no graph of TensorFlow 1"
    assert any(line.startswith(f"PLACEHOLDER tf.placeholder: {no_graph}") for line in lines)
    assert any(line.startswith("OUTPUT session.run(<KerasTensor shape=(None, 16, 4)") for line in lines)
    # a mistake of the user: one message with the line, and what to use instead
    last = len(script.read_text().splitlines())
    message = f"error: {script}, line {last}: graph.as_graph_def: Keras 3 has no graph of TensorFlow 1 that could be"
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert message in done.stderr and "model.keras_model.export(folder, input_signature=" in done.stderr


def test_names_client_gets_the_values_of_its_time(tmp_path):
    done = run_client("names_client.py", tmp_path / "ramp.png")
    values = json.loads(done.stdout.splitlines()[-1])
    ramp = [[0, 23, 46, 70], [93, 116, 139, 162], [185, 209, 232, 255]]  # round(255 / 11 * i)
    assert values["ramp"] == values["ramp_io"] == ramp and values["ramp_ndimage"] == [3, 4, 3]
    assert values["percent"] == [5, 10, 3] and values["toimage"] == [7, 5]
    assert values["size"] == [[255, 255, 0, 0], [255, 255, 0, 0], [0, 0, 255, 255], [0, 0, 255, 255]]
    assert values["resized_mask"] == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert values["rescaled"] == [2, 2, 3] and values["gaussian"] == pytest.approx(1)
    assert values["circle"] == 9  # strictly within the radius 2: 3 x 3
    assert values["labels"] == [2, 1] and values["ssim"] == 1 and values["dilated"] == 36
    assert values["gray"] == [[pytest.approx(1)] * 2] * 2 and values["rgb"] == [2, 2, 3]
    assert values["figure"] == [255, 0, 0] and values["colour"] == [1, 1, 1, 1]
    assert values["text"] and values["filter"]
    assert values["numpy"] == [1.0, 6, False, True, float("inf"), 1.0, [False, True], "a", [1, 2]]
    assert values["python"] == [True, 2, [1], [["a"], "b", "c"], {"a": [1]}, True]
    assert values["modules"] == ["ImageDataGenerator", "tifffile"]
