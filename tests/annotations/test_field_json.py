"""JSON files of labelme, VIA 3, ISAT and Supervisely as people have them; masks worked out by hand."""

import base64
import io
import math
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from mrcnn.annotations.folder import open_folder, recognise
from mrcnn.errors import InputError
from tests.annotated import (
    HEIGHT,
    LEAF,
    STEM,
    WIDTH,
    isat_document,
    labelme_document,
    masks,
    picture,
    supervisely_document,
    via3_document,
    write,
)
from tests.field_cases import field_case

BOTH = masks().any(2)


@pytest.mark.parametrize(
    ("name", "image", "areas"),
    [
        ("lm_mask_group", "i0.png", [342]),  # two masks of 11 x 11 px and a polygon of 10 x 10
        ("lm_oriented", "i0.png", [100, 100, 100]),
        ("via3", "i0.png", [100]),
        ("isat", "i0.png", [100]),
        ("supervisely", "ds/img/i0.png", [100]),
    ],
)
def test_cases_from_the_field(tmp_path, name, image, areas):
    root = field_case(tmp_path, name, image)
    dataset = open_folder(root)
    assert recognise(root) == ("labelme" if name.startswith("lm") else name)
    assert dataset.class_names == ["BG", "leaf"]
    assert not dataset.findings.entries
    found, _ = dataset.load_mask(0)
    assert found.sum((0, 1)).tolist() == areas
    assert found[2:12, 2:12].any(2).all()


def png_text(crop):
    return base64.b64encode(cv2.imencode(".png", crop)[1].tobytes()).decode()


def loaded(tmp_path, document, name="a.json"):
    """The full masks and class names of the objects of one image a.jpg."""
    picture(tmp_path / "a.jpg")
    write(tmp_path / name, document)
    dataset = open_folder(tmp_path)
    assert not dataset.findings.entries
    found, class_ids = dataset.load_mask(0)
    return [found[..., i] for i in range(found.shape[2])], [dataset.class_names[i] for i in class_ids]


# labelme


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_labelme_masks_and_polygons_of_a_group(tmp_path, order):
    crop = np.array([[255, 0, 255], [255, 255, 255]], np.uint8)
    parts = [
        {"points": LEAF, "shape_type": "polygon"},
        {"points": [[15, 1], [17, 2]], "shape_type": "mask", "mask": png_text(crop)},
        {"points": [[10, 5], [18, 9]], "shape_type": "rectangle"},
    ]
    shapes = [{"label": " leaf", "group_id": 3, **parts[i]} for i in order]
    shapes.insert(1, {"label": "leaf", "group_id": None, **parts[0]})
    shapes.append({"label": "stem", "group_id": 3, **parts[2]})
    found, names = loaded(tmp_path, labelme_document("a") | {"shapes": shapes})
    expected = BOTH.copy()
    expected[1:3, 15:18] |= crop > 0
    assert names == ["leaf", "leaf", "stem"]
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_array_equal(found[1], masks()[..., 0])
    np.testing.assert_array_equal(found[2], masks()[..., 1])


def test_labelme_mask_over_the_border_is_cut_off(tmp_path):
    crop = np.full((4, 4), 255, np.uint8)
    shapes = [
        {"label": "leaf", "points": [[-2.2, -1], [1.4, 2]], "shape_type": "mask", "mask": png_text(crop)},
        {"label": "leaf", "points": [[18, 10], [21, 13]], "shape_type": "mask", "mask": png_text(crop)},
    ]
    found, _ = loaded(tmp_path, labelme_document("a") | {"shapes": shapes})
    expected = np.zeros((2, HEIGHT, WIDTH), bool)
    expected[0, :3, :2] = expected[1, 10:, 18:] = True
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("form", ["oriented_rectangle", "rotation", "quadrilateral", "polygon", "rectangle", None])
def test_labelme_shapes_of_four_corners(tmp_path, form):
    corners = [[10, 2], [14, 6], [10, 10], [6, 6]]
    shape = {"label": "leaf", "points": corners, "shape_type": form, "direction": 0.7}
    found, _ = loaded(tmp_path, labelme_document("a") | {"shapes": [shape]})
    expected = coco.decode(coco.frPyObjects([np.ravel(corners).tolist()], HEIGHT, WIDTH)[0]).astype(bool)
    np.testing.assert_array_equal(found[0], expected)


# VIA 3


def via3_region(tmp_path, *xy, classes=None):
    document = via3_document(("a",))
    document["metadata"] = {"1_x": {"vid": "1", "flg": 0, "z": [], "xy": list(xy), "av": classes or {"1": "0"}}}
    return loaded(tmp_path, document)


