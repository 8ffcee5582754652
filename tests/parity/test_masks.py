"""Mask functions against the original's numbers: 22 drawn instances in 240 x 320."""

import numpy as np
import pytest

from mrcnn.structures.masks import expand_mask, extract_bboxes, minimize_mask, paste_mask, resize_mask, unmold_mask


def unpack(bits: np.ndarray, shape) -> np.ndarray:
    return np.unpackbits(bits)[: np.prod(shape)].reshape(shape).astype(bool)


@pytest.fixture(scope="module")
def figures(golden):
    return golden.npz("utils_masks")


@pytest.fixture(scope="module")
def masks(figures):
    return unpack(figures["masks"], figures["masks_shape"])


def test_extract_bboxes(figures, masks):
    with_empty = np.concatenate([masks, np.zeros_like(masks[..., :1])], axis=2)
    np.testing.assert_array_equal(extract_bboxes(with_empty), figures["bboxes_with_empty_last"])
    np.testing.assert_array_equal(extract_bboxes(masks.astype(np.uint8)), figures["bboxes_uint8_mask"])


@pytest.mark.parametrize("shape", [(56, 56), (28, 28), (14, 37)])
def test_minimize_and_expand(figures, masks, shape):
    name = f"{shape[0]}x{shape[1]}"
    boxes = extract_bboxes(masks)
    np.testing.assert_array_equal(minimize_mask(boxes, masks, shape), figures[f"mini_{name}"])
    expanded = expand_mask(boxes, figures[f"mini_{name}"], masks.shape)
    differing = np.mean(expanded != unpack(figures[f"expanded_{name}"], masks.shape))
    assert differing < 0.0005  # values of exactly one half


@pytest.mark.parametrize("name", ["0.3750", "0.8000", "1.0000", "1.2000_crop", "1.7000", "3.2000"])
def test_resize_mask(figures, golden, masks, name):
    case = golden.json("utils_masks")[f"resize_mask_{name}"]
    with_empty = np.concatenate([masks, np.zeros_like(masks[..., :1])], axis=2)
    given = with_empty if case["instances"] == 23 else masks[..., :4]
    resized = resize_mask(given, case["scale"], case["padding"], case["crop"])
    np.testing.assert_array_equal(resized, unpack(figures[f"resize_mask_{name}"], case["shape"]))
    np.testing.assert_array_equal(extract_bboxes(resized), figures[f"resize_mask_{name}_bboxes"])


def test_unmold_and_paste(figures, masks):
    expected = unpack(figures["unmold/full"], (*masks.shape[:2], 40))
    for i, (mini, box) in enumerate(zip(figures["unmold/mini"], figures["unmold/boxes"], strict=True)):
        full = unmold_mask(mini, box, masks.shape)
        assert full.dtype == bool
        np.testing.assert_array_equal(full, expected[:, :, i])
        (y1, x1, y2, x2), crop = paste_mask(mini, box, masks.shape)
        np.testing.assert_array_equal(crop, expected[y1:y2, x1:x2, i])
        assert crop.sum() == figures["unmold/sums"][i]
