"""Each label format, written by hand into small files, and the same objects of real files in four formats."""

import json
import logging
from collections import Counter

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from bdd100k.labels.bitmasks import read_bitmasks
from bdd100k.labels.categories import is_stuff, normalise_category
from bdd100k.labels.load import CLASSES, label_rank, load_labels, read_labels
from bdd100k.labels.poly2d import flatten_path, read_poly2d
from mrcnn.annotations.findings import Findings
from mrcnn.annotations.object_masks import object_mask, to_instances, visible_masks
from mrcnn.structures.rle import rle_lengths

SQUARE = [[2.0, 1.0], [6.0, 1.0], [6.0, 4.0], [2.0, 4.0]]  # columns 2..5, rows 1..3


def write(path, document):
    path.write_text(json.dumps(document))
    return path


def images_of(path, **options):
    return read_labels(path, **options).images


def instances_of(image, boxes=False):
    return to_instances(image.objects, visible_masks(image, boxes), {name: number for number, name in CLASSES})


def counts(labels):
    return Counter(label.name for image in labels.images for label in image.objects)


def full_mask(label, height, width):
    box, crop = object_mask(label, (height, width))
    mask = np.zeros((height, width), bool)
    mask[box[0] : box[2], box[1] : box[3]] = crop
    return mask


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


# Names


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("car", ("car", False)),
        ("pedestrian ", ("pedestrian", False)),
        (" Person", ("pedestrian", False)),
        ("bike", ("bicycle", False)),
        ("MOTOR", ("motorcycle", False)),
        ("van", ("car", False)),
        ("caravan", ("car", False)),
        ("other person", ("pedestrian", True)),
        ("Other  Vehicle", ("car", True)),
        ("other_vehicle", ("car", True)),
        ("trailer", ("truck", True)),
        ("traffic light", None),
        ("chair", None),
        ("", None),
    ],
)
def test_category_names(written, expected):
    assert normalise_category(written) == expected


def test_stuff_is_known_and_instances_are_not_stuff():
    assert all(is_stuff(name) for name in ("road", "Traffic Light", "polegroup", "lane/road curb", "area/drivable"))
    assert not any(is_stuff(name) for name in ("car", "other vehicle", "chair"))


# Bezier paths


def test_cubic_by_hand():
    """A quarter-like arch from (0, 0) to (4, 0) with controls (0, 4), (4, 4): B(1/2) = (2, 3), highest point."""
    path = flatten_path(np.array([[0, 0], [0, 4], [4, 4], [4, 0]], float), "LCCC")
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [4, 0]
    t = np.linspace(0, 1, len(path))
    np.testing.assert_allclose(path[:, 0], 12 * t**2 * (1 - t) + 4 * t**3, atol=1e-12)  # 3 (1-t) t^2 4 + t^3 4
    np.testing.assert_allclose(path[:, 1], 12 * t * (1 - t), atol=1e-12)  # 3 (1-t)^2 t 4 + 3 (1-t) t^2 4
    # The area under it is 9.6, the integral of 12 t (1 - t) * (24 t - 24 t^2) dt; chords lie inside
    x, y = flatten_path(np.array([[0, 0], [0, 4], [4, 4], [4, 0]], float), "LCCC", tolerance_px=1e-4).T
    assert abs(0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) == pytest.approx(9.6, abs=1e-3)


def test_flattened_curve_stays_within_the_tolerance():
    rng = np.random.default_rng(3)
    for _ in range(20):
        p = rng.uniform(0, 300, (4, 2))
        path = flatten_path(np.concatenate([p, p[:1] - 5]), "LCCCL", tolerance_px=0.05)[:-1]
        t = np.linspace(0, 1, 4001)[:, None]
        curve = (1 - t) ** 3 * p[0] + 3 * (1 - t) ** 2 * t * p[1] + 3 * (1 - t) * t**2 * p[2] + t**3 * p[3]
        a, b = path[:-1, None], path[1:, None]  # [segments, 1, 2]
        along = np.clip(((curve - a) * (b - a)).sum(-1) / np.maximum(((b - a) ** 2).sum(-1), 1e-12), 0, 1)
        distance = np.linalg.norm(a + along[..., None] * (b - a) - curve, axis=-1).min(0)
        assert distance.max() <= 0.05