def test_via3_shapes(tmp_path):
    for xy, expected in (
        ((6, *np.ravel(LEAF).tolist()), LEAF),
        ((8, 10, 7, 12, 5, 18, 6, 11, 9), STEM),  # points on the left, upper, right and lower edge
    ):
        found, names = via3_region(tmp_path, *xy)
        assert names == ["stem"]
        np.testing.assert_array_equal(found[0], masks()[..., 0 if expected is LEAF else 1])
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    circle = (x - 8) ** 2 + (y - 6) ** 2
    for xy in ((3, 8, 6, 4), (9, 4, 6, 8, 2, 12, 6)):
        found, _ = via3_region(tmp_path, *xy)
        assert found[0][circle < 3.6**2].all()
        assert not found[0][circle > 4.4**2].any()
    found, _ = via3_region(tmp_path, 4, 8, 6, 6, 3)
    oval = ((x - 8) / 6) ** 2 + ((y - 6) / 3) ** 2
    assert found[0][oval < 0.8].all()
    assert not found[0][oval > 1.2].any()


def test_via3_class_is_a_choice_or_text(tmp_path):
    document = via3_document(("a",))
    assert loaded(tmp_path, document)[1] == ["leaf", "stem"]
    document["attribute"]["1"] |= {"type": 1, "options": {}}
    for region, name in zip(document["metadata"].values(), ("", "bud", "bud"), strict=True):
        region["av"] = {"1": name, "3": "unsure"}
    document["attribute"]["3"] = {"aname": "note", "anchor_id": "FILE1_Z0_XY1", "type": 1}
    assert loaded(tmp_path, document)[1] == ["bud", "bud"]
    document["attribute"]["1"]["aname"] = "colour"
    with pytest.raises(InputError, match="attributes colour, note, and none is called 'class'"):
        loaded(tmp_path, document)
    for region in document["metadata"].values():
        region["av"] = {}
    assert loaded(tmp_path, document)[1] == ["object", "object"]


def test_via3_images_in_folders_and_what_is_no_image(tmp_path):
    document = via3_document(("a", "b", "c", "d"))
    for i, source in enumerate(("x/a.jpg", "y/a.jpg"), 1):
        picture(tmp_path / source)
        document["file"][str(i)] |= {"fname": "a.jpg", "loc": 3, "src": source}
    document["file"]["3"]["type"] = 4  # a video
    document["view"]["4"]["fid_list"] = [1, 2]  # a pair of images
    document["metadata"]["9_x"] = {"vid": "9", "xy": [2, 1, 1, 3, 3], "av": {"1": "0"}}
    write(tmp_path / "via.json", document)
    dataset = open_folder(tmp_path)
    assert [info["name"] for info in dataset.image_info] == ["x/a.jpg", "y/a.jpg"]
    assert [len(dataset.load_instances(i)) for i in (0, 1)] == [2, 2]
    assert [(f.kind, f.place) for f in dataset.findings.entries] == [
        ("unusable frame", "entry '3'"),
        ("unusable frame", "entry '4'"),
        ("unusable frame", "entry '9'"),
    ]


# ISAT


def test_isat_groups_crowds_and_holes(tmp_path):
    """A background cuts into lower layers only; group 0 is none."""
    document = isat_document("a")
    leaf, stem = document["objects"]
    document["objects"] = [
        leaf | {"group": 5},
        stem | {"group": 5, "category": "leaf"},
        {"category": "__background__", "group": 9, "segmentation": [[2, 1], [4, 1], [4, 4], [2, 4]], "layer": 2.0},
        stem | {"group": 0},
        stem | {"group": 0, "iscrowd": True},
        stem | {"group": 5, "layer": 3.0, "iscrowd": True},
        leaf | {"group": None, "layer": 2.0},
    ]
    picture(tmp_path / "a.jpg")
    write(tmp_path / "a.json", document)
    dataset = open_folder(tmp_path)
    found, class_ids = dataset.load_mask(0)
    assert dataset.class_names == ["BG", "leaf", "stem"]
    assert class_ids.tolist() == [1, 2, -2, -2, 1]
    cut = BOTH.copy()
    cut[1:4, 2:4] = False
    np.testing.assert_array_equal(found[..., 0], cut)
    np.testing.assert_array_equal(found[..., 3], masks()[..., 1])
    np.testing.assert_array_equal(found[..., 4], masks()[..., 0])


def test_isat_object_under_a_background_is_left_out_and_named(tmp_path):
    document = isat_document("a")
    document["objects"].append({"category": "__background__", "segmentation": STEM, "layer": 2.0})
    picture(tmp_path / "a.jpg")
    write(tmp_path / "a.json", document)
    dataset = open_folder(tmp_path)
    assert dataset.class_names == ["BG", "leaf"]
    assert [(f.kind, f.label) for f in dataset.findings.entries] == [("no area", "1")]


