"""Every fault planted in a folder is found by file, image and label id; the geometry against brute force."""

import itertools
import json
import logging
import pathlib
import runpy
import sys
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdd100k.checks import before_training, check_folder
from bdd100k.dataset import BDD100KDataset
from mrcnn import errors
from mrcnn.annotations.checks import ObjectTable, check_dataset, duplicates, empty, masks_alike, outside
from mrcnn.annotations.crossings import crossing
from mrcnn.annotations.findings import KINDS, report_lines
from mrcnn.annotations.folder import open_folder
from mrcnn.annotations.label_checks import check_annotated_folder
from mrcnn.data.dataset import Dataset
from mrcnn.errors import InputError
from mrcnn.structures.polygons import polygons_to_crop

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "check_data.py"
HEIGHT, WIDTH = 40, 60


def path(*points):
    return {"vertices": [list(p) for p in points], "types": "L" * len(points), "closed": True}


def box(x1, y1, x2, y2):
    return path((x1, y1), (x2, y1), (x2, y2), (x1, y2))


def label(label_id, *paths, category="car", **more):
    return {"id": label_id, "category": category, **({"poly2d": list(paths)} if paths else {}), **more}


def write(folder, split, frames, pictures):
    """The official layout; `pictures` are names of image files, (height, width) where they are not HEIGHT x WIDTH."""
    images, labels = folder / "images/10k" / split, folder / "labels/ins_seg/polygons"
    images.mkdir(parents=True)
    labels.mkdir(parents=True, exist_ok=True)
    for name, size in pictures.items():
        noise = np.random.default_rng(0).integers(0, 255, (*(size or (HEIGHT, WIDTH)), 3), np.uint8)
        cv2.imwrite(str(images / name), noise)
    (labels / f"ins_seg_{split}.json").write_text(json.dumps(frames))
    return images


