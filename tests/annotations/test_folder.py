"""Folders of images with annotations of every kind: recognised, read, split; masks drawn by hand."""

import base64
import json
import logging

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from mrcnn.annotations.folder import open_folder, recognise, split_of
from mrcnn.errors import InputError
from mrcnn.evaluation.coco_results import category_ids
from mrcnn.evaluation.evaluator import evaluate
from mrcnn.structures.polygons import ellipse
from mrcnn.structures.rle import crop_to_rle
from tests.annotated import (
    HEIGHT,
    KINDS,
    LEAF,
    STEM,
    WIDTH,
    coco_document,
    folder,
    labelme_document,
    masks,
    picture,
    write,
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_masks(tmp_path, kind):
    folder(tmp_path, kind)
    assert recognise(tmp_path) == kind.split()[0].replace("mask", "masks").replace("maskss", "masks")
    dataset = open_folder(tmp_path)
    classes = ["BG", "object"] if "mask" in kind else ["BG", "leaf", "stem"]
    assert dataset.class_names == classes
    assert [info["name"].split("/")[-1] for info in dataset.image_info] == ["a.jpg", "b.jpg"]
    for image_id in dataset.image_ids:
        found, class_ids = dataset.load_mask(image_id)
        np.testing.assert_array_equal(found, masks())
        assert class_ids.tolist() == ([1, 1] if "mask" in kind else [1, 2])
        assert dataset.load_instances(image_id).boxes_px.tolist() == [[1, 2, 4, 6], [5, 10, 9, 18]]
        assert dataset.load_image(image_id).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_splits_are_the_same_every_time(tmp_path, kind, caplog):
    names = tuple(f"i{n}" for n in range(10))
    folder(tmp_path, kind, names)
    with caplog.at_level(logging.INFO):
        train, val = open_folder(tmp_path, "train"), open_folder(tmp_path, "val")
    assert "2 of 10 images are drawn" in caplog.text
    parts = [{info["name"] for info in dataset.image_info} for dataset in (train, val)]
    assert (len(parts[0]), len(parts[1]), parts[0] & parts[1]) == (8, 2, set())
    assert {info["name"] for info in open_folder(tmp_path, "val").image_info} == parts[1]
    assert train.class_names == val.class_names
    with pytest.raises(InputError, match="no images for split 'test'"):
        open_folder(tmp_path, "test")
    assert len(open_folder(tmp_path, limit=3).image_ids) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_folders_of_splits(tmp_path, kind):
    for split, name in (("train", "a"), ("valid", "b")):
        folder(tmp_path / split, kind, (name,))
    if kind == "yolo":
        write(tmp_path / "data.yaml", "train: ../train/images\nnc: 2\nnames: ['leaf', 'stem']\n")
    train, val = open_folder(tmp_path, "train"), open_folder(tmp_path, "val")
    assert [info["name"].split("/")[-1] for info in (*train.image_info, *val.image_info)] == ["a.jpg", "b.jpg"]
    np.testing.assert_array_equal(val.load_mask(0)[0], masks())
    with pytest.raises(InputError, match=r"no images for split 'test'; there are train, val"):
        open_folder(tmp_path, "test")


@pytest.mark.parametrize("kind", ["yolo", "masks", "mask folders"])
def test_splits_inside_of_images_and_labels(tmp_path, kind):
    folder(tmp_path, kind)
    for inner, suffix in (("images", ".jpg"), ("labels", ".txt"), ("masks", ".png"), ("masks", "")):
        for split, name in (("train2017", "a"), ("val2017", "b")):
            path = tmp_path / inner / f"{name}{suffix}"
            if path.exists():
                (path.parent / split).mkdir(exist_ok=True)
                path.rename(path.parent / split / path.name)
    for split, name in (("train", "a"), ("val", "b")):
        dataset = open_folder(tmp_path, split)
        assert [info["name"].split("/")[-1] for info in dataset.image_info] == [f"{name}.jpg"]
        np.testing.assert_array_equal(dataset.load_mask(0)[0], masks())


def test_names_of_splits():
    assert split_of(("images", "train2017")) == split_of(("stage1_train",)) == "train"
    assert split_of(("annotations", "instances_val2017")) == split_of(("valid",)) == "val"
    assert split_of(("training-course", "x")) == "train"
    assert split_of(("trains", "evaluation", "latest")) is None


# VIA


def via(tmp_path, *regions, project=False):
    picture(tmp_path / "a.jpg", 40, 40)
    entries = {"a.jpg1": {"filename": "a.jpg", "size": 1, "regions": list(regions)}}
    write(tmp_path / "v.json", {"_via_settings": {}, "_via_img_metadata": entries} if project else entries)
    return open_folder(tmp_path)


def region(attributes=None, **shape):
    return {"shape_attributes": shape, "region_attributes": attributes or {}}


def test_via_circle_and_turned_ellipse(tmp_path):
    """Pixels whose centres lie inside, but for those within a twentieth of a pixel and the rasteriser's fifth."""
    dataset = via(
        tmp_path,
        region(name="circle", cx=20, cy=18, r=9.5),
        region(name="ellipse", cx=20, cy=20, rx=15, ry=6, theta=0.5),
        project=True,
    )
    assert dataset.class_names == ["BG", "object"]
    y, x = np.mgrid[:40, :40] + 0.5
    circle = (x - 20) ** 2 + (y - 18) ** 2
    u, v = (x - 20) * np.cos(0.5) + (y - 20) * np.sin(0.5), (y - 20) * np.cos(0.5) - (x - 20) * np.sin(0.5)
    found = dataset.load_mask(0)[0]
    assert found[circle < 9.1**2, 0].all()
    assert not found[circle > 9.9**2, 0].any()
    assert found[(u / 14.6) ** 2 + (v / 5.6) ** 2 < 1, 1].all()
    assert not found[(u / 15.4) ** 2 + (v / 6.4) ** 2 > 1, 1].any()


def test_via_1_has_regions_by_number_and_polylines_close(tmp_path):
    picture(tmp_path / "a.jpg", HEIGHT, WIDTH)
    x, y = zip(*LEAF, strict=True)
    regions = {"0": region({"kind": "leaf"}, name="polyline", all_points_x=x, all_points_y=y)}
    write(tmp_path / "v.json", {"a.jpg1": {"filename": "a.jpg", "fileref": "", "regions": regions}})
    dataset = open_folder(tmp_path)
    assert dataset.class_names == ["BG", "leaf"]
    np.testing.assert_array_equal(dataset.load_mask(0)[0][..., 0], masks()[..., 0])


def test_via_classes_of_every_kind_of_attribute(tmp_path):
    box = {"name": "rect", "x": 1, "y": 1, "width": 5, "height": 5}
    dataset = via(
        tmp_path,
        *(
            region({"quality": "good", "Type": value}, **box)
            for value in ("cat", {"dog": True, "cat": False}, 7, " cat ")
        ),
    )
    assert dataset.class_names == ["BG", "7", "cat", "dog"]
    assert dataset.load_instances(0).class_ids.tolist() == [2, 3, 1, 2]
    with pytest.raises(InputError, match="attributes colour, quality, and none is called 'class'"):
        via(tmp_path, region({"quality": "good", "colour": "red"}, **box))


def test_ellipse_stays_within_the_tolerance():
    for radius in (0.3, 3, 50, 2000):
        points = ellipse(0, 0, radius, radius)
        middles = (points + np.roll(points, 1, axis=0)) / 2
        assert np.allclose(np.hypot(*points.T), radius)
        assert radius - np.hypot(*middles.T).min() <= 0.0501 + 0.05 * (radius < 1)


# labelme


def test_labelme_groups_circles_masks_and_names_that_are_no_classes(tmp_path):
    picture(tmp_path / "photos/a.jpg")
    document = labelme_document("x")
    document["imagePath"] = "..\\photos\\a.jpg"
    crop = np.array([[255, 0], [255, 255]], np.uint8)
    text = base64.b64encode(cv2.imencode(".png", crop)[1].tobytes()).decode()
    document["shapes"] = [
        {"label": "leaf", "points": LEAF, "shape_type": "polygon", "group_id": 1},
        {"label": "leaf", "points": STEM, "shape_type": "polygon", "group_id": 1},
        {"label": "_background_", "points": LEAF, "shape_type": "polygon"},
        {"label": "stem", "points": [[5, 6], [5, 8]], "shape_type": "circle", "group_id": 1},
        {"label": "bud", "points": [[15, 1], [16, 2]], "shape_type": "mask", "mask": text, "group_id": None},
    ]
    write(tmp_path / "json/a.json", document)
    dataset = open_folder(tmp_path)
    assert dataset.class_names == ["BG", "bud", "leaf", "stem"]
    found, class_ids = dataset.load_mask(0)
    assert class_ids.tolist() == [2, 3, 1]
    np.testing.assert_array_equal(found[..., 0], masks().any(2))
    assert found[4:8, 3:7, 1].sum() == found[..., 1].sum() == 12  # radius 2: a square of 4 without its corners
    np.testing.assert_array_equal(np.argwhere(found[..., 2]), [[1, 15], [2, 15], [2, 16]])


# COCO


def test_coco_keeps_its_ids_crowds_and_run_lengths(tmp_path):
    folder(tmp_path, "coco")
    document = coco_document()
    document["annotations"][1] |= {
        "segmentation": {"size": [12, 20], "counts": [125, 4] + [8, 4] * 7 + [27]},
        "iscrowd": 1,
    }
    write(tmp_path / "labels.json", document)
    dataset = open_folder(tmp_path)
    found, class_ids = dataset.load_mask(0)
    np.testing.assert_array_equal(found, masks())
    assert class_ids.tolist() == [1, -2]
    assert category_ids(dataset) == [0, 5, 9]
    assert [info["coco_id"] for info in dataset.image_info] == [0, 1]


def test_coco_layout_as_downloaded(tmp_path):
    for split, name in (("train", "a"), ("val", "b")):
        picture(tmp_path / f"{split}2017/{name}.jpg")
        write(tmp_path / f"annotations/instances_{split}2017.json", coco_document((name,)))
        keypoints = coco_document((name,)) | {"categories": [{"id": 1, "name": "person"}]}
        write(tmp_path / f"annotations/person_keypoints_{split}2017.json", keypoints)
    assert [info["name"] for info in open_folder(tmp_path, "val").image_info] == ["val2017/b.jpg"]
    assert [info["name"] for info in open_folder(tmp_path, "train").image_info] == ["train2017/a.jpg"]


def test_boxes_serve_only_when_asked_for(tmp_path):
    folder(tmp_path, "coco")
    document = coco_document()
    for annotation in document["annotations"]:
        annotation |= {"segmentation": [], "bbox": [2, 1, 4, 3]}
    write(tmp_path / "labels.json", document)
    with pytest.raises(InputError, match="all 4 objects are boxes without masks"):
        open_folder(tmp_path)
    found = open_folder(tmp_path, rectangles_as_masks=True).load_mask(0)[0]
    np.testing.assert_array_equal(found[..., 0], masks()[..., 0])


def test_evaluation_of_perfect_predictions(tmp_path):
    folder(tmp_path, "coco")
    dataset = open_folder(tmp_path)
    predictions = []
    for image_id in dataset.image_ids:
        instances = dataset.load_instances(image_id)
        for class_id, box, crop in zip(instances.class_ids, instances.boxes_px.tolist(), instances.crops, strict=True):
            predictions.append(
                {
                    "image_id": int(image_id),
                    "category_id": {1: 5, 2: 9}[int(class_id)],
                    "score": 0.9,
                    "segmentation": crop_to_rle(box, crop, (HEIGHT, WIDTH)),
                }
            )
    result = evaluate(predictions, dataset)
    assert (result.mask.AP, result.box.AP, sorted(result.per_class)) == (1.0, 1.0, ["leaf", "stem"])


# YOLO


@pytest.mark.parametrize(
    "text",
    [
        "names: [leaf, 'stem']",
        "names:\n  0: leaf\n  1: stem\nnc: 2",
        'names:\n- leaf  # green\n- "stem"\ntrain: x',
        "path: x\nnames: {1: stem, 0: leaf}",
        "nc: 2\nnames: [\n  leaf,\n  stem,\n]\n",
    ],
)
def test_yolo_names_in_every_way_of_writing(tmp_path, text):
    folder(tmp_path, "yolo")
    (tmp_path / "classes.txt").unlink()
    write(tmp_path / "data.yaml", text)
    assert open_folder(tmp_path).class_names == ["BG", "leaf", "stem"]


@pytest.mark.parametrize(
    "text",
    [
        "names: ['rider''s bag', \"a # b\"]",
        "names:\n  - rider's bag  # a comment\n  - 'a # b'",
        'names: {"1": "a # b", 0: "rider\\x27s bag"}',
        'names:\n  0: >-\n    rider\'s\n    bag\n  1: "a # b"',
        "\ufeffnames: [\"rider's bag\", 'a # b']",
    ],
)
def test_yolo_names_with_quotes_and_escapes(tmp_path, text):
    folder(tmp_path, "yolo")
    (tmp_path / "classes.txt").unlink()
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
    assert open_folder(tmp_path).class_names == ["BG", "rider's bag", "a # b"]


@pytest.mark.parametrize("names", [("no", "on"), ("1.0", "1e3"), ("null", "~"), ("2020-01-01", "0x10")])
def test_yolo_names_stay_text_as_written(tmp_path, names):
    """YAML would make truth values, numbers and dates of these."""
    folder(tmp_path, "yolo")
    (tmp_path / "classes.txt").unlink()
    write(tmp_path / "data.yaml", f"names: [{', '.join(names)}]")
    assert open_folder(tmp_path).class_names == ["BG", *names]


def test_yolo_boxes_and_images_without_text(tmp_path):
    folder(tmp_path, "yolo")
    picture(tmp_path / "images/c.jpg")
    write(tmp_path / "labels/b.txt", f"0 {4 / WIDTH} {2.5 / HEIGHT} {4 / WIDTH} {3 / HEIGHT}\n")
    dataset = open_folder(tmp_path, rectangles_as_masks=True)
    assert [len(dataset.load_instances(i)) for i in dataset.image_ids] == [2, 1, 0]
    np.testing.assert_array_equal(dataset.load_mask(1)[0][..., 0], masks()[..., 0])
    assert [len(open_folder(tmp_path).load_instances(i)) for i in range(3)] == [2, 0, 0]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=7))
