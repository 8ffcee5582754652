"""Polygons and run lengths of labels against pycocotools and against hand-worked numbers; property tests."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from mrcnn.annotations.json_fields import check_rle, number
from mrcnn.errors import InputError, LabelError
from mrcnn.structures.masks import tighten
from mrcnn.structures.polygons import as_points, polygons_to_crop, rectangle
from mrcnn.structures.rle import crop_to_rle, rle_lengths, rle_to_crop

# tenths lie half-way between the fifths that COCO's rasteriser rounds to
COORDINATE = st.one_of(st.integers(-60, 260).map(lambda v: v / 10), st.floats(-8, 30, width=32))
RING = st.lists(st.tuples(COORDINATE, COORDINATE), min_size=3, max_size=8)


def full(found, shape):
    mask = np.zeros(shape, bool)
    if found is not None:
        (y1, x1, y2, x2), crop = found
        mask[y1:y2, x1:x2] = crop
        assert crop[[0, -1]].any(1).all() and crop[:, [0, -1]].any(0).all()  # tight
    return mask


@settings(max_examples=120, deadline=None)
@given(st.lists(RING, min_size=1, max_size=3))
def test_polygons_fill_as_pycocotools_fills_them(rings):
    """Bit for bit, though only the surroundings of the object are filled."""
    shape = (17, 21)
    flat = [np.ravel(ring).astype(float).tolist() for ring in rings]
    expected = coco.decode(coco.merge(coco.frPyObjects(flat, *shape))).astype(bool)
    np.testing.assert_array_equal(full(polygons_to_crop([np.array(r) for r in rings], shape), shape), expected)


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_run_lengths_there_and_back(mask):
    found = tighten(mask, 0, 0)
    encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    runs = rle_lengths(encoded["counts"])
    assert runs.sum() == mask.size
    assert runs[1::2].sum() == mask.sum()
    if found is None:
        with pytest.raises(LabelError, match="empty"):
            check_rle({"size": list(mask.shape), "counts": encoded["counts"]}, mask.shape)
        return
    rle = crop_to_rle(found[0].tolist(), found[1], mask.shape)
    assert rle["counts"] == encoded["counts"]
    for counts in (rle["counts"], rle["counts"].decode(), runs.tolist()):
        back = rle_to_crop(check_rle({"size": list(mask.shape), "counts": counts}, mask.shape))
        np.testing.assert_array_equal(back[0], found[0])
        np.testing.assert_array_equal(back[1], found[1])


@settings(max_examples=80, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
        lambda inner: st.lists(inner, max_size=4),
    )
)
def test_any_counts_are_run_lengths_or_a_label_error(counts):
    try:
        rle = check_rle({"size": [2, 3], "counts": counts}, (2, 3))
    except LabelError as error:
        assert str(error)
    else:
        assert rle_to_crop(rle) is not None


def test_rectangle_and_numbers():
    assert rectangle(1, 2, 4, 3).tolist() == [[1, 2], [4, 2], [4, 3], [1, 3]]
    for corners in ((1, 1, 1, 5), (1, 1, 4, 0)):
        with pytest.raises(LabelError, match="no area"):
            rectangle(*corners)
    assert number(3, "x") == 3.0
    for value in (True, "3", None, float("nan"), float("inf"), 10**400, [1]):
        with pytest.raises(LabelError, match="x is"):
            number(value, "x")


@pytest.mark.parametrize(
    "polygon, message",
    [
        ([[0, 0], [1e9, 0], [1e9, 1e9]], "coordinate of 1e[+]09 px"),
        ([[0, 0], [np.nan, 0], [5, 5]], "not finite"),
        ([[0, 0], [np.inf, 0], [5, 5]], "not finite"),
        ([[(-90000, 90000)[i % 2], i] for i in range(200)], "outline of 36000000 px, more than 10000000"),
    ],
)
def test_polygons_that_would_crash_the_rasteriser(polygon, message):
    with pytest.raises(LabelError, match=message):
        as_points(polygon)
    with pytest.raises(InputError, match=message):
        polygons_to_crop([np.array(polygon, float)], (100, 100))


def test_sizes_that_no_mask_can_have():
    """pycocotools counts pixels in 32 bits: these would wrap around."""
    for size in ((65536, 65536), (-5, 5), (10**12, 1)):
        with pytest.raises(InputError, match="no image can be"):
            polygons_to_crop([np.array([[0, 0], [5, 0], [5, 5.0]])], size)
        with pytest.raises(InputError, match="no image can be"):
            rle_to_crop({"size": size, "counts": [0, 5]})
        with pytest.raises(InputError, match="no image can be"):
            crop_to_rle([0, 0, 2, 2], np.ones((2, 2), bool), size)
    for box in ([-1, 0, 1, 2], [0, 9, 2, 11]):
        with pytest.raises(InputError, match="is not inside an image of 10 x 10"):
            crop_to_rle(box, np.ones((2, 2), bool), (10, 10))
    whole = rle_to_crop({"size": (46340, 46341), "counts": [5, 1, 46340 * 46341 - 6]})  # just below
    assert whole is not None and whole[0].tolist() == [5, 0, 6, 1]


def test_true_is_no_coordinate():
    with pytest.raises(LabelError, match="not numbers in pairs"):
        as_points([[0, 0], [True, 0], [5, 5]])
