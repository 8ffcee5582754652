"""Invalid labels and folders: an error names the file and the place, or the label is dropped and reported."""

import json
import re

import cv2
import numpy as np
import pytest

from bdd100k.dataset import BDD100KDataset
from bdd100k.labels.load import CLASSES, load_labels
from mrcnn.annotations.object_masks import to_instances, visible_masks
from mrcnn.errors import InputError

SQUARE = {"vertices": [[2.0, 1.0], [6.0, 1.0], [6.0, 4.0], [2.0, 4.0]], "types": "LLLL", "closed": True}
GOOD = {"id": "good", "category": "bus", "poly2d": [SQUARE]}
RLE = {"size": [8, 10], "counts": [17, 3, 5, 3, 5, 3, 5, 3, 36]}


def frames(*labels, name="a.jpg"):
    return [{"name": name, "size": {"width": 10, "height": 8}, "labels": list(labels)}]


def write(path, document):
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def instances_of(image):
    return to_instances(image.objects, visible_masks(image), {name: number for number, name in CLASSES})


def photo(path, height=8, width=10):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))


# One label


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ({"poly2d": [{**SQUARE, "vertices": [[1, 1], [2, 2]], "types": "LL"}]}, "2 points"),
        ({"poly2d": [{**SQUARE, "vertices": [[1, 1], [2, float("nan")], [3, 1], [4, 4]]}]}, "not finite"),
        ({"poly2d": [{**SQUARE, "vertices": [[1, 1], [2, float("inf")], [3, 1], [4, 4]]}]}, "not finite"),
        ({"poly2d": [{**SQUARE, "vertices": [[1, 1], [2, 1], [3, 1], [4, -4e9]]}]}, "coordinate of -4e"),
        ({"poly2d": [{**SQUARE, "vertices": [[1, 1], ["b", 2], [3, 1], [4, 4]]}]}, "not numbers"),
        ({"poly2d": [{**SQUARE, "vertices": [[1, 1], [2], [3, 1], [4, 4]]}]}, "not numbers"),
        ({"poly2d": [{**SQUARE, "vertices": []}]}, "not numbers|points"),
        ({"poly2d": [{"types": "LLLL"}]}, "without a list of vertices"),
        ({"poly2d": [{**SQUARE, "types": "LL"}]}, "one letter L or C for each"),
        ({"poly2d": [{**SQUARE, "types": "LQLL"}]}, "one letter L or C for each"),
        ({"poly2d": [{**SQUARE, "closed": False}]}, "no closed path"),
        ({"poly2d": {"vertices": []}}, "not a list of paths"),
        ({"rle": {"size": [10, 8], "counts": RLE["counts"]}}, r"\[10, 8\] differs from the image's .* \[8, 10\]"),
        ({"rle": {"size": [8, 10], "counts": [17, 3, 5]}}, "cover 25 pixels"),
        ({"rle": {"size": [8, 10], "counts": [17, -3, 66]}}, "negative"),
        ({"rle": {"size": [8, 10], "counts": [80]}}, "rle is empty"),
        ({"rle": {"size": [8, 10], "counts": "~~~"}}, "compressed form"),
        ({"rle": {"size": [8, 10], "counts": "oooooooooooo"}}, "compressed form"),
        ({"rle": {"size": [8, 10], "counts": "\u00e4"}}, "compressed form"),
        ({"rle": {"size": [8, 10], "counts": 4}}, "counts are int"),
        ({"rle": {"size": [8, 10], "counts": [1.5, 78.5]}}, "not whole numbers"),
        ({"rle": {"size": 80, "counts": "a"}}, r"not \[height, width\]"),
        ({"rle": {"counts": "a"}}, "needs 'size' and 'counts'"),
        ({"box2d": {"x1": 1, "y1": 1, "x2": 0, "y2": 5}}, "not a box"),
        ({"box2d": {"x1": 1, "y1": 1}}, "needs numbers"),
        ({"box2d": {"x1": 1, "y1": float("nan"), "x2": 3, "y2": 5}}, "not a box"),
        ({}, "none of rle, poly2d and box2d"),
        ({"category": None}, "category is null"),
        ({"category": 3}, "category is int"),
    ],
)
def test_bad_label_is_dropped_and_named(tmp_path, caplog, label, why):
    path = write(tmp_path / "l.json", frames({"id": "bad-7", "category": "car", **label}, GOOD))
    labels = load_labels(path)
    assert [kept.id for kept in labels.images[0].objects] == ["good"]
    (line,) = map(str, labels.findings.entries)
    assert str(path) in line and "a.jpg" in line and "bad-7" in line
    assert re.search(why, line), line
    assert line in caplog.text


@pytest.mark.parametrize("label", [None, "car", 3, ["car"]])
def test_label_that_is_no_object(tmp_path, label):
    labels = load_labels(write(tmp_path / "l.json", frames(label, GOOD)))
    assert [kept.id for kept in labels.images[0].objects] == ["good"]
    assert len(labels.findings.entries) == 1


