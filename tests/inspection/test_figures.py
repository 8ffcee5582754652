"""Tests the figures of the notebooks: order of anchors, sampled ROIs, suppression, dead filters, drift."""

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest

from mrcnn.inspection import anchors as anchor_figures
from mrcnn.inspection import data, detection, mini_masks, rois
from mrcnn.inspection import weights as weight_figures
from mrcnn.legacy.generator import data_generator
from mrcnn.legacy.image_gt import load_image_gt
from mrcnn.model import MaskRCNN
from mrcnn.modeling import weights
from mrcnn.modeling.anchors import pyramid_anchors_px
from mrcnn.modeling.detection_layer import DetectionLayer
from mrcnn.visualization import plots
from tests.shapes import ShapesConfig, ShapesDataset

SHAPE = (128, 128, 3)
NAMES = ["BG", "square", "circle", "triangle"]


@pytest.fixture(autouse=True)
def no_open_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def config():
    return ShapesConfig()


@pytest.fixture(scope="module")
def dataset():
    return ShapesDataset().load_shapes(6)


@pytest.fixture(scope="module")
def model(config, tmp_path_factory):
    """Build a model with random weights whose proposals are anchors of some class, for suppression to work on."""
    keras.utils.set_random_seed(1)
    model = MaskRCNN("inference", config, tmp_path_factory.mktemp("logs"))
    rpn = model.keras_model.get_layer("rpn_model")
    for layer, factor in (
        (rpn.get_layer("rpn_bbox_pred"), 0.0),
        (rpn.get_layer("rpn_class_raw"), 0.01),
        (model.keras_model.get_layer("mrcnn_class_logits"), 0.01),
    ):
        layer.kernel.assign(layer.kernel.value * factor)
    model.keras_model.get_layer("mrcnn_class_logits").bias.assign(np.float32([-50, 0, 0, 0]))
    return model


@pytest.fixture(scope="module")
def stages(model, dataset):
    return model.stages(dataset.load_image(0))


# Anchors -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2])
def test_level_sizes_add_up_to_all_anchors(stride):
    config = ShapesConfig().override([f"RPN_ANCHOR_STRIDE={stride}"])
    sizes = anchor_figures.level_sizes(config, (192, 320))
    assert sizes.sum() == len(pyramid_anchors_px(config, (192, 320)))
    assert anchor_figures.level_table(config, (192, 320))[-1][4] == f"{sizes.sum():,}"


def test_order_table_names_the_cell_whose_middle_the_anchor_has(config):
    anchors = pyramid_anchors_px(config, (128, 192))
    indices = np.random.default_rng(0).integers(0, len(anchors), 40)
    rows = anchor_figures.order_table(config, (128, 192), indices)[1:]
    for index, (_, level, row, column, ratio, _) in zip(indices, rows, strict=True):
        y1, x1, y2, x2 = anchors[index]
        stride = 2 ** int(level[1])
        assert ((y1 + y2) / 2, (x1 + x2) / 2) == pytest.approx((int(row) * stride, int(column) * stride), abs=1e-9)
        assert (x2 - x1) / (y2 - y1) == pytest.approx(float(ratio))
        assert np.sqrt((x2 - x1) * (y2 - y1)) == pytest.approx(config.RPN_ANCHOR_SCALES[int(level[1]) - 2])


def iou(a, b):
    """Return the IoU of two boxes by plain arithmetic."""
    high = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    wide = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    both = high * wide
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def test_anchor_kinds_and_reach(config, dataset):
    _, _, class_ids, boxes, _ = load_image_gt(dataset, config, 1)
    anchors = pyramid_anchors_px(config, SHAPE)
    table = np.array([[iou(anchor, box) for box in boxes] for anchor in anchors])
    kinds = anchor_figures.anchor_kinds(config, SHAPE, class_ids, boxes)
    best_of_object = np.isclose(table, table.max(axis=0)).any(axis=1)
    expected = np.where((table.max(axis=1) >= 0.7) | best_of_object, 1, np.where(table.max(axis=1) < 0.3, -1, 0))
    np.testing.assert_array_equal(kinds, expected)
    rows = anchor_figures.reach_table(config, SHAPE, class_ids, boxes, NAMES)[1:]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for i, (name, _, best, count) in zip(np.argsort(areas), rows, strict=True):
        assert (name, best) == (NAMES[class_ids[i]], f"{table[:, i].max():.2f}") and int(count) >= 1


