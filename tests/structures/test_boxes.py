"""Box arithmetic by hand-worked examples, on numpy arrays and on tensors."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.modeling import anchors
from mrcnn.structures import boxes

pytestmark = pytest.mark.graph
DRAW = np.random.default_rng(11)


@pytest.fixture(params=["numpy", "tensor"])
def kind(request):
    """Turns arrays into the kind under test, and refuses an answer of the other kind."""

    class Kind:
        def __call__(self, values):
            values = np.asarray(values, "float32")
            return values if request.param == "numpy" else keras.ops.convert_to_tensor(values)

        def value(self, answer):
            assert isinstance(answer, np.ndarray) == (request.param == "numpy")
            return answer if isinstance(answer, np.ndarray) else keras.ops.convert_to_numpy(answer)

    return Kind()


def draw_boxes(count: int, size: float = 100) -> np.ndarray:
    corner = DRAW.uniform(0, size, (count, 2))
    return np.concatenate([corner, corner + DRAW.uniform(1, size / 2, (count, 2))], axis=1)


def test_overlaps_by_hand(kind):
    # a 4 x 4 box against itself, its right half, a neighbour that touches, one that shares 2 x 2, and one around it
    others = [[0, 0, 4, 4], [0, 2, 4, 4], [0, 4, 4, 8], [2, 2, 6, 6], [-2, -2, 6, 6]]
    found = kind.value(boxes.compute_overlaps(kind([[0, 0, 4, 4]]), kind(others)))
    np.testing.assert_allclose(found, [[1, 8 / 16, 0, 4 / 28, 16 / 64]], rtol=1e-6)


def test_overlaps_of_a_batch_are_those_of_its_images(kind):
    one, two = draw_boxes(10).reshape(2, 5, 4), draw_boxes(6).reshape(2, 3, 4)
    found = kind.value(boxes.compute_overlaps(kind(one), kind(two)))
    for image in range(2):
        for row in range(5):
            area = np.prod(one[image, row, 2:] - one[image, row, :2])
            areas = np.prod(two[image, :, 2:] - two[image, :, :2], axis=1)
            iou = boxes.compute_iou(one[image, row], two[image], area, areas)
            np.testing.assert_allclose(found[image, row], iou, rtol=1e-5, atol=1e-7)


def test_boxes_without_area_overlap_nothing(kind):
    empty = [[0, 0, 0, 0], [5, 5, 5, 9], [3, 3, 3, 3], [0, 0, -1 / 127, -1 / 127]]
    full = [[0, 0, 10, 10], *empty]
    assert not kind.value(boxes.compute_overlaps(kind(empty), kind(full))).any()
    assert not boxes.compute_iou(np.zeros(4), np.zeros((2, 4)), 0.0, np.zeros(2)).any()


def test_whole_numbers_give_whole_precision():
    found = boxes.compute_overlaps(np.array([[0, 0, 1, 3]]), np.array([[0, 0, 1, 1]]))
    assert found.dtype == np.float64 and found[0, 0] == 1 / 3


def test_deltas_by_hand(kind):
    # 10 high and 20 wide at centre (10, 20); down by half a height, left by a width, twice as high, half as wide
    found = kind.value(boxes.apply_box_deltas(kind([[5, 10, 15, 30]]), kind([[0.5, -1, np.log(2), np.log(0.5)]])))
    np.testing.assert_allclose(found, [[5, -5, 25, 5]], rtol=1e-6)


def test_refinement_is_the_inverse_of_applying(kind):
    start, goal = draw_boxes(50), draw_boxes(50)
    deltas = boxes.box_refinement(kind(start), kind(goal))
    np.testing.assert_allclose(kind.value(boxes.apply_box_deltas(kind(start), deltas)), goal, rtol=1e-4, atol=1e-4)


def test_refinement_and_deltas_stay_finite(kind):
    odd = np.array([[0, 0, 0, 0], [0, 0, -1 / 127, -1 / 127], [0.2, 0.3, 0.2, 0.9], [0.1, 0.1, 0.5, 0.5]])
    start, goal = np.repeat(odd, 4, axis=0), np.tile(odd, (4, 1))
    assert np.isfinite(kind.value(boxes.box_refinement(kind(start), kind(goal)))).all()
    huge = np.full((16, 4), 1000.0)
    assert np.isfinite(kind.value(boxes.apply_box_deltas(kind(start), kind(huge)))).all()


def test_a_huge_delta_still_covers_the_image(kind):
    one_pixel = kind([[0.5, 0.5, 0.501, 0.501]])
    grown = boxes.apply_box_deltas(one_pixel, kind([[0, 0, 500, 500]]))
    np.testing.assert_array_equal(kind.value(boxes.clip_boxes(grown, kind([0, 0, 1, 1]))), [[0, 0, 1, 1]])


def test_clip_to_one_window_or_to_one_per_image(kind):
    two = np.array([[[-5, 2, 5, 50], [20, 20, 30, 30]]] * 2)
    windows = np.array([[0, 0, 10, 10], [2, 4, 25, 40]])
    expected = [[[0, 2, 5, 10], [10, 10, 10, 10]], [[2, 4, 5, 40], [20, 20, 25, 30]]]
    np.testing.assert_array_equal(kind.value(boxes.clip_boxes(kind(two), kind(windows))), expected)
    np.testing.assert_array_equal(kind.value(boxes.clip_boxes(kind(two[1]), kind(windows[1]))), expected[1])
    np.testing.assert_array_equal(kind.value(boxes.clip_boxes(kind(two[1, 0]), kind(windows[1]))), expected[1][0])


def test_norm_counts_to_the_last_pixel(kind):
    # 5 x 9 pixels: rows 0..4, columns 0..8; the whole image is (0, 0, 1, 1) and its middle pixel a point at (0.5, 0.5)
    found = kind.value(boxes.norm_boxes(kind([[0, 0, 5, 9], [2, 4, 3, 5], [4, 8, 5, 9]]), (5, 9)))
    np.testing.assert_allclose(found, [[0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5], [1, 1, 1, 1]])


def test_denorm_gives_back_whole_pixels(kind):
    pixels = draw_boxes(200, 500).round()
    found = kind.value(boxes.denorm_boxes(boxes.norm_boxes(kind(pixels), (720, 1280)), (720, 1280)))
    np.testing.assert_array_equal(found, pixels)
    assert found.dtype == np.int32


def test_shape_may_be_a_tensor():
    pixels = draw_boxes(20, 100).astype("float32")
    shape = keras.ops.convert_to_tensor(np.array([120, 90], "int32"))
    found = keras.ops.convert_to_numpy(boxes.norm_boxes(keras.ops.convert_to_tensor(pixels), shape))
    np.testing.assert_allclose(found, boxes.norm_boxes(pixels, (120, 90)), rtol=1e-6)


def test_anchors_by_hand():
    # a 2 x 3 map of stride 10, one scale, width / height 1 and 4: centres at (0 | 10, 0 | 10 | 20)
    found = anchors.generate_anchors(8, [1, 4], (2, 3), 10, 1)
    expected = []
    for y in (0, 10):
        for x in (0, 10, 20):
            expected += [[y - 4, x - 4, y + 4, x + 4], [y - 2, x - 8, y + 2, x + 8]]
    np.testing.assert_allclose(found, expected)


def test_every_other_cell_with_anchor_stride_two():
    every = anchors.generate_anchors([16], [1], (4, 6), 8, 1).reshape(4, 6, 4)
    np.testing.assert_array_equal(anchors.generate_anchors([16], [1], (4, 6), 8, 2), every[::2, ::2].reshape(-1, 4))


def test_anchors_of_a_wide_image_are_those_of_its_own_shape():
    # the original built them for a square of the longer side: 409,200 instead of the 245,520 that the RPN answers for
    found = anchors.pyramid_anchors(Config(), (768, 1280, 3))
    cells = sum(-(-768 // s) * -(-1280 // s) for s in (4, 8, 16, 32, 64))
    assert found.dtype == np.float32 and len(found) == 3 * cells == 245_520
    # the last cell of the finest level: row 191, column 319; the middle ratio is the square
    y, x = 191 * 4, 319 * 4
    square = np.array([y - 16, x - 16, y + 16 - 1, x + 16 - 1]) / [767, 1279, 767, 1279]
    np.testing.assert_allclose(found[192 * 320 * 3 - 2], square, rtol=1e-6)


def test_a_backbone_given_as_a_function_says_its_own_shapes():
    class Custom(Config):
        BACKBONE = staticmethod(lambda image: [image])
        COMPUTE_BACKBONE_SHAPE = staticmethod(
            lambda image_shape: np.array([[image_shape[0] // 2, image_shape[1] // 2]])
        )

    np.testing.assert_array_equal(anchors.compute_backbone_shapes(Custom(), (64, 32, 3)), [[32, 16]])


def test_arrays_need_no_keras():
    """Tools that only check labels start in a moment: importing Keras and its backend takes seconds."""
    code = (
        "import sys; from mrcnn.structures.boxes import compute_overlaps; "
        "print(compute_overlaps([[0, 0, 2, 2]], [[0, 1, 2, 3]]), 'keras' in sys.modules)"
    )
    root = pathlib.Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["[[0.33333333]]", "False"]
