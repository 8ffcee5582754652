"""Compares grouped convolutions, and their gradients, with a second implementation in numpy and with finite sums."""

import keras
import numpy as np
import pytest
from keras import ops as K

from mrcnn.modeling.grouped import GroupedConv2D
from tests.gradients import gradients
from tests.restated_resnet import convolve

pytestmark = pytest.mark.graph

CASES = {  # channels in, out, groups, stride, dilation
    "one chunk": (12, 24, 3, 1, 1),
    "chunks": (384, 384, 6, 1, 1),  # 3 convolutions of 2 groups
    "groups that do not divide into chunks": (384, 384, 2, 2, 1),
    "dilated": (16, 16, 4, 1, 2),
    "depthwise": (10, 10, 10, 1, 1),
    "depthwise with more channels": (6, 12, 6, 1, 1),
}
