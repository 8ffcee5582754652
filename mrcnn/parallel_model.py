"""Matterport's `mrcnn.parallel_model`: the name stays importable; GPU_COUNT does its work.

The original split a batch over GPUs by copying the graph. Here a training model with GPU_COUNT = 2 trains on two
devices with the loss of one that has the whole batch, see `mrcnn.backend.devices`.
"""

import keras

from mrcnn.errors import InputError


class ParallelModel:
    """Matterport's wrapper for several GPUs. The model that it wraps is parallel already, so it returns that model."""

    def __new__(cls, keras_model: keras.Model, gpu_count: int) -> keras.Model:
        """Return `keras_model`.

        Raises:
            InputError: the model was built for another number of devices.
        """
        devices = int(getattr(getattr(keras_model, "config", None), "GPU_COUNT", 1))
        if gpu_count != devices:
            raise InputError(
                f"ParallelModel was given gpu_count={gpu_count}, but the model was built for {devices}: set "
                f"GPU_COUNT = {gpu_count} in its settings before MaskRCNN(mode='training', ...) builds it"
            )
        return keras_model
