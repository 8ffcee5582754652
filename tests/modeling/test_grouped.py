"""Compares grouped convolutions and their gradients with a second implementation in numpy."""

import numpy as np
import pytest
from keras import ops as K

from mrcnn.modeling.grouped import GroupedConv2D
from tests.gradients import value_and_gradient
from tests.restated_resnet import convolve

pytestmark = pytest.mark.graph

CASES = {  # channels in, out, groups, stride, dilation
    "one convolution": (12, 24, 3, 1, 1),
    "three convolutions of two groups": (384, 384, 6, 1, 1),
    "two convolutions of one group": (384, 384, 2, 1, 1),
    "stride": (16, 16, 4, 2, 1),
    "dilation": (16, 16, 4, 1, 2),
    "depthwise": (10, 10, 10, 1, 1),
    "depthwise with a stride": (10, 10, 10, 2, 1),
    "two channels out of each": (6, 12, 6, 1, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_values_and_both_gradients(case):
    """The loss is sum(y * weights), so its gradient is linear: a finite difference of any size is exact."""
    n_in, n_out, groups, stride, dilation = CASES[case]
    layer = GroupedConv2D(
        n_out, 3, strides=stride, padding="same", groups=groups, dilation_rate=dilation, use_bias=False
    )
    layer.build((None, 6, 8, n_in))
    rng = np.random.default_rng(4)
    x = rng.normal(size=(2, 6, 8, n_in)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, n_in // groups, n_out)).astype(np.float32)
    before = 0 if stride == 2 else dilation  # "same" pads even sides at the bottom and right only
    numpy = lambda x, kernel: convolve(x.astype(float), kernel, stride, before, dilation, groups)  # noqa: E731
    expected = numpy(x, kernel)
    layer.kernel.assign(kernel)
    assert tuple(layer.kernel.shape) == kernel.shape
    np.testing.assert_allclose(K.convert_to_numpy(layer(x)), expected, rtol=1e-4, atol=1e-4)

    weights = rng.normal(size=expected.shape).astype(np.float32)
    _, of_x = value_and_gradient(lambda x: K.sum(layer.convolution_op(x, kernel) * weights), x)
    _, of_kernel = value_and_gradient(
        lambda kernel: K.sum(layer.convolution_op(K.convert_to_tensor(x), kernel) * weights), kernel
    )
    for gradient, loss, at in (
        (of_x, lambda step: np.sum(numpy(step, kernel) * weights), x),
        (of_kernel, lambda step: np.sum(numpy(x, step) * weights), kernel),
    ):
        assert gradient.shape == at.shape
        for flat in rng.choice(at.size, 12, replace=False):
            step = np.zeros(at.size)
            step[flat] = 1
            assert gradient.reshape(-1)[flat] == pytest.approx(loss(step.reshape(at.shape)), rel=1e-3, abs=1e-3)