def test_two_controls_and_a_line_vertex_are_one_curve():
    """Files contain CCL as well as CCC: the third point ends the curve, regardless of its letter."""
    vertices = np.array([[0, 0], [0, 4], [4, 4], [4, 0], [2, -3]], float)
    np.testing.assert_array_equal(flatten_path(vertices, "LCCLL"), flatten_path(vertices, "LCCCL"))


def test_a_curve_at_the_end_closes_at_the_start():
    vertices = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float)
    path = flatten_path(vertices, "LLCC")
    assert path[:2].tolist() == [[0, 0], [4, 0]]
    t = 0.5
    middle = (1 - t) ** 3 * vertices[1] + 3 * (1 - t) ** 2 * t * vertices[2] + 3 * (1 - t) * t**2 * vertices[3]
    assert np.linalg.norm(path - middle, axis=1).min() < 0.2
    assert path[-1].tolist() != [0, 0]  # closed without repeating the start


def test_straight_controls_give_the_straight_line():
    path = flatten_path(np.array([[0, 0], [1, 0], [2, 0], [3, 0], [3, 3]], float), "LCCCL")
    np.testing.assert_array_equal(path, [[0, 0], [3, 0], [3, 3]])


def test_poly2d_of_every_release_is_the_same_path():
    newer = [{"vertices": SQUARE, "types": "LLLL", "closed": True}]
    older = [{"vertices": [[x, y, "L"] for x, y in SQUARE], "closed": True}]
    oldest = [[x, y, "L"] for x, y in SQUARE]
    several = [[[x, y, "L"] for x, y in SQUARE], [[x + 9, y, "L"] for x, y in SQUARE]]
    for poly2d in (newer, older, oldest):
        np.testing.assert_array_equal(read_poly2d(poly2d)[0], SQUARE)
    assert [path[0].tolist() for path in read_poly2d(several)] == [[2, 1], [11, 1]]


# Scalabel


def scalabel(**label):
    frame = {"name": "a.jpg", "attributes": {"weather": "rainy"}, "size": {"width": 10, "height": 8}}
    return [{**frame, "labels": [{"id": "7", "category": "car", **label}]}]


def test_polygon_mask_by_hand(tmp_path):
    path = write(tmp_path / "l.json", scalabel(poly2d=[{"vertices": SQUARE, "types": "LLLL", "closed": True}]))
    (frame,) = images_of(path)
    instances = instances_of(frame)
    assert instances.boxes_px.tolist() == [[1, 2, 4, 6]]
    assert instances.crops[0].all()
    assert instances.class_ids.tolist() == [3]
    assert (frame.name, frame.size, frame.attributes) == ("a.jpg", (8, 10), {"weather": "rainy"})


def test_several_paths_are_united_also_where_one_lies_in_another(tmp_path):
    """Scalabel paints every path in the object's colour, so an inner path is no hole."""
    inner = [[3.0, 2.0], [5.0, 2.0], [5.0, 3.0], [3.0, 3.0]]
    apart = [[7.0, 5.0], [9.0, 5.0], [9.0, 7.0], [7.0, 7.0]]
    paths = [{"vertices": v, "types": "LLLL", "closed": True} for v in (SQUARE, inner, apart)]
    (frame,) = images_of(write(tmp_path / "l.json", scalabel(poly2d=paths)))
    expected = np.zeros((8, 10), bool)
    expected[1:4, 2:6] = expected[5:7, 7:9] = True
    np.testing.assert_array_equal(full_mask(frame.objects[0], 8, 10), expected)


def test_later_polygons_hide_earlier_ones(tmp_path):
    """The second car covers the right half of the first; a third object is completely covered by a fourth."""

    def square(x1, y1, x2, y2):
        return [{"vertices": [[x1, y1], [x2, y1], [x2, y2], [x1, y2]], "types": "LLLL", "closed": True}]

    frames = scalabel(poly2d=square(0, 0, 6, 4))
    for i, corners in enumerate([(3, 0, 9, 4), (1, 6, 3, 7), (0, 5, 5, 8)]):
        frames[0]["labels"].append({"id": i, "category": "bus", "poly2d": square(*map(float, corners))})
    (frame,) = images_of(write(tmp_path / "l.json", frames))
    instances = instances_of(frame)
    assert instances.boxes_px.tolist() == [[0, 0, 4, 3], [0, 3, 4, 9], [5, 0, 8, 5]]
    assert all(crop.all() for crop in instances.crops)
    assert instances.class_ids.tolist() == [3, 5, 5]


