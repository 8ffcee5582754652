"""Broken labels in every format: one message names the file and the label, and nothing is lost silently."""

import base64
import json
import re

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.annotations.folder import open_folder
from mrcnn.errors import InputError
from tests.annotated import (
    KINDS,
    LEAF,
    coco_document,
    folder,
    id_mask,
    isat_document,
    labelme_document,
    picture,
    supervisely_document,
    via3_document,
    via_entry,
    write,
    yolo_text,
)

TEXT = ("via", "via3", "labelme", "isat", "supervisely", "coco", "yolo")
NAN, HUGE = float("nan"), 10**400
WHITE, COLOUR = (  # PNGs of 2 x 2 pixels, white and blue, in base64
    base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()
    for pixels in (np.full((2, 2), 255, np.uint8), np.array([[[255, 0, 0]] * 2] * 2, np.uint8))
)


def replaced(kind, first, rest=None):
    """Replace the first object of a.jpg; return (document or text, label id in messages)."""
    if kind == "via":
        entry = via_entry("a")
        entry["regions"][0] = first
        return {"a.jpg1": entry, "b.jpg1": via_entry("b")}, "0"
    if kind == "labelme":
        document = labelme_document("a")
        document["shapes"][0] = first
        return document, "0"
    if kind == "coco":
        document = coco_document()
        document["annotations"][0] = first
        return document, "70"
    if kind == "via3":
        document = via3_document()
        document["metadata"]["1_leaf"] = first
        return document, "1_leaf"
    if kind in ("isat", "supervisely"):
        document = isat_document("a") if kind == "isat" else supervisely_document()
        document["objects"][0] = first
        return document, "0"
    lines = yolo_text().splitlines()
    return "\n".join([first, *lines[1:]]), "line 1"


def via(attributes=None, **shape):
    return {"shape_attributes": {"name": "polygon", **shape}, "region_attributes": attributes or {"class": "leaf"}}


def labelme(**changes):
    return {"label": "leaf", "points": LEAF, "shape_type": "polygon", **changes}


def annotation(**changes):
    return {"id": 70, "image_id": 0, "category_id": 5, "segmentation": [np.ravel(LEAF).tolist()], **changes}


def via3(*xy, value="1"):
    return {"vid": "1", "flg": 0, "z": [], "xy": list(xy), "av": {"1": value}}


def isat(**changes):
    return {"category": "leaf", "group": 1, "segmentation": LEAF, "layer": 1, **changes}


def supervisely(form, points=None, **changes):
    return {"classTitle": "leaf", "geometryType": form, "points": {"exterior": points, "interior": []}, **changes}


XY = {"all_points_x": [2, 6, 6, 2], "all_points_y": [1, 1, 4, 4]}

