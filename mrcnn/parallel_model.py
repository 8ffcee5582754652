"""Matterport's `mrcnn.parallel_model`: the name stays importable; GPU_COUNT does its work.

The original split a batch over GPUs by copying the graph. Here a training model with GPU_COUNT = 2 trains on two
devices with the loss of one that has the whole batch, see `mrcnn.backend.devices`.
"""

import keras

from mrcnn.legacy.functions import parallel_model


class ParallelModel:
    """Matterport's wrapper for several GPUs. The model that it wraps is parallel already, so it returns that model."""

    def __new__(cls, keras_model: keras.Model, gpu_count: int) -> keras.Model:
        """Return `keras_model`.

        Raises:
            InputError: the model was built for another number of devices.
        """
        return parallel_model(keras_model, gpu_count)