def test_coco_polygons_may_overlap(tmp_path):
    flat = {"segmentation": [np.ravel(SQUARE).tolist()]}
    (frame,) = images_of(write(tmp_path / "c.json", coco_file(flat, flat)))
    assert instances_of(frame).boxes_px.tolist() == [[1, 2, 4, 6]] * 2


def test_rle_comes_before_poly2d_and_gives_the_size(tmp_path):
    mask = np.zeros((8, 10), np.uint8, order="F")
    mask[2:5, 0:3] = 1
    rle = coco.encode(mask)
    rle = {"size": rle["size"], "counts": rle["counts"].decode()}
    document = scalabel(rle=rle, poly2d=[{"vertices": SQUARE, "types": "LLLL", "closed": True}])
    del document[0]["size"]
    (frame,) = images_of(write(tmp_path / "l.json", {"frames": document, "config": None}))
    np.testing.assert_array_equal(full_mask(frame.objects[0], 8, 10), mask.astype(bool))
    assert frame.size == (8, 10)
    assert frame.objects[0].polygons is None


def test_attributes_are_kept(tmp_path):
    attributes = {"occluded": True, "truncated": False, "crowd": True, "ignored": False}
    square = [{"vertices": SQUARE, "types": "LLLL", "closed": True}]
    (frame,) = images_of(write(tmp_path / "l.json", scalabel(poly2d=square, attributes=attributes)))
    label = frame.objects[0]
    assert (label.occluded, label.truncated, label.crowd, label.ignore) == (True, False, True, False)
    (frame,) = images_of(write(tmp_path / "l.json", scalabel(poly2d=square, category="trailer")))
    assert (frame.objects[0].name, frame.objects[0].ignore) == ("truck", True)
    instances = instances_of(frame)
    assert (instances.ignore.tolist(), instances.crowd.tolist()) == ([True], [False])


def test_unknown_and_stuff_categories_are_counted_by_name(tmp_path, caplog):
    frames = scalabel(box2d={"x1": 1, "y1": 1, "x2": 3, "y2": 3})
    frames[0]["labels"] += [{"id": i, "category": c} for i, c in enumerate(["Chair", "chair ", "horse", "road", "sky"])]
    with caplog.at_level(logging.INFO):
        labels = load_labels(write(tmp_path / "l.json", frames))
    assert labels.findings.unknown == {"chair": 2, "horse": 1}
    assert labels.findings.stuff == {"road": 1, "sky": 1}
    assert counts(labels) == {"car": 1}
    assert "2 'chair', 1 'horse'" in caplog.text


def test_boxes_alone_are_no_masks_unless_asked_for(tmp_path):
    labels = load_labels(write(tmp_path / "l.json", scalabel(box2d={"x1": 2, "y1": 1, "x2": 5, "y2": 3})))
    (frame,) = labels.images
    assert not frame.objects[0].has_mask
    assert len(instances_of(frame)) == 0
    instances = instances_of(frame, boxes=True)
    assert instances.boxes_px.tolist() == [[1, 2, 4, 6]]  # x2 and y2 belong to a Scalabel box
    assert instances.crops[0].shape == (3, 4)


def test_rectangles_are_cut_at_the_image(tmp_path):
    (frame,) = images_of(write(tmp_path / "l.json", scalabel(box2d={"x1": -3.2, "y1": 6.4, "x2": 30, "y2": 99})))
    assert instances_of(frame, boxes=True).boxes_px.tolist() == [[6, 0, 8, 10]]