def test_yolo_polygons_fill_as_pycocotools_fills_them(tmp_path_factory, points):
    root = tmp_path_factory.mktemp("yolo")
    folder(root, "yolo", ("a",))
    write(root / "labels/a.txt", "1 " + " ".join(repr(float(v)) for point in points for v in point))
    found = open_folder(root).load_mask(0)[0]
    flat = (np.array(points) * (WIDTH, HEIGHT)).ravel().tolist()
    expected = coco.decode(coco.frPyObjects([flat], HEIGHT, WIDTH)[0]).astype(bool)
    np.testing.assert_array_equal(found.any(2), expected)


# Masks


def test_nucleus_layout(tmp_path):
    """One folder per image: ID/images/ID.png and ID/masks/*.png."""
    for split, name in (("stage1_train", "a1"), ("stage1_train", "a2"), ("stage1_test", "b1")):
        root = tmp_path / split / name
        picture(root / f"images/{name}.png")
        (root / "masks").mkdir()
        for i in range(2):
            cv2.imwrite(str(root / f"masks/{i}ff.png"), masks()[..., i].astype(np.uint8) * 255)
    dataset = open_folder(tmp_path, "test")
    np.testing.assert_array_equal(dataset.load_mask(0)[0], masks())
    assert len(open_folder(tmp_path, "train").image_ids) + len(open_folder(tmp_path, "val").image_ids) == 2


