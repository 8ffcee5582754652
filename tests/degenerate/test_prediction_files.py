"""Invalid predictions as Scalabel JSON or bitmasks, each refused with its place, and valid edge cases."""

import json

import numpy as np
import pytest
from PIL import Image

from bdd100k.evaluation.flatten import flatten, paint
from bdd100k.evaluation.predictions import load_any
from bdd100k.evaluation.protocols import OfficialEvaluator
from mrcnn.errors import InputError
from mrcnn.evaluation.evaluator import evaluate
from tests.evaluation_scenes import Drawn, Scenes, found

BOX = (10, 20, 30, 50)


@pytest.fixture
def dataset():
    return Drawn([("car", BOX)], [("truck", BOX)])


def label(**changes):
    rle = found(0, "car", BOX, 1)["segmentation"]
    good = {"id": "7", "category": "car", "score": 0.5, "rle": rle, "box2d": None, "poly2d": None}
    return {name: value for name, value in {**good, **changes}.items() if value != "absent"}


def write(tmp_path, *labels, name="a.jpg"):
    path = tmp_path / "found.json"
    path.write_text(json.dumps([{"name": name, "labels": list(labels)}]))
    return path


def test_scalabel_rle_and_poly2d_with_their_boxes(dataset, tmp_path):
    square = [{"vertices": [[20, 10], [50, 10], [50, 30], [20, 30]], "types": "LLLL", "closed": True}]
    outline = label(id="8", category="Truck", rle=None, poly2d=square, box2d={"x1": 20, "y1": 10, "x2": 49, "y2": 29})
    path = tmp_path / "found.json"
    path.write_text(
        json.dumps(
            {"frames": [{"name": "a.jpg", "labels": [label()]}, {"name": "b.jpg", "labels": [outline]}], "config": None}
        )
    )
    result = evaluate(load_any(path, dataset), dataset, samples=0)
    assert result.mask.AP == result.box.AP == pytest.approx(1) and result.detections == 2
    assert [e["bbox"] for e in result.predictions] == [[20, 10, 30, 20]] * 2


def test_predicted_polygons_may_overlap_as_they_are(dataset, tmp_path):
    square = [{"vertices": [[20, 10], [50, 10], [50, 30], [20, 30]], "types": "LLLL", "closed": True}]
    both = [label(id=i, rle=None, poly2d=square, score=s) for i, s in (("1", 0.9), ("2", 0.8))]
    entries = load_any(write(tmp_path, *both), dataset)
    assert entries[0]["segmentation"] == entries[1]["segmentation"]  # labels would hide each other


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"score": float("nan")}, "a.jpg, label '7': score nan is not a number from 0 to 1"),
        ({"score": 1.5}, "a.jpg, label '7': score 1.5"),
        ({"score": "absent"}, "a.jpg, label '7': score None"),
        ({"category": "tram"}, "'7': category 'tram' is not one of the classes"),
        ({"category": "road"}, "predictions of road; the classes are pedestrian, "),
        ({"rle": {"size": [50, 60], "counts": "0"}}, "label '7': rle counts cover 0 pixels"),
        ({"rle": None}, "label '7': label has none of rle, poly2d and box2d"),
        ({"rle": None, "box2d": {"x1": 0, "y1": 0, "x2": 5, "y2": 5}}, "no prediction has a mask"),
    ],
)
def test_bad_scalabel_label(dataset, tmp_path, changes, message):
    path = write(tmp_path, label(**changes))
    with pytest.raises(InputError, match=f"found.json.*{message}"):
        load_any(path, dataset)


def test_wrong_size_is_named(dataset, tmp_path):
    other = found(0, "car", BOX, 1, shape=(50, 60))["segmentation"]
    with pytest.raises(InputError, match=r"RLE has size \[50, 60\], the image is \[100, 100\]"):
        load_any(write(tmp_path, label(rle=other)), dataset)


def test_unknown_image_and_repeated_frame(dataset, tmp_path):
    for labels in ([label()], []):
        with pytest.raises(InputError, match=r"'z.jpg' is no image of this dataset; its images are called 'a', 'b' "):
            load_any(write(tmp_path, *labels, name="z.jpg"), dataset)
    path = tmp_path / "found.json"
    path.write_text(json.dumps([{"name": "a.jpg", "labels": [label()]}] * 2))
    with pytest.raises(InputError, match="a frame of this name came before"):
        load_any(path, dataset)


