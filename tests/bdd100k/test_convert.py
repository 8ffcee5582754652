"""Conversion between the label formats and back; content that a format cannot hold is counted."""

import json
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from bdd100k.labels.convert import convert
from bdd100k.labels.load import read_labels
from mrcnn.annotations.object_masks import visible_masks
from mrcnn.structures.masks import tighten
from mrcnn.structures.polygons import crop_to_polygons, polygons_to_crop
from mrcnn.structures.rle import crop_to_rle

CURVED = [
    {
        "vertices": [[2.0, 1.0], [6.0, 1.0], [8.0, 3.0], [8.0, 5.0], [6.0, 6.0], [2.0, 6.0]],
        "types": "LLCCCL",
        "closed": True,
    }
]


def rle_of(mask):
    box, crop = tighten(mask, 0, 0)
    rle = crop_to_rle(box.tolist(), crop, mask.shape)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def rectangle(y1, x1, y2, x2, shape=(8, 10)):
    mask = np.zeros(shape, bool)
    mask[y1:y2, x1:x2] = True
    return mask


def frames(*labels, **frame):
    size = {"width": 10, "height": 8}
    return [{"name": "a.jpg", "size": size, "attributes": {"weather": "rainy"}, **frame, "labels": list(labels)}]


def write(path, document):
    path.write_text(json.dumps(document))
    return path


def content(path):
    """Return the content of a label file in a comparable form."""
    found = {}
    for image in read_labels(path).images:
        objects = []
        for label, mask in zip(image.objects, visible_masks(image), strict=True):
            flags = label.crowd, label.ignore, label.occluded, label.truncated
            pixels = mask and (mask[0].tolist(), mask[1].tolist())
            objects.append((label.id, label.name, flags, label.score, pixels))
        found[image.name] = (*image.size, image.attributes, objects)
    return found


def four_cars():
    return frames(
        {
            "id": "4",
            "category": "car",
            "attributes": {"occluded": True, "color": "red"},
            "rle": rle_of(rectangle(0, 0, 2, 3)),
        },
        {"id": "9", "category": "other vehicle", "attributes": {}, "rle": rle_of(rectangle(3, 0, 5, 3))},
        {
            "id": "300",
            "category": "rider",
            "attributes": {"crowd": True, "ignored": True, "truncated": True},
            "rle": rle_of(rectangle(6, 7, 8, 10)),
            "manualShape": False,
        },
        {"id": "255", "category": "bus", "attributes": {"truncated": False}, "rle": rle_of(rectangle(6, 0, 8, 3))},
        timestamp=10000,
    )


def test_coco_document_by_hand(tmp_path):
    convert(write(tmp_path / "s.json", four_cars()), tmp_path / "c.json", "coco")
    document = json.loads((tmp_path / "c.json").read_text())
    (image,) = document["images"]
    assert image == {
        "id": 1,
        "file_name": "a.jpg",
        "height": 8,
        "width": 10,
        "attributes": {"weather": "rainy"},
        "scalabel": {"timestamp": 10000},
    }
    assert [c["name"] for c in document["categories"]][:3] == ["pedestrian", "rider", "car"]
    car, vehicle, rider, _ = document["annotations"]
    assert (car["id"], car["image_id"], car["category_id"], car["bbox"], car["area"]) == (4, 1, 3, [0, 0, 3, 2], 6)
    assert (car["scalabel_id"], car["attributes"]) == ("4", {"occluded": True, "color": "red"})
    assert (vehicle["category_id"], vehicle["ignore"], vehicle["scalabel"]) == (3, 1, {"category": "other vehicle"})
    assert (rider["iscrowd"], rider["ignore"], rider["bbox"]) == (1, 1, [7, 6, 3, 2])
    assert rider["scalabel"] == {"manualShape": False}


