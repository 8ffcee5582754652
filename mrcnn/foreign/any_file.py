"""Weight files of any origin: what they say about a model, and how they are loaded."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from mrcnn.config import Config
from mrcnn.foreign import keras_file, loading, models
from mrcnn.foreign.tensor_files import is_tensor_file
from mrcnn.modeling import weights


def load(
    network: keras.Model,
    path: str | os.PathLike,
    config: Config,
    exclude: Iterable[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> weights.LoadReport:
    """Load weights by layer name from an .h5 file, or from a file of another project.

    A ResNet of Keras Applications is an .h5 file with other names of the layers.

    Args:
        network: for training or inference.
        path: the file; its content tells what it is.
        config: the settings that the network was built with.
        exclude: names of layers that keep their values.
        class_names: names of the network's classes, background first, to which the classes of another project's file
            are matched. None: they are the same.

    Returns:
        Which layers were loaded and which were not.

    Raises:
        InputError: see `mrcnn.modeling.weights.load_weights`, `mrcnn.foreign.loading.load` and
            `mrcnn.foreign.keras_file.read_resnet`.
    """
    if is_tensor_file(path):
        return loading.load(network, path, config, exclude, class_names)
    if keras_file.is_resnet(path) and keras_file.STEM not in weights.leaf_layers(network):
        return loading.load_model(network, keras_file.read_resnet(path), config, exclude)
    return weights.load_weights(network, path, exclude=exclude)


def settings_of(path: str | os.PathLike) -> dict[str, Any] | None:
    """Return the settings of a file of another project, None for any other file. Raises InputError if it is damaged."""
    return models.read_model(path).settings if is_tensor_file(path) else None


def class_names_of(path: str | os.PathLike) -> list[str] | None:
    """Return the classes of a file of another project, background first; None for any other file, or if not known.

    Raises:
        InputError: it is damaged, or of no known project.
    """
    names = models.read_model(path).class_names if is_tensor_file(path) else None
    return None if names is None else list(names)