@pytest.mark.parametrize(
    "vertices",
    [
        [[1, 1], [1, 1], [1, 1]],
        [[1, 1], [5, 1], [9, 1]],
        [[50, 50], [60, 50], [60, 60]],
        [[-9, -9], [-5, -9], [-5, -5]],
    ],
)
def test_polygon_without_pixels_is_left_out(tmp_path, vertices):
    thin = {"id": 1, "category": "car", "poly2d": [{"vertices": vertices, "types": "LLL", "closed": True}]}
    (frame,) = load_labels(write(tmp_path / "l.json", frames(thin, GOOD))).images
    instances = instances_of(frame)
    assert instances.class_ids.tolist() == [5]
    assert instances.boxes_px.tolist() == [[1, 2, 4, 6]]


def test_polygon_beyond_the_image_is_cut(tmp_path):
    wide = {"vertices": [[-5, -5], [50, -5], [50, 50], [-5, 50]], "types": "LLLL", "closed": True}
    (frame,) = load_labels(write(tmp_path / "l.json", frames({"id": 1, "category": "car", "poly2d": [wide]}))).images
    instances = instances_of(frame)
    assert instances.boxes_px.tolist() == [[0, 0, 8, 10]]
    assert instances.crops[0].all()


def test_many_bad_labels_are_counted_in_one_line(tmp_path, caplog):
    bad = [{"id": i, "category": "car"} for i in range(25)]
    labels = load_labels(write(tmp_path / "l.json", frames(*bad, GOOD)))
    assert len(labels.findings.entries) == 25
    assert "left out 15 more" in caplog.text
    assert len(caplog.records) < 15


# One frame


@pytest.mark.parametrize("frame", [None, 5, {"labels": []}, {"name": 3}, {"name": "b.jpg", "labels": {"id": 1}}])
def test_bad_frame_is_dropped_and_named(tmp_path, frame):
    labels = load_labels(write(tmp_path / "l.json", [*frames(GOOD), frame]))
    assert [kept.name for kept in labels.images] == ["a.jpg"]
    assert "frame 1" in str(labels.findings.entries[0])


def test_frame_that_comes_twice(tmp_path):
    labels = load_labels(write(tmp_path / "l.json", frames(GOOD) + frames(GOOD)))
    assert len(labels.images) == 1
    assert "came before" in str(labels.findings.entries[0])


def test_size_of_the_image_must_be_known(tmp_path):
    document = frames(GOOD)
    del document[0]["size"]
    with pytest.raises(InputError, match=r"a\.jpg: the image size is not known"):
        instances_of(load_labels(write(tmp_path / "l.json", document)).images[0])


# COCO


def coco(*annotations, **parts):
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 8, "width": 10}],
        "categories": [{"id": 3, "name": "car"}],
        "annotations": [{"id": 70 + i, "image_id": 1, "category_id": 3, **a} for i, a in enumerate(annotations)],
    }
    return {**document, **parts}


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        ({"image_id": 9, "segmentation": RLE}, "image_id 9"),
        ({"category_id": 4, "segmentation": RLE}, "category_id 4"),
        ({"segmentation": [[1, 1, 2]]}, "flat polygons"),
        ({"segmentation": [[1, 1, 2, 2]]}, "2 points"),
        ({"segmentation": [[[1, 1], [2, 2], [3, 1]]]}, "flat polygons|not numbers"),
        ({"segmentation": {"size": [9, 9], "counts": "a"}}, "differs"),
        ({"segmentation": []}, "neither"),
    ],
)
def test_bad_annotation(tmp_path, annotation, why):
    labels = load_labels(write(tmp_path / "c.json", coco({"segmentation": RLE}, annotation)))
    assert [label.id for label in labels.images[0].objects] == ["70"]
    (line,) = map(str, labels.findings.entries)
    assert "71" in line and re.search(why, line), line


def test_bad_coco_files(tmp_path):
    for document, why in [
        (coco(categories=[]), "none of its categories has an 'id'"),
        (coco(annotations=None), "list 'annotations'"),
        (coco(images={}), "list 'images'"),
        (coco(images=[]), "nothing in it can be used"),
    ]:
        with pytest.raises(InputError, match=why):
            load_labels(write(tmp_path / "c.json", document))


# Whole files


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1, column 1"),
        ('[{"name": "a.jpg",\n "labels": [', "line 2, column"),
        ("[1, 2,", "broken JSON"),
        ("[]", "no frames"),
        ("{}", "holds a dict"),
        ("3", "holds a int"),
        ('"text"', "Labels are a list of frames"),
        ('{"frames": 4}', "Labels are a list"),
        ("[1, 2]", "frame 0: frame is int"),
        ('[{"image_id": 1, "category_id": 1, "segmentation": {}, "score": 0.5}]', "COCO results"),
    ],
)
def test_unusable_file_raises_with_its_place(tmp_path, text, why):
    path = write(tmp_path / "l.json", text)
    with pytest.raises(InputError, match=why) as caught:
        load_labels(path)
    assert str(path) in str(caught.value)


