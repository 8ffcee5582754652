"""BDD100KDataset on each folder layout, on the real samples, and on drawn streets."""

import json
import logging

import cv2
import numpy as np
import pytest

from bdd100k.config import CLASS_NAMES
from bdd100k.dataset import BDD100KDataset, find_labels
from mrcnn.errors import InputError

SQUARE = [{"vertices": [[2.0, 1.0], [6.0, 1.0], [6.0, 4.0], [2.0, 4.0]], "types": "LLLL", "closed": True}]
RLE = {"size": [8, 10], "counts": [17, 3, 5, 3, 5, 3, 5, 3, 36]}  # the same square: rows 1..3, columns 2..5
BOX = {"x1": 2, "y1": 1, "x2": 5, "y2": 3}


def image(path, height=8, width=10):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))


def labels(path, names=("a",), category="car", **mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [
        {"name": f"{name}.jpg", "attributes": {"weather": "clear"}, "labels": [{"id": 0, "category": category, **mask}]}
        for name in names
    ]
    path.write_text(json.dumps(frames))


def loaded(folder, *args, **kwargs):
    dataset = BDD100KDataset()
    dataset.load_bdd100k(folder, *args, **kwargs)
    dataset.prepare()
    return dataset


def classes_of(dataset):
    return [
        dataset.class_names[i] for image_id in dataset.image_ids for i in dataset.load_instances(image_id).class_ids
    ]


def test_official_10k_layout(tmp_path):
    for split, category in (("train", "car"), ("val", "bus")):
        image(tmp_path / f"images/10k/{split}/a.jpg")
        labels(tmp_path / f"labels/ins_seg/polygons/ins_seg_{split}.json", category=category, poly2d=SQUARE)
    image(tmp_path / "images/10k/test/t.jpg")
    train, val, test = (loaded(tmp_path, split) for split in ("train", "val", "test"))
    assert train.class_names == ["BG", *CLASS_NAMES]
    assert (classes_of(train), classes_of(val), classes_of(test)) == (["car"], ["bus"], [])
    assert len(test.image_ids) == 1
    info = train.image_info[0]
    assert info["path"] == str(tmp_path / "images/10k/train/a.jpg")
    assert (info["id"], info["name"], info["width"], info["height"], info["coco_id"]) == ("a.jpg", "a.jpg", 10, 8, 1)
    assert info["attributes"] == {"weather": "clear"}
    assert train.load_instances(0).boxes_px.tolist() == [[1, 2, 4, 6]]
    assert train.load_image(0).shape == (8, 10, 3)


def test_official_rles_come_before_polygons_and_bitmasks(tmp_path):
    image(tmp_path / "images/10k/train/a.jpg")
    (tmp_path / "labels/ins_seg/bitmasks/train").mkdir(parents=True)
    pixels = np.zeros((8, 10, 4), np.uint8)
    pixels[1:4, 2:6] = (0, 0, 6, 1)  # BGRA: train, instance 1
    cv2.imwrite(str(tmp_path / "labels/ins_seg/bitmasks/train/a.png"), pixels)
    assert classes_of(loaded(tmp_path)) == ["train"]
    labels(tmp_path / "labels/ins_seg/polygons/ins_seg_train.json", category="car", poly2d=SQUARE)
    assert classes_of(loaded(tmp_path)) == ["car"]
    labels(tmp_path / "labels/ins_seg/rles/ins_seg_train.json", category="bus", rle=RLE)
    assert classes_of(loaded(tmp_path)) == ["bus"]


@pytest.mark.parametrize("place", ["labels/det_20/det_val.json", "labels/bdd100k_labels_images_val.json"])
def test_official_100k_layouts_have_boxes_only(tmp_path, place):
    image(tmp_path / "images/100k/val/a.jpg")
    labels(tmp_path / place, box2d=BOX)
    with pytest.raises(InputError, match=r"all 1 objects are boxes without masks.*rectangles_as_masks=True"):
        loaded(tmp_path, "val")
    dataset = loaded(tmp_path, "val", rectangles_as_masks=True)
    assert dataset.load_instances(0).boxes_px.tolist() == [[1, 2, 4, 6]]


def test_images_of_both_packages(tmp_path):
    """Detection labels of the 100K set find their images even if there is a 10K folder."""
    for place in ("10k/train/a", "100k/train/a", "100k/train/b", "10k/test/c", "10k/test/d", "100k/test/e"):
        image(tmp_path / f"images/{place}.jpg")
    labels(tmp_path / "labels/det_20/det_train.json", names=("a", "b"), box2d=BOX)
    dataset = loaded(tmp_path, rectangles_as_masks=True)
    folders = [info["path"].split("/")[-3] for info in dataset.image_info]
    assert folders == ["10k", "100k"]
    assert [info["name"] for info in loaded(tmp_path, "test").image_info] == ["c.jpg", "d.jpg"]  # without labels
    assert [info["name"] for info in loaded(tmp_path, "test", limit=1).image_info] == ["c.jpg"]


def test_flat_folder_takes_the_best_masks_for_every_split(tmp_path, caplog):
    image(tmp_path / "a.jpg")
    labels(tmp_path / "boxes.json", category="truck", box2d=BOX)
    labels(tmp_path / "zz_polygons.json", category="car", poly2d=SQUARE)
    coco = {
        "images": [{"id": 31, "file_name": "a.jpg", "height": 8, "width": 10}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [{"id": 1, "image_id": 31, "category_id": 1, "segmentation": [[2, 1, 6, 1, 6, 4, 2, 4]]}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    with caplog.at_level(logging.INFO):
        assert classes_of(loaded(tmp_path, "train")) == classes_of(loaded(tmp_path, "val")) == ["car"]
    assert "zz_polygons.json" in caplog.text
    dataset = loaded(tmp_path, labels=tmp_path / "coco.json")
    assert (classes_of(dataset), dataset.image_info[0]["coco_id"]) == (["pedestrian"], 31)
    labels(tmp_path / "labels/exact.json", category="bus", rle=RLE)
    assert classes_of(loaded(tmp_path)) == ["bus"]


def test_flat_folder_prefers_the_file_of_the_split(tmp_path):
    for name in ("a", "b"):
        image(tmp_path / f"images/{name}.jpg")
    labels(tmp_path / "ins_seg_train.json", names=("a",), rle=RLE)
    labels(tmp_path / "ins_seg_val.json", names=("b",), poly2d=SQUARE)
    assert [loaded(tmp_path, split).image_info[0]["name"] for split in ("train", "val")] == ["a.jpg", "b.jpg"]
    (tmp_path / "ins_seg_val.json").unlink()
    assert loaded(tmp_path, "val").image_info[0]["name"] == "a.jpg"  # nothing of val: what there is


def frame_file(path, name, category, oldest):
    """Write one image's labels in the oldest layout, or as a Scalabel frame."""
    label = {"id": 0, "category": category, "attributes": {}, "poly2d": SQUARE}
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"frames": [{"timestamp": 1, "objects": [label]}]} if oldest else {"labels": [label]}
    path.write_text(json.dumps({"name": name, **content}))


@pytest.mark.parametrize("oldest", [True, False])
@pytest.mark.parametrize(
    ("images", "frames"),
    [
        (".", "."),
        ("images/train", "images/train"),
        ("images/train", "labels/train"),
        ("images", "labels"),
        ("images/100k/train", "labels/100k/train"),
    ],
)
def test_one_json_for_each_image(tmp_path, images, frames, oldest):
    for name, category in (("a", "car"), ("b", "bus")):
        image(tmp_path / images / f"{name}.png")
        frame_file(tmp_path / frames / f"{name}.json", f"{name}.jpg", category, oldest)
    dataset = loaded(tmp_path)
    assert classes_of(dataset) == ["car", "bus"]
    assert dataset.load_instances(1).boxes_px.tolist() == [[1, 2, 4, 6]]


def test_folder_that_the_archives_were_unpacked_in(tmp_path):
    image(tmp_path / "bdd100k/images/10k/val/a.jpg")
    labels(tmp_path / "bdd100k/labels/ins_seg/polygons/ins_seg_val.json", poly2d=SQUARE)
    assert classes_of(loaded(tmp_path, "val")) == ["car"]


def test_size_of_the_whole_file(tmp_path):
    """Scalabel's config.imageSize applies to frames without a size."""
    image(tmp_path / "a.jpg", 16, 20)
    labels(tmp_path / "l.json", poly2d=SQUARE)
    frames = json.loads((tmp_path / "l.json").read_text())
    document = {"frames": frames, "config": {"imageSize": {"width": 10, "height": 8}}}
    (tmp_path / "l.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="image is 20 x 16, its labels are made for 10 x 8"):
        loaded(tmp_path)


def test_split_folders_beside_each_other(tmp_path):
    image(tmp_path / "train/a.jpg")
    image(tmp_path / "val/b.png")
    labels(tmp_path / "train.json", names=("a",), poly2d=SQUARE)
    labels(tmp_path / "val.json", names=("b",), poly2d=SQUARE)
    assert loaded(tmp_path, "val").image_info[0]["path"] == str(tmp_path / "val/b.png")
    with pytest.raises(InputError, match=r"no images for split 'test'; there are .*train"):
        loaded(tmp_path, "test")


def test_limit_takes_the_first_and_order_is_the_files(tmp_path):
    for name in "abcd":
        image(tmp_path / f"{name}.jpg")
    labels(tmp_path / "l.json", names="dxbca", poly2d=SQUARE)
    assert [info["name"] for info in loaded(tmp_path).image_info] == ["d.jpg", "b.jpg", "c.jpg", "a.jpg"]
    dataset = loaded(tmp_path, limit=2)
    assert [info["name"] for info in dataset.image_info] == ["d.jpg", "b.jpg"]
    assert [info["coco_id"] for info in dataset.image_info] == [1, 2]


def test_load_mask_is_the_full_form_of_the_instances(tmp_path):
    image(tmp_path / "a.jpg")
    labels(tmp_path / "l.json", poly2d=SQUARE)
    frames = json.loads((tmp_path / "l.json").read_text())
    frames[0]["labels"] += [
        {"id": 1, "category": "rider", "attributes": {"crowd": True}, "rle": RLE},
        {"id": 2, "category": "other vehicle", "rle": RLE},
    ]
    (tmp_path / "l.json").write_text(json.dumps(frames))
    masks, class_ids = loaded(tmp_path).load_mask(0)
    expected = np.zeros((8, 10), bool)
    expected[1:4, 2:6] = True
    assert (masks.dtype, masks.shape) == (bool, (8, 10, 3))
    assert all((masks[..., i] == expected).all() for i in range(3))
    assert class_ids.tolist() == [3, -2, -3]


def test_empty_image_has_an_empty_mask(tmp_path):
    image(tmp_path / "a.jpg")
    image(tmp_path / "b.jpg")
    labels(tmp_path / "l.json", names=("a", "b"), poly2d=SQUARE)
    frames = json.loads((tmp_path / "l.json").read_text())
    frames[0]["labels"] = None
    (tmp_path / "l.json").write_text(json.dumps(frames))
    dataset = loaded(tmp_path)
    masks, class_ids = dataset.load_mask(0)
    assert (masks.shape, class_ids.shape) == ((8, 10, 0), (0,))
    assert dataset.load_instances(0).boxes_px.tolist() == []
    assert dataset.load_instances(1).boxes_px.tolist() == [[1, 2, 4, 6]]


def test_classes_of_another_source_before_ours(tmp_path):
    image(tmp_path / "a.jpg")
    labels(tmp_path / "l.json", poly2d=SQUARE)
    dataset = BDD100KDataset()
    dataset.add_class("other", 1, "tree")
    dataset.load_bdd100k(tmp_path)
    dataset.load_bdd100k(tmp_path)  # twice: classes stay single
    dataset.prepare()
    assert dataset.class_names == ["BG", "tree", *CLASS_NAMES]
    assert classes_of(dataset) == ["car", "car"]
    assert dataset.load_instances(0).class_ids.tolist() == [dataset.map_source_class_id("bdd100k.3")]


def test_turned_photograph_has_the_size_that_is_loaded(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 10)).save(tmp_path / "a.jpg", exif=exif)  # 8 x 10 on disk, shown as 10 x 8
    labels(tmp_path / "l.json", rle=RLE)
    dataset = loaded(tmp_path)
    assert dataset.load_image(0).shape[:2] == (8, 10) == dataset.load_mask(0)[0].shape[:2]
    assert dataset.load_instances(0).boxes_px.tolist() == [[1, 2, 4, 6]]


def test_real_sample(shared_data):
    folder = shared_data / "bdd_sample"
    assert find_labels(folder, "train") == folder / "ins_seg_scalabel.json"
    dataset = loaded(folder, "val")
    assert len(dataset.image_ids) == 3
    assert sorted(classes_of(dataset)) == ["car"] * 30 + ["pedestrian"] * 3 + ["truck"] * 5
    by_bitmask = loaded(folder, labels=folder / "bitmasks")
    for info in dataset.image_info:
        first = dataset.load_mask(dataset.image_from_source_map[f"bdd100k.{info['name']}"])[0]
        second = by_bitmask.load_mask(by_bitmask.image_from_source_map[f"bdd100k.{info['name']}"])[0]
        np.testing.assert_array_equal(first, second)


def test_real_detection_sample(shared_data):
    dataset = loaded(shared_data / "bdd_det20", rectangles_as_masks=True)
    assert classes_of(dataset).count("car") == 2
    frames = json.loads((shared_data / "bdd_det20/det_train.json").read_text())
    box = next(label["box2d"] for label in frames[1]["labels"] if label["category"] in ("car", "pedestrian"))
    y1, x1, y2, x2 = dataset.load_instances(1).boxes_px[0]
    np.testing.assert_allclose([x1, y1, x2 - 1, y2 - 1], [box[side] for side in ("x1", "y1", "x2", "y2")], atol=0.5)


def test_real_coco_folder(shared_data):
    dataset = loaded(shared_data / "coco128")
    assert len(dataset.image_ids) == 128
    assert classes_of(dataset).count("train") == 3


def test_drawn_streets_read_back(tmp_path):
    from bdd100k.streets.scenes import draw_scene, write_streets

    write_streets(tmp_path / "streets", train=2, val=1, seed=5)
    exact = loaded(tmp_path / "streets")
    polygons = loaded(tmp_path / "streets", labels=tmp_path / "streets/labels/ins_seg/polygons/ins_seg_train.json")
    assert exact.image_info[0]["attributes"]["weather"]
    for image_id in exact.image_ids:
        scene = draw_scene(5, int(exact.image_info[image_id]["name"].split("-")[1].split(".")[0], 16))
        drawn = np.zeros((720, 1280, len(scene.objects)), bool)
        for i, item in enumerate(scene.objects):
            y1, x1, y2, x2 = item.box_px
            drawn[y1:y2, x1:x2, i] = item.mask
        masks, class_ids = exact.load_mask(image_id)
        np.testing.assert_array_equal(masks, drawn)
        assert [exact.class_names[i] for i in class_ids] == [item.category for item in scene.objects]
        traced = polygons.load_mask(image_id)[0]
        assert traced.shape == masks.shape
        overlap = (masks & traced).sum((0, 1)) / (masks | traced).sum((0, 1))
        assert overlap.min() > 0.7
        assert np.median(overlap) > 0.95
    assert len(loaded(tmp_path / "streets", "val").image_ids) == 1
