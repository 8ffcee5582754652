"""A function traced into a graph, or compiled by XLA, on whichever backend runs: for tests that must hold there too."""

import keras


def traced(function):
    """function(tensors...) -> tensors as models run it by default on a CPU: compiled only on JAX."""
    return compiled(function, jit=False)


def compiled(function, jit: bool = True):
    """function(tensors...) -> tensors, compiled on TensorFlow and JAX, as it is on PyTorch."""
    backend = keras.config.backend()
    if backend == "jax":
        import jax

        return jax.jit(function)
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=jit, autograph=False)
    return lambda *arrays: function(*(keras.ops.convert_to_tensor(a) for a in arrays))


# every way in which a function can run here; JAX compiles in both cases and PyTorch in neither
RUNS = (traced, compiled) if keras.config.backend() == "tensorflow" else (compiled,)


def to_numpy(tree):
    """Each tensor of a tuple, list or dict as a numpy array."""
    return keras.tree.map_structure(keras.ops.convert_to_numpy, tree)