def test_bitmask_pixels_by_hand(tmp_path, caplog):
    done = convert(write(tmp_path / "s.json", four_cars()), tmp_path / "png", "bitmask")
    pixels = np.asarray(Image.open(tmp_path / "png/a.png"))
    assert pixels.shape == (8, 10, 4)
    assert pixels[1, 2].tolist() == [3, 0b0100, 0, 4]  # occluded
    assert pixels[4, 0].tolist() == [3, 0b0001, 0, 9]  # ignored by its name
    assert pixels[7, 9].tolist() == [2, 0b1011, 1, 44]  # 300 = 256 + 44; truncated, crowd, ignored
    assert pixels[7, 2].tolist() == [5, 0, 0, 255]
    assert not pixels[2].any()
    assert not pixels[:6, 3:].any()
    assert done.lost == {
        "objects with further attributes": 1,
        "objects whose category had another name": 1,
        "images with attributes (weather, ...)": 1,
    }
    assert "cannot hold: 1 objects with further attributes" in caplog.text


@pytest.mark.parametrize("masks", ["rle", "polygons"])
def test_scalabel_to_coco_and_back_is_the_same_file(tmp_path, masks):
    source = write(tmp_path / "s.json", four_cars())
    convert(source, tmp_path / "c.json", "coco", masks)
    convert(tmp_path / "c.json", tmp_path / "back.json", "scalabel")
    back = json.loads((tmp_path / "back.json").read_text())
    assert back[0].pop("coco") == {"id": 1}  # for the way to COCO again
    for label in back[0]["labels"]:
        del label["box2d"]  # made from the mask
    assert back == four_cars()


def test_coco_to_scalabel_and_back_is_the_same_file(tmp_path):
    categories = [{"id": 3, "name": "car"}, {"id": 1, "name": "pedestrian"}]
    image = {"id": 31, "file_name": "val/a.jpg", "height": 8, "width": 10, "license": 4}
    annotation = {
        "id": 70,
        "image_id": 31,
        "category_id": 3,
        "iscrowd": 1,
        "ignore": 0,
        "bbox": [0, 0, 3, 2],
        "area": 6,
        "segmentation": rle_of(rectangle(0, 0, 2, 3)),
        "track_id": 5,
    }
    source = {"images": [image], "categories": categories, "annotations": [annotation]}
    convert(write(tmp_path / "c.json", source), tmp_path / "s.json", "scalabel", "polygons")
    convert(tmp_path / "s.json", tmp_path / "back.json", "coco")
    back = json.loads((tmp_path / "back.json").read_text())
    assert back["images"] == [image]
    (got,) = back["annotations"]
    assert got.pop("scalabel_id") == "70"
    assert got.pop("attributes") == {"crowd": True}
    got.pop("scalabel")  # the box2d that Scalabel got
    assert got == annotation


def test_curves_stay_curves_in_scalabel(tmp_path):
    source = write(tmp_path / "s.json", frames({"id": "1", "category": "car", "poly2d": CURVED}))
    convert(source, tmp_path / "p.json", "scalabel", "polygons")
    assert json.loads((tmp_path / "p.json").read_text())[0]["labels"][0]["poly2d"] == CURVED
    convert(source, tmp_path / "r.json", "scalabel", "rle")
    label = json.loads((tmp_path / "r.json").read_text())[0]["labels"][0]
    assert label["poly2d"] == CURVED
    convert(source, tmp_path / "c.json", "coco", "polygons")
    (flat,) = json.loads((tmp_path / "c.json").read_text())["annotations"][0]["segmentation"]
    assert len(flat) > 2 * 6  # the curve in pieces
    contents = [content(tmp_path / name)["a.jpg"][3] for name in ("s.json", "p.json", "r.json", "c.json")]
    assert contents[0][0][4][1]
    assert contents == contents[:1] * 4


