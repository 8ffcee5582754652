"""What code for TensorFlow 1 finds again: tf.identity of a symbolic tensor, sessions, and a way to deploy."""

import keras
import numpy as np
import pytest

from mrcnn.errors import InputError
from mrcnn.legacy.old_tensorflow import Session, configure, let_tf_identity_take_symbols
from mrcnn.model import MaskRCNN
from tests.shapes import ShapesConfig, ShapesDataset

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


def test_a_session_gives_values_that_are_computed_already():
    session = Session()
    values = session.run({"a": tf.constant([1, 2]), "b": [tf.Variable(3.0), None]})
    np.testing.assert_array_equal(values["a"], [1, 2])
    assert values["b"] == [3.0, None]
    with session.as_default() as same, session.graph.as_default():
        assert same is session
    for fetched, fed in (("ROI:0", None), (None, {"x": 1}), (keras.Input((2,)), None)):
        with pytest.raises(InputError, match=r"model.run_graph\(images"):
            session.run(fetched, feed_dict=fed)
    with pytest.raises(InputError, match=r"graph.get_tensor_by_name: .*SavedModel"):
        session.graph.get_tensor_by_name("ROI:0")


def test_settings_of_a_session_that_cannot_be_had_are_named(caplog):
    tf.config.list_logical_devices()  # from here on it is too late
    threads = 1 + tf.config.threading.get_intra_op_parallelism_threads()
    configure(tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads))
    assert "tf.ConfigProto comes too late" in caplog.text
    options = tf.compat.v1.GPUOptions(visible_device_list="7")
    with pytest.raises(InputError, match="visible_device_list is '7', but TensorFlow finds 0 GPUs"):
        configure(tf.compat.v1.ConfigProto(gpu_options=options))


def test_the_network_can_be_exported_as_the_message_says(tmp_path):
    model = MaskRCNN("inference", ShapesConfig(), tmp_path)
    image = ShapesDataset().load_shapes(1).load_image(0)
    molded, metas, _ = model.mold_inputs([image])
    inputs = [molded, metas.astype("float32"), model.get_anchors(molded.shape[1:])[None]]
    signature = [[keras.InputSpec(shape=array.shape, dtype="float32") for array in inputs]]
    model.keras_model.export(tmp_path / "saved", input_signature=signature, verbose=False)
    saved = tf.saved_model.load(tmp_path / "saved")
    served = saved.serve([tf.constant(array) for array in inputs])
    for ours, theirs in zip(model.keras_model.predict_on_batch(inputs), served, strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-6)
