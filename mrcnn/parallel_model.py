"""Matterport's `mrcnn.parallel_model`: the name imports; what it did is done where the network is built.

The original split a batch over GPUs by copying the graph. Here GPU_COUNT does it: a model for training with GPU_COUNT
= 2 trains on two devices with the loss of one that has the whole batch, see `mrcnn.backend.devices`.
"""

import keras

from mrcnn.errors import InputError


class ParallelModel:
    """Matterport's wrapper for several GPUs. The model it is given is parallel already, so that model is what it is."""

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
