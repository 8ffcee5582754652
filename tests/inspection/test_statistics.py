"""Tests figures of hand-made datasets, the best anchor against all anchors, and proposals for known sizes."""

import dataclasses
import json
import pathlib
import runpy
import sys

import cv2
import numpy as np
import pytest

from bdd100k.config import BDD100KConfig
from bdd100k.dataset import BDD100KDataset
from bdd100k.statistics import attributes, flags
from bdd100k.streets.scenes import write_streets
from mrcnn import errors
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.inspection.anchor_fit import Fit, best_overlaps, fit, overlaps_of, propose, training_boxes
from mrcnn.inspection.statistics import ClassSummary, ObjectSet, ObjectsPerImage, balancing, collect, summarise
from mrcnn.modeling.anchors import compute_backbone_shapes, generate_pyramid_anchors
from mrcnn.structures.boxes import compute_overlaps
from mrcnn.structures.instances import Instances

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "data_statistics.py"
NAMES = ["BG", "cat", "dog", "owl"]


class Drawn(Dataset):
    """Four images of rectangles: classes cat, dog and owl (no objects), one crowd, one mask with a hole."""

    RECTANGLES = (  # per image: class id, y1, x1, height, width
        [(1, 0, 0, 10, 10), (1, 20, 20, 40, 30), (2, 5, 40, 100, 100)],
        [],
        [(2, 3, 3, 32, 32)],
        [(1, 0, 0, 96, 96), (-2, 100, 100, 20, 20)],
    )

    def __init__(self):
        super().__init__()
        for i, name in enumerate(NAMES[1:], 1):
            self.add_class("drawn", i, name)
        for i in range(4):
            self.add_image("drawn", i, None, height=150, width=200)
        self.prepare()

    def load_instances(self, image_id):
        rows = np.array(self.RECTANGLES[image_id], int).reshape(-1, 5)
        crops = [np.ones((height, width), bool) for height, width in rows[:, 3:]]
        if image_id == 2:
            crops[0][5, 5] = False  # 1023 pixels: still small
        boxes = np.concatenate([rows[:, 1:3], rows[:, 1:3] + rows[:, 3:]], axis=1)
        return Instances(np.abs(rows[:, 0]), boxes, crops, crowd=rows[:, 0] < 0)


@pytest.fixture(scope="module")
def objects():
    return collect(Drawn())


def sized(heights, widths, image=(720, 1280), seed=0):
    """Return an ObjectSet of boxes of these sizes at positions independent of the anchors."""
    heights, widths = np.asarray(heights), np.asarray(widths)
    rng = np.random.default_rng(seed)
    y, x = (rng.random(len(heights)) * (side - sizes) for side, sizes in zip(image, (heights, widths), strict=True))
    boxes = np.stack([y, x, y + heights, x + widths], axis=1)
    n = len(heights)
    return ObjectSet(NAMES, np.array([image]), np.zeros(n, int), np.ones(n, int), boxes, heights * widths, 0)


def test_figures_of_a_drawn_set(objects):
    figures = summarise(objects)
    assert objects.boxes_px.tolist()[1] == [20, 20, 60, 50]
    assert objects.areas_px.tolist() == [100, 1200, 10000, 1023, 9216]
    assert (figures.images, figures.objects, figures.left_out, figures.images_without_objects) == (4, 5, 1, 1)
    assert figures.objects_per_image == ObjectsPerImage(mean=1.25, median=1.0, most=3, histogram=[1, 2, 0, 1])
    assert (figures.sizes.small, figures.sizes.medium, figures.sizes.large) == (2, 1, 2)  # 96 x 96 is already large
    assert figures.sizes.sqrt_area_px["50"] == pytest.approx(np.sqrt(1200))
    assert figures.classes == {
        "cat": ClassSummary(objects=3, share=0.6, images=2, small=1, medium=1, large=1),
        "dog": ClassSummary(objects=2, share=0.4, images=2, small=1, medium=0, large=1),
        "owl": ClassSummary(objects=0, share=0.0, images=0, small=0, medium=0, large=0),
    }


def test_a_set_without_objects():
    empty = sized([], [])
    figures = summarise(empty)
    assert (figures.objects, figures.objects_per_image.mean) == (0, 0.0)
    assert figures.sizes.sqrt_area_px["50"] is None
    assert list(balancing(empty, Config())) == ["none", "repeat-factor"]
    groups = training_boxes(empty, Config())
    assert fit(groups, Config())["all"] is None and propose(groups, Config()) is None


def test_effect_of_balancing():
    """Cats in 9 of 10 images, a dog in one of them: its image is repeated sqrt(0.4 / 0.1) = 2 times."""
    image_ids, class_ids = np.array([*range(9), 8]), np.array([1] * 9 + [2])
    boxes = np.tile([0, 0, 5, 5], (10, 1))
    some = ObjectSet(NAMES, np.tile([8, 8], (10, 1)), image_ids, class_ids, boxes, np.full(10, 25), 0)
    config = Config()
    config.REPEAT_THRESHOLD = 0.4
    shown = balancing(some, config)
    assert shown["none"].classes == {"cat": 9, "dog": 1, "owl": 0}
    assert shown["repeat-factor"].classes == pytest.approx({"cat": 10, "dog": 2, "owl": 0})
    assert shown["repeat-factor"].images == pytest.approx(11)
    assert shown["repeat-factor"].shares["dog"] == pytest.approx(2 / 12)
    # class-aware: half of the draws are dogs, whose image has a cat too; of a pass of 10 images 5 + 5 / 9 are that one
    assert shown["class-aware"].classes["dog"] == pytest.approx(5 + 5 / 9)