def test_file_that_is_no_text(tmp_path):
    (tmp_path / "l.json").write_bytes(b"\xff\xd8\xff\xe0 a photograph")
    with pytest.raises(InputError, match="UTF-8"):
        load_labels(tmp_path / "l.json")


def test_missing_file_and_empty_folder(tmp_path):
    with pytest.raises(InputError, match="no such label file"):
        load_labels(tmp_path / "none.json")
    with pytest.raises(InputError, match=r"neither"):
        load_labels(tmp_path)


def test_pngs_that_are_no_bitmasks(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a\.png: is RGB, not RGBA.*b\.png: cannot be read"):
        load_labels(tmp_path)
    good = np.zeros((4, 4, 4), np.uint8)
    good[:2] = (0, 0, 3, 1)  # BGRA
    data = cv2.imencode(".png", good)[1].tobytes()
    (tmp_path / "c.png").write_bytes(data)
    (tmp_path / "d.png").write_bytes(data[: len(data) // 2])
    labels = load_labels(tmp_path)
    assert [image.name for image in labels.images] == ["c.jpg"]
    assert len(labels.findings.entries) == 3


def test_folder_of_several_label_files_must_be_named(tmp_path):
    write(tmp_path / "a.json", coco({"segmentation": RLE}))
    with pytest.raises(InputError, match="name one of them"):
        load_labels(tmp_path)


# Data folders


def load(folder, **kwargs):
    dataset = BDD100KDataset()
    dataset.load_bdd100k(folder, **kwargs)
    return dataset


def test_folder_errors(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        load(tmp_path / "none")
    with pytest.raises(InputError, match=r"no images. Expected .*images/10k/train"):
        load(tmp_path)
    write(tmp_path / "file", "x")
    with pytest.raises(InputError, match="is a file"):
        load(tmp_path / "file")
    photo(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="no BDD100K labels for split 'train'"):
        load(tmp_path)
    write(tmp_path / "settings.json", {"colour": "blue"})
    with pytest.raises(InputError, match="no BDD100K labels for split 'train'"):
        load(tmp_path)
    with pytest.raises(InputError, match="no such label file"):
        load(tmp_path, labels=tmp_path / "other.json")
    write(tmp_path / "l.json", frames(GOOD))
    with pytest.raises(InputError, match="limit is 0"):
        load(tmp_path, limit=0)
    assert len(load(tmp_path).image_info) == 1


def test_labels_of_other_images(tmp_path, caplog):
    photo(tmp_path / "a.jpg")
    path = write(tmp_path / "l.json", frames(GOOD, name="x.jpg") + frames(GOOD, name="y.jpg"))
    with pytest.raises(InputError, match=r"2 labelled images have no image file, such as x.jpg, y.jpg"):
        load(tmp_path)
    write(path, frames(GOOD, name="x.jpg") + frames(GOOD))
    dataset = load(tmp_path)
    assert [info["name"] for info in dataset.image_info] == ["a.jpg"]
    assert dataset.findings.images_of("missing image") == ["x.jpg"]
    assert "1 labelled images have no image file and are left out: x.jpg" in caplog.text


def test_image_of_another_size_or_broken(tmp_path, caplog):
    photo(tmp_path / "a.jpg", 16, 20)
    path = write(tmp_path / "l.json", frames(GOOD))
    with pytest.raises(InputError, match="image is 20 x 16, its labels are made for 10 x 8"):
        load(tmp_path)
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    photo(tmp_path / "c.jpg")
    write(path, frames(GOOD) + frames(GOOD, name="b.jpg") + frames(GOOD, name="c.jpg"))
    dataset = load(tmp_path)
    assert [info["name"] for info in dataset.image_info] == ["c.jpg"]
    assert len(dataset.findings.entries) == 2
    assert "b.jpg (b.jpg): cannot be read as an image" in caplog.text


def test_nothing_to_learn_from(tmp_path):
    photo(tmp_path / "a.jpg")
    labels = [{"id": 1, "category": "zebra", "poly2d": [SQUARE]}, {"id": 2, "category": "road", "poly2d": [SQUARE]}]
    write(tmp_path / "l.json", frames(*labels))
    with pytest.raises(InputError, match=r"no object of the classes pedestrian.*1 'zebra', 1 'road'"):
        load(tmp_path)


def test_some_boxes_without_masks_are_counted(tmp_path, caplog):
    photo(tmp_path / "a.jpg")
    box = {"id": 1, "category": "car", "box2d": {"x1": 1, "y1": 1, "x2": 3, "y2": 3}}
    write(tmp_path / "l.json", frames(GOOD, box))
    dataset = load(tmp_path)
    assert "left out 1 of 2 objects, which have a box and no mask" in caplog.text
    assert dataset.load_instances(0).class_ids.tolist() == [5]
    assert load(tmp_path, rectangles_as_masks=True).load_instances(0).class_ids.tolist() == [5, 3]
