"""Calls that ended in an error in the original: here each is defined, or ends in a ValueError that says what to do."""

import numpy as np
import pytest

from mrcnn import utils
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.errors import InputError
from mrcnn.legacy.generator import data_generator
from mrcnn.legacy.image_gt import load_image_gt
from mrcnn.modeling.targets import build_rpn_targets
from tests.legacy_imgaug import import_augmenters

IMAGE = np.full((100, 150, 3), 200, np.uint8)
SQUARE = np.array([[10, 20, 30, 40]])
MASK = np.zeros((100, 150, 1), bool)
MASK[10:30, 20:40] = True
THING = SQUARE, np.array([1]), MASK
SCORE = (np.array([0.9]),)
NOTHING = np.zeros((0, 4)), np.zeros(0, int), np.zeros((100, 150, 0), bool)
CELL = np.ones((28, 28), np.float32)

# key of the recording -> (call, what must come of it); of a call with a result, a function that checks it
UTILS = {
    "compute_ap masks of different size": (
        lambda: utils.compute_ap(*THING, SQUARE, np.array([1]), SCORE[0], np.ones((56, 56, 1), bool)),
        r"\(56, 56\) and \(100, 150\).*expand_mask",
    ),
    "compute_ap no ground truth": (
        lambda: utils.compute_ap(*NOTHING, SQUARE, np.array([1]), SCORE[0], MASK),
        lambda result: result[0] == 0,  # nan in the original
    ),
    "compute_ap_range with a numpy array of thresholds": (
        lambda: utils.compute_ap_range(*THING, *THING[:2], SCORE[0], MASK, np.array([0.5, 0.75]), verbose=0),
        lambda result: result == 1,
    ),
    "expand_mask zero box": (
        lambda: utils.expand_mask(np.array([[5, 5, 5, 9]]), CELL[..., None] > 0, (20, 30)),
        lambda result: result.shape == (20, 30, 1) and not result.any(),
    ),
    "minimize_mask empty instance": (
        lambda: utils.minimize_mask(np.zeros((1, 4), int), np.zeros((20, 30, 1), bool), (28, 28)),
        lambda result: result.shape == (28, 28, 1) and not result.any(),
    ),
    "minimize_mask list mini_shape": (
        lambda: utils.minimize_mask(SQUARE, MASK, [28, 28]),
        lambda result: result.shape == (28, 28, 1) and result.all(),
    ),
    "non_max_suppression no boxes": (
        lambda: utils.non_max_suppression(np.zeros((0, 4)), np.zeros(0), 0.3),
        lambda result: result.shape == (0,),
    ),
    "resize_image crop larger than the image, min_dim=None": (
        lambda: utils.resize_image(IMAGE, min_dim=None, mode="crop"),
        "'crop' needs min_dim",
    ),
    "resize_image mode=foo": (lambda: utils.resize_image(IMAGE, 64, 64, mode="foo"), "'foo' is unknown; use one of"),
    "resize_image pad64 min_dim=100": (
        lambda: utils.resize_image(IMAGE, min_dim=100, mode="pad64"),
        lambda result: result[0].shape == (128, 192, 3) and (result[0][14:114, 21:171] == 200).all(),
    ),
    "resize_image pad64 min_dim=None": (
        lambda: utils.resize_image(IMAGE, min_dim=None, mode="pad64"),
        lambda result: result[0].shape == (128, 192, 3) and (result[0][14:114, 21:171] == 200).all(),
    ),
    "resize_image square 2-D gray": (
        lambda: utils.resize_image(IMAGE[:, :, 0], 128, 128),
        r"needs \[height, width, channels\]",
    ),
    "unmold_mask out of image box": (
        lambda: utils.unmold_mask(CELL, (95, 10, 120, 30), IMAGE.shape),
        lambda result: result.sum() == 5 * 20 and result[95:, 10:30].all(),
    ),
    "unmold_mask zero box": (
        lambda: utils.unmold_mask(CELL, (5, 5, 5, 9), IMAGE.shape),
        lambda result: result.shape == IMAGE.shape[:2] and not result.any(),
    ),
}


class One(Dataset):
    """One image whose load_mask gives `mask`, or the default of the base class."""

    def __init__(self, mask: np.ndarray | None = None, broken: bool = False) -> None:
        super().__init__()
        self.add_class("s", 1, "thing")
        self.add_image("s", "first", None)
        self.prepare()
        self.mask, self.broken = mask, broken

    def load_image(self, image_id):
        if self.broken:
            raise OSError("broken image")
        return IMAGE

    def load_mask(self, image_id):
        if self.mask is None:
            return super().load_mask(image_id)
        return self.mask, np.ones(self.mask.shape[2], np.int32)


class Small(Config):
    NAME = "small"
    NUM_CLASSES = 2
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = 128


def anchor_targets(class_ids: list[int]):
    anchors = np.array([[0, 0, 40, 40], [60, 60, 100, 100]], float)
    boxes = np.array([[60, 60, 100, 100]] * len(class_ids), float).reshape(-1, 4)
    return build_rpn_targets((128, 128, 3), anchors, np.array(class_ids, int), boxes, Small())


def changes_size():
    return load_image_gt(One(MASK), Small(), 0, augmentation=import_augmenters().Crop(px=8, keep_size=False))


DATA = {
    "augmentation that changes the size": (changes_size, r"changed the image from \(128, 128, 3\) to .*keep_size"),
    "build_rpn_targets with only crowds": (
        lambda: anchor_targets([-1]),
        lambda result: result[0].tolist() == [-1, 0],  # what lies on the crowd is neither
    ),
    "build_rpn_targets without gt": (lambda: anchor_targets([]), lambda result: result[0].tolist() == [-1, -1]),
    "data_generator when every image is broken": (  # the first one ends it; the original went on to the fifth
        lambda: next(data_generator(One(MASK, broken=True), Small())),
        r"image 'first' \(number 0, None\): OSError: broken image",
    ),
    "load_image_gt on an image with no instances (mask [H,W,0])": (
        lambda: load_image_gt(One(np.zeros((100, 150, 0), bool)), Small(), 0),
        lambda result: result[3].shape == (0, 4) and result[4].shape == (128, 128, 0),
    ),
    "load_image_gt with the default load_mask": (
        lambda: load_image_gt(One(), Small(), 0),
        lambda result: result[3].shape == (0, 4) and len(result[2]) == 0,
    ),
}


def test_no_call_of_the_recordings_is_left_out(golden):
    assert set(UTILS) == set(golden.json("utils_errors")["errors"])
    assert set(DATA) == set(golden.json("data_errors"))
    # the one of graph_errors, which was no error there either: test_detection_targets.py
    assert golden.json("graph_errors")["ERR"] == {"detection_targets_graph without gt": "no error"}


@pytest.mark.parametrize("name", [*UTILS, *DATA])
def test_what_ended_in_an_error(name):
    call, expected = (UTILS | DATA)[name]
    if callable(expected):
        assert expected(call())
        return
    with pytest.raises(InputError, match=expected) as caught:
        call()
    assert isinstance(caught.value, ValueError)