BAD = [
    ("via", via(all_points_x=[2, 6], all_points_y=[1, 1]), "2 points"),
    ("via", via(all_points_x=[2, NAN, 6], all_points_y=[1, 1, 4]), "not finite"),
    ("via", via(all_points_x=[2, HUGE, 6], all_points_y=[1, 1, 4]), "not numbers"),
    ("via", via(all_points_x=[2, "x", 6], all_points_y=[1, 1, 4]), "not numbers"),
    ("via", via(all_points_x=[2, 6, 6], all_points_y=[1, 1]), "same length"),
    ("via", via(all_points_x=7), "same length"),
    ("via", via(name="rect", x=1, y=1, width=0, height=4), "no area"),
    ("via", via(name="rect", x=1, y=1, width=-3, height=4), "no area"),
    ("via", via(name="rect", x=1, y=1, width=3), "height of the rect is None"),
    ("via", via(name="circle", cx=1, cy=1, r=-2), "circle or ellipse with"),
    ("via", via(name="circle", cx=1, cy=NAN, r=2), "cy of the circle is nan"),
    ("via", via(name="point", cx=1, cy=1), "'point' has no area"),
    ("via", via(name=None), "has no area"),
    ("via", {"region_attributes": {}}, "without 'shape_attributes'"),
    ("via", 5, "region is int"),
    ("via", via({"class": ""}, **XY), "has no class"),
    ("via", via({"other": "x"}, **XY), "has no class"),
    ("via", via({"class": {"a": True, "b": True}}, **XY), "several classes"),
    ("labelme", labelme(points=[[1, 1], [2, 2]]), "2 points"),
    ("labelme", labelme(points=[[1, 1], [NAN, 2], [4, 4]]), "not finite"),
    ("labelme", labelme(points=[[1, 1], [2], [4, 4]]), "not numbers"),
    ("labelme", labelme(points=None), "not numbers|points"),
    ("labelme", labelme(points=[[1, 1], [1, 5]], shape_type="rectangle"), "no area"),
    ("labelme", labelme(points=[[1, 1]], shape_type="circle"), "two points"),
    ("labelme", labelme(points=[[1, 1], [1, 1]], shape_type="circle"), "radii 0"),
    ("labelme", labelme(points=[[1, 1], ["x", 1]], shape_type="circle"), "x is 'x'"),
    ("labelme", labelme(shape_type="linestrip"), "'linestrip' has no area"),
    ("labelme", labelme(shape_type=["polygon"]), "has no area"),
    ("labelme", labelme(label=None), "not a class name"),
    ("labelme", labelme(label="  "), "not a class name"),
    ("labelme", labelme(shape_type="mask", points=[[1, 1], [2, 2]], mask="!!"), "base64"),
    ("labelme", labelme(shape_type="mask", points=[[1, 1], [2, 2]], mask=5), "base64"),
    ("labelme", "leaf", "shape is str"),
    ("labelme", labelme(shape_type="mask", points=[[30, 1], [31, 2]], mask=WHITE), "no pixel in the image"),
    ("labelme", labelme(shape_type="mask", points=[[1, 1], [2, 2]], mask=COLOUR), "needs one channel"),
    ("labelme", labelme(shape_type="mask", points=[[1, 1], [2, 2]], mask="AAAA"), "not a PNG"),
    ("labelme", labelme(shape_type="rotation", points=[[1, 1], [2, 2]]), "2 points"),
    ("via3", via3(7, 2, 1, 6, 1), "2 points"),
    ("via3", via3(7, 2, 1, 6, 1, 6), "same length"),
    ("via3", via3(7, 2, 1, 6, NAN, 4, 4), "not finite"),
    ("via3", via3(7, 2, 1, 6, "x", 4, 4), "not numbers"),
    ("via3", via3(2, 1, 1, 0, 4), "no area"),
    ("via3", via3(2, 1, 1, 3), "height of the rect is None"),
    ("via3", via3(3, 1, 1, -2), "circle or ellipse with"),
    ("via3", via3(1, 5, 5), "'point' has no area"),
    ("via3", via3(5, 5, 5, 7, 7), "'line' has no area"),
    ("via3", via3(8, 1, "x", 2, 2, 3, 3, 4, 4), "has no area"),
    ("via3", via3(9, 1, 1, 2, 2, 3, 3), "has no area"),
    ("via3", via3(77, 1, 1), "has no area"),
    ("via3", via3(7, *np.ravel(LEAF).tolist(), value="0,1"), "several classes: stem, leaf"),
    ("via3", via3(7, *np.ravel(LEAF).tolist(), value=""), "has no class"),
    ("via3", via3(7, *np.ravel(LEAF).tolist(), value=None), "has no class"),
    ("isat", isat(segmentation=[[1, 1], [2, 2]]), "2 points"),
    ("isat", isat(segmentation=None), "not numbers"),
    ("isat", isat(category=None), "category is None, not a class name"),
    ("isat", isat(shape_type="point"), "'point' is not read"),
    ("isat", isat(layer="x"), "layer is 'x'"),
    ("isat", "leaf", "object is str"),
    ("supervisely", supervisely("polygon", [[1, 1], [2, 2]]), "2 points"),
    ("supervisely", supervisely("polygon", points=5), "not numbers"),
    ("supervisely", {"classTitle": "leaf", "geometryType": "polygon"}, "points are not"),
    ("supervisely", {"classTitle": "leaf", "geometryType": "multipolygon", "parts": 5}, "points are not"),
    ("supervisely", supervisely("rectangle", [[1, 1], [1, 5]]), "no area"),
    ("supervisely", supervisely("rectangle", [[1, 1]]), "two points"),
    ("supervisely", supervisely("oriented_bbox", [[1, 1], [3, 5]], angle="x"), "angle is 'x'"),
    ("supervisely", supervisely("point", [[1, 1]]), "'point' has no area"),
    ("supervisely", supervisely("bitmap"), "bitmap is not"),
    ("supervisely", supervisely("bitmap", bitmap={"data": "!!", "origin": [1, 1]}), "bitmap is not"),
    ("supervisely", supervisely("bitmap", bitmap={"data": "AAAA", "origin": [1, 1]}), "bitmap is not"),
    ("supervisely", supervisely("bitmap", bitmap={"data": WHITE, "origin": [1]}), "bitmap is not"),
    ("supervisely", supervisely("bitmap", bitmap={"data": WHITE, "origin": [1, "x"]}), "origin is 'x'"),
    ("supervisely", supervisely("bitmap", bitmap={"data": WHITE, "origin": [-9, 1]}), "no pixel in the image"),
    ("supervisely", supervisely("polygon", LEAF) | {"classTitle": 5}, "classTitle is 5, not a class name"),
    ("supervisely", None, "object is null"),
    ("coco", annotation(segmentation=[[1, 1, 2, 2]]), "2 points"),
    ("coco", annotation(segmentation=[[1, 1, NAN, 2, 4, 4]]), "not finite"),
    ("coco", annotation(segmentation=[[1, 1, 2]]), "flat polygons"),
    ("coco", annotation(segmentation={"size": [9, 9], "counts": "a"}), "differs"),
    ("coco", annotation(segmentation={"size": [12, 20], "counts": [-5, 245]}), "negative"),
    ("coco", annotation(segmentation=[], bbox=[1, 1, -4, 3]), "no area"),
    ("coco", annotation(segmentation=[], bbox=[1, 1, "4", 3]), "bbox is '4'"),
    ("coco", annotation(segmentation=None), "neither segmentation nor bbox"),
    ("coco", annotation(category_id=77), "category_id 77"),
    ("coco", annotation(category_id=-1), "category_id -1"),
    ("coco", annotation(category_id=[5]), r"category_id \[5\]"),
    ("coco", annotation(image_id=99), "image_id 99"),
    ("coco", annotation(image_id={}), "image_id {}"),
    ("yolo", "0 0.1 0.1 0.3", "3 numbers after the class"),
    ("yolo", "0 0.1 0.1 nan 0.1 0.3 0.3", "not finite"),
    ("yolo", "0 0.1 0.1 x 0.1 0.3 0.3", "other than numbers"),
    ("yolo", "2 0.1 0.1 0.3 0.1 0.3 0.3", "class 2; the classes are 0 to 1"),
    ("yolo", "-1 0.1 0.1 0.3 0.1 0.3 0.3", "class -1"),
    ("yolo", "0.5 0.1 0.1 0.3 0.1 0.3 0.3", "class 0.5"),
    ("yolo", "0 10 10 30 10 30 30", "they go from 0 to 1"),
]


