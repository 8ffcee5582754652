"""What scripts call of Keras 2: sessions and functions of its backend, private methods, .h5 checkpoints."""

import os
from types import ModuleType
from typing import Any

import keras

from mrcnn.backend import runtime
from mrcnn.errors import InputError
from mrcnn.legacy import old_tensorflow
from mrcnn.legacy.functions import parallel_model
from mrcnn.legacy.old_python import add, fall_back

# Functions of Keras 2's backend whose names mean something else in keras.ops
OTHER_IN_OPS = ("dot", "repeat")


def restore_backend(backend: ModuleType) -> None:
    """Give a `keras.backend` what it had in Keras 2: K.set_session, K.mean, K.tensorflow_backend and the like.

    Functions that keras.ops has are taken from there, so that they work on any backend; the rest needs TensorFlow.
    """
    add(backend, "get_session", old_tensorflow.default_session)
    add(backend, "set_session", lambda session: None)
    add(backend, "identity", lambda x, name=None: x)
    add(backend, "learning_phase", lambda: 0)
    add(backend, "set_learning_phase", lambda value: None)
    add(backend, "image_dim_ordering", lambda: "tf")
    add(backend, "set_image_dim_ordering", _refuse_channels_first)
    add(backend, "_get_available_gpus", lambda: [name for name in runtime.devices() if not name.startswith("cpu")])
    add(backend, "tensorflow_backend", backend)
    fall_back(backend, _backend_function)


def restore_models(models: ModuleType) -> None:
    """Give models `_make_predict_function` and its kin."""
    for kind in ("predict", "train", "test"):
        add(models.Model, f"_make_{kind}_function", getattr(models.Model, f"make_{kind}_function"))


def restore_utils(utils: ModuleType) -> None:
    """Give a `keras.utils` its multi_gpu_model."""
    add(utils, "multi_gpu_model", _multi_gpu_model)


def restore_callbacks(callbacks: ModuleType) -> None:
    """Let ModelCheckpoint of a `keras.callbacks` write .h5 files."""
    vars(callbacks)["ModelCheckpoint"] = OldModelCheckpoint


def restore_image(image: ModuleType) -> None:
    """Give keras.preprocessing.image its ImageDataGenerator and the rest of Keras 2."""
    fall_back(image, _image_function)


class OldModelCheckpoint(keras.callbacks.ModelCheckpoint):
    """ModelCheckpoint that also writes .h5 and .hdf5 files (weights by layer name), every `period` epochs."""

    def __init__(self, filepath: str | os.PathLike, *args: Any, period: int = 1, **kwargs: Any) -> None:
        """Take the arguments of ModelCheckpoint, and the number of epochs from one file to the next."""
        self.period = period
        path = os.fspath(filepath)
        weights_only = kwargs.get("save_weights_only", args[3] if len(args) > 3 else False)
        accepted = "any.weights.h5" if weights_only else "any.keras"  # Keras 3 takes no other endings
        super().__init__(accepted if path.endswith((".h5", ".hdf5")) else path, *args, **kwargs)
        self.filepath = path

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save after every `period` epochs."""
        if (epoch + 1) % self.period == 0:
            super().on_epoch_end(epoch, logs)


def _refuse_channels_first(ordering: str) -> None:
    if ordering != "tf":
        raise InputError(f"image_dim_ordering is {ordering!r}; Mask R-CNN takes 'tf', channels last")


def _multi_gpu_model(model: keras.Model, gpus: int | None = None, **options: Any) -> keras.Model:
    return parallel_model(model, gpus)


def _backend_function(name: str) -> Any:
    if hasattr(keras.ops, name) and name not in OTHER_IN_OPS:
        return getattr(keras.ops, name)
    if runtime.backend_name() != "tensorflow":
        raise AttributeError(f"keras.backend.{name} needs TensorFlow: run with KERAS_BACKEND=tensorflow")
    import tensorflow as tf

    return vars(tf.keras.backend).get(name)


def _image_function(name: str) -> Any:
    import tensorflow as tf

    return getattr(tf.keras.preprocessing.image, name, None)
