"""16-bit convolutions: which parts stay float32, and how much the losses change."""

import functools

import h5py
import keras
import numpy as np
import pytest

from mrcnn.backend.precision import precision_of
from mrcnn.data.loader import Loader
from mrcnn.engine.optimizers import LossScale, build_optimizer
from mrcnn.errors import InputError
from mrcnn.model import MaskRCNN
from mrcnn.modeling.network import build_inference_network
from tests.compiled import traced
from tests.shapes import ShapesConfig, ShapesDataset

pytestmark = pytest.mark.graph

# Allowed differences of the losses. JAX compiles for half a minute, so only one precision is tested there.
HALVES = {"bfloat16": 0.02, "float16": 0.003} if keras.config.backend() == "tensorflow" else {"bfloat16": 0.02}


def dtype_of(tensor) -> str:
    return keras.backend.standardize_dtype(tensor.dtype)


def training_model(precision: str, folder) -> MaskRCNN:
    """Build a model whose proposals are its unmoved anchors, so that every precision sees the same objects."""
    keras.utils.set_random_seed(5)
    proposals = ["PRE_NMS_LIMIT=4092", "POST_NMS_ROIS_TRAINING=4092", "RPN_NMS_THRESHOLD=1.0"]
    config = ShapesConfig().override([f"PRECISION={precision}", *proposals])
    model = MaskRCNN("training", config, folder)
    for name in ("rpn_class_raw", "rpn_bbox_pred"):
        kernel = model.keras_model.get_layer("rpn_model").get_layer(name).kernel
        kernel.assign(np.zeros(kernel.shape))
    return model


def step(network, batch) -> tuple[dict, dict]:
    with keras.StatelessScope():  # JAX cannot keep random states that change inside a compiled function
        tensors = network(batch)
        return tensors, network.loss_terms(batch, tensors)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Return precision -> the outputs of the training graph for one batch, and the losses."""
    folder, dataset, found = tmp_path_factory.mktemp("logs"), ShapesDataset().load_shapes(4), {}
    for precision in ("float32", *HALVES):
        model = training_model(precision, folder)
        batch = Loader(dataset, model.config, shuffle=False, workers=0)[0][0]
        found[precision] = (model, *traced(functools.partial(step, model.keras_model))(batch))
    return found


@pytest.mark.parametrize("precision", HALVES)
def test_boxes_scores_targets_and_losses_stay_float32(outputs, precision):
    model, tensors, losses = outputs[precision]
    for name, tensor in {**tensors, **losses}.items():
        expected = "int32" if name == "target_class_ids" else "float32"
        assert dtype_of(tensor) == expected, name
    network = model.keras_model
    assert {dtype_of(v) for v in network.trainable_variables} == {"float32"}
    assert dtype_of(network.get_layer("fpn_p3").output) == precision, "the convolutions should be 16 bits"
    # boxes equal those in float32 bit for bit: 16 bits would move them by pixels
    for name in ("proposals", "output_rois", "target_bbox"):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(tensors[name]), keras.ops.convert_to_numpy(outputs["float32"][1][name]), name
        )


@pytest.mark.parametrize(("precision", "tolerance"), HALVES.items())
def test_losses_of_the_first_step(outputs, precision, tolerance):
    expected = {name: float(value) for name, value in outputs["float32"][2].items()}
    assert all(value > 0 for value in expected.values()), expected
    for name, value in outputs[precision][2].items():
        assert float(value) == pytest.approx(expected[name], rel=tolerance), name


def test_inference_gives_float32():
    network = build_inference_network(ShapesConfig().override(["PRECISION=bfloat16"]))
    assert {dtype_of(tensor) for tensor in network.outputs} == {"float32"}
    assert dtype_of(network.get_layer("fpn_p3").output) == "bfloat16"


def test_checkpoints_are_float32(outputs, tmp_path):
    model = outputs["bfloat16"][0]
    model.keras_model.save_weights(tmp_path / "weights.h5")
    kinds = set()
    with h5py.File(tmp_path / "weights.h5", "r") as file:
        file.visititems(lambda _, item: kinds.add(str(item.dtype)) if isinstance(item, h5py.Dataset) else None)
    assert kinds == {"float32"}


def apply(optimizer, gradient: list[float], weight: keras.Variable) -> None:
    gradients = [keras.ops.convert_to_tensor(gradient, "float32")]
    if keras.config.backend() != "jax":
        return optimizer.apply(gradients, [weight])
    trained, rest = optimizer.stateless_apply([v.value for v in optimizer.variables], gradients, [weight.value])
    for variable, value in zip([weight, *optimizer.variables], [*trained, *rest], strict=True):
        variable.assign(value)


def test_float16_scales_the_loss(tmp_path):
    """A step that overflows only changes the scale; other steps train. SGD without momentum is w - rate * g."""
    config = ShapesConfig().override(["PRECISION=float16", "GRADIENT_CLIP_NORM=0.0"])
    weight = keras.Variable([1.0, 2.0], name="kernel")
    with precision_of(config):
        optimizer = build_optimizer(config, 0.5, 0.0, [weight])
    assert isinstance(optimizer, LossScale)
    factor = float(optimizer.scale_loss(1.0))
    assert factor == 32768
    apply(optimizer, [np.inf, 1.0], weight)
    assert keras.ops.convert_to_numpy(weight).tolist() == [1.0, 2.0]
    factor = float(optimizer.scale_loss(1.0))
    assert factor == 16384
    apply(optimizer, [factor, 2 * factor], weight)
    assert keras.ops.convert_to_numpy(weight).tolist() == [0.5, 1.0]


def test_the_policy_of_the_program_is_left_alone():
    before = keras.config.dtype_policy().name
    with precision_of(ShapesConfig().override(["PRECISION=bfloat16"])):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert keras.config.dtype_policy().name == before


def test_unknown_precision():
    with pytest.raises(InputError, match="PRECISION is 'half'; give float32, bfloat16, float16 or None"):
        ShapesConfig().override(["PRECISION=half"]).validate()
