"""What a JSON label file is, told from its keys; each file is scanned once and parsed once."""

import json
import logging

import pytest

from bdd100k import open_data
from bdd100k.dataset import BDD100KDataset
from bdd100k.labels.load import CLASSES
from mrcnn import user_files
from mrcnn.annotations.json_kind import COCO, ISAT, LABELME, SCALABEL, SUPERVISELY, VIA, VIA3, JsonKind, json_kind
from mrcnn.errors import InputError
from tests.annotated import (
    coco_document,
    folder,
    isat_document,
    labelme_document,
    picture,
    supervisely_document,
    via3_document,
    via_entry,
    write,
)

SQUARE = [{"vertices": [[2, 1], [6, 1], [6, 4], [2, 4]], "types": "LLLL", "closed": True}]
RLE = {"size": [12, 20], "counts": [25, 2, 213]}


def frames(**mask):
    return [{"name": "a.jpg", "labels": [{"id": 0, "category": "car", "rle": None, "poly2d": None, **mask}]}]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (coco_document(), JsonKind(COCO, categories=((9, "stem"), (5, "leaf")))),
        ({"a.jpg1": via_entry("a")}, JsonKind(VIA)),
        ({"_via_img_metadata": {}}, JsonKind(VIA)),
        (labelme_document("a"), JsonKind(LABELME)),
        (via3_document(), JsonKind(VIA3)),
        (isat_document("a"), JsonKind(ISAT)),
        (isat_document("a") | {"objects": []}, JsonKind(ISAT)),
        (supervisely_document(), JsonKind(SUPERVISELY)),
        (supervisely_document() | {"objects": []}, JsonKind(SUPERVISELY)),
        ({"classes": [{"title": "leaf"}], "tags": []}, JsonKind(None)),  # Supervisely's meta.json
        (frames(rle=RLE, poly2d=SQUARE), JsonKind(SCALABEL, "rle")),
        (frames(poly2d=SQUARE), JsonKind(SCALABEL, "poly2d")),
        (frames(box2d={}), JsonKind(SCALABEL)),
        ({"name": "a", "frames": [{"objects": []}]}, JsonKind(SCALABEL)),
        ({"images": [], "annotations": [{"caption": "a cat"}]}, JsonKind(None)),  # COCO's captions
        (["images", "annotations", "categories"], JsonKind(None)),  # values, not keys
        ({}, JsonKind(None)),
        ("", JsonKind(None)),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_kinds(tmp_path, document, expected, indent):
    text = document if isinstance(document, str) else json.dumps(document, indent=indent)
    assert json_kind(write(tmp_path / "l.json", text)) == expected


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("padding", [0, 200_000])
def test_category_names_at_either_end_of_a_large_file(tmp_path, first, padding):
    categories = [{"id": 0, "name": "Stra\u00dfe "}, {"id": 2.0, "name": 7}, {"id": "x", "name": "b"}, {"id": 4}, 5]
    rest = {"images": [], "annotations": [{"text": "x" * padding}]}
    document = {"categories": categories, **rest} if first else {**rest, "categories": categories}
    path = tmp_path / "l.json"
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    assert json_kind(path).categories == ((0, "Stra\u00dfe"), (2, "7"), ("x", "b"))


def test_a_list_of_many_categories_is_read_whole(tmp_path):
    names = [f"category with a long name {i}" for i in range(3000)]
    categories = [{"id": i, "name": name} for i, name in enumerate(names)]
    path = write(tmp_path / "l.json", {"images": [], "categories": categories, "annotations": []})
    assert json_kind(path).categories == tuple(enumerate(names))


def test_broken_files(tmp_path):
    cut = json.dumps({"images": [], "annotations": [], "categories": [{"id": 1, "name": "leaf"}]})[:-8]
    assert json_kind(write(tmp_path / "cut.json", cut)) == JsonKind(COCO)  # whoever parses it names the fault
    with pytest.raises(InputError, match=r"none\.json: cannot be read: No such file"):
        json_kind(tmp_path / "none.json")


def test_a_file_that_changes_is_looked_at_again(tmp_path):
    path = write(tmp_path / "l.json", frames(poly2d=SQUARE))
    assert json_kind(path).masks == "poly2d"
    assert json_kind(write(path, frames(rle=RLE, poly2d=SQUARE))).masks == "rle"


@pytest.mark.parametrize("kind", ["via", "coco", "bdd100k coco", "scalabel"])
def test_a_file_is_read_once_to_recognise_it_and_parsed_once(tmp_path, monkeypatch, kind):
    open_data.is_custom.cache_clear()
    if kind == "scalabel":
        picture(tmp_path / "a.jpg")
        path = write(tmp_path / "labels.json", frames(poly2d=SQUARE))
    else:
        path = folder(tmp_path, kind.split()[-1], ("a", "b", "c"))
        if kind == "bdd100k coco":
            categories = [{"id": number, "name": name} for number, name in CLASSES]
            write(path, json.loads(path.read_text()) | {"categories": [*categories, {"id": 9, "name": "van"}]})
    parsed, read = [], []
    parse, open_file = user_files.parse_json, user_files.open_file
    monkeypatch.setattr(user_files, "parse_json", lambda *text: parsed.append(text) or parse(*text))
    monkeypatch.setattr(user_files, "open_file", lambda path, pipe: read.append(path) or open_file(path, pipe))
    custom = open_data.is_custom(str(tmp_path))
    assert custom == (kind in ("via", "coco")) and not parsed
    dataset = open_data.open_dataset(str(tmp_path), "train")
    assert isinstance(dataset, BDD100KDataset) != custom
    assert len(parsed) == 1 and read.count(path) == 2  # once to recognise it, once to parse it


def test_summary_before_labels_are_refused(tmp_path, caplog):
    """All objects are boxes: the log still says what the file holds."""
    open_data.is_custom.cache_clear()
    picture(tmp_path / "a.jpg")
    box = {"x1": 2, "y1": 1, "x2": 5, "y2": 3}
    document = frames(box2d=box)
    document[0]["labels"].append({"id": 1, "category": "road", "box2d": box})
    write(tmp_path / "l.json", document)
    with caplog.at_level(logging.INFO), pytest.raises(InputError, match="all 1 objects are boxes without masks"):
        open_data.open_dataset(str(tmp_path), "train")
    assert "skipped categories without instances: 1 'road'" in caplog.text
