"""Compares each setting of proposals, anchors and pyramid levels, alone, with numpy."""

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.modeling.anchors import generate_anchors, pyramid_anchors, pyramid_anchors_px
from mrcnn.modeling.roi_heads import roi_levels
from mrcnn.modeling.rpn import ProposalLayer, propose
from tests.compiled import RUNS, to_numpy
from tests.modeling.test_ops import greedy

pytestmark = pytest.mark.graph
LEVELS, COUNT = (60, 24, 6), 40  # anchors of three levels; proposals
INPUT = (160, 192)  # height, width of the input, px
WINDOWS = np.array([[0, 0, 150, 180], [8, 4, 160, 192]])


def config_of(**settings) -> Config:
    config = Config()
    for name, value in {"PRE_NMS_LIMIT": 40, **settings}.items():
        setattr(config, name, value)
    return config


def metas() -> np.ndarray:
    rows = np.zeros((2, 14), "f")
    rows[:, 4:7], rows[:, 7:11] = (*INPUT, 3), WINDOWS
    return rows


def scene(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw logits [2, A, 2], deltas [2, A, 4] and anchors [2, A, 4] in continuous coordinates."""
    draw = np.random.default_rng(seed)
    total = sum(LEVELS)
    centre, half = draw.uniform(-0.05, 1.05, (total, 2)), draw.uniform(0.02, 0.2, (total, 2))
    half[:20] = 0.002
    anchors = np.concatenate([centre - half, centre + half], axis=-1).astype("f")
    logits = draw.permutation(2 * total).reshape(2, total).astype("f") / 50  # no ties
    deltas = draw.normal(0, 1.0, (2, total, 4)).astype("f")
    deltas[0, :20, 2:] = draw.choice([-30, 30], (20, 2))  # far beyond what BBOX_DELTA_CLIP allows
    return np.stack([-logits, logits], axis=-1), deltas, np.stack([anchors, anchors])


def by_definition(logits, deltas, anchors, config, window, limit) -> np.ndarray:
    """Propose for one image, step by step, in float64: [COUNT, 4]."""
    size = np.array(INPUT * 2, float)
    groups = np.split(np.arange(len(logits)), np.cumsum(LEVELS)[:-1]) if config.RPN_PER_LEVEL else [range(len(logits))]
    kept, level_of = [], {}
    for level, group in enumerate(groups):
        best = sorted(group, key=lambda i: -logits[i])[:limit]
        kept += best
        level_of.update(dict.fromkeys(best, level))
    kept.sort(key=lambda i: -logits[i])
    boxes = []
    for i in kept:
        y1, x1, y2, x2 = anchors[i].astype(float)
        dy, dx, dh, dw = deltas[i] * np.asarray(config.RPN_BBOX_STD_DEV)
        most = np.log(1000 / 16) if config.BBOX_DELTA_CLIP else 10.0
        dh, dw = min(dh, most), min(dw, most)
        if config.BBOX_DELTA_CLIP == "both":
            dh, dw = max(dh, -most), max(dw, -most)
        cy, cx = (y1 + y2) / 2 + dy * (y2 - y1), (x1 + x2) / 2 + dx * (x2 - x1)
        h, w = (y2 - y1) * np.exp(dh), (x2 - x1) * np.exp(dw)
        low, high = (window[:2], window[2:]) if config.RPN_CLIP_TO_WINDOW else ((0, 0), INPUT)
        corners = np.array([cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2]) * size
        boxes.append(np.clip(corners, [*low, *low], [*high, *high]))
    boxes = np.array(boxes)
    valid = np.ones(len(boxes), bool)
    if config.RPN_MIN_SIZE is not None:
        valid = ((boxes[:, 2:] - boxes[:, :2]) > config.RPN_MIN_SIZE).all(axis=1)
    levels = np.array([level_of[i] for i in kept])
    taken = greedy(boxes, np.array([logits[i] for i in kept]), COUNT, 0.6, levels, valid)
    result = np.zeros((COUNT, 4))
    result[: len(taken)] = boxes[taken] / size
    return result


CHANGES = {
    "none": {},
    "RPN_PER_LEVEL": {"RPN_PER_LEVEL": True, "PRE_NMS_LIMIT": 10},
    "RPN_PER_LEVEL of all anchors": {"RPN_PER_LEVEL": True, "PRE_NMS_LIMIT": 1000},
    "RPN_MIN_SIZE": {"RPN_MIN_SIZE": 20.0},
    "RPN_MIN_SIZE 0": {"RPN_MIN_SIZE": 0},
    "RPN_CLIP_TO_WINDOW": {"RPN_CLIP_TO_WINDOW": True},
    "BBOX_DELTA_CLIP upper": {"BBOX_DELTA_CLIP": "upper"},
    "BBOX_DELTA_CLIP both": {"BBOX_DELTA_CLIP": "both"},
    "RPN_BBOX_STD_DEV": {"RPN_BBOX_STD_DEV": (1.0, 1.0, 1.0, 1.0)},
    "all": {
        "RPN_PER_LEVEL": True,
        "PRE_NMS_LIMIT": 15,
        "RPN_MIN_SIZE": 5.0,
        "RPN_CLIP_TO_WINDOW": True,
        "BBOX_DELTA_CLIP": "upper",
    },
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", CHANGES)
def test_proposals_are_those_of_the_definition(run, name):
    config = config_of(BOX_CONVENTION="continuous", **CHANGES[name])
    logits, deltas, anchors = scene(len(name))

    def proposals(*arrays):
        return propose(*arrays, config, COUNT, 0.6, anchor_counts=LEVELS, meta=keras.ops.convert_to_tensor(metas()))

    found = to_numpy(run(proposals)(logits, deltas, anchors))["proposals"]
    for image in range(2):
        expected = by_definition(
            logits[image, :, 1], deltas[image], anchors[image], config, WINDOWS[image], config.PRE_NMS_LIMIT
        )
        np.testing.assert_allclose(found[image], expected, atol=2e-6)


def test_the_settings_change_the_proposals():
    """Otherwise the comparison above would show nothing."""
    logits, deltas, anchors = scene(0)
    results = {}
    for name, changes in CHANGES.items():
        config = config_of(BOX_CONVENTION="continuous", **changes)
        images = (
            by_definition(logits[i, :, 1], deltas[i], anchors[i], config, WINDOWS[i], config.PRE_NMS_LIMIT)
            for i in range(2)
        )
        results[name] = b"".join(boxes.round(4).tobytes() for boxes in images)
    names = list(results)
    assert [(a, b) for i, a in enumerate(names) for b in names[:i] if results[a] == results[b]] == []


def test_the_limit_of_training_is_its_own():
    arrays = scene(1)
    config = config_of(BOX_CONVENTION="continuous", PRE_NMS_LIMIT=10, PRE_NMS_LIMIT_TRAINING=25)
    for training, limit in ((True, 25), (False, 10)):
        layer = ProposalLayer(COUNT, 0.6, config, training=training)
        found = to_numpy(layer(list(arrays)))
        expected = by_definition(arrays[0][0, :, 1], arrays[1][0], arrays[2][0], config, WINDOWS[0], limit)
        np.testing.assert_allclose(found[0], expected, atol=2e-6)


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="only TensorFlow builds graphs of unknown size")
@pytest.mark.parametrize("limit", [10, 1000])
def test_proposals_where_the_graph_leaves_the_size_open(limit):
    """With pad32, the network is built for images of any size: the levels' sizes are tensors."""
    config = config_of(
        BOX_CONVENTION="continuous", RPN_PER_LEVEL=True, PRE_NMS_LIMIT=limit, RPN_CLIP_TO_WINDOW=True, RPN_MIN_SIZE=1.0
    )
    config.RPN_ANCHOR_RATIOS = (0.5, 2)
    layer = ProposalLayer(COUNT, 0.6, config)
    inputs = [keras.Input((None, n)) for n in (2, 4, 4)]
    pyramid, meta = [keras.Input((None, None, 1)) for _ in LEVELS], keras.Input((14,))
    model = keras.Model([*inputs, *pyramid, meta], layer(inputs, pyramid=pyramid, meta=meta))
    maps = [np.zeros((2, *cells, 1), "f") for cells in ((5, 6), (3, 4), (1, 3))]  # two anchors per cell: LEVELS
    logits, deltas, anchors = scene(5)
    found = model.predict_on_batch([logits, deltas, anchors, *maps, metas()])
    for image in range(2):
        expected = by_definition(logits[image, :, 1], deltas[image], anchors[image], config, WINDOWS[image], limit)
        np.testing.assert_allclose(found[image], expected, atol=2e-6)


# -------------------------------------------------------------------------------------------------- anchors

ROUNDED = {  # side: half width and half height of height / width 0.5, 1 and 2
    32: ((23, 11), (16, 16), (11, 23)),
    64: ((45, 23), (32, 32), (23, 45)),
    128: ((91, 45), (64, 64), (45, 91)),
    256: ((181, 91), (128, 128), (91, 181)),
    512: ((362, 181), (256, 256), (181, 362)),
}


@pytest.mark.parametrize("side", ROUNDED)
def test_rounded_anchors_are_torchvisions(side):
    found = generate_anchors(side, (2, 1, 0.5), (1, 1), 4, 1, rounded=True)
    np.testing.assert_array_equal(found, [[-h, -w, h, w] for w, h in ROUNDED[side]])


def test_stride_of_rounded_anchors_is_the_input_over_the_map():
    """An input of 736 rows has 12 rows of P6: 736 // 12 is 61, and 1280 // 20 is 64."""
    config = config_of(RPN_ANCHOR_ROUNDED=True, RPN_ANCHOR_RATIOS=(2, 1, 0.5), BOX_CONVENTION="continuous")
    found = pyramid_anchors_px(config, (736, 1280, 3))
    p6 = found[-12 * 20 * 3 :].reshape(12, 20, 3, 4)
    np.testing.assert_array_equal(p6[5, 7, 1], [5 * 61 - 256, 7 * 64 - 256, 5 * 61 + 256, 7 * 64 + 256])
    p2 = found[: 184 * 320 * 3].reshape(184, 320, 3, 4)
    np.testing.assert_array_equal(p2[3, 9, 0], [3 * 4 - 11, 9 * 4 - 23, 3 * 4 + 11, 9 * 4 + 23])
    np.testing.assert_allclose(pyramid_anchors(config, (736, 1280, 3)), found / [736, 1280, 736, 1280], atol=1e-6)


def test_plain_anchors_keep_their_strides():
    found = pyramid_anchors_px(config_of(), (736, 1280, 3))[-12 * 20 * 3 :].reshape(12, 20, 3, 4)
    np.testing.assert_allclose(found[5, 7, 1], [5 * 64 - 256, 7 * 64 - 256, 5 * 64 + 256, 7 * 64 + 256])


# --------------------------------------------------------------------------------------------------- levels

SHAPE = (736, 1280)


def level_by_definition(side: float, rule: str) -> int:
    """Return the level of a square of `side` px in float32, as the projects write it."""
    one = np.float32
    side = one(side)
    if rule == "torchvision":
        level = np.floor(one(4) + np.log2(side / one(224)) + one(1e-6))
    elif rule == "detectron2":
        level = np.floor(one(4) + np.log2(side / one(224) + one(1e-8)))
    else:
        level = np.floor(np.log2(side / one(56) + one(1e-6))) + 2
    return int(np.clip(level, 2, 5))


@pytest.mark.parametrize("rule", ["torchvision", "detectron2", "mmdet"])
@pytest.mark.parametrize("run", RUNS)
def test_levels_around_each_border(run, rule):
    """Squares of whole pixels anywhere in the image, of 112, 224 and 448 px exactly and a little beside."""
    draw = np.random.default_rng(0)
    sides = np.array([s + d for s in (112, 224, 448) for d in (-1, -0.01, 0, 0.01, 1)], float)
    corner = np.stack([draw.integers(0, SHAPE[0] - 449, 400), draw.integers(0, SHAPE[1] - 449, 400)], axis=-1)
    boxes = np.concatenate([np.repeat(corner, 15, 0), np.repeat(corner, 15, 0) + np.tile(sides, 400)[:, None]], axis=-1)
    norm = (boxes / np.tile(SHAPE, 2)).astype("f")
    sizes = np.array([[SHAPE[0]]], "f"), np.array([[SHAPE[1]]], "f")
    found = to_numpy(run(lambda b: roi_levels(b, sizes, rule))(norm[None]))[0].reshape(400, 15)
    expected = [level_by_definition(side, rule) for side in sides]
    assert expected == [2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5, 5, 5]
    np.testing.assert_array_equal(found, np.tile(expected, (400, 1)))


def test_matterport_rounds_to_the_nearest_level():
    sides = np.array([79, 80, 158, 159, 316, 317]) / 1024  # around 2^(k + 1/2) * 224 px
    boxes = np.stack([0 * sides, 0 * sides, sides, sides], axis=1).astype("f")[None]
    assert to_numpy(roi_levels(keras.ops.convert_to_tensor(boxes), (1024, 1024))).tolist() == [[2, 3, 3, 4, 4, 5]]