GOOD = label("good", box(5, 5, 25, 20))
FRAMES = [
    {
        "name": "a.jpg",
        "size": {"width": WIDTH, "height": HEIGHT},
        "labels": [
            GOOD,
            label("wide", box(40, 30, WIDTH + 7, HEIGHT)),
            label("away", box(WIDTH + 5, 5, WIDTH + 9, 9)),
            label("bow", path((30, 5), (50, 15), (50, 5), (30, 15))),
            label("twin", box(5, 5, 25, 20)),
            label("two points", path((1, 1), (2, 2))),
            label("zebra", box(1, 1, 9, 9), category="zebra"),
            label("other class", box(5, 5, 25, 20), category="bus"),
            label("boxed", box2d={"x1": 1, "y1": 1, "x2": 5, "y2": 5}),
            label("empty", rle={"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}),
        ],
    },
    {"name": "a.jpg", "labels": [GOOD]},
    {"name": "bare.jpg", "labels": []},
    {"name": "gone.jpg", "labels": [GOOD]},
    {"name": "odd.jpg", "size": {"width": WIDTH, "height": HEIGHT}, "labels": [GOOD]},
    {"name": "text.jpg", "labels": [GOOD]},
    {"name": "cut.jpg", "labels": [GOOD]},
    {"labels": [GOOD]},
]
PICTURES = {"a.jpg": None, "bare.jpg": None, "odd.jpg": (30, 30), "text.jpg": None, "cut.jpg": None, "lone.jpg": None}
# kind, image, label id, words of the finding; `twin` and `good` lie under `other class`, which is labelled later
PLANTED = [
    ("outside the image", "a.jpg", "wide", "7 px"),
    ("no area", "a.jpg", "away", "no pixel"),
    ("no area", "a.jpg", "empty", "rle is empty"),
    ("self-crossing outline", "a.jpg", "bow", "x 40.0, y 10.0"),
    ("duplicate object", "a.jpg", "twin", "'good'"),
    ("unusable label", "a.jpg", "two points", "2 points"),
    ("unknown name", "a.jpg", "zebra", "zebra"),
    ("box without mask", "a.jpg", "boxed", "no outline"),
    ("hidden object", "a.jpg", "good", "cover"),
    ("hidden object", "a.jpg", "twin", "cover"),
    ("duplicate image", "a.jpg", None, "came before"),
    ("image without objects", "bare.jpg", None, ""),
    ("missing image", "gone.jpg", None, ""),
    ("size differs", "odd.jpg", None, "30 x 30"),
    ("unreadable image", "text.jpg", None, "cannot be read"),
    ("broken image", "cut.jpg", None, "truncated"),
    ("image without labels", "lone.jpg", None, ""),
    ("unusable frame", None, None, "no name"),
]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faulty")
    images = write(folder, "train", FRAMES, PICTURES)
    (images / "text.jpg").write_text("no picture")
    (images / "cut.jpg").write_bytes((images / "cut.jpg").read_bytes()[:-300])
    write(
        folder,
        "val",
        [{"name": "a.jpg", "labels": [GOOD]}, {"name": "v.jpg", "labels": [GOOD]}],
        {"a.jpg": None, "v.jpg": None},
    )
    return folder


@pytest.fixture
def clean(tmp_path):
    write(
        tmp_path,
        "train",
        [{"name": "a.jpg", "labels": [GOOD]}, {"name": "b.jpg", "labels": []}],
        {"a.jpg": None, "b.jpg": None},
    )
    return tmp_path


def loaded(folder, split="train"):
    dataset = BDD100KDataset()
    dataset.load_bdd100k(folder, split)
    dataset.prepare()
    return dataset


def found(report):
    return sorted((f.kind, f.image or "", f.label or "") for f in report.entries)


def test_every_planted_fault_is_found_and_nothing_else(faulty):
    report = check_folder(faulty, "train", images=True)["train"]
    assert found(report) == sorted((kind, image or "", label_id or "") for kind, image, label_id, _ in PLANTED)
    for kind, image, label_id, words in PLANTED:
        (finding,) = [f for f in report.entries if (f.kind, f.image, f.label) == (kind, image, label_id)]
        assert words in finding.detail, finding
        assert finding.file.startswith(str(faulty)), finding
    assert (report.images, report.objects) == (3, 5)  # wide, bow, other class, boxed of a.jpg and good of cut.jpg
    assert report.classes == {"car": 4, "bus": 1, **dict.fromkeys(set(report.classes) - {"car", "bus"}, 0)}
    assert report.unknown == {"zebra": 1}


def test_an_image_of_two_splits(faulty):
    reports = check_folder(faulty)
    assert list(reports) == ["train", "val"]
    assert [f.image for f in reports["val"].entries if f.kind == "image in two splits"] == ["a.jpg"]


def test_the_fast_check_takes_boxes_alone(faulty, caplog):
    with caplog.at_level(logging.WARNING):
        report = before_training(loaded(faulty), "train")
    full = {"self-crossing outline", "hidden object", "broken image", "box without mask"}
    expected = [(k, image or "", label_id or "") for k, image, label_id, _ in PLANTED if k not in full]
    assert found(report) == sorted([*expected, ("box without mask", "", "")])
    line = caplog.records[-1].getMessage()
    assert "check of train: " in line and "2 no area (left out)" in line and "1 duplicate object (kept)" in line


def test_nothing_left_to_train_on(tmp_path):
    away = label("away", box(WIDTH + 5, 5, WIDTH + 9, 9))
    write(tmp_path, "train", [{"name": "a.jpg", "labels": [away]}], {"a.jpg": None})
    with pytest.raises(InputError, match=r"not one object of split 'train' can be used: 1 no area"):
        before_training(loaded(tmp_path), "train")


def test_flat_folder_of_two_label_files_is_not_full_of_unlabelled_images(tmp_path):
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    for name, split in (("a", "train"), ("b", "val")):
        (tmp_path / f"{split}.json").write_text(json.dumps([{"name": f"{name}.jpg", "labels": [GOOD]}]))
    reports = check_folder(tmp_path)
    assert [(split, found(report)) for split, report in reports.items()] == [("train", []), ("val", [])]
    (tmp_path / "val.json").unlink()
    assert {split: found(report) for split, report in check_folder(tmp_path).items()} == {
        "all": [("image without labels", "b.jpg", "")]
    }


def test_boxes_alone_are_no_masks(tmp_path):
    boxed = label("b", box2d={"x1": 1, "y1": 1, "x2": WIDTH + 9, "y2": 5})
    write(tmp_path, "train", [{"name": "a.jpg", "labels": [boxed]}], {"a.jpg": None})
    assert [kind for kind, _, _ in found(check_folder(tmp_path, "train")["train"])] == [
        "box without mask",
        "no masks",
        "outside the image",
    ]


def test_script(faulty, clean, monkeypatch, capsys, tmp_path):
    main = runpy.run_path(str(SCRIPT))["main"]

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["check_data.py", *map(str, arguments)])
        return errors.exit_code(main), capsys.readouterr()

    code, output = run("--data", clean)
    assert code == 0 and "note     image without objects: 1" in output.out and "0 problems, 1 notes" in output.out
    code, output = run("--data", faulty, "--images", "--json", tmp_path / "faults.json", "--most", 1)
    assert code == 1 and "PROBLEM  no area: 2 (training: left out)" in output.out and "... and 1 more" in output.out
    content = json.loads((tmp_path / "faults.json").read_text())["splits"]["train"]
    assert content["counts"]["no area"] == 2 and content["problems"] == 13
    assert {"kind": "unknown name", "label": "zebra"}.items() <= next(
        f for f in content["findings"] if f["kind"] == "unknown name"
    ).items()
    code, output = run("--data", tmp_path / "nowhere")
    assert code == 2 and "no such folder" in output.err
    code, output = run("--data", clean, "--json", tmp_path / "no" / "where.json")
    assert code == 2 and "cannot write" in output.err


def test_report_names_the_first_of_each_kind(faulty):
    report = check_folder(faulty, "train")["train"]
    lines = report_lines(report, limit=1)
    assert sum("label 'away'" in line or "label 'empty'" in line for line in lines) == 1
    severities = [line.split()[0] for line in lines if line.startswith(("  PROBLEM", "  note"))]
    assert severities == sorted(severities)  # problems first
    assert all(kind in KINDS for kind in report.counts())


# Folders of other kinds


def test_coco_with_classes_of_its_own(tmp_path, monkeypatch, capsys):
    for name in ("a", "b", "lone"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    square, bow = [5, 5, 25, 5, 25, 20, 5, 20], [30, 5, 50, 15, 50, 5, 30, 15]
    outlines = [square, square, bow, [WIDTH + 5, 5, WIDTH + 9, 5, WIDTH + 9, 9], [1, 1, 2], [40, 30, 70, 30, 70, 39]]
    annotations = [
        {"id": 10 + i, "image_id": 1, "category_id": 1, "segmentation": [outline]} for i, outline in enumerate(outlines)
    ]
    images = [
        {"id": i, "file_name": f"{name}.png", "height": HEIGHT, "width": WIDTH}
        for i, name in enumerate(("a", "b", "gone"), 1)
    ]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "leaf"}]}
    (tmp_path / "coco.json").write_text(json.dumps(document))
    report = check_annotated_folder(tmp_path)
    assert found(report) == [
        ("duplicate object", "a.png", "11"),
        ("image without labels", "lone.png", ""),
        ("image without objects", "b.png", ""),
        ("missing image", "gone.png", ""),
        ("no area", "a.png", "13"),
        ("outside the image", "a.png", "15"),
        ("self-crossing outline", "a.png", "12"),
        ("unusable label", "a.png", "14"),
    ]
    assert (report.images, report.objects, report.classes) == (2, 4, {"leaf": 4})
    assert sorted(report.counts()) == sorted(
        before_training(open_folder(tmp_path), "train").counts()
        | {"self-crossing outline": 1, "image without labels": 1}
    )
    monkeypatch.setattr(sys, "argv", ["check_data.py", "--data", str(tmp_path)])
    assert errors.exit_code(runpy.run_path(str(SCRIPT))["main"]) == 1
    assert "label '12': near x 40.0, y 10.0" in capsys.readouterr().out