@pytest.mark.parametrize(("kind", "label", "why"), BAD)
def test_bad_label_is_left_out_and_named(tmp_path, caplog, kind, label, why):
    source = folder(tmp_path, kind)
    document, label_id = replaced(kind, label)
    write(source, document)
    dataset = open_folder(tmp_path)
    (finding,) = dataset.findings.entries
    line = str(finding)
    assert line in caplog.text
    assert str(source) in line and f"label {label_id!r}" in line, line
    assert re.search(why, line), line
    place = [info["name"].endswith("a.jpg") for info in dataset.image_info].index(True)
    assert dataset.load_instances(place).boxes_px.tolist() == [[5, 10, 9, 18]]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "yolo"])
@pytest.mark.parametrize("damage", ["empty", "cut off", "no text", "another document"])
def test_broken_file(tmp_path, kind, damage):
    """An unreadable file raises an error with its name."""
    source = folder(tmp_path, kind, ("a",))
    data = source.read_bytes()
    half = data[: len(data) // 2]
    broken = {"empty": b"", "cut off": half, "no text": b"\xff\xd8\xff\x00 {", "another document": b"[]"}
    source.write_bytes(broken[damage])
    with pytest.raises(InputError) as caught:
        open_folder(tmp_path).load_mask(0)
    assert (str(tmp_path) if damage == "another document" else str(source)) in str(caught.value)
    if kind in TEXT and damage == "cut off":
        assert re.search(r"broken JSON at line 1, column \d+", str(caught.value))


def test_yolo_files(tmp_path):
    """A missing number leaves half a point. An empty file means no objects."""
    source = folder(tmp_path, "yolo", ("a",))
    good = source.read_text()
    write(source, good.rsplit(" ", 1)[0])
    assert ["line 2" in str(finding) for finding in open_folder(tmp_path).findings.entries] == [True]
    write(source, "[]")
    assert "other than numbers: '[]'" in str(open_folder(tmp_path).findings.entries[0])
    write(source, "")
    assert len(open_folder(tmp_path).load_instances(0)) == 0
    source.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match=r"a\.txt: is not a text file"):
        open_folder(tmp_path)