# Supervisely


def supervisely(tmp_path, *objects):
    picture(tmp_path / "train/img/a.jpg")
    document = supervisely_document() | {"objects": [{"classTitle": "leaf", **entry} for entry in objects]}
    write(tmp_path / "train/ann/a.jpg.json", document)
    dataset = open_folder(tmp_path)
    assert not dataset.findings.entries
    found, _ = dataset.load_mask(0)
    return [found[..., i] for i in range(found.shape[2])]


HOLE = [[12, 6], [14, 6], [14, 8], [12, 8]]


def holed():
    expected = masks()[..., 1].copy()
    expected[6:8, 12:14] = False
    return expected


def test_supervisely_holes_and_parts(tmp_path):
    stem = {"exterior": STEM, "interior": [HOLE]}
    island = {"exterior": [[13, 6], [14, 6], [14, 7], [13, 7]], "interior": []}
    found = supervisely(
        tmp_path,
        {"geometryType": "polygon", "points": stem},
        {"geometryType": "multipolygon", "parts": [stem, island, {"exterior": LEAF}]},
        {"geometryType": "polygon", "points": {"exterior": LEAF, "interior": []}, "instance": "f0"},
        {"geometryType": "rectangle", "points": {"exterior": [[18, 5], [10, 9]], "interior": []}, "instance": "f0"},
    )
    np.testing.assert_array_equal(found[0], holed())
    several = holed() | masks()[..., 0]
    several[6, 13] = True
    np.testing.assert_array_equal(found[1], several)
    np.testing.assert_array_equal(found[2], BOTH)
    assert len(found) == 3


@pytest.mark.parametrize("mode", ["gray", "transparent", "palette", "plain"])
def test_supervisely_bitmaps(tmp_path, mode):
    """As its labelling tool writes them (transparent), its library (a palette), and not compressed (alpha masks)."""
    crop = holed()[5:9, 10:18]
    if mode == "transparent":
        image = Image.fromarray(np.concatenate([np.full((4, 8, 3), 255), crop[..., None] * 255], 2).astype(np.uint8))
    else:
        image = Image.fromarray(crop.astype(np.uint8) * (1 if mode == "palette" else 255))
    if mode == "palette":
        image.putpalette([0, 0, 0, 255, 255, 255])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **({"transparency": 0} if mode == "palette" else {}))
    data = buffer.getvalue() if mode == "plain" else zlib.compress(buffer.getvalue())
    bitmap = {"data": base64.b64encode(data).decode(), "origin": [10, 5]}
    form = "alpha_mask" if mode == "plain" else "bitmap"
    (found,) = supervisely(tmp_path, {"geometryType": form, form: bitmap})
    np.testing.assert_array_equal(found, holed())


def test_supervisely_turned_box(tmp_path):
    """A box of 8 x 4 px around (10, 6), turned by a quarter: 4 x 8 px."""
    points = [[6, 4], [14, 8]]
    found = supervisely(
        tmp_path,
        {"geometryType": "oriented_bbox", "points": points, "angle": math.pi / 2},
        {"geometryType": "oriented_bbox", "points": points, "angle": math.atan2(3, 4)},
    )
    upright = np.zeros((HEIGHT, WIDTH), bool)
    upright[2:10, 8:12] = True
    np.testing.assert_array_equal(found[0], upright)
    # clockwise on the screen by 3 : 4; the half sides are 4 along (0.8, 0.6) and 2 along (-0.6, 0.8)
    corners = [[8, 2], [14.4, 6.8], [12, 10], [5.6, 5.2]]
    expected = coco.decode(coco.frPyObjects([np.ravel(corners).tolist()], HEIGHT, WIDTH)[0]).astype(bool)
    assert (found[1] != expected).sum() <= 1  # a rounded corner


def test_supervisely_same_names_in_two_datasets(tmp_path):
    for name, shape in (("one", LEAF), ("two", STEM)):
        picture(tmp_path / name / "img/a.jpg")
        entry = {"classTitle": name, "geometryType": "polygon", "points": {"exterior": shape}}
        write(tmp_path / name / "ann/a.jpg.json", supervisely_document() | {"objects": [entry]})
    dataset = open_folder(tmp_path)
    assert [info["name"] for info in dataset.image_info] == ["one/img/a.jpg", "two/img/a.jpg"]
    for image_id in (0, 1):
        np.testing.assert_array_equal(dataset.load_mask(image_id)[0][..., 0], masks()[..., image_id])
