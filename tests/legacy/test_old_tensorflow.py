"""What code for TensorFlow 1 finds again without `restore`: tf.identity of a symbolic tensor."""

import keras
import numpy as np
import pytest

from mrcnn.legacy.old_tensorflow import let_tf_identity_take_symbols

tf = pytest.importorskip("tensorflow")


def test_tf_identity_of_a_symbolic_tensor_and_of_everything_else():
    let_tf_identity_take_symbols()
    image = keras.Input((2, 3), name="input_image")
    for symbol in (tf.identity(image), tf.identity(input=image)):
        part = keras.Model(image, symbol)
        np.testing.assert_array_equal(part(np.full((1, 2, 3), 7.0)), np.full((1, 2, 3), 7.0))
    np.testing.assert_array_equal(tf.identity([1, 2]), [1, 2])
    with pytest.raises(ValueError, match="KerasTensor"):
        tf.exp(image)