# Any dataset


class Drawn(Dataset):
    """Three images in memory: two equal squares and one more; nothing; masks of another size."""

    def __init__(self):
        super().__init__()
        self.add_class("drawn", 1, "square")
        for i in range(3):
            self.add_image("drawn", i, None, height=8, width=10)
        self.prepare()

    def load_mask(self, image_id):
        masks = np.zeros((8, 14 if image_id == 2 else 10, 3), bool)
        if image_id == 0:
            masks[1:4, 2:6, :2] = masks[5:7, 5:9, 2:] = True
        masks[1:3, 3:13, 0] |= image_id == 2
        return masks, np.array([1, 1, 1 if image_id else 7])


def test_any_dataset():
    report = check_dataset(Drawn())
    assert found(report) == [
        ("duplicate object", "0", "1"),
        ("image without objects", "1", ""),
        ("outside the image", "2", "0"),
        ("unknown name", "0", "2"),
    ]
    assert (report.images, report.objects, report.classes) == (3, 4, {"square": 3})


def test_files_of_any_dataset(tmp_path):
    dataset = Dataset()
    for name in ("a", "a", "none"):
        dataset.add_image("mine", name, tmp_path / f"{name}.png", height=8, width=11)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 10, 3), np.uint8))
    dataset.prepare()
    assert found(check_dataset(dataset, full=False)) == [
        ("duplicate image", "a", ""),
        ("missing image", "none", ""),
        ("size differs", "a", ""),
        ("size differs", "a", ""),
    ]


