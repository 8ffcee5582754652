"""One training step of ResNet-50 against the original: losses, gradients, and the weights after steps of SGD.

The batch is what the original's data_generator gave, RPN targets included; its sampling drops nothing, so no random
choice matters. Three differences are meant (the list "Fix"), and the test undoes them where they would show: rows of
padding do not count in the class loss here; the box loss does not train the RPN through its own targets; gamma and beta
stay frozen with TRAIN_BN = False.
"""

import keras
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.engine.stages import LAYER_REGEX
from mrcnn.model import MaskRCNN
from mrcnn.modeling import losses
from mrcnn.modeling.normalization import BatchNorm
from mrcnn.modeling.training_network import LOSS_NAMES
from tests.gradients import loss_gradients
from tests.seeded import assign_seeded_weights

pytestmark = pytest.mark.graph

to_numpy = keras.ops.convert_to_numpy


@pytest.fixture(scope="module")
def recorded(golden) -> dict:
    return golden.json("train_resnet50")


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.npz("train_resnet50")


@pytest.fixture(scope="module")
def batch(arrays) -> list[np.ndarray]:
    names = ["images", "image_meta", "rpn_match", "rpn_bbox", "gt_class_ids", "gt_boxes", "gt_masks"]
    return [arrays[f"batch/{name}"] for name in names]


@pytest.fixture(scope="module")
def recipe(golden) -> dict:
    return golden.json("model_weights_recipe_resnet50")


def golden_model(recorded: dict, recipe: dict, folder) -> MaskRCNN:
    values = {k: v for k, v in recorded["config_A"].items() if k not in ("image", "numpy_seed_of_generator")}
    side = recorded["config_A"]["image"]
    sizes = {"IMAGE_MIN_DIM": side, "IMAGE_MAX_DIM": side, "NUM_CLASSES": 9, "BACKBONE": "resnet50"}
    config = type("GoldenConfig", (Config,), {"NAME": "golden", **values, **sizes})()
    model = MaskRCNN("training", config, folder)
    assign_seeded_weights(model.keras_model, recipe)
    return model


@pytest.fixture(scope="module")
def model(recorded, recipe, tmp_path_factory) -> MaskRCNN:
    """With every weight trainable, as the original has it."""
    return golden_model(recorded, recipe, tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="module")
def outputs(model, batch) -> dict[str, np.ndarray]:
    return model.keras_model.predict_on_batch(batch)