def test_oldest_paths_are_written_in_the_newer_form(tmp_path):
    triples = [[2, 1, "L"], [6, 1, "L"], [6, 4, "L"]]
    convert(
        write(tmp_path / "s.json", frames({"id": 1, "category": "car", "poly2d": triples})),
        tmp_path / "p.json",
        "scalabel",
        "polygons",
    )
    (path,) = json.loads((tmp_path / "p.json").read_text())[0]["labels"][0]["poly2d"]
    assert path == {"vertices": [[2, 1], [6, 1], [6, 4]], "types": "LLL", "closed": True}


def overlapping():
    below, above, gone = rectangle(0, 0, 4, 4), rectangle(2, 2, 6, 6), rectangle(3, 3, 4, 4)
    labels = [{"id": str(i), "category": "car", "rle": rle_of(mask)} for i, mask in enumerate([gone, below, above], 1)]
    return frames(*labels, attributes={})


@pytest.mark.parametrize(("to", "masks"), [("bitmask", "rle"), ("scalabel", "polygons")])
def test_overlaps_are_counted(tmp_path, to, masks):
    done = convert(write(tmp_path / "s.json", overlapping()), tmp_path / "out", to, masks)
    assert next(v for k, v in done.lost.items() if k.startswith("pixels of an object")) == 5
    if to == "bitmask":
        assert (done.lost["objects that are covered in part"], done.lost["objects that are covered wholly"]) == (1, 1)
        pixels = np.asarray(Image.open(tmp_path / "out/a.png"))
        assert (np.bincount(pixels[..., 3].ravel()) == [80 - 28, 0, 12, 16]).all()
    assert [len(np.flatnonzero(o[4][1])) for o in content(tmp_path / "out")["a.jpg"][3] if o[4]] == [12, 16]


@pytest.mark.parametrize("to", ["scalabel", "coco"])
def test_run_lengths_keep_overlaps(tmp_path, to):
    source = write(tmp_path / "s.json", overlapping())
    assert not convert(source, tmp_path / "out.json", to).lost
    assert content(tmp_path / "out.json") == content(source)


def test_polygon_that_is_hidden_does_not_come_back(tmp_path):
    """As layers, the second square covers the first; as RLEs, nothing would hide it."""
    square = [{"vertices": [[1, 1], [5, 1], [5, 5], [1, 5]], "types": "LLLL", "closed": True}]
    source = write(tmp_path / "s.json", frames(*({"id": i, "category": "car", "poly2d": square} for i in "12")))
    for to in ("scalabel", "coco"):
        done = convert(source, tmp_path / f"{to}.json", to)
        assert done.lost.total() == 1
        seen = [o[0] for o in content(tmp_path / f"{to}.json")["a.jpg"][3] if o[4]]
        assert seen == ["2"]


def test_boxes_alone(tmp_path):
    box = {"x1": 0.5, "y1": 1.25, "x2": 4.1, "y2": 3.7}
    source = write(tmp_path / "s.json", frames({"id": "1", "category": "bus", "attributes": {}, "box2d": box}))
    convert(source, tmp_path / "c.json", "coco")
    convert(tmp_path / "c.json", tmp_path / "s2.json", "scalabel")
    assert json.loads((tmp_path / "s2.json").read_text())[0]["labels"][0]["box2d"] == box
    assert convert(source, tmp_path / "png", "bitmask").lost["objects with a box and no mask"] == 1


@pytest.mark.parametrize("ids", [["a", "b"], ["1", "1"], ["1", "70000"], ["01", "2"], ["-1", "2"]])
def test_ids_that_no_bitmask_holds_are_numbered_anew(tmp_path, ids):
    masks = rectangle(0, 0, 2, 2), rectangle(4, 4, 6, 6)
    labels = [{"id": i, "category": "car", "rle": rle_of(m)} for i, m in zip(ids, masks, strict=True)]
    done = convert(write(tmp_path / "s.json", frames(*labels)), tmp_path / "png", "bitmask")
    assert done.lost["ids of objects, which are renumbered"] == 2
    assert [o[0] for o in content(tmp_path / "png")["a.jpg"][3]] == ["1", "2"]