# Geometry


def test_outside_and_empty():
    rows = [[0, 0, 8, 10], [-1, 0, 8, 11], [2, -3.5, 4, 4], [9, 2, 12, 4], [3, 3, 3, 5], [-5, 0, 0, 4]]
    boxes = np.array(rows, float)
    sizes = np.tile([8, 10], (6, 1))
    assert outside(boxes, sizes).tolist() == [0, 0, 3.5, 4, 0, 5]
    assert empty(boxes, sizes).tolist() == [False, False, False, True, True, True]


def test_duplicates_against_every_pair():
    rng = np.random.default_rng(0)
    image_ids = np.sort(rng.integers(0, 12, 150))
    corners = rng.integers(0, 3, (150, 2))
    boxes = np.concatenate([corners, corners + 40 + rng.integers(0, 2, (150, 2))], axis=1).astype(float)
    classes = rng.integers(1, 3, 150)
    expected = {}
    for i, j in itertools.combinations(range(150), 2):
        (a1, b1, a2, b2), (c1, d1, c2, d2) = boxes[i], boxes[j]
        shared = max(0, min(a2, c2) - max(a1, c1)) * max(0, min(b2, d2) - max(b1, d1))
        iou = shared / ((a2 - a1) * (b2 - b1) + (c2 - c1) * (d2 - d1) - shared)
        if image_ids[i] == image_ids[j] and classes[i] == classes[j] and iou > 0.95:
            expected.setdefault(j, i)
    table = ObjectTable(image_ids, classes, boxes, [""] * 150)
    assert duplicates(table) == sorted((i, j) for j, i in expected.items())
    assert 10 < len(expected) < 150