def test_twice_the_same_prediction(dataset, tmp_path):
    with pytest.raises(InputError, match="a.jpg, label '8' .* repeats a.jpg, label '7'"):
        load_any(write(tmp_path, label(), label(id="8")), dataset)


def test_some_labels_without_masks_are_left_out_with_a_warning(dataset, tmp_path, caplog):
    box = {"x1": 0, "y1": 0, "x2": 5, "y2": 5}
    assert len(load_any(write(tmp_path, label(), label(id="8", rle=None, box2d=box)), dataset)) == 1
    assert "1 predictions without rle and poly2d are left out" in caplog.text


def test_missing_and_empty_images_find_nothing(dataset, tmp_path, caplog):
    caplog.set_level("INFO")
    result = evaluate(load_any(write(tmp_path, label()), dataset), dataset, samples=0)
    assert result.mask.AP == pytest.approx(0.5) and "1 of 2 images have no prediction" in caplog.text
    (tmp_path / "none.json").write_text("[]")
    entries = load_any(tmp_path / "none.json", dataset)
    result = evaluate(entries, dataset, samples=10, benchmark=OfficialEvaluator(dataset))
    for figures in (result.mask, result.box, result.official.bitmask.mask, result.official.rle.mask):
        assert figures.AP == figures.AR100 == 0 and figures.AP_L is None


def test_no_truth_gives_null_in_both_protocols():
    dataset = Drawn([], [])
    result = evaluate([found(0, "car", BOX, 0.5)], dataset, samples=10, benchmark=OfficialEvaluator(dataset))
    for figures in (result.official.bitmask.mask, result.official.rle.mask):
        assert set(vars(figures).values()) == {None}
    assert result.official.rle.interval is None and result.intervals.mask["AP"] is None
    assert json.loads(json.dumps(result.to_json(), allow_nan=False)) == result.to_json()


def test_other_classes_take_coco_results_only(tmp_path):
    scenes = Scenes(images=1)
    for path in (write(tmp_path, label()), tmp_path):
        with pytest.raises(InputError, match="this dataset has other classes; give COCO results"):
            load_any(path, scenes)


# Bitmasks ------------------------------------------------------------------------------------------------------------


def bitmask_folder(tmp_path, scores, a=((BOX, 3, 1),), b=()):
    """Write a folder of two PNGs; `a` and `b` are (box, category, index)."""
    folder = tmp_path / "masks"
    folder.mkdir()
    for name, rows in (("a", a), ("b", b)):
        pixels = np.zeros((100, 100, 4), np.uint8)
        for (y1, x1, y2, x2), category, index in rows:
            pixels[y1:y2, x1:x2] = category, 0, index >> 8, index & 255
        Image.fromarray(pixels).save(folder / f"{name}.png")
    if scores is not None:
        frames = [{"name": name, "labels": [{"index": i, "score": s} for i, s in rows]} for name, rows in scores]
        (folder / "scores.json").write_text(json.dumps(frames))
    return folder


GOOD = (("a.png", [(1, 0.5)]), ("b.jpg", []))


def test_bitmasks_with_a_score_file_inside_or_beside(dataset, tmp_path):
    folder = bitmask_folder(tmp_path, GOOD)
    inside = load_any(folder, dataset)
    (folder / "scores.json").rename(tmp_path / "masks.json")
    assert load_any(folder, dataset) == inside
    assert [(e["image_id"], e["category_id"], e["score"], e["bbox"]) for e in inside] == [(1, 3, 0.5, [20, 10, 30, 20])]


def test_indices_beyond_255_and_hidden_ones(dataset, tmp_path):
    scores = (("a.png", [(1, 0.5), (700, 0.8), (9, 0.9)]), ("b.png", []))  # 9 has no pixel left
    entries = load_any(bitmask_folder(tmp_path, scores, a=((BOX, 3, 1), ((60, 60, 70, 70), 4, 700))), dataset)
    assert [(e["category_id"], e["score"]) for e in entries] == [(3, 0.5), (4, 0.8)]


