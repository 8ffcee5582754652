"""Tests which layers of backbones with names of their own train in the stages 3+, 4+ and 5+."""

import keras
import pytest
from keras import layers

from mrcnn.engine.trainer import choose_layers
from mrcnn.errors import InputError
from mrcnn.modeling.training_network import build_training_network
from tests.shapes import ShapesConfig

pytestmark = pytest.mark.graph


class Mobile(ShapesConfig):
    """Its convolutions are conv1, then conv_dw_K and conv_pw_K for K = 1..13, with strides 2 at K = 2, 4, 6, 12."""

    BACKBONE = "MobileNet"
    TRAIN_BN = False


def convolutions(first: int) -> set[str]:
    return {f"conv_{kind}_{number}" for kind in ("dw", "pw") for number in range(first, 14)}


@pytest.fixture(scope="module")
def mobile() -> keras.Model:
    return build_training_network(Mobile())


@pytest.mark.parametrize("stage, first", [("3+", 4), ("4+", 6), ("5+", 12), ("heads", 14), ("all", 1)])
def test_stages_of_a_model_of_keras(mobile, stage, first):
    choose_layers(mobile, Mobile(), stage)
    trained = {layer.name for layer in mobile.layers if layer.trainable_variables}
    expected = convolutions(first) | ({"conv1"} if stage == "all" else set())
    assert {name for name in trained if name.startswith("conv")} == expected
    assert {"fpn_p2", "mrcnn_class_logits"} <= trained


def test_a_regular_expression_means_what_it_says(mobile):
    choose_layers(mobile, Mobile(), "conv_pw_1.*")
    trained = {layer.name for layer in mobile.layers if layer.trainable_variables}
    assert trained == {"conv_pw_1", "conv_pw_10", "conv_pw_11", "conv_pw_12", "conv_pw_13"}


def test_stages_of_a_backbone_in_one_nested_model_are_refused():
    def backbone(image, stage5, train_bn):
        x = inner = keras.Input(image.shape[1:])
        stages = []
        for stride in (4, 2, 2, 2):
            x = layers.Conv2D(4, stride, strides=stride)(x)
            stages.append(x)
        return [None, *keras.Model(inner, stages, name="whole")(image)]

    class Nested(ShapesConfig):
        BACKBONE = staticmethod(backbone)
        COMPUTE_BACKBONE_SHAPE = staticmethod(
            lambda shape: [[shape[0] // s, shape[1] // s] for s in (4, 8, 16, 32, 64)]
        )

    network = build_training_network(Nested())
    choose_layers(network, Nested(), "heads")
    assert not network.get_layer("whole").trainable_variables
    with pytest.raises(InputError, match=r"layers 4\+: the backbone is one nested model"):
        choose_layers(network, Nested(), "4+")
