"""Label files as people have them: each folder of tests/field failed once, in its own way."""

import json
import logging
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from bdd100k import open_data
from bdd100k.checks import before_training
from bdd100k.evaluation.predictions import load_any
from mrcnn.annotations.findings import CROWD
from mrcnn.annotations.folder import open_folder
from mrcnn.annotations.label_checks import check_annotated_folder
from mrcnn.errors import InputError
from mrcnn.evaluation.coco_results import category_ids, class_of_category
from mrcnn.evaluation.evaluator import evaluate
from tests.annotated import coco_document, folder, picture, write

FIELD = pathlib.Path(__file__).parent.parent / "field"
CHECK = pathlib.Path(__file__).parent.parent.parent / "scripts" / "check_data.py"


@pytest.fixture(autouse=True)
def fresh():
    open_data.is_custom.cache_clear()


def opened(name, split, **options):
    return open_data.open_dataset(str(FIELD / name), split, **options)


# Ids of a file go in and out unchanged


def test_roboflow_root_category_with_id_0():
    """Perfect predictions in the file's ids have an AP of 1, and come out with the same ids."""
    dataset = opened("roboflow_category0", "val")
    assert dataset.class_names == ["BG", "fruits", "apple", "pear"]
    found = load_any(FIELD / "roboflow_category0/pred.json", dataset)
    assert [entry["category_id"] for entry in found] == [1, 2, 1, 2]
    result = evaluate(found, dataset)
    assert result.mask.AP == pytest.approx(1)
    assert [(name, c.category_id) for name, c in result.per_class.items()] == [("fruits", 0), ("apple", 1), ("pear", 2)]
    assert [entry["category_id"] for entry in result.predictions] == [1, 2, 1, 2]


def perfect(dataset, category_of):
    """A prediction for each object: its own mask under the ids of the file."""
    entries = []
    for info in dataset.image_info:
        for label in info["annotated"].objects:
            polygons = [polygon.ravel().tolist() for polygon in label.polygons]
            entry = {"image_id": info["coco_id"], "category_id": category_of[label.name], "score": 0.9}
            entries.append({**entry, "segmentation": polygons})
    return entries


@pytest.mark.parametrize(
    ("ids", "kept"),
    [((0, 3), [0, 3]), ((-1, 7), [-1, 7]), ((0.0, 3.0), [0, 3]), (("leaf-id", "2"), ["leaf-id", "2"])],
)
def test_category_ids_of_any_value(tmp_path, ids, kept):
    folder(tmp_path, "coco")
    names = dict(zip((5, 9), ids, strict=True))
    document = coco_document()
    document["categories"] = [{"id": ids[0], "name": "leaf"}, {"id": ids[1], "name": "stem"}]
    for annotation in document["annotations"]:
        annotation["category_id"] = names[annotation["category_id"]]
    for image in document["images"]:  # ids of images may be text too
        image["id"] = f"image {image['id']}"
    for annotation in document["annotations"]:
        annotation["image_id"] = f"image {annotation['image_id']}"
    write(tmp_path / "labels.json", document)
    dataset = open_folder(tmp_path)
    assert dict(zip(category_ids(dataset)[1:], dataset.class_names[1:], strict=True)) == dict(
        zip(kept, ("leaf", "stem"), strict=True)
    )
    result = evaluate(perfect(dataset, dict(zip(("leaf", "stem"), ids, strict=True))), dataset)
    assert result.mask.AP == pytest.approx(1)
    assert {entry["category_id"] for entry in result.predictions} == set(kept)
    assert {entry["image_id"] for entry in result.predictions} == {"image 0", "image 1"}


def test_categories_of_one_name_are_one_class(tmp_path):
    """Roboflow repeats the only class as the root. Both ids are read; the one that objects have is written."""
    folder(tmp_path, "coco")
    document = coco_document()
    document["categories"] = [{"id": 0, "name": "leaf"}, {"id": 5, "name": "leaf "}, {"id": 9, "name": "stem"}]
    write(tmp_path / "labels.json", document)
    dataset = open_folder(tmp_path)
    assert dataset.class_names == ["BG", "leaf", "stem"]
    assert category_ids(dataset) == [0, 5, 9]
    assert class_of_category(dataset) == {0: 1, 5: 1, 9: 2}
    for own in (0, 5):
        result = evaluate(perfect(dataset, {"leaf": own, "stem": 9}), dataset)
        assert result.mask.AP == pytest.approx(1)
        assert {entry["category_id"] for entry in result.predictions} == {5, 9}
    (note,) = check_annotated_folder(tmp_path).entries
    assert "category ids 5, 0 are all called 'leaf'" in str(note)