@pytest.mark.parametrize(
    "scores,a,message",
    [
        (None, ((BOX, 3, 1),), "bitmasks need a score file"),
        ((("a.png", []), ("b.png", [])), ((BOX, 3, 1),), "a has no score for the index 1"),
        ((("a.png", [(1, 0.5)]),), ((BOX, 3, 1),), "no scores for .*b.png"),
        ((*GOOD, ("c.png", [])), ((BOX, 3, 1),), "scores for c, which has no PNG"),
        ((("a.png", [(1, float("nan"))]), ("b.png", [])), ((BOX, 3, 1),), "score nan is not a number"),
        ((("a.png", [(1, 0.5), (1, 0.6)]), ("b.png", [])), ((BOX, 3, 1),), "index 1 twice"),
        (GOOD, ((BOX, 3, 1), ((60, 60, 70, 70), 4, 1)), "index 1 has pixels of several categories"),
        (GOOD, ((BOX, 12, 1),), "predictions of category id 12"),
    ],
)
def test_bad_bitmasks(dataset, tmp_path, scores, a, message):
    with pytest.raises(InputError, match=message):
        load_any(bitmask_folder(tmp_path, scores, a), dataset)


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"labels": []}]', '[{"name": "a", "labels": [{"index": 1}]}]', "["])
def test_bad_score_file(dataset, tmp_path, text):
    folder = bitmask_folder(tmp_path, None)
    (folder / "scores.json").write_text(text)
    with pytest.raises(InputError, match=r"scores.json.*(expected a list|broken JSON)|no scores for"):
        load_any(folder, dataset)


def test_two_score_files_and_no_pictures(dataset, tmp_path):
    folder = bitmask_folder(tmp_path, GOOD)
    (folder / "more.json").write_text("[]")
    with pytest.raises(InputError, match=r"several JSON files, more.json and scores.json"):
        load_any(folder, dataset)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"needs .png bitmasks"):
        load_any(tmp_path / "empty", dataset)


def test_gray_pictures_are_no_bitmasks(dataset, tmp_path):
    folder = bitmask_folder(tmp_path, GOOD)
    Image.fromarray(np.zeros((100, 100), np.uint8)).save(folder / "b.png")
    with pytest.raises(InputError, match=r"b.png.*not RGBA"):
        load_any(folder, dataset)


# Flattening ----------------------------------------------------------------------------------------------------------


def test_nothing_to_flatten():
    labels, visible, overlapped = paint([], (4, 6))
    assert labels.shape == (4, 6) and not labels.any() and visible == [] and not overlapped
    assert flatten([], (4, 6)).entries == []


def test_an_image_twice_is_refused(dataset):
    with pytest.raises(InputError, match="image_ids has an image twice"):
        evaluate([], dataset, image_ids=[0, 0])


FAR = [1e9, 1e9, 2e9, 1e9, 2e9, 2e9]
ZIGZAG = [v for i in range(1000) for v in ((-99999.0, 99999.0)[i % 2], float(i))]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"segmentation": [FAR]}, "polygon has a coordinate of 2e[+]09 px"),
        ({"segmentation": [[-1e8, 0, 1e8, 0, 1e8, 5]]}, "polygon has a coordinate of -1e[+]08 px"),
        ({"segmentation": [[0, 0, 10**400, 0, 5, 5]]}, "polygons must be a list .* of finite numbers"),
        ({"segmentation": [ZIGZAG]}, "polygon has an outline of 199998000 px"),
        ({"segmentation": {"size": [2**31, 2**31], "counts": [0, 2**62]}}, "the RLE has size"),
        (
            {"segmentation": {"size": [100, 100], "counts": [2**40, 5]}},
            "rle counts are not whole numbers",
        ),
        ({"segmentation": {"size": [100, 100], "counts": [-5, 10005]}}, "RLE is broken: it has negative run lengths"),
        ({"segmentation": {"size": [100, 100], "counts": [0, 2**32, 10000]}}, "its runs cover 4294977296 pixels"),
        ({"bbox": [0, 0, 1e200, 1e200]}, "bbox .* is more than 100000 px from the image"),
        ({"bbox": [0, 0, 10**400, 5]}, "bbox .* is not .* finite numbers"),
        ({"score": 10**400}, "score 1000"),
    ],
)
def test_numbers_that_crash_pycocotools_are_refused(dataset, tmp_path, changes, message):
    entry = {**found(0, "car", BOX, 0.5), **changes}
    (tmp_path / "found.json").write_text(json.dumps([entry]))
    with pytest.raises(InputError, match=f"found.json, entry 0: .*{message}"):
        load_any(tmp_path / "found.json", dataset)
