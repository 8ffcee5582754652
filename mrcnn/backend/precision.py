"""The arithmetic of the convolutions: float32, or 16 bits with float32 weights (Micikevicius, arXiv:1710.03740).

Boxes, scores, overlaps, suppression, targets and losses are float32 in any case, and so are the files.
"""

import contextlib
from collections.abc import Iterator

import keras

from mrcnn.config import Config

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@contextlib.contextmanager
def precision_of(config: Config) -> Iterator[None]:
    """Layers that are made within it compute in config.PRECISION; without one, as Keras' dtype policy says."""
    before = keras.config.dtype_policy()
    if config.PRECISION is not None:
        keras.config.set_dtype_policy(POLICIES[config.PRECISION])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