def test_refinement_draws_the_boxes_of_objects(config, dataset):
    image, _, class_ids, boxes, _ = load_image_gt(dataset, config, 1)
    axis = anchor_figures.plot_refinement(image, config, class_ids, boxes)
    solid = [p.get_bbox().bounds for p in axis.patches if p.get_linestyle() in ("-", "solid")]
    known = [(x1 - 0.5, y1 - 0.5, x2 - x1, y2 - y1) for y1, x1, y2, x2 in boxes.astype(float)]
    assert solid and all(min(np.abs(np.subtract(a, b)).max() for b in known) < 1e-3 for a in solid)


# Mini-masks and ROIs -------------------------------------------------------------------------------------------------


def test_mini_mask_round_trip(config, dataset):
    """A mini-mask larger than the object loses almost nothing, one of 4 x 4 a lot."""
    sides, ious = mini_masks.round_trip_ious(dataset, config, [0, 1, 2], sizes=(4, 128))
    assert len(sides) == len(ious[4]) == sum(len(dataset.load_instances(i)) for i in range(3))
    assert ious[128].min() > 0.99 and ious[4].mean() < 0.97
    table = mini_masks.round_trip_table(sides, ious)
    assert table[-1] == ["all", str(len(sides)), f"{ious[4].mean():.3f}", f"{ious[128].mean():.3f}"]
    assert sum(int(row[1]) for row in table[1:-1]) == len(sides)


def test_round_trip_pictures_show_what_differs():
    mask = np.zeros((64, 64, 1), bool)
    mask[10:50, 20:40] = True
    mask[10, 20] = False
    pictures, titles = mini_masks.round_trip_pictures(mask, np.array([[10, 20, 50, 40]]), ["car"], (8, 8))
    before, mini, after, different = pictures
    assert before.shape == after.shape == (40, 20) and mini.shape == (8, 8)
    np.testing.assert_array_equal(different, before != after)
    assert titles[3].startswith(f"{different.sum()} pixels differ, IoU {before.sum() / 800:.3f}")


def test_training_rois_refine_to_objects(config, dataset):
    np.random.seed(1)
    generator = data_generator(dataset, config, random_rois=400, batch_size=2, detection_targets=True)
    batch = next(generator)
    for number in (0, 1):
        own = rois.training_rois(batch, config, number)
        boxes = dataset.load_instances(own.image_id).boxes_px + [16, 0, 16, 0]  # 96 rows in the middle of 128
        for i in own.positives:
            assert np.abs(boxes - own.refined[i]).max(axis=1).min() < 0.01
        assert own.image.dtype == np.uint8 and own.masks.shape[1:] == (28, 28)
    fractions = rois.positive_fractions([batch])
    np.testing.assert_allclose(fractions, [(batch[1][0][n] > 0).mean() for n in (0, 1)])
    pictures, titles = rois.target_pictures(own, NAMES, count=2)
    objects = len({tuple(np.round(own.refined[i])) for i in own.positives})
    assert len(pictures) == len(titles) == 2 * min(2, objects)


# Model ---------------------------------------------------------------------------------------------------------------


def test_steps_give_what_the_network_gives(model, config, dataset, stages):
    image = dataset.load_image(0)
    seen, window = detection.network_image(model, image)
    assert np.abs(seen[16:112].astype(int) - image).max() <= 1  # the mean is subtracted and added in float32
    found = detection.classify(stages, config, seen.shape, window)
    network = stages["detections"][0]
    network = network[network[:, 4] > 0]
    assert len(found.kept) == len(network) < len(found.confident)
    np.testing.assert_array_equal(found.class_ids[found.kept], network[:, 4])
    np.testing.assert_allclose(found.scores[found.kept], network[:, 5], atol=1e-5)
    np.testing.assert_allclose(found.refined[found.kept], network[:, :4] * 127 + [0, 0, 1, 1], atol=1e-2)
    counts = [int(row[3]) for row in detection.step_table(found, NAMES)[1:]]
    assert sum(counts) == len(network)