def test_one_id_with_two_names_is_refused(tmp_path):
    folder(tmp_path, "coco")
    write(tmp_path / "labels.json", coco_document() | {"categories": [{"id": 5, "name": n} for n in ("leaf", "stem")]})
    with pytest.raises(InputError, match="category id 5 has two names, 'leaf' and 'stem'"):
        open_folder(tmp_path)


def test_a_category_name_says_more_than_an_id():
    """scripts/detect.py numbers classes from 1, the file from 0: the name decides."""
    dataset = opened("ids_zero", "val")
    assert category_ids(dataset) == [0, 0, 3]
    entry = {"image_id": 0, "score": 0.5, "segmentation": [[5, 5, 25, 5, 25, 25]]}
    named = [{**entry, "category_id": 1, "category_name": "leaf"}, {**entry, "category_id": 2, "category_name": "bud"}]
    assert [found["category_id"] for found in evaluate(named, dataset).predictions] == [0, 3]
    with pytest.raises(InputError, match="category_name 'root' is unknown; the dataset has 0 leaf, 3 bud"):
        evaluate([{**entry, "category_id": 3, "category_name": "root"}], dataset)


def test_splits_number_their_categories_in_their_own_way(tmp_path):
    """Classes go by name and have one order; each split keeps the ids of its file."""
    for split, names in (("train", ("leaf", "stem")), ("val", ("stem", "bud"))):
        folder(tmp_path / split, "coco", (f"{split}0", f"{split}1"))
        document = coco_document((f"{split}0", f"{split}1"))
        document["categories"] = [{"id": 5 + 4 * i, "name": name} for i, name in enumerate(names)]
        write(tmp_path / split / "labels.json", document)
    train, val = (open_folder(tmp_path, split) for split in ("train", "val"))
    assert train.class_names == val.class_names == ["BG", "leaf", "stem", "bud"]
    assert category_ids(train) == [0, 5, 9, 1]
    assert category_ids(val) == [0, 1, 5, 9]
    assert [val.class_names[i] for i in val.load_class_ids(0)] == ["stem", "bud"]
    both = open_folder(tmp_path)  # 5 is leaf in one file and stem in the other
    assert [[both.class_names[c] for c in both.load_class_ids(i)] for i in (0, 2)] == [
        ["leaf", "stem"],
        ["stem", "bud"],
    ]
    assert len(set(category_ids(both)[1:])) == 3


def test_categories_that_one_split_lacks():
    train, val = (opened("split_missing_cat", split) for split in ("train", "val"))
    assert train.class_names == val.class_names == ["BG", "cat", "dog"]


# Splits


def test_no_fifth_is_held_out_where_val_has_its_own_file():
    assert [len(opened("lost_fifth_coco", split).image_ids) for split in ("train", "val")] == [10, 5]


@pytest.mark.parametrize("name", ["roboflow_category0", "ids_zero", "car_person", "car_van", "person_roboflow"])
def test_every_image_of_a_split_is_in_it(name):
    for split, files in (("train", ("train", "train2017")), ("val", ("val", "valid", "val2017"))):
        images = {path.name for file in files for path in (FIELD / name / file).glob("*.png")}
        assert {pathlib.Path(info["path"]).name for info in opened(name, split).image_info} == images != set()


# Whose classes


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("person_roboflow", ["person"]),
        ("person_flat", ["person"]),
        ("person_nosize", ["person"]),
        ("car_person", ["car", "person"]),
        ("car_van", ["car", "van", "bus", "truck"]),
    ],
)
def test_names_of_bdd100k_do_not_make_data_bdd100ks(name, classes, caplog):
    caplog.set_level(logging.INFO)
    train, val = (opened(name, split) for split in ("train", "val"))
    assert train.class_names == val.class_names == ["BG", *classes]
    assert set(np.concatenate([train.load_class_ids(i) for i in train.image_ids])) == set(range(1, len(classes) + 1))
    assert f"{FIELD / name}: data with classes of its own (--classes bdd100k reads it as BDD100K)" in caplog.text


