"""scripts/convert.py with invalid input: exit code 2, one message that names the file, nothing half-written."""

import json
import pathlib
import runpy
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from bdd100k.labels.convert import convert
from bdd100k.labels.load import read_labels
from mrcnn import errors
from mrcnn.annotations.object_masks import visible_masks
from mrcnn.errors import InputError

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "convert.py"
SQUARE = [{"vertices": [[2, 1], [6, 1], [6, 4], [2, 4]], "types": "LLLL", "closed": True}]


def frames(**changes):
    label = {"id": "7", "category": "car", "attributes": {"occluded": True}, "poly2d": SQUARE}
    size = {"width": 10, "height": 8}
    return [{"name": "a.jpg", "size": size, "attributes": {"weather": "clear"}, "labels": [label], **changes}]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Return a function that runs the script in a folder with the valid file s.json: (exit code, stderr)."""
    main = runpy.run_path(str(SCRIPT))["main"]
    (tmp_path / "s.json").write_text(json.dumps(frames()))
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["convert.py", *map(str, arguments)])
        code = errors.exit_code(main)
        return code, capsys.readouterr().err

    return run


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_there_is_not_overwritten(run, tmp_path):
    assert run("s.json", "c.json", "--to", "coco")[0] == 0
    before = (tmp_path / "c.json").read_bytes()
    code, message = run("s.json", "c.json", "--to", "scalabel")
    assert (code, message) == (2, "error: c.json exists already; --force overwrites it\n")
    assert (tmp_path / "c.json").read_bytes() == before
    assert run("s.json", "c.json", "--to", "scalabel", "--force")[0] == 0
    assert (tmp_path / "c.json").read_bytes() != before
    assert run("s.json", "png", "--to", "bitmask")[0] == 0
    assert run("s.json", "png", "--to", "bitmask")[0] == 2
    assert run("s.json", "png", "--to", "bitmask", "--force")[0] == 0
    assert left(tmp_path) == ["c.json", "png", "s.json"]


def test_a_folder_with_other_files_is_never_replaced(run, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.tex").write_text("x")
    code, message = run("s.json", "home", "--to", "bitmask", "--force")
    assert code == 2 and "thesis.tex" in message
    assert left(tmp_path / "home") == ["thesis.tex"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("none.json", "c.json", "--to", "coco"), "none.json: no such label file"),
        (("s.json", "s.json", "--to", "coco", "--force"), "source and target are the same"),
        (("s.json", "deep/c.json", "--to", "coco"), "does not exist; create it first"),
        (("broken.json", "c.json", "--to", "coco"), r"broken\.json: broken JSON at line 1, column 2"),
        (("s.json", "folder", "--to", "coco", "--force"), "folder is a folder, which coco does not write"),
        (("unsized.json", "c.json", "--to", "coco"), r"reach to \(2000, 4\), beyond 1280 x 720; --images DIR"),
        (("unsized.json", "c.json", "--to", "coco", "--images", "folder"), "no size for a.jpg, and no such image"),
        (("zoo.json", "c.json", "--to", "coco"), "zoo.json: no object of BDD100K's classes; its categories are zebra"),
        (("twice.json", "png", "--to", "bitmask"), "a.jpg and b/a.jpg would both become a.png"),
    ],
)
def test_one_message_and_nothing_written(run, tmp_path, arguments, why):
    import re

    (tmp_path / "folder").mkdir()
    (tmp_path / "broken.json").write_text("[")
    wide = [{"vertices": [[2, 1], [2000, 1], [6, 4]], "types": "LLL", "closed": True}]
    (tmp_path / "unsized.json").write_text(
        json.dumps(frames(size=None, labels=[{"id": "1", "category": "car", "poly2d": wide}]))
    )
    (tmp_path / "twice.json").write_text(json.dumps(frames() + frames(name="b/a.jpg")))
    (tmp_path / "zoo.json").write_text(json.dumps(frames(labels=[{"id": 1, "category": "zebra", "poly2d": SQUARE}])))
    before = left(tmp_path)
    code, message = run(*arguments)
    assert code == 2
    assert message.count("error: ") == 1 and "Traceback" not in message
    assert re.search(why, message), message
    assert left(tmp_path) == before


def test_value_that_json_cannot_hold(run, tmp_path):
    (tmp_path / "s.json").write_text(json.dumps(frames(attributes={"speed": float("nan")})))
    code, message = run("s.json", "c.json", "--to", "coco")
    assert code == 2 and "cannot write c.json: JSON holds no number that is not finite" in message
    assert left(tmp_path) == ["s.json"]


def test_labels_that_are_dropped_are_named(run, tmp_path, caplog):
    caplog.set_level("INFO")
    bad = {"id": "bad", "category": "car", "poly2d": [{"vertices": [[1, 1]], "types": "L"}]}
    labels = [bad, frames()[0]["labels"][0], {"id": "u", "category": "unicorn"}, {"id": "r", "category": "road"}]
    (tmp_path / "s.json").write_text(json.dumps(frames(labels=labels)))
    assert run("s.json", "c.json", "--to", "coco")[0] == 0
    message = caplog.text
    assert "'bad'" in message and "unicorn" in message and "road" in message
    assert "1 images, 1 objects written" in message


def test_a_broken_outline_beside_a_good_mask_is_left_out_and_counted(run, tmp_path, caplog):
    caplog.set_level("INFO")
    rle = coco_mask.encode(np.asfortranarray(np.eye(8, 10, dtype=np.uint8)))
    label = {"id": "1", "category": "car", "rle": {**rle, "counts": rle["counts"].decode()}}
    label["poly2d"] = [{"vertices": [[1, 1]], "types": "L", "closed": True}]
    (tmp_path / "s.json").write_text(json.dumps(frames(labels=[label])))
    assert run("s.json", "r.json", "--to", "scalabel")[0] == 0
    (written,) = json.loads((tmp_path / "r.json").read_text())[0]["labels"]
    assert "poly2d" not in written and "rle" in written
    assert "1 broken outlines (poly2d) of objects that have a mask (rle)" in caplog.text


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "I;16"])
def test_bitmask_of_another_mode(run, tmp_path, mode):
    (tmp_path / "png").mkdir()
    pixels = np.zeros((4, 4), np.uint16 if mode == "I;16" else np.uint8)
    Image.fromarray(pixels).convert(mode).save(tmp_path / "png/a.png")
    code, message = run("png", "c.json", "--to", "coco")
    assert code == 2 and "a.png" in message and f"is {mode}, not RGBA" in message


def test_interrupted_writing_leaves_the_old_target(tmp_path, monkeypatch):
    (tmp_path / "s.json").write_text(json.dumps(frames()))
    convert(tmp_path / "s.json", tmp_path / "png", "bitmask")
    before = (tmp_path / "png/a.png").read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bdd100k.labels.convert._save_png", fail)
    with pytest.raises(InputError, match="No space left"):
        convert(tmp_path / "s.json", tmp_path / "png", "bitmask", force=True)
    assert left(tmp_path) == ["png", "s.json"]
    assert (tmp_path / "png/a.png").read_bytes() == before


PLAIN = st.none() | st.booleans() | st.integers(-3, 40) | st.floats() | st.sampled_from(["", "car", "a.jpg", "LLCC"])
JSON = st.recursive(PLAIN, lambda s: st.lists(s, max_size=3) | st.dictionaries(st.just("id"), s), max_leaves=5)


@pytest.mark.parametrize("kind", ["scalabel", "coco"])
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_value_anywhere_converts_or_is_named(tmp_path_factory, kind, data):
    """If one value of a valid file is replaced by anything, the only error is an InputError that names the file."""
    folder = tmp_path_factory.mktemp("fuzz")
    source = folder / "s.json"
    source.write_text(json.dumps(frames()))
    if kind == "coco":
        convert(source, folder / "c.json", "coco", "polygons")
        source = folder / "c.json"
    document = json.loads(source.read_text())
    places = []

    def visit(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                visit(node[key])

    visit(document)
    node, key = places[data.draw(st.integers(0, len(places) - 1))]
    node[key] = data.draw(JSON)
    source.write_text(json.dumps(document))
    try:
        for image in read_labels(source).images:
            if image.size:
                visible_masks(image, boxes=True)
        for number, to in enumerate(("scalabel", "coco", "bitmask")):
            convert(source, folder / str(number), to)
    except InputError as error:
        assert str(folder) in str(error)