def test_2018_file(tmp_path):
    document = [
        {
            "name": "00091078-84635cf2.jpg",
            "attributes": {"weather": "snowy", "scene": "city street", "timeofday": "dawn/dusk"},
            "timestamp": 10000,
            "labels": [
                {
                    "category": "truck ",
                    "attributes": {"occluded": True, "truncated": True, "trafficLightColor": "none"},
                    "manualShape": True,
                    "manualAttributes": True,
                    "id": 344,
                    "box2d": {"x1": 0, "y1": 1.468279, "x2": 356.05738, "y2": 701.295692},
                }
            ],
        }
    ]
    (frame,) = images_of(write(tmp_path / "l.json", document))
    label = frame.objects[0]
    assert (label.id, label.name, label.occluded, label.truncated) == ("344", "truck", True, True)
    assert label.box_px == pytest.approx((0, 1.468279, 357.05738, 702.295692), abs=1e-9)  # exclusive
    assert frame.attributes["timeofday"] == "dawn/dusk"


def test_oldest_layout_is_a_folder_of_files(tmp_path):
    for name, category in (("b1", "bus"), ("a1", "car")):
        label = {"category": category, "id": 0, "attributes": {}, "poly2d": [[x, y, "L"] for x, y in SQUARE]}
        frame = {"timestamp": 10000, "objects": [label]}
        write(tmp_path / f"{name}.json", {"name": name, "frames": [frame], "attributes": {"scene": "highway"}})
    labels = load_labels(tmp_path)
    assert [(f.name, f.objects[0].name, f.attributes) for f in labels.images] == [
        ("a1.jpg", "car", {"scene": "highway"}),
        ("b1.jpg", "bus", {"scene": "highway"}),
    ]
    np.testing.assert_array_equal(labels.images[0].objects[0].polygons[0], SQUARE)


# COCO


def coco_file(*annotations, categories=((3, "car"), (1, "person"), (99, "horse"))):
    return {
        "images": [{"id": 5, "file_name": "val/a.jpg", "height": 8, "width": 10}],
        "categories": [{"id": i, "name": name} for i, name in categories],
        "annotations": [{"id": i, "image_id": 5, "category_id": 3, **a} for i, a in enumerate(annotations)],
    }


def test_coco_polygons_and_both_run_length_forms_are_the_same_mask(tmp_path):
    mask = np.zeros((8, 10), np.uint8, order="F")
    mask[1:4, 2:6] = 1
    compressed = coco.encode(mask)
    compressed = {"size": [8, 10], "counts": compressed["counts"].decode()}
    uncompressed = {"size": [8, 10], "counts": [17, 3, 5, 3, 5, 3, 5, 3, 36]}  # by hand, down the columns
    document = coco_file(
        {"segmentation": [np.ravel(SQUARE).tolist()]},
        {"segmentation": compressed},
        {"segmentation": uncompressed, "iscrowd": 1},
        {"segmentation": compressed, "ignore": 1},
    )
    (frame,) = images_of(write(tmp_path / "c.json", document))
    assert len(frame.objects) == 4
    for label in frame.objects:
        np.testing.assert_array_equal(full_mask(label, 8, 10), mask.astype(bool))
    assert [label.crowd for label in frame.objects] == [False, False, True, False]
    assert [label.ignore for label in frame.objects] == [False, False, False, True]
    assert (frame.coco_id, frame.name, frame.size) == (5, "val/a.jpg", (8, 10))


def test_coco_boxes_and_limit(tmp_path):
    """COCO's (x, y, width, height) of columns 2..5 and rows 1..3 is the Scalabel box (2, 1, 5, 3)."""
    document = coco_file({"bbox": [2, 1, 4, 3], "segmentation": []})
    document["images"].append({"id": 6, "file_name": "b.jpg", "height": 8, "width": 10})
    document["annotations"].append({"id": 9, "image_id": 6, "category_id": 3, "bbox": [2, 1, 4, 3]})
    path = write(tmp_path / "c.json", document)
    labels = read_labels(path, limit=1)
    (frame,) = labels.images
    assert frame.objects[0].box_px == (2, 1, 6, 4)
    assert instances_of(frame, boxes=True).boxes_px.tolist() == [[1, 2, 4, 6]]
    assert counts(labels) == {"car": 1}
    assert not labels.findings.entries
    assert len(images_of(path)) == 2


def test_coco_categories_go_by_name(tmp_path):
    polygon = {"segmentation": [np.ravel(SQUARE).tolist()]}
    document = coco_file({**polygon, "category_id": 1}, {**polygon, "category_id": 99})
    labels = load_labels(write(tmp_path / "c.json", document))
    assert [label.name for label in labels.images[0].objects] == ["pedestrian"]
    assert labels.findings.unknown == {"horse": 1}