def test_one_option_decides_otherwise():
    person = opened("person_flat", "train", classes="bdd100k")
    assert person.class_names[person.load_class_ids(0)[0]] == "pedestrian"


def test_bdd100ks_names_in_a_coco_file_can_stay_their_own(tmp_path, caplog):
    from bdd100k.config import CLASS_NAMES

    caplog.set_level(logging.INFO)
    folder(tmp_path, "coco")
    names = [*CLASS_NAMES, "van"]
    document = coco_document() | {"categories": [{"id": 5 + i, "name": name} for i, name in enumerate(names)]}
    write(tmp_path / "labels.json", document)
    assert open_data.open_dataset(str(tmp_path), "train").class_names == ["BG", *CLASS_NAMES]
    assert "BDD100K, by its coco (--classes own keeps" in caplog.text
    assert open_data.open_dataset(str(tmp_path), "train", classes="own").class_names == ["BG", *names]


# Values of objects


def test_text_0_is_no_crowd():
    dataset = open_folder(FIELD / "crowd_str")
    assert [dataset.load_class_ids(i).tolist() for i in dataset.image_ids] == [[1], [1], [1]]


def test_crowds_are_counted_and_named():
    findings = check_annotated_folder(FIELD / "cvat_all_crowd")
    assert findings.counts() == {"only crowds": 1, CROWD: 6}
    assert findings.objects == 0
    assert {finding.image for finding in findings.entries if finding.kind == CROWD} == {
        f"images/i{i}.png" for i in range(6)
    }
    with pytest.raises(InputError, match=r'all 5 objects are crowds or ignored, .* set "iscrowd" to 0 in the file'):
        before_training(open_folder(FIELD / "cvat_all_crowd", "train"), "train")