def test_broken_file_beside_good_ones(tmp_path):
    folder(tmp_path, "labelme")
    write(tmp_path / "b.json", '{"version": "5.0.1", "sha')
    with pytest.raises(InputError, match=r"b\.json: broken JSON"):
        open_folder(tmp_path)


@pytest.mark.parametrize("kind", ["via", "via3", "labelme", "isat", "supervisely", "coco"])
def test_missing_image(tmp_path, caplog, kind):
    folder(tmp_path, kind)
    inner = tmp_path / "img" if kind == "supervisely" else tmp_path
    (inner / "a.jpg").unlink()
    dataset = open_folder(tmp_path)
    assert [info["name"].removeprefix("img/") for info in dataset.image_info] == ["b.jpg"]
    (finding,) = dataset.findings.entries
    assert (finding.kind, finding.image) == ("missing image", "a.jpg")
    assert "a.jpg" in caplog.text
    (inner / "b.jpg").unlink()
    with pytest.raises(InputError, match=r"nothing in it can be used.*\(a\.jpg\): no image file"):
        open_folder(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_image_that_is_none(tmp_path, kind, caplog):
    folder(tmp_path, kind)
    path = next(tmp_path.rglob("a.jpg"))
    path.write_bytes(b"no picture")
    dataset = open_folder(tmp_path)
    assert [info["name"].split("/")[-1] for info in dataset.image_info] == ["b.jpg"]
    assert [finding.kind for finding in dataset.findings.entries] == ["unreadable image"]
    assert str(path) in caplog.text


@pytest.mark.parametrize("kind", ["labelme", "isat", "supervisely", "coco"])
def test_size_that_differs(tmp_path, kind):
    folder(tmp_path, kind)
    picture(tmp_path / "img/a.jpg" if kind == "supervisely" else tmp_path / "a.jpg", 24, 40)
    dataset = open_folder(tmp_path)
    assert [info["name"].removeprefix("img/") for info in dataset.image_info] == ["b.jpg"]
    assert "image is 40 x 24, its labels are made for 20 x 12" in str(dataset.findings.entries[0])


@pytest.mark.parametrize("kind", ["masks", "mask folders"])
@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (np.tile(np.uint8([0, 0, 9]), (12, 20, 1)), "is RGB with colours; a mask needs one channel"),
        (np.tile(np.uint8([0, 9, 0, 255]), (12, 20, 1)), "is RGBA with colours"),
        (np.zeros((20, 12), np.uint8), r"is 12 x 20, its image is 20 x 12 \(width x height\)"),
    ],
)
def test_mask_of_another_mode_or_size(tmp_path, kind, pixels, why):
    source = folder(tmp_path, kind)
    cv2.imwrite(str(source), pixels)
    with pytest.raises(InputError, match=why) as caught:
        open_folder(tmp_path).load_instances(0)
    assert str(source) in str(caught.value)