def test_run_lengths_agree_with_pycocotools():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (5, 7), (720, 1280)):
        for share in (0.0, 0.02, 0.5, 1.0):
            mask = np.asfortranarray(rng.random(shape) < share).astype(np.uint8, order="F")
            flat = mask.ravel(order="F")
            edges = np.flatnonzero(np.diff(flat)) + 1
            runs = np.diff(np.concatenate([[0], edges, [flat.size]]))
            runs = np.concatenate([[0], runs]) if flat[0] else runs
            np.testing.assert_array_equal(rle_lengths(coco.encode(mask)["counts"]), runs)


# Bitmasks


def test_bitmask_channels(tmp_path):
    pixels = np.zeros((6, 5, 4), np.uint8)
    pixels[0:2, 0:3] = (3, 0b1010, 1, 44)  # car, truncated and crowd, instance 300
    pixels[4:6, 3:5] = (1, 0b0101, 0, 255)  # pedestrian, occluded and ignore, instance 255; reaches the last pixel
    pixels[3, 0] = (9, 0, 0, 7)  # no such class
    cv2.imwrite(str(tmp_path / "a.png"), cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA))
    labels = load_labels(tmp_path)
    (frame,) = labels.images
    assert (frame.name, frame.size) == ("a.jpg", (6, 5))
    person, car = frame.objects
    assert (car.id, car.name, car.truncated, car.occluded) == ("300", "car", True, False)
    assert (car.crowd, car.ignore) == (True, False)
    assert (person.id, person.name, person.truncated, person.occluded) == ("255", "pedestrian", False, True)
    assert (person.crowd, person.ignore) == (False, True)
    np.testing.assert_array_equal(full_mask(car, 6, 5), pixels[..., 0] == 3)
    np.testing.assert_array_equal(full_mask(person, 6, 5), pixels[..., 0] == 1)
    assert person.rle == coco.encode(np.asfortranarray(pixels[..., 0] == 1).astype(np.uint8))
    assert labels.findings.unknown == {"category id 9": 1}


def test_bitmask_limit_and_available_images(tmp_path):
    for name in "abc":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((2, 2, 4), (1, 0, 0, 1), np.uint8)[..., [2, 1, 0, 3]])
    findings = Findings("x")
    there = {"b.jpg": tmp_path / "b.jpg", "c.jpg": tmp_path / "c.jpg"}
    frames = read_bitmasks(sorted(tmp_path.glob("*.png")), lambda name, _: there.get(name), findings, limit=1)
    assert [frame.name for frame in frames] == ["b.jpg"]
    assert findings.images_of("missing image") == ["a.jpg"]


# Recognition and real files


def test_rank_by_content(tmp_path):
    square = [{"vertices": SQUARE, "types": "LLLL", "closed": True}]
    null = {"rle": None, "poly2d": None}
    box = {"x1": 1, "y1": 1, "x2": 2, "y2": 2}
    documents = {
        0: scalabel(rle={"size": [8, 10], "counts": "0"}, poly2d=square),
        1: scalabel(rle=None, poly2d=square),
        2: coco_file(),
        4: scalabel(box2d=box, **null),
        None: {"weather": "fine"},
    }
    for rank, document in documents.items():
        assert label_rank(write(tmp_path / f"{rank}.json", document)) == rank
    assert label_rank(tmp_path) is None
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((2, 2, 3), np.uint8))
    assert label_rank(tmp_path) is None
    cv2.imwrite(str(tmp_path / "mask.png"), np.zeros((2, 2, 4), np.uint8))
    assert label_rank(tmp_path) == 3


def test_real_files_agree(shared_data):
    folder = shared_data / "bdd_sample"
    sources = [folder / "ins_seg_scalabel.json", folder / "ins_seg_cocofmt.json", folder / "bitmasks"]
    by_name = [{frame.name: instances_of(frame) for frame in images_of(source)} for source in sources]
    assert sum(len(instances) for instances in by_name[0].values()) == 38
    for name, first in by_name[0].items():
        for other in (by_name[1][name], by_name[2][name]):
            np.testing.assert_array_equal(first.boxes_px, other.boxes_px)
            np.testing.assert_array_equal(first.class_ids, other.class_ids)
            assert all((a == b).all() for a, b in zip(first.crops, other.crops, strict=True))