def test_outputs_of_the_training_graph(outputs, arrays):
    for name in ("rpn_class_logits", "rpn_bbox"):
        np.testing.assert_allclose(outputs[name], arrays[f"A/{name}"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(outputs["proposals"], arrays["A/rpn_rois"], atol=1e-5)


def test_sampled_rois_and_their_targets(outputs, arrays):
    """The order inside positives and negatives is random in both, so that rows are paired by their box."""
    for index in range(2):
        theirs = {
            name: arrays[f"A/run/{name}"][index] for name in ("rois", "target_class_ids", "target_bbox", "target_mask")
        }
        rois = outputs["output_rois"][index]
        distance = np.abs(theirs["rois"][:, None] - rois[None]).max(axis=-1)
        real = (theirs["rois"] != 0).any(axis=-1)
        assert real.sum() == (rois != 0).any(axis=-1).sum() == 50
        row = distance.argmin(axis=1)  # ours for each of theirs
        assert distance.min(axis=1).max() < 1e-5 and len(set(row[real])) == 50
        np.testing.assert_array_equal(outputs["target_class_ids"][index][row], theirs["target_class_ids"])
        np.testing.assert_allclose(outputs["target_bbox"][index][row], theirs["target_bbox"], rtol=1e-4, atol=1e-4)
        differing = outputs["target_mask"][index][row] != theirs["target_mask"]
        assert differing[theirs["target_class_ids"] > 0].mean() < 0.001
        for name, tolerance in (("mrcnn_class_logits", 1e-3), ("mrcnn_bbox", 1e-3)):
            np.testing.assert_allclose(
                outputs[name][index][row], arrays[f"A/{name}"][index], rtol=tolerance, atol=tolerance, err_msg=name
            )


def test_losses(model, batch, outputs, recorded):
    terms = {name: float(value) for name, value in model.keras_model.loss_terms(batch, outputs).items()}
    expected = dict(recorded["A_losses"])
    # the original also counts the rows of padding, 78 of 128 in each image
    padded_too = losses.mrcnn_class_loss(
        outputs["target_class_ids"], outputs["mrcnn_class_logits"], batch[1][:, 12:].astype(np.int32)
    )
    np.testing.assert_allclose(float(padded_too), expected["mrcnn_class_loss"], rtol=1e-4)
    logits = outputs["mrcnn_class_logits"].astype(np.float64)
    surprise = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(
        logits, outputs["target_class_ids"][..., None].astype(int), axis=-1
    ).squeeze(-1)
    active = np.take_along_axis(batch[1][:, 12:], logits.argmax(-1), axis=1) > 0  # of the class that is predicted
    expected["mrcnn_class_loss"] = surprise[active & (outputs["output_rois"] != 0).any(-1)].mean()
    for name in LOSS_NAMES:
        np.testing.assert_allclose(terms[name], expected[name], rtol=1e-4, err_msg=name)


def test_weight_decay(model, recorded):
    np.testing.assert_allclose(float(model.keras_model.weight_decay()), recorded["A_L2_all_layers"], rtol=1e-4)


def count_padding(monkeypatch) -> None:
    """The class loss as the original has it: rows of padding are background."""
    ours = losses.mrcnn_class_loss
    monkeypatch.setattr(losses, "mrcnn_class_loss", lambda *args, roi_valid=None, **rest: ours(*args, **rest))


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="elsewhere the steps show them")
def test_gradients(model, batch, recorded, arrays, monkeypatch):
    count_padding(monkeypatch)
    for name, gradients in loss_gradients(model.keras_model, batch, LOSS_NAMES).items():
        for key, norm in recorded["A_gradient_l2_norms_targets_constant"][name].items():
            found = np.linalg.norm(gradients.get(key, np.zeros(1)).astype(np.float64))
            np.testing.assert_allclose(found, norm or 0.0, rtol=1e-3, atol=1e-4, err_msg=f"{name} {key}")
        if name == "mrcnn_bbox_loss":
            continue  # the recorded arrays have the way through the targets in them
        for key in (k for k in arrays if k.startswith(f"A/grad/{name}/")):
            expected = arrays[key]
            found = gradients[key.removeprefix(f"A/grad/{name}/")]
            assert np.linalg.norm(found - expected) <= 5e-3 * np.linalg.norm(expected) + 1e-6, key


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["heads", "4+", "all"] if keras.config.backend() == "tensorflow" else ["all"])
def test_three_steps_of_sgd(stage, batch, recorded, recipe, arrays, monkeypatch, tmp_path):
    count_padding(monkeypatch)
    for place in ("mrcnn.modeling.targets.as_data", "mrcnn.modeling.rpn.ops.as_data"):
        monkeypatch.setattr(place, lambda values: keras.ops.cast(values, "float32"))
    model = golden_model(recorded, recipe, tmp_path)
    model.set_trainable(LAYER_REGEX[stage], verbose=0)
    frozen = [layer for layer in every_layer(model.keras_model) if isinstance(layer, BatchNorm)]
    model.config.TRAIN_BN = None
    model.set_trainable(LAYER_REGEX[stage], verbose=0)  # gamma and beta too; the graph itself was built frozen
    assert frozen and len(model.keras_model.trainable_variables) == recorded["steps"][stage]["n_trainable"]
    named = {"/".join(v.path.split("/")[-2:]): v for v in model.keras_model.weights}
    before = {name: to_numpy(v) for name, v in named.items()}
    model.compile(0.001, 0.9)
    for number, step in enumerate(recorded["steps"][stage]["history"], start=1):
        metrics = model.keras_model.train_on_batch(batch, return_dict=True)
        model.keras_model.reset_metrics()
        for name, value in step["metrics"].items():
            np.testing.assert_allclose(metrics[name], value, rtol=1e-3, err_msg=f"{name} in step {number}")
        after = {name: to_numpy(v) for name, v in named.items()}
        for name, norm in step["delta_l2"].items():
            change = np.linalg.norm((after[name] - before[name]).astype(np.float64))
            np.testing.assert_allclose(change, norm, rtol=1e-2, atol=2e-7, err_msg=f"{name} in step {number}")
        for key in (k for k in arrays if k.startswith(f"steps/{stage}/after{number}/")):
            name = key.removeprefix(f"steps/{stage}/after{number}/")
            expected = arrays[key] - before[name]
            wrong = np.linalg.norm(after[name] - arrays[key])
            assert wrong <= 1e-2 * number * np.linalg.norm(expected) + 1e-6, key
    for name in named:
        if "moving" in name:
            np.testing.assert_array_equal(to_numpy(named[name]), before[name])


def every_layer(model) -> list:
    """The layers of a model, those of nested models too."""
    return [inner for layer in model.layers for inner in (every_layer(layer) if hasattr(layer, "layers") else [layer])]