def test_empty_masks_and_images_without(tmp_path):
    source = folder(tmp_path, "masks")
    cv2.imwrite(str(source), id_mask() * 0)
    dataset = open_folder(tmp_path)
    assert [len(dataset.load_instances(i)) for i in dataset.image_ids] == [0, 2]
    source.unlink()
    dataset = open_folder(tmp_path)
    assert [info["name"] for info in dataset.image_info] == ["images/b.jpg"]
    assert [finding.kind for finding in dataset.findings.entries] == ["image without labels"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("names: [leaf", r"broken YAML at line 1, column 13: expected ',' or ']'"),
        ("nc: 2\npath: c: x\nnames: [a]", "broken YAML at line 2, column 8: mapping values"),
        ("names: [a, [b]]", "neither a list of names"),
        ("[a, b]", "has no 'names'"),
        ("nc: 2", "has no 'names'"),
        ("names: []", "no class names"),
        ("names: [a, a]", "comes twice"),
        ("names:\n  leaf", "neither a list"),
        ("names: {0: a, 2: b}", "not 0, 1, 2"),
        ("names:\n  1: a\n  2: b", "not 0, 1, 2"),
    ],
)
def test_yolo_names_that_cannot_be_understood(tmp_path, text, why):
    folder(tmp_path, "yolo")
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(InputError, match=r"need class names: data.yaml with 'names', or classes.txt"):
        open_folder(tmp_path)
    write(tmp_path / "data.yaml", text)
    with pytest.raises(InputError, match=why) as caught:
        open_folder(tmp_path)
    assert str(tmp_path / "data.yaml") in str(caught.value)


def test_folders_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        open_folder(tmp_path / "x")
    write(tmp_path / "file", "x")
    with pytest.raises(InputError, match="is a file"):
        open_folder(tmp_path / "file")
    picture(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="no labels in a known format.*1 images and 0 JSON files"):
        open_folder(tmp_path)
    write(tmp_path / "classes.txt", "a\nb\n")
    cv2.imwrite(str(tmp_path / "a_mask.png"), id_mask())
    with pytest.raises(InputError, match="masks of ids have one class, this file names 2"):
        open_folder(tmp_path)


def test_coco_files_whose_categories_differ(tmp_path):
    folder(tmp_path, "coco")
    other = coco_document(("b",)) | {"categories": [{"id": 1, "name": "tree"}]}
    write(tmp_path / "more.json", other)
    dataset = open_folder(tmp_path)
    assert dataset.class_names == ["BG", "leaf", "stem", "tree"]
    assert "more.json, annotation 0 (b.jpg), label '70': category_id 5 is not among the" in str(
        dataset.findings.entries[0]
    )


def test_coco_mask_of_an_image_without_stated_size(tmp_path):
    folder(tmp_path, "coco")
    document = coco_document()
    for image in document["images"]:
        del image["height"]
    document["annotations"][0]["segmentation"] = {"size": [20, 12], "counts": [0, 240]}
    write(tmp_path / "labels.json", document)
    dataset = open_folder(tmp_path)
    assert "its mask is made for [20, 12] (height, width), the image is (12, 20)" in str(dataset.findings.entries[0])
    assert [len(dataset.load_instances(i)) for i in dataset.image_ids] == [1, 2]


def test_coco_parts_of_the_wrong_type(tmp_path):
    folder(tmp_path, "coco")
    for part in ("images", "annotations", "categories"):
        write(tmp_path / "labels.json", coco_document() | {part: 4})
        with pytest.raises(InputError, match=f"needs a list '{part}'"):
            open_folder(tmp_path)


PLAIN = st.none() | st.booleans() | st.integers(-3, 40) | st.floats() | st.sampled_from(["", "a.jpg", "leaf"])
JSON = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@pytest.mark.parametrize("kind", ["via", "via3", "labelme", "isat", "supervisely", "coco"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_value_anywhere_is_read_or_named(tmp_path_factory, kind, data):
    """If a value of a valid file is replaced, the only error is InputError, and no label is lost silently."""
    root = tmp_path_factory.mktemp("fuzz")
    source = folder(root, kind)
    document = json.loads(source.read_text())
    places: list = []

    def visit(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                visit(node[key])

    visit(document)
    node, key = places[data.draw(st.integers(0, len(places) - 1))]
    node[key] = data.draw(JSON)
    write(source, document)
    try:
        dataset = open_folder(root)
        for image_id in dataset.image_ids:
            dataset.load_mask(image_id)
    except InputError as error:
        assert str(root) in str(error)