def test_masks_alike():
    full = np.ones((10, 10), bool)
    almost = full.copy()
    almost[0, :5] = False  # 95 of 100
    at = np.array([3, 4, 13, 14])
    assert masks_alike((at, full), (at, full)) and not masks_alike((at, full), (at, almost))
    assert masks_alike((at, full), (at, almost), threshold=0.94)
    assert not masks_alike((at, full), (at + 1, full)) and not masks_alike((at, full), (at + 20, full))


def crosses(points):
    """All pairs of edges, in whole numbers: the ends of each lie strictly on either side of the other."""

    def side(a, b, c):
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    edges = list(zip(points, points[1:] + points[:1], strict=True))
    return any(
        side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
        for (a, b), (c, d) in itertools.combinations(edges, 2)
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=9))
def test_crossing_against_every_pair_of_edges(points):
    assert (crossing(np.array(points)) is not None) == crosses(points)


def test_where_an_outline_crosses_itself():
    assert crossing(np.array([(0, 0), (4, 4), (4, 0), (0, 4)])) == (2.0, 2.0)
    assert crossing(np.array([(0, 0), (9, 0), (9, 9), (0, 9), (0, 5), (3, 5), (3, 4), (0, 4)])) is None
    around = np.linspace(0, 2 * np.pi, 3000, endpoint=False)
    circle = np.stack([np.cos(around), np.sin(around)], axis=1) * 300
    assert crossing(circle) is None
    circle[[1500, 1501]] = circle[[1501, 1500]]
    x, y = crossing(circle)
    assert abs(x + 300) < 1 and abs(y) < 1


def test_what_an_outline_encloses_twice_is_outside():
    """As KINDS says of self-crossing outlines: a loop inside a square, walked around the same way."""
    loop = [(0, 0), (20, 0), (20, 20), (0, 20), (0, 12), (15, 12), (15, 5), (5, 5), (5, 15), (0.5, 15)]
    assert crossing(np.array(loop)) is not None
    mask = polygons_to_crop([np.array(loop)], (30, 30))[1]
    assert not mask[8, 10] and mask[3, 10] and mask[17, 10]


def test_many_labels_of_an_image_are_checked_in_seconds(tmp_path):
    """Comparing all with all took minutes: 2,000 labels at one place, 2,000 spread out, later ones on top."""
    rng = np.random.default_rng(0)
    corners = np.concatenate([np.full((2000, 2), 10), rng.integers(0, [1200, 650], (2000, 2))])
    square = np.array([[0, 0], [50, 0], [50, 50], [0, 50]])
    labels = [
        {"id": str(i), "category": "car", "poly2d": [{"vertices": (square + at).tolist(), "types": "LLLL"}]}
        for i, at in enumerate(corners)
    ]
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((720, 1280, 3), np.uint8))
    (tmp_path / "l.json").write_text(json.dumps([{"name": "a.jpg", "labels": labels}]))
    started = time.process_time()
    report = check_folder(tmp_path)["all"]
    assert time.process_time() - started < 8
    same = [f for f in report.entries if f.kind == "duplicate object" and f.detail == "the same as label '0'"]
    assert [f.label for f in same][:1999] == [str(i) for i in range(1, 2000)]
    canvas = np.zeros((720, 1280), int)
    for i, (x, y) in enumerate(corners, 1):
        canvas[y : y + 50, x : x + 50] = i
    hidden = {f.label for f in report.entries if f.kind == "hidden object"}
    assert hidden == {str(i - 1) for i in range(1, 4001)} - {str(i - 1) for i in np.unique(canvas)[1:]}
    dataset = BDD100KDataset()
    dataset.load_bdd100k(tmp_path)
    dataset.prepare()
    instances = dataset.load_instances(0)
    for (y1, x1, y2, x2), crop, i in list(zip(instances.boxes_px, instances.crops, instances.origin, strict=True))[
        ::97
    ]:
        assert np.array_equal(crop, canvas[y1:y2, x1:x2] == i + 1) and crop.sum() == (canvas == i + 1).sum()
