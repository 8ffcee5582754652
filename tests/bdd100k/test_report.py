"""Tests that report.html shows the figures of the Result, loads nothing from elsewhere, and stays small."""

import base64
import itertools
import re

import cv2
import numpy as np
import pytest

from bdd100k.evaluation.protocols import OfficialEvaluator
from bdd100k.report.page import write_report
from bdd100k.report.published import PAPER
from mrcnn.evaluation.evaluator import evaluate
from mrcnn.evaluation.result import TWELVE, BestScore
from tests.evaluation_scenes import Drawn, Noisy, Nothing, Scenes, found
from tests.html_pages import parse

EVALUATED = {
    "data": "some <b>data</b>",
    "split": "val",
    "weights": "logs/a&b.h5",
    "settings": {"BACKBONE": "resnet18", "NAME": "streets"},
}


def report_of(result, dataset, tmp_path, evaluated=EVALUATED):
    write_report(tmp_path / "report.html", result, dataset, dataset.image_ids, evaluated)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def no_outside(page):
    """Assert that a browser would fetch nothing for this page, and return its root."""
    root = parse(page)
    assert not root.all("script") and not root.all("link") and not root.all("iframe")
    for element in root.all():
        for name in ("src", "href", "xlink:href", "srcset", "poster", "data"):
            value = element.attributes.get(name)
            assert value is None or value.startswith(("data:image/jpeg;base64,", "#")), (element.name, name, value)
    assert not re.search(r"@import|url\(|https?://", re.sub(r"base64,[A-Za-z0-9+/=]*", "", page))
    return root


@pytest.fixture(scope="module")
def scenes():
    return Scenes(images=14, seed=3)


@pytest.fixture(scope="module")
def result(scenes):
    return evaluate(Noisy(scenes), scenes, samples=50)


