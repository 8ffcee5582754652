"""Set the precision of the convolutions: float32, or 16 bits with float32 weights (Micikevicius, arXiv:1710.03740).

Boxes, scores, overlaps, suppression, targets, losses and files are always float32.
"""

import contextlib
from collections.abc import Iterator

import keras

from mrcnn.config import Config

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@contextlib.contextmanager
def precision_of(config: Config) -> Iterator[None]:
    """Let layers made inside the context compute in config.PRECISION; None leaves Keras' dtype policy as it is."""
    before = keras.config.dtype_policy()
    if config.PRECISION is not None:
        keras.config.set_dtype_policy(POLICIES[config.PRECISION])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