# Anchors


@pytest.mark.parametrize(("stride", "shape"), [(1, (64, 128)), (2, (128, 64)), (3, (64, 64))])
def test_best_anchor_against_all_anchors(stride, shape):
    config = Config()
    config.RPN_ANCHOR_SCALES, config.RPN_ANCHOR_STRIDE = (6, 11, 20, 35, 70), stride
    rng = np.random.default_rng(stride)
    corners = rng.random((120, 2)) * shape
    sides = np.exp(2 + rng.random((120, 2)) * 2.5)  # 7 to 90 pixels: some boxes reach beyond the image
    boxes = np.concatenate([corners, corners + sides], axis=1)
    boxes[:20] = np.round(boxes[:20])  # ties between two nearest anchors
    anchors = generate_pyramid_anchors(
        config.RPN_ANCHOR_SCALES,
        config.RPN_ANCHOR_RATIOS,
        compute_backbone_shapes(config, shape),
        config.BACKBONE_STRIDES,
        stride,
    )
    expected = compute_overlaps(boxes, anchors).max(axis=1)
    np.testing.assert_allclose(best_overlaps(boxes, shape, config), expected, rtol=1e-9)
    assert expected.min() < 0.2 and expected.max() > 0.4


def test_boxes_at_the_training_size():
    """720 x 1280 is scaled by 0.8 to 576 x 1024, with 224 rows of padding above; 40 x 30 becomes 32 x 24."""
    square = BDD100KConfig().override(["IMAGE_RESIZE_MODE=square", "IMAGE_MIN_DIM=1024", "IMAGE_MAX_DIM=1024"])
    (group,) = training_boxes(sized([40], [30]), square)
    assert group.shape == (1024, 1024)
    y1, x1, y2, x2 = group.boxes[0]
    assert (y2 - y1, x2 - x1) == pytest.approx((32, 24))
    assert y1 == pytest.approx(sized([40], [30]).boxes_px[0, 0] * 0.8 + 224)
    config = Config().override(["IMAGE_RESIZE_MODE=none"])
    assert training_boxes(sized([40], [30], image=(64, 128)), config)[0].shape == (64, 128)


def test_a_known_fit():
    """Squares of the anchors' sizes on anchor centres fit exactly; by COCO size one is medium, one is large."""
    config = Config()
    config.IMAGE_RESIZE_MODE = "none"
    centers = np.array([[512, 512], [512, 1024]])
    half = np.array([[32], [128]])
    boxes = np.concatenate([centers - half, centers + half], axis=1)
    areas = np.array([64, 256]) ** 2
    exact = ObjectSet(NAMES, np.array([[1024, 1536]]), np.zeros(2, int), np.ones(2, int), boxes, areas, 0)
    figures = fit(training_boxes(exact, config), config)
    best = Fit(objects=1, mean=1.0, above_50=1.0, above_70=1.0)
    assert figures == {"all": dataclasses.replace(best, objects=2), "small": None, "medium": best, "large": best}