def test_mask_beside_its_image_and_a_class_name(tmp_path):
    picture(tmp_path / "a.png")
    cv2.imwrite(str(tmp_path / "a_mask.png"), np.eye(HEIGHT, WIDTH, dtype=np.uint8) * 255)
    write(tmp_path / "classes.txt", "streak\n")
    dataset = open_folder(tmp_path)
    assert (dataset.class_names, len(dataset.image_ids)) == (["BG", "streak"], 1)
    np.testing.assert_array_equal(dataset.load_mask(0)[0][..., 0], np.eye(HEIGHT, WIDTH, dtype=bool))


def test_real_coco_photographs(shared_data):
    dataset = open_folder(shared_data / "coco128")
    truth = json.loads((shared_data / "coco128/instances.json").read_text())
    assert dataset.class_names[1:] == [entry["name"] for entry in truth["categories"]]
    assert len(dataset.image_ids) == 128
    assert sum(len(info["annotated"].objects) for info in dataset.image_info) == len(truth["annotations"]) == 929
    for image_id in range(0, 128, 16):
        info = dataset.image_info[image_id]
        own = [a for a in truth["annotations"] if a["image_id"] == info["coco_id"]]
        expected = [
            coco.decode(coco.merge(coco.frPyObjects(a["segmentation"], info["height"], info["width"]))) for a in own
        ]
        found, class_ids = dataset.load_mask(image_id)
        np.testing.assert_array_equal(found, np.stack(expected, -1).astype(bool))
        assert class_ids.tolist() == [a["category_id"] for a in own]
