"""Matterport's `mrcnn.parallel_model`: the name imports; the work is done elsewhere now.

The original split a batch over GPUs by copying the graph. Here GPU_COUNT only sets BATCH_SIZE, and several devices are
used by the backend's own data parallelism.
"""

import keras

from mrcnn.errors import InputError


class ParallelModel:
    """Matterport's wrapper for several GPUs. With one GPU it is the model itself."""

    def __new__(cls, keras_model: keras.Model, gpu_count: int) -> keras.Model:  # type: ignore[misc]
        """Return `keras_model` for gpu_count 1.

        Raises:
            InputError: more than one GPU.
        """
        if gpu_count != 1:
            raise InputError(
                f"ParallelModel was given gpu_count={gpu_count}; this version trains on one device: set GPU_COUNT = 1 "
                "and raise IMAGES_PER_GPU"
            )
        return keras_model
