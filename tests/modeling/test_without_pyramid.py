"""Networks without a feature pyramid (-c4, -dc5): training, weights by name, anchors, and the notebooks' functions."""

import re

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest

from mrcnn.data.loader import Loader
from mrcnn.engine.start import compile_model
from mrcnn.engine.trainer import choose_layers
from mrcnn.inspection import anchors as anchor_figures
from mrcnn.inspection.anchor_fit import best_overlaps
from mrcnn.inspection.detection import plot_score_maps, score_maps
from mrcnn.modeling import weights
from mrcnn.modeling.anchors import anchors_per_location, pyramid_anchors_px
from mrcnn.modeling.network import build_inference_network
from mrcnn.modeling.training_network import LOSS_NAMES, TrainingNetwork, build_training_network
from tests.shapes import ShapesConfig, ShapesDataset

to_numpy = keras.ops.convert_to_numpy
graph = pytest.mark.graph
ENDS = ("c4", "dc5")
RATIOS = (2, 1, 0.5)  # width / height, in Detectron2's order
# height, width of Detectron2's anchors: sides 32, 64, ... of each of the height / width 0.5, 1, 2
CELL = [
    (22.6274, 45.2548), (32, 32), (45.2548, 22.6274),
    (45.2548, 90.5097), (64, 64), (90.5097, 45.2548),
    (90.5097, 181.0193), (128, 128), (181.0193, 90.5097),
    (181.0193, 362.0387), (256, 256), (362.0387, 181.0193),
    (362.0387, 724.0773), (512, 512), (724.0773, 362.0387),
]  # fmt: skip


def settings(end: str) -> ShapesConfig:
    """Return settings of a tiny network in which every layer can train."""
    config = ShapesConfig().override([f"BACKBONE=resnet18-{end}", "TRAIN_BN=None", "POOL_SIZE=4"])
    config.PROPOSAL_APPEND_GT = True  # so that there are positive ROIs, and every head has a loss
    config.MASK_SHAPE = [14, 14] if end == "c4" else [28, 28]
    config.MASK_POOL_SIZE = 7 if end == "c4" else 14
    config.validate()
    return config


@pytest.fixture(scope="module", params=ENDS)
def trained(request) -> tuple[str, TrainingNetwork, dict[str, tuple[dict, set[str]]]]:
    """Train one step of "heads", then one of "all"; return the losses and the layers that changed in each."""
    keras.utils.set_random_seed(1)
    config = settings(request.param)
    network, steps = build_training_network(config), {}
    with_batches = Loader(ShapesDataset().load_shapes(2), config)
    batch = with_batches[0][0]
    with_batches.close()
    for stage in ("heads", "all"):
        choose_layers(network, config, stage)
        compile_model(network, config, 0.02, 0.9)
        before = snapshot(network)
        losses = network.train_on_batch(batch, return_dict=True)
        steps[stage] = losses, {name for name, values in snapshot(network).items() if differ(before[name], values)}
    return request.param, network, steps


@graph
def test_losses_are_positive_and_finite(trained):
    for losses, _ in trained[2].values():
        assert set(LOSS_NAMES) <= set(losses) and all(0 < float(losses[name]) < np.inf for name in LOSS_NAMES)


@graph
def test_heads_are_those_layers(trained):
    end, network, steps = trained
    own = r"rpn_.*|mrcnn_.*" + (r"|res5.*|bn5.*" if end == "c4" else "")
    wanted = {name for name in weights.leaf_layers(network) if re.fullmatch(own, name)}
    assert steps["heads"][1] == wanted
    assert ("res5a_branch2a" in wanted) == (end == "c4") and {"rpn_conv_shared", "mrcnn_mask"} <= wanted


@graph
def test_all_are_all_layers(trained):
    _, network, steps = trained
    assert steps["all"][1] == set(weights.leaf_layers(network)) >= {"conv1", "res4a_branch1", "res5b_branch2b"}


def snapshot(network: keras.Model) -> dict[str, list[np.ndarray]]:
    """Return the values that training can change, of each layer that has some; moving statistics are not among them."""
    return {
        name: [to_numpy(v) for v in variables if not v.name.startswith("moving")]
        for name, variables in weights.leaf_layers(network).items()
    }


def differ(before: list[np.ndarray], after: list[np.ndarray]) -> bool:
    return any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@graph
@pytest.mark.parametrize("end", ENDS)
def test_weights_of_training_load_by_name(end, tmp_path):
    config = settings(end)
    trained, fresh = build_training_network(config), build_inference_network(config)
    weights.save_weights(trained, tmp_path / "m.h5")
    report = weights.load_weights(fresh, tmp_path / "m.h5")
    assert not report.untouched
    ours, loaded = snapshot(trained), snapshot(fresh)
    assert set(ours) == set(loaded) and not any(differ(ours[name], loaded[name]) for name in ours)
    layers = weights.read_layers(tmp_path / "m.h5")
    # stage 5 is in the file once, although both heads of C4 run it; 16 channels in the stem make 128 -> 64 -> 128
    assert [name for name in layers if name.startswith("res5")].count("res5a_branch2a") == 1
    assert layers["res5a_branch2a"][0].shape == (3, 3, 64, 128)
    assert sum("branch2a" in name for name in layers) == 16  # 8 blocks, each with a norm


