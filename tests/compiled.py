"""Traces a function into a graph or compiles it with XLA, on the current backend."""

import keras


def traced(function):
    """Wrap function(tensors...) -> tensors as models run it by default on a CPU: compiled only on JAX."""
    return compiled(function, jit=False)


def compiled(function, jit: bool = True):
    """Wrap function(tensors...) -> tensors: compiled on TensorFlow and JAX, unchanged on PyTorch."""
    backend = keras.config.backend()
    if backend == "jax":
        import jax

        return jax.jit(function)
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=jit, autograph=False)
    return lambda *arrays: function(*(keras.ops.convert_to_tensor(a) for a in arrays))


# Every way in which a function can run; JAX compiles in both cases and PyTorch in neither.
RUNS = (traced, compiled) if keras.config.backend() == "tensorflow" else (compiled,)


def to_numpy(tree):
    """Convert each tensor of a tuple, list or dict to a numpy array."""
    return keras.tree.map_structure(keras.ops.convert_to_numpy, tree)