def test_size_that_the_labels_do_not_say(tmp_path, caplog):
    document = frames({"id": "1", "category": "car", "poly2d": CURVED})
    del document[0]["size"]
    with caplog.at_level(logging.INFO):
        convert(write(tmp_path / "s.json", document), tmp_path / "c.json", "coco")
    assert "taken as 1280 x 720" in caplog.text
    (tmp_path / "images/val").mkdir(parents=True)
    Image.new("RGB", (30, 20)).save(tmp_path / "images/val/a.jpg")
    convert(tmp_path / "s.json", tmp_path / "d.json", "coco", images=tmp_path / "images")
    sizes = [json.loads((tmp_path / f"{n}.json").read_text())["images"][0] for n in "cd"]
    assert [(s["height"], s["width"]) for s in sizes] == [(720, 1280), (20, 30)]


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.integers(0, 5), st.integers(0, 5))
def test_traced_polygons_fill_to_the_same_mask(mask, top, left):
    """Holes, parts that touch at corners and single pixels survive the conversion."""
    found = tighten(mask, top, left)
    if found is None:
        return
    box, crop = found
    back = polygons_to_crop(crop_to_polygons(box.tolist(), crop), (20, 20))
    assert back is not None
    np.testing.assert_array_equal(back[0], box)
    np.testing.assert_array_equal(back[1], crop)


def test_ring_is_one_polygon_with_the_area_of_the_ring():
    crop = np.ones((5, 6), bool)
    crop[1:3, 2:4] = crop[3, 4] = False
    (ring,) = crop_to_polygons((0, 0, 5, 6), crop)
    x, y = ring.T
    assert 0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) == 30 - 5  # the cut is walked both ways


@settings(max_examples=25, deadline=None)
@given(
    arrays(np.uint8, (6, 7), elements=st.integers(0, 4)),
    st.lists(
        st.tuples(st.integers(1, 8), st.integers(0, 15), st.integers(0, 65535)),
        min_size=4,
        max_size=4,
        unique_by=lambda t: t[2],
    ),
)
def test_bitmasks_through_every_format_and_back(tmp_path_factory, owner, kinds):
    """Any bitmask stays the same image after conversion through both JSON formats with both forms of masks."""
    folder = tmp_path_factory.mktemp("trip")
    pixels = np.zeros((6, 7, 4), np.uint8)
    for i, (category, flags, number) in enumerate(kinds, 1):
        pixels[owner == i] = (category, flags, number >> 8, number & 255)
    (folder / "0").mkdir()
    Image.fromarray(pixels).save(folder / "0/a.png")
    steps = [("coco", "rle"), ("scalabel", "polygons"), ("coco", "polygons"), ("scalabel", "rle"), ("bitmask", "rle")]
    for i, (to, masks) in enumerate(steps):
        assert not convert(folder / str(i), folder / str(i + 1), to, masks).lost
    back = np.asarray(Image.open(folder / "5/a.png"))
    np.testing.assert_array_equal(back, pixels)


@pytest.mark.parametrize(
    "name",
    [
        "bdd_sample/ins_seg_scalabel.json",
        "bdd_labels_only/ins_seg_rle_sample.json",
        "bdd_det20/det_train.json",
        "bdd_sample/bitmasks",
    ],
)
def test_real_files_there_and_back(shared_data, tmp_path, name):
    source = tmp_path / "start.json"  # with the sizes
    convert(shared_data / name, source, "scalabel")
    for i, (to, masks) in enumerate([("coco", "rle"), ("coco", "polygons"), ("scalabel", "polygons")]):
        assert not convert(source, tmp_path / f"{i}.json", to, masks).lost
        convert(tmp_path / f"{i}.json", tmp_path / f"{i}b.json", "scalabel")
        assert content(tmp_path / f"{i}b.json") == content(source)