def test_anchors_are_those_of_detectron2():
    """15 at each cell, by side, then by ratio; the cells are 16 px apart, from 0."""
    config = ShapesConfig().override(["BACKBONE=resnet50-c4", "RPN_ANCHOR_SCALES=(32, 64, 128, 256, 512)"])
    config.RPN_ANCHOR_RATIOS = RATIOS
    anchors = pyramid_anchors_px(config, (64, 96, 3)).reshape(4, 6, 15, 4)
    assert anchors_per_location(config) == 15
    for row, column in ((0, 0), (2, 5)):
        y, x = 16 * row, 16 * column
        expected = [(y - h / 2, x - w / 2, y + h / 2, x + w / 2) for h, w in CELL]
        np.testing.assert_allclose(anchors[row, column], expected, atol=1e-3)


@pytest.fixture
def single() -> ShapesConfig:
    """Return settings of the anchors of Detectron2 on C4."""
    config = ShapesConfig().override(["BACKBONE=resnet18-c4", "RPN_ANCHOR_SCALES=(32, 64, 128, 256, 512)"])
    config.RPN_ANCHOR_RATIOS = RATIOS
    return config


def test_tables_of_anchors(single):
    assert anchor_figures.level_sizes(single, (64, 96, 3)).tolist() == [4 * 6 * 15]
    rows = anchor_figures.level_table(single, (64, 96, 3))
    assert rows[1:] == [
        ["C4", "16", "4 x 6", "32, 64, 128, 256, 512", "360", "100.0%"],
        ["all", "", "", "", "360", "100 %"],
    ]
    first, fifth, next_row = anchor_figures.order_table(single, (64, 96, 3), [0, 4, 6 * 15 + 16])[1:]
    assert first == ["0", "C4", "0", "0", "2", "-11.3, -22.6, 11.3, 22.6"]
    assert fifth == ["4", "C4", "0", "0", "1", "-32.0, -32.0, 32.0, 32.0"]
    assert next_row == ["106", "C4", "1", "1", "1", "0.0, 0.0, 32.0, 32.0"]


def test_figures_of_anchors_and_scores(single, tmp_path):
    axis = plt.figure().add_subplot()
    anchor_figures.plot_middle_cell(np.zeros((64, 96, 3), np.uint8), single, axis)
    drawn = np.array([[line.get_ydata().min(), line.get_ydata().max()] for line in axis.lines])
    middle = pyramid_anchors_px(single, (64, 96, 3)).reshape(4, 6, 15, 4)[2, 3]
    np.testing.assert_allclose(drawn, middle[:, [0, 2]])
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["C4: 360"]
    scores = np.arange(360, dtype=float)
    maps = score_maps({"rpn_class": np.stack([1 - scores, scores], axis=-1)[None]}, single, (64, 96, 3))
    np.testing.assert_array_equal(maps[0], np.arange(24).reshape(4, 6) * 15 + 14)
    plot_score_maps(np.zeros((64, 96, 3), np.uint8), maps, tmp_path / "scores.png")
    assert (tmp_path / "scores.png").stat().st_size > 1000
    plt.close("all")


def test_fit_of_anchors_is_the_best_of_all(single):
    corners = np.random.default_rng(3).uniform(0, 60, (40, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1) + 5], axis=1)
    anchors = pyramid_anchors_px(single, (64, 96, 3))
    top, bottom = (
        np.maximum(boxes[:, None, :2], anchors[None, :, :2]),
        np.minimum(boxes[:, None, 2:], anchors[None, :, 2:]),
    )
    common = np.clip(bottom - top, 0, None).prod(axis=-1)
    areas = [(b[:, 2:] - b[:, :2]).prod(axis=1) for b in (boxes, anchors)]
    expected = (common / (areas[0][:, None] + areas[1][None] - common)).max(axis=1)
    np.testing.assert_allclose(best_overlaps(boxes, (64, 96), single), expected, atol=1e-6)


def test_backbone_of_a_function_has_a_pyramid(single):
    """Its shapes may be a plain list, as Matterport's users return them."""

    class Own(ShapesConfig):
        BACKBONE = staticmethod(lambda image, stage5, train_bn: [image] * 5)
        COMPUTE_BACKBONE_SHAPE = staticmethod(
            lambda shape: [[shape[0] // s, shape[1] // s] for s in (4, 8, 16, 32, 64)]
        )

    assert anchor_figures.level_sizes(Own(), (64, 128, 3)).tolist() == [3 * cells for cells in (512, 128, 32, 8, 2)]
    assert [row[0] for row in anchor_figures.level_table(Own(), (64, 128, 3))[1:-1]] == ["P2", "P3", "P4", "P5", "P6"]
    np.testing.assert_allclose(
        pyramid_anchors_px(Own(), (64, 128, 3)), pyramid_anchors_px(ShapesConfig(), (64, 128, 3))
    )