def test_check_data_says_whose_classes_and_which_crowds():
    done = subprocess.run(
        [sys.executable, str(CHECK), "--data", str(FIELD / "cvat_all_crowd")], capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert "data with classes of its own" in done.stderr
    assert "crowd or ignored object: 6 (training: neither an object nor background)" in done.stdout


def test_a_part_of_two_points_beside_a_polygon():
    dataset = open_folder(FIELD / "seg_4numbers_extra")
    assert dataset.findings.entries == []
    assert [dataset.load_mask(i)[0].sum() for i in dataset.image_ids] == [400, 400, 400]


def test_an_empty_polygon_with_a_box_is_a_box():
    assert open_folder(FIELD / "seg_nested_empty").findings.boxes_left_out == 1
    filled = open_folder(FIELD / "seg_nested_empty", rectangles_as_masks=True)
    assert [filled.load_mask(i)[0].sum() for i in filled.image_ids] == [400, 400, 400]


@pytest.mark.parametrize("name", ["float_ids", "bom"])
def test_numbers_of_pandas_and_byte_order_marks(name):
    dataset = open_folder(FIELD / name)
    assert (dataset.findings.entries, dataset.class_names) == ([], ["BG", "leaf", "bud"])
    assert [dataset.load_mask(i)[0].sum() for i in dataset.image_ids] == [400, 400, 400]


def test_sizes_of_pandas(tmp_path):
    folder(tmp_path, "coco")
    document = coco_document()
    for image in document["images"]:
        image.update(height=float(image["height"]), width=float(image["width"]))
    document["annotations"][0]["segmentation"] = {"size": [12.0, 20.0], "counts": [13, 3, 224]}
    write(tmp_path / "labels.json", document)
    dataset = open_folder(tmp_path)
    assert dataset.findings.entries == []
    assert dataset.load_mask(0)[0][1:4, 1, 0].all() and dataset.load_mask(0)[0][..., 0].sum() == 3


def test_names_that_are_numbers():
    dataset = open_folder(FIELD / "numeric_names")
    assert dataset.class_names == ["BG", "1", "2"]
    assert [dataset.load_class_ids(i).tolist() for i in dataset.image_ids] == [[1], [1], [1]]


# Images


def test_a_name_in_other_case():
    dataset = open_folder(FIELD / "upper_ext")
    assert [info["name"] for info in dataset.image_info] == ["im0.png", "im1.png", "im2.png"]


def test_the_same_case_comes_first(tmp_path):
    folder(tmp_path, "coco")
    picture(tmp_path / "A.JPG")
    assert [info["name"] for info in open_folder(tmp_path).image_info] == ["a.jpg", "b.jpg"]


def test_a_name_that_is_there_twice():
    with pytest.raises(InputError, match=r"2 images have this name \(a/im0.png, b/im0.png\)"):
        open_folder(FIELD / "same_names")


def test_labels_made_without_the_exif_orientation():
    with pytest.raises(InputError, match="image is 64 x 96, its labels are made for 96 x 64 .* EXIF orientation"):
        open_folder(FIELD / "ls_exif_swapped")


@pytest.mark.parametrize("content", [{"a": [1]}, {"objects": [{"name": "x"}]}, [{"labels": 3}]])
def test_an_unknown_format_is_not_called_bdd100k(tmp_path, content):
    picture(tmp_path / "a.jpg")
    write(tmp_path / "a.json", json.dumps(content))
    with pytest.raises(InputError, match="no labels in a known format") as error:
        open_data.open_dataset(str(tmp_path), "train")
    assert "labels=" not in str(error.value)


@pytest.mark.parametrize("shift", [-1, 30])
def test_bdd100k_coco_with_other_ids(tmp_path, shift):
    """The file's ids are understood and written; BDD100K's protocols and submissions use the official ones."""
    from bdd100k.config import CLASS_NAMES
    from bdd100k.evaluation.protocols import OfficialEvaluator

    folder(tmp_path, "coco")
    document = coco_document()
    document["categories"] = [{"id": i + 1 + shift, "name": name} for i, name in enumerate(CLASS_NAMES)]
    document["categories"].append({"id": 77, "name": "van"})
    for annotation in document["annotations"]:
        annotation["category_id"] = {5: 3 + shift, 9: 5 + shift}[annotation["category_id"]]
    write(tmp_path / "labels.json", document)
    dataset = open_data.open_dataset(str(tmp_path), "train")
    assert category_ids(dataset) == [0, *(i + shift for i in range(1, 9))]
    assert [dataset.class_names[i] for i in dataset.load_class_ids(0)] == ["car", "bus"]
    submitted = []
    evaluator = OfficialEvaluator(dataset, lambda name, flat, shape: submitted.append(flat.entries), False)
    for car in (3 + shift, 77):
        result = evaluate(perfect(dataset, {"car": car, "bus": 5 + shift}), dataset, benchmark=evaluator)
        assert result.mask.AP == pytest.approx(1)
        assert result.official.bitmask.mask.AP == pytest.approx(1)
        assert {entry["category_id"] for entry in result.predictions} == {3 + shift, 5 + shift}
        assert {entry["category_id"] for entry in submitted[-1]} == {3, 5}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_label_files_of_windows(tmp_path, encoding):
    """PowerShell writes UTF-16 with a byte order mark."""
    folder(tmp_path, "coco")
    text = json.dumps(coco_document(), ensure_ascii=False).replace("leaf", "Blättchen")
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "labels.json").write_bytes((mark + text).encode(encoding))
    dataset = open_data.open_dataset(str(tmp_path), "train")
    assert dataset.class_names == ["BG", "Blättchen", "stem"]
    assert dataset.load_class_ids(0).tolist() == [1, 2]


def test_an_image_beyond_the_limit_is_left_out_by_name(tmp_path):
    folder(tmp_path, "coco")
    picture(tmp_path / "b.jpg", 120, 200)
    dataset = open_folder(tmp_path, max_pixels=23999)
    assert [info["name"] for info in dataset.image_info] == ["a.jpg"]
    (finding,) = dataset.findings.entries
    assert (finding.kind, finding.image) == ("unreadable image", "b.jpg") and "24000 pixels" in finding.detail
