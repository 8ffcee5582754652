"""Restore what numpy and Keras dropped and old clients, notebooks and imgaug 0.4 still use."""

import functools
import sys
from typing import Any

import numpy as np

# numpy 1.24 removed these; numpy 2 has np.bool again, as its own type
ALIASES = {"bool": bool, "int": int, "float": float, "complex": complex, "object": object, "str": str}
SCTYPES = {
    "int": [np.int8, np.int16, np.int32, np.int64],
    "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
    "float": [np.float16, np.float32, np.float64],
    "complex": [np.complex64, np.complex128],
    "others": [bool, object, bytes, str, np.void],
}


def restore_numpy_names() -> list[str]:
    """Give numpy back the names that it lacks: np.int, np.object, np.sctypes and the like.

    imgaug 0.4.0 needs np.sctypes when it is imported; Matterport's samples use np.bool. Names that numpy has
    stay as they are.

    Returns:
        The names that were added, in alphabetical order.
    """
    added = []
    for name, value in {**ALIASES, "sctypes": SCTYPES}.items():
        if name not in np.__dict__:  # hasattr would run numpy's own __getattr__, which warns
            setattr(np, name, value)
            added.append(name)
    return sorted(added)


@functools.cache
def let_tf_identity_take_symbols() -> None:
    """Let tf.identity accept a symbolic tensor of Keras: notebooks wrap the `input_image` that they pass to run_graph.

    Keras 3 raises there. Nothing else changes, and nothing happens if TensorFlow is not loaded.
    """
    if "tensorflow" not in sys.modules:
        return
    import keras

    dispatcher: Any = sys.modules["tensorflow"].__internal__.dispatch.GlobalOpDispatcher

    class IdentityOfSymbols(dispatcher):
        def handle(self, op: Any, args: tuple, kwargs: dict) -> Any:
            """Return the output of an Identity layer; leave any other call to TensorFlow."""
            value = args[0] if args else kwargs.get("input")
            if getattr(op, "__name__", "") == "identity" and isinstance(value, keras.KerasTensor):
                return keras.layers.Identity()(value)
            return self.NOT_SUPPORTED

    IdentityOfSymbols().register()