def test_proposal_for_known_sizes():
    """Tall objects of three sizes at scale 1: the proposal finds the shape and fits far better, the same every time."""
    sizes = np.repeat([30, 60, 120], 60)
    config = Config().override(["IMAGE_RESIZE_MODE=rect", "IMAGE_MIN_DIM=768", "IMAGE_MAX_DIM=1280"])
    groups = training_boxes(sized(sizes * 2, sizes // 2), config)  # 4 times as high as wide
    first, second = propose(groups, config), propose(groups, config)
    assert first == second
    assert len(first.scales) == 5 and len(first.ratios) == 3
    assert min(abs(np.array(first.ratios) - 0.25)) < 0.03
    assert all(min(abs(np.array(first.scales) / size - 1)) < 0.15 for size in (30, 60, 120))
    assert first.after["all"].mean > first.before["all"].mean + 0.2
    again = config.override(part for part in first.options.replace('"', "").split("--set ") if part.strip())
    assert overlaps_of(groups, again).mean() == pytest.approx(first.after["all"].mean)


def test_a_proposal_does_not_give_up_a_size():
    """If only the mean counted, 2000 small squares would claim every scale at the expense of 20 large ones."""
    sizes = np.concatenate([np.random.default_rng(0).integers(10, 30, 2000), np.full(20, 400)])
    groups = training_boxes(sized(sizes, sizes), BDD100KConfig())
    proposal = propose(groups, BDD100KConfig())
    assert proposal.after["small"].mean > proposal.before["small"].mean
    assert proposal.after["large"].mean > proposal.before["large"].mean - 0.03


def test_nothing_to_propose_for_anchors_that_fit():
    config = Config()
    config.IMAGE_RESIZE_MODE = "none"
    y, x = np.meshgrid(np.arange(64, 960, 64), np.arange(64, 960, 64))
    centers = np.stack([y, x], axis=-1).reshape(-1, 2)
    boxes = np.concatenate([centers - 32, centers + 32], axis=1)
    n = len(boxes)
    exact = ObjectSet(NAMES, np.array([[1024, 1024]]), np.zeros(n, int), np.ones(n, int), boxes, np.full(n, 4096), 0)
    groups = training_boxes(exact, config)
    assert overlaps_of(groups, config).min() == 1.0
    assert propose(groups, config) is None


# BDD100K


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    return write_streets(tmp_path_factory.mktemp("data") / "streets", train=3, val=0, seed=11)


def test_attributes_and_flags(streets):
    frames = json.loads((streets / "labels/ins_seg/rles/ins_seg_train.json").read_text())
    dataset = BDD100KDataset()
    dataset.load_bdd100k(streets)
    dataset.prepare()
    counted = attributes(dataset)
    for key, values in counted.items():
        assert sum(values.values()) == 3
        for value, count in values.items():
            assert count == sum(frame["attributes"][key] == value for frame in frames)
    labels = [label for frame in frames for label in frame["labels"]]
    for flag in ("occluded", "truncated"):
        shares = flags(dataset)[flag]
        cars = [label["attributes"][flag] for label in labels if label["category"] == "car"]
        assert shares["car"] == pytest.approx(np.mean(cars))
        assert shares["all"] == pytest.approx(np.mean([label["attributes"][flag] for label in labels]))
    summary = summarise(collect(dataset))
    assert summary.objects == len(labels)
    for name, own in summary.classes.items():
        assert own.objects == sum(label["category"] == name for label in labels)


def test_script_with_classes_of_its_own(monkeypatch, capsys, tmp_path):
    squares = [(i, i % 2 + 1, [4 * i, 4, 4 * i + 20, 4, 4 * i + 20, 24, 4 * i, 24]) for i in range(8)]
    document = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 64, "width": 64} for i, *_ in squares],
        "annotations": [{"id": i, "image_id": i, "category_id": k, "segmentation": [s]} for i, k, s in squares],
        "categories": [{"id": 1, "name": "leaf"}, {"id": 2, "name": "moss"}],
    }
    for i, *_ in squares:
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "coco_train.json").write_text(json.dumps(document))
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["data_statistics.py", "--data", str(tmp_path), "--out", str(out)])
    assert errors.exit_code(runpy.run_path(str(SCRIPT))["main"]) == 0, capsys.readouterr().err
    figures = json.loads((out / "statistics.json").read_text())
    total = sum(entry["objects"] for entry in figures["classes"].values())
    assert list(figures["classes"]) == ["leaf", "moss"] and figures["images"] == total == figures["sizes"]["small"]
    assert figures["sizes"]["sqrt_area_px"]["50"] == 20
    assert sorted(p.name for p in out.glob("*.png")) == ["anchors.png", "classes.png", "objects.png"]


def test_script(streets, monkeypatch, capsys, tmp_path):
    main = runpy.run_path(str(SCRIPT))["main"]

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["data_statistics.py", "--data", str(streets), *map(str, arguments)])
        return errors.exit_code(main), capsys.readouterr()

    out = tmp_path / "out"
    code, output = run("--out", out, "--set", "RPN_ANCHOR_SCALES=(8, 16, 32, 64, 400)")
    assert code == 0, output.err
    figures = json.loads((out / "statistics.json").read_text())
    assert figures["anchors"]["scales"] == [8, 16, 32, 64, 400]
    assert figures["anchors"]["inputs"] == [{"shape": [768, 1280], "objects": figures["objects"]}]
    proposal = figures["anchors"]["proposal"]
    assert proposal["fit"]["all"]["mean"] > figures["anchors"]["fit"]["all"]["mean"]
    assert proposal["options"] in output.out and f"{figures['objects_per_image']['mean']:.2f}" in output.out
    from PIL import Image

    for name in ("classes", "objects", "attributes", "anchors"):
        with Image.open(out / f"{name}.png") as picture:
            colours = picture.convert("RGB").getcolors(1 << 24)
            assert picture.width > 800 and len(colours) > 20, name
    assert run("--set", "RPN_ANCHOR_SCALES=(1, 2)", "--out", out)[0] == 2
    unlabelled = tmp_path / "unlabelled" / "images/10k/test"
    unlabelled.mkdir(parents=True)
    (unlabelled / "a.jpg").write_bytes(next((streets / "images/10k/train").iterdir()).read_bytes())
    code, output = run("--data", tmp_path / "unlabelled", "--split", "test", "--out", out)
    assert code == 2 and "the 1 images have no object" in output.err
    (tmp_path / "file").write_text("")
    code, output = run("--out", tmp_path / "file")
    assert code == 2 and "cannot create the folder" in output.err