@pytest.fixture(scope="module")
def page(scenes, result, tmp_path_factory):
    return report_of(result, scenes, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def root(page):
    return no_outside(page)


def section(root, name):
    return root.all("section", id=name)[0]


def test_headline(root, result):
    rows = section(root, "summary").all("tbody")[0].children
    assert len(rows) == 2
    for row, kind in zip(rows, ("mask", "box"), strict=True):
        assert row.figures() == [getattr(getattr(result, kind), name) for name in TWELVE]
        assert row.intervals() == [v for name in TWELVE if (v := getattr(result.intervals, kind)[name]) is not None]
    cards = section(root, "summary").all("div", **{"class": "card"})
    values = [card.figures()[0] for card in cards]
    assert values == [result.mask.AP, result.mask.AP50, result.box.AP, result.matterport.mAP50]
    shown = [card.all("data")[0].text for card in cards]
    assert shown == [f"{100 * v:.1f}" for v in values]


def test_classes(root, result):
    for name, own in result.per_class.items():
        (row,) = section(root, "classes").all("tr", data_class=name)
        curve = result.score_curves.per_class.get(name)
        best = curve.best if curve else BestScore()
        expected = [own.mask.AP, own.mask.AP50, own.mask.AP75, own.mask.AR100, own.box.AP, own.box.AP50]
        assert row.figures() == [*expected, best.precision, best.recall, best.f1]
        assert row.all("td")[0].text == str(own.objects) and row.all("td")[1].text == str(own.detections)


def test_errors_slices_confusion_calibration(root, result):
    for kind, gain in result.errors.delta_ap.items():
        (row,) = root.all("tr", data_error=kind)
        assert row.figures() == [gain] and row.all("td")[0].text == str(result.errors.counts[kind])
    for size, own in result.slices["size"].items():
        (row,) = root.all("tr", data_slice=f"size/{size}")
        assert row.figures() == [own.AP, own.AP50, own.AR100]
    grid = [[cell.text for cell in row.all("td")] for row in section(root, "confusion").all("tbody")[0].children]
    expected = [[str(n) for n in row] for row in result.confusion.counts]
    expected[-1][-1] = "–"
    assert grid == expected
    assert section(root, "calibration").all("p")[0].figures() == [result.calibration.ece]


def test_curves_are_the_results(root, result):
    """The points of the SVG path, converted to data units, lie on the curve of the result."""
    panels = section(root, "curves").all("figure")
    names = list(result.pr_curves["mask"])
    assert [p.all("b")[0].text for p in panels] == names * 2
    paths = [p.attributes["d"] for p in panels[0].all("path") if "strong" in p.attributes["class"]]
    assert len(paths) == 2
    for path, threshold in zip(paths, (0, 5), strict=True):
        curve = result.pr_curves["mask"][names[0]][threshold]
        points = np.array(re.findall(r"([\d.]+) ([\d.]+)", path), float)
        recall, precision = (points[:, 0] - 34) / 234, 1 - (points[:, 1] - 8) / 148
        np.testing.assert_allclose(precision, np.array(curve)[np.round(100 * recall).astype(int)], atol=0.001)
        assert recall[0] == 0 and abs(recall[-1] - 1) < 0.001


def test_worst_and_best_images(root, result):
    ranked = sorted(row.AP50 for row in result.per_image if row.AP50 is not None)
    own = {str(row.image): row.AP50 for row in result.per_image}
    shown = {kind: [e.attributes["data-image"] for e in root.all("div", data_kind=kind)] for kind in ("worst", "best")}
    assert [own[name] for name in shown["worst"]] == ranked[:5]
    assert [own[name] for name in shown["best"]] == ranked[::-1][:5]
    assert not set(shown["worst"]) & set(shown["best"])
    for scene in root.all("div", data_image=...):
        assert scene.figures()[0] == own[scene.attributes["data-image"]]


def test_pictures(root, scenes, result):
    """Each JPEG is the image, outlines are where the objects are, and every picture has a text alternative."""
    scene = root.all("div", data_kind="worst")[0]
    position = int(scene.attributes["data-image"]) - 100
    truth, detections = scene.all("svg")
    data = truth.all("image")[0].attributes["href"].removeprefix("data:image/jpeg;base64,")
    photograph = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert photograph.shape == (*scenes.shape, 3)
    assert abs(int(photograph[0, 0, 0]) - int(scenes.load_image(position)[0, 0, 0])) < 4
    assert detections.all("use")[0].attributes["href"] == "#" + truth.all("image")[0].attributes["id"]
    instances = scenes.load_instances(position)
    outlines = truth.all("path")
    assert len(outlines) == len(instances)
    for path, box in zip(outlines, instances.boxes_px * 1000 / scenes.shape[1], strict=True):
        points = np.array(re.findall(r"(\d+) (\d+)", path.attributes["d"]), float)
        edges = [*points.min(axis=0)[::-1], *points.max(axis=0)[::-1]]
        np.testing.assert_allclose(edges, box, atol=8)  # 1.3 px of the image
    strong = [e for e in result.predictions if e["image_id"] == position + 100 and e["score"] >= result.confusion.score]
    assert len(detections.all("path")) == len(strong)
    for picture in root.all("svg"):
        assert picture.attributes.get("aria-hidden") == "true" or len(picture.attributes["aria-label"]) > 10


def test_tables_and_headings(root):
    levels = [int(e.name[1]) for e in root.all() if re.fullmatch("h[1-6]", e.name)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for table in root.all("table"):
        assert table.all("th", scope=...) and all("scope" in th.attributes for th in table.all("th"))
    links = [a.attributes["href"][1:] for a in root.all("nav")[0].all("a")]
    assert links == [s.attributes["id"] for s in root.all("section")]


def test_names_are_escaped_and_the_paper_is_told_apart(page, root, result):
    assert "some <b>data</b>" not in page and "some &lt;b&gt;data" in page and "<title>Evaluation of a&amp;b.h5" in page
    published = section(root, "published")
    rows = published.all("tbody")[0].children
    assert len(rows) == len(PAPER) + 1
    for row, (model, backbone, figures) in zip(rows, PAPER, strict=False):
        cells = [cell.text for cell in row.children]
        assert cells == [model, *("–" if f is None else f"{f:.1f}" for f in figures), backbone, "COCO test-dev"]
    assert rows[-1].attributes["class"] == "own" and rows[-1].figures() == [
        getattr(result.mask, f) for f in ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L")
    ]
    assert "Not comparable" in published.all("p")[0].whole_text() and "zoo" not in published.whole_text()


def test_every_kind_of_error_in_the_gallery(tmp_path):
    """Each hand-made mistake is listed under its kind and describes what is wrong."""
    here, there = (10, 10, 40, 50), (60, 10, 90, 50)
    dataset = Drawn(
        [("car", here)], [("car", here)], [("car", here)], [("car", here)], [("bus", there)], [("car", here)]
    )
    entries = [
        found(0, "car", here, 0.9),
        found(0, "car", (10, 10, 40, 48), 0.8),
        found(1, "truck", here, 0.7),
        found(2, "car", (10, 30, 40, 70), 0.6),
        found(3, "car", here, 0.9),
        found(3, "rider", there, 0.5),
        found(5, "truck", (10, 30, 40, 70), 0.4),
    ]
    result = evaluate(entries, dataset, samples=0, benchmark=OfficialEvaluator(dataset, intervals=False))
    root = no_outside(report_of(result, dataset, tmp_path))
    said = {
        e.attributes["data-gallery"]: [(c.all("b")[0].text, c.text.strip()) for c in e.all("figcaption")]
        for e in root.all("div", data_gallery=...)
    }
    assert said == {
        "class": [("truck 0.70, but it is a car (IoU 1.00)", "b.jpg")],
        "place": [("car 0.60, IoU 0.33 with the car", "c.jpg")],
        "both": [("truck 0.40, IoU 0.33 with a car", "f.jpg")],
        "duplicate": [("car 0.80, already detected with a better score (IoU 0.95)", "a.jpg")],
        "background": [("rider 0.50, no object there", "d.jpg")],
        "missed": [("bus of 1,200 px, not detected", "e.jpg"), ("car of 1,200 px, not detected", "f.jpg")],
    }
    assert result.confusion.score == 0.9  # weaker detections are not drawn
    shown = {
        s.attributes["data-image"]: [(path.attributes["class"], path.all("title")[0].text) for path in s.all("path")]
        for s in root.all("div", data_image=...)
    }
    assert shown["1"] == [("right", "car: detected"), ("right", "car 0.90: right")]
    assert shown["2"] == [("wrong", "car: not detected")] and shown["5"] == [("wrong", "bus: not detected")]
    zoo = section(root, "published").all("tbody")[1].children
    assert zoo[-1].figures()[:2] == [result.official.bitmask.mask.AP, result.box.AP]
    assert zoo[0].all("td")[0].text == "16.24"


def test_nothing_found_and_nothing_to_find(tmp_path):
    scenes = Scenes(images=2)
    root = no_outside(report_of(evaluate(Nothing(), scenes), scenes, tmp_path, {"predictions": "p.json"}))
    assert root.all("div", data_kind="worst") and [
        e.attributes["data-gallery"] for e in root.all("div", data_gallery=...)
    ] == ["missed"]
    empty = Drawn([], [])
    root = no_outside(report_of(evaluate([], empty), empty, tmp_path, {}))
    assert "no worst or best" in section(root, "images").whole_text()
    assert section(root, "summary").all("div", **{"class": "card"})[0].figures() == [None]


def test_size_is_bounded(tmp_path, monkeypatch):
    """Images of noise, which JPEG cannot compress well, and many more images than pictures."""
    scenes = Scenes(images=30, objects=20, seed=5, shape=(360, 640))
    noise = np.random.default_rng(0).integers(0, 256, (360, 640, 3)).astype(np.uint8)
    monkeypatch.setattr(scenes, "load_image", lambda _: noise)
    page = report_of(evaluate(Noisy(scenes, detections=30), scenes, samples=0), scenes, tmp_path)
    assert 10 * 90_000 < len(page) < 5_000_000 and page.count("data:image/jpeg") <= 10 + 36
