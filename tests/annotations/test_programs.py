"""The exports in the table of docs/data.md, laid out as the programs write them: one leaf and one stem per image."""

import copy

import numpy as np
import pytest

from bdd100k import open_data
from tests.annotated import HEIGHT, LEAF, STEM, WIDTH, coco_document, masks, picture, write, yolo_text


@pytest.fixture(autouse=True)
def fresh():
    open_data.is_custom.cache_clear()


def coco(names, categories, first_image=0, prefix="", **fields):
    """A COCO file of two objects an image; categories are (id, name), the last two those of leaf and stem."""
    document = copy.deepcopy(coco_document(names))
    ids = dict(zip((5, 9), [category for category, _ in categories[-2:]], strict=True))
    document["categories"] = [{"id": i, "name": name, **fields} for i, name in categories]
    for image in document["images"]:
        image.update(id=image["id"] + first_image, file_name=prefix + image["file_name"])
    for annotation in document["annotations"]:
        annotation["image_id"] += first_image
        annotation["category_id"] = ids[annotation["category_id"]]
    return document


def cvat_coco(root):
    document = coco(("a", "b"), [(1, "leaf"), (2, "stem")], first_image=1, supercategory="")
    for annotation in document["annotations"]:
        annotation.update(attributes={"occluded": False}, area=12.0)
    extra = {"licenses": [{"name": "", "id": 0, "url": ""}], "info": {"contributor": "", "date_created": ""}}
    write(root / "annotations/instances_default.json", {**extra, **document})
    for name in "ab":
        picture(root / "images" / f"{name}.jpg")


def cvat_yolo(root):
    write(root / "data.yaml", "names:\n  0: leaf\n  1: stem\npath: .\ntrain: train.txt\n")
    write(root / "train.txt", "data/images/train/a.jpg\ndata/images/train/b.jpg\n")
    for name in "ab":
        picture(root / "images/train" / f"{name}.jpg")
        write(root / "labels/train" / f"{name}.txt", yolo_text())


def label_studio_coco(root):
    document = coco(("a", "b"), [(0, "leaf"), (1, "stem")], prefix="images\\", first_image=0)
    for annotation in document["annotations"]:
        annotation.update(ignore=0, area=12)
    write(root / "result.json", {**document, "info": {"year": 2024, "version": "1.0", "contributor": "Label Studio"}})
    for name in "ab":
        picture(root / "images" / f"{name}.jpg")


def label_studio_yolo(root):
    write(root / "classes.txt", "leaf\nstem\n")
    write(root / "notes.json", {"categories": [{"id": 0, "name": "leaf"}, {"id": 1, "name": "stem"}], "info": {}})
    for name in "ab":
        picture(root / "images" / f"{name}.jpg")
        write(root / "labels" / f"{name}.txt", yolo_text())


def roboflow_coco(root):
    for split, name in (("train", "a"), ("valid", "b")):
        categories = [(0, "plants"), (1, "leaf"), (2, "stem")]
        write(root / split / "_annotations.coco.json", coco((name,), categories, supercategory="plants"))
        picture(root / split / f"{name}.jpg")
    write(root / "README.roboflow.txt", "plants\n")


def roboflow_yolo(root):
    text = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['leaf', 'stem']\n"
    write(root / "data.yaml", text + "\nroboflow:\n  workspace: w\n  project: p\n  version: 1\n")
    for split, name in (("train", "a"), ("valid", "b")):
        picture(root / split / "images" / f"{name}.jpg")
        write(root / split / "labels" / f"{name}.txt", yolo_text())


def makesense_coco(root):
    document = coco(("a", "b"), [(1, "leaf"), (2, "stem")], first_image=1)
    write(root / "labels_my-project_2024-05-01.json", {"info": {"description": "my-project-name"}, **document})
    for name in "ab":
        picture(root / f"{name}.jpg")


def makesense_vgg(root):
    def region(points, label):
        x, y = zip(*[*points, points[0]], strict=True)
        shape = {"name": "polygon", "all_points_x": list(x), "all_points_y": list(y)}
        return {"shape_attributes": shape, "region_attributes": {"label": label}}

    entries = {}
    for name in "ab":
        picture(root / f"{name}.jpg")
        regions = {"0": region(LEAF, "leaf"), "1": region(STEM, "stem")}
        entry = {"fileref": "", "size": 1, "filename": f"{name}.jpg", "base64_img_data": "", "file_attributes": {}}
        entries[f"{name}.jpg"] = {**entry, "regions": regions}
    write(root / "labels_my-project.json", entries)


PROGRAMS = [
    cvat_coco,
    cvat_yolo,
    label_studio_coco,
    label_studio_yolo,
    roboflow_coco,
    roboflow_yolo,
    makesense_coco,
    makesense_vgg,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=[program.__name__ for program in PROGRAMS])
def test_exports(tmp_path, program):
    program(tmp_path)
    train, val = (open_data.open_dataset(str(tmp_path), split) for split in ("train", "val"))
    assert sorted(info["name"].split("/")[-1] for part in (train, val) for info in part.image_info) == [
        "a.jpg",
        "b.jpg",
    ]
    for dataset in (train, val):
        assert dataset.findings.entries == []
        assert [name for name in dataset.class_names if name != "plants"] == ["BG", "leaf", "stem"]
        np.testing.assert_array_equal(dataset.load_mask(0)[0], masks())
        assert [dataset.class_names[i] for i in dataset.load_class_ids(0)] == ["leaf", "stem"]
        assert dataset.load_image(0).shape == (HEIGHT, WIDTH, 3)
