"""Invalid predictions: each is refused with the file, the entry and the fault."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mrcnn.errors import InputError, LabelError
from mrcnn.evaluation.check_results import check_predictions, load_predictions
from mrcnn.evaluation.evaluator import evaluate
from mrcnn.evaluation.voc_ap import compute_ap_range, compute_overlaps_masks
from mrcnn.files import write_json
from mrcnn.structures.rle import rle_lengths
from tests.evaluation_scenes import SHAPE, Nothing, Scenes

H, W = SHAPE


def rle(size=SHAPE):
    mask = np.zeros(size, np.uint8)
    mask[10:30, 20:50] = 1
    encoded = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(size), "counts": encoded["counts"].decode()}


def entry(**changes):
    good = {"image_id": 101, "category_id": 10, "score": 0.5, "segmentation": rle(), "bbox": [20, 10, 30, 20]}
    return {name: value for name, value in {**good, **changes}.items() if value != "absent"}


@pytest.fixture(scope="module")
def scenes():
    return Scenes(images=3)


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"image_id": 7}, "image_id 7 is no image"),
        ({"image_id": "elsewhere.jpg"}, "image_id 'elsewhere.jpg' is no image"),
        ({"image_id": True}, "image_id True is no image"),
        ({"image_id": None}, "image_id None is no image"),
        ({"image_id": [101]}, r"image_id \[101\] is no image"),
        ({"image_id": "absent"}, "image_id missing"),
        ({"segmentation": "absent", "score": "absent"}, "score, segmentation missing"),
        ({"category_id": 1}, "category_id 1 is unknown; the dataset has 10 car, 20 person, 30 train"),
        ({"category_id": 0}, "category_id 0 is unknown"),
        ({"category_id": "car"}, "category_id 'car' is unknown"),
        ({"category_id": [10]}, "category_id"),
        ({"score": float("nan")}, "score nan is not a number from 0 to 1"),
        ({"score": float("inf")}, "score inf"),
        ({"score": -0.01}, "score -0.01"),
        ({"score": 97}, "score 97"),
        ({"score": "0.5"}, "score '0.5'"),
        ({"score": None}, "score None"),
        ({"score": True}, "score True"),
        ({"bbox": [1, 2, 3]}, "bbox"),
        ({"bbox": [1, 2, -3, 4]}, "bbox"),
        ({"bbox": [1, 2, float("nan"), 4]}, "bbox"),
        ({"bbox": "0 0 1 1"}, "bbox"),
        ({"segmentation": rle((W, H))}, r"the RLE has size \[160, 120\], the image is \[120, 160\]"),
        ({"segmentation": {**rle(), "size": None}}, "the RLE has size None"),
        ({"segmentation": {"size": [H, W]}}, "neither RLE"),
        ({"segmentation": {"counts": "04"}}, "neither RLE"),
        ({"segmentation": None}, "neither RLE"),
        ({"segmentation": {"size": [H, W], "counts": 5}}, "the RLE is broken: rle counts are int"),
        ({"segmentation": {"size": [H, W], "counts": [5, 5]}}, "runs cover 10 pixels, the image has 19200"),
        ({"segmentation": {"size": [H, W], "counts": [H * W + 5, -5]}}, "negative run lengths"),
        ({"segmentation": {"size": [H, W], "counts": [0.5, H * W - 0.5]}}, "not whole numbers"),
        ({"segmentation": {"size": [H, W], "counts": rle()["counts"][:-2]}}, "the RLE is broken"),
        ({"segmentation": {"size": [H, W], "counts": "\u00e9\u00e9"}}, "the RLE is broken"),
        ({"segmentation": {"size": [H, W], "counts": "\ud800"}}, "the RLE is broken"),
        ({"segmentation": {"size": [H, W], "counts": ""}}, "the RLE is broken"),
        ({"segmentation": {"size": [H, W], "counts": "o" * 40}}, "the RLE is broken"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "polygons must be"),
        ({"segmentation": [[1, 2, 3, 4, 5, float("nan")]]}, "polygons must be"),
        ({"segmentation": [1, 2, 3, 4, 5, 6]}, "polygons must be"),
    ],
)
def test_bad_entry_is_named(scenes, tmp_path, changes, message):
    path = tmp_path / "found.json"
    path.write_text(json.dumps([entry(), entry(**changes)]))
    with pytest.raises(InputError, match=f"found.json, entry 1: .*{message}"):
        load_predictions(path, scenes)


@pytest.mark.parametrize("value", [3, "x", None, [1]])
def test_entry_that_is_no_object(scenes, value):
    with pytest.raises(InputError, match="predictions, entry 0: expected an object"):
        evaluate([value], scenes)


@pytest.mark.parametrize("segmentation", [[], [[]], [[1, 2, 3, 4]], [[1, 2], [5, 6, 7, 8]]])
def test_entry_without_area_is_left_out_by_name(scenes, caplog, segmentation):
    good = check_predictions([entry(), entry(score=0.4, segmentation=segmentation)], scenes)
    assert [found["score"] for found in good] == [entry()["score"]]
    assert "left out 1 predictions whose polygons enclose no area: entry 1 (image 101)" in caplog.text


def test_parts_without_area_and_ids_of_pandas(scenes):
    """A part of two points beside a polygon adds nothing; 101.0 is 101, and 1.0000001 a score of 1."""
    square = [[4, 4, 24, 4, 24, 14, 4, 14]]
    plain = entry(segmentation=square, image_id=101, score=1.0)
    found = entry(segmentation=[*square, [40, 40, 41, 41]], image_id=101.0, category_id=10.0, score=1.0000001)
    assert check_predictions([found], scenes) == check_predictions([plain], scenes)
    assert coco_mask.area(check_predictions([found], scenes)[0]["segmentation"]) == 200


def test_repeated_entry(scenes):
    with pytest.raises(InputError, match=r"entry 2 \(image 101\) repeats entry 0"):
        evaluate([entry(), entry(score=0.6), entry(image_id="street-1.jpg")], scenes)


@pytest.mark.parametrize(
    "text,message",
    [
        ("[{]", "broken JSON at line 1, column 3"),
        ("", "broken JSON at line 1, column 1"),
        ('{"annotations": []}', "expected a list .* got dict"),
        ("null", "expected a list .* got NoneType"),
    ],
)
def test_broken_file(scenes, tmp_path, text, message):
    (tmp_path / "found.json").write_text(text)
    with pytest.raises(InputError, match=f"found.json.*{message}"):
        load_predictions(tmp_path / "found.json", scenes)


def test_file_that_is_no_text_or_not_there(scenes, tmp_path):
    (tmp_path / "found.json").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(InputError, match="not a text file"):
        load_predictions(tmp_path / "found.json", scenes)
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(InputError, match=f"{path}: cannot be read"):
            load_predictions(path, scenes)


def test_name_of_two_images():
    scenes = Scenes(images=2)
    scenes.image_info[1]["path"] = "/other/street-0.jpg"
    scenes.image_info[1]["id"] = "b"
    with pytest.raises(InputError, match="'street-0' means 2 images"):
        evaluate([entry(image_id="street-0")], scenes)


def test_no_image_to_evaluate_on(scenes):
    with pytest.raises(InputError, match="no image to evaluate"):
        evaluate(Nothing(), scenes, image_ids=[])


def test_empty_mask_is_a_mistake_and_nothing_worse(scenes):
    result = evaluate([entry(segmentation={"size": [H, W], "counts": [H * W]})], scenes)
    assert result.mask.AP == 0 and result.matterport.mAP50 == 0 and result.detections == 1


def test_image_size_comes_from_the_image_where_the_labels_do_not_state_it(scenes):
    unsized = Scenes(images=3)
    for info in unsized.image_info:
        del info["height"], info["width"]
    assert evaluate([entry()], unsized).to_json() == evaluate([entry()], scenes).to_json()


def test_failed_write_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "results.json", {"AP": 0.5})
    with pytest.raises(ValueError):
        write_json(tmp_path / "results.json", {"AP": float("nan")})
    assert json.loads((tmp_path / "results.json").read_text()) == {"AP": 0.5}
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 70000), min_size=1, max_size=30))
def test_compressed_runs_are_read_as_pycocotools_writes_them(runs):
    text = coco_mask.frPyObjects({"size": [1, sum(runs)], "counts": runs}, 1, sum(runs))["counts"].decode()
    assert rle_lengths(text).tolist() == runs


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20))
def test_any_text_is_read_or_refused(text):
    try:
        assert rle_lengths(text).dtype == np.int64
    except LabelError as error:
        assert "not COCO's compressed form" in str(error)


def test_masks_of_different_size():
    with pytest.raises(ValueError, match=r"\(4, 4\) and \(4, 5\)"):
        compute_overlaps_masks(np.ones((4, 4, 1)), np.ones((4, 5, 1)))


def test_empty_masks_have_no_overlap():
    assert compute_overlaps_masks(np.zeros((4, 4, 2)), np.zeros((4, 4, 1))).tolist() == [[0], [0]]


def test_no_thresholds():
    nothing = np.zeros((0, 4)), np.zeros(0), np.zeros((4, 4, 0))
    with pytest.raises(ValueError, match="iou_thresholds is empty"):
        compute_ap_range(*nothing, nothing[0], nothing[1], nothing[1], nothing[2], iou_thresholds=np.array([]))