VARIANTS = {
    "BOX_CONVENTION": {"BOX_CONVENTION": "continuous"},
    "BBOX_DELTA_CLIP": {"BBOX_DELTA_CLIP": "both"},
    "DETECTION_EVERY_CLASS": {"DETECTION_EVERY_CLASS": True, "DETECTION_MIN_CONFIDENCE": 0.2},
    "DETECTION_CLASSES": {"DETECTION_CLASSES": [1, 3]},
    "DETECTION_MIN_SIZE": {"DETECTION_MIN_SIZE": 30.0},
    "DETECTION_CLASS_AGNOSTIC_NMS": {"DETECTION_CLASS_AGNOSTIC_NMS": True},
    "DETECTION_SOFT_NMS": {"DETECTION_SOFT_NMS": "gaussian", "DETECTION_EVERY_CLASS": True},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_steps_of_each_variant_give_what_the_detection_layer_gives(name):
    settings = type(name, (ShapesConfig,), VARIANTS[name])()
    draw, window = np.random.default_rng(4), np.array([16, 0, 112, 128])
    corner, logits = draw.uniform(0, 0.7, (1, 40, 2)), draw.normal(0, 1.5, (1, 40, 4))
    stages = {
        "proposals": np.concatenate([corner, corner + draw.uniform(0.05, 0.3, (1, 40, 2))], axis=-1).astype("f"),
        "mrcnn_class": (np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)).astype("f"),
        "mrcnn_bbox": draw.normal(0, 1, (1, 40, 4, 4)).astype("f"),
    }
    meta = np.array([[0, 96, 128, 3, 128, 128, 3, *window, 1, 1, 1, 1, 1]], "f")
    inputs = [stages["proposals"], stages["mrcnn_class"], stages["mrcnn_bbox"], meta]
    network = np.array(keras.ops.convert_to_numpy(DetectionLayer(settings)(inputs)))[0]
    network = network[network[:, 4] > 0]
    found = detection.classify(stages, settings, SHAPE, window)
    np.testing.assert_array_equal(found.class_ids[found.kept], network[:, 4])
    np.testing.assert_allclose(found.scores[found.kept], network[:, 5], atol=1e-5)
    continuous = settings.BOX_CONVENTION == "continuous"
    expected = network[:, :4] * 128 if continuous else network[:, :4] * 127 + [0, 0, 1, 1]
    np.testing.assert_allclose(found.refined[found.kept], expected, atol=1e-2)
    assert 0 < len(network) <= len(found.confident)
    in_pixels = detection.boxes_in_pixels(network[:, :4], SHAPE, settings)
    np.testing.assert_allclose(in_pixels, expected if continuous else np.round(expected), atol=1e-2)


def test_score_maps_are_the_best_of_each_cell(config, stages):
    maps = detection.score_maps(stages, config, SHAPE)
    assert [m.shape for m in maps] == [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]
    scores = stages["rpn_class"][0, :, 1]
    assert maps[0][1, 2] == scores[(32 + 2) * 3 : (32 + 2) * 3 + 3].max()
    assert maps[4][1, 0] == scores[-6:-3].max()


def test_pictures_of_the_steps_are_drawn(model, config, dataset, stages, tmp_path):
    seen, window = detection.network_image(model, dataset.load_image(0))
    detection.plot_score_maps(seen, detection.score_maps(stages, config, SHAPE), save=tmp_path / "a.png")
    detection.plot_proposals(seen, stages, config, save=tmp_path / "b.png")
    found = detection.classify(stages, config, SHAPE, window)
    detection.plot_classified(seen, found, NAMES, save=tmp_path / "c.png")
    assert all(plt.imread(path).std() > 0.05 for path in tmp_path.iterdir()) and not plt.get_fignums()
    pictures, titles = detection.mask_pictures(stages, seen, config, NAMES, count=2)
    assert len(pictures) == len(titles) == 6 and pictures[0].shape == pictures[4].shape
    pictures, _ = detection.activation_pictures(stages, ("C2", "P5", "none"), channels=2)
    assert len(pictures) == 4 and all(p.min() >= 0 and p.max() <= 1 for p in pictures)