def test_real_boxes_are_those_in_the_file(shared_data):
    frames = json.loads((shared_data / "bdd_sample" / "ins_seg_scalabel.json").read_text())
    for raw, frame in zip(frames, images_of(shared_data / "bdd_sample" / "ins_seg_scalabel.json"), strict=True):
        boxes = [[label["box2d"][side] for side in ("y1", "x1", "y2", "x2")] for label in raw["labels"]]
        np.testing.assert_array_equal(instances_of(frame).boxes_px, np.add(boxes, (0, 0, 1, 1)))


@pytest.mark.parametrize("name", ["ins_seg_rle_sample.json", "scalabel_ins_seg.json"])
def test_real_polygons_agree_with_their_run_lengths(shared_data, tmp_path, name):
    """Raw polygons overlap (one object keeps a quarter of its area). As layers they give the official masks, except for
    the outlines, which are slightly wider in the official masks."""
    path = shared_data / "bdd_labels_only" / name
    (exact,) = images_of(path)
    text = path.read_text().replace('"rle"', '"not_used"')
    (tmp_path / "polygons.json").write_text(text)
    (drawn,) = images_of(tmp_path / "polygons.json")
    drawn.size = 720, 1280
    masks = [instances_of(frame).to_masks((720, 1280)) for frame in (drawn, exact)]
    ious = [iou(a, b) for a, b in zip(*(m.transpose(2, 0, 1) for m in masks), strict=True)]
    assert len(ious) == len(exact.objects) > 1
    assert min(ious) > 0.9
    assert np.mean(ious) > 0.94
    assert masks[0].sum(2).max() == masks[1].sum(2).max() == 1


def test_real_curves(shared_data):
    """Label c has five paths, b and a have CC pairs; a finer flattening changes almost nothing."""
    path = shared_data / "bdd_labels_only" / "bdd100k__label__testcases__example_annotation.json"
    raw = json.loads(path.read_text())[0]["labels"]
    (frame,) = images_of(path)
    assert [len(label.polygons) for label in frame.objects] == [1, 1, 1, 5]
    assert [label.occluded for label in frame.objects] == [False, True, False, True]
    for label, source in zip(frame.objects, raw, strict=True):
        fine = [flatten_path(np.array(p["vertices"]), p["types"], 1e-4) for p in source["poly2d"]]
        flat = coco.merge(coco.frPyObjects([p.ravel().tolist() for p in fine], 720, 1280))
        assert iou(full_mask(label, 720, 1280), coco.decode(flat).astype(bool)) > 0.99


def test_real_bitmask_attributes(shared_data, tmp_path):
    source = shared_data / "bdd_labels_only" / "bdd100k__common__testcases__example_bitmask.png"
    (tmp_path / "bitmasks").mkdir()
    (tmp_path / "bitmasks" / "b1c81faa-3df17267-0000001.png").write_bytes(source.read_bytes())
    (frame,) = images_of(tmp_path / "bitmasks")
    assert [(label.id, label.name, label.occluded) for label in frame.objects] == [
        ("1", "car", False),
        ("2", "car", True),
        ("3", "car", True),
        ("4", "car", True),
    ]


def test_real_semantic_file_keeps_cars_only(shared_data):
    labels = load_labels(shared_data / "bdd_sample/orig_labels/7d06fefd-f7be05a6.scalabel_sem_seg_sample.json")
    assert counts(labels) == {"car": 12}
    assert labels.findings.stuff["building"] == 7
    assert not labels.findings.unknown


def test_real_detection_file(shared_data):
    labels = load_labels(shared_data / "bdd_det20/det_train.json")
    assert counts(labels) == {"pedestrian": 3, "car": 2}
    assert not any(label.has_mask for image in labels.images for label in image.objects)
    assert labels.images[1].attributes == {"weather": "clear", "timeofday": "dawn/dusk", "scene": "highway"}


def test_real_predictions_keep_scores(shared_data):
    images = images_of(shared_data / "bdd_labels_only/scalabel__eval__testcases__ins_seg__ins_seg_preds.json")
    assert images[0].objects[0].score == 0.9980953335762024
