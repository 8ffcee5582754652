"""Let code that was written for Matterport's Mask R-CNN between 2017 and 2019 find what it uses.

`scripts/run_legacy.py` calls `restore` before a script; a notebook does it in its first cell:

    from mrcnn.legacy.restore import restore; restore()

Each change waits until its module is imported, so nothing is loaded that the code does not use.
"""

from mrcnn import import_hooks
from mrcnn.legacy import old_imaging, old_keras, old_modules, old_numpy, old_python, old_tensorflow

CHANGES = {
    "PIL.Image": old_imaging.restore_pillow_image,
    "PIL.ImageDraw": old_imaging.restore_pillow_draw,
    "PIL.ImageFont": old_imaging.restore_pillow_font,
    "keras.models": old_keras.restore_models,
    "matplotlib": old_imaging.restore_matplotlib,
    "matplotlib.backends.backend_agg": old_imaging.restore_canvas,
    "matplotlib.cm": old_imaging.restore_colormaps,
    "matplotlib.pyplot": old_imaging.restore_pyplot,
    "scipy": old_imaging.restore_scipy,
    "scipy.ndimage": old_imaging.restore_ndimage,
    "skimage.color": old_imaging.restore_skimage_color,
    "skimage.draw": old_imaging.restore_skimage_draw,
    "skimage.filters": old_imaging.take_multichannel,
    "skimage.io": old_imaging.restore_skimage_io,
    "skimage.measure": old_imaging.restore_skimage_measure,
    "skimage.morphology": old_imaging.restore_skimage_morphology,
    "skimage.restoration": old_imaging.take_multichannel,
    "skimage.segmentation": old_imaging.take_multichannel,
    "skimage.transform": old_imaging.restore_skimage_transform,
    "skimage.util": old_imaging.take_multichannel,
    "tensorflow": old_tensorflow.restore_tensorflow,
    "tensorflow.compat.v1": old_tensorflow.restore_v1,
    "tensorflow.python.framework.graph_util": old_tensorflow.restore_graph_util,
    "yaml": old_python.restore_yaml,
}
# `import keras`, `tf.keras` and `import tensorflow.keras` are three packages with modules of their own
for package in ("keras", "keras._tf_keras.keras", "tensorflow.keras"):
    CHANGES |= {
        f"{package}.backend": old_keras.restore_backend,
        f"{package}.callbacks": old_keras.restore_callbacks,
        f"{package}.preprocessing.image": old_keras.restore_image,
        f"{package}.utils": old_keras.restore_utils,
    }


def restore() -> None:
    """Give Python, numpy, TensorFlow, Keras and the image libraries back what they had; a second call does nothing."""
    if old_modules.installed():
        return
    old_modules.install()
    old_numpy.restore_numpy_names()
    old_python.restore_standard_library()
    for name, change in CHANGES.items():
        import_hooks.when_imported(name, change)
