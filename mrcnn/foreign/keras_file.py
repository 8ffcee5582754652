"""Read the .h5 files of Keras Applications' ResNets, version 1, whose layers have other names than ours."""

import os
import pathlib

import numpy as np

from mrcnn.errors import InputError
from mrcnn.foreign.models import ForeignModel, Layers, backbone_settings
from mrcnn.foreign.rules import NORM_VARIABLES, VARIABLES, Layout
from mrcnn.modeling import weights
from mrcnn.modeling.pretrained import KERAS_EPSILON, matterport_name

STEM, STEM_NORM = "conv1_conv", "conv1_bn"  # version 2 has no BatchNorm there
CLASSIFIER = ("probs", "predictions", "fc1000")
KERAS = Layout(name="Keras Applications", preset="", sign="", rules=(), ignored=CLASSIFIER, background_last=False)


def is_resnet(path: str | os.PathLike) -> bool:
    """Return whether a file holds the layers of such a ResNet; False if it cannot be read.

    Args:
        path: of any file.
    """
    try:
        return {STEM, STEM_NORM} <= weights.layer_shapes(path).keys()
    except InputError:
        return False


def read_resnet(path: str | os.PathLike) -> ForeignModel:
    """Read a ResNet of Keras Applications: a backbone alone, which takes BGR and has biases before BatchNorm.

    Args:
        path: an .h5 file, with or without the classifier.

    Raises:
        InputError: it is damaged, or has other layers.
    """
    path = pathlib.Path(path)
    layers: Layers = {}
    for name, arrays in weights.read_layers(path).items():
        ours = matterport_name(name)
        if ours is None:
            if name in CLASSIFIER or not arrays:
                continue
            raise InputError(f"{path}: {name} is no layer of a ResNet of Keras Applications; nothing was loaded")
        kinds = list(NORM_VARIABLES.values() if name.endswith("_bn") else VARIABLES.values())
        if len(arrays) != len(kinds):
            raise InputError(f"{path} is damaged: {name} has {len(arrays)} arrays instead of {', '.join(kinds)}")
        layers[ours] = {kind: np.asarray(array, np.float32) for kind, array in zip(kinds, arrays, strict=True)}
    settings = backbone_settings(path, layers) | {
        "STRIDE_IN_1X1": True,
        "BACKBONE_SYMMETRIC_PADDING": True,
        "BN_EPSILON": KERAS_EPSILON,
        "INPUT_FORMAT": "BGR",
        "PIXEL_STD": 1.0,
    }
    return ForeignModel(path, KERAS, layers, {}, settings, None, CLASSIFIER)