# Weights -------------------------------------------------------------------------------------------------------------


def test_dead_and_weak_filters_are_counted(model, dataset):
    images = [dataset.load_image(i) for i in range(2)]
    before = weight_figures.filter_table(model, images)
    norm = model.keras_model.get_layer("bn3a_branch2a")
    kernel = model.keras_model.get_layer("res3a_branch2a").kernel
    old = [variable.numpy() if hasattr(variable, "numpy") else np.array(variable) for variable in (norm.beta, kernel)]
    try:
        norm.beta.assign(np.where(np.arange(old[0].size) < 3, -1e6, old[0]))  # three filters that never fire
        kernel.assign(np.where(np.arange(old[1].shape[-1]) == 5, 0, old[1]))
        rows = {row[0]: row for row in weight_figures.filter_table(model, images)}
    finally:
        norm.beta.assign(old[0])
        kernel.assign(old[1])
    known = {row[0]: row for row in before}.get("bn3a_branch2a", ["", "0", "0", "0"])
    assert int(rows["bn3a_branch2a"][2]) >= 3 and int(rows["bn3a_branch2a"][3]) == int(known[3]) + 1
    assert int(rows["all layers"][1]) == int(before[-1][1])


def test_drift_is_the_relative_change(model, tmp_path):
    weights.save_weights(model.keras_model, tmp_path / "a.h5")
    layer = model.keras_model.get_layer("fpn_p2")
    old = [np.array(value) for value in layer.get_weights()]
    try:
        layer.set_weights([value * 1.25 for value in old])
        weights.save_weights(model.keras_model, tmp_path / "b.h5")
    finally:
        layer.set_weights(old)
    changes = weight_figures.drift(tmp_path / "a.h5", tmp_path / "b.h5")
    assert changes.pop("fpn_p2") == pytest.approx(0.25, rel=1e-5) and set(changes.values()) == {0.0}
    assert "rpn_conv_shared" in changes  # of the nested model
    shapes = weights.layer_shapes(tmp_path / "a.h5")
    assert shapes["fpn_p2"] == [v.shape for v in old] and shapes.keys() == weights.read_layers(tmp_path / "a.h5").keys()
    axis = weight_figures.plot_drift({"heads": {"fpn_p2": 0.25, "res2a_branch2a": 0.0}})
    heights = sorted(float(line.get_ydata()[0]) for line in axis.lines if len(line.get_ydata()) == 1)
    assert heights == pytest.approx([1e-5, 0.25])


def test_histograms_and_losses_are_drawn(model, tmp_path):
    weight_figures.plot_histograms(model, ["conv1", "rpn_class_raw", "nothing"], save=tmp_path / "a.png")
    plots.plot_losses(
        {"heads": {"loss": [3, 2], "mrcnn_mask_loss": [0.7, 0.5]}, "all": {"loss": [1.5]}}, save=tmp_path / "b.png"
    )
    assert all(plt.imread(path).std() > 0.02 for path in tmp_path.iterdir()) and not plt.get_fignums()


# Data ----------------------------------------------------------------------------------------------------------------


def test_augmented_pictures(config, dataset):
    pictures, titles = data.augmented(dataset, config, 2, presets=("none", "strong"), count=2)
    np.testing.assert_array_equal(pictures[0], pictures[1])
    objects = len(dataset.load_instances(2))
    assert titles[0] == f"none: {objects} objects of {objects}"
    covered = dataset.load_instances(2).to_masks((96, 128)).any(axis=-1)
    changed = np.any(pictures[0][16:112] != dataset.load_image(2), axis=-1)
    assert changed[covered].mean() > 0.95 and changed[~covered].mean() < 0.1  # boxes and outlines alone
    assert np.abs(pictures[2].astype(int) - pictures[3]).mean() > 1
