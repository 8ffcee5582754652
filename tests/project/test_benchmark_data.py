"""The benchmark of the data path: the original is restated exactly, and the figures are those that the help names."""

import json
import subprocess
import sys

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.modeling.anchors import compute_backbone_shapes, generate_pyramid_anchors
from mrcnn.modeling.targets import build_rpn_targets
from mrcnn.structures.masks import extract_bboxes, minimize_mask, resize_mask
from scripts.benchmarks import original
from tests.conftest import TESTS
from tests.drawn import scene


class Square(Config):
    NUM_CLASSES = 4
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = 256
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)


@pytest.fixture(scope="module")
def moulded() -> np.ndarray:
    """bool [256, 256, n]: a drawn scene as both ways must resize and pad it."""
    masks, _ = scene(3)
    padding = [(56, 56), (0, 0), (0, 0)]
    expected = resize_mask(masks, 0.8, padding)  # equal to the recorded ones: tests/parity
    np.testing.assert_array_equal(original.resize_masks(masks, 0.8, padding), expected)
    return expected[:, :, expected.any(axis=(0, 1))]


def test_boxes_and_mini_masks_are_the_originals(moulded):
    boxes = original.tight_boxes(moulded)
    np.testing.assert_array_equal(boxes, extract_bboxes(moulded))
    different = original.mini_masks(boxes, moulded, (56, 56)) ^ minimize_mask(boxes, moulded, (56, 56))
    assert different.mean() < 0.001  # ties


def test_anchors_and_rpn_targets_are_the_originals(moulded):
    config, boxes = Square(), extract_bboxes(moulded)
    anchors = original.make_anchors(config)
    shapes = compute_backbone_shapes(config, (256, 256, 3))
    expected = generate_pyramid_anchors(
        config.RPN_ANCHOR_SCALES, config.RPN_ANCHOR_RATIOS, shapes, config.BACKBONE_STRIDES, 1
    )
    np.testing.assert_allclose(anchors, expected, rtol=1e-12)
    np.random.seed(5)
    match, deltas = original.rpn_targets(anchors, boxes, config)
    np.random.seed(5)
    expected_match, expected_deltas = build_rpn_targets(
        (256, 256, 3), expected, np.ones(len(boxes), np.int32), boxes, config
    )
    np.testing.assert_array_equal(match, expected_match)
    np.testing.assert_allclose(deltas, expected_deltas, rtol=1e-6, atol=1e-9)
    assert (match == 1).sum() > 10


def test_pictures_are_scaled_into_the_middle():
    picture = np.full((90, 160, 3), 200, np.uint8)
    image, scale, padding, window = original.resize_image(picture, 64)
    assert (scale, padding[0], window) == (0.4, (14, 14), (14, 0, 50, 64))
    assert (image[14:50] == 200).all() and not image[:14].any() and not image[50:].any()


@pytest.mark.slow
def test_the_command_writes_the_figures_that_its_help_names(tmp_path):
    command = [sys.executable, "scripts/benchmark.py", "data"]
    result = subprocess.run(
        [*command, "--images", "2", "--repeat", "1", "--json", tmp_path / "figures.json"],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    figures = json.loads((tmp_path / "figures.json").read_text())
    rates = figures["rates"]
    assert rates.keys() == {"original", "polygons", "polygons_augmented", "rles", "rles_augmented"}
    assert figures["images_per_second_per_core"] == rates["polygons"]["cpu"]["median"]
    expected = rates["polygons"]["cpu"]["median"] / rates["original"]["cpu"]["median"]
    assert figures["ratio_to_original"] == pytest.approx(expected)  # of one repetition
    assert figures["ratio_to_original"] > 10  # 60 where nothing else runs
    for stages in figures["milliseconds"].values():
        assert stages["total"] > stages["decode"] > 0.5
    assert all(rate["wall"]["least"] <= rate["wall"]["median"] <= rate["wall"]["most"] for rate in rates.values())
    assert 110_000 < figures["input"]["file_bytes"] < 150_000
    assert f"{figures['ratio_to_original']:.1f}" in result.stdout
    described = subprocess.run([*command, "--help"], cwd=TESTS.parent, capture_output=True, text=True, check=True)
    assert all(key in described.stdout for key in figures)
